"Quality of patches: borders, blanks, light and focus, on practice data and on published patches."

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter

from cellprotocols.patches import cut_patches
from cellprotocols.quality import check_blank, check_brightness, check_focus, check_patches, find_padding
from cellprotocols.synth import make_movie, make_patches


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 255))
def test_find_padding(top, bottom, left, right, value):
    x = make_patches(1, difficulty=0.5)[0][:2].copy()
    want = np.ones((64, 64), bool)
    want[top : 64 - bottom, left : 64 - right] = False
    x[:, want] = value
    found = find_padding(x)
    assert (found == want).all()


def test_find_padding_constant_and_plain():
    assert not find_padding(np.full((2, 16, 16), 3, np.uint8)).any()
    assert not find_padding(make_patches(5)[0]).any()


def zip_patches(path):
    with zipfile.ZipFile(path) as z:
        import tifffile

        names = [n for n in z.namelist() if n.endswith(".tif")]
        return np.stack([tifffile.imread(io.BytesIO(z.read(n))) for n in names]), np.array(
            [n.split("/")[0] for n in names]
        )


def test_blank_detector_on_published_patches(shared_data):
    """G6: the demo "Apoptosis" patches show noise, none of the others do; in a few a speck or a slope of light can be seen."""
    n = found = 0
    for path in sorted((shared_data / "chromatin/zips").glob("annotation_*.zip")):
        patches, names = zip_patches(path)
        empty = (names == "Apoptosis") & ("02-19" not in path.name)  # that zip's two are real nuclei
        blank = check_blank(patches).blank.to_numpy()
        assert not (blank & ~empty).any(), path.name
        n, found = n + empty.sum(), found + (blank & empty).sum()
        for scale in (16, 257):
            assert (check_blank(patches.astype(np.uint16) * scale).blank == empty).mean() > 0.9, path.name
    assert n == 35 and found >= 31


def test_blank_on_practice_data():
    patches = make_patches(20, difficulty=0)[0]
    field = make_movie(n_frames=1, n_cells=0, seed=2, dtype=np.uint16).frame(0)
    blanks = cut_patches(field, np.random.default_rng(0).uniform(0, 255, (40, 2)), pad="constant")
    assert not check_blank(patches).blank.any() and check_blank(blanks).blank.all()
    assert check_blank(np.zeros((3, 64, 64), np.uint8)).blank.all()
    assert not check_blank(255 - patches).blank.any()  # dark cells are cells, too


def disc(size, radius, at=None, soft=0):
    y, x = np.mgrid[:size, :size].astype(float)
    cy, cx = at or ((size - 1) / 2,) * 2
    inside = ((y - cy) ** 2 + (x - cx) ** 2 < radius**2).astype(float)
    return gaussian_filter(inside, soft) if soft else inside


def many(draw, dtype, n=12):
    "n pictures of one kind, each with its own generator."
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else np.inf
    drawn = np.stack([draw(np.random.default_rng(i)) for i in range(n)])
    return (np.clip(np.rint(drawn), 0, top) if top < np.inf else drawn).astype(dtype)


CELLS = dict(
    smooth_disc=lambda g, s: 40 + 60 * disc(s, s / 8),
    faint_smooth_disc=lambda g, s: 40 + 6 * disc(s, s / 5),
    soft_disc=lambda g, s: 40 + 30 * disc(s, s / 5, soft=2),
    nearly_full_disc=lambda g, s: 40 + 30 * disc(s, 0.46 * s),
    disc_in_noise=lambda g, s: 80 + g.normal(0, 4, (s, s)) + 32 * disc(s, s / 6),
    disc_aside=lambda g, s: 80 + g.normal(0, 4, (s, s)) + 40 * disc(s, s / 8, at=(s * 0.7, s * 0.3)),
    dark_disc=lambda g, s: 200 + g.normal(0, 4, (s, s)) - 40 * disc(s, s / 6, soft=1),
    ring=lambda g, s: 100 + g.normal(0, 4, (s, s)) + 60 * (disc(s, s / 3) - disc(s, s / 3 - 3)),
    texture=lambda g, s: 120 + 180 * gaussian_filter(g.normal(0, 1, (s, s)), 2),
    textured_nucleus=lambda g, s: (
        40 + g.normal(0, 3, (s, s)) + disc(s, 0.3 * s) * (20 + 20 * gaussian_filter(g.normal(0, 1, (s, s)), 1.2))
    ),
    cut_out=lambda g, s: disc(s, 0.3 * s) * (80 + g.normal(0, 10, (s, s))),
    colour=lambda g, s: (
        np.array([220, 200, 210.0]) + g.normal(0, 3, (s, s, 3)) - disc(s, 0.25 * s)[..., None] * np.array([5, 60, 5.0])
    ),
)
EMPTY = dict(
    noise=lambda g, s: 40 + g.normal(0, 4, (s, s)),
    few_photons=lambda g, s: g.poisson(20, (s, s)).astype(float),
    slope=lambda g, s: 60 + g.normal(0, 2, (s, s)) + 30 * np.mgrid[:s, :s][0] / s,
    hot_pixels=lambda g, s: 40 + g.normal(0, 4, (s, s)) + 200 * (g.random((s, s)) < 0.002),
    dark=lambda g, s: np.zeros((s, s)),
    one_value=lambda g, s: np.full((s, s), 77.0),
    colour=lambda g, s: np.array([200, 180, 190.0]) + g.normal(0, 2, (s, s, 3)),
)


