"Datasets: the checker, reading by kind and maker, parents, side files, fingerprints, tampering."

import json
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

import numpy as np, pandas as pd, pytest
from sample_tables import arrays_of, files_of, rows, table

from cellprotocols.dataset import KINDS, check_dataset, check_items, fingerprint, read_dataset
from cellprotocols.tables import DatasetError
from cellprotocols.writer import DatasetWriter, is_done, write_dataset


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    "Forcing files to disk takes most of the time here and matters only for a power cut."
    monkeypatch.setattr(os, "fsync", lambda fd: None)


# ---- the checker ----------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_written_and_read(tmp_path, kind):
    ds = write_dataset(tmp_path / "d", kind, table(kind), "test", arrays=arrays_of(kind), files=files_of(kind))
    assert read_dataset(tmp_path / "d", kind).fingerprint == ds.fingerprint and len(ds) == ds.n == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_required_column_is_required(tmp_path, kind):
    for need in ("item_id", "group", *KINDS[kind]):
        short = table(kind)[[c for c in table(kind) if not fnmatch(c, need)]]
        with pytest.raises(DatasetError, match="is missing"):
            check_items(kind, short, arrays_of(kind))


@pytest.mark.parametrize(
    "kind, change, says",
    [
        ("fields", dict(file=["a", ""]), r"column file of item 'b' \(row 1\)"),
        ("fields", dict(px_um=[0.3, 0]), "column px_um of item 'b'"),
        ("fields", dict(px_um="0.3"), "a number"),
        ("patches", dict(y=[np.nan, 1]), "column y of item 'a'"),
        ("patches", dict(x=[1, np.inf]), "column x of item 'b'"),
        ("patches", dict(size=0), "column size"),
        ("labels", dict(by=""), "column by"),
        ("boxes", dict(y1=[1, 0]), "column y1 of item 'b' .*y1 greater than y0"),
        ("boxes", dict(x1=[0, 1]), "column x1 of item 'a'"),
        ("boxes", dict(score=[np.nan, 1]), "column score"),
        ("bags", dict(members=['["a"]', "a,b"]), "column members of item 'b'"),
        ("bags", dict(members="[]"), "members"),
        ("predictions", dict(prob_A=[np.nan, 0.1]), "column prob_A of item 'a'"),
        ("predictions", dict(prob_A=[0.9, 0.5]), r"item 'b' \(row 1\) sum to 1.4000"),
        ("predictions", dict(prob_A=[1.4, 0.1], prob_B=[-0.4, 0.9]), "column prob_A of item 'a'"),
        ("masks", dict(group=["g", ""]), "column group of item 'b'"),
        ("masks", dict(group=["g", np.nan]), "column group of item 'b'"),
        ("masks", dict(item_id=["a", "a"]), r"column item_id of item 'a' \(row 1\)"),
    ],
)
def test_the_checker_names_column_item_and_value(tmp_path, kind, change, says):
    with pytest.raises(DatasetError, match=says):
        write_dataset(tmp_path / "d", kind, table(kind, **change), "test", arrays=arrays_of(kind))
    assert not (tmp_path / "d").exists()


def test_several_classes_may_be_true_at_once_when_said_so(tmp_path):
    both = table("predictions", prob_A=[0.9, 0.9], prob_B=[0.9, 0.2])
    with pytest.raises(DatasetError, match="multilabel"):
        write_dataset(tmp_path / "d", "predictions", both, "test")
    write_dataset(tmp_path / "e", "predictions", both, "test", settings=dict(multilabel=True))
    assert read_dataset(tmp_path / "e").n == 2


# ---- fingerprints ----------------------------------------


