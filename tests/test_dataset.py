"Datasets: round trips, going on after a crash at any moment, full and read-only disks, locks, tampering."
import errno, json, os, random, shutil, signal, subprocess, sys, tempfile, textwrap, time, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, pandas as pd, pytest, zarr
from hypothesis import HealthCheck, given, settings, strategies as st

from cellprotocols import dataset as D
from cellprotocols.dataset import (KINDS, DatasetError, DatasetWriter, check_dataset, check_items, fingerprint,
    is_done, read_dataset, write_dataset)
from cellprotocols.errors import UserError

relaxed = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    "Forcing files to disk takes most of the time here and matters only for a power cut."
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def rows(n, start=0, group="g", **more):
    return pd.DataFrame(dict(item_id=[f"i{start + k:05d}" for k in range(n)], group=group, field_id="f", y=np.arange(start, start + n) * 0.1,
                             x=0.5, size=8, **more))


def tree(folder):
    "Every file of a folder and its bytes."
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(Path(folder).rglob("*")) if f.is_file()}


def leftovers(folder): return sorted(p.name for p in Path(folder).iterdir() if p.name.startswith("."))


# ---- round trips ----------------------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["NA", "", "nan", "001", "1e5", "True", "null", "None", "a,b", "a\nb", "a\r\nb", "\r", '"', "🔬", " x ", "-", "#N/A", "inf", "﻿"])
column = st.one_of(
    st.lists(text, min_size=5, max_size=5),
    st.lists(st.floats(width=64), min_size=5, max_size=5).map(lambda v: np.array(v, "float64")),
    st.lists(st.floats(width=32), min_size=5, max_size=5).map(lambda v: np.array(v, "float32")),
    st.lists(st.integers(-2**63, 2**63 - 1), min_size=5, max_size=5).map(lambda v: np.array(v, "int64")),
    st.lists(st.booleans(), min_size=5, max_size=5).map(lambda v: np.array(v, bool)))
names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=8).filter(
    lambda s: s.isprintable() and s not in D._TEXT)


@relaxed
@given(st.dictionaries(names, column, max_size=5), st.lists(text.filter(bool), min_size=5, max_size=5, unique=True))
def test_any_table_comes_back_as_it_was(columns, ids):
    items = pd.DataFrame({"item_id": ids, "group": "g", "field_id": "f", **columns})
    with tempfile.TemporaryDirectory() as tmp:
        back = write_dataset(Path(tmp)/"d", "masks", items, "test").items
    assert list(back.columns) == list(items.columns)
    for name in items.columns:
        a, b = items[name].to_numpy(), back[name].to_numpy()
        if a.dtype.kind in "fib":
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a.view(f"u{a.itemsize}")[~np.isnan(a)] if a.dtype.kind == "f" else a,
                                          b.view(f"u{b.itemsize}")[~np.isnan(b)] if a.dtype.kind == "f" else b)
            if a.dtype.kind == "f": np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        else: assert list(a) == list(b) and all(isinstance(v, str) for v in b)


