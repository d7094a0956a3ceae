"""Following nuclei and smoothing their states: against practice data with known truth, brute force, and on hard inputs."""

import itertools
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from cellprotocols.cells import find_centroids, find_nuclei
from cellprotocols.synth import make_movie
from cellprotocols.tracks import TrackError, follow, link_cells, make_transitions, smooth_tracks

STATES = ["Interphase", "Prometaphase", "Metaphase", "Anaphase", "Apoptosis"]


def cycle(classes):
    "The rules of the cell cycle for some of the states, as the protocol `chromatin` has them."
    steps = [c for c in STATES[:4] if c in classes]
    return ",".join(
        [*(f"{a}>{b}" for a, b in zip(steps, steps[1:] + steps[:1])), *(f"any>{c}" for c in classes if c == STATES[4])]
    )


def rules(classes, stay=0.9):
    return make_transitions(classes, cycle(classes) if set(classes) <= set(STATES) else "", stay)


@pytest.fixture(scope="module")
def movie():
    return make_movie(n_frames=40, seed=4)


@pytest.fixture(scope="module")
def found(movie):
    return [find_nuclei(f) for f in movie.frames]


def steps(t, cell, track):
    a = pd.DataFrame(dict(t=np.asarray(t), cell=np.asarray(cell), track=np.asarray(track)))
    return set(
        a.merge(a.assign(t=a.t - 1), on=["t", "track"])[["t", "cell_x", "cell_y"]].itertuples(index=False, name=None)
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tracks_of_true_outlines(seed):
    """Given where the nuclei are, who is who: steps, and divisions with the right mother."""
    movie = make_movie(seed=seed)
    tracked = pd.concat(link_cells(find_centroids(lab) for lab in movie.labels))
    truth, ours = steps(tracked.t, tracked.label, tracked.label), steps(tracked.t, tracked.label, tracked.track_id)
    assert len(truth & ours) > 0.985 * len(truth) and len(ours - truth) < 0.015 * len(truth)
    inside = lambda c: 30 < c.y < 226 and 30 < c.x < 226  # at the edge half a nucleus may be all there is to see
    true_births = {
        (c.track_id, c.parent_id)
        for c in movie.cells[movie.cells.parent_id > 0].drop_duplicates("track_id").itertuples()
        if inside(c)
    }
    real = tracked.groupby("track_id").label.agg(lambda s: s.mode()[0])  # the true id behind each of our tracks
    births = {
        (real[c.track_id], real[c.parent_id])
        for c in tracked[tracked.parent_id > 0].drop_duplicates("track_id").itertuples()
        if inside(c)
    }
    assert len(true_births) > 5 and len(true_births & births) > 0.85 * len(true_births)
    assert len(births - true_births) < 0.15 * len(true_births), births - true_births


def test_tracks_of_found_nuclei(movie, found):
    """The whole way: find, link; a step is right when both ends lie on the same true track."""
    tracked = pd.concat(link_cells(find_centroids(f) for f in found), ignore_index=True)
    true_id = [movie.labels[t][int(round(y)), int(round(x))] for t, y, x in zip(tracked.t, tracked.y, tracked.x)]
    tracked["true_id"] = true_id
    pairs = tracked.merge(tracked.assign(t=tracked.t - 1), on=["t", "track_id"])
    pairs = pairs[(pairs.true_id_x > 0) & (pairs.true_id_y > 0)]
    assert (pairs.true_id_x == pairs.true_id_y).mean() > 0.97
    assert len(pairs) > 0.85 * len(steps(movie.cells.t, movie.cells.track_id, movie.cells.track_id))


def test_gap_is_closed_and_not_longer():
    path = [pd.DataFrame(dict(y=[10.0 + t], x=[20.0])) for t in range(12)]
    for missing, n in ((2, 1), (3, 2)):
        tables = [p.iloc[:0] if 4 <= t < 4 + missing else p for t, p in enumerate(path)]
        assert pd.concat(link_cells(tables, max_gap=2)).track_id.nunique() == n


def test_no_link_beyond_the_limit():
    tables = [pd.DataFrame(dict(y=[10.0], x=[10.0])), pd.DataFrame(dict(y=[31.0], x=[10.0]))]
    assert [t.track_id.tolist() for t in link_cells(tables, max_distance=20)] == [[1], [2]]


def test_crossing_is_decided_together():
    """The nearest cell for one would leave the other without: both together are right."""
    a = pd.DataFrame(dict(y=[0.0, 10.0], x=[0.0, 0.0]))
    b = pd.DataFrame(dict(y=[9.0, 19.0], x=[0.0, 0.0]))
    assert pd.concat(link_cells([a, b], max_distance=15)).track_id.tolist() == [1, 2, 1, 2]


def test_division_and_lonely_newcomer():
    mother, daughters = (
        pd.DataFrame(dict(y=[50.0], x=[50.0], area=[400])),
        pd.DataFrame(dict(y=[44.0, 56], x=[50.0, 50], area=[210, 200])),
    )
    one, two = link_cells([mother, daughters])
    assert two.parent_id.tolist() == [1, 1] and two.track_id.tolist() == [2, 3]
    newcomer = pd.DataFrame(dict(y=[50.0, 66], x=[50.0, 50], area=[400, 390]))
    assert list(link_cells([mother, newcomer]))[1].parent_id.tolist() == [0, 0]


def test_linking_streams_and_keeps_columns():
    seen = []

    def tables():
        for t in range(5):
            seen.append(t)
            yield pd.DataFrame(dict(t=[t + 100], y=[1.0], x=[2.0], note=["a"]), index=[7])

    first = next(link_cells(tables()))
    assert seen == [0] and first.t.tolist() == [100] and first.note.tolist() == ["a"] and first.index.tolist() == [7]
    assert [len(t) for t in link_cells([pd.DataFrame(dict(y=[], x=[]))] * 3)] == [0, 0, 0]
    with pytest.raises(TrackError, match="y and x"):
        next(link_cells([pd.DataFrame(dict(a=[1]))]))


# ---- smoothing


def slow_path(prob, t, chance):
    def score(p):
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(prob[range(len(p)), p], 0.01)).sum() + sum(
                np.log(np.linalg.matrix_power(chance, int(g))[a, b]) for a, b, g in zip(p, p[1:], np.diff(t))
            )

    return max(score(p) for p in itertools.product(range(prob.shape[1]), repeat=len(prob))), score


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.floats(0.5, 0.99), st.integers(0, 10**6))
def test_smoothing_equals_brute_force(n, tracks, stay, seed):
    rng = np.random.default_rng(seed)
    classes = STATES[: int(rng.integers(2, 6))] if seed % 2 else list("xyz")
    rows = [(k, t) for k in range(tracks) for t in np.cumsum(rng.integers(1, 4, rng.integers(1, n + 1)))]
    track, t = np.array(rows).T
    prob = rng.dirichlet(np.ones(len(classes)) * 0.3, len(rows))
    mixed = rng.permutation(len(rows))
    got = np.empty(len(rows), int)
    got[mixed] = smooth_tracks(prob[mixed], t[mixed], track[mixed], rules(classes, stay))
    chance = rules(classes, stay)
    for k in range(tracks):
        best, score = slow_path(prob[track == k], t[track == k], chance)
        assert np.isclose(score(tuple(got[track == k])), best)


