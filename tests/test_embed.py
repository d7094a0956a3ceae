"""Embeddings: independent of how they are cut into pieces, checked against scikit-learn and brute force; suggestions that never repeat what is known."""
import time, tracemalloc
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from cellprotocols import embed
from cellprotocols.chromatin import selfsupervise
from cellprotocols.writer import write_dataset
from cellprotocols.embed import (EmbedError, LiveProbe, Pca, Probe, choose_penalty, embed_patches, fit_encoder, fit_pca, fit_probe, knn_purity, make_backbone, predict_left_out,
    predict_probe, score_knn_purity, simulate_labelling, suggest, suggest_diverse, suggest_doubtful, suggest_rare, suggest_uncertain, to_map)
from cellprotocols.split import SplitError
from cellprotocols.synth import make_patches

@pytest.fixture(scope="module")
def backbone(): return make_backbone("resnet10t", 2, pretrained=False, size=64)

def noise(n, size=20, c=2, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (n, size, size, c)).astype(dtype)

def cloud(n=120, d=6, k=3, groups=12, seed=0):
    "k blobs; every group has all of them."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return rng.normal(size=(n, d)) + 4 * np.eye(k, d)[y], np.array(list("abcdefg"))[y], (np.arange(n) // k) % groups

# ---- networks

def test_pieces_do_not_matter(backbone):
    patches = noise(11)
    whole = next(embed_patches(backbone, [(patches, None)], "cpu"))
    parts = list(embed_patches(backbone, [(patches[:4], None), (patches[4:5], np.ones((1, 20, 20), bool)), (patches[5:], None)], "cpu"))
    assert [len(p) for p in parts] == [4, 1, 6] and whole.dtype == np.float32
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)

def test_brightness_and_padding_do_not_matter(backbone):
    patches, valid = noise(4), np.ones((4, 20, 20), bool)
    valid[:, :, :5] = False
    bright = patches.astype(np.uint16) * 100 + 7
    other = patches.copy(); other[:, :, :5] = 0
    a, b = (next(embed_patches(backbone, [(p, None)], "cpu")) for p in (patches, bright))
    np.testing.assert_allclose(a, b, atol=2e-3)
    from cellprotocols.patches import normalise
    inside = lambda p: normalise(p, valid)[valid]
    np.testing.assert_array_equal(inside(patches), inside(other))  # what was filled in has no say in the scale

def test_big_batches_go_in_parts():
    backbone = make_backbone("resnet10t", 1, pretrained=False, size=32); backbone.batch = 3
    x = torch.randn(7, 1, 16, 16)
    with torch.inference_mode(): torch.testing.assert_close(backbone(x), torch.cat([backbone(x[:5]), backbone(x[5:])]), atol=1e-4, rtol=1e-3)

def test_offline_is_said_at_once(monkeypatch):
    monkeypatch.setattr(embed, "_hub_answers", lambda *_: False); monkeypatch.setattr(embed, "_is_cached", lambda *_: False)
    with pytest.raises(EmbedError, match='hub does not answer.*"measure" needs no weights'): make_backbone("resnet18", 1)

def test_failed_download_is_explained(monkeypatch):
    import timm
    def fail(*a, **k): raise OSError("Connection reset by peer\nmore")
    monkeypatch.setattr(embed, "_hub_answers", lambda *_: True); monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(EmbedError, match="resnet18 could not be fetched: OSError, Connection reset"): make_backbone("resnet18", 1)

def test_no_hub_needed_for_what_is_there(monkeypatch):
    import timm
    monkeypatch.setattr(embed, "_hub_answers", lambda *_: pytest.fail("asked")); monkeypatch.setattr(embed, "_is_cached", lambda *_: True)
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: torch.nn.Identity())
    assert make_backbone("resnet18", 1).name == "resnet18"

def test_dinov3_prints_its_licence_and_dinov2_does_not(monkeypatch, capsys):
    import timm
    monkeypatch.setattr(embed, "_is_cached", lambda *_: True); monkeypatch.setattr(timm, "create_model", lambda *a, **k: torch.nn.Identity())
    make_backbone("vit_small_patch14_dinov2.lvd142m", 1); assert capsys.readouterr().out == ""
    make_backbone("vit_small_patch16_dinov3.lvd1689m", 1); assert "DINOv3 License" in capsys.readouterr().out