@relaxed
@given(st.sampled_from(["u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8", "?", "c8", ">u2", ">f4"]),
       st.lists(st.integers(1, 6), max_size=3), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_any_array_comes_back_as_it_was(dtype, shape, n, seed):
    a = np.frombuffer(np.random.default_rng(seed).bytes(n*int(np.prod(shape, dtype=int))*np.dtype(dtype).itemsize), "u1")
    a = (a.view(bool) & False | (a > 127)) if dtype == "?" else a.view(dtype)
    a = a.reshape(n, *shape)
    with tempfile.TemporaryDirectory() as tmp:
        ds = write_dataset(Path(tmp)/"d", "patches", rows(n), "test", arrays=dict(a=a))
        back = check_dataset(ds.path)["a"]
        assert back.shape == a.shape and back.dtype == a.dtype.newbyteorder("=")
        assert back[:].tobytes() == a.astype(a.dtype.newbyteorder("=")).tobytes()


def test_larger_than_one_chunk_and_readable_by_zarr_alone(tmp_path):
    a = np.random.default_rng(0).integers(0, 99, (1000, 64, 64), dtype=np.uint8)
    ds = write_dataset(tmp_path/"d", "patches", rows(1000), "test", arrays=dict(a=a))
    np.testing.assert_array_equal(zarr.open_array(tmp_path/"d"/"a.zarr", mode="r")[:], a)
    assert 2**19 <= np.prod(ds["a"].chunks) <= 4*2**20 and ds["a"].chunks[1:] == (64, 64)


def test_columns_of_any_make(tmp_path):
    items = rows(3).assign(
        cat=pd.Categorical(["a", "b", "a"]), gap=pd.array([1, None, 3], "Int64"), when=pd.to_datetime(["2020-01-02", None, "2021-01-01"]),
        path=[Path("a/b.tif"), Path("c"), Path("d")], half=np.array([0.1, 1, 2], "float16"), nothing=[None]*3, some=["a", None, "c"],
        well=pd.array(["A01", "A02", "A03"], "string"), whole=pd.Series([1, 2, 3], dtype=object), u8=np.array([1, 255, 3], "u1"))
    items.index = [7, 7, 7]
    b = write_dataset(tmp_path/"d", "patches", items, "test").items
    assert list(b.cat) == ["a", "b", "a"] and list(b.path) == ["a/b.tif", "c", "d"] and list(b.some) == ["a", "", "c"]
    assert b.gap.dtype == float and np.isnan(b.gap[1]) and list(b.when) == ["2020-01-02T00:00:00", "", "2021-01-01T00:00:00"]
    assert list(b.nothing) == ["", "", ""] and list(b.well) == ["A01", "A02", "A03"]
    assert list(b.half.astype("float16")) == list(items.half) and list(b.whole) == [1, 2, 3] and list(b.u8) == [1, 255, 3]


def test_ids_groups_and_labels_are_text_whatever_they_look_like(tmp_path):
    items = pd.DataFrame(dict(item_id=[1, 2], group=[7., np.nan], label=[True, False], by="x", at="y"))
    with pytest.raises(DatasetError, match="column group of item '2'"): write_dataset(tmp_path/"d", "labels", items, "test")
    b = write_dataset(tmp_path/"e", "labels", items.assign(group=[7., 8.]), "test").items
    assert list(b.item_id) == ["1", "2"] and list(b.group) == ["7", "8"] and list(b.label) == ["True", "False"]
    bags = write_dataset(tmp_path/"g", "bags", table("bags", members=[["a", "é"], ("b",)]), "test").items
    assert [json.loads(m) for m in bags.members] == [["a", "é"], ["b"]]
    with pytest.raises(DatasetError, match="1.5"): write_dataset(tmp_path/"f", "labels", items.assign(group=1.5), "test")


@pytest.mark.parametrize("bad, says", [
    (dict(odd=["a", 1, None]), "column odd mixes"), (dict(odd=[[1], [2, 3], {}]), "column odd mixes"), (dict(label=[[1, 2], "a", "b"]), r"column label holds \[1, 2\]"), (dict(odd=[2**63, 1, 2]), "beyond 64 bits"),
    (dict(odd=["a\0", "b", "c"]), "NUL"), (dict(odd=["\ud800", "b", "c"]), "not Unicode"), ({"": [1, 2, 3]}, "called ''"), ({"a\n": [1, 2, 3]}, "called 'a"), ({3: [1, 2, 3]}, "called 3")])
def test_what_a_table_cannot_hold(tmp_path, bad, says):
    with pytest.raises(DatasetError, match=says): write_dataset(tmp_path/"d", "patches", rows(3).assign(**{}).join(pd.DataFrame(bad)), "test")
    assert not (tmp_path/"d").exists()


# ---- the checker ----------------------------------------------------------------------------------------------------

good = {
    "fields": dict(file=["a.tif", "b.tif"], px_um=[0.3, np.nan]),
    "patches": dict(field_id="f", y=[1.5, 2], x=[0, 0], size=64),
    "labels": dict(label="A", by="anna", at="2026-01-01"),
    "boxes": dict(field_id="f", y0=[0, 0], x0=[0, 0], y1=[1, 1], x1=[2, 2], score=[0.1, 0.9]),
    "embeddings": {},
    "bags": dict(label="A", members='["a", "b"]'),
    "masks": dict(field_id="f"),
    "predictions": dict(label=["A", "B"], prob_A=[0.9, 0.1], prob_B=[0.1, 0.9], split="test"),
}
def table(kind, **change): return pd.DataFrame({"item_id": ["a", "b"], "group": "g", **good[kind], **change})
def arrays_of(kind): return {"embeddings": np.ones((2, 3), "f4")} if kind == "embeddings" else {}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_written_and_read(tmp_path, kind):
    ds = write_dataset(tmp_path/"d", kind, table(kind), "test", arrays=arrays_of(kind))
    assert read_dataset(tmp_path/"d", kind).fingerprint == ds.fingerprint and len(ds) == ds.n == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_required_column_is_required(tmp_path, kind):
    for need in ("item_id", "group", *KINDS[kind]):
        short = table(kind)[[c for c in table(kind) if not D.fnmatch(c, need)]]
        with pytest.raises(DatasetError, match="is missing"): check_items(kind, short, arrays_of(kind))


@pytest.mark.parametrize("kind, change, says", [
    ("fields", dict(file=["a", ""]), r"column file of item 'b' \(row 1\)"), ("fields", dict(px_um=[0.3, 0]), "column px_um of item 'b'"),
    ("fields", dict(px_um="0.3"), "a number"), ("patches", dict(y=[np.nan, 1]), "column y of item 'a'"), ("patches", dict(x=[1, np.inf]), "column x of item 'b'"),
    ("patches", dict(size=0), "column size"), ("labels", dict(by=""), "column by"),
    ("boxes", dict(y1=[1, 0]), "column y1 of item 'b' .*y1 greater than y0"), ("boxes", dict(x1=[0, 1]), "column x1 of item 'a'"),
    ("boxes", dict(score=[np.nan, 1]), "column score"), ("bags", dict(members=['["a"]', "a,b"]), "column members of item 'b'"), ("bags", dict(members="[]"), "members"),
    ("predictions", dict(prob_A=[np.nan, .1]), "column prob_A of item 'a'"), ("predictions", dict(prob_A=[.9, .5]), r"item 'b' \(row 1\) sum to 1.4000"),
    ("predictions", dict(prob_A=[1.4, .1], prob_B=[-.4, .9]), "column prob_A of item 'a'"), ("masks", dict(group=["g", ""]), "column group of item 'b'"),
    ("masks", dict(group=["g", np.nan]), "column group of item 'b'"), ("masks", dict(item_id=["a", "a"]), r"column item_id of item 'a' \(row 1\)")])
def test_the_checker_names_column_item_and_value(tmp_path, kind, change, says):
    with pytest.raises(DatasetError, match=says): write_dataset(tmp_path/"d", kind, table(kind, **change), "test", arrays=arrays_of(kind))
    assert not (tmp_path/"d").exists()


def test_several_classes_may_be_true_at_once_when_said_so(tmp_path):
    both = table("predictions", prob_A=[.9, .9], prob_B=[.9, .2])
    with pytest.raises(DatasetError, match="multilabel"): write_dataset(tmp_path/"d", "predictions", both, "test")
    write_dataset(tmp_path/"e", "predictions", both, "test", settings=dict(multilabel=True))
    assert read_dataset(tmp_path/"e").n == 2


@pytest.mark.parametrize("arrays, says", [
    (dict(a=np.zeros((3, 2))), "2 rows"), ({"../a": np.zeros(2)}, "called '../a'"), ({"a/b": np.zeros(2)}, "called 'a/b'"), ({"": np.zeros(2)}, "called ''"),
    (dict(a=np.array(["x", "y"])), "dtype"), (dict(a=np.array([{}, 1], object)), "dtype"), (dict(a=np.zeros((2, 0))), "something in them"), (dict(a=np.float64(3)), "shape")])
def test_arrays_that_are_refused(tmp_path, arrays, says):
    with pytest.raises(DatasetError, match=says): write_dataset(tmp_path/"d", "masks", table("masks"), "test", arrays=arrays)
    assert not (tmp_path/"d").exists() and sorted(tmp_path.iterdir()) == sorted(tmp_path.glob(".d.partial"))


def test_an_unknown_kind_is_refused(tmp_path):
    for kind in ("cats", "../fields", ""):
        with pytest.raises(DatasetError, match="there is no kind"): write_dataset(tmp_path/"d", kind, table("masks"), "test")


def test_an_empty_result_is_a_result(tmp_path):
    empty = table("boxes").iloc[:0]
    with DatasetWriter(tmp_path/"d", "boxes", "test") as w:
        w.append("f0", empty, crops=np.zeros((0, 9), "f4")); w.append("f1", empty, crops=np.zeros((0, 4, 4), "f4"))
        w.close()
    with DatasetWriter(tmp_path/"d", "boxes", "test") as w:
        assert w.done == {"f0", "f1"}
        ds = w.commit()
    assert len(read_dataset(tmp_path/"d", "boxes")) == 0 and list(ds.items.columns) == list(empty.columns) and ds["crops"].shape == (0, 4, 4)


def test_nothing_at_all_is_not(tmp_path):
    with pytest.raises(DatasetError, match="no rows"), DatasetWriter(tmp_path/"d", "boxes", "test") as w:
        w.append("f0", pd.DataFrame()); w.commit()


def test_parts_without_rows_bind_nobody(tmp_path):
    with DatasetWriter(tmp_path/"d", "patches", "test") as w:
        w.append("a", pd.DataFrame(), a=np.zeros((0,)))
        w.append("b", rows(0), a=np.zeros((0, 3)))
        w.append("c", rows(2), a=np.ones((2, 4), "u1"))
        w.append("d", rows(0)); w.append("e", pd.DataFrame()); w.append("f", rows(2, 2), a=np.ones((2, 4), "u1"))
        ds = w.commit()
    assert ds["a"].shape == (4, 4) and ds.n == 4


def test_parts_must_agree(tmp_path):
    a = np.zeros((2, 3), "u1")
    with DatasetWriter(tmp_path/"d", "patches", "test") as w:
        w.append(0, rows(2), a=a)
        for part, arrays, says in [(rows(2, 2), dict(a=a.astype("u2")), "uint16"), (rows(2, 2), dict(a=a[:, :2]), "shape"), (rows(2, 2), {}, "not in every part"),
                (rows(2, 2), dict(a=a, b=a), "array b"), (rows(2, 1), dict(a=a), "'i00001' is there already"), (rows(2, 2, extra=1), dict(a=a), "column extra"),
                (rows(2, 2).assign(y="far"), dict(a=a), "column y"), (rows(2, 2).assign(field_id=1.5), dict(a=a), "column field_id"), ([1], dict(a=a), "DataFrame")]:
            with pytest.raises(DatasetError, match=says): w.append(1, part, **arrays)
        with pytest.raises(DatasetError, match="part 0 is there already"): w.append(0, rows(2, 2), a=a)
        w.append(1, rows(2, 2)[["x", "item_id", "group", "field_id", "size", "y"]], a=a) # order does not matter; the failures left no trace
        ds = w.commit()
    pd.testing.assert_frame_equal(ds.items, rows(4), check_dtype=False)


def test_numbers_widen_from_part_to_part(tmp_path):
    with DatasetWriter(tmp_path/"d", "patches", "test") as w:
        w.append(0, rows(1).assign(v=1, t=None)); w.append(1, rows(1, 1).assign(v=0.5, t="x")); w.append(2, rows(1, 2).assign(v=np.nan, t="y"))
        with pytest.raises(DatasetError, match="column v holds str here and float64"): w.append(3, rows(1, 3).assign(v="a", t="z"))
        ds = w.commit()
    assert list(ds.items.v[:2]) == [1, 0.5] and np.isnan(ds.items.v[2]) and list(ds.items.t) == ["", "x", "y"]


# ---- settings, inputs, is_done --------------------------------------------------------------------------------------

def test_settings_of_any_make_are_the_same_settings(tmp_path):
    write_dataset(tmp_path/"d", "masks", table("masks"), "test", settings=dict(a=np.int64(3), b=(1, 2), c={"y", "x"}, p=tmp_path/"model", r=Path("rel/x"), n=float("nan"), f=np.array([.5])))
    assert is_done(tmp_path/"d", "test", dict(f=[.5], n="nan", r="rel/x", p="../model", c=["x", "y"], b=[1, 2], a=3))
    assert str(tmp_path) not in (tmp_path/"d"/"dataset.json").read_text()
    with pytest.raises(DatasetError, match="setting net.0 is a|setting net is a"): is_done(tmp_path/"d", "test", dict(net=[object()]))


@pytest.mark.parametrize("change, says", [(dict(made_by="other"), 'made_by was "test" and is now "other"'), (dict(seed=1), "seed was 0 and is now 1"),
    (dict(settings=dict(size=3, deep=dict(k=2))), "deep.k was 1 and is now 2"), (dict(settings=dict(size=3)), "deep.k was 1 and is now not there"),
    (dict(settings=dict(size=3, deep=dict(k=1), new="é")), 'new was not there and is now "é"'), (dict(inputs={}), "the input movie was")])
def test_a_finished_folder_is_never_touched(tmp_path, change, says):
    (tmp_path/"movie.tif").write_bytes(b"pixels")
    asked = dict(made_by="test", settings=dict(size=3, deep=dict(k=1)), inputs=dict(movie=tmp_path/"movie.tif"), seed=0)
    write_dataset(tmp_path/"d", "masks", table("masks"), **asked)
    before = tree(tmp_path/"d")
    assert is_done(tmp_path/"d", **asked) and not is_done(tmp_path/"e", **asked)
    with pytest.raises(DatasetError, match=says): is_done(tmp_path/"d", **{**asked, **change})
    for ask in (asked, {**asked, **change}):
        with pytest.raises(DatasetError, match="finished"): DatasetWriter(tmp_path/"d", "masks", **ask)
    assert tree(tmp_path/"d") == before and leftovers(tmp_path) == []


def test_a_changed_input_is_noticed_and_a_moved_one_is_not(tmp_path):
    for where in ("a", "b"):
        (tmp_path/where).mkdir(); (tmp_path/where/"1.tif").write_bytes(b"1"); (tmp_path/where/".DS_Store").write_text(where)
    write_dataset(tmp_path/"d", "masks", table("masks"), "test", inputs=dict(images=tmp_path/"a"))
    assert is_done(tmp_path/"d", "test", inputs=dict(images=str(tmp_path/"b")))
    (tmp_path/"b"/"1.tif").write_bytes(b"2")
    with pytest.raises(DatasetError, match="the input images was"): is_done(tmp_path/"d", "test", inputs=dict(images=tmp_path/"b"))
    with pytest.raises(DatasetError, match="there is no file or folder"): is_done(tmp_path/"d", "test", inputs=dict(images=tmp_path/"none"))


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path/"mine").mkdir(); (tmp_path/"mine"/"thesis.txt").write_text("x")
    for f in (lambda: is_done(tmp_path/"mine", "test"), lambda: write_dataset(tmp_path/"mine", "masks", table("masks"), "test")):
        with pytest.raises(DatasetError, match="is not a dataset"): f()
    assert tree(tmp_path/"mine") == {"thesis.txt": b"x"}
    (tmp_path/"empty").mkdir()
    assert not is_done(tmp_path/"empty", "test") and write_dataset(tmp_path/"empty", "masks", table("masks"), "test").n == 2


