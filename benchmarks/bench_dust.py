"""Dust at the same pixels of all pictures: found from the set, corrected, and the neuron under it not hurt.

    python benchmarks/bench_dust.py ../shared/data/artifacts/dust work/dust

The neuron is taken from the expert mask where that mask holds anything. Where it is empty (in the copy this was written on, every pixel of all 19 mask files is 0), a stand-in is used:
the largest piece that is darker by a tenth than the pixelwise median of the group, in which dust cancels out. That is no expert's opinion, and the printed column `expert` says which it was.

The pictures are sorted by the dust they share, and dust is found in each group of at least five, without the neuron masks. Then each picture is corrected, and compared inside and
outside the neuron: how many of the neuron's pixels changed, how much, its contrast before and after, and how uneven the background inside the dust is before and after.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage

from cellprotocols.dust import find_dust, split_by_dust
from cellprotocols.flatfield import flatten_field
from cellprotocols.images import read_image
from cellprotocols.names import natural_key
from cellprotocols.intervals import bootstrap
from cellprotocols.progress import track


def contrast(img, neuron):
    "Darkness of the neuron against the ring around it, share of the light."
    grey = img.astype(np.float32).mean(2)
    ring = ndimage.binary_dilation(neuron, iterations=25) & ~ndimage.binary_dilation(neuron, iterations=6)
    return float(1 - np.median(grey[neuron]) / np.median(grey[ring]))


def stand_in(img, common):
    "The largest piece that is darker by a tenth than what the pictures of the group have in common."
    ratio = cv2.GaussianBlur(img.astype(np.float32).mean(2) / np.maximum(common, 1), (0, 0), 1)
    names, n = ndimage.label(ratio / np.median(ratio) < 0.9, np.ones((3, 3)))
    return names == 1 + np.bincount(names.ravel())[1:].argmax() if n else np.zeros(ratio.shape, bool)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("data", type=Path)
    p.add_argument("out", type=Path)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    files = sorted((a.data / "images").glob("*.jpg"), key=lambda f: natural_key(f.name))
    images = [read_image(f) for f in files]
    group = split_by_dust(images)
    print(len(images), "pictures", images[0].shape, "groups by dust:", group.tolist(), flush=True)
    found = {
        g: find_dust([im for im, h in zip(images, group) if h == g])
        for g in np.unique(group)
        if (group == g).sum() >= 5
    }
    for g, d in found.items():
        print(
            f"group {g}: dust covers {d.mask.mean():.2%}, {ndimage.label(d.mask)[1]} pieces; light lost inside: median {-np.median(d.strength[d.mask]) if d.mask.any() else 0:.3f}",
            flush=True,
        )
        cv2.imwrite(str(a.out / f"dust_{g}.png"), d.mask.astype(np.uint8) * 255)
    common = {
        g: np.median(np.stack([im.astype(np.float32).mean(2) for im, h in zip(images, group) if h == g]), 0)
        for g in found
    }
    rows = []
    for i, f in enumerate(track(files, "correcting")):
        if group[i] not in found:
            continue
        dust = found[group[i]]
        neuron = cv2.imread(str(a.data / "neuron_masks" / f"{f.stem}.png"), 0) > 0
        expert = bool(neuron.any())
        if not expert:
            neuron = stand_in(images[i], common[group[i]])
        clean = flatten_field(images[i], dust.pattern)
        change = np.abs(clean.astype(float) - images[i].astype(float)).mean(2)
        bare = ~ndimage.binary_dilation(neuron, iterations=8)
        inside = dust.mask & bare
        texture = lambda x: (
            float(
                np.std((g := x.astype(np.float32).mean(2) - cv2.blur(x.astype(np.float32).mean(2), (101, 101)))[inside])
            )
            if inside.any()
            else np.nan
        )
        rows.append(
            dict(
                file=f.name,
                expert=expert,
                dust=dust.mask.mean(),
                neuron=neuron.mean(),
                neuron_in_dust=(neuron & dust.mask).sum() / max(neuron.sum(), 1),
                neuron_changed=(change[neuron] > 0).mean(),
                change_in_neuron=change[neuron].mean(),
                contrast_before=contrast(images[i], neuron),
                contrast_after=contrast(clean, neuron),
                spread_in_dust_before=texture(images[i]),
                spread_in_dust_after=texture(clean),
                outside_same=bool((clean[~dust.mask] == images[i][~dust.mask]).all()),
            )
        )
        if i in (0, 6, 12):
            cv2.imwrite(
                str(a.out / f"{i}.jpg"),
                np.hstack([images[i], clean, np.repeat(neuron[..., None] * np.uint8(255), 3, 2)])[..., ::-1],
            )
    t = pd.DataFrame(rows)
    t.to_csv(a.out / "dust.csv", index=False)
    x = t.select_dtypes("number")
    print("expert masks that hold a neuron:", int(t.expert.sum()), "of", len(t))
    for c in x:
        print(f"{c:24}", bootstrap(lambda i: np.nanmean(x[c].to_numpy()[i]), np.arange(len(t))))
    print("pixels outside the dust are the same in all pictures:", t.outside_same.all())


if __name__ == "__main__":
    main()
