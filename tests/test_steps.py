"What every step does around its recipe: places, practice data, settings, inputs, done before."

import threading
import types
from pathlib import Path

import pandas as pd
import pytest

from cellprotocols.dataset import read_dataset
from cellprotocols.tables import DatasetError
from cellprotocols.protocols import step_folder
from cellprotocols.steps import Step, StepError, choose_out, find_practice, make_practice_step

CELLS = pd.DataFrame(dict(item_id=["a", "b"], group=["m1", "m2"], label="", by="?", at="?"))


def run_first(source=None, out="work/chromatin/21_annotate", size=64, labels="", device="", seed=0):
    step = Step("chromatin.annotate", run_first, locals(), paths=["labels"], free=["device"])
    if made := step.find_done():
        return made
    with step.write("labels") as w:
        w.append("all", CELLS)
        made = w.commit()
    return step.end(made, f"{len(made)} cells")


def make_second():
    "A `run` with a `takes` of its own beside it, as in a step's module."
    room = dict(Step=Step, CELLS=CELLS, takes={"source": "annotate", "more": "annotate"})
    exec(
        'def run(source=None, out="work/chromatin/22_patches", more="", seed=0):\n'
        '    step = Step("chromatin.patches", run, locals())\n'
        '    labels, more = step.read("source", "labels"), step.find("more", "labels")\n'
        "    if made := step.find_done(): return made\n"
        '    with step.write("labels") as w:\n'
        '        w.append("all", labels.items)\n'
        '        return step.end(w.commit(), "more" if more else "no more")\n',
        room,
    )
    return room["run"]


def test_practice_has_its_own_place(tmp_path, capsys):
    out = tmp_path / "work" / "22_patches"
    assert Path(choose_out(out, "mine")) == out
    assert Path(choose_out(out, None)) == tmp_path / "work" / "practice" / "22_patches"
    said = capsys.readouterr().out
    assert str(out) in said and "Practice (synthetic)" in said, "the whole path is said"
    assert find_practice(out, 2) == find_practice(choose_out(out, None), 2) == tmp_path / "work" / "practice" / "seed_2"


def test_what_counts_as_a_setting(tmp_path, capsys):
    made = run_first("movies", tmp_path / "a", device="cpu")
    assert made.meta["settings"] == dict(size=64, labels=False, practice=False)
    capsys.readouterr()
    run_first("movies", tmp_path / "a", device="cuda")
    assert "done before" in capsys.readouterr().out
    for other in (dict(size=32), dict(seed=1)):
        with pytest.raises(DatasetError, match="and is now"):
            run_first("movies", tmp_path / "a", **other)


def test_a_file_counts_by_what_it_holds(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("a,b\n1,2\n")
    run_first("movies", tmp_path / "a", labels=str(table))
    moved = tmp_path / "elsewhere.csv"
    moved.write_text("a,b\n1,2\n")
    run_first("movies", tmp_path / "a", labels=str(moved))
    moved.write_text("a,b\n1,3\n")
    with pytest.raises(DatasetError, match="the input labels"):
        run_first("movies", tmp_path / "a", labels=str(moved))


def test_the_maker_is_asked_for(tmp_path):
    second = make_second()
    labels = run_first("movies", tmp_path / "21_annotate")
    made = second(str(labels.path), tmp_path / "22_patches")
    assert made.meta["inputs"]["source"]["fingerprint"] == labels.fingerprint
    with pytest.raises(DatasetError, match="run 21_annotate first"):
        second(str(made.path), tmp_path / "again")


def test_what_is_not_named_or_not_there(tmp_path, capsys):
    second, labels = make_second(), run_first("movies", tmp_path / "21_annotate")
    with pytest.raises(StepError, match="source is empty.*21_annotate"):
        second("", tmp_path / "x")
    second(str(labels.path), tmp_path / "one", more=str(tmp_path / "nothing"))
    assert "no more" in capsys.readouterr().out
    second(str(labels.path), tmp_path / "two", more=str(labels.path))
    assert "no more" not in capsys.readouterr().out


@pytest.fixture
def practice_step(monkeypatch):
    "An earlier step that counts how often it works."
    import sys

    room = types.ModuleType("cellprotocols.chromatin.annotate")
    room.practice, room.calls = dict(size=16), []

    def run(source, out, size=64, seed=0):
        given = dict(source=source, out=out, size=size, seed=seed)
        step = Step("chromatin.annotate", run_like, given)
        if made := step.find_done():
            return made
        room.calls.append(size)
        with step.write("labels") as w:
            w.append("all", CELLS)
            return w.commit()

    def run_like(source=None, out="", size=64, seed=0): ...

    room.run = run
    monkeypatch.setitem(sys.modules, room.__name__, room)
    return room


def test_practice_inputs_are_made_once_and_by_its_own_options(tmp_path, practice_step):
    second = make_second()
    real = run_first("movies", tmp_path / "work" / "21_annotate")
    made = second(None, tmp_path / "work" / "22_patches")
    assert made.meta["settings"]["practice"] and practice_step.calls == [16]
    home = find_practice(tmp_path / "work" / "22_patches")
    assert read_dataset(home / "21_annotate").meta["settings"]["size"] == 16
    assert made.meta["inputs"]["source"]["fingerprint"] == read_dataset(home / "21_annotate").fingerprint
    assert (home / "21_annotate").resolve() != real.path.resolve(), (
        "a real folder beside `out` is never taken for practice"
    )
    second(None, tmp_path / "work" / "other")
    assert practice_step.calls == [16], "made once"


def test_two_notebooks_that_want_the_same_practice_data_wait_for_each_other(tmp_path, practice_step):
    def ask():
        make_practice_step("chromatin", "annotate", tmp_path / "work" / "22_patches")

    people = [threading.Thread(target=ask) for _ in range(4)]
    for p in people:
        p.start()
    for p in people:
        p.join()
    assert practice_step.calls == [16]
    assert (find_practice(tmp_path / "work" / "x") / step_folder("chromatin", "annotate") / "dataset.json").exists()
