"What a step made, for other programs: what they read is what was written."

import json
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from safetensors.numpy import load_file
from stored_models import STORED

from cellprotocols import parser
from cellprotocols.bundle import read_bundle
from cellprotocols.cli import main
from cellprotocols.coco import read_coco
from cellprotocols.errors import UserError
from cellprotocols.maskfiles import write_mask
from cellprotocols.onnxparts import OnnxError, Part, check_onnx, to_parts, write_onnx
from cellprotocols.share import WAYS, find_parts, share_folder
from cellprotocols.writer import DatasetWriter
from cellprotocols.yolo import read_yolo

NOW = STORED / "0.2.0"


@pytest.fixture
def cells(tmp_path):
    "Cells of two movies, followed, with embeddings."
    rng = np.random.default_rng(0)
    t = pd.DataFrame(dict(movie=np.repeat(["a.tif", "b.tif"], 6), t=np.tile([0, 1, 2], 4), track_id=np.arange(12) // 3))
    t = t.assign(
        y=rng.uniform(0, 60, 12), x=rng.uniform(0, 80, 12), group=t.movie, item_id=[f"c{i}" for i in range(12)]
    )
    t["state"] = ["=dead", "", "alive"] * 4
    with DatasetWriter(tmp_path / "25_infer", "embeddings", "practice") as w:
        w.append("all", t, embedding=rng.normal(size=(12, 5)).astype(np.float32))
        return w.commit()


@pytest.fixture
def masks(tmp_path):
    "Two images with two pieces of dirt and none."
    dirt = np.zeros((60, 80), bool)
    dirt[8:20, 10:40] = dirt[35:50, 50:60] = True
    with DatasetWriter(tmp_path / "55_infer", "masks", "practice") as w:
        for name, mask in {"p/a.tif": dirt, "p/b.tif": dirt & False}.items():
            write_mask(w.folder / "masks", name, mask)
            w.append(name, pd.DataFrame([dict(item_id=name, group="g", field_id=name, file=name)]))
        return w.commit(), dirt


def test_the_command_has_every_way():
    assert parser._formats == list(WAYS)


def test_dirt_comes_back_from_coco_and_yolo(masks, tmp_path):
    ds, dirt = masks
    made, _ = share_folder(ds.path, "coco", tmp_path / "x.json", name="dirt")
    found = read_coco(made)
    boxes = [[8, 10, 20, 40], [35, 50, 50, 60]]
    assert found.boxes[["y0", "x0", "y1", "x1"]].to_numpy().tolist() == boxes and found.classes == ["dirt"]
    assert set(found.shapes) == {"p/a.tif", "p/b.tif"}
    folder, _ = share_folder(ds.path, "yolo", tmp_path / "yolo", name="dirt")
    again = read_yolo(folder, found.shapes).boxes
    np.testing.assert_allclose(again[["y0", "x0", "y1", "x1"]].astype(float), boxes, atol=1e-6)


def test_an_outline_of_coco_covers_its_mask(masks, tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    ds, dirt = masks
    made, _ = share_folder(ds.path, "coco", tmp_path / "x.json")
    found = [a["segmentation"] for a in json.loads(made.read_text())["annotations"]]
    drawn = mask.decode(mask.merge([r for s in found for r in mask.frPyObjects(s, 60, 80)])) > 0
    assert (drawn & dirt).sum() / (drawn | dirt).sum() > 0.97


def test_every_image_has_its_geojson(masks, tmp_path):
    ds, dirt = masks
    made, _ = share_folder(ds.path, "geojson", tmp_path / "g", name="dirt")
    n = {p.name: len(json.loads(p.read_text())["features"]) for p in made.iterdir()}
    assert n == {"p_a.tif.geojson": 2, "p_b.tif.geojson": 0}


def test_napari_gets_points_tracks_and_labels(cells, masks, tmp_path):
    made, said = share_folder(cells.path, "napari", tmp_path / "n")
    assert sorted(p.name for p in made.iterdir()) == [
        "README.md",
        "points_a.tif.csv",
        "points_b.tif.csv",
        "tracks_a.tif.csv",
        "tracks_b.tif.csv",
    ]
    assert all(f'loadtxt("tracks_{f}.tif.csv"' in (made / "README.md").read_text() for f in "ab")
    t = pd.read_csv(made / "points_b.tif.csv")
    assert t.columns[:4].tolist() == ["index", "axis-0", "axis-1", "axis-2"] and "'=dead" in set(t.state)
    np.testing.assert_allclose(t[["axis-0", "axis-1", "axis-2"]], cells.items[["t", "y", "x"]][6:])
    assert np.loadtxt(made / "tracks_a.tif.csv", delimiter=",", skiprows=1).shape == (6, 4)
    made, _ = share_folder(masks[0].path, "napari", tmp_path / "m")
    labels = tifffile.imread(made / "labels_p_a.tif.tif")
    assert labels.dtype == np.int32 and ((labels > 0) == masks[1]).all() and labels.max() == 2


def test_embeddings_come_back_from_anndata(cells, tmp_path):
    anndata = pytest.importorskip("anndata", reason="the share extra is not installed")
    made, _ = share_folder(cells.path, "anndata", tmp_path / "c.h5ad")
    a = anndata.read_h5ad(made)
    np.testing.assert_array_equal(a.X, cells["embedding"][:])
    np.testing.assert_allclose(a.obsm["spatial"], cells.items[["x", "y"]])
    assert a.obs_names.tolist() == cells.items.item_id.tolist() and a.obs.state.tolist() == cells.items.state.tolist()
    assert a.uns["cellprotocols"]["fingerprint"] == cells.fingerprint


@pytest.mark.parametrize("to", ["anndata", "onnx", "bioimageio"])
def test_a_missing_library_is_one_line_to_type(cells, to, tmp_path, monkeypatch, capsys):
    for name in ("anndata", "onnx", "bioimageio", "bioimageio.core"):
        monkeypatch.setitem(sys.modules, name, None)
    folder = cells.path if to == "anndata" else NOW / "strings"
    assert (
        main(["share", str(folder), "--to", to, "--out", str(tmp_path / ("x.h5ad" if to == "anndata" else "x"))]) == 2
    )
    said = capsys.readouterr().err
    assert 'pip install "cellprotocols[' in said and "not installed" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["25_infer"]


def test_parts_say_what_is_missing():
    (learners,) = find_parts(NOW / "chromatin")
    assert learners.input == "numbers" and "measurements are programs" in learners.missing
    assert [(p.name, p.input, p.missing) for p in find_parts(NOW / "artifacts")] == [
        ("classifier", "images", ""),
        ("masker", "images", ""),
    ]
    with pytest.raises(UserError, match="kept as arrays"):
        find_parts(NOW / "organelles")


@pytest.mark.parametrize("name", ["chromatin", "cell_lines"])
def test_learners_answer_to_numbers_what_the_model_answers_to_images(name):
    b = read_bundle(NOW / name / "bundle")
    (part,) = to_parts(b)
    x = torch.from_numpy(load_file(b.folder / "example.safetensors")["input"])
    with torch.inference_mode():
        np.testing.assert_allclose(part.model(part.example), b.model(x), atol=1e-5)


def test_wrong_folders_and_names_are_refused(masks, tmp_path, capsys):
    ds, _ = masks
    for folder, to, said in (
        (ds.path, "anndata", "no embeddings"),
        (ds.path, "onnx", "there is no model"),
        (tmp_path / "none", "coco", "no such folder"),
        (NOW / "chromatin", "coco", "dataset"),
        (ds.path, "xml", "exported to 'xml'"),
    ):
        with pytest.raises(UserError, match=said):
            share_folder(folder, to, tmp_path / "x.h5ad" if to == "anndata" else "")
    with pytest.raises(UserError, match="ends in .json"):
        share_folder(ds.path, "coco", tmp_path / "x.txt")
    assert main(["share", str(ds.path), "--to", "coco"]) == 0
    assert main(["share", str(ds.path), "--to", "coco"]) == 2
    assert "already" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["55_infer", "55_infer_coco.json"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chromatin", "cell_lines", "strings", "artifacts"])
def test_onnx_gives_the_same_scores_for_any_number_of_inputs(name, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="the share extra is not installed")
    pytest.importorskip("onnxscript", reason="the share extra is not installed")
    made, said = share_folder(NOW / name, "onnx", tmp_path / "o")
    for part in find_parts(NOW / name):
        run = ort.InferenceSession(str(made / f"{part.name}.onnx"), providers=["CPUExecutionProvider"])
        told = run.get_modelmeta().custom_metadata_map
        assert told["input"] == part.says and told["not_in_it"] == part.missing
        x = (
            part.example[:1]
            + torch.randn(7, *part.example.shape[1:], generator=torch.Generator().manual_seed(1)) * 0.01
        )
        with torch.inference_mode():
            np.testing.assert_allclose(run.run(None, {part.input: x.numpy()})[0], part.model(x), atol=1e-4)
    assert "Not in it" in (made / "README.md").read_text()


@pytest.mark.slow
def test_onnx_that_differs_is_never_kept(tmp_path):
    pytest.importorskip("onnxruntime", reason="the share extra is not installed")
    part = Part("one", torch.nn.Linear(3, 2), torch.ones(2, 3), "numbers", "logits", "", "", {})
    file = write_onnx(tmp_path / "one.onnx", part)
    assert check_onnx(file, part) < 1e-5
    with pytest.raises(OnnxError, match="other scores"):
        check_onnx(file, part._replace(model=torch.nn.Linear(3, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chromatin", "artifacts"])
def test_a_package_passes_the_programs_of_bioimage_io(name, tmp_path):
    core = pytest.importorskip("bioimageio.core", reason="the zoo extra is not installed")
    import pydantic

    if pydantic.VERSION >= "2.14":
        pytest.skip("bioimageio.spec does not work with this pydantic")
    made, _ = share_folder(NOW / name, "bioimageio", tmp_path / "z", by="A. Person")
    for path in made.glob("*.zip"):
        assert core.test_model(str(path)).status == "passed"
        d = core.load_model_description(str(path))
        assert d.authors[0].name == "A. Person" and d.weights.onnx is not None
    if name == "artifacts":
        assert [a.scale for a in core.load_model_description(str(made / "masker.zip")).inputs[0].axes[2:]] == [0.65] * 2
