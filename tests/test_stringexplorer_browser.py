"The explorer of strings on the page of `cellprotocols app strings`: sliders redraw, buttons write files."

import re

import pandas as pd
import pytest
from test_app_browser import App
from test_stringexplorer import make_run

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
