"train: nothing is lost by a kill, short memory is survived, NaN is never kept, odd data sets do not crash."

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings as hyp, strategies as st
from torch import nn

from cellprotocols.batches import count_pieces, iter_parts, make_order
from cellprotocols.checkpoints import TrainError, read_checkpoint
from cellprotocols.losses import ClassLoss, make_class_weights
from cellprotocols.metrics import score_macro_f1
from cellprotocols.predict import predict_batches
from cellprotocols.train import find_lr, keep_generators, make_learner, train_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("CELLPROTOCOLS_QUIET", "1")
    monkeypatch.setenv("CELLPROTOCOLS_DEVICE", "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data(n, k=2, seed=0, size=8):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return (y[:, None, None, None] + rng.standard_normal((n, 1, size, size))).astype(np.float32), y


def net(k=2, norm=True, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), *[nn.BatchNorm2d(4)] * norm, nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * 36, k)
    )


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


FAST = dict(lr=0.01, epochs=3, batch=8)


# ---- kill -9 at any moment -------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {tests!r})
import torch; torch.set_num_threads(1)
from test_train import data, net
from cellprotocols.train import train_model
import fastai.callback.all
left = [0]
def augment(x, generator):
    left[0] -= 1
    if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)
    return x + .1 * torch.randn(x.shape, generator=generator)
def train(out, every):
    model = net()
    h = train_model(model, data(40), data(20, seed=1), out, epochs=4, lr=.01, batch=8, mixup=.3, augment=augment,
                    ema=.9, checkpoint_s=every)
    print(h.curves.drop(columns="seconds").to_json(double_precision=15))
    print(repr([float(v.double().sum()) for v in model.state_dict().values()]), flush=True)
for steps in map(int, sys.argv[3:]): # a child each: a kill costs no import
    if not (pid := os.fork()):
        left[0] = steps
        train(sys.argv[1], float(sys.argv[2]))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == (0 if steps == {whole} else -signal.SIGKILL), code
