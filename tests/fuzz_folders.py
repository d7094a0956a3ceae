"Damaged files of boxes and cells, datasets and bundles, many times over: `python tests/fuzz_folders.py KIND N`."

import hashlib
import json
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from memory import measure_peak
from tifffile import imwrite
from torch import nn

from cellprotocols.bundle import read_bundle, write_bundle
from cellprotocols.centres import read_points
from cellprotocols.channelfiles import read_weak_labels
from cellprotocols.clicks import read_annotation_zip, write_annotation_zip
from cellprotocols.coco import read_coco, write_coco
from cellprotocols.corrections import read_corrections
from cellprotocols.dataset import check_dataset, make_fingerprint
from cellprotocols.embryosets import read_embryo_set
from cellprotocols.errors import UserError
from cellprotocols.framesets import read_frames
from cellprotocols.labelled import read_cells_npz
from cellprotocols.masktext import to_mask_text
from cellprotocols.submissions import read_submission
from cellprotocols.writer import write_dataset
from cellprotocols.yolo import read_yolo, write_yolo

ODD = [
    None,
    True,
    -1,
    0,
    3,
    2**63,
    1e308,
    -0.5,
    float("nan"),
    "",
    "odd",
    "../x",
    "\x00",
    [],
    [[]],
    {},
    {"a": 1},
    [1, "b"],
]
BOXES = pd.DataFrame(dict(field=["a", "a", "b"], label=["x", "y", "x"], y0=[1, 4, 2], x0=[1, 2, 3], y1=[9, 8, 7], x1=5))
SHAPES = {"a": (16, 16), "b": (16, 12)}


