"""Every step of every protocol, stopped at random moments and on a full disk: one sentence, and the same bytes in the end.

Small sets, quick settings. Each protocol runs in a process of its own that forks, so that a kill costs no import."""

import os
import random
import re
import signal
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
from small_runs import MAKE, list_steps, to_words
from test_faults import child, child_unlimited, counted, differing, ended, limited, stopped

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
SENT = (signal.SIGKILL, signal.SIGTERM)
SIZES = (200, 20_000)  # no file may grow beyond so many bytes


def preload(protocol):
    "Whatever is imported here is not imported in every child."
    for step in list_steps(protocol):
        import_module(f"cellprotocols.{protocol}.{step}")
    import timm, torch, zarr  # noqa: F401
    import cellprotocols.cli  # noqa: F401


def run_in(home, protocol, step):
    from cellprotocols.cli import main

    os.chdir(home)
    return main(to_words(protocol, step))


def run_all(protocol, tmp):
    "Each step calm in one folder; in another on a disk that fills up, then stopped twice, then to its end."
    preload(protocol)
    calm, rough, said = tmp / "calm", tmp / "rough", tmp / "said"
    for home in (calm, rough):
        home.mkdir()
        MAKE[protocol](home / "images")
    rng, refused, stops = random.Random(0), 0, 0
    for step in list_steps(protocol):
        run = partial(run_in, rough, protocol, step)
        calmly = partial(run_in, calm, protocol, step)
        assert ended(child(lambda: counted(calmly, tmp / "events"), said)) == 0, said.read_text()
        events = int((tmp / "events").read_text())
        for most in SIZES:
            code = ended(child_unlimited(lambda: limited(run, most), said))
            text = said.read_text()
            assert code in (0, 2) and "Traceback" not in text and "should not happen" not in text, (step, most, text)
            assert code == 0 or re.search("disk|larger", text), (step, most, text)
            refused += code == 2
        for sent in SENT:
            at = rng.randrange(1, max(2, events))
            code = ended(child(lambda: stopped(run, at, sent), said))
            assert code in (0, -sent) and "Traceback" not in said.read_text(), (step, at, code, said.read_text())
            stops += code != 0
        assert ended(child(run, said)) == 0, said.read_text()
        assert not differing(calm, rough), step
    assert {p.name for p in calm.iterdir()} == {p.name for p in rough.iterdir()}
    assert refused >= len(list_steps(protocol)) and stops >= len(list_steps(protocol)), (refused, stops)


@pytest.mark.parametrize("protocol", MAKE)
def test_every_step_survives_kills_and_full_disks(tmp_path, protocol):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_faults_steps as t; "
        "from pathlib import Path; t.run_all(sys.argv[2], Path(sys.argv[3]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), protocol, str(tmp_path)],
        capture_output=True,
        text=True,
        env=dict(os.environ, CELLPROTOCOLS_QUIET="1", OMP_NUM_THREADS="1"),
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
