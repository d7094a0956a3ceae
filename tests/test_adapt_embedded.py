"A model on embeddings is adapted like one on measurements: it keeps its network and reads what it read before."

from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression

from cellprotocols.adapt import make_learned, measure_numbers, train_adapted
from cellprotocols.classify import predict_patches
from cellprotocols.embedded import EmbeddedClassifier, make_view
from cellprotocols.measured import train_learners
from cellprotocols.recipes import Cells
from cellprotocols.synth import make_patches


def test_an_adapted_model_keeps_its_network():
    patches, labels, groups = make_patches(n=6, size=32, seed=2)
    y, valid = np.unique(labels, return_inverse=True)[1], np.ones(patches.shape[:3], bool)
    view, network = make_view("efficientnet-lite0", ["gray"], 32)
    old = EmbeddedClassifier(view, network.digest, False, n_features=304, n_classes=5, n_linear=1)
    x = measure_numbers(old, patches, valid)
    assert x.shape == (len(y), 304)
    make = partial(EmbeddedClassifier, view=view, weights=network.digest, measured=False)
    old = train_learners(x, y, 5, [LogisticRegression(max_iter=200)], n_trees=5, make=make).eval()
    cells = Cells(patches, valid, y, np.asarray(groups), 5, x)
    new, _ = train_adapted(cells, np.arange(len(y)), model=old, learned=make_learned(x, y, groups))
    assert isinstance(new, EmbeddedClassifier) and new.config["weights"] == network.digest
    prob = next(predict_patches(new, [(patches, valid)], device="cpu"))[0]
    assert (prob.argmax(1) == y).mean() > 0.8
