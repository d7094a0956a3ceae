"""How fast are cells measured? Cells a second, 80 x 80 px, by number of channels; the first call compiles and is not counted.

    python benchmarks/bench_features.py --n 200

Wall clock needs a quiet machine; processor time (of all threads) is printed beside it."""

import argparse
import time

import numpy as np

from rows import add_row
from cellprotocols.features import measure_cells
from cellprotocols.synth import make_patches


def best_of(measure, n, rounds=5):
    "Cells a second of wall clock and of processor time, the best of some rounds."
    measure()
    wall, cpu = [], []
    for _ in range(rounds):
        a, b = time.perf_counter(), time.process_time()
        measure()
        wall.append(time.perf_counter() - a)
        cpu.append(time.process_time() - b)
    return n / min(wall), n / min(cpu)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--n", type=int, default=200, help="cells")
    p.add_argument("--size", type=int, default=80, help="px")
    a = p.parse_args()
    grey = make_patches(n=-(-a.n // 5), size=a.size, seed=5)[0][: a.n]
    for name, x in {"grey": grey, "RGB": np.concatenate([grey, 255 - grey, grey // 3], -1)}.items():
        wall, cpu = best_of(lambda x=x: measure_cells(x), len(x))
        print(f"{name:5} {a.size} x {a.size} px: {wall:6.0f} cells a second, {cpu:6.0f} a second of processor time")
        add_row(f"cells measured, {name}, {a.size} x {a.size} px", f"{cpu:.0f} cells a second of processor time")


if __name__ == "__main__":
    main()
