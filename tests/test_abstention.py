"The accuracy-coverage curve, by hand."

import numpy as np

from made import probabilities, same

from cellprotocols.abstention import make_abstention_curve, score_abstention
from cellprotocols.metrics import score_accuracy, score_macro_f1


def test_abstention_curve_by_hand():
    y, p = probabilities(4, 50)
    curve = make_abstention_curve(y, p)
    order = np.argsort(-p.max(1))
    for r in curve.itertuples():
        kept = order[: round(r.coverage * 50)]
        assert p[kept].max(1).min() == r.threshold
        same(r.accuracy, score_accuracy(y[kept], p[kept].argmax(1)))
        same(r.macro_f1, score_macro_f1(y[kept], p[kept].argmax(1)))
    same(score_abstention(y, p), curve.accuracy.mean())
    assert len(make_abstention_curve(y, p, n_points=10)) == 10


def test_abstention_without_knowledge_is_accuracy():
    y = np.array([0, 1, 1, 0])
    p = np.tile([0.6, 0.4], (4, 1))
    assert score_abstention(y, p) == 0.5 and make_abstention_curve(y, p).coverage.tolist() == [1]
