"Patches: every pixel where it should be, frame by frame, channel by channel, and normalised over what is real."

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from cellprotocols.patches import (
    PatchError,
    cut_movie,
    cut_patches,
    find_valid,
    normalise,
    to_channels,
    to_patches,
    to_px,
)
from cellprotocols.synth import make_patches


def picture(h, w, c=None, dtype=np.uint8, seed=0):
    return (
        np.random.default_rng(seed)
        .integers(1, 256 if dtype == np.uint8 else 60000, (h, w) if c is None else (h, w, c))
        .astype(dtype)
    )


where = st.tuples(st.integers(1, 60), st.integers(1, 70), st.sampled_from([2, 8, 32, 64]), st.integers(0, 10**6))


@settings(max_examples=60, deadline=None)
@given(where, st.sampled_from(["reflect", "edge", "constant"]), st.sampled_from([None, 1, 3]))
def test_cut_equals_numpy_pad(where, pad, c):
    """Oracle: pad the whole field with numpy, then slice."""
    h, w, size, seed = where
    img, rng = picture(h, w, c), np.random.default_rng(seed)
    yx = np.c_[rng.integers(0, h, 5), rng.integers(0, w, 5)]
    wide = np.pad(img, [(size, size)] * 2 + [(0, 0)] * (img.ndim - 2), mode=pad)
    half = size // 2
    for patch, (y, x) in zip(cut_patches(img, yx, size, pad), yx):
        assert (patch == wide[y + size - half : y + size + half, x + size - half : x + size + half]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32])
def test_native_type_never_wraps(dtype):
    """G11: a 16-bit field gives 16-bit patches with the same numbers."""
    img = picture(100, 100, dtype=dtype)
    for patches in (cut_patches(img, [[50, 50]]), cut_patches(img, [[50, 50]], subpixel=True)):
        assert patches.dtype == dtype and (patches[0] == img[18:82, 18:82]).all()


def test_valid_masks_and_filling():
    img = picture(80, 90, 2)
    yx = np.array([[0, 0], [40, 45], [79, 3]])
    valid = find_valid(img.shape, yx)
    ones = cut_patches(np.ones(img.shape[:2]), yx, pad="constant")
    assert (valid == (ones == 1)).all() and valid[1].all() and valid.shape == (3, 64, 64)
    mean = cut_patches(img, yx, pad="mean")
    assert np.abs(mean[0][~valid[0]] - mean[0][valid[0]].mean(0)).max() <= 0.5
    assert (cut_patches(img, yx, pad="constant")[~valid] == 0).all()
    for pad in ("reflect", "edge", "mean", "constant"):
        assert (cut_patches(img, yx, pad=pad)[valid] == cut_patches(img, yx)[valid]).all()


def test_rounding_is_to_the_nearest_pixel():
    img = picture(100, 100)
    for y in (49.5, 49.9, 50.0, 50.49):
        assert (cut_patches(img, [[y, 50]]) == cut_patches(img, [[50, 50]])).all()


def test_subpixel():
    y, x = np.mgrid[:100, :100]
    ramp = 2.0 * y + 3.0 * x
    shifted = cut_patches(ramp, [[50.25, 40.5]], subpixel=True) - cut_patches(ramp, [[50, 40]])
    assert np.allclose(shifted, 0.25 * 2 + 0.5 * 3)
    img = picture(100, 100, 3)
    assert (cut_patches(img, [[50, 40], [2, 2]], subpixel=True) == cut_patches(img, [[50, 40], [2, 2]])).all()


@pytest.mark.parametrize(
    "bad",
    [
        dict(size=63),
        dict(size=0),
        dict(pad="wrap"),
        dict(yx=[[500, 5]]),
        dict(yx=[[np.nan, 5]]),
        dict(yx=[[5, 5, 5]]),
        dict(img=np.zeros((2, 9, 9, 1))),
    ],
)
def test_errors_say_what_to_do(bad):
    with pytest.raises(PatchError) as e:
        cut_patches(**{**dict(img=picture(90, 90), yx=[[45, 45]]), **bad})
    assert "needed" in str(e.value) and isinstance(e.value, ValueError)


def test_no_points():
    assert cut_patches(picture(90, 90, 3), np.zeros((0, 2))).shape == (0, 64, 64, 3)
    assert cut_patches(picture(90, 90), []).shape == (0, 64, 64)
    assert normalise(np.zeros((0, 64, 64), np.uint8)).shape == (0, 64, 64)


def test_um_to_px():
    assert to_px(21.333, 1 / 3) == 64 and to_px(0.1, 1.0) == 2 and to_px(15, 0.5) == 30
    for unknown in (None, 0, -1, float("nan")):
        with pytest.raises(PatchError):
            to_px(20, unknown)


