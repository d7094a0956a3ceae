"""What millions of patches cost, and what two workers save: processor time an item, table, disk, memory.

python benchmarks/bench_scale.py [--rows 1000000] [--patches 4096]

One thread. The table is written part by part and read as a step reads it; patches are noise, 64 x 64 px, one channel, 8 bits."""

import argparse
import resource
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from rows import add_row
from cellprotocols.dataset import read_dataset
from cellprotocols.embed import embed_patches
from cellprotocols.embedded import make_view
from cellprotocols.features import measure_cells
from cellprotocols.workers import do_parts
from cellprotocols.writer import DatasetWriter

PIECE = 512


@contextmanager
def timed(what, n):
    begin = time.process_time()
    yield
    spent = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what}: {1e3 * spent / n:.4f} ms an item, {spent:.1f} s; peak {peak:.2f} GB", flush=True)
    add_row(f"{what}, {n:,}", f"{1e3 * spent / n:.4f} ms an item, peak {peak:.2f} GB")


def make_rows(first, n):
    k = np.arange(first, first + n)
    files = [f"plate_{j // 10000:04d}/well_{j // 100 % 100:02d}.tif" for j in k]
    names = dict(item_id=[f"{f}@{j}" for f, j in zip(files, k, strict=True)], group=[f[:10] for f in files], label="")
    numbers = dict(y=k * 0.5 % 1000, x=k * 0.25 % 1000, size=64, real=1.0, blank=False, focus=k * 0.001)
    return pd.DataFrame(names | dict(field_id=files, sha1=[f"{j:040x}" for j in k]) | numbers)


def bench_table(n, folder):
    with DatasetWriter(folder / "rows", "patches", "bench.scale") as w:
        with timed("rows written", n):
            for i in range(0, n, PIECE):
                rows = make_rows(i, min(PIECE, n - i))
                w.append(i, rows, patches=np.zeros((len(rows), 4, 4, 1), np.uint8))
        with timed("folder finished", n):
            w.commit()
    with timed("rows read", n):
        items = read_dataset(folder / "rows").items
    disk, memory = (folder / "rows/items.csv").stat().st_size, items.memory_usage(deep=True).sum()
    print(f"{len(items)} rows: {disk / n:.0f} bytes a row on disk, {memory / n:.0f} in memory", flush=True)


def embed(seed, net, n=256):
    patches = np.random.default_rng(seed).integers(0, 255, (n, 64, 64, 1), np.uint8)
    return next(embed_patches(net, [(patches, np.ones(patches.shape[:3], bool))], "cpu"))


def bench_work(n):
    patches = np.random.default_rng(0).integers(0, 255, (n, 64, 64, 1), np.uint8)
    net, valid = make_view("efficientnet-lite0", ["C0"], 64)[1], np.ones(patches.shape[:3], bool)
    with timed("embedded", n):
        list(embed_patches(net, [(patches[i : i + 256], valid[i : i + 256]) for i in range(0, n, 256)], "cpu"))
    with timed("measured", n):
        measure_cells(patches, valid)
    spent, found = {}, {}
    for workers in ("", "2"):
        begin = time.perf_counter()
        found[workers] = [x for _, x in do_parts(partial(embed, net=net), range(n // 256), "embedding", workers)]
        spent[workers] = time.perf_counter() - begin
    same = all(np.array_equal(a, b) for a, b in zip(found[""], found["2"], strict=True))
    ratio = spent[""] / spent["2"]
    print(f"two workers, their start of some seconds included: {ratio:.2f} times as fast, same numbers: {same}")
    add_row(
        "embedding by two workers, their start included; value: times as fast", f"same numbers: {same}", value=ratio
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--patches", type=int, default=4096)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as d:
        bench_table(args.rows, Path(d))
    bench_work(args.patches)
