"Measurements and simple learners: scikit-learn's numbers as tensors, honest behaviour at the edges."

import numpy as np
import pytest
import torch

from cellprotocols.inputs import to_images
from cellprotocols.measured import LinearHead, MeasureScale, measure_all, train_learners, train_trees
from cellprotocols.synth import make_patches


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("kind", ["lda", "logistic"])
def test_linear_head_gives_scikit_learn_s_probabilities(k, kind):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(k)
    y = rng.integers(0, k, 200)
    x = (rng.normal(size=(200, 6)) + y[:, None] * np.arange(6) / 4).astype(np.float32)
    learner = (
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        if kind == "lda"
        else LogisticRegression(max_iter=1000)
    )
    head = LinearHead(6, k).fit(learner, x, y)
    assert np.abs(head(torch.from_numpy(x)).softmax(1).numpy() - learner.predict_proba(x)).max() < 1e-4


def test_a_class_without_examples_is_never_predicted():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)).astype(np.float32), rng.choice([0, 2, 5], 60)
    for head in (LinearHead(4, 6).fit(LogisticRegression(), x, y),):
        p = head(torch.from_numpy(x * 3)).softmax(1)
        assert p[:, [1, 3, 4]].max() < 1e-6 and torch.allclose(p.sum(1), torch.ones(60))
    trees = train_trees(x, y, 6, n_trees=20)
    assert (trees(torch.from_numpy(x))[:, [1, 3, 4]] == 0).all()


@pytest.mark.parametrize("k", [2, 4])
def test_trees_give_scikit_learn_s_probabilities(k):
    from sklearn.ensemble import ExtraTreesClassifier

    rng = np.random.default_rng(k)
    y = rng.integers(0, k, 300)
    x = (rng.normal(size=(300, 8)) + y[:, None] * 0.5).astype(np.float32)
    forest = ExtraTreesClassifier(
        30, class_weight="balanced", min_samples_leaf=2, max_features=0.15, max_leaf_nodes=2048, random_state=3
    ).fit(x, y)
    new = rng.normal(size=(500, 8)).astype(np.float32)
    ours = train_trees(x, y, k, n_trees=30, seed=3)(torch.from_numpy(new)).numpy()
    assert np.abs(ours - forest.predict_proba(new)).max() < 1e-5


def test_scale_is_finite_on_constant_and_skewed_measurements():
    x = np.stack(
        [
            np.full(50, 3.0),
            np.r_[np.zeros(49), 1e6],
            np.random.default_rng(0).lognormal(0, 2, 50),
            np.linspace(-1, 1, 50),
        ],
        1,
    ).astype(np.float32)
    z = MeasureScale(4).fit(x)(torch.from_numpy(x))
    assert torch.isfinite(z).all() and z.abs().max() <= 5 and (z[:, 0] == 0).all()
    far = MeasureScale(4).fit(x)(torch.tensor([[1e9, -1e9, 1e12, 5.0]]))
    assert torch.isfinite(far).all() and far.abs().max() <= 5


@pytest.fixture(scope="module")
def measured():
    "Practice patches of three states, their measurements and codes."
    patches, labels, _ = make_patches(24, size=32, seed=1)
    valid = np.ones(patches.shape[:3], bool)
    return patches, valid, measure_all(patches, valid, doing=""), np.unique(labels, return_inverse=True)[1]


def test_judge_and_answer_agree(measured):
    "Measurements taken before and measurements taken now give the same logits."
    from sklearn.linear_model import LogisticRegression

    patches, valid, x, y = measured
    model = train_learners(x, y, 5, [LogisticRegression(C=0.03, max_iter=300)], n_trees=20)
    with torch.no_grad():
        before, now = (
            model.judge(torch.from_numpy(x[:16])),
            model(to_images(patches[:16]), torch.from_numpy(valid[:16])),
        )
    assert torch.allclose(before, now, atol=1e-4)


def test_measuring_in_pieces_is_measuring_at_once(measured):
    patches, valid, x, _ = measured
    many = np.concatenate([patches] * 3)
    again = measure_all(many, np.ones(many.shape[:3], bool), doing="")
    assert np.allclose(again[: len(patches)], x, atol=1e-4, rtol=1e-4)
