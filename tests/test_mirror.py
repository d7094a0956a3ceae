"mirror: whole or not at all, nothing finished is touched, a disk that drops out costs nothing, an unfinished dataset goes on elsewhere."

import os
import shutil
import time

import pandas as pd
import pytest

import cellprotocols.mirror as mirror_module
from cellprotocols.dataset import check_dataset
from cellprotocols.writer import DatasetWriter
from cellprotocols.mirror import Mirror, MirrorError, keep_copy, iter_units


def rows(*ids):
    return pd.DataFrame(dict(item_id=list(ids), group="g", label="round", by="anna", at="now"))


def begin(path, *ids):
    w = DatasetWriter(path, "labels", "demo.annotate")
    for i in ids:
        w.append(i, rows(i))
    w.flush()
    return w


def finish(path, *ids):
    with begin(path, *ids) as w:
        return w.commit()


def names(paths):
    return sorted(p.as_posix() for p in paths)


def state(folder):
    return {
        p.relative_to(folder).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.fixture
def disks(tmp_path):
    (tmp_path / "drive").mkdir()
    (tmp_path / "work").mkdir()
    return tmp_path / "work", tmp_path / "drive" / "copy"


def test_round_trip(disks, tmp_path):
    work, to = disks
    finish(work / "p" / "11_annotate", "a", "b")
    begin(work / "p" / "12_patches", "c")
    (work / "p" / "practice").mkdir()
    (work / "p" / "practice" / "movie.tif").write_bytes(b"pixels")
    (work / "p" / "x.part").write_bytes(b"half")
    (work / "p" / ".x.lock").write_bytes(b"")
    assert names(Mirror(work, to).copy()) == ["p/.12_patches.partial", "p/11_annotate", "p/practice/movie.tif"]
    new = tmp_path / "new"
    assert len(Mirror(new, to).bring_back()) == 3
    assert check_dataset(new / "p" / "11_annotate").fingerprint == check_dataset(work / "p" / "11_annotate").fingerprint
    with DatasetWriter(new / "p" / "12_patches", "labels", "demo.annotate") as w:
        assert w.done == {"c"}, "what was done before the machine was lost is not done again"
        w.append("d", rows("d"))
        assert set(w.commit().items.item_id) == {"c", "d"}
    before = state(new)
    assert Mirror(new, to).bring_back() == [] and state(new) == before


def test_a_finished_dataset_replaces_the_archive_of_its_beginning(disks):
    work, to = disks
    w, m = begin(work / "12_patches", "a"), Mirror(work, to)
    m.copy()
    assert [p.name for p in to.iterdir()] == [".12_patches.partial.tar"]
    w.append("b", rows("b"))
    w.commit()
    assert names(m.copy()) == ["12_patches"] and [p.name for p in to.iterdir()] == ["12_patches"]


def test_an_archive_is_renewed_and_only_if_something_changed(disks):
    work, to = disks
    w, m = begin(work / "12_patches", "a"), Mirror(work, to)
    assert len(m.copy()) == 1 and m.copy() == []
    w.append("b", rows("b"))
    w.flush()
    assert len(m.copy()) == 1


def test_a_folder_that_changes_while_it_is_packed_is_not_kept(disks, monkeypatch):
    work, to = disks
    w, m = begin(work / "12_patches", "a"), Mirror(work, to)
    real = mirror_module._state
    monkeypatch.setattr(mirror_module, "_state", lambda f: {**real(f), "tick": time.monotonic_ns()})
    assert m.copy() == [] and not list(to.iterdir())
    monkeypatch.undo()
    assert len(m.copy()) == 1


def test_finished_is_never_touched(disks, capsys):
    work, to = disks
    finish(work / "11_annotate", "a")
    finish(to / "11_annotate", "b")
    (work / "t.csv").write_text("mine")
    (to / "t.csv").write_text("theirs")
    here, there = state(work), state(to)
    m = Mirror(work, to)
    assert m.bring_back() == [] and m.copy() == [] and m.copy() == []
    assert state(work) == here and state(to) == there
    said = capsys.readouterr().out
    assert said.count("11_annotate than the one here") == 1 and said.count("t.csv than the one here") == 1


def test_a_log_grows_and_never_shrinks(disks):
    work, to = disks
    m = Mirror(work, to)
    for n in (1, 2, 3):
        with open(work / "labels.jsonl", "a") as f:
            f.write(f"{n}\n")
        m.copy()
        assert (to / "labels.jsonl").read_text() == (work / "labels.jsonl").read_text()
    (work / "labels.jsonl").write_text("1\n")
    assert m.copy() == [] and (to / "labels.jsonl").read_text() == "1\n2\n3\n"


def test_the_disk_drops_out_and_comes_back(disks, capsys):
    work, to = disks
    m = Mirror(work, to)
    m.copy()
    away = to.parent.with_name("away")
    os.rename(to.parent, away)
    finish(work / "11_annotate", "a")
    assert m.copy() == [] and m.copy() == []
    assert not to.parent.exists(), "nothing is written where the disk was"
    os.rename(away, to.parent)
    assert names(m.copy()) == ["11_annotate"]
    said = capsys.readouterr().out
    assert said.count("cannot be reached") == 1 and said.count("is reached again") == 1


def test_the_disk_drops_out_in_the_middle_of_a_folder(disks, monkeypatch):
    work, to = disks
    finish(work / "11_annotate", "a")
    m, real = Mirror(work, to), mirror_module._copy_tree

    def broken(a, b):
        b.mkdir()
        (b / "items.csv").write_bytes(b"ha")
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(mirror_module, "_copy_tree", broken)
    assert m.copy() == [] and not (to / "11_annotate").exists()
    monkeypatch.setattr(mirror_module, "_copy_tree", real)
    assert names(m.copy()) == ["11_annotate"]
    check_dataset(to / "11_annotate")
    assert [p.name for p in to.iterdir()] == ["11_annotate"]


def test_a_damaged_archive_is_said_and_left(disks, tmp_path):
    work, to = disks
    to.mkdir()
    (to / ".12_patches.partial.tar").write_bytes(b"no archive")
    with pytest.raises(MirrorError, match="12_patches"):
        Mirror(work, to).bring_back()
    assert not (work / ".12_patches.partial").exists()


def test_a_mirror_that_is_not_there(disks, tmp_path):
    with pytest.raises(MirrorError, match="cannot be reached.*mount it"):
        keep_copy(disks[0], tmp_path / "nowhere" / "copy")


def test_archives_cannot_write_outside(disks, tmp_path):
    import io
    import tarfile

    work, to = disks
    to.mkdir()
    with tarfile.open(to / ".12_patches.partial.tar", "w") as t:
        info = tarfile.TarInfo("../../escaped")
        info.size = 1
        t.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(MirrorError):
        Mirror(work, to).bring_back()
    assert not list(tmp_path.rglob("escaped"))


def test_keep_copy_twice_takes_over(disks):
    work, to = disks
    first = keep_copy(work, to, every=0.02)
    second = keep_copy(work, to, every=0.02)
    assert first._end.is_set() and not second._end.is_set()
    finish(work / "11_annotate", "a")
    end = time.monotonic() + 10
    while not (to / "11_annotate").exists() and time.monotonic() < end:
        time.sleep(0.02)
    second._end.set()
    check_dataset(to / "11_annotate")


def test_units_of_an_empty_folder(tmp_path):
    assert list(iter_units(tmp_path)) == []


@pytest.mark.parametrize("at", range(1, 6))
def test_a_disk_that_goes_during_a_round_is_not_made_anew(disks, tmp_path, monkeypatch, capsys, at):
    "A folder in its place would be a copy on the machine that is lost, called the one that lasts."
    work, to = disks
    for k in range(2):
        report = finish(work / f"1{k}_annotate", "a")
        (report.path / "figures").mkdir()
        (report.path / "figures" / "1.png").write_bytes(b"picture")
    mirror, copied, real = Mirror(work, to), [], shutil.copy2

    def copy2(a, b):
        copied.append(a)
        if len(copied) == at:
            to.parent.rename(tmp_path / "away")
        return real(a, b)

    monkeypatch.setattr(shutil, "copy2", copy2)
    mirror.copy()
    assert not to.parent.exists() and not mirror.reached and "cannot be reached" in capsys.readouterr().out
    (tmp_path / "away").rename(to.parent)
    mirror.copy()
    assert mirror.reached and {p.name for p in to.iterdir() if p.name[0] != "."} == {"10_annotate", "11_annotate"}
    assert state(to / "10_annotate") == state(work / "10_annotate")
    assert not [p for p in to.rglob("*") if p.name.endswith(".part")]
