"images: round trips, real files, everything a file can be bad in, laziness and memory."
import errno
import io
import random
import struct
import sys
import time
import tracemalloc
import types
import zipfile
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from cellprotocols import images
from cellprotocols.images import ImageError, open_image, read_image, read_image_bytes, write_image

rng = np.random.default_rng(0)
ramp = np.add.outer(np.arange(64), np.arange(60)).astype(np.uint16)
rgb = np.repeat(ramp[..., None], 3, 2).astype(np.uint8)


def tiff(a, **settings):
    out = io.BytesIO()
    tifffile.imwrite(out, a, **settings)
    return out.getvalue()


def whole(img):
    return np.stack([np.stack([img.frame(t, z) for z in range(img.shape[1])]) for t in range(len(img))])


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# ---- round trips

dtypes = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@st.composite
def pictures(draw):
    axes = "".join(draw(st.permutations("YX" + "".join(draw(st.sets(st.sampled_from("TZC")))))))
    shape = tuple(draw(st.integers(1, 5)) for _ in axes)
    return axes, draw(hnp.arrays(draw(st.sampled_from(dtypes)), shape))


@settings(max_examples=80, deadline=None)
@given(picture=pictures(), px=st.one_of(st.none(), st.floats(1e-3, 500)), dt=st.one_of(st.none(), st.floats(1e-3, 1e5)))
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


@pytest.mark.parametrize("bad, axes, words", [
    (np.zeros((3, 4), complex), None, "complex128"), (np.zeros((0, 4)), None, "at least one pixel"), (np.zeros((3, 4, 5)), "YX", "do not fit"),
    (np.zeros((3, 4)), "YY", "do not fit"), (np.zeros((3, 4)), "QX", "do not fit")])
def test_what_cannot_be_written(tmp_path, bad, axes, words):
    with pytest.raises(ImageError, match=words): write_image(tmp_path / "a.tif", bad, axes=axes)
    assert not list(tmp_path.iterdir())


def test_write_is_all_or_nothing(tmp_path, monkeypatch):
    path = write_image(tmp_path / "a.tif", ramp)
    def full(*_): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(images.os, "fsync", full)
    with pytest.raises(ImageError, match="disk is full"): write_image(path, ramp * 2)
    np.testing.assert_array_equal(read_image(path)[..., 0], ramp)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    with pytest.raises(ImageError, match="channel names"): write_image(path, ramp, channels=["a", "b"])
    with pytest.raises(ImageError, match=".ome.tif"): write_image(tmp_path / "a.png", ramp)
    with pytest.raises(ImageError): write_image(tmp_path / "no" / "a.tif", ramp)


# ---- formats and metadata

@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma", "jpeg2000", "jpegxl", "webp", "png", "lerc"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_lossless_compressions(compression, tile):
    a = rgb if compression == "webp" else rgb[..., 0]
    extra = {"photometric": "rgb" if a.ndim == 3 else "minisblack", "compression": compression, "tile": tile}
    if compression == "webp": extra["compressionargs"] = {"lossless": True}
    np.testing.assert_array_equal(read_image_bytes(tiff(a, **extra)).squeeze(), a)


@pytest.mark.parametrize("dtype", dtypes[1:])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bigtiff", [False, True])
def test_dtype_and_byte_order(dtype, order, bigtiff):
    a = (rng.random((4, 9, 7)) * 100).astype(dtype)
    with open_image(tiff(a, byteorder=order, bigtiff=bigtiff, photometric="minisblack")) as img:
        assert img.dtype == a.dtype and img.dtype.isnative
        np.testing.assert_array_equal(whole(img)[:, 0, ..., 0], a)
        assert img.frame(0).flags.writeable


@pytest.mark.parametrize("unit, per", [("micron", 3), ("um", 3), ("µm", 3), ("\\u00B5m", 3), ("nm", .003), ("mm", 3000), ("cm", 30000), ("inch", 76200)])
def test_imagej_units(unit, per):
    a = rng.integers(0, 999, (4, 2, 9, 8), dtype=np.uint16)
    data = tiff(a, imagej=True, resolution=(per, per), metadata={"axes": "TCYX", "unit": unit.replace("µ", "~"), "finterval": 240., "Labels": ["DNA", "actin"] * 4}).replace(b"unit=~", b"unit=\xb5") # some programs write it as it is
    with open_image(data) as img:
        assert img.shape == (4, 1, 9, 8, 2) and img.px_um == pytest.approx(1 / 3, rel=1e-5)
        assert img.dt_s == 240 and img.channels == ["DNA", "actin"]
        np.testing.assert_array_equal(img.frame(2), a[2].transpose(1, 2, 0))


