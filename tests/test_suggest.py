"""Suggestions never repeat what is known; the probe learns along; the simulated person never looks at groups it is judged by."""

import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from cellprotocols import suggest as room
from cellprotocols.embed import EmbedError
from cellprotocols.probe import predict_probe, train_probe
from cellprotocols.split import SplitError, make_folds
from cellprotocols.suggest import (
    LiveProbe,
    choose_diverse,
    choose_doubtful,
    choose_next,
    choose_rare,
    choose_uncertain,
    simulate_labelling,
)


def cloud(n=120, d=6, k=3, groups=12, seed=0):
    "k blobs; every group has all of them."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return rng.normal(size=(n, d)) + 4 * np.eye(k, d)[y], np.array(list("abcdefg"))[y], (np.arange(n) // k) % groups


def slow_diverse(x, n, seen):
    chosen, seen = [], set(np.flatnonzero(seen))
    while len(chosen) < n:
        far = [
            (-1 if i in seen or i in chosen else min(((x[i] - x[j]) ** 2).sum() for j in seen | set(chosen)))
            for i in range(len(x))
        ]
        chosen.append(int(np.argmax(far)))
    return chosen


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 25), st.integers(1, 6), st.integers(0, 10**6))
def test_diverse_is_greedy_k_centre(n, k, seed):
    rng = np.random.default_rng(seed)
    x, seen = rng.normal(size=(n, 3)).astype(np.float32), rng.random(n) < 0.3
    seen[0] = True
    k = min(k, int((~seen).sum()))
    assert choose_diverse(x, k, seen).tolist() == slow_diverse(x - x.mean(0), k, seen)


def test_diverse_needs_little_memory():
    x = np.random.default_rng(0).normal(size=(50_000, 32)).astype(np.float32)
    tracemalloc.start()
    got = choose_diverse(x, 20, np.arange(50_000) < 4_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(got.tolist())) == 20 and got.min() >= 4_000 and peak < 300e6, peak


def test_diverse_at_the_ends():
    x = np.zeros((4, 2))
    assert (
        sorted(choose_diverse(x, 9).tolist()) == [0, 1, 2, 3]
        and choose_diverse(x, 3, np.ones(4, bool)).tolist() == []
        and choose_diverse(x[:0], 3).tolist() == []
    )


def test_the_single_reasons():
    prob = np.array([[0.9, 0.1, 0], [0.45, 0.45, 0.1], [0.2, 0.1, 0.7]])
    assert (
        choose_uncertain(prob, 9).tolist() == [1, 2, 0]
        and choose_rare(prob, [2], 2).tolist() == [2, 1]
        and len(choose_rare(prob, [])) == 0
    )
    assert choose_doubtful(prob, [0, 0, 0]).tolist() == [2] and choose_doubtful(prob, [1, 2, 2]).tolist() == [0, 1]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 0.99])
def test_suggestions_are_new_and_once(share):
    x, labels, groups = cloud(300)
    few = np.where(np.random.default_rng(1).random(300) < share, labels, "")
    got = choose_next(x, few, groups, 25)
    assert (
        got["index"].is_unique
        and (few[got["index"]] == "").all()
        and got["rank"].tolist() == list(range(1, len(got) + 1))
    )
    assert len(got) == min(25, (few == "").sum()) and got.reason.str.len().gt(0).all()


def test_suggestions_find_wrong_labels():
    x, labels, groups = cloud(300)
    wrong = labels.copy()
    at = [5, 100, 222]
    wrong[at] = [{"a": "b", "b": "c", "c": "a"}[l] for l in labels[at]]
    got = choose_next(x, wrong, groups, 10)
    assert set(at) <= set(got["index"][:6]) and got.reason.str.startswith("labelled").all()
    assert len(choose_next(x, ["a"] * 300, groups)) == 0 and len(choose_next(x, labels, np.zeros(300))) == 0


def test_rare_classes_are_looked_for():
    x, labels, groups = cloud(300)
    few = np.where((np.arange(300) < 60) & ~((labels == "c") & (np.arange(300) > 12)), labels, "")
    rare = choose_next(x, few, groups, 40).query("reason.str.startswith('perhaps a rare c')")
    assert len(rare) >= 3 and (labels[rare["index"]] == "c").all()


def some_given(labels, share=0.3, seed=1):
    return np.where(np.random.default_rng(seed).random(len(labels)) < share, labels, "")


