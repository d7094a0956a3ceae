"The writer: going on after a crash at any moment, full and read-only disks, locks, folders of somebody else."

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, pandas as pd, pytest, zarr
from sample_tables import leftovers, rows, table, tree
from hypothesis import HealthCheck, given, settings, strategies as st

from cellprotocols import writer as W
from cellprotocols.dataset import check_dataset, read_dataset
from cellprotocols.errors import UserError
from cellprotocols.tables import DatasetError
from cellprotocols.writer import DatasetWriter, is_done, write_dataset

relaxed = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    "Forcing files to disk takes most of the time here and matters only for a power cut."
    monkeypatch.setattr(os, "fsync", lambda fd: None)


# ---- arrays and parts ----------------------------------------


@relaxed
@given(
    st.sampled_from(["u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8", "?", "c8", ">u2", ">f4"]),
    st.lists(st.integers(1, 6), max_size=3),
    st.integers(0, 9),
    st.integers(0, 2**32 - 1),
)
def test_any_array_comes_back_as_it_was(dtype, shape, n, seed):
    a = np.frombuffer(
        np.random.default_rng(seed).bytes(n * int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize), "u1"
    )
    a = (a.view(bool) & False | (a > 127)) if dtype == "?" else a.view(dtype)
    a = a.reshape(n, *shape)
    with tempfile.TemporaryDirectory() as tmp:
        ds = write_dataset(Path(tmp) / "d", "patches", rows(n), "test", arrays=dict(a=a))
        back = check_dataset(ds.path)["a"]
        assert back.shape == a.shape and back.dtype == a.dtype.newbyteorder("=")
        assert back[:].tobytes() == a.astype(a.dtype.newbyteorder("=")).tobytes()


def test_larger_than_one_chunk_and_readable_by_zarr_alone(tmp_path):
    a = np.random.default_rng(0).integers(0, 99, (1000, 64, 64), dtype=np.uint8)
    ds = write_dataset(tmp_path / "d", "patches", rows(1000), "test", arrays=dict(a=a))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "d" / "a.zarr", mode="r")[:], a)
    assert 2**19 <= np.prod(ds["a"].chunks) <= 4 * 2**20 and ds["a"].chunks[1:] == (64, 64)


@pytest.mark.parametrize(
    "arrays, says",
    [
        (dict(a=np.zeros((3, 2))), "2 rows"),
        ({"../a": np.zeros(2)}, "called '../a'"),
        ({"a/b": np.zeros(2)}, "called 'a/b'"),
        ({"": np.zeros(2)}, "called ''"),
        (dict(a=np.array(["x", "y"])), "dtype"),
        (dict(a=np.array([{}, 1], object)), "dtype"),
        (dict(a=np.zeros((2, 0))), "something in them"),
        (dict(a=np.float64(3)), "shape"),
    ],
)
def test_arrays_that_are_refused(tmp_path, arrays, says):
    with pytest.raises(DatasetError, match=says):
        write_dataset(tmp_path / "d", "masks", table("masks"), "test", arrays=arrays)
    assert not (tmp_path / "d").exists() and sorted(tmp_path.iterdir()) == sorted(tmp_path.glob(".d.partial"))


def test_an_unknown_kind_is_refused(tmp_path):
    for kind in ("cats", "../fields", ""):
        with pytest.raises(DatasetError, match="there is no kind"):
            write_dataset(tmp_path / "d", kind, table("masks"), "test")


def test_an_empty_result_is_a_result(tmp_path):
    empty = table("boxes").iloc[:0]
    with DatasetWriter(tmp_path / "d", "boxes", "test") as w:
        w.append("f0", empty, crops=np.zeros((0, 9), "f4"))
        w.append("f1", empty, crops=np.zeros((0, 4, 4), "f4"))
        w.close()
    with DatasetWriter(tmp_path / "d", "boxes", "test") as w:
        assert w.done == {"f0", "f1"}
        ds = w.commit()
    assert (
        len(read_dataset(tmp_path / "d", "boxes")) == 0
        and list(ds.items.columns) == list(empty.columns)
        and ds["crops"].shape == (0, 4, 4)
    )


def test_nothing_at_all_is_not(tmp_path):
    with pytest.raises(DatasetError, match="no rows"), DatasetWriter(tmp_path / "d", "boxes", "test") as w:
        w.append("f0", pd.DataFrame())
        w.commit()


