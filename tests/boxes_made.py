"Sets of boxes, made up, for the tests of what reads and writes them."

import math
import unicodedata

import pandas as pd
from hypothesis import strategies as st

from cellprotocols.boxes import COLUMNS, check_boxes

SIDES = ["y0", "x0", "y1", "x1"]
SHAPES = {"a.png": (100, 200), "b.tif": (64, 64)}


def frame(*rows):
    return pd.DataFrame(rows, columns=["field", "label", *SIDES])


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='/\\:*?"<>|.'),
    min_size=1,
    max_size=12,
)


@st.composite
def box_sets(draw):
    fields = draw(
        st.lists(names, min_size=1, max_size=4, unique_by=lambda n: unicodedata.normalize("NFC", n).casefold())
    )
    classes = draw(
        st.lists(
            st.text(
                st.characters(
                    codec="utf-8",
                    exclude_categories=["Cc", "Z"],
                    exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
                ),
                min_size=1,
                max_size=12,
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    shapes = {
        f + draw(st.sampled_from([".png", ".tif", ""])): (draw(st.integers(1, 5000)), draw(st.integers(1, 5000)))
        for f in fields
    }
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        f = draw(st.sampled_from(sorted(shapes)))
        h, w = shapes[f]
        (y0, y1), (x0, x1) = (
            sorted(draw(st.lists(st.floats(0, n).map(lambda v: round(v, 3)), min_size=2, max_size=2))) for n in (h, w)
        )
        if y1 - y0 < 0.01 or x1 - x0 < 0.01:
            y0, x0, y1, x1 = 0.0, 0.0, float(h), float(w)
        rows.append(
            (
                f,
                draw(st.sampled_from(classes)),
                draw(st.sampled_from([0, 0, 1, 12345])),
                y0,
                x0,
                y1,
                x1,
                draw(st.sampled_from([math.nan, 0.25, 0.875])),
            )
        )
    return check_boxes(pd.DataFrame(rows, columns=COLUMNS), classes, shapes)


def same(a, b):
    assert a.classes == b.classes and dict(a.shapes) == dict(b.shapes)
    a, b = (
        t.boxes.assign(**t.boxes[SIDES].round(4)).sort_values(COLUMNS, kind="stable").reset_index(drop=True)
        for t in (a, b)
    )
    pd.testing.assert_frame_equal(a, b, check_exact=False, atol=2e-4)
