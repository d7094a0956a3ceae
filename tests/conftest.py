"Fixtures that every test may use."

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test depends on the clock: a busy machine makes slow examples, not wrong ones.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def shared_data():
    "The folder of real images beside the repository; tests that need it are skipped without it."
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder.name} is not at ../shared/data")
    return folder


@pytest.fixture(scope="session")
def zips(shared_data):
    folder = shared_data / "chromatin" / "zips"
    if not folder.is_dir():
        pytest.skip("no annotation zips")
    return folder


@pytest.fixture(scope="session")
def main_zip(zips):
    return zips / "annotation_03-08-2021--13-39-57.zip"


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(scope="module")
def movie():
    "A short practice movie."
    from cellprotocols.synth import make_movie

    return make_movie(n_frames=4, size=(120, 140), seed=3)


# ---------- a real browser: tests/browser.py says what a front end can do


@pytest.fixture(scope="module")
def browser():
    "Chromium without a window. One a module: while it lives, the main thread has a running event loop, which other tests may not want."
    from browser import CHROMIUM

    sync_api = pytest.importorskip(
        "playwright.sync_api", reason='playwright is not installed: pip install "cellprotocols[dev]"'
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=CHROMIUM)
        yield b
        b.close()


@pytest.fixture
def page(browser):
    "A new page with its own cookies; `page.errors` collects what its console complains about and what it wants from elsewhere."
    from browser import watch

    context = browser.new_context(viewport=dict(width=1280, height=900))
    yield watch(context.new_page())
    context.close()


@pytest.fixture(scope="session", params=["lab", "voila", "widgets7"])
def server(request, tmp_path_factory):
    "One server a front end for the whole session: starting it takes longer than a test."
    from browser import start

    s = start(request.param, tmp_path_factory.mktemp(request.param))
    yield s
    s.stop()


@pytest.fixture
def front_end(server):
    "JupyterLab, Voila and the classic notebook with ipywidgets 7, one after the other; its kernels end with the test."
    yield server
    server.end_kernels()
