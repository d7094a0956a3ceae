"YOLO in and out: nothing is lost, wrong files, lines and names are said with their place."

import math
import re

import numpy as np
import pytest
from boxes_made import SHAPES, SIDES, box_sets, frame, same
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cellprotocols.boxes import BoxError
from cellprotocols.yolo import read_yolo, write_yolo


@given(box_sets())
@settings(max_examples=30, deadline=None)
def test_yolo_gives_back_what_it_was_given(tmp_path_factory, made):
    same(read_yolo(write_yolo(tmp_path_factory.mktemp("y") / "new", *made), made.shapes), made)


@given(st.text(max_size=30))
@example("0/0")
@settings(max_examples=50, deadline=None)
def test_any_field_name_is_written_beside_nothing_or_refused(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("n")
    try:
        write_yolo(folder / "new", frame((name, "A", 1, 2, 3, 4)), ["A"], {name: (9, 9)})
    except BoxError:
        assert not list(folder.iterdir())
    else:
        files = [p for p in (folder / "new").rglob("*") if p.is_file()]  # a name such as a/b has a folder of its own
        assert [p.name for p in folder.iterdir()] == ["new"] and len(files) == 3
        assert read_yolo(folder / "new", {name: (9, 9)}).boxes.field.tolist() == [name]


@pytest.mark.parametrize("two", [("a.png", "a.tif"), ("A.png", "a.png"), ("caf\u00e9.png", "cafe\u0301.png")])
def test_names_that_share_a_file(tmp_path, two):
    with pytest.raises(BoxError, match="would share the file"):
        write_yolo(tmp_path / "n", frame(), ["A"], {f: (9, 9) for f in two})
    with pytest.raises(BoxError, match="would share the file"):
        write_yolo(tmp_path / "n", frame(("a", "A", 1, 2, 3, 4)).assign(t=5), ["A"], {"a": (9, 9), "a_t0005": (9, 9)})


def yolo(tmp_path, text, names="A\nB\n", name="a.txt"):
    (tmp_path / name).write_text(text)
    (tmp_path / "classes.txt").write_text(names)
    return read_yolo(tmp_path, SHAPES)


def test_flat_folder_with_six_digits(tmp_path):
    made = yolo(tmp_path, "\ufeff1 0.500000 0.500000 1.000001 0.250000 0.9\r\n\n0 .25 .5 .1 .1\n")
    np.testing.assert_allclose(made.boxes[SIDES].to_numpy(), [[37.5, 0, 62.5, 200], [45, 40, 55, 60]], atol=1e-9)
    assert (
        made.boxes.label.tolist() == ["B", "A"]
        and made.boxes.score[0] == 0.9
        and math.isnan(made.boxes.score[1])
        and made.shapes == SHAPES
    )


@pytest.mark.parametrize(
    "text, names",
    [
        ("names: [A, B]", ["A", "B"]),
        ("nc: 2\nnames:\n  1: B\n  0: A\n", ["A", "B"]),
        ("train: x\nnames: ['0', 'yes']", ["0", "yes"]),
        ("names: [no, on]", ["no", "on"]),
        ("names: {0: 02146, 1: 0x1F}", ["02146", "0x1F"]),
        ("names: [1.10, 1.1]", ["1.10", "1.1"]),
        ("names: [null, ~]", ["null", "~"]),
        ("names: [12:30, 2024-01-05]", ["12:30", "2024-01-05"]),
        ("names: [1_000, .inf]", ["1_000", ".inf"]),
    ],
)
def test_names_from_yaml(tmp_path, text, names):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .1 .1")
    (tmp_path / "data.yaml").write_text(text)
    assert read_yolo(tmp_path, SHAPES).classes == names == read_yolo(tmp_path / "labels", SHAPES).classes


@pytest.mark.parametrize(
    "text, said",
    [
        ("names: {0: A, 2: B}", "has gaps"),
        ("names: {a: b}", "has gaps"),
        ("[", "this is no YAML"),
        ("nc: 2", "`names` is missing"),
        ("names: [A, A]", "the class name 'A'"),
        ("!!python/object/apply:os.system ['true']", "`names` is missing"),
        ("names: [[a], b]", "holds more than names"),
        ("names: {0: A, 1: B, 1: C}", "a key of 0, 1 is there twice"),
        ("names: [A]\nnames: [B]", "a key of names is there twice"),
    ],
)
def test_wrong_yaml(tmp_path, text, said):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(BoxError, match=re.escape(said)):
        read_yolo(tmp_path, SHAPES)


@pytest.mark.parametrize(
    "text, said",
    [
        ("2 .5 .5 .1 .1", "line 1: class number 2; needed: a whole number from 0 to 1"),
        ("0 .5 .5 .1 .1\n0.5 .5 .5 .1 .1", "line 2: class number 0.5"),
        ("-1 .5 .5 .1 .1", "class number -1"),
        ("0 .1 .1 .5 .5", "with centre and size exchanged"),
        ("0 100 50 20 20", "these look like pixels"),
        ("0 0 0 .5 .5", "the centre, not the corner"),
        ("0 .5 .5 nan .1", "finite numbers"),
        ("0 .5 .5 inf .1", "finite numbers"),
        ("0 .5 .5 0 .1", "both greater than 0"),
        ("0 .5 .5 -.1 .1", "both greater than 0"),
        ("0 .5 .5 .1", "4 numbers"),
        ("(0, .5, .5, .1, .1)", "needed: numbers"),
        ("0 " + ".1 " * 8, "an outline and no box"),
    ],
)
def test_wrong_lines_are_named(tmp_path, text, said):
    with pytest.raises(BoxError, match=re.escape(said)) as e:
        yolo(tmp_path, text)
    assert "a.txt" in str(e.value)


def test_wrong_folders(tmp_path):
    with pytest.raises(BoxError, match="no such folder"):
        read_yolo(tmp_path / "x", SHAPES)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(BoxError, match="no class names"):
        read_yolo(tmp_path, SHAPES)
    assert len(read_yolo(tmp_path, SHAPES, ["A"]).boxes) == 0
    (tmp_path / "a.txt").rename(tmp_path / "other.txt")
    with pytest.raises(BoxError, match="no image size is known for it"):
        yolo(tmp_path, "", name="other.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "other.txt").unlink()
    with pytest.raises(BoxError, match="this is no text"):
        read_yolo(tmp_path, SHAPES)


def folders(root, suffix=".txt"):
    for part, n in (("train", 3), ("val", 2)):
        (root / "labels" / part).mkdir(parents=True)
        for i in range(n):
            (root / "labels" / part / f"{part}{i}{suffix}").write_text("0 .5 .5 .1 .1\n")
    (root / "classes.txt").write_text("cell\n")
    return {f"{part}{i}.tif": (40, 60) for part, n in (("train", 3), ("val", 2)) for i in range(n)}


def test_labels_in_folders_and_in_capitals_are_found(tmp_path):
    names = folders(tmp_path, ".TXT")
    assert read_yolo(tmp_path, names).boxes.field.tolist() == list(names)
    inside = {f"{n[:-5]}/{n}": size for n, size in names.items()}
    assert read_yolo(tmp_path, inside).boxes.field.tolist() == list(inside)


def test_label_files_without_an_image_are_counted_and_named(tmp_path):
    names = {n: size for n, size in folders(tmp_path).items() if n.startswith("train")}
    with pytest.warns(UserWarning, match="2 of 5 files of labels have no image.*val0.txt.*val1.txt"):
        assert len(read_yolo(tmp_path, names).boxes) == 3


def test_one_name_in_two_folders(tmp_path):
    for part, x in (("train", 0.2), ("val", 0.7)):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.txt").write_text(f"0 {x} .5 .1 .1\n")
    made = read_yolo(tmp_path, {"train/a.png": (100, 100), "val/a.png": (100, 100)}, ["cell"])
    assert made.boxes.set_index("field").x0.round(6).to_dict() == {"train/a.png": 15, "val/a.png": 65}
    with pytest.raises(BoxError, match="would both be labels of 'a.png'"):
        read_yolo(tmp_path, {"a.png": (100, 100)}, ["cell"])
    same(read_yolo(write_yolo(tmp_path / "again", *made), made.shapes), made)


def test_track_ids_are_no_scores(tmp_path):
    with pytest.warns(UserWarning, match="track ids"):
        made = yolo(tmp_path, "0 .5 .5 .1 .1 17\n1 .2 .3 .1 .2 1\n0 .8 .8 .1 .1\n")
    assert made.boxes.score.isna().all() and len(made.boxes) == 3
    assert yolo(tmp_path, "0 .5 .5 .1 .1 .9 17\n").boxes.score.tolist() == [0.9]
    with pytest.warns(UserWarning, match="no scores from 0 to 1"):
        assert yolo(tmp_path, "0 .5 .5 .1 .1 87.5\n").boxes.score.isna().all()
    assert yolo(tmp_path, "0 .5 .5 .1 .1 1\n0 .5 .5 .1 .1 .25\n").boxes.score.tolist() == [1, 0.25]


def test_the_first_tracks_are_tracks_where_others_are(tmp_path):
    text = "0 .5 .5 .1 .1 .9 0\n1 .2 .3 .1 .2 .8 1\n0 .8 .8 .1 .1 .7 2\n"
    assert yolo(tmp_path, text).boxes.score.tolist() == [0.9, 0.8, 0.7]
    with pytest.raises(BoxError, match="an outline and no box"):  # three corners, the last of them at the edge
        yolo(tmp_path, "0 .5 .5 .2 .2 .9 1\n")


def test_label_files_are_found_beside_images_or_missed(tmp_path):
    box, size = "0 .5 .5 .1 .1\n", {"a.png": (10, 10)}
    for name in ("images/a.txt", "labels/a.png.txt"):
        home = tmp_path / name[:5]
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(box)
        assert len(read_yolo(home, size, ["cell"]).boxes) == 1
    (tmp_path / "none" / "labels").mkdir(parents=True)
    with pytest.raises(BoxError, match="there is no file of labels"):
        read_yolo(tmp_path / "none", size, ["cell"])


def test_two_lists_of_classes_must_agree(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [B, A]\n")
    with pytest.raises(BoxError, match="B, A in its YAML and A, B in classes.txt"):
        yolo(tmp_path, "0 .5 .5 .1 .1\n")
    assert yolo(tmp_path, "0 .5 .5 .1 .1\n", "B\nA\n").boxes.label.tolist() == ["B"]


def test_one_odd_line_is_named_and_the_rest_is_read(tmp_path):
    for odd in ("0 .5 .5 0 .1", "0 .5 .5 nan .1", "0 .5 .5 .1", "0 .9 .9 .5 .5"):
        with pytest.warns(UserWarning, match="1 of 3 lines are left out: a.txt, line 2"):
            assert len(yolo(tmp_path, f"0 .5 .5 .1 .1\n{odd}\n1 .5 .5 .1 .1\n").boxes) == 2
    with pytest.warns(UserWarning, match="stick out of the image and are cut"):
        made = yolo(tmp_path, "0 .95 .5 .11 .1\n0 .5 .5 .1 .1\n")
    assert made.boxes.x1.tolist() == pytest.approx([200, 110])
    assert yolo(tmp_path, "0 .5 .5 1 1\n").boxes[SIDES].to_numpy().tolist() == [[0, 0, 100, 200]]


def test_nothing_is_overwritten(tmp_path):
    write_yolo(tmp_path / "y", frame(), ["A"], SHAPES)
    with pytest.raises(BoxError, match="something of this name already"):
        write_yolo(tmp_path / "y", frame(), ["B"], SHAPES)
    assert read_yolo(tmp_path / "y", SHAPES).classes == ["A"]


@pytest.mark.slow
def test_from_the_annotator_and_back(tmp_path):
    from cellprotocols.drawing import BoxAnnotator

    widget = BoxAnnotator(
        np.zeros((3, 60, 80, 1), np.uint8), ["A", "B"], tmp_path / "log.jsonl", names=["movie"], by="anna"
    )
    widget.draw((1, 2, 30, 40), "A", t=0)
    widget.draw((5, 6, 50, 70), "B", t=2)
    made = read_yolo(
        write_yolo(tmp_path / "y", widget.to_boxes(), ["A", "B"], {"movie": (60, 80)}), {"movie": (60, 80)}
    )
    again = BoxAnnotator(
        np.zeros((3, 60, 80, 1), np.uint8),
        ["A", "B"],
        tmp_path / "log2.jsonl",
        boxes=made.boxes,
        names=["movie"],
        by="ben",
    ).to_boxes()
    assert (
        again[["field", "label", "t", *SIDES]].values.tolist()
        == widget.to_boxes()[["field", "label", "t", *SIDES]].values.tolist()
    )


@pytest.mark.parametrize("tail, score", [("1", None), ("0", None), ("0.9", 0.9), ("1e-1", 0.1)])
def test_whole_sixth_numbers_are_tracks(tmp_path, tail, score):
    (tmp_path / "classes.txt").write_text("a\n")
    (tmp_path / "x.txt").write_text(f"0 .5 .5 .1 .1 {tail}\n0 .2 .2 .1 .1 {tail}\n")
    if score is None:
        with pytest.warns(UserWarning, match="track ids"):
            assert read_yolo(tmp_path, {"x.png": (50, 50)}).boxes.score.isna().all()
    else:
        assert read_yolo(tmp_path, {"x.png": (50, 50)}).boxes.score.tolist() == [score] * 2
