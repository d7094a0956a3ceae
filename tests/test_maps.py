"""Maps: principal components are scikit-learn's, maps of any size, purity equals brute force."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from cellprotocols import maps
from cellprotocols.embed import EmbedError
from cellprotocols.maps import Pca, measure_knn_purity, score_knn_purity, to_map, train_pca


def cloud(n=120, d=6, k=3, groups=12, seed=0):
    "k blobs; every group has all of them."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return rng.normal(size=(n, d)) + 4 * np.eye(k, d)[y], np.array(list("abcdefg"))[y], (np.arange(n) // k) % groups


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 40), st.integers(2, 30), st.booleans(), st.integers(0, 10**6))
def test_pca_is_that_of_scikit_learn(n, d, scale, seed):
    from sklearn.decomposition import PCA

    x = np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(1, 9, d) + 5
    k = min(n - 1, d, 4)
    z = (x - x.mean(0)) / x.std(0) if scale else x
    theirs, ours = PCA(k, svd_solver="full").fit(z), train_pca(x, k, scale)
    np.testing.assert_allclose(np.abs(ours.transform(x)), np.abs(theirs.transform(z)), atol=1e-4 * 9)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, atol=1e-9)


def test_pca_is_kept_as_arrays(tmp_path):
    x = cloud()[0]
    pca = train_pca(x, 3)
    np.savez(tmp_path / "p.npz", **vars(pca))
    assert (Pca(**np.load(tmp_path / "p.npz")).transform(x) == pca.transform(x)).all()


def test_pca_of_odd_tables():
    x = np.c_[np.ones(6), np.arange(6.0), np.arange(6.0) * 2]
    assert (
        train_pca(x, 10, scale=True).transform(x).shape == (6, 3)
        and np.isfinite(train_pca(x, 10, scale=True).transform(x)).all()
    )
    assert np.isfinite(train_pca(np.ones((4, 3)), 2, scale=True).transform(np.ones((4, 3)))).all()
    with pytest.raises(EmbedError, match="row 2"):
        train_pca(np.r_[x[:2], [[np.nan, 0, 0]]])
    with pytest.raises(EmbedError, match="at least 2"):
        train_pca(x[:1])
    with pytest.raises(EmbedError, match=r"shape \(6,\)"):
        train_pca(x[:, 0])


@pytest.mark.parametrize(
    "n, method", [*((n, "pca") for n in (0, 1, 2, 3, 9, 40)), (2, "tsne"), (9, "tsne"), (12, "tsne")]
)
def test_maps_of_any_size(n, method):
    x = np.random.default_rng(0).normal(size=(n, 7))
    a, b = to_map(x, method, 3), to_map(x, method, 3)
    assert a.shape == (n, 2) and np.isfinite(a).all() and (a == b).all()


def test_map_of_equal_cells():
    assert to_map(np.ones((20, 3)), "pca").shape == (20, 2)


def test_without_umap(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(EmbedError, match=r'pip install "cellprotocols\[umap\]"'):
        to_map(cloud()[0], "umap")
    monkeypatch.setattr(maps, "_has_umap", lambda: False)
    assert to_map(cloud()[0][:30], "auto").shape == (30, 2)


def slow_purity(x, labels, groups, k):
    out = np.full(len(x), np.nan)
    for i in np.flatnonzero(labels != ""):
        others = np.flatnonzero((labels != "") & (groups != groups[i]))
        near = others[np.argsort(((x[others] - x[i]) ** 2).sum(1))][:k]
        if len(near):
            out[i] = (labels[near] == labels[i]).mean()
    return out


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(1, 5), st.integers(1, 12), st.integers(0, 10**6))
def test_purity_equals_brute_force(n, n_groups, k, seed):
    rng = np.random.default_rng(seed)
    x, labels, groups = rng.normal(size=(n, 3)), rng.choice(["", "a", "b"], n), rng.integers(0, n_groups, n)
    np.testing.assert_allclose(measure_knn_purity(x, labels, groups, k), slow_purity(x, labels, groups, k), atol=1e-6)


def test_purity_knows_no_neighbours_of_the_same_group():
    "Each group is a tight clump of one label: without leaving it out purity would be 1."
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    x, labels = (
        rng.normal(size=(20, 5))[groups] * 50 + rng.normal(size=(200, 5)),
        np.where(rng.permutation(20)[groups] % 2, "a", "b"),
    )
    assert score_knn_purity(x, labels, groups, k=5).value < 0.7
    assert score_knn_purity(x, labels, np.arange(200), k=5).value > 0.95


def test_purity_without_labels_or_groups():
    x = np.zeros((5, 2))
    assert np.isnan(score_knn_purity(x, [""] * 5, range(5)).value) and np.isnan(
        score_knn_purity(x, ["a"] * 5, [1] * 5).value
    )
