"""Embeddings: independent of how they are cut into pieces, of brightness and of what was filled in."""

import numpy as np
import pytest

from cellprotocols.backbones import make_backbone
from cellprotocols.embed import EmbedError, check_embedding, embed_patches
from cellprotocols.patches import normalise


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("resnet10t", 2, pretrained=False, size=64)


def noise(n, size=20, c=2, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (n, size, size, c)).astype(dtype)


def test_pieces_do_not_matter(backbone):
    patches = noise(11)
    whole = next(embed_patches(backbone, [(patches, None)], "cpu"))
    parts = list(
        embed_patches(
            backbone, [(patches[:4], None), (patches[4:5], np.ones((1, 20, 20), bool)), (patches[5:], None)], "cpu"
        )
    )
    assert [len(p) for p in parts] == [4, 1, 6] and whole.dtype == np.float32
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)


def test_brightness_and_padding_do_not_matter(backbone):
    patches, valid = noise(4), np.ones((4, 20, 20), bool)
    valid[:, :, :5] = False
    bright = patches.astype(np.uint16) * 100 + 7
    other = patches.copy()
    other[:, :, :5] = 0
    a, b = (next(embed_patches(backbone, [(p, None)], "cpu")) for p in (patches, bright))
    np.testing.assert_allclose(a, b, atol=2e-3)
    inside = lambda p: normalise(p, valid)[valid]
    np.testing.assert_array_equal(inside(patches), inside(other))  # what was filled in has no say in the scale


def test_what_is_no_embedding():
    with pytest.raises(EmbedError, match=r"shape \(6,\)"):
        check_embedding(np.ones(6))
    with pytest.raises(EmbedError, match="row 2"):
        check_embedding(np.r_[np.ones((2, 3)), [[np.inf, 0, 0]]])
    with pytest.raises(EmbedError, match="numbers"):
        check_embedding([["a"]])