def test_wrong_names_and_sizes():
    with pytest.raises(EmbedError, match="no network 'resnet188'.*resnet"): make_backbone("resnet188", 1)
    with pytest.raises(EmbedError, match="no pretrained weights"): make_backbone("resnet10", 1) if __import__("timm").is_model("resnet10") else embed._check_weights("x", type("C", (), dict(hf_hub_id="", url="", file=""))())

# ---- PCA

@settings(max_examples=20, deadline=None)
@given(st.integers(3, 40), st.integers(2, 30), st.booleans(), st.integers(0, 10**6))
def test_pca_is_that_of_scikit_learn(n, d, scale, seed):
    from sklearn.decomposition import PCA
    x = np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(1, 9, d) + 5
    k = min(n - 1, d, 4)
    z = (x - x.mean(0)) / x.std(0) if scale else x
    theirs, ours = PCA(k, svd_solver="full").fit(z), fit_pca(x, k, scale)
    np.testing.assert_allclose(np.abs(ours.transform(x)), np.abs(theirs.transform(z)), atol=1e-4 * 9)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, atol=1e-9)

def test_pca_is_kept_as_arrays(tmp_path):
    x = cloud()[0]; pca = fit_pca(x, 3)
    np.savez(tmp_path/"p.npz", **vars(pca))
    assert (Pca(**np.load(tmp_path/"p.npz")).transform(x) == pca.transform(x)).all()

def test_pca_of_odd_tables():
    x = np.c_[np.ones(6), np.arange(6.), np.arange(6.) * 2]
    assert fit_pca(x, 10, scale=True).transform(x).shape == (6, 3) and np.isfinite(fit_pca(x, 10, scale=True).transform(x)).all()
    assert np.isfinite(fit_pca(np.ones((4, 3)), 2, scale=True).transform(np.ones((4, 3)))).all()
    with pytest.raises(EmbedError, match="row 2"): fit_pca(np.r_[x[:2], [[np.nan, 0, 0]]])
    with pytest.raises(EmbedError, match="at least 2"): fit_pca(x[:1])
    with pytest.raises(EmbedError, match=r"shape \(6,\)"): fit_pca(x[:, 0])

# ---- map

@pytest.mark.parametrize("n, method", [*((n, "pca") for n in (0, 1, 2, 3, 9, 40)), (2, "tsne"), (9, "tsne"), (12, "tsne")])
def test_maps_of_any_size(n, method):
    x = np.random.default_rng(0).normal(size=(n, 7))
    a, b = to_map(x, method, 3), to_map(x, method, 3)
    assert a.shape == (n, 2) and np.isfinite(a).all() and (a == b).all()

def test_map_of_equal_cells(): assert to_map(np.ones((20, 3)), "pca").shape == (20, 2)

def test_without_umap(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(EmbedError, match=r'pip install "cellprotocols\[umap\]"'): to_map(cloud()[0], "umap")
    monkeypatch.setattr(embed, "_has_umap", lambda: False)
    assert to_map(cloud()[0][:30], "auto").shape == (30, 2)

# ---- purity

def slow_purity(x, labels, groups, k):
    out = np.full(len(x), np.nan)
    for i in np.flatnonzero(labels != ""):
        others = np.flatnonzero((labels != "") & (groups != groups[i]))
        near = others[np.argsort(((x[others] - x[i])**2).sum(1))][:k]
        if len(near): out[i] = (labels[near] == labels[i]).mean()
    return out

@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(1, 5), st.integers(1, 12), st.integers(0, 10**6))
def test_purity_equals_brute_force(n, n_groups, k, seed):
    rng = np.random.default_rng(seed)
    x, labels, groups = rng.normal(size=(n, 3)), rng.choice(["", "a", "b"], n), rng.integers(0, n_groups, n)
    np.testing.assert_allclose(knn_purity(x, labels, groups, k), slow_purity(x, labels, groups, k), atol=1e-6)