def test_fingerprints(tmp_path):
    a = write_dataset(tmp_path/"a", "masks", table("masks"), "test", arrays=dict(m=np.zeros((2, 4), bool)))
    b = write_dataset(tmp_path/"b", "masks", table("masks"), "other", dict(x=1), arrays=dict(m=np.zeros((2, 4), bool)))
    c = write_dataset(tmp_path/"c", "masks", table("masks"), "test", arrays=dict(m=np.ones((2, 4), bool)))
    d = write_dataset(tmp_path/"e", "masks", table("masks", field_id="g"), "test", arrays=dict(m=np.zeros((2, 4), bool)))
    assert a.fingerprint == b.fingerprint == fingerprint(tmp_path/"a") == fingerprint(a) and len({a.fingerprint, c.fingerprint, d.fingerprint}) == 3
    big = tmp_path/"big.bin"; big.write_bytes(bytes(5_000_000)); was = fingerprint(big)
    with open(big, "r+b") as f: f.seek(4_999_999); f.write(b"x")
    assert fingerprint(big) != was != fingerprint([big])


# ---- reading --------------------------------------------------------------------------------------------------------

def test_reading_the_wrong_folder_says_what_to_run(tmp_path, monkeypatch):
    write_dataset(tmp_path/"51_fields", "fields", table("fields"), "artifacts.annotate")
    monkeypatch.chdir(tmp_path)
    def says(*args):
        with pytest.raises(DatasetError) as e: read_dataset(*args)
        return str(e.value)
    assert says("51_fields", "patches", "52_patches") == "51_fields holds fields (made by artifacts.annotate); this step reads patches: run 52_patches first"
    assert says("52_patches", "patches", "52_patches") == "there is no folder 52_patches; this step reads patches: run 52_patches first"
    with pytest.raises(RuntimeError), DatasetWriter("52_patches", "patches", "test") as w: w.append(0, rows(2)); raise RuntimeError
    assert "52_patches is not finished" in says("52_patches", "patches", "52_patches")
    os.mkdir("x"); Path("x/y").write_text("")
    assert "not a dataset" in says("x", "patches") and "is a file" in says("x/y", "patches")


