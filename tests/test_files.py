"Files: whole or not at all, locks of the living and the dead, digests that are remembered and never wrong."

import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np, pandas as pd, pytest

from cellprotocols import files as F
from cellprotocols.errors import UserError
from cellprotocols.files import (
    Lock,
    LockError,
    find_parts,
    is_part,
    iter_files,
    make_digest,
    read_digest,
    read_digests,
    whole_file,
    write_whole,
)

HOME = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    "Every test has its own memory, and files count as settled at once where a test says so."
    monkeypatch.setenv("CELLPROTOCOLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(F, "_seen", {})


@pytest.fixture
def reads(monkeypatch):
    "The files that were really read."
    read, real = [], F._read_blocks

    def look(paths, digests):
        read.extend(Path(p).name for p in paths)
        return real(paths, digests)

    monkeypatch.setattr(F, "_read_blocks", look)
    return read


def settle(monkeypatch):
    monkeypatch.setattr(F, "_TICK", -(10**18))


# ---- whole or not at all --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, bytes_",
    [
        (b"x", b"x"),
        ("é", "é".encode()),
        (pd.DataFrame(dict(a=[1])), b"a\n1\n"),
        (lambda part: part.write_bytes(b"f"), b"f"),
    ],
)
def test_what_can_be_written(tmp_path, data, bytes_):
    write_whole(tmp_path / "d" / "e" / "f.csv", data)
    assert (tmp_path / "d" / "e" / "f.csv").read_bytes() == bytes_ and len(list((tmp_path / "d" / "e").iterdir())) == 1


def test_arrays_and_endings(tmp_path):
    write_whole(tmp_path / "a.npy", np.eye(3))
    with whole_file(tmp_path / "b.npz") as part:
        np.savez(part, a=np.eye(2))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.eye(3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "b.npz"]


def test_folders(tmp_path):
    with whole_file(tmp_path / "bundle") as part:
        part.mkdir()
        (part / "a.txt").write_text("a")
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    with pytest.raises(UserError, match="in the way"), whole_file(tmp_path / "bundle" / "a.txt" / "b") as part:
        part.write_text("")


@pytest.mark.parametrize("sync", [True, False])
def test_an_error_or_a_full_disk_leaves_what_was_there(tmp_path, sync, monkeypatch):
    write_whole(tmp_path / "a.txt", "old")

    def full(part):
        part.write_text("new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="the disk is full"):
        write_whole(tmp_path / "a.txt", full, sync)
    with pytest.raises(KeyError), whole_file(tmp_path / "a.txt", sync) as part:
        part.write_text(str({}["b"]))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_killed_writer_leaves_a_part_that_is_recognised(tmp_path):
    code = f"import os; from cellprotocols.files import whole_file\nwith whole_file({str(tmp_path / 'a.txt')!r}) as part: part.write_text('x'); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], cwd=HOME)
    (left,) = tmp_path.iterdir()
    assert (
        find_parts(tmp_path) == find_parts(tmp_path, "a.txt") == [left]
        and is_part(left.name)
        and find_parts(tmp_path, "b.txt") == []
    )
    write_whole(tmp_path / "a.txt", "y")
    assert dict(iter_files(tmp_path)) == {"a.txt": tmp_path / "a.txt"}


def test_many_threads_write_one_file_whole(tmp_path):
    texts = [str(k) * 10_000 for k in range(8)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "a.txt", t)) for t in texts]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (tmp_path / "a.txt").read_text() in texts and len(list(tmp_path.iterdir())) == 1


# ---- locks ----------------------------------------------------------------------------------------------------------


def test_one_at_a_time(tmp_path):
    with Lock(tmp_path / "d"):
        with pytest.raises(LockError, match="d is being written by this same session; wait for it"):
            Lock(tmp_path / "d")
        code = f"from cellprotocols.files import Lock; Lock({str(tmp_path / 'd')!r})"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOME)
        assert f"d is being written by process {os.getpid()}" in out.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_dead_let_go(tmp_path):
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os; from cellprotocols.files import Lock; Lock({str(tmp_path / 'd')!r}); os._exit(1)",
        ],
        cwd=HOME,
    )
    assert [p.name for p in tmp_path.iterdir()] == [".d.lock"]
    with Lock(tmp_path / "d") as lock:
        assert lock.held
    lock.close()
    assert not lock.held and list(tmp_path.iterdir()) == []