def test_purity_knows_no_neighbours_of_the_same_group():
    "Each group is a tight clump of one label: without leaving it out purity would be 1."
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    x, labels = rng.normal(size=(20, 5))[groups] * 50 + rng.normal(size=(200, 5)), np.where(rng.permutation(20)[groups] % 2, "a", "b")
    assert score_knn_purity(x, labels, groups, k=5).value < .7
    assert score_knn_purity(x, labels, np.arange(200), k=5).value > .95

def test_purity_without_labels_or_groups():
    x = np.zeros((5, 2))
    assert np.isnan(score_knn_purity(x, [""] * 5, range(5)).value) and np.isnan(score_knn_purity(x, ["a"] * 5, [1] * 5).value)

# ---- probe

@pytest.mark.parametrize("k", [2, 3, 5])
def test_probe_equals_scikit_learn(k):
    from sklearn.linear_model import LogisticRegression
    x, labels, groups = cloud(k=k)
    classes, y = np.unique(labels, return_inverse=True)
    probe = embed._fit_probe(x, y, classes, .1)
    theirs = LogisticRegression(C=.1, class_weight="balanced", max_iter=500).fit((x - probe.mean) / probe.scale, y)
    np.testing.assert_allclose(predict_probe(probe, x), theirs.predict_proba((x - probe.mean) / probe.scale), atol=1e-5)

def test_probe_is_kept_as_arrays(tmp_path):
    x, labels, groups = cloud(); probe = fit_probe(x, labels, groups)
    np.savez(tmp_path/"p.npz", **vars(probe))
    with np.load(tmp_path/"p.npz") as z: again = Probe(**z)
    assert (predict_probe(again, x) == predict_probe(probe, x)).all() and again.classes.tolist() == ["a", "b", "c"]

def test_left_out_groups_are_left_out():
    "Labels that depend on the group alone can be learned by heart, but not for a group never seen."
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 6)
    labels, x = np.array(["a", "b"])[rng.permutation(24) % 2][groups], np.eye(24)[groups] * 5 + rng.normal(size=(144, 24)) * .1
    classes = np.unique(labels)
    inside = classes[predict_probe(fit_probe(x, labels, groups), x).argmax(1)]
    outside = classes[predict_left_out(x, labels, groups).argmax(1)]
    assert (inside == labels).mean() > .95 and (outside == labels).mean() < .65

def test_probe_with_classes_in_one_group():
    x, labels, groups = cloud(60); labels = labels.astype("<U4"); labels[:3] = "rare"; groups = groups.copy(); groups[:3] = 99
    prob = predict_left_out(x, labels, groups)
    assert np.isfinite(prob).all() and np.allclose(prob.sum(1), 1, atol=1e-5)

@pytest.mark.parametrize("spread, wanted", [(.3, {.1, 1.}), (12., {.001, .01})])
def test_penalty_follows_the_groups(spread, wanted):
    "Clean cells bear a weak penalty; where little but noise is seen, the strong one does best on groups left out."
    x, labels, groups = cloud(120, d=30); x = x + spread*np.random.default_rng(1).normal(size=x.shape)
    assert choose_penalty(x, labels, groups) in wanted
    np.testing.assert_array_equal(fit_probe(x, labels, groups).weight, fit_probe(x, labels, groups, penalty=choose_penalty(x, labels, groups)).weight)
    assert choose_penalty(x, labels, np.zeros(120)) == .1

def test_probe_says_what_it_needs():
    x, labels, groups = cloud(30)
    with pytest.raises(EmbedError, match="two to tell apart"): fit_probe(x, ["a"] * 30, groups)
    with pytest.raises(EmbedError, match="without a label"): fit_probe(x, np.where(labels == "a", "", labels), groups)
    with pytest.raises(SplitError): predict_left_out(x, labels, np.zeros(30))
    assert fit_probe(x, labels, np.zeros(30)).weight.shape == (3, 6)
    with pytest.raises(EmbedError, match="5 columns"): predict_probe(fit_probe(x, labels, groups), x[:, :5])

# ---- suggestions

