"""Which pixels are dirt? Recipes for masks side by side on real fields with planted artifacts (make_sabgal_semisynthetic.py), by wells that nothing was learned from.

    python benchmarks/make_sabgal_semisynthetic.py ../shared/data/artifacts/sabgal work/sabgal --versions 3
    python benchmarks/bench_artifacts.py work/sabgal work/sabgal_scores [--only plain,cam,faithful,objects,drawn,ours,explain,encoder,published]

    plain      dark + gradient, two numbers chosen on the planted masks of training wells (which favours it)
    cam        Score-CAM alone, its threshold chosen on the planted masks of training wells (which favours it)
    faithful   the published mask recipe, map x edges, on the same map
    explain    whether maps of the classifier point at the dirt: Score-CAM and gradients, with deletion and insertion, on tiles of test wells with planted dirt
    objects    the pseudo-masks of `ours`: objects of dirty images that clean images lack
    drawn      a U-Net without any label: dirt drawn on the training fields, of which certain dirt counts and doubtful does not (`--refine drawn`)
    ours       a U-Net on pseudo-masks, pasted and drawn dirt (this and `drawn` also with the mean of four turned and mirrored views)
    encoder    whether the encoder of step 53 helps the classifier, from few labels
    published  the published system from end to end at 576 px: ResNet50 classifier, its Score-CAM on the 64 channels that vary most, map x edges, its U-Net; with a budget of epochs

Everything learned uses at most the labels of whole training images; no planted mask is read before scoring, but by plain and cam. The drawn dirt comes from `synth`, which also drew most of the
planted dirt (with other seeds): expect less on dirt of other shapes. The transplanted crystals are real. Every stage is kept in the output folder; calling again goes on.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from scipy import ndimage

from cellprotocols.artifacts.train import score_calls
from cellprotocols.cam import GRADIENTS, measure_erasing, gradient_cam, check_peak, score_cam, score_inside
from cellprotocols.published import score_cam_published
from cellprotocols.classify import StageClassifier
from cellprotocols.published import PublishedStageClassifier, to_published_input
from cellprotocols.cutpaste import train_cutpaste
from cellprotocols.images import read_image
from cellprotocols.light import cut_light, to_light
from cellprotocols.intervals import bootstrap
from cellprotocols.maskscores import score_boundaries, score_objects, score_pixels
from cellprotocols.maskscores import measure_boundaries, measure_matches, make_pixel_curve, make_pixel_histogram
from cellprotocols.objects import ObjectVote
from cellprotocols.tiles import Stitcher
from cellprotocols.progress import track
from cellprotocols.pseudomasks import (
    choose_pixel_threshold,
    cut_mask_crops,
    make_masker,
    train_masker,
)
from cellprotocols.published import make_mask_published
from cellprotocols.teach import teach, teach_unlabelled
from cellprotocols.train import train_model
from cellprotocols.published import PublishedUNet
from cellprotocols.unet import MaskLoss, predict_field
from cellprotocols.weak import choose_threshold, explain_tiles, read_or_train, score_tiles, train_tile_classifier


def load(data, out):
    "Tiles of all fields (cached), the table of fields with train, valid, test by well."
    t = pd.read_csv(data / "items.csv")
    wells = t.group[t.split == "train"].unique()
    t["part"] = np.where(t.split == "test", "test", np.where(t.group.isin(wells[::4]), "valid", "train"))
    if not (out / "tiles.npz").exists():
        lights = [to_light(read_image(data / f)).astype(np.float16) for f in track(t.file, "reading fields")]
        np.savez(out / "tiles.npz", lights=np.stack(lights))
    lights = np.load(out / "tiles.npz")["lights"].astype(np.float32)
    boxes = cut_light(lights[0])[0]
    tiles = np.concatenate([cut_light(x)[1] for x in lights])
    t["field_id"], t["tiles"] = t.file, [list(range(i * len(boxes), (i + 1) * len(boxes))) for i in range(len(t))]
    return t, lights, tiles, boxes


def plain_rule(light, dark, steep):
    "Darker than `dark`, in a piece that is somewhere steeper than `steep` a px."
    s = cv2.GaussianBlur(light, (0, 0), 1)
    slope = np.hypot(cv2.Sobel(s, cv2.CV_32F, 1, 0), cv2.Sobel(s, cv2.CV_32F, 0, 1)) / 8
    parts, n = ndimage.label(1 - s > dark, np.ones((3, 3)))
    if not n:
        return np.zeros(light.shape, bool)
    keep = np.r_[False, ndimage.maximum(slope, parts, np.arange(1, n + 1)) > steep]
    return ndimage.binary_fill_holes(keep[parts])


def whole(pieces, boxes, shape):
    "Tiles stitched to a field."
    s = Stitcher(shape)
    for p, b in zip(pieces, boxes):
        s.add(b, np.asarray(p, np.float32))
    return s.result()


def keep(out, name, table):
    table.to_csv(out / f"{name}.csv", index=False)
    print(name, "\n", table.round(3).to_string(index=False), flush=True)


def score(t, rows, data, predict, threshold=0.5):
    "Tables of pixels with outlines (2 px apart is the same), and of objects, for `predict(i) -> (h, w) 0 .. 1` at half resolution."
    hists, outlines, objects, groups = [], [], [], t.group[rows].to_numpy()
    for i in rows:
        true, valid = (read_image(data / t[c][i])[..., 0] > 0 for c in ("mask", "valid"))
        p = np.clip(
            cv2.resize(np.asarray(predict(i), np.float32), true.shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1
        )
        hists.append(make_pixel_histogram(true & valid, p, valid))
        outlines.append(measure_boundaries(true, p >= threshold, 2, valid))
        found = measure_matches(true & valid, (p >= threshold) & valid)
        if len(found):
            objects.append(found.assign(group=t.group[i]))
    objects = pd.concat(objects) if objects else pd.DataFrame(columns=["area", "covered", "iou", "group"])
    pixels = pd.concat([score_pixels(np.stack(hists), groups, threshold), score_boundaries(np.stack(outlines), groups)])
    return np.stack(hists), pixels, score_objects(objects, objects.group.to_numpy(), 0.5, "covered", edges=(60, 600))


def score_kinds(t, rows, data, predict, threshold):
    "Share of each kind's area that is found; and the pixels again, with defocused discs and what is near them left out."
    planted, found, hists = pd.read_csv(data / "artifacts.csv"), [], []
    for i in rows:
        true, valid = (read_image(data / t[c][i])[..., 0] > 0 for c in ("mask", "valid"))
        p = np.clip(
            cv2.resize(np.asarray(predict(i), np.float32), true.shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1
        )
        names, discs = ndimage.label(true, np.ones((3, 3)))[0], np.zeros(true.shape, bool)
        for r in planted[planted.file == t.file[i]].itertuples():
            name = names[int(np.clip(r.y, 0, len(true) - 1)), int(np.clip(r.x, 0, true.shape[1] - 1))]
            here = (names == name) & valid & (name > 0)  # pieces that touch are one
            found.append(dict(kind=r.kind, area=here.sum(), hit=(here & (p >= threshold)).sum()))
            if r.kind == "disc":
                discs |= ndimage.binary_dilation(here, iterations=15)
        hists.append(make_pixel_histogram(true & valid, p, valid & ~discs))
    kinds = pd.DataFrame(found).groupby("kind").sum().reset_index()
    return kinds.assign(share=kinds.hit / kinds.area), score_pixels(
        np.stack(hists), t.group[rows].to_numpy(), threshold
    )


def test_masks(t, data, out, name, predict, threshold=0.5):
    "Score the test wells and keep the tables."
    _, pixels, objects = score(t, np.flatnonzero(t.part == "test"), data, predict, threshold)
    keep(out, f"{name}_pixels", pixels)
    keep(out, f"{name}_objects", objects)


def bench_plain(t, lights, a):
    tried, some = {}, np.flatnonzero((t.part == "train") & (t.label == "artifact"))[::2]
    for dark in (0.08, 0.12, 0.2, 0.3):
        for steep in (0.02, 0.05, 0.1):
            tried[dark, steep] = (
                score(t, some, a.data, lambda i: plain_rule(lights[i], dark, steep))[1].set_index("metric").value["iou"]
            )
    best = max(tried, key=tried.get)
    print("plain rule: dark, steep =", best)
    test_masks(t, a.data, a.out, "plain", lambda i: plain_rule(lights[i], *best))


def bench_maps(t, lights, tiles, boxes, classifier, want, a):
    "The map alone, and the published product with edges."
    tile_score, yes = score_tiles(classifier, tiles), (t.label == "artifact").to_numpy()
    at = choose_threshold(t.score[t.part == "valid"].to_numpy(), yes[t.part == "valid"], 0.9)
    rows = dict(
        train=np.array(
            [r for i in np.flatnonzero((t.part == "train") & yes)[::3] for r in t.tiles[i] if tile_score[r] > at]
        ),
        test=np.array([r for i in np.flatnonzero(t.part == "test") for r in t.tiles[i] if tile_score[r] > at]),
    )
    maps = {
        k: np.stack([m for _, m in explain_tiles(classifier, tiles, r, 0.9, keep=a.out / "maps")])
        for k, r in rows.items()
    }
    scale = float(np.median([m.max() for m in maps["train"]]))

    def field_of(made, k):
        at, none = dict(zip(rows[k].tolist(), made)), np.zeros(tiles.shape[1:3], np.float32)
        return lambda i: whole([at.get(r, none) for r in t.tiles[i]], boxes, lights[i].shape)

    norm = lambda m: np.clip(np.asarray(m, np.float32) / scale / 2, 0, 1)
    if "cam" in want:
        curve = make_pixel_curve(
            score(
                t,
                np.flatnonzero((t.part == "train") & yes)[::3],
                a.data,
                field_of([norm(m) for m in maps["train"]], "train"),
            )[0]
        )
        test_masks(
            t,
            a.data,
            a.out,
            "cam",
            field_of([norm(m) for m in maps["test"]], "test"),
            float(curve.threshold[curve.iou.idxmax()]),
        )
    if "faithful" in want:
        test_masks(
            t,
            a.data,
            a.out,
            "faithful",
            field_of(
                [
                    make_mask_published(np.asarray(tiles[r], np.float32)[..., 0], np.asarray(m, np.float32))
                    for r, m in zip(rows["test"], maps["test"])
                ],
                "test",
            ),
        )


def bench_explain(t, tiles, classifier, a, most=48):
    "Score-CAM and gradients: does the peak lie on dirt, how much denser is the map there, what does the classifier say when the salient pixels go, or come back?"
    rows, masks = [], []
    for i in np.flatnonzero((t.part == "test") & (t.label == "artifact")):
        true = read_image(a.data / t["mask"][i])[..., 0] > 0
        small = cv2.resize(true.astype(np.float32), [n // 2 for n in true.shape[::-1]], interpolation=cv2.INTER_AREA)
        for r, m in zip(t.tiles[i], cut_light(small)[1][..., 0] > 0.5):
            if m.any():
                rows.append(r)
                masks.append(m)
    some = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))
    wells, found = t.explode("tiles").set_index("tiles").group[[rows[k] for k in some]].to_numpy(), []
    ways = {
        "Score-CAM": lambda x: score_cam(classifier, "trunk", x, 1),
        **{how: lambda x, how=how: gradient_cam(classifier, "trunk", x, 1, how) for how in GRADIENTS},
    }
    for how, explain in ways.items():
        got = []
        for k in track(some, how):
            x, m = np.moveaxis(np.asarray(tiles[rows[k]], np.float32), 2, 0), masks[k]
            saliency = explain(x).map
            got.append(
                (
                    check_peak(saliency, m, 2),
                    score_inside(saliency, m) / m.mean(),
                    *(measure_erasing(classifier, x, saliency, 1, insert).mean() for insert in (False, True)),
                )
            )
        for name, v in zip(
            ("peak on dirt", "density on dirt, times the mean", "deletion (low is good)", "insertion (high is good)"),
            np.nan_to_num(np.array(got, float)).T,
        ):
            found.append(
                (
                    how,
                    name,
                    *bootstrap(
                        lambda i: v[i].mean(), wells, seed=a.seed, limits=(0, np.inf if "density" in name else 1)
                    ),
                )
            )
    keep(
        a.out,
        "explain",
        pd.DataFrame(found, columns=["map", "measure", "value", "low", "high"]).assign(
            tiles=len(some), wells=len(set(wells))
        ),
    )


def bench_unet(t, lights, tiles, taught, name, a):
    "A U-Net as step 54 trains it."
    x, y = {}, {}
    for p, most in (("train", a.crops), ("valid", a.crops // 6)):
        x[p], y[p] = cut_mask_crops(
            tiles, taught.rows[p], taught.masks[p], taught.clean[p], most=most, seed=a.seed + (p == "valid")
        )
    masker = read_or_train(
        a.out / f"{name}.safetensors",
        lambda: train_masker(
            (x["train"], y["train"]),
            (x["valid"], y["valid"]),
            a.mask_epochs,
            out=a.out / name,
            seed=a.seed,
            start=taught.classifier and taught.classifier.trunk,
        ),
        make_masker,
    )
    highest, per_field = 0.95 if taught.classifier else 0.5, t.tiles.map(len).mean()
    valid = x["valid"], y["valid"]
    at, _, said = choose_pixel_threshold(masker, valid, tiles, taught.clean["valid"], per_field, highest=highest)
    print(f"{name}: {said}")
    for views, called in ((1, name), (4, f"{name}_4_views")):
        probs = {
            i: predict_field(masker, lights[i], size=576, views=views)[..., 0]
            for i in track(np.flatnonzero(t.part == "test"), "masking")
        }
        np.savez_compressed(
            a.out / f"{called}_probs.npz", rows=list(probs), probs=np.stack(list(probs.values())).astype(np.float16)
        )
        test_masks(t, a.data, a.out, called, probs.get, at)
        kinds, rest = score_kinds(t, list(probs), a.data, probs.get, at)
        keep(a.out, f"{called}_kinds", kinds)
        keep(a.out, f"{called}_without_discs", rest)


def bench_published(t, a):
    """The published system on fields of 576 px: its networks, inputs, map, mask and thresholds. Not its: AdamW and one cycle of the rate (peak 0.002) instead of Adam with plateaus,
    a budget of epochs, none of its augmentation (of whose seven operations three did nothing), Score-CAM on the 64 channels that vary most (its own faster mode)."""
    small = np.stack(
        [
            cv2.resize(read_image(a.data / f)[..., 0].astype(np.uint16), (576, 576), interpolation=cv2.INTER_AREA)
            for f in t.file
        ]
    )
    part, yes = t.part.to_numpy(), (t.label == "artifact").to_numpy()

    def train_recipe():
        torch.manual_seed(a.seed)
        model, x = PublishedStageClassifier(), to_published_input(small)
        h = train_model(
            model,
            (x[part == "train"], yes[part == "train"].astype(int)),
            (x[part == "valid"], yes[part == "valid"].astype(int)),
            a.out / "published_classifier",
            epochs=a.published_epochs,
            lr=2e-3,
            batch=12,
            class_balance=False,
            label_smoothing=0.0,
            metric="loss",
            patience=None,
            seed=a.seed,
            prepare=lambda x, y, g: (x.float(), y),
        )
        return model, h.curves

    classifier = read_or_train(a.out / "published_classifier.safetensors", train_recipe, PublishedStageClassifier)
    with torch.inference_mode():
        called = np.concatenate(
            [
                classifier(torch.from_numpy(to_published_input(small[i : i + 1]))).argmax(1).numpy()
                for i in range(len(small))
            ]
        )
    print("published classifier: accuracy on test", (called == yes)[part == "test"].mean())
    rows = np.flatnonzero(yes & (called == 1) & (part != "test"))
    if not len(rows):
        return print("published: nothing is predicted as artifact")
    if not (a.out / "published_masks.npy").exists():
        np.save(
            a.out / "published_masks.npy",
            np.stack(
                [
                    make_mask_published(
                        small[i],
                        score_cam_published(classifier, "trunk", to_published_input(small[i : i + 1])[0], top=64).map,
                    )
                    for i in track(rows, "published Score-CAM")
                ]
            ),
        )
    masks = np.load(a.out / "published_masks.npy").astype(np.uint8)

    def fit_unet():
        torch.manual_seed(a.seed)
        model, x = PublishedUNet(), (small >> 8).astype(np.float32)[:, None]
        sets = [(x[rows[part[rows] == p]], masks[part[rows] == p]) for p in ("train", "valid")]
        h = train_model(
            model,
            *sets,
            a.out / "published_unet",
            epochs=a.published_epochs,
            lr=2e-3,
            batch=4,
            loss=MaskLoss(dice=0.0),
            metric="loss",
            patience=None,
            seed=a.seed,
            prepare=lambda x, y, g: (x.float(), y),
        )
        return model, h.curves

    net = read_or_train(a.out / "published_unet.safetensors", fit_unet, PublishedUNet)
    test_masks(
        t,
        a.data,
        a.out,
        "published",
        lambda i: predict_field(net, (small[i] >> 8).astype(np.float32), size=576)[..., 0],
        0.5,
    )


def bench_encoder(t, tiles, a, n=8, seeds=3):
    "Does an encoder that learned without labels (step 53) help a classifier that has few of them? The same n training fields and seeds, with and without it."
    file = a.out / "encoder.safetensors"
    rows = {p: np.concatenate(t.tiles[t.part == p].tolist()) for p in ("train", "valid")}
    if not file.exists():
        save_file(
            {
                k: v.contiguous()
                for k, v in train_cutpaste(tiles[rows["train"]], tiles[rows["valid"]], epochs=6, out=a.out / "encoder")[
                    0
                ]
                .state_dict()
                .items()
            },
            file,
        )
    for seed in range(seeds):
        some = t[t.part == "train"].groupby("label").sample(n // 2, random_state=seed)
        few = pd.concat([some, t[t.part != "train"]]).reset_index(drop=True)
        for name, encoder in (("none", ""), ("encoder", str(file))):
            model = train_tile_classifier(tiles, few, "artifact", epochs=a.epochs, encoder=encoder, seed=seed)[0]
            score = score_tiles(model, tiles)
            fields = few.assign(score=[score[r].max() for r in few.tiles])
            print(
                f"{n} labelled fields, seed {seed}, {name}:",
                score_calls(fields, 0.0).set_index("metric").loc["auroc", ["value", "low", "high"]].round(3).to_dict(),
                flush=True,
            )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--mask-epochs", type=int, default=4)
    p.add_argument("--crops", type=int, default=12_800)
    p.add_argument("--published-epochs", type=int, default=10)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--only", default="plain,cam,faithful,objects,drawn,ours", help="these, separated by commas")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    want = set(a.only.split(","))
    t, lights, tiles, boxes = load(a.data, a.out)
    if "plain" in want:
        bench_plain(t, lights, a)
    if "drawn" in want:
        bench_unet(t, lights, tiles, teach_unlabelled(tiles, t), "drawn", a)
    if want & {"cam", "faithful", "objects", "ours", "explain"}:
        classifier = read_or_train(
            a.out / "classifier.safetensors",
            lambda: train_tile_classifier(tiles, t, "artifact", epochs=a.epochs, out=a.out / "classifier", seed=a.seed),
            lambda: StageClassifier("resnet18", 1, 2, stride=4, pool="soft"),
        )
        taught = teach(tiles, t, classifier, "artifact", scratch=a.out, seed=a.seed)
        keep(a.out, "images", score_calls(t, taught.cut_at))
        if "objects" in want:
            vote = ObjectVote(
                tiles,
                own := np.concatenate([taught.rows["train"], taught.clean["train"]]),
                np.arange(len(own)) < len(taught.rows["train"]),
                t.group.to_numpy()[own // len(boxes)],
                seed=a.seed,
            )
            test_masks(t, a.data, a.out, "objects", lambda i: vote.mask(lights[i]) == 1)
        if "explain" in want:
            bench_explain(t, tiles, classifier, a)
        if want & {"cam", "faithful"}:
            bench_maps(t, lights, tiles, boxes, classifier, want, a)
        if "ours" in want:
            bench_unet(t, lights, tiles, taught, "ours", a)
    if "encoder" in want:
        bench_encoder(t, tiles, a)
    if "published" in want:
        bench_published(t, a)


if __name__ == "__main__":
    main()
