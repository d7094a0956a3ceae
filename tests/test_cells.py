"""Finding nuclei: against practice data with known truth, against real images, and on hard inputs."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols.cells import (
    CellError,
    check_labels,
    estimate_diameter,
    find_centroids,
    find_nuclei,
    match_cells,
    score_detections,
    to_labels,
)
from cellprotocols.synth import make_movie


@pytest.fixture(scope="module")
def movie():
    return make_movie(n_frames=40, seed=4)


@pytest.fixture(scope="module")
def found(movie):
    return [find_nuclei(f) for f in movie.frames]


def discs(shape, yx, radius, values):
    img = np.zeros(shape, np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for (cy, cx), v in zip(yx, values):
        img = np.maximum(img, v * np.clip(radius + 0.5 - np.hypot(y - cy, x - cx), 0, 1))
    return img


def test_finds_practice_nuclei(movie, found):
    score = score_detections(pd.concat([match_cells(t, f) for t, f in zip(movie.labels[::4], found[::4])]))
    assert score["f1"] > 0.88 and score["precision"] > 0.88 and score["recall"] > 0.85


def test_label_image(found):
    for lab in found[:5]:
        assert lab.dtype == np.int32 and lab.shape == (256, 256)
        assert np.array_equal(np.unique(lab[lab > 0]), np.arange(1, lab.max() + 1))


@pytest.mark.parametrize(
    "dtype,scale", [(np.uint8, 1), (np.uint16, 200), (np.float32, 1 / 255), (np.float64, 1e4), (np.int32, 7)]
)
def test_any_type(movie, found, dtype, scale):
    assert (find_nuclei((movie.frame(0) * float(scale)).astype(dtype)) == found[0]).mean() > 0.999


def test_dim_beside_bright_and_touching():
    yx = [(30, 30), (30, 53), (80, 40), (80, 100), (30, 100), (110, 70)]
    img = discs((140, 140), yx, 12, [200, 200, 30, 200, 25, 60]) + np.random.default_rng(0).normal(10, 1, (140, 140))
    lab = find_nuclei(img)
    assert lab.max() == 6 and len({int(lab[y, x]) for y, x in yx}) == 6 and all(lab[y, x] for y, x in yx)


def test_dark_nuclei():
    yx = [(30, 30), (80, 40), (80, 100)]
    img = 220 - discs((140, 140), yx, 12, [90, 120, 60]) + np.random.default_rng(0).normal(0, 1, (140, 140))
    assert find_nuclei(img).max() == find_nuclei(img, dark=True).max() == 3


def test_uneven_light():
    yx = [(y, x) for y in range(30, 240, 50) for x in range(30, 240, 50)]
    slope = np.linspace(0, 120, 256)[None, :]
    img = discs((256, 256), yx, 10, [60] * len(yx)) + slope + np.random.default_rng(0).normal(20, 1.5, (256, 256))
    assert len(yx) - 1 <= find_nuclei(img).max() <= len(yx) + 1


def test_holes_are_filled():
    img = discs((100, 100), [(50, 50)], 18, [100])
    img[46:54, 46:54] = 20
    assert find_nuclei(img + np.random.default_rng(0).normal(5, 1, img.shape))[50, 50] == 1


@pytest.mark.parametrize(
    "img",
    [
        np.zeros((40, 50), np.uint8),
        np.full((40, 50, 1), 65535, np.uint16),
        np.full((40, 50), np.nan),
        np.full((1, 1), 3.0),
        np.zeros((5, 200)),
    ],
)
def test_constant(img):
    lab = find_nuclei(img)
    assert lab.shape == img.shape[:2] and lab.dtype == np.int32 and lab.max() == 0


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_nucleus(seed):
    assert find_nuclei(make_movie(n_frames=1, n_cells=0, seed=seed).frame(0)).max() == 0
    assert find_nuclei(np.random.default_rng(seed).poisson(100, (200, 200)).astype(np.uint16)).max() <= 2


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1000), st.sampled_from(["noise", "spike", "half"]))
def test_odd_images_do_not_fail(h, w, seed, kind):
    rng = np.random.default_rng(seed)
    img = {
        "noise": rng.integers(0, 255, (h, w)),
        "spike": np.zeros((h, w), int),
        "half": np.arange(w)[None, :] * np.ones((h, 1), int) > w // 2,
    }[kind].astype(np.uint8)
    img[0, 0] = 255
    assert find_nuclei(img).shape == (h, w)


@pytest.mark.parametrize(
    "bad",
    [
        dict(img=np.zeros((3, 9, 9, 1))),
        dict(img=np.zeros((0, 9))),
        dict(img=np.eye(20), diameter=0),
        dict(img=np.eye(20), diameter=np.nan),
    ],
)
def test_errors(bad):
    with pytest.raises(CellError, match="needed"):
        find_nuclei(**bad)


@pytest.mark.parametrize("radius", [5, 9, 16, 28])
def test_diameter_estimate(radius):
    rng = np.random.default_rng(radius)
    yx = [
        (y + rng.uniform(-2, 2), x + rng.uniform(-2, 2))
        for y in range(40, 480, 3 * radius + 10)
        for x in range(40, 480, 3 * radius + 10)
    ]
    img = discs((512, 512), yx, radius, [80] * len(yx)) + rng.normal(20, 2, (512, 512))
    assert abs(estimate_diameter(img) / (2 * radius) - 1) < 0.25
    assert find_nuclei(img).max() == len(yx)


def test_match_cells_counts_by_hand():
    truth, found = np.zeros((10, 30), int), np.zeros((10, 30), int)
    truth[:, 0:8], truth[:, 10:18], truth[:, 20:28] = 1, 5, 9
    found[:, 1:8], found[:, 10:14], found[:, 14:18], found[:, 29:] = 3, 4, 2, 7
    m = match_cells(truth, found, 0.5)
    assert m[(m.truth > 0) & (m.found > 0)].set_index("truth").iou.to_dict() == {1: 0.875, 5: 0.5}
    assert set(m[m.found == 0].truth) == {9} and len(m[m.truth == 0]) == 2
    score = score_detections(m)
    assert (
        (score["n_truth"], score["n_found"]) == (3, 4)
        and score["precision"] == 0.5
        and np.isclose(score["recall"], 2 / 3)
        and np.isclose(score["f1"], 4 / 7)
    )


def test_match_cells_edge_cases():
    none, one = np.zeros((9, 9), int), np.ones((9, 9), int)
    assert np.isnan(score_detections(match_cells(none, none))["f1"])
    assert (
        score_detections(match_cells(one, none))["recall"] == 0
        and score_detections(match_cells(none, one))["precision"] == 0
    )
    assert score_detections(match_cells(one, one * 7))["f1"] == 1
    with pytest.raises(CellError):
        match_cells(none, np.zeros((8, 9), int))


def test_centroids_equal_regionprops(movie):
    """Oracle: scikit-image."""
    from skimage.measure import regionprops

    table = find_centroids(movie.labels[10]).set_index("label")
    props = regionprops(movie.labels[10])
    assert table.index.tolist() == [p.label for p in props]
    for p in props:
        row = table.loc[p.label]
        assert (
            np.allclose([row.y, row.x], p.centroid)
            and row.area == p.area
            and tuple(row[["y0", "x0", "y1", "x1"]].astype(int)) == p.bbox
        )


@pytest.mark.slow
def test_real_nuclei(shared_data):
    """DSB2018 fluorescence: better than Otsu + watershed (F1 at IoU 0.7: 0.64)."""
    from skimage.io import imread

    folder = shared_data / "organelles/nuclei"
    rows = pd.read_csv(folder / "manifest.csv").query("type == 'fluorescence'")
    f1 = {
        iou: np.mean(
            [
                score_detections(match_cells(imread(folder / r.label), find_nuclei(imread(folder / r.file)), iou))["f1"]
                for r in rows.itertuples()
            ]
        )
        for iou in (0.5, 0.7)
    }
    print(f1)
    assert f1[0.5] > 0.8 and f1[0.7] > 0.7


@pytest.mark.parametrize("low", [-1, -2, -25536])
def test_ids_that_became_negative_are_no_background(low):
    labels = np.zeros((9, 9), np.int16)
    labels[1:3, 1:3], labels[5:7, 5:7] = 1, low
    if low == -1:
        assert to_labels(labels)[1].tolist() == [1]
    else:
        with pytest.raises(CellError, match=f"{low}.*unsigned"):
            to_labels(labels)


def spots():
    labels = np.zeros((60, 60), np.int32)
    for k in range(16):
        labels[15 * (k // 4) + 2 : 15 * (k // 4) + 10, 15 * (k % 4) + 2 : 15 * (k % 4) + 10] = k + 1
    return labels


def test_what_looks_like_label_images_and_is_none():
    labels = spots()
    check_labels(labels)
    check_labels(np.zeros((9, 9), np.int32))
    check_labels(1 + np.add.outer(np.arange(60) // 10, 6 * (np.arange(60) // 10)).astype(np.int32))  # cells everywhere
    twice = np.where(labels < 3, labels > 0, 0)
    check_labels(to_labels(twice)[0])  # one nucleus in two pieces
    for odd, said in (
        (labels > 0, "one number for 16 pieces: a mask"),
        (np.where(labels > 0, 255, 0), "one number for 16 pieces: a mask"),
        (255 - labels, "no 0 among the labels, and one of 17 objects covers"),
        (cv2.resize(labels.astype(np.uint8) * 15, (120, 120)), "thinner than 3 px"),
    ):
        with pytest.raises(CellError, match=said):
            check_labels(to_labels(odd)[0])


def test_minus_one_as_background_does_not_swallow_the_first_object():
    labels = spots() - 1
    with pytest.raises(CellError, match="-1 more often: 0 may be an object"):
        to_labels(labels)
    lines = np.where(labels == -1, 0, labels)
    lines[0] = -1  # lines between objects, as a watershed leaves them
    assert len(to_labels(lines)[1]) == 15


def test_spots_stray_pixels_and_two_cells_that_fill_the_image_are_label_images():
    for side in (1, 2):
        points = np.zeros((60, 60), np.int32)
        for k in range(25):
            y, x = 12 * (k // 5) + 4, 12 * (k % 5) + 4
            points[y : y + side, x : x + side] = k + 1
        check_labels(points)
    one = np.zeros((40, 40), np.int32)
    one[5:25, 5:25], one[30, 30], one[35, 2] = 1, 1, 1
    check_labels(one)
    y, x = np.mgrid[:50, :50]
    for other in (x < 20, y < 20, x + y < 45, x < 6):
        check_labels(1 + other.astype(np.int32))
    with pytest.raises(CellError, match="is it inverted"):
        check_labels(2 - one)


def test_thin_rims_of_real_shapes_are_still_found(movie):
    labels = np.vstack([np.where(f > 0, f + 99 * (i + 1), 0) for i, f in enumerate(movie.labels[:2])])
    labels = to_labels(labels)[0]
    check_labels(labels)
    blurred = cv2.resize((labels * 3 % 256).astype(np.uint8), None, fx=1.5, fy=1.5)
    with pytest.raises(CellError, match="thinner than 3 px"):
        check_labels(to_labels(blurred)[0])


def test_classes_rims_and_a_ground_with_a_number_are_no_objects():
    labels = spots()
    classes = np.where(labels > 0, 1 + (labels > 9), 0)
    rims = np.where((labels == 0) & (cv2.dilate(labels.astype(np.uint8), np.ones((3, 3))) > 0), 255, labels)
    inside = cv2.erode((labels > 0).astype(np.uint8), np.ones((3, 3)))
    for odd in (classes, rims, (labels > 0) + inside):
        with pytest.raises(CellError, match="for (9|16) pieces, as for a class or for the rims"):
            check_labels(to_labels(odd)[0])
    ground = np.where(labels == 0, 5, np.where(labels == 5, 0, labels))
    with pytest.raises(CellError, match="0 in 1.8% of the image, and one of 16 objects covers"):
        check_labels(to_labels(ground)[0])
