"Tables of centres: um taken for px, frames that count from 1, and what is said of them."

import numpy as np
import pandas as pd
import pytest

from cellprotocols.centres import CentreError, check_centres, choose_points, find_places, read_points
from cellprotocols.hints import Notes
from cellprotocols.images import write_image
from cellprotocols.labelled import LabelledError, read_labelled

SIZE = dict(frames=6, height=160, width=160, px_um=0.333)


def cells(n=11, frames=6, seed=0, side=160):
    rng = np.random.default_rng(seed)
    yx = rng.uniform(8, side - 8, (n * frames, 2))
    return pd.DataFrame(dict(t=np.repeat(np.arange(frames), n), y=yx[:, 0], x=yx[:, 1]))


def fit(t, tmp_path, unit="", first="", **size):
    t.to_csv(tmp_path / "p.csv", index=False)
    return choose_points(read_points(tmp_path / "p.csv", unit, first), "m.tif", SIZE | size)


def same(got, want):
    np.testing.assert_allclose(got[["t", "y", "x"]].to_numpy(float), want[["t", "y", "x"]].to_numpy(float))


@pytest.mark.parametrize("px_um", [0.1, 0.333, 0.65, None])
def test_um_that_look_like_px_are_asked_for(tmp_path, px_um):
    t = cells()
    um = t.assign(y=t.y * (px_um or 0.3), x=t.x * (px_um or 0.3))
    with pytest.raises(CentreError, match="upper left .*") as e:
        fit(um, tmp_path, px_um=px_um)
    assert 'unit="um"' in str(e.value) and 'unit="px"' in str(e.value)
    same(fit(um, tmp_path, "px", px_um=px_um), um)
    if px_um:
        same(fit(um, tmp_path, "um", px_um=px_um), t)
    else:
        with pytest.raises(CentreError, match="how large a pixel is"):
            fit(um, tmp_path, "um", px_um=px_um)


def test_um_larger_than_the_image_are_named_as_such(tmp_path):
    t = cells()
    um = t.assign(y=t.y * 2.5, x=t.x * 2.5)
    with pytest.raises(CentreError, match='outside the field.*as um, at 2.5 um per px.*unit="um"'):
        fit(um, tmp_path, px_um=2.5)
    same(fit(um, tmp_path, "um", px_um=2.5), t)
    wide = cells().assign(x=lambda t: t.x * 3)[["t", "x", "y"]].rename(columns=dict(x="y", y="x"))
    with pytest.raises(CentreError, match="x and y exchanged"):
        fit(wide, tmp_path, width=480)


@pytest.mark.parametrize(
    "names", [("y_um", "x_um"), ("Y (µm)", "X (µm)"), ("y [um]", "x [um]"), ("y microns", "x microns")]
)
def test_a_unit_in_the_name_of_a_column_is_believed(tmp_path, names):
    t = cells()
    um = pd.DataFrame({"t": t.t, names[0]: t.y * 0.333, names[1]: t.x * 0.333})
    same(fit(um, tmp_path), t)
    px = pd.DataFrame({"t": t.t, "y_px": t.y / 4, "x_px": t.x / 4})
    same(fit(px, tmp_path), t.assign(y=t.y / 4, x=t.x / 4))


def test_px_are_taken_without_a_word(tmp_path):
    listening = Notes()
    for t in (
        cells(),
        cells(1, 6),
        cells().query("y < 50 and x < 100"),
        pd.DataFrame(dict(t=range(6), y=20.0, x=25.0)),
    ):
        same(fit(t, tmp_path), t)
    same(
        fit(cells(20, 6).assign(y=lambda t: t.y * 0.9), tmp_path, px_um=0.95),
        cells(20, 6).assign(y=lambda t: t.y * 0.9),
    )
    told = listening.lines()
    assert len(told) == 0 or all("upper left" in line for line in told[:1]) and len(told) <= 1


def test_a_few_cells_in_the_corner_are_noted(tmp_path):
    listening = Notes()
    t = pd.DataFrame(dict(t=[0, 1], y=[20.0, 40.0], x=[25.0, 5.0]))
    same(fit(t, tmp_path), t)
    (told,) = listening.lines()
    assert "upper left 33%" in told and 'unit="um"' in told and told.startswith("p.csv") or told.startswith("m.tif")


