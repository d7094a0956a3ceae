"unet: any size, fields whole and in tiles, losses and masks that mean what they say, bundles."

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings as hyp, strategies as st

from cellprotocols.bundle import read_bundle, write_bundle
from cellprotocols.classify import StageClassifier
from cellprotocols.inputs import Standard
from cellprotocols.tiles import iter_tiles
from cellprotocols.unet import (
    IGNORE,
    MaskLoss,
    MaskNet,
    UNet,
    UNetError,
    _tile_size,
    ignore_band,
    iter_rows,
    pixel_ap,
    predict_field,
    prepare_tiles,
    train_unet,
)


class Near(MaskNet):
    "Says what it sees within 5 x 5 px: tiles with more overlap than that must agree with the whole field."

    def __init__(self, channels=1):
        super().__init__(8, channels=channels)

    def decode(self, x):
        return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)[:, :1] * 3


def field(h, w, seed=0):
    return np.random.default_rng(seed).standard_normal((h, w)).astype(np.float32)


@pytest.mark.parametrize(
    "make", [lambda: UNet("resnet10t", width=8), lambda: UNet("resnet10t", channels=1, strides=(2, 4), width=4)]
)
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (31, 33), (64, 64)])
def test_any_size(make, size):
    with torch.inference_mode():
        assert make().eval()(torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_a_size_that_fits_is_not_touched():
    net, x = Near().eval(), torch.rand(1, 1, 48, 32)
    with torch.inference_mode():
        assert torch.equal(net(x), net.decode(x))
        assert torch.allclose(
            net(x[..., :41, :30])[..., :9, :9],
            net(F.pad(x[..., :41, :30], (0, 2, 0, 7), mode="reflect"))[..., :9, :9],
            atol=1e-6,
        )


@hyp(max_examples=20, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(24, 64), st.integers(8, 11), st.integers(1, 3))
def test_tiles_agree_with_the_whole_field(h, w, size, overlap, batch):
    net, x = Near(), field(h, w)
    whole = predict_field(net, x, size=1000, overlap=overlap)
    tiled = predict_field(net, x, size=size, overlap=overlap, batch=batch)
    assert whole.shape == tiled.shape == (h, w, 1) and tiled.dtype == np.float32
    edge = np.zeros((h, w), bool)  # within 2 px of a tile's edge the network saw something else
    for y0, x0, y1, x1 in iter_tiles((h, w), _tile_size((h, w), size, overlap, 8), overlap):
        inner = np.zeros((y1 - y0, x1 - x0), bool)
        inner[2:-2, 2:-2] = True
        edge[y0:y1, x0:x1] |= ~inner
    assert np.abs(tiled - whole)[~edge].max(initial=0) < 1e-5
    assert np.abs(tiled - whole).mean() < 0.05


def test_views_are_averaged_and_turning_the_field_turns_the_mask():
    torch.manual_seed(0)
    net, field = UNet("resnet18", 1, 1, strides=(2, 4), width=4), np.random.default_rng(0).random((48, 64), np.float32)
    ask = lambda x, **o: predict_field(net, np.ascontiguousarray(x), device="cpu", **o)[..., 0]
    logit = lambda p: np.log(p / (1 - p))
    one = ask(field)
    np.testing.assert_array_equal(ask(field, views=1), one)
    mean = (logit(one) + logit(np.rot90(ask(np.rot90(field)[:, ::-1])[:, ::-1], -1))) / 2
    np.testing.assert_allclose(logit(ask(field, views=2)), mean, atol=1e-4)
    for k in (1, 2, 3):
        np.testing.assert_allclose(ask(np.rot90(field, k), views=8), np.rot90(ask(field, views=8), k), atol=1e-5)
        assert np.abs(ask(np.rot90(field, k)) - np.rot90(one, k)).max() > 1e-3, "one view knows up from down"
    np.testing.assert_allclose(ask(field[::-1, ::-1], views=4), ask(field, views=4)[::-1, ::-1], atol=1e-5)
    with pytest.raises(UNetError, match="3 views"):
        ask(field, views=3)


def test_rows_come_in_order_and_once():
    net, x = Near(), field(200, 90)
    top = 0
    for start, rows in iter_rows(net, x, size=48, overlap=16):
        assert start == top and rows.shape[1:] == (90, 1)
        top += len(rows)
    assert top == 200


def test_a_field_need_not_be_in_memory(tmp_path):
    x = field(300, 70)
    on_disk = np.memmap(tmp_path / "f.dat", np.float32, "w+", shape=x.shape)
    on_disk[:] = x
    assert np.array_equal(
        predict_field(Near(), on_disk, size=48, overlap=16), predict_field(Near(), x, size=48, overlap=16)
    )
    colour = np.stack([x, x], 2)
    assert np.allclose(
        predict_field(Near(2), colour, size=48, overlap=16), predict_field(Near(), x, size=48, overlap=16), atol=1e-6
    )


class Watched(np.ndarray):
    "Remembers the largest piece that was read."

    def __getitem__(self, at):
        piece = np.asarray(super().__getitem__(at))
        self.most = max(getattr(self, "most", 0), piece.size)
        return piece


def test_memory_does_not_grow_with_the_field():
    most = []
    for h in (200, 2000):
        x = field(h, 64).view(Watched)
        held = max(len(rows) for _, rows in iter_rows(Near(), x, size=64, overlap=16))
        most.append((x.most, held))
    assert max(a for a, _ in most) <= 64 * 64 and max(b for _, b in most) <= 64


def test_tiles_are_no_larger_than_need_be():
    for n, most, overlap, step in (
        (1080, 576, 64, 32),
        (1080, 576, 64, 16),
        (500, 576, 64, 32),
        (577, 576, 64, 32),
        (5000, 512, 64, 32),
    ):
        size = _tile_size((n, n), most, overlap, step)
        tiles = lambda s: -(-(n - overlap) // (s - overlap)) if n > s else 1
        assert size <= most and size % step == 0 and tiles(size) == tiles(most)
        assert size - step <= overlap or tiles(size - step) > tiles(size)


def by_hand(z, y, dice, pos_weight):
    z, y, p = z.ravel(), y.ravel(), 1 / (1 + np.exp(-z.ravel()))
    ok = y != IGNORE
    bce = -(pos_weight * (y == 1) * np.log(p) + (y == 0) * np.log(1 - p))[ok].sum() / ok.sum()
    t = y[ok] == 1
    return (1 - dice) * bce + dice * (1 - (2 * (p[ok] * t).sum() + 1) / (p[ok].sum() + t.sum() + 1))


@pytest.mark.parametrize("dice, pos_weight", [(0, 1), (0.5, 1), (0.5, 4), (1, 1)])
def test_the_loss_is_the_formula(dice, pos_weight):
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((3, 1, 9, 11)), rng.choice([0, 1, IGNORE], (3, 9, 11)).astype(np.uint8)
    found = MaskLoss(dice, pos_weight)(torch.from_numpy(z), torch.from_numpy(y))
    assert float(found) == pytest.approx(by_hand(z, y, dice, pos_weight), rel=1e-5)


def test_pixels_that_do_not_count_have_no_gradient():
    z, y = torch.zeros(1, 1, 4, 4, requires_grad=True), torch.zeros(1, 4, 4, dtype=torch.uint8)
    y[0, :2] = IGNORE
    y[0, 3] = 1
    MaskLoss()(z, y).backward()
    assert (z.grad[0, 0, :2] == 0).all() and (z.grad[0, 0, 2:] != 0).all()
    assert float(MaskLoss()(z.detach(), torch.full_like(y, IGNORE))) == pytest.approx(0, abs=1e-6)


@given(st.integers(0, 4), st.integers(0, 9))
@hyp(max_examples=20, deadline=None)
def test_the_band_lies_along_the_outline(px, seed):
    m = (np.random.default_rng(seed).random((2, 20, 20)) < 0.2).astype(np.uint8)
    banded = ignore_band(m, px)
    assert set(np.unique(banded)) <= {0, 1, IGNORE} and banded.dtype == np.uint8
    assert (banded[banded != IGNORE] == m[banded != IGNORE]).all()
    for i in range(2):
        for y, x in np.argwhere(banded[i] != IGNORE):
            assert len(np.unique(m[i, max(0, y - px) : y + px + 1, max(0, x - px) : x + px + 1])) == 1
    assert np.array_equal(ignore_band(m[0], px), banded[0])


def test_average_precision_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((4, 1, 32, 32)), (rng.random((4, 32, 32)) < 0.1).astype(np.uint8)
    z[:, 0][y == 1] += 1.5
    y[:, :4] = IGNORE
    assert pixel_ap(z, y) == pytest.approx(average_precision_score(y[y != IGNORE], z[:, 0][y != IGNORE]), abs=2e-3)


def test_image_and_mask_move_together():
    y = np.zeros((16, 32, 32), np.uint8)
    y[:, 5:14, 8:25] = 1
    y[:, 5:14, 8:12] = IGNORE
    x = np.where(y == 1, 10.0, np.where(y == IGNORE, 5.0, 0.0))[:, None].astype(np.float32)
    prepare = prepare_tiles(Standard(1))
    a, b = prepare(torch.from_numpy(x), torch.from_numpy(y), torch.Generator().manual_seed(0))
    assert set(b.unique().tolist()) <= {0, 1, IGNORE} and not torch.equal(b, torch.from_numpy(y))
    sure = a[:, 0][b == 1]
    assert float(sure.mean()) > 7 and float(a[:, 0][b == 0].mean()) < 1.5, (
        "1 where the image shows the object, 0 where it does not"
    )
    c, d = prepare(torch.from_numpy(x), torch.from_numpy(y), None)
    assert torch.equal(c, torch.from_numpy(x)) and torch.equal(d, torch.from_numpy(y))


def test_brightness_is_part_of_the_network():
    x, y = field(32, 32)[None, None].repeat(12, 0) * 30 + 1000, np.zeros((12, 32, 32), np.uint8)
    y[:, 8:16, 8:16] = 1
    net = UNet("resnet10t", strides=(2, 4), width=4)
    train_unet(net, (x, y), epochs=1, lr=1e-4)
    assert float(net.standard.mean) == pytest.approx(x.mean(), rel=1e-3) and float(net.standard.std) == pytest.approx(
        x.std(), rel=1e-3
    )


@pytest.mark.parametrize(
    "name, make",
    [
        ("UNet", lambda: UNet("resnet10t", channels=2, n_classes=3, strides=(2, 4), width=4)),
        ("StageClassifier", lambda: StageClassifier("resnet10t", 1, 2, pool="soft")),
    ],
)
def test_bundles_know_the_networks(tmp_path, name, make):
    model = make().eval()
    channels = len(model.standard.mean)
    x = np.random.default_rng(0).random((1, channels, 33, 32)).astype(np.float32)
    n = model(torch.from_numpy(x)).shape[1]
    again = read_bundle(
        write_bundle(
            tmp_path / "m", model, name, model.config, [str(i) for i in range(n)], [str(i) for i in range(channels)], x
        )
    ).model
    with torch.inference_mode():
        assert torch.allclose(again(torch.from_numpy(x)), model(torch.from_numpy(x)), atol=1e-5)


@pytest.mark.slow
def test_it_finds_spots_it_has_not_seen():
    def draw(n, seed):
        rng = np.random.default_rng(seed)
        yy, xx = np.mgrid[:48, :48]
        x, y = rng.standard_normal((n, 1, 48, 48)).astype(np.float32), np.zeros((n, 48, 48), np.uint8)
        for i in range(n * 3 // 4):  # a quarter has none
            cy, cx, r = rng.uniform((0, 0, 3), (48, 48, 7))
            y[i][(yy - cy) ** 2 + (xx - cx) ** 2 < r * r] = 1
        x[:, 0][y > 0] -= 1.5
        return x, y

    torch.manual_seed(0)
    net = UNet("resnet10t", strides=(2, 4, 8), width=8)
    x, y = draw(96, 1)
    train_unet(net, (x, ignore_band(y, 1)), draw(24, 2), epochs=10, lr=5e-3)
    test_x, test_y = draw(16, 3)
    found = np.stack([predict_field(net, f[0])[..., 0] for f in test_x])
    dark = pixel_ap(-test_x, test_y)
    assert dark < 0.5 and pixel_ap(found, test_y) > max(0.8, dark + 0.3), "darkness alone does not tell"


def test_faults_say_what_to_do():
    x, y = np.zeros((4, 1, 32, 32), np.float32), np.zeros((4, 32, 32), np.uint8)
    net = UNet("resnet10t", strides=(2, 4), width=4)
    with pytest.raises(UNetError, match="all empty"):
        train_unet(net, (x, y))
    with pytest.raises(UNetError, match=r"hold \[3.0\]; needed: 0, 1 and 255"):
        train_unet(net, (x, y + 3))
    with pytest.raises(UNetError, match="one mask"):
        train_unet(net, (x, y[:3]))
    with pytest.raises(UNetError, match="valid has images"):
        train_unet(net, (x, y), (x, y[:, :8]))
    with pytest.raises(UNetError, match="square tiles"):
        prepare_tiles(Standard(1))(torch.zeros(1, 1, 8, 9), torch.zeros(1, 8, 9), torch.Generator())
    with pytest.raises(UNetError, match=r"needed: \(N, 1, H, W\)"):
        net(torch.zeros(1, 2, 32, 32))
    with pytest.raises(UNetError, match="less than half a tile"):
        predict_field(Near(), field(90, 90), size=64, overlap=32)
    with pytest.raises(UNetError, match="a field of shape"):
        predict_field(Near(), field(1, 90)[:0])
