"Step 21 for those who have nothing labelled yet: clicks in movies, corrections in a grid, a blind second look, the grid that learns, the page."

import html
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from reports import check_report

from cellprotocols.cli import run_steps
from cellprotocols.grid import PatchGrid
from cellprotocols.points import PointAnnotator
from cellprotocols.chromatin import annotate, patches as cut
from cellprotocols.chromatin.annotate import STATES, is_waiting, make_annotator
from cellprotocols.dataset import read_dataset
from cellprotocols.errors import UserError
from cellprotocols.images import write_image
from cellprotocols.labelled import LabelledError
from cellprotocols.labellog import LabelLog, read_labels
from cellprotocols.movies import find_unlabelled
from cellprotocols.review import choose_palette, compare_blind, make_blind, make_grid
from cellprotocols.cellsets import name_cells
from cellprotocols.synth import make_movie


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    "Two small practice movies and where their cells are."
    folder, cells = tmp_path_factory.mktemp("movies"), {}
    for k in range(2):
        m = make_movie(n_frames=4, seed=k, division_rate=8.0)
        write_image(folder / f"m{k}.tif", m.frames, px_um=m.px_um)
        cells[f"m{k}.tif"] = m.cells
    return folder, cells


@pytest.fixture
def clicked(movies, tmp_path):
    folder, cells = movies
    points = make_annotator(str(folder), str(tmp_path / "log.jsonl"), by="anna")
    for name, table in cells.items():
        for c in table[table.t.isin([0, 3])].groupby("t").head(5).itertuples():
            points.click(c.y, c.x, c.state, t=int(c.t), field=name)
    return points, folder, tmp_path / "log.jsonl"


def test_clicks_in_movies_become_patches(clicked, tmp_path):
    points, folder, log = clicked
    assert isinstance(points, PointAnnotator) and points.classes == list(STATES)
    labels = annotate.run(str(folder), str(tmp_path / "21_annotate"), log=str(log))
    assert (
        len(labels) == 20
        and set(labels.items.by) == {"anna"}
        and set(labels.items.movie) == {"m0.tif", "m1.tif"}
        and not labels.items.flagged.any()
    )
    clicks = points.to_clicks()
    assert sorted(zip(labels.items.movie, labels.items.t, labels.items.y, labels.items.label)) == sorted(
        zip(clicks.movie, clicks.t, clicks.y, clicks.label)
    )
    patches = cut.run(str(tmp_path / "21_annotate"), str(tmp_path / "22_patches"))
    assert patches["patches"].shape == (20, 64, 64, 1) and not patches.items.blank.any()


def test_a_deleted_a_moved_and_a_flagged_point(clicked, tmp_path):
    points, folder, log = clicked
    first, second, third = points.shapes().item[:3]
    name = points.shapes().field[0]
    points.click(0, 0, "", item=first, field=name, t=0)
    points.click(200, 210, "Anaphase", item=second, field=name, t=1, snap=False)
    row = points.labellog.word(third)
    points.act(
        "give", entries=[{k: row[k] for k in ("item", "label", "field", "t", "z", "y", "x")} | {"flagged": True}]
    )
    t = annotate.run(str(folder), str(tmp_path / "21"), log=str(log)).items
    assert len(t) == 19 and t.flagged.sum() == 1
    assert t[(t.y == 200) & (t.x == 210)].label.tolist() == ["Anaphase"]


def test_one_movie_alone_takes_its_own_clicks(clicked, tmp_path, capsys):
    _, folder, log = clicked
    labels = annotate.run(str(folder / "m1.tif"), str(tmp_path / "21"), log=str(log))
    assert set(labels.items.movie) == {"m1.tif"} and "10 labels of other movies" in capsys.readouterr().out
    assert labels.items.group.str.contains("cell").all()  # fewer than five movies: cells are the groups


@pytest.mark.parametrize("log, says", [("", "without labels"), ("none.jsonl", "without labels")])
def test_movies_without_clicks_say_how_to_click(movies, tmp_path, log, says):
    with pytest.raises(LabelledError, match=says) as e:
        annotate.run(str(movies[0]), str(tmp_path / "21"), log=log and str(tmp_path / log))
    assert "cellprotocols app chromatin" in str(e.value) and not (tmp_path / "21").exists()