def slow_diverse(x, n, seen):
    chosen, seen = [], set(np.flatnonzero(seen))
    while len(chosen) < n:
        far = [(-1 if i in seen or i in chosen else min(((x[i] - x[j])**2).sum() for j in seen | set(chosen))) for i in range(len(x))]
        chosen.append(int(np.argmax(far)))
    return chosen

@settings(max_examples=30, deadline=None)
@given(st.integers(3, 25), st.integers(1, 6), st.integers(0, 10**6))
def test_diverse_is_greedy_k_centre(n, k, seed):
    rng = np.random.default_rng(seed)
    x, seen = rng.normal(size=(n, 3)).astype(np.float32), rng.random(n) < .3
    seen[0] = True
    k = min(k, int((~seen).sum()))
    assert suggest_diverse(x, k, seen).tolist() == slow_diverse(x - x.mean(0), k, seen)

def test_diverse_needs_little_memory():
    x = np.random.default_rng(0).normal(size=(50_000, 32)).astype(np.float32)
    tracemalloc.start()
    got = suggest_diverse(x, 20, np.arange(50_000) < 4_000)
    peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert len(set(got.tolist())) == 20 and got.min() >= 4_000 and peak < 300e6, peak

def test_diverse_at_the_ends():
    x = np.zeros((4, 2))
    assert sorted(suggest_diverse(x, 9).tolist()) == [0, 1, 2, 3] and suggest_diverse(x, 3, np.ones(4, bool)).tolist() == [] and suggest_diverse(x[:0], 3).tolist() == []

def test_the_single_reasons():
    prob = np.array([[.9, .1, 0], [.45, .45, .1], [.2, .1, .7]])
    assert suggest_uncertain(prob, 9).tolist() == [1, 2, 0] and suggest_rare(prob, [2], 2).tolist() == [2, 1] and len(suggest_rare(prob, [])) == 0
    assert suggest_doubtful(prob, [0, 0, 0]).tolist() == [2] and suggest_doubtful(prob, [1, 2, 2]).tolist() == [0, 1]

@pytest.mark.parametrize("share", [0., .02, .1, .5, .99])
def test_suggestions_are_new_and_once(share):
    x, labels, groups = cloud(300)
    few = np.where(np.random.default_rng(1).random(300) < share, labels, "")
    got = suggest(x, few, groups, 25)
    assert got["index"].is_unique and (few[got["index"]] == "").all() and got["rank"].tolist() == list(range(1, len(got) + 1))
    assert len(got) == min(25, (few == "").sum()) and got.reason.str.len().gt(0).all()

def test_suggestions_find_wrong_labels():
    x, labels, groups = cloud(300)
    wrong = labels.copy(); at = [5, 100, 222]; wrong[at] = [{"a": "b", "b": "c", "c": "a"}[l] for l in labels[at]]
    got = suggest(x, wrong, groups, 10)
    assert set(at) <= set(got["index"][:6]) and got.reason.str.startswith("labelled").all()
    assert len(suggest(x, ["a"] * 300, groups)) == 0 and len(suggest(x, labels, np.zeros(300))) == 0

def test_rare_classes_are_looked_for():
    x, labels, groups = cloud(300)
    few = np.where((np.arange(300) < 60) & ~((labels == "c") & (np.arange(300) > 12)), labels, "")
    rare = suggest(x, few, groups, 40).query("reason.str.startswith('perhaps a rare c')")
    assert len(rare) >= 3 and (labels[rare["index"]] == "c").all()

# ---- learning along

def some_given(labels, share=.3, seed=1): return np.where(np.random.default_rng(seed).random(len(labels)) < share, labels, "")

def test_live_probe_is_the_probe():
    "Fitted at once it equals `fit_probe` on the labelled cells, in the order of the user's classes."
    x, labels, groups = cloud(150); given = some_given(labels); known = given != ""
    live = LiveProbe(x, groups, ["c", "never", "a", "b"]); told = live.fit(given)
    theirs = predict_probe(fit_probe(x[known], given[known], groups[known]), x)
    np.testing.assert_allclose(live.prob[:, [2, 3, 0]], theirs, atol=1e-6)
    assert live.prob.dtype == np.float32 and (live.prob[:, 1] == 0).all() and told["n"] == known.sum() and told["classes"] == 3 and told["seconds"] > 0
    best = np.sort(theirs, axis=1)
    np.testing.assert_allclose(live.uncertainty, 1 - best[:, -1] + best[:, -2], atol=1e-6)
    np.testing.assert_array_equal(live.predict(x[:7]), live.prob[:7])

