"The annotators without a browser: messages, twins, checks, orders, learning, frames, and everything that can go wrong."
import errno, json, os, re, resource
from pathlib import Path

import numpy as np, pandas as pd, pytest, tifffile
from hypothesis import given, settings, strategies as st

import cellprotocols.annotate as A, cellprotocols.labellog as L
from cellprotocols.annotate import CLASS_KEYS, AnnotateError, read_static
from cellprotocols.drawing import BoxAnnotator, MaskAnnotator, make_brush_mask
from cellprotocols.fields import ImageAnnotator
from cellprotocols.grid import SORTS, PatchGrid, choose_rows, sort_rows
from cellprotocols.points import PointAnnotator, snap_point
from cellprotocols.labellog import LabelLog, read_labels
from cellprotocols.synth import make_movie


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch): monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(scope="module")
def movie(): return make_movie(n_frames=4, size=(120, 140), seed=3)


def listen(widget):
    "What the widget sends from now on: a list of (message, buffers)."
    sent = []
    widget.send = lambda msg, buffers=None: sent.append((json.loads(json.dumps(msg, allow_nan=False)), buffers))
    return sent


def make_grid(tmp_path, n=30, classes="ABC", **more):
    rng = np.random.default_rng(0)
    return PatchGrid(rng.integers(0, 255, (n, 16, 16), np.uint8), [f"i{k}" for k in range(n)], list(classes), tmp_path/"log.jsonl", by="x", **more)


def give(widget, item, label, act="", after="", **more): return widget.answer(dict(do="give", entries=[dict(item=item, label=label, **more)], act=act, after=after))[0]


# ---------- messages

def test_the_page_hears_what_stands_before_it_hears_that_it_is_saved(tmp_path):
    grid = make_grid(tmp_path); sent = listen(grid)
    grid._receive(dict(do="give", ask="p-1", act="a", entries=[dict(item="i3", label="B", ms=120)]))
    (told, _), (answer, _) = sent
    assert told["tell"] == "labels" and told["labels"]["i3"]["label"] == "B" and told["counts"] == dict(A=0, B=1, C=0) and told["can"]["undo"]
    assert answer == {"re": "p-1"} and list(read_labels(grid.labellog.path).label) == ["B"]


def test_several_patches_are_one_act_and_come_back_with_one_undo(tmp_path):
    grid = make_grid(tmp_path)
    grid.label(["i1", "i2", "i3"], "A"); grid.label("i2", "C", flagged=True)
    grid.undo(); assert grid.counts()["A"] == 3 and not grid.table.flagged.any()
    grid.undo(); assert sum(grid.counts().values()) == 0
    grid.redo(); grid.redo(); assert grid.counts() == dict(A=2, B=0, C=1) and grid.table.flagged[2]
    grid.label("i2", ""); assert grid.counts()["C"] == 0
    for _ in range(3): grid.undo()
    with pytest.raises(AnnotateError, match="nothing to undo"): grid.undo()


@pytest.mark.parametrize("message", [dict(do="nonsense"), dict(do="give"), dict(do="give", entries=5), dict(do="give", entries=[5]), dict(do="give", entries=[{}]),
    *[dict(do="give", entries=[dict(item=i, label=l)]) for i, l in [("", "A"), (None, "A"), (7, "A"), ("i99", "A"), ("i1", "D"), ("i1", None), ("i1", ["A"]), ("i1", {"A": 1})]],
    dict(do="order", by="beauty", show="all"), dict(do="order", by="given", show="nice"), dict(do="order", by="alike", show="all", like=0)], ids=str)
def test_a_senseless_message_is_answered_in_a_sentence_and_not_tried_again(tmp_path, message):
    grid = make_grid(tmp_path)
    answer, _ = grid.answer(message)
    assert answer["drop"] and len(answer["error"]) > 10 and not grid.labellog.path.exists()


HERE = dict(field="practice", t=0, z=0)
@pytest.mark.parametrize("kind, entry", [(k, e) for k, good in dict(point=dict(HERE, y=5, x=5), box=dict(HERE, box=[1, 1, 9, 9]), stroke=dict(HERE, stroke=dict(points=[[1, 1]], radius=2))).items()
    for e in [dict(good, **bad) for bad in (dict(field=None), dict(field="other"), dict(t=-1), dict(t=99), dict(t="0"), dict(z=1), dict(t=None), dict(t=float("nan")))]
    + dict(point=[dict(good, y=None), dict(good, x="5"), dict(good, y=float("inf"))], box=[dict(good, box=b) for b in (None, [1, 2, 3], [1, 1, None, 5], [5, 5, 5, 9], [9, 9, 1, 1], [500, 500, 600, 600], "abcd")],
           stroke=[dict(good, stroke=s) for s in (None, {}, 5, dict(points=[]), dict(points=[[1]]), dict(points=[[1, None]]), dict(points=5), dict(points=[[1, 1]], radius=0), dict(points=[[1, 1]], radius="x"), dict(points=[[1, 1]], radius=1e9))])[k]], ids=str)