def test_smoothing_never_breaks_the_rules():
    rng = np.random.default_rng(0)
    prob, track = rng.dirichlet(np.ones(5) * 0.2, 3000), np.repeat(np.arange(100), 30)
    path = smooth_tracks(prob, np.tile(np.arange(30), 100), track, rules(STATES)).reshape(100, 30)
    chance = rules(STATES)
    assert (chance[path[:, :-1], path[:, 1:]] > 0).all()
    dead = np.maximum.accumulate(path == 4, axis=1)
    assert (path[dead] == 4).all() and dead.any() and not dead.all(), "the dead stay dead"


def test_smoothing_of_little():
    assert smooth_tracks(np.zeros((0, 3)), [], [], make_transitions(list("abc"))).tolist() == []
    assert smooth_tracks(np.array([[0.1, 0.9]]), [7], [3], make_transitions(["a", "b"])).tolist() == [1]
    assert smooth_tracks(
        np.array([[0.0, 1.0]] * 3), [1, 2, 3], [1] * 3, make_transitions(["a", "b"], "a>b")
    ).tolist() == [1, 1, 1]


def test_missed_frames_allow_missed_states():
    "Interphase, then nothing for two frames, then metaphase: possible; in the next frame it is not."
    said = np.full((6, 5), 1e-9)
    said[[0, 1, 2], 0] = said[[3, 4, 5], 2] = 1
    assert smooth_tracks(said, [0, 1, 2, 5, 6, 7], np.zeros(6), rules(STATES)).tolist() == [0, 0, 0, 2, 2, 2]
    assert smooth_tracks(said, [0, 1, 2, 3, 4, 5], np.zeros(6), rules(STATES)).tolist() != [0, 0, 0, 2, 2, 2]


