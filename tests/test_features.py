"Measurements of cells: finite for any input, the same in any batch, nearly the same turned, right where known."

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from cellprotocols import features
from cellprotocols.features import (
    FeatureError,
    measure_background,
    measure_cells,
    measure_grains,
    measure_waves,
    measure_noise_level,
    find_outline,
)
from cellprotocols.synth import STATES, make_patches

PATCHES, LABELS, _ = make_patches(n=6, size=64, seed=5)


def column(name, *args):
    table, names = measure_cells(*args)
    return table[:, names.index(name)]


def disc(radius, size=64, y=0.0, x=0.0, level=100.0, background=10.0):
    yy, xx = np.mgrid[:size, :size] - (size - 1) / 2
    return np.where(np.hypot(yy - y, xx - x) < radius, level, background)


# ---- any input


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(
        [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64, np.float16, np.float32, np.float64, bool]
    ).flatmap(
        lambda t: hnp.arrays(t, st.tuples(st.just(1), st.integers(16, 24), st.integers(16, 24), st.integers(1, 3)))
    )
)
def test_any_numbers_measure_finite_without_warnings(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table, names = measure_cells(x)
    assert table.dtype == np.float32 and table.shape == (1, len(names)) and np.isfinite(table).all()
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 64, 17, 1), (2, 17, 64, 2), (2, 20, 20, 3), (1, 100, 100, 6)])
@pytest.mark.parametrize("kind", ["constant", "nan", "some nan", "inf", "both inf", "noise", "one hot pixel"])
def test_strange_patches_measure_finite(shape, kind):
    x = np.random.default_rng(0).normal(100, 10, shape)
    if kind == "constant":
        x[:] = 7
    if kind == "nan":
        x[:] = np.nan
    if kind == "some nan":
        x[:, :9] = np.nan
    if kind == "inf":
        x[:, 5, 5] = np.inf
    if kind == "both inf":
        x[:, 5, 5], x[:, 9, 9] = np.inf, -np.inf
    if kind == "one hot pixel":
        x[:] = 0
        x[:, 8, 8] = 65535
    assert np.isfinite(measure_cells(x)[0]).all()


def test_grey_levels_count_not_their_type():
    want = measure_cells(PATCHES[:5])[0]
    for t in (np.uint16, np.int32, np.float32, np.float64):
        assert np.array_equal(measure_cells(PATCHES[:5].astype(t))[0], want)
    assert np.array_equal(measure_cells(PATCHES[:5, ..., 0])[0], want), "a last axis of 1 makes no difference"
    assert np.array_equal(measure_cells(np.asfortranarray(PATCHES[:5]))[0], want), "nor does the layout in memory"


def test_the_caller_keeps_its_data_and_its_threads():
    x, valid, threads = PATCHES[:3].astype(np.float32), np.ones((3, 64, 64), bool), cv2.getNumThreads()
    valid[:, :10] = False
    before = x.copy()
    measure_cells(x, valid)
    assert np.array_equal(x, before) and cv2.getNumThreads() == threads


@pytest.mark.parametrize(
    "x,valid,said",
    [
        (np.zeros((1, 15, 64)), None, "15 x 64"),
        (np.zeros((64, 64)), None, "(64, 64)"),
        (np.zeros((1, 64, 64, 0)), None, "(1, 64, 64, 0)"),
        (np.full((1, 64, 64), "a"), None, "<U1"),
        (np.zeros((1, 64, 64), complex), None, "complex128"),
        (np.zeros((2, 64, 64)), np.ones((1, 64, 64), bool), "`valid`"),
    ],
)
def test_what_cannot_be_measured_is_said_in_words(x, valid, said):
    with pytest.raises(FeatureError) as e:
        measure_cells(x, valid)
    assert said in str(e.value)


def test_no_patches_give_an_empty_table_with_the_usual_columns():
    none, names = measure_cells(PATCHES[:0])
    assert none.shape == (0, len(names)) and none.dtype == np.float32 and names == measure_cells(PATCHES[:1])[1]


# ---- the batch, and beyond the field


