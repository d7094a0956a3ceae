"Scores against scikit-learn, their intervals against the truth."

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from made import probabilities

from cellprotocols.abstention import make_abstention_curve, score_abstention
from cellprotocols.answers import MetricsError
from cellprotocols.calibration import find_temperature, score_brier, score_ece, to_prob
from cellprotocols.intervals import bootstrap, compare_mcnemar, score_share
from cellprotocols.metrics import (
    bootstrap_score,
    confusion,
    score_accuracy,
    score_auprc,
    score_auroc,
    score_balanced_accuracy,
    score_classes,
    score_kappa,
    score_macro_f1,
    score_mcc,
    score_table,
    score_weighted_f1,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*groups?:")
NAMES = ["Interphase", "Prometaphase", "Metaphase", "Anaphase", "Apoptosis"]


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)


@st.composite
def answers(draw, k=5):
    "Truth and prediction as codes; some classes are often absent."
    n, used = draw(st.integers(1, 60)), draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k))
    pick = st.lists(st.sampled_from(used), min_size=n, max_size=n)
    return np.array(draw(pick)), np.array(
        draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n) if draw(st.booleans()) else pick)
    )


@settings(max_examples=150, deadline=None)
@given(answers())
def test_scores_from_counts_match_sklearn(yp):
    y, p = yp
    labels = np.unique(y)
    assert (confusion(y, p, NAMES) == sk.confusion_matrix(y, p, labels=range(5))).all()
    same(score_accuracy(y, p), sk.accuracy_score(y, p))
    same(score_balanced_accuracy(y, p), sk.recall_score(y, p, labels=labels, average="macro", zero_division=0))
    same(score_macro_f1(y, p, NAMES), sk.f1_score(y, p, labels=labels, average="macro", zero_division=0))
    same(score_weighted_f1(y, p), sk.f1_score(y, p, average="weighted", zero_division=0))
    one = len(labels) == 1 or len(np.unique(p)) == 1
    same(score_mcc(y, p), np.nan if one else sk.matthews_corrcoef(y, p))
    if not (len(labels) == 1 and (y == p).all()):
        same(score_kappa(y, p), sk.cohen_kappa_score(y, p))


@settings(max_examples=60, deadline=None)
@given(answers())
def test_class_table_matches_sklearn(yp):
    y, p = yp
    t = score_classes(y, p, NAMES, n=10)
    assert t["class"].tolist() == NAMES
    pr, rc, f1, n = sk.precision_recall_fscore_support(y, p, labels=range(5), zero_division=np.nan)
    assert (t.support == n).all()
    same(t.precision, pr)
    same(t.recall, rc)
    same(t.f1, np.where(n > 0, np.where(n + np.bincount(p, minlength=5) > 0, f1, np.nan), np.nan))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_scores_of_probabilities_match_sklearn(seed, ties):
    y, p = probabilities(seed, ties=ties, missing=(2,) if seed % 2 else ())
    held = np.unique(y)
    same(score_auroc(y, p), np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in held]))
    same(score_auprc(y, p), np.mean([sk.average_precision_score(y == c, p[:, c]) for c in held]))
    same(score_brier(y, p), np.mean(((np.eye(4)[y] - p) ** 2).sum(1)))
    table = score_table(y, p, groups=np.arange(len(y)) % 10, n=5).set_index("metric").value
    for name, fn in {"auroc": score_auroc, "auprc": score_auprc, "ece": score_ece, "brier": score_brier}.items():
        same(table[name], fn(y, p))
    for name, fn in {
        "accuracy": score_accuracy,
        "balanced_accuracy": score_balanced_accuracy,
        "macro_f1": score_macro_f1,
        "weighted_f1": score_weighted_f1,
        "kappa": score_kappa,
        "mcc": score_mcc,
    }.items():
        same(table[name], fn(y, p.argmax(1)))


def test_names_codes_and_order_of_classes():
    y, p = np.array([0, 1, 2, 2, 4]), np.array([0, 2, 2, 2, 3])
    names = np.array(NAMES)
    assert (confusion(names[y], names[p], NAMES) == confusion(y, p, NAMES)).all()
    assert (confusion(pd.Series(names[y], dtype="category"), list(names[p]), NAMES) == confusion(y, p, NAMES)).all()
    turned = [4, 3, 2, 1, 0]
    assert (confusion(names[y], names[p], names[turned]) == confusion(y, p, NAMES)[np.ix_(turned, turned)]).all()
    assert score_macro_f1(names[y], names[p], NAMES) == score_macro_f1(y, p)
    assert score_accuracy(y.astype(float), p) == score_accuracy(y, p) == score_accuracy(y, p, range(5))
    assert confusion([3, 7, 7], [7, 7, 3], [3, 7]).tolist() == [[0, 1], [1, 1]]
    assert score_accuracy([True, False], [True, True]) == 0.5


