"Cells from the planes of a network: what was wrong in the published program must not come back."

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import maximum_filter, minimum_filter

from cellprotocols.cellplanes import find_plane_cells
from cellprotocols.cellregions import RegionError, find_regions
from cellprotocols.cells import match_cells, score_detections
from cellprotocols.images import read_image


def make_planes(cells, nuclei):
    high, low = maximum_filter(cells, 3), minimum_filter(np.where(cells > 0, cells, cells.max() + 1), 3)
    touch = (cells > 0) & (high != low)  # two px wide, only where two cells meet

    def stack(inside, border):
        return np.stack([~(inside | border), border, inside & ~border], -1).astype(np.uint8) * 255

    return stack(nuclei > 0, np.zeros_like(touch)), stack(cells > 0, touch)


def tiles(rows, columns, cell=20, nucleus=10, gap=4):
    "A grid of square cells, each with a square nucleus; the grid need not be square."
    y, x = np.mgrid[: rows * (cell + gap), : columns * (cell + gap)]
    at, v, u = y // (cell + gap) * columns + x // (cell + gap) + 1, y % (cell + gap), x % (cell + gap)
    edge = (cell - nucleus) // 2
    cells = np.where((v < cell) & (u < cell), at, 0)
    inner = (v >= edge) & (v < cell - edge) & (u >= edge) & (u < cell - edge)
    return cells, np.where(inner, cells, 0)


@pytest.mark.parametrize("faithful", [True, False])
def test_more_than_300_cells_in_a_field_that_is_not_square(faithful):
    cells, nuclei = tiles(16, 25)
    found, inner = find_plane_cells(*make_planes(cells, nuclei), scale=0.15, faithful=faithful)
    assert found.shape == cells.shape and len(np.unique(found)) - 1 == 400 == len(np.unique(inner)) - 1
    assert found.max() > 255 and (found[inner > 0] == inner[inner > 0]).all()


def test_the_rim_is_given_back():
    cells, nuclei = tiles(4, 6, 30, 14, 12)
    planes = make_planes(cells, nuclei)
    ours, theirs = (find_plane_cells(*planes, scale=0.25, faithful=f)[0] for f in (False, True))
    assert (ours > 0).sum() == (cells > 0).sum() and (theirs > 0).sum() < 0.85 * (cells > 0).sum()


def test_planes_of_bytes_and_of_shares_are_the_same_and_sums_do_not_run_over():
    cells, nuclei = tiles(5, 6, 30, 14)
    nucleus, cell = make_planes(cells, nuclei)
    a = find_plane_cells(nucleus, cell, 0.25)
    b = find_plane_cells(nucleus / 255, (cell / 255).astype(np.float32), 0.25)
    assert (a[0] == b[0]).all() and (a[1] == b[1]).all()
    nucleus[..., 1], cell[..., 1] = 200, 100  # more than 255 together: no pixel may be a seed
    assert not find_plane_cells(nucleus, cell, 0.25)[0].any()


def test_faint_planes_are_no_cells():
    cells, nuclei = tiles(5, 6, 30, 14)
    nucleus, cell = (p // 50 for p in make_planes(cells, nuclei))  # 5 of 255
    assert not find_plane_cells(nucleus, cell, 0.25)[0].any()


def test_sides_of_any_length_and_shapes_that_do_not_fit():
    planes = np.zeros((173, 131, 3), np.uint8)
    assert find_plane_cells(planes, planes)[0].shape == (173, 131)
    for wrong, match in [(planes[..., :2], "background, border"), (planes[:9], "one size")]:
        with pytest.raises(RegionError, match=match):
            find_plane_cells(planes, wrong)
    with pytest.raises(RegionError, match="soft-max"):
        find_plane_cells(planes, planes + 9.5)


def test_the_seven_reference_masks_come_back(shared_data):
    folder, pairs = shared_data / "organelles" / "hpa_quarter", []
    for name in pd.read_csv(folder / "labels.csv").ID:
        blue, truth = (read_image(folder / f"{name}_{end}.png")[..., 0] for end in ("blue", "cellmask"))
        nuclei = np.where(truth > 0, find_regions(blue, px_um=0.32).nuclei, 0)
        found, _ = find_plane_cells(*make_planes(truth, nuclei), scale=0.25)
        pairs.append(match_cells(truth, found, 0.6))
    assert score_detections(pd.concat(pairs))["recall"] >= 120 / 128