@pytest.mark.parametrize("size", (20, 40, 64, 120))
@pytest.mark.parametrize("kind", CELLS)
def test_what_can_be_seen_is_not_blank(kind, size):
    for dtype in (np.uint8, np.uint16, np.float32):
        scale = 16 if dtype == np.uint16 else 1
        seen = many(lambda g: scale * CELLS[kind](g, size), dtype)
        assert check_blank(seen).blank.sum() <= 1, (dtype, check_blank(seen).signal.tolist())


@pytest.mark.parametrize("size", (20, 40, 64, 120))
@pytest.mark.parametrize("kind", EMPTY)
def test_noise_is_blank(kind, size):
    for dtype in (np.uint8, np.uint16, np.float32):
        scale = 16 if dtype == np.uint16 else 1
        seen = many(lambda g: scale * EMPTY[kind](g, size), dtype)
        assert check_blank(seen).blank.sum() >= 11, (dtype, check_blank(seen).signal.tolist())


def test_a_faint_nucleus_that_no_single_pixel_shows():
    "Contrast of 1.5 times the noise of a pixel: plain to the eye in the whole."
    seen = many(lambda g: 1000 + g.normal(0, 30, (64, 64)) + 60 * disc(64, 12, soft=1), np.uint16)
    assert not check_blank(seen).blank.any()


def test_the_ground_around_a_drawn_disc_is_no_border():
    flat = (40 + 60 * disc(32, 6)).astype(np.uint8)
    assert not find_padding(flat[None]).any()
    flat[:5] = 0
    assert find_padding(flat[None])[0].any(1).tolist() == [True] * 5 + [False] * 27


def test_brightness_and_saturation():
    x = np.full((2, 10, 10, 2), 100, np.uint8)
    x[1, :5] = 255
    x[1, 5:, :, 0] = 7
    t = check_brightness(x, np.ones((2, 10, 10), bool))
    assert t.brightness[0] == 100 and t.saturated.tolist() == [0, 0.5]
    assert check_brightness(np.full((1, 8, 8), 4095, np.uint16), white=4095).saturated[0] == 1
    assert check_brightness(np.full((1, 8, 8), 1.0)).saturated[0] == 0


def test_focus_falls_with_blur():
    x = make_patches(10, difficulty=0)[0].astype(np.float32)
    sharp, soft = check_focus(x), check_focus(gaussian_filter(x, (0, 2, 2, 0)))
    assert (sharp > soft).all().all()
    assert np.allclose(check_focus(x * 3 + 10), sharp, rtol=1e-2)


def test_quality_works_in_chunks(tmp_path):
    import zarr

    x = make_patches(120)[0]
    stored = zarr.create_array(store=tmp_path / "x.zarr", shape=x.shape, chunks=(64, 64, 64, 1), dtype=x.dtype)
    stored[:] = x
    table = check_patches(stored)
    assert len(table) == len(x) and np.allclose(table.select_dtypes(float), check_patches(x).select_dtypes(float))
    order = np.random.default_rng(0).permutation(len(x))
    assert np.allclose(check_patches(x[order]).signal, table.signal[order])


def test_no_patches():
    none = np.zeros((0, 64, 64), np.uint8)
    assert len(check_patches(none)) == 0 and "blank" in check_patches(none)