@pytest.mark.parametrize("unit, per, um", [("CENTIMETER", 30000, 1 / 3), ("INCH", 76200, 1 / 3), ("INCH", 72, None), ("INCH", 300, None), ("CENTIMETER", 1, None), ("NONE", 3, None)])
def test_bare_resolution_only_when_plausible(unit, per, um):
    got = open_image(tiff(ramp, resolution=(per, per), resolutionunit=unit)).px_um
    assert got == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize("size, unit, um", [(0.5, "µm", .5), (500, "nm", .5), (0.0005, "mm", .5), (3, "pixel", None)])
def test_ome_units_channels_and_time(size, unit, um):
    meta = {"axes": "TCYX", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit, "TimeIncrement": 2, "TimeIncrementUnit": "min", "Channel": {"Name": ["a", "b"]}}
    img = open_image(tiff(rng.integers(0, 9, (3, 2, 5, 6), dtype=np.uint8), ome=True, metadata=meta))
    assert img.shape == (3, 1, 5, 6, 2) and img.channels == ["a", "b"] and img.dt_s == 120
    assert img.px_um == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize("axes, shape", [("TZCYX", (2, 3, 4, 5, 6)), ("CTZYX", (4, 2, 3, 5, 6)), ("ZCTYX", (3, 4, 2, 5, 6)), ("QCYX", (2, 4, 5, 6)), ("RPYX", (2, 3, 5, 6)), ("XY", (6, 5)), ("QQQYX", (2, 3, 2, 5, 6))])
def test_any_order_of_axes(axes, shape):
    a = rng.integers(0, 255, shape, dtype=np.uint8)
    with open_image(tiff(a, photometric="minisblack", metadata={"axes": axes})) as img:
        got = whole(img)
    time = [i for i, x in enumerate(axes) if x not in "ZCYX"]
    order = time + [axes.index(x) for x in "ZYXC" if x in axes]
    want = a.transpose(order).reshape(-1, *(a.shape[axes.index(x)] if x in axes else 1 for x in "ZYXC"))
    np.testing.assert_array_equal(got, want)


