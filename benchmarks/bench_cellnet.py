"""The network that learns to outline beside the outlines without one: real nuclei, kinds of image left out.

python benchmarks/bench_cellnet.py FOLDER [--fields 10] [--steps 400] [--folds 3]
FOLDER holds manifest.csv (file, label, type, acq_group) of fluorescence nuclei. Folds divide the kinds of image (`acq_group`); F1 is the mean of images, intervals over kinds."""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.io import imread

from cellprotocols.cellnet import find_net_cells, train_cell_net
from cellprotocols.cells import find_nuclei, match_cells, score_detections
from cellprotocols.intervals import bootstrap

IOUS = np.arange(0.5, 0.96, 0.05)


def read(folder, r):
    img = imread(folder / r.file)
    return (img if img.ndim == 2 else img[..., :3].mean(2))[..., None], [imread(folder / r.label).astype(np.int32)]


def choose(rows, n):
    "n images, of every kind about as many; 0: all."
    turn = rows.assign(turn=rows.groupby("acq_group").cumcount()).sort_values("turn", kind="stable")
    return turn.head(n) if n else rows


def score(truth, found):
    return {f"{k:.2f}": score_detections(match_cells(truth, found, k))["f1"] for k in IOUS}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fields", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("cellnet.csv"))
    a = parser.parse_args()
    t = pd.read_csv(a.folder / "manifest.csv").query("type == 'fluorescence'").reset_index(drop=True)
    kinds = t.acq_group.value_counts().index.tolist()  # large ones first, dealt to the folds in turn
    fold, rows = t.acq_group.map({k: i % a.folds for i, k in enumerate(kinds)}), []
    for k in range(a.folds):
        learn, start = choose(t[fold != k], a.fields), time.time()
        model, _ = train_cell_net([read(a.folder, r) for r in learn.itertuples()], a.steps)
        print(f"fold {k}: {len(learn)} images learned from in {time.time() - start:.0f} s", flush=True)
        for r in t[fold == k].itertuples():
            img, (truth,) = read(a.folder, r)
            ways = dict(network=find_net_cells(model, img)[0][0], without=find_nuclei(img))
            rows += [dict(kind=r.acq_group, file=r.file, way=w) | score(truth, f) for w, f in ways.items()]
        pd.DataFrame(rows).to_csv(a.out, index=False)
    t = pd.DataFrame(rows)
    t["mean"] = t[[f"{k:.2f}" for k in IOUS]].mean(axis=1)
    print(t.groupby(["kind", "way"])[["0.50", "0.70", "mean"]].mean().unstack().round(2).to_string())
    for (way, part), column in [(p, c) for p in t.groupby("way") for c in ("0.50", "0.70", "mean")]:
        v = part[column].fillna(0).to_numpy()
        print(way, column, bootstrap(lambda i, v=v: v[i].mean(), part.kind.to_numpy(), limits=(0, 1)))


if __name__ == "__main__":
    main()
