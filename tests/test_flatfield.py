"Flat field: known light comes back, nothing wraps round."

import numpy as np
import pytest

from cellprotocols.flatfield import (
    FlatfieldError,
    flatten_field,
    measure_flatfield,
    polynomial_background,
    smooth_background,
    to_transmission,
)
from cellprotocols.images import read_image


def lamp(shape, strength=0.25):
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return 1 - strength * (y[:, None] ** 2 + 0.5 * x**2) + 0.1 * x


def uneven(b, truth):
    return np.ptp(np.quantile(b / truth, [0.01, 0.99])) / np.median(b / truth)


@pytest.mark.parametrize("fit", [polynomial_background, smooth_background])
def test_background_of_a_field_with_things_in_it(fit):
    truth = 30_000 * lamp((301, 257))  # sides that no block divides
    rng = np.random.default_rng(0)
    img = truth * (1 + 0.01 * rng.standard_normal(truth.shape))
    img[40:140, 60:120] *= 0.6
    img[200:215, 30:45] *= 0.1
    img[-40:, :30] = 20  # a stained cell, a crystal, a black corner
    found = fit(img.astype(np.uint16))
    assert found.shape == img.shape and found.dtype == np.float32 and uneven(found, truth) < 0.04
    assert np.abs(np.median(found / truth) - 1) < 0.01


@pytest.mark.parametrize("fit", [polynomial_background, smooth_background])
def test_masked_pixels_are_not_looked_at(fit):
    truth = 1000 * lamp((200, 220))
    mask = np.zeros(truth.shape, bool)
    mask[:, :120] = True  # more than half
    a, b = truth.copy(), truth.copy()
    a[mask], b[mask] = 5, 4000
    assert np.array_equal(fit(a, mask), fit(b, mask)) and uneven(fit(a, mask)[~mask], truth[~mask]) < 0.02
    nan = np.where(mask, np.nan, truth)
    assert np.allclose(fit(nan), fit(a, mask))


def test_polynomial_is_exact_for_a_polynomial_and_follows_scale():
    truth = 500 * lamp((160, 96))
    assert np.abs(polynomial_background(truth) / truth - 1).max() < 0.002
    assert np.allclose(polynomial_background(truth * 40), 40 * polynomial_background(truth), rtol=1e-4)
    colour = np.stack([truth, 2 * truth, truth[::-1]], -1)
    assert np.allclose(polynomial_background(colour)[..., 2], polynomial_background(truth[::-1]), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_flatten_keeps_type_and_never_wraps(dtype):
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1e4
    img = np.linspace(0, top, 60 * 50).reshape(60, 50).astype(dtype)
    background = np.full((60, 50), 2.0)
    background[:, :20] = 0.5
    flat = flatten_field(img, background)
    assert flat.dtype == dtype
    expected = np.minimum(
        img.astype(float) * np.where(background < 1, 4, 1), top if np.dtype(dtype).kind in "iu" else np.inf
    )
    assert np.allclose(flat.astype(float), expected, rtol=1e-6)
    assert np.array_equal(flatten_field(img, np.full((60, 50), 7.0)), img)  # even light changes nothing


def test_transmission():
    img = np.full((20, 30, 2), 600, np.uint16)
    assert np.array_equal(to_transmission(img, np.full((20, 30), 1200.0)), np.full((20, 30, 2), 0.5, np.float32))
    for bad in (np.zeros((20, 30)), np.full((20, 30), np.nan), np.ones((20, 29))):
        with pytest.raises(FlatfieldError):
            to_transmission(img, bad)


@pytest.mark.parametrize("bad", [np.zeros((2, 3, 4, 1)), np.zeros((0, 5)), np.zeros((9, 9), bool), np.array(["a"])])
def test_what_is_no_field(bad):
    with pytest.raises(FlatfieldError):
        smooth_background(bad)


def test_set_flatfield_reads_once_uses_masks_and_repeats():
    truth = lamp((128, 160))
    rng = np.random.default_rng(0)
    images = [
        (rng.uniform(1e4, 4e4) * truth * (1 + 0.01 * rng.standard_normal(truth.shape))).astype(np.uint16)
        for _ in range(9)
    ]
    flat = measure_flatfield(iter(images))
    assert flat.shape == truth.shape and uneven(flat, truth) < 0.02 and abs(flat.mean() - 1) < 1e-5
    masks = []
    for im in images:
        m = np.zeros(truth.shape, bool)
        m[30:90, 30:100] = True
        im[30:90, 30:100] = 60_000
        masks.append(m)
    assert uneven(measure_flatfield(images, masks), truth) < 0.03 < uneven(measure_flatfield(images), truth)


@pytest.mark.slow
@pytest.mark.parametrize("fit", [polynomial_background, smooth_background])
def test_real_fields_become_even_and_a_black_corner_stays_black(shared_data, fit):
    from cellprotocols.names import read_operetta_name

    for f in sorted((shared_data / "artifacts" / "sabgal" / "images").glob("*.tif")):
        img = read_image(f)
        background = fit(img)
        x, flat = to_transmission(img, background), flatten_field(img, background)
        assert (
            np.ptp(background) / np.median(background) < 0.35
            and abs(np.median(x) - 1) < 0.02
            and flat.dtype == np.uint16
        )
        assert abs(np.median(flat) / np.median(img) - 1) < 0.02
        if read_operetta_name(f)["field"] == 256:
            assert x[-60:, :40].max() < 0.2  # the edge of the well is not lamp light
