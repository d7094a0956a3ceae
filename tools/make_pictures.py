"""Draw README's pictures again, from practice (synthetic) data, with the library only: make_pictures.py [folder].

Cells of four practice movies are clicked in up to five frames each, as people do. The model is judged on cells it has not
seen, and on single clicks dealt at random. Then it names the nuclei of a fifth movie."""

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from PIL import Image
from skimage.filters import gaussian
from skimage.measure import find_contours

from cellprotocols.cells import find_centroids, find_nuclei
from cellprotocols.classify import predict_patches
from cellprotocols.measured import measure_all
from cellprotocols.recipes import Cells, train_recipe
from cellprotocols.calibration import to_prob
from cellprotocols.metrics import score_table
from cellprotocols.patches import cut_patches
from cellprotocols.dataset import read_dataset
from cellprotocols.images import read_image
from cellprotocols.light import make_overlay
from cellprotocols.maskfiles import name_mask, read_mask
from cellprotocols.split import make_folds, make_random_folds
from cellprotocols.synth import STATES, make_movie
from cellprotocols.galleries import show_collage
from cellprotocols.steps import find_practice, make_practice_step
from cellprotocols.style import BLUE, INK, MUTED, choose_class_colours, house_style
from cellprotocols.viz import show_image

MODEL, SIZE, NOISE, GREYS = "measured", 64, 2.5, (78, 215)
COLOURS = choose_class_colours(STATES)


