"The label log: undo and redo as acts, two people, cut lines, full disks, strange files, agreement."

import errno, json, os, subprocess, sys, warnings
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

from cellprotocols.errors import UserError
from cellprotocols.agreement import choose_blind, measure_agreement
from cellprotocols.labellog import LabelError, LabelLog, write_label, apply_log, read_labels, read_last_classes


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    "Forcing files to disk takes most of the time here and matters only for a power cut."
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def said(log):
    return {item: e["label"] for item, e in log.latest().items()}


def test_labels_come_back_as_they_were(tmp_path):
    log = tmp_path / "l" / "labels.jsonl"
    for item, label, by in [("a", "NA", "x"), ("b", "True", "y"), ("c", "é\n", "x"), ("a", "B", "x")]:
        write_label(log, item, label, by, suggestion={"A": 0.5})
    write_label(log, 7, [1, 2, 3, 4], "x", y=np.float32(1.5))
    back = read_labels(log)
    assert list(back.item) == ["a", "b", "c", "a", "7"] and list(back.label) == ["NA", "True", "é\n", "B", [1, 2, 3, 4]]
    assert back.suggestion[0] == {"A": 0.5} and list(back.y) == [None] * 4 + [1.5]
    assert len(log.read_text().splitlines()) == 6


# What a person can do, against a model that keeps whole copies of the state.
moves = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.sets(st.sampled_from("abcd"), min_size=1), st.sampled_from("XYZ")),
        st.just(("undo",)),
        st.just(("redo",)),
        st.just(("reopen",)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(moves)
def test_undo_and_redo_are_those_of_an_editor(moves):
    import tempfile

    with tempfile.TemporaryDirectory() as d:
        log = LabelLog(Path(d) / "log", "x")
        past, future, now = [], [], {}
        for move, *what in moves:
            if move == "give":
                past.append(now)
                future = []
                now = now | dict.fromkeys(what[0], what[1])
                log.give([dict(item=i, label=what[1]) for i in what[0]])
            elif move == "reopen":
                log = LabelLog(Path(d) / "log", "x")
            else:
                source, target = (past, future) if move == "undo" else (future, past)
                if source:
                    target.append(now)
                    now = source.pop()
                    getattr(log, move)()
                else:
                    with pytest.raises(LabelError, match=f"nothing to {move}"):
                        getattr(log, move)()
            assert said(log) == now and log.can == dict(undo=bool(past), redo=bool(future))
        assert said(LabelLog(Path(d) / "log", "y")) == now


def test_a_page_undoes_its_own_act_though_the_same_person_works_in_another(tmp_path):
    here, there = LabelLog(tmp_path / "log", "x"), LabelLog(tmp_path / "log", "x")
    here.give([dict(item="a", label="A")])
    there.give([dict(item="b", label="B")])
    here.undo()
    assert said(here) == {"b": "B"}


def test_an_act_is_written_once_and_in_order(tmp_path):
    log = LabelLog(tmp_path / "log", "x")
    log.give([dict(item="a", label="A")], act="1")
    log.give([dict(item="a", label="A")], act="1")
    with pytest.raises(LabelError, match="earlier decision"):
        log.give([dict(item="a", label="C")], act="3", after="2")
    log.give([dict(item="a", label="B")], act="2", after="1")
    log.undo(act="3", after="2")
    log.undo(act="3", after="2")
    assert said(log) == {"a": "A"} and len((tmp_path / "log").read_text().splitlines()) == 4
    again = LabelLog(tmp_path / "log", "x")
    again.give([dict(item="a", label="D")], act="4", after="3")
    assert said(again) == {"a": "D"}


def test_a_round_is_a_world_of_its_own(tmp_path):
    log, blind = LabelLog(tmp_path / "log", "x"), LabelLog(tmp_path / "log", "x", round="blind")
    log.give([dict(item="a", label="A")])
    blind.give([dict(item="a", label="B")])
    blind.refresh()
    log.refresh()
    assert said(log) == {"a": "A"} and said(blind) == {"a": "B"}
    log.undo()
    blind.refresh()
    assert said(log) == {} and said(blind) == {"a": "B"}
    assert list(read_labels(tmp_path / "log").label) == [] and list(
        read_labels(tmp_path / "log", round=None).label
    ) == ["B"]


@pytest.mark.parametrize("room", [0, 1, 40, 200])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, room):
    log = LabelLog(tmp_path / "log", "x")
    log.give([dict(item="a", label="A")])
    whole, real = (tmp_path / "log").read_bytes(), __import__("io").FileIO.write

    class Full:
        def __init__(self, f):
            self.f, self.left = f, room

        def __getattr__(self, name):
            return getattr(self.f, name)

        def write(self, data):
            if not self.left:
                raise OSError(errno.ENOSPC, "no space")
            n = min(len(data), self.left)
            self.left -= n
            return self.f.write(data[:n])

    import cellprotocols.labellog as L

    real = L._write_all
    monkeypatch.setattr(L, "_write_all", lambda f, data: real(Full(f), data))
    with pytest.raises(UserError, match="disk is full"):
        log.give([dict(item=i, label="B") for i in "abc"], act="n")
    assert (tmp_path / "log").read_bytes() == whole and said(log) == {"a": "A"}
    monkeypatch.setattr(L, "_write_all", real)
    log.give([dict(item=i, label="B") for i in "abc"], act="n")
    assert said(log) == dict.fromkeys("abc", "B")


