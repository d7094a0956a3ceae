"The same work here and on many processes: the same results in the same order, nothing lost, nothing silent."

import os
import signal
import warnings
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from small_runs import MAKE, list_steps, run_step

from cellprotocols.errors import UserError
from cellprotocols.hints import Hints, Notes, find_hints, give_hints, take_note
from cellprotocols.workers import WorkerError, do_parts

SHARED = {"patches", "selfsupervise", "infer"}  # the steps that take workers


def look(n, folder):
    "What a step does: it reads hints, notes what it assumes, warns, and fails on one part."
    take_note(f"{n}.tif", f"axes {find_hints(folder / 'a.tif').axes}")
    warnings.warn(f"part {n % 2}", UserWarning, stacklevel=1)
    if n == 7:
        raise UserError("a seventh part", "six at most")
    return n, os.getpid()


@pytest.mark.parametrize("workers", ["", "2"])
def test_hints_notes_warnings_and_errors_travel(tmp_path, workers):
    give_hints(tmp_path, Hints(axes="CYX"))
    notes = Notes()
    with pytest.warns(UserWarning, match="part 1"):
        found = list(do_parts(partial(look, folder=tmp_path), range(1, 7), "looking", workers))
    assert [n for n, _ in found] == [n for _, (n, _) in found] == [1, 2, 3, 4, 5, 6]
    assert {pid == os.getpid() for _, (_, pid) in found} == {not workers}
    assert notes.found == {"axes CYX": dict.fromkeys(f"{n}.tif" for n in range(1, 7))}
    with pytest.raises(UserError, match="a seventh part; needed: six at most"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(do_parts(partial(look, folder=tmp_path), [7], "looking", workers))


def take_ahead(taken):
    for n in range(200):
        taken.append(n)
        yield n


def test_parts_are_taken_as_they_are_needed():
    "A stream of a million images is not read into memory before the first is done."
    taken, most = [], 0
    for n, _ in do_parts(abs, take_ahead(taken), "looking", "2"):
        most = max(most, len(taken) - n)
    assert len(taken) == 200 and most <= 6


def die(n):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_part_that_kills_every_worker_is_named():
    with pytest.raises(WorkerError, match="three workers died at 'big.tif'"):
        list(do_parts(die, ["big.tif"], "looking", "2"))


@pytest.mark.parametrize(("workers", "says"), [("many", "'many'"), ("0", "'0'"), ("tcp://127.0.0.1:9", "no scheduler")])
def test_workers_that_cannot_be_had(workers, says):
    with pytest.raises(WorkerError, match=says):
        list(do_parts(abs, [1], "looking", workers))


def test_a_scheduler_that_runs_already_is_used_and_left_running():
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert list(do_parts(abs, [-2, 3], "looking", address)) == [(-2, 2), (3, 3)]
        with Client(address) as client:
            assert client.submit(abs, -1).result() == 1


def read_all(folder):
    "Every file of a dataset but its own record, which holds the date."
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file() and p.name != "dataset.json")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def scheduler():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.parametrize("protocol", MAKE)
def test_steps_write_the_same_bytes_on_two_workers(tmp_path, protocol, scheduler):
    workers = "2" if protocol == "artifacts" else scheduler  # own workers for every step, or some that wait
    MAKE[protocol](tmp_path / "images")
    for step in list_steps(protocol):
        alone = run_step(protocol, step, tmp_path)
        if step in SHARED:
            shared = run_step(protocol, step, tmp_path, f"shared_{step}", workers=workers)
            one, two = read_all(alone.path), read_all(shared.path)
            assert one.keys() == two.keys() and len(alone) == len(shared) > 0
            assert [name for name in one if one[name] != two[name]] == [], step
            assert alone.fingerprint == shared.fingerprint
