"Boxes and masks: what is drawn is kept inside the field, undone, and painted into a label image."

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols.drawing import BoxAnnotator, MaskAnnotator, make_brush_mask
from cellprotocols.labellog import read_labels
from cellprotocols.points import PointAnnotator

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


HERE = dict(field="practice", t=0, z=0)


@pytest.mark.parametrize(
    "kind, entry",
    [
        (k, e)
        for k, good in dict(
            point=dict(HERE, y=5, x=5),
            box=dict(HERE, box=[1, 1, 9, 9]),
            stroke=dict(HERE, stroke=dict(points=[[1, 1]], radius=2)),
        ).items()
        for e in [
            dict(good, **bad)
            for bad in (
                dict(field=None),
                dict(field="other"),
                dict(t=-1),
                dict(t=99),
                dict(t="0"),
                dict(z=1),
                dict(t=None),
                dict(t=float("nan")),
            )
        ]
        + dict(
            point=[dict(good, y=None), dict(good, x="5"), dict(good, y=float("inf"))],
            box=[
                dict(good, box=b)
                for b in (None, [1, 2, 3], [1, 1, None, 5], [5, 5, 5, 9], [9, 9, 1, 1], [500, 500, 600, 600], "abcd")
            ],
            stroke=[
                dict(good, stroke=s)
                for s in (
                    None,
                    {},
                    5,
                    dict(points=[]),
                    dict(points=[[1]]),
                    dict(points=[[1, None]]),
                    dict(points=5),
                    dict(points=[[1, 1]], radius=0),
                    dict(points=[[1, 1]], radius="x"),
                    dict(points=[[1, 1]], radius=1e9),
                )
            ],
        )[k]
    ],
    ids=str,
)
def test_a_shape_that_makes_no_sense_never_reaches_the_log(tmp_path, movie, kind, entry):
    w = dict(point=PointAnnotator, box=BoxAnnotator, stroke=MaskAnnotator)[kind](
        movie, ["A", "B"], tmp_path / "log", names=["practice"], by="x"
    )
    answer, _ = w.answer(dict(do="give", entries=[dict(item="s1", label="A", **entry)]))
    assert answer["drop"] and not (tmp_path / "log").exists()


def test_shapes_are_kept_inside_the_field(tmp_path, movie):
    points, boxes, masks = (
        k(movie, ["A"], tmp_path / k.__name__, names=["practice"], by="x")
        for k in (PointAnnotator, BoxAnnotator, MaskAnnotator)
    )
    points.click(-5, 1000, "A", snap=False)
    boxes.draw((-5, -5, 1000, 20), "A")
    masks.paint([(-1e9, 3), (1e9, 3)], "A", radius=2)
    assert points.to_clicks()[["y", "x"]].values.tolist() == [[0, 139]] and boxes.to_boxes()[
        ["y0", "x0", "y1", "x1"]
    ].values.tolist() == [[0, 0, 120, 20]]
    assert (masks.to_mask()[:, 2:5] == 1).all() and masks.to_mask()[:, 8:].max() == 0


def test_given_boxes_are_written_once(tmp_path, movie):
    start = pd.DataFrame(dict(field=["m", "m"], label=["A", "B"], y0=[1, 2], x0=[1, 2], y1=[9, 8], x1=[9, 8]))
    for _ in range(2):
        w = BoxAnnotator(movie, ["A", "B"], tmp_path / "log", boxes=start, names=["m"], by="x")
    assert len(w.to_boxes()) == 2 and len(read_labels(tmp_path / "log")) == 2
    w.draw((5, 5, 20, 20), "A", t=2)
    w.draw((5, 5, 20, 21), "B", t=2, item="b_given_000000")
    assert (
        w.to_boxes().t.tolist() == [2, 0, 2]
        and BoxAnnotator(movie, ["A", "B"], tmp_path / "none", names=["m"]).to_boxes().empty
    )


def test_masks_are_what_was_painted(tmp_path, movie):
    w = MaskAnnotator(movie, ["A", "B"], tmp_path / "log", names=["m"], by="x")
    assert w.to_mask().shape == (120, 140) and w.to_mask().max() == 0
    w.paint([(50, 60)], "A", radius=20)
    yy, xx = np.mgrid[:120, :140]
    d = np.hypot(yy - 50, xx - 60)
    m = w.to_mask()
    assert m[d < 19].all() and not m[d > 21].any()
    w.paint([(10, 10), (10, 100), (90, 100), (90, 10)], "B", fill=True)
    assert (w.to_mask()[12:89, 12:99] == 2).all()
    w.paint([(50, 0), (50, 130)], "B", radius=4, erase=True)
    assert not w.to_mask()[48:53, 2:128].any()
    w.undo()
    w.undo()
    assert np.array_equal(w.to_mask(), m)
    w.paint([(5, 5)], "B", t=1, radius=3)
    assert np.array_equal(w.to_mask(), m) and (w.to_mask(t=1) == 2).any() and w.to_mask().dtype == np.int32


def test_the_stroke_that_is_done_again_lies_on_top(tmp_path, movie):
    anna, ben = (MaskAnnotator(movie, ["A", "B"], tmp_path / "log", names=["m"], by=who) for who in ("anna", "ben"))
    anna.paint([(50, 60)], "A", radius=10)
    ben.paint([(50, 60)], "B", radius=10)
    assert ben.to_mask()[50, 60] == 2
    anna.undo()
    anna.redo()
    ben.act("sync")
    assert (
        anna.to_mask()[50, 60]
        == ben.to_mask()[50, 60]
        == 1
        == MaskAnnotator(movie, ["A", "B"], tmp_path / "log", names=["m"]).to_mask()[50, 60]
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40)), min_size=1, max_size=4),
            st.floats(0.5, 12),
            st.booleans(),
            st.integers(1, 3),
        ),
        max_size=5,
    )
)
def test_a_rubber_over_everything_leaves_nothing(strokes):
    drawn, values = [dict(points=p, radius=r, fill=f) for p, r, f, _ in strokes], [v for *_, v in strokes]
    m = make_brush_mask(drawn, values, (40, 40))
    assert (
        set(np.unique(m)) <= {0, *values}
        and not make_brush_mask([*drawn, dict(points=[(20, 20)], radius=100, erase=True)], [*values, 1], (40, 40)).any()
    )