def test_one_at_a_time_equals_all_together_bit_by_bit():
    rgb = np.concatenate([PATCHES[::3], 255 - PATCHES[::3], PATCHES[::3] // 3], -1)[:, 10:50]
    for x in (PATCHES, rgb):
        table, _ = measure_cells(x)
        assert np.array_equal(np.concatenate([measure_cells(p[None])[0] for p in x]), table)
        assert np.array_equal(measure_cells(x[::-1])[0][::-1], table)


def test_pixels_beyond_the_field_do_not_matter():
    valid = np.ones((4, 64, 64), bool)
    valid[:2, :12] = False
    valid[3] = False
    a, b = PATCHES[:4].astype(float), PATCHES[:4].astype(float)
    b[~valid] = np.random.default_rng(0).choice([0, 255, np.nan], (~valid).sum())[:, None]
    table = measure_cells(a, valid)[0]
    assert np.array_equal(table, measure_cells(b, valid)[0])
    assert np.array_equal(table[2], measure_cells(a[2:3])[0][0])
    assert not np.array_equal(table[0], measure_cells(a[:1])[0][0])


# ---- turned and mirrored


def eight(x):
    return [np.rot90(t, k, (1, 2)) for t in (x, x[:, :, ::-1]) for k in range(4)]


@pytest.mark.parametrize(
    "starts,tolerance",
    [(("c0_patch_p", "c0_background", "c0_noise", "c0_pattern"), 1e-3), (("c0_wave_log", "c0_wave_share"), 0.05)],
)
def test_measures_that_need_no_outline_survive_turns(starts, tolerance):
    "The waves less than the rest: six directions are not turned into each other by a quarter turn."
    names = measure_cells(PATCHES[:1])[1]
    those = [i for i, n in enumerate(names) if n.startswith(starts)]
    turned = np.stack([measure_cells(t)[0] for t in eight(PATCHES)])[:, :, those]
    assert (np.abs(turned - turned[0]) / (np.abs(turned[0]).max(0) + 1)).max() < tolerance


def test_most_measures_survive_turns():
    """Typical change of a measure below 1 % of its spread over cells, nineteen in twenty below a quarter of it.
    Those that change are the directions of the waves (relative to the grid) and the grains (discs of few pixels are
    not quite round)."""
    table, names = measure_cells(PATCHES)
    spread = table.std(0) + 1e-6 * np.abs(table).max(0) + 1e-6
    change = np.stack([np.abs(measure_cells(t)[0] - table) / spread for t in eight(PATCHES)[1:]]).mean((0, 1))
    assert np.median(change) < 0.01
    assert (change < 0.25).mean() > 0.95, sorted(zip(change, names))[-20:]
    rest = [n for c, n in zip(change, names) if c > 0.05 and not n.startswith(("c0_wave", "c0_grain"))]
    assert len(rest) < 10, rest


# ---- right where the answer is known


@pytest.mark.parametrize("radius", [6, 10, 16])
def test_a_disc_measures_as_a_disc(radius):
    x = disc(radius)[None]
    (area,) = column("all_area", x)
    assert 0 <= np.sqrt(area / np.pi) - radius < 2.5, "smoothing puts the outline a pixel or two outside"
    assert column("all_length", x)[0] == pytest.approx(2 * radius, abs=5)
    assert (
        column("all_eccentricity", x)[0] < 0.1
        and column("all_circularity", x)[0] > 0.85
        and column("all_lobes", x)[0] == 1
    )
    assert column("c0_background", x)[0] == pytest.approx(10) and column("c0_cell_p99", x)[0] == pytest.approx(90)
    assert column("all_not_found", x)[0] == 0


@settings(max_examples=10, deadline=None)
@given(st.floats(-6, 6), st.floats(-6, 6))
def test_the_outline_follows_the_cell(y, x):
    cell = np.argwhere(find_outline(disc(9, y=y, x=x)).cell).mean(0) - 31.5
    assert np.hypot(*(cell - [y, x])) < 1


def test_dark_cells_are_found_like_bright_ones():
    light, dark = disc(10), 110 - disc(10)
    assert np.array_equal(find_outline(light).cell, find_outline(dark).cell)


def test_the_neighbours_are_not_the_cell():
    yy, xx = np.mgrid[:64, :64] - 31.5
    brighter = np.maximum(disc(9), disc(8, y=22, x=22, level=250))
    o = find_outline(brighter)
    assert o.found and not (o.cell & (np.hypot(yy - 22, xx - 22) < 8)).any()


def test_nothing_there_is_said():
    assert not find_outline(np.full((64, 64), 9)).found
    assert column("all_not_found", np.full((1, 64, 64), 9))[0] == 1


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 200), st.floats(0.5, 5), st.floats(0.0, 0.4), st.integers(0, 99))
def test_background_is_found_under_neighbours(level, sd, covered, seed):
    rng = np.random.default_rng(seed)
    n = int(1000 * covered)
    v = np.r_[rng.normal(level, sd, 1000 - n), rng.normal(level + 40 * sd, 8 * sd, n)]
    assert abs(measure_background(v) - level) < 2 * sd


