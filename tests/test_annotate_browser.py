"""The annotators with a real mouse and real keys. What does not depend on the front end runs on a bare page with its
Python in this process; the rest on JupyterLab, Voila and the classic notebook with ipywidgets 7. Pictures of every
widget are in test-artefacts/ afterwards: look at them."""

import base64, errno, io, json, random, re, subprocess

import numpy as np, pandas as pd, pytest, tifffile
from browser import ARTEFACTS, Bare, make_notebook, wait_until
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.io import imread

from cellprotocols.drawing import BoxAnnotator, MaskAnnotator
from cellprotocols.fields import ImageAnnotator
from cellprotocols.grid import PatchGrid
from cellprotocols.points import PointAnnotator
from cellprotocols.labellog import LabelLog, read_labels
from cellprotocols.synth import make_movie

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.browser
HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "a \"quote\" & 'another'",
    "zelle 🦠 ünïcode",
    " ".join(["a very long class name that goes on and on"] * 4),
]


@pytest.fixture
def bare(page):
    "A function that puts a widget on a bare page of 1280 x 720 px."
    page.set_viewport_size(dict(width=1280, height=720))
    yield lambda widget: Bare(page, widget)
    page.unroute_all(behavior="ignoreErrors")


@pytest.fixture(scope="module")
def movie():
    return make_movie(n_frames=6, seed=3, division_rate=8.0)


class Hand:
    "What a person does with one widget of a page."

    def __init__(self, page, title):
        self.page, self.root, self.mouse, self.keys = (
            page,
            page.locator(f'.cp[aria-label="{title}"]'),
            page.mouse,
            page.keyboard,
        )
        self.root.scroll_into_view_if_needed()
        self.root.focus()

    def press(self, *keys):
        for k in keys:
            self.keys.press(k)
        return self

    def saved(self):
        expect(self.root).to_have_attribute("data-pending", "0", timeout=60_000)
        return self

    def data(self, name):
        return self.root.get_attribute(f"data-{name}")

    def wait(self, name, value):
        expect(self.root).to_have_attribute(f"data-{name}", str(value))
        return self

    def leaves(self, name, value):
        self.page.wait_for_function(
            "([e, k, v]) => e.dataset[k] !== v", arg=[self.root.element_handle(), name, str(value)]
        )
        return self

    def slide(self, title, value):
        self.root.get_by_label(title, exact=True).fill(str(value))
        return self

    def check(self, text, on=True):
        self.root.get_by_label(text).set_checked(on)
        return self

    def shot(self, name):
        ARTEFACTS.mkdir(exist_ok=True)
        self.root.screenshot(path=ARTEFACTS / f"{name}.png")

    # the grid
    def cell(self, item):
        return self.root.locator(f'.cp-cell[title^="{item}\\a "]')

    def framed(self):
        return self.root.locator(".cp-at").get_attribute("title").split("\n")[0]

    def grid(self):
        expect(self.root.locator(".cp-drawn").nth(2)).to_be_visible()
        return self

    # fields: (y, x) px of the image to the screen, as long as it is fitted into the view
    def fit(self, shape):
        box = self.root.locator(".cp-view").bounding_box()
        s = min(box["width"] / shape[1], box["height"] / shape[0])
        self.scale, self.x0, self.y0 = (
            s,
            box["x"] + (box["width"] - shape[1] * s) / 2,
            box["y"] + (box["height"] - shape[0] * s) / 2,
        )
        return self

    def at(self, y, x):
        return self.x0 + (x + 0.5) * self.scale, self.y0 + (y + 0.5) * self.scale

    def click(self, y, x, **how):
        self.mouse.click(*self.at(y, x), **how)
        return self

    def drag(self, *path, button="left"):
        self.mouse.move(*self.at(*path[0]))
        self.mouse.down(button=button)
        for p in path[1:]:
            self.mouse.move(*self.at(*p), steps=4)
        self.mouse.up(button=button)
        return self

    def pixel(self, y, x):
        "(r, g, b) of the picture where it shows this pixel."
        px, py = self.at(y, x)
        box = self.root.locator(".cp-view").bounding_box()
        return tuple(
            self.root.locator(".cp-canvas").evaluate(
                "(c, [x, y]) => [...c.getContext('2d').getImageData(x * c.width / c.clientWidth, y * c.height / "
                "c.clientHeight, 1, 1).data].slice(0, 3)",
                [px - box["x"], py - box["y"]],
            )
        )

    def picture(self):
        return self.root.locator(".cp-canvas").evaluate(
            "c => { let h = 0; for (const v of new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, "
            "c.height).data.buffer)) h = (h * 31 + v) | 0; return h; }"
        )


def make_grid(folder, n=120, classes=("A", "B", "C"), **more):
    rng = np.random.default_rng(0)
    return PatchGrid(
        rng.integers(0, 255, (n, 24, 24), np.uint8),
        [f"i{k}" for k in range(n)],
        classes,
        folder / "log.jsonl",
        by="x",
        **more,
    )


def labels(widget):
    return {i: e["label"] for i, e in widget.labellog.latest().items()}


# ---------- the grid


def test_patches_by_key_mouse_and_both(bare, page, tmp_path):
    bare(w := make_grid(tmp_path, target=20))
    h = Hand(page, "Label patches").grid()
    h.press("1", "2", "ArrowRight", "3").saved()
    assert labels(w) == dict(i0="A", i1="B", i3="C") and h.framed() == "i4"
    h.cell("i10").click()
    h.cell("i14").click(modifiers=["Shift"])
    h.cell("i20").click(modifiers=["Control"])
    h.press("2").saved()
    assert {i for i, l in labels(w).items() if l == "B"} == {"i1", *(f"i{k}" for k in range(10, 15)), "i20"}
    expect(h.root.get_by_role("radio", name="B, 7 of 20 labelled")).to_be_visible()
    h.press("u").saved()
    assert sum(w.counts().values()) == 3 and h.framed() == "i10"  # one looks at what is taken back
    h.press("r").saved()
    assert w.counts()["B"] == 7
    h.press("Home", "f").saved()
    assert w.table.flagged[0] and labels(w)["i0"] == "A"
    expect(h.root.locator(".cp-flagged")).to_have_count(1)
    h.press("x").saved()
    assert labels(w)["i0"] == "" and w.table.flagged[0]
    h.press("n")
    assert h.framed() == "i2"
    h.press("Space", "Space", "Enter").saved()
    assert labels(w)["i2"] == labels(w)["i3"] == "B"  # the chosen class
    h.press("Escape", "Control+a", "1").saved()
    assert w.counts() == dict(A=120, B=0, C=0)
    h.press("u").saved()
    assert w.counts()["A"] == 0
    h.root.get_by_role("radio", name="C, ").click()
    h.saved()
    assert page.evaluate("document.activeElement.className") == "cp"
    h.press(".", ",", "End")
    assert h.framed() == "i119"
    h.shot("grid")
    assert not page.errors


