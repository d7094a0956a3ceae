"""Faults as they happen to people: kills, signals, full disks, double starts and damaged files, at random moments of the real thing.

What is labelled stays labelled; a run that was stopped goes on and ends with the very bytes of an undisturbed one.
Each of these runs in a process of its own that forks, so that a kill costs no import.
"""

import contextlib
import io
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_runs import make_cells

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
STOPPED = "Stopped. The same line again goes on from here."


def in_a_fresh_process(name, tmp_path):
    "Run a function of this file where nothing has started threads yet: those and fork do not mix."
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import test_faults as t; from pathlib import Path; t.{name}(Path(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        env=dict(os.environ, CELLPROTOCOLS_QUIET="1", OMP_NUM_THREADS="1"),
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def child(work, said):
    "Run `work` in a child whose output goes to the file `said`; returns its process number."
    if pid := os.fork():
        return pid
    code = 70
    try:
        with open(said, "w") as f:
            for n in (1, 2):
                os.dup2(f.fileno(), n)
            code = work() or 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def tree(folder):
    "Every file and its bytes."
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def differing(a, b):
    a, b = tree(a), tree(b)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


# --- labels


def label_for_ever(log, seed, acks):
    "Label, take back and label again; a line in `acks` says what was acknowledged, after it was."
    from cellprotocols.labellog import LabelLog

    rng, labels = random.Random(seed), LabelLog(log, "anna")
    with open(acks, "a", buffering=1) as f:
        for k in range(10**6):
            items = [f"{seed}-{k}-{j}" for j in range(rng.choice([1, 1, 3]))]
            labels.give([dict(item=i, label=rng.choice("AB")) for i in items])
            f.write("".join(f"{i}\n" for i in items))


def count_lines(file):
    return file.read_bytes().count(b"\n") if file.exists() else 0


def kill_the_labeller(tmp):
    "Killed 40 times while it labels; never is an acknowledged label missing."
    from cellprotocols.labellog import read_labels

    log, acks, rng, end = tmp / "labels.jsonl", tmp / "acks", random.Random(1), time.monotonic() + 300
    for seed in range(40):
        pid = child(lambda: label_for_ever(log, seed, acks), tmp / "said")
        wanted = count_lines(acks) + rng.randrange(4, 16)
        while count_lines(acks) < wanted and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL, (tmp / "said").read_text()
        if seed % 8 == 7:
            kept = set(read_labels(log).item)
            told = set(acks.read_text().splitlines()) if acks.exists() else set()
            assert told <= kept, sorted(told - kept)
    assert len(told) >= 300 and len(kept - told) <= 40 * 3, (len(told), len(kept))


def test_labels_that_were_acknowledged_survive_every_kill(tmp_path):
    in_a_fresh_process("kill_the_labeller", tmp_path)


# --- runs


WORDS = ["--model", "probe", "--folds", "2", "--map-method", "pca"]
MADE = {"21_annotate", "22_patches", "23_selfsupervise", "24_train"}


def run_in(home, steps="annotate..train"):
    "The chromatin protocol in `home`."
    from cellprotocols.cli import main

    os.chdir(home)
    return main(["run", "chromatin", "--source", "cells", "--out", "work", *WORDS, "--steps", steps])


def preload():
    for name in ("annotate", "patches", "selfsupervise", "train"):
        __import__(f"cellprotocols.chromatin.{name}")
    import timm, torch, zarr  # noqa: F401
    import cellprotocols.cli  # noqa: F401


def homes(tmp, *names):
    for name in names:
        (tmp / name).mkdir()
        make_cells(tmp / name / "cells", n=120)
    return [tmp / name for name in names]


def count_events(most=10**9, then=None):
    "Do `then` at the n-th file that is opened, renamed, made or removed; returns how many there were until now."
    seen = [0]

    def hook(event, _):
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
            seen[0] += 1
            if seen[0] == most:
                then()

    sys.addaudithook(hook)
    return seen


def stopped(run, at, sent):
    "A run that gets a signal at its `at`-th event."
    count_events(at, lambda: os.kill(os.getpid(), sent))
    return run()


def counted(run, into):
    "A run; its number of events goes into a file."
    seen = count_events()
    code = run()
    into.write_text(str(seen[0]))
    return code


def limited(run, most):
    "A run in which no file may grow beyond `most` bytes."
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    return run()


def stop_the_run(tmp):
    "Two runs, stopped again and again at random moments by kill, SIGTERM and Ctrl+C; each ends as the undisturbed one."
    preload()
    calm, *others = homes(tmp, "calm", "one", "two")
    pid = child(lambda: counted(lambda: run_in(calm), tmp / "events"), tmp / "said")
    assert ended(pid) == 0, (tmp / "said").read_text()
    events, rng, stops = int((tmp / "events").read_text()), random.Random(0), 0
    for home in others:
        for k in range(24):  # Ctrl+C last: where Python is cleaning up it is not heard, and the run goes on to its end
            at = rng.randrange(1, events // 6)
            sent = (signal.SIGKILL, signal.SIGTERM)[k % 2] if k < 10 else signal.SIGINT
            pid = child(lambda: stopped(lambda: run_in(home), at, sent), tmp / "said")
            code, said = ended(pid), (tmp / "said").read_text()
            assert code in (0, -sent, 130) and "Traceback" not in said, (code, said)
            assert code != 130 or STOPPED in said, said
            stops += code != 0
            if not code:
                break
        assert ended(child(lambda: run_in(home), tmp / "said")) == 0, (tmp / "said").read_text()
        assert not differing(calm / "work", home / "work")
        assert {p.name for p in (home / "work").iterdir()} == MADE
    assert stops >= 8, (stops, events)


def test_a_run_stopped_at_random_moments_ends_as_the_undisturbed_one(tmp_path):
    in_a_fresh_process("stop_the_run", tmp_path)


def fill_the_disk(tmp):
    "No file may grow beyond a size, from a few bytes on: one sentence each time; then the same line goes on."
    preload()
    calm, home = homes(tmp, "calm", "full")
    assert ended(child(lambda: run_in(calm), tmp / "said")) == 0, (tmp / "said").read_text()

    refused = 0
    for most in (0, 100, 600, 1500, 3000, 8000, 20000, 60000, 200_000):
        code = ended(child_unlimited(lambda: limited(lambda: run_in(home), most), tmp / "pipe"))
        said = (tmp / "pipe").read_text()
        assert code in (0, 2) and "Traceback" not in said and "should not happen" not in said, (most, code, said)
        refused += code == 2
        assert code == 0 or re.search("disk|larger", said), (most, said)
    assert refused >= 5, refused
    assert ended(child(lambda: run_in(home), tmp / "said")) == 0, (tmp / "said").read_text()
    assert not differing(calm / "work", home / "work")


def child_unlimited(work, said):
    "As `child`, but what it says goes through a pipe: a file would be limited, too."
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        code = 70
        try:
            os.close(read)
            for n in (1, 2):
                os.dup2(write, n)
            code = work()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(write)
    with open(read, "rb") as f:
        said.write_bytes(f.read())
    return pid


def test_files_that_cannot_grow_are_one_sentence_and_lose_nothing(tmp_path):
    in_a_fresh_process("fill_the_disk", tmp_path)


def start_twice(tmp):
    "Twenty starts of one line at once: one works, the others say so or find it done."
    preload()
    calm, home = homes(tmp, "calm", "crowd")
    assert ended(child(lambda: run_in(calm, "..patches"), tmp / "said")) == 0
    busy = 0
    for step in ("annotate", "patches"):
        pids = {child(lambda: run_in(home, step), tmp / f"said{k}"): tmp / f"said{k}" for k in range(10)}
        codes = {said: ended(pid) for pid, said in pids.items()}
        assert 0 in codes.values() and set(codes.values()) <= {0, 2}, codes
        for said, code in codes.items():
            text = said.read_text()
            assert code == 0 or "is being written by" in text or "is finished already" in text, text
            busy += code == 2
    assert busy >= 2 and not differing(calm / "work", home / "work")


def test_many_starts_of_one_line(tmp_path):
    in_a_fresh_process("start_twice", tmp_path)


# --- damaged files


def originals(folder):
    "One good input of each kind."
    make_cells(folder / "cells", n=24, side=16)
    files = sorted((folder / "cells").rglob("*.png"))
    table = pd.DataFrame(
        dict(
            file=[str(f.relative_to(folder)) for f in files],
            label=[f.parts[-3] for f in files],
            group=[f.parts[-2] for f in files],
        )
    )
    table.to_csv(folder / "table.csv", index=False)
    images = np.stack([np.asarray(Image.open(f)) for f in files])
    np.savez(folder / "arrays.npz", images=images, label=table.label.to_numpy("U1"), group=table.group.to_numpy("U9"))
    return [folder / "table.csv", folder / "arrays.npz", files[0]]


def damage(data, rng):
    "Cut, changed bytes, a hole, noise, or a piece twice."
    k, n = rng.integers(5), len(data)
    if k == 0:
        return data[: rng.integers(n)]
    if k == 1:
        out = bytearray(data)
        for _ in range(rng.integers(1, 9)):
            out[rng.integers(n)] = rng.integers(256)
        return bytes(out)
    a, b = sorted(rng.integers(0, n, 2))
    return {2: data[:a] + bytes(b - a) + data[b:], 3: data[:a] + rng.bytes(b - a) + data[b:], 4: data[:b] + data[a:]}[
        int(k)
    ]


def damage_the_input(tmp):
    "120 damaged inputs: done, or one sentence, within seconds; never a traceback."
    from cellprotocols.cli import main

    preload()  # an import is no hang
    home = tmp / "in"
    home.mkdir()
    kinds, rng, codes = originals(home), np.random.default_rng(0), []

    def late(*_):
        raise TimeoutError("it hangs")

    signal.signal(signal.SIGALRM, late)
    for k in range(120):
        file = kinds[k % 3]
        good = file.read_bytes()
        file.write_bytes(damage(good, rng))
        source, err = (file if file.suffix != ".png" else home / "cells"), io.StringIO()
        signal.alarm(60)
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            code = main(["chromatin", "annotate", "--source", str(source), "--out", str(tmp / "out")])
            if not code and file.suffix != ".csv":
                code = main(["chromatin", "patches", "--source", str(tmp / "out"), "--out", str(tmp / "patches")])
        signal.alarm(0)
        lines = [line for line in err.getvalue().splitlines() if not line.startswith("  note:")]
        assert code in (0, 2) and len(lines) == (code == 2), (k, file.name, code, err.getvalue())
        codes.append(code)
        file.write_bytes(good)
        for out in ("out", "patches", ".out.partial", ".patches.partial"):
            shutil.rmtree(tmp / out, ignore_errors=True)
    assert codes.count(2) >= 40, "most damage is noticed"


def test_damaged_inputs_end_in_a_sentence(tmp_path):
    in_a_fresh_process("damage_the_input", tmp_path)


# --- the honest word


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    "A run on images whose classes are names only."
    home = tmp_path_factory.mktemp("noise")
    make_cells(home / "cells", shuffled=True, n=120)
    from cellprotocols.cli import main

    for step in ("..train", "visualize"):
        words = ["--source", str(home / "cells"), "--out", str(home / "work"), *WORDS, "--steps", step]
        assert main(["run", "chromatin", *words]) == 0
    return home / "work"


def test_labels_that_mean_nothing_are_not_good_enough(noise):
    page = (noise / "26_visualize" / "report.html").read_text(encoding="utf-8")
    assert "Not good enough" in page and "No better than guessing can be excluded" in page


def test_the_optimistic_score_stays_beside_the_honest_one(noise):
    scores = pd.read_csv(noise / "24_train" / "scores.csv")
    assert (
        scores.optimistic.equals(scores.split == "random") and scores.optimistic.any() and not scores.optimistic.all()
    )
    page = (noise / "26_visualize" / "report.html").read_text(encoding="utf-8")
    assert "optimistic" in page.split("</style>")[-1]


def test_a_group_pattern_that_finds_nothing_suggests_one_that_does(tmp_path, capsys):
    from cellprotocols.cli import main

    for k in range(12):
        path = tmp_path / "cells" / "AB"[k % 2] / f"run7_plate{k // 4}_cell{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16), 10 * k).save(path)
    words = [
        "run",
        "chromatin",
        "--source",
        str(tmp_path / "cells"),
        "--out",
        str(tmp_path / "w"),
        "--steps",
        "annotate",
    ]
    assert main([*words, "--group", r"(well\d+)"]) == 2
    said = capsys.readouterr().err
    pattern = re.search(r"--group '(.*?)'", said)[1]
    assert pattern == r"(plate\d+)", said
    assert main([*words, "--group", pattern]) == 0
