"""Names of cell lines in LIVECell's frames, by well: simple baselines, frozen and self-taught networks, pooling, part by part.

python benchmarks/bench_lines.py ../shared/data/cell_lines/livecell [--seconds 20] [--folds 3]

The folder holds images/ and manifest.csv (file, cell_line, well, location, hours, official_split). Every way is tried on the same
folds of wells and on the official split. A network that is trained gets so many seconds on each training set (wall clock), and the
self-taught one never sees the test wells. Prints a table with intervals over wells."""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from skimage.feature import local_binary_pattern
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cellprotocols.backbones import make_backbone
from cellprotocols.calibration import to_prob
from cellprotocols.classify import CellNet
from cellprotocols.culturebags import make_trainer
from cellprotocols.cultures import Encoder, choose_encoder, make_varied
from cellprotocols.cultureset import choose_batch_folds, make_cultures_of, predict_culture_folds, score_cultures
from cellprotocols.dino import train_dino
from cellprotocols.embed import embed_patches
from cellprotocols.framecuts import cut_frame, read_grey
from cellprotocols.inputs import to_standardised


def read_fields(folder):
    "Frames, and what the manifest says of them."
    t = pd.read_csv(folder / "manifest.csv", dtype=str)
    well = t.cell_line + "/" + t.well
    t = t.assign(label=t.cell_line, group=well, batch=t.well, field_id=t.file, sequence=well + "/" + t.location)
    t = t.assign(hours=t.hours.astype(float), confluency=0.5).sort_values(["sequence", "hours"], ignore_index=True)
    return t, [read_grey(folder / f) for f in t.file]


def spread(t, parts):
    "Rows of patches from rows of frames, and the patches."
    return t.loc[np.repeat(t.index, [len(p) for p in parts])].reset_index(drop=True), np.concatenate(parts)


def to_tiles(frame):
    "Two rows of three."
    return np.stack([p for row in np.array_split(frame[:520, :702], 2) for p in np.split(row, 3, 1)])


def measure_simply(tiles):
    "Local binary patterns at 1, 2 and 4 px, grey levels."
    out = []
    for t in tiles:
        codes = [local_binary_pattern(t, 8, r, "uniform").astype(int).ravel() for r in (1, 2, 4)]
        grey = [t.mean(), t.std(), *np.percentile(t, (1, 10, 25, 50, 75, 90, 99))]
        out.append(np.concatenate([*(np.bincount(c, minlength=10) / c.size for c in codes), grey]))
    return np.mean(out, 0)


class Model:
    "What `predict_culture_folds` asks of a model, around a function."

    def __init__(self, judge, pool=None):
        self.judge = judge
        if pool:
            self.pool = pool

    def predict(self, x):
        logits = np.asarray(self.judge(x), np.float32)
        return logits, logits


def train_ridge(c, codes):
    ridge = make_pipeline(StandardScaler(), RidgeClassifier(alpha=c.x.shape[1], class_weight="balanced"))
    ridge.fit(c.x, codes)
    return Model(lambda x: 4 * ridge.decision_function(x))


def train_cnn(patches, seconds):
    "A compact network from scratch, flips and quarter turns, so many seconds; `x` holds rows of `patches`."
    images = torch.from_numpy(to_standardised(patches))

    def train(c, codes):
        torch.manual_seed(0)
        rows, y, start = c.x[:, 0].astype(int), torch.from_numpy(codes), time.time()
        net = CellNet(1, int(codes.max()) + 1, patches.shape[1])
        opt = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.05)
        weight = 1 / torch.bincount(y).float()
        while time.time() - start < seconds:
            some = torch.multinomial(weight[y], 32, replacement=True)
            x = torch.rot90(images[rows[some]], int(torch.randint(4, ())), (2, 3))
            opt.param_groups[0]["lr"] = 2e-3 * (1 - min(0.99, (time.time() - start) / seconds))
            opt.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y[some]).backward()
            opt.step()
        net.eval()

        @torch.inference_mode()
        def judge(x):
            return torch.cat([net(images[i]) for i in torch.from_numpy(x[:, 0].astype(int)).split(128)]).numpy()

        return Model(judge)

    return train