def test_tampering_is_noticed(tmp_path):
    ds = write_dataset(tmp_path/"d", "patches", rows(5), "test", dict(s=1), arrays=dict(a=np.arange(5)))
    def spoil(name, how):
        shutil.rmtree(tmp_path/"e", ignore_errors=True); shutil.copytree(tmp_path/"d", tmp_path/"e"); how(tmp_path/"e"/name)
        with pytest.raises(DatasetError) as e: check_dataset(tmp_path/"e")
        return str(e.value)
    def edit(a, b): return lambda p: p.write_text(p.read_text().replace(a, b, 1))
    assert "items.csv that was changed" in spoil("items.csv", edit("0.5", "0.6"))
    assert "items.csv that was changed" in spoil("items.csv", lambda p: p.write_text(p.read_text() + "\n"))
    assert "lost its items.csv" in spoil("items.csv", Path.unlink)
    assert "cannot be read" in spoil("dataset.json", lambda p: p.write_text(p.read_text()[:50]))
    assert "parts missing" in spoil("dataset.json", lambda p: p.write_text("[]"))
    assert "dataset.json that was changed" in spoil("dataset.json", edit('"n": 5', '"n": 4'))
    assert "newer cellprotocols" in spoil("dataset.json", edit('"contract": 1', '"contract": 2'))
    assert "array a that was changed" in spoil("a.zarr/c.0", Path.unlink)
    assert "array a that was changed" in spoil("a.zarr/c.0", lambda p: p.write_bytes(p.read_bytes()[:-1]))
    assert "array a that was changed" in spoil("a.zarr/zarr.json", edit("5", "4"))
    assert "lost the array a" in spoil("a.zarr/zarr.json", Path.unlink)
    assert "lost the array a" in spoil("a.zarr", shutil.rmtree)
    other = write_dataset(tmp_path/"o", "patches", rows(5), "test", dict(s=1), arrays=dict(a=np.arange(5)[::-1]))
    if (tmp_path/"o"/"a.zarr"/"c.0").stat().st_size == (tmp_path/"d"/"a.zarr"/"c.0").stat().st_size: # what only the thorough look sees
        assert "changed values" in spoil("a.zarr/c.0", lambda p: shutil.copy(tmp_path/"o"/"a.zarr"/"c.0", p))
    assert check_dataset(tmp_path/"d").fingerprint == ds.fingerprint


