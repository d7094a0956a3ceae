"Cells of a field and what they show: compartments, one look for all cells, rules, learning from labels of images."

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi
from skimage.filters import gaussian, threshold_otsu

from cellprotocols.cellpool import choose_pool_scale, embed_cells, to_network_levels
from cellprotocols.cellrules import score_rules
from cellprotocols.compartments import NUMBERS, CompartmentError, measure_compartments
from cellprotocols.multicalls import choose_calls, score_left_out, score_map, to_prob, train_calibration
from cellprotocols.multilabel import MultilabelError, train_multilabel
from cellprotocols.regions import make_region_view
from cellprotocols.split import make_folds


def draw_field(n=3, height=150, dtype=np.uint8):
    "Round cells in a row, ids with gaps; the protein is in the nucleus of every second one."
    rng = np.random.default_rng(0)
    full = np.iinfo(dtype).max
    shape = (height, 110 * n)
    img, cells, nuclei = np.zeros((*shape, 4)), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for i in range(n):
        r = np.hypot(np.mgrid[: shape[0]][:, None] - height // 2, np.mgrid[: shape[1]] - 55 - 110 * i)
        cells[r < 50], nuclei[r < 23] = 7 * i + 3, 7 * i + 3
        img[..., 1] += 0.5 * ((r < 23) if i % 2 else (r > 23) & (r < 50))
    img[..., 2], img[..., 0], img[..., 3] = 0.5 * (nuclei > 0), 0.3 * (cells > 0), 0.2 * (cells > 0)
    return np.rint((img + rng.uniform(0, 0.02, img.shape)).clip(0, 1) * full).astype(dtype), cells, nuclei


@pytest.fixture(scope="module")
def view():
    return make_region_view()


def test_a_cell_depends_on_nothing_else_in_the_field(view):
    "Confidence must not grow with the number of cells, and missing ids are no error."
    img, cells, nuclei = draw_field()
    ids, all_of_them = embed_cells(view, img, cells, nuclei)
    assert ids.tolist() == [3, 10, 17]
    one = cells == 10
    alone = embed_cells(
        view, img, np.where(one, 300, 0), np.where(nuclei == 10, 300, 0), scale=choose_pool_scale(nuclei)
    )
    assert alone[0].tolist() == [300] and np.allclose(alone[1][0], all_of_them[1], atol=1e-5)
    t, u = measure_compartments(img, cells, nuclei), measure_compartments(img, np.where(one, 300, 0), nuclei * one * 30)
    assert np.allclose(t.loc[1, ["area", "mean_green"]].astype(float), u.loc[0, ["area", "mean_green"]].astype(float))


def test_bytes_and_sixteen_bits_give_the_same_numbers():
    a, b = (measure_compartments(*draw_field(dtype=k))[list(NUMBERS)].to_numpy() for k in (np.uint8, np.uint16))
    assert np.abs(a - b).max() < 0.25 and np.median(np.abs(a - b)) < 0.02


def test_a_camera_of_twelve_bits_is_told():
    img, cells, nuclei = draw_field(dtype=np.uint16)
    dim = measure_compartments(img // 16, cells, nuclei).mean_green
    told = measure_compartments(img // 16, cells, nuclei, full=4095).mean_green
    assert np.allclose(told, dim * 65535 / 4095)


@pytest.mark.parametrize("why", ["no nucleus", "no cell", "one pixel", "flat", "thin"])
def test_odd_fields(view, why):
    img, cells, nuclei = draw_field(2)
    if why == "no nucleus":
        nuclei = 0 * nuclei
    if why == "no cell":
        cells = 0 * cells
    if why == "one pixel":
        cells[0, 0] = 900_000
    if why == "flat":
        img = 0 * img
    if why == "thin":
        img, cells, nuclei = img[:40], cells[:40], nuclei[:40]
    t, (ids, x) = measure_compartments(img, cells, nuclei), embed_cells(view, img, cells, nuclei)
    assert (
        t.cell_id.tolist() == ids.tolist() and np.isfinite(t[list(NUMBERS)].to_numpy()).all() and np.isfinite(x).all()
    )


def test_what_does_not_fit_is_said():
    img, cells, nuclei = draw_field(2)
    with pytest.raises(CompartmentError, match="red, green, blue, yellow"):
        measure_compartments(img[..., :3], cells, nuclei)
    with pytest.raises(CompartmentError, match="as large as the field"):
        measure_compartments(img, cells.astype(float), nuclei)
    with pytest.raises(CompartmentError, match="floats from 0 to 1"):
        to_network_levels(img.astype(np.float32))


def make_weak(n_samples=20, seed=0):
    "Cells of two classes; a third of them do not show the label of their image."
    rng, rows = np.random.default_rng(seed), []
    for s in range(n_samples):
        for k in range(16):
            true = (np.arange(2) == s % 2) & (rng.random() > 0.35)
            x = np.r_[2 * np.repeat(true, 3) + rng.normal(0, 1, 6), rng.normal(0, 1, 4)]
            rows.append((x, rng.random(2), np.arange(2) == s % 2, true, 2 * s + k // 8, s))
    return [np.array(c) for c in zip(*rows)]


def test_learning_from_images_beats_their_labels():
    x, q, weak, true, images, samples = make_weak()
    fold = make_folds(weak.astype(int), samples)
    logits = score_left_out(x, q, weak, images, fold, steps=150)
    assert score_map(true, logits)[0] > score_map(true, weak)[0] + 0.1
    slope, level, n = train_calibration(logits, weak, images, samples)
    assert n.tolist() == [10, 10]
    assert np.abs(to_prob(logits, slope, level).mean(0) - true.mean(0)).max() < 0.12


def test_a_class_of_two_samples_is_not_called():
    x, q, weak, true, images, samples = make_weak()
    rare = np.c_[weak, samples < 2]
    slope, level, n = train_calibration(np.c_[x[:, :2], x[:, 5]], rare, images, samples)
    assert n[2] == 2 and not choose_calls(to_prob(np.full((4, 3), 9.0), slope, level), np.full(3, 0.5))[:, 2].any()


def test_known_cells_count():
    "What a person said of single cells is learned, against the label of the image."
    x, q, weak, true, images, samples = make_weak()
    exact = np.full(weak.shape, np.nan, np.float32)
    exact[::2] = true[::2]
    plain, helped = (
        score_map(true[1::2], train_multilabel(x, q, weak, images, e, steps=150).score(x, q)[1::2])[0]
        for e in (None, exact)
    )
    assert helped >= plain - 0.01


def test_labels_that_nothing_can_be_learned_from():
    x, q, weak, true, images, samples = make_weak(4)
    with pytest.raises(MultilabelError, match="images that are labelled"):
        train_multilabel(x, q, 0 * weak, images)


# ---------- real fields


def read_real(folder, name):
    "A field at a quarter of its size, its cells, and nuclei by a threshold."
    img = np.stack([cv2.imread(str(folder / f"{name}_{c}.png"), -1) for c in ("red", "green", "blue", "yellow")], -1)
    cells = cv2.imread(str(folder / f"{name}_cellmask.png"), -1).astype(np.int32)
    blue = gaussian(img[..., 2].astype(float), 2)
    return img, cells, np.where(ndi.binary_fill_holes(blue > 0.7 * threshold_otsu(blue)), cells, 0)


def test_rules_on_real_fields(shared_data):
    "Negative, nuclear and not nuclear fields are told apart without learning; seven fields are no accuracy."
    folder = shared_data / "organelles" / "hpa_quarter"
    if not folder.is_dir():
        pytest.skip("no real fields of four stains")
    first = {}
    for name in pd.read_csv(folder / "labels.csv").ID:
        first[name[:8]] = score_rules(measure_compartments(*read_real(folder, name))).median().idxmax()
    assert first["a34d8680"] == "Negative"
    assert all(first[k].startswith("Nucle") for k in ("000a6c98", "5c27f04c"))
    assert not first["94e33c64"].startswith("Nucle") and first["94e33c64"] != "Negative"
