"cam: Score-CAM against a plain reference and against other people's; planted spots are hit; nothing depends on batches or the order of channels."

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import nn

from made import RandomNet

from cellprotocols.cam import (
    CamError,
    _in_turn,
    _likeness,
    _predict_scores,
    check_peak,
    compare_maps,
    gradient_cam,
    iter_cams,
    make_baseline,
    measure_erasing,
    score_cam,
    score_inside,
)
from cellprotocols.classify import StageClassifier


class SpotFinder(nn.Module):
    "Made by hand, not trained: channels of dark spots of several sizes speak for class 1, channels of bright lines and of noise do not."

    def __init__(self):
        super().__init__()
        yy, xx = np.mgrid[-7:8, -7:8]
        dogs = [
            np.exp(-(yy**2 + xx**2) / (2 * (2 * s) ** 2)) / (4 * s * s)
            - np.exp(-(yy**2 + xx**2) / (2 * s**2)) / (s * s)
            for s in (1.5, 2, 2.5, 3)
        ]
        lines = [
            np.exp(-((yy * np.cos(a) + xx * np.sin(a)) ** 2) / 3) for a in np.linspace(0, np.pi, 6, endpoint=False)
        ]
        noise = list(np.random.default_rng(0).standard_normal((22, 15, 15)) * 0.1)
        bank = np.stack([k - k.mean() for k in dogs + lines + noise])
        self.conv = nn.Conv2d(1, len(bank), 15, stride=4, padding=7)
        self.conv.weight.data = torch.from_numpy(bank / np.abs(bank).sum((1, 2), keepdims=True)).float()[:, None]
        self.conv.bias.data.fill_(-0.05)
        self.maps = nn.Sequential(self.conv, nn.ReLU())
        self.worth = torch.tensor([60.0] * 4 + [-5.0] * 6 + [0.0] * 22)

    def forward(self, x):
        z = self.maps(x).mean((2, 3)) @ self.worth
        return torch.stack([-z, z], 1)


def image(seed=0, size=64, channels=1):
    return (
        gaussian_filter(np.random.default_rng(seed).standard_normal((channels, size, size)), (0, 2, 2)).astype(
            np.float32
        )
        * 4
    )


def spotted(seed, size=96):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:size, :size]
    x = gaussian_filter(rng.standard_normal((size, size)), 2) * 0.6
    x += np.exp(-(((yy * np.cos(a := rng.uniform(0, np.pi)) + xx * np.sin(a) - rng.uniform(20, 60)) / 2) ** 2))
    cy, cx = rng.uniform(14, size - 14, 2)
    mask = (yy - cy) ** 2 + (xx - cx) ** 2 < rng.uniform(3, 6) ** 2
    x[mask] -= 2
    return x[None].astype(np.float32), mask