class SelfTaught:
    "DINO on the training wells, once for each training set; `x` holds rows of `patches`."

    def __init__(self, patches, seconds):
        self.patches, self.seconds, self.made = patches, seconds, {}

    def embed(self, rows):
        key = tuple(rows)
        if key not in self.made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                how = dict(preset="compact", minutes=self.seconds / 60, device="cpu")
                network = train_dino(self.patches[rows], **how)[0]
            self.made[key] = np.concatenate(list(embed_patches(network, [(self.patches, None)], "cpu")))
        return self.made[key]

    def train(self, **how):
        def train(c, codes):
            numbers = self.embed(c.x[:, 0].astype(int))
            own = numbers[c.x[:, 0].astype(int)]
            model = make_trainer(Encoder(True), **how)(c._replace(x=own), codes)
            pool = getattr(model, "pool", None)
            of = lambda x: numbers[x[:, 0].astype(int)]
            return Model(lambda x: model.predict(of(x))[0], pool and (lambda x, bag: pool(of(x), bag)))

        return train


def list_ways(t, frames, seconds):
    "{name: (train, cultures)}."
    tiles = [to_tiles(f) for f in frames]
    backbone = make_backbone("efficientnet-lite0", 1, size=234, strides=(8, 16), each=True)
    seen = [next(embed_patches(backbone, [(p[..., None], None)], "cpu")).mean(0) for p in tiles]
    ways = {
        "(a) LBP and grey levels, 6 tiles, ridge": (
            train_ridge,
            make_cultures_of(t, np.stack([*map(measure_simply, tiles)])),
        )
    }
    ways["(b) frozen network, 6 tiles, mean, ridge"] = train_ridge, make_cultures_of(t, np.stack(seen))
    items, patches = spread(t, [cut_frame(f).patches for f in frames])
    own = make_cultures_of(items, np.arange(len(patches))[:, None])
    encoder = choose_encoder()
    frozen = make_cultures_of(items, encoder.embed(patches), encoder.embed(make_varied(patches)))
    ways["default: frozen network, patches, discriminants"] = make_trainer(encoder), frozen
    ways["default without varied patches"] = make_trainer(encoder), frozen._replace(varied=None)
    ways["(f) frozen network, segments, attention"] = make_trainer(encoder, pooling="attention"), frozen
    ways["(c) network from scratch, supervised"] = train_cnn(patches, seconds), own
    dino = SelfTaught(patches, seconds)
    ways["(d) DINO, mean"] = dino.train(), own
    ways["(e) DINO, segments, attention"] = dino.train(pooling="attention"), own
    ways["(f) DINO, attention without segments"] = dino.train(pooling="attention", segments="none"), own
    ways["(f) DINO, max"] = dino.train(pooling="max"), own
    items, old = spread(t, [cut_frame(f, mode="faithful").patches[:10] for f in frames])
    again = SelfTaught(old, seconds)
    how = dict(pooling="attention", segments="faithful")
    ways["(g) published patches, segments, attention; DINO small"] = (
        again.train(**how),
        make_cultures_of(items, np.arange(len(old))[:, None]),
    )
    return ways


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--folds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.time()
    t, frames = read_fields(given.folder)
    classes = sorted(set(t.label))
    print("| way | sequences, folds of wells | wells | macro-F1 | sequences, official split | seconds |")
    print("|---|---|---|---|---|---|")
    for name, (train, c) in list_ways(t, frames, given.seconds).items():
        began, y = time.time(), np.array([classes.index(k) for k in c.sequences.label])
        official = t.drop_duplicates("sequence").set_index("sequence").official_split
        splits = (
            choose_batch_folds(c.sequences, "batches", given.folds),
            np.where(c.sequences.sequence.map(official) == "test", 0, -1),
        )
        said = []
        for fold in splits:
            held, tested = predict_culture_folds(train, c, y, fold), fold >= 0
            scores = score_cultures(c.sequences[tested], to_prob(held.logits[tested]), classes)
            said.append(scores.set_index(["level", "metric"])[["value", "low", "high"]])
        cells = [
            (0, "sequence", "accuracy"),
            (0, "batch", "accuracy"),
            (0, "sequence", "macro_f1"),
            (1, "sequence", "accuracy"),
        ]
        row = ["{:.2f} [{:.2f}, {:.2f}]".format(*said[k].loc[(level, metric)]) for k, level, metric in cells]
        print("|", " | ".join([name, *row, f"{time.time() - began:.0f}"]), "|", flush=True)
    print(f"\n{time.time() - start:.0f} s in all; {given.seconds:g} s for each network that is trained")


if __name__ == "__main__":
    main()
