"Small inputs that several test files make."

import numpy as np
import pandas as pd
import torch
from torch import nn

from cellprotocols.calibration import to_prob
from cellprotocols.chromatin.annotate import STATES
from cellprotocols.synth import make_patches
from cellprotocols.writer import write_dataset


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)


def probabilities(seed, n=200, k=4, ties=False, missing=()):
    rng = np.random.default_rng(seed)
    y = rng.choice([c for c in range(k) if c not in missing], n)
    p = to_prob(1.5 * np.eye(k)[y] + rng.normal(0, 1.5, (n, k)))
    if ties:
        p = np.round(p * 4) + 0.01
        p /= p.sum(1, keepdims=True)
    return y, p


class RandomNet(nn.Module):
    "Random filters of several sizes, every fourth place, a linear head on their means."

    def __init__(self, n=48, channels=1, n_classes=2, seed=0):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.maps = nn.Sequential(nn.Conv2d(channels, n, 7, stride=4, padding=3), nn.ReLU())
        self.head = nn.Linear(n, n_classes)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=g) * (0.5 if p.ndim > 1 else 0.1)

    def forward(self, x):
        return self.head(self.maps(x).mean((2, 3)))


def write_patch_set(folder, n=40, labelled=lambda i: True, px_um=0.333, difficulty=0.5):
    "A small dataset of patches, as chromatin's step 2 writes it; `labelled` says which rows have a label."
    patches, labels, groups = make_patches(n=n, size=32, seed=0, difficulty=difficulty)
    labels = np.where([labelled(i) for i in range(len(labels))], labels, "")
    place = dict(field_id="f", y=1.0, x=1.0, size=32, px_um=px_um, blank=False)
    items = pd.DataFrame(
        dict(item_id=[f"c{i:04d}" for i in range(len(labels))], group=groups.astype(str), label=labels, **place)
    )
    return write_dataset(
        folder,
        "patches",
        items,
        "chromatin.patches",
        dict(classes=[c for c in STATES if c in set(labels)], practice=True),
        arrays=dict(patches=patches, valid=np.ones(patches.shape[:3], bool)),
        files={"channels.txt": "gray\n"},
    )