def test_what_the_hand_does_by_accident(bare, page, tmp_path):
    bare(w := make_grid(tmp_path, n=40))
    h = Hand(page, "Label patches").grid()
    for _ in range(12):
        h.keys.down("1")  # a key that lies under an elbow
    h.keys.up("1")
    h.saved()
    assert w.counts()["A"] == 1
    h.keys.press("Alt+2")
    h.keys.press("Control+3")
    h.press("4", "Tab")
    h.saved()
    assert sum(w.counts().values()) == 1
    h.root.focus()
    h.press("Shift+U").saved()
    assert sum(w.counts().values()) == 0  # Caps Lock
    h.root.get_by_label("order", exact=True).click()
    h.press("ArrowDown", "Enter")
    page.wait_for_timeout(200)
    h.root.get_by_label("order", exact=True).select_option("given")
    h.root.get_by_title("Undo (u)").is_disabled()
    h.root.focus()
    size = h.root.get_by_label("Size of the patches on the screen").bounding_box()
    page.mouse.click(size["x"] + 60, size["y"] + 8)
    page.wait_for_function("document.activeElement.className == 'cp'")
    h.press("2").saved()
    assert w.counts()["B"] == 1
    h.root.get_by_title("Undo (u)").click()
    h.saved()
    h.press("Space")
    h.saved()
    assert sum(w.counts().values()) == 0  # space marks a patch, it does not undo again
    h.press("Escape", "?")
    expect(h.root.get_by_role("dialog", name="Keys")).to_contain_text("mark the framed patch")
    h.press("1", "2")
    page.wait_for_timeout(200)
    assert sum(w.counts().values()) == 0  # the help is read, not labelled through
    h.shot("help")
    h.press("Escape")
    expect(h.root.get_by_role("dialog")).to_be_hidden()
    h.press("1").saved()
    assert w.counts()["A"] == 1


def test_no_key_is_lost_to_a_button_that_goes_away(bare, page, tmp_path):
    "A button that is switched off, or replaced, while it holds the keyboard; a page on which nothing holds it."
    page.add_init_script(  # a busy computer: what is put off comes late
        "const set = window.setTimeout; window.setTimeout = (f, ms, ...a) => set(f, ms || 1500, ...a)"
    )
    prob = np.tile([0.8, 0.1, 0.1], (40, 1))
    b = bare(w := make_grid(tmp_path, n=40, prob=prob))
    page.locator(".cp-drawn").first.wait_for()
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    page.keyboard.press("2")  # at once after loading
    wait_until(lambda: labels(w) == dict(i0="B"), "the first key arrives", 10)
    h = Hand(page, "Label patches").saved()
    undo = h.root.get_by_title("Undo (u)")
    undo.click()  # the only label there is: the button has nothing left to undo
    expect(undo).to_be_disabled()
    h.press("Space", "Escape", "?")
    expect(h.root.get_by_role("dialog", name="Keys")).to_be_visible()
    h.press("Escape", "1").saved()
    assert w.counts()["A"] == 1
    undo.focus()
    h.press("Enter")  # by keyboard alone
    expect(undo).to_be_disabled()
    h.press("3").saved()
    assert w.counts() == dict(A=0, B=0, C=1)
    h.root.get_by_label("review", exact=True).select_option("A")
    h.root.get_by_role("button", name="Leave").click()  # the banner with the button is gone
    h.wait("shown", 40).press("End", "2").saved()
    assert labels(w)["i39"] == "B"
    b.silent = True
    h.press("Home", "1")
    page.evaluate("close_widget()")
    b.silent = False
    b.load()
    page.get_by_role("button", name="Save them now").click()
    page.keyboard.press("End")
    page.keyboard.press("3")
    expect(page.locator(".cp")).to_have_attribute("data-pending", "0")
    assert labels(w)["i0"] == "A" and labels(w)["i39"] == "C" and not page.errors


def test_review_filters_and_orders(bare, page, tmp_path):
    rng = np.random.default_rng(1)
    truth = np.arange(120) % 3
    x = rng.normal(size=(120, 5)) + 4 * np.eye(5)[truth]
    bare(w := make_grid(tmp_path, embeddings=x, groups=[f"g{k // 10}" for k in range(120)]))
    h = Hand(page, "Label patches").grid()
    for _ in range(20):
        h.press("123"[truth[int(h.framed()[1:])]])
    h.saved()
    expect(h.root.locator(".cp-told")).to_contain_text("learned from 20 labels")
    right = sum(labels(w)[i] == "ABC"[truth[int(i[1:])]] for i in labels(w))
    assert right == len(labels(w)) == 20  # also while it re-sorted, each key hit the patch that was framed
    page.wait_for_timeout(300)
    h.root.get_by_label("review", exact=True).select_option("B")
    expect(h.root.locator(".cp-banner")).to_contain_text("The model calls these B")
    n = int(h.data("shown"))
    wrong = h.root.locator(".cp-cell").nth(1)
    name = wrong.get_attribute("title").split("\n")[0]
    was = labels(w).get(name, "")
    wrong.click()
    expect(h.root.locator(".cp-wrong")).to_have_count(1)
    h.shot("grid-review")
    third = h.root.locator(".cp-cell").nth(4)
    own = third.get_attribute("title").split("\n")[0]
    wrong.click()
    third.click()
    h.press("1").saved()
    assert labels(w)[own] == "A"
    wrong.click()
    h.root.focus()
    h.press("Enter").saved()
    assert labels(w)[own] == "A"
    assert labels(w).get(name, "") == was and w.counts()["B"] >= n - 2
    h.wait("shown", 1).press("3").saved()
    assert labels(w)[name] == "C"
    h.root.get_by_role("button", name="Show all again").click()
    h.wait("shown", 120)
    for show, count in dict(
        unlabelled=sum(w.table.label == ""),
        labelled=sum(w.table.label != ""),
        flagged=0,
        doubtful=sum((w.table.label != "") & (w.table.predicted != w.table.label)),
        **{"class:C": w.counts()["C"], "group:g3": 10},
    ).items():
        h.root.get_by_label("show", exact=True).select_option(show)
        h.wait("shown", count)
    h.root.get_by_label("show", exact=True).select_option("all")
    h.wait("shown", 120)
    for order in ("unsure", "sure", "label", "group", "given", "next"):
        h.root.get_by_label("order", exact=True).select_option(order)
        wait_until(lambda: h.framed() == w.table.item_id[int(w.order(order)[0])], f"order {order}", 10)
    h.root.focus()
    h.press("ArrowRight", "ArrowRight")
    like = h.framed()
    h.press("m")
    wait_until(lambda: h.framed() == like, "itself first", 10)
    assert not page.errors


