"Crops of cells: whole, alone, whatever the numbers of their labels."

import numpy as np
import pytest
from skimage.measure import regionprops

from cellprotocols.cellcrops import cut_cell_crops, make_windows, to_field
from cellprotocols.synth_organelles import make_organelle_field

FIELD = make_organelle_field((0, 16), size=(200, 260), seed=6)
GAPS = np.where(FIELD.cells == 3, 100_000, np.where(FIELD.cells == 1, 0, FIELD.cells)).astype(np.int32)


def test_windows_hold_the_boxes_of_regionprops_whatever_the_labels():
    t = make_windows(GAPS, pad=4).set_index("cell")
    for p in regionprops(GAPS):
        assert tuple(t.loc[p.label, ["y0", "x0", "y1", "x1"]]) == p.bbox
        side = max(p.bbox[2] - p.bbox[0], p.bbox[3] - p.bbox[1]) + 8
        assert t.loc[p.label, "side"] == side
    assert set(make_windows(GAPS, side=64).side) == {64}


def test_masks_do_not_depend_on_the_number_of_a_cell():
    one, masks, _ = cut_cell_crops(FIELD.image, FIELD.cells, size=48)
    other, moved, _ = cut_cell_crops(FIELD.image, np.where(FIELD.cells > 0, FIELD.cells + 255, 0), size=48)
    assert masks.dtype == bool and (one == other).all() and (masks == moved).all()


def test_neighbours_are_black_and_what_lies_outside_the_field_too():
    img = np.full((40, 40, 2), 200, np.uint8)
    cells = np.zeros((40, 40), np.int32)
    cells[:20, :20], cells[20:, :20] = 1, 2
    crops, masks, windows = cut_cell_crops(img, cells, size=30, pad=5)
    assert crops[0, :5].max() == 0 and crops[0, 26:, 6:24].max() == 0 and crops[0, 6:24, 26:].min() == 200
    assert cut_cell_crops(img, cells, size=30, pad=5, alone=False)[0][0, 26:, 6:24].min() == 200
    assert masks[0].sum() == 400 and (to_field([[5, 5]], windows.iloc[0], 30) == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_crops_keep_the_depth(dtype):
    assert cut_cell_crops(FIELD.image.astype(dtype), FIELD.cells, 32)[0].dtype == dtype
