"Tables: any of them comes back as it was, or is refused with a sentence."

import json
import os
import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np, pandas as pd, pytest
from sample_tables import rows, table
from hypothesis import HealthCheck, given, settings, strategies as st

from cellprotocols import tables
from cellprotocols.errors import UserError
from cellprotocols.labelled import read_cells_csv
from cellprotocols.sheets import read_sheet
from cellprotocols.tables import TEXT_COLUMNS, DatasetError, to_harmless, to_original
from cellprotocols.writer import write_dataset

relaxed = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    "Forcing files to disk takes most of the time here and matters only for a power cut."
    monkeypatch.setattr(os, "fsync", lambda fd: None)


text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12) | st.sampled_from(
    [
        "NA",
        "",
        "nan",
        "001",
        "1e5",
        "True",
        "null",
        "None",
        "a,b",
        "a\nb",
        "a\r\nb",
        "\r",
        '"',
        "🔬",
        " x ",
        "-",
        "#N/A",
        "inf",
        "﻿",
    ]
)
column = st.one_of(
    st.lists(text, min_size=5, max_size=5),
    st.lists(st.floats(width=64), min_size=5, max_size=5).map(lambda v: np.array(v, "float64")),
    st.lists(st.floats(width=32), min_size=5, max_size=5).map(lambda v: np.array(v, "float32")),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5).map(lambda v: np.array(v, "int64")),
    st.lists(st.booleans(), min_size=5, max_size=5).map(lambda v: np.array(v, bool)),
)
names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=8).filter(
    lambda s: s.isprintable() and s not in TEXT_COLUMNS
)


@relaxed
@given(st.dictionaries(names, column, max_size=5), st.lists(text.filter(bool), min_size=5, max_size=5, unique=True))
def test_any_table_comes_back_as_it_was(columns, ids):
    items = pd.DataFrame({"item_id": ids, "group": "g", "field_id": "f", **columns})
    with tempfile.TemporaryDirectory() as tmp:
        back = write_dataset(Path(tmp) / "d", "masks", items, "test").items
    assert list(back.columns) == list(items.columns)
    for name in items.columns:
        a, b = items[name].to_numpy(), back[name].to_numpy()
        if a.dtype.kind in "fib":
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(
                a.view(f"u{a.itemsize}")[~np.isnan(a)] if a.dtype.kind == "f" else a,
                b.view(f"u{b.itemsize}")[~np.isnan(b)] if a.dtype.kind == "f" else b,
            )
            if a.dtype.kind == "f":
                np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        else:
            assert list(a) == list(b) and all(isinstance(v, str) for v in b)


def test_columns_of_any_make(tmp_path):
    items = rows(3).assign(
        cat=pd.Categorical(["a", "b", "a"]),
        gap=pd.array([1, None, 3], "Int64"),
        when=pd.to_datetime(["2020-01-02", None, "2021-01-01"]),
        path=[Path("a/b.tif"), Path("c"), Path("d")],
        half=np.array([0.1, 1, 2], "float16"),
        nothing=[None] * 3,
        some=["a", None, "c"],
        well=pd.array(["A01", "A02", "A03"], "string"),
        whole=pd.Series([1, 2, 3], dtype=object),
        u8=np.array([1, 255, 3], "u1"),
    )
    items.index = [7, 7, 7]
    b = write_dataset(tmp_path / "d", "patches", items, "test").items
    assert list(b.cat) == ["a", "b", "a"] and list(b.path) == ["a/b.tif", "c", "d"] and list(b.some) == ["a", "", "c"]
    assert (
        b.gap.dtype == float
        and np.isnan(b.gap[1])
        and list(b.when) == ["2020-01-02T00:00:00", "", "2021-01-01T00:00:00"]
    )
    assert list(b.nothing) == ["", "", ""] and list(b.well) == ["A01", "A02", "A03"]
    assert (
        list(b.half.astype("float16")) == list(items.half) and list(b.whole) == [1, 2, 3] and list(b.u8) == [1, 255, 3]
    )