def test_parts_without_rows_bind_nobody(tmp_path):
    with DatasetWriter(tmp_path / "d", "patches", "test") as w:
        w.append("a", pd.DataFrame(), a=np.zeros((0,)))
        w.append("b", rows(0), a=np.zeros((0, 3)))
        w.append("c", rows(2), a=np.ones((2, 4), "u1"))
        w.append("d", rows(0))
        w.append("e", pd.DataFrame())
        w.append("f", rows(2, 2), a=np.ones((2, 4), "u1"))
        ds = w.commit()
    assert ds["a"].shape == (4, 4) and ds.n == 4


def test_parts_must_agree(tmp_path):
    a = np.zeros((2, 3), "u1")
    with DatasetWriter(tmp_path / "d", "patches", "test") as w:
        w.append(0, rows(2), a=a)
        for part, arrays, says in [
            (rows(2, 2), dict(a=a.astype("u2")), "uint16"),
            (rows(2, 2), dict(a=a[:, :2]), "shape"),
            (rows(2, 2), {}, "not in every part"),
            (rows(2, 2), dict(a=a, b=a), "array b"),
            (rows(2, 1), dict(a=a), "'i00001' is there already"),
            (rows(2, 2, extra=1), dict(a=a), "column extra"),
            (rows(2, 2).assign(y="far"), dict(a=a), "column y"),
            (rows(2, 2).assign(field_id=1.5), dict(a=a), "column field_id"),
            ([1], dict(a=a), "DataFrame"),
        ]:
            with pytest.raises(DatasetError, match=says):
                w.append(1, part, **arrays)
        with pytest.raises(DatasetError, match="part 0 is there already"):
            w.append(0, rows(2, 2), a=a)
        w.append(
            1, rows(2, 2)[["x", "item_id", "group", "field_id", "size", "y"]], a=a
        )  # order does not matter; the failures left no trace
        ds = w.commit()
    pd.testing.assert_frame_equal(ds.items, rows(4), check_dtype=False)


def test_numbers_widen_from_part_to_part(tmp_path):
    with DatasetWriter(tmp_path / "d", "patches", "test") as w:
        w.append(0, rows(1).assign(v=1, t=None))
        w.append(1, rows(1, 1).assign(v=0.5, t="x"))
        w.append(2, rows(1, 2).assign(v=np.nan, t="y"))
        with pytest.raises(DatasetError, match="column v holds str here and float64"):
            w.append(3, rows(1, 3).assign(v="a", t="z"))
        ds = w.commit()
    assert list(ds.items.v[:2]) == [1, 0.5] and np.isnan(ds.items.v[2]) and list(ds.items.t) == ["", "x", "y"]


# ---- done before ----------------------------------------


def test_settings_of_any_make_are_the_same_settings(tmp_path):
    write_dataset(
        tmp_path / "d",
        "masks",
        table("masks"),
        "test",
        settings=dict(
            a=np.int64(3),
            b=(1, 2),
            c={"y", "x"},
            p=tmp_path / "model",
            r=Path("rel/x"),
            n=float("nan"),
            f=np.array([0.5]),
        ),
    )
    assert is_done(tmp_path / "d", "test", dict(f=[0.5], n="nan", r="rel/x", p="../model", c=["x", "y"], b=[1, 2], a=3))
    assert str(tmp_path) not in (tmp_path / "d" / "dataset.json").read_text()
    with pytest.raises(DatasetError, match="setting net.0 is a|setting net is a"):
        is_done(tmp_path / "d", "test", dict(net=[object()]))


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(made_by="other"), 'made_by was "test" and is now "other"'),
        (dict(seed=1), "seed was 0 and is now 1"),
        (dict(settings=dict(size=3, deep=dict(k=2))), "deep.k was 1 and is now 2"),
        (dict(settings=dict(size=3)), "deep.k was 1 and is now not there"),
        (dict(settings=dict(size=3, deep=dict(k=1), new="é")), 'new was not there and is now "é"'),
        (dict(inputs={}), "the input movie was"),
    ],
)
def test_a_finished_folder_is_never_touched(tmp_path, change, says):
    (tmp_path / "movie.tif").write_bytes(b"pixels")
    asked = dict(
        made_by="test", settings=dict(size=3, deep=dict(k=1)), inputs=dict(movie=tmp_path / "movie.tif"), seed=0
    )
    write_dataset(tmp_path / "d", "masks", table("masks"), **asked)
    before = tree(tmp_path / "d")
    assert is_done(tmp_path / "d", **asked) and not is_done(tmp_path / "e", **asked)
    with pytest.raises(DatasetError, match=says):
        is_done(tmp_path / "d", **{**asked, **change})
    for ask in (asked, {**asked, **change}):
        with pytest.raises(DatasetError, match="finished"):
            DatasetWriter(tmp_path / "d", "masks", **ask)
    assert tree(tmp_path / "d") == before and leftovers(tmp_path) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for f in (
        lambda: is_done(tmp_path / "mine", "test"),
        lambda: write_dataset(tmp_path / "mine", "masks", table("masks"), "test"),
    ):
        with pytest.raises(DatasetError, match="is not a dataset"):
            f()
    assert tree(tmp_path / "mine") == {"thesis.txt": b"x"}
    (tmp_path / "empty").mkdir()
    assert (
        not is_done(tmp_path / "empty", "test")
        and write_dataset(tmp_path / "empty", "masks", table("masks"), "test").n == 2
    )


