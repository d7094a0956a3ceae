"train: nothing is lost by a kill, short memory is survived, NaN is never kept, odd data sets do not crash."
import os
import platform
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings as hyp, strategies as st
from torch import nn

from cellprotocols.train import (ClassLoss, TrainError, _epoch_order, _n_pieces, _State, _train_plan, class_weights, count_cores, find_lr, one_cycle,
                                 pick_device, predict_batches, read_checkpoint, set_threads, train_model, write_checkpoint)

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
    return nn.Sequential(nn.Conv2d(1, 4, 3), *[nn.BatchNorm2d(4)] * norm, nn.ReLU(), nn.Flatten(), nn.Dropout(.2), nn.Linear(4 * 36, k))


def same(a, b): return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


FAST = dict(lr=.01, epochs=3, batch=8)


# ---- kill -9 at any moment -------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {tests!r})
import torch; torch.set_num_threads(1)
from test_train import data, net
from cellprotocols.train import train_model
left = [int(sys.argv[2])]
def augment(x, generator):
    left[0] -= 1
    if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)
    return x + .1 * torch.randn(x.shape, generator=generator)
model = net()
h = train_model(model, data(40), data(20, seed=1), sys.argv[1], epochs=4, lr=.01, batch=8, mixup=.3, augment=augment, ema=.9, checkpoint_s=float(sys.argv[3]))
print(h.curves.drop(columns="seconds").to_json(double_precision=15))
print(repr([float(v.double().sum()) for v in model.state_dict().values()]))
"""


def run_killed(out, steps, every):
    code = KILLED.format(tests=os.path.dirname(__file__))
    return subprocess.run([sys.executable, "-c", code, str(out), str(steps), str(every)], capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 1000], ids=["checkpoint at every step", "checkpoints at the ends of epochs"])
def test_killed_and_continued_gives_the_same_curve_and_weights(tmp_path, every):
    whole = run_killed(tmp_path/"whole", 10**6, 1000)
    assert whole.returncode == 0, whole.stderr
    for steps in (3, 6, 7): # in the first epoch, in the next, again later
        killed = run_killed(tmp_path/"cut", steps, every)
        assert killed.returncode == -9, killed.stderr
    again = run_killed(tmp_path/"cut", 10**6, every)
    assert again.returncode == 0, again.stderr
    assert again.stdout == whole.stdout


class Cut(Exception): pass


def cutting(n):
    left = iter(range(n))
    def augment(x, generator):
        if next(left, None) is None: raise Cut
        return x + .1 * torch.randn(x.shape, generator=generator)
    return augment


@pytest.mark.parametrize("at", [0, 1, 4, 5, 7, 14])
@pytest.mark.parametrize("extra", [{}, {"class_balance": "sampler", "ema": .9}], ids=["plain", "sampler and ema"])
def test_an_exception_at_any_step_costs_nothing(tmp_path, at, extra):
    kw = dict(FAST, checkpoint_s=0, **extra) # 40 items: 5 steps an epoch
    a = net(); whole = train_model(a, data(40), data(20, seed=1), augment=cutting(99), **kw)
    with pytest.raises(Cut): train_model(net(), data(40), data(20, seed=1), tmp_path, augment=cutting(at), **kw)
    b = net(seed=5); rest = train_model(b, data(40), data(20, seed=1), tmp_path, augment=cutting(99), **(kw))
    if at: assert (tmp_path/"checkpoint.safetensors").exists()
    if not at: return # nothing was saved: the second model started from its own weights
    assert same(a, b)
    assert whole.curves.drop(columns="seconds").equals(rest.curves.drop(columns="seconds"))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"], "no partial file is left"


def test_the_seed_decides_everything_and_the_callers_generator_is_left_alone():
    torch.manual_seed(7); expected = torch.rand(1)
    runs = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        m = net(); runs.append((m, train_model(m, data(40), data(20, seed=1), mixup=.2, seed=seed, **FAST)))
    assert same(runs[0][0], runs[1][0]) and not same(runs[0][0], runs[2][0])
    m = net(); torch.manual_seed(7); train_model(m, data(40), data(20, seed=1), **FAST)
    assert torch.equal(torch.rand(1), expected)


def test_a_finished_run_is_not_done_again_and_another_one_is_refused(tmp_path):
    a = net(); h = train_model(a, data(40), data(20, seed=1), tmp_path, **FAST)
    before = (tmp_path/"checkpoint.safetensors").read_bytes()
    b = net(seed=9); h2 = train_model(b, data(40), data(20, seed=1), tmp_path, **FAST)
    assert same(a, b) and h.curves.equals(h2.curves) and h.stopped == h2.stopped
    assert (tmp_path/"checkpoint.safetensors").read_bytes() == before
    with pytest.raises(TrainError, match="other settings .*epochs=3 there, 4 here"): train_model(net(), data(40), data(20, seed=1), tmp_path, **{**FAST, "epochs": 4})
    with pytest.raises(TrainError, match="data="): train_model(net(), data(40, seed=3), data(20, seed=1), tmp_path, **FAST)


def test_checkpoints_hold_no_pickle_and_survive_a_damaged_one(tmp_path):
    train_model(net(), data(16), data(8, seed=1), tmp_path, **FAST)
    raw = (tmp_path/"checkpoint.safetensors").read_bytes()
    assert int.from_bytes(raw[:8], "little") < len(raw) and raw[8:9] == b"{" # a safetensors header
    (tmp_path/"checkpoint.safetensors").write_bytes(raw[:-9])
    with pytest.raises(TrainError, match="damaged"): train_model(net(), data(16), data(8, seed=1), tmp_path, **FAST)


@given(st.dictionaries(st.text("abc.", min_size=1, max_size=5), st.lists(st.floats(width=32), max_size=4), max_size=4), st.floats(allow_nan=False))
@hyp(max_examples=25, deadline=None)
def test_checkpoint_round_trip(tmp_path_factory, values, fact):
    path = tmp_path_factory.mktemp("c")/"a.safetensors"
    write_checkpoint(path, {k: torch.tensor(v) for k, v in values.items()}, {"x": fact})
    tensors, info = read_checkpoint(path)
    assert info == {"x": fact} and tensors.keys() == values.keys()
    for k, v in values.items(): assert torch.equal(tensors[k].nan_to_num(7), torch.tensor(v).nan_to_num(7))


# ---- memory ----------------------------------------------------------------------------------------------------------

def greedy(limit, error):
    def augment(x, generator):
        if len(x) > limit: raise error
        return x
    return augment


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError(), MemoryError(), RuntimeError("HIP out of memory. Tried to allocate"),
                                   RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")])
def test_out_of_memory_halves_the_batch_and_says_so(error):
    with pytest.warns(UserWarning, match="going on with 4 items at once"):
        h = train_model(net(), data(64), data(20, seed=1), epochs=2, lr=.01, batch=16, augment=greedy(5, error))
    assert h.batch == 4 and h.curves.step.tolist() == [4, 8] # as many steps as with 16 at once


def test_parts_add_up_to_the_whole_step():
    "Without batch norm and dropout a step in parts is the step in one."
    def plain():
        torch.manual_seed(0); return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    a, b = plain(), plain()
    train_model(a, data(64), data(20, seed=1), epochs=2, lr=.01, batch=16, patience=None)
    with pytest.warns(UserWarning): train_model(b, data(64), data(20, seed=1), epochs=2, lr=.01, batch=16, patience=None, augment=greedy(3, MemoryError()))
    for p, q in zip(a.state_dict().values(), b.state_dict().values()): torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_when_not_even_one_item_fits_it_says_so_and_other_errors_pass():
    with pytest.warns(UserWarning), pytest.raises(TrainError, match="not even one item"):
        train_model(net(), data(16), data(8), epochs=1, lr=.01, augment=greedy(0, MemoryError()))
    with pytest.raises(RuntimeError, match="a bug"): train_model(net(), data(16), data(8), epochs=1, lr=.01, augment=greedy(0, RuntimeError("a bug")))


def test_short_memory_while_judging():
    class Narrow(nn.Module):
        def __init__(self): super().__init__(); self.net = net()
        def forward(self, x):
            if not self.training and len(x) > 3: raise MemoryError
            return self.net(x)
    with pytest.warns(UserWarning, match="2 items"): h = train_model(Narrow(), data(40), data(20, seed=1), **FAST)
    assert len(h.curves) == 3
    m = Narrow()
    assert np.concatenate(list(predict_batches(m, [data(20)[0]]))).shape == (20, 2)


# ---- NaN -------------------------------------------------------------------------------------------------------------

def test_nan_in_the_images_stops_with_a_sentence_and_leaves_finite_weights(tmp_path):
    x, y = data(40); x[33] = np.nan
    m = net(norm=False)
    with pytest.raises(TrainError, match="no longer a number.*tenth"): train_model(m, (x, y), data(20), tmp_path, checkpoint_s=0, **FAST)
    assert all(torch.isfinite(p).all() for p in m.state_dict().values())
    if (f := tmp_path/"checkpoint.safetensors").exists(): assert all(torch.isfinite(t.float()).all() for t in read_checkpoint(f)[0].values())


def test_a_nan_gradient_under_a_finite_loss_is_caught_before_it_reaches_a_weight(tmp_path):
    class Root(nn.Module): # d sqrt(0) = inf, inf * 0 = NaN
        def __init__(self): super().__init__(); self.w = nn.Parameter(torch.zeros(1)); self.net = net()
        def forward(self, x): return self.net(x) + torch.sqrt(self.w * 0)
    m = Root()
    with pytest.raises(TrainError, match="no longer a number"): train_model(m, data(40), data(20), tmp_path, checkpoint_s=0, **FAST)
    assert all(torch.isfinite(p).all() for p in m.state_dict().values()) and not (tmp_path/"checkpoint.safetensors").exists()


def test_nan_in_the_validation_images_is_said():
    x, y = data(20); x[3] = np.nan
    with pytest.warns(UserWarning, match="validation images is not a number"): train_model(net(), data(40), (x, y), **FAST)


def test_ctrl_c_leaves_the_best_weights_and_the_modes():
    def stop(x, generator):
        if len(seen) == 12: raise KeyboardInterrupt
        seen.append(1); return x
    seen, m = [], net().eval()
    with pytest.raises(KeyboardInterrupt): train_model(m, data(40), data(20), augment=stop, **FAST)
    assert not any(x.training for x in m.modules())
    kept = {k: v.clone() for k, v in m.state_dict().items()}
    seen, n = [], net() # the same run, cut at the end of the epoch that was kept, at most the second
    h = train_model(n, data(40), data(20), metric=lambda pred, y: 0., **FAST) # the first epoch wins
    assert h.best["epoch"] == 0 and kept.keys() == n.state_dict().keys() and all(torch.isfinite(v).all() for v in kept.values())


# ---- odd data sets ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n, batch", [(2, 64), (3, 2), (5, 64), (8, 64), (9, 8), (65, 64), (129, 64)])
def test_small_and_odd_numbers_with_batch_norm(n, batch):
    def flat():
        torch.manual_seed(0); return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    h = train_model(flat(), data(n), data(4, seed=1), epochs=2, lr="auto", batch=batch)
    assert len(h.curves) == 2 and np.isfinite(h.curves.train_loss).all()


def test_one_example_of_a_class_and_classes_missing_in_valid():
    x, y = data(40, 3); y[:] = np.arange(40) % 2; y[7] = 2
    for balance in (True, "balanced", "sampler", False):
        h = train_model(net(3), (x, y), data(10, 1), epochs=2, lr=.01, batch=8, class_balance=balance)
        assert np.isfinite(h.curves.macro_f1).all()
    vx, vy = data(10, 3, seed=2)
    h = train_model(net(3), data(40, 2), (vx, vy), **FAST) # class 2 only in valid
    assert np.isfinite(h.curves.valid_loss).all()


def test_empty_or_absent_valid_keeps_the_last_weights():
    for valid in (None, data(0)):
        h = train_model(net(), data(40), valid, patience=1, **FAST)
        assert h.best["epoch"] == 2 and len(h.curves) == 3


@pytest.mark.parametrize("kind", ["zarr", "memmap", "list-like", "torch", "uint16", "big-endian", "read-only", "float64"])
def test_any_storage_gives_the_same_weights(tmp_path, kind, monkeypatch):
    x, y = data(40)
    x = np.round((x - x.min()) * 50).astype(np.uint8)
    a = net(); train_model(a, (x, y), data(20, seed=1), **FAST)
    if kind in ("zarr", "memmap"): # pretend that it does not fit
        monkeypatch.setattr("cellprotocols.train.psutil.virtual_memory", lambda: type("M", (), {"available": 4}))
    if kind == "zarr":
        import zarr
        z = zarr.create_array(str(tmp_path/"x.zarr"), shape=x.shape, chunks=(7, 1, 8, 8), dtype=x.dtype); z[:] = x; x = z
    elif kind == "memmap":
        np.save(tmp_path/"x.npy", x); x = np.load(tmp_path/"x.npy", mmap_mode="r")
    elif kind == "list-like":
        class Folder:
            def __init__(self, v): self.v = v
            def __len__(self): return len(self.v)
            def __getitem__(self, idx): assert (np.diff(idx) >= 0).all(); return self.v[idx]
        x = Folder(x)
    elif kind == "torch": x = torch.from_numpy(x)
    elif kind == "uint16": x = x.astype(np.uint16)
    elif kind == "big-endian": x = x.astype(">u2")
    elif kind == "float64": x = x.astype(float)
    elif kind == "read-only": x.flags.writeable = False
    b = net()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train_model(b, (x, y), data(20, seed=1), **FAST)
    assert same(a, b)


def test_a_reading_error_comes_through(monkeypatch):
    class Torn:
        def __len__(self): return 40
        def __getitem__(self, idx): raise OSError("torn")
    with pytest.raises(OSError, match="torn"): train_model(net(), (Torn(), data(40)[1]), data(8), **FAST)


@pytest.mark.parametrize("bad, words", [
    ((data(40)[0], np.array(["a"] * 40)), "np.unique"), ((data(40)[0], np.zeros(40, int)), "one class"), ((data(40)[0], np.arange(40) - 1), "code -1"),
    ((data(40)[0], np.zeros(40)), "float64"), ((data(40)[0], np.zeros(39, int)), "40 images and 39 labels"), (data(1), "1 items"), ((data(4)[0], None), "labels"), (data(40, 5), "the model gives 2 scores")])
def test_unusable_data_end_in_one_sentence(bad, words):
    with pytest.raises(TrainError, match=words): train_model(net(), bad, data(8), **FAST)


# ---- the run ---------------------------------------------------------------------------------------------------------

def test_the_best_weights_are_restored_and_it_stops_early():
    scores = iter([.1, .9, .5, .4, .3, .2])
    seen = []
    m = net()
    def metric(pred, y): seen.append({k: v.clone() for k, v in m.state_dict().items()}); return next(scores)
    h = train_model(m, data(40), data(20), epochs=6, lr=.01, batch=8, patience=3, metric=metric)
    assert h.best["epoch"] == 1 and len(h.curves) == 5 and "stopped after 5 of 6" in h.stopped and "Kept epoch 1" in str(h)
    assert all(torch.equal(v, seen[1][k]) for k, v in m.state_dict().items())


def test_loss_as_judge_goes_down_and_a_nan_metric_never_wins():
    h = train_model(net(), data(40), data(20, seed=1), metric="loss", **FAST)
    assert h.best["valid_loss"] == h.curves.valid_loss.min()
    scores = iter([np.nan, .2, np.nan])
    h = train_model(net(), data(40), data(20), metric=lambda pred, y: next(scores), **FAST)
    assert h.best["epoch"] == 1


def test_a_time_budget_ends_cleanly_and_can_be_gone_on_with(tmp_path):
    a = net(); whole = train_model(a, data(40), data(20, seed=1), **FAST)
    h = train_model(net(), data(40), data(20, seed=1), tmp_path, minutes=0, **FAST)
    assert "minutes are over at step 1 of 15" in h.stopped and "same `out`" in h.stopped and h.best["epoch"] == 0
    b = net(); rest = train_model(b, data(40), data(20, seed=1), tmp_path, **FAST)
    assert same(a, b) and whole.curves.drop(columns="seconds").equals(rest.curves.drop(columns="seconds"))


def test_modes_and_frozen_weights_come_back_as_they_were():
    m = net(); m.eval(); m[0].train(); m[0].weight.requires_grad_(False)
    modes, frozen = [x.training for x in m.modules()], m[0].weight.clone()
    train_model(m, data(40), data(20), **FAST)
    assert [x.training for x in m.modules()] == modes and torch.equal(m[0].weight, frozen) and not m[0].weight.requires_grad
    m.train()
    stream = predict_batches(m, iter([data(4)[0]] * 3))
    next(stream); assert not m.training
    stream.close(); assert m.training and not torch.is_inference_mode_enabled()


def test_other_tasks_bring_their_own_loss_and_preparation():
    "An autoencoder without labels, and bags of different sizes."
    torch.manual_seed(0)
    auto = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    h = train_model(auto, (data(40)[0], None), (data(20)[0], None), metric="loss", loss=nn.functional.mse_loss, prepare=lambda x, y, g: (x, x), epochs=8, lr=.01, batch=8)
    assert h.curves.valid_loss.iloc[-1] < .7 * h.curves.valid_loss.iloc[0]

    class Bags: # x[idx] -> (instances, where each bag starts)
        def __init__(self, n): self.bags = [torch.randn(3 + i % 4, 6) + i % 2 for i in range(n)]
        def __len__(self): return len(self.bags)
        def __getitem__(self, idx): return torch.cat([self.bags[i] for i in idx]), torch.tensor([len(self.bags[i]) for i in idx])
    class Mean(nn.Module):
        def __init__(self): super().__init__(); self.head = nn.Linear(6, 2)
        def forward(self, x, sizes): return torch.stack([self.head(b.mean(0)) for b in x.split(sizes.tolist())])
    y = np.arange(32) % 2
    h = train_model(Mean(), (Bags(32), y), (Bags(32), y), prepare=lambda x, y, g: (tuple(x), y), epochs=6, lr=.05, batch=8)
    assert h.best["macro_f1"] > .8


def test_groups_learn_at_their_own_rate():
    m = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 2))
    rates = []
    class Spy: # a fastai callback
        order, name = 50, "spy"
        def __call__(self, event):
            if event == "before_step": rates.append([g["lr"] for g in self.learn.opt.opt.param_groups])
    train_model(m, data(40), data(8), groups=lambda m: [list(m[1].parameters()), list(m[2].parameters())], cbs=[Spy()], **FAST)
    for r in rates: np.testing.assert_allclose(np.array(r) / r[-1], [.1, .1, 1, 1])


# ---- parts -----------------------------------------------------------------------------------------------------------

@given(st.integers(1, 300), st.integers(1, 80), st.integers(1, 80), st.integers(0, 5))
@hyp(max_examples=60, deadline=None)
def test_an_epoch_shows_every_item_once_and_its_parts_are_whole_steps(n, batch, part, done):
    per_epoch = _n_pieces(n, batch)
    done = min(done, per_epoch)
    whole = list(_train_plan(n, 3, _State(0., part), per_epoch, None))
    assert sorted(np.concatenate([i for i, _ in whole])) == list(range(n))
    ends = np.cumsum([last for _, (first, last, share) in whole])
    assert ends[-1] == per_epoch and abs(sum(share for _, (*_, share) in whole) - per_epoch) < 1e-9
    if batch > 1 and n > 1: assert min(np.bincount(ends - [last for _, (_, last, _) in whole], [len(i) for i, _ in whole])) >= 2
    rest = list(_train_plan(n, 3, _State(0., part, step=done), per_epoch, None))
    skipped = int(np.searchsorted(ends, done)) + 1 if done else 0
    assert len(rest) == len(whole) - skipped and all(np.array_equal(a, b) for (a, _), (b, _) in zip(rest, whole[skipped:]))


def test_the_sampler_shows_rare_classes_as_often():
    y = np.repeat([0, 1], [990, 10])
    w = class_weights(y, how="balanced")
    order = _epoch_order(1000, 0, 0, w[y] / w[y].sum(dtype=float))
    assert .4 < (y[order] == 1).mean() < .6


@given(st.lists(st.integers(0, 6), min_size=2, max_size=200), st.sampled_from(["effective", "balanced"]))
@hyp(max_examples=60, deadline=None)
def test_class_weights_average_to_one_and_favour_the_rare(y, how):
    y = np.array(y); w = class_weights(y, 7, how); counts = np.bincount(y, minlength=7)
    assert abs(w[y].mean() - 1) < 1e-4 and (w[counts == 0] == 0).all()
    order = np.argsort(counts[counts > 0])
    assert (np.diff(w[counts > 0][order]) <= 1e-6).all()


def test_loss_agrees_with_torch():
    torch.manual_seed(0)
    z, y, w = torch.randn(50, 4), torch.arange(50) % 4, torch.tensor([1., 2, .5, .5])
    torch.testing.assert_close(ClassLoss(w.numpy())(z, y), nn.functional.cross_entropy(z, y, w, reduction="sum") / 50)
    torch.testing.assert_close(ClassLoss(None, .2)(z, y), nn.functional.cross_entropy(z, y, label_smoothing=.2))
    soft = torch.rand(50, 4).softmax(1)
    torch.testing.assert_close(ClassLoss()(z, soft), nn.functional.cross_entropy(z, soft))


def test_schedule():
    lr = [one_cycle(p) for p in np.linspace(0, 1, 101)]
    assert max(lr) == lr[25] == 1 and abs(lr[0] - .04) < 1e-9 and lr[-1] < 1e-4 and (np.diff(lr[:26]) > 0).all() and (np.diff(lr[25:]) < 0).all()


def test_find_lr_is_sane_repeatable_and_leaves_the_model_alone():
    m = net(); before = {k: v.clone() for k, v in m.state_dict().items()}
    a, b = find_lr(m, data(200)), find_lr(m, data(200))
    assert a == b and 1e-5 <= a <= 1e-2
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())


def test_device_and_threads(monkeypatch):
    assert pick_device().type == "cpu"
    for bad in ("nonsense", "cuda:77" if not torch.cuda.is_available() else "nonsense"):
        monkeypatch.setenv("CELLPROTOCOLS_DEVICE", bad)
        with pytest.raises(TrainError, match="CELLPROTOCOLS_DEVICE"): pick_device()
    set_threads(); assert 1 <= torch.get_num_threads() <= max(1, count_cores())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_was_freed_is_kept_for_the_next_layer():
    code = """if True:
        import resource, torch
        from cellprotocols.train import keep_memory
        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(20): [torch.ones(5_000_000) for _ in range(3)]
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        assert keep_memory(); faults(); print(faults())"""
    run = lambda **env: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**{k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}, **env})
    assert int(run().stdout) < 20_000 # about 195,000 if all is given back
    assert "AssertionError" in run(MALLOC_TRIM_THRESHOLD_="131072").stderr, "what a person has set stays"


@pytest.mark.parametrize("size,last", [(64, False), (128, True)])
def test_images_that_are_not_tiny_lie_channels_last_and_nothing_else_changes(tmp_path, size, last):
    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    seen, train, (x, _) = [], data(24, size=size), data(5, seed=1, size=size)
    whole, parts = build(), build()
    handle = whole[3].register_forward_pre_hook(lambda m, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last)))
    train_model(whole, train, None, augment=cutting(99), ema=.9, **FAST)
    assert set(seen) == {last}
    with pytest.raises(Cut): train_model(build(), train, None, tmp_path, augment=cutting(5), ema=.9, checkpoint_s=0, **FAST)
    train_model(parts, train, None, tmp_path, augment=cutting(99), ema=.9, checkpoint_s=0, **FAST)
    assert same(whole, parts)
    handle.remove()
    plain = build(); plain.load_state_dict(whole.state_dict()); plain.eval()
    with torch.inference_mode(): expected = plain(torch.from_numpy(x)).numpy()
    for ahead in (True, False): np.testing.assert_allclose(np.concatenate(list(predict_batches(whole, (x[i:i + 2] for i in (0, 2, 4)), ahead=ahead))), expected, atol=1e-5)
    assert whole.training # as it was


def test_bags_of_images_lie_channels_last_too_and_volumes_do_not():
    seen, x = [], np.random.default_rng(0).standard_normal((3, 4, 1, 128, 128)).astype(np.float32)
    inner = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.Conv2d(4, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    inner[1].register_forward_pre_hook(lambda m, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last)))
    class Bag(nn.Module):
        def __init__(self): super().__init__(); self.inner = inner
        def forward(self, x): return self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2]).amax(1)
    train_model(Bag(), (x, np.array([0, 1, 0])), None, prepare=lambda x, y, g: (x, y), **FAST)
    assert set(seen) == {True}
    solid = nn.Sequential(nn.Conv3d(1, 2, 3, stride=4), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    with torch.inference_mode(): expected = solid(torch.from_numpy(x).swapaxes(1, 2)).numpy()
    np.testing.assert_allclose(next(predict_batches(solid, [x.swapaxes(1, 2)])), expected, atol=1e-5)


def test_import_is_light():
    code = "import sys, cellprotocols.train; print('fastai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
