"""The probe: scikit-learn's numbers as arrays, its penalty and its judgement from groups left out."""

import numpy as np
import pytest

from cellprotocols import probe as room
from cellprotocols.embed import EmbedError
from cellprotocols.probe import Probe, choose_penalty, predict_left_out, predict_probe, train_probe
from cellprotocols.split import SplitError


def cloud(n=120, d=6, k=3, groups=12, seed=0):
    "k blobs; every group has all of them."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return rng.normal(size=(n, d)) + 4 * np.eye(k, d)[y], np.array(list("abcdefg"))[y], (np.arange(n) // k) % groups


@pytest.mark.parametrize("k", [2, 3, 5])
def test_probe_equals_scikit_learn(k):
    from sklearn.linear_model import LogisticRegression

    x, labels, groups = cloud(k=k)
    classes, y = np.unique(labels, return_inverse=True)
    probe = room._fit(x, y, classes, 0.1)
    theirs = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500).fit((x - probe.mean) / probe.scale, y)
    np.testing.assert_allclose(predict_probe(probe, x), theirs.predict_proba((x - probe.mean) / probe.scale), atol=1e-5)


def test_probe_is_kept_as_arrays(tmp_path):
    x, labels, groups = cloud()
    probe = train_probe(x, labels, groups)
    np.savez(tmp_path / "p.npz", **vars(probe))
    with np.load(tmp_path / "p.npz") as z:
        again = Probe(**z)
    assert (predict_probe(again, x) == predict_probe(probe, x)).all() and again.classes.tolist() == ["a", "b", "c"]


def test_left_out_groups_are_left_out():
    "Labels that depend on the group alone can be learned by heart, but not for a group never seen."
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 6)
    labels, x = (
        np.array(["a", "b"])[rng.permutation(24) % 2][groups],
        np.eye(24)[groups] * 5 + rng.normal(size=(144, 24)) * 0.1,
    )
    classes = np.unique(labels)
    inside = classes[predict_probe(train_probe(x, labels, groups), x).argmax(1)]
    outside = classes[predict_left_out(x, labels, groups).argmax(1)]
    assert (inside == labels).mean() > 0.95 and (outside == labels).mean() < 0.65


def test_probe_with_classes_in_one_group():
    x, labels, groups = cloud(60)
    labels = labels.astype("<U4")
    labels[:3] = "rare"
    groups = groups.copy()
    groups[:3] = 99
    prob = predict_left_out(x, labels, groups)
    assert np.isfinite(prob).all() and np.allclose(prob.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("spread, wanted", [(0.3, {0.1, 1.0}), (12.0, {0.001, 0.01})])
def test_penalty_follows_the_groups(spread, wanted):
    "Clean cells bear a weak penalty; where little but noise is seen, the strong one does best on groups left out."
    x, labels, groups = cloud(120, d=30)
    x = x + spread * np.random.default_rng(1).normal(size=x.shape)
    assert choose_penalty(x, labels, groups) in wanted
    np.testing.assert_array_equal(
        train_probe(x, labels, groups).weight,
        train_probe(x, labels, groups, penalty=choose_penalty(x, labels, groups)).weight,
    )
    assert choose_penalty(x, labels, np.zeros(120)) == 0.1


def test_probe_says_what_it_needs():
    x, labels, groups = cloud(30)
    with pytest.raises(EmbedError, match="two to tell apart"):
        train_probe(x, ["a"] * 30, groups)
    with pytest.raises(EmbedError, match="without a label"):
        train_probe(x, np.where(labels == "a", "", labels), groups)
    with pytest.raises(SplitError):
        predict_left_out(x, labels, np.zeros(30))
    assert train_probe(x, labels, np.zeros(30)).weight.shape == (3, 6)
    with pytest.raises(EmbedError, match="5 columns"):
        predict_probe(train_probe(x, labels, groups), x[:, :5])