@pytest.mark.parametrize("given", [[], [4], [4, 7]])
def test_live_probe_claims_nothing_before_two_classes(given):
    x, labels, groups = cloud(60); some = np.full(60, ""); some[given] = "b"
    live = LiveProbe(x, groups, ["a", "b", "c"]); told = live.fit(some)
    assert (told["n"], told["classes"]) == (len(given), bool(given))
    assert np.allclose(live.prob, 1/3) and np.allclose(live.uncertainty, 1)
    assert live.order(8).tolist() == suggest_diverse(x, 8, some != "").tolist() and sorted(live.order()) == sorted(set(range(60)) - set(given))

@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 10**6), st.integers(0, 45))
def test_order_is_of_cells_without_label_and_once(n, n_groups, seed, most):
    rng = np.random.default_rng(seed)
    x, given, groups = rng.normal(size=(n, 3)), rng.choice(["", "", "a", "b"], n), rng.integers(0, n_groups, n)
    live = LiveProbe(x, groups, ["a", "b"]); live.fit(given)
    every, some = live.order(), live.order(most)
    assert sorted(every) == np.flatnonzero(given == "").tolist() and len(some) == min(most, len(every)) and set(some) <= set(every)
    assert np.isfinite(live.prob).all() and np.allclose(live.prob.sum(1), 1, atol=1e-5) and live.uncertainty.min() >= -1e-6 and live.uncertainty.max() <= 1 + 1e-6

def test_groups_take_turns():
    prob = np.stack([[.5, .5], [.51, .49], [.52, .48], [.6, .4], [.9, .1]])
    assert suggest_uncertain(prob, 5, list("aaabb")).tolist() == [0, 3, 1, 4, 2]
    x, labels, groups = cloud(150); live = LiveProbe(x, groups, list("abc")); live.fit(some_given(labels))
    rows = live.order(12)
    assert len(set(groups[rows])) == 12 and (np.diff(live.uncertainty[rows]) <= 1e-6).all()

def test_a_class_nobody_met_is_looked_for():
    "While class d has no label, cells unlike all others come among the first; once it has one, only unsure cells do."
    x, labels, groups = cloud(300); x[-5:] += 60
    live = LiveProbe(x, groups, list("abcd")); live.fit(np.where(np.arange(300) < 60, labels, ""))
    assert set(live.order(20)) & set(range(295, 300))
    given = np.where(np.arange(300) < 60, labels, ""); given[299] = "d"; live.fit(given)
    assert live.order(20).tolist() == np.flatnonzero(given == "")[suggest_uncertain(live.prob[given == ""], 20, groups[given == ""])].tolist()

def test_penalty_is_chosen_now_and_then(monkeypatch):
    x, labels, groups = cloud(200); asked = []
    monkeypatch.setattr(embed, "choose_penalty", lambda *a: asked.append(len(a[0])) or .01)
    live = LiveProbe(x, groups, list("abc"))
    for n in (40, 41, 49, 50, 30, 62, 63): live.fit(np.where(np.arange(200) < n, labels, ""))
    assert asked == [40, 50, 63] and live._penalty == .01

def test_live_probe_says_what_it_needs():
    x, labels, groups = cloud(30); live = LiveProbe(x, groups, list("abc"))
    with pytest.raises(EmbedError, match="the label 'z'; needed: one of a, b, c"): live.fit(["z"] + [""]*29)
    with pytest.raises(EmbedError, match="one label a row"): live.fit(["a"])
    with pytest.raises(EmbedError, match="one group a row"): LiveProbe(x, groups[:4], ["a"])
    with pytest.raises(EmbedError, match="no classes"): LiveProbe(x, groups, [])
    assert LiveProbe(x, groups, ["a"]).fit(["a"]*30)["classes"] == 1 and LiveProbe(x[:0], [], ["a", "b"]).order().tolist() == []

