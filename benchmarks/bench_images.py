"""
Reading the frames of a movie: `images` beside plain tifffile pages and a plain read of the file,
one run, printed as ratios.

python benchmarks/bench_images.py [--frames 2000] [--size 256] [--data FOLDER_OF_TIFFS]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from rows import add_row
from cellprotocols.images import open_image


def seconds(fn, repeat):
    "Best of `repeat` runs: the machine is shared."
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        fn()
        best = min(best, time.perf_counter() - start)
    return best


def read_raw(files):
    for f in files:
        with open(f, "rb", buffering=0) as h:
            while h.read(1 << 20):
                pass


def read_tifffile(files):
    for f in files:
        with tifffile.TiffFile(f) as t:
            for page in t.pages:
                page.asarray()


def read_ours(files):
    for f in files:
        with open_image(f) as img:
            for t in range(img.shape[0]):
                for z in range(img.shape[1]):
                    img.frame(t, z)


def compare(name, files, repeat):
    raw, plain, ours = (seconds(lambda: fn(files), repeat) for fn in (read_raw, read_tifffile, read_ours))

    def one():
        with open_image(files[0]) as img:
            img.frame(img.shape[0] // 2)

    opened = seconds(one, repeat)
    print(
        f"{name:34s} ours {ours:7.3f} s   ours/tifffile {ours / plain:5.2f}   ours/raw read {ours / raw:7.2f}   "
        f"open + middle frame {opened * 1e3:6.1f} ms"
    )
    add_row(f"frames of a movie, {name}", f"{ours:.2f} s", f"tifffile's pages {plain:.2f} s", ours / plain, at_most=1.1)


def make_movies(folder, n, size):
    "The same movie in the ways that microscopes write it."
    yy, xx = np.mgrid[:size, :size]
    rng = np.random.default_rng(0)
    frames = (1000 + 300 * np.sin((yy + xx) / 9) + rng.normal(0, 20, (n, size, size))).astype(np.uint16)
    tifffile.imwrite(folder / "imagej.tif", frames, imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(folder / "ome.tif", frames, ome=True, photometric="minisblack", metadata={"axes": "TYX"})
    for name, compression in (("bigtiff pages", None), ("bigtiff lzw pages", "lzw"), ("bigtiff deflate pages", "zlib")):
        with tifffile.TiffWriter(folder / f"{name}.tif", bigtiff=True) as w:
            for f in frames:
                w.write(f, contiguous=False, metadata=None, compression=compression)
    return sorted(folder.glob("*.tif"))


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--frames", type=int, default=2000)
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--data", type=Path, help="also time every TIFF of this folder, all together")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = make_movies(Path(folder), a.frames, a.size)
        print(f"{a.frames} frames of {a.size} x {a.size} uint16, best of {a.repeat}; ratios below 1 are faster")
        for f in files:
            compare(f.stem, [f], a.repeat)
    if a.data:
        files = sorted(f for f in a.data.rglob("*") if f.suffix.lower() in (".tif", ".tiff"))
        if files:
            compare(f"{a.data.name} ({len(files)} files)", files, a.repeat)
        else:
            print(f"{a.data}: no TIFF files")


if __name__ == "__main__":
    main()
