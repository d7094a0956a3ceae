"Boxes in and out: nothing is lost on the way, what does not hold together is refused with its place, and nothing is half written."
import json
import math
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols.boxes import COLUMNS, BoxError, check_boxes, read_image_sizes
from cellprotocols.coco import read_coco, write_coco
from cellprotocols.yolo import read_yolo, write_yolo

SIDES = ["y0", "x0", "y1", "x1"]
SHAPES = {"a.png": (100, 200), "b.tif": (64, 64)}


def frame(*rows): return pd.DataFrame(rows, columns=["field", "label", *SIDES])


# ---------- round trips

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='/\\:*?"<>|.'), min_size=1, max_size=12)


@st.composite
def box_sets(draw):
    fields = draw(st.lists(names, min_size=1, max_size=4, unique_by=lambda n: unicodedata.normalize("NFC", n).casefold()))
    classes = draw(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Z"], exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"), min_size=1, max_size=12), min_size=1, max_size=4, unique=True))
    shapes = {f + draw(st.sampled_from([".png", ".tif", ""])): (draw(st.integers(1, 5000)), draw(st.integers(1, 5000))) for f in fields}
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        f = draw(st.sampled_from(sorted(shapes))); h, w = shapes[f]
        (y0, y1), (x0, x1) = (sorted(draw(st.lists(st.floats(0, n).map(lambda v: round(v, 3)), min_size=2, max_size=2))) for n in (h, w))
        if y1 - y0 < .01 or x1 - x0 < .01: y0, x0, y1, x1 = 0., 0., float(h), float(w)
        rows.append((f, draw(st.sampled_from(classes)), draw(st.sampled_from([0, 0, 1, 12345])), y0, x0, y1, x1, draw(st.sampled_from([math.nan, .25, .875]))))
    return check_boxes(pd.DataFrame(rows, columns=COLUMNS), classes, shapes)


def same(a, b):
    assert a.classes == b.classes and dict(a.shapes) == dict(b.shapes)
    a, b = (t.boxes.assign(**t.boxes[SIDES].round(4)).sort_values(COLUMNS, kind="stable").reset_index(drop=True) for t in (a, b))
    pd.testing.assert_frame_equal(a, b, check_exact=False, atol=2e-4)


@given(box_sets())
@settings(max_examples=40, deadline=None)
def test_coco_gives_back_what_it_was_given(tmp_path_factory, made):
    same(read_coco(write_coco(tmp_path_factory.mktemp("c")/"coco.json", *made)), made)


@given(box_sets())
@settings(max_examples=30, deadline=None)
def test_yolo_gives_back_what_it_was_given(tmp_path_factory, made):
    same(read_yolo(write_yolo(tmp_path_factory.mktemp("y")/"new", *made), made.shapes), made)


