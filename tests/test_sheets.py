"Tables of other programs: every cell as it is written, or an error that names the cause."

import csv
import io
import unicodedata

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cellprotocols.errors import UserError
from cellprotocols.labelled import LabelledError, read_labelled
from cellprotocols.sheets import SheetError, make_names_alike, read_sheet, to_numbers


def sheet(folder, data):
    (folder / "t.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_sheet(folder / "t.csv")


cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda t: t.strip() and not t.startswith("#"))


@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=5), st.sampled_from(",;\t|"))
@settings(max_examples=80, deadline=None)
def test_every_cell_comes_back_as_it_was_written(tmp_path_factory, rows, sep):
    out = io.StringIO()
    csv.writer(out, delimiter=sep, quoting=csv.QUOTE_ALL).writerows([["file", "label", "group"], *rows])
    assert sheet(tmp_path_factory.mktemp("s"), out.getvalue()).values.tolist() == rows


@pytest.mark.parametrize(
    "data, rows",
    [
        ("file;label;pos (x,y)\na;A;3\nb;B;4\n", [["a", "A", "3"], ["b", "B", "4"]]),
        ("sep=;\r\nfile;label\r\na;A\r\n", [["a", "A"]]),
        ("\ufeffsep=|\nfile|label\na|A;B\n", [["a", "A;B"]]),
        ("file,label\ra,A\rb,B\r", [["a", "A"], ["b", "B"]]),
        ("# made by X, 2026\n\nfile,label\na,A\n", [["a", "A"]]),
        ("#file,label\na,A\n", [["a", "A"]]),
        ("file,label,\na,A,\nb,B\n", [["a", "A"], ["b", "B"]]),
        ("file\tlabel\na\tgrößer\n".encode("utf-16"), [["a", "größer"]]),
        ('file,label\na,"two\nlines"\n', [["a", "two\nlines"]]),
        ("file,label\na,007\nb,1.10\nc,NA\nd,null\n", [["a", "007"], ["b", "1.10"], ["c", "NA"], ["d", "null"]]),
    ],
)
def test_tables_of_other_programs(tmp_path, data, rows):
    assert sheet(tmp_path, data).values.tolist() == rows


