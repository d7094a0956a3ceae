"Classifiers: published numbers, oracles for the learners that were turned into tensors, honest behaviour at the edges."
import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from cellprotocols.classify import (ARCHITECTURES, POOLS, RECIPES, Cells, CellNet, ClassifyError, Ensemble, LinearHead, NetClassifier, PublishedClassifier, PublishedNet, PublishedStageClassifier,
                                    Scale, StageClassifier, TimmNet, TreesHead, TwoViews, choose_recipe, count_parameters, fit_classifier, measure_all, predict_patches, to_images,
                                    to_published_input)
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
    made = {m: fit_classifier(m, cells, rows, seed=0, epochs=1)[0] for m in ("measured", "probe", "net", "faithful")}
    made["ensemble"] = Ensemble.of([made["measured"], made["net"]], [.7, .3]).eval()
    return made


NAMES = ["measured", "probe", "net", "faithful", "ensemble"]


# --- G4: the published network


def test_G4_parameters_of_the_published_network():
    free, biased = PublishedNet(1, 5), PublishedNet(1, 5, bias=True)
    assert count_parameters(free) == 624_813
    assert count_parameters(biased) == 625_061
    assert sum(p.numel() for p in biased.parameters() if p.requires_grad) == 624_565
    assert count_parameters(biased.body) == 99_232


def test_G4_shapes_of_the_published_network():
    net, seen = PublishedNet(1, 5).eval(), []
    for m in net.body:
        if isinstance(m, torch.nn.Sequential): m.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape[1:])))
    with torch.no_grad(): out = net(torch.zeros(7, 1, 64, 64))
    assert out.shape == (7, 5)
    assert seen == [(8, 64, 64), (16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]
    assert net.embed(torch.zeros(7, 1, 64, 64)).shape == (7, 256)
    bn = net.body[0][1]
    assert bn.eps == 1e-3 and bn.momentum == .01 and isinstance(net.body[0][2], torch.nn.SiLU) and net.head[0].p == .2


def test_G5_published_standardisation_whatever_the_grey_levels():
    c = PublishedClassifier(1, 5)
    x = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))*200
    assert (c.images(torch.full((2, 1, 64, 64), 77.)) == 0).all()
    assert torch.allclose(c.images(x), c.images(3*x + 50), atol=1e-4)
    x[:, :, 0, 0] = 1e5
    assert c.images(x).abs().max() == 4
    faint = torch.zeros(1, 1, 64, 64); faint[0, 0, 0, 0] = 1e-4
    assert c.images(faint).abs().max() < .01, "the floor of the deviation is 1/sqrt(N), in training as in inference (D2)"


def test_T8_patches_of_any_size_and_any_channels_can_be_classified():
    for size in (9, 32, 64, 81):
        for c in (1, 2, 4):
            x = torch.rand(2, c, size, size)
            for model in (PublishedClassifier(c, 3), NetClassifier("cell", c, 3, size)):
                assert model.eval()(x).shape == (2, 3)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 17])
def test_compact_network_of_tiny_patches(size): assert CellNet(1, 2, size).eval()(torch.rand(3, 1, size, size)).shape == (3, 2)


# --- oracles: scikit-learn as tensors


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("kind", ["lda", "logistic"])
def test_linear_head_gives_scikit_learn_s_probabilities(k, kind):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    rng = np.random.default_rng(k)
    y = rng.integers(0, k, 200); x = (rng.normal(size=(200, 6)) + y[:, None]*np.arange(6)/4).astype(np.float32)
    learner = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto") if kind == "lda" else LogisticRegression(max_iter=1000)
    head = LinearHead(6, k).fit(learner, x, y)
    assert np.abs(head(torch.from_numpy(x)).softmax(1).numpy() - learner.predict_proba(x)).max() < 1e-4


def test_a_class_without_examples_is_never_predicted():
    from sklearn.linear_model import LogisticRegression
    rng = np.random.default_rng(0); x, y = rng.normal(size=(60, 4)).astype(np.float32), rng.choice([0, 2, 5], 60)
    for head in (LinearHead(4, 6).fit(LogisticRegression(), x, y),):
        p = head(torch.from_numpy(x*3)).softmax(1)
        assert p[:, [1, 3, 4]].max() < 1e-6 and torch.allclose(p.sum(1), torch.ones(60))
    trees = TreesHead.grow(x, y, 6, n_trees=20)
    assert (trees(torch.from_numpy(x))[:, [1, 3, 4]] == 0).all()