@given(st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_field_name_is_written_beside_nothing_or_refused(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("n")
    try: write_yolo(folder/"new", frame((name, "A", 1, 2, 3, 4)), ["A"], {name: (9, 9)})
    except BoxError: assert not list(folder.iterdir())
    else:
        assert [p.name for p in folder.iterdir()] == ["new"] and len([*(folder/"new").rglob("*")]) == 4
        assert read_yolo(folder/"new", {name: (9, 9)}).boxes.field.tolist() == [name]


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", ".", ".hidden", "", "x"*300, "a\0b", "a\nb", "C:x", "a ", 'q"', "\u202egnp.exe", "../x.png"])
def test_hostile_names(tmp_path, name):
    with pytest.raises(BoxError, match="cannot be the name of a file"): write_yolo(tmp_path/"new", frame((name, "A", 1, 2, 3, 4)), ["A"], {name: (9, 9)})
    assert not list(tmp_path.iterdir())
    assert read_coco(write_coco(tmp_path/"c.json", frame((name, "A", 1, 2, 3, 4)), ["A"], {name: (9, 9)})).boxes.field.tolist() == [name], "in JSON a name is only text"


@pytest.mark.parametrize("two", [("a.png", "a.tif"), ("A.png", "a.png"), ("caf\u00e9.png", "cafe\u0301.png")])
def test_names_that_share_a_file(tmp_path, two):
    with pytest.raises(BoxError, match="would share the file"): write_yolo(tmp_path/"n", frame(), ["A"], {f: (9, 9) for f in two})
    with pytest.raises(BoxError, match="would share the file"): write_yolo(tmp_path/"n", frame(("a", "A", 1, 2, 3, 4)).assign(t=5), ["A"], {"a": (9, 9), "a_t0005": (9, 9)})


# ---------- YOLO as others write it

def yolo(tmp_path, text, names="A\nB\n", name="a.txt"):
    (tmp_path/name).write_text(text); (tmp_path/"classes.txt").write_text(names)
    return read_yolo(tmp_path, SHAPES)


def test_flat_folder_with_six_digits(tmp_path):
    made = yolo(tmp_path, "\ufeff1 0.500000 0.500000 1.000001 0.250000 0.9\r\n\n0 .25 .5 .1 .1\n")
    np.testing.assert_allclose(made.boxes[SIDES].to_numpy(), [[37.5, 0, 62.5, 200], [45, 40, 55, 60]], atol=1e-9)
    assert made.boxes.label.tolist() == ["B", "A"] and made.boxes.score[0] == .9 and math.isnan(made.boxes.score[1]) and made.shapes == SHAPES


@pytest.mark.parametrize("text, names", [("names: [A, B]", ["A", "B"]), ("nc: 2\nnames:\n  1: B\n  0: A\n", ["A", "B"]), ("train: x\nnames: ['0', 'yes']", ["0", "yes"])])
def test_names_from_yaml(tmp_path, text, names):
    (tmp_path/"labels").mkdir(); (tmp_path/"labels"/"a.txt").write_text("0 .5 .5 .1 .1"); (tmp_path/"data.yaml").write_text(text)
    assert read_yolo(tmp_path, SHAPES).classes == names == read_yolo(tmp_path/"labels", SHAPES).classes


@pytest.mark.parametrize("text, said", [("names: {0: A, 2: B}", "has gaps"), ("names: {a: b}", "has gaps"), ("[", "this is no YAML"), ("nc: 2", "`names` is missing"), ("names: [A, A]", "the class name 'A'"), ("!!python/object/apply:os.system ['true']", "this is no YAML")])
def test_wrong_yaml(tmp_path, text, said):
    (tmp_path/"data.yaml").write_text(text)
    with pytest.raises(BoxError, match=re.escape(said)): read_yolo(tmp_path, SHAPES)


@pytest.mark.parametrize("text, said", [
    ("2 .5 .5 .1 .1", "line 1: class number 2; needed: a whole number from 0 to 1"), ("0 .5 .5 .1 .1\n0.5 .5 .5 .1 .1", "line 2: class number 0.5"), ("-1 .5 .5 .1 .1", "class number -1"),
    ("0 .1 .1 .5 .5", "with centre and size exchanged"), ("0 100 50 20 20", "these look like pixels"), ("0 0 0 .5 .5", "the centre, not the corner"), ("0 .5 .5 nan .1", "finite numbers"), ("0 .5 .5 inf .1", "finite numbers"),
    ("0 .5 .5 0 .1", "both greater than 0"), ("0 .5 .5 -.1 .1", "both greater than 0"), ("0 .5 .5 .1", "4 numbers"), ("(0, .5, .5, .1, .1)", "needed: numbers"), ("0 " + ".1 "*8, "an outline and no box")])
def test_wrong_lines_are_named(tmp_path, text, said):
    with pytest.raises(BoxError, match=re.escape(said)) as e: yolo(tmp_path, text)
    assert "a.txt" in str(e.value)


def test_wrong_folders(tmp_path):
    with pytest.raises(BoxError, match="no such folder"): read_yolo(tmp_path/"x", SHAPES)
    (tmp_path/"a.txt").write_text("")
    with pytest.raises(BoxError, match="no class names"): read_yolo(tmp_path, SHAPES)
    assert len(read_yolo(tmp_path, SHAPES, ["A"]).boxes) == 0
    with pytest.raises(BoxError, match="no image size is known for it"): yolo(tmp_path, "", name="other.txt")
    (tmp_path/"b.txt").write_bytes(b"\xff\xfe\x00"); (tmp_path/"other.txt").unlink()
    with pytest.raises(BoxError, match="this is no text"): read_yolo(tmp_path, SHAPES)


def test_sizes_are_read_from_the_images(tmp_path):
    from PIL import Image
    Image.new("RGB", (30, 20)).save(tmp_path/"a.png"); Image.new("L", (7, 9)).save(tmp_path/"b.jpg"); (tmp_path/"notes.txt").write_text("x")
    assert read_image_sizes(tmp_path) == {"a.png": (20, 30), "b.jpg": (9, 7)}
    folder = write_yolo(tmp_path/"y", frame(("a.png", "A", 0, 0, 20, 30)), ["A"], read_image_sizes(tmp_path))
    assert read_yolo(folder, tmp_path).boxes[SIDES].to_numpy().tolist() == [[0, 0, 20, 30]]


# ---------- COCO as others write it

def coco(tmp_path, change):
    d = json.loads(write_coco(tmp_path/"good.json", frame(("a.png", "A", 1, 2, 3, 4), ("b.tif", "B", 5, 6, 7, 8)), ["A", "B"], SHAPES).read_text())
    change(d); (tmp_path/"c.json").write_text(json.dumps(d))
    return read_coco(tmp_path/"c.json")


def test_coco_with_other_ids_and_extras(tmp_path):
    def change(d):
        for im in d["images"]: im["id"] = f"i{im['id']}"
        for c in d["categories"]: c["id"] += 90
        for a in d["annotations"]: a.update(image_id=f"i{a['image_id']}", category_id=a["category_id"] + 90, segmentation=[[1, 2, 3, 4, 5, 6]], note="x")
        d["annotations"].reverse()
    made = coco(tmp_path, change)
    assert made.classes == ["A", "B"] and made.boxes.label.tolist() == ["B", "A"] and made.boxes[SIDES].to_numpy().tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]


@pytest.mark.parametrize("change, said", [
    (lambda d: d.pop("images"), "no list `images`"), (lambda d: d["images"][0].pop("height"), "has no `height`"), (lambda d: d["images"][0].update(height="tall"), "both at least 1"), (lambda d: d["images"][0].update(width=-4), "both at least 1"),
    (lambda d: d["annotations"][1].update(id=1), "the same id"), (lambda d: d["annotations"][0].update(image_id=77), "image_id 77, which is not there"), (lambda d: d["annotations"][0].update(image_id=[1]), "image_id [1]"),
    (lambda d: d["annotations"][0].update(category_id=0), "category_id 0"), (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "the bbox [1, 2, 3]"), (lambda d: d["annotations"][0].update(bbox=[1, 2, 0, 4]), "has no inside"),
    (lambda d: d["annotations"][0].update(bbox=[1, 2, float("nan"), 4]), "four finite numbers"), (lambda d: d["annotations"][0].update(bbox=[1, 2, 10**400, 4]), "has the bbox"),
    (lambda d: d["annotations"][0].update(bbox=[0, 110, 20, 20]), "outside the image of 100 x 200 px"), (lambda d: d["images"][1].update(file_name="a.png"), "in two sizes"), (lambda d: d["categories"][1].update(name="A"), "the class name 'A'")])
def test_wrong_coco(tmp_path, change, said):
    with pytest.raises(BoxError, match=re.escape(said)): coco(tmp_path, change)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "null", "\x00"])
