"The map as one page: bounded, closed to everything outside, safe with any name, and right in a real browser."

import base64
import csv
import io
import json
import re

import numpy as np
import pytest
from annotators import CLASSES, EVIL, cells
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cellprotocols.mappage import choose_thumbs, make_explorer_html, write_explorer_html
from cellprotocols.places import ExploreError
from cellprotocols.report import Inset, Section, write_report
from cellprotocols.viz import find_intensity_limits


def facts(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_page_is_closed(tmp_path):
    page = make_explorer_html(*cells(), classes=CLASSES, title="t")
    script = re.search(r'<script type="module">(.*?)</script>', page, re.S)[1]
    import hashlib

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert (
        f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
        and policy.startswith("default-src 'none'")
        and "unsafe-eval" not in policy
    )
    assert not re.search(r"https?:|\son\w+=|@import|url\(", re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert not re.search(r"https?://|\beval\(|innerHTML|insertAdjacentHTML|document\.write|new Function", script)
    assert page == make_explorer_html(*cells(), classes=CLASSES, title="t"), "the same input, the same bytes"


@given(st.text(st.characters(codec="utf-8"), max_size=30))
@settings(max_examples=25, deadline=None)
def test_any_name_stays_data(text):
    xy, items, labels, images = cells(3)
    name = text.strip() or "x"
    page = make_explorer_html(
        xy, [text, "b" + text, "c" + text], [name, "", name], images, groups=[text] * 3, title=text, note=text
    )
    assert page.count("<script") == page.count("</script>") == 2 and "<!--" not in page
    assert facts(page)["hello"]["items"] == [text, "b" + text, "c" + text] and facts(page)["setup"]["classes"] == [name]


def sheet(page, k=0):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(facts(page)["atlas"]["sheets"][k].split(",")[1]))))


def test_pictures_are_those_of_their_cells():
    xy, items, labels, images = cells(40, size=20)
    page = make_explorer_html(xy, items, labels, images)
    atlas, pixels = facts(page)["atlas"], sheet(page)
    assert atlas["side"] == 20 and atlas["rows"] is None and atlas["grey"]
    low, high = find_intensity_limits(list(images))[0]
    for k in (0, 17, 39):
        there = pixels[20 * (k // atlas["columns"]) :, 20 * (k % atlas["columns"]) :][1:4, 2:18].mean()
        assert abs(there - np.clip((images[k, 1].mean() - low) / (high - low), 0, 1) * 255) < 12


def test_page_stays_under_its_limit_and_says_what_it_left_out(tmp_path):
    rng = np.random.default_rng(0)
    n = 1500
    xy, items = rng.normal(size=(n, 2)), [f"c{i}" for i in range(n)]
    images = rng.integers(0, 255, (n, 64, 64), np.uint8)
    free = make_explorer_html(xy, items, [""] * n, images, max_mb=20)
    assert facts(free)["atlas"]["side"] == 64 and "Pictures" not in free.split("<footer>")[1].split("</footer>")[0]
    sizes = {}
    for mb in (1.5, 0.6, 0.2):
        page = make_explorer_html(xy, items, [""] * n, images, max_mb=mb)
        atlas = facts(page)["atlas"]
        assert len(page.encode()) <= mb * 1e6
        sizes[mb] = (atlas["side"], n if atlas["rows"] is None else len(atlas["rows"]))
        said = page.split("<footer>")[1].split("</footer>")[0]
        assert f"Pictures are {atlas['side']} px wide, the patches 64 px." in said
        if atlas["rows"] is not None:
            assert f"Pictures of {len(atlas['rows']):,} of them, to keep this page under {mb:g} MB" in said
    assert 64 > sizes[1.5][0] > sizes[0.6][0] == 16 and sizes[0.2][1] < n
    with pytest.raises(ExploreError, match="show fewer cells"):
        make_explorer_html(xy, items, [""] * n, images, max_mb=0.05)


def test_broken_and_strange_patches(tmp_path):
    class Broken(list):
        def __getitem__(self, i):
            if i == 1:
                raise OSError("gone")
            return super().__getitem__(i)

    images = Broken(
        [np.zeros((8, 8)), None, np.full((8, 12, 2), 7, np.uint16), np.ones((6, 6), bool), "x", np.full((9, 9), np.nan)]
    )
    _, _, side, rows, broken = choose_thumbs(images, 1e5)
    assert {1, 4} <= set(broken) and len(rows) == 6
    page = write_explorer_html(tmp_path / "m.html", np.zeros((6, 2)), list("abcdef"), [""] * 6, images).read_text()
    assert f"{len(broken)} patches could not be read" in page
    assert "could not be read" in make_explorer_html(
        np.zeros((2, 2)), "ab", ["", ""], ["x", None]
    ) and make_explorer_html(np.zeros((0, 2)), [], [], [])


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(labels=["A"]), "1 labels for 3 items"),
        (dict(groups=["a"]), "1 groups for 3 items"),
        (dict(time=[1]), "1 times for 3 items"),
        (dict(items=["a", "a", "b"]), "every item_id once"),
        (dict(classes=["B"]), "none of the classes: 'A'"),
        (dict(prob=np.zeros((3, 7))), "probabilities of shape (3, 7)"),
    ],
)
def test_wrong_arguments(change, said):
    xy, items, _, images = cells(3)
    with pytest.raises(ExploreError, match=re.escape(said)):
        make_explorer_html(**dict(xy=xy, items=items, labels=["A", "A", ""], images=images) | change)