@pytest.mark.parametrize("sd", [1, 5, 20])
def test_noise_is_measured_under_a_slope(sd):
    x = np.add.outer(np.arange(64.0), 2 * np.arange(64.0)) + np.random.default_rng(0).normal(0, sd, (64, 64))
    assert measure_noise_level(x.astype(np.float32)) == pytest.approx(sd, rel=0.1)


def test_larger_grains_fill_larger_bins():
    means = []
    for r in (1, 3, 6):
        x = np.zeros((64, 64), np.uint8)
        x[8::16, 8::16] = 100
        x = cv2.dilate(x, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))).astype(np.float32)
        bright = np.array([v for k, v in measure_grains(x).items() if "bright" in k])
        means.append(bright @ (1, 2, 3, 5, 8) / bright.sum())
    assert means == sorted(means) and means[0] < means[-1] - 2


def test_longer_waves_are_stronger_in_coarser_octaves():
    def top(length):
        stripes = (100 + 50 * np.sin(2 * np.pi * np.arange(64) / length) * np.ones((64, 1))).astype(np.float32)
        return int(np.argmax([v for k, v in measure_waves(stripes).items() if "share" in k]))

    assert [top(n) for n in (3, 6, 11, 22)] == [0, 1, 2, 3]


def test_gain_and_offset_move_what_they_should():
    x = PATCHES[:10].astype(float)
    same, moved = measure_cells(x), measure_cells(2 * x + 50)
    names = same[1]

    def get(t, n):
        return t[0][:, names.index(n)]

    np.testing.assert_allclose(get(moved, "c0_background"), 2 * get(same, "c0_background") + 50, rtol=1e-5)
    np.testing.assert_allclose(get(moved, "c0_cell_mean"), 2 * get(same, "c0_cell_mean"), rtol=1e-3)
    for n in ("all_area", "all_eccentricity", "c0_at50_n"):
        np.testing.assert_allclose(get(moved, n), get(same, n), rtol=1e-3, atol=1e-3)


def test_a_nearest_mean_on_the_measures_knows_the_five_states():
    (a, la, _), (b, lb, _) = (make_patches(n=10, seed=s) for s in (1, 2))
    ta, tb = measure_cells(a)[0], measure_cells(b)[0]
    mean, sd = ta.mean(0), ta.std(0) + 1e-6
    centres = np.stack([((ta - mean) / sd)[la == s].mean(0) for s in STATES])
    found = np.array(STATES)[np.abs((tb - mean) / sd - centres[:, None]).clip(0, 3).sum(2).argmin(0)]
    assert (found == lb).mean() > 0.7


def test_two_channels_that_agree_correlate():
    x = np.concatenate([PATCHES[:5], PATCHES[:5]], -1)
    assert column("c0c1_corr_cell", x).min() > 0.99 and column("c1_overlap", x).min() == 1
    x = np.concatenate([PATCHES[:5], 255 - PATCHES[:5]], -1)
    assert column("c0c1_corr_cell", x).max() < -0.99


# ---- the same as the plain formulas


def plain_grains(d):
    h, w = d.shape
    yy, xx = np.mgrid[:h, :w].astype(np.float32)
    window = np.exp(-0.5 * (np.hypot(yy - (h - 1) / 2, xx - (w - 1) / 2) / (0.25 * min(h, w))) ** 2)
    window, out = window / window.sum(), []
    for change in (cv2.MORPH_OPEN, cv2.MORPH_CLOSE):
        before = d
        for r in (1, 2, 3, 5, 8):
            disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
            after = cv2.morphologyEx(d, change, disc, borderType=cv2.BORDER_REFLECT)
            out.append((np.abs(before - after) * window).sum())
            before = after
    return np.array(out) / ((np.abs(d) * window).sum() + 1e-6)


