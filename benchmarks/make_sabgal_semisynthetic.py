"""Real fields with artifacts whose place is known: planted on SA-beta-Gal brightfield fields, for training and scoring masks.

    python benchmarks/make_sabgal_semisynthetic.py ../shared/data/artifacts/sabgal work/sabgal_semisynthetic [--versions 3] [--seed 0] [--baseline]

The fields have no masks and are dirty themselves. Each is divided by its background. What is certainly or perhaps dirt of its own is found: anything
that loses 42 % of the light and what hangs together with it above 18 %; dots that lose 10 % in empty places (a place is empty where most small blocks around vary no more than
noise does); soft shades of 3 % in empty places; a wide rim around all that is large. Sharp pieces of at least 60 px with a bright fringe are painted over (they are crystals, which refract; dark
staining only absorbs, and stays); **everything found is left out of the score** (`valid`), and nothing is planted there. Then each field is written once as it is (`clean`) and
`--versions` times with artifacts: drawn ones from `synth`, and crystals cut out of other fields of the same part, turned and mirrored, so that no well gives anything to the other part.
Whole wells go to train or test. All numbers of the generator, and of each planted artifact, are written down beside the images.

What is wrong with it: faint real specks under the thresholds stay and count as background; planted shapes are ours; a score here says which method is
better on such dirt, not how good it is on yours. `--baseline` scores the plain rule that the published pipeline's parts suggest: dark and steep, thresholds chosen on train.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage as ndi
from skimage.filters import apply_hysteresis_threshold

from cellprotocols import __version__
from cellprotocols.dataset import fingerprint
from cellprotocols.fill import fill_inpaint
from cellprotocols.flatfield import smooth_background, to_transmission
from cellprotocols.images import read_image, write_image
from cellprotocols.names import read_operetta_name
from cellprotocols.maskscores import (
    measure_matches,
    make_pixel_curve,
    make_pixel_histogram,
    score_objects,
    score_pixels,
)
from cellprotocols.progress import track
from cellprotocols.split import make_split
from cellprotocols.synth_dirt import ARTIFACTS, choose_counts, paste_artifacts

SETTINGS = dict(
    dark=0.42,
    grow=0.18,
    dot=0.10,
    shade=0.03,
    empty=1.4,
    rim=12,
    wide_rim=45,
    large=2500,
    repair_area=60,
    repair_slope=0.09,
    repair_fringe=0.12,
    dirt=1.5,
    transplants=1.5,
    test=0.35,
)


def blur(x, sigma):
    return cv2.GaussianBlur(np.asarray(x, np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def slope_of(x):
    return np.hypot(cv2.Sobel(x, cv2.CV_32F, 1, 0), cv2.Sobel(x, cv2.CV_32F, 0, 1)) / 8


def fill_holes(mask):
    "Add what the mask encloses (scipy's own takes seconds on a large field)."
    outside, n = ndi.label(~mask)
    open_ = np.zeros(n + 1, bool)
    open_[np.r_[outside[0], outside[-1], outside[:, 0], outside[:, -1]]] = True
    return mask | ~open_[outside]


def find_empty(x, q=8):
    "Where most blocks of q px around vary no more than noise does."
    fine = x - blur(x, 2)
    h, w = (n // q * q for n in x.shape)
    spread = fine[:h, :w].reshape(h // q, q, w // q, q).std((1, 3))
    spread = ndi.median_filter(spread, 7)
    return (
        cv2.resize(
            (spread < SETTINGS["empty"] * np.percentile(spread, 5)).astype(np.uint8),
            x.shape[::-1],
            interpolation=cv2.INTER_NEAREST,
        )
        > 0
    )


def find_real_dirt(x):
    "What is certainly a crystal (to be painted over), and all that may be dirt (to be left alone and out)."
    s, empty, o = blur(x, 1), find_empty(x), SETTINGS
    core = apply_hysteresis_threshold(1 - s, o["grow"], o["dark"]) | (
        empty & apply_hysteresis_threshold(1 - s, o["dot"] / 2, o["dot"])
    )
    core = fill_holes(core)
    parts, n = ndi.label(core, np.ones((3, 3)))
    area, steep = (
        np.bincount(parts.ravel(), minlength=n + 1),
        np.r_[0, ndi.maximum(slope_of(s), parts, range(1, n + 1))] if n else np.zeros(1),
    )
    edge = np.isin(np.arange(n + 1), np.r_[parts[0], parts[-1], parts[:, 0], parts[:, -1]]) & (
        area > o["large"]
    )  # a well edge: nothing to paint from
    near = ndi.grey_dilation(parts, size=13)
    fringe = np.bincount(near[x > 1.05], minlength=n + 1) / np.maximum(np.bincount(parts[s < 0.8], minlength=n + 1), 1)
    repair = (area >= o["repair_area"]) & (steep > o["repair_slope"]) & (fringe > o["repair_fringe"]) & ~edge
    large = area > o["large"]
    repair[0] = large[0] = False
    shade = ndi.binary_opening(empty & (blur(x, 10) < 1 - o["shade"]), iterations=5)
    avoid = (
        ndi.binary_dilation(core, iterations=o["rim"])
        | ndi.binary_dilation(large[parts], iterations=o["wide_rim"])
        | ndi.binary_dilation(shade, iterations=25)
    )
    return repair[parts], avoid


def cut_stamps(x, repair, rim=10):
    "Real crystals as transmissions on clear ground, with soft edges."
    stamps, (parts, n) = [], ndi.label(ndi.binary_dilation(repair, iterations=3))
    for i, (a, b) in enumerate(ndi.find_objects(parts), 1):
        if a.start < rim or b.start < rim or a.stop > x.shape[0] - rim or b.stop > x.shape[1] - rim:
            continue
        here = slice(a.start - rim, a.stop + rim), slice(b.start - rim, b.stop + rim)
        soft = blur(ndi.binary_dilation(parts[here] == i, iterations=3), 1.5)
        stamps.append(1 + (x[here] - 1) * soft)
    return stamps


def transplant(stamps):
    "A kind of artifact for `paste_artifacts`: one of the stamps, turned and mirrored."

    def make(rng, shape):
        k, turn, flip = int(rng.integers(len(stamps))), int(rng.integers(4)), bool(rng.integers(2))
        light = np.rot90(stamps[k], turn)
        return light[:, ::-1] if flip else light, dict(stamp=k, turn=turn * 90, flip=flip, level=0.12)

    return make


def prepare(files):
    "Table of the source fields with wells and parts, and what was found in each."
    table = pd.DataFrame([dict(source=f.name, **read_operetta_name(f)) for f in files])
    table["fingerprint"] = [fingerprint(f) for f in files]
    fields = []
    for f in track(files, "looking for real dirt"):
        img = read_image(f)
        x = to_transmission(img, smooth_background(img))[..., 0]
        repair, avoid = find_real_dirt(x)
        fields.append((fill_inpaint(img, ndi.binary_dilation(repair, iterations=9)), avoid, cut_stamps(x, repair)))
    table["left_out"] = [avoid.mean() for _, avoid, _ in fields]
    table["stamps"] = [len(s) for _, _, s in fields]
    return table, fields


def write_version(out, name, img, labels, avoid):
    files = dict(file=f"images/{name}.tif", mask=f"masks/{name}.tif", valid=f"valid/{name}.tif")
    write_image(out / files["file"], img)
    write_image(out / files["mask"], (labels > 0).astype(np.uint8) * 255)
    write_image(out / files["valid"], (~avoid).astype(np.uint8) * 255)
    return files


def make(source, out, versions=3, seed=0):
    "Write the benchmark: images, masks, valid, items.csv, artifacts.csv, generator.json."
    files = sorted(p for p in Path(source).rglob("*.tif*") if p.is_file())
    if not files:
        raise SystemExit(f"no TIFF files in {source}")
    if out.exists():
        raise SystemExit(f"{out} exists: choose another folder")
    table, fields = prepare(files)
    table["split"] = make_split(None, table.well, dict(train=1 - SETTINGS["test"], test=SETTINGS["test"]), seed)
    for part in ("images", "masks", "valid"):
        (out / part).mkdir(parents=True)
    items, planted = [], []
    for i, row in enumerate(track(table.itertuples(), "planting artifacts", total=len(table))):
        img, avoid, _ = fields[i]
        stamps = [
            s
            for j, (_, _, found) in enumerate(fields)
            if table.split[j] == row.split and table.well[j] != row.well
            for s in found
        ]
        for v in range(versions + 1):
            rng = np.random.default_rng([seed, i, v])
            counts = choose_counts(rng, SETTINGS["dirt"] if v else 0.0, img.shape)
            if v and stamps:
                counts["transplant"] = int(rng.poisson(SETTINGS["transplants"]))
            dirty, labels, about = paste_artifacts(
                img, counts, [seed, i, v], avoid, {**ARTIFACTS, "transplant": transplant(stamps)}
            )
            files = write_version(out, f"{Path(row.source).stem}_v{v}", dirty, labels, avoid)
            items.append(
                dict(
                    **files,
                    source=row.source,
                    well=row.well,
                    group=row.well,
                    split=row.split,
                    version=v,
                    label="artifact" if labels.any() else "clean",
                    n_artifacts=len(about),
                    area=(labels > 0).mean(),
                    valid_area=1 - avoid.mean(),
                )
            )
            planted.append(about.assign(file=files["file"]))
    items = pd.DataFrame(items)
    items.to_csv(out / "items.csv", index=False)
    pd.concat(planted).to_csv(out / "artifacts.csv", index=False)
    about = dict(
        made_by="benchmarks/make_sabgal_semisynthetic.py",
        cellprotocols=__version__,
        seed=seed,
        versions=versions,
        settings=SETTINGS,
        note="semi-synthetic: real fields, planted artifacts; score only where valid is 255",
        sources=table.to_dict("records"),
    )
    (out / "generator.json").write_text(json.dumps(about, indent=1, default=lambda v: v.item()) + "\n")
    return items


# ---- the plain rule ----


def dark_pieces(x, dark):
    "Pieces darker than the background by `dark`, holes filled, and the steepest slope (a px) in each."
    s = blur(x, 1)
    parts, n = ndi.label(fill_holes(1 - s > dark), np.ones((3, 3)))
    steepest = np.zeros(n + 1)
    np.maximum.at(steepest, parts[parts > 0], slope_of(s)[parts > 0])
    return parts, steepest


def dark_and_steep(x, dark=0.15, steep=0.03):
    "Dark + gradient: pixels darker than the background by `dark`, in a piece that is somewhere steeper than `steep` a px."
    parts, steepest = dark_pieces(x, dark)
    return (steepest > steep)[parts]


def score_baseline(out):
    "Choose the two thresholds on train, score on test by well."
    items = pd.read_csv(out / "items.csv")
    read = lambda row: (
        read_image(out / row.file),
        read_image(out / row.mask)[..., 0] > 0,
        read_image(out / row.valid)[..., 0] > 0,
    )
    darks, slopes = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4), (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12)
    sums = np.zeros((len(darks), len(slopes), 2, 256), int)
    for row in track(list(items[items.split == "train"].itertuples()), "choosing thresholds"):
        img, truth, valid = read(row)
        x = to_transmission(img, smooth_background(img))[..., 0]
        for i, dark in enumerate(darks):
            parts, steepest = dark_pieces(x, dark)
            for j, steep in enumerate(slopes):
                sums[i, j] += make_pixel_histogram(truth, (steepest > steep)[parts], valid)
    f1 = np.array([[make_pixel_curve(h[None]).f1[255] for h in row] for row in sums])
    i, j = np.unravel_index(np.nanargmax(f1), f1.shape)
    best = darks[i], slopes[j]
    hists, objects, test = [], [], items[items.split == "test"]
    for row in track(list(test.itertuples()), "scoring"):
        img, truth, valid = read(row)
        found = dark_and_steep(to_transmission(img, smooth_background(img))[..., 0], *best)
        hists.append(make_pixel_histogram(truth, found, valid))
        objects.append(measure_matches(truth & valid, found & valid).assign(well=row.well))
    objects = pd.concat(objects)
    return best, score_pixels(np.stack(hists), test.well), score_objects(objects, objects.well, by="covered")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("source", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--versions", type=int, default=3)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--baseline", action="store_true", help="score the dark + gradient rule")
    a = p.parse_args()
    if not (a.baseline and (a.out / "items.csv").exists()):
        items = make(a.source, a.out, a.versions, a.seed)
        print(
            items.groupby(["split", "label"])
            .agg(
                images=("file", "size"),
                wells=("well", "nunique"),
                artifacts=("n_artifacts", "sum"),
                area=("area", "mean"),
                scored=("valid_area", "mean"),
            )
            .round(4)
        )
    if a.baseline:
        best, pixels, objects = score_baseline(a.out)
        print(
            f"dark + gradient: {best[0]:.0%} darker, {best[1]:.0%} a px (chosen on train); test, 95 % intervals over wells:"
        )
        print(pixels.round(3).to_string(index=False))
        print(objects.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
