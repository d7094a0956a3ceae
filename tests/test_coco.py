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
        (lambda d: d["images"][1].update(file_name="a.png"), "in two sizes"),
        (lambda d: d["categories"][1].update(name="A"), "the class name 'A'"),
    ],
)
def test_wrong_coco(tmp_path, change, said):
    with pytest.raises(BoxError, match=re.escape(said)):
        coco(tmp_path, change)


ODD = [
    ("image_id 77, which is not there", dict(image_id=77)),
    ("image_id [1]", dict(image_id=[1])),
    ("category_id 0", dict(category_id=0)),
    ("the bbox [1, 2, 3]", dict(bbox=[1, 2, 3])),
    ("the bbox abcd", dict(bbox="abcd")),
    ("the bbox [1, 2, 10000", dict(bbox=[1, 2, 10**400, 4])),
    ("bbox_mode 2", dict(bbox_mode=2)),
    ("the score 17", dict(score=17)),
    ("has no inside", dict(bbox=[1, 2, 0, 4])),
    ("(nan, 1, nan, 3)", dict(bbox=[1, float("nan"), 2, 4])),
    ("outside the image of 100 x 200 px", dict(bbox=[0, 110, 20, 20])),
]


@pytest.mark.parametrize("said, change", ODD, ids=[said for said, _ in ODD])
def test_one_odd_box_is_named_and_the_rest_is_read_but_a_file_of_odd_boxes_is_refused(tmp_path, said, change):
    with pytest.warns(UserWarning, match="1 of 2 boxes are left out.*" + re.escape(said)):
        made = coco(tmp_path, lambda d: d["annotations"][0].update(change))
    assert made.boxes.label.tolist() == ["B"] and made.shapes == SHAPES

    def both(d):
        for a in d["annotations"]:
            a.update(change)

    with pytest.raises(BoxError):
        coco(tmp_path, both)


def only(tmp_path, **change):
    return coco(tmp_path, lambda d: d["annotations"][0].update(change)).boxes


def test_what_changes_the_meaning_of_a_box(tmp_path):
    for crowd in (dict(iscrowd=1), dict(ignore=1)):
        with pytest.warns(UserWarning, match="regions of many objects.*annotation 1"):
            assert only(tmp_path, **crowd).label.tolist() == ["B"]
    for turned in (dict(attributes=dict(rotation=90.0)), dict(rotation=-90)):
        with pytest.warns(UserWarning, match="upright box"):
            made = only(tmp_path, bbox=[40, 40, 60, 10], **turned)
        assert made[SIDES].to_numpy()[0].tolist() == pytest.approx([15, 65, 75, 75])
    assert only(tmp_path, bbox=[10, 20, 30, 50], bbox_mode=0)[SIDES].to_numpy()[0].tolist() == [20, 10, 50, 30]
    assert only(tmp_path, image_id=1.0).field.tolist() == ["a.png", "b.tif"]


def test_marks_scores_and_boxes_as_other_programs_write_them(tmp_path):
    assert len(only(tmp_path, iscrowd="0")) == 2
    assert only(tmp_path, score="0.9").score[0] == 0.9
    for none in (None, []):
        made = only(tmp_path, bbox=none, segmentation=[[1, 1, 9, 1, 9, 9]])
        assert made[SIDES].to_numpy()[0].tolist() == [1, 1, 9, 9]


def test_corners_are_no_width_and_height(tmp_path):
    corners = [10, 20, 40, 60]
    for told in (dict(area=1200), dict(segmentation=[[10, 20, 40, 20, 40, 60]], area=600)):
        with pytest.raises(BoxError, match="the bbox are two corners"):
            only(tmp_path, bbox=corners, **told)
    assert len(only(tmp_path, bbox=corners, area=2400)) == 2
    some = [dict(bbox=[3, 4, 30, 30], area=702), *(dict(bbox=[3, 4, 30, 30], area=500 + k) for k in range(40))]
    many = coco(
        tmp_path, lambda d: d.update(annotations=[d["annotations"][0] | a | dict(id=k) for k, a in enumerate(some)])
    )
    assert len(many.boxes) == 41  # one area of a mask is by chance that of the corners
    with pytest.raises(BoxError, match="if its width and height were the far corner"):
        coco(tmp_path, lambda d: [a.update(bbox=[60, 50, 180, 99]) for a in d["annotations"]])


def test_two_images_of_one_name_are_refused(tmp_path):
    with pytest.raises(BoxError, match="two entries of `images` are called 'a.png'"):
        coco(tmp_path, lambda d: d["images"].append(d["images"][0] | dict(id=99)))


def test_half_a_pixel_outside_is_cut_and_said(tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 boxes stick out of the image and are cut"):
        made = only(tmp_path, bbox=[150.2, 10, 50.3, 20])
    assert made[SIDES].to_numpy()[0].tolist() == [10, 150.2, 30, 200]


def test_shares_are_no_pixels(tmp_path):
    def shares(d):
        d["annotations"][0]["bbox"], d["annotations"][1]["bbox"] = [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.2, 0.2]

    with pytest.raises(BoxError, match="these are shares of the image"):
        coco(tmp_path, shares)


def test_a_box_without_bbox_lies_around_its_outline(tmp_path):
    def outline(d):
        del d["annotations"][0]["bbox"]
        d["annotations"][0]["segmentation"] = [[1, 1, 9, 1, 9, 9], [20, 3, 21, 30, 22, 4]]

    assert coco(tmp_path, outline).boxes[SIDES].to_numpy()[0].tolist() == [1, 1, 30, 22]


@pytest.mark.parametrize("written", ["1.10", "true", "007.50", "1e3"])
def test_names_are_text_as_written(tmp_path, written):
    d = dict(
        images=[dict(id=1, file_name="a.png", height=9, width=9)], annotations=[], categories=[dict(id=1, name="@")]
    )
    (tmp_path / "c.json").write_text(json.dumps(d).replace('"@"', written))
    if written.startswith("0"):
        with pytest.raises(BoxError, match="no JSON"):
            read_coco(tmp_path / "c.json")
    else:
        assert read_coco(tmp_path / "c.json").classes == [written]


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


@pytest.mark.parametrize("rotation", [90, 90.0, "90", " 90.0 "])
def test_a_rotation_written_as_text_turns_too(tmp_path, rotation):
    image, kind = dict(id=1, file_name="a.png", height=100, width=200), dict(id=0, name="a")
    box = dict(id=1, image_id=1, category_id=0, bbox=[40, 40, 60, 10], attributes=dict(rotation=rotation))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(dict(images=[image], categories=[kind], annotations=[box])))
    with pytest.warns(UserWarning, match="turned"):
        assert read_coco(path).boxes[SIDES].values.tolist() == [[15, 65, 75, 75]]
    path.write_text(path.read_text().replace(json.dumps(rotation), '"steep"'))
    with pytest.raises(BoxError, match="steep"):
        read_coco(path)
