"What the numbers in file names mean: time, channel, plane, place; gaps keep their time; what cannot be known is asked with the line that answers."

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols.errors import UserError
from cellprotocols.filenames import find_series
from cellprotocols.images import open_image
from cellprotocols.movies import MovieFrames, find_movies, make_finder
from cellprotocols.names import leave_masks
from cellprotocols.sources import ImageError


def make(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        tifffile.imwrite(folder / name, np.full((24, 24), value, np.uint8))
    return folder


def pixels(path):
    with open_image(path) as img:
        return img.shape[:2] + img.shape[4:], [img.frame(t)[0, 0].tolist() for t in range(len(img))]


T, C = range(3), (1, 2)
SCHEMES = {
    "ImageJ": {f"exp_t{t:03d}_c{c:03d}.tif": 10 * t + c for t in T for c in C},
    "Operetta": {f"r01c01f01p01-ch{c}sk{t + 1}fk1fl1.tiff": 10 * t + c for t in T for c in C},
    "MetaMorph": {f"exp 7_w{c}{'GFP' if c == 1 else 'mCherry'}_s1_t{t + 1}.TIF": 10 * t + c for t in T for c in C},
    "ImageXpress": {f"plate_B02_s1_w{c}_t{t}.tif": 10 * t + c for t in T for c in C},
    "Yokogawa": {f"AssayPlate_C03_T{t + 1:04d}F001L01A01Z01C{c:02d}.tif": 10 * t + c for t in T for c in C},
    "Leica": {f"Series003_t{t}_ch{c:02d}.tif": 10 * t + c for t in T for c in C},
    "Micro-Manager": {f"img_{t:09d}_{'DAPI' if c == 1 else 'GFP'}_000.tif": 10 * t + c for t in T for c in C},
    "dyes": {f"exp_{'DAPI' if c == 1 else 'GFP'}_t{t}.tif": 10 * t + c for t in T for c in C},
    "place, time, wavelength": {f"s1_t{t}_w{c}.tif": 10 * t + c for t in T for c in C},
    "IN Cell": {
        f"B - 02(fld 1 wv {d} - {d} time {t + 1} - 90ms).tif": 10 * t + c
        for t in T
        for c, d in ((1, "DAPI"), (2, "FITC"))
    },
    "Cytation": {f"A1_01_1_1_{'DAPI' if c == 1 else 'GFP'}_{t:03d}.tif": 10 * t + c for t in T for c in C},
    "NIS-Elements": {f"expT{t:03d}XY1C{c}.tif": 10 * t + c for t in T for c in C},
    "time last": {f"c{c}_time{t:02d}.tif": 10 * t + c for t in T for c in C},
}


@pytest.mark.parametrize("files", SCHEMES.values(), ids=SCHEMES)
def test_time_and_channels_of_the_common_schemes(tmp_path, files):
    folder = make(tmp_path / "f", files)
    assert find_movies(folder) == [folder]
    assert pixels(folder) == ((3, 1, 2), [[10 * t + 1, 10 * t + 2] for t in T])


PLACES = {
    "fields of a well": [f"r01c01f{f:02d}p01-ch1sk1fk1fl1.tiff" for f in range(1, 5)],
    "wells": [f"r0{r}c0{c}f01p01-ch1sk1fk1fl1.tiff" for r in (1, 2) for c in (1, 2)],
    "positions": [f"w{w}_pos{p}.tif" for w in (1, 2) for p in (1, 2)],
    "Cellomics": [f"AS_09125_0501_{w}f{f:02d}d0.TIF" for w in ("A01", "A02") for f in (0, 1)],
    "IN Cell": [f"B - 02(fld {f} wv DAPI - DAPI).tif" for f in range(1, 5)],
    "well names": [f"plate_{w}_s1.tif" for w in ("A01", "A02", "B01", "B02")],
    "patients": [f"patient{p}.tif" for p in range(4)],
    "words": ["control.tif", "drug.tif", "wash.tif", "end.tif"],
}


@pytest.mark.parametrize("names", PLACES.values(), ids=PLACES)
def test_places_are_movies_of_their_own(tmp_path, names):
    folder = make(tmp_path / "f", {n: i for i, n in enumerate(names)})
    assert sorted(p.name for p in find_movies(folder)) == sorted(names)
    with pytest.raises(ImageError, match="4 images or movies by their names"):
        open_image(folder)


def test_places_with_time_and_channels(tmp_path):
    names = {f"s{s}_t{t}_w{c}.tif": 100 * s + 10 * t + c for s in (1, 2) for t in T for c in C}
    folder = make(tmp_path / "f", names)
    movies = find_movies(folder)
    assert [p.name for p in movies] == ["s1_t{t}_w{c}.tif", "s2_t{t}_w{c}.tif"]
    assert [pixels(m)[1][1] for m in movies] == [[111, 112], [211, 212]]
    assert find_movies(folder / "s{p}_t{t}_w{c}.tif") == movies


def test_gaps_keep_their_time_and_hold_no_cells(tmp_path):
    folder = make(tmp_path / "f", {f"img_t{t:03d}.tif": 50 + t for t in (0, 1, 2, 5, 6)})
    with open_image(folder) as img:
        assert len(img) == 7 and img.missing == {3, 4} and "frames 3, 4 are missing" in img.notes[0]
        assert [int(img.frame(t)[0, 0, 0]) for t in range(7)] == [50, 51, 52, 0, 0, 55, 56]
        assert len(make_finder(MovieFrames(img, [0]), diameter=6.0)(3)) == 0


def test_times_with_a_step_and_clock_times(tmp_path):
    folder = make(tmp_path / "step", {f"t{t:04d}.tif": t for t in (10, 20, 30, 50)})
    with open_image(folder) as img:
        assert len(img) == 5 and img.missing == {3}
    names = {f"VID_B2_1_{h // 24:02d}d{h % 24:02d}h00m.tif": h for h in (0, 2, 4, 24, 26)}
    with open_image(make(tmp_path / "clock", names)) as img:
        assert len(img) == 14 and img.dt_s == 7200 and int(img.frame(12)[0, 0, 0]) == 24
    with open_image(make(tmp_path / "odd", {f"t{t}.tif": i for i, t in enumerate((1, 7, 1000, 90001))})) as img:
        assert len(img) == 4 and not img.missing and "irregular" in img.notes[0]


def test_a_stack_is_no_movie(tmp_path):
    assert pixels(make(tmp_path / "z", {f"img_z{z}.tif": z for z in range(4)}))[0] == (1, 4, 1)


@pytest.mark.parametrize("tail", ["_cp_masks", "_mask", "_seg", "_outlines", "_labels", "_Overlay"])
def test_masks_beside_images_are_left_out_and_said(tmp_path, tail):
    folder = make(tmp_path / "m", {f"f{t}{end}.tif": t + 100 * bool(end) for t in T for end in ("", tail)})
    assert pixels(folder)[1] == [[0], [1], [2]]
    with open_image(folder) as img:
        assert "3 masks or small pictures" in img.notes[0]
    assert len(find_movies(make(tmp_path / "only", {f"f{t}{tail}.tif": t for t in T}))) == 1


def test_what_cannot_be_known_is_asked_with_the_line_that_answers(tmp_path):
    folder = make(tmp_path / "q", {f"img_{a}_{b}.tif": 10 * a + b for a in T for b in C})
    with pytest.raises(ImageError, match="no word .* says what 2 of the numbers") as e:
        find_movies(folder)
    line = str(e.value).split('say it in the name: "')[1].split('"')[0]
    assert line == f"{folder}/img_{{t}}_{{p}}.tif"
    assert [pixels(m)[1] for m in find_movies(line)] == [[[1], [11], [21]], [[2], [12], [22]]]
    assert pixels(folder / "img_{t}_{c}.tif") == ((3, 1, 2), [[1, 2], [11, 12], [21, 22]])
    with pytest.raises(ImageError, match="w{t}.tif"):
        find_movies(make(tmp_path / "w", {"w1.tif": 1, "w2.tif": 2}))


def test_a_channel_that_lacks_a_frame_is_named(tmp_path):
    files = {f"e_t{t}_c{c}.tif": 1 for t in T for c in C if (t, c) != (1, 2)}
    with pytest.raises(ImageError, match="frame 1 of .* has no file for channel '2'"):
        open_image(make(tmp_path / "f", files))


@pytest.mark.slow
@given(st.lists(st.from_regex(r"\A[a-zA-Z0-9_{}. -]{1,14}\Z"), min_size=1, max_size=8, unique=True))
@settings(max_examples=3000, deadline=None)
def test_fuzz_any_names_are_series_or_one_question(names):
    from pathlib import Path

    files = [Path(f"{n}.tif") for n in names]
    try:
        found = find_series("f", files)
    except UserError:
        return
    used = [f for s in found for f in s.files.values()]
    assert len(used) == len(set(used)) and set(used) <= set(files)


def test_hours_in_names_keep_their_time_and_are_said(tmp_path):
    folder = make(tmp_path / "f", {f"dish_{h}h.tif": h for h in (0, 2, 4, 8)})
    assert find_movies(folder) == [folder]
    with open_image(folder) as img:
        assert [int(img.frame(t)[0, 0, 0]) for t in (0, 1, 2, 4)] == [0, 2, 4, 8] and img.dt_s == 7200
        assert any("hours" in n for n in img.notes) and any("3 are missing" in n for n in img.notes)


def test_a_folder_for_each_position_is_a_movie_each(tmp_path):
    for p in (0, 1, 10):
        make(tmp_path / "f" / f"Pos{p}", {f"img_{t:09d}_DAPI_000.tif": p + t for t in T})
    assert [m.name for m in find_movies(tmp_path / "f")] == ["Pos0", "Pos1", "Pos10"]
    two = {f"img_{t:09d}_Default_000.tif": t for t in T} | {"other.tif": 9}
    for p in "ab":
        make(tmp_path / "g" / p, two)
    with pytest.raises(UserError, match="movies of one name.*name one folder"):
        find_movies(tmp_path / "g")


MASKS = {
    "Cell Tracking Challenge": ({f"t{t:03d}.tif": t for t in T}, {f"man_track{t:03d}.tif": 9 for t in T}),
    "before": ({f"a{t}.tif": t for t in T}, {f"mask_a{t}.tif": 9 for t in T}),
    "folders": ({f"images/a{t}.tif": t for t in T}, {f"masks/a{t}.tif": 9 for t in T}),
    "folders and ends": ({f"images/a{t}.tif": t for t in T}, {f"masks/a{t}_mask.tif": 9 for t in T}),
}


@pytest.mark.parametrize("images, masks", MASKS.values(), ids=MASKS)
def test_masks_of_other_schemes_are_left_out(images, masks, tmp_path):
    for name, value in (images | masks).items():
        make((tmp_path / name).parent, {(tmp_path / name).name: value})
    assert {p.relative_to(tmp_path).as_posix() for p in leave_masks(sorted(tmp_path.rglob("*.tif")))[0]} == set(images)
    [movie] = find_movies(tmp_path)
    assert pixels(movie)[1] == [[0], [1], [2]]


def test_masks_beside_movies_are_no_movies(tmp_path):
    for name in ("a.tif", "a_cp_masks.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((5, 24, 24), np.uint8), metadata={"axes": "TYX"})
    with pytest.warns(UserWarning, match="1 masks"):
        assert [m.name for m in find_movies(tmp_path)] == ["a.tif"]


def shapes(folder, names):
    "name -> (frames, planes, channels) of the movies that files of these names make."
    found = {}
    for movie in find_movies(make(folder, {n: k for k, n in enumerate(names)})):
        with open_image(movie) as img:
            found[movie.name] = img.shape[:2] + img.shape[4:]
    return found


def test_hours_with_minutes_and_times_of_day(tmp_path):
    assert shapes(tmp_path / "a", [f"x_{h}.tif" for h in ("0h00m", "0h30m", "1h30m")]) == {"a": (4, 1, 1)}
    assert shapes(tmp_path / "b", [f"x_{h}.tif" for h in ("0d12h", "1d00h", "2d00h")]) == {"b": (4, 1, 1)}
    with open_image(tmp_path / "a") as img:
        assert img.dt_s == 1800 and img.missing == {2}
    clock = [f"img_20240101_{h}.tif" for h in ("080000", "083000", "090000")]
    assert shapes(tmp_path / "c", clock) == {"c": (3, 1, 1)}
    assert shapes(tmp_path / "d", [f"img_{k:06d}.tif" for k in (59, 60, 61)]) == {"d": (3, 1, 1)}


def test_planes_below_zero_stay_in_order(tmp_path):
    assert shapes(tmp_path / "z", ["s_z-1.tif", "s_z0.tif", "s_z1.tif"]) == {"z": (1, 3, 1)}
    with open_image(tmp_path / "z") as img:
        assert [img.frame(0, z)[0, 0, 0] for z in range(3)] == [0, 1, 2]
    make(tmp_path / "more", {f"{p}_z{z}.tif": 0 for p in ("pos1", "pos2") for z in (-1, 0, 1)})
    assert [open_image(m).shape[1] for m in find_movies(tmp_path / "more")] == [3, 3]
    assert shapes(tmp_path / "dash", ["s_z-1.tif", "s_z-2.tif"]) == {"dash": (1, 2, 1)}
    with open_image(tmp_path / "dash") as img:
        assert img.frame(0, 0)[0, 0, 0] == 0  # a hyphen before every number is none below zero


def test_channels_by_wavelength_dye_and_a_number_that_goes_along(tmp_path):
    for name, names in {
        "nm": [f"a_t{t}_{w}nm.tif" for t in (1, 2) for w in (405, 488)],
        "dye": [f"{w}_{t}.tif" for t in (1, 2) for w in ("Hoechst33342", "AF488")],
        "yokogawa": [f"W_B02_T{t:04}F001L01A0{c}Z01C0{c}.tif" for t in (1, 2) for c in (1, 2)],
    }.items():
        assert shapes(tmp_path / name, names) == {name: (2, 1, 2)}


def test_kinds_of_one_format_are_one_movie(tmp_path):
    assert shapes(tmp_path / "k", ["f1.tif", "f2.tiff", "f3.TIF"]) == {"k": (3, 1, 1)}
    two = {f"{p}_t{t}.{k}": 0 for p in ("a", "b") for t, k in ((0, "tif"), (1, "TIFF"))}
    assert [len(open_image(m)) for m in find_movies(make(tmp_path / "two", two))] == [2, 2]


def test_a_column_beside_a_row_is_no_channel(tmp_path):
    with pytest.raises(ImageError, match="say it in the name"):
        shapes(tmp_path / "r", [f"m_r{r}_c{c}.tif" for r in (0, 1) for c in (0, 1)])
    assert len(shapes(tmp_path / "p", [f"m_r{r}c{c}.tif" for r in (0, 1) for c in (0, 1)])) == 4


def grid(name, **values):
    "Names of all combinations of the values."
    from itertools import product

    return [name.format(**dict(zip(values, v))) for v in product(*values.values())]


STILLS = [
    ["img001_s1.tif", "img002_s2.tif", "img003_s3.tif"],
    ["A01_001.tif", "A02_002.tif", "B01_003.tif"],
]


@pytest.mark.parametrize("names", STILLS, ids=lambda names: names[0])
def test_stills_with_a_running_number_keep_their_names_and_open(tmp_path, names):
    assert shapes(tmp_path / "f", names) == dict.fromkeys(names, (1, 1, 1))


RUNNING = {
    "time": ([f"{n:04}_t{n + 4}.tif" for n in (8, 9, 10)], (3, 1, 1)),
    "time and channel": ([f"{t}_t{t}_c{c}.tif" for t in (1, 2, 3) for c in C], (3, 1, 2)),
    "action of a Yokogawa": ([f"W_B02_T0001F001L01A0{c}Z01C0{c}.tif" for c in C], (1, 1, 2)),
}


@pytest.mark.parametrize("names, shape", RUNNING.values(), ids=RUNNING)
def test_a_number_that_runs_along_is_left_out(tmp_path, names, shape):
    assert shapes(tmp_path / "f", names) == {"f": shape}
    with open_image(tmp_path / "f") as img:
        assert any("runs along with time" in n for n in img.notes) == (shape[0] > 1)


ASKED = {
    "three cells, one time each": ["1_t5.tif", "2_t9.tif", "3_t14.tif"],
    "two images": ["1_t1.tif", "2_t2.tif"],
    "two channels of two images": ["img1_ch1.tif", "img2_ch2.tif"],
    "experiments": grid("ex{e}_t{t}.tif", e=(1, 2), t=(1, 2)),
    "embryos": grid("em{e:03}_t{t}.tif", e=(1, 2), t=(1, 2)),
}


@pytest.mark.parametrize("names", ASKED.values(), ids=ASKED)
def test_what_may_be_cells_or_experiments_is_asked(tmp_path, names):
    with pytest.raises(ImageError, match="say it in the name"):
        shapes(tmp_path / "f", names)


@pytest.mark.parametrize("word", ["ex", "em", "laser"])
def test_wavelengths_are_channels(tmp_path, word):
    assert shapes(tmp_path / "f", grid(word + "{c}_t{t}.tif", c=(488, 561), t=(1, 2))) == {"f": (2, 1, 2)}


TIMES = {
    "frames in steps of 50": (range(0, 400, 50), 8, []),
    "frames with a gap": ((0, 50, 100, 200), 5, [3]),
    "clock": ((83000, 84500, 90000, 91500), 4, []),
    "clock with a gap": ((80000, 83000, 93000), 4, [2]),
    "hours with a gap": ((80000, 90000, 110000), 4, [2]),
}


@pytest.mark.parametrize("times, length, missing", TIMES.values(), ids=TIMES)
def test_six_digits_are_frames_or_a_clock(tmp_path, times, length, missing):
    with open_image(make(tmp_path / "f", {f"a_t{t:06}.tif": 1 for t in times})) as img:
        assert len(img) == length and sorted(img.missing) == missing


def test_a_copy_of_another_kind_is_said_with_what_to_do(tmp_path):
    with pytest.raises(ImageError, match="a_s1.tif and a_s1.tiff would be the same image.*move one of them"):
        shapes(tmp_path / "f", ["a_s1.tif", "a_s1.tiff", "a_s2.tif"])


def test_a_letter_c_is_proposed_as_channel(tmp_path):
    folder = make(tmp_path / "f", dict.fromkeys(grid("R1_C{c}_t{t}.tif", c=C, t=T), 1))
    with pytest.raises(ImageError, match=r"R1_C\{c\}_t\{t\}.tif"):
        find_movies(folder)
    assert pixels(folder / "R1_C{c}_t{t}.tif")[0] == (3, 1, 2)


def test_dyes_of_two_words_are_channels(tmp_path):
    dyes = ("Alexa Fluor 488", "Alexa Fluor 561", "Hoechst 33342")
    assert shapes(tmp_path / "one", [f"p1_{d}.tif" for d in dyes]) == {"one": (1, 1, 3)}
    assert shapes(tmp_path / "t", [f"{d}_t{t}.tif" for d in dyes for t in T]) == {"t": (3, 1, 3)}


@pytest.mark.parametrize(
    ("times", "dt"),
    [
        (["0h", "0.5h", "1h"], 30),
        (["0,5h", "1,0h", "1,5h"], 30),
        (["t9.5h", "t10h", "t10.5h"], 30),
        (["2026-01-30T23-50-00", "2026-01-31T00-00-00", "2026-01-31T00-10-00"], 10),
        (["20260130T235000", "20260131T000000", "20260131T001000"], 10),
        (["2026-01-30_23-50", "2026-01-31_00-00", "2026-01-31_00-10"], 10),
        (["30s", "60 sec", "90s"], 0.5),
    ],
    ids=["points", "commas", "a t before", "ISO", "ISO without gaps", "a date and a clock", "seconds"],
)
def test_parts_of_hours_and_dates_are_times_with_their_interval(tmp_path, times, dt):
    folder = make(tmp_path / "f", {f"img_{time}.tif": k for k, time in enumerate(times)})
    assert find_movies(folder) == [folder]
    with open_image(folder) as img:
        assert img.dt_s == 60 * dt
    assert pixels(folder)[1] == [[0], [1], [2]]


def test_times_of_day_that_pass_midnight_stay_in_order(tmp_path):
    names = ("img_235000.tif", "img_000000.tif", "img_001000.tif")
    [series] = find_series(tmp_path, [tmp_path / name for name in names])
    assert [series.files[t, 0, 0].name for t in range(3)] == [*names]
    assert "the times of day in the names pass midnight" in series.notes


@pytest.mark.parametrize("names", [("20260130_235000", "20260131_000000"), ("2026-01-30", "2026-02-01")])
def test_what_may_be_a_date_is_asked_and_the_answer_is_right(tmp_path, names):
    folder = make(tmp_path / "f", {f"img_{name}.tif": k for k, name in enumerate(names)})
    with pytest.raises(ImageError, match=r"/img_\{t\}\.tif") as asked:
        find_movies(folder)
    answer = str(asked.value).split('"')[1]
    assert pixels(answer)[1] == [[0], [1]]


def test_a_day_that_is_none_is_said(tmp_path):
    with pytest.raises(ImageError, match="is no day of the calendar"):
        find_series(tmp_path, [tmp_path / f"img_2026-04-{day}T12-00.tif" for day in (30, 31)])


@pytest.mark.parametrize("dyes", [("SiR-DNA", "GFP"), ("SPY650-DNA", "GFP"), ("DRAQ5", "BF")])
def test_dyes_with_a_hyphen_are_channels(tmp_path, dyes):
    folder = make(tmp_path / "f", {f"a_{dye}_t{t}.tif": 10 * t + c for t in T for c, dye in enumerate(dyes)})
    assert find_movies(folder) == [folder]
