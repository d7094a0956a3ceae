"""The page as `cellprotocols app` serves it, in a real browser: who may see it, what a reload keeps, what ends with it."""

import os, re, signal, subprocess, sys, urllib.error, urllib.request

import numpy as np, pandas as pd, psutil, pytest, tifffile
from browser import ARTEFACTS, ROOT, wait_until
from test_domain import make_source

from cellprotocols.chromatin import annotate, train
from cellprotocols.dataset import read_dataset
from cellprotocols.images import write_image
from cellprotocols.labellog import read_labels
from cellprotocols.synth import make_movie, make_patches

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytest.importorskip("voila", reason="Voila is not installed")
pytestmark = pytest.mark.browser


COMMAND = [sys.executable, "-c", "import sys; from cellprotocols.cli import main; sys.exit(main())"]


class App:
    "`cellprotocols app` on a folder, as a person starts it."

    def __init__(self, folder, *words, protocol="chromatin"):
        self.folder, self.log_file = folder, folder / "app.log"
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY", "PYTEST"))}
        env |= dict(PYTHONPATH=str(ROOT), IPYTHONDIR=str(folder / ".ipython"), CELLPROTOCOLS_QUIET="1")
        env |= {f"JUPYTER_{k}_DIR": str(folder / ".jupyter" / k.lower()) for k in ("CONFIG", "DATA", "RUNTIME")}
        words = ["app", protocol, "--out", "out", "--port", "0", "--no-browser", "--by", "anna", *words]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen([*COMMAND, *words], cwd=folder, env=env, stdout=log, stderr=log)
        self.url = wait_until(self._find_url, "the address is said", 240)
        self.home, self.token = self.url.split("/?token=")
        self.port = int(self.home.rsplit(":", 1)[1])
        wait_until(lambda: self.ask("/login")[0], "the server answers", 60)

    def said(self):
        return self.log_file.read_text("utf-8", "replace")

    def _find_url(self):
        assert self.process.poll() is None, self.said()
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", self.said())
        return found and found[0]

    def ask(self, path, method="GET", **headers):
        "(status, text) of a request; 0: nobody answers."
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.home + path, method=method, headers=headers), timeout=30
            ) as r:
                return r.status, r.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode("utf-8", "replace")
        except OSError:
            return 0, ""

    def kernels(self):
        return [
            p
            for p in psutil.Process(self.process.pid).children(recursive=True)
            if any("kernel-" in w and w.endswith(".json") for w in p.cmdline())
        ]

    def family(self):
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    "A folder with two movies in `My movies`."
    folder = tmp_path_factory.mktemp("home")
    (folder / "My movies").mkdir()
    for k in range(2):
        movie = make_movie(n_frames=6, seed=k, division_rate=8.0)
        write_image(folder / "My movies" / f"well_{k}.tif", movie.frames, px_um=movie.px_um)
    return folder


@pytest.fixture(scope="module")
def app(home):
    a = App(home, "--source", "My movies")
    yield a
    a.stop()


@pytest.fixture
def owner(app, page):
    "The page, opened with its address."
    page.goto(app.url)
    page.locator(".cp[data-frame]").wait_for(timeout=120_000)
    return page


def test_only_its_owner_gets_in(app):
    "Without the token, under another name, from another site: nothing of the page, no traceback, no path."
    here = f"127.0.0.1:{app.port}"
    key = dict(Authorization=f"token {app.token}")
    refused = {
        "no token": app.ask("/"),
        "wrong token": app.ask("/?token=guess"),
        "another name": app.ask(f"/?token={app.token}", Host=f"evil.example:{app.port}"),
        "another site": app.ask("/", Host=here, Origin="http://evil.example", **key),
        "another program here": app.ask("/", Host=here, Origin="http://127.0.0.1:3000", **key),
        "kernels, no token": app.ask("/api/kernels/00000000-0000-0000-0000-000000000000"),
        "no token, what was made": app.ask("/made/page.ipynb"),
        "static, another name": app.ask("/voila/static/voila.js", Host="evil.example"),
    }
    socket = dict(Upgrade="websocket", Connection="Upgrade")
    socket |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    channels = "/api/kernels/00000000-0000-0000-0000-000000000000/channels"
    refused["socket, another name"] = app.ask(channels, Host="evil.example", **socket, **key)
    refused["socket, another site"] = app.ask(channels, Host=here, Origin="http://evil.example", **socket, **key)
    refused["socket, no token"] = app.ask(channels, Host=here, **socket)
    for why, (status, text) in refused.items():
        assert "jupyter-config-data" not in text and "kernelId" not in text, why
        assert status == 403 or "password" in text.lower(), (why, status, text[:300])
    missing = app.ask("/made/nothing.html", **key), app.ask("/made/../../etc/passwd", **key), app.ask("/no", **key)
    for status, text in (*refused.values(), *missing):
        assert "Traceback" not in text and str(app.folder) not in text and "site-packages" not in text
    assert [status for status, _ in missing] == [404, 404, 403] or [s for s, _ in missing][:2] == [404, 404]
    assert not app.kernels()  # nobody has been let in: nothing runs


