"""Cutting patches beside reading the movie: frames per second in one run, and memory that
does not grow with the length.

    python benchmarks/bench_patches.py [--frames 100] [--size 1024] [--long 2000]

Real TIFF movies are written to a temporary folder. Raw reading goes through `tifffile` page by page, the fastest way
we know; cutting reads the same movie through `images.open_image` and cuts one patch around every nucleus, about 400 a
frame, with its mask. Target: no less than half the raw speed. The number that counts is the ratio within one run, not
the frames per second. Compressed movies reach it. Plain ones do when the disk gives less than about 0.7 GB/s; from a
faster disk or from memory raw reading is hardly more than one copy of 1 MB, while the patches and masks of so many
cells are 3 MB a frame.
"""

import argparse, os, subprocess, sys, tempfile
from pathlib import Path
from time import perf_counter
import numpy as np, pandas as pd, tifffile
from rows import add_row
from cellprotocols.images import open_image
from cellprotocols.patches import cut_movie
from cellprotocols.synth import iter_movie


def write_movie(path, n_frames, size, compression=None, kinds=8) -> pd.DataFrame:
    "A movie of `kinds` different frames over and over; the table of all cells in it."
    parts = list(iter_movie(kinds, size=(size, size), seed=0))
    frames = (parts[t % kinds].frame[..., 0] for t in range(n_frames))
    tifffile.imwrite(
        path,
        frames,
        shape=(n_frames, size, size),
        dtype=np.uint8,
        bigtiff=True,
        compression=compression,
        metadata=dict(axes="TYX"),
    )
    return pd.concat([parts[t % kinds].cells.assign(t=t) for t in range(n_frames)], ignore_index=True)


def forget(path):
    "Write the file out and drop it from memory, so that the next read comes from the disk."
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_raw(path) -> float:
    start = perf_counter()
    with tifffile.TiffFile(path) as f:
        n = sum(1 for page in f.pages if page.asarray() is not None)
    return n / (perf_counter() - start)


def read_and_cut(path, table) -> tuple:
    start, n = perf_counter(), 0
    with open_image(path) as movie:
        for rows, patches, valid in cut_movie(movie, table):
            n += len(patches)
        return len(movie) / (perf_counter() - start), n


def peak_memory(n_frames, size) -> int:
    "Peak memory (kB) of a process of its own that cuts a movie of `n_frames`."
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.tif"
        write_movie(path, n_frames, size).to_csv(path.with_suffix(".csv"), index=False)
        code = f"""
import resource, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import pandas as pd; from bench_patches import read_and_cut
read_and_cut({str(path)!r}, pd.read_csv({str(path.with_suffix(".csv"))!r}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""
        return int(subprocess.check_output([sys.executable, "-c", code]).split()[-1])


def compare(path, n_frames, size, compression, cold):
    table = write_movie(path, n_frames, size, compression)
    ready = forget if cold else read_raw
    ready(path)
    raw = read_raw(path)
    ready(path)
    cut, n = read_and_cut(path, table)
    return raw, cut, n / n_frames


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--frames", type=int, default=100)
    p.add_argument("--size", type=int, default=1024)
    p.add_argument("--long", type=int, default=2000)
    a = p.parse_args()
    print(f"{a.frames} frames of {a.size} x {a.size} uint8")
    for name, compression, cold in (
        ("zlib", "zlib", False),
        ("LZW", "lzw", False),
        ("plain, from the disk", None, True),
        ("plain, in memory", None, False),
    ):
        with tempfile.TemporaryDirectory() as folder:
            raw, cut, n = compare(Path(folder) / "movie.tif", a.frames, a.size, compression, cold)
        print(
            f"{name:21} raw {raw:6.0f} frames/s; with cutting {cut:5.0f} frames/s, "
            f"{n * cut:7.0f} patches/s; ratio {cut / raw:.2f}",
            flush=True,
        )
        add_row(
            f"reading and cutting, {name}",
            f"{cut:.0f} frames/s",
            f"reading alone {raw:.0f} frames/s",
            cut / raw,
            at_least=0.5,
        )
    short, long = peak_memory(a.long // 10, 256), peak_memory(a.long, 256)
    print(
        f"peak memory: {short / 1024:.0f} MB for {a.long // 10} frames, "
        f"{long / 1024:.0f} MB for {a.long} frames (256 x 256)"
    )
    add_row(
        f"memory of cutting, {a.long} frames beside {a.long // 10}",
        f"{long / 1024:.0f} MB",
        f"{short / 1024:.0f} MB",
        long / short,
        at_most=1.2,
    )


if __name__ == "__main__":
    main()
