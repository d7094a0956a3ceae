"""Which pixels are dirt? Recipes for masks side by side on real fields with planted artifacts (make_sabgal_semisynthetic.py), by wells that nothing was learned from.

    python benchmarks/make_sabgal_semisynthetic.py ../shared/data/artifacts/sabgal work/sabgal --versions 3
    python benchmarks/bench_artifacts.py work/sabgal work/sabgal_scores [--epochs 12] [--mask-epochs 6] [--crops 900] [--drawn 0] [--parts 1 --part 0]

Everything learned uses the labels of whole training images only (clean, artifact); no planted mask is read before scoring. Thresholds are chosen on validation wells:
of the U-Net on pseudo-masks, of the plain rule and of the map alone, which have nothing else, on the planted masks of training wells (which favours them).
Every stage is kept in the output folder; calling again goes on. `--parts 3 --part 0` (1, 2) explains a third of the tiles, to use several processes.
"""
import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from safetensors.torch import load_file
from scipy import ndimage

from cellprotocols.artifacts import train as step
from cellprotocols.artifacts.patches import cut_light, to_light
from cellprotocols.classify import StageClassifier
from cellprotocols.images import read_image
from cellprotocols.metrics import match_objects, pixel_curve, pixel_histogram, score_objects, score_pixels, score_table
from cellprotocols.patches import Stitcher
from cellprotocols.progress import track
from cellprotocols.unet import UNet, predict_field


def load(data, out):
    "Tiles of all fields (cached), the table of fields with train, valid, test by well."
    t = pd.read_csv(data/"items.csv")
    wells = t.group[t.split == "train"].unique()
    t["part"] = np.where(t.split == "test", "test", np.where(t.group.isin(wells[::4]), "valid", "train"))
    if not (out/"tiles.npz").exists():
        lights = [to_light(read_image(data/f)).astype(np.float16) for f in track(t.file, "reading fields")]
        np.savez(out/"tiles.npz", lights=np.stack(lights))
    lights = np.load(out/"tiles.npz")["lights"].astype(np.float32)
    boxes = cut_light(lights[0])[0]
    tiles = np.concatenate([cut_light(x)[1] for x in lights])
    t["field_id"], t["tiles"] = t.file, [list(range(i*len(boxes), (i + 1)*len(boxes))) for i in range(len(t))]
    return t, lights, tiles, boxes


def plain_rule(light, dark, steep):
    "Darker than `dark`, in a piece that is somewhere steeper than `steep` a px."
    s = cv2.GaussianBlur(light, (0, 0), 1)
    slope = np.hypot(cv2.Sobel(s, cv2.CV_32F, 1, 0), cv2.Sobel(s, cv2.CV_32F, 0, 1))/8
    parts, n = ndimage.label(1 - s > dark, np.ones((3, 3)))
    if not n: return np.zeros(light.shape, bool)
    keep = np.r_[False, ndimage.maximum(slope, parts, np.arange(1, n + 1)) > steep]
    return ndimage.binary_fill_holes(keep[parts])


def whole(pieces, boxes, shape):
    "Tiles stitched to a field."
    s = Stitcher(shape)
    for p, b in zip(pieces, boxes): s.add(b, np.asarray(p, np.float32))
    return s.result()


