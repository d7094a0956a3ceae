"""A network that teaches itself: it learns without labels, and the same for the same seed."""

import numpy as np
import pytest
import torch

from cellprotocols.embed import EmbedError, embed_patches
from cellprotocols.maps import score_knn_purity
from cellprotocols.synth import make_patches
from cellprotocols.vicreg import train_encoder


@pytest.mark.slow
def test_encoder_learns_without_labels():
    patches, labels, groups = make_patches(n=40, seed=1, size=32, difficulty=0.2)
    vectors = [
        np.concatenate(list(embed_patches(train_encoder(patches, epochs=e), [(patches, None)]))) for e in (1, 20)
    ]
    before, after = (score_knn_purity(v, labels, groups).value for v in vectors)
    assert after > before + 0.03 and after > 0.45, (before, after)


@pytest.mark.slow
def test_encoder_is_the_same_for_the_same_seed():
    patches = make_patches(n=8, seed=1)[0]
    a, b = (next(embed_patches(train_encoder(patches, epochs=2, seed=5), [(patches, None)])) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_few_patches_are_refused():
    with pytest.raises(EmbedError, match="at least 16"):
        train_encoder(make_patches(n=1)[0])


def test_the_global_generators_stay_as_they_are():
    patches = make_patches(n=4, size=16, seed=1)[0]
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    train_encoder(patches, epochs=0)
    assert torch.equal(torch.rand(2), wanted)