def test_thirteen_classes_with_hostile_names(bare, page, tmp_path):
    names = [*HOSTILE, *(f"class {k}" for k in range(9))]
    w = PatchGrid(
        np.random.default_rng(0).integers(0, 255, (20, 24, 24), np.uint8),
        [f"{HOSTILE[k % 4]} {k}" for k in range(20)],
        names,
        tmp_path / "log",
        by=HOSTILE[0],
        target=3,
        groups=HOSTILE * 5,
    )
    bare(w)
    h = Hand(page, "Label patches").grid()
    for k in "123456789qwet":
        h.press(k)
    h.saved()
    assert list(labels(w).values()) == names
    h.root.get_by_label("show", exact=True).select_option("group:" + HOSTILE[0])
    h.wait("shown", 5)
    h.root.get_by_label("show", exact=True).select_option("class:" + HOSTILE[3])
    h.wait("shown", 1)
    h.shot("grid-hostile")
    assert not page.evaluate("window.hacked") and page.locator("img").count() == 0 and not page.errors
    box = h.root.bounding_box()
    assert box["width"] <= 1280 and page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_ten_thousand_patches(bare, page, tmp_path):
    n = 10_000
    rng = np.random.default_rng(0)
    some = rng.integers(0, 255, (50, 64, 64), np.uint8)

    class Many:
        def __len__(self):
            return n

        def __getitem__(self, i):
            return some[i % 50]

    bare(w := PatchGrid(Many(), [f"i{k}" for k in range(n)], ["A", "B"], tmp_path / "log", by="x"))
    h = Hand(page, "Label patches").grid()
    slow = page.evaluate("""async () => { const s = document.querySelector('.cp-scroll'), t = [];
        let last = performance.now();
        for (let k = 0; k < 120; k++) { s.scrollTop += 150; await new Promise(requestAnimationFrame);
          const now = performance.now(); t.push(now - last); last = now; }
        return t.sort((a, b) => a - b)[60]; }""")
    assert slow < 100 and h.root.locator(".cp-cell").count() < 400  # what is not seen is not there
    h.press("End")
    wait_until(lambda: h.root.locator(".cp-at.cp-drawn").count(), "the last one is drawn", 20)
    assert h.framed() == f"i{n - 1}"
    h.press("2").saved()
    assert labels(w) == {f"i{n - 1}": "B"}


# ---------- fields


def test_points(bare, page, movie, tmp_path):
    w = PointAnnotator(
        movie,
        ["A", "B"],
        tmp_path / "log",
        names=["practice"],
        by="x",
        target=9,
        guess=lambda p: np.tile([0.4, 0.6], (len(p), 1)),
    )
    bare(w)
    h = Hand(page, "Label cells in a movie").wait("frame", 0).fit((256, 256))
    cells = w.cells(0, 0)
    cells = cells[(cells.y.between(30, 220)) & (cells.x.between(30, 220))]
    (y, x), (y2, x2) = cells[["y", "x"]].values[:2]
    h.click(y + 3, x - 2).saved()
    one = w.to_clicks().iloc[0]
    assert (one.y, one.x) == pytest.approx((y, x), abs=0.02) and one.label == "A"
    h.press("2").saved()
    assert w.to_clicks().label.tolist() == ["A"]  # the class of the next one
    h.press("1").click(y, x).press("2").saved()
    assert w.to_clicks().label.tolist() == ["B"]  # the marked one changes its class
    h.press("Escape").check("snap to the nucleus", False)
    h.root.focus()
    h.drag((y, x), (y2 + 5, x2 + 4)).saved()
    one = w.to_clicks().iloc[0]
    assert (one.y, one.x) == pytest.approx((y2 + 5, x2 + 4), abs=1) and len(w.to_clicks()) == 1
    h.press("f").saved()
    assert w.to_clicks().flagged[0]
    h.press("x").saved()
    assert len(w.to_clicks()) == 0
    h.press("u").saved()
    assert len(w.to_clicks()) == 1
    h.check("snap to the nucleus")
    h.root.focus()
    h.press("1").saved()
    preview = lambda: h.root.locator(".cp-preview").evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b, 0)"
    )
    page.mouse.move(*h.at(y, x))
    bright = preview()
    page.mouse.move(*h.at(3, 128))
    assert bright != preview()  # the patch under the mouse
    n = len(w.suggest())
    h.press("n")
    expect(h.root.locator(".cp-told")).to_contain_text(f"{n} cells without a point")
    h.press("2", "1", "Enter").saved()
    assert len(w.suggest()) == n - 3 and w.counts() == dict(A=2, B=2) or w.counts() == dict(A=1, B=3), w.counts()
    h.shot("points-suggested")
    h.press("Escape")
    h.press("ArrowRight").wait("frame", 1).press("Shift+ArrowRight").wait("frame", 5).press("Home").wait("frame", 0)
    h.slide("frame", 3).wait("frame", 3)
    h.root.focus()
    h.press("Home").wait("frame", 0).press("Space")
    h.leaves("frame", 0).press("Space")
    t = int(h.data("frame"))
    page.wait_for_timeout(600)
    assert int(h.data("frame")) <= t + 1  # it plays, and stops
    h.press("Home").wait("frame", 0)
    h.click(*cells[["y", "x"]].values[3]).saved()
    assert w.to_clicks().t.tolist()[-1] == 0
    h.shot("points")
    assert not page.errors