def test_no_coco(tmp_path, text):
    (tmp_path/"c.json").write_text(text)
    with pytest.raises(BoxError): read_coco(tmp_path/"c.json")


def test_pycocotools_reads_it(tmp_path, capsys):
    COCO = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed").COCO
    made = check_boxes(frame(("a.png", "A", 1, 2, 3.5, 4), ("a.png", "B", 0, 0, 100, 200), ("b.tif", "B", 5, 6, 7, 8)), ["A", "B"], SHAPES | {"empty.png": (5, 5)})
    theirs = COCO(str(write_coco(tmp_path/"c.json", *made)))
    assert [c["name"] for c in theirs.loadCats(theirs.getCatIds())] == made.classes
    assert {m["file_name"]: (m["height"], m["width"]) for m in theirs.loadImgs(theirs.getImgIds())} == made.shapes
    found = [(theirs.loadImgs(a["image_id"])[0]["file_name"], theirs.loadCats(a["category_id"])[0]["name"], a["bbox"][1], a["bbox"][0], a["bbox"][1] + a["bbox"][3], a["bbox"][0] + a["bbox"][2]) for a in theirs.loadAnns(theirs.getAnnIds())]
    assert found == [tuple(r) for r in made.boxes[["field", "label", *SIDES]].itertuples(index=False)]
    assert {a["image_id"]: a["area"] for a in theirs.loadAnns(theirs.getAnnIds(catIds=[1]))} == {1: 5.}