@pytest.mark.parametrize("k", [2, 4])
def test_trees_give_scikit_learn_s_probabilities(k):
    from sklearn.ensemble import ExtraTreesClassifier
    rng = np.random.default_rng(k)
    y = rng.integers(0, k, 300); x = (rng.normal(size=(300, 8)) + y[:, None]*.5).astype(np.float32)
    forest = ExtraTreesClassifier(30, class_weight="balanced", min_samples_leaf=2, max_features=.15, max_leaf_nodes=2048, random_state=3).fit(x, y)
    new = rng.normal(size=(500, 8)).astype(np.float32)
    ours = TreesHead.grow(x, y, k, n_trees=30, seed=3)(torch.from_numpy(new)).numpy()
    assert np.abs(ours - forest.predict_proba(new)).max() < 1e-5


def test_scale_is_finite_on_constant_and_skewed_measurements():
    x = np.stack([np.full(50, 3.), np.r_[np.zeros(49), 1e6], np.random.default_rng(0).lognormal(0, 2, 50), np.linspace(-1, 1, 50)], 1).astype(np.float32)
    z = Scale(4).fit(x)(torch.from_numpy(x))
    assert torch.isfinite(z).all() and z.abs().max() <= 5 and (z[:, 0] == 0).all()
    far = Scale(4).fit(x)(torch.tensor([[1e9, -1e9, 1e12, 5.]]))
    assert torch.isfinite(far).all() and far.abs().max() <= 5


# --- what every classifier promises


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_and_embeddings_are_sound(fitted, cells, name):
    (prob, emb), = predict_patches(fitted[name], [(cells.patches[:20], cells.valid[:20])], device="cpu")
    assert prob.shape == (20, cells.n_classes) and prob.dtype == np.float32 and emb.shape[0] == 20 and np.isfinite(emb).all()
    assert (prob >= 0).all() and np.abs(prob.sum(1) - 1).max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_patch_s_answer_does_not_depend_on_its_neighbours(fitted, cells, name):
    whole = np.concatenate([p for p, _ in predict_patches(fitted[name], [(cells.patches[:24], cells.valid[:24])], device="cpu")])
    order = np.random.default_rng(0).permutation(24)
    parts = np.concatenate([p for p, _ in predict_patches(fitted[name], [(cells.patches[[i]], cells.valid[[i]]) for i in order[:8]], device="cpu")])
    assert np.abs(whole[order[:8]] - parts).max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_no_mask_is_a_mask_of_ones(fitted, cells, name):
    a, b = (next(iter(predict_patches(fitted[name], [(cells.patches[:6], v)], device="cpu")))[0] for v in (None, cells.valid[:6]))
    assert np.abs(a - b).max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", ["nan", "infinite", "constant", "zero", "huge"])
def test_odd_pixels_give_finite_probabilities(fitted, cells, name, odd):
    x = cells.patches[:3].astype(np.float64)
    if odd == "nan": x[0, 4:9, 4:9] = np.nan
    if odd == "infinite": x[0, 3] = np.inf; x[1, 5] = -np.inf
    if odd == "constant": x[:] = 80
    if odd == "zero": x[:] = 0
    if odd == "huge": x *= 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prob, emb = next(iter(predict_patches(fitted[name], [(x, None)], device="cpu")))
    assert np.isfinite(prob).all() and np.isfinite(emb).all()


@pytest.mark.parametrize("name", NAMES)
def test_temperature_softens_and_keeps_the_order(fitted, cells, name):
    cold, hot = (next(iter(predict_patches(fitted[name], [(cells.patches[:30], None)], t, device="cpu")))[0] for t in (1., 4.))
    assert (cold.argmax(1) == hot.argmax(1)).all() and (hot.max(1) <= cold.max(1) + 1e-6).all()


@pytest.mark.parametrize("name", NAMES)
def test_config_and_tensors_are_the_whole_classifier(fitted, cells, name):
    "What a bundle keeps is enough: JSON and tensors, no pickled objects, no class order in anybody's head (T7)."
    model = fitted[name]
    twin = ARCHITECTURES[type(model).__name__](**json.loads(json.dumps(model.config))).eval()
    twin.load_state_dict(model.state_dict())
    x = to_images(cells.patches[:12])
    with torch.no_grad(): assert torch.allclose(model(x), twin(x), atol=1e-6)


