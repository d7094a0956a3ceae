"Outlines that a network has learned: planes and back, learning, the folder it is in, step 42 with corrected fields."

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellprotocols.bundle import BundleError
from cellprotocols.celldepths import DepthError, find_depth_cells, make_depth_planes
from cellprotocols.cellnet import (
    NUCLEUS_PX,
    CellNetError,
    cut_net_crops,
    find_net_cells,
    make_cell_net,
    measure_width,
    to_net_image,
    train_cell_net,
)
from cellprotocols.cellregions import RegionError, Regions, find_regions
from cellprotocols.cells import match_cells, score_detections
from cellprotocols.organelles import annotate, patches
from cellprotocols.segmenters import (
    LearnField,
    check_segmenter,
    find_corrected,
    open_segmenter,
    score_outlines,
    train_segmenter,
)
from cellprotocols.synth_organelles import make_organelle_field


def draw(seed, size=(180, 200), radius=20):
    return make_organelle_field((16,), size=size, radius=radius, seed=seed)


def to_learn(f, group):
    stains = dict(blue=f.blue, red=f.red, yellow=f.yellow)
    return LearnField(group, stains, Regions(f.cells, f.nuclei, 1.0, measure_width(f.nuclei)), f.px_um)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    "A network that has learned a little, from fields of four samples."
    folder = tmp_path_factory.mktemp("taught")
    fields = [to_learn(draw(s), f"s{s // 2}") for s in range(8)]
    return train_segmenter(fields, folder / "segmenter", folder / "scratch", steps=96, practice=True)


def test_touching_cells_come_back_from_their_planes():
    labels = np.zeros((40, 61), np.int32)
    labels[5:35, 1:21], labels[5:35, 21:41], labels[5:35, 41:61] = 7, 300, 70_000
    planes = make_depth_planes(labels)
    assert planes[0].sum() == (labels > 0).sum() and planes[1].max() == 1 and (planes[1][labels == 0] == 0).all()
    found = find_depth_cells(np.moveaxis(planes, 0, 2))
    assert score_detections(match_cells(labels, found, 0.9))["f1"] == 1
    one = find_depth_cells(np.moveaxis(make_depth_planes(labels > 0), 0, 2))
    assert one.max() == 1  # what is one object in the label image stays one


def test_the_depth_of_a_cell_does_not_depend_on_its_size():
    y, x = np.mgrid[:80, :160]
    labels = (np.hypot(y - 40, x - 40) < 30) + 2 * (np.hypot(y - 40, x - 110) < 10)
    depth = make_depth_planes(labels)[1]
    assert depth[40, 40] == depth[40, 110] == 1 and abs(depth[40, 55] - depth[40, 115]) < 0.1


def test_planes_of_another_shape_are_refused():
    with pytest.raises(DepthError, match="inside, depth"):
        find_depth_cells(np.zeros((5, 5, 3)))


def test_exposure_does_not_matter_to_the_network():
    img = draw(0).image
    assert np.allclose(to_net_image(img), to_net_image(img.astype(np.uint16) * 16 + 100), atol=1e-4)
    assert np.isfinite(to_net_image(np.full((20, 20, 1), np.nan))).all()


def test_squares_are_cut_at_one_scale_whatever_that_of_the_field():
    big, small = draw(1, (400, 400), 44), draw(1, (120, 120), 12)
    for f in (big, small):
        _, y = cut_net_crops([(f.image, [f.nuclei, f.cells])], 8)
        share = (y[:, 0] > 127).mean() / (f.nuclei > 0).mean()
        assert y.shape == (8, 4, 96, 96) and 0.5 < share < 2
    with pytest.raises(CellNetError, match="no cell"):
        cut_net_crops([(big.image, [0 * big.nuclei])], 2)


def test_training_can_be_repeated_and_goes_on_where_it_stopped(tmp_path):
    f = draw(2)
    fields = [(f.image[..., 2:3], [f.nuclei])]
    a, _ = train_cell_net(fields, 4, tmp_path / "a")
    b, _ = train_cell_net(fields, 4)
    again, curve = train_cell_net(fields, 4, tmp_path / "a")  # from its checkpoint: nothing is left to do
    for other in (b, again):
        assert all((x == y).all() for x, y in zip(a.state_dict().values(), other.state_dict().values()))
    assert len(curve) == 4


def test_a_field_of_any_size_and_nothing_in_it():
    net = make_cell_net(1, 1)
    for shape in ((37, 91), (1, 40), (300, 20)):
        (labels,), scale = find_net_cells(net, np.zeros((*shape, 1), np.uint8))
        assert labels.shape == shape and scale > 0


