"""Movies: which there are, where their cells are, and that only a few frames are held."""

import numpy as np
import pandas as pd
import pytest

from cellprotocols.movies import (
    MovieError,
    choose_channels,
    choose_max_distance,
    cut_cells,
    find_movies,
    find_unlabelled,
    read_points,
    scale_patches,
)


@pytest.mark.parametrize(
    "text, says",
    [
        ("t,y,x\n0,5,5\n0.7,5,5\n", "t is 0.7 in row 3"),
        ("t,y,x\n1e-9,5,5\n", "t is 1e-09 in row 2"),
        ("t,y,x,track_id\n0,5,5,1.5\n", "track_id is 1.5 in row 2"),
        ("t,y,x\n0,5,here\n", "row 2 holds something that is not a number"),
        ("t,y,x\n0,5,inf\n", "row 2 holds something"),
        ("y,x\n1,2\n", "no column t"),
        ("", "not a table"),
    ],
)
def test_tables_of_centres_that_cannot_be_used(tmp_path, text, says):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(MovieError, match=says):
        read_points(tmp_path / "p.csv")


def test_whole_frames_may_be_written_as_numbers_with_a_point(tmp_path):
    (tmp_path / "p.csv").write_text("movie,t,y,x,track_id\n007,0.0,5,5.5,3.0\n007,2.0,6,6.5,3\n")
    t = read_points(tmp_path / "p.csv")
    assert (
        t.t.tolist() == [0, 2]
        and t.track_id.tolist() == [3, 3]
        and t.movie.tolist() == ["007", "007"]
        and t.t.dtype.kind == "i"
    )


def test_an_unknown_pixel_size_is_said(capsys):
    assert choose_max_distance(7.0, 0.35, None) == pytest.approx(20.0) and not capsys.readouterr().out
    assert choose_max_distance(7.0, None, lambda: 31.0) == 31.0
    said = capsys.readouterr().out
    assert "31 px" in said and "px_um" in said and "7 um" in said


def test_channels_that_have_numbers_for_names():
    assert choose_channels(["1", "0"], "0") == [1], "a name wins over a number"
    assert choose_channels(["a", "b", "a"], "a") == [0]
    assert choose_channels(["a"], known=["b"]) == [0]


def test_nothing_is_found_where_there_is_nothing(tmp_path):
    with pytest.raises(MovieError, match="no movie here"):
        find_movies(tmp_path)
    assert find_unlabelled(tmp_path) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("c", [1, 2, 5])
def test_patches_are_scaled_faithfully(dtype, c):
    flat = np.full((2, 20, 20, c), 200, dtype)
    flat[..., c - 1] = 90
    got, ok = scale_patches(flat, np.ones((2, 20, 20), bool), 30, 24)
    assert (
        got.shape == (2, 24, 24, c)
        and ok.shape == (2, 24, 24)
        and ok.all()
        and (got[..., c - 1] == 90).all()
        and (c == 1 or (got[..., 0] == 200).all())
    )
    same, _ = scale_patches(flat, np.ones((2, 20, 20), bool), 20, 20)
    assert same is flat or (same == flat).all()


def test_only_a_few_frames_are_held():
    "Frames come one by one: no more than `most` frames of cells wait for the model."

    class Counting:
        t, seen = -1, []

        def __len__(self):
            return 500

        def __call__(self, t):
            self.seen.append(t)
            return np.zeros((64, 64, 1), np.uint8)

    frames = Counting()
    found = ((t, pd.DataFrame(dict(y=[30.0], x=[30.0]))) for t in range(500))
    for k, (last, table, patches, valid) in enumerate(cut_cells(found, frames, 32, 32)):
        assert len(patches) == 64 if k < 7 else len(patches) == 52
        assert frames.seen[-1] == last and table.t.tolist() == list(range(64 * k, last + 1))