def test_a_shape_that_makes_no_sense_never_reaches_the_log(tmp_path, movie, kind, entry):
    w = dict(point=PointAnnotator, box=BoxAnnotator, stroke=MaskAnnotator)[kind](movie, ["A", "B"], tmp_path/"log", names=["practice"], by="x")
    answer, _ = w.answer(dict(do="give", entries=[dict(item="s1", label="A", **entry)]))
    assert answer["drop"] and not (tmp_path/"log").exists()


def test_shapes_are_kept_inside_the_field(tmp_path, movie):
    points, boxes, masks = (k(movie, ["A"], tmp_path/k.__name__, names=["practice"], by="x") for k in (PointAnnotator, BoxAnnotator, MaskAnnotator))
    points.click(-5, 1000, "A", snap=False); boxes.draw((-5, -5, 1000, 20), "A"); masks.paint([(-1e9, 3), (1e9, 3)], "A", radius=2)
    assert points.to_clicks()[["y", "x"]].values.tolist() == [[0, 139]] and boxes.to_boxes()[["y0", "x0", "y1", "x1"]].values.tolist() == [[0, 0, 120, 20]]
    assert (masks.to_mask()[:, 2:5] == 1).all() and masks.to_mask()[:, 8:].max() == 0


# ---------- what can go wrong

def test_a_full_disk_keeps_the_order_and_loses_nothing(tmp_path, monkeypatch):
    grid = make_grid(tmp_path); real = L._write_all
    def full(f, data): raise OSError(errno.ENOSPC, "no space")
    monkeypatch.setattr(L, "_write_all", full)
    acts = [("give", "i1", "A"), ("give", "i1", "B"), ("undo", "", ""), ("give", "i2", "C"), ("redo", "", "")]
    send = lambda: [grid.answer(dict(do=do, act=f"a{k}", after=f"a{k - 1}" if k else "", entries=[dict(item=i, label=l)]))[0] for k, (do, i, l) in enumerate(acts)]
    told = send()
    assert "disk is full" in told[0]["error"] and not any("drop" in t for t in told), told
    monkeypatch.setattr(L, "_write_all", real)
    told = send()
    assert [bool(t.get("error")) for t in told] == [False, False, False, False, True] and told[4]["drop"]       # after a new label there is nothing to redo, as in any editor
    assert send()[:4] == [{}]*4 and grid.counts() == dict(A=1, B=0, C=1) and len(grid.labellog.path.read_text().splitlines()) == 5


def test_a_folder_that_cannot_be_written_is_said_and_the_label_may_come_again(tmp_path):
    (tmp_path/"file").write_text("in the way")
    grid = make_grid(tmp_path/"file")
    told = give(grid, "i1", "A", act="1")
    assert "in the way" in told["error"] and "drop" not in told
    (tmp_path/"file").unlink()
    assert give(grid, "i1", "A", act="1") == {} and grid.counts()["A"] == 1


def test_logs_that_are_strange_are_told_on_the_page_and_stay_as_they_are(tmp_path):
    grid = make_grid(tmp_path, dataset="1"*64); grid.label("i1", "A"); log = grid.labellog.path; whole = log.read_bytes()
    other = make_grid(tmp_path, dataset="2"*64)
    assert "another dataset" in other.answer(dict(do="hello"))[0]["problems"][0]
    told = give(other, "i2", "A")
    assert "another dataset" in told["error"] and "drop" not in told and log.read_bytes() == whole
    with pytest.raises(AnnotateError, match="another dataset"): other.label("i2", "A")
    LabelLog(log, "y").give([dict(item="gone <b>", label="A"), dict(item="i3", label="no class of ours")]); log.write_bytes(log.read_bytes()[:-9])
    again = make_grid(tmp_path, dataset="1"*64); sent = listen(again)
    assert any("'gone <b>'" in p and "stay in the log" in p for p in again.problems)
    again._receive(dict(do="give", ask="1", entries=[dict(item="i4", label="B")]))
    assert any("was cut off" in p for m, _ in sent if m.get("tell") == "problem" for p in m["problems"]) and again.counts()["B"] == 1
    log.write_text("my shopping list\n")
    notes = make_grid(tmp_path)
    assert "not a label log" in notes.problems[0] and "not a label log" in give(notes, "i1", "A")["error"] and log.read_text() == "my shopping list\n"


