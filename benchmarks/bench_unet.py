"""U-Net over fields beside the bare forward pass, in turns in one run; peak memory against the size of the field.

python benchmarks/bench_unet.py [rounds [threads]]. Targets: at least 0.9 of the bare speed over 1080 x 1080 px; memory that does not grow with the field.
Bare is the network alone, in eager inference mode, on a field that is in memory already: whole (padded to what it can halve), and on tiles of the size that is used, reckoned by pixels.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from rows import add_row
from cellprotocols.device import count_cores
from cellprotocols.published import PublishedUNet
from cellprotocols.unet import UNet, _tile_size, iter_rows, predict_field

NETS = {"UNet on resnet18": UNet, "published": PublishedUNet}
SIDE = 1080


def speed(name, rounds):
    torch.manual_seed(0)
    net, field = NETS[name]().eval(), np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    tile = _tile_size(field.shape, 576, 64, net.step)
    whole, part = torch.from_numpy(field)[None, None], torch.from_numpy(field[:tile, :tile].copy())[None, None]
    runs = {
        "whole": lambda: net(whole),
        "tile": lambda: net(part),
        "field": lambda: predict_field(net, field, device="cpu"),
        "one tile": lambda: predict_field(net, field, size=1152, device="cpu"),
    }
    best = {k: [np.inf, np.inf] for k in runs}
    for turn in range(rounds + 1):  # the first turn warms up and does not count
        for k, run in runs.items():
            with torch.inference_mode():
                t = time.perf_counter(), time.process_time()
                run()
                t = time.perf_counter() - t[0], time.process_time() - t[1]
            if turn:
                best[k] = [
                    min(a, b) for a, b in zip(best[k], t)
                ]  # the fastest turn: other people's work only adds time
    for i, clock in enumerate(("wall", "cpu")):
        mpx = {"whole": 1, "tile": tile**2 / SIDE**2, "field": 1, "one tile": 1}
        rate = {k: mpx[k] * SIDE**2 / 1e6 / t[i] for k, t in best.items()}
        print(
            f"{name}, {clock}: bare whole {rate['whole']:.3f} Mpx/s, bare tile of {tile} px {rate['tile']:.3f}; tiled field {rate['field']:.3f}: {rate['field'] / rate['whole']:.2f} of bare whole, "
            f"{rate['field'] / rate['tile']:.2f} of bare tiles; field as one tile {rate['one tile'] / rate['whole']:.2f} of bare whole (target 0.9)",
            flush=True,
        )
        add_row(
            f"U-Net over a field in tiles, {name}, {clock}",
            f"{rate['field']:.2f} Mpx/s",
            f"bare network on the whole field {rate['whole']:.2f} Mpx/s",
            rate["field"] / rate["whole"],
            at_least=0.9,
        )


def peak_mb():
    "Of this process alone (getrusage would count what its parent had)."
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


def peak(h):
    "Peak memory of masking a field of h x 1080 px from disk, MB; rows are dropped as they come."
    with tempfile.TemporaryDirectory() as tmp:
        field = np.memmap(Path(tmp) / "f.dat", np.float32, "w+", shape=(h, SIDE))
        for y in range(0, h, 64):
            field[y : y + 64] = np.random.default_rng(y).standard_normal(field[y : y + 64].shape)
        for _ in iter_rows(UNet("resnet10t", width=8), field, device="cpu"):
            pass
        print(peak_mb())


def main(rounds=2, threads=2):
    os.environ["CELLPROTOCOLS_QUIET"] = "1"
    torch.set_num_threads(min(threads, count_cores()))
    for name in NETS:
        speed(name, rounds)
    for h in (SIDE, 4 * SIDE):
        mb = subprocess.run(
            [sys.executable, __file__, "--peak", str(h)], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        print(f"peak memory over {h} x {SIDE} px: {mb} MB")
        add_row(f"peak memory of the U-Net over {h} x {SIDE} px", f"{mb} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        peak(int(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