def test_a_dataset_shows_itself(tmp_path):
    ds = write_dataset(tmp_path/"22_patches", "patches", rows(9, note="<b>"), "chromatin.patches", arrays=dict(a=np.zeros((9, 4))))
    assert repr(ds).startswith("22_patches: 9 patches in 1 group, made by chromatin.patches [") and "a: (9, 4) float64" in repr(ds)
    assert "&lt;b&gt;" in ds._repr_html_() and "4 more" in ds._repr_html_()
    with pytest.raises(DatasetError, match="no array 'b'.*it has a"): ds["b"]


# ---- crashes --------------------------------------------------------------------------------------------------------

def part(k, seed=0):
    rng = np.random.default_rng([seed, k])
    n = int(rng.integers(0, 6))
    items = pd.DataFrame(dict(item_id=[f"{k}-{j}" for j in range(n)], group=f"g{k % 3}", field_id=str(k), y=rng.normal(size=n), x=rng.normal(size=n).astype("f4"), size=8))
    if k % 4 == 1: items["size"] = items["size"] + 0.5
    return items, rng.integers(0, 2**16, (n, 300, 300), dtype=np.uint16), rng.normal(size=(n, 16)).astype("f4")


class Stop(Exception): pass


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 99), st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14), st.sampled_from(["with", "kill"])), max_size=3))
def test_resumed_equals_uninterrupted(seed, stops):
    def work(path, flushed=None, stop=None, how="with"):
        w = DatasetWriter(path, "patches", "test", seed=seed)
        try:
            for k in range(15):
                if k == flushed and k not in w.done: w.flush()
                if k == stop:
                    if how == "with": w.__exit__(Stop, Stop(), None)
                    else: w._csv.close(); w._lock.file.close() # what a kill does: nothing is tidied up
                    return
                if k not in w.done:
                    items, patches, features = part(k, seed)
                    w.append(k, items, patches=patches, features=features)
            return w.commit()
        finally: w._lock.close()
    with tempfile.TemporaryDirectory() as tmp:
        work(Path(tmp)/"a")
        for flushed, stop, how in stops: work(Path(tmp)/"b", flushed, stop, how)
        work(Path(tmp)/"b")
        a, b = tree(Path(tmp)/"a"), tree(Path(tmp)/"b")
        assert a == b and leftovers(tmp) == []