def test_a_class_of_an_older_list_stays_in_the_log_and_is_shown(tmp_path):
    make_grid(tmp_path, classes="ABCD").label("i1", "D")
    grid = make_grid(tmp_path)
    assert grid.answer(dict(do="hello"))[0]["labels"]["i1"]["label"] == "D" and grid.counts() == dict(A=0, B=0, C=0)
    assert list(read_labels(grid.labellog.path).label) == ["D"]


def test_an_image_that_cannot_be_read_is_told_in_its_place(tmp_path):
    class Some:
        def __len__(self): return 5
        def __getitem__(self, i):
            if i == 1: raise OSError("the end of the file is missing")
            return {2: np.zeros((4, 4, 3, 2)), 3: np.array(["a"]), 4: np.zeros((0, 3))}.get(i, np.full((6, 5), 7, np.uint16))
    grid = PatchGrid(Some(), list("abcde"), ["A"], tmp_path/"log", by="x")
    (answer, (data,)) = grid.answer(dict(do="patches", rows=[0, 1, 2, 3, 4]))
    assert answer["heads"][0] == [6, 5, 1] and "end of the file is missing" in answer["heads"][1] and all("is no image" in h for h in answer["heads"][2:]) and np.frombuffer(data, np.uint16).tolist() == [7]*30
    grid.label("b", "A"); assert grid.counts() == dict(A=1)


def test_a_broken_file_among_good_ones(tmp_path):
    for k in range(3): tifffile.imwrite(tmp_path/f"{k}.tif", np.full((20, 30), k, np.uint16))
    (tmp_path/"1.tif").write_bytes((tmp_path/"1.tif").read_bytes()[:150])
    w = ImageAnnotator([tmp_path/f"{k}.tif" for k in range(3)], ["A"], tmp_path/"log", by="x")
    told = [w.answer(dict(do="field", f=f))[0] for f in range(3)]
    assert ["error" in t for t in told] == [False, True, False] and "1.tif" in told[1]["error"]
    w.label("1.tif", "A"); assert w.counts() == dict(A=1)


@pytest.mark.parametrize("name", ['<img src=x onerror=alert(1)>.tif', 'a "b" \'c\'.tif', "zelle 🦠 ünï.tif", "x"*240 + ".tif", b"bytes \xff\xfe.tif"], ids=lambda n: ascii(n)[:20])
def test_hostile_file_names(tmp_path, name):
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(name))))
    tifffile.imwrite(path, np.zeros((20, 30), np.uint8))
    w = PointAnnotator([path], ["<b>A</b>", "𝔸🦠"], tmp_path/"log", by="x", snap=False)
    field = w.get_state()["setup"]["fields"][0]
    field.encode()                                              # what the page gets is text, and comes back the same
    w.click(3, 4, "𝔸🦠", field=json.loads(json.dumps(field)))
    assert w.to_clicks().file[0] == str(path) and PointAnnotator([path], ["<b>A</b>", "𝔸🦠"], tmp_path/"log", by="x").counts() == {"<b>A</b>": 0, "𝔸🦠": 1}


def test_thousands_of_files_do_not_stay_open(tmp_path):
    n = 60
    for k in range(n): tifffile.imwrite(tmp_path/f"{k}.tif", np.full((20, 30), k, np.uint8))
    w = PointAnnotator([tmp_path/f"{k}.tif" for k in range(n)], ["A"], tmp_path/"log", by="x", snap=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 15, hard))
    try:
        for k in range(n):
            assert w.answer(dict(do="frame", f=k))[1][0][0] == k
            w.click(1, 1, "A", field=f"{k}.tif")
    finally: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(w.to_clicks()) == n and sum(f._movie is not None for f in w.fields) <= 4


def test_a_click_is_kept_though_the_search_for_nuclei_fails(tmp_path, movie, capsys):
    def find(img): raise RuntimeError("no nuclei today")
    w = PointAnnotator(movie, ["A"], tmp_path/"log", names=["m"], find=find, by="x")
    w.click(10, 12, "A")
    assert w.to_clicks()[["y", "x"]].values.tolist() == [[10, 12]] and "no nuclei today" in capsys.readouterr().err
    assert "no nuclei today" in w.answer(dict(do="suggest", f=0, t=0))[0]["error"]