# ---------- checks and faults

@pytest.mark.parametrize("row, said", [
    (("a.png", "A", 10, 120, 40, 300), "outside the image"), (("a.png", "A", 60, 10, 180, 50), "with x and y exchanged: the order is y0, x0, y1, x1"), (("a.png", "A", 50, 120, 30, 60), "the last two were height and width"),
    (("a.png", "A", 5, 5, 5, 9), "has no inside"), (("a.png", "A", 5, np.nan, 7, 9), "four finite numbers"), (("a.png", "Z", 1, 2, 3, 4), "has the label 'Z'"), (("zz.png", "A", 1, 2, 3, 4), "without an image size"),
    (("a.png", "A", -1, 2, 3, 4), "outside the image"), (("a.png", "A", "x", 2, 3, 4), "no number"), (("a.png", "A", 100, 2, 100.0005, 4), "on the edge"), (("a.png", None, 1, 2, 3, 4), "has the label")])
def test_wrong_boxes(tmp_path, row, said):
    for write in (lambda: write_coco(tmp_path/"c.json", frame(row), ["A"], SHAPES), lambda: write_yolo(tmp_path/"y", frame(row), ["A"], SHAPES)):
        with pytest.raises(BoxError, match=re.escape(said)): write()
    assert not list(tmp_path.iterdir())


def test_rounding_is_cut_and_other_columns_left_out():
    made = check_boxes(frame(("a.png", "A", -.0005, 0, 50, 200.0009)).assign(by="x"), ["A"], SHAPES)
    assert made.boxes[SIDES].to_numpy().tolist() == [[0, 0, 50, 200]] and list(made.boxes) == COLUMNS
    with pytest.raises(BoxError, match="t = -1"): check_boxes(frame(("a.png", "A", 1, 2, 3, 4)).assign(t=-1), ["A"], SHAPES)
    with pytest.raises(BoxError, match="no column 'x1'"): check_boxes(pd.DataFrame(dict(field=[], label=[], y0=[], x0=[], y1=[])), ["A"], SHAPES)


@pytest.mark.parametrize("classes", [[], [""], ["a", "a"], ["a\nb"], [" a"], ["a\u2028b"], ["a\x7f"], ["\u202egnp"], ["\ud800"]])
def test_wrong_classes(classes):
    with pytest.raises(BoxError): check_boxes(frame(), classes, SHAPES)


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    import errno
    import os
    true, left = os.fsync, [3]
    def full(fd):
        left[0] -= 1
        if left[0] < 0: raise OSError(errno.ENOSPC, "No space left on device")
        true(fd)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="the disk is full"): write_yolo(tmp_path/"y", frame(), ["A"], SHAPES)
    (tmp_path/"c.json").write_text("old")
    with pytest.raises(Exception, match="the disk is full"): write_coco(tmp_path/"c.json", frame(), ["A"], SHAPES)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("c.json", "old")]


def test_nothing_is_overwritten(tmp_path):
    write_yolo(tmp_path/"y", frame(), ["A"], SHAPES)
    with pytest.raises(BoxError, match="something of this name already"): write_yolo(tmp_path/"y", frame(), ["B"], SHAPES)
    assert read_yolo(tmp_path/"y", SHAPES).classes == ["A"]


@pytest.mark.slow
def test_from_the_annotator_and_back(tmp_path):
    from cellprotocols.drawing import BoxAnnotator
    widget = BoxAnnotator(np.zeros((3, 60, 80, 1), np.uint8), ["A", "B"], tmp_path/"log.jsonl", names=["movie"], by="anna")
    widget.draw((1, 2, 30, 40), "A", t=0); widget.draw((5, 6, 50, 70), "B", t=2)
    made = read_yolo(write_yolo(tmp_path/"y", widget.to_boxes(), ["A", "B"], {"movie": (60, 80)}), {"movie": (60, 80)})
    again = BoxAnnotator(np.zeros((3, 60, 80, 1), np.uint8), ["A", "B"], tmp_path/"log2.jsonl", boxes=made.boxes, names=["movie"], by="ben").to_boxes()
    assert again[["field", "label", "t", *SIDES]].values.tolist() == widget.to_boxes()[["field", "label", "t", *SIDES]].values.tolist()