def test_a_changed_input_is_noticed_and_a_moved_one_is_not(tmp_path):
    for where in ("a", "b"):
        (tmp_path / where).mkdir()
        (tmp_path / where / "1.tif").write_bytes(b"1")
        (tmp_path / where / ".DS_Store").write_text(where)
    write_dataset(tmp_path / "d", "masks", table("masks"), "test", inputs=dict(images=tmp_path / "a"))
    assert is_done(tmp_path / "d", "test", inputs=dict(images=str(tmp_path / "b")))
    (tmp_path / "b" / "1.tif").write_bytes(b"2")
    with pytest.raises(DatasetError, match="the input images was"):
        is_done(tmp_path / "d", "test", inputs=dict(images=tmp_path / "b"))
    with pytest.raises(DatasetError, match="there is no file or folder"):
        is_done(tmp_path / "d", "test", inputs=dict(images=tmp_path / "none"))


def test_fingerprints(tmp_path):
    a = write_dataset(tmp_path / "a", "masks", table("masks"), "test", arrays=dict(m=np.zeros((2, 4), bool)))
    b = write_dataset(
        tmp_path / "b", "masks", table("masks"), "other", dict(x=1), arrays=dict(m=np.zeros((2, 4), bool))
    )
    c = write_dataset(tmp_path / "c", "masks", table("masks"), "test", arrays=dict(m=np.ones((2, 4), bool)))
    d = write_dataset(
        tmp_path / "e", "masks", table("masks", field_id="g"), "test", arrays=dict(m=np.zeros((2, 4), bool))
    )
    assert (
        a.fingerprint == b.fingerprint == fingerprint(tmp_path / "a") == fingerprint(a)
        and len({a.fingerprint, c.fingerprint, d.fingerprint}) == 3
    )
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(5_000_000))
    was = fingerprint(big)
    with open(big, "r+b") as f:
        f.seek(4_999_999)
        f.write(b"x")
    assert fingerprint(big) != was != fingerprint([big])


def test_two_nuclei_and_seventy_kilobytes_are_noticed(tmp_path):
    labels = np.zeros((512, 512), np.uint8)
    labels[100:112, 100:112], labels[400:412, 300:312] = 1, 2

    def done():
        return is_done(
            tmp_path / "d", "test", inputs=dict(labels=tmp_path / "labels.npy", movie=tmp_path / "movie.bin")
        )

    np.save(tmp_path / "labels.npy", labels)
    movie = np.random.default_rng(0).bytes(400_000)
    (tmp_path / "movie.bin").write_bytes(movie)
    write_dataset(
        tmp_path / "d",
        "masks",
        table("masks"),
        "test",
        inputs=dict(labels=tmp_path / "labels.npy", movie=tmp_path / "movie.bin"),
    )
    assert done()
    for at in ((105, 105), (405, 305)):
        labels[at] = 0
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(DatasetError, match="the input labels was"):
        done()
    for at in ((105, 105), (405, 305)):
        labels[at] = 1 + (at[0] > 200)
    np.save(tmp_path / "labels.npy", labels)
    assert done()
    (tmp_path / "movie.bin").write_bytes(movie[:100_000] + bytes(70_000) + movie[170_000:])
    with pytest.raises(DatasetError, match="the input movie was"):
        done()


def test_lists_keep_their_order_and_tell_equal_names_apart(tmp_path):
    for plate, text in (("p1", "one"), ("p2", "two")):
        (tmp_path / plate).mkdir()
        (tmp_path / plate / "a.tif").write_text(text)
    one, two = tmp_path / "p1" / "a.tif", tmp_path / "p2" / "a.tif"
    was = fingerprint([one, two])
    assert fingerprint([two, one]) != was == fingerprint((str(one), str(two)))
    made = write_dataset(tmp_path / "d", "masks", table("masks"), "test", inputs=dict(images=[two, one]))
    assert made.meta["inputs"]["images"]["path"] == ["../p2/a.tif", "../p1/a.tif"]
    shutil.copytree(tmp_path / "p1", tmp_path / "elsewhere" / "p1")
    shutil.copytree(tmp_path / "p2", tmp_path / "elsewhere" / "p2")
    assert fingerprint([tmp_path / "elsewhere" / "p1" / "a.tif", tmp_path / "elsewhere" / "p2" / "a.tif"]) == was
    (tmp_path / "p1").rename(tmp_path / "p0")
    assert fingerprint([tmp_path / "p0" / "a.tif", two]) != was, "names count, as in a folder"
    assert fingerprint([]) == fingerprint(())