@pytest.mark.parametrize("name", ["measured", "probe"])
def test_T7_same_seed_same_classifier(cells, name):
    rows = np.arange(0, len(cells.y), 2)
    a, b = (fit_classifier(name, cells, rows, seed=4)[0].state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_T7_same_seed_same_network(cells):
    rows = np.arange(0, len(cells.y), 2)
    a, b = (fit_classifier("net", cells, rows, seed=4, epochs=2)[0].state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_measured_learns_and_ignores_the_order_of_the_rows(cells):
    rows = np.random.default_rng(0).permutation(len(cells.y)); train, test = rows[:60], rows[60:]
    model, curve = fit_classifier("measured", cells, train, seed=0)
    said = model.judge(torch.from_numpy(cells.features[test])).argmax(1).numpy()
    assert (said == cells.y[test]).mean() > .6, "practice cells are easy"
    assert len(curve) == 0


def test_judge_and_answer_agree(fitted, cells):
    "Measurements taken before and measurements taken now give the same logits."
    model = fitted["measured"]
    with torch.no_grad(): a, b = model.judge(torch.from_numpy(cells.features[:16])), model(to_images(cells.patches[:16]), torch.from_numpy(cells.valid[:16]))
    assert torch.allclose(a, b, atol=1e-4)


def test_measuring_in_pieces_is_measuring_at_once(cells):
    many = np.concatenate([cells.patches]*3); valid = np.ones(many.shape[:3], bool)
    assert np.allclose(measure_all(many, valid, doing="")[:len(cells.patches)], cells.features, atol=1e-4, rtol=1e-4)


# --- views and images


def test_two_views_keep_brightness_in_one_and_form_in_the_other():
    x = torch.rand(40, 2, 16, 16, generator=torch.Generator().manual_seed(0))*100 + 50
    views = TwoViews(2).fit(x)
    one = x[:1]
    bright, form = views(one)[:, :2], views(one)[:, 2:]
    assert (views(one + 20)[:, :2] - bright).mean() > .2, "brighter stays brighter"
    assert torch.allclose(views(one + 20)[:, 2:], form, atol=1e-4), "the form does not care"
    assert torch.isfinite(views(torch.full((1, 2, 16, 16), 1e9))).all()


def test_what_is_outside_the_field_does_not_change_the_form_of_the_inside():
    x = torch.rand(30, 1, 16, 16)*100; views = TwoViews(1).fit(x)
    valid = torch.ones(1, 16, 16, dtype=torch.bool); valid[:, :, :6] = False
    a, b = x[:1].clone(), x[:1].clone(); b[..., :6] = 0
    assert torch.allclose(views(a, valid)[:, 1, :, 6:], views(b, valid)[:, 1, :, 6:], atol=1e-5)


def test_constant_training_images_do_not_divide_by_zero():
    views = TwoViews(1).fit(torch.full((5, 1, 8, 8), 7.))
    assert torch.isfinite(views(torch.full((2, 1, 8, 8), 7.))).all() and torch.isfinite(views(torch.rand(2, 1, 8, 8)*1e4)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float16, np.float32, np.float64, bool, ">u2"])
def test_images_of_every_dtype(dtype):
    x = (np.random.default_rng(0).random((3, 8, 8, 2))*100).astype(dtype)
    t = to_images(x)
    assert t.shape == (3, 2, 8, 8) and t.dtype == torch.float32 and np.allclose(t.numpy(), np.moveaxis(x.astype(np.float32), 3, 1))


def test_to_images_leaves_the_caller_s_array_alone():
    x = np.ones((2, 8, 8, 1), np.float32); x[0, 0, 0] = np.nan
    to_images(x)
    assert np.isnan(x[0, 0, 0, 0]), "NaN in the caller's own array was replaced"
    fixed = np.ones((2, 8, 8, 1), np.float32); fixed.flags.writeable = False
    assert to_images(fixed).shape == (2, 1, 8, 8), "a read-only array (memory-mapped, from a buffer) must do"


# --- choosing


def test_choosing_a_recipe():
    assert choose_recipe("auto") in RECIPES
    for r in RECIPES: assert choose_recipe(r) == r
    assert choose_recipe("resnet18") == "resnet18"
    for bad in ("resnet_of_my_own", "Measured", "../weights.pt", "hf-hub:someone/model"):
        with pytest.raises(ClassifyError, match="there is no model"): choose_recipe(bad)


def test_timm_network_that_is_not_there():
    with pytest.raises(ClassifyError, match="resnet"): TimmNet("resnet_of_my_own", 1, 2)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("convnext_atto", marks=pytest.mark.slow), pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow)])