class Tiny(nn.Module):
    "The smallest model of a bundle."

    def __init__(self, n=2):
        super().__init__()
        self.conv = nn.Conv2d(1, n, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def make_coco(folder):
    return write_coco(folder / "boxes.json", BOXES, ["x", "y"], SHAPES)


def make_yolo(folder):
    return write_yolo(folder / "yolo", BOXES, ["x", "y"], SHAPES)


def make_points(folder):
    t = pd.DataFrame(dict(t=[0, 0, 1], y=[1.5, 2, 3], x=[4, 5, 6.25], track_id=[1, 2, 1], movie="m.tif"))
    t.to_csv(folder / "p.csv", index=False)
    return folder / "p.csv"


def make_zip(folder):
    t = pd.DataFrame(dict(label=["x", "y"], t=[0, 1], y=[2.0, 3], x=[4.0, 5], movie="m.tif"))
    return write_annotation_zip(folder, t, np.zeros((2, 8, 8, 1), np.uint8), "01-02-2026--03-04-05")


def make_npz(folder):
    np.savez(folder / "c.npz", images=np.zeros((4, 8, 8), np.uint8), label=np.array(list("xyxy")))
    return folder / "c.npz"


def make_dataset(folder):
    t = pd.DataFrame(dict(item_id=["i1", "i2"], group="g", field_id="f", y=[1.0, 2], x=1.0, size=4))
    write_dataset(
        folder / "d", "patches", t, "a test", dict(side=4), arrays=dict(patches=np.arange(32.0).reshape(2, 4, 4))
    )
    (folder / "d" / "dataset.json").chmod(0o600)
    return folder / "d"


def make_model(folder):
    write_bundle(
        folder / "b", Tiny(), "Tiny", {"n": 2}, ["x", "y"], ["gray"], np.ones((2, 1, 8, 8)), registry={"Tiny": Tiny}
    )
    return folder / "b"


def make_corrections(folder):
    t = pd.DataFrame(dict(image_id=["a", "a", "b"], cell_id=[1, 2, 1], labels=["0", "1|5", "18"], user="me", time=""))
    t.to_csv(folder / "corrections.csv", index=False)
    return folder / "corrections.csv"


def make_submission(folder):
    cells = np.zeros((16, 12), np.int32)
    cells[2:8, 2:8], cells[9:14, 3:9] = 1, 2
    text = " ".join(f"{c} 0.5 {to_mask_text(cells == i)}" for i, c in ((1, 0), (2, 16)))
    lines = ["ID,ImageWidth,ImageHeight,PredictionString", f"a,12,16,{text}", f"b,12,16,{text}"]
    (folder / "submission.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "submission.csv"


def read_whole_submission(path):
    return [f.masks() for f in read_submission(path)]


def make_frames(folder):
    (folder / "films").mkdir()
    for name in "12":
        imwrite(folder / "films" / f"{name}.tif", np.zeros((8, 8), np.uint8))
    t = dict(file=["1.tif", "2.tif"], line="A", batch=["x", "y"], sequence=["p", "q"], hours=[0.0, 4.5])
    pd.DataFrame(t).to_csv(folder / "films" / "frames.csv", index=False)
    return folder / "films"


def make_weak_labels(folder):
    pd.DataFrame(dict(ID=["a", "b"], Label=["0|3", "18"])).to_csv(folder / "train.csv", index=False)
    return folder / "train.csv"


def make_embryos(folder):
    (folder / "set").mkdir()
    for name in "ab":
        imwrite(folder / "set" / f"{name}.tif", np.arange(2400, dtype=np.uint8).reshape(40, 60))
    frames = pd.DataFrame(dict(file=["a.tif", "b.tif"], embryo=["E1", "E2"], hours=[1.0, 2.5], label=["", "normal"]))
    frames.to_csv(folder / "set" / "frames.csv", index=False)
    boxes = pd.DataFrame(dict(file=["a.tif"], y0=[4], x0=[5], y1=[20], x1=[30], label="string"))
    boxes.to_csv(folder / "set" / "boxes.csv", index=False)
    return folder / "set"


KINDS = {
    "coco": (make_coco, read_coco),
    "yolo": (make_yolo, lambda p: read_yolo(p, SHAPES)),
    "points": (make_points, read_points),
    "annotation zip": (make_zip, read_annotation_zip),
    "npz": (make_npz, read_cells_npz),
    "corrections": (make_corrections, read_corrections),
    "submission": (make_submission, read_whole_submission),
    "frames": (make_frames, lambda p: read_frames(p / "frames.csv")),
    "weak labels": (make_weak_labels, read_weak_labels),
    "embryos": (make_embryos, read_embryo_set),
    "dataset": (make_dataset, check_dataset),
    "bundle": (make_model, lambda p: use(read_bundle(p, {"Tiny": Tiny}))),
}


def use(bundle):
    "What every reader asks of a bundle."
    return repr(bundle), bundle.px_um, bundle.temperature, bundle.info["input_shape"][-2] + 0, bundle.channels


def odd_json(rng, value):
    "The same with one part replaced, lost or doubled."
    nodes = [(None, None, value)]
    for _, _, v in nodes:
        pairs = v.items() if isinstance(v, dict) else enumerate(v) if isinstance(v, list) else ()
        nodes.extend((v, k, o) for k, o in pairs)
    parent, key, _ = rng.choice(nodes)
    if parent is None:
        return rng.choice(ODD)
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = rng.choice(ODD)
    return value


def odd_bytes(rng, data):
    "The same cut off, with a byte changed, a part doubled, or in another encoding."
    at, how = rng.randrange(len(data) + 1), rng.randrange(5)
    if how == 0:
        return data[:at]
    if how == 1:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if how == 2:
        return data[: at + 40] + data[at:]
    if how == 3:
        return data.decode("latin1").encode(rng.choice(["utf-16", "utf-8", "utf-32"]))
    return (
        data[:at]
        + bytes(rng.choice([b"\x00", b"-", b"9" * 400, b"[" * 3000, b"\xff\xfe", b",", b'"', b"\n"]))
        + data[at:]
    )


def damage(rng, path):
    "One of the files of a good thing is odd; sums are made right again half of the time."
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    file = rng.choice(files)
    if file.suffix == ".json" and rng.random() < 0.8:
        text = json.dumps(odd_json(rng, json.loads(file.read_text(encoding="utf-8"))))
        file.write_bytes(text.encode())
    elif rng.random() < 0.05 and path.is_dir():
        file.unlink()
    else:
        file.write_bytes(odd_bytes(rng, file.read_bytes()))
    if rng.random() < 0.7:
        mend(path)


def mend(path):
    "What keeps the sums is brought up to date, so that what is wrong inside comes to the reader."
    if (path / "SHA256SUMS").is_file():
        names = [p for p in sorted(path.iterdir()) if p.name != "SHA256SUMS"]
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in names]
        (path / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if (path / "dataset.json").is_file():
        try:
            meta = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
            table = (path / "items.csv").read_bytes()
            meta["items"] |= dict(sha256=hashlib.sha256(table).hexdigest(), bytes=len(table))
            meta["fingerprint"] = make_fingerprint(meta)
            (path / "dataset.json").write_text(json.dumps(meta), encoding="utf-8")
        except Exception:  # what is damaged cannot be mended
            pass


def main(kind, n):
    make, read = KINDS[kind]
    warnings.simplefilter("ignore")
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        good = make(Path(folder))
        read(good)
        for i in range(n):
            rng, here = random.Random(i), Path(folder, "odd") / good.name
            shutil.rmtree(here.parent, ignore_errors=True)
            here.parent.mkdir()
            (shutil.copytree if good.is_dir() else shutil.copy)(good, here)
            damage(rng, here)
            try:
                read(here)
            except UserError as e:
                refused += 1
                assert len(str(e)) < 1000, f"{kind} {i}: an error of {len(str(e))} characters"
            except BaseException as e:
                raise AssertionError(f"{kind} {i}: {type(e).__name__}: {e}") from e
    peak = measure_peak()
    print(f"{kind}: {n} inputs, {refused} refused, at most {peak:.0f} MB")
    assert refused and peak < 1500


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