@pytest.mark.parametrize(
    "data, said",
    [
        ("file,label\na,A,1\n", "row 2 has 3 values under 2 names"),
        ("file,label,group\n1,a,A,g1\n2,b,B,g2\n", "row.names=FALSE"),
        ("file,t,y,x\na,0,12,5,30,7\n", "decimal comma"),
        ("file,label, label\na,A,B\n", "two columns are called 'label'"),
        ("file,label\n", "no rows"),
        ("", "no rows"),
        ('file,label\na,"A\nb,B\n', "not a table that can be read"),
        ("file;größer\n".encode("cp1252"), "cp1252) it would say 'größer'"),
        ("file,label\na,A\n".encode("utf-16-le"), "UTF-16 without a mark"),
        (bytes(range(256)) * 4, "no text file"),
        ("," * 20_000 + "x\n1\n", "20001 names"),
        ("file,label\na," + "x" * 200_000, "field larger than"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_cause(tmp_path, data, said):
    with pytest.raises(SheetError) as e:
        sheet(tmp_path, data)
    assert said in str(e.value)


def test_lines_are_counted_as_in_the_file(tmp_path):
    made = sheet(tmp_path, '# note, with a comma\nfile,y,x\n\na,"1\n",2\nb,1,2\nc,1,?\n')
    assert made.index.tolist() == [4, 6, 7]
    with pytest.raises(SheetError, match=r"'\?' in column 'x', row 7 is not a number"):
        to_numbers(made.x, "t.csv")


def test_a_table_larger_than_memory_allows_is_not_read(tmp_path, monkeypatch):
    import cellprotocols.sheets as sheets

    monkeypatch.setattr(sheets.psutil, "virtual_memory", lambda: type("M", (), dict(total=3200))())
    with pytest.raises(SheetError, match="the file has"):
        sheet(tmp_path, "file,label\n" + "a,A\n" * 100)


@pytest.mark.parametrize(
    "names, alike",
    [
        ([unicodedata.normalize(f, "gestört") for f in ("NFC", "NFD")], ["gestört"]),
        (["cell\u200b", "cell", " cell\u00a0", "\ufeffcell"], ["cell"]),
        (["1.0", "1", "2.0"], ["1", "2"]),
        (["01", "1"], ["01", "1"]),
        (["1.0", "0.5"], ["1.0", "0.5"]),
        (["NA", "None", "nan"], ["NA", "None", "nan"]),
    ],
)
def test_names_that_look_equal(names, alike):
    assert list(dict.fromkeys(make_names_alike(names, "labels", "t.csv"))) == alike


@pytest.fixture
def images(tmp_path):
    (tmp_path / "im").mkdir()
    for i in range(3):
        Image.fromarray(np.full((40, 40), i * 9, np.uint8)).save(tmp_path / "im" / f"c{i}.png")
    (tmp_path / "im" / "caf\u00e9.png").write_bytes((tmp_path / "im" / "c0.png").read_bytes())
    return tmp_path


def labelled(folder, text, **more):
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return read_labelled(folder / "t.csv", **more)


def test_paths_of_other_systems(images):
    made = labelled(images, "File,Label,Group\nim\\c0.png,A,1\nim/cafe\u0301.png,B,2\n")
    assert made.file.tolist() == ["im/c0.png", "im/caf\u00e9.png"] and made.group.tolist() == ["1", "2"]
    with pytest.raises(LabelledError, match="upper and lower case differ"):
        labelled(images, "file,label\nim/C0.PNG,A\n")
    with pytest.raises(LabelledError, match="row 3 .*the suffix differs"):
        labelled(images, "file,label\nim/c0.png,A\nim/c1.tif,B\n")


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "N/A", "null", "None", "-", "#N/A"])
def test_a_group_that_means_missing_is_none(images, word):
    with pytest.raises(LabelledError, match="reads as missing"):
        labelled(images, f"file,label,group\nim/c0.png,A,{word}\nim/c1.png,B,s1\n")


def test_one_file_with_two_labels_is_said(images):
    with pytest.warns(UserWarning, match="'im/c0.png' is named in 2 rows with the labels 'A' and 'B'"):
        labelled(images, "file,label\nim/c0.png,A\nim/c0.png,B\nim/c1.png,B\n")


def test_files_outside_the_folder_only_when_asked(images):
    (images / "tables").mkdir()
    text = "file,label\n../im/c0.png,A\n../im/c1.png,B\n"
    with pytest.raises(LabelledError, match="row 2 lies outside the folder of the table.*anywhere=True"):
        labelled(images / "tables", text)
    assert len(labelled(images / "tables", text, anywhere=True)) == 2
    (images.parent / f"{images.name} too").mkdir()
    (images.parent / f"{images.name} too" / "c.png").write_bytes((images / "im" / "c0.png").read_bytes())
    for outside in (f"../{images.name} too/c.png", f"{images.parent}/{images.name} too/c.png"):
        with pytest.raises(LabelledError, match="row 3 lies outside"):
            labelled(images, f"file,label\nim/c0.png,A\n{outside},B\n")


def test_class_folders_written_by_a_mac_and_a_synology(images):
    for name in ("gestört", unicodedata.normalize("NFD", "gestört"), "B"):
        for place in ("s1", "s1/@eaDir/x.png", "s1/.ipynb_checkpoints"):
            (images / "set" / name / place).mkdir(parents=True, exist_ok=True)
            (images / "set" / name / place / "c.png").write_bytes((images / "im" / "c0.png").read_bytes())
    for place in ("$RECYCLE.BIN", "__MACOSX/B"):
        (images / "set" / place).mkdir(parents=True)
        (images / "set" / place / "c.png").write_bytes((images / "im" / "c0.png").read_bytes())
    with pytest.warns(UserWarning, match="left out: .*RECYCLE.BIN .1.*.ipynb_checkpoints .3.*@eaDir .3."):
        made = read_labelled(images / "set")
    assert len(made) == 3 and set(made.label) == {"gestört", "B"}


pieces = st.sampled_from(
    [b"file", b"label", b",", b";", b"\n", b'"', b"\0", b"\xff", b"sep=", b"#", b"a.png", b"1,5", b"\r"]
)


@pytest.mark.slow
@given(st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=40).map(b"".join)))
@settings(max_examples=3000, deadline=None)
def test_fuzz_any_bytes_are_a_table_or_one_error(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    try:
        sheet(folder, data)
    except UserError as e:
        assert len(str(e)) < 1000


@pytest.mark.parametrize("two", ["A \u0410", "A \uff21", "G2-M G2\u2013M", "mu \u039cu", "TRUE true"])
def test_look_alike_names_are_said(two):
    with pytest.warns(UserWarning, match="2 labels, which differ in"):
        assert make_names_alike(two.split(), "labels", "t.csv") == two.split()


def test_errors_of_a_spreadsheet_as_labels_are_said(images):
    with pytest.warns(UserWarning, match="1 of 2 labels are '#REF!'"):
        labelled(images, "file,label,group\nim/c0.png,A,1\nim/c1.png,#REF!,2\n")


def test_of_two_columns_that_differ_in_case_the_one_read_is_said(images):
    with pytest.warns(UserWarning, match="read from 'label', not from 'Label'"):
        assert labelled(images, "file,label,Label,group\nim/c0.png,A,B,1\n").label.tolist() == ["A"]


def test_one_click_outside_does_not_turn_all_clicks_into_whole_images(tmp_path):
    rows = ["file,y,x,label,group"]
    for i in range(4):
        Image.fromarray(np.full((200, 200), i, np.uint8)).save(tmp_path / f"f{i}.png")
        rows.append(f"f{i}.png,{50 if i < 3 else 250},40,A,g{i}")
    with pytest.raises(LabelledError, match=r"row 5 \(250, 40\) lie outside f3.png"):
        labelled(tmp_path, "\n".join(rows))
    assert len(labelled(tmp_path, "\n".join(rows), clicks="no")) == 4


@pytest.mark.parametrize("two", [("\u200eA", "A"), ("A\u202c", "A"), ("1,0", "1"), ("2,00", "2")])
def test_marks_of_direction_and_decimal_commas_make_no_second_name(two):
    assert len(set(make_names_alike(two, "labels", "t.csv"))) == 1


@pytest.mark.parametrize(
    "two",
    [("G1 phase", "G1_phase"), ("G1-phase", "G1_phase"), ("5'", "5\u2019"), ("\u03b2", "\u00df")]
    + [("01", "1"), ("A01", "A1"), ("plate 007", "plate 7"), ("1,5", "1.5")],
)
def test_names_that_differ_in_hyphens_or_quotes_are_said(two):
    with pytest.warns(UserWarning, match="2 labels, which differ in"):
        make_names_alike(two, "labels", "t.csv")


def test_numbers_of_names_are_not_joined(recwarn):
    make_names_alike(["plate1_1", "plate11", "1-1", "11", "CD4-", "CD4"], "groups", "t.csv")
    assert not recwarn.list


def test_numbers_that_a_spreadsheet_shortened_are_said():
    with pytest.warns(UserWarning, match=r"2 of 3 groups are numbers such as '2.02301E\+13', shortened"):
        make_names_alike(["2.02301E+13", "2.02301E+13", "E5"], "groups", "t.csv")


@pytest.mark.parametrize("rows", ['"{},{},{}"\n', "{}:{}:{}\n", "{} {} {}\n"])
def test_rows_in_quotes_and_unknown_separators_are_refused(tmp_path, rows):
    text = "".join(rows.format(*cells) for cells in ("file label group".split(), "a.png A 1".split()))
    with pytest.raises(SheetError, match="one column, called .* and 2 times"):
        sheet(tmp_path, text)
    assert sheet(tmp_path, "image file\nmy a.png\n").columns.tolist() == ["image file"]


def test_one_file_under_two_spellings_is_one(images):
    (images / "t.csv").write_text(f"file,label\n./im//c0.png,A\nim/c0.png,B\n{images}/im/c0.png,B\n")
    with pytest.warns(UserWarning, match="'im/c0.png' is named in 3 rows with the labels 'A' and 'B'"):
        assert read_labelled(images / "t.csv").file.unique().tolist() == ["im/c0.png"]


def test_clicks_of_other_programs_and_movies_without_frames(tmp_path):
    movie = np.zeros((4, 200, 200), np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", movie, photometric="minisblack", metadata=dict(axes="TYX"))
    for head in ("axis-0,axis-1,axis-2", "T,centroid-0,centroid-1"):
        made = labelled(tmp_path, f"file,label,{head}\nm.tif,A,2,30,140\nm.tif,B,0,50,60\n")
        assert made[["t", "y", "x"]].to_numpy().tolist() == [[2, 30, 140], [0, 50, 60]]
    made = labelled(tmp_path, "file,label,Slice,X,Y\nm.tif,A,1,140,30\nm.tif,B,4,60,50\n", first="1")
    assert made[["t", "y", "x"]].to_numpy().tolist() == [[0, 30, 140], [3, 50, 60]]
    with pytest.raises(LabelledError, match="no column says the frame, and m.tif holds 4 frames"):
        labelled(tmp_path, "file,label,y,x\nm.tif,A,30,140\nm.tif,B,50,60\n")


def test_clones_and_wells_are_no_shortened_numbers(recwarn):
    assert make_names_alike(["9E10", "2E1", "1E5"], "groups", "t.csv") == ["9E10", "2E1", "1E5"]
    assert not recwarn.list


@pytest.mark.parametrize("text", ["name of file\nD 1 2.tif\nD 1 3.tif\n", "h:m:s\n12:30:05\n12:31:00.5\n"])
def test_one_column_of_names_with_spaces_or_of_times(tmp_path, text):
    assert sheet(tmp_path, text).iloc[:, 0].tolist() == text.split("\n")[1:-1]


def test_zeros_after_a_point_and_inside_of_numbers_count(recwarn):
    make_names_alike(["1.05", "1.5", "105", "15", "0", "00h", "h", "A10", "A1"], "groups", "t.csv")
    assert not recwarn.list


def test_dates_that_a_spreadsheet_has_made_are_said(recwarn):
    make_names_alike(["1-Mar", "Mar-02", "03. Jan", "March", "1 May"], "labels", "t.csv")
    assert "4 of 5 labels are dates such as '1-Mar'" in str(recwarn.pop().message)
    make_names_alike(["1-Mar", "2-Mar", "10 Mar"], "groups", "t.csv")  # days
    make_names_alike(["mark1", "Marker 2", "dec"], "groups", "t.csv")
    assert not recwarn.list


@pytest.mark.parametrize(
    "cells, fine",
    [
        ("12 400 1.100", False),
        ("1.100 2.050 400 7", False),
        ("12 400 1.100 2.5", True),
        ("0.125 100 1", True),
        ("1.125 2.250 3", True),
        ("1.100 1.200", True),
    ],
)
def test_points_between_thousands_are_no_decimals(cells, fine):
    values = pd.Series(cells.split(), name="y")
    if fine:
        assert to_numbers(values, "t.csv").tolist() == [*map(float, cells.split())]
        return
    with pytest.raises(SheetError, match="'1.100' in column 'y', row ., among whole numbers"):
        to_numbers(values, "t.csv")


@pytest.mark.parametrize(
    "head, more, fine",
    [("x,y,w,h", ",20,20", False), ("x,y,Width,Height", ",9,9", False), ("x,y,width,height", ",400,300", True)]
    + [("X,Y,BX,BY,Width,Height", ",1,2,9,9", True), ("x,y,height", ",9", True)],
)
def test_corners_of_boxes_are_no_centres(tmp_path, head, more, fine):
    Image.fromarray(np.zeros((300, 400), np.uint8)).save(tmp_path / "f.png")
    rows = [f"f.png,{'AB'[k % 2]},{x},{y}{more}" for k, (x, y) in enumerate([(390, 20), (30, 280), (200, 150)])]
    text = "\n".join([f"file,label,{head}", *rows])
    if not fine:
        with pytest.raises(LabelledError, match="boxes, of which y and x may be a corner"):
            labelled(tmp_path, text)
    assert labelled(tmp_path, text, clicks="auto" if fine else "yes").x.tolist() == [390, 30, 200]
