"Practice embryos: the same seed gives the same bytes, boxes hold the strings, contrast is what shows them."

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from cellprotocols.origins import is_practice
from cellprotocols.synth_embryos import Embryo, iter_embryo, make_embryo_set, make_embryos


def digest(embryo, **how):
    frames = [f.image.tobytes() for f in iter_embryo(embryo, 3, 128, **how)]
    return hashlib.sha256(b"".join(frames)).hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    code = (
        "import hashlib\nfrom cellprotocols.synth_embryos import *\n"
        "print(hashlib.sha256(b''.join(f.image.tobytes() for f in iter_embryo(Embryo('E'), 3, 128))).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == digest(Embryo("E")) != digest(Embryo("E"), seed=1)


def test_what_a_string_changes_lies_in_its_box():
    with_string, without = Embryo("E", strings=1, noise=0), Embryo("E", strings=1, contrast=0, noise=0)
    seen = 0
    for a, b in zip(iter_embryo(with_string, 5, 200), iter_embryo(without, 5, 200)):
        changed = np.abs(a.image.astype(int) - b.image.astype(int)) > 6
        inside = np.zeros_like(changed)
        for y0, x0, y1, x1 in a.boxes:
            assert 0 <= y0 < y1 <= 200 and 0 <= x0 < x1 <= 200
            inside[y0:y1, x0:x1] = True
        assert not (changed & ~inside).any()
        seen += len(a.boxes) > 0 and changed.any()
    assert seen


@pytest.mark.parametrize("size", [128, 321])
def test_geometry_is_what_it_says(size):
    f = next(iter_embryo(Embryo("E", strings=0), 2, size))
    y, x = np.mgrid[:size, :size]
    cy, cx, r = f.circle
    assert not (f.cavity & (np.hypot(y - cy, x - cx) > r)).any()
    assert not (f.cavity & f.mass).any() and f.cavity.sum() > f.mass.sum() > 0


def test_a_set_has_clean_embryos_and_is_marked_as_practice(tmp_path):
    t = make_embryo_set(tmp_path / "set", 4, 2, 96)
    assert is_practice(tmp_path / "set") and t.embryo.nunique() == 4
    assert set(t.groupby("embryo").strings.max() == 0) == {True, False}
    assert [e.strings > 0 for e in make_embryos(10)].count(True) == 7
