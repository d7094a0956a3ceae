"""Classifying patches beside the bare network, and memory that does not grow with the length of a movie.

    python benchmarks/bench_infer.py [--patches 4000] [--long 2000]

Patches: step 25 reads them from disk, normalises, classifies and writes probabilities and vectors; the same network is also
timed alone, on images that are normalised and in memory (on the graphics card, if there is one). Target: 0.8 of the bare speed,
and ten thousand patches a second on a graphics card. The number that counts is the ratio within one run: the fastest of three
each, taken in turns. Measurements (the default without a graphics card) are timed in the same way.
Memory: a process of its own finds, follows, classifies and smooths the nuclei of a movie of `--long` frames, and of a tenth.
"""

import argparse, contextlib, io, subprocess, sys, tempfile
from pathlib import Path
from time import perf_counter
import numpy as np, pandas as pd, torch
from bench_patches import write_movie
from rows import add_row
from cellprotocols.bundle import write_bundle
from cellprotocols.chromatin import infer
from cellprotocols.classify import NetClassifier
from cellprotocols.inputs import to_images
from cellprotocols.measured import measure_all
from cellprotocols.recipes import Cells, train_measured
from cellprotocols.writer import write_dataset
from cellprotocols.chromatin.annotate import STATES
from cellprotocols.synth import make_patches
from cellprotocols.device import pick_device


def make_source(folder, n):
    "A patches dataset of `n` cells; the noise differs, so that nothing compresses better than it should."
    few = make_patches(n=40, seed=0)[0]
    rng = np.random.default_rng(0)
    patches = np.concatenate(
        [
            np.clip(few.astype(np.int16) + rng.integers(-3, 4, few.shape, dtype=np.int16), 0, 255).astype(np.uint8)
            for _ in range(-(-n // len(few)))
        ]
    )[:n]
    items = pd.DataFrame(
        dict(
            item_id=[f"c{i:07d}" for i in range(n)],
            group=np.arange(n) % 50,
            label="",
            field_id="f",
            y=1.0,
            x=1.0,
            size=64,
            px_um=0.333,
        )
    )
    write_dataset(
        folder,
        "patches",
        items,
        "chromatin.patches",
        dict(classes=list(STATES), practice=True),
        arrays=dict(patches=patches, valid=np.ones(patches.shape[:3], bool)),
        files={"channels.txt": "gray\n"},
    )
    return patches


def make_model(kind, patches):
    torch.manual_seed(0)
    if kind == "net":
        model = NetClassifier("cell", 1, 5, 64)
        model.views.fit(to_images(patches[:500]))
        return model.eval()
    some, labels, groups = make_patches(n=30, seed=1)
    valid = np.ones(some.shape[:3], bool)
    return train_measured(
        Cells(some, valid, np.unique(labels, return_inverse=True)[1], groups, 5, measure_all(some, valid)),
        np.arange(len(some)),
    )[0].eval()


def time_bare(model, patches) -> float:
    "Patches a second of the network alone: its images are ready; of measurements: from memory."
    device, net = pick_device(), isinstance(model, NetClassifier)
    model = model.to(device)
    with torch.inference_mode():
        pieces = [to_images(patches[i : i + 512]).to(device) for i in range(0, len(patches), 512)]
        if net:
            pieces = [model.images(p) for p in pieces]
        run = model.net if net else model.answer
        if device.type == "cuda":
            run(pieces[0])
            torch.cuda.synchronize()
        start = perf_counter()
        for p in pieces:
            run(p)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return len(patches) / (perf_counter() - start)


def time_step(folder, source, bundle, n) -> float:
    start = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        infer.run(str(source), str(folder), str(bundle))
    return n / (perf_counter() - start)


def compare(kind, n):
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        patches = make_source(d / "22_patches", n)
        model = make_model(kind, patches)
        write_bundle(
            d / "bundle",
            model,
            type(model).__name__,
            model.config,
            STATES,
            ["gray"],
            to_images(patches[:1]),
            px_um=0.333,
        )
        bare, step = zip(
            *(
                (time_bare(model, patches), time_step(d / f"out{k}", d / "22_patches", d / "bundle", n))
                for k in range(3)
            )
        )
    print(
        f"{kind:9} {n} patches on {pick_device().type}: alone {max(bare):8.0f} patches/s; step 25 {max(step):8.0f} patches/s; ratio {max(step) / max(bare):.2f}",
        flush=True,
    )
    add_row(
        f"step 25 beside the bare model, {kind}",
        f"{max(step):.0f} patches/s",
        f"{max(bare):.0f} patches/s",
        max(step) / max(bare),
        at_least=0.8,
    )


def peak_memory(n_frames, folder) -> tuple:
    "Peak memory (MB), seconds and nuclei of a process of its own that classifies a movie."
    movie = folder / f"movie_{n_frames}.tif"
    write_movie(movie, n_frames, 256)
    code = f"""
import resource, time; start = time.time()
from cellprotocols.chromatin import infer
made = infer.run(None, {str(folder / str(n_frames))!r}, {str(folder / "bundle")!r}, {str(movie)!r}, px_um=.333)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024, time.time() - start, len(made))"""
    return tuple(map(float, subprocess.check_output([sys.executable, "-c", code]).split()[-3:]))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--patches", type=int, default=4000, help="0: memory only")
    p.add_argument("--long", type=int, default=2000)
    a = p.parse_args()
    if a.patches:
        compare("net", a.patches)
        compare("measured", min(a.patches, 2000))
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        patches = make_patches(n=40)[0]
        model = make_model("net", patches)
        write_bundle(
            d / "bundle", model, "NetClassifier", model.config, STATES, ["gray"], to_images(patches[:1]), px_um=0.333
        )
        found = []
        for n in (a.long // 10, a.long):
            mb, s, cells = peak_memory(n, d)
            found.append(mb)
            print(
                f"movie of {n:5} frames, 256 x 256: {mb:5.0f} MB, {n / s:5.1f} frames/s, {cells / s:6.0f} nuclei/s",
                flush=True,
            )
    add_row(
        f"memory of classifying a movie, {a.long} frames beside {a.long // 10}",
        f"{found[1]:.0f} MB",
        f"{found[0]:.0f} MB",
        found[1] / found[0],
        at_most=1.2,
    )


if __name__ == "__main__":
    main()
