"Damaged image files of one format, many times over: `python tests/fuzz_readers.py FORMAT N`. Used by test_fuzz_readers."

import io
import signal
import struct
import sys
import zlib

import imagecodecs
import numpy as np
import tifffile
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from memory import measure_peak
from rasters import movie_bytes, ramp, rgb, tiff

from cellprotocols.hints import Hints
from cellprotocols.images import open_image
from cellprotocols.sources import ImageError

LIMIT, SECONDS = 50_000_000, 60  # bytes a frame may take; longest time for one file on a busy machine


def saved(img, kind, **more):
    out = io.BytesIO()
    Image.fromarray(img).save(out, kind, **more)
    return out.getvalue()


def indexed(kind):
    img, out = Image.fromarray((ramp % 7).astype(np.uint8)), io.BytesIO()
    img.putpalette(list(range(256)) * 3)
    img.save(out, kind)
    return out.getvalue()


def with_exif():
    exif = Image.Exif()
    exif[274] = 6
    return saved(rgb, "JPEG", exif=exif)


def two_images():
    out = io.BytesIO()
    with tifffile.TiffWriter(out, ome=True) as w:
        for k in range(2):
            w.write(rgb[..., 0] + k, photometric="minisblack", metadata={"axes": "YX", "Name": f"p{k}"})
    return out.getvalue()


a, small = rgb[..., 0], rgb[:16, :16].copy()
CMYK = np.dstack([rgb, rgb[..., :1]])
SEEDS = {
    "bmp": [saved(rgb, "BMP"), saved(a, "BMP"), indexed("BMP"), saved(a > 60, "BMP"), imagecodecs.bmp_encode(rgb)],
    "png": [imagecodecs.png_encode(ramp), saved(rgb, "PNG"), indexed("PNG"), saved(CMYK, "PNG"), saved(a > 60, "PNG")],
    "jpeg": [saved(rgb, "JPEG"), saved(a, "JPEG", progressive=True), with_exif(), imagecodecs.jpeg8_encode(CMYK)],
    "tiff pages": [
        bytes(movie_bytes(4)[1]),
        tiff(ramp, bigtiff=True),
        tiff(ramp > 60),
        tiff(a, photometric="miniswhite"),
    ],
    "tiff imagej": [tiff(np.stack([small[..., 0]] * 4), imagej=True, metadata={"axes": "TYX"})],
    "tiff ome": [tiff(np.stack([small[..., 0]] * 4), ome=True, metadata={"axes": "TYX"}), two_images()],
    "tiff lzw and zlib": [tiff(ramp, compression=c, predictor=True) for c in ("lzw", "zlib")],
    "tiff packbits, zstd, lzma": [tiff(a, compression=c) for c in ("packbits", "zstd", "lzma")],
    "tiff tiles": [tiff(ramp, compression="zlib", tile=(16, 16)), tiff(rgb, photometric="rgb", tile=(32, 32))],
    "tiff jpeg": [tiff(rgb, compression="jpeg", photometric="rgb"), tiff(a, compression="jpeg")],
    "tiff j2k, jxl, webp": [tiff(a, compression=c) for c in ("jpeg2000", "jpegxl")]
    + [tiff(rgb, compression="webp", photometric="rgb")],
    "tiff png, lerc": [tiff(a, compression=c) for c in ("png", "lerc")],
    "tiff colours": [
        tiff(a, photometric="palette", colormap=np.zeros((3, 256), np.uint16), metadata=None),
        tiff(CMYK, photometric="separated"),
    ],
    "netpbm": [saved(rgb, "PPM"), saved(a, "PPM"), b"P4\n16 16\n" + bytes(32), b"P2\n2 2\n255\n0 1 2 3\n"],
    "gif": [saved(a, "GIF")],
    "webp": [saved(rgb, "WEBP")],
    "ico": [saved(small, "ICO", sizes=[(16, 16)])],
}
ODD = (0, 1, 2, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


@st.composite
def damaged(draw, kind):
    "A good file with some bytes changed, cut off, doubled, or a number of its header made absurd."
    x = bytearray(draw(st.sampled_from(SEEDS[kind])))
    for _ in range(draw(st.integers(1, 4))):
        how, front = draw(st.sampled_from(["byte", "cut", "number", "double", "none"])), draw(st.booleans())
        at = draw(st.integers(0, max(0, min(len(x), 300) - 1 if front else len(x) - 1)))
        if how == "byte" and x:
            x[at] = draw(st.integers(0, 255))
        if how == "cut":
            x = x[:at]
        if how == "number":
            x[at : at + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", draw(st.sampled_from(ODD)))
        if how == "double":
            x = x[: at + 60] + x[at:]
    return bytes(x if kind != "png" or not draw(st.booleans()) else mend(x))


def mend(x):
    "Right checksums again, so that what is wrong inside a PNG comes to the decoder."
    x, at = bytearray(x), 8
    while at + 12 <= len(x):
        n = struct.unpack(">I", x[at : at + 4])[0]
        if at + 12 + n > len(x):
            break
        x[at + 8 + n : at + 12 + n] = struct.pack(">I", zlib.crc32(x[at + 4 : at + 8 + n]))
        at += 12 + n
    return x


def look(data, raw):
    "Open and decode: pixels of the promised shape, or an `ImageError`."
    try:
        with open_image(data, limit=LIMIT, name="damaged", hints=Hints(raw=raw)) as img:
            assert img.nbytes < 10**13
            for t in range(min(len(img), 5)):
                try:
                    assert img.frame(t).shape == img.shape[2:]
                except ImageError:
                    pass
    except ImageError:
        pass


def main(kind, n):
    seen = []

    @settings(max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(data=damaged(kind), raw=st.booleans())
    def run(data, raw):
        seen.append(len(data))
        with open("last", "wb") as f:  # what ended the process
            f.write(data)
        signal.alarm(SECONDS)
        look(data, raw)
        signal.alarm(0)

    run()
    peak = measure_peak()
    print(f"{kind}: {len(seen)} files, at most {peak:.0f} MB")
    assert peak < 1500


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
