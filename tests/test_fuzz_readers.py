"Every reader of images against damaged files, each format in a process of its own: a decoder that dies costs that test."

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_readers import SEEDS, look

HERE = Path(__file__).parent
FILES = 1500  # damaged files a format


@pytest.mark.parametrize("kind", SEEDS)
def test_good_files_are_read_or_refused(kind):
    for data in SEEDS[kind]:
        look(data, False)
        look(data, True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_files_end_in_pixels_or_one_error(kind, tmp_path):
    "No other error, no end of the process, no hang, and no memory beyond the limit."
    env = os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    line = [sys.executable, str(HERE / "fuzz_readers.py"), kind, str(FILES)]
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"
    assert f"{kind}: " in done.stdout
