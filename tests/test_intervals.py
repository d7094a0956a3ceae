"Intervals and paired tests against scipy and by brute force."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cellprotocols.intervals import Interval, bootstrap, compare_groups, compare_mcnemar, score_share

pytestmark = pytest.mark.filterwarnings("ignore:.*groups?:")


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_interval_reads_well():
    assert str(Interval(0.75, 0.61, 0.86)) == "0.75 [0.61, 0.86]"
    v, low, high = Interval(0.5, 0.4, 0.6)
    assert (v, low, high) == (0.5, 0.4, 0.6)


@pytest.mark.parametrize("n", [1, 5, 30, 1000])
def test_wilson_matches_scipy(n):
    for right in {0, 1, n // 2, n}:
        ours, peer = score_share(right, n), stats.binomtest(right, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(ours, (right / n, peer.low, peer.high), atol=1e-12)


def test_bootstrap_ignores_draws_without_a_score_unless_they_are_most():
    g = np.arange(20)
    nan_without_0 = lambda i: float(np.mean(i)) if 0 in i else np.nan
    assert np.isfinite(bootstrap(nan_without_0, g, n=200).low)
    assert np.isnan(bootstrap(lambda i: np.nan if len(set(i)) < 20 else 1.0, g, n=50).low)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_test(pairs):
    a, b = np.array(pairs).T
    n, k = int((a != b).sum()), int((a & ~b).sum())
    same(compare_mcnemar(a, b), stats.binomtest(k, n).pvalue if n else 1.0)
    same(compare_groups(a, b, np.arange(len(a))), compare_mcnemar(a, b))


def test_group_test_counts_signs():
    rng = np.random.default_rng(0)
    a, b, g = rng.random(80) < 0.8, rng.random(80) < 0.5, np.arange(80) // 8
    d = np.array([a[g == k].sum() - b[g == k].sum() for k in range(10)], float)
    signs = 1 - 2 * ((np.arange(1024)[:, None] >> np.arange(10)) & 1)
    same(compare_groups(a, b, g), np.mean(np.abs(signs @ d) >= abs(d.sum())))


def test_under_the_null_the_group_test_keeps_its_level_and_mcnemar_does_not():
    rng, g, R = np.random.default_rng(0), np.repeat(np.arange(12), 10), 400
    small = np.zeros(2)
    for _ in range(R):
        a, b = (rng.random(120) < np.repeat(rng.beta(1, 1, 12), 10) for _ in "ab")
        small += [compare_groups(a, b, g) < 0.05, compare_mcnemar(a, b) < 0.05]
    assert small[0] / R < 0.08 and small[1] / R > 0.15
