"Clicks on a movie: snapping, moving, suggestions."

import numpy as np
import pytest

from cellprotocols.points import PointAnnotator, snap_point

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_a_click_is_kept_though_the_search_for_nuclei_fails(tmp_path, movie, capsys):
    def find(img):
        raise RuntimeError("no nuclei today")

    w = PointAnnotator(movie, ["A"], tmp_path / "log", names=["m"], find=find, by="x")
    w.click(10, 12, "A")
    assert w.to_clicks()[["y", "x"]].values.tolist() == [[10, 12]] and "no nuclei today" in capsys.readouterr().err
    assert "no nuclei today" in w.answer(dict(do="suggest", f=0, t=0))[0]["error"]


def test_points_snap_move_and_leave_the_suggestions(tmp_path, movie):
    w = PointAnnotator(
        movie, ["A", "B"], tmp_path / "log", names=["m"], by="x", guess=lambda p: np.tile([0.3, 0.7], (len(p), 1))
    )
    cells = w.cells(0, 0)
    y, x = cells.iloc[0][["y", "x"]]
    item = w.click(y + 3, x - 2, "A")
    assert w.to_clicks()[["y", "x"]].iloc[0].tolist() == pytest.approx([y, x], abs=0.01)
    left = w.suggest()
    assert len(left) == len(cells) - 1 and set(left.label) == {"B"} and left.p.eq(0.7).all()
    w.click(1.25, 2.5, "B", snap=False, item=item)
    assert w.to_clicks()[["y", "x", "label"]].values.tolist() == [[1.25, 2.5, "B"]] and len(w.suggest()) == len(cells)
    w.undo()
    assert w.to_clicks().label.tolist() == ["A"] and snap_point((0, 0), cells.head(0)) == (0.0, 0.0)
    assert list(w.to_clicks()) == ["file", "t", "z", "y", "x", "label", "by", "at", "flagged", "movie"]


def test_a_point_that_was_deleted_is_no_warning_and_no_click(tmp_path, movie, recwarn):
    def opened():
        return PointAnnotator(movie, ["A", "B"], tmp_path / "log", names=["m"], by="x")

    w = opened()
    for k in range(3):
        w.act("give", entries=[dict(item=f"p{k}", label="A", field="m", t=0, z=0, y=10.0 + k, x=20.0)])
    w.act("give", entries=[dict(item="p1", label="", field="m", t=0, z=0, y=11.0, x=20.0)])
    again = opened()
    said = again.answer(dict(do="hello"))[0]
    assert not said["problems"] and not said["notes"] and said["counts"] == dict(A=2, B=0)
    assert again.to_clicks().y.tolist() == [10.0, 12.0]
    assert not [str(r.message) for r in recwarn if not issubclass(r.category, DeprecationWarning)]
