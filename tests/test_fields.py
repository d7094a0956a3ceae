"Fields and movies behind the annotators: any file name, any kind of number, broken files, thousands of files."

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellprotocols.annotate import AnnotateError
from cellprotocols.fields import ImageAnnotator
from cellprotocols.points import PointAnnotator


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def test_a_broken_file_among_good_ones(tmp_path):
    for k in range(3):
        tifffile.imwrite(tmp_path / f"{k}.tif", np.full((20, 30), k, np.uint16))
    (tmp_path / "1.tif").write_bytes((tmp_path / "1.tif").read_bytes()[:150])
    w = ImageAnnotator([tmp_path / f"{k}.tif" for k in range(3)], ["A"], tmp_path / "log", by="x")
    told = [w.answer(dict(do="field", f=f))[0] for f in range(3)]
    assert ["error" in t for t in told] == [False, True, False] and "1.tif" in told[1]["error"]
    w.label("1.tif", "A")
    assert w.counts() == dict(A=1)


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>.tif",
        "a \"b\" 'c'.tif",
        "zelle 🦠 ünï.tif",
        "x" * 240 + ".tif",
        b"bytes \xff\xfe.tif",
    ],
    ids=lambda n: ascii(n)[:20],
)
def test_hostile_file_names(tmp_path, name):
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(name))))
    tifffile.imwrite(path, np.zeros((20, 30), np.uint8))
    w = PointAnnotator([path], ["<b>A</b>", "𝔸🦠"], tmp_path / "log", by="x", snap=False)
    field = w.get_state()["setup"]["fields"][0]
    field.encode()  # what the page gets is text, and comes back the same
    w.click(3, 4, "𝔸🦠", field=json.loads(json.dumps(field)))
    assert w.to_clicks().file[0] == str(path) and PointAnnotator(
        [path], ["<b>A</b>", "𝔸🦠"], tmp_path / "log", by="x"
    ).counts() == {"<b>A</b>": 0, "𝔸🦠": 1}


def test_thousands_of_files_do_not_stay_open(tmp_path):
    n = 60
    for k in range(n):
        tifffile.imwrite(tmp_path / f"{k}.tif", np.full((20, 30), k, np.uint8))
    w = PointAnnotator([tmp_path / f"{k}.tif" for k in range(n)], ["A"], tmp_path / "log", by="x", snap=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 15, hard))
    try:
        for k in range(n):
            assert w.answer(dict(do="frame", f=k))[1][0][0] == k
            w.click(1, 1, "A", field=f"{k}.tif")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(w.to_clicks()) == n and sum(f._movie is not None for f in w.fields) <= 4


def test_sixteen_bits_arrive_as_they_are(tmp_path):
    image = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    w = PointAnnotator(image, ["A"], tmp_path / "log", names=["a"], by="x")
    info = w.answer(dict(do="field", f=0))[0]["info"]
    (answer, (data,)) = w.answer(dict(do="frame", f=0))
    assert (
        info["dtype"] == "uint16"
        and answer["head"] == [256, 256, 1]
        and np.frombuffer(data, np.uint16).tolist() == list(range(65536))
    )
    answer, (data,) = w.answer(dict(do="frame", f=0, box=[10, 20, 13, 25], step=1))
    assert np.array_equal(np.frombuffer(data, np.uint16).reshape(answer["head"])[..., 0], image[10:13, 20:25])
    answer, (data,) = w.answer(dict(do="frame", f=0, step=3))
    assert answer["head"] == [86, 86, 1]
    assert "shows something" in w.answer(dict(do="frame", f=0, box=[300, 300, 310, 310]))[0]["error"]


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("c", [1, 2, 3, 5])
def test_any_kind_of_number_can_be_looked_at(tmp_path, dtype, c):
    w = ImageAnnotator(
        [(np.random.default_rng(0).random((50, 61, c)) * 90).astype(dtype)],
        ["A"],
        tmp_path / "log",
        names=["a"],
        by="x",
    )
    info = w.answer(dict(do="field", f=0))[0]["info"]
    answer, (data,) = w.answer(dict(do="frame", f=0, step=4))
    assert (
        answer["head"] == [13, 16, c]
        and len(data) == 13 * 16 * c * np.dtype(info["dtype"]).itemsize
        and len(info["channels"]) == len(info["levels"]) == c
    )


def test_an_image_with_several_classes(tmp_path):
    fields, names = [np.zeros((20, 20), np.uint8)] * 3, ["a", "b", "c"]
    more = dict(several=True, alone="None", known={"c": "Q"})
    w = ImageAnnotator(fields, ["P", "Q", "None"], tmp_path / "log", names, by="x", **more)
    w.label("a", "Q|P")
    assert w.labellog.latest()["a"]["label"] == "P|Q"
    assert w.counts() == {"P": 1, "Q": 2, "None": 0}
    w.label("c", "")
    assert w.counts() == {"P": 1, "Q": 1, "None": 0}, "what is known is no longer true"
    with pytest.raises(AnnotateError, match="None alone"):
        w.label("b", "P|None")
    with pytest.raises(AnnotateError, match="'R' is not one of the classes"):
        w.label("b", "P|R")
    with pytest.raises(AnnotateError, match="names without"):
        ImageAnnotator(fields, ["P|Q", "R"], tmp_path / "other", names, by="x", several=True)
    blind = ImageAnnotator(fields, ["P", "Q", "None"], tmp_path / "log", names, by="y", round="blind", **more)
    assert blind.setup["known"] == {}, "a second look is blind"
