"Damaged files among many: every protocol goes on without them, and names all of them in one table."

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.io import imsave

from cellprotocols.artifacts import patches as artifact_patches
from cellprotocols.artifacts.annotate import run as annotate_artifacts
from cellprotocols.cell_lines import annotate as cell_lines
from cellprotocols.cell_lines.infer import _list_frames as list_frames
from cellprotocols.chromatin import annotate, patches
from cellprotocols.embryosets import read_embryo_set
from cellprotocols.errors import UserError
from cellprotocols.hints import Hints, give_hints
from cellprotocols.imagesets import leave_damaged
from cellprotocols.movies import find_movies
from cellprotocols.organelles import annotate as organelles
from cellprotocols.strings import annotate as strings
from cellprotocols.synth_organelles import make_organelle_set, write_organelle_set


def write(path, size=(40, 48), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, np.random.default_rng(seed).integers(60, 200, size, dtype=np.uint8), check_contrast=False)


def damage(files):
    "Cut off, overwritten inside, empty, and text: in turn."
    for k, f in enumerate(files):
        data = f.read_bytes()
        inside = data[:60] + bytes(40) + data[100:]
        f.write_bytes([data[: len(data) // 2], inside, b"", b"not an image"][k % 4])
    return sorted(f.name for f in files)


def names_in(table):
    return sorted(f.rsplit("/", 1)[-1] for f in pd.read_csv(table).file)


def test_chromatin(tmp_path, capsys):
    home = tmp_path / "in"
    for c in "AB":
        for g in range(2):
            for i in range(6):
                write(home / c / f"s{g}" / f"{c}{g}{i}.png", seed=i)
    bad = damage([home / "A" / "s0" / f"A0{i}.png" for i in range(4)] + [home / "B" / "s1" / "B10.png"])
    labels = annotate.run(str(home), str(tmp_path / "a"))
    made = patches.run(str(labels.path), str(tmp_path / "p"))
    assert len(made.items) == 24 - 5 and names_in(made.path / "skipped.csv") == bad
    assert f"{len(bad)} of 24 files cannot be read" in capsys.readouterr().out
    assert not set(made.items.file.str.split("/").str[-1]) & set(bad)
    assert (made["patches"][:].reshape(19, -1).std(axis=1) > 0).all()


def test_chromatin_with_no_file_that_can_be_read(tmp_path):
    for c in "AB":
        write(tmp_path / "in" / c / "s" / f"{c}.png")
    damage(list((tmp_path / "in").rglob("*.png")))
    labels = annotate.run(str(tmp_path / "in"), str(tmp_path / "a"))
    with pytest.raises(UserError, match="none of the files can be read|no cell|copy it again"):
        patches.run(str(labels.path), str(tmp_path / "p"))


def test_movies_to_infer(tmp_path):
    for k in range(4):
        write(tmp_path / f"w{'ABCD'[k]}.png")
    (tmp_path / "wB.png").write_bytes(b"no image")
    lost = {}
    assert [m.name for m in find_movies(tmp_path, lost)] == ["wA.png", "wC.png", "wD.png"] and list(lost) == ["wB.png"]
    with pytest.raises(UserError):
        find_movies(tmp_path)


def test_cell_lines(tmp_path, capsys):
    home = tmp_path / "in"
    for line in ("round", "long"):
        for b in range(2):
            for t in range(5):
                write(home / line / f"batch_{b}" / f"P0_{t:02}d00h00m.png", seed=t)
    bad = damage(sorted((home / "round" / "batch_0").glob("*.png"))[:4])
    made = cell_lines.run(str(home), str(tmp_path / "out"))
    assert len(made.items) == 16 and names_in(made.path / "skipped.csv") == bad
    assert "4 of 20 files cannot be read" in capsys.readouterr().out
    rows, _, lost = list_frames(home, "", "none")
    assert len(rows) == 16 and len(lost) == 4


def test_strings(tmp_path, capsys):
    home = tmp_path / "in"
    for e in range(3):
        for t in range(4):
            write(home / f"E{e}" / f"E{e}f{t}.png", seed=t)
    bad = damage(sorted((home / "E1").glob("*.png")))
    made = strings.run(str(home), str(tmp_path / "out"))
    assert len(made.items) == 8 and names_in(made.path / "skipped.csv") == bad
    assert "4 of 12 files cannot be read" in capsys.readouterr().out
    assert len(read_embryo_set(home).lost) == 4


def test_organelles(tmp_path, capsys):
    fields, table = make_organelle_set(6, 1, (96, 96), (0, 14), seed=1)
    home = write_organelle_set(tmp_path / "in", fields, table)
    blue = sorted(home.glob("*_blue.png"))[:3]
    damage(blue)
    made = organelles.run(str(home), str(tmp_path / "out"))
    assert len(made.items) == 3
    assert names_in(made.path / "skipped.csv") == sorted(f.name.removesuffix("_blue.png") for f in blue)
    assert "3 of 6 fields are left out" in capsys.readouterr().out


def test_artifacts(tmp_path):
    home = tmp_path / "in"
    for c in ("clean", "artifact"):
        for i in range(6):
            write(home / c / f"{c}{i}.png", (200, 200), seed=i)
    bad = damage([home / "clean" / f"clean{i}.png" for i in range(4)])
    labels = annotate_artifacts(str(home), str(tmp_path / "a"), pattern="(.)\\.png")
    made = artifact_patches.run(str(labels.path), str(tmp_path / "p"))
    assert names_in(made.path / "skipped.csv") == bad


def test_what_must_be_asked_is_asked_and_not_left_out(tmp_path):
    write(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((2, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(UserError, match="does not say what its axes"):
        give_hints(tmp_path, Hints(ask=True))
        leave_damaged(pd.DataFrame(dict(file=["a.png", "b.tif"])), tmp_path)
