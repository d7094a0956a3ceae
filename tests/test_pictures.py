"pictures: every bit of a PNG, JPEG and BMP, and damage that is noticed."

import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin
from rasters import ramp, rgb, rng

from cellprotocols.boxes import read_image_sizes
from cellprotocols.images import open_image, open_labels, read_image_bytes
from cellprotocols.maskfiles import read_mask
from cellprotocols.sources import ImageError


@pytest.mark.parametrize(
    "a",
    [ramp, rgb[..., 0].copy(), rgb, np.dstack([rgb, rgb[..., :1]]), rgb.astype(np.uint16) * 257],
    ids=["16", "8", "rgb", "rgba", "rgb16"],
)
def test_png_keeps_every_bit(a):
    img = open_image(imagecodecs.png_encode(a))
    assert img.dtype == a.dtype
    np.testing.assert_array_equal(img.frame().squeeze(), a)


def test_jpeg_and_bmp():
    img = open_image(imagecodecs.jpeg8_encode(rgb, level=98))
    assert img.channels == ["R", "G", "B"] and abs(img.frame().astype(int) - rgb).mean() < 3
    np.testing.assert_array_equal(open_image(imagecodecs.bmp_encode(rgb)).frame(), rgb)
    np.testing.assert_array_equal(open_image(imagecodecs.bmp_encode(rgb[..., 0])).frame()[..., 0], rgb[..., 0])


def test_damaged_png_is_noticed():
    data = bytearray(imagecodecs.png_encode(rng.integers(0, 255, (50, 50), dtype=np.uint8)))
    data[1000] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        read_image_bytes(data, "a.png")


def saved(img, kind, **more):
    out = io.BytesIO()
    (img if isinstance(img, Image.Image) else Image.fromarray(img)).save(out, kind, **more)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bitmaps_of_every_kind(mode):
    img = Image.fromarray(rng.integers(0, 255, (20, 30, 4), dtype=np.uint8), "RGBA").convert(mode)
    data = saved(img, "BMP")
    want = Image.open(io.BytesIO(data)).convert({"1": "L", "P": "RGB"}.get(mode, mode if mode == "L" else "RGB"))
    np.testing.assert_array_equal(open_image(data).frame().squeeze(), np.asarray(want))


@pytest.mark.parametrize("at, value", [(18, 6000), (18, 0x7FFFFFFF), (22, 6000), (22, 2**31), (10, 2**31), (28, 77)])
@pytest.mark.parametrize("seed", [rgb, rgb[..., 0]])
def test_a_bitmap_whose_header_lies_is_refused(at, value, seed):
    "Width, height, where the pixels begin, bits a pixel: nothing but the file's own bytes may become pixels."
    data = bytearray(imagecodecs.bmp_encode(np.ascontiguousarray(seed)))
    data[at : at + (2 if at == 28 else 4)] = struct.pack("<H" if at == 28 else "<I", value)
    with pytest.raises(ImageError):
        read_image_bytes(bytes(data), "a.bmp")


def test_a_cut_jpeg_is_noticed_behind_its_thumbnail_and_a_long_header_is_no_damage():
    jpeg, thumb = imagecodecs.jpeg8_encode(rgb), imagecodecs.jpeg8_encode(rgb[::8, ::8].copy())
    profile = b"".join(b"\xff\xe2" + struct.pack(">H", 65_000) + bytes(64_998) for _ in range(60))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumb) + 2) + thumb
    for head in (segment, profile, profile + segment):
        data = jpeg[:2] + head + jpeg[2:]
        np.testing.assert_array_equal(read_image_bytes(data), read_image_bytes(jpeg))
        for cut in (3, 60, 400):
            with pytest.raises(ImageError, match="middle of the picture|cut off"):
                read_image_bytes(data[:-cut])
    progressive = saved(rgb, "JPEG", progressive=True)
    assert read_image_bytes(progressive).shape == rgb.shape
    with pytest.raises(ImageError, match="middle"):
        read_image_bytes(progressive[:-200])


def test_a_png_with_a_long_header():
    info = PngImagePlugin.PngInfo()
    for k in range(40):
        info.add_text(f"note{k}", "IDAT tRNS pHYs " * 40)
    data = saved(rgb, "PNG", pnginfo=info, dpi=(25400, 50800))  # 1000 and 2000 px a mm
    img = open_image(data)
    assert img.channels == ["R", "G", "B"] and img.channels.alpha == () and img.px_um == pytest.approx(1, rel=1e-3)
    assert "0.5" in img.notes[0]
    np.testing.assert_array_equal(img.frame(), rgb)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("k", range(1, 9))
def test_the_orientation_of_exif_is_applied_once(kind, k):
    exif = Image.Exif()
    exif[274] = k
    data = saved(rgb[:40], kind, exif=exif)
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    img = open_image(data)
    assert img.frame().shape == want.shape and img.shape[2:4] == want.shape[:2]
    assert np.abs(img.frame().astype(int) - want).mean() < 2
    assert any("orientation" in n for n in img.notes) == (k > 1)


def test_boxes_and_pixels_speak_of_the_same_picture(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "phone.jpg").write_bytes(saved(rgb, "JPEG", exif=exif))
    assert read_image_sizes(tmp_path) == {"phone.jpg": (60, 64)}


def test_inks_of_a_jpeg_become_colours_as_others_see_them():
    yy, xx = np.mgrid[:64, :64]
    cmyk = np.stack([xx * 4, yy * 4, xx + yy, xx * 0 + 30], -1).astype(np.uint8)
    data = saved(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=95)
    img, want = open_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert img.channels == ["R", "G", "B"] and "inks" in img.notes[0]
    assert np.abs(img.frame().astype(int) - want).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("grey", [False, True])
def test_indexed_pictures_are_colours_for_eyes_and_numbers_for_labels(tmp_path, kind, grey):
    lab = (ramp // 20 % 6).astype(np.uint8)
    img = Image.fromarray(lab)
    table = [0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 128, 9, 9, 9, 9, 9, 9]  # two indices look alike
    img.putpalette([v for v in (0, 90, 90, 30, 200, 5) for _ in "rgb"] if grey else table)
    (tmp_path / "l").write_bytes(saved(img, kind))
    with open_labels(tmp_path / "l") as labels, open_image(tmp_path / "l") as shown:
        np.testing.assert_array_equal(labels.frame()[..., 0], lab)
        assert labels.channels == ["gray"] and not labels.notes
        want = np.asarray(Image.open(tmp_path / "l").convert("RGB"))
        np.testing.assert_array_equal(np.broadcast_to(shown.frame(), want.shape), want)
        assert "indexed" in shown.notes[0]


def test_labels_are_not_read_from_a_jpeg(tmp_path):
    (tmp_path / "l.jpg").write_bytes(saved(rgb, "JPEG"))
    with pytest.raises(ImageError, match="JPEG changes numbers"):
        open_labels(tmp_path / "l.jpg")


def test_masks_in_any_colour(tmp_path):
    true = ramp > 60
    green = np.zeros((*true.shape, 3), np.uint8)
    green[true, 1] = 200
    Image.fromarray(green).save(tmp_path / "green.png")
    Image.fromarray(np.dstack([green, np.full(true.shape, 255, np.uint8)])).save(tmp_path / "alpha.png")
    one = Image.fromarray(true.astype(np.uint8))
    one.putpalette([0, 0, 0, 0, 0, 0])  # index 1 is black, too
    one.save(tmp_path / "indexed.png")
    for f in tmp_path.iterdir():
        np.testing.assert_array_equal(read_mask(f), true)