# ---- reading ----------------------------------------


def test_reading_the_wrong_folder_says_what_to_run(tmp_path, monkeypatch):
    write_dataset(tmp_path / "51_fields", "fields", table("fields"), "artifacts.annotate")
    monkeypatch.chdir(tmp_path)

    def says(*args):
        with pytest.raises(DatasetError) as e:
            read_dataset(*args)
        return str(e.value)

    asked = ("patches", "artifacts.patches")
    ask = "this step reads patches made by artifacts.patches: run 52_patches first"
    assert says("51_fields", *asked) == f"51_fields holds fields (made by artifacts.annotate); {ask}"
    assert says("52_patches", *asked) == f"there is no folder 52_patches; {ask}"
    with pytest.raises(RuntimeError), DatasetWriter("52_patches", "patches", "test") as w:
        w.append(0, rows(2))
        raise RuntimeError
    assert (
        says("52_patches", *asked)
        == f"52_patches is not finished: the step was interrupted; {ask}; it goes on where it stopped"
    )
    os.mkdir("x")
    Path("x/y").write_text("")
    assert "not a dataset" in says("x", "patches") and "is a file" in says("x/y", "patches")


def test_a_kind_and_a_maker_are_asked_for(tmp_path):
    for maker in ("chromatin.train", "chromatin.infer", "my.script"):
        write_dataset(tmp_path / maker, "predictions", table("predictions"), maker)
    read = lambda name, maker: read_dataset(tmp_path / name, "predictions", maker).meta["made_by"]
    assert read("chromatin.train", "chromatin.train") == "chromatin.train"
    assert read("chromatin.infer", ("chromatin.train", "chromatin.infer")) == "chromatin.infer"
    assert read("my.script", "my.script") == read("my.script", None) == "my.script"
    both = r"holds predictions \(made by my.script\); this step reads predictions made by chromatin.train or chromatin.infer: run 24_train or 25_infer first"
    with pytest.raises(DatasetError, match=both):
        read("my.script", ("chromatin.train", "chromatin.infer"))
    with pytest.raises(DatasetError, match="made by chromatin.train: run 24_train first"):
        read("chromatin.infer", "chromatin.train")
    with pytest.raises(DatasetError, match="this step reads what was made by other.script: run other.script first"):
        read_dataset(tmp_path / "my.script", maker="other.script")


def test_the_layout_before_is_refused_with_a_sentence(tmp_path):
    write_dataset(tmp_path / "d", "masks", table("masks"), "test")
    meta = json.loads((tmp_path / "d" / "dataset.json").read_text())
    del meta["files"]
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(meta | dict(contract=1)))
    for look in (read_dataset, fingerprint, lambda d: is_done(d, "test")):
        with pytest.raises(DatasetError, match=r"older cellprotocols \(layout 1\); needed: layout 2; run the step"):
            look(tmp_path / "d")


# ---- parents ----------------------------------------


@pytest.fixture
def family(tmp_path):
    "(labels, patches made from them)"
    labels = write_dataset(
        tmp_path / "work" / "21_annotate", "labels", table("labels"), "chromatin.annotate", files={"a/note.txt": "x"}
    )
    made = write_dataset(
        tmp_path / "work" / "22_patches", "patches", rows(3), "chromatin.patches", dict(size=8), dict(labels=labels)
    )
    return labels, made


