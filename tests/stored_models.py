"""Small models of every protocol, kept as plain files so that the next version can show that it opens them.

python tests/stored_models.py VERSION      writes tests/stored/VERSION; what is there already stays as it is.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save
from sklearn.linear_model import LogisticRegression

from cellprotocols.boxscorer import TwoHead
from cellprotocols.bundle import write_bundle
from cellprotocols.classify import StageClassifier
from cellprotocols.cultures import Encoder, train_cultures
from cellprotocols.domain import to_held, train_domain
from cellprotocols.files import write_whole
from cellprotocols.locationmodel import NAMES, write_location_model
from cellprotocols.measured import measure_all, train_learners
from cellprotocols.multilabel import train_multilabel
from cellprotocols.synth import make_patches
from cellprotocols.unet import UNet

STORED = Path(__file__).parent / "stored"


class Folder:
    "What has `write_file`."

    def __init__(self, path):
        self.path = path

    def write_file(self, name, data):
        write_whole(self.path / name, data)


def to_input(patches):
    return patches[:2].transpose(0, 3, 1, 2).astype(np.float32)


def write_chromatin(folder):
    patches, labels, _ = make_patches(6, size=32)
    classes, y = np.unique(labels, return_inverse=True)
    x = measure_all(patches, np.ones(patches.shape[:3], bool))
    model = train_learners(x, y, len(classes), [LogisticRegression()], n_trees=20)
    about = dict(classes=list(classes), channels=["gray"], example=to_input(patches), px_um=0.33)
    write_bundle(folder / "bundle", model, "MeasuredClassifier", model.config, **about)


def write_cell_lines(folder):
    patches, labels, _ = make_patches(6, size=32)
    y = (np.array(labels) == labels[0]).astype(int)
    model = train_cultures(Encoder(True).embed(patches), y, 2, Encoder(True))
    about = dict(classes=["A549", "HeLa"], channels=["gray"], example=to_input(patches), thresholds=dict(unknown=0.5))
    write_bundle(folder / "bundle", model, "CultureClassifier", model.config, **about)


def write_strings(folder):
    torch.manual_seed(0)
    model, x = TwoHead(12, (8, 4)).eval(), torch.randn(5, 12)
    about = dict(
        scorer=["TwoHead", model.config], network="efficientnet-lite0", weights="", threshold=0.4, exponent=0.5
    )
    Folder(folder).write_file("model.json", json.dumps(about))
    Folder(folder).write_file("scorer.safetensors", save(model.state_dict()))
    with torch.inference_mode():
        save_file(dict(input=x.numpy(), output=model(x).numpy()), folder / "answer.safetensors")


def write_organelles(folder):
    rng, k = np.random.default_rng(0), len(NAMES)
    x, q = rng.normal(size=(80, 16)).astype(np.float32), rng.random((80, 6)).astype(np.float32)
    targets, images = np.eye(k, dtype=int)[np.arange(80) // 2 % k], np.arange(80) // 2
    model = train_multilabel(x, q, targets, images, components=8, steps=20)
    columns = model.columns.to_columns(x, q)
    domain = train_domain(columns, targets.argmax(1))
    domain = to_held(domain, rng.random(80), np.zeros(80), images % 8)
    about = dict(network="efficientnet-lite0", weights="", full=1, wide=1, numbers=[str(n) for n in range(6)])
    pooled = np.ones(k), np.zeros(k), np.full(k, 9)
    write_location_model(Folder(folder), model, domain, np.full(k, 0.5), pooled, about)
    save_file(dict(x=x[:5], q=q[:5], output=model.score(x[:5], q[:5])), folder / "answer.safetensors")


def write_artifacts(folder):
    torch.manual_seed(0)
    masker = UNet("test_resnet", 1, 1, (2, 4), 2)
    clean = StageClassifier("test_resnet", 1, 2, stride=4)
    x = np.random.default_rng(0).random((1, 1, 32, 32)).astype(np.float32)
    for name, model, classes in (("masker", masker, ["artifact"]), ("classifier", clean, ["clean", "artifact"])):
        about = dict(classes=classes, channels=["light"], example=x, px_um=0.65)
        write_bundle(folder / name, model, type(model).__name__, model.config, **about)


WRITERS = dict(
    chromatin=write_chromatin,
    cell_lines=write_cell_lines,
    strings=write_strings,
    organelles=write_organelles,
    artifacts=write_artifacts,
)


def write_stored(folder):
    for name, write in WRITERS.items():
        if not (folder / name).exists():
            (folder / name).mkdir(parents=True)
            write(folder / name)


if __name__ == "__main__":
    write_stored(STORED / sys.argv[1])
