"DINO: crops against torchvision, the loss against a loop over pairs, steps in parts, collapse, going on after a stop."

import numpy as np
import pytest
import torch
from cellprotocols.dino import COLUMNS, Dino, choose_prototypes, dino_loss, find_trouble, make_dino, train_dino
from cellprotocols.embed import EmbedError, embed_patches
from cellprotocols.maps import score_knn_purity
from cellprotocols.multicrop import CropPlan, cut_crops, draw_crops, make_views
from cellprotocols.synth import make_patches
from cellprotocols.train import TrainError
from torch import nn


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [32, 64, 112])
def test_crops_are_those_of_torchvision(size):
    from torchvision.transforms.functional import InterpolationMode, resized_crop

    y, x = torch.meshgrid(torch.linspace(0, 1, 112), torch.linspace(0, 1, 112), indexing="ij")
    ramp = (0.3 * y + 0.7 * x)[None, None]
    for top, left, h, w in ((10, 20, 60, 80), (0, 0, 112, 112), (40, 60, 40, 50)):
        box = torch.tensor([[(top + h / 2) / 112, (left + w / 2) / 112, h / 112, w / 112]])
        ours = cut_crops(ramp, box, size)
        theirs = resized_crop(ramp, top, left, h, w, [size, size], InterpolationMode.BILINEAR, antialias=True)
        inside = (..., slice(3, -3), slice(3, -3))
        assert (ours - theirs)[inside].abs().max() < 2 / 255


def test_boxes_are_as_asked():
    y, x, h, w = draw_crops(3000, (0.05, 0.5), generator()).T
    assert 0.045 < (h * w).min() and (h * w).max() < 0.51
    assert (w / h).min() > 0.74 and (w / h).max() < 1.34
    assert min((y - h / 2).min(), (x - w / 2).min()) > -1e-6
    assert max((y + h / 2).max(), (x + w / 2).max()) < 1 + 1e-6


def test_views_keep_the_scale_where_size_tells_classes_apart():
    disc = (torch.meshgrid(torch.arange(64) - 32, torch.arange(64) - 32, indexing="ij")[0] ** 2)[None, None].float()
    plan = CropPlan(64, (0.3, 1.0), 2, 32, light=0, scale=False)
    big, _ = make_views(disc, generator(), plan)
    assert torch.allclose(big.sort(-1).values.sum(), 2 * disc.sum(), rtol=0.02)  # only turned


def test_loss_is_the_mean_over_pairs():
    s, t = torch.randn(10, 4, 33, generator=generator()), torch.randn(2, 4, 33, generator=generator(1))
    c = torch.randn(33, generator=generator(2))
    total = 0
    for i in range(2):
        for j in range(10):
            if i != j:
                total -= (((t[i] - c) / 0.04).softmax(-1) * (s[j] / 0.1).log_softmax(-1)).sum(-1)
    torch.testing.assert_close(dino_loss(s, t, c), total / 18)


def test_teacher_ends_where_it_is_and_centre_moves_once_a_step():
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    whole, parts = (Dino(net, 4, 16, 32, momentum=0.9) for _ in range(2))
    parts.load_state_dict(whole.state_dict())
    views, local = make_views(torch.randn(8, 1, 32, 32), generator(), CropPlan(16, n_local=2, local_size=8))
    whole(views, local)
    whole.after_step(0.0)
    for k in (slice(0, 4), slice(4, 8)):  # the same eight patches in two parts
        parts(views.view(2, 8, 1, 16, 16)[:, k].flatten(0, 1), local.view(2, 8, 1, 8, 8)[:, k].flatten(0, 1))
    parts.after_step(0.0)
    torch.testing.assert_close(whole.centre.mean, parts.centre.mean)
    assert whole.steps == parts.steps == 1
    teacher = [p.clone() for p in whole.teacher.parameters()]
    with torch.no_grad():
        for p in whole.student.parameters():
            p += 1
    whole.after_step(1.0)
    for a, b in zip(teacher, whole.teacher.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_prototypes_are_frozen_at_first():
    torch.manual_seed(0)
    model = Dino(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()), 4, 16, 32, frozen=0.1)
    views, local = torch.randn(4, 1, 16, 16), torch.randn(4, 1, 8, 8)
    model(views, local).mean().backward()
    model.before_step(0.05)
    assert all(p.grad is None for p in model.student[1].prototypes.parameters())
    model(views, local).mean().backward()
    model.before_step(0.2)
    assert all(p.grad is not None for p in model.student[1].prototypes.parameters())


def test_no_local_views_and_any_channels():
    model = make_dino("compact", 3, 100, out=16, hidden=8)
    views, local = make_views(torch.randn(4, 3, 48, 48), generator(), CropPlan(32, n_local=0))
    assert model(views, local).shape == (4,)
    assert model.eval()(torch.randn(2, 3, 48, 48)).ndim == 2
    with pytest.raises(EmbedError, match="one of compact"):
        make_dino("huge", 1, 100)


@pytest.mark.slow
def test_it_learns_what_neighbours_are_and_says_so():
    patches, labels, groups = make_patches(60, 40, seed=0)
    backbone, _, table = train_dino(
        patches, labels=labels, groups=groups, epochs=12, batch=64, seed=0, device="cpu", patience=None
    )
    assert table["knn"].max() > table["knn"].iloc[0]
    assert table["rank"].iloc[-1] > 3
    x = np.concatenate(list(embed_patches(backbone, [(patches, None)], "cpu")))
    assert score_knn_purity(x, labels, groups).value == pytest.approx(table["knn"].max(), abs=0.02)


def test_collapse_is_named():
    import pandas as pd

    fine = [[0.0, 30.0, 0.4, 3.0, 0.0], [100.0, 25.0, 0.6, 2.0, 1.0]]
    assert find_trouble(pd.DataFrame(fine, columns=COLUMNS), 256) == []
    for column, value, word in (("rank", 1.1, "collapsed"), ("entropy", 0.0, "certain"), ("knn", 0.3, "no more than")):
        table = pd.DataFrame(fine, columns=COLUMNS)
        table.loc[1, column] = value
        assert word in " ".join(find_trouble(table, 256))
    assert choose_prototypes(10) == 128


def test_a_stopped_training_goes_on_to_the_same(tmp_path):
    patches, _, _ = make_patches(12, 32, seed=0)
    how = dict(epochs=3, batch=16, device="cpu", patience=None)
    straight, _, table = train_dino(patches, out=tmp_path / "a", **how)
    _, history, _ = train_dino(patches, out=tmp_path / "b", minutes=0.0, **how)
    assert "over at step" in history.stopped
    again, history, other = train_dino(patches, out=tmp_path / "b", **how)
    assert len(history.curves) == 3
    for a, b in zip(straight.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = other[other.step.isin(table.step)]  # it was judged where it stopped, too
    np.testing.assert_allclose(table.to_numpy(), other.to_numpy())
    with pytest.raises(TrainError, match="other settings"):
        train_dino(patches, out=tmp_path / "b", **how | dict(epochs=4))


def test_too_few_patches():
    with pytest.raises(EmbedError, match="at least 16"):
        train_dino(np.zeros((5, 32, 32, 1), np.uint8), device="cpu")