def plain_waves(x, octaves):
    "Mean magnitude of x seen through every Morlet wavelet, at full resolution, subsampled as documented."
    from scipy.fft import fft2, ifft2

    sides = [features._margins(s, octaves) for s in x.shape]
    wide = np.pad(x.astype(float), sides, mode="reflect")
    out = np.empty((octaves, 6))
    for j, bank in enumerate(features._wavelets(*wide.shape, octaves).astype(float)):
        k = 2 ** max(j - 1, 0)
        weight = np.pad(features._window(*x.shape), sides).astype(float)
        weight = weight.reshape(weight.shape[0] // k, k, weight.shape[1] // k, k).sum((1, 3))
        out[j] = [(np.abs(ifft2(fft2(wide) * f))[::k, ::k] * weight).sum() for f in bank]
    return out


@pytest.fixture(params=[(80, 80), (64, 41), (33, 70)])
def image(request):
    return cv2.GaussianBlur(np.random.default_rng(3).normal(50, 20, request.param).astype(np.float32), (0, 0), 1.2)


def test_grains_are_openings_and_closings(image):
    np.testing.assert_allclose(list(measure_grains(image - 50).values()), plain_grains(image - 50), rtol=1e-5)


def test_waves_are_those_of_the_formula(image):
    octaves = features._octaves(*image.shape)
    np.testing.assert_allclose(features._ripples(image, octaves), plain_waves(image, octaves), rtol=2e-6)


def test_arcs_are_those_of_the_formula(image):
    for r in (1, 2, 4):
        s = image if r == 1 else cv2.GaussianBlur(image, (0, 0), r / 2)
        wide, code = np.pad(s, r, mode="symmetric"), np.zeros(s.shape, int)
        for i, (dy, dx) in enumerate([(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]):
            there = wide[r + dy * r :, r + dx * r :][: s.shape[0], : s.shape[1]]
            code |= (there > s + np.float32(0.5 * 2.0 / r)) << i
        arcs = np.array([features._arc(c) for c in range(256)])[code]
        assert np.array_equal(features._arc_map(image, 2.0, r), arcs)


def test_samples_are_described_as_by_numpy(image):
    v = image.ravel()
    mean, d = v.mean(dtype=float), v - v.mean(dtype=float)
    sd = np.sqrt((d**2).mean()) + 1e-6
    np.testing.assert_allclose(
        features._moments(v), [mean, sd, (d**3).mean() / sd**3, (d**4).mean() / sd**4], rtol=1e-6
    )
    counts = np.bincount(((v - v.min()) / (np.ptp(v) + np.float32(1e-6)) * np.float32(31.99)).astype(int), minlength=32)
    share = counts[counts > 0] / len(v)
    assert features._entropy(v) == pytest.approx(-(share * np.log(share)).sum(), rel=1e-9)
    a, b = image[:30].ravel(), image[1:31].ravel()
    assert features._correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)


def test_masks_are_measured_as_by_numpy(image):
    core = features._grid(*image.shape)[2] < 14
    depth, light = features._depth(core, 5), np.abs(image - 50)
    rim = core & (depth < 3)
    gx, gy = (cv2.Sobel(image, cv2.CV_64F, *axis)[rim] / 8 for axis in ((1, 0), (0, 1)))
    assert features._rim_sharpness(image, core, depth) == pytest.approx(np.hypot(gx, gy).mean(), rel=1e-5)
    at, w = np.argwhere(core), light[core].astype(float)
    off = (at * w[:, None]).sum(0) / w.sum() - at.mean(0)
    assert features._light_off_centre(light, core) == pytest.approx(np.hypot(*off), abs=1e-5)
    step = np.minimum((depth[core] / (depth[core].max() + np.float32(1e-6)) * np.float32(8)).astype(int), 7)
    profile = [image[core][step == k].mean(dtype=float) for k in range(8)]
    got = [v for k, v in features.measure_depth(image, core, depth).items() if "mean" in k]
    np.testing.assert_allclose(got, profile, rtol=1e-6)
