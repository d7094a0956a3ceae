"The published networks and constants: their numbers, shapes and formulas, and bundles that bring them in by name."

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from made import RandomNet

from cellprotocols.architectures import ARCHITECTURES, count_parameters
from cellprotocols.bundle import read_bundle, write_bundle
from cellprotocols.cam import compare_maps, score_cam
from cellprotocols.classify import ClassifyError, StageClassifier
from cellprotocols.fill import FillError
from cellprotocols.published import (
    PublishedClassifier,
    PublishedNet,
    PublishedStageClassifier,
    PublishedUNet,
    augment_published,
    fill_median_published,
    make_edge_map_published,
    make_mask_published,
    score_cam_published,
    to_published_input,
)
from cellprotocols.unet import MaskLoss, train_unet


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def test_G4_parameters_of_the_published_network():
    free, biased = PublishedNet(1, 5), PublishedNet(1, 5, bias=True)
    assert count_parameters(free) == 624_813
    assert count_parameters(biased) == 625_061
    assert sum(p.numel() for p in biased.parameters() if p.requires_grad) == 624_565
    assert count_parameters(biased.body) == 99_232


def test_G4_shapes_of_the_published_network():
    net, seen = PublishedNet(1, 5).eval(), []
    for m in net.body:
        if isinstance(m, torch.nn.Sequential):
            m.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape[1:])))
    with torch.no_grad():
        out = net(torch.zeros(7, 1, 64, 64))
    assert out.shape == (7, 5)
    assert seen == [(8, 64, 64), (16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]
    assert net.embed(torch.zeros(7, 1, 64, 64)).shape == (7, 256)
    bn = net.body[0][1]
    assert bn.eps == 1e-3 and bn.momentum == 0.01 and isinstance(net.body[0][2], torch.nn.SiLU) and net.head[0].p == 0.2


def test_G5_published_standardisation_whatever_the_grey_levels():
    c = PublishedClassifier(1, 5)
    x = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 200
    assert (c.images(torch.full((2, 1, 64, 64), 77.0)) == 0).all()
    assert torch.allclose(c.images(x), c.images(3 * x + 50), atol=1e-4)
    x[:, :, 0, 0] = 1e5
    assert c.images(x).abs().max() == 4
    faint = torch.zeros(1, 1, 64, 64)
    faint[0, 0, 0, 0] = 1e-4
    assert c.images(faint).abs().max() < 0.01, (
        "the floor of the deviation is 1/sqrt(N), in training as in inference (D2)"
    )


@pytest.mark.parametrize("size", [9, 32, 64, 81])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_T8_patches_of_any_size_and_any_channels_can_be_classified(size, channels):
    assert PublishedClassifier(channels, 3).eval()(torch.rand(2, channels, size, size)).shape == (2, 3)


def test_published_augmentation_never_turns_by_270_degrees_without_a_flip_and_cuts_the_left():
    x = 1 + torch.rand(4000, 1, 64, 64, generator=gen(1))
    y = augment_published(x, gen())
    black = (y == y.amin((2, 3), keepdim=True)).all(2)[:, 0]  # (N, columns)
    share = black.any(1).float().mean()
    assert 0.03 < share < 0.07
    widths = black.sum(1)[black.any(1)]
    assert widths.max() <= 31 and len(widths.unique()) > 20
    assert all(b[:w].all() for b, w in zip(black[black.any(1)], widths)), "the band is at the left"


def test_augmentation_leaves_the_caller_s_patches_alone_and_repeats():
    x = torch.randn(9, 2, 16, 16, generator=gen())
    before, y = x.clone(), augment_published(x, gen(1))
    assert torch.equal(x, before) and y.shape == x.shape and torch.equal(y, augment_published(x, gen(1)))
    one = x[:1].expand(200, -1, -1, -1).contiguous()
    assert len({p.numpy().tobytes() for p in augment_published(one, gen())}) >= 6
    ranks = (3.0 ** torch.arange(12.0))[:, None, None, None].expand(-1, 1, 16, 16).contiguous()
    assert (augment_published(ranks, gen(3)).amax((1, 2, 3)).diff() > 0).all(), "a patch never takes pixels of another"


def field_of_view(model, size=255):
    "How many px of the input a place in the middle of the feature map depends on."
    model.eval()
    for m in model.modules():  # every path counts, none is switched off
        if isinstance(m, (torch.nn.Conv2d, torch.nn.BatchNorm2d)):
            m.weight.data.abs_().add_(1e-3)
    x = torch.rand(1, len(model.standard.mean), size, size, dtype=torch.double, requires_grad=True)
    a = model.double().features(x)
    a[0, :, a.shape[2] // 2, a.shape[3] // 2].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    return int(rows.max() - rows.min()) + 1


def test_the_published_artifact_classifier_counts_as_published():
    model = PublishedStageClassifier()
    assert count_parameters(model) == 1_461_122
    plain = StageClassifier("resnet50", channels=3)
    assert (
        sum(p.numel() for p in plain.trunk.parameters()) == 1_444_928
        and sum(p.numel() for p in plain.head.parameters()) == 1_026
    )
    assert model.features(torch.rand(1, 3, 72, 104)).shape == (1, 512, 9, 13)


@pytest.mark.slow
def test_its_strides_sit_where_the_published_ones_do():
    assert field_of_view(PublishedStageClassifier()) == 99
    assert field_of_view(StageClassifier("resnet50", channels=3)) == 91


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read_alike(order):
    x = np.array([[[0, 255, 256, 32768, 65535]]], order + "u2")
    assert np.allclose(to_published_input(x)[0, 1, 0] + 116.779, [0, 0, 1, 128, 255], atol=1e-4)
    with pytest.raises(ClassifyError, match="uint16"):
        to_published_input(x.astype(np.uint8))


def image(seed=0, size=64, channels=1):
    return (
        gaussian_filter(np.random.default_rng(seed).standard_normal((channels, size, size)), (0, 2, 2)).astype(
            np.float32
        )
        * 4
    )


def test_published_is_the_published_formula():
    model, x = RandomNet(), image(1)
    cam = score_cam_published(model, "maps", x)
    with torch.no_grad():
        X = torch.from_numpy(x)[None]
        A, label, L = model.maps(X)[0], int(model(X).argmax()), 0
        for k, a in enumerate(A):
            up = F.interpolate(a[None, None], x.shape[1:], mode="bilinear", align_corners=False)
            span = float(up.max() - up.min())
            p = model(X * (up / span if span else up)).softmax(1).softmax(1)[0, label]
            assert cam.weights[k] == pytest.approx(float(p), abs=1e-5)
            L = L + p * a
        L = F.interpolate((L.relu() / L.max())[None, None], x.shape[1:], mode="bilinear", align_corners=False)[
            0, 0
        ].numpy()
    assert np.abs(cam.map - L).max() < 1e-4
    assert 0.26894 <= cam.weights.min() and cam.weights.max() <= 0.73106


def test_published_explains_what_the_model_says_and_the_default_what_was_asked():
    model, x = RandomNet(), image(2)
    said = int(model(torch.from_numpy(x)[None]).argmax())
    assert compare_maps(score_cam(model, "maps", x, said).map, score_cam(model, "maps", x, 1 - said).map) < 0.9
    model.head.weight.data, model.head.bias.data = model.head.weight.data.flip(0), model.head.bias.data.flip(0)
    assert int(model(torch.from_numpy(x)[None]).argmax()) == 1 - said


def test_top_keeps_the_channels_with_the_largest_deviation():
    model, x = RandomNet(), image(3)
    sd = model.maps(torch.from_numpy(x)[None])[0].std((1, 2)).detach().numpy()
    cam = score_cam_published(model, "maps", x, top=10)
    assert set(np.flatnonzero(cam.weights)) == set(np.argsort(-sd)[:10]) and cam.passes == 11


def test_batches_change_nothing():
    model, x = RandomNet(), image(4)
    maps = [score_cam_published(model, "maps", x, batch=b).map for b in (1, 3, 16, 0)]
    for m in maps[1:]:
        assert np.abs(m - maps[0]).max() < 1e-4


def test_nothing_gives_nothing():
    model = RandomNet()
    model.maps[0].weight.data[:] = 0
    model.maps[0].bias.data[:] = -1.0
    cam = score_cam_published(model, "maps", image(6))
    assert (cam.map == 0).all() and cam.peak == 0 and not np.isnan(cam.weights).any()


def test_the_mask_is_where_map_and_edges_meet():
    img = np.zeros((40, 40))
    img[10:30, 10:30] = 100
    edges = make_edge_map_published(img)
    assert edges.max() == 1 and edges[20, 20] == 0 and edges[10, 20] > 0.9, "the rim, strongest at the corners"
    half = np.ones(img.shape)
    half[:, 20:] = 0
    mask = make_mask_published(img, half)
    assert mask[10, 15] and not mask[10, 25] and not make_mask_published(img, 0 * half).any()


def test_published_counts_level_by_level():
    net = PublishedUNet()
    assert count_parameters(net) == 501_345
    assert [count_parameters(d) for d in net.down] == [640 + 36_928] + [2 * 36_928] * 4
    assert [count_parameters(u) + count_parameters(j) for u, j in zip(net.up, net.join)] == [
        45_152,
        41_056,
        41_056,
        41_056,
    ]
    assert count_parameters(net.head) == 33
    seen = []
    for m in [*net.down, *net.join]:
        m.register_forward_hook(lambda m, a, out: seen.append(tuple(out.shape[1:])))
    net(torch.zeros(1, 1, 96, 64))
    assert seen == [(64, 96 >> k, 64 >> k) for k in range(5)] + [(32, 96 >> k, 64 >> k) for k in (3, 2, 1, 0)]


def test_published_joins_the_way_down_first():
    net = PublishedUNet()
    caught = []
    net.join[3].register_forward_pre_hook(lambda m, a: caught.append(a[0]))
    first = []
    net.down[0].register_forward_hook(lambda m, a, out: first.append(out))
    net(torch.rand(1, 1, 32, 32))
    assert torch.equal(caught[0][:, :64], first[0]) and caught[0].shape[1] == 96


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (31, 33), (64, 64)])
def test_any_size(size):
    with torch.inference_mode():
        assert PublishedUNet().eval()(torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_a_size_that_fits_is_not_touched():
    net, x = PublishedUNet().eval(), torch.rand(1, 1, 48, 32)
    with torch.inference_mode():
        assert torch.equal(net(x), net.decode(x))
        padded = F.pad(x[..., :41, :30], (0, 2, 0, 7), mode="reflect")
        assert torch.allclose(net(x[..., :41, :30])[..., :9, :9], net(padded)[..., :9, :9], atol=1e-6)


def test_the_published_network_sees_grey_levels_as_they_are():
    x, y = np.full((4, 1, 32, 32), 1000, np.float32), np.zeros((4, 32, 32), np.uint8)
    y[:, 8:16, 8:16] = 1
    net = PublishedUNet()
    train_unet(net, (x, y), epochs=1, lr=1e-4, loss=MaskLoss(0))
    assert float(net.standard.mean) == 0 and float(net.standard.std) == 1


def test_the_median_is_that_of_all_pixels():
    rng = np.random.default_rng(0)
    img, mask = rng.integers(0, 60_000, (40, 50, 3)).astype(np.uint16), rng.random((40, 50)) < 0.3
    filled = fill_median_published(img, mask)
    for c in range(3):
        assert (filled[mask, c] == np.rint(np.median(img[..., c]))).all()
    assert np.array_equal(filled[~mask], img[~mask]) and filled.dtype == img.dtype
    for bad in (np.ones((40, 50), bool), np.zeros((5, 5), bool), np.zeros((40, 50), np.uint8)):
        with pytest.raises(FillError):
            fill_median_published(img, bad)


@pytest.mark.parametrize(
    "name, make", [("PublishedUNet", PublishedUNet), ("PublishedStageClassifier", PublishedStageClassifier)]
)
def test_bundles_know_the_networks(tmp_path, name, make):
    model = make().eval()
    channels = len(model.standard.mean)
    x = np.random.default_rng(0).random((1, channels, 33, 32)).astype(np.float32)
    classes = [str(i) for i in range(model(torch.from_numpy(x)).shape[1])]
    folder = write_bundle(tmp_path / "m", model, name, model.config, classes, [str(i) for i in range(channels)], x)
    with torch.inference_mode():
        assert torch.allclose(read_bundle(folder).model(torch.from_numpy(x)), model(torch.from_numpy(x)), atol=1e-5)


def test_the_list_of_networks_brings_this_room_in_when_it_is_asked():
    code = (
        "import sys; from cellprotocols.architectures import ARCHITECTURES; from cellprotocols import bundle, classify, unet\n"
        "assert 'PublishedUNet' in ARCHITECTURES and 'cellprotocols.published' not in sys.modules\n"
        "assert ARCHITECTURES['PublishedUNet'].__module__ == 'cellprotocols.published'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    assert ARCHITECTURES["PublishedClassifier"] is PublishedClassifier