def test_what_it_has_learned_is_worth_something_and_said(taught):
    info = json.loads((taught / "bundle.json").read_text())
    assert info["channels"] == ["blue", "red", "yellow"] and info["normalisation"]["nucleus_px"] == NUCLEUS_PX
    assert len(info["split"]["aside"]) == 1 and not set(info["split"]["aside"]) & set(info["split"]["train"])
    assert "Practice" in (taught / "card.md").read_text()
    segment = open_segmenter(str(taught))
    new = to_learn(draw(99), "new")
    assert score_outlines(segment, [new], 0.5).value > 0.6
    (said,) = check_segmenter(segment)
    assert "kept aside its F1 at IoU 0.7 was" in said
    found = segment(**new.stains, px_um=new.px_um)
    again = pickle.loads(pickle.dumps(segment))(**new.stains, px_um=new.px_um)  # as sent to other processes
    assert (again.cells == found.cells).all()
    inner = found.nuclei > 0
    assert inner.any() and (found.nuclei[inner] == found.cells[inner]).all()


def test_a_worse_network_is_called_worse(taught):
    segment = open_segmenter(str(taught))
    for m, value in zip(segment.bundle.info["metrics"], (0.5, 0.8)):
        m["value"] = value
    assert "It is worse" in check_segmenter(segment)[0]
    assert check_segmenter(open_segmenter()) == []


@pytest.mark.slow
def test_enlarged_images_give_the_same_cells_with_and_without_the_pixel_size(taught):
    f, segment = draw(99), open_segmenter(str(taught))
    twice = [np.kron(x, np.ones((2, 2), x.dtype)) for x in (f.blue, f.red, f.yellow)]
    a = segment(f.blue, f.red, f.yellow, f.px_um).cells
    for px in (f.px_um / 2, None):
        b = segment(*twice, px_um=px).cells
        assert score_detections(match_cells(a, b[::2, ::2], 0.5))["f1"] > 0.7


def test_a_missing_stain_is_said_and_so_is_a_network_for_something_else(taught, tmp_path):
    f = draw(3)
    assert "yellow is missing" in " ".join(open_segmenter(str(taught))(f.blue, f.red).remarks)
    (tmp_path / "x").mkdir()
    with pytest.raises(BundleError, match="SHA256SUMS is missing"):
        open_segmenter(str(tmp_path / "x"))
    with pytest.raises(RegionError, match="no segmenter 'nowhere'"):
        open_segmenter("nowhere")


def test_only_fields_that_a_person_has_worked_on_are_learned_from(tmp_path):
    (tmp_path / "fields").mkdir()
    for name in "ab":
        tifffile.imwrite(tmp_path / "fields" / f"{name}_cells.tif", np.ones((4, 4), np.uint8))
    assert find_corrected(tmp_path, ["a", "b", "c"])[1] == ["a", "b"]
    pd.DataFrame(dict(field=["b"], edit=["merge"])).to_csv(tmp_path / "edits.csv", index=False)
    assert find_corrected(tmp_path, ["a", "b", "c"]) == (tmp_path / "fields", ["b"])
    with pytest.raises(RegionError, match="no corrected field"):
        find_corrected(tmp_path, ["a"])


@pytest.mark.slow
def test_step_42_learns_from_corrected_fields_and_takes_the_network_to_others(tmp_path, capsys):
    root = annotate.make_practice(tmp_path / "data")
    annotate.run(str(root), str(tmp_path / "41"))
    how = dict(size=32, corrected=str(root / "truth"), lessons=24)
    made = patches.run(str(tmp_path / "41"), str(tmp_path / "42"), **how)
    out = capsys.readouterr().out
    assert "kept aside its F1 at IoU 0.7" in out and patches.find_segmenter(made) and len(made) > 0
    patches.run(str(tmp_path / "41"), str(tmp_path / "42"), **how)
    assert "done before" in capsys.readouterr().out
    other = patches.run(str(tmp_path / "41"), str(tmp_path / "other"), size=32, segmenter=str(made.path / "segmenter"))
    assert other.items.item_id.tolist() == made.items.item_id.tolist() and patches.find_segmenter(other)
    with pytest.raises(RegionError, match="one of both"):
        patches.run(str(tmp_path / "41"), str(tmp_path / "42b"), segmenter="x", corrected="y")


def test_without_a_network_nothing_has_changed():
    f = draw(4)
    a, b = open_segmenter(shift=-0.2)(f.blue, f.red, f.yellow), find_regions(f.blue, f.red, f.yellow, shift=-0.2)
    assert (a.cells == b.cells).all() and (a.nuclei == b.nuclei).all()