def test_what_cannot_be_made_says_why(tmp_path, movie):
    image = np.zeros((9, 9), np.uint8)
    for make, seen in [(lambda: make_grid(tmp_path, classes=[]), "at least one class"), (lambda: make_grid(tmp_path, classes=["A", "A "]), "every name once"), (lambda: make_grid(tmp_path, labels=["D"]*30), "'D'"),
                       (lambda: make_grid(tmp_path, prob=np.zeros((3, 2))), "(3, 2)"), (lambda: PatchGrid([image], ["a", "b"], ["A"], tmp_path/"l"), "1 images and 2 items"),
                       (lambda: ImageAnnotator([], ["A"], tmp_path/"l"), "no fields"), (lambda: ImageAnnotator([image, image], ["A"], tmp_path/"l"), "same name"), (lambda: ImageAnnotator([image], ["A"], tmp_path/"l", names=[]), "0 names")]:
        with pytest.raises(AnnotateError, match=re.escape(seen)): make()


# ---------- two pages

def test_two_pages_on_one_log_see_each_other(tmp_path):
    one, two = make_grid(tmp_path), make_grid(tmp_path); sent = listen(two)
    one.label("i1", "A"); two.label("i2", "B"); one.label("i3", "C")
    assert {i for m, _ in sent if m.get("tell") == "labels" for i in m["labels"]} == {"i1", "i2"}
    two._receive(dict(do="sync", ask="1")); assert sent[-2][0]["labels"]["i3"]["label"] == "C"
    one.answer(dict(do="sync")); assert one.counts() == two.counts() == dict(A=1, B=1, C=1)
    one.undo(); assert one.counts() == dict(A=1, B=1, C=0)                     # its own last act, not the other page's
    n = len(sent); two._receive(dict(do="sync", ask="2")); assert sent[n][0]["labels"] == {"i3": None}
    n = len(sent); two._receive(dict(do="sync", ask="3")); assert len(sent) == n + 1


def test_a_blind_round_shows_nothing_and_changes_nothing(tmp_path):
    known = make_grid(tmp_path, labels=["A"]*15 + [""]*15, embeddings=np.eye(30)); known.label("i1", "B")
    blind = make_grid(tmp_path, labels=["A"]*15 + [""]*15, embeddings=np.eye(30), prob=np.full((30, 3), 1/3), round="blind"); sent = listen(blind)
    hello, _ = blind.answer(dict(do="hello"))
    assert set(hello["known"]) == {-1} and hello["labels"] == {} and hello["predicted"] == [] and not blind.get_state()["setup"]["learns"]
    for k in range(15): blind._receive(dict(do="give", ask=str(k), entries=[dict(item=f"i{k}", label="C")]))
    assert not any(m.get("tell") == "learned" for m, _ in sent)
    known.answer(dict(do="sync")); assert known.counts() == dict(A=14, B=1, C=0) and blind.counts()["C"] == 15
    assert "suggestion" not in [k for e in map(json.loads, known.labellog.path.read_text().splitlines()) if e.get("round") for k in e]


# ---------- orders and learning

tables = st.integers(1, 30).flatmap(lambda n: st.builds(lambda l, p, s, f: pd.DataFrame(dict(label=l, predicted=p, sure=s, flagged=f, group=p)),
    *[st.lists(e, min_size=n, max_size=n) for e in (st.sampled_from(["", "A", "B"]), st.sampled_from(["A", "B"]), st.floats(0, 1), st.booleans())]))


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from([s for s in SORTS if s != "alike"]))
def test_every_order_shows_every_row_once(t, by):
    suggested = np.flatnonzero((t.label == "").to_numpy())[::-1]
    rows = sort_rows(t, by, suggested=suggested, classes=["B", "A"])
    assert sorted(rows) == list(range(len(t)))
    if by == "unsure": assert t.sure.iloc[rows].is_monotonic_increasing
    if by == "sure": assert t.sure.iloc[rows].is_monotonic_decreasing
    if by == "next": assert rows[:len(suggested)].tolist() == suggested.tolist()
    if by == "label": assert t.label.iloc[rows].map(dict(zip(["B", "A", ""], range(3)))).is_monotonic_increasing
    parts = [choose_rows(t, s) for s in ("unlabelled", "class:A", "class:B")]
    assert (np.sum(parts, 0) == 1).all() and (choose_rows(t, "labelled") == ~parts[0]).all() and (choose_rows(t, "flagged") == t.flagged).all()
    assert (choose_rows(t, "doubtful") <= choose_rows(t, "labelled")).all() and not (choose_rows(t, "doubtful") & (t.label == t.predicted)).any()


