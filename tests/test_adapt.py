"A model of one source learns another one from a few labels; the old model is never touched."

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch

from cellprotocols.adapt import AdaptError, make_learned, measure_numbers, read_learned, to_refitted, train_adapted
from cellprotocols.bundle import read_bundle, write_bundle
from cellprotocols.chromatin import infer, train
from cellprotocols.classify import NetClassifier
from cellprotocols.recipes import Cells, train_logistic
from cellprotocols.synth import make_patches
from test_domain import make_source


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    "A model of one source, and cells of other groups under another camera."
    tmp = tmp_path_factory.mktemp("adapt")
    patches, labels, groups = make_patches(20, size=32, seed=2, difficulty=0.7)
    first = np.isin(groups, np.unique(groups)[::2])
    train.run(
        make_source(tmp / "22", patches[first], labels[first], groups[first]),
        str(tmp / "24"),
        model="probe",
        folds=3,
        random_split=False,
    )
    camera = np.clip(255 * (patches[~first] / 255.0) ** 1.8 + 30, 0, 255).astype(np.uint8)
    return tmp, camera, labels[~first], groups[~first]


@pytest.fixture(scope="module")
def adapted(sources):
    tmp, camera, labels, groups = sources
    before = digests(tmp / "24" / "bundle")
    new = make_source(tmp / "new_22", camera, labels, groups)
    made = train.run(new, str(tmp / "new_24"), adapt=str(tmp / "24"), folds=3, random_split=False)
    return made, before


def test_adapting_gains_and_says_so_with_intervals(adapted):
    made, _ = adapted
    gain = pd.read_csv(made.path / "gain.csv").set_index("what")
    assert gain.value["gain"] > 0.05 and gain.value["after"] > gain.value["before"]
    assert (gain.low <= gain.value).all() and (gain.value <= gain.high).all()
    assert set(pd.read_csv(made.path / "scores.csv").model) == {"adapted", "before", "measured"}


def test_the_old_bundle_is_never_touched_and_the_new_one_stands_alone(sources, adapted, tmp_path):
    tmp, camera, labels, groups = sources
    made, before = adapted
    assert digests(tmp / "24" / "bundle") == before
    bundle = read_bundle(made.path / "bundle")
    assert bundle.data["adapted_from"]["cells"] and set(bundle.classes) == set(labels)
    again = read_learned(made.path)[1]
    assert len(again["label"]) > len(camera)  # the old cells and the new ones: it can be adapted again
    t = infer.run(make_source(tmp_path / "22", camera, labels, groups), str(tmp_path / "25"), str(made.path)).items
    assert t.unlike.mean() < 0.1 and (t.predicted == t.label).mean() > 0.8


def test_a_class_that_the_old_model_lacks_is_learned(sources, tmp_path):
    tmp, camera, labels, groups = sources
    bundle, learned = read_learned(tmp / "24")
    k, numbers = len(bundle.classes), measure_numbers(bundle.model, camera, np.ones(camera.shape[:3], bool))
    y = np.where(np.arange(len(camera)) % 2, k, [bundle.classes.index(l) for l in labels])
    numbers[y == k] += 50 * numbers.std(0)
    cells = Cells(None, None, y, groups, k + 1, numbers)
    model = train_adapted(cells, np.arange(0, len(y), 2), model=bundle.model, learned=learned)[0]
    assert model.judge(torch.from_numpy(numbers)).shape == (len(y), k + 1)
    model = train_adapted(cells, np.arange(len(y)), model=bundle.model, learned=learned)[0]
    said = model.judge(torch.from_numpy(numbers)).argmax(1).numpy()
    assert (said[y == k] == k).mean() > 0.9


def test_the_network_of_a_model_stays_as_it_was(sources, tmp_path):
    "A network keeps its weights; only what turns its embedding into classes is new, and it is shared as a bundle."
    tmp, camera, labels, groups = sources
    net = NetClassifier("cell", 1, 3, 32).eval()
    valid, rng = np.ones(camera.shape[:3], bool), np.random.default_rng(0)
    numbers, y = measure_numbers(net, camera, valid), rng.integers(0, 3, len(camera))
    heads = train_logistic(Cells(None, None, y, groups, 3, numbers), np.arange(len(y)))[0]
    model, x = to_refitted(net, heads), torch.zeros(2, 1, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), model.base.state_dict().values()))
    folder = write_bundle(
        tmp_path / "b",
        model,
        "Refitted",
        model.config,
        list("abc"),
        ["gray"],
        x,
        arrays=dict(learned=make_learned(numbers, y, groups)),
    )
    assert torch.allclose(read_bundle(folder).model(x), model(x), atol=1e-4)
    assert np.allclose(measure_numbers(model, camera[:5], valid[:5]), numbers[:5], atol=1e-4)


def test_a_model_without_its_cells_says_what_to_do(sources, tmp_path):
    tmp, *_ = sources
    b = read_bundle(tmp / "24" / "bundle")
    how = (type(b.model).__name__, b.model.config, b.classes, b.channels, np.zeros((1, 1, 32, 32), np.float32))
    write_bundle(tmp_path / "old", b.model, *how)
    with pytest.raises(AdaptError, match="train it again on its old labels"):
        read_learned(tmp_path / "old")


def test_what_is_kept_is_small_and_balanced():
    x, y = np.zeros((9000, 10)), np.repeat([0, 1, 2], [8000, 900, 100])
    kept = make_learned(x, y, np.arange(9000))
    assert np.bincount(kept["label"]).tolist() == [1000, 900, 100] and kept["numbers"].dtype == np.float32
