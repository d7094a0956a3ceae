"Labelled cells from folders, tables and arrays: what is read is what was written, whatever the order and encoding."

import os

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols.labelled import LabelledError, read_cells_csv, read_class_folders, read_labelled
from cellprotocols.origins import find_root
from cellprotocols.pixels import has_clicks, read_shapes


def write(path, img, **kw):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, img, **kw)
    return path


def shade(k, shape=(12, 12), dtype=np.uint8):
    return np.full(shape, k, dtype)


# --- class folders


def test_class_folders_in_natural_order_whatever_the_disk_says(tmp_path):
    for c in ("class 10", "class 2", "Class 1"):
        for i in (10, 9, 1):
            write(tmp_path / c / f"img{i}.tif", shade(i))
    t = read_class_folders(tmp_path)
    assert t.label.tolist() == ["Class 1"] * 3 + ["class 2"] * 3 + ["class 10"] * 3
    assert t.file.tolist()[3:6] == ["class 2/img1.tif", "class 2/img9.tif", "class 2/img10.tif"]
    assert (t.group == "").all() and (t.member == "").all()


def test_R1_a_class_whose_name_begins_like_another_takes_nothing_of_it(tmp_path):
    for c in ("Meta", "Metaphase"):
        write(tmp_path / c / "x.tif", shade(1))
    assert read_class_folders(tmp_path).label.tolist() == ["Meta", "Metaphase"]


def test_folders_inside_class_folders_are_groups(tmp_path):
    for c in "ab":
        for g in ("slide1", "slide2"):
            write(tmp_path / c / g / "deep" / "x.tif", shade(1))
    t = read_class_folders(tmp_path)
    assert t.group.tolist() == ["slide1", "slide2"] * 2 and t.label.tolist() == list("aabb")


def test_some_in_groups_and_some_not_is_refused(tmp_path):
    write(tmp_path / "a" / "slide1" / "x.tif", shade(1))
    write(tmp_path / "a" / "y.tif", shade(1))
    write(tmp_path / "b" / "slide1" / "z.tif", shade(1))
    with pytest.raises(LabelledError, match="1 of 3"):
        read_labelled(tmp_path)


def test_what_is_no_image_is_passed_over(tmp_path):
    write(tmp_path / "a" / "x.tif", shade(1))
    write(tmp_path / "b" / "x.tif", shade(1))
    for junk in ("a/Thumbs.db", "a/.DS_Store", "a/._x.tif", ".git/x.tif", "a/notes.txt", "top.tif", "README.md"):
        (tmp_path / junk).parent.mkdir(exist_ok=True)
        (tmp_path / junk).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "folder.tif").mkdir()
    assert read_class_folders(tmp_path).file.tolist() == ["a/x.tif", "b/x.tif"]


def test_group_pattern(tmp_path):
    for c in "ab":
        for w in ("A01", "B02"):
            write(tmp_path / c / f"plate3_{w}.tif", shade(1))
    assert read_labelled(tmp_path, group=r"_([A-H]\d\d)").group.tolist() == ["A01", "B02"] * 2
    assert read_labelled(tmp_path, group=r"(plate\d)").group.unique().tolist() == ["plate3"]
    for bad in ("plate", "(nothing)", "(", "+"):
        with pytest.raises(LabelledError):
            read_labelled(tmp_path, group=bad)


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_link_to_itself_does_not_go_round_for_ever(tmp_path):
    write(tmp_path / "a" / "x.tif", shade(1))
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    write(tmp_path / "b" / "x.tif", shade(1))
    assert len(read_class_folders(tmp_path)) == 2


# --- tables

CELL = (
    st.text(
        st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029\x85"),
        min_size=1,
        max_size=12,
    )
    .map(str.strip)
    .filter(lambda s: s and s.lower() != "nan")
)


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8), sep=st.sampled_from(",;\t"), bom=st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_any_text_survives_a_table(tmp_path_factory, rows, sep, bom):
    d = tmp_path_factory.mktemp("t")
    (d / "x.tif").write_bytes(b"x")
    t = pd.DataFrame([("x.tif", *r) for r in rows], columns=["file", "label", "group", "note"])
    t.to_csv(d / "c.csv", sep=sep, index=False, encoding="utf-8-sig" if bom else "utf-8")
    got = read_cells_csv(d / "c.csv")
    assert got.label.tolist() == [r[0] for r in rows] and got.group.tolist() == [r[1] for r in rows]


def test_numbers_as_labels_stay_as_written(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"x")
    (tmp_path / "c.csv").write_text(
        "file,label,group\n" + "".join(f"x.tif,{l},1.0\n" for l in ("01", "1", "1.0", "1e3", "NA", "True", "None"))
    )
    t = read_cells_csv(tmp_path / "c.csv")
    assert t.label.tolist() == ["01", "1", "1.0", "1e3", "NA", "True", "None"] and set(t.group) == {"1.0"}


