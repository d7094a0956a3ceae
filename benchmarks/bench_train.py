"""train_model beside a plain PyTorch loop: same model, same data, same steps, in turns in one run.

python benchmarks/bench_train.py [rounds]. Prints the images a second of both and the ratio (target: 0.9 or more).
Both shuffle, index a tensor in memory, compute cross-entropy and step AdamW; neither validates nor augments.
"""

import json
import os
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rows import add_row
from cellprotocols.device import count_cores, pick_device
from cellprotocols.train import train_model

N, BATCH, EPOCHS = 640, 64, 2


def encoder(channels=(8, 16, 32, 64, 128), n_classes=5):
    "The published 5-block network for 64 x 64 patches."
    torch.manual_seed(0)
    layers, c_in = [], 1
    for i, c in enumerate(channels):
        layers += [nn.Conv2d(c_in, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.SiLU()]
        if i < 4:
            layers.append(nn.MaxPool2d(2))
        c_in = c
    head = nn.Linear(2048, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, n_classes)
    return nn.Sequential(*layers, nn.Flatten(), *head)


def plain(x, y, device):
    "What one would write by hand."
    model = encoder().to(device).train()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(EPOCHS):
        for idx in torch.randperm(len(x), device=device).split(BATCH):
            loss = F.cross_entropy(model(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
    return float(loss.detach())


def ours(x, y, device):
    return train_model(encoder(), (x, y), epochs=EPOCHS, lr=1e-3, batch=BATCH, device=device, amp=False, patience=None)


def main(rounds=6):
    os.environ["CELLPROTOCOLS_QUIET"] = "1"
    device = pick_device()
    torch.set_num_threads(min(2, count_cores(), torch.get_num_threads()))
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((N, 1, 64, 64)).astype(np.float32)).to(device)
    y = torch.from_numpy(rng.integers(0, 5, N)).to(device)
    times = {plain: [], ours: []}
    for turn in range(rounds + 1):  # the first turn warms up and does not count
        for run in (plain, ours) if turn % 2 else (ours, plain):
            t0 = time.perf_counter()
            run(x, y, device)
            if turn:
                times[run].append(time.perf_counter() - t0)
    # the fastest turn: other people's work only adds time
    rate = {run.__name__: EPOCHS * N / min(t) for run, t in times.items()}
    ratio, threads = rate["ours"] / rate["plain"], torch.get_num_threads()
    print(
        f"plain {rate['plain']:.0f}, train_model {rate['ours']:.0f} images/s; ratio {ratio:.2f} (target 0.9) "
        f"on {device.type}, {threads} threads"
    )
    add_row(
        "training beside a plain PyTorch loop",
        f"{rate['ours']:.0f} images/s",
        f"{rate['plain']:.0f} images/s",
        ratio,
        at_least=0.9,
    )
    rounded = {k: round(v, 1) for k, v in rate.items()}
    print(json.dumps({"device": device.type, "threads": threads, "ratio": round(ratio, 3), **rounded}))
    return ratio


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
