"Labels of another type are refused with a MetricsError by every score, and never counted as something else."

import inspect
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols import abstention, calibration, intervals, metrics
from cellprotocols.answers import MetricsError, check_pred, check_prob, to_classes, to_codes
from cellprotocols.calibration import find_temperature
from cellprotocols.intervals import bootstrap, compare_groups, compare_mcnemar, to_group_ids
from cellprotocols.metrics import confusion, score_accuracy, score_fleiss

ROOMS = (metrics, calibration, abstention)
STATES = ["clean", "artifact"]
PROB = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9]])


def takes(*names):
    "Public functions of the score rooms whose arguments have these names."
    found = [
        f for room in ROOMS for f in vars(room).values() if inspect.isfunction(f) and f.__module__ == room.__name__
    ]
    return {
        f.__name__: f
        for f in found
        if not f.__name__.startswith("_") and set(names) <= set(inspect.signature(f).parameters)
    }


CALLS, PROBS = takes("y_true", "y_pred"), takes("y_true", "prob")


def score(fn, y_true, answer, classes):
    "Call any score with truth and predictions or probabilities."
    extra = {"score": "accuracy", "groups": None} if fn.__name__ == "bootstrap_score" else {}
    extra |= {"n": 5} if "n" in inspect.signature(fn).parameters else {}
    return fn(
        y_true=y_true,
        **{"y_pred" if "y_pred" in inspect.signature(fn).parameters else "prob": answer},
        classes=classes,
        **extra,
    )


def test_no_score_is_forgotten():
    assert set(CALLS) == {
        "confusion",
        "score_accuracy",
        "score_balanced_accuracy",
        "score_macro_f1",
        "score_weighted_f1",
        "score_kappa",
        "score_mcc",
        "score_classes",
        "bootstrap_score",
    }
    assert set(PROBS) == {
        "score_auroc",
        "score_auprc",
        "score_ece",
        "score_brier",
        "score_table",
        "make_calibration_bins",
        "make_abstention_curve",
        "score_abstention",
    }


WRONG = {
    "bools": [True, False, True, False],
    "numpy bools": np.array([True, False, True, False]),
    "floats": [0.0, 1.0, 0.0, 1.0],
    "float array": np.array([0, 1, 0, 1], np.float32),
    "fractions": [0.5, 1.5, 0.5, 1.5],
    "text and codes": ["clean", 1, "clean", 0],
    "text and bools": ["clean", True, "clean", False],
    "codes and bools": pd.Series([0, True, 1, False], dtype=object),
    "bytes": [b"clean", b"artifact", b"clean", b"clean"],
    "dates": pd.to_datetime(["2024-01-01"] * 4),
    "complex": np.array([0, 1, 0, 1], complex),
    "one-hot": np.eye(2)[[0, 1, 0, 1]],
    "unequal rows": [["clean"], ["clean", "artifact"], ["clean"], ["clean"]],
    "unknown text": ["clean", "dirty", "clean", "clean"],
    "text codes": ["0", "1", "0", "1"],
    "codes out of range": [0, 1, 2, 0],
    "None": ["clean", None, "clean", "clean"],
    "NaN": ["clean", float("nan"), "clean", "clean"],
    "a single name": "clean",
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_truth_and_predictions_of_another_type_are_refused(name, wrong):
    right = ["clean", "artifact", "clean", "artifact"]
    for pair in ((WRONG[wrong], right), (right, WRONG[wrong])):
        with pytest.raises(MetricsError) as e:
            score(CALLS[name], *pair, STATES)
        assert "needed: " in str(e.value)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", PROBS)
def test_truth_of_another_type_is_refused_beside_probabilities(name, wrong):
    with pytest.raises(MetricsError):
        score(PROBS[name], WRONG[wrong], PROB, STATES)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "y_true, y_pred, words",
    [
        (["a", "b"], [0, 1], "text in y_true and whole numbers in y_pred"),
        ([0, 1], ["a", "b"], "whole numbers in y_true and text in y_pred"),
        (["a", "b"], [True, False], "text in y_true and bools in y_pred"),
        ([0.0, 1.0], ["0", "1"], "floats in y_true and text in y_pred"),
        (["a", 1], ["a", "b"], "mixed types in y_true"),
        (["a", "b"], ["a", 1], "mixed types in y_pred"),
        ([b"a", b"b"], ["a", "b"], "bytes in y_true and text in y_pred"),
    ],
)
def test_without_classes_both_sides_are_of_one_kind(name, y_true, y_pred, words):
    with pytest.raises(MetricsError, match=words):
        score(CALLS[name], y_true, y_pred, None)


@pytest.mark.parametrize("name", PROBS)
@pytest.mark.parametrize(
    "classes, words",
    [
        (None, "give the names with classes"),
        ([0, 1], "give the names with classes"),
        (["a", 1], "all text or all numbers"),
        ([1, 1.0], "every class once"),
        (["a", None], "a name for every class"),
        ([1, float("nan")], "a name for every class"),
    ],
)
def test_names_without_their_classes_and_classes_of_two_kinds_are_refused(name, classes, words):
    with pytest.raises(MetricsError, match=words):
        score(PROBS[name], ["a", "b", "a", "b"], PROB, classes)


def test_the_message_says_what_was_seen_needed_and_to_do():
    with pytest.raises(MetricsError) as e:
        score_accuracy([True, False], [True, True], STATES)
    assert str(e.value).startswith(
        "bools in y_true, True in row 0; needed: one of clean, artifact as text, or whole numbers 0 to 1"
    )
    assert "np.where" in str(e.value)
    with pytest.raises(MetricsError, match="floats in y_true, 0.0 in row 0"):
        score_accuracy([0.0, 1.0], [0, 1], STATES)
    with pytest.raises(MetricsError, match="text in y_true, 'a' in row 0; needed: numbers: 0, 1"):
        check_prob(["a"], PROB[:1])


