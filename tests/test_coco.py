"COCO in and out: nothing is lost, other programs read it, wrong entries are named."

import json
import re

import pytest
from boxes_made import SHAPES, SIDES, box_sets, frame, same
from hypothesis import given, settings

from cellprotocols.boxes import BoxError, check_boxes
from cellprotocols.coco import read_coco, write_coco


@given(box_sets())
@settings(max_examples=40, deadline=None)
def test_coco_gives_back_what_it_was_given(tmp_path_factory, made):
    same(read_coco(write_coco(tmp_path_factory.mktemp("c") / "coco.json", *made)), made)


def coco(tmp_path, change):
    d = json.loads(
        write_coco(
            tmp_path / "good.json", frame(("a.png", "A", 1, 2, 3, 4), ("b.tif", "B", 5, 6, 7, 8)), ["A", "B"], SHAPES
        ).read_text()
    )
    change(d)
    (tmp_path / "c.json").write_text(json.dumps(d))
    return read_coco(tmp_path / "c.json")


def test_coco_with_other_ids_and_extras(tmp_path):
    def change(d):
        for im in d["images"]:
            im["id"] = f"i{im['id']}"
        for c in d["categories"]:
            c["id"] += 90
        for a in d["annotations"]:
            a.update(
                image_id=f"i{a['image_id']}",
                category_id=a["category_id"] + 90,
                segmentation=[[1, 2, 3, 4, 5, 6]],
                note="x",
            )
        d["annotations"].reverse()

    made = coco(tmp_path, change)
    assert (
        made.classes == ["A", "B"]
        and made.boxes.label.tolist() == ["B", "A"]
        and made.boxes[SIDES].to_numpy().tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    )


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda d: d.pop("images"), "no list `images`"),
        (lambda d: d["images"][0].pop("height"), "has no `height`"),
        (lambda d: d["images"][0].update(height="tall"), "both at least 1"),
        (lambda d: d["images"][0].update(width=-4), "both at least 1"),
        (lambda d: d["annotations"][1].update(id=1), "the same id"),
        (lambda d: d["annotations"][0].update(image_id=77), "image_id 77, which is not there"),
        (lambda d: d["annotations"][0].update(image_id=[1]), "image_id [1]"),
        (lambda d: d["annotations"][0].update(category_id=0), "category_id 0"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "the bbox [1, 2, 3]"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 0, 4]), "has no inside"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, float("nan"), 4]), "four finite numbers"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 10**400, 4]), "has the bbox"),
        (lambda d: d["annotations"][0].update(bbox=[0, 110, 20, 20]), "outside the image of 100 x 200 px"),
        (lambda d: d["images"][1].update(file_name="a.png"), "in two sizes"),
        (lambda d: d["categories"][1].update(name="A"), "the class name 'A'"),
    ],
)
def test_wrong_coco(tmp_path, change, said):
    with pytest.raises(BoxError, match=re.escape(said)):
        coco(tmp_path, change)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "null", "\x00"])
def test_no_coco(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(BoxError):
        read_coco(tmp_path / "c.json")


def test_pycocotools_reads_it(tmp_path, capsys):
    COCO = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed").COCO
    made = check_boxes(
        frame(("a.png", "A", 1, 2, 3.5, 4), ("a.png", "B", 0, 0, 100, 200), ("b.tif", "B", 5, 6, 7, 8)),
        ["A", "B"],
        SHAPES | {"empty.png": (5, 5)},
    )
    theirs = COCO(str(write_coco(tmp_path / "c.json", *made)))
    assert [c["name"] for c in theirs.loadCats(theirs.getCatIds())] == made.classes
    assert {m["file_name"]: (m["height"], m["width"]) for m in theirs.loadImgs(theirs.getImgIds())} == made.shapes
    found = [
        (
            theirs.loadImgs(a["image_id"])[0]["file_name"],
            theirs.loadCats(a["category_id"])[0]["name"],
            a["bbox"][1],
            a["bbox"][0],
            a["bbox"][1] + a["bbox"][3],
            a["bbox"][0] + a["bbox"][2],
        )
        for a in theirs.loadAnns(theirs.getAnnIds())
    ]
    assert found == [tuple(r) for r in made.boxes[["field", "label", *SIDES]].itertuples(index=False)]
    assert {a["image_id"]: a["area"] for a in theirs.loadAnns(theirs.getAnnIds(catIds=[1]))} == {1: 5.0}
