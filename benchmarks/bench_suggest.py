"""How many labels do you need, and does the suggested order save any? Known labels answer for the person.

    python benchmarks/bench_suggest.py --data ../shared/data/chromatin --out work/suggest --picture docs/pictures/suggest.png

Cells become vectors as in step 23 (measurements, 50 principal components). A fifth of the groups is held out and never labelled,
five times; the other cells get labels in random or in suggested order, from the same random start. Curves are macro-F1 on the held-out
groups, means of five seeds (other folds, other start). Prints the tables of docs/quality.md and docs/performance.md; sets that are not there are skipped.
"""

import argparse
import io
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import t as student

from cellprotocols.chromatin import annotate, patches, selfsupervise
from cellprotocols.suggest import LiveProbe, simulate_labelling
from cellprotocols.images import write_image
from cellprotocols.synth import make_movie
from cellprotocols.style import BLUE, INK, MUTED, house_style

SETS = {  # name: title, source (None: made here), options of annotate, labels at the start, in a batch, at most
    "movies": ("Practice movies (synthetic)", None, {}, 20, 20, 300),
    "redcells": ("Red blood cells, 13 classes", "redcells/cells.csv", dict(label="name", group="block"), 40, 40, 640),
    "jurkat": ("Jurkat cell cycle, 7 phases", "jurkat/cells.npz", dict(group="index", blocks=10), 30, 30, 600),
}
ORDERS = {"random": ("#8a8a8a", "s--"), "suggested": (BLUE, "o-")}


def make_movies(folder, n=10, every=5):
    "Every nucleus in every fifth frame of practice movies, as the chromatin protocol makes them: most are in interphase. A movie is a group."
    table, rows = folder / "clicks.csv", []
    if table.exists():
        return table
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(n):
        movie, name = make_movie(40, seed=k, division_rate=8.0), f"practice_{k}.tif"
        write_image(folder / name, movie.frames, px_um=movie.px_um)
        rows.append(movie.cells[movie.cells.t % every == 0].assign(file=name, movie=name))
    pd.concat(rows).rename(columns=dict(state="label"))[["file", "t", "y", "x", "label", "movie"]].to_csv(
        table, index=False
    )
    return table


def read_set(name, data, out):
    "Embedding, labels and groups of one set; None where it is not there."
    _, source, how, *_ = SETS[name]
    path = make_movies(out / "practice") if source is None else data / source
    if not path.exists():
        print(f"{name}: no {path}, skipped")
        return None
    annotate.run(str(path), str(out / "21_annotate"), **how)
    patches.run(str(out / "21_annotate"), str(out / "22_patches"))
    made = selfsupervise.run(str(out / "22_patches"), str(out / "23_selfsupervise"), method="measure", map_method="pca")
    return made["embedding"][:], made.items.label.to_numpy(str), made.items.group.to_numpy(str)


def simulate(cells, seeds, start, batch, budget):
    "One row per seed, order and count of labels; `full` is the score with all labels."
    rows = []
    for seed in range(seeds):
        full = simulate_labelling(*cells, "random", n_start=len(cells[0]), seed=seed).macro_f1[0]
        rows += [
            simulate_labelling(*cells, order, start, batch, budget, seed).assign(order=order, seed=seed, full=full)
            for order in ORDERS
        ]
    return pd.concat(rows)


def needed(curve, share):
    "The first count of labels at which the curve reaches this share of the score with all labels, between two counts by a straight line; NaN if it never does."
    target, f1, n = share * curve.full.iloc[0], curve.macro_f1.to_numpy(), curve.labels.to_numpy(float)
    if not (f1 >= target).any():
        return np.nan
    k = int((f1 >= target).argmax())
    return n[k] if k == 0 else n[k - 1] + (n[k] - n[k - 1]) * (target - f1[k - 1]) / (f1[k] - f1[k - 1])


def interval(values, digits=0):
    "Mean and 95 % interval over seeds (Student)."
    values = np.asarray(values, float)
    if np.isnan(values).any():
        return f"not reached in {np.isnan(values).sum()} of {len(values)}"
    half = (
        student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    )
    return f"{values.mean():.{digits}f} [{values.mean() - half:.{digits}f}, {values.mean() + half:.{digits}f}]"


def tell(name, cells, curves):
    "The rows of the table for one set."
    by = {order: [c for _, c in curves[curves.order == order].groupby("seed")] for order in ORDERS}
    full = interval([c.full.iloc[0] for c in by["random"]], 2)
    for share in (0.8, 0.9, 0.95):
        n = {order: np.array([needed(c, share) for c in cs]) for order, cs in by.items()}
        ratio = interval(n["suggested"] / n["random"], 2)
        print(
            f"| {SETS[name][0]} | {len(cells[0])} | {len(set(cells[2]))} | {full} | {share:.0%} | {interval(n['random'])} | {interval(n['suggested'])} | {ratio} |",
            flush=True,
        )
    area = {order: np.array([c.macro_f1.mean() for c in cs]) for order, cs in by.items()}
    print(
        f"  mean of the curve: random {interval(area['random'], 3)}, suggested {interval(area['suggested'], 3)}, difference {interval(area['suggested'] - area['random'], 3)}",
        flush=True,
    )


