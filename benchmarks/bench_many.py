"""Many small images through the first steps of chromatin: processor time, wall time and peak memory of each step.

python benchmarks/bench_many.py [--images 20000] [--side 40] [--steps annotate..train] [--keep FOLDER] [--model measured]

Class folders with a folder a slide inside: five classes, ten slides, 8-bit PNG of one textured cell each. Every step is a
process of its own; its processor time is that of all its threads.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from rows import add_row
from cellprotocols.protocols import built_steps

RUN = "import sys; from cellprotocols.cli import main; sys.exit(main())"


def make_cell(side, k, rng):
    "An ellipse somewhere, with texture of its class and of its own, in noise, uint8."
    y, x = np.mgrid[:side, :side] - side / 2 - rng.uniform(-side / 8, side / 8, (2, 1, 1))
    turn, long = rng.uniform(0, np.pi), rng.uniform(1, 1.6)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    disc = (u / long) ** 2 + v**2 < (side * (0.15 + 0.03 * k)) ** 2
    blotches = gaussian_filter(rng.normal(0, 1, (side, side)), side / 12)
    img = (
        20 + disc * (90 + 30 * np.sin((k + 1) * u / 3) + 40 * blotches / blotches.std()) + rng.normal(0, 8, disc.shape)
    )
    return np.clip(img, 0, 255).astype(np.uint8)


def make_images(folder, n, side):
    "`n` images in <class>/<slide>/."
    rng = np.random.default_rng(0)
    for i in range(n):
        k, slide = i % 5, i // 5 % 10
        path = folder / f"class_{k}" / f"slide_{slide}" / f"{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_cell(side, k, rng)).save(path)


def measure(words):
    "(processor s, wall s, peak GB) of one command."
    start = time.perf_counter()
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", RUN, *words])
    _, status, used = os.wait4(pid, 0)
    if status:
        sys.exit(f"{' '.join(words)}: ended with {status}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - start, used.ru_maxrss / 2**20


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=20_000)
    p.add_argument("--side", type=int, default=40)
    p.add_argument("--steps", default="annotate,patches,train", help="separated by commas")
    p.add_argument("--model", default="measured")
    p.add_argument("--keep", help="where images and results stay, to be used again")
    args = p.parse_args()
    assert set(args.steps.split(",")) <= set(built_steps("chromatin")), args.steps
    os.environ["CELLPROTOCOLS_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as tmp:
        home = Path(args.keep or tmp)
        images = home / f"images_{args.images}_{args.side}"
        if not images.exists():
            make_images(images, args.images, args.side)
        print(f"{args.images:,} images of {args.side} x {args.side} px\n\n| step | processor s | wall s | peak GB |")
        print("|---|---|---|---|")
        for step in args.steps.split(","):
            words = ["run", "chromatin", "--source", str(images), "--out", str(home / f"out_{args.images}"), "--quiet"]
            cpu, wall, gb = measure([*words, "--steps", step, *(["--model", args.model] if step == "train" else [])])
            print(f"| {step} | {cpu:.1f} | {wall:.1f} | {gb:.2f} |", flush=True)
            add_row(f"chromatin {step}, {args.images:,} small images", f"{cpu:.1f} s of processor time, {gb:.2f} GB")


if __name__ == "__main__":
    main()