def test_the_file_column_is_found_or_named(tmp_path):
    write(tmp_path / "crops" / "x.tif", shade(1))
    (tmp_path / "c.csv").write_text("id,label,picture,other\n7,a,crops/x.tif,y.tif\n")
    assert read_cells_csv(tmp_path / "c.csv").file.tolist() == ["crops/x.tif"]
    assert read_cells_csv(tmp_path / "c.csv", file="picture").file.tolist() == ["crops/x.tif"]
    with pytest.raises(LabelledError, match="y.tif.*row 2"):
        read_cells_csv(tmp_path / "c.csv", file="other")
    with pytest.raises(LabelledError, match="nope"):
        read_cells_csv(tmp_path / "c.csv", file="nope")


def test_the_row_that_is_named_is_the_row_in_the_table(tmp_path):
    write(tmp_path / "x.tif", shade(1))
    (tmp_path / "c.csv").write_text("file,label\nx.tif,a\nx.tif,b\ngone.tif,b\n")
    with pytest.raises(LabelledError, match="1 of 3 .*'gone.tif' in row 4"):
        read_cells_csv(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_text("file,label,y,x\nx.tif,a,1,1\nx.tif,b,2,left\n")
    with pytest.raises(LabelledError, match="'left' in column 'x', row 3"):
        read_cells_csv(tmp_path / "c.csv")


def test_cells_without_a_label_are_kept_as_such(tmp_path):
    write(tmp_path / "x.tif", shade(1))
    (tmp_path / "c.csv").write_text("file,label\nx.tif,a\nx.tif,\nx.tif,NaN\nx.tif,b\n")
    assert read_labelled(tmp_path / "c.csv").label.tolist() == ["a", "", "", "b"]


def test_clicks_or_crops(tmp_path):
    "Several rows of one file with y and x are clicks; a file a row is a crop of its own, whatever else there is."
    write(tmp_path / "m.tif", shade(1, (90, 90)))
    write(tmp_path / "n.tif", shade(1))
    (tmp_path / "clicks.csv").write_text("file,label,y,x\nm.tif,a,10,10\nm.tif,b,20,20\n")
    (tmp_path / "crops.csv").write_text("file,label,y,x\nm.tif,a,410,610\nn.tif,b,20,20\n")
    t, u = read_labelled(tmp_path / "clicks.csv"), read_labelled(tmp_path / "crops.csv")
    assert has_clicks(t) and not has_clicks(u)
    assert t[["t", "z", "y", "x"]].to_numpy().tolist() == [[0, 0, 10, 10], [0, 0, 20, 20]]


def test_one_click_per_field(tmp_path, capsys):
    "A large field with one click is not a picture of one cell: read as a click, or said aloud."
    for n in "abcd":
        write(tmp_path / f"{n}.tif", shade(1, (400, 400)))
    (tmp_path / "c.csv").write_text(
        "file,label,y,x,t\n" + "".join(f"{n}.tif,{l},100,50,0\n" for n, l in zip("abcd", "xyxy"))
    )
    t = read_labelled(tmp_path / "c.csv")
    assert has_clicks(t) or "y" in "".join(capsys.readouterr())


def test_blocks_are_runs_within_a_class(tmp_path):
    write(tmp_path / "x.tif", shade(1))
    (tmp_path / "c.csv").write_text("file,label,index\n" + "".join(f"x.tif,{'ab'[i % 2]},{i}\n" for i in range(20)))
    t = read_labelled(tmp_path / "c.csv", group="index", blocks=2)
    assert t.groupby("label").group.nunique().tolist() == [2, 2] and t.group.nunique() == 4
    first = t[t.label == "a"].group.tolist()
    assert first == sorted(first), "neighbours stay together"
    (tmp_path / "d.csv").write_text("file,label,index\nx.tif,a,one\nx.tif,b,two\n")
    with pytest.raises(LabelledError, match="'one'"):
        read_labelled(tmp_path / "d.csv", group="index", blocks=2)


# --- arrays


def save(path, images, **more):
    np.savez_compressed(path, images=images, label=np.array(["a", "b"] * len(images))[: len(images)], **more)
    return path


def test_labels_of_every_kind(tmp_path):
    images = np.zeros((3, 6, 6), np.uint8)
    for labels, want in [
        (np.array(["a", "b", "\u00e9"]), ["a", "b", "\u00e9"]),
        (np.array([0, 1, 1]), ["0", "1", "1"]),
        (np.array([b"a", b"b", b"c"]), ["a", "b", "c"]),
        (np.array([True, False, True]), ["True", "False", "True"]),
    ]:
        np.savez(tmp_path / "c.npz", images=images, state=labels, index=np.arange(3))
        t = read_labelled(tmp_path / "c.npz", label="state", group="index")
        assert t.label.tolist() == want and t.group.tolist() == ["0", "1", "2"]


def test_bytes_that_are_no_ascii_are_refused_in_words(tmp_path):
    np.savez(tmp_path / "c.npz", images=np.zeros((2, 6, 6), np.uint8), label=np.array(["\u00e9".encode(), b"b"]))
    try:
        t = read_labelled(tmp_path / "c.npz")
    except LabelledError:
        return
    assert t.label[1] == "b"


def test_R4_no_array_of_objects_is_ever_loaded(tmp_path):
    "Loading one can run code; it must be refused from the header."

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    np.savez(
        tmp_path / "c.npz",
        images=np.zeros((2, 6, 6), np.uint8),
        label=np.array(["a", "b"]),
        extra=np.array([Bomb(), 1], dtype=object),
    )
    with pytest.raises(LabelledError, match="'extra'.*objects"):
        read_labelled(tmp_path / "c.npz")
    assert not (tmp_path / "exploded").exists()


def test_there_is_no_such_thing(tmp_path):
    for bad in ("nothing", "nothing.csv", "nothing.npz"):
        with pytest.raises(LabelledError, match="no such"):
            read_labelled(tmp_path / bad)
    (tmp_path / "x.pdf").write_bytes(b"%PDF")
    with pytest.raises(LabelledError, match=".pdf"):
        read_labelled(tmp_path / "x.pdf")


# --- real sets, counts only


def test_red_cells(shared_data):
    path = shared_data / "chromatin" / "redcells" / "cells.csv"
    if not path.exists():
        pytest.skip("no red cells")
    raw = pd.read_csv(path)
    t = read_labelled(path, label="name", group="block")
    assert len(t) == len(raw) == 1023 and t.label.nunique() == 13 and (t.label == raw.name).all()
    assert t.group.nunique() == raw.block.nunique() and not has_clicks(t), "x and y there are places in another picture"
    s = read_shapes(t.iloc[:40], find_root(path))
    assert set(s.channels) == {3} and set(s.height) == {80}


def test_jurkat(shared_data):
    path = shared_data / "chromatin" / "jurkat" / "cells.npz"
    if not path.exists():
        pytest.skip("no Jurkat cells")
    t = read_labelled(path, group="index", blocks=8)
    assert t.label.value_counts().to_dict() == dict(
        G1=900, S_phase=900, G2=900, Prophase=606, Metaphase=69, Telophase=28, Anaphase=16
    )
    s = read_shapes(t, find_root(path))
    assert set(map(tuple, s[["height", "width", "channels"]].to_numpy())) == {(40, 40, 3)} and set(
        s["dtype"].astype(str)
    ) == {"uint16"}
    assert t.groupby("label").group.nunique().max() == 8


@pytest.mark.parametrize(
    "masks",
    [
        ["mitosis/slide_1/1_mask.png", "rest/slide_1/2_cp_masks.png"],
        ["mitosis/slide_1/masks/1.png", "rest/slide_1/labels/2_seg.png"],
        ["masks/1.png", "masks/2_mask.png"],
    ],
)
def test_masks_beside_the_images_of_class_folders_are_no_cells(tmp_path, masks, capsys):
    images = ["mitosis/slide_1/1.png", "rest/slide_1/2.png", "rest/slide_2/3.png"]
    for name in [*images, *masks]:
        write(tmp_path / name, shade(1))
    t = read_class_folders(tmp_path)
    assert t.file.tolist() == images and t.label.tolist() == ["mitosis", "rest", "rest"]
    assert "2 masks or small pictures beside the images are left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "files, labels",
    [
        (["label/1.png", "other/1.png"], ["label", "other"]),
        (["a/1.png", "b/1.png", "masks/1.png"], ["a", "b", "masks"]),
        (["a/1.png", "b/2.png", "masks/2.png"], ["a", "b"]),
        (["a/1.png", "a/masks/1.png", "gt/1.png"], ["a", "gt"]),
    ],
)
def test_a_class_that_is_called_like_a_folder_of_masks_is_kept(tmp_path, files, labels):
    for name in files:
        write(tmp_path / name, shade(1))
    assert read_class_folders(tmp_path).label.tolist() == labels


def test_a_folder_that_is_said_to_be_a_class_is_one(tmp_path):
    for name in ["a/1.png", "b/2.png", "masks/2.png"]:
        write(tmp_path / name, shade(1))
    assert set(read_class_folders(tmp_path, classes=("masks",)).label) == {"a", "b", "masks"}
