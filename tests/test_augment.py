"Augmentation: every patch is varied, nothing is varied that normalisation takes back, and no label can leak into it (spec section 6: T1, T2, T3, T9)."

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols.augment import augment, cut_edge, move, relight, spin, turn
from cellprotocols.patches import normalise

ALL = [turn, move, cut_edge, relight, augment]


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=8, c=2, s=16, seed=0):
    return torch.randn(n, c, s, s, generator=gen(seed))


def standard(x):
    return (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("f", ALL, ids=lambda f: f.__name__)
@given(n=st.integers(1, 9), c=st.integers(1, 4), s=st.integers(4, 33), seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_shape_type_and_values_stay_sound(f, n, c, s, seed):
    x = noise(n, c, s, seed)
    before = x.clone()
    y = f(x, gen(seed))
    assert y.shape == x.shape and y.dtype == x.dtype and torch.isfinite(y).all()
    assert torch.equal(x, before), "the caller's patches were changed"
    assert torch.equal(y, f(x, gen(seed))), "the same seed must give the same"


@pytest.mark.parametrize("f", ALL, ids=lambda f: f.__name__)
def test_every_patch_and_every_call_is_drawn_afresh(f):
    x = noise(1, 1, 32).expand(200, -1, -1, -1).contiguous()
    g = gen()
    y, z = f(x, g), f(x, g)
    distinct = len({p.numpy().tobytes() for p in y})
    assert distinct >= (7 if f is turn else 6), f"only {distinct} different results in 200 patches"
    assert not torch.equal(y, z)


@pytest.mark.parametrize("f", ALL, ids=lambda f: f.__name__)
def test_a_patch_never_takes_pixels_of_another(f):
    "Labels stay true only if each patch is made from itself: constant patches keep their order."
    x = (3.0 ** torch.arange(12.0))[:, None, None, None].expand(-1, 1, 16, 16).contiguous()
    assert (f(x, gen(3)).amax((1, 2, 3)).diff() > 0).all()


def test_T3_all_eight_turns_occur_and_no_other():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    eight = {torch.rot90(f, k, (2, 3)).contiguous().numpy().tobytes() for k in range(4) for f in (x, x.flip(3))}
    found = [p[None].contiguous().numpy().tobytes() for p in turn(x.expand(800, -1, -1, -1).contiguous(), gen())]
    assert set(found) == eight
    counts = np.unique(found, return_counts=True)[1]
    assert counts.min() > 60 and counts.max() < 140, "each of the eight about a hundred times in 800"


def test_turn_refuses_oblong_patches():
    with pytest.raises(ValueError, match="square"):
        turn(torch.zeros(2, 1, 8, 9), gen())


def test_T3_move_covers_all_angles_and_keeps_the_cell_inside():
    y, x = torch.meshgrid(torch.arange(65.0) - 32, torch.arange(65.0) - 32, indexing="ij")
    spot = torch.exp(-((y + 12) ** 2 + x**2) / 8)[None, None].expand(600, -1, -1, -1).contiguous()
    moved = move(spot, gen(), scale=0.0, shift=0.0)
    at = moved.flatten(1).argmax(1)
    angle = torch.atan2((at % 65 - 32).float(), -(at // 65 - 32).float()) * 180 / math.pi
    assert np.histogram(angle, 12, (-180, 180))[0].min() > 20, "every angle occurs"
    far = ((at % 65 - 32) ** 2 + (at // 65 - 32) ** 2).float().sqrt()
    assert (far - 12).abs().max() < 2, "turning keeps the distance from the middle"
    still = move(spot, gen(), degrees=0.0, scale=0.0, shift=0.0)
    assert torch.allclose(still, spot, atol=1e-5), "nothing asked for, nothing done"
    shifted = move(spot, gen(), degrees=0.0, scale=0.0, shift=0.06).flatten(1).argmax(1)
    dy, dx = (shifted // 65 - 20).abs().max(), (shifted % 65 - 32).abs().max()
    assert 3 <= dy <= 4 and 3 <= dx <= 4, "up to 6 % of 65 px"


def test_scale_zero_keeps_the_size():
    "Where size tells the classes apart it must be possible to keep it."
    disc = (
        ((torch.arange(64)[:, None] - 31.5) ** 2 + (torch.arange(64) - 31.5) ** 2 < 15**2)
        .float()[None, None]
        .expand(50, -1, -1, -1)
        .contiguous()
    )
    area = disc[0].sum()
    kept, varied = (move(disc, gen(), scale=s, shift=0.0).sum((1, 2, 3)) / area for s in (0.0, 0.1))
    assert (kept - 1).abs().max() < 0.02
    assert varied.min() < 0.87 and varied.max() > 1.13


def cuts(x, y):
    "(side, width) of what `cut_edge` changed, for patches that were cut on one side."
    found = []
    for a, b in zip(x[:, 0], y[:, 0]):
        d = a != b
        if not d.any():
            continue
        r, c = torch.nonzero(d.any(1))[:, 0], torch.nonzero(d.any(0))[:, 0]
        if len(r) == 64 and len(c) < 64:
            found.append(("left" if c.min() == 0 else "right", len(c)))
        if len(c) == 64 and len(r) < 64:
            found.append(("top" if r.min() == 0 else "bottom", len(r)))
    return found


def test_T2_cuts_of_many_widths_on_all_four_sides():
    x = torch.rand(400, 1, 64, 64, generator=gen(5))
    y = cut_edge(x, gen(), p=1.0)
    found = cuts(x, y)
    assert {s for s, _ in found} == {"left", "right", "top", "bottom"}
    assert len({w for _, w in found}) > 25, "the published width was frozen at one value"
    assert max(w for _, w in found) <= 32
    share = (cut_edge(x, gen(1), p=0.1) != x).flatten(1).any(1).float().mean()
    assert 0.05 < share < 0.16


def test_T9_a_cut_edge_mirrors_and_never_blackens():
    "Zeros at the border were a sign of the class in the published data; the mirror holds only levels of the patch."
    x = 10 + torch.rand(50, 1, 32, 32, generator=gen())
    y = cut_edge(x, gen(), p=1.0)
    for a, b in zip(x, y):
        assert set(b.flatten().tolist()) <= set(a.flatten().tolist())


def test_two_sides_are_cut_in_a_quarter():
    x = torch.rand(2000, 1, 32, 32, generator=gen(2))
    d = (cut_edge(x, gen(), p=1.0) != x)[:, 0]
    both = d.any(1).all(1) & d.any(2).all(1)
    assert 0.2 < both.float().mean() < 0.3
    assert not d.flatten(1).all(1).any(), "something of the cell is always left"


@given(a=st.floats(0.3, 3.0), b=st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_T1_G9_affine_changes_before_standardisation_do_nothing(a, b):
    "Why brightness and contrast are varied after the normalisation here: before it they cancel."
    x = np.random.default_rng(0).normal(100, 20, (3, 16, 16, 1))
    assert np.abs(normalise(x) - normalise(a * x + b)).max() < 1e-4


def test_T1_relight_is_not_undone_by_standardisation():
    x = standard(noise(50, 1, 32))
    for kw in (dict(offset=0.0, noise=0.0), dict(gain=0.0, noise=0.0)):
        assert (relight(x, gen(), **kw) - x).abs().mean() > 0.02
    assert (standard(relight(x, gen())) - x).abs().mean() > 0.01
    assert torch.allclose(relight(x, gen(), 0.0, 0.0, 0.0), x)


def test_channels_are_relit_together_and_a_little_apart():
    x = torch.ones(400, 3, 4, 4)
    y = relight(x, gen(), gain=0.0, offset=0.2, noise=0.0)[..., 0, 0] - 1
    r = np.corrcoef(y.T)
    assert (r[np.triu_indices(3, 1)] > 0.5).all() and (r[np.triu_indices(3, 1)] < 0.99).all()
    assert y.abs().max() <= 0.3 + 1e-6


def test_spin_turns_each_patch_by_its_own_number():
    x = noise(5)
    y = spin(x, torch.tensor([0, 1, 2, 3, 4]))
    for k in range(5):
        assert torch.equal(y[k], torch.rot90(x[k], k, (1, 2)))