def test_what_is_alike_comes_first(tmp_path):
    x = np.arange(30.)[:, None]*[1, 2]
    grid = make_grid(tmp_path, embeddings=x)
    assert grid.order("alike", like=10)[:3].tolist() in ([10, 9, 11], [10, 11, 9]) and grid.order("alike", "unlabelled", like=0).tolist() == list(range(30))


def test_the_grid_learns_after_a_batch_and_only_then(tmp_path):
    rng = np.random.default_rng(1); truth = np.arange(60) % 2
    x = rng.normal(size=(60, 4)) + 4*truth[:, None]
    grid = PatchGrid(np.zeros((60, 4, 4), np.uint8), [f"i{k}" for k in range(60)], ["A", "B"], tmp_path/"log", embeddings=x, groups=[f"g{k//6}" for k in range(60)], batch=10, by="x"); sent = listen(grid)
    for k in range(25): grid._receive(dict(do="give", ask=str(k), entries=[dict(item=f"i{k}", label="AB"[truth[k]])]))
    said = [m.get("tell") or m["re"] for m, _ in sent]
    assert [said.index("learned"), said.count("learned")] == [20, 2] and said[19] == "9"                # the tenth label's answer does not wait for the fit
    assert (grid.table.predicted[25:] == np.array(["A", "B"])[truth[25:]]).mean() > .9
    order = grid.order("next"); assert (grid.table.label.iloc[order[:35]] == "").all() and sorted(order) == list(range(60))
    right = grid.review("A", wrong=["i30"]); assert "i30" not in right and grid.table.label[30] == "" and set(grid.table.label[[int(i[1:]) for i in right]]) == {"A"}
    log = read_labels(grid.labellog.path); assert log.reviewed.iloc[-1] == True and log.suggestion.iloc[-1] == "A" and pd.isna(log.suggestion.iloc[0])
    assert log.act[log.reviewed == True].nunique() == 1


def test_thirteen_classes_have_thirteen_keys(tmp_path):
    names = [f"class {k}" for k in range(13)]
    setup = make_grid(tmp_path, classes=names).get_state()["setup"]
    assert len(set(setup["keys"])) == 13 and len(set(setup["colours"])) == 13 and set("ufrnmxz.,?").isdisjoint(CLASS_KEYS) and len(set(CLASS_KEYS)) == len(CLASS_KEYS)


# ---------- frames, points, boxes, masks

def test_sixteen_bits_arrive_as_they_are(tmp_path):
    image = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    w = PointAnnotator(image, ["A"], tmp_path/"log", names=["a"], by="x")
    info = w.answer(dict(do="field", f=0))[0]["info"]; (answer, (data,)) = w.answer(dict(do="frame", f=0))
    assert info["dtype"] == "uint16" and answer["head"] == [256, 256, 1] and np.frombuffer(data, np.uint16).tolist() == list(range(65536))
    answer, (data,) = w.answer(dict(do="frame", f=0, box=[10, 20, 13, 25], step=1)); assert np.array_equal(np.frombuffer(data, np.uint16).reshape(answer["head"])[..., 0], image[10:13, 20:25])
    answer, (data,) = w.answer(dict(do="frame", f=0, step=3)); assert answer["head"] == [86, 86, 1]
    assert "shows something" in w.answer(dict(do="frame", f=0, box=[300, 300, 310, 310]))[0]["error"]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("c", [1, 2, 3, 5])
def test_any_kind_of_number_can_be_looked_at(tmp_path, dtype, c):
    w = ImageAnnotator([(np.random.default_rng(0).random((50, 61, c))*90).astype(dtype)], ["A"], tmp_path/"log", names=["a"], by="x")
    info = w.answer(dict(do="field", f=0))[0]["info"]; answer, (data,) = w.answer(dict(do="frame", f=0, step=4))
    assert answer["head"] == [13, 16, c] and len(data) == 13*16*c*np.dtype(info["dtype"]).itemsize and len(info["channels"]) == len(info["levels"]) == c