class Counting:
    """A movie that counts how often a frame is read."""

    def __init__(self, n):
        self.n, self.reads = n, []

    def __len__(self):
        return self.n

    def frame(self, t=0, z=0):
        self.reads.append((t, z))
        return np.full((70, 70, 1), 10 * z + t, np.uint8)


def test_cut_movie_streams():
    movie = Counting(6)
    table = pd.DataFrame(dict(t=[5, 0, 5, 2], y=[1.0, 2, 3, 4], x=[9.0, 8, 7, 6]), index=[40, 30, 20, 10])
    parts = cut_movie(movie, table, 8)
    rows, patches, valid = next(parts)
    assert movie.reads == [(0, 0)] and rows.index.tolist() == [30]
    rest = list(parts)
    assert movie.reads == [(0, 0), (2, 0), (5, 0)] and rest[1][0].index.tolist() == [40, 20]
    assert all(
        (p == r.t.iloc[0]).all() and p.shape == (len(r), 8, 8, 1) and v.shape == (len(r), 8, 8) for r, p, v in rest
    )


def test_cut_movie_z_and_errors():
    movie = Counting(3)
    got = {
        (r.t.iloc[0], r.z.iloc[0]): p.max()
        for r, p, _ in cut_movie(movie, pd.DataFrame(dict(t=[1, 1, 2], z=[0, 2, 2], y=30, x=30)), 8)
    }
    assert got == {(1, 0): 1, (1, 2): 21, (2, 2): 22}
    assert list(cut_movie(movie, pd.DataFrame(dict(t=[], y=[], x=[])))) == []
    with pytest.raises(PatchError, match="without t"):
        list(cut_movie(movie, pd.DataFrame(dict(y=[1], x=[1]))))
    with pytest.raises(PatchError, match="t=3"):
        list(cut_movie(movie, pd.DataFrame(dict(t=[3], y=[1], x=[1]))))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.floats(-1000, 1000), st.integers(0, 1000))
def test_normalise_is_affine_invariant(a, b, seed):
    """G5."""
    x = np.random.default_rng(seed).normal(0, 20, (2, 32, 32, 2))
    assert np.allclose(normalise(a * x + b), normalise(x), atol=2e-3)


@pytest.mark.parametrize(
    "value,dtype", [(0, np.uint8), (93, np.uint8), (65535, np.uint16), (0.1, np.float32), (1e6, np.float64)]
)
def test_normalise_constant(value, dtype):
    assert np.abs(normalise(np.full((2, 64, 64), value, dtype))).max() < 1e-3


def test_normalise_formula():
    """The published formula, (x - mean) / max(sd, 1 / sqrt(N)), clipped; ours is the same where nothing is masked."""
    x = make_patches(3)[0][..., 0].astype(np.float64)
    want = np.stack([np.clip((p - p.mean()) / max(p.std(), 1 / 64), -4, 4) for p in x])
    assert np.allclose(normalise(x.astype(np.uint8)), want, atol=1e-5)
    spike = np.zeros((1, 64, 64), np.uint8)
    spike[0, 3, 3] = 255
    assert normalise(spike).max() == 4 and normalise(spike).dtype == np.float32


def test_normalise_ignores_what_is_filled_in():
    x, valid = make_patches(2)[0].astype(np.float32), np.ones((10, 64, 64), bool)
    valid[:, :20] = False
    dirty = x.copy()
    dirty[~valid] = 1e4
    assert (
        np.allclose(normalise(dirty, valid)[valid], normalise(x, valid)[valid])
        and np.isfinite(normalise(dirty, valid)).all()
    )
    assert (normalise(x, np.zeros_like(valid)) == np.clip(normalise(x, np.zeros_like(valid)), -4, 4)).all()
    x[0, 5, 5] = np.nan
    assert np.isfinite(normalise(x)).all()


def test_fit_patches():
    big, small = picture(81, 90, 3), picture(33, 40, 3)
    fitted = to_patches(iter([big, small]), 64)
    assert (fitted[0] == big[8:72, 13:77]).all()
    assert (fitted[1] == np.pad(small, ((16, 15), (12, 12), (0, 0)), mode="reflect")).all()
    assert to_patches([picture(1, 1)], 8).shape == (1, 8, 8, 1)


def test_channels():
    grey, rgb = picture(20, 20), picture(20, 20, 3)
    assert [i.shape[2] for i in to_channels([grey, rgb], 3)] == [3, 3] and [
        i.shape[2] for i in to_channels([grey, rgb], 1)
    ] == [1, 1]
    from PIL import Image  # the oracle: its "L" is the same Rec. 601 brightness

    one = next(to_channels([rgb], 1))[..., 0]
    assert one.dtype == np.uint8 and np.abs(one.astype(int) - np.array(Image.fromarray(rgb).convert("L"))).max() <= 1
    with pytest.raises(PatchError, match="image 1 has 3"):
        to_patches([grey, rgb], 16)
    with pytest.raises(PatchError):
        list(to_channels([picture(20, 20, 2)], 3))