def test_a_parent_is_found_wherever_the_folders_lie(family, tmp_path):
    labels, made = family
    assert (
        made.settings == {"size": 8}
        and made.parent("labels", "labels", "chromatin.annotate").fingerprint == labels.fingerprint
    )
    os.rename(tmp_path / "work", tmp_path / "moved")
    again = read_dataset(tmp_path / "moved" / "22_patches")
    assert again.parent("labels").path == tmp_path / "moved" / "21_annotate"
    with pytest.raises(DatasetError, match="this step reads masks"):
        again.parent("labels", "masks")
    with pytest.raises(DatasetError, match="made by artifacts.annotate: run 51_annotate"):
        again.parent("labels", maker="artifacts.annotate")
    with pytest.raises(DatasetError, match="has no input 'images'; it has labels"):
        again.parent("images")


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(items=table("labels")[:1]), "the number of items was 2 and is now 1, changed: items.csv"),
        (dict(items=table("labels", label="B")), r"now \(changed: items.csv\); run 22_patches again"),
        (dict(files={"a/note.txt": "y"}), "changed: side files"),
        (dict(files={}), "changed: side files"),
        (dict(made_by="my.script"), None),
        (dict(arrays=dict(a=np.zeros(2))), "changed: a.zarr"),
    ],
)
def test_a_parent_that_has_changed_is_named_with_what_changed(family, tmp_path, change, says):
    shutil.rmtree(tmp_path / "work" / "21_annotate")
    asked = dict(kind="labels", items=table("labels"), made_by="chromatin.annotate", files={"a/note.txt": "x"})
    write_dataset(tmp_path / "work" / "21_annotate", **{**asked, **change})
    if says is None:
        assert family[1].parent("labels").n == 2  # the same content
    else:
        with pytest.raises(DatasetError, match="22_patches was made from another 21_annotate than .*" + says):
            family[1].parent("labels")


def test_a_parent_that_is_gone_or_no_dataset(family, tmp_path):
    shutil.rmtree(tmp_path / "work" / "21_annotate")
    with pytest.raises(DatasetError, match="which is no longer at .*put it back, or run 22_patches again"):
        family[1].parent("labels")
    (tmp_path / "a.txt").write_text("x")
    for source in (tmp_path / "a.txt", [tmp_path / "a.txt"]):
        made = write_dataset(
            tmp_path / f"d{type(source).__name__}", "masks", table("masks"), "test", inputs=dict(images=source)
        )
        with pytest.raises(DatasetError, match="is files, not a dataset"):
            made.parent("images")


# ---- side files ----------------------------------------

SIDE = {"masks/f1.png": b"mask", "scores.csv": "a,b\n1,2\n", "bundle/model.txt": "weights", "é.txt": "x"}


def test_side_files_are_part_of_the_fingerprint(tmp_path):
    def make(name, files):
        return write_dataset(tmp_path / name, "masks", table("masks"), "test", files=files)

    same, none = make("a", SIDE), make("b", {})
    assert list(same.meta["files"]) == sorted(SIDE) and same.meta["files"]["masks/f1.png"]["bytes"] == 4
    assert make("c", dict(reversed(SIDE.items()))).fingerprint == same.fingerprint != none.fingerprint
    assert make("d", SIDE | {"masks/f1.png": b"mosk"}).fingerprint != same.fingerprint
    assert (
        make("e", {("masks/f2.png" if k == "masks/f1.png" else k): v for k, v in SIDE.items()}).fingerprint
        != same.fingerprint
    )


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda d: (d / "masks" / "f1.png").write_bytes(b"longer"), "has a file masks/f1.png that was changed"),
        (lambda d: (d / "scores.csv").unlink(), "has lost the file scores.csv"),
        (lambda d: (d / "masks" / "f2.png").write_bytes(b""), "has a file masks/f2.png that was not there"),
        (lambda d: shutil.rmtree(d / "bundle"), "has lost the file bundle/model.txt"),
        (lambda d: shutil.copytree(d / "bundle", d / "nested"), "has a file nested/model.txt that was not there"),
    ],
)
def test_a_side_file_that_is_changed_lost_or_added_is_named(tmp_path, spoil, says):
    write_dataset(tmp_path / "d", "masks", table("masks"), "test", files=SIDE)
    spoil(tmp_path / "d")
    for look in (read_dataset, check_dataset):
        with pytest.raises(DatasetError, match=says):
            look(tmp_path / "d")


