"Classifiers: patches of any size and channels, timm's networks, networks cut at a stage."

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from cellprotocols.backbones import BackboneError
from cellprotocols.classify import POOLS, CellNet, ClassifyError, NetClassifier, StageClassifier, TimmNet


def test_T8_patches_of_any_size_and_any_channels_can_be_classified():
    for size in (9, 32, 64, 81):
        for c in (1, 2, 4):
            x = torch.rand(2, c, size, size)
            assert NetClassifier("cell", c, 3, size).eval()(x).shape == (2, 3)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 17])
def test_compact_network_of_tiny_patches(size):
    assert CellNet(1, 2, size).eval()(torch.rand(3, 1, size, size)).shape == (3, 2)


def test_timm_network_that_is_not_there():
    with pytest.raises(BackboneError, match="resnet"):
        TimmNet("resnet_of_my_own", 1, 2)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        pytest.param("convnext_atto", marks=pytest.mark.slow),
        pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow),
    ],
)
def test_timm_networks_embed_and_answer_alike(name):
    size = 224 if "vit" in name else 64
    net = TimmNet(name, 2, 3).eval()
    x = torch.rand(2, 2, size, size)
    with torch.no_grad():
        assert torch.allclose(net(x), net.head(net.embed(x)), atol=1e-5)


def test_the_head_is_pooling_then_a_linear_layer():
    model, x = StageClassifier("resnet10t", 1, 3).eval(), torch.rand(2, 1, 40, 48)
    with torch.inference_mode():
        logits, mean = model.answer(x)
        assert torch.allclose(logits, mean @ model.head.weight[:, :, 0, 0].T + model.head.bias, atol=1e-5)


@given(st.floats(-5, 5), st.integers(2, 12), st.integers(2, 12))
@settings(max_examples=20, deadline=None)
def test_the_soft_maximum_lies_between_mean_and_maximum(level, h, w):
    z = torch.from_numpy(np.random.default_rng(h * w).standard_normal((1, 1, h, w))) + level
    mean, soft, most = (POOLS[k](z) for k in ("mean", "soft", "max"))
    assert mean <= soft + 1e-9 and soft <= most + 1e-9
    assert torch.allclose(POOLS["soft"](torch.full((1, 1, h, w), level)), torch.tensor(level), atol=1e-5)


def test_a_stage_that_is_not_there():
    with pytest.raises(BackboneError, match=r"stride \[4, 8, 16, 32\]"):
        StageClassifier("convnext_atto", stride=2)
    with pytest.raises(ClassifyError, match="mean, max, soft"):
        StageClassifier("resnet10t", pool="median")
    with pytest.raises(BackboneError, match="no network 'resnet1'"):
        StageClassifier("resnet1")
