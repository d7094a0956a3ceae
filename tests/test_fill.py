"""Filling: nothing outside the mask changes, types stay, and each way puts in what it says."""

import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from cellprotocols.fill import FILLS, FillError, fill_inpaint, fill_median, fill_nan, fill_ring


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(FILLS)),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64]),
    st.sampled_from([None, 1, 3]),
    st.integers(0, 10**6),
    st.floats(0, 0.9),
)
def test_pixels_outside_the_mask_are_bit_identical(name, dtype, channels, seed, share):
    rng = np.random.default_rng(seed)
    h, w = rng.integers(2, 40, 2)
    shape = (h, w) if channels is None else (h, w, channels)
    img = (rng.random(shape) * (255 if dtype == np.uint8 else 60_000)).astype(dtype)
    mask = rng.random((h, w)) < share
    mask[0, 0] = False
    before = img.copy()
    out = FILLS[name](img, mask)
    assert np.array_equal(img, before) and out.shape == img.shape and not np.shares_memory(out, img)
    kept = out[~mask]
    if name == "nan":
        assert np.array_equal(kept.astype(dtype), img[~mask]) and np.isnan(out[mask]).all() and out.dtype.kind == "f"
    else:
        assert out.dtype == dtype and kept.tobytes() == img[~mask].tobytes()


def test_medians():
    rng = np.random.default_rng(0)
    img = rng.integers(0, 60_000, (40, 50, 3)).astype(np.uint16)
    mask = rng.random((40, 50)) < 0.3
    for c in range(3):
        assert (fill_median(img, mask)[mask, c] == np.rint(np.median(img[~mask, c]))).all()


def test_ring_takes_its_own_side_and_not_other_artifacts():
    img = np.full((100, 200), 10.0, np.float32)
    img[:, 100:] = 50
    mask = np.zeros(img.shape, bool)
    mask[40:60, 40:60] = mask[40:60, 140:160] = True
    mask[40:60, 62:66] = True
    img[40:60, 62:66] = 999  # a second artifact within the first one's ring
    img[mask] = 999
    out = fill_ring(img, mask)
    assert (out[40:60, 40:66] == 10).all() and (out[40:60, 140:160] == 50).all()
    fringe = img.copy()
    fringe[37:63, 137:163][~mask[37:63, 137:163]] = 80  # a bright rim 3 px wide
    assert (fill_ring(fringe, mask, width=6, gap=3)[40:60, 140:160] == 50).all()


def test_object_without_a_ring_gets_the_median_of_the_picture():
    img = np.arange(40.0, dtype=np.float32).reshape(4, 10)
    mask = np.ones(img.shape, bool)
    mask[0, 0] = mask[3, 0] = False
    assert (fill_ring(img, mask, width=2, gap=1)[mask] == np.median(img[~mask])).all()


def test_oracle_of_the_ring_by_brute_force():
    from scipy.ndimage import label

    rng = np.random.default_rng(3)
    img, mask = rng.random((60, 70)), rng.random((60, 70)) < 0.01
    mask[30:36, 20:31] = True
    out, (objects, n) = fill_ring(img, mask, width=7, gap=2), label(mask, np.ones((3, 3)))
    yy, xx = np.mgrid[:60, :70]
    for i in range(1, n + 1):
        at = np.argwhere(objects == i)
        far = np.sqrt(((np.stack([yy, xx], -1)[:, :, None] - at) ** 2).sum(-1)).min(-1)
        assert np.allclose(out[objects == i], np.median(img[(far > 2) & (far <= 7) & ~mask]))


def test_inpaint_continues_a_slope():
    img = np.tile(np.arange(0, 60_000, 600, dtype=np.uint16), (80, 1))
    mask = np.zeros(img.shape, bool)
    mask[30:36, 50:56] = True
    assert np.abs(fill_inpaint(img, mask)[mask].astype(int) - img[mask]).max() < 1800


@pytest.mark.parametrize("name", list(FILLS))
def test_faults(name):
    img = np.zeros((5, 6), np.uint8)
    for mask in (np.ones((5, 6), bool), np.zeros((5, 5), bool), np.zeros((5, 6), np.uint8)):
        with pytest.raises(FillError):
            FILLS[name](img, mask)
    with pytest.raises(FillError):
        FILLS[name](np.zeros((2, 5, 6, 1)), np.zeros((5, 6), bool))


def test_nan_keeps_large_numbers():
    img = np.array([[2**31 - 1, 5]], np.int32)
    assert fill_nan(img, np.array([[False, True]]))[0, 0] == 2**31 - 1