def test_zoom_pan_and_the_touch_pad(bare, page, tmp_path):
    img = np.zeros((300, 400), np.uint8)
    img[100:110, 200:210] = 255
    w = PointAnnotator(
        img, ["A"], tmp_path / "log", names=["a"], by="x", snap=False, find=lambda img: pd.DataFrame(dict(y=[], x=[]))
    )
    bare(w)
    h = Hand(page, "Label cells in a movie").wait("frame", 0).fit(img.shape)
    px, py = h.at(104.5, 204.5)
    page.mouse.move(px, py)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(150)
    page.mouse.click(px, py)
    h.saved()
    assert w.to_clicks()[["y", "x"]].values[0].tolist() == pytest.approx(
        [104.5, 204.5], abs=0.6
    )  # zoomed around the mouse
    page.mouse.move(px, py)
    page.mouse.down(button="right")
    page.mouse.move(px + 80, py + 30, steps=4)
    page.mouse.up(button="right")
    page.mouse.click(px + 80, py + 30)
    h.saved()
    assert w.to_clicks().shape[0] == 1  # a click on a point marks it: the picture went along
    h.press("z", "Escape")
    before = h.picture()
    page.keyboard.down("Control")
    page.mouse.move(px, py)
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_timeout(150)
    assert (
        h.picture() != before and page.evaluate("visualViewport.scale") == 1
    )  # a pinch zooms the picture, not the page
    h.press("z")
    page.wait_for_timeout(100)
    assert h.picture() == before
    h.press("+", "+", "-", "-")
    page.wait_for_timeout(100)
    assert abs(h.pixel(104.5, 204.5)[0] - 255) < 3 and not page.errors


def test_sixteen_bits_can_be_told_apart(bare, page, tmp_path):
    img = np.full((200, 200), 30_000, np.uint16)
    img[:, 100:] = 30_040
    img[0, 0], img[0, 1] = 0, 65_535
    w = PointAnnotator(img, ["A"], tmp_path / "log", names=["a"], by="x")
    bare(w)
    h = Hand(page, "Label cells in a movie").wait("frame", 0).fit(img.shape)
    h.slide("Percentile shown black", 0).slide("Percentile shown white", 18)
    page.wait_for_timeout(200)
    whole = h.pixel(100, 50), h.pixel(100, 150)
    assert whole[0] == whole[1] == (117,) * 3  # 0 to 65535 on 256 greys
    h.slide("Percentile shown black", 8).slide("Percentile shown white", 11)
    page.wait_for_timeout(200)
    assert (h.pixel(100, 50), h.pixel(100, 150)) == ((0,) * 3, (255,) * 3)
    h.slide("Percentile shown black", 0).slide("Percentile shown white", 18).slide("Gamma: below 1 lifts the dark", 0.5)
    page.wait_for_timeout(200)
    assert h.pixel(100, 50)[0] == round(255 * (30_000 / 65_535) ** 0.5)


def test_channels_are_laid_over_each_other(bare, page, tmp_path):
    img = np.zeros((60, 90, 3), np.uint16)
    img[:, :30, 0] = img[:, 30:60, 1] = img[:, 60:, 2] = 4000
    w = PointAnnotator(img, ["A"], tmp_path / "log", names=["a"], by="x")
    bare(w)
    h = Hand(page, "Label cells in a movie").wait("frame", 0).fit(img.shape)
    seen = [h.pixel(30, x) for x in (15, 45, 75)]
    assert len(set(seen)) == 3 and all(max(c) > 150 for c in seen), seen
    first = h.root.locator(".cp-channels input").first
    first.uncheck()
    page.wait_for_timeout(200)
    assert h.pixel(30, 15) == (0, 0, 0) and h.pixel(30, 45) == seen[1]
    h.shot("points-channels")


def test_boxes(bare, page, movie, tmp_path):
    bare(w := BoxAnnotator(movie, ["A", "B"], tmp_path / "log", names=["practice"], by="x"))
    h = Hand(page, "Draw boxes").wait("frame", 0).fit((256, 256))
    box = lambda k=0: w.to_boxes()[["y0", "x0", "y1", "x1"]].values[k].tolist()
    h.drag((40, 50), (90, 120)).saved()
    assert box() == pytest.approx([40.5, 50.5, 90.5, 120.5], abs=0.7)
    h.drag((90, 85), (110, 85)).saved()
    assert box() == pytest.approx([40.5, 50.5, 110.5, 120.5], abs=0.8)  # one side
    h.drag((40, 120), (30, 140)).saved()
    assert box() == pytest.approx([30.5, 50.5, 110.5, 140.5], abs=1.2)  # a corner
    h.drag((70, 90), (80, 100)).saved()
    assert box() == pytest.approx([40.5, 60.5, 120.5, 150.5], abs=1.5)  # all of it
    h.press("2").saved()
    assert w.to_boxes().label.tolist() == ["B"]
    h.drag((200, 200), (300, 300)).saved()
    assert box(1)[2:] == [256, 256]  # over the edge
    h.drag((180, 20), (180.4, 20.4)).saved()
    assert len(w.to_boxes()) == 2  # a slip of the hand is no box
    h.press("Escape").click(80, 100).press("x").saved()
    assert w.to_boxes().label.tolist() == ["B"]
    h.press("u").saved()
    assert len(w.to_boxes()) == 2
    h.click(80, 100).shot("boxes")
    h.press("1").saved()
    assert sorted(w.to_boxes().label) == ["A", "B"]
    h.press("f").saved()
    assert w.to_boxes().flagged.sum() == 1
    h.press("Escape", "ArrowRight").wait("frame", 1).drag((10, 10), (60, 60)).saved()
    assert w.to_boxes().t.tolist() == [0, 0, 1] and not page.errors


