"What all annotators share, without a browser: messages, twins, undo, two pages on one log, what can go wrong."

import errno
import re

import numpy as np
import pytest
from annotators import give, listen, make_grid

import cellprotocols.labellog as L
from cellprotocols.annotate import AnnotateError, read_static
from cellprotocols.fields import ImageAnnotator
from cellprotocols.grid import PatchGrid
from cellprotocols.labellog import LabelLog, read_labels

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_the_page_hears_what_stands_before_it_hears_that_it_is_saved(tmp_path):
    grid = make_grid(tmp_path)
    sent = listen(grid)
    grid._receive(dict(do="give", ask="p-1", act="a", entries=[dict(item="i3", label="B", ms=120)]))
    (told, _), (answer, _) = sent
    assert (
        told["tell"] == "labels"
        and told["labels"]["i3"]["label"] == "B"
        and told["counts"] == dict(A=0, B=1, C=0)
        and told["can"]["undo"]
    )
    assert answer == {"re": "p-1"} and list(read_labels(grid.labellog.path).label) == ["B"]


def test_several_patches_are_one_act_and_come_back_with_one_undo(tmp_path):
    grid = make_grid(tmp_path)
    grid.label(["i1", "i2", "i3"], "A")
    grid.label("i2", "C", flagged=True)
    grid.undo()
    assert grid.counts()["A"] == 3 and not grid.table.flagged.any()
    grid.undo()
    assert sum(grid.counts().values()) == 0
    grid.redo()
    grid.redo()
    assert grid.counts() == dict(A=2, B=0, C=1) and grid.table.flagged[2]
    grid.label("i2", "")
    assert grid.counts()["C"] == 0
    for _ in range(3):
        grid.undo()
    with pytest.raises(AnnotateError, match="nothing to undo"):
        grid.undo()


@pytest.mark.parametrize(
    "message",
    [
        dict(do="nonsense"),
        dict(do="give"),
        dict(do="give", entries=5),
        dict(do="give", entries=[5]),
        dict(do="give", entries=[{}]),
        *[
            dict(do="give", entries=[dict(item=i, label=l)])
            for i, l in [
                ("", "A"),
                (None, "A"),
                (7, "A"),
                ("i99", "A"),
                ("i1", "D"),
                ("i1", None),
                ("i1", ["A"]),
                ("i1", {"A": 1}),
            ]
        ],
        dict(do="order", by="beauty", show="all"),
        dict(do="order", by="given", show="nice"),
        dict(do="order", by="alike", show="all", like=0),
    ],
    ids=str,
)
def test_a_senseless_message_is_answered_in_a_sentence_and_not_tried_again(tmp_path, message):
    grid = make_grid(tmp_path)
    answer, _ = grid.answer(message)
    assert answer["drop"] and len(answer["error"]) > 10 and not grid.labellog.path.exists()


def test_a_full_disk_keeps_the_order_and_loses_nothing(tmp_path, monkeypatch):
    grid = make_grid(tmp_path)
    real = L._write_all

    def full(f, data):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(L, "_write_all", full)
    acts = [("give", "i1", "A"), ("give", "i1", "B"), ("undo", "", ""), ("give", "i2", "C"), ("redo", "", "")]
    send = lambda: [
        grid.answer(dict(do=do, act=f"a{k}", after=f"a{k - 1}" if k else "", entries=[dict(item=i, label=l)]))[0]
        for k, (do, i, l) in enumerate(acts)
    ]
    told = send()
    assert "disk is full" in told[0]["error"] and not any("drop" in t for t in told), told
    monkeypatch.setattr(L, "_write_all", real)
    told = send()
    assert [bool(t.get("error")) for t in told] == [False, False, False, False, True] and told[4][
        "drop"
    ]  # after a new label there is nothing to redo, as in any editor
    assert (
        send()[:4] == [{}] * 4
        and grid.counts() == dict(A=1, B=0, C=1)
        and len(grid.labellog.path.read_text().splitlines()) == 5
    )


def test_a_folder_that_cannot_be_written_is_said_and_the_label_may_come_again(tmp_path):
    (tmp_path / "file").write_text("in the way")
    grid = make_grid(tmp_path / "file")
    told = give(grid, "i1", "A", act="1")
    assert "in the way" in told["error"] and "drop" not in told
    (tmp_path / "file").unlink()
    assert give(grid, "i1", "A", act="1") == {} and grid.counts()["A"] == 1


