"Outlines that a person corrects: nothing on disk is written over, nothing is lost, and what is saved holds every edit."

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellprotocols.celleditor import CellEditor, CellRun, write_edited
from cellprotocols.celledits import CellEdits, EditError, delete_cells, find_cut, merge_cells, replay_edits, split_cell
from cellprotocols.cellfiles import PROBS, to_label_tiff
from cellprotocols.cellregions import read_regions
from cellprotocols.labellog import LabelError
from cellprotocols.submissions import read_submission


def draw_cells():
    "Cells 4 and 9 side by side, 70000 apart; 70000 has two nuclei, one above the other; numbers have gaps."
    cells, nuclei = np.zeros((80, 120), np.int32), np.zeros((80, 120), np.int32)
    cells[10:40, 10:30], cells[10:40, 30:50], cells[5:75, 80:110] = 4, 9, 70_000
    nuclei[20:30, 15:25], nuclei[20:30, 35:45] = 4, 9
    nuclei[15:25, 90:100], nuclei[50:60, 90:100] = 70_000, 70_000
    return cells, nuclei


@pytest.fixture
def edits(tmp_path):
    for kind, labels in zip(("cells", "nuclei"), draw_cells()):
        (tmp_path / f"a_{kind}.tif").write_bytes(to_label_tiff(labels))
    return open_edits(tmp_path)


def open_edits(folder, by="anna"):
    def read(name):
        return [tifffile.imread(folder / f"{name}_{kind}.tif").astype(np.int32) for kind in ("cells", "nuclei")]

    return CellEdits(folder / "edits.jsonl", read, by, "a dataset")


def make_run(edits, folder, asked=None):
    def call(name, parts):
        if asked is not None:
            asked.append(name)
        ids, area = np.unique(parts[1][parts[1] > 0], return_counts=True)
        t = pd.DataFrame(dict(image_id=name, cell_id=ids, called="Cytosol", p_top1=0.9, area_px=area))
        return t.assign(**dict.fromkeys(PROBS, 0.123456))

    def look(name):
        cells, nuclei = edits.read(name)
        return np.repeat((90 * (cells > 0)).astype(np.uint8)[..., None], 4, 2), cells, nuclei

    return CellRun(["a"], call("a", look("a")), look, call, {"Cytosol": "#00e676"}, folder)


# ---------- one edit


def test_edits_move_every_pixel_where_it_belongs_and_leave_the_input_alone():
    cells, nuclei = draw_cells()
    before = cells.copy(), nuclei.copy()
    merged, nuc = merge_cells(cells, nuclei, [9, 4])
    assert set(np.unique(merged)) == {0, 9, 70_000} and (nuc[nuclei == 4] == 9).all()
    line = find_cut(cells, nuclei, 70_000)
    split, nuc = split_cell(cells, nuclei, 70_000, line, 70_001)
    assert ((split > 0) == (cells > 0)).all() and {*np.unique(nuc[nuclei == 70_000])} == {70_000, 70_001}
    assert (split == 70_001).sum() <= (split == 70_000).sum()
    gone, nuc = delete_cells(cells, nuclei, [70_000, 4])
    assert set(np.unique(gone)) == set(np.unique(nuc)) == {0, 9}
    assert (cells == before[0]).all() and (nuclei == before[1]).all()


def test_a_cut_without_a_nucleus_is_across_the_length():
    cells, nuclei = draw_cells()
    y0, x0, y1, x1 = find_cut(cells, 0 * nuclei, 70_000)
    assert abs(y0 - y1) < 1 and abs(y0 - 39.5) < 1
    split, _ = split_cell(cells, nuclei, 70_000, (y0, x0, y1, x1), 5)
    assert (split == 5).sum() == (split == 70_000).sum()


@pytest.mark.parametrize(
    "edit, said",
    [
        (lambda c, n: merge_cells(c, n, [4, 70_000]), "do not touch"),
        (lambda c, n: merge_cells(c, n, [4, 4]), "2 at least"),
        (lambda c, n: merge_cells(c, n, [4, 5]), "no cell 5"),
        (lambda c, n: delete_cells(c, n, []), "1 at least"),
        (lambda c, n: delete_cells(c, n, [0]), "no cell 0"),
        (lambda c, n: split_cell(c, n, 4, (0, 70, 79, 70), 71_000), "misses cell 4"),
        (lambda c, n: split_cell(c, n, 4, (5, 5, 5, 5), 71_000), "without a length"),
        (lambda c, n: split_cell(c, n, 4, (0, 20, 79, 20), 9), "9 is taken"),
        (lambda c, n: find_cut(np.where(c == 4, 0, c) + np.eye(1, c.size, dtype=int).reshape(c.shape), n, 1), "1 px"),
    ],
)
def test_what_cannot_be_done_is_said(edit, said):
    with pytest.raises(EditError, match=said):
        edit(*draw_cells())


# ---------- the log


def test_files_stay_edits_come_back_and_numbers_are_not_given_twice(edits, tmp_path):
    files = {p: p.read_bytes() for p in tmp_path.glob("*.tif")}
    edits.merge("a", [4, 9])
    edits.split("a", 70_000)
    edits.undo()
    after = edits.split("a", 70_000, (40, 70, 40, 119))
    assert after.changed == {4: "merged", 70_000: "split", 70_002: "split"}
    edits.delete("a", [4])
    again = open_edits(tmp_path).look("a")  # as after the kernel has died
    assert set(np.unique(again.cells)) == {0, 70_000, 70_002} and not again.said
    assert {p: p.read_bytes() for p in files} == files
    t = edits.table()
    assert t.edit.tolist() == ["merge", "split", "delete"] and t.cells.tolist() == ["4|9", "70000", "4"]


