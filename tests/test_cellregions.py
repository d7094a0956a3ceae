"Cells around their nuclei: on drawn fields, on real ones, at any size, bit depth and scale."

import cv2
import numpy as np
import pandas as pd
import pytest

from cellprotocols.cellregions import RegionError, find_regions, measure_regions, read_regions
from cellprotocols.cells import match_cells, score_detections
from cellprotocols.images import StackError, read_image, write_image
from cellprotocols.synth_organelles import make_organelle_field


def score(field, found, iou=0.6):
    return score_detections(match_cells(field.cells, found.cells, iou))


@pytest.fixture(scope="module")
def drawn():
    return make_organelle_field((16,), size=(320, 420), radius=22, seed=3)


def test_drawn_cells_are_found(drawn):
    found = find_regions(drawn.blue, drawn.red, drawn.yellow)
    assert score(drawn, found)["f1"] > 0.8
    assert set(np.unique(found.nuclei)) == set(np.unique(found.cells))
    assert (found.cells[found.nuclei > 0] == found.nuclei[found.nuclei > 0]).all()


@pytest.mark.parametrize("scale", [0.5, 3])
def test_other_pixel_sizes_give_the_same_cells(drawn, scale):
    size = tuple(round(n * scale) for n in drawn.blue.shape[::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    planes = [cv2.resize(x, size, interpolation=how) for x in (drawn.blue, drawn.red, drawn.yellow)]
    found, truth = find_regions(*planes), cv2.resize(drawn.cells, size, interpolation=cv2.INTER_NEAREST)
    assert score_detections(match_cells(truth, found.cells, 0.6))["f1"] > 0.75


def test_8_and_16_bit_give_the_same_masks_and_floats_do_too(drawn):
    planes = (drawn.blue, drawn.red, drawn.yellow)
    a = find_regions(*planes)
    b = find_regions(*(x.astype(np.uint16) * 257 for x in planes))
    c = find_regions(*(x.astype(np.float32) / np.float32(255) for x in planes))
    assert (a.cells == b.cells).all() and (a.nuclei == b.nuclei).all() and (a.cells == c.cells).all()


def test_a_lacking_stain_of_the_cytoplasm_is_no_obstacle(drawn):
    assert score(drawn, find_regions(drawn.blue, drawn.red))["f1"] > 0.7
    assert score(drawn, find_regions(drawn.blue, None, drawn.yellow))["f1"] > 0.7
    alone = find_regions(drawn.blue)
    assert (alone.cells == alone.nuclei).all() and alone.cells.any()


@pytest.mark.parametrize("make", [np.zeros, np.ones, lambda s: np.random.default_rng(0).normal(9, 2, s)])
def test_nothing_is_found_in_nothing(make):
    x = np.asarray(make((200, 260)), np.float32)
    found = find_regions(x, x, x)
    assert not found.cells.any() and "no nucleus" in found.remarks[0]
    assert len(measure_regions(found.cells, found.nuclei)) == 0


def test_five_hundred_nuclei_keep_five_hundred_numbers():
    y, x = np.mgrid[:1040, :1000]
    blue = np.where(np.hypot(y % 40 - 20, x % 40 - 20) < 12, 200, 3).astype(np.uint8)
    found = find_regions(blue, blue, px_um=0.32)
    assert len(np.unique(found.cells)) - 1 == 26 * 25


def test_a_micronucleus_and_a_cell_at_the_edge_are_flagged():
    cells, nuclei = np.zeros((60, 90), np.int32), np.zeros((60, 90), np.int32)
    for k, (x, r) in {3: (0, 8), 7: (30, 8), 300: (60, 3)}.items():
        cells[10:40, x : x + 25] = k
        nuclei[20 - r : 20 + r, x + 4 : x + 4 + r] = k
    t = measure_regions(cells, nuclei).set_index("cell")
    assert (
        t.loc[3, "doubts"] == "touches the border"
        and t.loc[7, "doubts"] == ""
        and t.loc[300, "doubts"] == "small nucleus"
    )


def test_channels_of_two_sizes_or_of_colour_are_refused(drawn):
    with pytest.raises(RegionError, match="one size"):
        find_regions(drawn.blue, drawn.red[:100])
    with pytest.raises(RegionError, match="one plane"):
        find_regions(np.zeros((40, 40, 3), np.uint8))


def read_reference(folder, name, suffix):
    return read_image(folder / f"{name}_{suffix}.png")[..., 0]


def test_seven_real_fields(shared_data):
    folder = shared_data / "organelles" / "hpa_quarter"
    pairs = []
    for name in pd.read_csv(folder / "labels.csv").ID:
        found = find_regions(*(read_reference(folder, name, c) for c in ("blue", "red", "yellow")))
        pairs.append(match_cells(read_reference(folder, name, "cellmask"), found.cells, 0.6))
        assert score_detections(pairs[-1])["recall"] >= 0.7, name
    assert score_detections(pd.concat(pairs))["f1"] >= 0.88


def test_planes_of_label_images_are_not_passed_over(tmp_path, drawn):
    write_image(tmp_path / "a_cells.tif", np.stack([0 * drawn.cells, drawn.cells]), "ZYX")
    with pytest.raises(StackError, match="2 planes"):
        read_regions(tmp_path, "a")
