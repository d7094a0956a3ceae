"""Channels last beside PyTorch's usual layout, and freed memory that is kept beside memory that is given back, on a
processor: the protocols' networks and some of timm, at sizes on both sides of the limit in `device`.

python benchmarks/bench_layout.py [threads]. Inference and one training step each, one after the other, the fastest of
five; below 1 the first is faster.
"""

import sys
import time
from functools import partial

import timm
import torch

from cellprotocols.classify import StageClassifier
from cellprotocols.device import keep_memory
from cellprotocols.published import PublishedUNet
from cellprotocols.unet import UNet

NETWORKS = {  # name: network of one channel, (images, side)
    "classifier of artifacts": (lambda: StageClassifier("resnet18", 1, 2, stride=4, pool="soft"), (4, 288)),
    "U-Net of artifacts, crops": (lambda: UNet("resnet18", 1, 1, strides=(2, 4, 8, 16), width=8), (8, 160)),
    "U-Net of artifacts, tile": (lambda: UNet("resnet18", 1, 1, strides=(2, 4, 8, 16), width=8), (1, 576)),
    "published U-Net": (PublishedUNet, (2, 288)),
}
for net in ("resnet18", "resnet50", "efficientnet_b0"):
    for n, side in ((32, 64), (16, 128)):
        NETWORKS[f"{net} at {side} px"] = partial(timm.create_model, net, num_classes=3, in_chans=1), (n, side)


def fastest(work, times=5):
    best = float("inf")
    for k in range(times + 1):  # the first does not count
        t0 = time.perf_counter()
        work()
        if k:
            best = min(best, time.perf_counter() - t0)
    return best


def measure(build, n, side, how):
    "Seconds of one pass, and of one training step."
    torch.manual_seed(0)
    model, x = build().to(memory_format=how).eval(), torch.randn(n, 1, side, side).contiguous(memory_format=how)
    with torch.inference_mode():
        infer = fastest(lambda: model(x))
    opt = torch.optim.AdamW(model.train().parameters())

    def learn():
        model(x).float().square().mean().backward()
        opt.step()
        opt.zero_grad()

    return infer, fastest(learn)


def main(threads=2):
    torch.set_num_threads(threads)
    print(f"{'channels last / usual layout':28}  inference  training")
    last = {}
    for name, (build, size) in NETWORKS.items():
        usual, last[name] = (measure(build, *size, how) for how in (torch.contiguous_format, torch.channels_last))
        print(f"{name:28}", *(f"{b / a:10.2f}" for a, b in zip(usual, last[name])), flush=True)
    if not keep_memory():
        return print("this system's memory cannot be kept")
    print(f"{'memory kept / given back':28}  inference  training")
    for name, (build, size) in NETWORKS.items():
        kept = measure(build, *size, torch.channels_last)
        print(f"{name:28}", *(f"{b / a:10.2f}" for a, b in zip(last[name], kept)), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
