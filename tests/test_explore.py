"The map: places and lassos, labels through the log, one page that is bounded, safe with any name, and right in a real browser."
import base64
import csv
import io
import json
import re

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from PIL import Image


from cellprotocols.annotate import read_static
from cellprotocols.explore import Explorer
from cellprotocols.mappage import choose_thumbs, make_explorer_html, write_explorer_html
from cellprotocols.places import ExploreError, find_inside, to_unit_square
from cellprotocols.labellog import LabelLog, read_labels
from cellprotocols.viz import find_intensity_limits
from cellprotocols.report import Inset, Section, write_report

EVIL = "</script><script>window.ran=1</script>\"'><img src=http://evil.example/x onerror=window.ran=2>]]>--></style><!-- 🧬\u202eabc\x00&amp;"
CLASSES = ["A", "B", "C"]


def cells(n=60, seed=0, size=24, dtype=np.uint8):
    "Places in a square of 10 x 6, patches whose brightness says which row they are."
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 1, (n, 2))*[10, 6]
    images = np.broadcast_to((40 + 200*np.arange(n)/n).astype(dtype)[:, None, None], (n, size, size)).copy()
    images[:, ::4] //= 2
    return xy, [f"cell_{i:03}" for i in range(n)], np.array([CLASSES[i % 3] if i % 4 else "" for i in range(n)], object), images


def explorer(tmp_path, n=60, **more):
    xy, items, labels, images = cells(n)
    return Explorer(images, items, xy, CLASSES, tmp_path/"log.jsonl", **dict(labels=labels, groups=[f"g{i % 5}" for i in range(n)], by="anna") | more)


# ---------- places and lassos

@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)]*2), min_size=1, max_size=30), st.integers(0, 2**32 - 1), st.integers(3, 12))
@settings(max_examples=60, deadline=None)
def test_lasso_agrees_with_matplotlib(points, seed, corners):
    polygon = np.random.default_rng(seed).uniform(-1e6, 1e6, (corners, 2))
    star = polygon[np.argsort(np.arctan2(*(polygon - polygon.mean(0)).T))]           # does not cross itself: both rules agree
    points = np.array(points)
    assert (find_inside(points, star) == Outline(np.r_[star, star[:1]], closed=True).contains_points(points)).all()


