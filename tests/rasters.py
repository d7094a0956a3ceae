"Small images and TIFFs, made in memory, for the tests of readers."

import io
import struct
import zlib

import numpy as np
import tifffile

rng = np.random.default_rng(0)
ramp = np.add.outer(np.arange(64), np.arange(60)).astype(np.uint16)
rgb = np.repeat(ramp[..., None], 3, 2).astype(np.uint8)
dtypes = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]


def tiff(a, **settings):
    out = io.BytesIO()
    tifffile.imwrite(out, a, **settings)
    return out.getvalue()


def whole(img):
    return np.stack([np.stack([img.frame(t, z) for z in range(img.shape[1])]) for t in range(len(img))])


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def movie_bytes(n=12, **settings):
    frames = rng.integers(0, 255, (n, 16, 16), dtype=np.uint8)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as w:
        for f in frames:
            w.write(f, contiguous=False, metadata=None, photometric="minisblack", **settings)
    return frames, bytearray(out.getvalue())