"""
WHOLE = 10**6


def run_killed(out, every, *steps):
    "Train again and again in a folder, killed after so many steps each time; returns what is said."
    code = KILLED.format(tests=os.path.dirname(__file__), whole=WHOLE)
    words = [sys.executable, "-c", code, out, every, *steps]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_killed(tmp_path_factory.mktemp("whole"), 1000, WHOLE)


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 1000], ids=["checkpoint at every step", "checkpoints at the ends of epochs"])
def test_killed_and_continued_gives_the_same_curve_and_weights(tmp_path, undisturbed, every):
    # in the first epoch, in the next, again later
    assert run_killed(tmp_path, every, 3, 6, 7, WHOLE) == undisturbed


class Cut(Exception):
    pass


def cutting(n):
    left = iter(range(n))

    def augment(x, generator):
        if next(left, None) is None:
            raise Cut
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    return augment


@pytest.mark.parametrize("at", [0, 1, 4, 5, 7, 14])
@pytest.mark.parametrize("extra", [{}, {"class_balance": "sampler", "ema": 0.9}], ids=["plain", "sampler and ema"])
def test_an_exception_at_any_step_costs_nothing(tmp_path, at, extra):
    kw = dict(FAST, checkpoint_s=0, **extra)  # 40 items: 5 steps an epoch
    a = net()
    whole = train_model(a, data(40), data(20, seed=1), augment=cutting(99), **kw)
    with pytest.raises(Cut):
        train_model(net(), data(40), data(20, seed=1), tmp_path, augment=cutting(at), **kw)
    b = net(seed=5)
    rest = train_model(b, data(40), data(20, seed=1), tmp_path, augment=cutting(99), **(kw))
    if at:
        assert (tmp_path / "checkpoint.safetensors").exists()
    if not at:
        return  # nothing was saved: the second model started from its own weights
    assert same(a, b)
    assert whole.curves.drop(columns="seconds").equals(rest.curves.drop(columns="seconds"))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"], "no partial file is left"


def test_the_seed_decides_everything_and_the_callers_generator_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    runs = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        m = net()
        runs.append((m, train_model(m, data(40), data(20, seed=1), mixup=0.2, seed=seed, **FAST)))
    assert same(runs[0][0], runs[1][0]) and not same(runs[0][0], runs[2][0])
    m = net()
    torch.manual_seed(7)
    train_model(m, data(40), data(20, seed=1), **FAST)
    assert torch.equal(torch.rand(1), expected)


def test_a_finished_run_is_not_done_again_and_another_one_is_refused(tmp_path):
    a = net()
    h = train_model(a, data(40), data(20, seed=1), tmp_path, **FAST)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    b = net(seed=9)
    h2 = train_model(b, data(40), data(20, seed=1), tmp_path, **FAST)
    assert same(a, b) and h.curves.equals(h2.curves) and h.stopped == h2.stopped
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    with pytest.raises(TrainError, match="other settings .*epochs=3 there, 4 here"):
        train_model(net(), data(40), data(20, seed=1), tmp_path, **{**FAST, "epochs": 4})
    with pytest.raises(TrainError, match="data="):
        train_model(net(), data(40, seed=3), data(20, seed=1), tmp_path, **FAST)


def test_checkpoints_hold_no_pickle_and_survive_a_damaged_one(tmp_path):
    train_model(net(), data(16), data(8, seed=1), tmp_path, **FAST)
    raw = (tmp_path / "checkpoint.safetensors").read_bytes()
    assert int.from_bytes(raw[:8], "little") < len(raw) and raw[8:9] == b"{"  # a safetensors header
    (tmp_path / "checkpoint.safetensors").write_bytes(raw[:-9])
    with pytest.raises(TrainError, match="damaged"):
        train_model(net(), data(16), data(8, seed=1), tmp_path, **FAST)


# ---- memory ----------------------------------------------------------------------------------------------------------


def greedy(limit, error):
    def augment(x, generator):
        if len(x) > limit:
            raise error
        return x

    return augment


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError(),
        MemoryError(),
        RuntimeError("HIP out of memory. Tried to allocate"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_halves_the_batch_and_says_so(error):
    with pytest.warns(UserWarning, match="going on with 4 items at once"):
        h = train_model(net(), data(64), data(20, seed=1), epochs=2, lr=0.01, batch=16, augment=greedy(5, error))
    assert h.batch == 4 and h.curves.step.tolist() == [4, 8]  # as many steps as with 16 at once


def test_parts_add_up_to_the_whole_step():
    "Without batch norm and dropout a step in parts is the step in one."

    def plain():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

    a, b = plain(), plain()
    train_model(a, data(64), data(20, seed=1), epochs=2, lr=0.01, batch=16, patience=None)
    with pytest.warns(UserWarning):
        train_model(
            b, data(64), data(20, seed=1), epochs=2, lr=0.01, batch=16, patience=None, augment=greedy(3, MemoryError())
        )
    for p, q in zip(a.state_dict().values(), b.state_dict().values()):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_when_not_even_one_item_fits_it_says_so_and_other_errors_pass():
    with pytest.warns(UserWarning), pytest.raises(TrainError, match="not even one item"):
        train_model(net(), data(16), data(8), epochs=1, lr=0.01, augment=greedy(0, MemoryError()))
    with pytest.raises(RuntimeError, match="a bug"):
        train_model(net(), data(16), data(8), epochs=1, lr=0.01, augment=greedy(0, RuntimeError("a bug")))


def test_short_memory_while_judging():
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            if not self.training and len(x) > 3:
                raise MemoryError
            return self.net(x)

    with pytest.warns(UserWarning, match="2 items"):
        h = train_model(Narrow(), data(40), data(20, seed=1), **FAST)
    assert len(h.curves) == 3
    m = Narrow()
    assert np.concatenate(list(predict_batches(m, [data(20)[0]]))).shape == (20, 2)


# ---- NaN -------------------------------------------------------------------------------------------------------------


def test_nan_in_the_images_stops_with_a_sentence_and_leaves_finite_weights(tmp_path):
    x, y = data(40)
    x[33] = np.nan
    m = net(norm=False)
    with pytest.raises(TrainError, match="no longer a number.*tenth"):
        train_model(m, (x, y), data(20), tmp_path, checkpoint_s=0, **FAST)
    assert all(torch.isfinite(p).all() for p in m.state_dict().values())
    if (f := tmp_path / "checkpoint.safetensors").exists():
        assert all(torch.isfinite(t.float()).all() for t in read_checkpoint(f)[0].values())


def test_a_nan_gradient_under_a_finite_loss_is_caught_before_it_reaches_a_weight(tmp_path):
    class Root(nn.Module):  # d sqrt(0) = inf, inf * 0 = NaN
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))
            self.net = net()

        def forward(self, x):
            return self.net(x) + torch.sqrt(self.w * 0)

    m = Root()
    with pytest.raises(TrainError, match="no longer a number"):
        train_model(m, data(40), data(20), tmp_path, checkpoint_s=0, **FAST)
    assert (
        all(torch.isfinite(p).all() for p in m.state_dict().values())
        and not (tmp_path / "checkpoint.safetensors").exists()
    )


def test_nan_in_the_validation_images_is_said():
    x, y = data(20)
    x[3] = np.nan
    with pytest.warns(UserWarning, match="validation images is not a number"):
        train_model(net(), data(40), (x, y), **FAST)


def test_ctrl_c_leaves_the_best_weights_and_the_modes():
    def stop(x, generator):
        if len(seen) == 12:
            raise KeyboardInterrupt
        seen.append(1)
        return x

    seen, m = [], net().eval()
    with pytest.raises(KeyboardInterrupt):
        train_model(m, data(40), data(20), augment=stop, **FAST)
    assert not any(x.training for x in m.modules())
    kept = {k: v.clone() for k, v in m.state_dict().items()}
    seen, n = [], net()  # the same run, cut at the end of the epoch that was kept, at most the second
    h = train_model(n, data(40), data(20), metric=lambda pred, y: 0.0, **FAST)  # the first epoch wins
    assert (
        h.best["epoch"] == 0
        and kept.keys() == n.state_dict().keys()
        and all(torch.isfinite(v).all() for v in kept.values())
    )


# ---- odd data sets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, batch", [(2, 64), (3, 2), (5, 64), (8, 64), (9, 8), (65, 64), (129, 64)])
def test_small_and_odd_numbers_with_batch_norm(n, batch):
    def flat():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    h = train_model(flat(), data(n), data(4, seed=1), epochs=2, lr="auto", batch=batch)
    assert len(h.curves) == 2 and np.isfinite(h.curves.train_loss).all()


def test_one_example_of_a_class_and_classes_missing_in_valid():
    x, y = data(40, 3)
    y[:] = np.arange(40) % 2
    y[7] = 2
    for balance in (True, "balanced", "sampler", False):
        h = train_model(net(3), (x, y), data(10, 1), epochs=2, lr=0.01, batch=8, class_balance=balance)
        assert np.isfinite(h.curves.macro_f1).all()
    vx, vy = data(10, 3, seed=2)
    h = train_model(net(3), data(40, 2), (vx, vy), **FAST)  # class 2 only in valid
    assert np.isfinite(h.curves.valid_loss).all()


def test_empty_or_absent_valid_keeps_the_last_weights():
    for valid in (None, data(0)):
        h = train_model(net(), data(40), valid, patience=1, **FAST)
        assert h.best["epoch"] == 2 and len(h.curves) == 3


@pytest.mark.parametrize(
    "kind", ["zarr", "memmap", "list-like", "torch", "uint16", "big-endian", "read-only", "float64"]
)
def test_any_storage_gives_the_same_weights(tmp_path, kind, monkeypatch):
    x, y = data(40)
    x = np.round((x - x.min()) * 50).astype(np.uint8)
    a = net()
    train_model(a, (x, y), data(20, seed=1), **FAST)
    if kind in ("zarr", "memmap"):  # pretend that it does not fit
        monkeypatch.setattr("cellprotocols.batches.psutil.virtual_memory", lambda: type("M", (), {"available": 4}))
    if kind == "zarr":
        import zarr

        z = zarr.create_array(str(tmp_path / "x.zarr"), shape=x.shape, chunks=(7, 1, 8, 8), dtype=x.dtype)
        z[:] = x
        x = z
    elif kind == "memmap":
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    elif kind == "list-like":

        class Folder:
            def __init__(self, v):
                self.v = v

            def __len__(self):
                return len(self.v)

            def __getitem__(self, idx):
                assert (np.diff(idx) >= 0).all()
                return self.v[idx]

        x = Folder(x)
    elif kind == "torch":
        x = torch.from_numpy(x)
    elif kind == "uint16":
        x = x.astype(np.uint16)
    elif kind == "big-endian":
        x = x.astype(">u2")
    elif kind == "float64":
        x = x.astype(float)
    elif kind == "read-only":
        x.flags.writeable = False
    b = net()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train_model(b, (x, y), data(20, seed=1), **FAST)
    assert same(a, b)


def test_a_reading_error_comes_through(monkeypatch):
    class Torn:
        def __len__(self):
            return 40

        def __getitem__(self, idx):
            raise OSError("torn")

    with pytest.raises(OSError, match="torn"):
        train_model(net(), (Torn(), data(40)[1]), data(8), **FAST)


@pytest.mark.parametrize(
    "bad, words",
    [
        ((data(40)[0], np.array(["a"] * 40)), "np.unique"),
        ((data(40)[0], np.zeros(40, int)), "one class"),
        ((data(40)[0], np.arange(40) - 1), "code -1"),
        ((data(40)[0], np.zeros(40)), "float64"),
        ((data(40)[0], np.zeros(39, int)), "40 images and 39 labels"),
        (data(1), "1 items"),
        ((data(4)[0], None), "labels"),
        (data(40, 5), "the model gives 2 scores"),
    ],
)
def test_unusable_data_end_in_one_sentence(bad, words):
    with pytest.raises(TrainError, match=words):
        train_model(net(), bad, data(8), **FAST)


# ---- the run ---------------------------------------------------------------------------------------------------------


def test_the_best_weights_are_restored_and_it_stops_early():
    scores = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2])
    seen = []
    m = net()

    def metric(pred, y):
        seen.append({k: v.clone() for k, v in m.state_dict().items()})
        return next(scores)

    h = train_model(m, data(40), data(20), epochs=6, lr=0.01, batch=8, patience=3, metric=metric)
    assert (
        h.best["epoch"] == 1 and len(h.curves) == 5 and "stopped after 5 of 6" in h.stopped and "Kept epoch 1" in str(h)
    )
    assert all(torch.equal(v, seen[1][k]) for k, v in m.state_dict().items())


def test_loss_as_judge_goes_down_and_a_nan_metric_never_wins():
    h = train_model(net(), data(40), data(20, seed=1), metric="loss", **FAST)
    assert h.best["valid_loss"] == h.curves.valid_loss.min()
    scores = iter([np.nan, 0.2, np.nan])
    h = train_model(net(), data(40), data(20), metric=lambda pred, y: next(scores), **FAST)
    assert h.best["epoch"] == 1


def test_a_time_budget_ends_cleanly_and_can_be_gone_on_with(tmp_path):
    a = net()
    whole = train_model(a, data(40), data(20, seed=1), **FAST)
    h = train_model(net(), data(40), data(20, seed=1), tmp_path, minutes=0, **FAST)
    assert "minutes are over at step 1 of 15" in h.stopped and "same `out`" in h.stopped and h.best["epoch"] == 0
    b = net()
    rest = train_model(b, data(40), data(20, seed=1), tmp_path, **FAST)
    assert same(a, b) and whole.curves.drop(columns="seconds").equals(rest.curves.drop(columns="seconds"))


def test_modes_and_frozen_weights_come_back_as_they_were():
    m = net()
    m.eval()
    m[0].train()
    m[0].weight.requires_grad_(False)
    modes, frozen = [x.training for x in m.modules()], m[0].weight.clone()
    train_model(m, data(40), data(20), **FAST)
    assert (
        [x.training for x in m.modules()] == modes
        and torch.equal(m[0].weight, frozen)
        and not m[0].weight.requires_grad
    )
    m.train()
    stream = predict_batches(m, iter([data(4)[0]] * 3))
    next(stream)
    assert not m.training
    stream.close()
    assert m.training and not torch.is_inference_mode_enabled()


def test_other_tasks_bring_their_own_loss_and_preparation():
    "An autoencoder without labels, and bags of different sizes."
    torch.manual_seed(0)
    auto = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    h = train_model(
        auto,
        (data(40)[0], None),
        (data(20)[0], None),
        metric="loss",
        loss=nn.functional.mse_loss,
        prepare=lambda x, y, g: (x, x),
        epochs=8,
        lr=0.01,
        batch=8,
    )
    assert h.curves.valid_loss.iloc[-1] < 0.7 * h.curves.valid_loss.iloc[0]

    class Bags:  # x[idx] -> (instances, where each bag starts)
        def __init__(self, n):
            self.bags = [torch.randn(3 + i % 4, 6) + i % 2 for i in range(n)]

        def __len__(self):
            return len(self.bags)

        def __getitem__(self, idx):
            return torch.cat([self.bags[i] for i in idx]), torch.tensor([len(self.bags[i]) for i in idx])

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 2)

        def forward(self, x, sizes):
            return torch.stack([self.head(b.mean(0)) for b in x.split(sizes.tolist())])

    y = np.arange(32) % 2
    h = train_model(
        Mean(), (Bags(32), y), (Bags(32), y), prepare=lambda x, y, g: (tuple(x), y), epochs=6, lr=0.05, batch=8
    )
    assert h.best["macro_f1"] > 0.8


def test_groups_learn_at_their_own_rate():
    m = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 2))
    rates = []

    class Spy:  # a fastai callback
        order, name = 50, "spy"

        def __call__(self, event):
            if event == "before_step":
                rates.append([g["lr"] for g in self.learn.opt.opt.param_groups])

    train_model(
        m, data(40), data(8), groups=lambda m: [list(m[1].parameters()), list(m[2].parameters())], cbs=[Spy()], **FAST
    )
    for r in rates:
        np.testing.assert_allclose(np.array(r) / r[-1], [0.1, 0.1, 1, 1])


# ---- parts -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(1, 80), st.integers(1, 80), st.integers(0, 5))
@hyp(max_examples=60, deadline=None)
def test_an_epoch_shows_every_item_once_and_its_parts_are_whole_steps(n, batch, part, done):
    per_epoch = count_pieces(n, batch)
    done = min(done, per_epoch)
    order = make_order(n, 3, 2)
    whole = list(iter_parts(order, per_epoch, part, 2))
    assert sorted(np.concatenate([i for i, _ in whole])) == list(range(n))
    ends = np.cumsum([p.last for _, p in whole])
    assert ends[-1] == per_epoch and abs(sum(p.share for _, p in whole) - per_epoch) < 1e-9
    if batch > 1 and n > 1:
        assert min(np.bincount(ends - [p.last for _, p in whole], [len(i) for i, _ in whole])) >= 2
    assert [p.step for _, p in whole if p.first] == list(range(2 * per_epoch, 3 * per_epoch))
    rest = list(iter_parts(order, per_epoch, part, 2, done))
    skipped = int(np.searchsorted(ends, done)) + 1 if done else 0
    assert len(rest) == len(whole) - skipped and all(
        np.array_equal(a, b) for (a, _), (b, _) in zip(rest, whole[skipped:])
    )


def test_the_sampler_shows_rare_classes_as_often():
    y = np.repeat([0, 1], [990, 10])
    w = make_class_weights(y, how="balanced")
    order = make_order(1000, 0, 0, w[y] / w[y].sum(dtype=float))
    assert 0.4 < (y[order] == 1).mean() < 0.6


def test_find_lr_is_sane_repeatable_and_leaves_the_model_alone():
    m = net()
    before = {k: v.clone() for k, v in m.state_dict().items()}
    a, b = find_lr(m, data(200)), find_lr(m, data(200))
    assert a == b and 1e-5 <= a <= 1e-2
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())


@pytest.mark.parametrize("size,last", [(64, False), (128, True)])
def test_images_that_are_not_tiny_lie_channels_last_and_nothing_else_changes(tmp_path, size, last):
    def build():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=4),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 2),
        )

    seen, train, (x, _) = [], data(24, size=size), data(5, seed=1, size=size)
    whole, parts = build(), build()
    handle = whole[3].register_forward_pre_hook(
        lambda m, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    train_model(whole, train, None, augment=cutting(99), ema=0.9, **FAST)
    assert set(seen) == {last}
    with pytest.raises(Cut):
        train_model(build(), train, None, tmp_path, augment=cutting(5), ema=0.9, checkpoint_s=0, **FAST)
    train_model(parts, train, None, tmp_path, augment=cutting(99), ema=0.9, checkpoint_s=0, **FAST)
    assert same(whole, parts)
    handle.remove()
    plain = build()
    plain.load_state_dict(whole.state_dict())
    plain.eval()
    with torch.inference_mode():
        expected = plain(torch.from_numpy(x)).numpy()
    for ahead in (True, False):
        np.testing.assert_allclose(
            np.concatenate(list(predict_batches(whole, (x[i : i + 2] for i in (0, 2, 4)), ahead=ahead))),
            expected,
            atol=1e-5,
        )
    assert whole.training  # as it was


def test_bags_of_images_lie_channels_last_too_and_volumes_do_not():
    seen, x = [], np.random.default_rng(0).standard_normal((3, 4, 1, 128, 128)).astype(np.float32)
    inner = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.Conv2d(4, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    inner[1].register_forward_pre_hook(
        lambda m, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2]).amax(1)

    train_model(Bag(), (x, np.array([0, 1, 0])), None, prepare=lambda x, y, g: (x, y), **FAST)
    assert set(seen) == {True}
    solid = nn.Sequential(nn.Conv3d(1, 2, 3, stride=4), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    with torch.inference_mode():
        expected = solid(torch.from_numpy(x).swapaxes(1, 2)).numpy()
    np.testing.assert_allclose(next(predict_batches(solid, [x.swapaxes(1, 2)])), expected, atol=1e-5)


def test_import_is_light():
    code = "import sys, cellprotocols.train; print('fastai' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


# ---- fastai, in earnest ----------------------------------------------------------------------------------------------


def learner(tmp_path, **kw):
    return make_learner(net(), data(40), data(20, seed=1), batch=8, path=tmp_path, **kw)


def test_the_learner_is_fastai_s_own_with_its_parts(tmp_path):
    from fastai.callback.core import Callback
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    learn = learner(tmp_path)
    learn.fit(1)
    assert (
        isinstance(learn, Learner)
        and isinstance(learn.dls, DataLoaders)
        and all(isinstance(d, DataLoader) for d in learn.dls)
    )
    assert isinstance(learn.opt, OptimWrapper) and all(isinstance(cb, Callback) for cb in learn.cbs)
    x, y = learn.dls.one_batch()
    assert x.shape == (8, 1, 8, 8) and y.shape == (8,) and len(learn.dls.train) == 5 and len(learn.dls.valid) == 3
    seen = list(learn.final_record)
    assert list(learn.validate()) == seen[1:]
    kinds = [type(cb).__name__ for cb in learn.cbs]
    assert {"TrainEvalCallback", "Recorder", "CastToTensor", "Steps", "Clip"} <= set(kinds)


def test_a_plain_fit_is_what_a_loop_by_hand_does(tmp_path):
    "Same batches, torch's own AdamW and cross-entropy: the same weights."
    learn, hand = make_learner(net(), data(40), None, 8, 1e-2, class_balance=False, label_smoothing=0.0, clip=0), net()
    opt = torch.optim.AdamW(
        [
            {"params": [p for p in hand.parameters() if p.ndim > 1]},
            {"params": [p for p in hand.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        1e-2,
    )
    x, y = map(torch.from_numpy, data(40))
    with torch.random.fork_rng():
        for epoch in range(2):
            for rows, part in iter_parts(make_order(40, 0, epoch), 5, 8, epoch):
                torch.manual_seed(int(np.random.SeedSequence([0, part.step]).generate_state(1)[0]))
                opt.zero_grad()
                nn.functional.cross_entropy(hand(x[rows]), y[rows]).backward()
                opt.step()
    learn.fit(2)
    for a, b in zip(learn.model.state_dict().values(), hand.state_dict().values()):
        torch.testing.assert_close(a, b)


def test_one_cycle_rises_for_a_quarter_and_falls_to_nothing():
    class Rates:  # a fastai callback only has to be called
        order, name, seen = 90, "rates", []

        def __call__(self, event):
            if event == "before_step":
                self.seen.append(self.learn.opt.hypers[-1]["lr"])

    train_model(net(), data(40), None, epochs=20, lr=0.01, batch=8, cbs=[Rates()])
    lr = np.array(Rates.seen) / 0.01
    assert len(lr) == 100 and abs(lr[0] - 0.04) < 1e-6 and lr.argmax() == 25 and lr[25] == 1 and lr[-1] < 1e-2
    assert (np.diff(lr[:26]) > 0).all() and (np.diff(lr[25:]) < 0).all()


def test_lr_find_suggests_and_leaves_the_weights(tmp_path):
    import matplotlib.pyplot as plt

    learn = learner(tmp_path)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    found = learn.lr_find()
    plt.close("all")
    assert 1e-6 < found.valley < 10 and len(learn.recorder.lrs) > 20
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())
    learn.fit_one_cycle(2, found.valley)
    assert len(learn.recorder.values) == 2


def test_mixup_blends_images_and_labels(tmp_path):
    from fastai.callback.mixup import MixUp

    seen = []

    class Look:
        order, name = 5, "look"

        def __call__(self, event):
            if event == "before_batch" and self.learn.training:
                seen.append(self.learn.xb[0])

    learn = learner(tmp_path, cbs=[MixUp(0.4), Look()])
    learn.fit(3, 1e-2)
    x = torch.from_numpy(data(40)[0])
    assert not any(torch.isclose(x, one).flatten(1).all(1).any() for one in seen[0]) or len(seen[0]) > 4
    assert learn.loss_func.y_int and learn.loss_func.reduction == "mean" and np.isfinite(learn.final_record[0])
    plain = learner(tmp_path)
    plain.fit(3, 1e-2)
    assert not same(learn.model, plain.model)


def test_csv_logger_early_stopping_and_the_best_saved(tmp_path):
    from fastai.callback.progress import CSVLogger
    from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback

    learn = learner(
        tmp_path, cbs=[CSVLogger(), EarlyStoppingCallback("macro_f1", patience=2), SaveModelCallback("macro_f1")]
    )
    learn.fit(40, 1e-2)
    log = learn.csv_logger.read_log()
    assert list(log.columns) == ["epoch", "train_loss", "valid_loss", "macro_f1", "time"] and len(log) < 40
    assert log.macro_f1.iloc[-3:].max() == log.macro_f1.iloc[-3] and (tmp_path / "models" / "model.pth").exists()
    x, y = data(20, seed=1)
    assert score_macro_f1(y, np.concatenate(list(predict_batches(learn.model, [x]))).argmax(1)) == pytest.approx(
        log.macro_f1.max(), abs=1e-6
    )


def test_a_schedule_of_one_s_own_and_groups_that_freeze(tmp_path):
    from fastai.callback.schedule import ParamScheduler, SchedLin

    layers = lambda m: [list(m[0].parameters()), list(m[1:].parameters())]
    learn = learner(tmp_path, groups=layers)
    learn.fit(2, cbs=ParamScheduler({"lr": SchedLin(0.0, 1e-2), "mom": SchedLin(0.9, 0.8)}))
    assert (
        learn.recorder.hps["lr"][0] == 0
        and np.allclose(np.diff(learn.recorder.hps["lr"]), 1e-3)
        and learn.recorder.hps["mom"][-1] < 0.85
    )
    assert len(learn.opt.param_lists) == 2
    learn.freeze()
    before = learn.model[0].weight.clone(), learn.model[5].weight.clone()
    learn.fit(1, slice(1e-3, 1e-2))
    assert torch.equal(learn.model[0].weight, before[0]) and not torch.equal(learn.model[5].weight, before[1])
    learn.unfreeze()
    learn.fit(1, slice(1e-3, 1e-2), wd=0.3)
    assert not torch.equal(learn.model[0].weight, before[0]) and [h["lr"] for h in learn.opt.hypers] == pytest.approx(
        [1e-3, 1e-2]
    )
    assert [g["weight_decay"] for g in learn.opt.opt.param_groups] == [0.3, 0, 0.3, 0], "biases and norms do not decay"


def test_gradients_of_several_batches_are_one_step(tmp_path):
    from fastai.callback.training import GradientAccumulation

    def plain():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

    a, b = (
        make_learner(plain(), data(64), None, batch, 1e-2, clip=0, cbs=cbs)
        for batch, cbs in ((16, []), (4, GradientAccumulation(16)))
    )
    for learn in (a, b):
        learn.dls.train.get_idxs = lambda: list(range(64))
    for learn in (a, b):
        learn.fit(2)
    for p, q in zip(a.model.state_dict().values(), b.model.state_dict().values()):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_accumulated_gradients_survive_an_interruption(tmp_path):
    from fastai.callback.training import GradientAccumulation

    kw = dict(FAST, checkpoint_s=0)

    def run(out, augment):
        m = net()
        return m, train_model(m, data(40), data(20, seed=1), out, augment=augment, cbs=[GradientAccumulation(16)], **kw)

    whole, h = run(None, cutting(99))
    for at in (3, 6, 9):
        out = tmp_path / str(at)
        with pytest.raises(Cut):
            run(out, cutting(at))
        rest, again = run(out, cutting(99))
        assert same(whole, rest), at
        assert h.curves.drop(columns="seconds").equals(again.curves.drop(columns="seconds"))


def test_predictions_of_the_learner_are_probabilities_in_order(tmp_path):
    learn = learner(tmp_path)
    learn.fit(1, 1e-2)
    for part, (x, y) in enumerate((data(40), data(20, seed=1))):
        prob, codes = learn.get_preds(ds_idx=part)
        assert np.array_equal(codes, y)
        logits = torch.from_numpy(np.concatenate(list(predict_batches(learn.model, [x]))))
        torch.testing.assert_close(prob, logits.softmax(1), rtol=1e-4, atol=1e-5)
    assert learn.get_preds(with_loss=True)[2].shape == (20,)


def test_callbacks_of_fastai_s_in_a_run_of_ours(tmp_path):
    from fastai.callback.mixup import MixUp
    from fastai.callback.progress import CSVLogger
    from fastai.callback.tracker import EarlyStoppingCallback

    h = train_model(
        net(),
        data(40),
        data(20, seed=1),
        tmp_path,
        epochs=30,
        lr=0.01,
        batch=8,
        patience=None,
        cbs=[MixUp(0.2), CSVLogger(), EarlyStoppingCallback("macro_f1", patience=2)],
    )
    assert len(h.curves) < 30 and "A callback stopped it after" in h.stopped and (tmp_path / "history.csv").exists()
    assert train_model(
        net(),
        data(40),
        data(20, seed=1),
        tmp_path,
        epochs=30,
        lr=0.01,
        batch=8,
        patience=None,
        cbs=[MixUp(0.2), CSVLogger(), EarlyStoppingCallback("macro_f1", patience=2)],
    ).curves.equals(h.curves)
    with pytest.raises(TrainError, match="cbs="):
        train_model(
            net(), data(40), data(20, seed=1), tmp_path, epochs=30, lr=0.01, batch=8, patience=None, cbs=[MixUp(0.3)]
        )


# ---- what a run is ---------------------------------------------------------------------------------------------------


def test_a_run_is_known_by_all_its_data_and_by_what_it_was_judged_by(tmp_path):
    big = (np.random.default_rng(0).standard_normal((60, 1, 8, 8)).astype(np.float32), np.arange(60) % 2)
    valid, augment = data(20, seed=1), prepare_turn(1)
    go = lambda train=big, valid=valid, **kw: train_model(
        net(), train, valid, tmp_path, **{**FAST, "augment": augment, **kw}
    )
    h = go()
    assert go().curves.equals(h.curves) and go(augment=prepare_turn(1)).curves.equals(h.curves)
    x = big[0].copy()
    x[31, 0, 5, 5] += 1e-3  # one pixel of one image, between any samples
    vx = valid[0].copy()
    vx[-1, 0, 0, 0] += 1
    vy = valid[1].copy()
    vy[7] = 1 - vy[7]
    y = big[1].copy()
    y[33] = 1 - y[33]

    class Mine(nn.Sequential):
        pass

    for what, kw in dict(
        data=dict(train=(x, big[1])),
        labels=dict(train=(big[0], y)),
        valid_data=dict(valid=(vx, valid[1])),
        valid_labels=dict(valid=(valid[0], vy)),
        loss=dict(loss=nn.CrossEntropyLoss()),
        augment=dict(augment=prepare_turn(2)),
        prepare=dict(prepare=lambda x, y, g: (x, y)),
        metric=dict(metric="accuracy"),
        mixup=dict(mixup=0.1),
        class_balance=dict(class_balance=False),
        groups=dict(groups=lambda m: [list(m.parameters())]),
    ).items():
        with pytest.raises(TrainError, match=rf"\b{what}="):
            go(**kw)
    with pytest.raises(TrainError, match="model='Sequential' there, '.*Mine' here"):
        train_model(Mine(*net()), big, valid, tmp_path, augment=augment, **FAST)
    with pytest.raises(TrainError, match="valid_data="):
        go(valid=None)


def prepare_turn(k):
    return lambda x, generator: x.rot90(k, (2, 3))


@pytest.mark.parametrize(
    "change", [lambda: ClassLoss(smoothing=0.2), lambda: ClassLoss(np.array([1.0, 2]))], ids=["smoothing", "weights"]
)
def test_a_loss_of_another_kind_is_another_run(tmp_path, change):
    go = lambda loss: train_model(net(), data(40), data(8), tmp_path, loss=loss, **FAST)
    go(ClassLoss())
    go(ClassLoss())
    with pytest.raises(TrainError, match="loss="):
        go(change())


def test_zarr_and_memory_are_the_same_data(tmp_path):
    import zarr

    x, y = data(40)
    z = zarr.create_array(str(tmp_path / "x.zarr"), shape=x.shape, chunks=(7, 1, 8, 8), dtype=x.dtype)
    z[:] = x
    h = train_model(net(), (x, y), data(8), tmp_path, **FAST)
    assert train_model(net(), (z, y), data(8), tmp_path, **FAST).curves.equals(h.curves)
    z[39, 0, 7, 7] = 5
    with pytest.raises(TrainError, match="data="):
        train_model(net(), (z, y), data(8), tmp_path, **FAST)


# ---- nothing else is touched -----------------------------------------------------------------------------------------


def test_the_generators_of_python_numpy_and_torch_are_left_alone(tmp_path):
    import random

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    def seed():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    seed()
    expected, made, m = draw(), learner(tmp_path), net()
    for work in (
        lambda: train_model(m, data(40), data(8), mixup=0.2, **{**FAST, "lr": "auto"}),
        lambda: find_lr(m, data(40)),
        lambda: made.fit(1),
        lambda: make_learner(m, data(40)),
        lambda: list(predict_batches(m, [data(8)[0]])),
    ):
        seed()
        work()
        assert draw() == expected
    seed()
    with pytest.raises(KeyError), keep_generators(seed=5):
        raise KeyError(draw())
    assert draw() == expected


def test_threads_come_back():
    torch.set_num_threads(2)
    train_model(net(), data(40), data(8), **FAST)
    assert torch.get_num_threads() == 2
    list(predict_batches(net(), [data(8)[0]]))
    assert torch.get_num_threads() == 2


def test_predictions_leave_the_model_as_it_was_found():
    m = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    m[1].eval()
    before = [(p, p.data_ptr(), p.stride(), p.dtype, p.device) for p in [*m.parameters(), *m.buffers()]]
    modes = [x.training for x in m.modules()]
    x = np.zeros((4, 1, 128, 128), np.float32)  # so large that the weights are laid out anew
    stream = predict_batches(m, [x, x])
    next(stream)
    assert m[3].weight.is_contiguous(memory_format=torch.channels_last) and not m[3].weight.is_contiguous()
    list(stream)
    after = [*m.parameters(), *m.buffers()]
    assert all(
        p is q and q.data_ptr() == at and q.stride() == s and (q.dtype, q.device) == (t, d)
        for q, (p, at, s, t, d) in zip(after, before)
    )
    assert [x.training for x in m.modules()] == modes
    stream = predict_batches(m, [x, x])
    next(stream)
    stream.close()
    assert m[3].weight.is_contiguous()
    with pytest.raises(RuntimeError):
        list(predict_batches(m, [x, x[:, :, :2]]))
    assert m[3].weight.is_contiguous() and [x.training for x in m.modules()] == modes


def test_mixed_precision_is_left_when_an_error_ends_a_batch(monkeypatch):
    "The path of NVIDIA cards, as far as a processor can go it."
    monkeypatch.setattr("cellprotocols.train.choose_precision", lambda device, amp=None: torch.bfloat16)
    entered, m = [], net()

    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = m

        def forward(self, x):
            if len(x) > 4:
                raise MemoryError
            return self.net(x)

    class Look:
        order, name = 80, "look"

        def __call__(self, event):
            if event == "before_fit":
                entered.append(self.learn.precision.inside)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        h = train_model(Narrow(), data(40), data(20, seed=1), cbs=[Look()], **FAST)
    assert entered == [False, False] and h.batch == 4 and len(h.curves) == 3 and np.isfinite(h.curves.train_loss).all()
