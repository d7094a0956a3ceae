"Places on a map: one measure for both axes, and a lasso that agrees with matplotlib."

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from cellprotocols.places import find_inside, to_unit_square


@given(
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=1, max_size=30),
    st.integers(0, 2**32 - 1),
    st.integers(3, 12),
)
@settings(max_examples=60, deadline=None)
def test_lasso_agrees_with_matplotlib(points, seed, corners):
    polygon = np.random.default_rng(seed).uniform(-1e6, 1e6, (corners, 2))
    star = polygon[np.argsort(np.arctan2(*(polygon - polygon.mean(0)).T))]  # does not cross itself: both rules agree
    points = np.array(points)
    assert (find_inside(points, star) == Outline(np.r_[star, star[:1]], closed=True).contains_points(points)).all()


@given(st.integers(1, 200), st.floats(-1e12, 1e12), st.floats(1e-6, 1e12), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_places_keep_their_shape_within_zero_and_one(n, at, span, seed):
    xy = at + span * np.random.default_rng(seed).uniform(0, 1, (n, 2)) * [1, 0.5]
    p = to_unit_square(xy)
    assert p.dtype == np.float32 and (p >= -1e-6).all() and (p <= 1 + 1e-6).all()
    side = np.ptp(xy, axis=0).max() or 1
    np.testing.assert_allclose(np.ptp(p, axis=0), np.ptp(xy, axis=0) / side, atol=1e-4)
