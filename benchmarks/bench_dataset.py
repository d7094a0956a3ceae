"""Datasets beside plain pandas and plain zarr: a million rows, half a gigabyte of patches, many small parts, labels.

python benchmarks/bench_dataset.py [rows]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np, pandas as pd, zarr

from rows import add_row
from cellprotocols.dataset import read_dataset
from cellprotocols.writer import DatasetWriter, write_dataset
from cellprotocols.labellog import write_label


def timed(f):
    t = time.perf_counter()
    out = f()
    return time.perf_counter() - t, out


def best(f, n=3):
    return min(timed(lambda: f(i))[0] for i in range(n))


def show(what, ours, plain=None, at_most=None):
    print(f"| {what} | {ours:.2f} s |" + (f" {plain:.2f} s | {ours / plain:.2f} |" if plain else " | |"), flush=True)
    if plain:
        add_row(what, f"{ours:.2f} s", f"{plain:.2f} s", ours / plain, at_most=at_most)


def main(n=1_000_000):
    rng = np.random.default_rng(0)
    items = pd.DataFrame(
        dict(
            item_id=[f"movie{i % 7}-{i:07d}" for i in range(n)],
            group=[f"movie{i % 7}" for i in range(n)],
            field_id=[f"f{i // 100}" for i in range(n)],
            y=rng.uniform(0, 2048, n),
            x=rng.uniform(0, 2048, n),
            size=64,
            area=rng.normal(size=n).astype("f4"),
            t=rng.integers(0, 999, n),
        )
    )
    print(f"{n:,} rows, {len(items.columns)} columns\n\n| | cellprotocols | plain | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        plain = best(lambda i: items.to_csv(tmp / "plain.csv", index=False))
        show(
            "write the table (pandas to_csv), checked and read back",
            best(lambda i: write_dataset(tmp / f"w{i}", "patches", items, "bench")),
            plain,
            2,
        )
        show(
            "read the table (pandas read_csv), verified and checked",
            best(lambda i: read_dataset(tmp / "w0")),
            best(lambda i: pd.read_csv(tmp / "plain.csv")),
            2,
        )

        m = min(n, 100_000)
        patches = np.clip(rng.normal(100, 20, (m, 64, 64)), 0, 255).astype(np.uint8)

        def by_zarr(i):
            a = zarr.create_array(tmp / f"z{i}", shape=patches.shape, chunks=(256, 64, 64), dtype="u1")
            a[:] = patches

        plain = best(by_zarr, 2)
        show(
            f"write {m:,} patches of 64 x 64 (zarr alone)",
            best(
                lambda i: write_dataset(tmp / f"p{i}", "patches", items[:m], "bench", arrays=dict(patches=patches)), 2
            ),
            plain,
            2,
        )

        def in_parts(i, size=20):
            with DatasetWriter(tmp / f"s{i}", "patches", "bench") as w:
                for k in range(0, m, size):
                    w.append(k, items[k : k + size], patches=patches[k : k + size])
                w.commit()

        t = best(in_parts, 1)
        show(f"the same in {m // 20:,} parts of 20 ({t / (m // 20) * 1000:.1f} ms a part)", t, plain)
        t = best(lambda i: [write_label(tmp / "log", f"i{k}", "A", "x") for k in range(200)], 1)
        show(f"200 labels to the log ({t / 200 * 1000:.1f} ms each, forced to disk)", t)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