def test_ids_groups_and_labels_are_text_whatever_they_look_like(tmp_path):
    items = pd.DataFrame(dict(item_id=[1, 2], group=[7.0, np.nan], label=[True, False], by="x", at="y"))
    with pytest.raises(DatasetError, match="column group of item '2'"):
        write_dataset(tmp_path / "d", "labels", items, "test")
    b = write_dataset(tmp_path / "e", "labels", items.assign(group=[7.0, 8.0]), "test").items
    assert list(b.item_id) == ["1", "2"] and list(b.group) == ["7", "8"] and list(b.label) == ["True", "False"]
    bags = write_dataset(tmp_path / "g", "bags", table("bags", members=[["a", "é"], ("b",)]), "test").items
    assert [json.loads(m) for m in bags.members] == [["a", "é"], ["b"]]
    with pytest.raises(DatasetError, match="1.5"):
        write_dataset(tmp_path / "f", "labels", items.assign(group=1.5), "test")


@pytest.mark.parametrize(
    "bad, says",
    [
        (dict(odd=["a", 1, None]), "column odd mixes"),
        (dict(odd=[[1], [2, 3], {}]), "column odd mixes"),
        (dict(label=[[1, 2], "a", "b"]), r"column label holds \[1, 2\]"),
        (dict(odd=[2**63, 1, 2]), "beyond 64 bits"),
        (dict(odd=["a\0", "b", "c"]), "NUL"),
        (dict(odd=["\ud800", "b", "c"]), "not Unicode"),
        ({"": [1, 2, 3]}, "called ''"),
        ({"a\n": [1, 2, 3]}, "called 'a"),
        ({3: [1, 2, 3]}, "called 3"),
    ],
)
def test_what_a_table_cannot_hold(tmp_path, bad, says):
    with pytest.raises(DatasetError, match=says):
        write_dataset(tmp_path / "d", "patches", rows(3).assign(**{}).join(pd.DataFrame(bad)), "test")
    assert not (tmp_path / "d").exists()


@relaxed
@given(st.lists(st.text(alphabet="=+-@'\t1.aB", max_size=4), min_size=1, max_size=6))
def test_no_cell_of_an_exported_table_is_a_formula_and_all_come_back(texts):
    t = pd.DataFrame({"=a": texts, "n": range(len(texts))})
    safe = to_harmless(t)
    assert not [v for v in [*safe.iloc[:, 0], *safe] if isinstance(v, str) and re.match(r"[=+@\t]|-(?![\d.])", v)]
    assert to_original(safe).equals(t)


def test_the_pages_know_the_same_formulas():
    static = Path(tables.__file__).parent / "static"
    for name in ("cellpage.js", "explore.js"):
        assert f"/^{tables._FORMULA.pattern}/.test(v)" in (static / name).read_text(encoding="utf-8"), name


@pytest.mark.parametrize(
    "parts, what",
    [
        (["[Content_Types].xml", "xl/workbook.xml"], "a table of Excel (.xlsx)"),
        (["mimetype"], "a table of LibreOffice (.ods)"),
        (["notes.txt"], "a zip archive"),
        ([], "a table of an old Excel (.xls)"),
    ],
)
@pytest.mark.parametrize("read", [read_cells_csv, read_sheet])
def test_a_spreadsheet_that_is_called_csv_is_named(tmp_path, parts, what, read):
    path = tmp_path / "labels.csv"
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600))
    if parts:
        with zipfile.ZipFile(path, "w") as z:
            for name in parts:
                z.writestr(name, "application/vnd.oasis.opendocument.spreadsheet" if name == "mimetype" else "<x/>")
    with pytest.raises(UserError) as e:
        read(path)
    assert f"it is {what}, whatever its ending: open it there and save it as CSV" in str(e.value)