def draw_curves(ax, name, curves):
    "Mean of the seeds with its range; how many labels reach 90 % of the score with all labels."
    full = curves.full.mean()
    for order, (colour, mark) in ORDERS.items():
        seeds = curves[curves.order == order]
        t = seeds.groupby("labels").macro_f1.agg(["mean", "min", "max"])
        ax.fill_between(t.index, t["min"], t["max"], color=colour, alpha=0.22, lw=0)
        ax.plot(t.index, t["mean"], mark, color=colour, ms=4, lw=1.8, label=f"{order} order")
        if not np.isnan(n := np.mean([needed(c, 0.9) for _, c in seeds.groupby("seed")])):
            ax.plot([n, n], [0, 0.9 * full], ":", color=colour, lw=1.4)
            ax.text(n + 4, 0.03, f"{n:.0f}", color=colour, fontsize=11, weight="bold")
    for share, text in ((1, "all labels"), (0.9, "90 %")):
        ax.axhline(share * full, color=INK, lw=1, ls="-" if share == 1 else ":")
        ax.text(0.01, share * full + 0.01, text, transform=ax.get_yaxis_transform(), fontsize=9, color=INK)
    ax.set_title(SETS[name][0], fontsize=10.5, loc="left", color=INK)
    ax.set_xlabel("labels given")


def draw(found, path):
    "Up to two sets beside each other, same limits."
    shown = [n for n in ("movies", "redcells") if n in found] + [n for n in found if n not in ("movies", "redcells")]
    shown = shown[:2]
    with house_style():
        fig, axes = plt.subplots(
            1, len(shown), figsize=(4.7 * len(shown), 3.9), sharex=True, sharey=True, squeeze=False
        )
        for ax, name in zip(axes[0], shown):
            draw_curves(ax, name, found[name])
        axes[0, 0].set(
            ylabel="macro-F1 on groups without a label",
            ylim=(0, 1),
            xlim=(0, max(found[n].labels.max() for n in shown) * 1.02),
        )
        axes[0, 0].legend(loc="lower right", frameon=False)
        fig.suptitle(
            "Good: the suggested order reaches 90 % with fewer labels than the random one",
            x=0.01,
            ha="left",
            fontsize=13,
            weight="bold",
            color=INK,
        )
        fig.text(
            0.01,
            0.01,
            "Known labels answer for the person; means and ranges of five seeds. Your cells will differ: try your own pilot set.",
            fontsize=8.5,
            color=MUTED,
        )
        fig.tight_layout(rect=(0, 0.04, 1, 0.98))
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=110)
        plt.close(fig)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def time_refit(n=10_000, d=50, k=13, groups=60):
    "Seconds of a refit and of the next list, practice embeddings; wall clock and processor."
    rng = np.random.default_rng(0)
    sd, y, g = np.linspace(4, 0.3, d), rng.choice(k, n), rng.integers(0, groups, n)
    x = (0.6 * rng.normal(size=(k, d))[y] + 0.3 * rng.normal(size=(groups, d))[g] + rng.normal(size=(n, d))) * sd
    names = np.array([f"class {c:02d}" for c in range(k)])
    x, turn = x.astype(np.float32), rng.permutation(n)
    LiveProbe(x[:100], g[:100], names).fit(names[y[:100]])  # imports what it needs

    def clock(f):
        wall, cpu = time.perf_counter(), time.process_time()
        f()
        return time.perf_counter() - wall, time.process_time() - cpu

    print(
        f"\n{n} cells, {d} numbers, {k} classes, {groups} groups\n\n| labels | refit, penalty chosen anew, s | refit, s | order of the next 30, s |\n|---|---|---|---|"
    )
    for few in (100, 500, 2000):
        labels = np.full(n, "", names.dtype)
        labels[turn[:few]] = names[y[turn[:few]]]
        live = LiveProbe(x, g, names)
        first, again = clock(lambda: live.fit(labels)), [clock(lambda: live.fit(labels)) for _ in range(5)]
        lists = [clock(lambda: live.order(30)) for _ in range(5)]
        print(
            f"| {few} | "
            + " | ".join(f"{w:.2f} (processor {c:.2f})" for w, c in (first, min(again), min(lists)))
            + " |",
            flush=True,
        )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default=Path("../shared/data/chromatin"))
    p.add_argument("--out", type=Path, default=Path("work/suggest"))
    p.add_argument("--picture", type=Path, default=None)
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--sets", default=",".join(SETS))
    a = p.parse_args()
    warnings.simplefilter("ignore")  # few groups of a class: the folds say so each time
    time_refit()
    found = {}
    for name in a.sets.split(","):
        cells = read_set(name, a.data, a.out / name)
        if cells is None:
            continue
        table = a.out / name / f"curves_{a.seeds}.csv"
        if table.exists():
            print(f"{name}: curves of an earlier run, {table}")
        else:
            simulate(cells, a.seeds, *SETS[name][3:]).to_csv(table, index=False)
        found[name] = pd.read_csv(table)
        print(
            "\n| set | cells | groups | macro-F1 with all labels | share of it | labels, random order | labels, suggested order | suggested / random |\n|---|---|---|---|---|---|---|---|"
        )
        tell(name, cells, found[name])
    if a.picture and found:
        draw(found, a.picture)


if __name__ == "__main__":
    main()
