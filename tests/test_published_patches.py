"Patches as the published annotator cuts and standardises them, to the pixel."

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

pytest.importorskip("cellprotocols.published")
from cellprotocols.patches import normalise
from cellprotocols.published import cut_patches_published, normalise_published
from cellprotocols.synth import make_patches


def picture(h, w, c=None, dtype=np.uint8, seed=0):
    return (
        np.random.default_rng(seed)
        .integers(1, 256 if dtype == np.uint8 else 60000, (h, w) if c is None else (h, w, c))
        .astype(dtype)
    )


def published(img, yx, size):
    """The published crop as the specification words it: pad the whole frame by h - d zeros on all four sides."""
    h, patches, flagged = size // 2, [], []
    for y, x in yx:
        yc, xc, frame = int(y), int(x), img
        d = min(yc, img.shape[0] - yc, xc, img.shape[1] - xc)
        flagged.append(d < h)
        if d < h:
            frame = np.pad(img, h - d)
            yc += h - d
            xc += h - d
        patches.append(frame[yc - h : yc + h, xc - h : xc + h])
    return np.array(patches), np.array(flagged)


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 90), st.integers(20, 90), st.integers(0, 10**6))
def test_published_crop(h, w, seed):
    rng, img = np.random.default_rng(seed), picture(h, w, seed=seed)
    yx = rng.uniform(0, (h, w), (6, 2))
    ours, theirs = cut_patches_published(img, yx), published(img, yx, 64)
    assert (ours[0] == theirs[0]).all() and (ours[1] == theirs[1]).all()


def test_published_rows():
    """G3: rows int(y) - 32 .. int(y) + 31."""
    img = np.arange(450 * 600, dtype=np.uint32).reshape(450, 600)
    patch, flagged = cut_patches_published(img, [[100.99, 200.99]])
    assert patch[0, 0, 0] == img[68, 168] and patch[0, -1, -1] == img[131, 231] and not flagged[0]
    at = [[32, 300], [31.9, 300], [418, 300], [419, 300]]
    assert cut_patches_published(img, at)[1].tolist() == [False, True, False, True]
    assert (cut_patches_published(img, [[0, 300]])[0][0, :32] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32])
def test_native_type_never_wraps(dtype):
    "G11: a 16-bit field gives 16-bit patches with the same numbers."
    img = picture(100, 100, dtype=dtype)
    patches, flagged = cut_patches_published(img, [[50, 50]])
    assert patches.dtype == dtype and (patches[0] == img[18:82, 18:82]).all()
    assert cut_patches_published(img, [])[1].shape == (0,)


@pytest.mark.parametrize(
    "value,dtype", [(0, np.uint8), (93, np.uint8), (65535, np.uint16), (0.1, np.float32), (1e6, np.float64)]
)
def test_normalise_constant(value, dtype):
    assert np.abs(normalise_published(np.full((2, 64, 64), value, dtype))).max() < 1e-3


def test_normalise_formula():
    "(x - mean) / max(sd, 1 / sqrt(N)), clipped; ours is the same where nothing is masked."
    x = make_patches(3)[0][..., 0].astype(np.float64)
    want = np.stack([np.clip((p - p.mean()) / max(p.std(), 1 / 64), -4, 4) for p in x])
    assert np.allclose(normalise_published(x.astype(np.uint8)), want, atol=1e-5)
    assert np.allclose(normalise_published(x.astype(np.uint8)), normalise(x.astype(np.uint8)), atol=1e-5)