def test_numbers_are_compared_by_value_and_text_letter_by_letter():
    assert confusion([1, 2, 2], [1.0, 2.0, 1.0]).tolist() == [[1, 0], [1, 1]]
    assert confusion([1, 2, 2], [1.0, 2.0, 1.0], [1, 2]).tolist() == [[1, 0], [1, 1]]
    assert confusion(["1", "1.0"], ["1.0", "1.0"]).tolist() == [[0, 1], [0, 1]]
    assert confusion([0.5, 1.5], [0.5, 0.5]).tolist() == [[1, 0], [1, 0]]  # doses
    assert score_accuracy([True, False], [1, 1]) == 0.5
    with pytest.raises(MetricsError, match="every class once"):
        confusion([1], [1], [1, 1.0])
    with pytest.raises(MetricsError, match="all text or all numbers"):
        confusion([1], [1], [1, True])
    with pytest.raises(MetricsError, match="numbers: 1, 2"):
        confusion(["1"], ["2"], [1, 2])
    # whole numbers are codes, not names
    with pytest.raises(MetricsError, match="code 2"):
        confusion([1], [2], ["1", "2"])


def test_codes_may_stand_in_any_kind_of_column():
    for y in (
        [0, 1],
        np.array([0, 1], np.uint8),
        pd.Series([0, 1], dtype="Int64"),
        pd.Series([0, 1], dtype=object),
        (0, 1),
    ):
        assert to_codes(y, STATES).tolist() == [0, 1]
    for y in (
        ["clean", "artifact"],
        np.array(["clean", "artifact"]),
        pd.Series(["clean", "artifact"], dtype="category"),
        pd.Series(["clean", "artifact"], dtype="string"),
    ):
        assert to_codes(y, STATES).tolist() == [0, 1]


VALUES = st.sampled_from(
    [
        "a",
        "b",
        "1",
        "1.0",
        "True",
        "nan",
        0,
        1,
        2,
        1.0,
        0.5,
        True,
        False,
        None,
        float("nan"),
        b"a",
        np.int16(1),
        np.str_("a"),
    ]
)


def family(v):
    return "text" if isinstance(v, str) else "bytes" if isinstance(v, bytes) else "number"


def missing(v):
    return v is None or (isinstance(v, float) and math.isnan(v))


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(VALUES, min_size=n, max_size=n)] * 2)))
@settings(max_examples=300, deadline=None)
def test_any_lists_are_scored_right_or_refused(pair):
    a, b = pair
    try:
        got = score_accuracy(a, b)
    except MetricsError:
        return
    assert not any(map(missing, a + b)) and len({family(v) for v in a + b}) == 1
    assert got == np.mean([x == y for x, y in zip(a, b)])


@pytest.mark.parametrize(
    "labels, words",
    [
        ([["a", 0], ["b", 1]], "text in person 0 and whole numbers in person 1"),
        ([["a", "a"], [1, "b"]], "mixed types in person 0"),
        ([["a", "b"], ["a", None]], "no class in person 1, row 1"),
        ([["a", "b"], [float("nan"), "b"]], "no class in person 0, row 1"),
        ([["a"], ["b"]], "at least two people"),
        (["a", "b"], "at least two people"),
    ],
)
def test_people_who_label_in_two_ways_are_refused(labels, words):
    with pytest.raises(MetricsError, match=words):
        score_fleiss(labels)
    if all(len(row) == 2 for row in labels):
        with pytest.raises(MetricsError, match=words):
            score_fleiss(pd.DataFrame(labels))


@pytest.mark.parametrize("y", [["a", "b"], [0.0, 1.0], [True, False], [[0], [1]], [0, 2]])
def test_temperature_wants_codes(y):
    with pytest.raises(MetricsError):
        find_temperature(np.eye(2), y)


@pytest.mark.parametrize("right", [["1", "0"], ["right", "wrong"], [1, None], [1, 2], [0.5, 1], [[1, 0]], ["a", True]])
def test_right_or_wrong_is_nothing_else(right):
    for fn in (compare_mcnemar, lambda a, b: compare_groups(a, b, ["x", "y"])):
        with pytest.raises(MetricsError):
            fn(right, [True, False])


def test_groups_keep_their_type():
    assert to_group_ids([1, "1", 1, "1", "x", "y", "z"], 7)[0].tolist() == [0, 1, 0, 1, 2, 3, 4]
    with pytest.raises(MetricsError, match="no group in row 1"):
        to_group_ids(["a", float("nan"), "b"], 3)
    with pytest.raises(MetricsError, match="no group in row 1"):
        bootstrap(len, ["a", None])
    with pytest.raises(MetricsError, match="no group in row 0"):
        compare_groups([1], [0], [None])


@pytest.mark.parametrize("prob", [[["a", "b"]], [[0.5], [0.5, 0.5]], "prob", [[None, 1]], None])
def test_probabilities_that_are_no_numbers_are_refused(prob):
    with pytest.raises(MetricsError):
        check_prob([0], prob)


def test_classes_are_plain_values():
    assert to_classes(np.array(["b", "a"])) == ["b", "a"] and type(to_classes(np.array([3]))[0]) is int
    assert check_pred([np.int8(2)], [2.0])[2] == [2]


def test_shares_are_of_whole_answers():
    with pytest.raises(MetricsError, match="whole number"):
        intervals.score_share(2.5, 10)
