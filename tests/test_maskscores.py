"Pixels and objects of masks against scikit-learn and by brute force."

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from cellprotocols.answers import MetricsError
from cellprotocols.maskscores import (
    make_pixel_curve,
    make_pixel_histogram,
    measure_boundaries,
    measure_matches,
    score_boundaries,
    score_images,
    score_objects,
    score_pixels,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*groups?:")


def practice_masks(n=12, shape=(30, 37), seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, *shape)) < rng.uniform(0.02, 0.4, n)[:, None, None]
    truth[::4] = False
    prob = rng.integers(0, 256, truth.shape)
    prob = np.clip(prob + 70 * truth, 0, 255).astype(np.uint8)
    return truth, prob, np.repeat(np.arange(n // 2), 2)


def test_pixel_scores_equal_sklearn():
    truth, prob, groups = practice_masks()
    hists = np.stack([make_pixel_histogram(t, p) for t, p in zip(truth, prob)])
    for threshold in (0, 100 / 255, 0.5, 1):
        found = prob / 255 >= threshold - 1e-9
        table = score_pixels(hists, groups, threshold, n=20).set_index("metric").value
        t, f = truth.ravel(), found.ravel()
        p, r, f1, _ = sk.precision_recall_fscore_support(t, f, average="binary", zero_division=np.nan)
        want = dict(
            precision=p,
            recall=r,
            f1=f1,
            iou=sk.jaccard_score(t, f),
            ap=sk.average_precision_score(t, prob.ravel()),
            iou_background=sk.jaccard_score(~t, ~f) if threshold else 0,
        )
        for name, value in want.items():
            assert table[name] == pytest.approx(value, abs=1e-12), (name, threshold)
        each = [
            (sk.f1_score(a.ravel(), b.ravel()), sk.jaccard_score(a.ravel(), b.ravel()))
            for a, b in zip(truth, found)
            if a.any()
        ]
        assert np.allclose(table[["mean_f1", "mean_iou"]], np.mean(each, 0)) and np.allclose(
            table[["median_f1", "median_iou"]], np.median(each, 0)
        )
        assert table.clean_area == pytest.approx(found[::4].mean())
    curve = make_pixel_curve(hists)
    p, r, at = sk.precision_recall_curve(truth.ravel(), prob.ravel())
    for a, pp, rr in zip(at, p, r):
        assert np.allclose(curve.loc[int(a), ["precision", "recall"]].astype(float), [pp, rr])


def test_pixel_histogram_takes_all_kinds_and_leaves_out_what_is_not_valid():
    truth, prob, _ = practice_masks(2)
    h = make_pixel_histogram(truth[1], prob[1])
    assert (
        h.sum() == truth[1].size
        and (make_pixel_histogram(truth[1], prob[1] / 255.0) == h).all()
        and (make_pixel_histogram(truth[1], (prob[1] / 255).astype(np.float32)) == h).all()
    )
    hard = make_pixel_histogram(truth[1], prob[1] > 127)
    assert hard[:, 0].sum() + hard[:, 255].sum() == truth[1].size
    valid = np.zeros(truth[1].shape, bool)
    valid[:7] = True
    assert (make_pixel_histogram(truth[1], prob[1], valid) == make_pixel_histogram(truth[1][:7], prob[1][:7])).all()
    for bad in (np.full(truth[1].shape, np.nan), np.full(truth[1].shape, 1.01), prob[1].astype(int)):
        with pytest.raises(MetricsError):
            make_pixel_histogram(truth[1], bad)
    with pytest.raises(MetricsError):
        make_pixel_histogram(truth[1].astype(int), prob[1])
    with pytest.raises(MetricsError):
        score_pixels(h)


def test_pixel_intervals_draw_groups_not_pixels():
    """Two kinds of wells: the interval is as wide as the wells differ, however many pixels each has."""
    rng = np.random.default_rng(0)
    truth = rng.random((20, 80, 80)) < 0.3
    groups = np.repeat(np.arange(10), 2)
    found = np.where((groups % 2 == 0)[:, None, None], truth, rng.random(truth.shape) < 0.3)
    hists = np.stack([make_pixel_histogram(t, f) for t, f in zip(truth, found)])
    wide, narrow = (
        score_pixels(hists[keep], groups[keep], n=300).set_index("metric").loc["iou"]
        for keep in (np.full(20, True), groups % 2 == 0)
    )
    assert wide.high - wide.low > 0.25 and narrow.low > 0.5  # all right in five wells: as sure as five wells allow
    assert wide.low < wide.value < wide.high
    again = score_pixels(hists, groups, n=300)
    assert again.equals(score_pixels(hists, groups, n=300)) and not again.equals(
        score_pixels(hists, groups, n=300, seed=1)
    )


def test_pixel_scores_without_the_class_or_without_clean_images():
    empty = np.stack([make_pixel_histogram(np.zeros((9, 9), bool), np.full((9, 9), v, np.uint8)) for v in (0, 200)])
    table = score_pixels(empty).set_index("metric").value
    assert (
        np.isnan(table[["recall", "f1", "iou", "ap", "mean_f1"]].to_numpy()).all()
        and table.precision == 0
        and table.clean_area == 0.5
    )
    full = np.stack([make_pixel_histogram(np.ones((9, 9), bool), np.ones((9, 9), bool))] * 2)
    table = score_pixels(full).set_index("metric").value
    assert table.f1 == table.iou == table.ap == 1 and np.isnan(table.clean_area)


def test_matched_objects_equal_brute_force():
    from scipy.ndimage import label

    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b = (rng.random((40, 50)) < q for q in (0.3, 0.25))
        la, lb = (label(m, np.ones((3, 3)))[0] for m in (a, b))
        found = measure_matches(a, b)
        assert len(found) == la.max() and found.area.sum() == a.sum()
        for i, row in enumerate(found.itertuples(), 1):
            me = la == i
            assert row.area == me.sum() and row.covered == pytest.approx((me & b).sum() / me.sum())
            assert row.iou == pytest.approx(
                max([(me & (lb == j)).sum() / (me | (lb == j)).sum() for j in range(1, lb.max() + 1)], default=0)
            )
        # names of labels do not matter
        assert measure_matches(la * 7, lb).drop(columns="label").equals(found.drop(columns="label"))
    assert len(measure_matches(np.zeros((5, 5), bool), a[:5, :5])) == 0
    assert measure_matches(a, np.zeros_like(a)).iou.max() == 0
    assert (measure_matches(a, np.ones_like(a)).covered == 1).all()


def test_object_scores_by_size():
    objects = pd.DataFrame(
        dict(label=range(6), area=[5, 29, 30, 299, 300, 900], iou=[0, 0.6, 0.4, 0.5, 1, 0.49], covered=1.0)
    )
    table = score_objects(objects, groups=[1, 1, 2, 2, 3, 3])
    assert (
        table["size"].tolist() == ["< 30 px", "30 to 300 px", ">= 300 px", "all"]
        and table.n.tolist() == [2, 2, 2, 6]
        and table.groups.tolist() == [1, 1, 1, 3]
    )
    assert table.found.tolist() == [0.5, 0.5, 0.5, 0.5] and score_objects(objects, by="covered").found.tolist() == [
        1,
        1,
        1,
        1,
    ]
    assert score_objects(objects, at=0.1).found.iloc[0] == 0.5
    none = score_objects(objects[:0])
    assert none.n.tolist() == [0] * 4 and none.found.isna().all()
    for bad in (dict(by="area"), dict(groups=[1])):
        with pytest.raises(MetricsError):
            score_objects(objects, **bad)


def test_outlines_are_near_within_the_tolerance():
    wide = np.pad(np.ones((10, 10), bool), 10)
    off, far = np.roll(wide, 1, 1), np.roll(wide, 6, 1)
    assert measure_boundaries(wide, wide).tolist() == measure_boundaries(wide, off).tolist() == [36] * 4
    assert measure_boundaries(wide, off, tolerance=0)[1] < 36 and measure_boundaries(wide, far)[1] < 20
    table = score_boundaries(np.array([[36, 36, 36, 36], [36, 0, 0, 0]] * 5), list("abcdefghij"))
    assert (table.low <= table.value).all() and (table.value <= table.high).all()


MASK = np.pad(np.ones((4, 4), bool), 3)


@pytest.mark.parametrize(
    "wrong",
    [
        MASK * 1.0,
        MASK.astype(str),
        MASK.astype(complex),
        np.where(MASK, 1.0, np.nan),
        MASK[:5],
        MASK[0],
        MASK[..., None],
    ],
)
def test_masks_of_another_type_or_shape_are_refused(wrong):
    for call in (measure_matches, measure_boundaries):
        with pytest.raises(MetricsError):
            call(wrong, MASK)
        with pytest.raises(MetricsError):
            call(MASK, wrong)
    for call in (make_pixel_histogram, measure_boundaries):
        with pytest.raises(MetricsError):
            call(MASK, MASK, valid=wrong)
    with pytest.raises(MetricsError):
        make_pixel_histogram(wrong, MASK)


@pytest.mark.parametrize(
    "wrong", [MASK * 1, MASK * 2.0, MASK - 1.0, MASK.astype(str), MASK.astype(object), np.where(MASK, np.nan, 0)]
)
def test_probs_that_are_no_probs_are_refused(wrong):
    with pytest.raises(MetricsError, match="needed: float 0 to 1, uint8 or bool"):
        make_pixel_histogram(MASK, wrong)


def test_tables_of_another_shape_are_refused():
    for call in (score_images, score_pixels, make_pixel_curve):
        with pytest.raises(MetricsError, match="one `make_pixel_histogram` an image"):
            call(np.zeros((3, 512)))
    with pytest.raises(MetricsError, match=r"\(N, 4\)"):
        score_boundaries(np.zeros(4))
    with pytest.raises(MetricsError, match="1 groups for 2 items"):
        score_boundaries(np.zeros((2, 4)), ["a"])
