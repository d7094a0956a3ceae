"""Does a model know its limits, and does it learn a new source from ten labels a class? Prints tables of docs/quality.md.

Everything is judged on groups that the model has not seen, with 95 % intervals from resampling whole groups. The model is the default one
without a graphics card (`measured`). Other stains and cameras are made from the same cells, by known amounts.

    python benchmarks/bench_domain.py --data ../shared/data/chromatin --out work/domain
"""

import argparse
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from cellprotocols.calls import make_calls
from cellprotocols.calibration import to_prob
from cellprotocols.chromatin import annotate, patches

try:
    from cellprotocols.domain import to_held, check_domain, find_limit, make_held, measure_distance, train_domain
except ImportError:
    pass
from cellprotocols.intervals import bootstrap
from cellprotocols.measured import measure_all
from cellprotocols.metrics import score_macro_f1
from cellprotocols.patches import to_patches
from cellprotocols.recipes import Cells, train_measured
from cellprotocols.split import make_folds

SETS = {  # name: source, options of annotate, at most so many cells of a class
    "redcells": ("redcells/cells.csv", dict(label="name", group="block"), 10**6),
    "jurkat": ("jurkat/cells.npz", dict(group="index", blocks=10), 150),
    "zips": ("zips", {}, 10**6),
}
AMOUNTS = {  # known changes, from weak to strong
    "camera": (0.5, 1.0, 1.5),
    "contrast": (0.7, 0.5),
    "scale": (0.85, 0.7, 0.5),
    "colour": (0.2,),
    "gamma": (0.6,),
    "blur": (1.0, 2.0),
}
NEW = 300  # so many cells of the new source at most, whole groups


# ---- another stain and another camera, from the same cells


def change(x, how, amount):
    "Patches (N, S, S, C) as another stain or camera would have shown them; dtype stays."
    top = 255.0 if x.dtype == np.uint8 else float(np.percentile(x, 99.9))
    y = x.astype(np.float32)
    if how == "contrast":
        middle = np.median(y, axis=(0, 1, 2))
        y = middle + amount * (y - middle)
    if how == "gamma":
        y = top * np.clip(y / top, 0, 1) ** amount
    if how == "colour":
        y = y * np.linspace(1 + amount, 1 - amount, y.shape[3], dtype=np.float32)
    if how == "blur":
        y = np.stack([cv2.GaussianBlur(p, (0, 0), amount).reshape(p.shape) for p in y])
    if how == "scale":
        side = round(y.shape[1] * amount)
        y = np.stack([cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA).reshape(side, side, -1) for p in y])
        y = to_patches(list(y), x.shape[1])
    if how == "camera":
        for h, a in (("gamma", 1 + 0.3 * amount), ("colour", 0.15 * amount), ("blur", 0.7 * amount)):
            y = change(y, h, a)
        y = change(y, "scale", 1 - 0.15 * amount)
    if x.dtype.kind == "u":
        y = np.clip(np.round(y), 0, np.iinfo(x.dtype).max)
    return y.astype(x.dtype)


# ---- the sets, measured once


def measure(file, pixels, valid):
    "Measurements, kept in a file."
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, measure_all(pixels, valid))
    return np.load(file)


def take(data, out, name):
    "pixels, valid, y, groups, classes, measurements of the cells that are used, blank of all of them."
    source, how, most = SETS[name]
    annotate.run(str(data / source), str(out / name / "21_annotate"), **how)
    cut = patches.run(str(out / name / "21_annotate"), str(out / name / "22_patches"))
    order = np.random.default_rng(0).permutation(np.flatnonzero(cut.items.label != ""))
    rank = cut.items.label.iloc[order].groupby(cut.items.label.iloc[order]).cumcount().to_numpy()
    rows = np.sort(order[rank < most])
    t = cut.items.iloc[rows]
    classes, y = np.unique(t.label, return_inverse=True)
    pixels, valid = cut["patches"][:][rows], cut["valid"][:][rows]
    x = measure(out / f"{name}.npy", pixels, valid)
    return dict(
        name=name,
        pixels=pixels,
        valid=valid,
        y=y,
        groups=t.group.to_numpy(str),
        classes=classes,
        x=x,
        blank=t.blank.to_numpy(),
    )


def halves(s):
    "Rows of the known source, and rows of other groups that become the new source."
    fold = make_folds(s["y"], s["groups"], 2, seed=0)
    old, new = np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    if len(new) <= NEW:
        return old, new
    part = make_folds(s["y"][new], s["groups"][new], round(len(new) / (len(new) - NEW)), seed=0)
    return old, new[part > 0] if len(new) < 2 * NEW else new[part == 0]


def changed(s, out, how, amount):
    "Measurements of the cells of the new source, changed."
    rows = halves(s)[1]
    file = out / f"{s['name']}_{how}_{amount}.npy"
    if file.exists():
        return np.load(file)
    return measure(file, change(s["pixels"][rows], how, amount), s["valid"][rows])
