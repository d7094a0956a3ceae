"""Clicks and labelled cells of any source: annotation zips, golden numbers of the published data, groups, classes.

The codes in the names (A1, R3, T6 ...) are those of the specification's list of defects; G1, G7 ... are its golden numbers."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellprotocols.clicks import group_clicks, read_annotation_zip, write_annotation_zip
from cellprotocols.errors import UserError
from cellprotocols.labelled import LabelledError
from cellprotocols.pixels import iter_pixels, read_shapes
from cellprotocols.cellsets import order_classes, read_cells

STATES = ("Interphase", "Prometaphase", "Metaphase", "Anaphase", "Apoptosis")
COUNTS = dict(Interphase=11, Prometaphase=17, Metaphase=8, Anaphase=20, Apoptosis=20)


def practice_table(n=6, size=32, channels=1, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    t = pd.DataFrame(
        dict(
            label=[STATES[i % 5] for i in range(n)],
            t=np.arange(n, dtype=float),
            y=rng.uniform(0, 400, n),
            x=rng.uniform(0, 400, n),
            flagged=[i == 3 for i in range(n)],
            movie="m.tif",
        )
    )
    pixels = rng.integers(0, np.iinfo(dtype).max + 1, (n, size, size, channels)).astype(dtype)
    return t, pixels


def pixels_of(table, root):
    return [a for _, a in sorted(((i, a) for i, a, _ in iter_pixels(table, root)), key=lambda p: p[0])]


def patch_zip(path, members, meta):
    with zipfile.ZipFile(path, "w") as z:
        for name, img in members.items():
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, img, photometric="minisblack")
            z.writestr(name, buffer.getvalue())
        if meta is not None:
            z.writestr("annotation_1.json", meta if isinstance(meta, (str, bytes)) else json.dumps(meta))
    return path


EYE = np.eye(8, dtype=np.uint8)
META = {"shape": 8, "coords-0": [0, 1], "coords-1": [5.0, 6.0], "coords-2": [7.0, 8.0], "labels": ["a", "b"]}


# --- annotation zips


def test_G1_the_published_zip(main_zip):
    t = read_annotation_zip(main_zip)
    assert len(t) == 76 and t.label.value_counts().to_dict() == COUNTS
    assert t.flagged.sum() == 8 and set(t.label[t.flagged]) == {"Apoptosis"}
    assert (
        (t.t.min(), t.t.max()) == (0, 49)
        and round(t.y.min(), 1) == 1.9
        and round(t.y.max(), 1) == 445.9
        and round(t.x.min(), 1) == 2.3
        and round(t.x.max(), 1) == 597.9
    )
    assert set(t.movie) == {"MDCK_H2B_GFP_movie.tif"} and set(t["at"]) == {"03-08-2021--13-39-57"}
    s = read_shapes(t, main_zip.parent)
    assert set(s.height) == set(s.width) == {64} and set(s.channels) == {1} and set(s["dtype"].astype(str)) == {"uint8"}
    with zipfile.ZipFile(main_zip) as z:
        assert "flagged" not in json.loads(z.read("annotation_03-08-2021--13-39-57.json"))


def test_G1_the_published_zip_survives_write_and_read(main_zip, tmp_path):
    t = read_annotation_zip(main_zip)
    before = pixels_of(t, main_zip.parent)
    made = write_annotation_zip(tmp_path, t, np.stack(before), "01-02-2026--03-04-05", STATES)
    u = read_annotation_zip(made)
    same = ["label", "t", "y", "x", "flagged", "movie"]
    pd.testing.assert_frame_equal(t[same], u[same])
    assert all(np.array_equal(a, b) for a, b in zip(before, pixels_of(u, tmp_path), strict=True))
    with zipfile.ZipFile(made) as z:
        meta = json.loads(z.read("annotation_01-02-2026--03-04-05.json"))
        assert {i.compress_type for i in z.infolist()} == {zipfile.ZIP_STORED} and len(z.namelist()) == 77
    assert (
        meta["states"] == {s: i for i, s in enumerate(STATES)}
        and meta["shape"] == 64
        and len(meta["flagged"]) == len(meta["coords-2"]) == 76
    )


def test_G8_R4_the_older_zips_without_states_and_flags(zips):
    tables = {z.name: read_annotation_zip(z) for z in sorted(zips.glob("*.zip"))}
    assert sorted(len(t) for t in tables.values()) == sorted([76, 83, 18, 5, 20, 31, 13])
    assert tables["annotation_02-07-2021--17-01-42.zip"].label.value_counts().to_dict() == dict(
        Prometaphase=28, Anaphase=24, Interphase=18, Metaphase=13
    )
    t = read_cells(zips)
    assert len(t) == 246 and set(t.movie) == {"MDCK_H2B_GFP_movie.tif"}
    assert len({a.tobytes() for a in pixels_of(t, zips)}) == 241


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_A2_A6_G11_patches_of_any_type_and_channels_survive_a_zip(tmp_path, channels, dtype):
    "16-bit grey levels wrapped modulo 256, and two channels became 64 pages of 64 x 2, in the published export."
    t, pixels = practice_table(channels=channels, dtype=dtype)
    made = write_annotation_zip(tmp_path, t, pixels, "s")
    u = read_annotation_zip(made)
    for a, b in zip(pixels, pixels_of(u, tmp_path), strict=True):
        assert b.dtype == dtype and np.array_equal(a, b)
    with zipfile.ZipFile(made) as z, tifffile.TiffFile(io.BytesIO(z.read(u.member[0]))) as tif:
        assert tif.series[0].axes == ("YX" if channels == 1 else "CYX") and tif.series[0].shape == (
            (32, 32) if channels == 1 else (channels, 32, 32)
        )


def test_A5_clicks_in_four_axes_and_in_two(tmp_path):
    t, pixels = practice_table()
    t.insert(2, "z", np.arange(6.0) * 2)
    u = read_annotation_zip(write_annotation_zip(tmp_path, t, pixels, "four"))
    assert u[["t", "z", "y", "x"]].equals(t[["t", "z", "y", "x"]])
    u = read_annotation_zip(write_annotation_zip(tmp_path, t.drop(columns=["t", "z"]), pixels, "two"))
    assert (u.t == 0).all() and (u.z == 0).all() and u[["y", "x"]].equals(t[["y", "x"]])


def test_A3_a_second_export_never_overwrites_the_first(tmp_path):
    t, pixels = practice_table()
    made = write_annotation_zip(tmp_path, t, pixels, "s")
    before = made.read_bytes()
    with pytest.raises(LabelledError, match="there already"):
        write_annotation_zip(tmp_path, t.iloc[:2], pixels[:2], "s")
    assert made.read_bytes() == before


def test_A1_every_click_keeps_its_own_label(tmp_path):
    "With present napari all points are exported as Interphase by the published code."
    t, pixels = practice_table(n=40)
    u = read_annotation_zip(write_annotation_zip(tmp_path, t, pixels, "s"))
    assert u.label.tolist() == t.label.tolist() and u.label.nunique() == 5


def test_as_many_patches_as_clicks_or_nothing_is_written(tmp_path):
    t, pixels = practice_table()
    with pytest.raises((UserError, ValueError)):
        write_annotation_zip(tmp_path, t, pixels[:4], "s")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("label", ["nobody asked", "", "a/b", "..", "../up"])
def test_labels_that_cannot_be_a_folder_are_refused_before_writing(tmp_path, label):
    t, pixels = practice_table()
    t.loc[2, "label"] = label
    classes = STATES if label == "nobody asked" else (*STATES, label)
    with pytest.raises(LabelledError):
        write_annotation_zip(tmp_path, t, pixels, "s", classes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("label", ["M\u00fcller \u7d30\u80de", "a_1_2", "x_flagged", "with space", "<b>", "100%"])
def test_any_other_label_survives_a_zip(tmp_path, label):
    t, pixels = practice_table()
    t.loc[2, "label"] = label
    u = read_annotation_zip(write_annotation_zip(tmp_path, t, pixels, "s_9", (*STATES, label)))
    assert u.label.tolist() == t.label.tolist() and u.flagged.tolist() == t.flagged.tolist()


def test_a_full_disk_leaves_no_half_zip(tmp_path, monkeypatch):
    import errno

    t, pixels = practice_table()
    real = zipfile.ZipFile.writestr

    def full(self, name, data, *a, **k):
        if "json" in str(name):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, name, data, *a, **k)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(UserError, match="disk is full"):
        write_annotation_zip(tmp_path, t, pixels, "s")
    assert not list(tmp_path.glob("*.zip"))


def test_flags_come_from_the_json_or_from_the_name(tmp_path):
    p = patch_zip(tmp_path / "annotation_1.zip", {"a/a_1_0_flagged.tif": EYE, "b/b_1_1.tif": EYE}, META)
    assert read_annotation_zip(p).flagged.tolist() == [True, False]
    p = patch_zip(
        tmp_path / "annotation_2.zip", {"a/a_1_0.tif": EYE, "b/b_1_1.tif": EYE}, {**META, "flagged": [False, True]}
    )
    assert read_annotation_zip(p).flagged.tolist() == [False, True]


def test_R2_rows_follow_the_numbers_in_the_names_not_the_order_in_the_zip(tmp_path):
    n = 12
    meta = {
        "coords-0": list(range(n)),
        "coords-1": [10.0 * i for i in range(n)],
        "coords-2": [1.0] * n,
        "labels": ["ab"[i % 2] for i in range(n)],
    }
    names = {f"{'ab'[i % 2]}/{'ab'[i % 2]}_1_{i}.tif": np.full((8, 8), i, np.uint8) for i in reversed(range(n))}
    t = read_annotation_zip(patch_zip(tmp_path / "annotation_1.zip", names, meta))
    assert t.t.tolist() == list(range(n)) and t.y.tolist() == meta["coords-1"]
    assert [int(a[0, 0, 0]) for a in pixels_of(t, tmp_path)] == list(range(n))


@pytest.mark.parametrize(
    "what,members,meta",
    [
        ("label and folder disagree", {"b/b_1_0.tif": EYE}, META),
        ("a click that the JSON does not know", {"a/a_1_7.tif": EYE}, META),
        ("a stranger", {"a/a_1_0.tif": EYE, "a/holiday.tif": EYE}, META),
        ("no JSON", {"a/a_1_0.tif": EYE}, None),
        ("no patches", {}, META),
        ("not JSON", {"a/a_1_0.tif": EYE}, "{"),
        ("JSON that is a list", {"a/a_1_0.tif": EYE}, [1, 2]),
        ("JSON that is a text", {"a/a_1_0.tif": EYE}, '"labels"'),
        ("labels that are a number", {"a/a_1_0.tif": EYE}, {**META, "labels": 3}),
        ("lists of different lengths", {"a/a_1_0.tif": EYE}, {**META, "coords-1": [1.0]}),
        ("no labels", {"a/a_1_0.tif": EYE}, {k: v for k, v in META.items() if k != "labels"}),
        ("coordinates that are text", {"a/a_1_0.tif": EYE}, {**META, "coords-1": ["left", "right"]}),
        ("coordinates that are missing", {"a/a_1_0.tif": EYE}, {**META, "coords-1": [None, 2.0]}),
        ("bytes that are no text", {"a/a_1_0.tif": EYE}, b"\xff\xfe{}"),
        ("two patches of one click", {"a/a_1_0.tif": EYE, "a/a_2_0.tif": EYE}, META),
    ],
)
def test_R3_zips_that_are_not_what_they_should_be(tmp_path, what, members, meta):
    "The published validity test has a precedence error and lets wrong files pass."
    p = patch_zip(tmp_path / "annotation_1.zip", members, meta)
    with pytest.raises(LabelledError) as e:
        read_annotation_zip(p)
    assert "annotation_1.zip" in str(e.value) and "\n" not in str(e.value)


def test_what_a_mac_adds_to_a_zip_is_passed_over(tmp_path):
    p = patch_zip(tmp_path / "annotation_1.zip", {"a/a_1_0.tif": EYE, "b/b_1_1.tif": EYE}, META)
    with zipfile.ZipFile(p, "a") as z:
        z.writestr("__MACOSX/a/._a_1_0.tif", b"x")
        z.writestr("a/.DS_Store", b"x")
        z.writestr("a/", b"")
    assert len(read_annotation_zip(p)) == 2


def test_a_column_that_zips_do_not_have_is_not_ignored(tmp_path):
    patch_zip(tmp_path / "annotation_1.zip", {"a/a_1_0.tif": EYE, "b/b_1_1.tif": EYE}, META)
    with pytest.raises(UserError, match="plate"):
        read_cells(tmp_path, group="plate")


# --- groups


def test_G7_T6_groups_of_the_published_clicks(main_zip):
    t = read_cells(main_zip)
    real = t[t.label != "Apoptosis"]
    assert real.group.nunique() == 12
    assert real[real.label != "Interphase"].group.nunique() == 3, "three mitotic cells give all 45 mitotic patches"


def test_T6_groups_are_whole_whatever_the_order_of_the_clicks():
    rng = np.random.default_rng(0)
    t = pd.DataFrame(
        dict(
            t=rng.integers(0, 50, 60),
            y=rng.uniform(0, 300, 60),
            x=rng.uniform(0, 300, 60),
            movie=[f"m{i % 2}" for i in range(60)],
        )
    )
    order = rng.permutation(60)
    a, b = group_clicks(t), group_clicks(t.iloc[order])[t.index]

    def partition(g):
        return {frozenset(g.index[g == v]) for v in g.unique()}

    assert partition(a) == partition(b)
    assert all(t.movie[list(p)].nunique() == 1 for p in partition(a)), "movies are never linked"
    assert group_clicks(t.assign(movie=[f"m{i % 5}" for i in range(60)])).nunique() == 5
    assert group_clicks(t, "movie").nunique() == 2


def test_T6_frames_of_one_movie_in_several_files_are_one_group(tmp_path):
    for i in range(6):
        tifffile.imwrite(tmp_path / f"f{i}.tif", np.zeros((200, 200), np.uint8))
    rows = [
        dict(file=f"f{i}.tif", movie=f"m{i // 3}", t=0, y=50 + k * 60, x=60, label="ab"[k])
        for i in range(6)
        for k in range(2)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "c.csv", index=False)
    assert read_cells(tmp_path / "c.csv", group="movie").group.tolist() == [r["movie"] for r in rows], (
        "grouped by file, neighbouring frames leak"
    )


def test_T6_the_group_that_is_asked_for_wins(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((200, 200), np.uint8))
    pd.DataFrame([dict(file="m.tif", group=f"g{i}", t=0, y=50, x=60 + i, label="ab"[i]) for i in range(2)]).to_csv(
        tmp_path / "c.csv", index=False
    )
    assert read_cells(tmp_path / "c.csv").group.tolist() == ["g0", "g1"]
    assert read_cells(tmp_path / "c.csv", group="cell").group.nunique() == 1


# --- classes


def test_T7_D1_codes_follow_a_written_order_not_a_dictionary_s():
    assert order_classes(pd.Series(["Apoptosis", "Interphase", "Metaphase"]), known=STATES) == [
        "Interphase",
        "Metaphase",
        "Apoptosis",
    ]
    assert order_classes(pd.Series(["class 10", "class 2", ""])) == ["class 2", "class 10"]
    assert order_classes(pd.Series(["a", "b", ""]), " b , a,c") == ["b", "a", "c"]
    with pytest.raises(LabelledError, match="'b'.*--classes"):
        order_classes(pd.Series(["a", "b"]), "a")


def test_a_zip_that_is_locked_damaged_or_unfolds_without_end_is_one_error(tmp_path):
    path = tmp_path / "annotation_01-01-2026--00-00-00.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("annotation.json", "[" * 100_000)
    with pytest.raises(LabelledError, match="not JSON"):
        read_annotation_zip(path)
    data = bytearray(path.read_bytes())
    for at, bit in ((6, 1), (8, 99)):  # encrypted; a method nobody knows
        broken = data.copy()
        broken[at] |= bit
        broken[data.rfind(b"PK\x01\x02") + at + 2] |= bit
        path.write_bytes(broken)
        with pytest.raises(LabelledError, match="cannot be read"):
            read_annotation_zip(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z, z.open("annotation.json", "w", force_zip64=True) as f:
        for _ in range(17):
            f.write(bytes(2**24))
    with pytest.raises(LabelledError, match="would unfold to 0.3 GB"):
        read_annotation_zip(path)
