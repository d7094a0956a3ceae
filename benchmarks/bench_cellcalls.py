"""Ways to say what each cell shows, learned from labels of images: practice (synthetic) fields, samples left out.

python benchmarks/bench_cellcalls.py [--samples 76] [--miss 0.3] [--seed 0]"""

import argparse

import numpy as np
import pandas as pd

from cellprotocols.calibration import score_ece
from cellprotocols.cellrules import score_rules
from cellprotocols.compartments import NUMBERS
from cellprotocols.locationmodel import NAMES
from cellprotocols.locations import NEGATIVE, to_targets
from cellprotocols.multicalls import (
    make_image_logits,
    score_image_learner,
    score_left_out,
    score_map,
    score_ways,
    to_prob,
    to_with_none,
    train_calibration,
)
from cellprotocols.organelles.selfsupervise import embed_field
from cellprotocols.progress import track
from cellprotocols.regions import make_region_view
from cellprotocols.split import make_folds
from cellprotocols.synth_organelles import make_organelle_set


def look(fields, table):
    "Embeddings, numbers, truth and table of all cells, their true outlines given."
    view, parts = make_region_view("auto"), []
    for field, row in track(list(zip(fields, table.itertuples())), "looking"):
        img = np.stack([field.red, field.green, field.blue, field.yellow], -1)
        t, x, q = embed_field(view, (img, field.cells, field.nuclei))
        about = pd.DataFrame(dict(image=row.id, group=row.sample, label=row.label), index=range(len(t)))
        parts.append((x.astype(np.float32), q, field.truth[t.cell_id - 1], about))
    x, q, truth, about = zip(*parts)
    return np.vstack(x), np.vstack(q), np.vstack(truth).astype(float), pd.concat(about, ignore_index=True)


def mean_ece(truth, prob):
    "Calibration error, mean over the classes that occur."
    pairs = [(t, p) for t, p in zip(truth.T > 0, prob.T) if t.any()]
    return np.mean([score_ece(t.astype(int), np.stack([1 - p, p], 1)) for t, p in pairs])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=76)
    parser.add_argument("--miss", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    x, q, truth, t = look(*make_organelle_set(a.samples, miss=a.miss, seed=a.seed))
    targets, groups = to_targets(t.label), t.group.to_numpy()
    fold = make_folds(targets.astype(int), groups, 5, 0)
    noisy, own = (
        to_with_none(score_left_out(x, q, targets, t.image, fold, pool=p), NEGATIVE) for p in ("noisy_or", "pooled")
    )
    ways = {"rules": score_rules(pd.DataFrame(q, columns=NUMBERS))[NAMES].to_numpy(), "label copied (known)": targets}
    ways |= score_image_learner(x, q, targets, t.image, fold) | {"noisy-or": noisy, "pooled (default)": own}
    print(
        f"{len(t)} cells, {t.group.nunique()} samples; {truth[targets > 0].mean():.0%} of labels are true of the cell"
    )
    print(score_ways(truth, ways, groups)[["way", "value", "low", "high"]].round(2).to_string(index=False))
    slope, level, _ = train_calibration(own, targets, t.image, groups)
    print(f"calibration error of cells, mean of classes: {mean_ece(truth, to_prob(own, slope, level)):.3f}")
    names, z = make_image_logits(own, t.image)
    first = [int(np.flatnonzero(t.image == n)[0]) for n in names]
    label = targets[first]
    slope, level, _ = train_calibration(z, label, names, groups[first], label)
    error = mean_ece(label, to_prob(z, slope, level))
    print(f"images: mAP {score_map(label, z)[0]:.2f}, calibration error {error:.3f}")


if __name__ == "__main__":
    main()
