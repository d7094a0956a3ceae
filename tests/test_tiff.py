"tiff: every flavour, axis order, number type and compression; damage costs one frame; long movies stay on disk."

import io
import re
import struct
import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from rasters import dtypes, movie_bytes, ramp, rgb, rng, tiff, whole

from cellprotocols.errors import UserError
from cellprotocols.hints import Hints, give_hints
from cellprotocols.images import open_image, read_image_bytes
from cellprotocols.scales import choose_px_um
from cellprotocols.sources import ImageError, Source
from cellprotocols.tiffpages import find_pages


@pytest.mark.parametrize(
    "compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma", "jpeg2000", "jpegxl", "webp", "png", "lerc"]
)
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_lossless_compressions(compression, tile):
    a = rgb if compression == "webp" else rgb[..., 0]
    extra = {"photometric": "rgb" if a.ndim == 3 else "minisblack", "compression": compression, "tile": tile}
    if compression == "webp":
        extra["compressionargs"] = {"lossless": True}
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


@pytest.mark.parametrize(
    "unit, per",
    [
        ("micron", 3),
        ("um", 3),
        ("µm", 3),
        ("\\u00B5m", 3),
        ("nm", 0.003),
        ("mm", 3e3),
        ("cm", 3e4),
        ("inch", 76200),
        ("inches", 76200),
        ("metre", 3e6),
    ],
)
def test_imagej_units(unit, per):
    a = rng.integers(0, 999, (4, 2, 9, 8), dtype=np.uint16)
    data = tiff(
        a,
        imagej=True,
        resolution=(per, per),
        metadata={"axes": "TCYX", "unit": unit.replace("µ", "~"), "finterval": 240.0, "Labels": ["DNA", "actin"] * 4},
    ).replace(b"unit=~", b"unit=\xb5")  # some programs write it as it is
    with open_image(data) as img:
        assert img.shape == (4, 1, 9, 8, 2) and img.px_um == pytest.approx(1 / 3, rel=1e-5)
        assert img.dt_s == 240 and img.channels == ["DNA", "actin"]
        np.testing.assert_array_equal(img.frame(2), a[2].transpose(1, 2, 0))


@pytest.mark.parametrize(
    "unit, per, um",
    [
        ("CENTIMETER", 30000, 1 / 3),
        ("INCH", 76200, 1 / 3),
        ("INCH", 72, None),
        ("INCH", 300, None),
        ("CENTIMETER", 1, None),
        ("NONE", 3, None),
    ],
)
def test_bare_resolution_only_when_plausible(unit, per, um):
    got = open_image(tiff(ramp, resolution=(per, per), resolutionunit=unit)).px_um
    assert got == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize(
    "size, unit, um", [(0.5, "µm", 0.5), (500, "nm", 0.5), (0.0005, "mm", 0.5), (3, "pixel", None)]
)
def test_ome_units_channels_and_time(size, unit, um):
    meta = {
        "axes": "TCYX",
        "PhysicalSizeX": size,
        "PhysicalSizeXUnit": unit,
        "TimeIncrement": 2,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["a", "b"]},
    }
    img = open_image(tiff(rng.integers(0, 9, (3, 2, 5, 6), dtype=np.uint8), ome=True, metadata=meta))
    assert img.shape == (3, 1, 5, 6, 2) and img.channels == ["a", "b"] and img.dt_s == 120
    assert img.px_um == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize(
    "axes, shape",
    [
        ("TZCYX", (2, 3, 4, 5, 6)),
        ("CTZYX", (4, 2, 3, 5, 6)),
        ("ZCTYX", (3, 4, 2, 5, 6)),
        ("QCYX", (2, 4, 5, 6)),
        ("XY", (6, 5)),
        ("QQQYX", (2, 3, 9, 5, 6)),
    ],
)
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


