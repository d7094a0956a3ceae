"Sets of images: what their names say."

import numpy as np
import pytest
from fields import write

from cellprotocols.artifacts.annotate import CLASSES
from cellprotocols.imagesets import read_image_set
from cellprotocols.labelled import LabelledError


def test_the_well_is_in_the_name_also_in_folders(tmp_path):
    img = np.full((40, 40), 1000, np.uint16)
    for c, week in (("clean", "week1"), ("artifact", "week1")):
        write(tmp_path / c / week / f"r02c05f{len(c)}p01-ch1sk1fk1fl1.tiff", img)
    assert set(read_image_set(tmp_path, CLASSES)[0].group) == {"week1_r2c5"}, "one well, one group, whatever its label"


def write_folders(folder, names):
    for name in names:
        write(folder / name / "one.png", np.zeros((40, 40), np.uint8))
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("good", "bad"),
        ("OK", "dirty"),
        ("good", "scratch"),
        ("clean", "artefact"),
        ("clean", "dirty"),
        ("normal", "anomaly"),
        ("Clean", "artifact"),
    ],
    ids="-".join,
)
def test_labels_in_other_words_are_asked_not_lost(tmp_path, names):
    with pytest.raises(LabelledError, match="rename"):
        read_image_set(write_folders(tmp_path, names), CLASSES)


@pytest.mark.parametrize(
    "names", [("normal", "tumour"), ("plate1", "plate2"), ("negative", "positive"), ("1", "2")], ids="-".join
)
def test_other_folders_are_places(tmp_path, names):
    assert set(read_image_set(write_folders(tmp_path, names), CLASSES)[0].group) == {*names}


def test_a_pattern_says_that_folders_are_places(tmp_path):
    found = read_image_set(write_folders(tmp_path, ("good", "bad")), CLASSES, pattern="(one)")[0]
    assert set(found.group) == {"one"} and set(found.label) == {""}
