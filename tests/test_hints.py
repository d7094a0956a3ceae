"hints: what files do not say is told once, reaches every later step, and what was assumed reaches screen and report."

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellprotocols import cli
from cellprotocols.artifacts import annotate as label_images, patches as cut_tiles
from cellprotocols.chromatin import annotate, patches
from cellprotocols.fields import ImageAnnotator
from cellprotocols.frames import Frames
from cellprotocols.hints import Hints, Notes, find_hints, give_hints
from cellprotocols.images import open_image
from cellprotocols.methods import make_settings_section
from cellprotocols.sources import ImageError
from cellprotocols.steps import read_notes

rng = np.random.default_rng(0)


@pytest.fixture
def clicks(tmp_path):
    "A stack of two channels saved without names, and clicks in it."
    stack = np.stack([rng.integers(10, 60, (90, 100)), rng.integers(100, 200, (90, 100))]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", stack, photometric="minisblack")
    table = pd.DataFrame(
        dict(file="m.tif", t=0, y=[30, 50, 40], x=[40, 60, 50], label=["a", "b", "a"], group=["1", "2", "3"])
    )
    table.to_csv(tmp_path / "c.csv", index=False)
    return tmp_path, stack


def test_axes_are_asked_in_the_first_step_and_known_in_the_next(clicks, capsys):
    folder, stack = clicks
    with pytest.raises(ImageError, match='axes="TCYX"'):
        annotate.run(str(folder / "c.csv"), str(folder / "21_annotate"))
    annotate.run(str(folder / "c.csv"), str(folder / "21_annotate"), axes="CYX", px_um=0.4)
    give_hints(folder, Hints())  # as in a new session
    made = patches.run(str(folder / "21_annotate"), str(folder / "22_patches"))
    assert made["patches"].shape[3] == 2 and made.items.px_um.tolist() == [0.4] * 3
    assert np.array_equal(made["patches"][1], stack[:, 18:82, 28:92].transpose(1, 2, 0))
    assert not read_notes(made) and "note" not in capsys.readouterr().out


def test_the_command_line_says_it_in_its_own_words(clicks, capsys):
    folder, _ = clicks
    line = ["chromatin", "annotate", "--source", str(folder / "c.csv"), "--out", str(folder / "o")]
    assert cli.main(line) == 2
    assert "--axes TCYX" in capsys.readouterr().err
    assert cli.main([*line, "--axes", "CYX"]) == 0


def test_what_was_assumed_is_printed_kept_and_reported(tmp_path, capsys):
    stack = rng.integers(10, 60, (9, 90, 100)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", 255 - stack, photometric="miniswhite")
    table = pd.DataFrame(dict(file="m.tif", t=[0, 4, 8], y=40, x=50, label=["a", "b", "a"], group=["1", "2", "3"]))
    table.to_csv(tmp_path / "c.csv", index=False)
    annotate.run(str(tmp_path / "c.csv"), str(tmp_path / "21_annotate"))
    made = patches.run(str(tmp_path / "21_annotate"), str(tmp_path / "22_patches"))
    assert np.array_equal(made["patches"][1, ..., 0], stack[4, 8:72, 18:82])
    said = capsys.readouterr().out
    for part in ("m.tif: min-is-white", "taken as time"):
        assert part in said and part in " ".join(read_notes(made))
        assert any(part in getattr(i, "text", "") for i in make_settings_section([made]).items)
    patches.run(str(tmp_path / "21_annotate"), str(tmp_path / "22_patches"))
    assert "min-is-white" in capsys.readouterr().out  # done before, and said again


def test_the_page_says_what_was_assumed(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((9, 30, 40), np.uint8), photometric="minisblack")
    page = ImageAnnotator([tmp_path / "m.tif"], ["a", "b"], tmp_path / "log.jsonl")
    page.answer({"do": "field", "f": 0})
    assert page.notes() == page.answer({"do": "hello"})[0]["notes"]
    assert len(page.notes()) == 1 and "m.tif" in page.notes()[0] and "taken as time" in page.notes()[0]
    assert not page.problems  # a note is no alarm


def test_artifacts_reads_the_channel_it_was_told(tmp_path):
    for k in range(3):
        two = np.stack([np.full((96, 96), 9), rng.normal(20_000, 300, (96, 96))]).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"f{k}.tif", two, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    label_images.run(str(tmp_path), str(tmp_path / "out" / "51_annotate"), channels="1", px_um=0.5)
    give_hints(tmp_path, Hints())
    made = cut_tiles.run(str(tmp_path / "out" / "51_annotate"), str(tmp_path / "out" / "52_patches"), dust=False)
    assert made.items.px_um.tolist() == [0.5] * 3 and (made.items.level > 19_000).all()


def test_hints_of_a_file_win_over_those_of_its_folder(tmp_path):
    give_hints(tmp_path, Hints(series="1"))
    give_hints(tmp_path / "a" / "b.tif", Hints(px_um=0.5))
    assert find_hints(tmp_path / "a" / "c.tif").series == "1" and find_hints(tmp_path / "a" / "b.tif").px_um == 0.5
    assert find_hints(tmp_path.parent / "a.tif") == Hints() and find_hints(None) == Hints()


def test_notes_are_counted_by_file_and_only_while_somebody_listens(tmp_path):
    for k in range(3):
        tifffile.imwrite(tmp_path / f"{k}.tif", np.zeros((9, 9), np.uint8), photometric="miniswhite")
    notes = Notes()
    for _ in range(2):
        for k in range(3):
            open_image(tmp_path / f"{k}.tif").close()
    assert len(notes.lines()) == 1 and notes.lines()[0].startswith("0.tif and 2 more: min-is-white")
    movie = Notes()
    with open_image(tmp_path) as img:
        assert len(img) == 3 and len(movie.lines()) == len(img.notes) == 2
        assert sum("min-is-white" in n for n in img.notes) == 1


@pytest.mark.parametrize(
    "shape, axes, want",
    [
        ((5, 24, 32), "", [5, 1, 24, 32, 1]),
        ((24, 32, 3), "", [1, 1, 24, 32, 3]),
        ((2, 24, 32), "CYX", [1, 1, 24, 32, 2]),
        ((2, 3, 4, 24, 32), "TZCYX", [2, 3, 24, 32, 4]),
    ],
)
def test_arrays_on_the_page(shape, axes, want):
    frames = Frames(rng.random(shape), axes=axes)
    assert frames.info()["shape"] == want
    assert bool(frames.movie.notes) == (shape == (5, 24, 32))


def test_transparency_is_not_shown_as_a_channel(tmp_path):
    rgba = rng.integers(0, 255, (30, 40, 4)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    info = Frames(tmp_path / "a.tif").info()
    assert info["rgb"] and info["shape"][4] == 3 and np.array_equal(Frames(tmp_path / "a.tif").view(), rgba[..., :3])