@pytest.mark.parametrize("dtype, white", [(bool, 1), ("uint8", 255), ("uint16", 65535), ("int16", -1), ("float32", 0)])
def test_min_is_white_is_turned_and_said(dtype, white):
    a = (rgb[..., 0] > 60) if dtype is bool else rgb[..., 0].astype(dtype)
    img = open_image(tiff(a, photometric="miniswhite"))
    assert img.dtype == a.dtype and any("min-is-white" in note for note in img.notes)
    np.testing.assert_array_equal(img.frame()[..., 0], ~a if dtype is bool else white - a)
    np.testing.assert_array_equal(open_labels_of(tiff(a, photometric="miniswhite")), a)


def open_labels_of(data):
    with open_image(data, hints=Hints(raw=True)) as img:
        return img.frame()[..., 0]


def test_min_is_white_with_the_range_that_imagej_says():
    said = "ImageJ=1.53t\nimages=1\nmin=0.0\nmax=255.0\n"
    data = tiff(255 - ramp.astype(np.float32), photometric="miniswhite", description=said, metadata=None)
    np.testing.assert_array_equal(open_image(data).frame()[..., 0], ramp)


@pytest.mark.parametrize(
    "shape, want, asked",
    [
        ((40, 24, 32), (40, 1, 24, 32, 1), False),
        ((2, 24, 32), (2, 1, 24, 32, 1), True),
        ((5, 2, 24, 32), (5, 1, 24, 32, 2), True),
        ((24, 32, 2), (1, 1, 24, 32, 2), False),
        ((9, 24, 32, 2), (9, 1, 24, 32, 2), False),
        ((9, 7, 24, 32), (63, 1, 24, 32, 1), True),
        ((24, 32), (1, 1, 24, 32, 1), False),
    ],
)
def test_axes_without_names_are_said_and_asked_for(shape, want, asked):
    a = rng.integers(0, 255, shape, dtype=np.uint8)
    data = tiff(a, photometric="minisblack")
    with open_image(data) as img:
        assert img.shape == want and bool(img.question) == asked
        assert bool(img.notes) == (len(shape) > 2) and all("axes" in n for n in img.notes)
    if asked:
        with pytest.raises(ImageError, match="axes="):
            open_image(data, hints=Hints(ask=True))
    told = "TCYX"[-len(shape) :]
    with open_image(data, hints=Hints(axes=told, ask=True)) as img:
        n, c = (shape[told.index(x)] if x in told else 1 for x in "TC")
        assert img.shape == (n, 1, *shape[-2:], c) and not img.notes
        np.testing.assert_array_equal(img.frame(n - 1), a.reshape(n, c, *shape[-2:])[n - 1].transpose(1, 2, 0))


def test_axes_that_a_person_tells_count():
    a = rng.integers(0, 255, (6, 24, 32), dtype=np.uint8)
    for data in (tiff(a, imagej=True, metadata={"axes": "ZYX"}), tiff(a, photometric="minisblack")):
        with open_image(data, hints=Hints(axes="tyx")) as img:
            assert img.shape == (6, 1, 24, 32, 1)
            np.testing.assert_array_equal(whole(img)[:, 0, ..., 0], a)
        with pytest.raises(UserError, match="Y and X"):
            open_image(data, hints=Hints(axes="T"))
    with open_image(data, hints=Hints(axes="YXT")) as img:  # no page is a plane: decoded as a whole
        np.testing.assert_array_equal(whole(img)[:, 0, ..., 0], a.transpose(2, 0, 1))
    with pytest.raises(ImageError, match="6 x 24 x 32"):
        open_image(data, hints=Hints(axes="TCYX"))
    with open_image(tiff(rgb, photometric="rgb"), hints=Hints(axes="TYX")) as img:  # the file knows better
        assert img.shape == (1, 1, 64, 60, 3)


