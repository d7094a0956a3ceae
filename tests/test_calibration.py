"Calibration and temperature, by hand and against scikit-learn."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from made import probabilities, same

from cellprotocols.calibration import find_temperature, make_calibration_bins, score_brier, score_ece, to_prob

pytestmark = pytest.mark.filterwarnings("ignore:.*groups?:")


def test_ece_by_hand():
    y, p = probabilities(1, 100)
    top, right = p.max(1), p.argmax(1) == y
    bins = np.array_split(np.argsort(top), 10)
    same(score_ece(y, p), sum(len(b) * abs(top[b].mean() - right[b].mean()) for b in bins) / 100)
    t = make_calibration_bins(y, p)
    assert t.n.tolist() == [10] * 10 and (np.diff(t.confidence) > 0).all()
    assert score_ece([0, 0, 1, 1], [[1.0, 0.0]] * 4) == 0.5  # ties stay in one bin
    assert score_ece([0, 1], np.eye(2)) == 0


def test_brier_of_two_classes_is_twice_sklearns():
    y, p = probabilities(2, 100, 2)
    same(score_brier(y, p), 2 * sk.brier_score_loss(y, p[:, 1]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 4))
def test_temperature_minimises_the_loss(seed, factor):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (300, 4))
    y = np.array([rng.choice(4, p=r) for r in to_prob(logits)])
    T = find_temperature(factor * logits, y)
    loss = lambda t: sk.log_loss(y, to_prob(factor * logits, t), labels=range(4))
    assert loss(T) <= min(loss(t) for t in T * np.linspace(0.7, 1.4, 15)) + 1e-9
    assert abs(T / factor - 1) < 0.45


def test_temperature_when_nothing_can_be_learnt():
    z = np.array([[3.0, 0.0], [0.0, 2.0], [4.0, 1.0]])
    with pytest.warns(UserWarning, match="stays 1"):
        assert find_temperature(z, [0, 1, 0]) == 1
    with pytest.warns(UserWarning, match="stays 1"):
        assert find_temperature(z[[0, 2]], [0, 0]) == 1
    with pytest.warns(UserWarning, match="stays 1"):
        assert find_temperature(np.empty((0, 2)), []) == 1
    with pytest.warns(UserWarning, match="limit 20"):
        assert 19 < find_temperature(z, [1, 0, 1]) <= 20
    with pytest.warns(UserWarning, match="limit 20"):
        assert 19 < find_temperature(np.array([[1e4, 0.0], [1e4, 0], [0, 1e4]]), [0, 1, 1]) <= 20