def test_refit_is_quick():
    "2,000 labels of 10,000 cells, 13 classes: well under a second of processor time, on any machine that is not very slow."
    rng = np.random.default_rng(0); y = rng.integers(0, 13, 10_000); names = np.array([f"c{k:02d}" for k in range(13)])
    x = (rng.normal(size=(13, 50))[y] + 1.5*rng.normal(size=(10_000, 50))).astype(np.float32)
    live = LiveProbe(x, rng.integers(0, 60, 10_000), names); given = np.where(np.arange(10_000) < 2000, names[y], "")
    live.fit(given); start = time.process_time(); live.fit(given)
    assert time.process_time() - start < 1 and (names[live.prob.argmax(1)] == names[y])[2000:].mean() > .5

# ---- how many labels

def test_simulation_never_looks_at_groups_it_tests_on():
    "Labels that depend on the group alone: by heart they could be known, from other groups they cannot."
    rng = np.random.default_rng(0); groups = np.repeat(np.arange(24), 6)
    labels, x = np.array(["a", "b"])[rng.permutation(24) % 2][groups], np.eye(24)[groups]*5 + rng.normal(size=(144, 24))*.1
    for order in ("random", "suggested"): assert simulate_labelling(x, labels, groups, order, 20, 40, 100).macro_f1.max() < .7

def test_simulation_counts_and_repeats():
    x, labels, groups = cloud(120); labels = labels.astype(object); labels[:20] = ""
    tables = [simulate_labelling(x, labels, groups, order, 10, 15, 50, seed=3) for order in ("random", "suggested", "suggested")]
    assert tables[0].labels.tolist() == [10, 25, 40] and tables[0].macro_f1[0] == tables[1].macro_f1[0]
    pd.testing.assert_frame_equal(tables[1], tables[2])
    known = labels != ""; again = simulate_labelling(x[known], labels[known], groups[known], "random", 10, 15, 50, seed=3)
    pd.testing.assert_frame_equal(tables[0], again)
    everything = simulate_labelling(x, labels, groups, "random", n_start=999)
    assert len(everything) == 1 and 80 <= everything.labels[0] < 100 and everything.macro_f1[0] > .9

def test_simulation_of_all_labels_is_the_grouped_score():
    x, labels, groups = cloud(120); y = np.unique(labels, return_inverse=True)[1]
    fold = embed.make_folds(labels, groups, 5, 0); called = np.empty_like(labels)
    for f in range(5): called[fold == f] = np.unique(labels)[predict_probe(fit_probe(x[fold != f], labels[fold != f], groups[fold != f]), x[fold == f]).argmax(1)]
    from sklearn.metrics import f1_score
    assert simulate_labelling(x, labels, groups, n_start=120).macro_f1[0] == pytest.approx(f1_score(labels, called, average="macro"))

def test_simulation_says_what_it_needs():
    x, labels, groups = cloud(30)
    with pytest.raises(EmbedError, match="suggested or random"): simulate_labelling(x, labels, groups, "best")
    with pytest.raises(SplitError): simulate_labelling(x, labels, np.zeros(30))

@pytest.mark.slow
def test_suggested_order_saves_labels_where_classes_are_rare():
    rng = np.random.default_rng(0); y = rng.choice(4, 1200, p=[.85, .06, .05, .04]); labels = np.array(list("abcd"))[y]
    x, groups = 2.2*np.eye(4, 10)[y] + rng.normal(size=(1200, 10)), rng.integers(0, 40, 1200)
    mean = {order: np.mean([simulate_labelling(x, labels, groups, order, 20, 20, 120, seed).macro_f1.mean() for seed in range(2)]) for order in ("random", "suggested")}
    assert mean["suggested"] > mean["random"] + .02, mean

# ---- a network that teaches itself

@pytest.mark.slow
def test_encoder_learns_without_labels():
    patches, labels, groups = make_patches(n=60, seed=1, difficulty=.2)
    vectors = [np.concatenate(list(embed_patches(fit_encoder(patches, epochs=e), [(patches, None)]))) for e in (1, 40)]
    before, after = (score_knn_purity(v, labels, groups).value for v in vectors)
    assert after > before + .03 and after > .45, (before, after)

