"names: natural order whatever the name holds, and what an Operetta writes into a name."

from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from cellprotocols.names import find_image_files, is_image_name, natural_key, read_operetta_name
from cellprotocols.sources import ImageError


def test_operetta_names(shared_data):
    names = [p.name for p in (shared_data / "artifacts" / "sabgal" / "images").glob("*.tif")]
    found = [read_operetta_name(n) for n in names]
    assert len(found) == 17 and Counter(f["well"] for f in found).most_common(2) == [("r6c9", 4), ("r5c5", 3)]
    assert read_operetta_name("r06c09f18p01-ch1sk1fk1fl1_Mask.tiff")["field"] == 18


@pytest.mark.parametrize("name", ["", "r1.tif", "r02c05p01-ch1.tiff", "field_3.tif"])
def test_names_that_say_nothing(name):
    with pytest.raises(ImageError):
        read_operetta_name(name)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(st.one_of(st.characters(), st.characters(categories=["Nd", "No", "Nl"]))), max_size=8),
    st.randoms(),
)
def test_any_names_have_one_order(names, dice):
    "Every Unicode digit, letter and surrogate; equal but for case or zeros, too."
    mixed = list(names)
    dice.shuffle(mixed)
    assert sorted(mixed, key=natural_key) == sorted(names, key=natural_key)


@pytest.mark.parametrize(
    "names",
    [
        ["t1.tif", "t2.tif", "t10.tif"],
        ["t\u00b9", "t\u00b2", "t10"],
        ["\u2460", "\u2461", "\u2469"],
        ["\u0661", "\u0662", "\u0661\u0660"],
        ["x5", "x" + "9" * 5000],
        ["A 1", "a 2", "A 10"],
        ["T02", "T2", "t02", "t2"],
        ["1", "a"],
        ["a", "a1"],
        ["plate 2/t10", "plate 10/t1"],
        ["", "0"],
    ],
)
def test_natural_order(names):
    for mixed in (names, names[::-1]):
        assert sorted(mixed, key=natural_key) == names


def test_hidden_files_and_folders_are_no_images(tmp_path):
    for name in ("b10.TIF", "b9.tif", ".b1.tif", "._b2.tif", "a.csv"):
        (tmp_path / name).touch()
    (tmp_path / "folder.tif").mkdir()
    assert [f.name for f in find_image_files(tmp_path)] == ["b9.tif", "b10.TIF"]
    assert not is_image_name(tmp_path / "a") and is_image_name("x.czi")
    with pytest.raises(ImageError, match="nowhere"):
        find_image_files(tmp_path / "nowhere")


def test_what_servers_tools_and_earlier_runs_leave_is_no_image(tmp_path):
    for name in (
        "A/c.png",
        "A/~snapshot/c.png",
        "A/thumbnails/c.png",
        "~snapshot/A/c.png",
        "work/26/map.png",
        "A/~$c.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("dataset.json", "items.csv"):
        (tmp_path / "work/26" / name).touch()
    with pytest.warns(UserWarning, match=r"left out: 26 \(1\), thumbnails \(1\), ~snapshot \(2\)"):
        assert [f.name for f in find_image_files(tmp_path, deep=True)] == ["c.png"]


def test_a_dataset_json_of_other_programs_hides_no_images(tmp_path):
    for name in ("Dataset001_X/imagesTr/a.png", "Dataset001_X/dataset.json", "B/b.png", "B/dataset.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [f.name for f in find_image_files(tmp_path, deep=True)] == ["b.png", "a.png"]
