"""Movies: which there are, where their cells are, and that only a few frames are held."""

import time

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellprotocols.cells import find_centroids
from cellprotocols.images import open_image, open_labels, write_image
from cellprotocols.movies import (
    MovieError,
    MovieFrames,
    choose_channels,
    choose_max_distance,
    cut_cells,
    find_movies,
    find_unlabelled,
    make_finder,
    scale_patches,
)
from cellprotocols.centres import CentreError, read_points
from cellprotocols.sources import Channels


@pytest.mark.parametrize(
    "text, says",
    [
        ("t,y,x\n0,5,5\n0.7,5,5\n", "t is 0.7 in row 3"),
        ("t,y,x\n1e-9,5,5\n", "t is 1e-09 in row 2"),
        ("t,y,x,track_id\n0,5,5,1.5\n", "track_id is 1.5 in row 2"),
        ("t,y,x\n0,5,here\n", "'here' in column 'x', row 2 is not a number"),
        ("t,y,x\n0,5,inf\n", "row 2 is not a number"),
        ("y,x\n1,2\n", "no column t"),
        ("", "the table has no rows"),
    ],
)
def test_tables_of_centres_that_cannot_be_used(tmp_path, text, says):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(CentreError, match=says):
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
    assert choose_channels(["a"], known=["b"]) == [0]


@pytest.mark.parametrize(
    "names, known, want",
    [
        (["Camera", "Camera"], ["Camera", "Camera"], [0, 1]),
        (["Camera", "GFP", "Camera"], ["Camera", "Camera", "GFP"], [0, 2, 1]),
        (["GFP", "DNA"], ["DNA", "GFP"], [1, 0]),
        (["C0", "C1"], ["Camera", "Camera"], [0, 1]),
        (["Camera", "Camera"], ["C0", "C1"], [0, 1]),
        (["A", "alpha"], ["alpha", "A"], [1, 0]),
        (Channels("RGBA", alpha=[3]), list("RGB"), [0, 1, 2]),
        (Channels("RGBA", alpha=[3]), ["x", "y", "z"], [0, 1, 2]),
    ],
)
def test_channels_of_a_model_are_found_by_name_or_place(names, known, want):
    assert choose_channels(names, known=known) == want


@pytest.mark.parametrize(
    "names, wanted, known",
    [
        (["a", "b", "a"], "a", []),
        (["Camera", "Camera", "GFP"], "", ["Camera"]),
        (["BF", "GFP", "DNA"], "", ["C0"]),
        (["BF"], "1", []),
    ],
)
def test_channels_that_cannot_be_told_are_asked_for(names, wanted, known):
    with pytest.raises(MovieError, match="channels="):
        choose_channels(names, wanted, known)


def test_only_the_format_says_what_is_transparent():
    for names in (["A", "B"], ["alpha", "GFP"], ["a"]):
        assert choose_channels(names) == list(range(len(names)))
    assert choose_channels(Channels(["gray", "A"], alpha=[1])) == [0]


@pytest.mark.parametrize(
    "kind", ["plain", "colours", "float", "beyond 31 bits", "beyond 32 bits", "nearly 64 bits", "colours and alpha"]
)
def test_label_images_in_any_encoding_keep_their_objects(tmp_path, kind):
    lab = np.zeros((100, 100), np.uint8)
    for k, (y, x) in enumerate([(10, 10), (10, 50), (50, 10), (50, 50), (75, 80)], 1):
        lab[y : y + 12, x : x + 12] = k
    colours = np.array([(0, 0, 0), (100, 0, 0), (0, 100, 0), (0, 0, 100), (100, 100, 0), (100, 0, 100)], np.uint8)[lab]
    img = {
        "plain": lab,
        "colours": colours,
        "float": lab.astype(np.float32),
        "beyond 31 bits": np.where(lab == 3, np.int64(3_000_000_000), lab).astype(np.uint32),
        "beyond 32 bits": np.where(lab == 3, np.int64(2**33 + 2), lab),
        "nearly 64 bits": np.where(lab == 3, np.uint64(2**64 - 1), lab.astype(np.uint64)),
        "colours and alpha": np.dstack([colours, np.full((100, 100), 255, np.uint8)]),
    }[kind]
    more = {"photometric": "rgb", "extrasamples": ["unassalpha"][: img.shape[2] - 3]} if img.ndim == 3 else {}
    tifffile.imwrite(tmp_path / "labels.tif", img, **more)
    tifffile.imwrite(tmp_path / "movie.tif", lab)
    with open_image(tmp_path / "movie.tif") as movie, open_image(tmp_path / "labels.tif") as labels:
        found = make_finder(MovieFrames(movie, [0]), labels)(0)
    assert found.area.tolist() == [144] * 5
    assert sorted(zip(found.y, found.x)) == [(15.5, 15.5), (15.5, 55.5), (55.5, 15.5), (55.5, 55.5), (80.5, 85.5)]