@given(st.integers(1, 200), st.floats(-1e12, 1e12), st.floats(1e-6, 1e12), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_places_keep_their_shape_within_zero_and_one(n, at, span, seed):
    xy = at + span*np.random.default_rng(seed).uniform(0, 1, (n, 2))*[1, .5]
    p = to_unit_square(xy)
    assert p.dtype == np.float32 and (p >= -1e-6).all() and (p <= 1 + 1e-6).all()
    side = np.ptp(xy, axis=0).max() or 1
    np.testing.assert_allclose(np.ptp(p, axis=0), np.ptp(xy, axis=0)/side, atol=1e-4)


@pytest.mark.parametrize("xy, said", [(np.zeros((3, 2)), "places of shape (3, 2) for 60 items"), (np.full((60, 2), np.inf), "60 of 60 items have no place")])
def test_wrong_places(tmp_path, xy, said):
    _, items, _, images = cells()
    with pytest.raises(ExploreError, match=re.escape(said)): Explorer(images, items, xy, CLASSES, tmp_path/"l")
    with pytest.raises(ExploreError, match=re.escape(said)): make_explorer_html(xy, items, [""]*60, images)


# ---------- labels

def test_twins_write_what_a_page_would_write(tmp_path):
    e = explorer(tmp_path)
    inside = e.lasso([(0, 0), (5, 0), (5, 6), (0, 6)])
    assert set(inside) == {i for i, x in zip(e.table.item_id, e.xy[:, 0]) if x < 5} and len(inside) > 5
    e.label(inside, "C")
    e.flag(inside[:2]); e.undo()
    log = read_labels(tmp_path/"log.jsonl")
    assert set(log.item) == set(inside) and set(log.label) == {"C"} and set(log.by) == {"anna"}
    assert e.counts()["C"] == (e.table.label == "C").sum() >= len(inside)
    e.undo()
    assert not len(read_labels(tmp_path/"log.jsonl")) and (e.table.label == e.table.known).all()
    near = e.select_near(*e.xy[7], n=3)
    assert near[0] == "cell_007" and len(set(near)) == 3


def test_two_people_and_no_model_needed(tmp_path):
    anna, ben = explorer(tmp_path), explorer(tmp_path, by="ben")
    anna.label("cell_001", "B"); ben.act("sync")
    assert ben.table.label[1] == "B" and not ben.labellog.can["undo"]
    sent = []
    ben.send = lambda msg, data=None: sent.append(msg)
    anna.label("cell_002", "C"); ben.answer({"do": "sync"})
    assert sent[0]["labels"]["cell_002"]["label"] == "C"


def test_hello_tells_all_a_page_needs(tmp_path):
    n = 60; prob = np.random.default_rng(0).dirichlet([1, 1, 1], n)
    e = explorer(tmp_path, prob=prob, time=[float("nan"), *range(1, n)])
    answer, (places,) = e.answer({"do": "hello"})
    assert np.frombuffer(places, "<f4").shape == (2*n,) and answer["time"][:2] == [None, 1.] and answer["groups"] == [f"g{i}" for i in range(5)]
    assert answer["predicted"] == prob.argmax(1).tolist() and json.dumps(answer, allow_nan=False)
    heads = e.answer({"do": "patches", "rows": [3, 5]})
    assert heads[0]["heads"] == [[24, 24, 1]]*2 and len(heads[1][0]) == 2*24*24


def test_a_blind_round_shows_no_label_and_no_guess(tmp_path):
    e = explorer(tmp_path, prob=np.full((60, 3), 1/3), round="blind")
    answer, _ = e.answer({"do": "hello"})
    assert set(answer["known"]) == {-1} and answer["predicted"] == []


# ---------- the page in Python

def facts(page): return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_page_is_closed(tmp_path):
    page = make_explorer_html(*cells(), classes=CLASSES, title="t")
    script = re.search(r'<script type="module">(.*?)</script>', page, re.S)[1]
    import hashlib
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy and policy.startswith("default-src 'none'") and "unsafe-eval" not in policy
    assert not re.search(r"https?:|\son\w+=|@import|url\(", re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert not re.search(r"https?://|\beval\(|innerHTML|insertAdjacentHTML|document\.write|new Function", script)
    assert page == make_explorer_html(*cells(), classes=CLASSES, title="t"), "the same input, the same bytes"


@given(st.text(st.characters(codec="utf-8"), max_size=30))
@settings(max_examples=25, deadline=None)
def test_any_name_stays_data(text):
    xy, items, labels, images = cells(3)
    name = text.strip() or "x"
    page = make_explorer_html(xy, [text, "b" + text, "c" + text], [name, "", name], images, groups=[text]*3, title=text, note=text)
    assert page.count("<script") == page.count("</script>") == 2 and "<!--" not in page
    assert facts(page)["hello"]["items"] == [text, "b" + text, "c" + text] and facts(page)["setup"]["classes"] == [name]


def sheet(page, k=0): return np.asarray(Image.open(io.BytesIO(base64.b64decode(facts(page)["atlas"]["sheets"][k].split(",")[1]))))


def test_pictures_are_those_of_their_cells():
    xy, items, labels, images = cells(40, size=20)
    page = make_explorer_html(xy, items, labels, images)
    atlas, pixels = facts(page)["atlas"], sheet(page)
    assert atlas["side"] == 20 and atlas["rows"] is None and atlas["grey"]
    low, high = find_intensity_limits(list(images))[0]
    for k in (0, 17, 39):
        there = pixels[20*(k // atlas["columns"]):, 20*(k % atlas["columns"]):][1:4, 2:18].mean()
        assert abs(there - np.clip((images[k, 1].mean() - low)/(high - low), 0, 1)*255) < 12


def test_page_stays_under_its_limit_and_says_what_it_left_out(tmp_path):
    rng = np.random.default_rng(0); n = 1500
    xy, items = rng.normal(size=(n, 2)), [f"c{i}" for i in range(n)]
    images = rng.integers(0, 255, (n, 64, 64), np.uint8)
    free = make_explorer_html(xy, items, [""]*n, images, max_mb=20)
    assert facts(free)["atlas"]["side"] == 64 and "Pictures" not in free.split("<footer>")[1].split("</footer>")[0]
    sizes = {}
    for mb in (1.5, .6, .2):
        page = make_explorer_html(xy, items, [""]*n, images, max_mb=mb); atlas = facts(page)["atlas"]
        assert len(page.encode()) <= mb*1e6
        sizes[mb] = (atlas["side"], n if atlas["rows"] is None else len(atlas["rows"]))
        said = page.split("<footer>")[1].split("</footer>")[0]
        assert f"Pictures are {atlas['side']} px wide, the patches 64 px." in said
        if atlas["rows"] is not None: assert f"Pictures of {len(atlas['rows']):,} of them, to keep this page under {mb:g} MB" in said
    assert 64 > sizes[1.5][0] > sizes[.6][0] == 16 and sizes[.2][1] < n
    with pytest.raises(ExploreError, match="show fewer cells"): make_explorer_html(xy, items, [""]*n, images, max_mb=.05)


def test_broken_and_strange_patches(tmp_path):
    class Broken(list):
        def __getitem__(self, i):
            if i == 1: raise OSError("gone")
            return super().__getitem__(i)
    images = Broken([np.zeros((8, 8)), None, np.full((8, 12, 2), 7, np.uint16), np.ones((6, 6), bool), "x", np.full((9, 9), np.nan)])
    _, _, side, rows, broken = choose_thumbs(images, 1e5)
    assert {1, 4} <= set(broken) and len(rows) == 6
    page = write_explorer_html(tmp_path/"m.html", np.zeros((6, 2)), list("abcdef"), [""]*6, images).read_text()
    assert f"{len(broken)} patches could not be read" in page
    assert "could not be read" in make_explorer_html(np.zeros((2, 2)), "ab", ["", ""], ["x", None]) and make_explorer_html(np.zeros((0, 2)), [], [], [])


@pytest.mark.parametrize("change, said", [(dict(labels=["A"]), "1 labels for 3 items"), (dict(groups=["a"]), "1 groups for 3 items"), (dict(time=[1]), "1 times for 3 items"), (dict(items=["a", "a", "b"]), "every item_id once"),
                                          (dict(classes=["B"]), "none of the classes: 'A'"), (dict(prob=np.zeros((3, 7))), "probabilities of shape (3, 7)")])
def test_wrong_arguments(change, said):
    xy, items, _, images = cells(3)
    with pytest.raises(ExploreError, match=re.escape(said)): make_explorer_html(**dict(xy=xy, items=items, labels=["A", "A", ""], images=images) | change)


def test_full_disk_leaves_the_old_page(tmp_path, monkeypatch):
    import errno
    (tmp_path/"m.html").write_text("old")
    def full(*a): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="the disk is full"): write_explorer_html(tmp_path/"m.html", *cells(5))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("m.html", "old")]


def test_report_allows_just_this_script(tmp_path):
    page = make_explorer_html(*cells(9), title=EVIL)
    report = write_report(tmp_path/"r.html", "t", [Section("s", items=[Inset(page, "map")])]).read_text()
    own = re.search(r"script-src ([^;]*);", page)[1]
    assert f"form-action 'none'; script-src {own}\"" in report and report.count("<script") == 0 and 'sandbox="allow-scripts allow-downloads"' in report


# ---------- a real browser

def draw(page, corners):
    page.mouse.move(*corners[0]); page.mouse.down()
    for a, b in zip(corners, corners[1:] + corners[:1]):
        for f in (.25, .5, .75, 1): page.mouse.move(a[0] + f*(b[0] - a[0]), a[1] + f*(b[1] - a[1]))
    page.mouse.up()


def spot(page, e, i):
    "Where the map, just fitted, draws row `i`."
    b = page.locator(".cp-points").bounding_box(); p = to_unit_square(e.xy if hasattr(e, "xy") else e)
    k = .94*min(b["width"]/np.ptp(p[:, 0]), b["height"]/np.ptp(p[:, 1]))
    return float(b["x"] + b["width"]/2 + (p[i, 0] - .5)*k), float(b["y"] + b["height"]/2 - (p[i, 1] - .5)*k)


class Live:
    "The widget's own page with its own Python behind it, without a notebook between them."
    def __init__(self, page, widget, path):
        self.page, self.widget, self.told = page, widget, []
        widget.send = lambda msg, data=None: self.told.append([msg, self.code(data)])
        page.expose_function("toPython", self.answer)
        model = """const model = { get: k => window.synced[k], on: (_, fn) => { model.hear = fn }, off: () => {},
          send: async msg => { for (const [m, data] of await window.toPython(msg)) model.hear(m, data.map(d => new DataView(Uint8Array.from(atob(d), c => c.charCodeAt(0)).buffer))) } };
          window.stop = render({ model, el: document.body });"""
        style = read_static("annotate.css", "explore.css")
        path.write_text(f'<!doctype html><meta charset="utf-8"><style>{style}</style><body><script>window.synced = {json.dumps(dict(setup=widget.setup)).replace("<", chr(92) + "u003c")}</script><script type="module">{read_static("base.js", "explore.js")}\n{model}</script>')
        page.goto(path.as_uri()); page.locator(".cp-points").wait_for(); self.saved()

    def code(self, data): return [base64.b64encode(bytes(d)).decode() for d in data or []]
    def answer(self, msg):
        answer, data = self.widget.answer(msg)
        told, self.told = self.told, []
        return [*told, [{"re": msg["ask"], **answer}, self.code(data)]]
    def saved(self): self.page.locator('.cp[data-pending="0"]').wait_for()


@pytest.fixture
def live(page, tmp_path):
    n = 60
    e = explorer(tmp_path, prob=np.random.default_rng(1).dirichlet([.3]*3, n), time=np.arange(n), target=20)
    yield Live(page, e, tmp_path/"page.html")
    assert not page.errors


@pytest.mark.browser
def test_lasso_and_a_key_label_in_one_act(live):
    page, e = live.page, live.widget
    b = page.locator(".cp-points").bounding_box()
    page.locator(".cp-points").press("l")
    assert page.locator(".cp-mode").get_attribute("aria-pressed") == "true"
    p = to_unit_square(e.xy); corners = [(.02, .22), (.5, .22), (.55, .5), (.3, .79), (.02, .6)]
    k = float(.94*min(b["width"]/np.ptp(p[:, 0]), b["height"]/np.ptp(p[:, 1])))
    draw(page, [(b["x"] + b["width"]/2 + (x - .5)*k, b["y"] + b["height"]/2 - (y - .5)*k) for x, y in corners])
    low, high = e.xy.min(0), e.xy.max(0); side = (high - low).max()
    expected = e.lasso([(np.array(c) - .5)*side + (low + high)/2 for c in corners])
    assert len(expected) > 8 and page.locator(".cp").get_attribute("data-picked") == str(len(expected))
    page.locator(".cp-points").press("3"); live.saved()
    log = read_labels(e.labellog.path)
    assert set(log.item) == set(expected) and set(log.label) == {"C"} and len(e.labellog.acts) == 1
    assert set(log.suggestion.dropna()) <= set(CLASSES) and len(log.suggestion.dropna()) == len(log)
    page.keyboard.press("f"); live.saved()
    assert e.table.flagged.sum() == len(expected) and set(e.table.label[e.table.flagged]) == {"C"}
    page.keyboard.press("u"); page.keyboard.press("u"); live.saved()
    assert not len(read_labels(e.labellog.path))
    page.keyboard.press("r"); live.saved()
    assert len(read_labels(e.labellog.path)) == len(expected)
    page.keyboard.press("x"); live.saved()
    assert (e.table.set_index("item_id").label[expected] == "").all()


@pytest.mark.browser
def test_hover_shows_the_patch_and_click_selects(live):
    page, e = live.page, live.widget
    i = int(np.argmax((((e.xy[:, None] - e.xy)**2).sum(2) + np.eye(60)*1e9).min(1)))      # the loneliest
    page.mouse.move(*spot(page, e, i))
    tip = page.locator(".cp-tip"); tip.wait_for()
    text = tip.inner_text()
    assert e.table.item_id[i] in text and e.table.group[i] in text and e.table.predicted[i] in text
    page.wait_for_function("document.querySelector('.cp-tip canvas').width == 24")
    grey = page.evaluate("document.querySelector('.cp-tip canvas').getContext('2d').getImageData(12, 2, 1, 1).data[0]")
    low, high = np.percentile([np.asarray(im) for im in e.images], [.1, 99.9])
    assert abs(grey - 255*(float(e.images[i][2, 12]) - low)/(high - low)) < 4
    page.mouse.down(); page.mouse.up()
    assert page.locator(".cp").get_attribute("data-picked") == "1"
    j = int(np.argsort(((e.xy - e.xy[i])**2).sum(1))[20])
    page.keyboard.down("Shift"); page.mouse.click(*spot(page, e, j)); page.keyboard.up("Shift")
    assert page.locator(".cp-strip button").count() == 2
    page.locator(".cp-strip button").first.click()
    assert page.locator(".cp").get_attribute("data-picked") == "1"
    page.locator(".cp-points").press("Escape")
    assert page.locator(".cp").get_attribute("data-picked") == "0"


@pytest.mark.browser
def test_keyboard_alone(live):
    page, e = live.page, live.widget
    page.locator(".cp-points").focus()
    page.keyboard.press("ArrowRight"); page.keyboard.press("ArrowRight")
    said = page.locator(".cp-said").inner_text()
    item = re.search(r"cell_\d+", said)[0]
    page.keyboard.press("Enter"); page.keyboard.press("2"); live.saved()
    assert e.table.label[e.row_of[item]] == "B"
    page.keyboard.press("Control+a"); assert page.locator(".cp").get_attribute("data-picked") == "60"
    page.keyboard.press("?"); assert "select the cell" in page.locator(".cp-help").inner_text()


@pytest.mark.browser
def test_what_is_hidden_is_not_selected(live):
    page, e = live.page, live.widget
    page.locator(".cp-points").press("Control+a")
    page.locator(".cp-entry").first.click()
    shown = int((e.table.label != "A").sum())
    assert page.locator(".cp").get_attribute("data-picked") == str(shown)
    page.locator(".cp-points").press("Control+a"); assert page.locator(".cp").get_attribute("data-picked") == str(shown)
    page.locator(".cp-entry").nth(1).click(modifiers=["Shift"]); page.locator(".cp-points").press("Control+a")
    assert page.locator(".cp").get_attribute("data-picked") == str((e.table.label == "B").sum())
    for by in ("prediction", "uncertainty", "group", "time", "label"):
        page.locator(".cp-choice select").select_option(by)
        page.locator(".cp-points").press("Control+a"); assert page.locator(".cp").get_attribute("data-picked") == "60"


@pytest.mark.browser
def test_a_colleague_changes_colours_here(live):
    page, e = live.page, live.widget
    before = page.locator(".cp-entry b").first.inner_text()
    other = LabelLog(e.labellog.path, "ben"); other.give([dict(item=f"cell_{i:03}", label="A") for i in range(60)], "ben1", "")
    page.wait_for_function("document.querySelector('.cp-entry b').textContent == '60'", timeout=15_000)
    assert before != "60"


@pytest.mark.browser
@pytest.mark.parametrize("framed", [False, True])
def test_hostile_names_are_text_in_the_browser(page, tmp_path, framed):
    xy, _, _, images = cells(12); names = [f"{EVIL}{i}" for i in range(12)]
    html = make_explorer_html(xy, names, [EVIL]*6 + [""]*6, images, groups=[EVIL]*12, title=EVIL, note=EVIL)
    path = tmp_path/"m.html"
    if framed: write_report(path, "t", [Section("s", items=[Inset(html, EVIL, EVIL)])])
    else: path.write_text(html, encoding="utf-8")
    page.goto(path.as_uri())
    inner = page.frame_locator("iframe") if framed else page
    inner.locator(".cp-points").click(position=dict(x=9, y=9)); inner.locator(".cp-points").press("Control+a"); inner.locator(".cp-strip button").first.hover()
    assert "item" in inner.locator(".cp-tip").inner_text()
    frame = page.frames[-1]
    assert frame.evaluate("window.ran") is None and page.evaluate("window.ran") is None and frame.evaluate("document.images.length") == 0
    assert frame.locator(".cp-entry").count() == 2 and not page.errors
    if framed: assert frame.evaluate("(() => { try { return window.parent.document.title } catch (e) { return e.name } })()") == "SecurityError"


@pytest.mark.browser
@pytest.mark.parametrize("framed", [False, True])
def test_selection_is_downloaded(page, tmp_path, framed):
    xy, items, labels, images = cells(12)
    items[3] = 'odd, "quoted"\nname'
    html = make_explorer_html(xy, items, labels, images, groups=list("abcdefghijkl"), prob=np.eye(3)[np.arange(12) % 3])
    path = tmp_path/"m.html"
    if framed: write_report(path, "t", [Section("s", items=[Inset(html, "map")])])
    else: path.write_text(html, encoding="utf-8")
    page.goto(path.as_uri())
    inner = page.frame_locator("iframe") if framed else page
    inner.locator(".cp-points").press("Control+a")
    with page.expect_download() as got: inner.get_by_role("button", name="Download the selection").click()
    with open(got.value.path(), encoding="utf-8-sig", newline="") as f: rows = list(csv.DictReader(f))
    assert got.value.suggested_filename == "selection.csv" and {r["item_id"] for r in rows} == set(items)
    row = next(r for r in rows if r["item_id"] == items[5])
    assert row == dict(item_id=items[5], group="f", label=labels[5], predicted="C")
    inner.get_by_role("button", name="Copy the item ids").click()
    inner.locator(".cp-said", has_text="12 item ids copied").wait_for()
    assert not page.errors


@pytest.mark.browser
@pytest.mark.parametrize("width, height", [(1280, 720), (390, 844), (320, 600)])
@pytest.mark.parametrize("dark", [False, True])
def test_page_in_the_browser(browser, tmp_path, width, height, dark):
    from browser import wait_until, watch
    xy, items, labels, images = cells(200)
    path = write_explorer_html(tmp_path/"m.html", xy, items, labels, images, classes=CLASSES + ["a class with a very long name that does not fit"], groups=labels, title="A title " + "x"*100)
    context = browser.new_context(viewport=dict(width=width, height=height), color_scheme="dark" if dark else "light")
    page = watch(context.new_page())
    page.goto(path.as_uri()); page.locator(".cp-entry").first.wait_for()
    page.locator(".cp-points").press("Control+a"); page.locator(".cp-strip canvas").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width > 1000: assert page.evaluate("document.documentElement.scrollHeight") <= height
    wait_until(lambda: page.evaluate("document.querySelector('.cp-strip canvas').width") == 24, "pictures", 20)   # its policy forbids the eval behind wait_for_function
    ground = page.evaluate("(() => { const c = document.querySelector('.cp-points'); return [...c.getContext('2d').getImageData(3, 3, 1, 1).data] })()")
    assert (max(ground[:3]) < 60) == dark and not page.errors
    context.close()


@pytest.mark.browser
@pytest.mark.slow
def test_in_a_notebook(front_end, page, tmp_path):
    from browser import make_notebook
    log = tmp_path/"labels.jsonl"
    make_notebook(front_end.folder/"explore.ipynb", [f"""
import numpy as np
from cellprotocols.explore import Explorer
rng = np.random.default_rng(0)
Explorer(rng.integers(0, 255, (300, 16, 16), np.uint8), [f"cell_{{i}}" for i in range(300)], rng.normal(size=(300, 2)), ["A", "B"], {str(log)!r}, by="anna")"""])
    front_end.open_notebook(page, "explore.ipynb", ".cp-map")
    page.locator(".cp-points").click(position=dict(x=5, y=5))
    page.locator(".cp-points").press("Control+a"); page.locator(".cp-points").press("2")
    page.locator('.cp[data-saved="300"][data-pending="0"]').wait_for()
    assert len(read_labels(log)) == 300 and set(read_labels(log).label) == {"B"}
    page.locator(".cp-points").press("u"); page.locator('.cp[data-saved="0"][data-pending="0"]').wait_for()
    assert not len(read_labels(log)) and not front_end.complaints(page)