def test_a_notebook_waits_for_the_first_click(movies, clicked, tmp_path, capsys):
    assert (
        is_waiting(str(movies[0]), str(tmp_path / "none.jsonl"))
        and "Click cells in the annotator" in capsys.readouterr().out
    )
    assert (
        not is_waiting(str(movies[0]), str(clicked[2]))
        and not is_waiting(None, "none")
        and not is_waiting(str(tmp_path / "cells.csv"), "none")
    )


def test_a_log_of_other_movies_is_refused(movies, tmp_path):
    LabelLog(tmp_path / "log", "x").give([dict(item="p1", label="A", field="other.tif", t=0, z=0, y=1.0, x=1.0)])
    with pytest.raises(LabelledError, match="none of the 1 labels is a point in m0.tif"):
        annotate.run(str(movies[0]), str(tmp_path / "21"), log=str(tmp_path / "log"))
    LabelLog(tmp_path / "grid", "x").give([dict(item="cell_000001", label="A")])
    with pytest.raises(LabelledError, match="clicks in these movies"):
        annotate.run(str(movies[0]), str(tmp_path / "21"), log=str(tmp_path / "grid"))
    with pytest.raises(LabelledError, match="no column 'slide'"):
        annotate.run(str(movies[0]), str(tmp_path / "21"), group="slide", log=str(tmp_path / "log"))


def test_class_folders_are_no_movies(movies, tmp_path):
    for c in "ab":
        (tmp_path / c).mkdir()
        write_image(tmp_path / c / "x.tif", np.zeros((8, 8), np.uint8))
    assert (
        find_unlabelled(tmp_path) == []
        and [p.name for p in find_unlabelled(movies[0])] == ["m0.tif", "m1.tif"]
        and find_unlabelled(tmp_path / "nothing.csv") == []
    )


@pytest.fixture
def folders(tmp_path):
    "Twenty cells in class folders."
    rng = np.random.default_rng(0)
    for c in ("round", "spread"):
        for i in range(10):
            (tmp_path / "cells" / c / f"g{i % 3}").mkdir(parents=True, exist_ok=True)
            write_image(
                tmp_path / "cells" / c / f"g{i % 3}" / f"{i}.tif", rng.integers(0, 200, (16, 16)).astype(np.uint8)
            )
    return tmp_path / "cells"


def test_corrections_in_the_grid_come_back(folders, tmp_path):
    grid = make_annotator(str(folders), str(tmp_path / "log.jsonl"), str(tmp_path / "21"), by="ben")
    assert isinstance(grid, PatchGrid) and grid.counts() == dict(round=10, spread=10)
    item = grid.table.item_id[3]
    grid.label(item, "spread")
    again = annotate.run(str(folders), str(tmp_path / "21b"), log=str(tmp_path / "log.jsonl")).items.set_index(
        "item_id"
    )
    assert again.label[item] == "spread" and again.by[item] == "ben" and (again.by == "ben").sum() == 1
    later = make_annotator(
        str(folders), str(tmp_path / "log.jsonl"), str(tmp_path / "21b")
    )  # the log goes on with the corrected table
    assert not later.problems and later.counts() == dict(round=9, spread=11)


def test_the_log_of_other_cells_is_refused(folders, tmp_path):
    make_annotator(str(folders), str(tmp_path / "log.jsonl"), str(tmp_path / "21")).label("cell_000000", "spread")
    write_image(folders / "round" / "g0" / "0a.tif", np.ones((16, 16), np.uint8))  # now the numbers mean other cells
    with pytest.raises(UserError, match="another dataset"):
        annotate.run(str(folders), str(tmp_path / "21b"), log=str(tmp_path / "log.jsonl"))
    assert (
        "another dataset"
        in make_annotator(str(folders), str(tmp_path / "log.jsonl"), str(tmp_path / "21b")).problems[0]
    )


def test_a_blind_second_look_changes_no_label(folders, tmp_path):
    labels = annotate.run(str(folders), str(tmp_path / "21"))
    blind = make_blind(labels, choose_palette(labels, known=STATES), str(tmp_path / "log.jsonl"), "ben", n=8)
    assert (blind.table.known == "").all() and blind.answer({"do": "hello"})[0]["predicted"] == []
    truth = labels.items.set_index("item_id").label
    for k, i in enumerate(blind.table.item_id):
        blind.label(i, truth[i] if k else {"round": "spread", "spread": "round"}[truth[i]])
    found = compare_blind(labels, str(tmp_path / "log.jsonl"))
    assert found.pairs.n[0] == 8 and found.pairs.agree[0] == pytest.approx(7 / 8) and len(found.disagreements) == 1
    assert len(read_labels(tmp_path / "log.jsonl")) == 0
    assert (
        annotate.run(str(folders), str(tmp_path / "21b"), log=str(tmp_path / "log.jsonl")).items.label.tolist()
        == labels.items.label.tolist()
    )