@pytest.mark.slow
def test_encoder_is_the_same_for_the_same_seed():
    patches = make_patches(n=8, seed=1)[0]
    a, b = (next(embed_patches(fit_encoder(patches, epochs=2, seed=5), [(patches, None)])) for _ in range(2))
    np.testing.assert_array_equal(a, b)

# ---- the step

def make_source(folder, n=24, labelled=None, size=32):
    "A small patches dataset."
    patches, labels, groups = make_patches(n=n, size=size, seed=0, difficulty=.3)
    if labelled is not None: labels = np.where(np.arange(len(labels)) % labelled == 0, labels, "")
    items = pd.DataFrame(dict(item_id=[f"c{i:04d}" for i in range(len(labels))], group=groups.astype(str), label=labels, field_id="f", y=1., x=1., size=size, px_um=.333, blank=False))
    ds = write_dataset(folder, "patches", items, "chromatin.patches", dict(classes=list(dict.fromkeys(l for l in labels if l)), practice=True), arrays=dict(patches=patches, valid=np.ones(patches.shape[:3], bool)))
    return ds

@pytest.mark.parametrize("labelled", [None, 4])
def test_step_writes_map_vectors_and_list(tmp_path, labelled, capsys):
    source = make_source(tmp_path/"22_patches", labelled=labelled)
    made = selfsupervise.run(str(tmp_path/"22_patches"), str(tmp_path/"23"), components=10, map_method="pca", n_suggest=8)
    assert made["embedding"].shape == (120, 10) and made.items.item_id.tolist() == source.items.item_id.tolist()
    assert np.isfinite(made.items[["map_x", "map_y"]]).all().all()
    todo = pd.read_csv(tmp_path/"23"/"suggestions.csv", keep_default_na=False)
    label = made.items.set_index("item_id").label[todo.item_id]
    assert (label == "").all() if labelled else (label != "").all()
    assert ("to label next" if labelled else "to check next") in capsys.readouterr().out
    selfsupervise.run(str(tmp_path/"22_patches"), str(tmp_path/"23"), components=10, map_method="pca", n_suggest=8)
    assert "done before" in capsys.readouterr().out

def test_step_goes_on_after_a_crash(tmp_path, monkeypatch):
    make_source(tmp_path/"22_patches", n=120)
    run = lambda out: selfsupervise.run(str(tmp_path/"22_patches"), str(tmp_path/out), components=5, map_method="pca")
    real, seen = (lambda p, v: (p.reshape(len(p), -1)[:, :400:20].astype(np.float32), None)), []
    def fragile(p, v):
        seen.append(len(p))
        if len(seen) == 2: raise RuntimeError("power cut")
        return real(p, v)
    monkeypatch.setattr(selfsupervise, "measure_cells", fragile)
    with pytest.raises(RuntimeError): run("a")
    seen.append(0); done = len(seen); again = run("a")
    assert len(seen) - done == 2, "the first piece is not measured again"
    assert not (tmp_path/".a.partial").exists()
    monkeypatch.setattr(selfsupervise, "measure_cells", real)
    whole = run("b")
    assert again.fingerprint == whole.fingerprint and (tmp_path/"a"/"suggestions.csv").read_bytes() == (tmp_path/"b"/"suggestions.csv").read_bytes()

@pytest.mark.filterwarnings("ignore:. groups")
def test_step_takes_a_network(tmp_path):
    make_source(tmp_path/"22_patches", n=4)
    assert selfsupervise.run(str(tmp_path/"22_patches"), str(tmp_path/"23"), method="resnet10t", pretrained=False, components=4, map_method="pca")["embedding"].shape == (20, 4)

def test_step_says_what_is_missing(tmp_path):
    from cellprotocols.errors import UserError
    with pytest.raises(UserError, match="22_patches first"): selfsupervise.run(str(tmp_path/"none"), str(tmp_path/"23"))
    make_source(tmp_path/"22_patches", n=4)
    with pytest.raises(UserError, match="no network 'measured'"): selfsupervise.run(str(tmp_path/"22_patches"), str(tmp_path/"23"), method="measured")
