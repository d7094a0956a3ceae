"Frames in folders: what stands at the top is a line, or it is asked."

import pytest
from fields import write

from cellprotocols.framesets import read_frames
from cellprotocols.imagesets import read_image_set
from cellprotocols.labelled import LabelledError


def frames(folder, *places):
    for k, place in enumerate(places):
        for i in (1, 2):
            write(folder / place / f"img{i}.png", k)
    return folder


@pytest.mark.parametrize("tops", [("batch_1", "batch_2"), ("2024-01-01", "2024-01-08"), ("train", "test")])
def test_batches_days_and_parts_at_the_top_are_no_lines(tmp_path, tops):
    source = frames(tmp_path, *(f"{top}/{line}" for top in tops for line in ("HeLa", "A549")))
    with pytest.raises(LabelledError, match="a folder for each line at the top") as e:
        read_frames(source)
    pattern = str(e.value).split("pattern=")[1].strip("'").replace(r"\\", "\\")
    found = read_frames(source, pattern)[0]
    assert set(found.line) == {"HeLa", "A549"} and set(found.batch) == set(tops)


def test_lines_that_are_called_like_batches_are_left_alone(tmp_path, recwarn):
    found = read_frames(frames(tmp_path, "exp1/a", "exp2/b", "HeLa/c"))[0]
    assert set(found.line) == {"exp1", "exp2", "HeLa"}


def test_lines_that_differ_in_case_are_said(tmp_path):
    with pytest.warns(UserWarning, match="'HeLa' and 'Hela' are 2 lines"):
        read_frames(frames(tmp_path, "HeLa/b1", "Hela/b2"))


def test_class_folders_with_nearly_the_right_names_are_said(tmp_path):
    source = frames(tmp_path, "Clean", "Artifacts")
    with pytest.raises(LabelledError, match="rename it to 'artifact'"):
        read_image_set(source, ("clean", "artifact"))
    assert len(read_image_set(frames(tmp_path / "new", "Artifacts"), ("clean", "artifact"))[0]) == 2


@pytest.mark.parametrize("times", [("12h", "13.5h"), ("2026-01-30T23-50", "2026-01-31T01-20"), ("720min", "810 min")])
def test_hours_in_names_make_a_sequence(tmp_path, times):
    for line in ("HeLa", "A549"):
        for time in times:
            write(tmp_path / line / "b1" / f"pos1_{time}.png", 0)
    found = read_frames(tmp_path)[0]
    assert found.sequence.nunique() == 2
    assert found.groupby("sequence").hours.apply(lambda h: h.max() - h.min()).tolist() == [1.5, 1.5]