def test_masks_are_in_python_what_the_page_shows(bare, page, movie, tmp_path):
    bare(w := MaskAnnotator(movie, ["A", "B"], tmp_path / "log", names=["practice"], by="x"))
    h = Hand(page, "Paint masks").wait("frame", 0).fit((256, 256))
    h.drag((60, 40), (80, 120), (50, 200))
    h.press("2", "]", "]", "]").drag((150, 50), (150, 150))
    h.click(200, 220)
    h.press("b").drag((100, 180), (100, 240), (180, 240), (180, 180))
    h.press("b", "m").drag((60, 100), (200, 100))
    h.press("m", "1", "[")
    h.click(30, 30)
    h.saved()
    assert h.data("shapes") == "6"
    w.paint([(220, 30), (230, 90)], "A", radius=0.5)  # thinner than a pixel; reaches the page as another page's does
    h.press("ArrowRight").wait("frame", 1).press("ArrowLeft").wait("frame", 0)
    page.mouse.move(5, 5)

    def shown():
        "The label image that the page has painted, from its own canvas, by colour."
        colours = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in w.setup["colours"]]
        px = imread(io.BytesIO(base64.b64decode(page.evaluate("window.painted().toDataURL()").split(",")[1]))).astype(
            int
        )
        assert px.shape == (256, 256, 4)
        near = np.abs(px[..., None, :3] - np.array(colours)).sum(-1).argmin(-1)
        return np.where(px[..., 3] >= 128, near + 1, 0)

    page.evaluate(
        """() => { const draw = CanvasRenderingContext2D.prototype.drawImage; let last;
        CanvasRenderingContext2D.prototype.drawImage = function (c, ...a) {
          if (this.globalAlpha == 0.5) last = c; return draw.call(this, c, ...a); };
        window.painted = () => last; }"""
    )

    def same():
        h.press("Escape")
        page.wait_for_timeout(200)
        theirs, ours = shown(), w.to_mask()
        for k in (1, 2):
            assert (
                not (binary_erosion(theirs == k) & (ours != k)).any()
                and not ((theirs == k) & ~binary_dilation(ours == k, iterations=1)).any()
                and not (binary_erosion(ours == k) & (theirs != k)).any()
            )
        assert (theirs != ours).mean() < 0.01 and (ours > 0).mean() > 0.05
        return ours

    whole = same()
    h.shot("masks")
    h.press("u").saved()
    less = same()
    h.press("u").saved()
    assert (same() != less).any()
    h.press("r", "r").saved()
    assert np.array_equal(same(), whole) and not page.errors


def test_images_one_after_the_other(bare, page, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "broken.tif").write_bytes(b"II*\0nothing")
    fields = [rng.integers(0, 200, (120, 160), np.uint8) for _ in range(6)]
    fields[3] = tmp_path / "broken.tif"
    w = ImageAnnotator(
        fields, ["clean", "artifact"], tmp_path / "log", names=[f"field {k}" for k in range(6)], by="x", target=4
    )
    bare(w)
    h = Hand(page, "Label images").wait("frame", 0)
    h.press("1", "2", "1").wait("field", "field 3")
    expect(h.root.locator(".cp-note")).to_contain_text("cannot be shown")
    h.shot("images-broken")
    h.press("2", "1", "2").saved()
    assert list(labels(w).values()) == [
        "clean",
        "artifact",
        "clean",
        "artifact",
        "clean",
        "artifact",
    ]  # the broken one, too, can be judged (to leave it out)
    expect(h.root.locator(".cp-told")).to_have_text("every image has a label")
    h.press("u").wait("field", "field 5").press("r").wait("field", "field 5").saved()
    h.press("ArrowLeft", "x").saved().press("n")
    h.wait("field", "field 4")
    h.press("f").saved()
    assert labels(w)["field 4"] == ""
    tifffile.imwrite(tmp_path / "broken.tif", fields[0])
    h.press("ArrowLeft")
    h.root.get_by_role("button", name="Read it again").click()
    expect(h.root.locator(".cp-note")).to_be_hidden()
    h.wait("frame", 0)
    h.root.get_by_label("field", exact=True).select_option("0")
    h.wait("field", "field 0")
    page.wait_for_timeout(200)
    h.shot("images")
    assert not page.errors


def test_images_that_show_several_classes(bare, page, tmp_path):
    fields = [np.tile(np.arange(60, dtype=np.uint8) + k, (50, 1)) for k in range(3)]
    more = dict(several=True, alone="nothing", known={"f1": "P"})
    w = ImageAnnotator(fields, ["P", "Q", "nothing"], tmp_path / "log", ["f0", "f1", "f2"], by="x", **more)
    bare(w)
    h = Hand(page, "Label images").wait("frame", 0)
    h.press("2", "1").saved()
    assert labels(w) == {"f0": "P|Q"}, "a second class is added, the image stays"
    expect(h.root.locator(".cp-answer b")).to_have_text(["P", "Q"])
    h.press("1").saved()
    assert labels(w) == {"f0": "Q"}, "the same key again takes it away"
    h.press("3").saved()
    assert labels(w) == {"f0": "nothing"}, "which excludes the others"
    h.press("n").wait("field", "f2")  # f1 has a label already
    h.press("ArrowLeft").wait("field", "f1")
    expect(h.root.locator(".cp-answer b")).to_have_text(["P"])
    h.press("2").saved()
    assert labels(w)["f1"] == "P|Q", "added to what was known"
    h.press("u").saved()
    expect(h.root.locator(".cp-answer b")).to_have_text(["P"])
    assert not page.errors


def test_quick_keys_do_not_leave_the_picture_blank(bare, page, tmp_path):
    fields = [np.tile(np.arange(60, dtype=np.uint8) + k, (50, 1)) for k in range(12)]
    bare(ImageAnnotator(fields, ["A"], tmp_path / "log", names=[f"f{k}" for k in range(12)], by="x"))
    h = Hand(page, "Label images").wait("frame", 0).fit((50, 60))
    page.evaluate(
        "() => { const r = document.querySelector('.cp'); for (let k = 0; k < 9; k++) r.dispatchEvent(new "
        "KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true })); }"
    )
    h.wait("field", "f9")
    wait_until(lambda: max(h.pixel(25, 50)) > 0, "the picture comes", 10)
    assert not page.errors


# ---------- nothing is lost


def test_a_full_disk_while_labelling(bare, page, tmp_path, request):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    request.addfinalizer(lambda: subprocess.run(["umount", "-l", small]))
    bare(w := make_grid(small))
    h = Hand(page, "Label patches").grid().press("1", "2").saved()
    with open(small / "filler", "wb", buffering=0) as f:
        try:
            while f.write(b"x" * 64):
                pass
        except OSError as e:
            assert e.errno == errno.ENOSPC
    log = small / "log.jsonl"
    with open(log, "ab", buffering=0) as f:  # up to the last byte of the log's own page
        size = log.stat().st_size
        try:
            while f.write(b" "):
                pass
        except OSError:
            pass
        f.truncate(size)
    typed = [random.Random(0).choice("123") for _ in range(60)]
    for k in typed:
        h.press(k)
    alert = h.root.get_by_role("alert").filter(has_text="Not saved")
    expect(alert).to_contain_text("the disk is full")
    h.shot("full-disk")
    h.press("u")
    page.wait_for_timeout(1500)
    assert int(h.data("pending")) > 0
    (small / "filler").unlink()
    h.saved()
    expect(alert).to_be_hidden()
    lines = [json.loads(l) for l in log.read_text().splitlines()][1:]
    assert (
        [e["label"] for e in lines[2:-1]] == ["ABC"[int(k) - 1] for k in typed]
        and "undo" in lines[-1]
        and [e["item"] for e in lines[:-1]] == [f"i{k}" for k in range(62)]
    )
    h.press("3").saved()
    assert labels(w)["i62" if h.framed() != "i62" else "i61"] == "C"