def test_a_class_absent_everywhere_keeps_its_row_and_is_nan():
    C = confusion(["Metaphase"], ["Metaphase"], NAMES)
    assert C.shape == (5, 5) and C.sum() == 1 and C[2, 2] == 1
    t = score_classes(["Metaphase"] * 3, ["Metaphase", "Metaphase", "Anaphase"], NAMES, groups=["a", "b", "c"])
    assert (
        t.recall.isna().tolist() == [True, True, False, True, True] and t.f1.isna().tolist() == t.recall.isna().tolist()
    )


def test_nothing_to_score_is_nan():
    empty = np.empty(0, int)
    for fn in (score_accuracy, score_balanced_accuracy, score_macro_f1, score_weighted_f1, score_kappa, score_mcc):
        assert np.isnan(fn(empty, empty)) and np.isnan(fn(empty, empty, NAMES))
    for fn in (score_auroc, score_auprc, score_ece, score_brier, score_abstention):
        assert np.isnan(fn(empty, np.empty((0, 3))))
    assert score_classes([], [], NAMES).recall.isna().all() and score_table([], np.empty((0, 3))).value.isna().all()
    assert len(make_abstention_curve([], np.empty((0, 3)))) == 0 and np.isnan(
        bootstrap_score("mcc", [], [], None, NAMES).value
    )


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: score_accuracy([0, 1], [0]), "2 true classes and 1 predictions"),
        (lambda: score_accuracy(["a", "x"], ["a", "a"], ["a", "b"]), "class x in y_true, row 1"),
        (lambda: score_accuracy([0, 7], [0, 0], ["a", "b"]), "code 7 in y_true, row 1"),
        (lambda: score_accuracy([0, -1], [0, 0], ["a", "b"]), "code -1 in y_true, row 1"),
        (lambda: score_accuracy(["a", None], ["a", "a"], ["a"]), "no class in y_true, row 1"),
        (lambda: score_accuracy(["a"], ["a"], ["a", "a"]), "every class once"),
        (lambda: score_auroc([0, 1], [[0.5, 0.5], [np.nan, 1]]), "not a number in row 1"),
        (lambda: score_auroc([0, 1], [[0.5, 0.5], [0.5, 0.6]]), "row 1 does not add to 1"),
        (lambda: score_auroc([0, 1], [[0.5, 0.5], [3.0, -2.0]]), "use to_prob first"),
        (lambda: score_auroc([0, 1], [0.5, 0.5]), "one column a class"),
        (lambda: score_auroc([0, 1], [[0.5, 0.5]]), "2 true classes and 1 rows"),
        (lambda: score_auroc([0], [[0.5, 0.5]], ["a", "b", "c"]), "2 columns of probabilities for 3 classes"),
        (lambda: score_table([0], [[0.5, 0.5]], groups=["a", "b"]), "2 groups for 1 items"),
        (lambda: score_table([0], [[0.5, 0.5]], groups=[None]), "no group in row 0"),
        (lambda: bootstrap_score("f1", [0], [0], [0]), "one of accuracy"),
        (lambda: find_temperature([[np.inf, 0.0]], [0]), "row 0"),
        (lambda: find_temperature([[1.0, 0.0]], [2]), "codes 0 to 1"),
        (lambda: to_prob([[0.0, 1.0], [np.nan, 0]]), "row 1"),
        (lambda: compare_mcnemar([1, 0], [1]), "the same items"),
        (lambda: compare_mcnemar([1, 2], [1, 0]), "other than right"),
        (lambda: score_share(3, 2), "0 to n"),
    ],
)
def test_errors_name_the_rows(call, words):
    with pytest.raises(MetricsError) as e:
        call()
    assert words in str(e.value)


def test_half_precision_probabilities_are_welcome():
    y, p = probabilities(0)
    assert abs(score_auroc(y, p.astype(np.float16)) - score_auroc(y, p)) < 0.01


def test_tensors_are_welcome():
    torch = pytest.importorskip("torch")
    y, p = probabilities(1)
    assert score_auroc(torch.tensor(y), torch.tensor(p)) == score_auroc(y, p)
    assert find_temperature(torch.tensor(np.log(p)), torch.tensor(y)) == find_temperature(np.log(p), y)


def test_fast_and_general_bootstrap_agree():
    "The same draws, scored by counts and by rows with sklearn."
    rng = np.random.default_rng(0)
    y, g = rng.integers(0, 3, 200), rng.integers(0, 15, 200)
    p = np.where(rng.random(200) < 0.6, y, rng.integers(0, 3, 200))
    f1 = lambda i: sk.f1_score(y[i], p[i], labels=np.unique(y[i]), average="macro", zero_division=0)
    same(bootstrap_score("macro_f1", y, p, g, n=200), bootstrap(f1, g, n=200, limits=(0, 1)))
    prob = np.abs(np.eye(3)[p] * 0.7 - rng.random((200, 3)) * 0.2)
    prob /= prob.sum(1, keepdims=True)
    table = score_table(y, prob, groups=g, n=100).set_index("metric")
    for name, fn, lim in (
        ("auroc", score_auroc, (0, 1)),
        ("auprc", score_auprc, (0, 1)),
        ("brier", score_brier, (0, 2)),
    ):
        same(
            table.loc[name, ["value", "low", "high"]].astype(float),
            bootstrap(lambda i: fn(y[i], prob[i]), g, n=100, limits=lim),
        )


