"losses: rare classes weigh more, and cross-entropy is what torch says it is."

import numpy as np
import torch
from hypothesis import given, settings as hyp, strategies as st
from torch import nn

from cellprotocols.losses import ClassLoss, make_class_weights


@given(st.lists(st.integers(0, 6), min_size=2, max_size=200), st.sampled_from(["effective", "balanced"]))
@hyp(max_examples=60, deadline=None)
def test_class_weights_average_to_one_and_favour_the_rare(y, how):
    y = np.array(y)
    w = make_class_weights(y, 7, how)
    counts = np.bincount(y, minlength=7)
    assert abs(w[y].mean() - 1) < 1e-4 and (w[counts == 0] == 0).all()
    order = np.argsort(counts[counts > 0])
    assert (np.diff(w[counts > 0][order]) <= 1e-6).all()


def test_loss_agrees_with_torch():
    torch.manual_seed(0)
    z, y, w = torch.randn(50, 4), torch.arange(50) % 4, torch.tensor([1.0, 2, 0.5, 0.5])
    torch.testing.assert_close(ClassLoss(w.numpy())(z, y), nn.functional.cross_entropy(z, y, w, reduction="sum") / 50)
    torch.testing.assert_close(ClassLoss(None, 0.2)(z, y), nn.functional.cross_entropy(z, y, label_smoothing=0.2))
    each = ClassLoss(w.numpy(), 0.1, "none")(z, y)
    torch.testing.assert_close(ClassLoss(w.numpy(), 0.1)(z, y), each.mean())
    torch.testing.assert_close(ClassLoss(w.numpy(), 0.1, "sum")(z, y), each.sum())
    soft = torch.rand(50, 4).softmax(1)
    torch.testing.assert_close(ClassLoss()(z, soft), nn.functional.cross_entropy(z, soft))
