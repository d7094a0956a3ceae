"""How good are the chromatin models on real cells, by held-out group? Prints the tables of docs/quality.md.

Every model is judged on the same folds of whole groups, with 95 % intervals from resampling groups; beside it stands the
optimistic number of a random split of the same cells, and by how much it is too good. The baselines are simple and honest:

- HOG + SVM: histograms of oriented gradients and three intensity numbers a channel, 20 principal components, a balanced RBF
  support vector machine;
- LBP + grey + ridge: uniform local binary patterns at 1, 2 and 4 px and mean, deviation and percentiles of every channel,
  balanced ridge regression;
- frozen backbone + ridge: mean and deviation of the feature maps at strides 8 and 16 of efficientnet-lite0, the same ridge.

    python benchmarks/bench_quality.py --data ../shared/data --out work/quality
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.feature import hog, local_binary_pattern
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cellprotocols.chromatin import annotate, patches, train
from cellprotocols.dataset import read_dataset
from cellprotocols.embed import embed_dataset
from cellprotocols.embedded import make_view
from cellprotocols.metrics import bootstrap_score

JURKAT = "chromatin/jurkat/cells.npz", dict(group="index", blocks=10)
SETS = {  # name: source, options of annotate, options of patches
    "zips": ("chromatin/zips", {}, {}),
    "redcells": ("chromatin/redcells/cells.csv", dict(label="name", group="block"), {}),
    "jurkat": (*JURKAT, {}),
    "jurkat_label_free": (*JURKAT, dict(channels="0,2")),
    "livecell": ("cell_lines/livecell/manifest.csv", dict(label="cell_line", group="well"), {}),
}
METRICS = ["macro_f1", "accuracy"]


def describe_hog(pixels):
    "HOG of the mean over channels, with mean, deviation and maximum of every channel."
    rows = []
    for p in pixels:
        gray, side = p.mean(2), max(8, min(p.shape[:2]) // 4)
        shape = hog(gray, orientations=8, pixels_per_cell=(side, side), cells_per_block=(1, 1))
        rows.append(np.r_[shape, p.mean((0, 1)), p.std((0, 1)), p.max((0, 1))])
    return np.array(rows, float)


def describe_lbp(pixels):
    "Uniform local binary patterns at three distances, and grey statistics, of every channel."
    rows = []
    for p in pixels:
        one = []
        for x in np.moveaxis(p.astype(float), 2, 0):
            span = max(np.ptp(x), 1e-9)
            grey = np.round((x - x.min()) / span * 255).astype(np.uint8)
            for r in (1, 2, 4):
                one.append(np.bincount(local_binary_pattern(grey, 8, r, "uniform").astype(int).ravel(), minlength=10))
            one[-3:] = [h / x.size for h in one[-3:]]
            one.append([x.mean(), x.std(), *np.percentile(x, (1, 5, 25, 50, 75, 95, 99))])
        rows.append(np.concatenate(one))
    return np.array(rows, float)


def make_svm():
    return make_pipeline(StandardScaler(), PCA(20), SVC(C=10, class_weight="balanced"))


def make_ridge():
    return make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 13), class_weight="balanced"))


def embed_frozen(cells, rows, folder):
    "Middle stages of efficientnet-lite0: read where step 24 has kept them."
    channels = (cells.path / "channels.txt").read_text(encoding="utf-8").splitlines()
    _, network = make_view("efficientnet-lite0", channels, cells["patches"].shape[1])
    return embed_dataset(cells, rows, network, folder)


def predict_baseline(make, x, y, fold):
    out = np.empty_like(y)
    for k in np.unique(fold):
        new = fold == k
        out[new] = make().fit(x[~new], y[~new]).predict(x[new])
    return out


def score_baselines(made, cells, folder):
    "The same table as scores.csv, of the three baselines, on the same folds."
    place = pd.Series(range(len(cells)), cells.items.item_id)[made.items.item_id].to_numpy()
    pixels, main = cells["patches"][:][place], made.meta["settings"]["models"][0]
    tables = {
        "HOG + SVM": (make_svm, describe_hog(pixels)),
        "LBP + grey + ridge": (make_ridge, describe_lbp(pixels)),
        "frozen backbone + ridge": (make_ridge, embed_frozen(cells, place, folder / "embeddings")),
    }
    y, groups, rows = made.items.label.to_numpy(), made.items.group.to_numpy(), []
    for name, (make, x) in tables.items():
        for split in ("grouped", "random"):
            pred = predict_baseline(make, x, y, pd.read_csv(made.path / f"{main}_{split}.csv").fold.to_numpy())
            for m in METRICS:
                rows.append(dict(model=name, split=split, metric=m, **bootstrap_score(m, y, pred, groups)._asdict()))
    return pd.DataFrame(rows)


def print_table(made, cells, folder):
    "One row a model: honest scores, the optimistic one, and the difference."
    both = pd.concat([pd.read_csv(made.path / "scores.csv"), score_baselines(made, cells, folder)])
    both = both[both.metric.isin(METRICS)]
    values = both.set_index(["model", "metric", "split"])
    print(
        "| model | macro-F1, held-out groups | accuracy, held-out groups | macro-F1, random split (optimistic) | inflation |"
    )
    print("|---|---|---|---|---|")
    for model in both.model.unique():
        keys = [("macro_f1", "grouped"), ("accuracy", "grouped"), ("macro_f1", "random")]
        cut = [values.loc[(model, *k)] for k in keys]
        told = [f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in cut]
        print(f"| {model} | " + " | ".join(told) + f" | {cut[2].value - cut[0].value:+.2f} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default=Path("../shared/data"))
    p.add_argument("--out", type=Path, default=Path("work/quality"))
    p.add_argument("--compare", default="measured,embedded,combined", help="e.g. faithful,probe beside them")
    p.add_argument("--epochs", type=int, default=30, help="epochs of the published network (its own number is 100)")
    p.add_argument("--sets", default=",".join(SETS))
    a = p.parse_args()
    for name in a.sets.split(","):
        source, how, cut = SETS[name]
        if not (a.data / source).exists():
            print(f"{name}: no {a.data / source}, skipped")
            continue
        out = a.out / name
        annotate.run(str(a.data / source), str(out / "21_annotate"), **how)
        patches.run(str(out / "21_annotate"), str(out / "22_patches"), **cut)
        train.run(str(out / "22_patches"), str(out / "24_train"), compare=a.compare, epochs=a.epochs)
        made = read_dataset(out / "24_train")
        print(
            f"\n### {name}: {len(made)} cells, {made.items.group.nunique()} groups, {made.items.fold.nunique()} folds\n"
        )
        print_table(made, read_dataset(out / "22_patches"), out)


if __name__ == "__main__":
    main()