def test_a_page_that_is_loaded_again_goes_on_with_its_kernel(app, owner):
    (kernel,) = app.kernels()
    view = owner.locator(".cp-view").bounding_box()
    owner.mouse.click(view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)
    wait_until(lambda: (app.folder / "out" / "labels.jsonl").exists(), "a label is on disk", 20)
    assert read_labels(app.folder / "out" / "labels.jsonl").by.tolist() == ["anna"]
    for _ in range(2):
        owner.reload()
        expect(owner.locator(".cp[data-saved='1']")).to_be_visible(timeout=60_000)
    assert [k.pid for k in app.kernels()] == [kernel.pid]
    assert "token" not in owner.url  # it is a cookie, not in the history
    own = r"favicon|source map|403.*api/shutdown|Could not find a static loader"
    assert not [e for e in owner.errors if not re.search(own, e)], owner.errors  # nothing is asked of other servers
    kernel.kill()
    psutil.wait_procs([kernel], timeout=10)
    owner.reload()
    expect(owner.locator(".cp[data-saved='1']")).to_be_visible(timeout=120_000)
    assert len(app.kernels()) == 1 and app.kernels()[0].pid != kernel.pid


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_takes_all_with_it(home, page, how):
    a = App(home, "--source", "My movies")
    try:
        page.goto(a.url)
        page.locator(".cp[data-frame]").wait_for(timeout=120_000)
        family = a.family()
        assert len(family) > 1
        a.process.send_signal(how)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive
        if how != signal.SIGKILL:
            assert "The page is closed. All labels are on disk." in a.said()
    finally:
        a.stop()


