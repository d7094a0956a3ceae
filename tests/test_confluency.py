"Cell masks and cluster selection of brightfield frames: the published ones equal a slow reference; the defaults keep their word."

import importlib
from pathlib import Path

import numpy as np
import pytest
from cellprotocols.clusters import choose_clusters, choose_published_clusters, to_pair_iou
from cellprotocols.confluency import (
    ConfluencyError,
    fill_enclosed,
    find_cells,
    find_published_cells,
    measure_confluency,
    stretch,
)
from cellprotocols.patterns import find_patterns
from scipy import ndimage
from skimage.feature import local_binary_pattern

SIZES = {"sparse": 8, "medium": 40, "dense": 160}


def culture(n, shape=(300, 420), seed=0):
    "Cells with a bright rim and a dark side on an uneven background."
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    frame = 0.5 + 0.1 * x / shape[1] + rng.normal(0, 0.01, shape)
    for cy, cx, r in zip(rng.uniform(0, shape[0], n), rng.uniform(0, shape[1], n), rng.uniform(5, 14, n), strict=True):
        far = np.hypot(y - cy, (x - cx) * rng.uniform(0.6, 1)) / r
        frame += 0.25 * np.exp(-(((far - 1) / 0.15) ** 2)) - 0.12 * (far < 1) * np.clip((x - cx) / r, -1, 1)
    return np.clip(frame, 0, 1)


@pytest.fixture(scope="module")
def plain():
    "The published rule written plainly, as the benchmark has it."
    with pytest.MonkeyPatch.context() as m:
        m.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
        return importlib.import_module("bench_clusters")


@pytest.mark.parametrize("density", SIZES)
def test_the_published_mask_and_boxes_are_those_of_the_slow_way(plain, density):
    frame = culture(SIZES[density])
    mask = find_published_cells(frame)
    np.testing.assert_array_equal(mask, plain.mask_plainly(frame))
    assert 0.01 < mask.mean() < 1
    found = choose_published_clusters(frame, mask)
    assert found[["y0", "x0"]].to_numpy().tolist() == [list(b) for b in plain.choose_plainly(frame, mask)]


@pytest.mark.parametrize("share", [0.1, 0.45, 0.5, 0.55, 0.9])
def test_enclosed_is_what_scipy_fills(share):
    rng = np.random.default_rng(int(100 * share))
    for sigma in (0, 1, 2):
        field = ndimage.gaussian_filter(rng.normal(size=(61, 83)), sigma)
        mask = field < np.quantile(field, share)
        np.testing.assert_array_equal(fill_enclosed(mask), ndimage.binary_fill_holes(mask, np.ones((6, 6))))


def test_default_mask_grows_with_the_culture_and_stays_empty_without():
    cover = [measure_confluency(culture(n)) for n in (0, 8, 40, 160)]
    assert cover[0] == 0
    assert cover == sorted(cover)
    frame = culture(40)
    dark = find_cells(frame)
    assert (dark == find_cells(frame * 0.2 + 3)).mean() > 0.99  # gain and offset mean nothing
    frame[:40] = np.nan
    assert not find_cells(frame)[:40].any()
    assert find_cells(frame)[60:].mean() == pytest.approx(dark[60:].mean(), abs=0.02)


def test_default_patches_cover_the_frame_and_never_overlap_much():
    frame = culture(60)
    mask = find_cells(frame)
    some = choose_clusters(frame, mask, 64, 12)
    boxes = some[["y0", "x0", "y1", "x1"]].to_numpy()
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= mask.shape).all()
    iou = to_pair_iou(boxes)
    assert iou[np.triu_indices(len(iou), 1)].max() <= 0.1
    lower_right = (boxes[:, :2].mean(0) + 32) / mask.shape
    assert np.all(np.abs(lower_right - 0.5) < 0.15)  # no corner is preferred
    assert (some.confluency > 0.02).all()


def test_regions_that_are_nearly_empty_give_no_patch_and_sparse_frames_still_do():
    frame, mask = culture(160), np.zeros((300, 420), bool)
    mask[:, :210], mask[20:30, 300:330] = True, True  # cells to the left, debris to the right
    some = choose_clusters(frame, mask, 64, 20)
    assert len(some) and (some.x0 < 210).all() and (some.confluency > 0.1).all()
    alone = np.zeros_like(mask)
    alone[100:112, 100:130] = True  # one cell is all there is
    assert choose_clusters(frame, alone, 64, 20).confluency.between(0.04, 0.09).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_texture_codes_and_contrast_are_those_of_the_libraries(kind):
    rng = np.random.default_rng(3)
    for levels, shape in ((2, (3, 90)), (9, (57, 31)), (250, (64, 80))):
        some = rng.integers(0, levels, shape).astype(kind)
        whole = some if kind != np.float32 else some / kind(7)
        np.testing.assert_array_equal(find_patterns(whole), local_binary_pattern(whole, 8, 1))
        a, b = np.percentile(whole.astype(np.float32), (0.2, 99.8))
        np.testing.assert_array_equal(stretch(whole), np.clip((whole.astype(np.float32) - a) / (b - a), 0, 1))


def test_what_is_refused():
    with pytest.raises(ConfluencyError, match="one channel"):
        find_cells(np.zeros((4, 4, 3)))
    with pytest.raises(ConfluencyError, match="at least 112 px"):
        choose_clusters(np.zeros((90, 200)), np.zeros((90, 200), bool))