# ---- crashes ----------------------------------------


def part(k, seed=0):
    rng = np.random.default_rng([seed, k])
    n = int(rng.integers(0, 6))
    items = pd.DataFrame(
        dict(
            item_id=[f"{k}-{j}" for j in range(n)],
            group=f"g{k % 3}",
            field_id=str(k),
            y=rng.normal(size=n),
            x=rng.normal(size=n).astype("f4"),
            size=8,
        )
    )
    if k % 4 == 1:
        items["size"] = items["size"] + 0.5
    return items, rng.integers(0, 2**16, (n, 300, 300), dtype=np.uint16), rng.normal(size=(n, 16)).astype("f4")


class Stop(Exception):
    pass


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 99),
    st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14), st.sampled_from(["with", "kill"])), max_size=3),
)
def test_resumed_equals_uninterrupted(seed, stops):
    def work(path, flushed=None, stop=None, how="with"):
        w = DatasetWriter(path, "patches", "test", seed=seed)
        try:
            for k in range(15):
                if k == flushed and k not in w.done:
                    w.flush()
                if k == stop:
                    if how == "with":
                        w.__exit__(Stop, Stop(), None)
                    else:
                        w._csv.close()
                        w._lock._lock.release()  # what a kill does: nothing is tidied up
                    return
                if k not in w.done:
                    items, patches, features = part(k, seed)
                    w.append(k, items, patches=patches, features=features)
            return w.commit()
        finally:
            w._lock.close()

    with tempfile.TemporaryDirectory() as tmp:
        work(Path(tmp) / "a")
        for flushed, stop, how in stops:
            work(Path(tmp) / "b", flushed, stop, how)
        work(Path(tmp) / "b")
        a, b = tree(Path(tmp) / "a"), tree(Path(tmp) / "b")
        assert a == b and leftovers(tmp) == []


def write_parts(path, n=12, small=False):
    DatasetWriter.flush_seconds = 0.02
    with DatasetWriter(path, "patches", "test") as w:
        for k in range(n):
            if k not in w.done:
                items, patches, features = part(k)
                w.append(k, items, patches=patches[:, :8, :8] if small else patches, features=features)
        w.commit()


def forked(work, kill_after=None, die_at=None):
    "Run `work` in a child; kill it after so many seconds, or let it die before its n-th change on disk."
    if pid := os.fork():
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    count = iter(range(10**9))

    def hook(event, args):
        if (
            event in ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir")
            or event == "open"
            and args[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            if next(count) == die_at:
                os._exit(9)

    if die_at is not None:
        sys.addaudithook(hook)
    try:
        work()
    except BaseException as e:
        print("child:", repr(e), flush=True)
        os._exit(1)
    os._exit(0)


def kill_often(tmp):
    "At random times, several times each; sooner where a run was over before its time came."
    t = time.monotonic()
    assert forked(lambda: write_parts(tmp / "whole", 60)) == 0
    longest = 0.7 * (time.monotonic() - t)
    rng = random.Random(0)
    for trial in range(8):
        path, killed = tmp / f"cut{trial}", 0
        while not path.exists():
            kill_after = rng.uniform(0, longest) if killed < 12 else None
            code = forked(lambda: write_parts(path, 60), kill_after)
            assert code in (0, -9)
            killed += code == -9
            if not killed:
                shutil.rmtree(path)
                longest /= 2
        assert is_done(path, "test") and tree(path) == tree(tmp / "whole"), trial
    assert leftovers(tmp) == []


def die_everywhere(tmp):
    "Before every single change on disk, once while writing and once again while going on."
    assert forked(lambda: write_parts(tmp / "whole", 6, True)) == 0
    for n in range(10**6):
        path = tmp / f"cut{n}"
        code = forked(lambda: write_parts(path, 6, True), die_at=n)
        if code == 0:
            break
        assert code == 9
        if not path.exists():
            assert forked(lambda: write_parts(path, 6, True), die_at=n // 2) in (0, 9)
        if not path.exists():
            assert forked(lambda: write_parts(path, 6, True)) == 0
        assert is_done(path, "test") and tree(path) == tree(tmp / "whole"), n
    assert n > 30 and leftovers(tmp) == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", [kill_often, die_everywhere])
def test_kill_at_any_moment(tmp_path, how):
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import test_writer as t; from pathlib import Path; t.{how.__name__}(Path(sys.argv[2]))"
    out = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)], capture_output=True, text=True
    )  # a fresh process: zarr's threads and fork do not mix
    assert out.returncode == 0, out.stdout + out.stderr


