"""How good are the chromatin models on real cells, by held-out group? Prints the tables of docs/quality.md.

Every model is judged on the same folds of whole groups, with 95 % intervals from resampling groups; beside it stands the
optimistic number of a random split of the same cells. HOG + SVM is the plain baseline: histograms of oriented gradients and
three intensity numbers, 20 principal components, a balanced RBF support vector machine.

    python benchmarks/bench_quality.py --data ../shared/data/chromatin --out work/quality
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.feature import hog
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cellprotocols.chromatin import annotate, patches, train
from cellprotocols.dataset import read_dataset
from cellprotocols.metrics import bootstrap_score

SETS = {  # name: source, options of annotate, options of patches
    "zips": ("zips", {}, {}),
    "redcells": ("redcells/cells.csv", dict(label="name", group="block"), {}),
    "jurkat": ("jurkat/cells.npz", dict(group="index", blocks=10), {}),
    "jurkat_label_free": ("jurkat/cells.npz", dict(group="index", blocks=10), dict(channels="0,2")),
}


def describe_hog(pixels):
    "HOG of the mean over channels, with mean, deviation and maximum of every channel."
    rows = []
    for p in pixels:
        gray, side = p.mean(2), max(8, p.shape[0] // 4)
        rows.append(
            np.r_[
                hog(gray, orientations=8, pixels_per_cell=(side, side), cells_per_block=(1, 1)),
                p.mean((0, 1)),
                p.std((0, 1)),
                p.max((0, 1)),
            ]
        )
    return np.array(rows, float)


def predict_hog(x, y, fold):
    out = np.empty_like(y)
    for k in np.unique(fold):
        new = fold == k
        model = make_pipeline(StandardScaler(), PCA(20), SVC(C=10, class_weight="balanced"))
        out[new] = model.fit(x[~new], y[~new]).predict(x[new])
    return out


def table_of(folder):
    "model, grouped macro-F1 and accuracy, random macro-F1 of one finished 24_train."
    made = read_dataset(folder / "24_train")
    pixels = read_dataset(folder / "22_patches")
    scores, main = pd.read_csv(made.path / "scores.csv"), made.meta["settings"]["models"][0]
    place = pd.Series(range(len(pixels)), pixels.items.item_id)[made.items.item_id].to_numpy()
    x = describe_hog(pixels["patches"][:][place])
    y, groups = made.items.label.to_numpy(), made.items.group.to_numpy()
    rows = []
    for split in ("grouped", "random"):
        fold = pd.read_csv(made.path / f"{main}_{split}.csv").fold.to_numpy()
        pred = predict_hog(x, y, fold)
        rows += [
            dict(model="HOG + SVM", split=split, metric=m, **bootstrap_score(m, y, pred, groups)._asdict())
            for m in ("macro_f1", "accuracy")
        ]
    both = pd.concat([scores, pd.DataFrame(rows)])
    both = both[both.metric.isin(["macro_f1", "accuracy"])]
    both["text"] = [f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in both.itertuples()]
    wide = both.pivot(index="model", columns=["metric", "split"], values="text").reindex(
        [*made.meta["settings"]["models"], "HOG + SVM"]
    )
    return wide[[("macro_f1", "grouped"), ("accuracy", "grouped"), ("macro_f1", "random")]], made


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default=Path("../shared/data/chromatin"))
    p.add_argument("--out", type=Path, default=Path("work/quality"))
    p.add_argument("--compare", default="faithful,probe")
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
        train.run(str(out / "22_patches"), str(out / "24_train"), model="measured", compare=a.compare, epochs=a.epochs)
        wide, made = table_of(out)
        print(
            f"\n### {name}: {len(made)} cells, {made.items.group.nunique()} groups, {made.items.fold.nunique()} folds\n"
        )
        print(
            "| model | macro-F1, held-out groups | accuracy, held-out groups | macro-F1, random split (optimistic) |\n|---|---|---|---|"
        )
        for model, r in wide.iterrows():
            print(f"| {model} | " + " | ".join(r) + " |", flush=True)


if __name__ == "__main__":
    main()