def reference(model, x, target, base, weigh):
    "Score-CAM written down plainly, one channel after the other."
    with torch.no_grad():
        X, B = torch.from_numpy(x)[None], torch.from_numpy(base)[None]
        A, nothing, L, s = model.maps(X)[0], model(B)[0, target], 0, []
        live = [k for k in range(len(A)) if A[k].max() > A[k].min()]
        for k in live:
            m = (A[k] - A[k].min()) / (A[k].max() - A[k].min())
            up = F.interpolate(m[None, None], x.shape[1:], mode="bilinear", align_corners=False)
            s.append(model(X * up + B * (1 - up))[0, target] - nothing)
        s = torch.stack(s)
        w = s.softmax(0) if weigh == "softmax" else s.relu() / s.relu().sum()
        for k, v in zip(live, w):
            L = L + v * A[k]
        L = F.interpolate(L.relu()[None, None], x.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    return (L / L.max()).numpy()


@pytest.mark.parametrize("weigh", ["relu", "softmax"])
@pytest.mark.parametrize("baseline", ["blur", "median", "zero"])
def test_exact_is_the_plain_formula(weigh, baseline):
    model, x = RandomNet(), image()
    cam = score_cam(model, "maps", x, 1, agreement=1, weigh=weigh, baseline=baseline)
    ref = reference(model.eval(), x, 1, make_baseline(x, baseline), weigh)
    assert np.abs(cam.map / cam.map.max() - ref).max() < 1e-4
    assert cam.agreement == 1 and cam.weights.sum() == pytest.approx(1, abs=1e-5)


def test_batches_change_nothing():
    model, x = RandomNet(), image(4)
    maps = [score_cam(model, "maps", x, 1, batch=b).map for b in (1, 3, 16, 0)]
    for m in maps[1:]:
        assert np.abs(m - maps[0]).max() < 1e-4


def test_another_class_has_another_map():
    model, x = RandomNet(), image(2)
    assert compare_maps(score_cam(model, "maps", x, 0).map, score_cam(model, "maps", x, 1).map) < 0.9


@pytest.mark.parametrize("agreement", [0.99, 1])
def test_the_order_of_channels_changes_nothing(agreement):
    model, x, turned = RandomNet(), image(5), RandomNet()
    p = torch.randperm(48, generator=torch.Generator().manual_seed(1))
    turned.maps[0].weight.data, turned.maps[0].bias.data, turned.head.weight.data = (
        model.maps[0].weight.data[p],
        model.maps[0].bias.data[p],
        model.head.weight.data[:, p],
    )
    a, b = (score_cam(m, "maps", x, 0, agreement=agreement) for m in (model, turned))
    assert np.abs(a.map - b.map).max() < 1e-3 and np.allclose(a.weights[p], b.weights, atol=1e-4)


def test_constant_channels_are_ignored_and_nothing_gives_nothing():
    model, x = RandomNet(), image(6)
    before = score_cam(model, "maps", x, 1, agreement=1)
    model.maps[0].weight.data[:8] = 0
    model.maps[0].bias.data[:8] = 3.0  # constant, and loud
    after = score_cam(model, "maps", x, 1, agreement=1)
    assert (after.weights[:8] == 0).all() and before.passes - after.passes > 0 and np.isfinite(after.map).all()
    model.maps[0].weight.data[:] = 0
    model.maps[0].bias.data[:] = -1.0
    for cam in (
        score_cam(model, "maps", x, 1),
        score_cam(model, "maps", x, 1, agreement=1, weigh="softmax"),
        gradient_cam(model, "maps", x, 1),
    ):
        assert (cam.map == 0).all() and cam.peak == 0 and not np.isnan(cam.weights).any()


def test_where_nothing_speaks_for_the_class_the_map_is_empty():
    model, (x, _) = SpotFinder(), spotted(0)
    model.worth = -model.worth.abs()
    cam = score_cam(model, "maps", x, 1)
    assert cam.evidence == 0 and (cam.map == 0).all()


def test_planted_spots_are_hit():
    model, found = SpotFinder(), [spotted(s) for s in range(20)]
    cams = list(iter_cams(model, "maps", [x for x, _ in found], 1))
    assert np.mean([check_peak(c.map, m, 4) for c, (_, m) in zip(cams, found)]) >= 0.95
    assert np.mean([score_inside(c.map, m) for c, (_, m) in zip(cams, found)]) > 10 * np.mean(
        [m.mean() for _, m in found]
    )
    wrong = [check_peak(c.map, found[i - 1][1], 4) for i, c in enumerate(cams)]
    assert np.mean(wrong) < 0.2, "a map must not hit another image's spot"


def test_erasing_the_spot_costs_more_than_erasing_at_random():
    model, (x, mask) = SpotFinder(), spotted(1)
    cam = score_cam(model, "maps", x, 1)
    shuffled = np.random.default_rng(0).permutation(cam.map.ravel()).reshape(cam.map.shape)
    assert measure_erasing(model, x, cam.map, 1).mean() < measure_erasing(model, x, shuffled, 1).mean() - 0.02
    assert (
        measure_erasing(model, x, cam.map, 1, insert=True).mean()
        > measure_erasing(model, x, shuffled, 1, insert=True).mean() + 0.02
    )
    gone, back = measure_erasing(model, x, cam.map, 1), measure_erasing(model, x, cam.map, 1, insert=True)
    assert gone[0] == pytest.approx(back[-1], abs=1e-6) and gone[-1] == pytest.approx(back[0], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_agreement_is_not_overstated(seed):
    model, x = RandomNet(256, seed=seed), image(seed, 96)
    exact, fast = score_cam(model, "maps", x, 1, agreement=1), score_cam(model, "maps", x, 1, agreement=0.95)
    assert fast.passes < exact.passes and fast.agreement >= 0.95
    assert compare_maps(fast.map, exact.map) >= fast.agreement - 0.01


class Whimsical(RandomNet):
    "Its score of a masked image is a matter of chance: there is nothing to predict."

    def forward(self, x):
        dice = [float(np.random.default_rng(int(abs(float(v)) * 1e6)).standard_normal()) for v in x.sum((1, 2, 3))]
        return torch.tensor(dice)[:, None] * torch.tensor([-1.0, 1.0]) + 0 * super().forward(x)


def test_what_cannot_be_predicted_is_measured():
    cam = score_cam(Whimsical(96), "maps", image(7), 1, agreement=0.9999)
    live = score_cam(RandomNet(96), "maps", image(7), 1, agreement=1).passes - 2
    assert cam.passes - 2 == live and cam.agreement == 1


def test_predicting_passes_through_what_was_measured():
    rng = np.random.default_rng(0)
    masks = torch.from_numpy(gaussian_filter(rng.random((60, 12, 12)), (0, 2, 2))).float()
    K = _likeness(masks)
    order = list(_in_turn(K, np.ones(60)))
    assert sorted(order) == list(range(60))
    s = masks[:, :6].mean((1, 2)).numpy().astype(float) * 10
    known = order[:30]
    every, others = _predict_scores(K, known, s[known])
    assert np.array_equal(every[known], s[known])
    for i in (0, 7, 29):  # each from the others: as if it had never been known
        rest = [k for k in known if k != known[i]]
        mean = s[known].mean()
        alone = mean + K[known[i], rest] @ np.linalg.solve(K[np.ix_(rest, rest)] + 0.01 * np.eye(29), s[rest] - mean)
        assert others[i] == pytest.approx(alone, abs=1e-6)
    assert np.corrcoef(every, s)[0, 1] > 0.95


def test_layers_that_give_lists_and_layers_that_are_changed_in_place():
    model = StageClassifier("resnet10t", 1, 2, stride=8)
    assert score_cam(model, "trunk", image(8), 1).map.shape == (64, 64)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    with torch.no_grad():
        assert torch.allclose(net(torch.from_numpy(image(8))[None]), net.eval()(torch.from_numpy(image(8))[None]))
    assert gradient_cam(net, "0", image(8), 1, "grad").map.shape == (64, 64)
    assert (score_cam(net, "0", image(8), 1).weights >= 0).all()


def test_the_model_is_left_in_the_mode_for_inference_and_unchanged():
    model, x = RandomNet(), image(9)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    score_cam(model, "maps", x, 1)
    gradient_cam(model, "maps", x, 1)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not model.maps._forward_hooks and all(p.grad is None for p in model.parameters())


def test_faults_say_what_to_do():
    model, x = RandomNet(), image()
    with pytest.raises(CamError, match="no class 5; needed: 0 to 1"):
        score_cam(model, "maps", x, 5)
    with pytest.raises(CamError, match="no class -1"):
        gradient_cam(model, "maps", x, -1)
    with pytest.raises(CamError, match="no layer 'map'.*maps"):
        score_cam(model, "map", x, 1)
    with pytest.raises(CamError, match="a feature map"):
        score_cam(model, "head", x, 1)
    with pytest.raises(CamError, match="no numbers"):
        score_cam(model, "maps", x * np.nan, 1)
    with pytest.raises(CamError, match="one image"):
        score_cam(model, "maps", x[0], 1)
    with pytest.raises(CamError, match="blur, median, zero"):
        score_cam(model, "maps", x, 1, baseline="noise")


# Oracles: other people's implementations, where they are installed.


def by_torchcam(name, model, x, target):
    methods = pytest.importorskip("torchcam.methods")
    with getattr(methods, name)(model.eval(), "maps", input_shape=x.shape) as extract:
        out = model(torch.from_numpy(x)[None].requires_grad_())
        return extract(target, out)[0][0].detach().numpy()


@pytest.mark.parametrize("seed", range(3))
def test_score_cam_is_torchcams(seed):
    model, x = RandomNet(seed=seed), image(seed, 96)
    ours = score_cam(model, "maps", x, 1, agreement=1, baseline="zero", weigh="softmax")
    theirs = by_torchcam("ScoreCAM", model, x, 1)
    small = F.interpolate(torch.from_numpy(theirs)[None, None], (96, 96), mode="bilinear", align_corners=False)[
        0, 0
    ].numpy()
    assert compare_maps(ours.map, small) > 0.9999


@pytest.mark.parametrize("how, name", [("grad", "GradCAM"), ("layer", "LayerCAM")])
def test_gradients_are_torchcams(how, name):  # its Grad-CAM++ differs from the paper's equation 19
    model, x = RandomNet(seed=3), image(3, 96)
    theirs = torch.from_numpy(by_torchcam(name, model, x, 1))[None, None]
    assert (
        compare_maps(
            gradient_cam(model, "maps", x, 1, how).map,
            F.interpolate(theirs, (96, 96), mode="bilinear", align_corners=False)[0, 0].numpy(),
        )
        > 0.999
    )


@pytest.mark.parametrize("how, name", [("grad", "GradCAM"), ("gradpp", "GradCAMPlusPlus"), ("layer", "LayerCAM")])
def test_gradients_are_grad_cams(how, name):
    grad_cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = RandomNet(seed=3), image(3, 96)
    model.head.weight.data *= 100  # their small constant then does not matter
    theirs = getattr(grad_cam, name)(model, [model.maps])(torch.from_numpy(x)[None], [ClassifierOutputTarget(1)])[0]
    assert compare_maps(gradient_cam(model, "maps", x, 1, how).map, theirs) > 0.99


def test_score_cam_is_grad_cams():
    grad_cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = RandomNet(seed=1).eval(), image(1, 96)
    theirs = grad_cam.ScoreCAM(model, [model.maps])(torch.from_numpy(x)[None], [ClassifierOutputTarget(1)])[0]
    assert (
        compare_maps(score_cam(model, "maps", x, 1, agreement=1, baseline="zero", weigh="softmax").map, theirs) > 0.99
    )