@pytest.mark.parametrize("bad", ["photo", "fractions", "two channels", "no black"])
def test_what_is_no_label_image_is_refused(tmp_path, bad):
    rng = np.random.default_rng(0)
    img = {
        "photo": rng.integers(0, 255, (60, 60, 3)).astype(np.uint8),
        "fractions": rng.random((60, 60)).astype(np.float32),
        "two channels": np.zeros((2, 60, 60), np.uint8),
        "no black": np.array([(9, 0, 0), (0, 9, 0)], np.uint8)[np.eye(60, dtype=int)],
    }[bad]
    write_image(tmp_path / "l.tif", img, axes="CYX" if bad == "two channels" else None)
    with open_image(tmp_path / "l.tif") as labels, pytest.raises(MovieError, match="l.tif"):
        make_finder(MovieFrames(labels, [0]), labels)


def test_sparse_ids_are_quick():
    lab = np.zeros((1500, 1500), np.int64)
    lab[::30, ::30] = np.arange(2500).reshape(50, 50) * 10**14 + 1
    start = time.process_time()
    assert len(find_centroids(lab)) == 2500
    assert time.process_time() - start < 2


@pytest.mark.parametrize("hole", ["NaN", "zeros", "masked"])
def test_a_rim_that_holds_nothing_is_not_valid_in_patches(tmp_path, hole):
    whole = np.random.default_rng(0).integers(900, 1100, (80, 80, 1)).astype(np.float32)
    img = whole.copy()
    img[:30] = np.nan if hole == "NaN" else 0
    if hole == "masked":
        img = np.ma.masked_array(whole, np.arange(80)[:, None, None] * np.ones((1, 80, 1)) < 30)
    found = ((0, pd.DataFrame(dict(y=[40.0], x=[40.0]))) for _ in range(1))

    class Frames(list):
        def __call__(self, t):
            return self[t]

    ((_, _, patches, valid),) = cut_cells(found, Frames([img]), 32, 32)
    assert (valid[0].all(1) == (np.arange(32) >= 6)).all() and not valid[0, :6].any()
    assert np.array_equal(patches[0, 6:], whole[30:56, 24:56]) and (patches[0] > 800).all()


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


def test_slices_of_label_images_are_the_frames_of_a_movie(tmp_path):
    labels = np.zeros((4, 60, 60), np.uint16)
    for t in range(4):
        labels[t, 5:12, 5:12], labels[t, 40:50, 5 * t : 5 * t + 9] = 1, 2
    write_image(tmp_path / "movie.tif", labels, "TYX")
    write_image(tmp_path / "labels.tif", labels, "ZYX")
    with open_image(tmp_path / "movie.tif") as movie, open_labels(tmp_path / "labels.tif") as masks:
        assert make_finder(MovieFrames(movie, [0]), masks)(3).x.tolist() == [8, 19]


@pytest.mark.parametrize(
    "names, want",
    [
        (["gfp", "dapi"], [1, 0]),
        (["GFP ", "DAPI"], [1, 0]),
        (["Cy5", "gfp", "dapi"], [2, 1]),
        (["DAPI", "mCherry"], [0, 1]),
        (["DAPI 405", "eGFP"], [0, 1]),
        (["C0", "C1"], [0, 1]),
        (["GFP", "mCherry"], None),
        (["Cy5", "DAPI"], None),
        (["GFP-A", "DAPI-A"], None),
        (["em_gfp", "ex_dapi"], None),
    ],
)
def test_names_that_speak_against_places(names, want):
    if want:
        assert choose_channels(names, known=["DAPI", "GFP"]) == want
        return
    with pytest.raises(MovieError, match='channels="0,1"'):
        choose_channels(names, known=["DAPI", "GFP"])
    assert choose_channels(names, "0,1", ["DAPI", "GFP"]) == [0, 1]