def test_undo_and_redo_reach_across_sessions(edits, tmp_path):
    edits.delete("a", [4])
    later = open_edits(tmp_path)
    assert later.undo() == {"a"} and (later.look("a").cells == 4).any()
    assert later.redo() == {"a"} and not (later.look("a").cells == 4).any()
    later.undo()
    with pytest.raises(LabelError, match="nothing to undo"):
        later.undo()
    assert later.edited == [] and not len(later.table())


def test_a_refused_edit_leaves_no_line(edits):
    with pytest.raises(EditError):
        edits.merge("a", [4, 70_000])
    assert not edits.log.path.exists()


def test_two_people_and_an_edit_that_came_too_late(edits, tmp_path):
    edits.merge("a", [4, 9])
    bo = open_edits(tmp_path, "bo")
    bo.delete("a", [4])
    edits.undo()  # anna takes the merge back: bo has deleted 4, which is a cell again
    assert set(np.unique(edits.look("a").cells)) == {0, 9, 70_000}
    edits.redo()  # now the merge comes after the deletion
    now = edits.look("a")
    assert set(np.unique(now.cells)) == {0, 9, 70_000} and "by anna is left out: there is no cell 4" in now.said[0]


def test_a_damaged_line_is_left_out_and_named():
    cells, nuclei = draw_cells()
    lines = [dict(label="split", cells=[4]), dict(label="melt", cells=[4]), dict(label="delete", cells=[9], by="bo")]
    now = replay_edits(cells, nuclei, lines)
    assert len(now.said) == 2 and set(np.unique(now.cells)) == {0, 4, 70_000}


def test_the_log_of_other_label_images_is_refused(edits, tmp_path):
    edits.delete("a", [4])
    with pytest.raises(LabelError, match="another dataset"):
        CellEdits(tmp_path / "edits.jsonl", edits.read, "anna", "another dataset")


# ---------- what is saved


def test_all_exports_hold_all_edits(edits, tmp_path):
    run = make_run(edits, tmp_path / "exports")
    edits.merge("a", [4, 9])
    edits.split("a", 70_000)
    made, again = write_edited(run, edits), write_edited(run, edits)
    assert (made.name, again.name) == ("edited_01", "edited_02")
    wanted = edits.look("a").cells
    found = read_regions(made / "fields", "a")
    assert (found.cells == wanted).all() and (found.nuclei == edits.look("a").nuclei).all()
    t = pd.read_csv(made / "cells.csv", keep_default_na=False)
    assert t.edited.tolist() == ["merged", "split", "split"] and t.cell_id.tolist() == [4, 70_000, 70_001]
    assert t.area_px.tolist() == [(wanted == i).sum() for i in t.cell_id]
    (field,) = read_submission(made / "submission.csv")
    assert {m.sum() for m in field.masks().values()} == set(t.area_px)
    shapes = json.loads((made / "fields" / "a_cells.geojson").read_text())["features"]
    assert sorted(f["id"] for f in shapes) == ["4", "70000", "70001"]
    assert pd.read_csv(made / "edits.csv").edit.tolist() == ["merge", "split"]


def test_an_export_that_fails_leaves_nothing(edits, tmp_path):
    edits.split("a", 70_000)

    def call(name, parts):
        raise EditError("no weights")

    with pytest.raises(EditError):
        write_edited(make_run(edits, tmp_path / "exports")._replace(call=call), edits)
    assert list((tmp_path / "exports").iterdir()) == []


# ---------- the widget


def test_buttons_do_what_methods_do(edits, tmp_path):
    asked = []
    editor = CellEditor(make_run(edits, tmp_path / "exports", asked), edits)
    asked.clear()
    editor.choose(4, 9)
    editor.buttons["merge"].click()
    assert "one: 4" in editor.said.value and editor.picture.chosen == [] and asked == ["a"]
    editor.picture.line = [40.0, 79.0, 40.0, 112.0]  # nothing chosen: the cell under the line
    editor.buttons["split"].click()
    ids = [c["id"] for c in editor.picture.shown["cells"]]
    assert ids == [4, 70_000, 70_001] and editor.picture.line == []
    editor.buttons["save"].click()
    assert asked == ["a", "a"], "the model looks once at each state of a field"
    editor.choose(70_000)
    editor.buttons["delete"].click()
    assert editor.rows().cell_id.tolist() == [4, 70_001]
    editor.buttons["undo"].click()
    editor.buttons["redo"].click()
    assert editor.rows().cell_id.tolist() == [4, 70_001] and not editor.buttons["undo"].disabled


def test_a_button_that_cannot_says_why_and_goes_on(edits, tmp_path):
    editor = CellEditor(make_run(edits, tmp_path), edits)
    for press, said in (("split", "0 cells chosen"), ("merge", "2 at least"), ("undo", "nothing to undo")):
        editor.buttons[press].click()
        assert said in editor.said.value
    assert not edits.log.path.exists()


def test_without_weights_outlines_are_edited_all_the_same(edits, tmp_path):
    def call(name, parts):
        raise EditError("the weights are not those this model was trained on")

    editor = CellEditor(make_run(edits, tmp_path)._replace(call=call), edits)
    editor.choose(4, 9)
    editor.merge()
    assert "not called" in editor.said.value and edits.table().edit.tolist() == ["merge"]
    assert [c["called"] for c in editor.picture.shown["cells"]] == ["not known", "Cytosol"]