def test_what_cannot_be_served_is_said_before(home, app):
    def say(*words):
        done = subprocess.run(
            [*COMMAND, "app", "chromatin", "--no-browser", *words],
            cwd=home,
            env=os.environ | dict(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 2 and "Traceback" not in done.stderr and "http://" not in done.stdout, done
        return done.stderr

    assert f"port {app.port} cannot be used" in say("--source", "My movies", "--port", str(app.port))
    (home / "empty").mkdir(exist_ok=True)
    assert "empty" in say("--source", "empty", "--port", "0")
    (home / "notes.txt").write_text("no picture")
    assert "notes.txt" in say("--source", "notes.txt", "--port", "0")
    (home / "broken.tif").write_bytes(b"II*\0\x08\0\0\0")
    assert "broken.tif" in say("--source", "broken.tif", "--port", "0")


@pytest.fixture(scope="module")
def other(home):
    "A model of one source, and class folders with some cells of another one: brighter, and less contrast."
    patches, labels, groups = make_patches(20, size=32, seed=2, difficulty=0.7)
    first = np.isin(groups, np.unique(groups)[::2])
    known = make_source(home / "22", patches[first], labels[first], groups[first])
    train.run(known, str(home / "24_train"), model="probe", folds=3, random_split=False)
    for i in np.flatnonzero(~first):
        folder = home / "another camera" / labels[i] / f"slide_{groups[i]}"
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / f"{i}.tif", (90 + 0.5 * patches[i]).astype(np.uint8))
    return home / "24_train"


def test_a_model_of_another_source_is_adapted_by_a_button(home, other, page):
    a = App(home, "--source", "another camera", "--out", "adapted")
    try:
        page.goto(a.url)
        page.locator(".cp").first.wait_for(timeout=120_000)
        page.get_by_role("tab", name="Train").click()
        button = page.get_by_role("button", name="Adapt this model")
        button.click()
        expect(page.get_by_text("Which model?")).to_be_visible()
        page.get_by_placeholder("folder of a trained model").fill(str(other))
        button.click()
        expect(page.get_by_text("Training: done.")).to_be_visible(timeout=600_000)
        page.get_by_role("tab", name="Report").click()
        report = page.frame_locator('iframe[title="report"]')
        expect(report.get_by_role("heading", name="What did adapting the model gain?")).to_be_visible(timeout=30_000)
        gain = pd.read_csv(home / "adapted" / "run_01" / "24_train" / "gain.csv").set_index("what")
        assert gain.value.gain == pytest.approx(gain.value.after - gain.value.before) and gain.value.gain > 0.05
        assert gain.low.gain <= gain.value.gain <= gain.high.gain
        said = report.get_by_role("row", name="gained")
        expect(said).to_contain_text(f"{gain.value.gain:.3f}")
    finally:
        a.stop()


AXES = ["--axes", "TCYX", "--px-um", "0.333"]


def write_nameless_movie(path, seed):
    "A movie of two channels that says neither its axes nor its pixel size, and is stored min-is-white; its cells."
    movie = make_movie(n_frames=16, seed=seed, division_rate=8.0)
    one = movie.frames[..., 0]
    tifffile.imwrite(path, np.stack([255 - one, 255 - one // 3], 1), photometric="miniswhite")
    return movie.cells


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    "A folder with three movies whose axes nobody can know, 72 cells of two classes clicked, and one movie more."
    folder = tmp_path_factory.mktemp("labelled")
    source, log = folder / "My movies", folder / "out" / "labels.jsonl"
    for name in ("My movies", "more"):
        (folder / name).mkdir()
    cells = {f"well_{k}.tif": write_nameless_movie(source / f"well_{k}.tif", k) for k in range(3)}
    write_nameless_movie(folder / "more" / "well_9.tif", 9)
    how = dict(axes="TCYX", px_um=0.333, classes="Interphase,Metaphase")
    hand = annotate.make_annotator(str(source), str(log), str(folder / "out" / "21_annotate"), by="anna", **how)
    for name, c in cells.items():
        some = c[c.state.isin(["Interphase", "Metaphase"])].groupby("state").sample(12, random_state=0)
        where = [
            dict(item=f"{name} {r.Index}", label=r.state, field=name, t=int(r.t), z=0, y=float(r.y), x=float(r.x))
            for r in some.itertuples()
        ]
        hand.act("give", entries=where)
    return folder


def look(page, name):
    "Make a picture of the page, and see that it needs no more room than there is."
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"page-{name}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_axes_that_cannot_be_known_are_asked_for_with_the_line_that_answers(labelled):
    words = ["app", "chromatin", "--no-browser", "--port", "0", "--source", "My movies", "--out", "unasked"]
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run([*COMMAND, *words], cwd=labelled, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "--axes TCYX" in done.stderr and "http://" not in done.stdout, done


def test_the_page_from_labels_to_other_movies(labelled, page):
    "Train, stop, go on, read the report, look closer, apply; what was told and what was assumed goes all the way."
    a = App(labelled, "--source", "My movies", "--classes", "Interphase,Metaphase", *AXES)
    try:
        assert "note: well_0.tif: min-is-white" in a.said()
        page.goto(a.url)
        page.locator(".cp[data-frame]").wait_for(timeout=120_000)
        expect(page.get_by_role("heading", name="chromatin: My movies")).to_be_visible()
        expect(page.locator(".cp-goal")).to_contain_text("click the cells that are of it")
        expect(page.locator(".cp-goal")).to_contain_text("464 more Interphase, 464 more Metaphase")
        expect(page.locator(".cp-goal")).to_contain_text("Then open the tab Train.")
        expect(page.get_by_role("note")).to_contain_text("Assumed: well_0.tif: min-is-white")
        expect(page.locator(".cp-alert")).to_be_hidden()
        look(page, "label")
        page.set_viewport_size(dict(width=390, height=800))
        cut = "els => els.filter(e => e.scrollWidth > e.clientWidth || e.clientWidth < 20).length"
        assert page.locator(".cp-name").evaluate_all(cut) == 0
        look(page, "label-390")
        page.set_viewport_size(dict(width=1280, height=720))
        page.keyboard.press("?")  # at once: no click into the page is needed
        keys = page.get_by_role("dialog", name="Keys").locator("kbd").all_inner_texts()
        assert {"1", "2", "Ctrl+Z", "Ctrl+Y", "n", "?"} <= set(keys), keys
        page.keyboard.press("Escape")
        view = page.locator(".cp-view").bounding_box()
        page.mouse.click(view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)
        for press, n in (("", 73), ("Control+z", 72), ("Control+y", 73), ("Control+z", 72)):
            if press:
                page.keyboard.press(press)
            expect(page.locator(f".cp[data-saved='{n}'][data-pending='0']")).to_be_visible()

        def tab(name):
            page.get_by_role("tab", name=name).click()
            return page.get_by_role("tabpanel").locator("visible=true").first

        for name in ("Report", "Look closer", "Apply"):
            tab(name)
            expect(page.get_by_text("There is no run yet.").locator("visible=true")).to_be_visible()
        tab("Train")
        train, stop = (page.get_by_role("button", name=n) for n in ("Train with these labels", "Stop"))
        expect(stop.locator("visible=true")).to_be_disabled()
        train.click()
        expect(train).to_be_disabled()
        expect(page.get_by_text(re.compile("Training: 2[2-4]_"))).to_be_visible(timeout=240_000)
        look(page, "train")
        stop.locator("visible=true").click()
        expect(page.get_by_text("Training: stopped. The labels are safe")).to_be_visible(timeout=30_000)
        assert not page.get_by_text("did not finish").count() and not page.get_by_text("Traceback").count()
        assert not [p for p in a.family() if "run" in p.cmdline() and "--axes" in p.cmdline()]  # it has ended
        page.set_viewport_size(dict(width=390, height=800))
        assert page.locator(".lm-TabBar-tabLabel").evaluate_all(cut) == 0
        look(page, "stopped-390")
        page.set_viewport_size(dict(width=1280, height=720))
        train.click()
        expect(page.get_by_text("Training: done.")).to_be_visible(timeout=600_000)
        expect(page.get_by_text("Assumed: well_0.tif and 2 more: min-is-white").locator("visible=true")).to_be_visible()
        runs = sorted(p.name for p in (labelled / "out").glob("run_*"))
        assert runs == ["run_01"]  # the stopped run went on
        first = read_dataset(labelled / "out" / "run_01" / "21_annotate")
        assert first.settings["axes"] == "TCYX" and first.settings["px_um"] == 0.333 and len(first) == 72
        assert read_dataset(labelled / "out" / "run_01" / "22_patches")["patches"].shape[-1] == 2

        tab("Report")
        report = page.frame_locator('iframe[title="report"]')
        expect(report.get_by_role("heading").first).to_be_visible(timeout=30_000)
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Open it in a tab of its own").click()
        own = opened.value
        expect(own.get_by_role("heading", level=1)).to_be_visible()
        expect(own.get_by_text("min-is-white").first).to_be_attached()
        own.close()
        tab("Look closer")
        expect(page.get_by_text("There is no run yet.").locator("visible=true")).to_have_count(0)
        expect(page.locator("canvas >> visible=true").first).to_be_visible(timeout=60_000)
        look(page, "closer")

        tab("Apply")
        apply = page.get_by_role("button", name="Apply the model to my movies")
        apply.click()
        expect(page.get_by_text("no file or folder is named")).to_be_visible()
        path = page.get_by_placeholder("a file or a folder on this computer")
        path.fill("nowhere.tif")
        path.press("Tab")
        apply.click()
        expect(page.get_by_text("there is no file or folder 'nowhere.tif'")).to_be_visible()
        expect(page.get_by_placeholder("a letter each")).to_have_value("TCYX")
        expect(page.get_by_placeholder("um, e.g. 0.33")).to_have_value("0.333")
        path.fill(str(labelled / "more" / "well_9.tif"))
        path.press("Tab")
        apply.click()
        expect(page.get_by_text("Applying: done.")).to_be_visible(timeout=300_000)
        look(page, "applied")
        table = page.get_by_role("link", name="cells.csv").or_(page.get_by_role("link", name="items.csv")).first
        expect(table).to_be_visible()
        made = read_dataset(labelled / "out" / "applied_01")
        assert made.settings["axes"] == "TCYX" and len(made) > 50
        status, text = a.ask("/" + table.get_attribute("href"), Authorization=f"token {a.token}")
        assert status == 200 and text.count("\n") > 50
        own = r"favicon|source map|403.*api/shutdown|Could not find a static loader"
        assert not [e for e in page.errors if not re.search(own, e)], page.errors
    finally:
        a.stop()
