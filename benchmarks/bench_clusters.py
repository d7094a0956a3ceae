"""Masks and cell clusters of a frame: ours beside the published rule written plainly, on the same frames, with identical boxes.

python benchmarks/bench_clusters.py [folder of real frames] [--frames 3]

The plain way does what the specification of the published system says, one step after the other: masks with the library
calls that it names, the corners of pieces by a loop over all pixels, one full mask a piece, boxes and pairs by loops."""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from skimage.feature import canny, local_binary_pattern
from skimage.filters import threshold_otsu
from skimage.measure import label

from rows import add_row
from cellprotocols.clusters import choose_clusters, choose_published_clusters
from cellprotocols.confluency import find_cells, find_published_cells
from cellprotocols.framecuts import read_grey
from cellprotocols.synth_cultures import LINES, iter_frames, make_cultures

SHAPE, SIZE = (890, 1408), 112


def leave_large(mask, least):
    pieces, _ = ndimage.label(mask)
    return mask & (np.bincount(pieces.ravel())[pieces] >= least)


def mask_plainly(frame):
    f = frame.astype(np.float32)
    low, high = np.percentile(f, (0.2, 99.8))
    e = np.clip((f - low) / (high - low), 0, 1)
    dark, edges = e > threshold_otsu(e), canny(e)
    if (edges ^ dark).mean() >= 0.5:
        dark = ~dark
    dark, edges = ndimage.binary_closing(dark), ndimage.binary_closing(edges)
    wide = np.ones((6, 6))
    mask = ndimage.binary_fill_holes(edges | dark, wide)
    for _ in range(10):
        before, mask = mask, ndimage.binary_fill_holes(dark | edges | ndimage.binary_closing(mask), wide)
        if (mask != before).mean() < 1e-4:
            break
    return leave_large(~leave_large(~mask, 64), 100)


def find_corners(labels):
    "Inclusive corners of every piece, pixel by pixel."
    corners = {}
    for y, row in enumerate(labels.tolist()):
        for x, k in enumerate(row):
            if k not in corners:
                corners[k] = [y, x, y, x]
                continue
            c = corners[k]
            c[1], c[2], c[3] = min(c[1], x), y, max(c[3], x)
    return corners


def place(y, x, shape):
    return int(np.clip(y, 0, shape[0] - SIZE)), int(np.clip(x, 0, shape[1] - SIZE))


def propose_plainly(mask):
    labels = label(mask, connectivity=2)
    corners = find_corners(labels)
    kept = np.argsort(np.bincount(labels.ravel()), kind="stable")[::-1][:40]
    boxes, tiles = [], []
    for k in sorted(kept):
        if k == 0:
            continue
        y0, x0, y1, x1 = corners[k]
        own = np.zeros(mask.shape)
        own[y0 : y1 + 1, x0 : x1 + 1] = 1
        y, x = ndimage.center_of_mass(own * mask)
        if mask[y0:y1, x0:x1].sum() > 2 * SIZE * SIZE:
            for i in range(int(np.ceil((y1 - y0) / SIZE))):
                for j in range(int(np.ceil((x1 - x0) / SIZE))):
                    tiles.append(place(y0 + i * SIZE, x0 + j * SIZE, mask.shape))
        square = (y1 - y0, x1 - x0) == (SIZE, SIZE)
        boxes.append(place(y0, x0, mask.shape) if square else place(y - SIZE / 2, x - SIZE / 2, mask.shape))
    return boxes + tiles


def choose_plainly(frame, mask):
    boxes = propose_plainly(mask)
    cut = [np.s_[y : y + SIZE, x : x + SIZE] for y, x in boxes]
    codes = local_binary_pattern(frame, 8, 1)
    full = [mask[c].mean() for c in cut]
    texture = [np.histogram(codes[c], 10, (0, 255))[0] / SIZE**2 for c in cut]
    pairs = []
    for i in range(len(boxes)):
        for j in range(i + 1, len(boxes)):
            dy, dx = abs(boxes[i][0] - boxes[j][0]), abs(boxes[i][1] - boxes[j][1])
            both = max(0, SIZE - dy) * max(0, SIZE - dx)
            if both:
                alike = np.minimum(texture[i], texture[j]).sum()
                pairs.append((i, j, 1 + alike + both / (2 * SIZE**2 - both)))
    mean = np.mean([p[2] for p in pairs]) if pairs else 0
    gone = set()
    for i, j, alike in pairs:
        if alike >= mean - 1e-12 and i not in gone and j not in gone:
            gone.add(i if full[i] < full[j] else j)
    left = [k for k in range(len(boxes)) if k not in gone]
    order = np.argsort([full[k] for k in left], kind="stable")[::-1][:20]
    return [boxes[left[k]] for k in order]


def spent(n, call, *given):
    "What it gives; the least processor time of `n` calls, s."
    made, times = call(*given), []
    for _ in range(n):
        start = time.process_time()
        made = call(*given)
        times.append(time.process_time() - start)
    return made, min(times)


def read(folder, n):
    "Real frames enlarged to the published size, else practice ones."
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".tif", ".png", ".jpg")) if folder else []
    for f in files[:: max(1, len(files) // n)][:n]:
        yield f.name, cv2.resize(read_grey(f), SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    for k in range(0 if files else n):
        culture = make_cultures(3)[k % 3]
        yield f"practice {LINES[k].name}", next(iter(iter_frames(LINES[k], culture, 1, SHAPE, k))).image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="")
    parser.add_argument("--frames", type=int, default=3)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    print("frame | plain: mask, boxes | faithful: mask, boxes | ratio | default: mask, boxes | ratio | the same")
    for name, frame in read(given.folder, given.frames):
        slow_mask, a = spent(1, mask_plainly, frame)
        slow, b = spent(1, choose_plainly, frame, slow_mask)
        mask, c = spent(5, find_published_cells, frame)
        fast, d = spent(5, choose_published_clusters, frame, mask)
        cells, e = spent(5, find_cells, frame)
        _, f = spent(5, choose_clusters, frame, cells)
        same = (mask == slow_mask).all(), fast[["y0", "x0"]].to_numpy().tolist() == [list(p) for p in slow]
        ms = [f"{1e3 * v:.0f}" for v in (a, b, c, d, e, f)]
        print(
            f"{name[:28]} | {ms[0]}, {ms[1]} ms | {ms[2]}, {ms[3]} ms | {(a + b) / (c + d):.1f} | "
            f"{ms[4]}, {ms[5]} ms | {(a + b) / (e + f):.1f} | mask {same[0]}, boxes {same[1]}",
            flush=True,
        )
        add_row(
            f"cell mask and patches, faithful, {name[:28]}; value: times as fast",
            f"{c + d:.2f} s",
            f"the published rule written plainly {a + b:.2f} s",
            (a + b) / (c + d),
            at_least=10,
        )


if __name__ == "__main__":
    main()
