"Organelles on the page of `cellprotocols app organelles`: cells are merged, cut and deleted, and the kernel may die."

import re

import pandas as pd
import psutil
import pytest
from browser import ARTEFACTS

from cellprotocols.cli import run_steps
from cellprotocols.dataset import check_dataset
from cellprotocols.synth_organelles import make_organelle_set, write_organelle_set
from test_app_browser import App

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
expect.set_options(timeout=30_000)
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    "A folder with fields of six samples, and one run of the protocol."
    folder = tmp_path_factory.mktemp("home")
    write_organelle_set(folder / "out" / "fields", *make_organelle_set(6, 1, (192, 192), (0, 16), miss=0.0))
    run_steps(
        "organelles", str(folder / "out" / "fields"), folder / "out" / "run_01", "annotate..infer", wide=32.0, size=64
    )
    return folder


def open_closer(page, app):
    page.goto(app.url)
    page.get_by_text("Look closer", exact=True).click(timeout=120_000)
    page.locator(".celleditor polygon").first.wait_for(timeout=120_000)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def drag_across(page, cell):
    "A cut from left to right of a cell."
    box = page.locator(f"polygon[data-cell='{cell}']").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, y, steps=4)
    page.mouse.move(box["x"] + box["width"] - 2, y + 6, steps=4)
    page.mouse.up()


def test_cells_are_cut_merged_deleted_and_nothing_is_lost(home, page):
    run = home / "out" / "run_01"
    a = App(home, "--source", "out/fields", protocol="organelles")
    try:
        page.set_viewport_size(dict(width=1280, height=1000))
        open_closer(page, a)
        rows = page.locator(".celleditor tbody tr")
        n = rows.count()
        drag_across(page, 1)
        expect(page.locator("line.cut")).to_be_visible()
        page.locator("polygon[data-cell='1']").click()
        expect(page.locator("tr.chosen")).to_have_count(1)
        press(page, "Split")
        expect(page.get_by_text("Cell 1 is two")).to_be_visible()
        expect(rows).to_have_count(n + 1)
        new = int(rows.last.get_attribute("data-cell"))
        expect(page.locator(".celleditor tbody tr", has_text="split").first).to_contain_text(re.compile(r"\d\.\d\d"))
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / "celleditor-split.png", full_page=True)
        page.locator("tr[data-cell='1']").click()
        page.locator(f"polygon[data-cell='{new}']").click()
        press(page, "Merge")
        expect(rows).to_have_count(n)
        press(page, "Undo")
        expect(rows).to_have_count(n + 1)
        page.locator("tr[data-cell='2']").click()
        press(page, "Delete")
        expect(rows).to_have_count(n)
        dead = a.kernels()
        assert dead, "there is no kernel to kill"
        for kernel in dead:
            kernel.kill()
        psutil.wait_procs(dead, timeout=10)
        open_closer(page, a)
        expect(page.locator(".celleditor tbody tr")).to_have_count(n)
        press(page, "Save with edits")
        expect(page.get_by_text("Written: ")).to_be_visible()
        page.screenshot(path=ARTEFACTS / "celleditor-again.png", full_page=True)
        made = run / "exports" / "edited_01"
        assert pd.read_csv(made / "edits.csv").edit.tolist() == ["split", "delete"]
        check_dataset(run / "42_patches")
        own = r"favicon|source map|403.*api/shutdown|Could not find a static loader|WebSocket|api/kernels"
        assert not [e for e in page.errors if not re.search(own, e)], page.errors
    finally:
        a.stop()


def test_new_images_are_checked_outlined_and_called(home, page):
    write_organelle_set(home / "new", *make_organelle_set(1, 2, (192, 192), (16,), seed=5))
    a = App(home, "--source", "out/fields", protocol="organelles")
    try:
        page.set_viewport_size(dict(width=1280, height=1400))
        open_closer(page, a)
        page.get_by_text("New images", exact=True).click()
        new = page.locator(".jupyter-widget-Collapse-contents, .widget-accordion").last
        press(page, "Check")
        expect(page.get_by_text("no folder is named")).to_be_visible()
        page.get_by_placeholder("a folder of images on this computer").fill(str(home / "new"))
        page.keyboard.press("Tab")
        press(page, "Check")
        expect(page.get_by_text("2 fields in all")).to_be_visible()
        expect(page.get_by_text("nothing speaks against these channels")).to_be_visible()
        expect(new.locator("polygon").first).to_be_visible()
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / "newfields.png", full_page=True)
        press(page, "Call every cell")
        expect(page.get_by_text("cells are called")).to_be_visible(timeout=120_000)
        expect(page.locator("select").first).to_contain_text("101_")
        made = home / "out" / "applied_01" / "45_infer"
        assert len(pd.read_csv(made / "images.csv")) == 2 and pd.read_csv(made / "cells.csv").called.notna().any()
        page.screenshot(path=ARTEFACTS / "newfields-called.png", full_page=True)
    finally:
        a.stop()
