"Bags: ragged pooling against a loop over bags, order within a bag, rare instances, mean as the baseline, resume."

import numpy as np
import pytest
import torch
from cellprotocols.bags import BagError, make_bags, to_bag_max, to_bag_mean, to_bag_softmax
from cellprotocols.metrics import score_macro_f1
from cellprotocols.mil import POOLS, BagNet, DropInstances, choose_pool, measure_attention, predict_bags, train_bags
from torch.nn import functional as F


def made(n, seed, rare=0.08, size=40, width=12, shift=3.0, ragged=True):
    "Bags of two classes that differ in a few instances only."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    sizes = rng.integers(size // 2, size * 2, n) if ragged else np.full(n, size)
    x = rng.normal(size=(sizes.sum(), width)).astype(np.float32)
    special = (rng.random(sizes.sum()) < rare) & np.repeat(y == 1, sizes)
    x[special, 0] += shift
    x[special, 1] -= shift
    return make_bags(x, np.repeat(np.arange(n), sizes)), y, special


def random_bags(seed=0, sizes=(3, 1, 7, 2), width=6):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(sizes), width, generator=g, dtype=torch.float64)
    return x, torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


@pytest.mark.parametrize("pool", POOLS)
def test_all_bags_at_once_are_as_one_by_one(pool):
    x, bag = random_bags()
    torch.manual_seed(0)
    net = BagNet(6, 3, pool, hidden=8, dropout=0, scale=False)
    x, y = x.float(), torch.tensor([0, 2, 1, 1])
    together = F.cross_entropy(net(x, bag), y)
    together.backward()
    grads = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    alone = 0
    for k in range(4):
        rows = bag == k
        alone = alone + F.cross_entropy(net(x[rows], torch.zeros(int(rows.sum()), dtype=torch.long)), y[k : k + 1]) / 4
    alone.backward()
    assert abs(float((together - alone).detach())) < 1e-5
    for a, p in zip(grads, net.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", POOLS)
def test_order_within_a_bag_means_nothing_and_attention_adds_up(pool):
    x, bag = random_bags()
    torch.manual_seed(0)
    net = BagNet(6, 3, pool, hidden=8).eval()
    x = x.float()
    order = torch.cat([torch.nonzero(bag == k)[:, 0].flip(0) for k in range(4)])
    torch.testing.assert_close(net(x[order], bag), net(x, bag), atol=1e-5, rtol=1e-4)
    a = net.attend(x, bag, 4)
    torch.testing.assert_close(a.new_zeros(4).index_add(0, bag, a), torch.ones(4))
    torch.testing.assert_close(net.attend(x[order], bag, 4), a[order], atol=1e-6, rtol=1e-4)


def test_softmax_of_each_bag_is_torchs():
    x, bag = random_bags()
    a = to_bag_softmax(x * 50, bag, 4)
    for k in range(4):
        torch.testing.assert_close(a[bag == k], (x[bag == k] * 50).float().softmax(0))
    assert to_bag_mean(x, bag, 5)[4].eq(0).all()
    torch.testing.assert_close(to_bag_max(x, bag, 4)[2], x[bag == 2].max(0).values)


def test_attention_beats_mean_where_few_instances_tell():
    learn, y, _ = made(80, 0)
    other, y_other, special = made(60, 1)
    f1 = {}
    for pool in ("mean", "attention"):
        net, _ = train_bags(learn, y, pool=pool, epochs=30, device="cpu")
        f1[pool] = score_macro_f1(y_other, predict_bags(net, other, device="cpu").argmax(1))
    assert f1["attention"] > 0.9
    assert f1["attention"] > f1["mean"] + 0.1, f1
    a = measure_attention(net, other, device="cpu")
    assert np.median(a[special] * np.repeat(other.sizes, other.sizes)[special]) > 2


def test_mean_stays_unless_attention_wins():
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    x = (rng.normal(size=(48, 20, 8)) + y[:, None, None] * 0.8).astype(np.float32)
    easy = make_bags(x.reshape(-1, 8), np.repeat(np.arange(48), 20))
    choice = choose_pool(easy, y, np.arange(48) // 4, k=3, epochs=30, device="cpu")
    assert choice.pool == "mean", choice.why
    assert choice.scores["mean"] > 0.9
    hard, y, _ = made(120, 3)
    choice = choose_pool(hard, y, np.arange(120) // 10, k=3, epochs=25, device="cpu")
    assert choice.pool == "attention", choice.why


def test_any_array_and_what_instances_are_kept():
    import zarr

    bags, y, _ = made(12, 0)
    disk = zarr.array(np.asarray(bags.x, np.float16), chunks=(50, 12))
    ids = np.repeat(np.random.default_rng(0).permutation(12), 60)[: len(bags.x)]
    a, b = make_bags(disk, ids), make_bags(np.asarray(disk), ids)
    np.testing.assert_array_equal(a[[3, 1, 7]][0], b[[3, 1, 7]][0])
    np.testing.assert_array_equal(a.take([3, 1])[[1]][0], b[[1]][0])
    bag = torch.arange(30).repeat_interleave(5)
    for least in (0.0, 0.5, 1.0):
        keep = DropInstances(least)(bag, 30, torch.Generator().manual_seed(1))
        assert torch.bincount(bag[keep], minlength=30).min() >= 1
    assert keep.all()


def test_a_stopped_training_goes_on_to_the_same(tmp_path):
    bags, y, _ = made(40, 0)
    straight, _ = train_bags(bags, y, out=tmp_path / "a", epochs=6, device="cpu")

    class Enough(Exception):
        pass

    class Stop(DropInstances):
        shown = 0

        def __call__(self, *args):
            Stop.shown += 1
            if Stop.shown == 12:
                raise Enough
            return super().__call__(*args)

    Stop.__module__, Stop.__qualname__ = DropInstances.__module__, DropInstances.__qualname__
    with pytest.raises(Enough):
        train_bags(bags, y, out=tmp_path / "b", epochs=6, device="cpu", sample=Stop())
    again, _ = train_bags(bags, y, out=tmp_path / "b", epochs=6, device="cpu")
    for a, b in zip(straight.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_what_is_refused():
    bags, y, _ = made(6, 0)
    with pytest.raises(BagError, match="6 bags and 5 labels"):
        train_bags(bags, y[:5])
    with pytest.raises(BagError, match="class codes"):
        train_bags(bags, np.array(list("ababab")))
    with pytest.raises(BagError, match="one of mean"):
        train_bags(bags, y, pool="sum")
    with pytest.raises(BagError, match="values of hours"):
        make_bags(np.zeros((3, 2)), [1, 1, 2], hours=[1, 2])
