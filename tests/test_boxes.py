"Boxes: what does not hold together is refused with its place, and nothing is half written."

import re

import numpy as np
import pandas as pd
import pytest
from boxes_made import SHAPES, SIDES, frame

from cellprotocols.boxes import COLUMNS, BoxError, check_boxes, read_image_sizes
from cellprotocols.coco import read_coco, write_coco
from cellprotocols.yolo import read_yolo, write_yolo


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/a/b",
        "a//b",
        "a\\b",
        "..",
        ".",
        ".hidden",
        "",
        "x" * 300,
        "a\0b",
        "a\nb",
        "C:x",
        "a ",
        'q"',
        "\u202egnp.exe",
        "../x.png",
    ],
)
def test_hostile_names(tmp_path, name):
    with pytest.raises(BoxError, match="cannot be the name of a file"):
        write_yolo(tmp_path / "new", frame((name, "A", 1, 2, 3, 4)), ["A"], {name: (9, 9)})
    assert not list(tmp_path.iterdir())
    assert read_coco(
        write_coco(tmp_path / "c.json", frame((name, "A", 1, 2, 3, 4)), ["A"], {name: (9, 9)})
    ).boxes.field.tolist() == [name], "in JSON a name is only text"


def test_sizes_are_read_from_the_images(tmp_path):
    from PIL import Image

    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    Image.new("L", (7, 9)).save(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("x")
    assert read_image_sizes(tmp_path) == {"a.png": (20, 30), "b.jpg": (9, 7)}
    folder = write_yolo(tmp_path / "y", frame(("a.png", "A", 0, 0, 20, 30)), ["A"], read_image_sizes(tmp_path))
    assert read_yolo(folder, tmp_path).boxes[SIDES].to_numpy().tolist() == [[0, 0, 20, 30]]


@pytest.mark.parametrize(
    "row, said",
    [
        (("a.png", "A", 10, 120, 40, 300), "outside the image"),
        (("a.png", "A", 60, 10, 180, 50), "with x and y exchanged: the order is y0, x0, y1, x1"),
        (("a.png", "A", 50, 120, 30, 60), "the last two were height and width"),
        (("a.png", "A", 5, 5, 5, 9), "has no inside"),
        (("a.png", "A", 5, np.nan, 7, 9), "four finite numbers"),
        (("a.png", "Z", 1, 2, 3, 4), "has the label 'Z'"),
        (("zz.png", "A", 1, 2, 3, 4), "without an image size"),
        (("a.png", "A", -1, 2, 3, 4), "outside the image"),
        (("a.png", "A", "x", 2, 3, 4), "no number"),
        (("a.png", "A", 100, 2, 100.0005, 4), "on the edge"),
        (("a.png", None, 1, 2, 3, 4), "has the label"),
    ],
)
def test_wrong_boxes(tmp_path, row, said):
    for write in (
        lambda: write_coco(tmp_path / "c.json", frame(row), ["A"], SHAPES),
        lambda: write_yolo(tmp_path / "y", frame(row), ["A"], SHAPES),
    ):
        with pytest.raises(BoxError, match=re.escape(said)):
            write()
    assert not list(tmp_path.iterdir())


def test_rounding_is_cut_and_other_columns_left_out():
    made = check_boxes(frame(("a.png", "A", -0.0005, 0, 50, 200.0009)).assign(by="x"), ["A"], SHAPES)
    assert made.boxes[SIDES].to_numpy().tolist() == [[0, 0, 50, 200]] and list(made.boxes) == COLUMNS
    with pytest.raises(BoxError, match="t = -1"):
        check_boxes(frame(("a.png", "A", 1, 2, 3, 4)).assign(t=-1), ["A"], SHAPES)
    with pytest.raises(BoxError, match="no column 'x1'"):
        check_boxes(pd.DataFrame(dict(field=[], label=[], y0=[], x0=[], y1=[])), ["A"], SHAPES)


@pytest.mark.parametrize(
    "classes", [[], [""], ["a", "a"], ["a\nb"], [" a"], ["a\u2028b"], ["a\x7f"], ["\u202egnp"], ["\ud800"]]
)
def test_wrong_classes(classes):
    with pytest.raises(BoxError):
        check_boxes(frame(), classes, SHAPES)


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    import errno
    import os

    true, left = os.fsync, [3]

    def full(fd):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        true(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="the disk is full"):
        write_yolo(tmp_path / "y", frame(), ["A"], SHAPES)
    (tmp_path / "c.json").write_text("old")
    with pytest.raises(Exception, match="the disk is full"):
        write_coco(tmp_path / "c.json", frame(), ["A"], SHAPES)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("c.json", "old")]
