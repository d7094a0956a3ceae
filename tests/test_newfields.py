"New images on a page: what is named or uploaded is checked in plain words, and called as the sliders say."

import shutil
from datetime import datetime, timezone

import cv2
import numpy as np
import pytest

from cellprotocols.channelfiles import ChannelError
from cellprotocols.newfields import NewFields, read_uploads, write_uploads
from cellprotocols.synth_organelles import make_organelle_set, write_organelle_set

DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def home(tmp_path):
    write_organelle_set(tmp_path / "fields", *make_organelle_set(1, 2, (128, 128), (7,)))
    shutil.rmtree(tmp_path / "fields" / "truth")
    return tmp_path


def open_page(home, call=lambda folder, **how: ""):
    page = NewFields(call, home / "kept")
    page.path.value = str(home / "fields")
    return page


def test_the_folder_is_called_as_the_sliders_say(home):
    told = []
    page = open_page(home, lambda folder, **how: told.append((folder, how)) or "done")
    page.buttons["Check"].click()
    assert "2 fields in all" in page.said.value and "nothing speaks against" in page.said.value
    large = sum(c["area"] for c in page.picture.shown["cells"])
    page.sliders["shift"].value = 1.0
    assert sum(c["area"] for c in page.picture.shown["cells"]) < large
    page.sliders["px_um"].value = 0.32
    page.buttons["Call every cell"].click()
    ((folder, how),) = told
    assert folder == str(home / "fields") and "done" in page.said.value
    assert how == dict(threshold=0.7, shift=1.0, smallest=350, px_um=0.32)


def test_what_is_wrong_is_said_and_the_page_goes_on(home):
    page, folder = open_page(home), home / "fields"
    page.path.value = str(home / "nowhere")
    page.buttons["Call every cell"].click()
    assert "no such folder" in page.said.value and page.picture.shown == {}
    page.path.value = ""
    page.buttons["Check"].click()
    assert "nothing is uploaded" in page.said.value
    page.path.value = str(folder)
    first = next(folder.glob("*_red.png"))
    cv2.imwrite(str(first), np.zeros((128, 128), np.uint8))
    page.buttons["Check"].click()
    assert "red is empty" in page.said.value and page.picture.shown["cells"]
    cv2.imwrite(str(first), np.zeros((64, 64), np.uint8))
    page.buttons["Check"].click()
    assert "one size for all channels" in page.said.value
    page.field.value = page.field.options[1]
    assert "nothing speaks against" in page.said.value


@pytest.mark.parametrize("kind", [dict, tuple], ids=["ipywidgets 7", "ipywidgets 8"])
def test_four_files_become_a_field(home, kind):
    files = {c: next((home / "fields").glob(f"*_1_{c}.png")) for c in ("red", "green", "blue", "yellow")}
    found = {}
    for c, f in files.items():
        one = dict(name=f"my {c}.png", content=f.read_bytes())
        value = {one["name"]: one} if kind is dict else (one,)
        found[c] = next(iter(read_uploads(value).items()))
    made = write_uploads(found, home / "kept")
    page = open_page(home)
    page.path.value = str(made)
    page.check()
    assert page.field.options == ("my",) and made.name == "uploaded_01"
    with pytest.raises(ChannelError, match="no file for blue"):
        write_uploads({"red": found["red"]}, home / "kept")


def upload(slot, one):
    "As a browser does it, with ipywidgets 7 or 8."
    slot.set_trait("value", {one["name"]: one} if isinstance(slot.value, dict) else (one,))


def test_uploads_reach_the_page_and_large_ones_are_refused(home):
    page = open_page(home)
    page.path.value = ""
    for c in ("red", "green", "blue", "yellow"):
        file = next((home / "fields").glob(f"*_1_{c}.png"))
        one = dict(name=file.name, type="image/png", size=1, content=file.read_bytes(), last_modified=DAY)
        upload(page.slots[c], one)
    page.buttons["Check"].click()
    assert "1 fields in all" in page.said.value or "1 field in all" in page.said.value
    upload(page.slots["red"], one | dict(content=bytes(10**7)))
    page.buttons["Check"].click()
    assert "write the folder" in page.said.value