@pytest.mark.parametrize("last", [5, 6])
def test_frames_that_count_from_1_are_asked_for(tmp_path, last):
    t = cells()
    late = t.assign(t=t.t + 1).query("t <= @last")
    with pytest.raises(CentreError) as e:
        fit(late, tmp_path)
    assert 'first="1"' in str(e.value)
    same(fit(late, tmp_path, first="1"), late.assign(t=late.t - 1))
    if last == 5:
        same(fit(late, tmp_path, first="0"), late)
    else:
        with pytest.raises(CentreError, match="t from 0 to 5"):
            fit(late, tmp_path, first="0")


def test_clicks_in_some_frames_are_taken_with_a_note_where_none_is_in_the_first(tmp_path):
    listening = Notes()
    t = cells(4, 40).query("t in [1, 5, 9, 12, 30, 38]")
    same(fit(t, tmp_path, frames=40), t)
    assert not listening.lines(), "six of forty frames need not hold the first"
    t = cells(4, 40).query("t > 0 and t != 20")
    same(fit(t, tmp_path, frames=40), t)
    assert 'first="1"' in listening.lines()[0]


def test_words_that_are_none(tmp_path):
    cells().to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(CentreError, match="unit='mm'"):
        read_points(tmp_path / "p.csv", "mm")
    with pytest.raises(CentreError, match="first='2'"):
        read_points(tmp_path / "p.csv", first="2")
    with pytest.raises(CentreError, match="differ in their unit"):
        find_places(["t", "y_px", "x_um"])
    none = pd.DataFrame(dict(t=[], y=[], x=[]))
    assert not len(check_centres(none, none))


@pytest.fixture
def clicked(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(3):
        image = rng.normal(100, 3, (6, 160, 160, 1)).astype(np.uint8)
        write_image(tmp_path / f"m{k}.tif", image, px_um=0.333)
    t = pd.concat([cells(4, 6, k).assign(file=f"m{k}.tif") for k in range(3)], ignore_index=True)
    return tmp_path / "clicks.csv", t.assign(label=np.where(t.index % 2, "a", "b"))


def test_tables_of_clicks_are_doubted_in_the_same_way(clicked):
    path, t = clicked
    t.to_csv(path, index=False)
    same(read_labelled(path), t)
    um = t.assign(y=t.y * 0.333, x=t.x * 0.333)
    um.to_csv(path, index=False)
    with pytest.raises(LabelledError, match='unit="um"'):
        read_labelled(path)
    same(read_labelled(path, unit="um"), t)
    um.rename(columns=dict(y="y_um", x="x_um")).to_csv(path, index=False)
    same(read_labelled(path), t)
    t.assign(t=t.t + 1).to_csv(path, index=False)
    with pytest.raises(LabelledError, match='first="1"'):
        read_labelled(path)
    same(read_labelled(path, first="1"), t)


def test_a_pixel_size_in_the_table_counts_before_that_of_the_file(clicked):
    path, t = clicked
    t.assign(y_um=t.y * 0.5, x_um=t.x * 0.5, px_um=0.5).drop(columns=["y", "x"]).to_csv(path, index=False)
    same(read_labelled(path), t)


def test_a_damaged_image_is_left_to_where_pixels_are_read(clicked):
    path, t = clicked
    t.to_csv(path, index=False)
    (path.parent / "m1.tif").write_bytes(b"II*\0 nothing")
    same(read_labelled(path), t)


def test_slices_of_single_images_say_nothing(tmp_path):
    for k in range(2):
        write_image(tmp_path / f"s{k}.tif", np.random.default_rng(k).normal(100, 3, (160, 160, 1)).astype(np.uint8))
    rows = "s0.tif,A,{0},30,140\ns0.tif,B,{0},90,20\ns1.tif,A,{0},60,70\n"
    (tmp_path / "r.csv").write_text("file,label,Slice,Y,X\n" + rows.format(1))
    assert read_labelled(tmp_path / "r.csv")[["t", "y", "x"]].to_numpy().tolist() == [
        [0, 30, 140],
        [0, 90, 20],
        [0, 60, 70],
    ]
    (tmp_path / "r.csv").write_text("file,label,t,y,x\n" + rows.format(2))
    with pytest.raises(LabelledError, match="frames that s0.tif does not have"):
        read_labelled(tmp_path / "r.csv")
