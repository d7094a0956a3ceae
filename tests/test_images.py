"images: round trips, real files, everything a file can be bad in, laziness and memory."

import errno
import os
import random
import re
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from rasters import dtypes, png_chunk, ramp, rgb, rng, tiff, whole

from cellprotocols import sources
from cellprotocols.images import open_image, read_image, read_image_bytes, write_image
from cellprotocols.sources import ImageError


# ---- round trips


@st.composite
def pictures(draw):
    axes = "".join(draw(st.permutations("YX" + "".join(draw(st.sets(st.sampled_from("TZC")))))))
    shape = tuple(draw(st.integers(1, 5)) for _ in axes)
    return axes, draw(hnp.arrays(draw(st.sampled_from(dtypes)), shape))


@settings(max_examples=80, deadline=None)
@given(picture=pictures(), px=st.one_of(st.none(), st.floats(1e-3, 50)), dt=st.one_of(st.none(), st.floats(1e-3, 1e5)))
def test_written_files_come_back(tmp_path_factory, picture, px, dt):
    axes, a = picture
    path = tmp_path_factory.mktemp("rt") / "a.ome.tif"
    n_c = a.shape[axes.index("C")] if "C" in axes else 1
    names = [f"ch µ{i}" for i in range(n_c)]
    write_image(path, a, axes=axes, px_um=px, dt_s=dt, channels=names)
    want = a.transpose([axes.index(x) for x in "TZYXC" if x in axes])
    want = want.reshape([a.shape[axes.index(x)] if x in axes else 1 for x in "TZYXC"])
    with open_image(path) as img:
        got = whole(img)
        assert got.dtype == a.dtype and img.shape == want.shape
        np.testing.assert_array_equal(got, want)
        assert img.channels == names
        assert img.px_um == (None if px is None else pytest.approx(px))
        assert img.dt_s == (None if dt is None else pytest.approx(dt))


def test_colour_image_comes_back(tmp_path):
    write_image(tmp_path / "a.tif", rgb, channels=["R", "G", "B"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), rgb)
    assert open_image(tmp_path / "a.tif").channels == ["R", "G", "B"]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), rgb)  # others see a colour image too


@pytest.mark.parametrize(
    "bad, axes, words",
    [
        (np.zeros((3, 4), complex), None, "complex128"),
        (np.zeros((0, 4)), None, "at least one pixel"),
        (np.zeros((3, 4, 5)), "YX", "do not fit"),
        (np.zeros((3, 4)), "YY", "do not fit"),
        (np.zeros((3, 4)), "QX", "do not fit"),
    ],
)
def test_what_cannot_be_written(tmp_path, bad, axes, words):
    with pytest.raises(ImageError, match=words):
        write_image(tmp_path / "a.tif", bad, axes=axes)
    assert not list(tmp_path.iterdir())


def test_write_is_all_or_nothing(tmp_path, monkeypatch):
    path = write_image(tmp_path / "a.tif", ramp)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ImageError, match="disk is full"):
        write_image(path, ramp * 2)
    np.testing.assert_array_equal(read_image(path)[..., 0], ramp)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    with pytest.raises(ImageError, match="channel names"):
        write_image(path, ramp, channels=["a", "b"])
    with pytest.raises(ImageError, match=".ome.tif"):
        write_image(tmp_path / "a.png", ramp)
    with pytest.raises(ImageError):
        write_image(tmp_path / "no" / "a.tif", ramp)


# ---- formats and metadata


