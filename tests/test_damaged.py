"Damaged files among many: every protocol goes on without them, and names all of them in one table."

from types import SimpleNamespace

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
from cellprotocols.imagesets import leave_damaged, read_lost
from cellprotocols.movies import find_movies
from cellprotocols.organelles import annotate as organelles
from cellprotocols.strings import annotate as strings, infer, patches as string_patches, selfsupervise
from cellprotocols.strings.annotate import find_frame_root
from cellprotocols.synth_organelles import make_organelle_set, write_organelle_set
from cellprotocols.writer import DatasetWriter


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
    assert f"{len(bad)} of 24 files are left out, all named in skipped.csv" in capsys.readouterr().out
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
    assert "4 of 20 files are left out, all named in skipped.csv" in capsys.readouterr().out
    model = SimpleNamespace(bundle=SimpleNamespace(normalisation={}))
    rows, _, lost = list_frames(home, "", "none", model)
    assert len(rows) == 16 and len(lost) == 4


def test_strings(tmp_path, capsys):
    home = tmp_path / "in"
    for e in range(3):
        for t in range(4):
            write(home / f"E{e}" / f"E{e}f{t}.png", seed=t)
    bad = damage(sorted((home / "E1").glob("*.png")))
    made = strings.run(str(home), str(tmp_path / "out"))
    assert len(made.items) == 8 and names_in(made.path / "skipped.csv") == bad
    assert "4 of 12 files are left out, all named in skipped.csv" in capsys.readouterr().out
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


def write_film(path, bad=(), n=6):
    "A movie whose frames are compressed one by one; those named in `bad` cannot be unpacked."
    rng = np.random.default_rng(len(path.stem))
    film = rng.integers(20, 200, (n, 96, 96), np.uint8)
    tifffile.imwrite(path, film, photometric="minisblack", compression="zlib", metadata=dict(axes="TYX"))
    with tifffile.TiffFile(path) as f:
        where = [(f.pages[t].dataoffsets[0], f.pages[t].databytecounts[0]) for t in bad]
    data = bytearray(path.read_bytes())
    for at, size in where:
        data[at : at + size] = bytes(rng.integers(0, 255, size, np.uint8))
    path.write_bytes(data)


@pytest.fixture
def films(tmp_path):
    "Three embryos, a movie each; frames 2 and 3 of one are damaged: it opens, and its last frame is sound."
    (tmp_path / "in").mkdir()
    for k in range(3):
        write_film(tmp_path / "in" / f"E{k}.tif", [2, 3] if k == 1 else [])
    return strings.run(str(tmp_path / "in"), str(tmp_path / "31"))


def test_frames_in_the_middle_of_a_movie(films, tmp_path, capsys):
    assert len(films.items) == 18  # what is in the middle is only seen by who reads it
    lost = films.items[films.items.file.eq("E1.tif") & films.items.t.isin([2, 3])].item_id.tolist()
    made = string_patches.run(str(films.path), str(tmp_path / "32"), most=5)
    assert names_in(made.path / "skipped.csv") == sorted(lost)
    assert str(tmp_path) not in (made.path / "skipped.csv").read_text()
    assert "2 of 18 frames are left out, all named in skipped.csv" in capsys.readouterr().out
    assert len(string_patches.read_frame_table(made)) == 16 and not set(made.items.field_id) & set(lost)
    seen = selfsupervise.run(str(made.path), str(tmp_path / "33"), side=64, epochs=0)
    assert np.load(seen.path / "frames.npy").shape[0] == 16 and not set(seen.items.field_id) & set(lost)


def test_a_run_that_goes_on_still_knows_the_frames_that_are_lost(films, tmp_path, monkeypatch):
    read, n = string_patches.read_embryo_frame, []

    def stopping(root, row):
        n.append(row.item_id)
        if len(n) == 15:
            raise KeyboardInterrupt
        return read(root, row)

    with monkeypatch.context() as m:
        m.setattr(string_patches, "read_embryo_frame", stopping)
        with pytest.raises(KeyboardInterrupt):
            string_patches.run(str(films.path), str(tmp_path / "32"), most=5)
    made = string_patches.run(str(films.path), str(tmp_path / "32"), most=5)
    assert len(names_in(made.path / "skipped.csv")) == 2 and len(string_patches.read_frame_table(made)) == 16


def test_frames_of_a_movie_that_strings_are_looked_for_in(films, tmp_path):
    class Quiet:
        screen = SimpleNamespace(predict=lambda score: 0.5)

        def look(self, img, cache):
            assert img.shape[:2] == (96, 96)
            none = pd.DataFrame(columns=[*"y0 x0 y1 x1".split(), "prob", "fit", "score"], dtype=float)
            return 0.4, none, np.zeros((0, 4), np.float16)

    with DatasetWriter(tmp_path / "35", "predictions", "strings.infer", {}, {}, 0) as w:
        root = find_frame_root(films)
        infer._find_all(w, films.items, root, Quiet(), 0.5, 0.5, 0.3, "")
        assert len(w.rows()) == 16 and len(read_lost(w.folder.parent / "lost.jsonl")) == 2