def test_planar_rgb_and_alpha():
    img = open_image(tiff(rgb.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"))
    np.testing.assert_array_equal(img.frame(), rgb)
    rgba = np.dstack([rgb, rgb[..., :1]])
    img = open_image(tiff(rgba, photometric="rgb", extrasamples=["unassalpha"]))
    assert img.channels == ["R", "G", "B", "A"]
    np.testing.assert_array_equal(img.frame(), rgba)


def test_palette_is_colour_except_in_imagej():
    lut = rng.integers(0, 256, (3, 256)).astype(np.uint16)
    a = rgb[..., 0]
    img = open_image(tiff(a, photometric="palette", colormap=lut * 257, metadata=None))
    np.testing.assert_array_equal(img.frame(), lut.T.astype(np.uint8)[a])
    grey = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    assert open_image(tiff(a, photometric="palette", colormap=grey, metadata=None)).channels == ["gray"]
    ij = open_image(tiff(a, imagej=True, colormap=lut.astype(np.uint8)))
    np.testing.assert_array_equal(ij.frame()[..., 0], a)


def test_min_is_white_is_told_not_inverted():
    img = open_image(tiff(rgb[..., 0], photometric="miniswhite"))
    np.testing.assert_array_equal(img.frame()[..., 0], rgb[..., 0])
    assert any("min-is-white" in note for note in img.notes)


@pytest.mark.parametrize("a", [ramp, rgb[..., 0].copy(), rgb, np.dstack([rgb, rgb[..., :1]]), rgb.astype(np.uint16) * 257], ids=["16", "8", "rgb", "rgba", "rgb16"])
def test_png_keeps_every_bit(a):
    img = open_image(imagecodecs.png_encode(a))
    assert img.dtype == a.dtype
    np.testing.assert_array_equal(img.frame().squeeze(), a)


def test_jpeg_and_bmp():
    img = open_image(imagecodecs.jpeg8_encode(rgb, level=98))
    assert img.channels == ["R", "G", "B"] and abs(img.frame().astype(int) - rgb).mean() < 3
    np.testing.assert_array_equal(open_image(imagecodecs.bmp_encode(rgb)).frame(), rgb)
    np.testing.assert_array_equal(open_image(imagecodecs.bmp_encode(rgb[..., 0])).frame()[..., 0], rgb[..., 0])


def test_content_counts_not_suffix(tmp_path):
    (tmp_path / "a.tif").write_bytes(imagecodecs.png_encode(ramp))
    (tmp_path / "b.png").write_bytes(tiff(ramp))
    for name in ("a.tif", "b.png"): np.testing.assert_array_equal(read_image(tmp_path / name)[..., 0], ramp)


def test_zip_members_and_sha256(tmp_path):
    import hashlib
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z: z.writestr("x/1.tif", tiff(ramp, compression="zlib"))
    with zipfile.ZipFile(tmp_path / "a.zip") as z:
        np.testing.assert_array_equal(read_image_bytes(z.read("x/1.tif"), "x/1.tif")[..., 0], ramp)
        with z.open("x/1.tif") as f: np.testing.assert_array_equal(open_image(f).frame()[..., 0], ramp)
    path = write_image(tmp_path / "a.tif", ramp)
    assert open_image(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# ---- sequences

def test_folder_in_natural_order(tmp_path):
    for t in (10, 2, 1): tifffile.imwrite(tmp_path / f"t{t}.tif", np.full((4, 5), t, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.tif").write_bytes(b"junk")
    for source in (tmp_path, list(tmp_path.glob("t*.tif"))):
        with open_image(source) as img:
            assert img.shape == (3, 1, 4, 5, 1) and [f[0, 0, 0] for f in img.frames()] == [1, 2, 10]
            assert len(img.sha256) == 64


@pytest.mark.parametrize("odd", [np.zeros((4, 6), np.uint8), np.zeros((4, 5), np.uint16), np.zeros((2, 4, 5), np.uint8)])
def test_odd_file_is_named(tmp_path, odd):
    for t in range(5): tifffile.imwrite(tmp_path / f"t{t}.tif", odd if t == 3 else np.zeros((4, 5), np.uint8), photometric="minisblack")
    with pytest.raises(ImageError, match="t3.tif"): open_image(tmp_path)


def test_folder_without_images(tmp_path):
    with pytest.raises(ImageError, match="holds no images"): open_image(tmp_path)
    with pytest.raises(ImageError, match="list of images is empty"): open_image([])


# ---- bad files

@pytest.mark.parametrize("data, words", [
    (b"", "empty"), (b"t,y,x\n1,2,3\n", "text"), (bytes(999), "zero bytes"), (b"\x89HDF\r\n\x1a\n" + bytes(9), "HDF5"), (b"II*\0\0\0\0\0", "no page"), (b"II*\0", "cut off"),
    (b"MM\0*\0\0\xff\xff", "cut off"), (b"PK\x03\x04" + bytes(99), "zip"), (b"\x89PNG\r\n\x1a\n", "header"), (b"\xff\xd8\xff\xe0", "header"), (b"BM", "header"), (bytes(range(128, 255)), "no image format")])
def test_what_is_no_image(tmp_path, data, words):
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(ImageError, match=words) as e: open_image(source, name="a.tif" if source is data else None)
        assert "a.tif" in str(e.value)


def test_missing_folder_and_permission(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="no such file"): open_image(tmp_path / "a.tif")
    path = write_image(tmp_path / "b.tif", ramp)
    def locked(*a, **k): raise PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(images, "open", locked, raising=False)
    with pytest.raises(ImageError, match="may not"): open_image(path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff", "lzw"])
def test_truncated(kind):
    data = {"png": imagecodecs.png_encode(ramp), "jpeg": imagecodecs.jpeg8_encode(rgb), "bmp": imagecodecs.bmp_encode(rgb), "tiff": tiff(ramp), "lzw": tiff(ramp, compression="lzw")}[kind]
    for cut in (len(data) // 2, int(len(data) * .9)):
        with pytest.raises(ImageError): read_image_bytes(data[:cut], "cut")


def test_damaged_png_is_noticed():
    data = bytearray(imagecodecs.png_encode(rng.integers(0, 255, (50, 50), dtype=np.uint8)))
    data[1000] ^= 1
    with pytest.raises(ImageError, match="damaged"): read_image_bytes(data, "a.png")


def test_bombs():
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) + png_chunk(b"IDAT", zlib.compress(bytes(9999))) + png_chunk(b"IEND", b"")
    jpeg = bytearray(imagecodecs.jpeg8_encode(np.zeros((16, 16, 3), np.uint8)))
    i = jpeg.find(b"\xff\xc0")
    jpeg[i + 5:i + 9] = struct.pack(">HH", 65000, 65000)
    big = tiff(np.zeros((9000, 9000), np.uint8), compression="zlib")
    for data in (png, jpeg, big):
        with pytest.raises(ImageError, match="GB of memory"): open_image(bytes(data), limit=10 ** 7)
    assert read_image_bytes(big, limit=10 ** 9).shape == (9000, 9000, 1)
    inner = bytearray(tiff(np.zeros((16, 16, 3), np.uint8), compression="jpeg", photometric="rgb"))
    i = inner.find(b"\xff\xc0")
    inner[i + 5:i + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(ImageError, match="larger"): read_image_bytes(bytes(inner))


def test_absurd_ome_metadata():
    data = tiff(ramp, ome=True, metadata={"axes": "YX"})
    with pytest.raises(ImageError, match="declares"): open_image(data.replace(b'SizeT="1"', b'SizeT="99999999"'))
    small = data.replace(b'SizeZ="1"', b'SizeZ="7"')
    with open_image(small) as img:
        np.testing.assert_array_equal(img.frame()[..., 0], ramp)
        if img.shape[1] > 1:
            with pytest.raises(ImageError, match="missing"): img.frame(0, 5)


def test_pages_in_a_circle():
    data = bytearray(tiff(rng.integers(0, 9, (150, 4, 4), dtype=np.uint8), metadata=None, photometric="minisblack"))
    offsets = images._walk_pages(images._Source(bytes(data)))[0]
    assert len(offsets) == 150
    n = struct.unpack("<H", data[offsets[-1]:offsets[-1] + 2])[0]
    link = offsets[-1] + 2 + 12 * n
    data[link:link + 4] = struct.pack("<I", offsets[120])
    with pytest.raises(ImageError, match="circle"): open_image(bytes(data))


def movie_bytes(n=12, **settings):
    frames = rng.integers(0, 255, (n, 16, 16), dtype=np.uint8)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as w:
        for f in frames: w.write(f, contiguous=False, metadata=None, photometric="minisblack", **settings)
    return frames, bytearray(out.getvalue())


def test_damaged_page_leaves_the_others(tmp_path):
    frames, data = movie_bytes(compression="zlib")
    with tifffile.TiffFile(io.BytesIO(data)) as t: page = t.pages[5]; at, n = page.dataoffsets[0], page.databytecounts[0]
    data[at:at + n] = bytes(n)
    with open_image(bytes(data)) as img:
        assert len(img) == 12
        for t in range(12):
            if t != 5: np.testing.assert_array_equal(img.frame(t)[..., 0], frames[t])
        with pytest.raises(ImageError, match="frame 5"): img.frame(5)


def test_damaged_directory_leaves_the_others():
    frames, data = movie_bytes()
    at = images._walk_pages(images._Source(bytes(data)))[0][5]
    data[at + 2:at + 2 + 12 * 3] = bytes(36) # width, height and bits are gone, the chain is whole
    with open_image(bytes(data)) as img:
        good = 0
        for t in range(len(img)):
            try: np.testing.assert_array_equal(img.frame(t)[..., 0], frames[t]); good += 1
            except ImageError: assert t == 5
        assert good >= 11


def test_cut_movie_does_not_end_silently():
    frames, data = movie_bytes()
    with open_image(bytes(data[:len(data) * 2 // 3])) as img:
        np.testing.assert_array_equal(img.frame(3)[..., 0], frames[3])
        with pytest.raises(ImageError, match="cut off"): list(img.frames())


def test_imagej_hyperstack_without_page_list():
    a = rng.integers(0, 60000, (5, 3, 2, 8, 9), dtype=np.uint16)
    data = bytearray(tiff(a, imagej=True, metadata={"axes": "TZCYX"}))
    place = images._walk_pages(images._Source(bytes(data)))[0][0]
    n = struct.unpack(">H", data[place:place + 2])[0]
    data[place + 2 + 12 * n:place + 6 + 12 * n] = bytes(4) # one directory only, as ImageJ writes beyond 4 GB
    with open_image(bytes(data)) as img:
        assert img.shape == (5, 3, 8, 9, 2)
        np.testing.assert_array_equal(whole(img), a.transpose(0, 1, 3, 4, 2))
    with tifffile.TiffFile(io.BytesIO(data)) as t: end = t.pages[0].dataoffsets[0] + a.nbytes
    with open_image(bytes(data[:end - 300])) as img:
        assert img.shape == (5, 3, 8, 9, 2)
        np.testing.assert_array_equal(img.frame(1, 2), a[1, 2].transpose(1, 2, 0))
        with pytest.raises(ImageError, match="cut off"): img.frame(4, 2)


seeds = {
    "pages": tiff(rng.integers(0, 255, (4, 16, 18), dtype=np.uint8), metadata=None, photometric="minisblack"), "imagej": tiff(rng.integers(0, 255, (4, 16, 18), dtype=np.uint8), imagej=True, metadata={"axes": "TYX"}),
    "ome": tiff(rng.integers(0, 255, (4, 16, 18), dtype=np.uint8), ome=True, metadata={"axes": "TYX"}), "lzw": tiff(ramp, compression="lzw", predictor=True), "tiles": tiff(ramp, compression="zlib", tile=(16, 16)),
    "jpeg tiff": tiff(rgb, compression="jpeg", photometric="rgb"), "j2k": tiff(rgb[..., 0], compression="jpeg2000"), "bigtiff": tiff(ramp, bigtiff=True), "bits": tiff(ramp > 60),
    "png": imagecodecs.png_encode(ramp), "jpeg": imagecodecs.jpeg8_encode(rgb), "bmp": imagecodecs.bmp_encode(rgb)}


@pytest.mark.parametrize("name", seeds)
def test_fuzz(name):
    "Truncations and byte flips end in ImageError or in pixels, soon."
    dice, data, start = random.Random(name), seeds[name], time.monotonic()
    for i in range(60):
        x = bytearray(data)
        if i % 3 == 0: x = x[:dice.randrange(len(x))]
        else:
            for _ in range(dice.choice((1, 2, 8))): x[dice.randrange(len(x) if i % 3 == 1 else min(len(x), 300))] = dice.randrange(256)
        try:
            with open_image(bytes(x), limit=50_000_000, name=name) as img:
                for t in range(min(len(img), 6)):
                    try: img.frame(t)
                    except ImageError: pass
        except ImageError: pass
    assert time.monotonic() - start < 30


def test_nothing_is_logged_or_warned(caplog, recwarn):
    for name in ("pages", "ome", "imagej"):
        try:
            with open_image(seeds[name][:len(seeds[name]) // 2]) as img: img.frame()
        except ImageError: pass
    assert not caplog.records and not list(recwarn)
    tifffile.tifffile.logger().warning("others still hear tifffile")
    assert caplog.records


def test_asking_beyond_the_ends_and_after_closing(tmp_path):
    img = open_image(write_image(tmp_path / "a.tif", ramp))
    for t, z in ((1, 0), (-1, 0), (0, 1)):
        with pytest.raises(ImageError, match="there is no"): img.frame(t, z)
    img.close(); img.close()
    with pytest.raises(ImageError, match="closed"): img.frame()
    with pytest.raises(ImageError, match="open_image"): read_image_bytes(tiff(np.zeros((3, 8, 9), np.uint8), photometric="minisblack"))


# ---- optional formats

def test_missing_extras_name_the_line(monkeypatch):
    for module, head, extra in (("nd2", b"\xda\xce\xbe\x0a", "nd2"), ("pylibCZIrw", b"ZISRAWFILE", "czi")):
        for name in [m for m in sys.modules if m.split(".")[0] == module]: monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImageError) as e: open_image(head + bytes(100))
        assert f'pip install "cellprotocols[{extra}]"' in str(e.value)


def test_nd2_layout(monkeypatch, tmp_path):
    "No ND2 file is at hand: a stand-in with the package's interface."
    a = rng.integers(0, 999, (3, 2, 4, 2, 5, 6), dtype=np.uint16) # T P Z C Y X
    where = [{"T": t, "P": p, "Z": z} for t in range(3) for p in range(2) for z in range(4)]
    channel = lambda n: types.SimpleNamespace(channel=types.SimpleNamespace(name=n))
    class ND2File:
        def __init__(self, path): pass
        sizes, dtype, loop_indices = dict(zip("TPZCYX", a.shape)), a.dtype, where
        metadata = types.SimpleNamespace(channels=[channel("DNA"), channel("actin")])
        experiment = [types.SimpleNamespace(type="TimeLoop", parameters=types.SimpleNamespace(periodMs=2500))]
        def voxel_size(self): return types.SimpleNamespace(x=.25)
        def read_frame(self, i): return a[tuple(where[i].values())]
        def close(self): pass
    monkeypatch.setitem(sys.modules, "nd2", types.SimpleNamespace(ND2File=ND2File))
    (tmp_path / "a.nd2").write_bytes(b"\xda\xce\xbe\x0a" + bytes(99))
    with open_image(tmp_path / "a.nd2") as img:
        assert img.shape == (6, 4, 5, 6, 2) and img.px_um == .25 and img.dt_s == 2.5 and img.channels == ["DNA", "actin"]
        np.testing.assert_array_equal(whole(img), a.reshape(6, 4, 2, 5, 6).transpose(0, 1, 3, 4, 2))


def test_damaged_nd2_and_czi(tmp_path):
    for name, head in (("a.nd2", b"\xda\xce\xbe\x0a"), ("a.czi", b"ZISRAWFILE")):
        pytest.importorskip({"a.nd2": "nd2", "a.czi": "pylibCZIrw"}[name])
        (tmp_path / name).write_bytes(head + bytes(5000))
        with pytest.raises(ImageError, match=name): open_image(tmp_path / name)
    with pytest.raises(ImageError, match="from disk"): open_image(b"ZISRAWFILE" + bytes(99))


@pytest.mark.parametrize("scenes", [1, 2])
def test_czi_written_and_read(tmp_path, scenes):
    czi = pytest.importorskip("pylibCZIrw.czi")
    a = rng.integers(0, 60000, (scenes, 3, 2, 8, 9), dtype=np.uint16) # scene T C Y X
    with czi.create_czi(str(tmp_path / "a.czi")) as doc:
        for s in range(scenes):
            for t in range(3):
                for c in range(2): doc.write(data=a[s, t, c][..., None], plane={"T": t, "C": c, "Z": 0}, scene=s, location=(100 * s, 0))
        doc.write_metadata("a", channel_names={0: "DNA", 1: "actin"}, scale_x=.2e-6, scale_y=.2e-6)
    with open_image(tmp_path / "a.czi") as img:
        assert img.shape == (3 * scenes, 1, 8, 9, 2) and img.channels == ["DNA", "actin"] and img.px_um == pytest.approx(.2)
        np.testing.assert_array_equal(whole(img)[:, 0], a.reshape(-1, 2, 8, 9).transpose(0, 2, 3, 1))


# ---- long movies

@pytest.fixture(scope="module")
def long_movies(tmp_path_factory):
    "2,000 frames of 128 x 128, as ImageJ, as BigTIFF with scattered compressed pages, as OME-TIFF."
    folder, a = tmp_path_factory.mktemp("long"), rng.integers(0, 255, (2000, 128, 128), dtype=np.uint8)
    tifffile.imwrite(folder / "imagej.tif", a, imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(folder / "ome.tif", a, ome=True, photometric="minisblack", metadata={"axes": "TYX"})
    with tifffile.TiffWriter(folder / "pages.tif", bigtiff=True) as w:
        for f in a: w.write(f, contiguous=False, metadata=None, compression="lzw")
    return folder, a


@pytest.mark.parametrize("name", ["imagej", "ome", "pages"])
def test_long_movie_is_lazy(long_movies, name):
    folder, a = long_movies
    tracemalloc.start()
    with open_image(folder / f"{name}.tif") as img:
        assert len(img) == 2000
        for t in (1999, 0, 1234): np.testing.assert_array_equal(img.frame(t)[..., 0], a[t])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < a.nbytes / 5 # page tables of 2,000 frames, but no pixels of theirs


def test_frames_holds_one_frame(long_movies):
    folder, a = long_movies
    with open_image(folder / "imagej.tif") as img:
        tracemalloc.start()
        total = sum(int(f.sum()) for f in img.frames())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert total == int(a.sum()) and peak < 20 * a[0].nbytes


# ---- real files

def test_odd_formats_against_their_manifest(shared_data):
    """
    manifest.csv was made with tifffile. We differ on purpose in: palettes (RGB or mapped grey here, indices there), six files
    tifffile cannot decode (8-bit RGB by libtiff here), and one file of 3.9 TB that is refused.
    """
    import csv
    rows = list(csv.DictReader((shared_data / "formats" / "manifest.csv").open()))
    assert len(rows) > 100
    for row in rows:
        file = shared_data / "formats" / row["file"]
        if file.suffix == ".czi": pytest.importorskip("pylibCZIrw")
        if "segfault" in file.name:
            with pytest.raises(ImageError, match="GB of memory"): open_image(file)
            continue
        with open_image(file) as img: px = whole(img)
        assert px.shape == img.shape and px.dtype == img.dtype, file.name
        if file.suffix == ".czi": assert (px.shape[2:4], str(px.dtype)) == ({"100x100.czi": (10, 10)}.get(file.name, (512, 512)), row["dtype"]); continue
        plain = not (row["photometric"] == "PALETTE" and row["imagej"] != "True") and row["tifffile_read"] == "ok"
        if not plain: assert px.dtype == np.uint8; continue
        want = [int(n) for n in row["shape"].strip("()").split(",") if n.strip() and int(n) > 1]
        assert sorted(want) == sorted(n for n in px.shape if n > 1), file.name
        assert str(px.dtype) == row["dtype"], file.name
        assert (float(px.min()), float(px.max())) == (float(row["min"]), float(row["max"])), file.name


def test_real_microscopy(shared_data):
    with open_image(sorted((shared_data / "artifacts" / "sabgal" / "images").glob("*.tif"))) as img: # big-endian 16 bit
        assert img.shape[1:] == (1, 1080, 1080, 1) and img.dtype == np.uint16
        f = img.frame(0); assert 263 <= f.min() < f.max() and f.std() > 100
    with open_image(shared_data / "cell_lines" / "livecell" / "images") as img: # LZW
        assert img.shape[2:] == (520, 704, 1) and img.frame(3).dtype == np.uint8
    with open_image(shared_data / "artifacts" / "dust" / "images") as img: assert img.channels == ["R", "G", "B"]
    n = 0
    for path in (shared_data / "chromatin" / "zips").glob("*.zip"):
        with zipfile.ZipFile(path) as z:
            for member in z.namelist():
                if member.endswith(".tif"): assert read_image_bytes(z.read(member), member).shape == (64, 64, 1); n += 1
    assert n > 100


def test_cells_as_written_channels(shared_data, tmp_path):
    with np.load(shared_data / "chromatin" / "jurkat" / "cells.npz") as f: cells = f["images"][:50]
    write_image(tmp_path / "cells.ome.tif", cells, axes="TCYX", channels=["bright field", "DNA", "dark field"])
    with open_image(tmp_path / "cells.ome.tif") as img:
        np.testing.assert_array_equal(whole(img)[:, 0].transpose(0, 3, 1, 2), cells)


def test_operetta_names(shared_data):
    from collections import Counter
    from cellprotocols.images import parse_operetta
    names = [p.name for p in (shared_data/"artifacts"/"sabgal"/"images").glob("*.tif")]
    found = [parse_operetta(n) for n in names]
    assert len(found) == 17 and Counter(f["well"] for f in found).most_common(2) == [("r6c9", 4), ("r5c5", 3)]
    assert parse_operetta("r06c09f18p01-ch1sk1fk1fl1_Mask.tiff")["field"] == 18


@pytest.mark.parametrize("name", ["", "r1.tif", "r02c05p01-ch1.tiff", "field_3.tif"])
def test_names_that_say_nothing(name):
    from cellprotocols.images import parse_operetta
    with pytest.raises(ImageError): parse_operetta(name)