def test_content_counts_not_suffix(tmp_path):
    (tmp_path / "a.tif").write_bytes(imagecodecs.png_encode(ramp))
    (tmp_path / "b.png").write_bytes(tiff(ramp))
    for name in ("a.tif", "b.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name)[..., 0], ramp)


def test_zip_members_and_sha256(tmp_path):
    import hashlib

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("x/1.tif", tiff(ramp, compression="zlib"))
    with zipfile.ZipFile(tmp_path / "a.zip") as z:
        np.testing.assert_array_equal(read_image_bytes(z.read("x/1.tif"), "x/1.tif")[..., 0], ramp)
        with z.open("x/1.tif") as f:
            np.testing.assert_array_equal(open_image(f).frame()[..., 0], ramp)
    path = write_image(tmp_path / "a.tif", ramp)
    assert open_image(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# ---- sequences


def test_folder_in_natural_order(tmp_path):
    for t in (10, 9, 8):
        tifffile.imwrite(tmp_path / f"t{t}.tif", np.full((4, 5), t, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.tif").write_bytes(b"junk")
    for source in (tmp_path, [tmp_path / f"t{t}.tif" for t in (8, 9, 10)]):
        with open_image(source) as img:
            assert img.shape == (3, 1, 4, 5, 1) and [f[0, 0, 0] for f in img.frames()] == [8, 9, 10]
            assert len(img.sha256) == 64


@pytest.mark.parametrize(
    "odd", [np.zeros((4, 6), np.uint8), np.zeros((4, 5), np.uint16), np.zeros((2, 4, 5), np.uint8)]
)
def test_odd_file_is_named(tmp_path, odd):
    for t in range(5):
        tifffile.imwrite(
            tmp_path / f"t{t}.tif", odd if t == 3 else np.zeros((4, 5), np.uint8), photometric="minisblack"
        )
    with pytest.raises(ImageError, match="t3.tif"):
        open_image(tmp_path)


def test_folder_without_images(tmp_path):
    with pytest.raises(ImageError, match="holds no images"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="list of images is empty"):
        open_image([])


# ---- bad files


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "empty"),
        (b"t,y,x\n1,2,3\n", "text"),
        (bytes(999), "zero bytes"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "HDF5"),
        (b"II*\0\0\0\0\0", "no page"),
        (b"II*\0", "cut off"),
        (b"MM\0*\0\0\xff\xff", "cut off"),
        (b"PK\x03\x04" + bytes(99), "zip"),
        (b"\x89PNG\r\n\x1a\n", "header"),
        (b"\xff\xd8\xff\xe0", "header"),
        (b"BM", "header"),
        (bytes(range(128, 255)), "no image format"),
    ],
)
def test_what_is_no_image(tmp_path, data, words):
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(ImageError, match=words) as e:
            open_image(source, name="a.tif" if source is data else None)
        assert "a.tif" in str(e.value)


def test_missing_folder_and_permission(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "a.tif")
    path = write_image(tmp_path / "b.tif", ramp)

    def locked(*a, **k):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(sources, "open", locked, raising=False)
    with pytest.raises(ImageError, match="may not"):
        open_image(path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff", "lzw"])
def test_truncated(kind):
    data = {
        "png": imagecodecs.png_encode(ramp),
        "jpeg": imagecodecs.jpeg8_encode(rgb),
        "bmp": imagecodecs.bmp_encode(rgb),
        "tiff": tiff(ramp),
        "lzw": tiff(ramp, compression="lzw"),
    }[kind]
    for cut in (len(data) // 2, int(len(data) * 0.9)):
        with pytest.raises(ImageError):
            read_image_bytes(data[:cut], "cut")


def test_bombs():
    png = (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(bytes(9999)))
        + png_chunk(b"IEND", b"")
    )
    jpeg = bytearray(imagecodecs.jpeg8_encode(np.zeros((16, 16, 3), np.uint8)))
    i = jpeg.find(b"\xff\xc0")
    jpeg[i + 5 : i + 9] = struct.pack(">HH", 65000, 65000)
    big = tiff(np.zeros((9000, 9000), np.uint8), compression="zlib")
    for data in (png, jpeg, big):
        with pytest.raises(ImageError, match="GB of memory"):
            open_image(bytes(data), limit=10**7)
    assert read_image_bytes(big, limit=10**9).shape == (9000, 9000, 1)
    inner = bytearray(tiff(np.zeros((16, 16, 3), np.uint8), compression="jpeg", photometric="rgb"))
    i = inner.find(b"\xff\xc0")
    inner[i + 5 : i + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(ImageError, match="larger"):
        read_image_bytes(bytes(inner))


seeds = {
    "pages": tiff(rng.integers(0, 255, (4, 16, 18), dtype=np.uint8), metadata=None, photometric="minisblack"),
    "imagej": tiff(rng.integers(0, 255, (4, 16, 18), dtype=np.uint8), imagej=True, metadata={"axes": "TYX"}),
    "ome": tiff(rng.integers(0, 255, (4, 16, 18), dtype=np.uint8), ome=True, metadata={"axes": "TYX"}),
    "lzw": tiff(ramp, compression="lzw", predictor=True),
    "tiles": tiff(ramp, compression="zlib", tile=(16, 16)),
    "jpeg tiff": tiff(rgb, compression="jpeg", photometric="rgb"),
    "j2k": tiff(rgb[..., 0], compression="jpeg2000"),
    "bigtiff": tiff(ramp, bigtiff=True),
    "bits": tiff(ramp > 60),
    "png": imagecodecs.png_encode(ramp),
    "jpeg": imagecodecs.jpeg8_encode(rgb),
    "bmp": imagecodecs.bmp_encode(rgb),
}


@pytest.mark.parametrize("name", seeds)
def test_fuzz(name):
    "Truncations and byte flips end in ImageError or in pixels, soon."
    dice, data, start = random.Random(name), seeds[name], time.monotonic()
    for i in range(60):
        x = bytearray(data)
        if i % 3 == 0:
            x = x[: dice.randrange(len(x))]
        else:
            for _ in range(dice.choice((1, 2, 8))):
                x[dice.randrange(len(x) if i % 3 == 1 else min(len(x), 300))] = dice.randrange(256)
        try:
            with open_image(bytes(x), limit=50_000_000, name=name) as img:
                for t in range(min(len(img), 6)):
                    try:
                        img.frame(t)
                    except ImageError:
                        pass
        except ImageError:
            pass
    assert time.monotonic() - start < 30


def test_nothing_is_logged_or_warned(caplog, recwarn):
    for name in ("pages", "ome", "imagej"):
        try:
            with open_image(seeds[name][: len(seeds[name]) // 2]) as img:
                img.frame()
        except ImageError:
            pass
    assert not caplog.records and not list(recwarn)
    tifffile.tifffile.logger().warning("others still hear tifffile")
    assert caplog.records


def test_asking_beyond_the_ends_and_after_closing(tmp_path):
    img = open_image(write_image(tmp_path / "a.tif", ramp))
    for t, z in ((1, 0), (-1, 0), (0, 1)):
        with pytest.raises(ImageError, match="there is no"):
            img.frame(t, z)
    img.close()
    img.close()
    with pytest.raises(ImageError, match="closed"):
        img.frame()
    with pytest.raises(ImageError, match="open_image"):
        read_image_bytes(tiff(np.zeros((3, 8, 9), np.uint8), photometric="minisblack"))


# ---- optional formats


# ---- long movies


# ---- real files


def test_odd_formats_against_their_manifest(shared_data):
    """
    manifest.csv was made with tifffile. We differ on purpose in: palettes (RGB or mapped grey here, indices there),
    printing inks (RGB here), min-is-white images (turned here),
    six files tifffile cannot decode (8-bit RGB by libtiff here), and one file of 3.9 TB that is refused.
    """
    import csv

    rows = list(csv.DictReader((shared_data / "formats" / "manifest.csv").open()))
    assert len(rows) > 100
    for row in rows:
        file = shared_data / "formats" / row["file"]
        if file.suffix == ".czi":
            pytest.importorskip("pylibCZIrw")
        if "segfault" in file.name:
            with pytest.raises(ImageError, match="GB of memory"):
                open_image(file)
            continue
        with open_image(file) as img:
            px = whole(img)
        assert px.shape == img.shape and px.dtype == img.dtype, file.name
        if file.suffix == ".czi":
            assert (px.shape[2:4], str(px.dtype)) == (
                {"100x100.czi": (10, 10)}.get(file.name, (512, 512)),
                row["dtype"],
            )
            continue
        if row["photometric"] == "SEPARATED" and row["tifffile_read"] == "ok":
            assert px.shape[-1] in (3, 4) and str(px.dtype) == row["dtype"], file.name
            continue
        plain = not (row["photometric"] == "PALETTE" and row["imagej"] != "True") and row["tifffile_read"] == "ok"
        if not plain:
            assert px.dtype == np.uint8
            continue
        want = [int(n) for n in row["shape"].strip("()").split(",") if n.strip() and int(n) > 1]
        assert sorted(want) == sorted(n for n in px.shape if n > 1), file.name
        assert str(px.dtype) == row["dtype"], file.name
        ends = float(row["min"]), float(row["max"])
        if row["photometric"] in ("MINISWHITE", "0"):  # turned: what was least is most
            with open_image(file) as img:
                assert any("min-is-white" in n for n in img.notes), file.name
            white = 0.0 if px.dtype.kind == "f" else 2.0 ** int(row["bits"]) - 1
            ends = white - ends[1], white - ends[0]
        assert (float(px.min()), float(px.max())) == ends, file.name


def test_real_microscopy(shared_data):
    with open_image(
        sorted((shared_data / "artifacts" / "sabgal" / "images").glob("*.tif"))
    ) as img:  # big-endian 16 bit
        assert img.shape[1:] == (1, 1080, 1080, 1) and img.dtype == np.uint16
        f = img.frame(0)
        assert 263 <= f.min() < f.max() and f.std() > 100
    with open_image(next((shared_data / "cell_lines" / "livecell" / "images").glob("*.tif"))) as img:  # LZW
        assert img.shape[2:] == (520, 704, 1) and img.frame(0).dtype == np.uint8
    with open_image(shared_data / "artifacts" / "dust" / "images") as img:
        assert img.channels == ["R", "G", "B"]
    n = 0
    for path in (shared_data / "chromatin" / "zips").glob("*.zip"):
        with zipfile.ZipFile(path) as z:
            for member in z.namelist():
                if member.endswith(".tif"):
                    assert read_image_bytes(z.read(member), member).shape == (64, 64, 1)
                    n += 1
    assert n > 100


def test_cells_as_written_channels(shared_data, tmp_path):
    with np.load(shared_data / "chromatin" / "jurkat" / "cells.npz") as f:
        cells = f["images"][:50]
    write_image(tmp_path / "cells.ome.tif", cells, axes="TCYX", channels=["bright field", "DNA", "dark field"])
    with open_image(tmp_path / "cells.ome.tif") as img:
        np.testing.assert_array_equal(whole(img)[:, 0].transpose(0, 3, 1, 2), cells)


# ---- what is written depends on nothing but what is given


@pytest.mark.parametrize("dtype", dtypes)
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"px_um": 0.333},
        {"dt_s": 240.0},
        {"channels": ["a", "b", "\u00b5"]},
        {"channels": ["R", "G", "B"]},
        {"axes": "YXC", "px_um": 0.5, "dt_s": 2, "channels": ["x", "y", "z"]},
        {"axes": "YXT"},
        {"axes": "XYZ"},
    ],
)
def test_the_same_image_is_the_same_bytes(tmp_path, dtype, said):
    "Two writes differ in nothing: no id drawn by chance, no time, no name of the file."
    a = (rng.random((20, 24, 3)) * 99).astype(dtype)
    one, two = (
        write_image(tmp_path / "one.tif", a, **said).read_bytes(),
        write_image(tmp_path / "two.ome.tif", a.copy(order="F"), **said).read_bytes(),
    )
    assert one == two and b"DateTime" not in one
    with tifffile.TiffFile(tmp_path / "one.tif") as tif:
        assert "DateTime" not in tif.pages[0].tags


def test_another_image_has_another_id(tmp_path):
    def uuid_of(a, **said):
        with tifffile.TiffFile(write_image(tmp_path / "a.tif", a, **said)) as tif:
            return re.search(r'UUID="urn:uuid:([-0-9a-f]{36})"', tif.ome_metadata)[1]

    changed = ramp.copy()
    changed[3, 4] += 1
    ids = [uuid_of(ramp), uuid_of(changed), uuid_of(ramp, px_um=0.5), uuid_of(ramp.T), uuid_of(ramp.astype(np.int16))]
    assert len(set(ids)) == len(ids) and uuid_of(ramp) == ids[0]


def test_two_processes_write_the_same_bytes(tmp_path):
    "Hashes of text differ from process to process; what is written does not."
    code = (
        "import sys, numpy as np; from cellprotocols.images import write_image; "
        "write_image(sys.argv[1], np.arange(60, dtype=np.uint16).reshape(3, 20), px_um=.5)"
    )
    files = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for i, f in enumerate(files):
        subprocess.run([sys.executable, "-c", code, str(f)], check=True, env=os.environ | {"PYTHONHASHSEED": str(i)})
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_list_keeps_its_order_a_folder_is_sorted(tmp_path):
    for t in (10, 9, 8):
        tifffile.imwrite(tmp_path / f"t{t}.tif", np.full((4, 5), t, np.uint8))

    def order(source):
        with open_image(source) as img:
            return [int(f[0, 0, 0]) for f in img.frames()]

    files = [tmp_path / f"t{t}.tif" for t in (9, 10, 8)]
    assert order(files) == [9, 10, 8] and order(tuple(map(str, files[::-1]))) == [8, 10, 9]
    assert order([files[0], files[0]]) == [9, 9]
    assert order(tmp_path) == order(str(tmp_path)) == [8, 9, 10]


def test_a_folder_with_odd_digits_opens(tmp_path):
    for i, name in enumerate(["t\u0661\u0660.tif", "t9.tif", "t\u0661\u0661.tif"]):
        tifffile.imwrite(tmp_path / name, np.full((4, 5), i, np.uint8))
    with open_image(tmp_path) as img:
        assert [int(f[0, 0, 0]) for f in img.frames()] == [1, 0, 2]
    tifffile.imwrite(tmp_path / "t\u00bd.tif", np.full((4, 5), 7, np.uint8))
    with pytest.raises(ImageError, match="2 images or movies by their names"):
        open_image(tmp_path)