def write_parts(path, n=12, small=False):
    DatasetWriter.flush_seconds = 0.02
    with DatasetWriter(path, "patches", "test") as w:
        for k in range(n):
            if k not in w.done:
                items, patches, features = part(k)
                w.append(k, items, patches=patches[:, :8, :8] if small else patches, features=features)
        w.commit()


def forked(work, kill_after=None, die_at=None):
    "Run `work` in a child; kill it after so many seconds, or let it die before its n-th change on disk."
    if pid := os.fork():
        if kill_after is not None: time.sleep(kill_after); os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    count = iter(range(10**9))
    def hook(event, args):
        if event in ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir") or event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR):
            if next(count) == die_at: os._exit(9)
    if die_at is not None: sys.addaudithook(hook)
    try: work()
    except BaseException as e: print("child:", repr(e), flush=True); os._exit(1)
    os._exit(0)


def kill_often(tmp):
    "At random times, several times each."
    t = time.monotonic(); assert forked(lambda: write_parts(tmp/"whole", 60)) == 0; took = time.monotonic() - t
    rng, killed = random.Random(0), 0
    for trial in range(8):
        path = tmp/f"cut{trial}"
        for _ in range(12):
            code = forked(lambda: write_parts(path, 60), kill_after=rng.uniform(0, took*0.7))
            assert code in (0, -9); killed += code == -9
            if path.exists(): break
        if not path.exists(): assert forked(lambda: write_parts(path, 60)) == 0
        assert is_done(path, "test") and tree(path) == tree(tmp/"whole"), trial
    assert killed >= 8 and leftovers(tmp) == []


