"Fields in four files, as strangers bring them."

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from cellprotocols.channelchecks import check_channels, measure_alignment
from cellprotocols.channelfiles import (
    ChannelError,
    find_channel_files,
    measure_channels,
    read_channel_name,
    read_channel_set,
    read_channels,
    read_weak_labels,
)
from cellprotocols.images import ImageError
from cellprotocols.locations import CHANNELS
from cellprotocols.synth_organelles import make_organelle_field

FIELD = make_organelle_field((0,), size=(128, 160), seed=1)


def write(folder, name, suffixes=CHANNELS, end=".png", change=lambda c, x: x):
    for colour, suffix in zip(CHANNELS, suffixes):
        cv2.imwrite(str(folder / f"{name}_{suffix}{end}"), change(colour, getattr(FIELD, colour)))


def only(folder, **kw):
    table = find_channel_files(folder)
    assert len(table) == 1
    return read_channels(table.iloc[0], folder, **kw)


@pytest.mark.parametrize("suffixes", ["red green blue yellow", "R G B Y", "mt prot nuc er", "MT Protein DAPI ER"])
def test_every_way_to_name_the_channels(tmp_path, suffixes):
    write(tmp_path, "Zelle ä_1", suffixes.split())
    planes = only(tmp_path)
    assert all((planes[c] == getattr(FIELD, c)).all() for c in CHANNELS)


def test_coloured_files_and_transparency_become_one_plane(tmp_path):
    shown = dict(red=[2], green=[1], blue=[0], yellow=[1, 2])

    def colour(c, x):
        out = np.zeros((*x.shape, 4), np.uint8)
        out[..., shown[c]] = x[..., None]
        out[..., 3] = 255
        return out

    write(tmp_path, "1_A1_1", change=colour)
    planes = only(tmp_path)
    assert all((planes[c] == getattr(FIELD, c)).all() for c in CHANNELS)
    write(tmp_path, "1_A1_1", end=".jpg", change=lambda c, x: colour(c, x)[..., :3])
    with pytest.raises(ChannelError, match="two files of the channel"):
        find_channel_files(tmp_path)


def test_sixteen_bits_stay_sixteen_bits(tmp_path):
    write(tmp_path, "a", end=".tif", change=lambda c, x: x.astype(np.uint16) * 200)
    assert only(tmp_path)["blue"].dtype == np.uint16 and only(tmp_path)["blue"].max() > 255


@pytest.mark.parametrize("how", ["pages", "planar", "last"])
def test_four_channels_in_one_tiff(tmp_path, how):
    x = np.stack([getattr(FIELD, c) for c in CHANNELS])
    if how == "last":
        tifffile.imwrite(tmp_path / "f.tif", np.moveaxis(x, 0, -1), photometric="minisblack", planarconfig="contig")
    elif how == "planar":
        tifffile.imwrite(tmp_path / "f.tif", x, photometric="minisblack", metadata={"axes": "CYX"}, ome=True)
    else:
        tifffile.imwrite(tmp_path / "f.tif", x, photometric="minisblack")
    with pytest.raises(ChannelError, match="RGBY"):
        only(tmp_path)
    planes = only(tmp_path, order="RGBY")
    assert all((planes[c] == getattr(FIELD, c)).all() for c in CHANNELS)
    with pytest.raises(ChannelError, match="each once"):
        only(tmp_path, order="RRBY")


def test_what_lacks_is_named(tmp_path):
    write(tmp_path, "a", ("red", "green", "blue", "x"))
    table, said = read_channel_set(tmp_path)
    assert "1 fields have no yellow file, such as a" in said and "no channel yellow" in check_channels(
        read_channels(table.iloc[0], tmp_path)
    )
    (tmp_path / "a_blue.png").unlink()
    with pytest.raises(ChannelError, match="no file of the channel blue"):
        only(tmp_path)


def test_files_of_two_sizes_are_refused(tmp_path):
    write(tmp_path, "a", change=lambda c, x: x[:100] if c == "red" else x)
    with pytest.raises(ChannelError, match="red 100 x 160 px"):
        only(tmp_path)


def test_broken_files_and_empty_folders(tmp_path):
    with pytest.raises(ChannelError, match="0 images"):
        find_channel_files(tmp_path)
    write(tmp_path, "a")
    (tmp_path / "a_green.png").write_bytes((tmp_path / "a_green.png").read_bytes()[:200])
    with pytest.raises(ImageError):
        only(tmp_path)


def test_swapped_same_empty_and_saturated_channels_are_said():
    planes = {c: getattr(FIELD, c) for c in CHANNELS}
    assert check_channels(planes) == []
    for other in ("red", "yellow"):
        said = check_channels(planes | {"blue": planes[other], other: planes["blue"]})
        assert said == [f"{other} looks more like nuclei than blue does: were {other} and blue swapped?"]
    assert "the same picture" in check_channels(planes | dict(yellow=planes["red"]))[0]
    assert "red is empty" in check_channels(planes | dict(red=np.zeros_like(FIELD.red)))[0]
    assert (
        "saturated"
        in check_channels(planes | dict(green=np.minimum(FIELD.green.astype(int) * 9, 255).astype(np.uint8)))[0]
    )