def test_an_exception_keeps_the_parts_before_it(tmp_path):
    with pytest.raises(Stop), DatasetWriter(tmp_path / "d", "patches", "test") as w:
        w.append(("f", 1), rows(2))
        w.append(np.int64(2), rows(2, 2))
        raise Stop
    assert not (tmp_path / "d").exists()
    with DatasetWriter(tmp_path / "d", "patches", "test") as w:
        assert w.done == {("f", 1), 2} and w.n == 4
        (w.folder / "figures").mkdir()
        (w.folder / "figures" / "a.png").write_bytes(b"png")
        w.commit()
    assert (tmp_path / "d" / "figures" / "a.png").exists() and leftovers(tmp_path) == []


def test_leaving_without_commit_is_said(tmp_path):
    with pytest.warns(UserWarning, match="was not committed"), DatasetWriter(tmp_path / "d", "patches", "test") as w:
        w.append(0, rows(2))
    with pytest.raises(DatasetError, match="is closed"):
        w.append(1, rows(2, 2))
    with pytest.raises(DatasetError, match="is closed"):
        w.commit()


def test_a_partial_of_other_settings_is_moved_aside(tmp_path):
    for size in (1, 2, 3):
        with (
            warnings.catch_warnings(record=True) as told,
            pytest.raises(Stop),
            DatasetWriter(tmp_path / "d", "patches", "test", dict(size=size)) as w,
        ):
            warnings.simplefilter("always")
            assert w.done == set()
            w.append(0, rows(2))
            raise Stop
        assert (f"size was {size - 1} and is now {size}" in str(told[0].message)) if size > 1 else not told
    assert leftovers(tmp_path) == [".d.partial", ".d.partial.1", ".d.partial.2"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: (p / "data" / "items.csv").write_text("item_id"),
        lambda p: (p / "data" / "items.csv").unlink(),
        lambda p: next(p.glob("rest.*")).unlink(),
        lambda p: (p / "data" / "a.zarr" / "c.0.0.0").unlink(),
        lambda p: shutil.rmtree(p / "data"),
        lambda p: (p / "plan.json").write_text("{"),
        lambda p: (p / "plan.json").unlink(),
        lambda p: (p / "log.jsonl").write_text("garbage\n" + (p / "log.jsonl").read_text()),
    ],
)
def test_a_damaged_partial_is_moved_aside_not_believed(tmp_path, spoil):
    a = np.random.default_rng(0).normal(size=(30, 100, 100))
    with pytest.raises(Stop), DatasetWriter(tmp_path / "d", "patches", "test") as w:
        w.append(0, rows(30), a=a)
        raise Stop
    spoil(tmp_path / ".d.partial")
    with (
        pytest.warns(UserWarning, match="moved aside to .d.partial.1"),
        DatasetWriter(tmp_path / "d", "patches", "test") as w,
    ):
        assert w.done == set()
        w.append(0, rows(30), a=a)
        np.testing.assert_array_equal(w.commit()["a"][:], a)


def test_a_cut_log_line_is_forgotten(tmp_path):
    with pytest.raises(Stop), DatasetWriter(tmp_path / "d", "patches", "test") as w:
        w.append(0, rows(2))
        w.flush()
        w.append(1, rows(2, 2))
        raise Stop
    log = tmp_path / ".d.partial" / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    with DatasetWriter(tmp_path / "d", "patches", "test") as w:
        assert w.done == {0} and w.n == 2
        w.append(1, rows(2, 2))
        w.commit()
    pd.testing.assert_frame_equal(read_dataset(tmp_path / "d").items, rows(4), check_dtype=False)


# ---- disks ----------------------------------------


