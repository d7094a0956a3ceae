"""Cells of four stains: outlines of a 2048 px field, masks as text beside pycocotools, memory of steps 41 and 42.

python benchmarks/bench_organelles.py [--fields 200] [folder of real fields]"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from rows import add_row
from cellprotocols.cellregions import find_regions, measure_regions
from cellprotocols.channelfiles import find_channel_files, read_channels
from cellprotocols.masktext import read_counts, to_counts, to_runs
from cellprotocols.synth_organelles import make_organelle_field


def spent(call, n=3):
    "The least processor and wall time of `n` calls, s."
    call()
    times = []
    for _ in range(n):
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return np.min(times, 0)


def grow(x, side=2048):
    return cv2.resize(x, (side, side), interpolation=cv2.INTER_LINEAR)


def read_fields(folder):
    "Fields of about 2048 px: real ones where there are any, else practice."
    if folder:
        for row in find_channel_files(folder).itertuples():
            yield row.id[:12], read_channels(row, folder)
        return
    for seed in range(3):
        f = make_organelle_field((16,), size=(512, 512), radius=24, seed=seed)
        yield f"practice {seed}", {c: grow(getattr(f, c)) for c in ("red", "green", "blue", "yellow")}


def time_outlines(folder):
    for name, p in read_fields(folder):
        made = find_regions(p["blue"], p["red"], p["yellow"])
        cpu, wall = spent(lambda: find_regions(p["blue"], p["red"], p["yellow"]))
        table = spent(lambda: measure_regions(made.cells, made.nuclei))[0]
        n = len(np.unique(made.cells)) - 1
        size = " x ".join(map(str, made.cells.shape))
        print(f"{name}: {size} px, {n} cells: outlined {cpu:.2f} s of processor, {wall:.2f} s; measured {table:.2f} s")
        add_row(f"cells outlined, {size} px, {n} cells, s of processor", f"{cpu:.2f} s", value=cpu, at_most=1)


def time_masks():
    mask = np.zeros((2048, 2048), np.uint8)
    cv2.ellipse(mask, (900, 1000), (300, 180), 30, 0, 360, 1, -1)
    shown = mask > 0
    ours = spent(lambda: to_counts(to_runs(shown)), 20)[0]
    print(f"mask of a cell in 2048 x 2048 px as letters: {ours * 1e3:.1f} ms")
    try:
        from pycocotools.mask import encode
    except ImportError:
        print("pycocotools is not installed: no comparison")
        return
    column = np.asfortranarray(mask)
    theirs = spent(lambda: encode(column), 20)[0]
    print(f"  pycocotools, column by column already: {theirs * 1e3:.1f} ms")
    add_row("a mask as letters", f"{ours * 1e3:.1f} ms", f"pycocotools {theirs * 1e3:.1f} ms", ours / theirs, at_most=2)
    print(f"  pycocotools, turned first: {spent(lambda: encode(np.asfortranarray(mask)), 20)[0] * 1e3:.1f} ms")
    rng, same = np.random.default_rng(0), 0
    for _ in range(500):
        m = rng.random(rng.integers(1, 60, 2)) < rng.choice([0, 0.05, 0.5, 0.95, 1])
        counts = encode(np.asfortranarray(m.astype(np.uint8)))["counts"]
        same += to_counts(to_runs(m)) == counts and (read_counts(counts) == to_runs(m)).all()
    print(f"  identical letters: {same} of 500 masks")


def run_steps(n):
    "Steps 41 and 42 over `n` small fields; prints the peak memory of this process."
    from cellprotocols.organelles import annotate, patches

    with tempfile.TemporaryDirectory() as tmp:
        f, home = make_organelle_field((16,), size=(192, 192)), Path(tmp) / "images"
        home.mkdir()
        for i in range(n):
            for c in ("red", "green", "blue", "yellow"):
                cv2.imwrite(str(home / f"1_A{1 + i // 99}_{i}_{c}.png"), getattr(f, c))
        start = time.process_time()
        annotate.run(str(home), f"{tmp}/41_annotate")
        patches.run(f"{tmp}/41_annotate", f"{tmp}/42_patches", size=64)
        took = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"RESULT {n} fields of 192 px: {took:.1f} s of processor, peak {peak:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="")
    parser.add_argument("--fields", type=int, default=200)
    parser.add_argument("--only", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        run_steps(given.only)
        return
    time_outlines(given.folder)
    time_masks()
    for n in (max(1, given.fields // 10), given.fields):
        said = subprocess.run([sys.executable, __file__, "--only", str(n)], capture_output=True, text=True, check=True)
        print(*[line[7:] for line in said.stdout.splitlines() if line.startswith("RESULT")])


if __name__ == "__main__":
    main()