def test_live_probe_is_the_probe():
    "Fitted at once it equals `train_probe` on the labelled cells, in the order of the user's classes."
    x, labels, groups = cloud(150)
    given = some_given(labels)
    known = given != ""
    live = LiveProbe(x, groups, ["c", "never", "a", "b"])
    told = live.fit(given)
    theirs = predict_probe(train_probe(x[known], given[known], groups[known]), x)
    np.testing.assert_allclose(live.prob[:, [2, 3, 0]], theirs, atol=1e-6)
    assert (
        live.prob.dtype == np.float32
        and (live.prob[:, 1] == 0).all()
        and told["n"] == known.sum()
        and told["classes"] == 3
        and told["seconds"] > 0
    )
    best = np.sort(theirs, axis=1)
    np.testing.assert_allclose(live.uncertainty, 1 - best[:, -1] + best[:, -2], atol=1e-6)
    np.testing.assert_array_equal(live.predict(x[:7]), live.prob[:7])


@pytest.mark.parametrize("given", [[], [4], [4, 7]])
def test_live_probe_claims_nothing_before_two_classes(given):
    x, labels, groups = cloud(60)
    some = np.full(60, "")
    some[given] = "b"
    live = LiveProbe(x, groups, ["a", "b", "c"])
    told = live.fit(some)
    assert (told["n"], told["classes"]) == (len(given), bool(given))
    assert np.allclose(live.prob, 1 / 3) and np.allclose(live.uncertainty, 1)
    assert live.order(8).tolist() == choose_diverse(x, 8, some != "").tolist() and sorted(live.order()) == sorted(
        set(range(60)) - set(given)
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 10**6), st.integers(0, 45))
def test_order_is_of_cells_without_label_and_once(n, n_groups, seed, most):
    rng = np.random.default_rng(seed)
    x, given, groups = rng.normal(size=(n, 3)), rng.choice(["", "", "a", "b"], n), rng.integers(0, n_groups, n)
    live = LiveProbe(x, groups, ["a", "b"])
    live.fit(given)
    every, some = live.order(), live.order(most)
    assert (
        sorted(every) == np.flatnonzero(given == "").tolist()
        and len(some) == min(most, len(every))
        and set(some) <= set(every)
    )
    assert (
        np.isfinite(live.prob).all()
        and np.allclose(live.prob.sum(1), 1, atol=1e-5)
        and live.uncertainty.min() >= -1e-6
        and live.uncertainty.max() <= 1 + 1e-6
    )


def test_groups_take_turns():
    prob = np.stack([[0.5, 0.5], [0.51, 0.49], [0.52, 0.48], [0.6, 0.4], [0.9, 0.1]])
    assert choose_uncertain(prob, 5, list("aaabb")).tolist() == [0, 3, 1, 4, 2]
    x, labels, groups = cloud(150)
    live = LiveProbe(x, groups, list("abc"))
    live.fit(some_given(labels))
    rows = live.order(12)
    assert len(set(groups[rows])) == 12 and (np.diff(live.uncertainty[rows]) <= 1e-6).all()


def test_a_class_nobody_met_is_looked_for():
    "While class d has no label, cells unlike all others come among the first; once it has one, only unsure cells do."
    x, labels, groups = cloud(300)
    x[-5:] += 60
    live = LiveProbe(x, groups, list("abcd"))
    live.fit(np.where(np.arange(300) < 60, labels, ""))
    assert set(live.order(20)) & set(range(295, 300))
    given = np.where(np.arange(300) < 60, labels, "")
    given[299] = "d"
    live.fit(given)
    assert (
        live.order(20).tolist()
        == np.flatnonzero(given == "")[choose_uncertain(live.prob[given == ""], 20, groups[given == ""])].tolist()
    )


def test_penalty_is_chosen_now_and_then(monkeypatch):
    x, labels, groups = cloud(200)
    asked = []
    monkeypatch.setattr(room, "choose_penalty", lambda *a: asked.append(len(a[0])) or 0.01)
    live = LiveProbe(x, groups, list("abc"))
    for n in (40, 41, 49, 50, 30, 62, 63):
        live.fit(np.where(np.arange(200) < n, labels, ""))
    assert asked == [40, 50, 63] and live._penalty == 0.01


def test_live_probe_says_what_it_needs():
    x, labels, groups = cloud(30)
    live = LiveProbe(x, groups, list("abc"))
    with pytest.raises(EmbedError, match="the label 'z'; needed: one of a, b, c"):
        live.fit(["z"] + [""] * 29)
    with pytest.raises(EmbedError, match="one label a row"):
        live.fit(["a"])
    with pytest.raises(EmbedError, match="one group a row"):
        LiveProbe(x, groups[:4], ["a"])
    with pytest.raises(EmbedError, match="no classes"):
        LiveProbe(x, groups, [])
    assert (
        LiveProbe(x, groups, ["a"]).fit(["a"] * 30)["classes"] == 1
        and LiveProbe(x[:0], [], ["a", "b"]).order().tolist() == []
    )