def click_cells(seed, per_state=12, frames=5):
    "Cells of every state in one practice movie, each clicked in a few frames: their patches, and one row per click."
    movie, rng = make_movie(40, seed=seed, noise=NOISE), np.random.default_rng(seed)
    cells = movie.cells.assign(group=[f"{seed}/{t}" for t in movie.cells.track_id])
    cells = cells[(cells[["y", "x"]] >= SIZE // 2).all(axis=1) & (cells[["y", "x"]] < 256 - SIZE // 2).all(axis=1)]
    chosen = [rng.permutation(cells.group[cells.state == s].unique())[:per_state] for s in STATES]
    clicks = pd.concat(
        [cells[(cells.state == s) & cells.group.isin(g)].groupby("group").head(frames) for s, g in zip(STATES, chosen)]
    )
    return clicks, np.concatenate([cut_patches(movie.frames[c.t], [[c.y, c.x]], SIZE) for c in clicks.itertuples()])


def judge(cells, fold):
    "Macro-F1 with its interval, every cell predicted by a model trained on the other folds."
    logits = np.empty((len(cells.y), len(STATES)))
    for k in np.unique(fold):
        fitted, _ = train_recipe(MODEL, cells, np.flatnonzero(fold != k))
        logits[fold == k] = fitted.judge(torch.from_numpy(cells.features[fold == k])).numpy()
    scores = score_table(np.asarray(STATES)[cells.y], to_prob(logits), STATES, cells.groups)
    return scores[scores.metric == "macro_f1"].iloc[0]


def name_nuclei(model, seed=16, size=(224, 224), n_frames=30):
    "The frame with the most states of a movie never seen: the image, its label image, the predicted state of each label."
    movie = make_movie(n_frames, size, seed=seed, division_rate=8.0, noise=NOISE)
    t = movie.cells[movie.cells.state != STATES[0]].groupby("t").state.agg(lambda s: (s.nunique(), len(s))).idxmax()
    labels = find_nuclei(movie.frames[t], 10 / movie.px_um)
    found = find_centroids(labels)
    patches = cut_patches(movie.frames[t], found[["y", "x"]].to_numpy(), SIZE)
    prob, _ = next(predict_patches(model, [(patches, None)], device="cpu"))
    return movie.frames[t], labels, dict(zip(found.label, np.asarray(STATES)[prob.argmax(1)])), movie.px_um


def draw_movie(ax, img, labels, states, px_um):
    show_image(img, ax=ax, px_um=px_um, limits=GREYS)
    rare_last = sorted(states, key=lambda i: states[i] != STATES[0])
    for i in rare_last:
        y, x = max(find_contours(np.pad(gaussian(labels == i, 1.0), 1), 0.5), key=len).T - 1
        ax.plot(x, y, color=COLOURS[states[i]], lw=1.5 if states[i] == STATES[0] else 2.4, solid_joinstyle="round")
    ax.set(xlim=(-0.5, img.shape[1] - 0.5), ylim=(img.shape[0] - 0.5, -0.5))


def draw_scores(ax, honest, flattering):
    "The number to believe, large; the one that flatters beside it, hollow."
    rows = [
        (1, honest, BLUE, BLUE, INK, "held-out cells", "no click of a cell that is tested\nwas ever seen in training"),
        (
            0,
            flattering,
            "white",
            MUTED,
            MUTED,
            "random split",
            "neighbouring frames of one cell on\nboth sides: optimistic",
        ),
    ]
    for y, r, face, edge, ink, name, why in rows:
        ax.plot([r.low, r.high], [y, y], color=edge, lw=5 if y else 2, solid_capstyle="butt", alpha=0.45 if y else 0.8)
        ax.plot(r.value, y, "o", ms=13 if y else 9, mfc=face, mec=edge, mew=1.6)
        ax.text(
            r.value,
            y + (0.17 if y else 0.13),
            f"{r.value:.2f}",
            ha="center",
            fontsize=17 if y else 11,
            weight="bold" if y else "normal",
            color=ink,
        )
        ax.text(
            0, y - 0.16, name, transform=ax.get_yaxis_transform(), fontsize=10.5, weight="bold", color=ink, va="top"
        )
        ax.text(
            0, y - 0.29, why, transform=ax.get_yaxis_transform(), fontsize=8.8, color=MUTED, va="top", linespacing=1.3
        )
    low = np.floor(20 * min(honest.low, flattering.low) - 0.3) / 20
    ax.set(ylim=(-0.62, 1.42), xlim=(low, 1.005), yticks=[])
    ax.set_xlabel("macro-F1 with its 95 % interval", fontsize=9)
    ax.spines[["left", "top", "right"]].set_visible(False)


def write_png(fig, path, colours=88, dpi=108):
    "A small PNG: one palette for the picture."
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi)
    plt.close(fig)
    Image.open(buffer).convert("RGB").quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def draw_chromatin(path):
    "What the chromatin protocol gives, in one picture."
    clicks, patches = map(list, zip(*(click_cells(seed) for seed in range(4))))
    clicks, patches = pd.concat(clicks, ignore_index=True), np.concatenate(patches)
    valid = np.ones(patches.shape[:3], bool)
    y = clicks.state.map(STATES.index).to_numpy()
    cells = Cells(patches, valid, y, clicks.group.to_numpy(), len(STATES), measure_all(patches, valid))
    honest = judge(cells, make_folds(y, cells.groups, 5))
    flattering = judge(cells, make_random_folds(y, cells.groups, 5, optimistic=True))
    model, _ = train_recipe(MODEL, cells, np.arange(len(y)))
    with house_style():
        fig = plt.figure(figsize=(11.2, 4.55))
        left, middle, right = (
            fig.add_axes(box)
            for box in ([0.012, 0.09, 0.327, 0.8], [0.448, 0.09, 0.327, 0.8], [0.795, 0.18, 0.195, 0.70])
        )
        draw_movie(left, *name_nuclei(model))
        show_collage(patches, clicks.state, STATES, ax=middle, n=5, seed=4, px_um=0.333, title="", limits=GREYS)
        left.set_anchor("NW")
        middle.set_anchor("NW")
        draw_scores(right, honest, flattering)
        for x, text in (
            (0.012, "Every nucleus gets a state"),
            (0.352, "The cells it learned from"),
            (0.795, "How good it is"),
        ):
            fig.text(x, 0.93, text, fontsize=13, weight="bold", color=INK)
        fig.text(
            0.012,
            0.025,
            f"Practice (synthetic) data: {len(y):,} clicks on {clicks.group.nunique()} made-up nuclei; "
            "the frame on the left is from a movie the model has not seen. "
            "Your numbers will differ.",
            fontsize=8.8,
            color=MUTED,
        )
        write_png(fig, path)


def tint(picture, mask):
    "Orange over what is masked."
    orange = np.array([230, 120, 0])
    return np.where(mask[..., None], 0.4 * picture + 0.6 * orange, picture).astype(np.uint8)


def draw_artifacts(path):
    "What the artifacts protocol gives, in one picture: a field of a well that nothing was learned from, its mask, the field without."
    with TemporaryDirectory() as d:
        made = read_dataset(make_practice_step("artifacts", "infer", Path(d) / "x"))
        root = find_practice(Path(d) / "x") / "data"
        rows = made.items[~made.items.part.isin(["train", "valid"])]
        file = rows.sort_values("area", ascending=False).file.iloc[len(rows) // 4]
        field, filled = read_image(root / file), read_image(made.path / "filled" / name_mask(file))
        mask = read_mask(made.path / "masks" / name_mask(file))
    pictures = {
        "A field with dirt": make_overlay(field, np.zeros_like(mask)),
        "Dirt, found by the model": tint(make_overlay(field, mask), mask),
        "The same without the dirt": make_overlay(filled, np.zeros_like(mask)),
    }
    with house_style():
        fig, axes = plt.subplots(1, 3, figsize=(11.2, 4.2), layout="constrained")
        for ax, (title, picture) in zip(axes, pictures.items()):
            ax.imshow(picture)
            ax.axis("off")
            ax.set_title(title, loc="left", fontsize=12, weight="bold", color=INK)
        text = "Practice (synthetic) data; the field is of a well that the model has not seen. Your images will differ."
        fig.supxlabel(text, fontsize=8.8, color=MUTED, x=0.01, ha="left")
        write_png(fig, path)


if __name__ == "__main__":
    torch.set_num_threads(2)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    draw_chromatin(folder / "chromatin.png")
    draw_artifacts(folder / "artifacts.png")