def test_large_sets_are_resampled_in_steps_without_harm():
    y, p = probabilities(0, 30_000, 3)
    g = np.random.default_rng(0).integers(0, 50, len(y))
    table = score_table(y, p, groups=g, n=20).set_index("metric")
    for name, fn in (("auroc", score_auroc), ("auprc", score_auprc)):
        want = bootstrap(lambda i: fn(y[i], p[i]), g, n=20, limits=(0, 1))
        assert table.value[name] == want.value
        np.testing.assert_allclose(table.loc[name, ["low", "high"]].astype(float), want[1:], atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30))
def test_intervals_hold_their_value_and_stay_within_limits(seed, n_groups):
    rng = np.random.default_rng(seed)
    y, p = probabilities(seed, n=80)
    g = rng.integers(0, n_groups, 80)
    t = score_table(y, p, groups=g, n=50)
    ok = t.low.notna()
    assert (
        (t.low <= t.value)[ok].all() and (t.value <= t.high)[ok].all() and (t.low >= -1).all() and (t.high <= 2).all()
    )
    again = score_table(y, p, groups=g, n=50)
    assert t.equals(again)


def test_order_of_rows_and_names_of_groups_do_not_matter_much():
    y, p = probabilities(3, 300)
    g = np.arange(300) // 10
    a, b = score_table(y, p, groups=g, seed=0), score_table(y, p, groups=g, seed=1)
    same(a.value, b.value)
    assert (a.low - b.low).abs().max() < 0.03 and (a.high - b.high).abs().max() < 0.03


def test_few_groups():
    y, p = np.array([0, 1] * 15), np.array([0, 1, 1] * 10)
    with pytest.warns(UserWarning, match="1 group"):
        one = bootstrap_score("accuracy", y, p, np.zeros(30))
    assert np.isfinite(one.value) and np.isnan(one.low) and np.isnan(one.high)
    with pytest.warns(UserWarning, match="3 groups"):
        three = bootstrap_score("accuracy", y, p, np.repeat([0, 1, 2], 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ten = bootstrap_score("accuracy", y, p, np.repeat(np.arange(10), 3))
    assert three.low < three.value < three.high
    # the t interval is wider than the range of three groups
    rng = np.random.default_rng(0)
    right = rng.random(60) < np.repeat([0.5, 0.7, 0.9], 20)
    iv = bootstrap(lambda i: right[i].mean(), np.repeat([0, 1, 2], 20), limits=(0, 1))
    shares = right.reshape(3, 20).mean(1)
    assert iv.low < shares.min() and iv.high >= shares.max()


def test_perfect_scores_are_not_certain():
    y = np.arange(60) % 3
    g = np.arange(60) // 6
    iv = bootstrap_score("macro_f1", y, y, g)
    np.testing.assert_allclose(iv, score_share(10, 10))
    assert score_classes(y, y, groups=g).recall_low.max() < 0.8


def test_a_class_of_one_group_has_no_interval():
    y, p = ["a"] * 6 + ["b"] * 4, ["a"] * 5 + ["b"] * 5
    t = score_classes(y, p, groups=[1, 1, 2, 2, 3, 3, 4, 4, 4, 4]).set_index("class")
    assert t.groups["b"] == 1 and np.isnan(t.recall_low["b"]) and np.isfinite(t.recall_low["a"])


def clustered_answers(rng, n_groups):
    "Cells of unequal length; how well the model knows a state varies from cell to cell."
    n = rng.integers(3, 20, n_groups)
    cell = np.repeat(np.arange(n_groups), n)
    mix = rng.dirichlet([0.6, 0.3, 0.15], n_groups)[cell]
    y = (rng.random(len(cell))[:, None] > mix.cumsum(1)[:, :2]).sum(1)
    skill = rng.beta(*(np.array([[0.9, 0.7, 0.55], [0.1, 0.3, 0.45]]) * 4)[:, None].repeat(n_groups, 1))
    right = rng.random(len(cell)) < skill[cell, y]
    return y, np.where(right, y, (y + rng.integers(1, 3, len(cell))) % 3), cell


@pytest.mark.parametrize(
    "score, n_groups", [("accuracy", 4), ("accuracy", 10), ("macro_f1", 10), ("accuracy", 25), ("macro_f1", 25)]
)
def test_intervals_over_groups_hold_the_truth_and_those_over_items_do_not(score, n_groups):
    rng = np.random.default_rng(1)
    y, p, _ = clustered_answers(rng, 30_000)
    truth = {"accuracy": score_accuracy, "macro_f1": score_macro_f1}[score](y, p)
    held, naive, R = 0, 0, 300
    for _ in range(R):
        y, p, cell = clustered_answers(rng, n_groups)
        by_cell, by_item = (
            bootstrap_score(score, y, p, cell, range(3), n=500),
            bootstrap_score(score, y, p, None, range(3), n=500),
        )
        held += by_cell.low <= truth <= by_cell.high
        naive += by_item.low <= truth <= by_item.high
    assert held / R > 0.87
    assert naive / R < (held / R - 0.08 if score == "accuracy" else held / R)
