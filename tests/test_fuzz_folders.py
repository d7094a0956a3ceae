"Readers of boxes, cells, datasets and bundles against damaged files, each in a process of its own."

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_folders import KINDS

HERE = Path(__file__).parent
INPUTS = 500  # damaged inputs of each kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_end_in_one_error(kind, tmp_path):
    env = os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    line = [sys.executable, str(HERE / "fuzz_folders.py"), kind, str(INPUTS)]
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"
    assert f"{kind}: {INPUTS} inputs" in done.stdout