@pytest.mark.parametrize("axes", ["RTYX", "PTYX", "TPYX"])
def test_places_are_no_times(axes):
    a = rng.integers(0, 255, (3, 2, 24, 32), dtype=np.uint8)
    if axes[1] == "T":
        a = a.swapaxes(0, 1)  # two places, three times
    data = tiff(a, photometric="minisblack", metadata={"axes": axes})
    for k in (0, 1):
        with open_image(data, hints=Hints(series=str(k) if k else "")) as img:
            assert len(img) == 3 and (k or "2 images" in img.notes[0])
            np.testing.assert_array_equal(whole(img)[:, 0, ..., 0], a[:, k] if axes[1] == "P" else a[k])
    with pytest.raises(ImageError, match="series 2"):
        open_image(data, hints=Hints(series="2"))


def test_several_images_of_an_ome_file_with_their_own_scale(tmp_path):
    a = rng.integers(0, 255, (2, 3, 24, 32), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as w:
        for k in range(2):
            name = {"axes": "CYX", "Name": f"pos{k}", "PhysicalSizeX": 0.5 + k, "PhysicalSizeXUnit": "\u00b5m"}
            w.write(a[k], photometric="minisblack", metadata=name | {"Channel": {"Name": [f"{c}{k}" for c in "abc"]}})
    with open_image(tmp_path / "a.ome.tif") as img:
        assert "pos0" in img.notes[0] and "pos1" in img.notes[0] and img.px_um == 0.5
    with open_image(tmp_path / "a.ome.tif", hints=Hints(series="1", channels="2,a1")) as img:
        assert img.px_um == 1.5 and img.channels == ["c1", "a1"] and not img.notes
        np.testing.assert_array_equal(img.frame(), a[1, [2, 0]].transpose(1, 2, 0))


def test_a_reduced_copy_is_passed_over(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as w:
        w.write(np.zeros((8, 8), np.uint8), metadata=None, subfiletype=1)
        w.write(rgb[..., 0], metadata=None)
    with open_image(tmp_path / "a.tif") as img:
        assert img.shape == (1, 1, 64, 60, 1) and "2 images" in img.notes[0]
        np.testing.assert_array_equal(img.frame()[..., 0], rgb[..., 0])


@pytest.mark.parametrize("k", range(1, 9))
def test_a_stored_orientation_is_applied_once(k):
    rgba = rng.integers(0, 255, (6, 9, 3), dtype=np.uint8)
    data = tiff(rgba, photometric="rgb", extratags=[(274, 3, 1, k, True)], resolution=(30000, 60000), resolutionunit=3)
    with open_image(data) as img:
        want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        np.testing.assert_array_equal(img.frame(), want)
        assert img.shape[2:4] == want.shape[:2] and any("orientation" in n for n in img.notes) == (k > 1)
        assert img.px_um == pytest.approx(1 / 3 if k < 5 else 1 / 6)  # width and height change places


def test_printing_inks_become_colours():
    cmyk = rng.integers(0, 255, (20, 22, 4), dtype=np.uint8)
    with open_image(tiff(cmyk, photometric="separated")) as img:
        assert img.channels == ["R", "G", "B"] and "inks" in img.notes[0]
        want = (255 - cmyk[..., :3].astype(float)) * (255 - cmyk[..., 3:].astype(float)) / 255
        np.testing.assert_allclose(img.frame(), want, atol=0.51)


def test_transparency_is_known_by_the_format_not_by_a_name():
    a = np.stack([ramp, ramp + 1]).astype(np.uint8)
    for names in (["A", "B"], ["alpha", "GFP"], ["Camera", "Camera"]):
        img = open_image(
            tiff(a, ome=True, photometric="minisblack", metadata={"axes": "CYX", "Channel": {"Name": names}})
        )
        assert img.channels == names and img.channels.alpha == () and img.channels.shown == [0, 1]
    rgba = np.dstack([rgb, rgb[..., :1]])
    for said, alpha in (("unassalpha", (3,)), ("assocalpha", (3,)), ("unspecified", ())):
        assert open_image(tiff(rgba, photometric="rgb", extrasamples=[said])).channels.alpha == alpha


def test_an_ome_file_does_not_open_files_elsewhere(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(2):
        tifffile.imwrite(tmp_path / f"s{k}.tif", np.full((4, 5), k, np.uint8))
    base = tiff(np.zeros((2, 4, 5), np.uint8), ome=True, photometric="minisblack", metadata={"axes": "TYX"})
    for name in ("../s1.tif", str(tmp_path / "s1.tif"), "..\\s1.tif", "x/../../s1.tif", "&#46;&#46;/s1.tif"):
        uuid = f'<TiffData IFD="0"><UUID FileName="{name}">urn:uuid:1</UUID></TiffData>'.encode()
        xml = re.sub(rb"<TiffData.*?(/>|</TiffData>)", lambda m: uuid, base)
        xml = base[: base.index(b"<?xml")] + xml[xml.index(b"<?xml") : xml.index(b"</OME>") + 6]
        data = tiff(np.zeros((4, 5), np.uint8), description=xml[xml.index(b"<?xml") :], metadata=None)
        (tmp_path / "in" / "a.ome.tif").write_bytes(data)
        with pytest.raises(ImageError, match="names the file"):
            open_image(tmp_path / "in" / "a.ome.tif")


@pytest.mark.parametrize(
    "meta, px, word",
    [
        (
            {
                "PhysicalSizeX": 1 / 72,
                "PhysicalSizeXUnit": "inch",
                "PhysicalSizeY": 1 / 72,
                "PhysicalSizeYUnit": "inch",
            },
            None,
            "352.8",
        ),
        ({"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}, 0.5, "0.25"),
        ({"PhysicalSizeX": 0.5, "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"}, 0.5, ""),
        ({"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "mm"}, None, "500"),
        ({"PhysicalSizeX": 0.00001}, None, "1e-05"),
        ({"PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}, 1.0, "exactly 1 um"),
        ({"PhysicalSizeY": 0.5}, 0.5, ""),
    ],
)
def test_sizes_that_cannot_be_true_are_doubted(meta, px, word):
    img = open_image(tiff(ramp, ome=True, metadata={"axes": "YX"} | meta))
    assert img.px_um == px and (not word or word in img.notes[0]) and bool(img.notes) == bool(word)
    assert not word or "px_um" in img.notes[0]
    assert open_image(tiff(ramp, ome=True, metadata=meta), hints=Hints(px_um=0.3)).px_um == 0.3


def test_a_header_that_promises_more_than_the_file_holds():
    data = bytearray(tiff(ramp, compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as t:
        for tag, value in ((256, 40_000), (257, 40_000), (278, 40_000)):
            entry = t.pages[0].tags[tag]
            data[entry.valueoffset : entry.valueoffset + 4] = (
                struct.pack("<I", value)[: 2 * entry.dtype - 4] if entry.dtype == 4 else struct.pack("<H", value)
            )
    tracemalloc.start()
    with pytest.raises(ImageError):
        open_image(bytes(data), limit=10**12).frame()
    assert tracemalloc.get_traced_memory()[1] < 10**8
    tracemalloc.stop()


def test_absurd_ome_metadata():
    data = tiff(ramp, ome=True, metadata={"axes": "YX"})
    with pytest.raises(ImageError, match="declares"):
        open_image(data.replace(b'SizeT="1"', b'SizeT="99999999"'))
    small = data.replace(b'SizeZ="1"', b'SizeZ="7"')
    with open_image(small) as img:
        np.testing.assert_array_equal(img.frame()[..., 0], ramp)
        if img.shape[1] > 1:
            with pytest.raises(ImageError, match="missing"):
                img.frame(0, 5)


def test_pages_in_a_circle():
    data = bytearray(tiff(rng.integers(0, 9, (150, 4, 4), dtype=np.uint8), metadata=None, photometric="minisblack"))
    offsets = find_pages(Source(bytes(data)))[0]
    assert len(offsets) == 150
    n = struct.unpack("<H", data[offsets[-1] : offsets[-1] + 2])[0]
    link = offsets[-1] + 2 + 12 * n
    data[link : link + 4] = struct.pack("<I", offsets[120])
    with pytest.raises(ImageError, match="circle"):
        open_image(bytes(data))


def test_damaged_page_leaves_the_others(tmp_path):
    frames, data = movie_bytes(compression="zlib")
    with tifffile.TiffFile(io.BytesIO(data)) as t:
        page = t.pages[5]
        at, n = page.dataoffsets[0], page.databytecounts[0]
    data[at : at + n] = bytes(n)
    with open_image(bytes(data)) as img:
        assert len(img) == 12
        for t in range(12):
            if t != 5:
                np.testing.assert_array_equal(img.frame(t)[..., 0], frames[t])
        with pytest.raises(ImageError, match="frame 5"):
            img.frame(5)


def test_damaged_directory_leaves_the_others():
    frames, data = movie_bytes()
    at = find_pages(Source(bytes(data)))[0][5]
    data[at + 2 : at + 2 + 12 * 3] = bytes(36)  # width, height and bits are gone, the chain is whole
    with open_image(bytes(data)) as img:
        good = 0
        for t in range(len(img)):
            try:
                np.testing.assert_array_equal(img.frame(t)[..., 0], frames[t])
                good += 1
            except ImageError:
                assert t == 5
        assert good >= 11


def test_cut_movie_does_not_end_silently():
    frames, data = movie_bytes()
    with open_image(bytes(data[: len(data) * 2 // 3])) as img:
        np.testing.assert_array_equal(img.frame(3)[..., 0], frames[3])
        with pytest.raises(ImageError, match="cut off"):
            list(img.frames())


def test_imagej_hyperstack_without_page_list():
    a = rng.integers(0, 60000, (5, 3, 2, 8, 9), dtype=np.uint16)
    data = bytearray(tiff(a, imagej=True, metadata={"axes": "TZCYX"}))
    place = find_pages(Source(bytes(data)))[0][0]
    n = struct.unpack(">H", data[place : place + 2])[0]
    data[place + 2 + 12 * n : place + 6 + 12 * n] = bytes(4)  # one directory only, as ImageJ writes beyond 4 GB
    with open_image(bytes(data)) as img:
        assert img.shape == (5, 3, 8, 9, 2)
        np.testing.assert_array_equal(whole(img), a.transpose(0, 1, 3, 4, 2))
    with tifffile.TiffFile(io.BytesIO(data)) as t:
        end = t.pages[0].dataoffsets[0] + a.nbytes
    with open_image(bytes(data[: end - 300])) as img:
        assert img.shape == (5, 3, 8, 9, 2)
        np.testing.assert_array_equal(img.frame(1, 2), a[1, 2].transpose(1, 2, 0))
        with pytest.raises(ImageError, match="cut off"):
            img.frame(4, 2)


@pytest.fixture(scope="module")
def long_movies(tmp_path_factory):
    "2,000 frames of 128 x 128, as ImageJ, as BigTIFF with scattered compressed pages, as OME-TIFF."
    folder, a = tmp_path_factory.mktemp("long"), rng.integers(0, 255, (2000, 128, 128), dtype=np.uint8)
    tifffile.imwrite(folder / "imagej.tif", a, imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(folder / "ome.tif", a, ome=True, photometric="minisblack", metadata={"axes": "TYX"})
    with tifffile.TiffWriter(folder / "pages.tif", bigtiff=True) as w:
        for f in a:
            w.write(f, contiguous=False, metadata=None, compression="lzw")
    return folder, a


@pytest.mark.parametrize("name", ["imagej", "ome", "pages"])
def test_long_movie_is_lazy(long_movies, name):
    folder, a = long_movies
    tracemalloc.start()
    with open_image(folder / f"{name}.tif") as img:
        assert len(img) == 2000
        for t in (1999, 0, 1234):
            np.testing.assert_array_equal(img.frame(t)[..., 0], a[t])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < a.nbytes / 5  # page tables of 2,000 frames, but no pixels of theirs


def test_frames_holds_one_frame(long_movies):
    folder, a = long_movies
    with open_image(folder / "imagej.tif") as img:
        tracemalloc.start()
        total = sum(int(f.sum()) for f in img.frames())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert total == int(a.sum()) and peak < 20 * a[0].nbytes


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_brightness_and_colour_become_red_green_and_blue(tmp_path, compression):
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:32], rgb[32:] = (200, 30, 10), (20, 60, 220)
    picture = Image.fromarray(rgb)
    picture = picture if compression == "jpeg" else picture.convert("YCbCr")
    picture.save(tmp_path / "a.tif", **dict(compression=compression) if compression else {})
    with open_image(tmp_path / "a.tif") as img:
        assert img.channels == ["R", "G", "B"] and img.shape[4] == 3
        assert np.abs(img.frame().astype(int) - rgb).max() <= 4
        assert any("YCbCr" in n for n in img.notes) == (compression != "jpeg")
    give_hints(tmp_path, Hints(raw=True))
    if compression != "jpeg":
        with open_image(tmp_path / "a.tif") as img:
            assert img.channels == ["Y", "Cb", "Cr"]  # as they are, where that is asked for


def test_a_pixel_of_less_than_a_nanometre_is_doubted():
    notes = []
    assert choose_px_um((0.000325, 0.000325), notes) == (None, None)  # um that were called nm
    assert "no light microscope has" in notes[0] and choose_px_um((0.02, 0.02), []) == (0.02, None)


@pytest.mark.parametrize(
    "said, pages, shape",
    [
        ("channels=2\nframes=9\n", 10, (5, 1, 2)),  # stopped early
        ("channels=2\nframes=4\n", 10, (5, 1, 2)),
        ("channels=2\nslices=2\nframes=9\n", 12, (3, 2, 2)),
        ("channels=3\nframes=5\n", 10, None),
        ("frames=9\n", 6, (6, 1, 1)),
    ],
)
def test_a_hyperstack_whose_sizes_are_not_those_of_the_file(said, pages, shape, tmp_path):
    a = np.arange(pages, dtype=np.uint16)[:, None, None] + np.zeros((1, 9, 7), np.uint16)
    said = f"ImageJ=1.53t\nimages={pages}\n{said}hyperstack=true\n"
    tifffile.imwrite(tmp_path / "a.tif", a, photometric="minisblack", metadata=None, description=said)
    if shape is None:
        with pytest.raises(ImageError, match=f"the file holds {pages} pages"):
            open_image(tmp_path / "a.tif", hints=Hints(ask=True))
        return
    with open_image(tmp_path / "a.tif") as img:
        assert (*img.shape[:2], img.shape[4]) == shape and img.notes and not img.question
        seen = [img.frame(t, z)[0, 0].tolist() for t in range(shape[0]) for z in range(shape[1])]
        assert sum(seen, []) == [*range(pages)]


def test_axes_told_for_a_file_that_says_more_change_nothing():
    with open_image(tiff(np.zeros((4, 2, 9, 7), np.uint16), imagej=True), hints=Hints(axes="TYX")) as img:
        assert img.shape[2:4] == (9, 7)


def test_a_thumbnail_before_the_image_is_not_the_image(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as w:
        for n in (8, 90, 60):
            w.write(np.full((n, n), n, np.uint8), photometric="minisblack", metadata=None)
    with open_image(tmp_path / "a.tif") as img:
        assert img.shape[2:4] == (90, 90) and "number 1 is read" in img.notes[0]