def test_the_name_of_a_set_is_that_of_its_cells_not_of_its_labels(folders, tmp_path):
    t = annotate.run(str(folders), str(tmp_path / "21")).items
    assert name_cells(t) == name_cells(t.assign(label="x", by="y")) != name_cells(t.iloc[:-1])
    assert name_cells(read_dataset(tmp_path / "21").items) == name_cells(t)


def test_the_page_is_a_notebook_that_runs(folders, tmp_path):
    from cellprotocols.cli import page_code

    code = page_code("chromatin", str(folders), str(tmp_path / "out with 'quotes'"), by="o'neill")
    assert repr(["--source", str(folders)])[:-1] in code
    out = subprocess.run(
        [
            sys.executable,
            "-c",
            code + "\nprint('made', type(make_annotator).__name__)",
        ],
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0 and "made function" in out.stdout, out.stderr


def test_a_click_that_is_labelled_again_in_the_grid_stays_a_click(clicked, tmp_path):
    points, folder, log = clicked
    labels = annotate.run(str(folder), str(tmp_path / "21"), log=str(log))
    items = labels.items
    grid = make_grid(labels, choose_palette(labels, known=STATES), log, by="ben")
    grid.label(items.item_id[0], "Apoptosis")  # a state nobody had met
    points.answer({"do": "sync"})
    again = annotate.run(str(folder), str(tmp_path / "21b"), log=str(log)).items.set_index("item_id")
    assert len(again) == 20 and again.label[items.item_id[0]] == "Apoptosis" and again.by[items.item_id[0]] == "ben"
    assert (again.y[items.item_id[0]], again.movie[items.item_id[0]]) == (items.y[0], items.movie[0]) and len(
        points.shapes()
    ) == 20


@pytest.mark.slow
def test_classes_called_like_missing_values_and_numbers_stay_what_they_are(tmp_path, capsys):
    "NA, None, 01 and 1, a comma and an umlaut, from the table to the report; only nan is none, and this is said."
    names, rng = ["NA", "None", "01", "1", "G1/S, früh", "nan"], np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 16
    (tmp_path / "in").mkdir()
    rows = []
    for k, name in enumerate(names):
        for i in range(8):
            cell = 40 + 150 * (y**2 + x**2 < (4 + 2 * k) ** 2) + rng.normal(0, 4, (32, 32))
            write_image(tmp_path / "in" / f"c{k}_{i}.tif", cell.clip(0, 255).astype(np.uint8))
            rows.append(dict(file=f"c{k}_{i}.tif", label=name, group=f"{i % 4:03d}"))
    pd.DataFrame(rows).to_csv(tmp_path / "in" / "cells.csv", index=False)
    options = dict(folds=2, random_split=False, model="measured")
    source, out = str(tmp_path / "in" / "cells.csv"), tmp_path / "out"
    for steps in ("annotate..patches", "train..visualize"):
        run_steps("chromatin", source, str(out), steps, **options)
    assert "8 of 48 rows have the label nan: they count as not labelled yet" in capsys.readouterr().out
    known = sorted(names[:5])

    def read(name):
        return pd.read_csv(out / name, dtype=str, keep_default_na=False)

    trained = read("24_train/items.csv")
    assert sorted(set(trained.label)) == known and set(trained.predicted) <= set(known)
    assert sorted(set(trained.group)) == ["000", "001", "002", "003"]
    assert sorted(read("24_train/classes.csv")["class"]) == known
    assert sorted(json.loads((out / "24_train" / "bundle" / "bundle.json").read_text())["classes"]) == known
    assert set(read("25_infer/items.csv").predicted) <= set(known)
    page = check_report(out / "26_visualize", "labelled as")
    assert all(f"<td>{html.escape(n)}</td>" in page for n in known) and "<td>nan</td>" not in page