def test_transitions():
    a = rules(STATES)
    go = {(i, j) for i, j in zip(*np.nonzero(a)) if i != j}
    assert go == {(0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (1, 4), (2, 4), (3, 4)} and a[4, 4] == 1
    assert np.allclose(a.sum(1), 1) and np.allclose(np.diag(a)[:4], 0.9)
    swapped = rules([STATES[i] for i in (3, 1, 4, 0, 2)])
    assert swapped[0, 3] > 0 and swapped[0, 1] == 0 and swapped[2, 2] == 1
    four = rules(["Interphase", "Metaphase", "Anaphase"])
    assert four[0, 1] > 0 and four[2, 0] > 0 and four[1, 0] == 0
    assert (make_transitions(["G1", "S", "G2"]) > 0).all()
    assert (
        make_transitions(["A", "B", "C"], "A>B, any>C")[2].tolist() == [0.05, 0.05, 0.9]
        or make_transitions(["A", "B", "C"], "A>B, any>C")[2, 2] == 1
    )
    for bad in ("A>D", "A", "A>B>C"):
        with pytest.raises(TrackError, match="names something else than two classes"):
            make_transitions(["A", "B", "C"], bad)
    for stay in (0, 1, -3, float("nan")):
        with pytest.raises(TrackError, match="between 0 and 1"):
            make_transitions(["A", "B"], stay=stay)


# ---- a whole movie, each frame once


def finder(movie, seen, **more):
    def find(t):
        seen.append(t)
        return find_centroids(movie.labels[t])[["y", "x", "area"]].assign(**more)

    return find


@pytest.mark.parametrize("done", [0, 1, 5, 9, 10])
def test_a_movie_is_looked_at_once_and_taken_up_anywhere(movie, done):
    whole = pd.concat([t.assign(t=k) for k, t in follow(finder(movie, []), 10)], ignore_index=True)
    seen = []
    rest = [t.assign(t=k) for k, t in follow(finder(movie, seen), 10, whole[whole.t < done], done)]
    assert seen == list(range(done, 10))
    if rest:
        pd.testing.assert_frame_equal(pd.concat(rest, ignore_index=True), whole[whole.t >= done].reset_index(drop=True))


def test_cells_that_are_followed_already_keep_their_tracks(movie):
    seen = []
    got = list(follow(finder(movie, seen, track_id=7), 4))
    assert seen == [0, 1, 2, 3] and all((t.track_id == 7).all() and (t.parent_id == 0).all() for _, t in got)


def test_nothing_is_found_before_it_is_wanted(movie):
    seen = []
    next(follow(finder(movie, seen), 40))
    assert seen == [0]
