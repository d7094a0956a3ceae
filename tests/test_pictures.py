"pictures: every bit of a PNG, JPEG and BMP, and damage that is noticed."

import imagecodecs
import numpy as np
import pytest
from rasters import ramp, rgb, rng

from cellprotocols.images import open_image, read_image_bytes
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