def die_everywhere(tmp):
    "Before every single change on disk, once while writing and once again while going on."
    assert forked(lambda: write_parts(tmp/"whole", 6, True)) == 0
    for n in range(10**6):
        path = tmp/f"cut{n}"
        code = forked(lambda: write_parts(path, 6, True), die_at=n)
        if code == 0: break
        assert code == 9
        if not path.exists(): assert forked(lambda: write_parts(path, 6, True), die_at=n//2) in (0, 9)
        if not path.exists(): assert forked(lambda: write_parts(path, 6, True)) == 0
        assert is_done(path, "test") and tree(path) == tree(tmp/"whole"), n
    assert n > 30 and leftovers(tmp) == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", [kill_often, die_everywhere])
def test_kill_at_any_moment(tmp_path, how):
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import test_dataset as t; from pathlib import Path; t.{how.__name__}(Path(sys.argv[2]))"
    out = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)], capture_output=True, text=True) # a fresh process: zarr's threads and fork do not mix
    assert out.returncode == 0, out.stdout + out.stderr


def test_an_exception_keeps_the_parts_before_it(tmp_path):
    with pytest.raises(Stop), DatasetWriter(tmp_path/"d", "patches", "test") as w:
        w.append(("f", 1), rows(2)); w.append(np.int64(2), rows(2, 2)); raise Stop
    assert not (tmp_path/"d").exists()
    with DatasetWriter(tmp_path/"d", "patches", "test") as w:
        assert w.done == {("f", 1), 2} and w.n == 4
        (w.folder/"figures").mkdir(); (w.folder/"figures"/"a.png").write_bytes(b"png")
        w.commit()
    assert (tmp_path/"d"/"figures"/"a.png").exists() and leftovers(tmp_path) == []


def test_leaving_without_commit_is_said(tmp_path):
    with pytest.warns(UserWarning, match="was not committed"), DatasetWriter(tmp_path/"d", "patches", "test") as w: w.append(0, rows(2))
    with pytest.raises(DatasetError, match="is closed"): w.append(1, rows(2, 2))
    with pytest.raises(DatasetError, match="is closed"): w.commit()


def test_a_partial_of_other_settings_is_moved_aside(tmp_path):
    for size in (1, 2, 3):
        with warnings.catch_warnings(record=True) as told, pytest.raises(Stop), DatasetWriter(tmp_path/"d", "patches", "test", dict(size=size)) as w:
            warnings.simplefilter("always")
            assert w.done == set()
            w.append(0, rows(2)); raise Stop
        assert (f"size was {size - 1} and is now {size}" in str(told[0].message)) if size > 1 else not told
    assert leftovers(tmp_path) == [".d.partial", ".d.partial.1", ".d.partial.2"]


@pytest.mark.parametrize("spoil", [
    lambda p: (p/"data"/"items.csv").write_text("item_id"), lambda p: (p/"data"/"items.csv").unlink(), lambda p: next(p.glob("rest.*")).unlink(),
    lambda p: (p/"data"/"a.zarr"/"c.0.0.0").unlink(), lambda p: shutil.rmtree(p/"data"), lambda p: (p/"plan.json").write_text("{"), lambda p: (p/"plan.json").unlink(),
    lambda p: (p/"log.jsonl").write_text("garbage\n" + (p/"log.jsonl").read_text())])
def test_a_damaged_partial_is_moved_aside_not_believed(tmp_path, spoil):
    a = np.random.default_rng(0).normal(size=(30, 100, 100))
    with pytest.raises(Stop), DatasetWriter(tmp_path/"d", "patches", "test") as w: w.append(0, rows(30), a=a); raise Stop
    spoil(tmp_path/".d.partial")
    with pytest.warns(UserWarning, match="moved aside to .d.partial.1"), DatasetWriter(tmp_path/"d", "patches", "test") as w:
        assert w.done == set()
        w.append(0, rows(30), a=a)
        np.testing.assert_array_equal(w.commit()["a"][:], a)


def test_a_cut_log_line_is_forgotten(tmp_path):
    with pytest.raises(Stop), DatasetWriter(tmp_path/"d", "patches", "test") as w:
        w.append(0, rows(2)); w.flush(); w.append(1, rows(2, 2)); raise Stop
    log = tmp_path/".d.partial"/"log.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    with DatasetWriter(tmp_path/"d", "patches", "test") as w:
        assert w.done == {0} and w.n == 2
        w.append(1, rows(2, 2)); w.commit()
    pd.testing.assert_frame_equal(read_dataset(tmp_path/"d").items, rows(4), check_dtype=False)