def test_channels_of_two_fields_are_said():
    other = make_organelle_field((0,), size=(128, 160), seed=2)
    planes = {c: getattr(FIELD, c) for c in CHANNELS}
    assert check_channels(planes | dict(yellow=other.yellow)) == [
        "yellow does not fit the nuclei: is it of another field?"
    ]
    alone = {c: planes[c] for c in ("blue", "red")}
    assert check_channels(alone) == ["no channel green", "no channel yellow"]
    assert np.isnan(measure_alignment(planes["blue"], planes["red"] * 0))


def test_one_name_in_two_folders_is_two_fields(tmp_path):
    for home in ("p1", "p2"):
        (tmp_path / home).mkdir()
        write(tmp_path / home, "7_B2_1")
    table, _ = read_channel_set(tmp_path)
    assert table.id.tolist() == ["p1/7_B2_1", "p2/7_B2_1"] and table["sample"].tolist() == ["p1/7_B2", "p2/7_B2"]


def test_samples_from_names_a_pattern_or_the_table(tmp_path):
    for name in ("7_B2_1", "7_B2_2", "7_B3_1"):
        write(tmp_path, name)
    assert read_channel_set(tmp_path)[0]["sample"].tolist() == ["7_B2", "7_B2", "7_B3"]
    assert read_channel_set(tmp_path, pattern=r"^(\d+)_")[0]["sample"].tolist() == ["7"] * 3
    ids = ["7_B2_1", "7_B2_2", "gone"]
    pd.DataFrame(dict(ID=ids, Label=["0", "8|5|0", "3"], sample="s")).to_csv(tmp_path / "train.csv", index=False)
    table, said = read_channel_set(tmp_path)
    assert table["sample"].tolist() == ["s", "s", "7_B3"] and table.label.tolist() == ["0", "0|5|8", ""]
    assert said == ["1 rows of the table have no image, such as gone", "1 fields have no label, such as 7_B3_1"]


@pytest.mark.parametrize(
    "text, match",
    [
        ("ID,Label\na,0|19\n", "row 2: the class '19'"),
        ("ID,Label\na,Golgi aparatus\n", "did you mean 'Golgi apparatus'"),
        ("ID,Label\na,18|0\n", "Negative"),
        ("ID,Class\na,0\n", "a column Label"),
        ("ID,Label\na,0\na,1\n", "two labels for 'a'"),
    ],
)
def test_tables_that_cannot_be_right(tmp_path, text, match):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ChannelError, match=match):
        read_weak_labels(tmp_path / "t.csv")


def test_seven_real_fields_read_without_a_doubt(shared_data):
    folder = shared_data / "organelles" / "hpa_quarter"
    table, said = read_channel_set(folder)
    assert len(table) == 7 and "7 fields whose names say no sample" in said[0] and (table.label != "").all()
    for row in table.itertuples():
        planes = read_channels(row, folder)
        assert check_channels(planes) == [], row.id
        assert len(check_channels(planes | dict(blue=planes["red"], red=planes["blue"]))) == 1, row.id


def test_names_without_a_channel():
    for name in ("a_cellmask.png", "predictedmask.png", "_red.png", "ared.png"):
        assert read_channel_name(name) == ("", "")


@pytest.mark.parametrize("stack", [False, True], ids=["four files", "one file"])
@pytest.mark.parametrize("masks", [["a_cp_masks.png", "a_cells.tif"], ["masks/a.tif"], ["mine/a_cells.tif"]])
def test_masks_beside_the_fields_are_no_fields(tmp_path, masks, stack):
    if stack:
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 16, 16), np.uint8), photometric="minisblack")
    else:
        write(tmp_path, "a")
        (tmp_path / "a_blue_mask.png").write_bytes((tmp_path / "a_blue.png").read_bytes())
    for name in masks:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((16, 16), np.uint8))
    t, said = read_channel_set(tmp_path)
    assert t.id.tolist() == ["a"] and bool(t.stackfile[0]) == stack
    if not stack:
        assert any("masks or small pictures" in s for s in said), said


def test_a_composite_of_all_channels_is_no_field(tmp_path):
    for end in (*CHANNELS, "blue_red_green"):
        cv2.imwrite(str(tmp_path / f"7_A1_1_{end}.png"), np.zeros((20, 20), np.uint8))
    fields, said = read_channel_set(tmp_path)
    assert fields.id.tolist() == ["7_A1_1"] and "1 images are no channel: not read" in " ".join(said)


def test_pixels_that_are_no_number_are_black_and_said(tmp_path):
    rng = np.random.default_rng(0)
    for c in CHANNELS:
        x = 100 + rng.random((60, 60)).astype(np.float32)
        x[:12] = np.nan
        tifffile.imwrite(tmp_path / f"7_A1_1_{c}.tif", x if c != "green" else np.full_like(x, np.nan))
    row = next(read_channel_set(tmp_path)[0].itertuples())
    planes = read_channels(row, tmp_path)
    assert all(np.isfinite(x).all() for x in planes.values()) and planes["red"].min() >= 100
    said = measure_channels(row, tmp_path)["remarks"]
    assert "red: 20% of its pixels hold no number and count as black" in said and "green is empty" in said


def test_pixels_that_are_no_number_are_counted(tmp_path):
    for c in CHANNELS:
        x = getattr(FIELD, c).astype(np.float32)
        if c == "red":
            x[:40], x[40:80], x[80:96] = np.nan, np.inf, -np.inf
        tifffile.imwrite(tmp_path / f"a_{c}.tif", x)
    said = measure_channels(find_channel_files(tmp_path).iloc[0], tmp_path)["remarks"]
    assert "red: 75% of its pixels hold no number" in said and said.count("hold no number") == 1