def test_nobody_is_in_at_the_same_time_and_everybody_gets_in(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with Lock(tmp_path / "d", wait=60):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(most) == 120 and set(most) == {1} and list(tmp_path.iterdir()) == []


def test_a_lock_may_be_closed_by_another_thread(tmp_path):
    lock = Lock(tmp_path / "d")
    t = threading.Thread(target=lock.close)
    t.start()
    t.join()
    with Lock(tmp_path / "d"):
        pass


def test_a_disk_without_locks_is_written_without(tmp_path, monkeypatch):
    def acquire(*args, **kwargs):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(F.FileLock, "acquire", acquire)
    with Lock(tmp_path / "d") as lock:
        assert lock.held


# ---- digests --------------------------------------------------------------------------------------------------------


def test_every_byte_counts(tmp_path):
    data = bytearray(3 * 2**20 + 5)
    seen = {make_digest(bytes(data))}
    for at in (0, 2**20 - 1, 2**20, 2**21 + 77, len(data) - 1):
        data[at] ^= 1
        (tmp_path / "f").write_bytes(data)
        assert read_digest(tmp_path / "f") == make_digest(bytes(data)) not in seen
        seen.add(make_digest(bytes(data)))
    (tmp_path / "empty").touch()
    assert (
        read_digests([tmp_path / "empty", tmp_path / "f"]) == [make_digest(b""), make_digest(bytes(data))]
        and read_digests([]) == []
    )


def test_a_file_is_read_once_in_a_process_and_across_processes(tmp_path, reads, monkeypatch):
    settle(monkeypatch)
    for k in range(3):
        (tmp_path / f"f{k}").write_text(str(k))
    files = [tmp_path / f"f{k}" for k in range(3)]
    first = read_digests(files)
    assert read_digests(files[::-1]) == first[::-1] and reads == ["f0", "f1", "f2"]
    monkeypatch.setattr(F, "_seen", {})  # as in another process
    assert read_digests(files) == first and len(reads) == 3
    (tmp_path / "f1").write_text("x")
    assert read_digests(files) == [first[0], make_digest("x"), first[2]] and reads[3:] == ["f1"]
    assert read_digests(files, anew=True) == read_digests(files) and len(reads) == 7


def test_what_has_just_changed_is_not_remembered(tmp_path, reads):
    for text in "abc":  # of one size, within one tick of a coarse clock
        (tmp_path / "f").write_text(text)
        os.utime(tmp_path / "f", ns=(10**18, 10**18))
        assert read_digest(tmp_path / "f") == make_digest(text)
    assert (
        len(reads) == 3
        and not (tmp_path / "cache").exists()
        or sqlite3.connect(tmp_path / "cache" / "digests.sqlite").execute("select count(*) from digests").fetchone()
        == (0,)
    )


def test_a_file_of_the_future_is_not_remembered(tmp_path, reads):
    (tmp_path / "f").write_text("a")
    os.utime(tmp_path / "f", (time.time() + 10**6,) * 2)
    read_digest(tmp_path / "f")
    read_digest(tmp_path / "f")
    assert len(reads) == 2


@pytest.mark.parametrize(
    "change",
    [lambda f: f.write_text("bbbb"), lambda f: f.write_text("aaaab"), lambda f: os.replace(f.with_name("other"), f)],
)
def test_a_change_that_hides_its_time_is_noticed(tmp_path, reads, monkeypatch, change):
    settle(monkeypatch)
    f = tmp_path / "f"
    f.write_text("aaaa")
    (tmp_path / "other").write_text("cccc")
    was = f.stat()
    read_digest(f)
    time.sleep(0.02)  # longer than a tick of the disk's clock
    change(f)
    os.utime(f, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert read_digest(f) == make_digest(f.read_text())


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, reads, monkeypatch):
    settle(monkeypatch)
    (tmp_path / "f").write_text("a")
    real = F._read_all

    def slow(paths):
        digests = real(paths)
        for p in paths:
            p.write_text("bb")
        return digests

    monkeypatch.setattr(F, "_read_all", slow)
    read_digest(tmp_path / "f")
    monkeypatch.setattr(F, "_read_all", real)
    assert read_digest(tmp_path / "f") == make_digest("bb")


def test_memory_can_be_switched_off(tmp_path, reads, monkeypatch):
    settle(monkeypatch)
    (tmp_path / "f").write_text("a")
    monkeypatch.setenv("CELLPROTOCOLS_CACHE", "off")
    read_digest(tmp_path / "f")
    read_digest(tmp_path / "f")
    assert len(reads) == 2 and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("spoil", ["garbage", "folder", "readonly"])
def test_a_memory_that_cannot_be_used_is_done_without(tmp_path, reads, monkeypatch, spoil):
    settle(monkeypatch)
    (tmp_path / "f").write_text("a")
    if spoil == "readonly":
        (tmp_path / "cache").write_text("a file where the folder should be")
    else:
        (tmp_path / "cache").mkdir()
        table = tmp_path / "cache" / "digests.sqlite"
        table.write_text("garbage " * 1000) if spoil == "garbage" else table.mkdir()
    for _ in range(3):
        monkeypatch.setattr(F, "_seen", {})
        assert read_digest(tmp_path / "f") == make_digest("a")
    assert 1 <= len(reads) <= 3


def test_what_is_old_is_forgotten(tmp_path, monkeypatch):
    settle(monkeypatch)
    (tmp_path / "f").write_text("a")
    read_digest(tmp_path / "f")
    (tmp_path / "g").write_text("b")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 91 * 86400)
    read_digest(tmp_path / "g")
    with sqlite3.connect(tmp_path / "cache" / "digests.sqlite") as db:
        assert db.execute("select digest from digests").fetchall() == [(make_digest("b"),)]


def test_several_processes_share_one_memory(tmp_path):
    for k in range(40):
        (tmp_path / f"f{k}").write_text(str(k))
    code = f"""from pathlib import Path; from cellprotocols import files as F; F._TICK = -10**18
for _ in range(5):
    F._seen.clear()
    for k in range(40): assert F.read_digest(Path({str(tmp_path)!r})/f"f{{k}}") == F.make_digest(str(k))"""
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=HOME) for _ in range(3)]
    assert [p.wait() for p in running] == [0, 0, 0]


def test_no_name_of_a_file_is_kept(tmp_path, monkeypatch):
    settle(monkeypatch)
    (tmp_path / "patient_smith.tif").write_text("a")
    read_digest(tmp_path / "patient_smith.tif")
    assert b"smith" not in (tmp_path / "cache" / "digests.sqlite").read_bytes()


def test_files_in_order_without_litter(tmp_path):
    for name in ("b/c.txt", "b.txt", "a/.hidden/x", "Thumbs.db", "a/._x", "skip/x", "a/skip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [n for n, _ in iter_files(tmp_path, ["skip"])] == ["a/skip", "b.txt", "b/c.txt"]
    assert [n for n, _ in iter_files(str(tmp_path))] == ["a/skip", "b.txt", "b/c.txt", "skip/x"]