# ---- disks ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("when", ["chunk", "flush", "commit"])
def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path, monkeypatch, when):
    def full(*args, **kwargs): raise OSError(errno.ENOSPC, "No space left on device")
    a = np.random.default_rng(0).normal(size=(40, 100, 100))
    with pytest.raises(UserError, match="the disk is full.*run again"), DatasetWriter(tmp_path/"d", "patches", "test") as w:
        w.append(0, rows(40), a=a); w.flush()
        with monkeypatch.context() as m:
            if when == "chunk": m.setattr(D, "_write_whole", full); w.append(1, rows(40, 40), a=a)
            if when == "flush": m.setattr(D, "_sync", full); w.append(1, rows(40, 40), a=a); w.flush()
            w.append(1, rows(40, 40), a=a)
            if when == "commit": m.setattr(D, "_write_whole", full); w.commit()
    assert not (tmp_path/"d").exists() and leftovers(tmp_path) == [".d.partial"]
    with pytest.raises(DatasetError, match="is closed"): w.append(2, rows(1, 80), a=a[:1])
    with DatasetWriter(tmp_path/"d", "patches", "test") as w:
        assert 0 in w.done
        if 1 not in w.done: w.append(1, rows(40, 40), a=a)
        w.commit()
    np.testing.assert_array_equal(check_dataset(tmp_path/"d")["a"][:], np.concatenate([a, a]))


def test_a_really_full_disk(tmp_path):
    disk = tmp_path/"disk"; disk.mkdir()
    if sys.platform != "linux" or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        a = np.random.default_rng(0).integers(0, 2**16, (100, 100, 100), dtype=np.uint16)
        with pytest.raises(UserError, match="the disk is full"), DatasetWriter(disk/"d", "patches", "test") as w:
            for k in range(9): w.append(k, rows(100, 100*k), a=a); w.flush()
        assert [p.name for p in disk.iterdir()] == [".d.partial"]
        subprocess.run(["mount", "-o", "remount,size=30m", disk], check=True)
        with DatasetWriter(disk/"d", "patches", "test") as w:
            assert 0 in w.done
            for k in range(9):
                if k not in w.done: w.append(k, rows(100, 100*k), a=a)
            w.commit()
        assert check_dataset(disk/"d").n == 900
    finally: subprocess.run(["umount", disk])


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no write permission on Windows")
def test_a_read_only_parent():
    code = textwrap.dedent("""
        import os, sys
        from cellprotocols.dataset import DatasetWriter
        from cellprotocols.errors import UserError
        if os.getuid() == 0: os.setuid(65534) # root may write anywhere
        try: DatasetWriter(sys.argv[1], "masks", "test")
        except UserError as e: print(e)""")
    with tempfile.TemporaryDirectory() as locked:
        os.chmod(locked, 0o555)
        out = subprocess.run([sys.executable, "-c", code, f"{locked}/d"], capture_output=True, text=True, cwd=Path(__file__).parents[1])
        assert "you may not write or read here; choose another folder" in out.stdout, out
        assert os.listdir(locked) == []


# ---- locks ----------------------------------------------------------------------------------------------------------

def test_two_writers_on_one_folder(tmp_path):
    with DatasetWriter(tmp_path/"d", "patches", "test") as w:
        with pytest.raises(DatasetError, match="d is being written by this same session"): DatasetWriter(tmp_path/"d", "patches", "test")
        code = f"from cellprotocols.dataset import DatasetWriter; DatasetWriter({str(tmp_path/'d')!r}, 'patches', 'test')"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
        assert f"d is being written by process {os.getpid()}" in out.stderr
        w.append(0, rows(2)); w.commit()
    assert leftovers(tmp_path) == []


def test_the_lock_of_the_dead_is_taken_over(tmp_path):
    code = f"import os; from cellprotocols.dataset import DatasetWriter; w = DatasetWriter({str(tmp_path/'d')!r}, 'patches', 'test'); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    assert leftovers(tmp_path) == [".d.lock", ".d.partial"]
    with DatasetWriter(tmp_path/"d", "patches", "test") as w: w.append(0, rows(1)); w.commit()
    assert leftovers(tmp_path) == []


def test_of_many_writers_at_once_one_wins(tmp_path):
    def attempt(_):
        try: return DatasetWriter(tmp_path/"d", "patches", "test")
        except DatasetError: return None
    with ThreadPoolExecutor(8) as pool: won = [w for w in pool.map(attempt, range(8)) if w]
    assert len(won) == 1
    won[0].close()
