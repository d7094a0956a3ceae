"The explorer of strings on the page of `cellprotocols app strings`: sliders redraw, buttons write files."

import re

import pandas as pd
import pytest
from browser import ARTEFACTS
from skimage.io import imread, imsave
from test_app_browser import App
from test_stringexplorer import make_model, make_run

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.browser


def slide(page, name, value):
    "Type a value beside a slider."
    readout = page.locator(".widget-slider", has=page.get_by_text(name, exact=True)).locator(".widget-readout")
    readout.click()
    readout.press("Control+a")
    page.keyboard.type(str(value))
    page.keyboard.press("Enter")


def test_time_and_threshold_move_and_a_table_is_written(tmp_path, page):
    made = make_run(tmp_path / "out")
    counts = made.items.detections.tolist()
    a = App(tmp_path, "--source", "out/films", protocol="strings")
    try:
        page.goto(a.url)
        page.get_by_text("Look closer", exact=True).click(timeout=120_000)
        expect(page.get_by_text("A, frame 3, 97.5 h")).to_be_visible(timeout=120_000)
        picture = page.locator("img.widget-image")
        first, rows = picture.get_attribute("src"), page.locator("table.dataframe").first.locator("tbody tr")
        expect(rows).to_have_count(counts[3])
        slide(page, "time", 4)
        expect(page.get_by_text("A, frame 4, 98 h")).to_be_visible()
        expect(rows).to_have_count(counts[4])
        expect(picture).not_to_have_attribute("src", first)
        slide(page, "threshold", 0.99)
        expect(page.get_by_text("No box at these settings.")).to_be_visible()
        page.get_by_role("button", name="As in the run").click()
        expect(rows).to_have_count(counts[4])
        page.get_by_role("button", name="CSV").click()
        expect(page.get_by_text("Written: ")).to_be_visible()
        (table,) = (made.path.parent / "exports").glob("*.csv")
        assert len(pd.read_csv(table)) == sum(counts)
        own = r"favicon|source map|403.*api/shutdown|Could not find a static loader"
        assert not [e for e in page.errors if not re.search(own, e)], page.errors
    finally:
        a.stop()


def test_a_click_on_the_map_and_images_by_path_and_upload(tmp_path, page):
    made = make_run(tmp_path / "out", model=make_model(tmp_path / "out" / "run_01" / "34_train"))
    frame = imread(tmp_path / "out" / "films" / "A" / "f1.png")
    for name, pixels in {"one": frame[::-1], "two": frame[:, ::-1]}.items():
        imsave(tmp_path / f"{name}.png", pixels.copy(), check_contrast=False)
    a = App(tmp_path, "--source", "out/films", protocol="strings")
    try:
        page.goto(a.url)
        page.get_by_text("Look closer", exact=True).click(timeout=120_000)
        expect(page.get_by_text("A, frame 3, 97.5 h")).to_be_visible(timeout=120_000)
        page.get_by_role("button", name="Map of candidates").click()
        points = page.locator(".cp-pointmap")
        expect(points).to_have_attribute("data-points", str(8 * made.n), timeout=60_000)
        canvas, picture = points.locator("canvas"), page.locator("img.widget-image")
        before = picture.get_attribute("src")
        canvas.focus()
        canvas.press("ArrowRight")  # the best of all
        expect(points).not_to_have_attribute("data-chosen", "-1")
        expect(picture).not_to_have_attribute("src", before)
        chosen, box = points.get_attribute("data-chosen"), canvas.bounding_box()
        for k in range(40):  # with the mouse, until another point is hit
            canvas.click(position=dict(x=box["width"] * (k % 7 + 1) / 8, y=box["height"] * (k % 6 + 1) / 7))
            if points.get_attribute("data-chosen") != chosen:
                break
        expect(points).not_to_have_attribute("data-chosen", chosen)
        page.screenshot(path=ARTEFACTS / "strings_map.png", full_page=True)

        path, upload = page.get_by_label("path", exact=True), page.get_by_label("upload", exact=True)
        path.fill("one.png")  # relative to where the page was started
        path.press("Enter")
        expect(page.get_by_text("1 of 1 frames looked at now")).to_be_visible(timeout=60_000)
        expect(page.get_by_text(re.compile("^opened: .*one.png, frame 0"))).to_be_visible()
        first = picture.get_attribute("src")
        upload.set_input_files(tmp_path / "two.png")
        expect(page.get_by_text(re.compile("two.png: 1 of 1 frames looked at now"))).to_be_visible(timeout=60_000)
        expect(picture).not_to_have_attribute("src", first)
        (tmp_path / "large.png").write_bytes(bytes(8_000_001))
        upload.set_input_files(tmp_path / "large.png")
        expect(page.get_by_text("Not sent: large.png (8.0 MB)")).to_be_visible()
        expect(path).to_be_focused()
        path.fill("nowhere.png")
        page.get_by_role("button", name="look at the file or folder of this path").click()
        expect(page.get_by_text("there is no file or folder 'nowhere.png'")).to_be_visible(timeout=60_000)
        page.screenshot(path=ARTEFACTS / "strings_opened.png", full_page=True)
        own = r"favicon|source map|403.*api/shutdown|Could not find a static loader"
        assert not [e for e in page.errors if not re.search(own, e)], page.errors
    finally:
        a.stop()
