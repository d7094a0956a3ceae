"GLCM contrast at every pixel, where a picture is even, and the published grid."

import numpy as np
import pytest
from cellprotocols.texture import (
    TextureError,
    find_even,
    find_published_mask,
    make_published_frame,
    measure_contrast,
    measure_published_grid,
    measure_texture,
)


def windowed(steps, y, x, window):
    "Contrast of one window by scikit-image."
    from skimage.feature import graycomatrix, graycoprops

    r = window // 2
    part = steps[y - r : y + r + 1, x - r : x + r + 1]
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    return graycoprops(graycomatrix(part, [1, 2], angles, 32, symmetric=True, normed=True), "contrast").mean()


@pytest.mark.parametrize("window", [5, 31])
def test_contrast_is_that_of_scikit_image_at_every_centre(window):
    steps = np.random.default_rng(window).integers(0, 32, (window + 6, window + 9), dtype=np.uint8)
    r, got = window // 2, measure_contrast(steps, window)
    assert got.shape == (7, 10)
    want = [[windowed(steps, y + r, x + r, window) for x in range(10)] for y in range(7)]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-11)


def test_the_map_lies_on_the_picture():
    rng = np.random.default_rng(1)
    img = rng.integers(0, 200, (70, 90)).astype(np.uint8)
    whole = measure_texture(img, 11)
    assert whole.shape == img.shape
    from cellprotocols.graphsegment import to_levels

    steps = np.minimum(to_levels(img)[..., 0] / 8, 31).astype(np.uint8)
    assert whole[30, 41] == pytest.approx(windowed(steps, 30, 41, 11), rel=1e-5)


def test_the_published_grid_is_that_of_scikit_image():
    img = np.random.default_rng(2).integers(0, 255, (300, 400)).astype(np.uint8)
    frame = make_published_frame(img)
    grid = measure_published_grid(frame)
    assert grid.shape == (29, 29)
    for i, j in ((0, 0), (3, 17), (28, 28)):
        assert grid[i, j] == pytest.approx(windowed(frame // 8, 15 + 8 * i, 15 + 8 * j, 31), abs=1e-12)


def test_otsu_finds_the_boundary_of_two_means():
    from scipy.cluster.vq import kmeans2
    from skimage.filters import threshold_otsu

    rng = np.random.default_rng(3)
    heat = np.concatenate([rng.normal(0.2, 0.08, 30000), rng.normal(0.7, 0.12, 30000)])
    means, _ = kmeans2(heat, np.array([0.1, 0.9]), iter=100, minit="matrix")
    assert abs(threshold_otsu(heat, nbins=4096) - means.mean()) < 1e-3


def test_weights_of_the_published_mask():
    rng = np.random.default_rng(4)
    img = rng.integers(90, 160, (256, 256)).astype(np.uint8)
    img[60:200, 60:200] = 120
    mask, weights = find_published_mask(make_published_frame(img))
    p = mask.mean()
    assert 0.05 < p < 0.9 and weights.mean() == pytest.approx(1, abs=1e-5)
    assert weights[mask].min() == pytest.approx(1.5 / (1 + p / 2), abs=1e-5)
    assert weights[~mask].max() == pytest.approx(1 / (1 + p / 2), abs=1e-5)
    assert (1.5 / (1 + 0.548 / 2), 1 / (1 + 0.548 / 2)) == pytest.approx((1.1775, 0.7850), abs=2e-4)


def test_only_pixels_that_count_choose_the_threshold():
    texture = np.ones((40, 40))
    texture[10:30, 10:30] = 5
    texture[15:25, 15:25] = 3
    assert (find_even(texture) == (texture < 3)).all()
    inside = np.zeros((40, 40), bool)
    inside[10:30, 10:30] = True
    assert (find_even(texture, inside) == (texture == 3)).all()
    assert not find_even(texture, inside, least=0.5).any()


def test_what_does_not_fit_is_said():
    with pytest.raises(TextureError, match="smaller window"):
        measure_texture(np.zeros((10, 50)))
    with pytest.raises(TextureError, match="uint8"):
        make_published_frame(np.zeros((9, 9)))
    with pytest.raises(TextureError, match="shape of the map"):
        find_even(np.zeros((5, 5)), np.ones((4, 4)))