def test_a_forged_side_file_of_the_same_size_and_time_is_seen_by_the_thorough_look(tmp_path):
    write_dataset(tmp_path / "d", "masks", table("masks"), "test", files=SIDE)
    file, mask = tmp_path / "d" / "masks" / "f1.png", (tmp_path / "d" / "masks" / "f1.png").stat()
    check_dataset(tmp_path / "d")
    file.write_bytes(b"MASK")
    os.utime(file, ns=(mask.st_atime_ns, mask.st_mtime_ns))
    assert read_dataset(tmp_path / "d").n == 2
    with pytest.raises(DatasetError, match="has a file masks/f1.png that was changed"):
        check_dataset(tmp_path / "d")


def test_what_file_managers_leave_is_no_error(tmp_path):
    made = write_dataset(tmp_path / "d", "masks", table("masks"), "test", files=SIDE)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._scores.csv", "~$scores.csv", ".~lock.scores.csv#"):
        (tmp_path / "d" / name).write_text("litter")
        (tmp_path / "d" / "masks" / name).write_text("litter")
    (tmp_path / "d" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "d" / ".ipynb_checkpoints" / "scores-checkpoint.csv").write_text("litter")
    assert check_dataset(tmp_path / "d").fingerprint == made.fingerprint


def test_a_dataset_inside_a_dataset_is_covered(tmp_path):
    with DatasetWriter(tmp_path / "d", "masks", "test") as w:
        w.append(0, table("masks"))
        write_dataset(w.folder / "cells", "embeddings", table("embeddings"), "inner", arrays=arrays_of("embeddings"))
        w.commit()
    assert (
        "cells/items.csv" in read_dataset(tmp_path / "d").meta["files"]
        and check_dataset(tmp_path / "d" / "cells").n == 2
    )
    next(
        (
            tmp_path / "d" / "cells" / "embeddings.zarr"
            if (tmp_path / "d" / "cells" / "embeddings.zarr").exists()
            else tmp_path / "d" / "cells"
        ).rglob("c.*")
    ).unlink()
    with pytest.raises(DatasetError, match="has lost the file cells/"):
        read_dataset(tmp_path / "d")


def test_a_report_needs_its_page(tmp_path):
    with pytest.raises(DatasetError, match="a report came without report.html"):
        write_dataset(tmp_path / "d", "report", table("report"), "test")
    assert not (tmp_path / "d").exists()
    made = write_dataset(tmp_path / "e", "report", table("report").iloc[:0], "test", files=files_of("report"))
    assert len(read_dataset(tmp_path / "e", "report", "test")) == 0 and made.meta["files"]["report.html"]["bytes"] == 15


