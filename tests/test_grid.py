"The grid of patches: which rows in which order, learning while labels come in, a blind round."

import json
import os

import numpy as np
import pandas as pd
import pytest
from annotators import listen, make_grid
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols.annotate import CLASS_KEYS
from cellprotocols.grid import SORTS, PatchGrid, choose_rows, sort_rows
from cellprotocols.labellog import read_labels


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def test_an_image_that_cannot_be_read_is_told_in_its_place(tmp_path):
    class Some:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            if i == 1:
                raise OSError("the end of the file is missing")
            return {2: np.zeros((4, 4, 3, 2)), 3: np.array(["a"]), 4: np.zeros((0, 3))}.get(
                i, np.full((6, 5), 7, np.uint16)
            )

    grid = PatchGrid(Some(), list("abcde"), ["A"], tmp_path / "log", by="x")
    (answer, (data,)) = grid.answer(dict(do="patches", rows=[0, 1, 2, 3, 4]))
    assert (
        answer["heads"][0] == [6, 5, 1]
        and "end of the file is missing" in answer["heads"][1]
        and all("is no image" in h for h in answer["heads"][2:])
        and np.frombuffer(data, np.uint16).tolist() == [7] * 30
    )
    grid.label("b", "A")
    assert grid.counts() == dict(A=1)


def test_a_blind_round_shows_nothing_and_changes_nothing(tmp_path):
    known = make_grid(tmp_path, labels=["A"] * 15 + [""] * 15, embeddings=np.eye(30))
    known.label("i1", "B")
    blind = make_grid(
        tmp_path, labels=["A"] * 15 + [""] * 15, embeddings=np.eye(30), prob=np.full((30, 3), 1 / 3), round="blind"
    )
    sent = listen(blind)
    hello, _ = blind.answer(dict(do="hello"))
    assert (
        set(hello["known"]) == {-1}
        and hello["labels"] == {}
        and hello["predicted"] == []
        and not blind.get_state()["setup"]["learns"]
    )
    for k in range(15):
        blind._receive(dict(do="give", ask=str(k), entries=[dict(item=f"i{k}", label="C")]))
    assert not any(m.get("tell") == "learned" for m, _ in sent)
    known.answer(dict(do="sync"))
    assert known.counts() == dict(A=14, B=1, C=0) and blind.counts()["C"] == 15
    assert "suggestion" not in [
        k for e in map(json.loads, known.labellog.path.read_text().splitlines()) if e.get("round") for k in e
    ]


tables = st.integers(1, 30).flatmap(
    lambda n: st.builds(
        lambda l, p, s, f: pd.DataFrame(dict(label=l, predicted=p, sure=s, flagged=f, group=p)),
        *[
            st.lists(e, min_size=n, max_size=n)
            for e in (st.sampled_from(["", "A", "B"]), st.sampled_from(["A", "B"]), st.floats(0, 1), st.booleans())
        ],
    )
)


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from([s for s in SORTS if s != "alike"]))
def test_every_order_shows_every_row_once(t, by):
    suggested = np.flatnonzero((t.label == "").to_numpy())[::-1]
    rows = sort_rows(t, by, suggested=suggested, classes=["B", "A"])
    assert sorted(rows) == list(range(len(t)))
    if by == "unsure":
        assert t.sure.iloc[rows].is_monotonic_increasing
    if by == "sure":
        assert t.sure.iloc[rows].is_monotonic_decreasing
    if by == "next":
        assert rows[: len(suggested)].tolist() == suggested.tolist()
    if by == "label":
        assert t.label.iloc[rows].map(dict(zip(["B", "A", ""], range(3)))).is_monotonic_increasing
    parts = [choose_rows(t, s) for s in ("unlabelled", "class:A", "class:B")]
    assert (
        (np.sum(parts, 0) == 1).all()
        and (choose_rows(t, "labelled") == ~parts[0]).all()
        and (choose_rows(t, "flagged") == t.flagged).all()
    )
    assert (choose_rows(t, "doubtful") <= choose_rows(t, "labelled")).all() and not (
        choose_rows(t, "doubtful") & (t.label == t.predicted)
    ).any()


def test_what_is_alike_comes_first(tmp_path):
    x = np.arange(30.0)[:, None] * [1, 2]
    grid = make_grid(tmp_path, embeddings=x)
    assert grid.order("alike", like=10)[:3].tolist() in ([10, 9, 11], [10, 11, 9]) and grid.order(
        "alike", "unlabelled", like=0
    ).tolist() == list(range(30))


def test_the_grid_learns_after_a_batch_and_only_then(tmp_path):
    rng = np.random.default_rng(1)
    truth = np.arange(60) % 2
    x = rng.normal(size=(60, 4)) + 4 * truth[:, None]
    grid = PatchGrid(
        np.zeros((60, 4, 4), np.uint8),
        [f"i{k}" for k in range(60)],
        ["A", "B"],
        tmp_path / "log",
        embeddings=x,
        groups=[f"g{k // 6}" for k in range(60)],
        batch=10,
        by="x",
    )
    sent = listen(grid)
    for k in range(25):
        grid._receive(dict(do="give", ask=str(k), entries=[dict(item=f"i{k}", label="AB"[truth[k]])]))
    said = [m.get("tell") or m["re"] for m, _ in sent]
    assert [said.index("learned"), said.count("learned")] == [20, 2] and said[
        19
    ] == "9"  # the tenth label's answer does not wait for the fit
    assert (grid.table.predicted[25:] == np.array(["A", "B"])[truth[25:]]).mean() > 0.9
    order = grid.order("next")
    assert (grid.table.label.iloc[order[:35]] == "").all() and sorted(order) == list(range(60))
    right = grid.review("A", wrong=["i30"])
    assert (
        "i30" not in right
        and grid.table.label[30] == ""
        and set(grid.table.label[[int(i[1:]) for i in right]]) == {"A"}
    )
    log = read_labels(grid.labellog.path)
    assert log.reviewed.iloc[-1] == True and log.suggestion.iloc[-1] == "A" and pd.isna(log.suggestion.iloc[0])
    assert log.act[log.reviewed == True].nunique() == 1


def test_thirteen_classes_have_thirteen_keys(tmp_path):
    names = [f"class {k}" for k in range(13)]
    setup = make_grid(tmp_path, classes=names).get_state()["setup"]
    assert (
        len(set(setup["keys"])) == 13
        and len(set(setup["colours"])) == 13
        and set("ufrnmxz.,?").isdisjoint(CLASS_KEYS)
        and len(set(CLASS_KEYS)) == len(CLASS_KEYS)
    )
