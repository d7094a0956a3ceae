"What networks are given: tensors of every dtype, one view that keeps brightness, one that keeps form."

import numpy as np
import pytest
import torch

from cellprotocols.inputs import TwoViews, to_images


def test_two_views_keep_brightness_in_one_and_form_in_the_other():
    x = torch.rand(40, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 100 + 50
    views = TwoViews(2).fit(x)
    one = x[:1]
    bright, form = views(one)[:, :2], views(one)[:, 2:]
    assert (views(one + 20)[:, :2] - bright).mean() > 0.2, "brighter stays brighter"
    assert torch.allclose(views(one + 20)[:, 2:], form, atol=1e-4), "the form does not care"
    assert torch.isfinite(views(torch.full((1, 2, 16, 16), 1e9))).all()


def test_what_is_outside_the_field_does_not_change_the_form_of_the_inside():
    x = torch.rand(30, 1, 16, 16) * 100
    views = TwoViews(1).fit(x)
    valid = torch.ones(1, 16, 16, dtype=torch.bool)
    valid[:, :, :6] = False
    a, b = x[:1].clone(), x[:1].clone()
    b[..., :6] = 0
    assert torch.allclose(views(a, valid)[:, 1, :, 6:], views(b, valid)[:, 1, :, 6:], atol=1e-5)


def test_constant_training_images_do_not_divide_by_zero():
    views = TwoViews(1).fit(torch.full((5, 1, 8, 8), 7.0))
    assert (
        torch.isfinite(views(torch.full((2, 1, 8, 8), 7.0))).all()
        and torch.isfinite(views(torch.rand(2, 1, 8, 8) * 1e4)).all()
    )


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float16, np.float32, np.float64, bool, ">u2"]
)
def test_images_of_every_dtype(dtype):
    x = (np.random.default_rng(0).random((3, 8, 8, 2)) * 100).astype(dtype)
    t = to_images(x)
    assert (
        t.shape == (3, 2, 8, 8)
        and t.dtype == torch.float32
        and np.allclose(t.numpy(), np.moveaxis(x.astype(np.float32), 3, 1))
    )


def test_to_images_leaves_the_caller_s_array_alone():
    x = np.ones((2, 8, 8, 1), np.float32)
    x[0, 0, 0] = np.nan
    to_images(x)
    assert np.isnan(x[0, 0, 0, 0]), "NaN in the caller's own array was replaced"
    fixed = np.ones((2, 8, 8, 1), np.float32)
    fixed.flags.writeable = False
    assert to_images(fixed).shape == (2, 1, 8, 8), "a read-only array (memory-mapped, from a buffer) must do"