def test_tampering_is_noticed(tmp_path):
    ds = write_dataset(tmp_path / "d", "patches", rows(5), "test", dict(s=1), arrays=dict(a=np.arange(5)))

    def spoil(name, how):
        shutil.rmtree(tmp_path / "e", ignore_errors=True)
        shutil.copytree(tmp_path / "d", tmp_path / "e")
        how(tmp_path / "e" / name)
        with pytest.raises(DatasetError) as e:
            check_dataset(tmp_path / "e")
        return str(e.value)

    def edit(a, b):
        return lambda p: p.write_text(p.read_text().replace(a, b, 1))

    assert "items.csv that was changed" in spoil("items.csv", edit("0.5", "0.6"))
    assert "items.csv that was changed" in spoil("items.csv", lambda p: p.write_text(p.read_text() + "\n"))
    assert "lost its items.csv" in spoil("items.csv", Path.unlink)
    assert "cannot be read" in spoil("dataset.json", lambda p: p.write_text(p.read_text()[:50]))
    assert "parts missing" in spoil("dataset.json", lambda p: p.write_text("[]"))
    assert "dataset.json that was changed" in spoil("dataset.json", edit('"n": 5', '"n": 4'))
    assert "newer cellprotocols" in spoil("dataset.json", edit('"contract": 2', '"contract": 3'))
    assert "array a that was changed" in spoil("a.zarr/c.0", Path.unlink)
    assert "array a that was changed" in spoil("a.zarr/c.0", lambda p: p.write_bytes(p.read_bytes()[:-1]))
    assert "array a that was changed" in spoil("a.zarr/zarr.json", edit("5", "4"))
    assert "lost the array a" in spoil("a.zarr/zarr.json", Path.unlink)
    assert "lost the array a" in spoil("a.zarr", shutil.rmtree)
    other = write_dataset(tmp_path / "o", "patches", rows(5), "test", dict(s=1), arrays=dict(a=np.arange(5)[::-1]))
    if (tmp_path / "o" / "a.zarr" / "c.0").stat().st_size == (
        tmp_path / "d" / "a.zarr" / "c.0"
    ).stat().st_size:  # what only the thorough look sees
        assert "changed values" in spoil("a.zarr/c.0", lambda p: shutil.copy(tmp_path / "o" / "a.zarr" / "c.0", p))
    assert check_dataset(tmp_path / "d").fingerprint == ds.fingerprint


def test_a_dataset_shows_itself(tmp_path):
    ds = write_dataset(
        tmp_path / "22_patches", "patches", rows(9, note="<b>"), "chromatin.patches", arrays=dict(a=np.zeros((9, 4)))
    )
    assert repr(ds).startswith(
        "22_patches: 9 patches in 1 group, made by chromatin.patches ["
    ) and "a: (9, 4) float64" in repr(ds)
    assert "&lt;b&gt;" in ds._repr_html_() and "4 more" in ds._repr_html_()
    with pytest.raises(DatasetError, match="no array 'b'.*it has a"):
        ds["b"]


ODD_META = [b"", b"[" * 100_000, b"null", b'"text"', b"{}", b"\xff\xfe{"]


@pytest.mark.parametrize("data", ODD_META)
def test_a_damaged_dataset_json_is_one_sentence(tmp_path, data):
    path = write_dataset(tmp_path / "d", "masks", _two_masks(), "me", arrays=dict(m=np.zeros((2, 3)))).path
    (path / "dataset.json").write_bytes(data)
    with pytest.raises(DatasetError, match="dataset.json"):
        read_dataset(path)


@pytest.mark.parametrize(
    "key, value", [("contract", "2"), ("contract", None), ("arrays", [1]), ("files", 7), ("columns", {"a": [1]})]
)
def test_parts_of_another_type_are_one_sentence(tmp_path, key, value):
    path = write_dataset(tmp_path / "d", "masks", _two_masks(), "me", arrays=dict(m=np.zeros((2, 3)))).path
    meta = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps(meta | {key: value}))
    with pytest.raises(DatasetError, match="dataset.json"):
        read_dataset(path)


@pytest.mark.parametrize(
    "change", [dict(shape="x"), dict(shape=[-1]), dict(data_type="object"), dict(codecs=[]), dict(zarr_format=9)]
)
def test_a_damaged_zarr_json_is_one_sentence(tmp_path, change):
    path = write_dataset(tmp_path / "d", "masks", _two_masks(), "me", arrays=dict(m=np.zeros((2, 3)))).path
    about = json.loads((path / "m.zarr" / "zarr.json").read_text())
    for text in (json.dumps(about | change), "{", ""):
        (path / "m.zarr" / "zarr.json").write_text(text)
        with pytest.raises(DatasetError, match="array m"):
            read_dataset(path)


def _two_masks():
    return pd.DataFrame(dict(item_id=["a", "b"], group="g", field_id="f"))
