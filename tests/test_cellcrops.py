"Crops of cells and what is measured of them: whole, alone, at any number of their labels; right where the truth is known."

import numpy as np
import pytest
from skimage.measure import regionprops

from cellprotocols.cellcrops import cut_cell_crops, make_windows, to_field
from cellprotocols.cells import CellError
from cellprotocols.compartments import measure_compartments
from cellprotocols.locations import CHANNELS
from cellprotocols.synth_organelles import make_organelle_field

FIELD = make_organelle_field((0, 16), size=(200, 260), seed=6)
GAPS = np.where(FIELD.cells == 3, 100_000, np.where(FIELD.cells == 1, 0, FIELD.cells)).astype(np.int32)


def planes(field):
    return {c: getattr(field, c) for c in CHANNELS}


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


def test_the_nucleus_to_cytoplasm_ratio_rises_with_the_dose():
    doses = []
    for dose in (0, 0.25, 0.5, 0.75, 1):
        green = np.where(FIELD.nuclei > 0, 20 + 100 * dose, np.where(FIELD.cells > 0, 120 - 100 * dose, 5))
        t = measure_compartments(dict(green=green.astype(np.uint8)), FIELD.cells, FIELD.nuclei)
        doses.append(t.nuc_cyto.median())
    assert (np.diff(doses) > 0).all()
    assert doses[0] == pytest.approx(15 / 115, abs=0.01) and doses[-1] == pytest.approx(115 / 15, rel=0.05)


def test_exposure_depth_and_labels_change_nothing():
    p = planes(FIELD)
    t = measure_compartments(p, FIELD.cells, FIELD.nuclei).set_index("cell")
    deep = measure_compartments({c: x.astype(np.uint16) * 257 for c, x in p.items()}, FIELD.cells, FIELD.nuclei)
    np.testing.assert_allclose(deep.set_index("cell"), t, rtol=1e-4)
    nuclei = np.where(GAPS > 0, np.where(FIELD.nuclei > 0, GAPS, 0), 0)
    gaps = measure_compartments(p, GAPS, nuclei).set_index("cell")
    assert gaps.loc[100_000, "r_red"] == pytest.approx(t.loc[3, "r_red"], rel=1e-5)


def test_dark_cells_missing_nuclei_and_missing_channels_are_no_number():
    p = planes(FIELD)
    t = measure_compartments(dict(green=p["green"] * 0, red=p["red"]), FIELD.cells, FIELD.nuclei)
    assert t.nuc_cyto.isna().all() and t.r_yellow.isna().all() and (t.green == 0).all()
    assert measure_compartments(p, FIELD.cells, FIELD.nuclei * 0).nuc_cell.isna().all()
    with pytest.raises(CellError, match="green"):
        measure_compartments(dict(red=p["red"]), FIELD.cells, FIELD.nuclei)


def test_a_large_scale_gives_the_same_numbers():
    def up(x):
        return np.kron(x, np.ones((3, 3), x.dtype))

    a = measure_compartments(planes(FIELD), FIELD.cells, FIELD.nuclei)
    b = measure_compartments({c: up(x) for c, x in planes(FIELD).items()}, up(FIELD.cells), up(FIELD.nuclei))
    assert abs(np.log(a.nuc_cyto / b.nuc_cyto)).median() < 0.1