def test_a_read_only_disk(bare, page, tmp_path, request):
    folder = tmp_path / "ro"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root can make a read-only disk")
    request.addfinalizer(lambda: subprocess.run(["umount", "-l", folder]))
    bare(w := make_grid(folder))
    h = Hand(page, "Label patches").grid().press("1", "2")
    expect(h.root.get_by_role("alert")).to_contain_text("this disk is read-only")
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    h.saved()
    assert labels(w) == dict(i0="A", i1="B")


def test_python_that_does_not_answer_and_a_page_that_is_closed(bare, page, tmp_path):
    b = bare(w := make_grid(tmp_path))
    h = Hand(page, "Label patches").grid().press("1").saved()
    b.silent = True
    h.press("2", "3", "2")
    expect(h.root.get_by_role("alert")).to_contain_text("Python does not answer", timeout=10_000)
    h.shot("silent")
    b.silent = False
    b.load()
    h = Hand(page, "Label patches").grid()
    expect(h.root.locator(".cp-left")).to_contain_text("3 decisions of an earlier page were never saved")
    h.shot("left")
    assert labels(w) == dict(i0="A")
    h.root.get_by_role("button", name="Save them now").click()
    h.saved()
    assert labels(w) == dict(i0="A", i1="B", i2="C", i3="B")
    expect(h.cell("i3")).to_have_attribute("title", re.compile("label: B"))
    b.load()
    page.wait_for_timeout(500)
    expect(page.locator(".cp-left")).to_have_count(0)
    h = Hand(page, "Label patches").grid()
    b.silent = True
    h.press("n", "1")
    page.evaluate("close_widget()")
    b.silent = False
    b.load()  # a cell that is run again
    page.get_by_role("button", name="Save them now").click()
    Hand(page, "Label patches").saved()
    assert len(labels(w)) == 5


def test_what_is_wrong_is_said_in_the_widget(bare, page, tmp_path):
    make_grid(tmp_path, dataset="1" * 64).label("i1", "A")
    log = tmp_path / "log.jsonl"
    before = log.read_bytes()
    bare(make_grid(tmp_path, dataset="2" * 64))
    h = Hand(page, "Label patches").grid()
    expect(h.root.get_by_role("alert")).to_contain_text("these labels belong to another dataset")
    h.press("1")
    expect(h.root.get_by_role("alert")).to_contain_text("Not saved (1)")
    assert log.read_bytes() == before
    h.shot("another-dataset")


def test_items_gone_a_cut_line_and_a_broken_patch_are_said(bare, page, tmp_path):
    log = LabelLog(tmp_path / "log.jsonl", "y")
    log.give([dict(item="<b>gone</b>", label="A"), dict(item="i3", label="B")])
    (tmp_path / "log.jsonl").write_bytes((tmp_path / "log.jsonl").read_bytes()[:-5])

    class Some:
        def __len__(self):
            return 30

        def __getitem__(self, i):
            if i == 2:
                raise OSError("<script>window.hacked=1</script>")
            return np.full((20, 20), 8 * i, np.uint8)

    bare(w := PatchGrid(Some(), [f"i{k}" for k in range(30)], ["A", "B"], tmp_path / "log.jsonl", by="x"))
    h = Hand(page, "Label patches").grid()
    expect(h.root.get_by_role("alert")).to_contain_text("'<b>gone</b>'")
    expect(h.cell("i2")).to_contain_text("cannot be shown")
    h.press("1").saved()
    expect(h.root.get_by_role("alert")).to_contain_text("was cut off")
    h.press("2", "2").saved()
    assert labels(w)["i2"] == "B" and not page.evaluate("window.hacked")
    h.shot("grid-problems")


# ---------- everybody can use it


def all_five(folder, movie):
    x = np.eye(40)
    yield make_grid(folder / "g", n=40, embeddings=x, groups=[f"m{k % 4}" for k in range(40)], px_um=0.3, target=9)
    two = np.stack([movie.frames[..., 0]] * 2, -1)
    yield PointAnnotator([two, movie.frames], ["A", "B"], folder / "p", names=["two channels", "one"], by="x")
    yield BoxAnnotator(movie, ["A", "B"], folder / "b", names=["m"], by="x")
    yield MaskAnnotator(movie, ["A", "B"], folder / "m", names=["m"], by="x")
    yield ImageAnnotator(list(movie.frames[:3]), ["A", "B"], folder / "i", names=list("abc"), by="x")


