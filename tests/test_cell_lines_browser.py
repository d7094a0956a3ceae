"The page of cell lines in a browser: point at a folder of frames, see the answers with their doubt and what decided."

import pandas as pd
import pytest
from browser import ARTEFACTS
from test_app_browser import App
from test_cell_lines import write_frames

from cellprotocols.cli import run_steps

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytest.importorskip("voila", reason="Voila is not installed")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    "A page with a run of its own, and a folder of new frames beside it."
    home = tmp_path_factory.mktemp("home")
    write_frames(home / "frames", batches=3)
    write_frames(home / "new", batches=1, frames=2)
    (home / "out").mkdir()
    run_steps("cell_lines", str(home / "frames"), home / "out" / "run_01", encoder="measured", size=64, left_out=0)
    a = App(home, "--source", "frames", protocol="cell_lines")
    yield a
    a.stop()


def test_a_folder_of_frames_is_named_on_the_page(app, page):
    ARTEFACTS.mkdir(exist_ok=True)
    page.goto(app.url)
    page.locator(".cp[data-keys], .cp").first.wait_for(timeout=120_000)
    page.get_by_role("tab", name="Look closer").click()
    expect(page.get_by_text("unlike the known lines").first).to_be_visible(timeout=60_000)
    expect(page.locator("img").first).to_be_visible()
    page.screenshot(path=ARTEFACTS / "cell_lines_look_closer.png", full_page=True)
    page.get_by_role("tab", name="Apply").click()
    field = page.get_by_placeholder("a file or a folder on this computer")
    field.fill(str(app.folder / "nothing"))
    field.press("Enter")
    page.get_by_role("button", name="Apply the model").click()
    expect(page.get_by_text("there is no file or folder")).to_be_visible()
    field.fill(str(app.folder / "new"))
    field.press("Enter")
    page.get_by_role("button", name="Apply the model").click()
    expect(page.get_by_text("Applying: done.")).to_be_visible(timeout=180_000)
    made = pd.read_csv(next(app.folder.glob("out/applied_*")) / "items.csv")
    assert len(made) == 2
    for answer in made.answer:
        expect(page.get_by_role("cell", name=answer).first).to_be_visible()
    expect(page.get_by_alt_text("sequence_01")).to_be_visible()
    page.screenshot(path=ARTEFACTS / "cell_lines_apply.png", full_page=True)