def test_the_log_of_another_dataset_and_other_files_are_refused_untouched(tmp_path):
    one, two = "1" * 64, "2" * 64
    write_label(tmp_path / "log", "a", "A", "x", dataset=one)
    write_label(tmp_path / "log", "b", "A", "x")
    for f in (
        lambda: write_label(tmp_path / "log", "a", "A", "x", dataset=two),
        lambda: read_labels(tmp_path / "log", two),
        lambda: LabelLog(tmp_path / "log", "x", two),
    ):
        with pytest.raises(LabelError, match="belong to another dataset"):
            f()
    assert len(read_labels(tmp_path / "log", one)) == 2
    for k, text in enumerate(['{"item": 1}\n', "my notes", "a,b\n1,2\n"]):
        other = tmp_path / f"no{k}"
        other.write_text(text)
        with pytest.raises(LabelError, match="not a label log"):
            write_label(other, "a", "A", "x")
        assert other.read_text() == text
    with pytest.raises(LabelError, match="format 99"):
        (tmp_path / "new").write_text('{"label_log": 99}\n')
        read_labels(tmp_path / "new")
    with pytest.raises(LabelError, match="there is no label log"):
        read_labels(tmp_path / "none")


def test_a_log_cut_anywhere_keeps_every_whole_line(tmp_path):
    for k in range(4):
        write_label(tmp_path / "log", f"é{k}", "A", "x")
    whole = (tmp_path / "log").read_bytes()
    header = whole.index(b"\n") + 1
    for cut in (
        *range(0, header + 3, 4),
        *range(header - 2, header + 2),
        *range(len(whole) - 130, len(whole) + 1, 3),
        len(whole) - 1,
    ):
        log = tmp_path / "cut"
        log.write_bytes(whole[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept = [json.loads(l)["item"] for l in whole[:cut].splitlines()[1:] if _is_json(l)]
            if cut >= header - 1:
                assert list(read_labels(log).item) == kept
            write_label(log, "new", "B", "y")
            assert list(read_labels(log).item) == kept + ["new"]
    (tmp_path / "cut").write_bytes(whole[:-5])
    write_label(tmp_path / "cut", "n", "B", "y")
    with pytest.warns(UserWarning, match="line 5 was cut off"):
        read_labels(tmp_path / "cut")


def _is_json(line):
    try:
        json.loads(line)
        return True
    except ValueError:
        return False


def test_many_people_label_at_once(tmp_path):
    code = "import sys; from cellprotocols.labellog import write_label\nfor k in range(15): write_label(sys.argv[1], f'{sys.argv[2]}-{k}', 'x'*3000, sys.argv[2])"
    people = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "log", str(p)], cwd=Path(__file__).parents[1])
        for p in range(3)
    ]
    assert [p.wait() for p in people] == [0, 0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = read_labels(tmp_path / "log")
    assert sorted(back.item) == sorted(f"{p}-{k}" for p in range(3) for k in range(15))
    for p in range(3):
        assert list(back.item[back.by == str(p)]) == [f"{p}-{k}" for k in range(15)]


def test_fleiss_kappa_of_the_textbook_example():
    "Ten subjects, fourteen raters, five categories: 0.210 (Fleiss 1971, as worked in many textbooks)."
    from cellprotocols.metrics import score_fleiss

    votes = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    assert score_fleiss(np.array([np.repeat(range(5), v) for v in votes])) == pytest.approx(0.210, abs=5e-4)


def test_people_are_compared_on_what_both_said(tmp_path):
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    a = rng.choice(list("ABC"), 80)
    b = np.where(rng.random(80) < 0.3, rng.choice(list("ABC"), 80), a)
    LabelLog(tmp_path / "log", "x").give([dict(item=str(i), label=v) for i, v in enumerate(a)])
    LabelLog(tmp_path / "log", "y").give([dict(item=str(i), label=v) for i, v in enumerate(b[:60])])
    got = measure_agreement(read_labels(tmp_path / "log", round=None))
    assert (
        got.pairs.n[0] == 60
        and got.pairs.kappa[0] == pytest.approx(cohen_kappa_score(a[:60], b[:60]))
        and got.pairs.low[0] < got.pairs.kappa[0] < got.pairs.high[0]
    )
    assert set(got.disagreements.item) == {str(i) for i in np.flatnonzero(a[:60] != b[:60])}
    assert measure_agreement(read_labels(tmp_path / "log")[:80]).pairs.empty


def test_the_blind_sample_holds_rare_classes(tmp_path):
    t = pd.DataFrame(dict(item_id=[f"c{i}" for i in range(200)], label=["A"] * 190 + ["B"] * 6 + [""] * 4))
    for seed in range(5):
        drawn = t.set_index("item_id").label[choose_blind(t, 12, seed)]
        assert (drawn == "B").sum() == 6 and len(drawn) == 12 and "" not in set(drawn)


def test_a_table_takes_the_last_word_and_flags(tmp_path):
    log = LabelLog(tmp_path / "log", "x")
    log.give([dict(item="a", label="A"), dict(item="gone", label="A")])
    log.give([dict(item="a", label="B", flagged=True)])
    table = pd.DataFrame(dict(item_id=["a", "b"], label="", by="?", at="?", flagged=False))
    with pytest.warns(UserWarning, match="1 labels .* not in this set"):
        got = apply_log(table, tmp_path / "log")
    assert list(got.label) == ["B", ""] and list(got.flagged) == [True, False] and list(table.label) == ["", ""]


ODD = [
    ("a line that was cut", b'{"item": "c", "lab'),
    ("no object", b"[1, 2]"),
    ("a number", b"7"),
    ("no item", b'{"label": "A", "by": "x"}'),
    ("no label", b'{"item": "c", "by": "x"}'),
    ("an item that is a list", b'{"item": ["c"], "label": "A"}'),
    ("an item that is null", b'{"item": null, "label": "A"}'),
    ("a label that is an object", b'{"item": "c", "label": {"A": 1}}'),
    ("an act that is a list", b'{"item": "c", "label": "A", "act": [1]}'),
    ("by that is an object", b'{"item": "c", "label": "A", "by": {"a": 1}}'),
    ("a place that is text", b'{"item": "c", "label": "A", "t": 0, "y": "7", "x": 1}'),
    ("a place that is no number", b'{"item": "c", "label": "A", "t": 0, "y": NaN, "x": 1}'),
    ("a box that is text", b'{"item": "c", "label": "A", "box": "1 2 3 4"}'),
    ("an undo of a list", b'{"undo": ["a"], "by": "x"}'),
    ("undo and redo", b'{"undo": "a", "redo": "b", "by": "x"}'),
    ("a format of tomorrow", b'{"label_log": 99}'),
    ("a format that is text", b'{"label_log": "1"}'),
    ("no UTF-8", b'{"item": "\xff", "label": "A"}'),
    ("nested", b"[" * 100_000),
]


@pytest.mark.parametrize("odd", [line for _, line in ODD], ids=[name for name, _ in ODD])
def test_an_odd_line_costs_itself_and_not_the_log(tmp_path, odd):
    log = tmp_path / "l.jsonl"
    write_label(log, "a", "A", "x", t=0, y=1.0, x=2.0)
    log.write_bytes(log.read_bytes() + odd + b"\n")
    write_label(log, "b", "B", "x")
    with pytest.warns(UserWarning, match="line 3 .*left out"):
        back = read_labels(log)
    assert back[["item", "label"]].values.tolist() == [["a", "A"], ["b", "B"]]
    opened = LabelLog(log, "x")
    opened.give([dict(item="a", label="B")])
    opened.undo()
    assert opened.word("a")["label"] == "A" and len(opened.wrong) == 1


def test_a_damaged_header_costs_itself(tmp_path):
    log = tmp_path / "l.jsonl"
    write_label(log, "a", "A", "x")
    log.write_bytes(b"\0\0\0" + log.read_bytes()[3:])
    write_label(log, "b", "B", "x")
    with pytest.warns(UserWarning, match="line 1 was cut off or damaged"):
        assert read_labels(log).item.tolist() == ["a", "b"]
    (tmp_path / "notes.txt").write_text("my notes\nmore\n")
    with pytest.raises(LabelError, match="not a label log"):
        write_label(tmp_path / "notes.txt", "a", "A", "x")
    assert (tmp_path / "notes.txt").read_text() == "my notes\nmore\n"


def test_a_folder_and_a_missing_log_are_named(tmp_path):
    for use in (read_labels, LabelLog, lambda log: write_label(log, "a", "A", "x")):
        with pytest.raises(LabelError, match="this is a folder, not a label log; name a file in it"):
            use(tmp_path)
    write_label(tmp_path / "mine.jsonl", "a", "A", "x")
    with pytest.raises(LabelError, match="name the file in it: mine.jsonl"):
        read_labels(tmp_path)
    with pytest.raises(LabelError, match="no label log here"):
        read_labels(tmp_path / "other.jsonl")


keys = [
    "item",
    "label",
    "by",
    "at",
    "act",
    "undo",
    "redo",
    "round",
    "t",
    "y",
    "x",
    "box",
    "flagged",
    "field",
    "label_log",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=2), v, max_size=2),
    max_leaves=4,
)
lines = st.dictionaries(st.sampled_from(keys), values, max_size=6).map(lambda d: json.dumps(d).encode()) | st.binary(
    max_size=30
)


@pytest.mark.slow
@given(st.lists(lines, max_size=8))
@settings(max_examples=2000, deadline=None)
def test_fuzz_two_labels_survive_any_lines_around_them(tmp_path_factory, between):
    log = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    log.unlink(missing_ok=True)
    write_label(log, "first one", "A", "anna")
    log.write_bytes(log.read_bytes() + b"\n".join(between) + b"\n")
    write_label(log, "last one", "B", "anna")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = read_last_classes(log).set_index("item").label
    assert (back["first one"], back["last one"]) == ("A", "B")
