"Overlap, suppression, recall of proposals, AP and FROC: against slow and plain versions of the same."

import warnings

import numpy as np
import pandas as pd
import pytest
from cellprotocols.answers import MetricsError
from cellprotocols.boxscores import (
    SIDES,
    choose_apart,
    make_hits,
    measure_iou,
    measure_ranks,
    score_ap,
    score_froc,
    score_recall,
    soften_scores,
)


def some_boxes(n, seed=0, size=60):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, size, (n, 2))
    return np.concatenate([low, low + rng.integers(3, 25, (n, 2))], 1)


def test_iou_counts_pixels():
    a, b = some_boxes(12, 1), some_boxes(9, 2)

    def fill(box):
        m = np.zeros((100, 100), bool)
        m[box[0] : box[2], box[1] : box[3]] = True
        return m

    plain = [[(fill(p) & fill(q)).sum() / (fill(p) | fill(q)).sum() for q in b] for p in a]
    np.testing.assert_allclose(measure_iou(a, b), plain, atol=1e-12)
    assert measure_iou(a[:0], b).shape == (0, 9)


def test_suppression_is_that_of_a_plain_loop():
    boxes, score = some_boxes(300, 3), np.random.default_rng(3).permutation(300) / 300
    iou = measure_iou(boxes, boxes)
    for overlap in (0.2, 0.5, 0.8):
        want = []
        for i in np.argsort(-score):
            if all(iou[i, j] <= overlap for j in want):
                want.append(i)
        np.testing.assert_array_equal(choose_apart(boxes, score, overlap), want)
    assert len(choose_apart(boxes, score, most=7)) == 7


def test_soft_suppression_leaves_the_best_and_what_stands_alone():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [80, 80, 90, 90]])
    np.testing.assert_allclose(soften_scores(boxes, [0.5, 0.8, 0.1]), [0.5 * np.exp(-2), 0.8, 0.1])


def test_ranks_and_recall_are_those_of_a_plain_count():
    truth, boxes = some_boxes(20, 4), some_boxes(200, 5)
    ranks, iou = measure_ranks(truth, boxes, (0.3, 0.5)), measure_iou(truth, boxes)
    for n in (1, 20, 200):
        for k, least in enumerate((0.3, 0.5)):
            assert ((ranks[:, k] <= n) == (iou[:, :n] >= least).any(1)).all()
    table = score_recall(ranks, np.arange(20) % 5, (20, 200), (0.3, 0.5), n=100)
    assert table.recall.tolist() == [(ranks[:, k] <= n).mean() for n in (20, 200) for k in (0, 1)]
    assert (table.low <= table.recall).all() and (table.recall <= table.high).all() and (table.groups == 5).all()
    assert np.isinf(measure_ranks(truth, boxes[:0])).all()


def sample(seed=0, n=12):
    "Fields with true boxes and detections, some right, some not."
    rng, truth, found = np.random.default_rng(seed), [], []
    for f in range(n):
        boxes = some_boxes(rng.integers(0, 5), 100 * seed + f, 300)
        truth += [(f"f{f}", *b) for b in boxes]
        found += [(f"f{f}", *(b + rng.integers(-1, 2, 4)), rng.uniform(0.3, 1)) for b in boxes if rng.random() < 0.7]
        found += [(f"f{f}", *b, rng.uniform(0, 0.8)) for b in some_boxes(rng.integers(0, 4), f + 999, 300)]
    fields = pd.Series([f"g{f % 4}" for f in range(n)], [f"f{f}" for f in range(n)])
    return (
        pd.DataFrame(truth, columns=["field", *SIDES]),
        pd.DataFrame(found, columns=["field", *SIDES, "score"]),
        fields,
    )


def plain_ap(truth, found, least):
    "All-point AP, box by box."
    taken, points, right = set(), [], 0
    for n, row in enumerate(found.sort_values("score", ascending=False).itertuples(), 1):
        best, at = 0, None
        for t in truth[truth.field == row.field].itertuples():
            if t.Index not in taken:
                iou = measure_iou([list(row[2:6])], [list(t[2:6])])[0, 0]
                best, at = max((best, at), (iou, t.Index), key=lambda p: p[0])
        if best >= least:
            taken.add(at)
            right += 1
        points.append((right / len(truth), right / n))
    ap, before = 0, 0
    for i, (r, _) in enumerate(points):
        ap += (r - before) * max(p for _, p in points[i:])
        before = r
    return ap, points


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ap_and_froc_are_those_of_a_plain_count(seed):
    truth, found, fields = sample(seed)
    hits = make_hits(truth, found, fields, 0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ap, froc = score_ap(hits, 50), score_froc(hits, (0.1, 0.5, 2), 50)
    want, points = plain_ap(truth, found, 0.4)
    assert ap.value == pytest.approx(want) and ap.low <= ap.value <= ap.high
    wrong = [n * (1 - p) / len(fields) for n, (_, p) in enumerate(points, 1)]
    for most, recall in zip(froc.false, froc.recall):
        assert recall == pytest.approx(max([r for (r, _), w in zip(points, wrong) if w <= most + 1e-9], default=0))


def test_order_of_rows_does_not_matter_and_ties_come_together():
    truth, found, fields = sample(3)
    found["score"] = found.score.round(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = {
            round(score_ap(make_hits(truth, found.sample(frac=1, random_state=s), fields), 10).value, 9) for s in (0, 1)
        }
        assert len(scores) == 1
        assert score_ap(make_hits(truth, found[:0], fields), 10).value == 0
        assert np.isnan(score_ap(make_hits(truth[:0], found, fields), 10).value)


def test_bad_boxes_are_named():
    with pytest.raises(MetricsError, match="box 1"):
        measure_iou([[0, 0, 1, 1], [3, 3, 3, 9]], [[0, 0, 1, 1]])
    with pytest.raises(MetricsError, match="no column 'y1'"):
        measure_iou(pd.DataFrame(dict(y0=[1], x0=[1])), [[0, 0, 1, 1]])
    with pytest.raises(MetricsError, match="2 scores"):
        soften_scores([[0, 0, 1, 1]], [1, 2])