def score(t, rows, data, predict, threshold=.5):
    "Tables of pixels and of objects for `predict(i) -> (h, w) 0 .. 1` at half resolution."
    hists, objects = [], []
    for i in rows:
        true, valid = (read_image(data/t[c][i])[..., 0] > 0 for c in ("mask", "valid"))
        p = np.clip(cv2.resize(np.asarray(predict(i), np.float32), true.shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
        hists.append(pixel_histogram(true & valid, p, valid))
        found = match_objects(true & valid, (p >= threshold) & valid)
        if len(found): objects.append(found.assign(group=t.group[i]))
    objects = pd.concat(objects) if objects else pd.DataFrame(columns=["area", "covered", "iou", "group"])
    return np.stack(hists), score_pixels(np.stack(hists), t.group[rows].to_numpy(), threshold), score_objects(objects, objects.group.to_numpy(), .5, "covered", edges=(60, 600))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("data", type=Path); p.add_argument("out", type=Path)
    p.add_argument("--epochs", type=int, default=12); p.add_argument("--mask-epochs", type=int, default=6); p.add_argument("--crops", type=int, default=900)
    p.add_argument("--drawn", type=float, default=0.); p.add_argument("--parts", type=int, default=1); p.add_argument("--part", type=int, default=0)
    p.add_argument("--only", default="", help="score only these, separated by commas: plain, cam, faithful, pseudo, ours")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    t, lights, tiles, boxes = load(a.data, a.out)
    want = a.only.split(",") if a.only else ["plain", "cam", "faithful", "pseudo", "ours"]
    keep = lambda name, table: (table.to_csv(a.out/f"{name}.csv", index=False), print(name, "\n", table.round(3).to_string(index=False), flush=True))
    train, valid, test = (np.flatnonzero(t.part == k) for k in ("train", "valid", "test"))
    if "plain" in want:
        tried = {}
        some = [i for i in train if t.label[i] == "artifact"][::2]
        for dark in (.08, .12, .2, .3):
            for steep in (.02, .05, .1): tried[dark, steep] = score(t, some, a.data, lambda i: plain_rule(lights[i], dark, steep))[1].set_index("metric").value["iou"]
        best = max(tried, key=tried.get); print("plain rule: dark, steep =", best)
        _, pixels, objects = score(t, test, a.data, lambda i: plain_rule(lights[i], *best)); keep("plain_pixels", pixels); keep("plain_objects", objects)
    if want == ["plain"]: return
    classifier = step._keep_model(a.out/"classifier.safetensors", lambda: step.train_classifier(tiles, t, epochs=a.epochs, out=a.out/"classifier"), lambda: StageClassifier("resnet18", 1, 2, stride=4, pool="soft"))
    if not (a.out/"score.npy").exists(): np.save(a.out/"score.npy", step.score_tiles(classifier, tiles))
    tile_score = np.load(a.out/"score.npy")
    t["score"] = [tile_score[r].max() for r in t.tiles]
    yes = (t.label == "artifact").to_numpy()
    at = step.choose_threshold(t.score[valid].to_numpy(), yes[valid], .9)
    q = 1/(1 + np.exp(-(t.score[test] - at).clip(-30, 30)))
    keep("images", score_table(t.label[test].to_numpy(), np.c_[1 - q, q], ["clean", "artifact"], t.group[test].to_numpy()))
    rows = {k: np.array([r for i in r0 if yes[i] for r in t.tiles[i] if tile_score[r] > at]) for k, r0 in (("train", train), ("valid", valid))}
    rows["test"] = np.array([r for i in test for r in t.tiles[i] if tile_score[r] > at])
    print({k: len(r) for k, r in rows.items()}, flush=True)
    if {"cam", "faithful", "pseudo"} & set(want):
        for r in (rows["train"], rows["test"]):
            for _ in step.explain_tiles(classifier, tiles, r[a.part::a.parts], .9, keep=a.out/"maps"): pass
    if a.parts > 1: return
    maps = {k: np.stack([np.load(a.out/"maps"/f"{r}.npy") for r in rows[k]]) for k in ("train", "test")} if {"cam", "faithful", "pseudo"} & set(want) else {}
    scale = float(np.median([m.max() for m in maps["train"]])) if maps else 1.
    def field_of(made, k):
        at = dict(zip(rows[k].tolist(), made)); none = np.zeros(tiles.shape[1:3], np.float32)
        return lambda i: whole([at.get(r, none) for r in t.tiles[i]], boxes, lights[i].shape)
    if "cam" in want:
        norm = lambda m: np.clip(np.asarray(m, np.float32)/scale/2, 0, 1)
        curve = pixel_curve(score(t, [i for i in train if yes[i]][::3], a.data, field_of([norm(m) for m in maps["train"]], "train"))[0])
        best = float(curve.threshold[curve.iou.idxmax()]); print("map alone: threshold", best)
        _, pixels, objects = score(t, test, a.data, field_of([norm(m) for m in maps["test"]], "test"), best); keep("cam_pixels", pixels); keep("cam_objects", objects)
    for name, how in (("faithful", "faithful"), ("pseudo", "ours")):
        if name not in want: continue
        draw = (lambda x, m: step.mask_published(x, m)) if how == "faithful" else (lambda x, m: step.outline_dirt(x, np.clip(m/scale, 0, 1)))
        made = [draw(np.asarray(tiles[r], np.float32)[..., 0], np.asarray(m, np.float32)) for r, m in zip(rows["test"], maps["test"])]
        _, pixels, objects = score(t, test, a.data, field_of(made, "test")); keep(f"{name}_pixels", pixels); keep(f"{name}_objects", objects)
    if "ours" not in want: return
    tiles_of = lambda part, dirty: np.concatenate([t.tiles[i] for i in part if yes[i] == dirty])
    own = {k: tiles_of(r, True) for k, r in (("train", train), ("valid", valid))}
    clean = {k: tiles_of(r, False) for k, r in (("train", train), ("valid", valid))}
    seen = np.concatenate([own["train"], clean["train"]])
    vote = step.ObjectVote(tiles, seen, np.arange(len(seen)) < len(own["train"]), t.group.to_numpy()[seen//len(boxes)])
    masks = dict(train=vote.masks()[:len(own["train"])], valid=np.stack([vote.mask(step._light(tiles, r)) for r in own["valid"]]).astype(np.uint8))
    _, pixels, objects = score(t, test, a.data, lambda i: vote.mask(lights[i])); keep("objects_pixels", pixels); keep("objects_objects", objects)
    rows = own
    tail = f"_drawn{a.drawn:g}" if a.drawn else ""
    masker = step._keep_model(a.out/f"masker{tail}.safetensors", lambda: step.train_masker(step.gather_tiles(tiles, rows["train"], masks["train"], clean["train"], most=a.crops, paste=.5 - a.drawn/2, drawn=a.drawn),
        step.gather_tiles(tiles, rows["valid"], masks["valid"], clean["valid"], most=max(40, a.crops//6), paste=0., seed=1), a.mask_epochs, out=a.out/f"masker{tail}", start=classifier.trunk), lambda: UNet("resnet18", 1, 1, strides=(2, 4, 8), width=8))
    at, curve = step._choose_mask_threshold(masker, tiles, rows["valid"][::2], masks["valid"][::2], clean["valid"], 0, None)
    keep(f"ours{tail}_curve", curve[curve.threshold.round(2).isin([.1, .2, .3, .5, .7])]); print("threshold of the best F1 on validation pseudo-masks:", at)
    probs = {i: predict_field(masker, lights[i], size=576)[..., 0] for i in track(test, "masking")}
    for name, cut in ((f"ours{tail}", .5), (f"ours{tail}_chosen", at)):
        _, pixels, objects = score(t, test, a.data, probs.get, cut); keep(f"{name}_pixels", pixels); keep(f"{name}_objects", objects)


if __name__ == "__main__": main()