@pytest.mark.parametrize("when", ["chunk", "flush", "commit"])
def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path, monkeypatch, when):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    a = np.random.default_rng(0).normal(size=(40, 100, 100))
    with (
        pytest.raises(UserError, match="the disk is full.*run again"),
        DatasetWriter(tmp_path / "d", "patches", "test") as w,
    ):
        w.append(0, rows(40), a=a)
        w.flush()
        with monkeypatch.context() as m:
            if when == "chunk":
                m.setattr(W, "write_whole", full)
                w.append(1, rows(40, 40), a=a)
            if when == "flush":
                m.setattr(W, "to_disk", full)
                w.append(1, rows(40, 40), a=a)
                w.flush()
            w.append(1, rows(40, 40), a=a)
            if when == "commit":
                m.setattr(W, "write_whole", full)
                w.commit()
    assert not (tmp_path / "d").exists() and leftovers(tmp_path) == [".d.partial"]
    with pytest.raises(DatasetError, match="is closed"):
        w.append(2, rows(1, 80), a=a[:1])
    with DatasetWriter(tmp_path / "d", "patches", "test") as w:
        assert 0 in w.done
        if 1 not in w.done:
            w.append(1, rows(40, 40), a=a)
        w.commit()
    np.testing.assert_array_equal(check_dataset(tmp_path / "d")["a"][:], np.concatenate([a, a]))


def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        sys.platform != "linux"
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True).returncode
    ):
        pytest.skip("mounting a small disk is not permitted here")
    try:
        a = np.random.default_rng(0).integers(0, 2**16, (100, 100, 100), dtype=np.uint16)
        with pytest.raises(UserError, match="the disk is full"), DatasetWriter(disk / "d", "patches", "test") as w:
            for k in range(9):
                w.append(k, rows(100, 100 * k), a=a)
                w.flush()
        assert [p.name for p in disk.iterdir()] == [".d.partial"]
        subprocess.run(["mount", "-o", "remount,size=30m", disk], check=True)
        with DatasetWriter(disk / "d", "patches", "test") as w:
            assert 0 in w.done
            for k in range(9):
                if k not in w.done:
                    w.append(k, rows(100, 100 * k), a=a)
            w.commit()
        assert check_dataset(disk / "d").n == 900
    finally:
        subprocess.run(["umount", disk])


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no write permission on Windows")
def test_a_read_only_parent():
    code = textwrap.dedent("""
        import os, sys
        from cellprotocols.writer import DatasetWriter
        from cellprotocols.errors import UserError
        if os.getuid() == 0: os.setuid(65534) # root may write anywhere
        try: DatasetWriter(sys.argv[1], "masks", "test")
        except UserError as e: print(e)""")
    with tempfile.TemporaryDirectory() as locked:
        os.chmod(locked, 0o555)
        out = subprocess.run(
            [sys.executable, "-c", code, f"{locked}/d"], capture_output=True, text=True, cwd=Path(__file__).parents[1]
        )
        assert "you may not write or read here; choose another folder" in out.stdout, out
        assert os.listdir(locked) == []


# ---- locks ----------------------------------------


def test_two_writers_on_one_folder(tmp_path):
    with DatasetWriter(tmp_path / "d", "patches", "test") as w:
        with pytest.raises(DatasetError, match="d is being written by this same session"):
            DatasetWriter(tmp_path / "d", "patches", "test")
        code = (
            f"from cellprotocols.writer import DatasetWriter; DatasetWriter({str(tmp_path / 'd')!r}, 'patches', 'test')"
        )
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1]
        )
        assert f"d is being written by process {os.getpid()}" in out.stderr
        w.append(0, rows(2))
        w.commit()
    assert leftovers(tmp_path) == []


def test_the_lock_of_the_dead_is_taken_over(tmp_path):
    code = f"import os; from cellprotocols.writer import DatasetWriter; w = DatasetWriter({str(tmp_path / 'd')!r}, 'patches', 'test'); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    assert leftovers(tmp_path) == [".d.lock", ".d.partial"]
    with DatasetWriter(tmp_path / "d", "patches", "test") as w:
        w.append(0, rows(1))
        w.commit()
    assert leftovers(tmp_path) == []


def test_of_many_writers_at_once_one_wins(tmp_path):
    def attempt(_):
        try:
            return DatasetWriter(tmp_path / "d", "patches", "test")
        except DatasetError:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [w for w in pool.map(attempt, range(8)) if w]
    assert len(won) == 1
    won[0].close()