def test_logs_that_are_strange_are_told_on_the_page_and_stay_as_they_are(tmp_path):
    grid = make_grid(tmp_path, dataset="1" * 64)
    grid.label("i1", "A")
    log = grid.labellog.path
    whole = log.read_bytes()
    other = make_grid(tmp_path, dataset="2" * 64)
    assert "another dataset" in other.answer(dict(do="hello"))[0]["problems"][0]
    told = give(other, "i2", "A")
    assert "another dataset" in told["error"] and "drop" not in told and log.read_bytes() == whole
    with pytest.raises(AnnotateError, match="another dataset"):
        other.label("i2", "A")
    LabelLog(log, "y").give([dict(item="gone <b>", label="A"), dict(item="i3", label="no class of ours")])
    log.write_bytes(log.read_bytes()[:-9])
    again = make_grid(tmp_path, dataset="1" * 64)
    sent = listen(again)
    assert any("'gone <b>'" in p and "stay in the log" in p for p in again.problems)
    again._receive(dict(do="give", ask="1", entries=[dict(item="i4", label="B")]))
    assert (
        any("was cut off" in p for m, _ in sent if m.get("tell") == "problem" for p in m["problems"])
        and again.counts()["B"] == 1
    )
    log.write_text("my shopping list\n")
    notes = make_grid(tmp_path)
    assert (
        "not a label log" in notes.problems[0]
        and "not a label log" in give(notes, "i1", "A")["error"]
        and log.read_text() == "my shopping list\n"
    )


def test_a_class_of_an_older_list_stays_in_the_log_and_is_shown(tmp_path):
    make_grid(tmp_path, classes="ABCD").label("i1", "D")
    grid = make_grid(tmp_path)
    assert grid.answer(dict(do="hello"))[0]["labels"]["i1"]["label"] == "D" and grid.counts() == dict(A=0, B=0, C=0)
    assert list(read_labels(grid.labellog.path).label) == ["D"]


def test_what_cannot_be_made_says_why(tmp_path, movie):
    image = np.zeros((9, 9), np.uint8)
    for make, seen in [
        (lambda: make_grid(tmp_path, classes=[]), "at least one class"),
        (lambda: make_grid(tmp_path, classes=["A", "A "]), "every name once"),
        (lambda: make_grid(tmp_path, labels=["D"] * 30), "'D'"),
        (lambda: make_grid(tmp_path, prob=np.zeros((3, 2))), "(3, 2)"),
        (lambda: PatchGrid([image], ["a", "b"], ["A"], tmp_path / "l"), "1 images and 2 items"),
        (lambda: ImageAnnotator([], ["A"], tmp_path / "l"), "no fields"),
        (lambda: ImageAnnotator([image, image], ["A"], tmp_path / "l"), "same name"),
        (lambda: ImageAnnotator([image], ["A"], tmp_path / "l", names=[]), "0 names"),
    ]:
        with pytest.raises(AnnotateError, match=re.escape(seen)):
            make()


def test_two_pages_on_one_log_see_each_other(tmp_path):
    one, two = make_grid(tmp_path), make_grid(tmp_path)
    sent = listen(two)
    one.label("i1", "A")
    two.label("i2", "B")
    one.label("i3", "C")
    assert {i for m, _ in sent if m.get("tell") == "labels" for i in m["labels"]} == {"i1", "i2"}
    two._receive(dict(do="sync", ask="1"))
    assert sent[-2][0]["labels"]["i3"]["label"] == "C"
    one.answer(dict(do="sync"))
    assert one.counts() == two.counts() == dict(A=1, B=1, C=1)
    one.undo()
    assert one.counts() == dict(A=1, B=1, C=0)  # its own last act, not the other page's
    n = len(sent)
    two._receive(dict(do="sync", ask="2"))
    assert sent[n][0]["labels"] == {"i3": None}
    n = len(sent)
    two._receive(dict(do="sync", ask="3"))
    assert len(sent) == n + 1


def test_the_page_makes_no_markup_of_text_and_loads_nothing():
    for name in ("base.js", "annotate.js", "annotate.css"):
        text = read_static(name)
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://|@import|import\(|"
            r"fetch\(\s*[`'\"]",
            text,
        ), name