def test_full_disk_leaves_the_old_page(tmp_path, monkeypatch):
    import errno

    (tmp_path / "m.html").write_text("old")

    def full(*a):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="the disk is full"):
        write_explorer_html(tmp_path / "m.html", *cells(5))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("m.html", "old")]


def test_report_allows_just_this_script(tmp_path):
    page = make_explorer_html(*cells(9), title=EVIL)
    report = write_report(tmp_path / "r.html", "t", [Section("s", items=[Inset(page, "map")])]).read_text()
    own = re.search(r"script-src ([^;]*);", page)[1]
    assert (
        f"form-action 'none'; script-src {own}\"" in report
        and report.count("<script") == 0
        and 'sandbox="allow-scripts allow-downloads"' in report
    )


@pytest.mark.browser
@pytest.mark.parametrize("framed", [False, True])
def test_hostile_names_are_text_in_the_browser(page, tmp_path, framed):
    xy, _, _, images = cells(12)
    names = [f"{EVIL}{i}" for i in range(12)]
    html = make_explorer_html(xy, names, [EVIL] * 6 + [""] * 6, images, groups=[EVIL] * 12, title=EVIL, note=EVIL)
    path = tmp_path / "m.html"
    if framed:
        write_report(path, "t", [Section("s", items=[Inset(html, EVIL, EVIL)])])
    else:
        path.write_text(html, encoding="utf-8")
    page.goto(path.as_uri())
    inner = page.frame_locator("iframe") if framed else page
    inner.locator(".cp-points").click(position=dict(x=9, y=9))
    inner.locator(".cp-points").press("Control+a")
    inner.locator(".cp-strip button").first.hover()
    assert "item" in inner.locator(".cp-tip").inner_text()
    frame = page.frames[-1]
    assert (
        frame.evaluate("window.ran") is None
        and page.evaluate("window.ran") is None
        and frame.evaluate("document.images.length") == 0
    )
    assert frame.locator(".cp-entry").count() == 2 and not page.errors
    if framed:
        assert (
            frame.evaluate("(() => { try { return window.parent.document.title } catch (e) { return e.name } })()")
            == "SecurityError"
        )


@pytest.mark.browser
@pytest.mark.parametrize("framed", [False, True])
def test_selection_is_downloaded(page, tmp_path, framed):
    xy, items, labels, images = cells(12)
    items[3] = 'odd, "quoted"\nname'
    html = make_explorer_html(xy, items, labels, images, groups=list("abcdefghijkl"), prob=np.eye(3)[np.arange(12) % 3])
    path = tmp_path / "m.html"
    if framed:
        write_report(path, "t", [Section("s", items=[Inset(html, "map")])])
    else:
        path.write_text(html, encoding="utf-8")
    page.goto(path.as_uri())
    inner = page.frame_locator("iframe") if framed else page
    inner.locator(".cp-points").press("Control+a")
    with page.expect_download() as got:
        inner.get_by_role("button", name="Download the selection").click()
    with open(got.value.path(), encoding="utf-8-sig", newline="") as f:
        rows = list(csv.DictReader(f))
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
    path = write_explorer_html(
        tmp_path / "m.html",
        xy,
        items,
        labels,
        images,
        classes=CLASSES + ["a class with a very long name that does not fit"],
        groups=labels,
        title="A title " + "x" * 100,
    )
    context = browser.new_context(viewport=dict(width=width, height=height), color_scheme="dark" if dark else "light")
    page = watch(context.new_page())
    page.goto(path.as_uri())
    page.locator(".cp-entry").first.wait_for()
    page.locator(".cp-points").press("Control+a")
    page.locator(".cp-strip canvas").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width > 1000:
        assert page.evaluate("document.documentElement.scrollHeight") <= height
    wait_until(
        lambda: page.evaluate("document.querySelector('.cp-strip canvas').width") == 24, "pictures", 20
    )  # its policy forbids the eval behind wait_for_function
    ground = page.evaluate(
        "(() => { const c = document.querySelector('.cp-points'); "
        "return [...c.getContext('2d').getImageData(3, 3, 1, 1).data] })()"
    )
    assert (max(ground[:3]) < 60) == dark and not page.errors
    context.close()