def test_points_snap_move_and_leave_the_suggestions(tmp_path, movie):
    w = PointAnnotator(movie, ["A", "B"], tmp_path/"log", names=["m"], by="x", guess=lambda p: np.tile([.3, .7], (len(p), 1)))
    cells = w.cells(0, 0); y, x = cells.iloc[0][["y", "x"]]
    item = w.click(y + 3, x - 2, "A"); assert w.to_clicks()[["y", "x"]].iloc[0].tolist() == pytest.approx([y, x], abs=.01)
    left = w.suggest(); assert len(left) == len(cells) - 1 and set(left.label) == {"B"} and left.p.eq(.7).all()
    w.click(1.25, 2.5, "B", snap=False, item=item); assert w.to_clicks()[["y", "x", "label"]].values.tolist() == [[1.25, 2.5, "B"]] and len(w.suggest()) == len(cells)
    w.undo(); assert w.to_clicks().label.tolist() == ["A"] and snap_point((0, 0), cells.head(0)) == (0., 0.)
    assert list(w.to_clicks()) == ["file", "t", "z", "y", "x", "label", "by", "at", "flagged", "movie"]


def test_given_boxes_are_written_once(tmp_path, movie):
    start = pd.DataFrame(dict(field=["m", "m"], label=["A", "B"], y0=[1, 2], x0=[1, 2], y1=[9, 8], x1=[9, 8]))
    for _ in range(2): w = BoxAnnotator(movie, ["A", "B"], tmp_path/"log", boxes=start, names=["m"], by="x")
    assert len(w.to_boxes()) == 2 and len(read_labels(tmp_path/"log")) == 2
    w.draw((5, 5, 20, 20), "A", t=2); w.draw((5, 5, 20, 21), "B", t=2, item="b_given_000000")
    assert w.to_boxes().t.tolist() == [2, 0, 2] and BoxAnnotator(movie, ["A", "B"], tmp_path/"none", names=["m"]).to_boxes().empty


def test_masks_are_what_was_painted(tmp_path, movie):
    w = MaskAnnotator(movie, ["A", "B"], tmp_path/"log", names=["m"], by="x")
    assert w.to_mask().shape == (120, 140) and w.to_mask().max() == 0
    w.paint([(50, 60)], "A", radius=20); yy, xx = np.mgrid[:120, :140]; d = np.hypot(yy - 50, xx - 60); m = w.to_mask()
    assert m[d < 19].all() and not m[d > 21].any()
    w.paint([(10, 10), (10, 100), (90, 100), (90, 10)], "B", fill=True); assert (w.to_mask()[12:89, 12:99] == 2).all()
    w.paint([(50, 0), (50, 130)], "B", radius=4, erase=True); assert not w.to_mask()[48:53, 2:128].any()
    w.undo(); w.undo(); assert np.array_equal(w.to_mask(), m)
    w.paint([(5, 5)], "B", t=1, radius=3); assert np.array_equal(w.to_mask(), m) and (w.to_mask(t=1) == 2).any() and w.to_mask().dtype == np.int32


def test_the_stroke_that_is_done_again_lies_on_top(tmp_path, movie):
    anna, ben = (MaskAnnotator(movie, ["A", "B"], tmp_path/"log", names=["m"], by=who) for who in ("anna", "ben"))
    anna.paint([(50, 60)], "A", radius=10); ben.paint([(50, 60)], "B", radius=10); assert ben.to_mask()[50, 60] == 2
    anna.undo(); anna.redo(); ben.act("sync")
    assert anna.to_mask()[50, 60] == ben.to_mask()[50, 60] == 1 == MaskAnnotator(movie, ["A", "B"], tmp_path/"log", names=["m"]).to_mask()[50, 60]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40)), min_size=1, max_size=4), st.floats(.5, 12), st.booleans(), st.integers(1, 3)), max_size=5))
def test_a_rubber_over_everything_leaves_nothing(strokes):
    drawn, values = [dict(points=p, radius=r, fill=f) for p, r, f, _ in strokes], [v for *_, v in strokes]
    m = make_brush_mask(drawn, values, (40, 40))
    assert set(np.unique(m)) <= {0, *values} and not make_brush_mask([*drawn, dict(points=[(20, 20)], radius=100, erase=True)], [*values, 1], (40, 40)).any()


# ---------- the page's own code

def test_the_page_makes_no_markup_of_text_and_loads_nothing():
    for name in ("base.js", "annotate.js", "annotate.css"):
        text = read_static(name)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://|@import|import\(|fetch\(\s*[`'\"]", text), name