def test_comforts_of_the_grid_and_of_fields(bare, page, movie, tmp_path):
    "What to do is said, every key is listed, other programs' keys work, fields are found, the picture fits, at any width."
    names = [f"plate 1, well {w}{n}" for w in "AB" for n in range(1, 7)]
    w = PointAnnotator(
        [movie.frames[:2]] * 12, ["Interphase", "Prometaphase"], tmp_path / "p", names=names, by="x", target=9
    )
    bare(w)
    h = Hand(page, "Label cells in a movie").wait("frame", 0).fit((256, 256))
    goal = h.root.locator(".cp-goal")
    expect(goal).to_contain_text("click the cells that are of it")
    expect(goal).to_contain_text("9 more Interphase, 9 more Prometaphase")
    h.press("n")
    told = h.root.locator(".cp-told")
    expect(told).to_contain_text("cells without a point")
    n = int(told.inner_text().split()[0])
    h.press("1").saved()
    expect(told).to_have_text(f"{n - 1} cells without a point")
    h.press("2").saved()
    expect(told).to_have_text(f"{n - 2} cells without a point")
    expect(goal).to_contain_text("8 more Interphase, 8 more Prometaphase")
    for back, again in dict.fromkeys([("Control+z", "Control+y"), ("Meta+z", "Meta+Shift+z"), ("u", "r")]):
        h.press("Escape", back).saved()
        assert len(w.to_clicks()) == 1, back
        h.press(again).saved()
        assert len(w.to_clicks()) == 2, again
    h.press("?")
    keys = h.root.get_by_role("dialog", name="Keys").locator("kbd").all_inner_texts()
    bound = page.evaluate("[...document.querySelectorAll('.cp-help li')].every(li => li.lastChild.textContent.trim())")
    assert bound and {"1", "2", "u", "Ctrl+Z", "Ctrl+Y", "→", "Shift+→", "Delete", "Home", "End", "n", "Escape"} <= set(
        keys
    ), keys
    h.press("Escape")
    h.root.get_by_label("Find a field by name").fill("well b")
    h.wait("listed", 6)
    h.root.get_by_label("Find a field by name").press("Enter")
    h.wait("field", names[6])
    h.root.get_by_label("Find a field by name").fill("")
    h.root.get_by_label("unlabelled only").check()
    h.wait("listed", 11)
    h.press("PageUp")
    h.wait("field", names[5])
    h.press("PageUp", "PageUp", "PageUp", "PageUp", "PageUp")
    h.wait("field", names[1])  # not the first: it has labels
    for width in (800, 390):
        page.set_viewport_size(dict(width=width, height=800))
        page.wait_for_timeout(200)
        edge = "c => { const g = c.getContext('2d'), w = c.width, h = c.height, s = Math.min(w, h), x0 = (w - s) / 2, "
        edge += "y0 = (h - s) / 2, a = g.getImageData(w / 2, y0 + 3, 1, 1).data[3], "
        edge += "b = g.getImageData(w / 2, y0 + s - 4, 1, 1).data[3], l = g.getImageData(x0 + 3, h / 2, 1, 1).data[3]; "
        edge += "return [a, b, l, x0 > 4 ? g.getImageData(x0 - 4, h / 2, 1, 1).data[3] : 0]; }"
        assert h.root.locator(".cp-canvas").evaluate(edge) == [255, 255, 255, 0], width  # it fills the view, as before
        cut = "els => els.filter(e => e.scrollWidth > e.clientWidth || e.clientWidth < 20).length"
        assert h.root.locator(".cp-name").evaluate_all(cut) == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        h.shot(f"points-{width}")
    assert not page.errors


@pytest.mark.parametrize("k", range(5), ids=["grid", "points", "boxes", "masks", "images"])
def test_names_for_a_screen_reader_and_no_scrolling(bare, page, tmp_path, movie, k):
    bare(list(all_five(tmp_path, movie))[k])
    root = page.locator(".cp")
    page.wait_for_function("(r => r.dataset.frame ?? r.dataset.shown)(document.querySelector('.cp'))")
    page.wait_for_timeout(300)
    root.focus()
    for opened in (False, True):
        if opened:
            page.keyboard.press("?")
        tree = root.aria_snapshot()
        nameless = [
            l.strip()
            for l in tree.splitlines()
            if re.match(
                r"\s*- "
                r"(button|radio|slider|combobox|checkbox|option|img|listbox|dialog|textbox|radiogroup|application)( "
                r"\[|:|$)",
                l,
            )
        ]
        assert not nameless and len(tree) > 400, (nameless, tree)
    page.keyboard.press("Escape")
    box = root.bounding_box()
    assert box["y"] + box["height"] <= 700 and page.evaluate(
        "document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth"
    ), box
    seen = set()
    for _ in range(60):  # the keyboard alone reaches every control
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                "(e => document.querySelector('.cp').contains(e) ? [...document.querySelectorAll('.cp button, .cp "
                "input, .cp select')].indexOf(e) : -1)(document.activeElement)"
            )
        )
    want = page.evaluate(
        "[...document.querySelectorAll('.cp button, .cp input, .cp select')].map((e, i) => e.checkVisibility() && "
        "!e.disabled ? i : -1)"
    )
    assert set(want) <= seen | {-1}, (want, seen)


# ---------- in the front ends

SETUP = """
import os, warnings, numpy as np, cellprotocols.labellog as L
from pathlib import Path
from IPython.display import display
from cellprotocols.drawing import BoxAnnotator, MaskAnnotator
from cellprotocols.fields import ImageAnnotator
from cellprotocols.grid import PatchGrid
from cellprotocols.points import PointAnnotator
from cellprotocols.synth import make_movie, make_patches
patches, states, tracks = make_patches(n=60, seed=1); S = list(dict.fromkeys(states))
movie = make_movie(n_frames=6, seed=3, division_rate=8.)
"""
LOSE = (
    SETUP
    + """
real = L._write_all
def maybe(f, data):
    if Path("full").exists(): raise OSError(28, "no space")
    real(f, data)
L._write_all = maybe
PatchGrid(patches, [f"cell_{i:04}" for i in range(300)], S, "lose.jsonl", by="anna", target=20)
"""
)


def test_nothing_is_lost(front_end, page):
    "A full disk, a killed kernel, a page that is loaded again, a second page on the same folder."
    folder, log = front_end.folder, front_end.folder / "lose.jsonl"
    log.unlink(missing_ok=True)
    (folder / "full").unlink(missing_ok=True)
    make_notebook(folder / "lose.ipynb", [LOSE])
    make_notebook(folder / "second.ipynb", [LOSE.replace("anna", "ben")])
    typed, names = "", dict(zip("12345", ["Interphase", "Prometaphase", "Metaphase", "Anaphase", "Apoptosis"]))

    def type_(h, keys):
        nonlocal typed
        h.press(*keys)
        typed += keys

    def on_disk():
        t = read_labels(log)
        return list(t.item) == [f"cell_{i:04}" for i in range(len(typed))] and list(t.label) == [
            names[k] for k in typed
        ]

    front_end.open_notebook(page, "lose.ipynb", ".cp")
    h = Hand(page, "Label patches").grid()
    type_(h, "12345")
    h.saved()
    assert on_disk()
    (folder / "full").touch()
    type_(h, "54321")
    alert = h.root.get_by_role("alert")
    expect(alert).to_contain_text("Not saved (5)")
    expect(alert).to_contain_text("disk is full")
    front_end.shot(page, "full")
    assert not on_disk()
    (folder / "full").unlink()
    h.saved()
    assert on_disk()
    expect(alert).to_be_hidden()
    front_end.kill_kernel(page)
    h.root.focus()
    type_(h, "123")
    expect(alert).to_contain_text("Not saved (3)", timeout=15_000)
    front_end.shot(page, "killed")
    front_end.run_all(page, ".cp")
    h = Hand(page, "Label patches").grid()
    expect(page.locator(".cp-left")).to_contain_text("3 decisions", timeout=10_000)
    page.get_by_role("button", name="Save them now").click()
    h.saved()
    assert on_disk()
    front_end.reload(page, ".cp")
    h = Hand(page, "Label patches").grid()
    expect(h.cell("cell_0012")).to_have_attribute("title", re.compile("label: Metaphase"))
    expect(page.locator(".cp-left")).to_have_count(0)
    other = page.context.new_page()
    other.set_default_timeout(60_000)
    front_end.open_notebook(other, "second.ipynb", ".cp")
    g = Hand(other, "Label patches").grid()
    g.press("n")
    assert g.framed() == "cell_0013"
    type_(g, "4")
    g.saved()
    page.bring_to_front()
    expect(h.cell("cell_0013")).to_have_attribute("title", re.compile(r"label: Anaphase \(ben\)"), timeout=15_000)
    h.root.focus()
    h.press("n")
    type_(h, "5")
    h.saved()
    other.bring_to_front()
    expect(g.cell("cell_0014")).to_have_attribute("title", re.compile(r"label: Apoptosis \(anna\)"), timeout=15_000)
    assert on_disk() and set(read_labels(log).by) == {"anna", "ben"}
    assert not [
        e
        for e in front_end.complaints(page)
        if not re.search("WebSocket|kernel|ERR_CONNECTION|Cannot send|disposed|404", e)
    ]
    other.close()