def test_timm_networks_embed_and_answer_alike(name):
    size = 224 if "vit" in name else 64
    net = TimmNet(name, 2, 3).eval(); x = torch.rand(2, 2, size, size)
    with torch.no_grad(): assert torch.allclose(net(x), net.head(net.embed(x)), atol=1e-5)


def test_ensemble_averages_by_weight(fitted, cells):
    x = to_images(cells.patches[:5]); a, b = fitted["measured"], fitted["net"]
    with torch.no_grad():
        for w in ([1., 0.], [0., 1.], [.5, .5]):
            want = w[0]*a(x).softmax(1) + w[1]*b(x).softmax(1)
            assert torch.allclose(Ensemble.of([a, b], w)(x).softmax(1), want, atol=1e-4)


def test_few_groups_leave_the_network_without_a_jury_but_not_without_weights(cells):
    two = cells._replace(groups=np.arange(len(cells.y)) % 2)
    model, curve = fit_classifier("net", two, np.arange(0, len(two.y), 3), seed=0, epochs=1)
    assert len(curve) == 1 and not model.training


def field_of_view(model, size=255):
    "How many px of the input a place in the middle of the feature map depends on."
    model.eval()
    for m in model.modules():  # every path counts, none is switched off
        if isinstance(m, (torch.nn.Conv2d, torch.nn.BatchNorm2d)): m.weight.data.abs_().add_(1e-3)
    x = torch.rand(1, len(model.standard.mean), size, size, dtype=torch.double, requires_grad=True)
    a = model.double().features(x)
    a[0, :, a.shape[2]//2, a.shape[3]//2].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    return int(rows.max() - rows.min()) + 1


def test_the_published_artifact_classifier_counts_as_published():
    model = PublishedStageClassifier()
    assert count_parameters(model) == 1_461_122
    plain = StageClassifier("resnet50", channels=3)
    assert sum(p.numel() for p in plain.trunk.parameters()) == 1_444_928 and sum(p.numel() for p in plain.head.parameters()) == 1_026
    assert model.features(torch.rand(1, 3, 72, 104)).shape == (1, 512, 9, 13)


@pytest.mark.slow
def test_its_strides_sit_where_the_published_ones_do():
    assert field_of_view(PublishedStageClassifier()) == 99
    assert field_of_view(StageClassifier("resnet50", channels=3)) == 91


def test_the_head_is_pooling_then_a_linear_layer():
    torch.manual_seed(0)
    model, x = StageClassifier("resnet10t", 1, 3).eval(), torch.rand(2, 1, 40, 48)
    with torch.inference_mode():
        logits, mean = model.answer(x)
        assert torch.allclose(logits, mean @ model.head.weight[:, :, 0, 0].T + model.head.bias, atol=1e-5)


@given(st.floats(-5, 5), st.integers(2, 12), st.integers(2, 12))
@settings(max_examples=20, deadline=None)
def test_the_soft_maximum_lies_between_mean_and_maximum(level, h, w):
    z = torch.from_numpy(np.random.default_rng(h*w).standard_normal((1, 1, h, w))) + level
    mean, soft, most = (POOLS[k](z) for k in ("mean", "soft", "max"))
    assert mean <= soft + 1e-9 and soft <= most + 1e-9
    assert torch.allclose(POOLS["soft"](torch.full((1, 1, h, w), level)), torch.tensor(level), atol=1e-5)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read_alike(order):
    x = np.array([[[0, 255, 256, 32768, 65535]]], order + "u2")
    assert np.allclose(to_published_input(x)[0, 1, 0] + 116.779, [0, 0, 1, 128, 255], atol=1e-4)
    with pytest.raises(ClassifyError, match="uint16"): to_published_input(x.astype(np.uint8))


def test_a_stage_that_is_not_there():
    with pytest.raises(ClassifyError, match=r"stride \[4, 8, 16, 32\]"): StageClassifier("convnext_atto", stride=2)
    with pytest.raises(ClassifyError, match="mean, max, soft"): StageClassifier("resnet10t", pool="median")
    with pytest.raises(ClassifyError, match="no network 'resnet1'"): StageClassifier("resnet1")
