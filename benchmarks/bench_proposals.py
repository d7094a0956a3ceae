"""Region proposals beside OpenCV contrib's selective search: recall for the same number of boxes, and processor time.

    python benchmarks/bench_proposals.py --data DATA/strings --contrib VENV/bin/python [--fields 12] [--quality 4] [--sets ...]

DATA/strings holds `neurites` and `blood_boxes` (images/, images.csv, boxes.csv). VENV is an environment with
opencv-contrib-python-headless, numpy: both kinds of OpenCV cannot live in one. One thread, processor time, one run.
"""

import argparse
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from cellprotocols.boxscores import SIDES, measure_ranks, score_recall
from cellprotocols.images import read_image
from cellprotocols.proposals import join_proposals, propose_regions
from cellprotocols.ridges import propose_ridges

OTHER = """
import sys, time, numpy as np, cv2
cv2.setNumThreads(1)
folder, mode = sys.argv[1:]
import glob
for f in sorted(glob.glob(folder + "/*.npy")):
    img = np.load(f)
    t = time.process_time()
    s = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    s.setBaseImage(np.ascontiguousarray(img[..., ::-1]))
    (s.switchToSelectiveSearchFast if mode == "fast" else s.switchToSelectiveSearchQuality)()
    x, y, w, h = s.process().T
    np.savez(f[:-4] + "." + mode + ".npz", boxes=np.stack([y, x, y + h, x + w], 1), seconds=time.process_time() - t)
"""


def read_set(data, name):
    "Boxes with a field and a group, and the fields in an order that visits all groups early."
    images, boxes = (pd.read_csv(data / name / f"{f}.csv") for f in ("images", "boxes"))
    images["field"] = images.file.str.split("/").str[-1]
    if "group" not in images:
        images["group"] = images.field  # nothing is known of slides: each image stands alone
    if "y0" not in boxes:
        boxes = boxes.assign(y0=boxes.y, x0=boxes.x, y1=boxes.y + boxes.h, x1=boxes.x + boxes.w)
    boxes = boxes.rename(columns=dict(image="field"))
    boxes = boxes[(boxes.y1 > boxes.y0) & (boxes.x1 > boxes.x0)]
    if "label" in boxes:
        boxes = boxes[boxes.label == "Platelets"]
        images = images[images.field.isin(boxes.field)]
    turn = images.groupby("group").cumcount()
    return images.iloc[np.argsort(turn, kind="stable")], boxes


def cut(img, boxes, side):
    "The middle of a picture, and the boxes that lie in it by more than half."
    size = [min(side, n) for n in img.shape[:2]]
    y, x = ((n - s) // 2 for n, s in zip(img.shape, size))
    b = boxes[SIDES].to_numpy(float) - [y, x, y, x]
    inside = np.concatenate([np.maximum(b[:, :2], 0), np.minimum(b[:, 2:], size)], 1)
    share = (inside[:, 2:] - inside[:, :2]).clip(0).prod(1) / (b[:, 2:] - b[:, :2]).prod(1)
    return np.ascontiguousarray(img[y : y + size[0], x : x + size[1]]), inside[share > 0.5]


def timed(fn, *args, **kwargs):
    t = time.process_time()
    return fn(*args, **kwargs), time.process_time() - t


def run_other(python, folder, mode):
    subprocess.run([python, "-c", OTHER, str(folder), mode], check=True)


def bench(data, name, side, n, modes, python):
    images, boxes = read_set(data, name)
    for mode in modes:
        propose_regions(np.random.default_rng(0).integers(0, 255, (64, 64, 3)), mode)  # compiled before the clock
    propose_ridges(np.random.default_rng(0).integers(0, 255, (64, 64)))
    with tempfile.TemporaryDirectory() as folder:
        kept = []
        for row in images.itertuples():
            img = np.asarray(read_image(data / name / row.file))
            img, truth = cut(img.reshape(*img.shape[-3:]), boxes[boxes.field == row.field], side)
            if len(truth) and len(kept) < n:
                np.save(Path(folder) / f"{len(kept):03d}.npy", img)
                kept.append((img, truth, row.group))
        for mode in modes:
            run_other(python, folder, mode)
            report(f"{name} {side} px {mode}", kept, folder, mode)


def report(title, kept, folder, mode):
    "Recall at 0.5 for the same number of boxes, and the ratio of times."
    counts, ranks, seconds, groups = (50, 200, 500, 2000), {}, {}, []
    for i, (img, truth, group) in enumerate(kept):
        theirs = np.load(Path(folder) / f"{i:03d}.{mode}.npz")
        ours, t_ours = timed(propose_regions, img, mode)
        lines, t_lines = timed(propose_ridges, img)
        both, t_join = timed(join_proposals, ours, lines)
        equal = ours.iloc[: len(theirs["boxes"])]
        found = {"ours": equal, "ridges": lines, "ours + ridges": both.iloc[: len(theirs["boxes"])]}
        found["OpenCV"] = theirs["boxes"]
        times = {"ours": t_ours, "ridges": t_lines, "ours + ridges": t_ours + t_lines + t_join}
        times["OpenCV"] = float(theirs["seconds"])
        for who, b in found.items():
            ranks.setdefault(who, []).append(measure_ranks(truth, b, (0.2, 0.5)))
            seconds.setdefault(who, []).append((times[who], len(b)))
        groups += [group] * len(truth)
    print(f"\n{title}: {len(kept)} fields, {len(groups)} true boxes, {len(set(groups))} groups")
    other = np.sum([t for t, _ in seconds["OpenCV"]])
    for who, r in ranks.items():
        t, boxes = np.array(seconds[who]).T
        table = score_recall(np.concatenate(r), np.array(groups), counts, (0.2, 0.5))
        cells = [f"{x.recall:.2f} [{x.low:.2f}, {x.high:.2f}]" for x in table[table.iou == 0.5].itertuples()]
        low = table[(table.iou == 0.2)].recall.iloc[-1]
        print(f"{who:14s} {boxes.mean():6.0f} boxes  {t.mean():6.3f} s  x{other / t.sum():5.1f}", end="  recall@0.5 ")
        print(*(f"{c}: {v}" for c, v in zip(counts, cells)), f"recall@0.2 2000: {low:.2f}", sep=" | ", flush=True)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--contrib", required=True)
    p.add_argument("--fields", type=int, default=12)
    p.add_argument("--quality", type=int, default=4, help="fields in quality mode; 0: none")
    p.add_argument("--sets", nargs="+", default=["neurites:512", "neurites:1080", "blood_boxes:512"], help="set:side")
    a = p.parse_args()
    warnings.simplefilter("ignore")
    for name, side in (s.split(":") for s in a.sets):
        bench(a.data, name, int(side), a.fields, ["fast"], a.contrib)
        if a.quality:
            bench(a.data, name, int(side), a.quality, ["quality"], a.contrib)