def test_refit_is_quick():
    "2,000 labels of 10,000 cells, 13 classes: well under a second of processor time, on any machine that is not very slow."
    rng = np.random.default_rng(0)
    y = rng.integers(0, 13, 10_000)
    names = np.array([f"c{k:02d}" for k in range(13)])
    x = (rng.normal(size=(13, 50))[y] + 1.5 * rng.normal(size=(10_000, 50))).astype(np.float32)
    live = LiveProbe(x, rng.integers(0, 60, 10_000), names)
    given = np.where(np.arange(10_000) < 2000, names[y], "")
    live.fit(given)
    start = time.process_time()
    live.fit(given)
    assert time.process_time() - start < 1 and (names[live.prob.argmax(1)] == names[y])[2000:].mean() > 0.5


def test_simulation_never_looks_at_groups_it_tests_on():
    "Labels that depend on the group alone: by heart they could be known, from other groups they cannot."
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 6)
    labels, x = (
        np.array(["a", "b"])[rng.permutation(24) % 2][groups],
        np.eye(24)[groups] * 5 + rng.normal(size=(144, 24)) * 0.1,
    )
    for order in ("random", "suggested"):
        assert simulate_labelling(x, labels, groups, order, 20, 40, 100).macro_f1.max() < 0.7


def test_simulation_counts_and_repeats():
    x, labels, groups = cloud(120)
    labels = labels.astype(object)
    labels[:20] = ""
    tables = [
        simulate_labelling(x, labels, groups, order, 10, 15, 50, seed=3)
        for order in ("random", "suggested", "suggested")
    ]
    assert tables[0].labels.tolist() == [10, 25, 40] and tables[0].macro_f1[0] == tables[1].macro_f1[0]
    pd.testing.assert_frame_equal(tables[1], tables[2])
    known = labels != ""
    again = simulate_labelling(x[known], labels[known], groups[known], "random", 10, 15, 50, seed=3)
    pd.testing.assert_frame_equal(tables[0], again)
    everything = simulate_labelling(x, labels, groups, "random", n_start=999)
    assert len(everything) == 1 and 80 <= everything.labels[0] < 100 and everything.macro_f1[0] > 0.9


def test_simulation_of_all_labels_is_the_grouped_score():
    x, labels, groups = cloud(120)
    y = np.unique(labels, return_inverse=True)[1]
    fold = make_folds(labels, groups, 5, 0)
    called = np.empty_like(labels)
    for f in range(5):
        called[fold == f] = np.unique(labels)[
            predict_probe(train_probe(x[fold != f], labels[fold != f], groups[fold != f]), x[fold == f]).argmax(1)
        ]
    from sklearn.metrics import f1_score

    assert simulate_labelling(x, labels, groups, n_start=120).macro_f1[0] == pytest.approx(
        f1_score(labels, called, average="macro")
    )


def test_simulation_says_what_it_needs():
    x, labels, groups = cloud(30)
    with pytest.raises(EmbedError, match="suggested or random"):
        simulate_labelling(x, labels, groups, "best")
    with pytest.raises(SplitError):
        simulate_labelling(x, labels, np.zeros(30))


@pytest.mark.slow
def test_suggested_order_saves_labels_where_classes_are_rare():
    rng = np.random.default_rng(0)
    y = rng.choice(4, 1200, p=[0.85, 0.06, 0.05, 0.04])
    labels = np.array(list("abcd"))[y]
    x, groups = 2.2 * np.eye(4, 10)[y] + rng.normal(size=(1200, 10)), rng.integers(0, 40, 1200)
    mean = {
        order: np.mean(
            [simulate_labelling(x, labels, groups, order, 20, 20, 120, seed).macro_f1.mean() for seed in range(2)]
        )
        for order in ("random", "suggested")
    }
    assert mean["suggested"] > mean["random"] + 0.02, mean


def test_a_blank_probe_offers_the_cells_that_are_unlike_each_other():
    x, labels, groups = cloud(60)
    live = LiveProbe(x, groups, list("abc"))
    assert (live.prob == np.float32(1 / 3)).all() and (live.uncertainty == 1).all()
    assert live.order(5).tolist() == choose_diverse(x, 5).tolist() and len(live.order()) == 60
