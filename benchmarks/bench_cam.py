"""Score-CAM beside torchcam and pytorch-grad-cam: ResNet50 to its third stage (512 channels, stride 8), same weights, same image, in turns in one run.

python benchmarks/bench_cam.py [size [rounds [threads [channels]]]]. Every method runs in a process of its own and reports wall and processor seconds and its peak memory.
With fewer channels than 512, exact methods see only so many of the layer's channels (a pass costs the same) and their times are multiplied; for a short run.
The others live in an environment of their own (torch, timm, torchcam, grad-cam), whose python is named by CELLPROTOCOLS_PEERS; without it they are left out.
Targets: the default in at most 1/8 of their time and >= 0.99 correlated with the exact map; exact in at most 0.6 of it and 1.1 of 512 bare passes (`bare`: as PyTorch does them; `last`:
with channels last, as we do them); under 1.5 GB.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    "Random weights, but statistics of real activations: a network whose layers all do something."

    def __init__(self, x, channels=512):
        super().__init__()
        self.channels = channels
        import timm

        torch.manual_seed(0)
        self.trunk = timm.create_model("resnet50", features_only=True, out_indices=(2,))
        self.maps, self.head = nn.Identity(), nn.Linear(channels, 2)
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                nn.init.ones_(m.weight)
                m.momentum = None
        nn.init.normal_(self.head.weight, std=0.2)
        with torch.no_grad():
            self.train()(x)
        self.eval()

    def forward(self, x):
        return self.head(self.maps(self.trunk(x)[-1][:, : self.channels]).mean((2, 3)))


def picture(size):
    "Texture with dark spots, three channels."
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    x = gaussian_filter(rng.standard_normal((3, size, size)), (0, 2, 2)) * 4
    yy, xx = np.mgrid[:size, :size]
    for cy, cx, r in rng.uniform((0, 0, 4), (size, size, size / 20), (6, 3)):
        x[:, (yy - cy) ** 2 + (xx - cx) ** 2 < r * r] -= 3
    return torch.from_numpy(x.astype(np.float32))[None]


def bare(layout):
    "512 passes at the best batch size, reckoned from 32; the map is empty."

    def run(model, x):
        model.to(memory_format=layout)

        def clock(b, n):
            many, w, c = x.repeat(b, 1, 1, 1).contiguous(memory_format=layout), time.perf_counter(), time.process_time()
            for _ in range(n // b):
                model(many)
            return (time.perf_counter() - w) * 512 / n, (time.process_time() - c) * 512 / n

        with torch.inference_mode():
            best = min((1, 2, 4, 8), key=lambda b: min(clock(b, b)[0] for _ in range(3)))
            wall, cpu = clock(best, 32)
        return None, {"wall": wall, "cpu": cpu, "batch": best}

    return run


def ours(agreement, **options):
    def run(model, x):
        from cellprotocols.cam import score_cam

        cam = score_cam(model, "maps", x[0].numpy(), 1, agreement=agreement, device="cpu", **options)
        return cam.map, {"passes": cam.passes, "agreement": round(float(cam.agreement), 4)}

    return run


def torchcam(model, x):
    from torchcam.methods import ScoreCAM

    with ScoreCAM(model, "maps", input_shape=tuple(x.shape[1:])) as extract:
        with torch.inference_mode():
            z = model(x)
        return extract(1, z)[0][0].numpy(), None


def gradcam(model, x):
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    return ScoreCAM(model, [model.maps])(x, [ClassifierOutputTarget(1)])[0], None


NEEDS = dict(
    bare="torch", last="torch", torchcam="torchcam.methods", gradcam="pytorch_grad_cam"
)  # imported before the clock starts
EXACT = ("exact", "theirs", "torchcam", "gradcam")
METHODS = dict(
    bare=bare(torch.contiguous_format),
    last=bare(torch.channels_last),
    default=ours(0.99),
    exact=ours(1),
    theirs=ours(1, baseline="zero", weigh="softmax"),
    torchcam=torchcam,
    gradcam=gradcam,
)


def peak_mb():
    "Of this process alone (getrusage would count what its parent had)."
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


def one(name, size, threads, channels, out):
    torch.set_num_threads(threads)
    importlib.import_module(NEEDS.get(name, "cellprotocols.cam"))
    model = Net(x := picture(size), channels if name in EXACT else 512)
    with torch.inference_mode():
        model(x)  # what is made at the first call does not count
    w, c = time.perf_counter(), time.process_time()
    found, more = METHODS[name](model, x)
    facts = {"wall": time.perf_counter() - w, "cpu": time.process_time() - c, "peak_mb": peak_mb()}
    facts.update(more or {})
    if name in EXACT:
        facts.update(wall=facts["wall"] * 512 / channels, cpu=facts["cpu"] * 512 / channels)
    if found is not None:
        np.save(out, found)
    print(json.dumps(facts))


def like(a, b):
    import torch.nn.functional as F

    a, b = (
        F.interpolate(torch.from_numpy(np.asarray(m, np.float32))[None, None], (256, 256), mode="bilinear")[0, 0]
        .numpy()
        .ravel()
        for m in (a, b)
    )
    return round(float(np.corrcoef(a, b)[0, 1]), 4)


def main(size=576, rounds=1, threads=2, channels=512):
    peers, best, maps = os.environ.get("CELLPROTOCOLS_PEERS"), {}, {}
    if not peers:
        print("torchcam and grad-cam are left out: CELLPROTOCOLS_PEERS names no python that has them")
    names = [n for n in METHODS if peers or n not in ("torchcam", "gradcam")]
    for _ in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory() as tmp:
                out = Path(tmp) / "map.npy"
                done = subprocess.run(
                    [
                        peers if name in ("torchcam", "gradcam") else sys.executable,
                        __file__,
                        "--one",
                        name,
                        str(size),
                        str(threads),
                        str(channels),
                        str(out),
                    ],
                    capture_output=True,
                    text=True,
                    env={**os.environ, "CELLPROTOCOLS_QUIET": "1", "OMP_NUM_THREADS": str(threads)},
                )
                if done.returncode:
                    print(f"{name} failed: {done.stderr[-400:]}")
                    continue
                facts = json.loads(done.stdout.splitlines()[-1])
                if out.exists():
                    maps[name] = np.load(out)
            old = best.get(name, facts)
            best[name] = {
                **facts,
                **{k: min(facts[k], old[k]) for k in ("wall", "cpu")},
            }  # the fastest turn: other people's work only adds time
            print(name, {k: round(v, 4) for k, v in best[name].items()}, flush=True)
    for clock in ("wall", "cpu"):
        t = {n: f[clock] for n, f in best.items()}
        print(
            f"{clock}: exact/bare {t['exact'] / t['bare']:.2f} (target 1.1); exact/bare, channels last {t['exact'] / t['last']:.2f}",
            *(
                f"default/{p} {t['default'] / t[p]:.3f} (target 0.125), exact/{p} {t['exact'] / t[p]:.2f} (target 0.6)"
                for p in ("torchcam", "gradcam")
                if p in t
            ),
            sep="; ",
        )
    if channels == 512:
        print(
            "correlations: default-exact",
            like(maps["default"], maps["exact"]),
            *(f"{p}-ours as theirs {like(maps['theirs'], maps[p])}" for p in ("torchcam", "gradcam") if p in maps),
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6])
    else:
        main(*map(int, sys.argv[1:]))