FIVE = (
    SETUP
    + """
for w in (PatchGrid(np.tile(patches, (4, 1, 1, 1)), [f"cell_{i:04}" for i in range(1200)], S, "five/grid", by="anna",
                    target=20, px_um=.33),
          PointAnnotator(movie, S, "five/points", names=["practice"], by="anna", target=50),
          BoxAnnotator(movie, ["dividing", "resting"], "five/boxes", names=["practice"], by="anna"),
          MaskAnnotator(movie, ["crystal", "fibre"], "five/masks", names=["practice"], by="anna"),
          ImageAnnotator([f for f in movie.frames], ["clean", "artifact"], "five/images",
                         names=[f"field {k}" for k in range(6)], by="anna", target=10)): display(w)
"""
)


@pytest.fixture(scope="module")
def desk(server, browser):
    "(front end, page) with all five widgets under one cell, opened once for all tests that only look and label."
    from browser import watch

    context = browser.new_context(viewport=dict(width=1280, height=720))
    page = watch(context.new_page())
    make_notebook(server.folder / "five.ipynb", [FIVE])
    server.open_notebook(page, "five.ipynb", ".cp")
    expect(page.locator(".cp")).to_have_count(5)
    yield server, page
    context.close()
    server.end_kernels()


def said(server, name):
    return read_labels(server.folder / "five" / name)


def test_every_widget_in_every_front_end(desk):
    server, page = desk
    shot = lambda name: (page.wait_for_timeout(300), h.shot(f"{name}-{server.name}"))
    h = Hand(page, "Label patches").grid().press("1", "2")
    h.cell("cell_0005").click()
    h.cell("cell_0007").click(modifiers=["Shift"])
    h.press("3", "u", "r", "f").saved()
    shot("grid")
    assert list(said(server, "grid").label[:5]) == ["Interphase", "Prometaphase", "Metaphase", "Metaphase", "Metaphase"]
    h = (
        Hand(page, "Label cells in a movie")
        .wait("frame", 0)
        .fit((256, 256))
        .click(150, 128)
        .saved()
        .press("ArrowRight")
        .wait("frame", 1)
        .press("ArrowLeft")
        .wait("frame", 0)
        .click(60, 60)
        .press("n")
    )
    expect(h.root.locator(".cp-told")).to_contain_text("cells without a point")
    h.press("2").saved()
    shot("points")
    assert len(said(server, "points")) == 3 and not [e for e in server.complaints(page)]
    h = Hand(page, "Draw boxes").fit((256, 256)).drag((40, 50), (90, 120)).press("2").drag((90, 85), (110, 85)).saved()
    shot("boxes")
    assert (
        said(server, "boxes").box.iloc[-1] == pytest.approx([40.5, 50.5, 110.5, 120.5], abs=1)
        and said(server, "boxes").label.iloc[-1] == "resting"
    )
    h = (
        Hand(page, "Paint masks")
        .fit((256, 256))
        .drag((60, 40), (80, 120), (50, 200))
        .press("2", "b")
        .drag((100, 180), (100, 240), (180, 240), (180, 180))
        .saved()
    )
    shot("masks")
    assert [s["fill"] for s in said(server, "masks").stroke] == [False, True]
    h = Hand(page, "Label images").press("1", "2").saved().wait("field", "field 2")
    shot("images")
    assert list(said(server, "images").label) == ["clean", "artifact"]
    for title in ("Label patches", "Label cells in a movie", "Draw boxes", "Paint masks", "Label images"):
        assert page.locator(f'.cp[aria-label="{title}"]').bounding_box()["height"] < 690
    if server.name == "lab":
        page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
        page.wait_for_timeout(1000)
        for name, title in dict(grid="Label patches", points="Label cells in a movie", masks="Paint masks").items():
            h = Hand(page, title)
            shot(name + "-dark")
        light = page.locator(".cp").first.evaluate("""e => { const lum = c => {
              const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => (v / 255) ** 2.2);
              return .2126 * r + .7152 * g + .0722 * b; };
            return ['.cp-name', '.cp-count', '.cp-status', '.cp-choice span', '.cp select'].map(s => {
              const el = e.querySelector(s) ?? e;
              const bg = lum(getComputedStyle(e).backgroundColor), fg = lum(getComputedStyle(el).color);
              return (Math.max(bg, fg) + .05) / (Math.min(bg, fg) + .05); }); }""")
        assert min(light) > 4.5, light
        page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
        page.wait_for_timeout(500)
    assert not server.complaints(page)


def test_a_thousand_labels_at_full_speed_arrive_in_order(desk):
    server, page = desk
    h = Hand(page, "Label patches").grid().press("Escape", "n")
    n = len(said(server, "grid"))
    typed = [random.Random(1).choice("12345") for _ in range(1000)]
    for k in typed:
        page.keyboard.press(k)
    expect(h.root).to_have_attribute("data-pending", "0", timeout=240_000)
    new = said(server, "grid").iloc[n:]
    assert (
        list(new.label)
        == [["Interphase", "Prometaphase", "Metaphase", "Anaphase", "Apoptosis"][int(k) - 1] for k in typed]
        and new.item.is_unique
        and list(new.item) == sorted(new.item)
        and not server.complaints(page)
    )
