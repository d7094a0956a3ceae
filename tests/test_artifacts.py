"The protocol artifacts: golden numbers, the published system's defects that must not return, hostile names, and the whole way on practice data."
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from scipy import ndimage
from torch import nn

from cellprotocols.drawing import MaskAnnotator
from cellprotocols.artifacts import annotate, infer, patches, selfsupervise, train, visualize
from cellprotocols.artifacts.annotate import CLASSES, find_images, group_images, read_fields
from cellprotocols.bundle import write_bundle
from cellprotocols.architectures import count_parameters, register
from cellprotocols.classify import StageClassifier
from cellprotocols.cli import main, run_steps
from cellprotocols.protocols import built_steps, step_folder
from cellprotocols.dataset import check_dataset, read_dataset
from cellprotocols.dirt import flag_dirty, open_masker, predict_dirt, shrink_of, to_light
from cellprotocols.errors import UserError
from cellprotocols.images import read_image
from cellprotocols.synth_dirt import make_dirty_field
from cellprotocols.maskscores import make_pixel_histogram, score_pixels
from cellprotocols.published import PublishedUNet
from cellprotocols.unet import MaskNet, UNet, prepare_tiles

ROOT = Path(__file__).resolve().parents[1]


def disc(r, n=96):
    y, x = np.mgrid[:n, :n] - n//2
    return 1 - .5/(1 + np.exp((np.hypot(y, x) - r)*4))


def write(path, img):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, img)
    return path


def sums(folder): return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(folder).rglob("*") if p.is_file()}


@register
class DarkIsDirt(MaskNet):
    "Masks what takes more than a fifth of the light; never trained."
    def __init__(self, channels=1, n_classes=1): super().__init__(8, channels=channels, n_classes=n_classes)
    def decode(self, x): return (.8 - x)*40


@pytest.fixture(scope="session")
def masker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")/"masker"
    write_bundle(folder, DarkIsDirt(), "DarkIsDirt", dict(channels=1, n_classes=1), ["artifact"], ["light"], np.ones((1, 1, 32, 32), np.float32), px_um=.6, normalisation=dict(sigma=80., shrink=2), thresholds=dict(artifact=.5))
    return folder.parent


# ---------- golden numbers (specification, section 7)

def test_g1_g2_real_files_are_read_whole_and_their_wells_known(shared_data):
    folder = shared_data/"artifacts"/"sabgal"
    t = pd.read_csv(folder/"manifest.csv")
    for r in t.itertuples():
        img = read_image(folder/r.file)
        assert img.shape == (1080, 1080, 1) and img.dtype.kind == "u" and img.dtype.itemsize == 2
        assert (img.min(), img.max()) == (r.min, r.max), "big-endian files are neither swapped nor cut to 8 bits"
    assert group_images(t.file.tolist()) == t.well.tolist()
    assert t.well.nunique() == 11 and t.well.value_counts()["r6c9"] == 4


def test_g3_g4_published_networks_have_their_size():
    assert count_parameters(PublishedUNet()) == 501_345
    assert sum(p.numel() for p in StageClassifier("resnet50", 3, 2, stride=8).trunk.parameters()) == 1_444_928


def test_g5_published_threshold_is_luminance_015_of_viridis():
    import matplotlib
    lum = matplotlib.colormaps["viridis"](np.arange(256))[:, :3] @ [.2125, .7154, .0721]
    assert np.flatnonzero(lum > .15)[0] == 15
    assert 14/255 < train.PUBLISHED_CUT < 15/255 == pytest.approx(.0588, abs=1e-4)


def test_g8_edge_map_of_nothing_is_nothing_and_ignores_exposure():
    assert not train.make_edge_map_published(np.full((20, 30), 7.)).any()
    x = np.random.default_rng(0).random((30, 30))
    assert np.allclose(train.make_edge_map_published(x), train.make_edge_map_published(300*x + 9), atol=1e-5)


@pytest.mark.parametrize("r,published", [(2, 8.4), (4, 3.9), (8, 2.), (12, 1.3)])
def test_g11_discs_are_blown_up_as_published_and_ours_are_not(r, published):
    area, ones = np.pi*r*r, np.ones((96, 96))
    blown, mine = train.make_mask_published(disc(r), ones).sum()/area, train.outline_dirt(disc(r), ones)
    assert blown == pytest.approx(published, rel=.15)
    assert abs(mine.sum()/area - 1) < abs(blown - 1)
    assert mine[48, 48] and ndimage.binary_fill_holes(mine).sum() == mine.sum(), "the inside is filled"


def test_g9_g13_masked_output_keeps_type_shape_and_every_other_pixel_and_no_source_changes(tmp_path, masker):
    f = make_dirty_field((200, 260), seed=3, dirt=3.)
    for name, img in (("big.tif", f.image[..., 0].astype(">u2")), ("eight.tif", (f.image[..., 0] >> 8).astype(np.uint8)), ("colour.tif", np.repeat((f.image >> 8).astype(np.uint8), 3, 2))): write(tmp_path/"in"/name, img)
    before = sums(tmp_path/"in")
    made = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out", fill="median", widen=0)
    assert sums(tmp_path/"in") == before
    for r in made.items.itertuples():
        img, mask, filled = read_image(tmp_path/"in"/r.file), read_image(made.path/"masks"/r.file)[..., 0] > 0, read_image(made.path/"filled"/r.file)
        assert filled.shape == img.shape and filled.dtype.newbyteorder("=") == img.dtype.newbyteorder("=")
        assert (filled[~mask] == img[~mask]).all() and mask.any()
        assert np.abs(filled[mask].astype(float) - np.median(img[~mask], 0)).max() <= 1
        assert r.area == pytest.approx(mask.mean()) and r.n_objects == ndimage.label(mask, np.ones((3, 3)))[1]


def test_g12_iou_from_mean_iou_and_accuracy():
    from scipy.optimize import brentq
    for mean, a, p, iou in ((.8067, .9919, .0186, .622), (.7365, .9899, .0122, .483)): # published: mean IoU of both classes, accuracy, share of dirt
        e = 1 - a
        tp, fn = np.rint(1e6*np.array([x := brentq(lambda x: .5*(x/(x + e) + (a - x)/(1 - x)) - mean, 1e-6, p), p - x])).astype(int)
        fp = round(1e6*e) - fn
        truth, found = (np.arange(10**6) < tp + fn).reshape(1000, 1000), ((np.arange(10**6) < tp) | (np.arange(10**6) >= 10**6 - fp)).reshape(1000, 1000)
        got = score_pixels(make_pixel_histogram(truth, found)[None]).set_index("metric").value
        assert got.iou == pytest.approx(iou, abs=.002) and (got.iou + got.iou_background)/2 == pytest.approx(mean, abs=.001)


def test_g14_no_well_in_two_parts():
    rng = np.random.default_rng(0)
    items = pd.DataFrame([dict(field_id=f"f{i}", group=f"w{i % 9}", label=CLASSES[int(rng.random() < .6)]) for i in range(60) for _ in range(2)])
    f = train.split_fields(items)
    assert (f.groupby("group").part.nunique() == 1).all() and set(f.part) == {"train", "valid", "test"}
    with pytest.raises(UserError, match="groups"): train.split_fields(items[items.group.isin(["w0", "w1"])])
    assert len(train.split_fields(items.assign(label=np.where(items.field_id == "f3", "unsure", items.label)))) == len(f) - 1


# ---------- defects (section 6)

def test_c1_big_endian_is_not_black():
    img = np.full((80, 80), 40_000, ">u2"); img[30:50, 30:50] = 9_000
    light = to_light(img)
    assert np.median(light) == pytest.approx(1, abs=.01) and light[20, 20] == pytest.approx(.225, abs=.02)


def test_c2_c3_c4_every_turn_happens_and_light_goes_up_and_down():
    x, g = torch.arange(16.).reshape(1, 1, 4, 4).repeat(200, 1, 1, 1)[:, None], torch.Generator().manual_seed(0)
    assert len({tuple(t.ravel().tolist()) for t in train._turned(x, None, g)[0]}) == 8, "all eight turns of a square, both axes"
    tile, unet = torch.randn(1, 1, 32, 32, generator=g), UNet("resnet18", 1, 1, strides=(2, 4), width=4)
    lit, _ = prepare_tiles(unet.standard, degrees=0, scale=0)(tile.repeat(300, 1, 1, 1), torch.zeros(300, 32, 32, dtype=torch.uint8), g)
    change, spread = lit.mean((1, 2, 3)) - tile.mean(), lit.std((1, 2, 3))/tile.std()
    assert (change > .05).any() and (change < -.05).any() and (spread > 1.05).any() and (spread < .97).any()


def test_c5_a_seed_fixes_the_split_and_another_changes_it():
    items = pd.DataFrame([dict(field_id=f"f{i}", group=f"w{i % 12}", label=CLASSES[i % 5 > 1]) for i in range(60)])
    a, b, c = (train.split_fields(items, s).part.tolist() for s in (0, 0, 3))
    assert a == b != c


def test_c6_batches_take_four_bytes_a_pixel(): assert train.Bags(np.ones((3, 32, 32, 1), np.float16), [[0], [1, 2]])[np.arange(2)].dtype == np.float32


def test_c7_auroc_is_of_one_class_not_of_both_columns_in_a_row():
    from sklearn.metrics import roc_auc_score
    rng = np.random.default_rng(0)
    y, p = np.arange(200) < 40, np.clip(rng.random(200)*.4, 0, 1); p[:40] += .05
    t = pd.DataFrame(dict(label=np.where(y, "artifact", "clean"), group=[f"w{i % 10}" for i in range(200)], part="test", score=np.log(p/(1 - p))))
    value = train._score_images(t, 0.).set_index("metric").value["auroc"]
    ravelled = roc_auc_score(np.r_[~y, y], np.r_[1 - p, p])
    assert value == pytest.approx(roc_auc_score(y, p)) and abs(value - ravelled) > .05


def test_s6_no_network_and_no_hook_is_left_behind_by_a_map():
    model, tile = StageClassifier("resnet18", 1, 2, stride=4, pool="soft").eval(), np.random.default_rng(0).random((1, 48, 48, 1), np.float32)
    before = len(list(model.modules()))
    for _ in range(3): list(train.explain_tiles(model, tile, np.array([0]), .5, "cpu"))
    assert len(list(model.modules())) == before and not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def test_s8_masks_are_plain_numbers_on_disk(tmp_path, masker):
    write(tmp_path/"in"/"a.tif", make_dirty_field((96, 96), seed=0, dirt=4.).image[..., 0])
    made = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out")
    mask = tifffile.imread(made.path/"masks"/"a.tif")
    assert mask.shape == (96, 96) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255} and mask.any()


def test_u2_what_is_asked_of_the_network_is_what_is_built():
    small, large = UNet("resnet18", 1, 1, strides=(2, 4), width=4), UNet("resnet18", 2, 3, strides=(2, 4, 8), width=8)
    assert count_parameters(small) < count_parameters(large) and large(torch.zeros(1, 2, 32, 32)).shape == (1, 3, 32, 32)
    assert count_parameters(UNet(**large.config)) == count_parameters(large)


def test_u3_the_rate_falls_while_the_network_learns():
    tiles = np.ones((4, 64, 64, 1), np.float32); tiles[:, 20:30, 20:30] = .3
    masks = (tiles[..., 0] < .5).astype(np.uint8)
    x, y = train.gather_tiles(tiles, np.arange(4), masks, np.arange(4), crop=64, most=16)
    lr = train.train_masker((x, y), (x[:4], y[:4]), 6, device="cpu")[1].lr.to_numpy()
    assert lr.max() > 10*lr[-1] and lr.argmax() < len(lr) - 2


def test_u4_a_speck_of_a_few_pixels_is_found_at_full_resolution(tmp_path, masker):
    img = np.full((200, 200), 30_000, np.uint16); img[100:104, 50:54] = 3_000
    made = infer.mask_folder(write(tmp_path/"in"/"a.tif", img).parent, masker, tmp_path/"out", widen=0, min_area=4)
    mask = read_image(made.path/"masks"/"a.tif")[..., 0] > 0
    assert mask.shape == (200, 200) and mask[101:103, 51:53].all() and mask.sum() <= 64


def test_e2_iou_is_of_dirt_alone():
    truth = np.zeros((50, 50), bool); truth[:5, :5] = True
    hists = np.stack([make_pixel_histogram(truth, np.zeros((50, 50), np.float32))]*4)
    scores = score_pixels(hists, np.array(list("abcd")), .5).set_index("metric").value
    assert scores["iou"] == 0 and scores["iou_background"] == pytest.approx(.99)


def test_e3_masks_are_scored_by_masks_a_person_made_and_of_the_same_size(tmp_path):
    annotate.make_practice(tmp_path/"practice", 3, 2, (96, 96))
    labels = annotate.run(str(tmp_path/"practice"), str(tmp_path/"51"))
    tiles = patches.run(str(tmp_path/"51"), str(tmp_path/"52"))
    trained = type("Trained", (), dict(path=tmp_path/"54", items=labels.items.assign(split="test")))
    write_bundle(tmp_path/"54"/"masker", DarkIsDirt(), "DarkIsDirt", dict(channels=1, n_classes=1), ["artifact"], ["light"], np.ones((1, 1, 32, 32), np.float32), px_um=.6, normalisation=dict(sigma=80., shrink=2), thresholds=dict(artifact=.5))
    scores = train.score_masks(trained, tiles, tmp_path/"practice"/"masks").set_index("metric").value
    assert scores["iou"] > .1
    assert train.score_masks(trained, tiles, tmp_path/"nowhere").empty
    for f in (tmp_path/"practice"/"masks").glob("*"): write(f, np.zeros((50, 60), np.uint8))
    with pytest.raises(UserError, match="50 x 60 px for a field of 96 x 96"): train.score_masks(trained, tiles, tmp_path/"practice"/"masks")


def test_a_mask_belongs_to_one_field(tmp_path):
    for name in ("p1/a.tif", "same.tif", "c.tif", "d.png.tif"): write(tmp_path/name, np.zeros((4, 4), np.uint8))
    found = {f: m and m.relative_to(tmp_path).as_posix() for f, m in annotate.find_masks(tmp_path, ["p1/a.png", "p2/a.png", "same.png", "same.tif", "images/c.jpg", "d.png"]).items()}
    assert found == {"p1/a.png": "p1/a.tif", "p2/a.png": None, "same.png": None, "same.tif": "same.tif", "images/c.jpg": "c.tif", "d.png": "d.png.tif"}


def test_s3_s4_clean_tiles_have_no_pseudo_mask_and_no_nan():
    flat = np.ones((3, 64, 64, 1), np.float16)
    for how in ("cam", "faithful"): assert not train.make_pseudo_masks(flat, np.arange(3), np.zeros((3, 64, 64), np.float16), how).any()
    with pytest.raises(UserError, match="refine"): train.make_pseudo_masks(flat, np.arange(3), np.zeros((3, 64, 64)), "viridis")


def test_s9_a_weak_artifact_does_not_vanish_beside_a_strong_one():
    x = np.ones((1, 96, 96, 1), np.float32)
    x[0, 20:30, 20:30] = .1; x[0, 60:70, 60:70] = .85
    seen = np.zeros((1, 96, 96), np.float16); seen[0, 15:35, 15:35] = 1; seen[0, 55:75, 55:75] = .9
    mine = train.make_pseudo_masks(x, np.array([0]), seen)[0]
    assert mine[65, 65] and mine[25, 25]
    theirs = train.make_mask_published(x[0, ..., 0], np.asarray(seen[0], np.float32))
    assert not theirs[65, 65], "the published rule draws edges, not objects"


def test_things_that_clean_images_have_too_are_no_dirt():
    rng, tiles = np.random.default_rng(0), np.ones((24, 128, 128, 1), np.float32)
    tiles += .005*rng.standard_normal(tiles.shape)
    def spot(t, depth, r, n):
        for _ in range(n):
            y, x = rng.integers(15, 113, 2); yy, xx = np.mgrid[:128, :128]
            t[..., 0] *= 1 - depth*np.exp(-((yy - y)**2 + (xx - x)**2)/(2*r*r))
    for t in tiles: spot(t, .2, 2., 25)  # stain, everywhere
    before = tiles.copy()
    for t in tiles[1::2]: spot(t, .8, 6., 2)  # dirt, in every other one
    dirt = (before - tiles)[..., 0] > .2
    vote = train.ObjectVote(tiles, np.arange(18), np.arange(18) % 2 == 1, np.arange(18)//2)
    masks = vote.masks()
    assert not masks[::2].any() and ((masks[1::2] == 1) & dirt[1:18:2]).sum() > .5*dirt[1:18:2].sum()
    said = np.stack([vote.mask(t[..., 0]) for t in tiles[18:]])
    assert set(np.unique(said)) == {0, 1, 255}, "what clean images have, too, does not count in dirty ones"
    said = said == 1
    assert said[::2].mean() < .002 and (said & dirt[18:]).sum() > .5*dirt[18:].sum()
    with pytest.raises(UserError, match="no dark thing in any dirty image"): train.ObjectVote(tiles, np.arange(0, 18, 2), np.zeros(9, bool), np.arange(9))


def test_without_labels_only_black_and_steep_things_are_dirt_for_certain():
    x = np.ones((128, 128), np.float32)
    x[20:30, 20:30] = .2; x[60:66, 60:66] = .6; x[100:103, 100:103] = .85
    said = train.outline_certain(x)
    assert (said[25, 25], said[63, 63], said[101, 101], said[45, 45]) == (1, 255, 0, 0)
    assert not train.outline_certain(1 - .4*(1 - disc(30, 128))).astype(bool)[0].any()
    stain = np.ones((128, 128), np.float32); stain[30:70, 30:70] = .35
    crystal, wall = stain.copy(), stain.copy()
    crystal[30:70, 70:73] = crystal[70:73, 30:70] = 1.3; wall[30:70, 30:70] = .05
    assert [train.outline_certain(x)[50, 50] for x in (stain, crystal, wall)] == [255, 1, 1], "smooth stain is black, too, but has no bright fringe"


def test_saliency_outside_dirt_gives_nothing_and_dirt_outside_saliency_neither():
    x = np.ones((96, 96)); x[20:30, 20:30] = .3
    seen = np.zeros((96, 96)); seen[60:80, 60:80] = 1
    assert not train.outline_dirt(x, seen).any()


def test_u1_clean_tiles_are_learned_from_and_pasted_masks_fit_their_pixels():
    rng = np.random.default_rng(0)
    tiles = np.ones((6, 160, 160, 1), np.float32); tiles += .005*rng.standard_normal(tiles.shape)
    tiles[0, 40:60, 40:70] *= .3
    masks = np.zeros((1, 160, 160), np.uint8); masks[0, 40:60, 40:70] = 1
    x, y = train.gather_tiles(tiles, np.array([0]), masks, np.arange(1, 6), crop=96, most=120, paste=.5, drawn=0.)
    assert len(x) == 120
    assert x.shape[1:] == (1, 96, 96) and y.shape[1:] == (96, 96) and set(np.unique(y)) <= {0, 1, 255}
    assert (y.max((1, 2)) == 0).any(), "crops without dirt"
    dark = x[:, 0] < .6
    assert dark[y == 1].mean() > .85 and dark[y == 0].mean() < .02
    x, y = train.gather_tiles(tiles, np.array([0]), np.where(masks, 255, 0).astype(np.uint8), np.array([0]), crop=160, most=20, paste=0., drawn=.5)
    assert all((k[45:55, 45:65] == 255).mean() > .3 for k in y) and (y == 1).any(), "what is doubtful stays so under drawn dirt"
    d, m = train.draw_on(np.ones((160, 160), np.float32), [0, 1], dirt=5.)
    assert m.any() and d[m == 1].mean() < d[m == 0].mean() - .05


def test_threshold_keeps_its_word():
    rng = np.random.default_rng(1)
    for _ in range(50):
        s, y = rng.random(40), rng.random(40) < .5
        if not y.any(): continue
        for r in (.5, .8, .9, 1.):
            at = train.choose_threshold(s, y, r)
            assert (s[y] > at).mean() >= r - 1e-9 or at == s.min() and y[s.argmin()], "the wanted share is found"
            assert (s[y] > s[s > at].min()).mean() < r, "and no higher threshold would do"
    with pytest.raises(UserError): train.choose_threshold(s, y, 0)


def test_a_field_is_as_dirty_as_its_dirtiest_tile():
    class Dark(nn.Module):
        def forward(self, x): m = .5 - x.amin((1, 2, 3)); return torch.stack([-m, m], 1)
    tiles = np.ones((5, 32, 32, 1), np.float16); tiles[3, 5, 5] = .1
    bags = train.Bags(tiles, [[0, 1], [2, 3], [4]])
    z = train.FieldOfTiles(Dark())(torch.from_numpy(bags[np.arange(3)]))
    assert z.argmax(1).tolist() == [0, 1, 0] and bags.shape == (3, 2, 1, 32, 32)


# ---------- labels

def test_class_folders_tables_and_published_layout_give_the_same(tmp_path, capsys):
    img = np.full((40, 40), 1000, np.uint16)
    for part in ("train", "test"):
        for c in CLASSES:
            for k in range(2): write(tmp_path/"a"/part/c/f"r02c0{k+1}f{1 if part == 'train' else 2}p01-ch1sk1fk1fl1.tiff", img)
    t, root = read_fields(tmp_path/"a")
    assert root == tmp_path/"a"
    assert len(t) == 8 and set(t.label) == set(CLASSES) and set(t.group) == {"r2c1", "r2c2"}
    t.to_csv(tmp_path/"a"/"t.csv", index=False)
    assert read_fields(tmp_path/"a"/"t.csv")[0][["label", "group"]].values.tolist() == t[["label", "group"]].values.tolist()
    write(tmp_path/"b"/"clean"/"x.tif", img); write(tmp_path/"b"/"dirty"/"y.tif", img)
    with pytest.raises(UserError, match="dirty"): read_fields(tmp_path/"b")
    write(tmp_path/"c"/"clean"/"x.tif", img)
    with pytest.raises(UserError, match="labelled clean, and none as the other"): annotate.run(str(tmp_path/"c"), str(tmp_path/"o"))
    write(tmp_path/"d"/"x.tif", img)
    assert set(annotate.run(str(tmp_path/"d"), str(tmp_path/"p")).items.label) == {""} and "no image is labelled" in capsys.readouterr().out
    with pytest.raises(UserError, match="no such"): annotate.run(str(tmp_path/"nowhere"), str(tmp_path/"o"))


def test_a_table_elsewhere_never_writes_over_its_images(tmp_path, masker):
    for k in range(3): write(tmp_path/"raw"/f"f{k}.tif", make_dirty_field((90, 90), seed=k, dirt=2.).image[..., 0])
    (tmp_path/"tables").mkdir()
    pd.DataFrame(dict(file=["../raw/f0.tif", str(tmp_path/"raw"/"f1.tif"), "../tables/../raw/f2.tif"], label=["clean", "artifact", "artifact"])).to_csv(tmp_path/"tables"/"t.csv", index=False)
    before = sums(tmp_path/"raw")
    labels = annotate.run(str(tmp_path/"tables"/"t.csv"), str(tmp_path/"out"/"51"))
    assert labels.items.file.tolist() == ["f0.tif", "f1.tif", "f2.tif"]
    made = infer.run(str(tmp_path/"out"/"51"), str(tmp_path/"out"/"55"), str(masker))
    assert sums(tmp_path/"raw") == before and find_images(made.path/"masks") == find_images(made.path/"filled") == ["f0.tif", "f1.tif", "f2.tif"]
    assert find_images(tmp_path) == [f"raw/f{k}.tif" for k in range(3)], "what steps have written is no source"


def test_the_well_is_in_the_name_also_in_folders(tmp_path):
    img = np.full((40, 40), 1000, np.uint16)
    for c, week in (("clean", "week1"), ("artifact", "week1")): write(tmp_path/c/week/f"r02c05f{len(c)}p01-ch1sk1fk1fl1.tiff", img)
    assert set(read_fields(tmp_path)[0].group) == {"week1_r2c5"}, "one well, one group, whatever its label"


def test_practice_data_are_called_so_also_when_they_are_passed_as_a_source(tmp_path):
    annotate.make_practice(tmp_path/"practice", 3, 2, (96, 96))
    assert annotate.run(str(tmp_path/"practice"), str(tmp_path/"51")).meta["settings"]["practice"] is True
    write(tmp_path/"own"/"a.tif", np.full((40, 40), 1000, np.uint16))
    assert annotate.run(str(tmp_path/"own"), str(tmp_path/"51b")).meta["settings"]["practice"] is False


def test_a_log_that_is_not_there_yet_is_said(tmp_path, capsys):
    write(tmp_path/"in"/"a.tif", np.full((40, 40), 1000, np.uint16))
    assert len(annotate.run(str(tmp_path/"in"), str(tmp_path/"51"), log=str(tmp_path/"labels.jsonl"))) == 1
    assert "nobody has labelled yet" in capsys.readouterr().out


def test_alpha_is_no_light_and_colours_stay_colours(tmp_path, masker):
    rgba = np.full((96, 96, 4), 230, np.uint8); rgba[..., 3] = 255; rgba[30:50, 30:50, :3] = 10
    import imageio.v3 as iio; (tmp_path/"in").mkdir(); iio.imwrite(tmp_path/"in"/"a.png", rgba)
    made = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out", fill="median", widen=0)
    assert made.items.area[0] == pytest.approx(400/96**2, rel=.2)
    iio.imwrite(tmp_path/"in"/"b.png", rgba[..., :3])
    with tifffile.TiffFile(infer.mask_folder(tmp_path/"in", masker, tmp_path/"out2").path/"filled"/"b.png.tif") as f: assert f.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
    filled = read_image(made.path/"filled"/"a.png.tif")
    assert filled.shape == (96, 96, 4) and (filled[..., 3] == 255).all() and (filled[40, 40, :3] == 230).all()


def test_clean_images_with_nothing_dark_make_every_dark_thing_dirt():
    tiles = np.ones((6, 64, 64, 1), np.float32); tiles[1::2, 20:30, 20:30] = .4
    vote = train.ObjectVote(tiles, np.arange(6), np.arange(6) % 2 == 1, np.arange(6)//2)
    assert (vote.masks()[1::2, 22:28, 22:28] == 1).all() and (vote.mask(tiles[1, ..., 0])[22:28, 22:28] == 1).all()


def test_labels_of_the_widget_reach_the_step_and_unsure_is_not_learned_from(tmp_path):
    for k in range(4): write(tmp_path/"in"/f"r02c0{k+1}f1p01-ch1sk1fk1fl1.tiff", np.full((40, 40), 1000 + k, np.uint16))
    widget = annotate.make_annotator(tmp_path/"in", tmp_path/"log.jsonl", by="me")
    names = find_images(tmp_path/"in")
    widget.label(names[:1], "clean"); widget.label(names[1:3], "artifact"); widget.label(names[3:], "unsure")
    made = annotate.run(str(tmp_path/"in"), str(tmp_path/"51"), log=str(tmp_path/"log.jsonl"))
    assert made.items.set_index("item_id").label[names].tolist() == ["clean", "artifact", "artifact", "unsure"] and set(made.items.by) == {"me"}
    painter = annotate.make_painter(tmp_path/"in", tmp_path/"masks.jsonl", by="me")
    painter.paint([[10, 10], [10, 20]], "artifact", radius=3, field=names[1])
    (file,) = annotate.write_masks(painter, tmp_path/"painted")
    assert read_image(file)[10, 15, 0] == 255 and read_image(file)[30, 30, 0] == 0


HOSTILE = ["-rf.tif", "a b (1).tif", "x;$(touch y).tif", "\u202etif.exe.tif", "ünï\U0001f52c.tif", "CON.tiff", "a,b\"c.tif", "same.png", "same.tif", ("long" * 40) + ".tif"]


def test_hostile_names_and_odd_sizes_pass_through(tmp_path, masker):
    img = make_dirty_field((97, 131), seed=1, dirt=2.).image[..., 0]
    for k, name in enumerate(HOSTILE):
        if name.endswith(".png"):
            import cv2; (tmp_path/"in").mkdir(exist_ok=True); cv2.imwrite(str(tmp_path/"in"/name), (img >> 8).astype(np.uint8))
        else: write(tmp_path/"in"/("sub dir" if k % 2 else ".")/name, img[:60 + 5*k, :70 + 3*k])
    write(tmp_path/"in"/".hidden.tif", img)
    made = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out")
    assert len(made) == len(HOSTILE)
    written = find_images(made.path/"masks")
    assert len(written) == len(HOSTILE) and len(find_images(made.path/"filled")) == len(HOSTILE)
    assert not (tmp_path/"y").exists() and all(".." not in w for w in written)
    for r in made.items.itertuples(): assert read_image(made.path/"masks"/annotate.name_mask(r.file)).shape[:2] == read_image(tmp_path/"in"/r.file).shape[:2]


def test_a_field_that_is_all_dirt_and_a_black_one_are_rejected_not_fatal(tmp_path, masker):
    rng = np.random.default_rng(0)
    dark = (30_000 + 300*rng.standard_normal((200, 200))).astype(np.uint16); dark[np.ix_(np.arange(200) % 24 < 14, np.arange(200) % 24 < 14)] = 500
    write(tmp_path/"in"/"spots.tif", dark); write(tmp_path/"in"/"black.tif", np.zeros((200, 200), np.uint16)); write(tmp_path/"in"/"white.tif", np.full((200, 200), 65535, np.uint16))
    for k in range(5): write(tmp_path/"in"/f"even{k}.tif", np.full((200, 200), 20_000 + k, np.uint16))
    done = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out")
    made = done.items.set_index("file")
    assert made.status["even0.tif"] == made.status["white.tif"] == "ok" and made.area["even0.tif"] == 0
    assert made.status["spots.tif"] == "reject" and .25 < made.area["spots.tif"] < .5
    assert pd.read_csv(done.path/"skipped.csv").file.tolist() == ["black.tif"], "black all over: named and left out"
    img = np.random.default_rng(0).integers(0, 255, (20, 20, 1)).astype(np.uint8)
    assert (infer.clean_field(img, np.ones((20, 20), bool)) == img).all()
    with pytest.raises(UserError, match="fill"): infer.mask_folder(tmp_path/"in", masker, tmp_path/"out2", fill="magic")
    with pytest.raises(UserError): infer.mask_folder(tmp_path/"none", masker, tmp_path/"out3")


def test_dust_of_the_set_is_corrected_and_what_is_under_it_comes_back(tmp_path, masker):
    rng, spots = np.random.default_rng(0), np.ones((160, 160), np.float32)
    for y, x in ((40, 50), (110, 90)): spots[y-5:y+5, x-5:x+5] = .7
    clean = []
    for k in range(10):
        img = 30_000*(1 + .01*rng.standard_normal((160, 160)))
        y, x = rng.integers(20, 120, 2); img[y:y+20, x:x+20] *= .9
        clean.append(img); write(tmp_path/"in"/f"f{k}.tif", (img*spots).astype(np.uint16))
    made = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out")
    assert (made.path/"dust.tif").exists() and (made.items.dust > 0).all()
    dust = read_image(made.path/"dust.tif")[..., 0] > 0
    assert dust[spots < 1].mean() > .8 and dust.mean() < .08
    for k in range(10):
        got, was = read_image(made.path/"filled"/f"f{k}.tif")[..., 0].astype(float), read_image(tmp_path/"in"/f"f{k}.tif")[..., 0]
        mask = read_image(made.path/"masks"/f"f{k}.tif")[..., 0] > 0
        assert (got[~dust & ~mask] == was[~dust & ~mask]).all()
        assert np.abs(got - clean[k])[(spots < 1) & ~mask].mean() < np.abs(was - clean[k])[(spots < 1) & ~mask].mean()/3, k


def test_dust_is_found_beside_alpha_and_beside_images_of_another_size(tmp_path, masker, capsys):
    import imageio.v3 as iio
    rng, spots = np.random.default_rng(0), np.ones((160, 160, 1), np.float32); (tmp_path/"in").mkdir()
    for y, x in ((40, 50), (110, 90)): spots[y-5:y+5, x-5:x+5] = .7
    for k in range(10):
        img = 180*(1 + .01*rng.standard_normal((160, 160, 1)))*np.ones(3); y, x = rng.integers(20, 120, 2); img[y:y+20, x:x+20] *= .9
        iio.imwrite(tmp_path/"in"/f"f{k}.png", np.concatenate([img*spots, np.full((160, 160, 1), 255)], 2).astype(np.uint8))
    iio.imwrite(tmp_path/"in"/"z.png", np.full((120, 100), 180, np.uint8))
    made = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out")
    assert (made.items.dust > 0).tolist() == [True]*10 + [False] and "1 images are not of 160 x 160 px with 3 channels" in capsys.readouterr().out


def test_dust_is_found_in_each_session_and_a_place_seen_twice_is_no_dust(tmp_path, capsys):
    spots = [np.ones((240, 240), np.float32) for _ in range(2)]
    for s, at in zip(spots, ([(50, 60), (150, 180), (200, 40)], [(90, 120), (30, 200), (180, 100)])):
        for y, x in at: s[y-14:y+14, x-14:x+14] = .6
    field = lambda k: make_dirty_field((240, 240), seed=[7, k], dirt=0.).image[..., 0]
    files = [write(tmp_path/"moved"/f"f{k:02}.tif", np.clip(field(k)*spots[k//7], 0, 65535).astype(np.uint16)) for k in range(14)]
    which, found = patches.find_set_dust(files)
    assert which.tolist() == [0]*7 + [1]*7 and len(found) == 2
    for d, s in zip(found, spots): assert d.mask[s < 1].mean() > .8 and d.mask[s == 1].mean() < .1
    rng = np.random.default_rng(0)
    same = [write(tmp_path/"same"/f"f{k}.tif", np.clip(field(0)*(1 + .01*rng.standard_normal((240, 240))), 0, 65535).astype(np.uint16)) for k in range(8)]
    which, found = patches.find_set_dust(same)
    assert not found and set(which) == {-1} and "show one place" in capsys.readouterr().out


def test_files_that_are_no_images_are_named_counted_and_left_out(tmp_path, masker, capsys):
    for k in range(6): write(tmp_path/"in"/f"f{k}.tif", make_dirty_field((120, 140), seed=k, dirt=1.).image[..., 0])
    (tmp_path/"in"/"a_text.tif").write_text("not an image")
    whole = (tmp_path/"in"/"f0.tif").read_bytes(); (tmp_path/"in"/"half.tif").write_bytes(whole[:len(whole)//2])
    tifffile.imwrite(tmp_path/"in"/"movie.tif", np.zeros((5, 40, 40), np.uint16), imagej=True, metadata=dict(axes="TYX"))
    made = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out")
    assert made.items.file.tolist() == [f"f{k}.tif" for k in range(6)] and "3 of 9 files are left out" in capsys.readouterr().out
    assert set(pd.read_csv(made.path/"skipped.csv").file) == {"a_text.tif", "half.tif", "movie.tif"}
    labels = annotate.run(str(tmp_path/"in"), str(tmp_path/"51"))
    assert len(labels) == 9 and patches.run(str(tmp_path/"51"), str(tmp_path/"52")).items.field_id.nunique() == 6
    for f in (tmp_path/"in").glob("f*.tif"): f.write_text("gone")
    with pytest.raises(UserError, match="none of the files"): infer.mask_folder(tmp_path/"in", masker, tmp_path/"out2")


# ---------- scale, gate

def test_one_odd_image_does_not_stop_a_folder(tmp_path, masker, capsys):
    for k in range(6): write(tmp_path/"in"/f"f{k}.tif", make_dirty_field((96, 96), seed=k, dirt=2.).image[..., 0])
    write(tmp_path/"in"/"bw.tif", np.ones((96, 96), bool)); write(tmp_path/"in"/"thumb.tif", np.full((3, 3), 900, np.uint16))
    bad = np.full((96, 96), .5, np.float32); bad[3, 3] = np.nan; write(tmp_path/"in"/"nan.tif", bad)
    tifffile.imwrite(tmp_path/"in"/"coarse.tif", np.full((96, 96), 900, np.uint16), resolution=(1e4/3, 1e4/3), resolutionunit="CENTIMETER") # 3 um a pixel
    made = infer.mask_folder(tmp_path/"in", masker, tmp_path/"out")
    why = pd.read_csv(made.path/"skipped.csv").set_index("file").why
    assert len(made) == 6 and set(why.index) == {"bw.tif", "thumb.tif", "nan.tif", "coarse.tif"}
    assert "black and white" in why["bw.tif"] and "3 x 3 px" in why["thumb.tif"] and "no numbers" in why["nan.tif"] and "um per pixel" in why["coarse.tif"]
    assert all(f in w for f, w in why.items()) and "4 of 10 files are left out" in capsys.readouterr().out


def test_two_images_never_share_a_mask_and_another_pattern_is_another_run(tmp_path, masker):
    import imageio.v3 as iio
    img = make_dirty_field((96, 96), seed=0, dirt=2.).image[..., 0]; (tmp_path/"in").mkdir()
    for name in ("w1_a.png", "w1_b.png", "w2_a.png"): iio.imwrite(tmp_path/"in"/name, img)
    assert infer.mask_folder(tmp_path/"in", masker, tmp_path/"out").items.group.nunique() == 3
    with pytest.raises(UserError, match="another"): infer.mask_folder(tmp_path/"in", masker, tmp_path/"out", pattern=r"(w\d)")
    assert infer.mask_folder(tmp_path/"in", masker, tmp_path/"wells", pattern=r"(w\d)").items.group.tolist() == ["w1", "w1", "w2"]
    write(tmp_path/"in"/"w1_a.png.tif", img)
    with pytest.raises(UserError, match="one mask"): infer.mask_folder(tmp_path/"in", masker, tmp_path/"out3")


def test_labels_stay_when_images_come_and_go(tmp_path):
    for k in range(5): write(tmp_path/"in"/f"f{k}.tif", make_dirty_field((64, 64), seed=k).image[..., 0])
    w = annotate.make_annotator(str(tmp_path/"in"), str(tmp_path/"labels.jsonl"), by="x")
    for name, label in (("f0.tif", "clean"), ("f1.tif", "artifact"), ("f3.tif", "clean")): w.label(name, label)
    write(tmp_path/"in"/"new.tif", np.full((64, 64), 900, np.uint16)); (tmp_path/"in"/"f3.tif").unlink()
    with pytest.warns(UserWarning, match="not in this set"): made = annotate.run(str(tmp_path/"in"), str(tmp_path/"51"), log=str(tmp_path/"labels.jsonl"))
    assert dict(zip(made.items.file, made.items.label)) == {"f0.tif": "clean", "f1.tif": "artifact", "f2.tif": "", "f4.tif": "", "new.tif": ""}
    write(tmp_path/"other"/"a.tif", np.full((64, 64), 900, np.uint16))
    with pytest.raises(UserError, match="none of the"): annotate.run(str(tmp_path/"other"), str(tmp_path/"52"), log=str(tmp_path/"labels.jsonl"))


def test_a_camera_of_12_bits_is_saturated_at_its_own_white():
    img = np.full((64, 64, 1), 2_000, np.uint16); img[:16] = 4095
    assert patches._describe(img, to_light(img))["saturated"] == .25 and patches._describe(img//2, to_light(img//2))["saturated"] == 0


def test_of_very_many_tiles_some_of_all_fields_are_learned_from():
    fields = pd.DataFrame([dict(part="train", tiles=list(range(9*k, 9*k + 9))) for k in range(400)])
    rows = train._tiles_of(fields, "train")
    assert len(rows) == 1200 and len({r//9 for r in rows}) == 400 and len(train._tiles_of(fields[:5], "train")) == 45


def test_c5_pretrained_weights_reach_both_networks(monkeypatch):
    import timm
    asked, real = [], timm.create_model
    def create(*args, pretrained=False, **kw): asked.append(pretrained); return real(*args, **kw)
    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(train, "train_model", lambda *a, **k: type("H", (), dict(curves=None)))
    monkeypatch.setattr(train, "train_unet", lambda *a, **k: type("H", (), dict(curves=None)))
    fields = pd.DataFrame([dict(part=p, label=l, tiles=[k]) for k, (p, l) in enumerate([("train", "clean"), ("train", "artifact"), ("valid", "clean"), ("valid", "artifact")])])
    for yes in (True, False):
        asked.clear()
        train.train_classifier(np.random.default_rng(0).random((4, 64, 64, 1), np.float32), fields, pretrained=yes); assert any(asked) == yes
        asked.clear(); train.train_masker(None, None, pretrained=yes); assert any(asked) == yes


def test_when_nothing_is_called_dirty_it_is_said(monkeypatch):
    fields = pd.DataFrame([dict(field_id=f"f{k}", group=f"w{k}", label=CLASSES[k % 2], part=("train", "valid", "test")[k//2 % 3], tiles=[k]) for k in range(12)])
    tiles, score = np.ones((12, 64, 64, 1), np.float32), np.where((fields.part == "valid") & (fields.label == "artifact"), 5., -5.)
    monkeypatch.setattr(train, "score_tiles", lambda model, tiles: score)
    with pytest.raises(UserError, match="no tile of the train wells dirty"): train._teach(tiles, fields, None, dict(refine="cam", recall=.9, stray=.03, agreement=.9), None, 0)


def test_scale_is_followed_or_refused(masker):
    bundle = open_masker(masker)
    assert shrink_of(bundle) == shrink_of(bundle, .3) == 2 and shrink_of(bundle, .6) == 1
    with pytest.raises(UserError, match="um per pixel"): shrink_of(bundle, 3.)
    with pytest.raises(UserError): open_masker(masker/"nothing")


@pytest.mark.parametrize("rows", [10, 30, 40, 60, 64])
def test_the_gate_is_not_fooled_by_dirt_that_covers_most_of_a_patch(masker, rows):
    patches = np.full((9, 64, 64, 1), 20_000, np.uint16); patches[4, :rows] = 4_000; patches[6:] //= 2 # another well, lit half as bright
    flags = flag_dirty(patches, masker, groups=np.repeat(["a", "b"], [6, 3]))
    assert flags.dirty.tolist() == [k == 4 for k in range(9)] and flags.dirt[4] == pytest.approx(rows/64, abs=.06)


def test_the_gate_flags_patches_with_dirt(masker):
    clean = np.full((6, 64, 64, 1), 20_000, np.uint16); dirty = clean.copy(); dirty[::2, 20:40, 20:40] = 5_000
    flags = flag_dirty(dirty, masker)
    assert flags.dirty.tolist() == [True, False]*3 and flags.dirt[0] == pytest.approx(400/4096, rel=.3)
    assert not flag_dirty(clean, masker).dirty.any() and len(flag_dirty(clean[:0], masker)) == 0
    prob = predict_dirt(open_masker(masker), dirty[0])
    assert prob.shape == (64, 64)


# ---------- what a person says of the masks

@pytest.fixture
def masked(tmp_path, masker):
    "Four wells with a black square in each field, masked; of the first well something was learned."
    for w in range(4):
        img = np.full((160, 160), 30_000, np.uint16); img[40:60, 40 + 10*w:60 + 10*w] = 6_000
        write(tmp_path/"in"/f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", img)
    infer.mask_folder(tmp_path/"in", masker, tmp_path/"55", widen=0)
    f = visualize.Findings(tmp_path/"55")
    f.items = f.items.assign(part=["train", "test", "new", "test"])
    return f


def test_painted_masks_score_what_was_delivered_and_only_wells_not_learned_from(masked, tmp_path):
    for k, file in enumerate(masked.items.file): # the first mask is all wrong, and of a well that was learned from; the last field is painted clean
        true = np.zeros((160, 160), np.uint8); true[40:60, 40 + 10*k:60 + 10*k] = 255*(0 < k < 3)
        write(tmp_path/"painted"/file, true)
    found = visualize.score_painted(masked, tmp_path/"painted", tmp_path/"none")
    score = found.pixels.set_index("metric").value
    assert found.table.row.tolist() == [1, 2, 3] and score["recall"] > .95 and score["precision"] == pytest.approx(2/3, abs=.05) and 350/160**2 < score["clean_area"] < 450/160**2
    assert found.objects.set_index("size").n["all"] == 2 and found.objects.set_index("size").found["all"] == 1 and found.table.wrong.idxmax() == 2
    section = visualize.section_painted(masked, found)
    assert "3 fields of 3 wells that nothing was learned from" in section.text and "person" in section.text and len(section.items) == 5
    assert [n.name for n in visualize.make_headline(masked, found)][0].startswith("masks: IoU")
    masked.items["part"] = "unknown"
    assert len(found := visualize.score_painted(masked, tmp_path/"painted", tmp_path/"none").table) == 4
    assert "the numbers flatter" in visualize.section_painted(masked, visualize.score_painted(masked, tmp_path/"painted", tmp_path/"none")).text
    masked.items["part"] = "train"
    assert "Painted masks: 4; of images that are here: 4; of wells that nothing was learned from: none" in visualize.section_painted(masked, visualize.score_painted(masked, tmp_path/"painted", tmp_path/"none")).text
    masked.items["part"] = "test"; write(tmp_path/"painted"/masked.items.file[2], np.zeros((50, 60), np.uint8))
    with pytest.raises(UserError, match="50 x 60 px for a field of 160 x 160"): visualize.score_painted(masked, tmp_path/"painted", tmp_path/"none")


def test_what_a_well_was_to_the_model_is_in_the_table(tmp_path, masker):
    for w in range(3): write(tmp_path/"in"/f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", np.full((64, 64), 30_000, np.uint16))
    write_bundle(tmp_path/"masker", DarkIsDirt(), "DarkIsDirt", dict(channels=1, n_classes=1), ["artifact"], ["light"], np.ones((1, 1, 32, 32), np.float32), px_um=.6, normalisation=dict(sigma=80., shrink=2), thresholds=dict(artifact=.5), split=dict(by="group", train=["r2c2"], test=["r2c3"]))
    annotate.run(str(tmp_path/"in"), str(tmp_path/"51"))
    assert infer.run(str(tmp_path/"51"), str(tmp_path/"55"), model=str(tmp_path/"masker")).items.part.tolist() == ["train", "test", "new"]
    assert set(infer.mask_folder(tmp_path/"in", tmp_path/"masker", tmp_path/"55b").items.part) == {"unknown"}, "another folder may name its wells alike"


@pytest.mark.parametrize("value,low,wells,says,kind", [(.9, .3, 2, "2 test wells are too few", "warn"), (.9, .3, 9, "no better than chance", "bad"), (.55, .3, 2, "no better than chance", "bad"), (.9, .8, 2, "were masked and filled", "good")])
def test_the_verdict_tells_few_wells_from_a_bad_classifier(masked, value, low, wells, says, kind):
    masked.scores, masked.labelled = pd.DataFrame([dict(metric="auroc", value=value, low=low, high=1.)]), True
    masked.trained = type("Trained", (), dict(items=pd.DataFrame(dict(group=range(wells), split="test"))))
    verdict = visualize.make_verdict(masked)
    assert says in verdict.text and verdict.kind == kind


@pytest.mark.parametrize("called", ["artifact", "dust"])
def test_the_log_of_the_brush_is_enough_and_the_eraser_says_clean(masked, tmp_path, called):
    names = masked.items.file.tolist()
    brush = MaskAnnotator([masked.root/n for n in names], [called], tmp_path/"masks.jsonl", names=names)
    brush.paint([[40, 50], [40, 69], [59, 69], [59, 50]], called, field=names[1], fill=True)
    brush.paint([[5, 5]], called, field=names[3], erase=True)
    found = visualize.score_painted(masked, tmp_path/"masks.jsonl", tmp_path/"drawn")
    truth = [read_image(k)[..., 0] > 0 for k in found.table.file]
    assert found.table.row.tolist() == [1, 3] and truth[0].sum() == pytest.approx(400, abs=45) and not truth[1].any()
    assert found.pixels.set_index("metric").value["recall"] > .9 and found.n_files == 2
    (tmp_path/"odd.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(UserError): visualize.score_painted(masked, tmp_path/"odd.jsonl", tmp_path/"drawn")


def test_fields_to_be_painted_are_chosen_by_chance_and_not_of_wells_that_were_learned_from(tmp_path, masker):
    for w in range(6): write(tmp_path/"in"/f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", np.full((64, 64), 30_000, np.uint16))
    write_bundle(tmp_path/"masker", DarkIsDirt(), "DarkIsDirt", dict(channels=1, n_classes=1), ["artifact"], ["light"], np.ones((1, 1, 32, 32), np.float32), px_um=.6, normalisation=dict(sigma=80., shrink=2), thresholds=dict(artifact=.5), split=dict(by="group", train=["r2c2", "r2c3"], valid=["r2c7"]))
    annotate.run(str(tmp_path/"in"), str(tmp_path/"51")); infer.run(str(tmp_path/"51"), str(tmp_path/"run"/"55_infer"), model=str(tmp_path/"masker"))
    brush = visualize.make_explorer(str(tmp_path/"run"), n=3)
    assert {k.name[:6] for k in brush.fields} == {"r02c04", "r02c05", "r02c06"}


def test_without_a_painted_mask_the_report_says_so(masked, tmp_path, capsys):
    visualize.run(str(tmp_path/"55"), str(tmp_path/"56"), painted=str(tmp_path/"masks.jsonl"))
    assert "nobody has painted yet" in capsys.readouterr().out
    assert "Nobody has painted a mask" in (tmp_path/"56"/"report.html").read_text(encoding="utf-8")
    write(tmp_path/"masks"/"nobody.tif", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match="painted"): visualize.run(str(tmp_path/"55"), str(tmp_path/"56"), painted=str(tmp_path/"masks"))
    visualize.run(str(tmp_path/"55"), str(tmp_path/"57"), painted=str(tmp_path/"masks"))
    assert "Painted masks: 1; of images that are here: 0;" in (tmp_path/"57"/"report.html").read_text(encoding="utf-8")


def test_the_log_beside_the_steps_is_found_and_goes_before_a_folder_made_of_it(masked, tmp_path):
    near = lambda painted="": visualize._find_painted(masked, painted, tmp_path)
    assert near() is None
    (tmp_path/"painted").mkdir(); assert near() == tmp_path/"painted"
    (tmp_path/"masks.jsonl").touch(); assert near() == tmp_path/"masks.jsonl" and near(str(tmp_path/"painted")) == tmp_path/"painted"


def test_what_is_unusual_and_not_masked_is_shown(tmp_path, masker):
    for w in range(3):
        for k in range(2):
            img = make_dirty_field((200, 200), seed=[w, k], dirt=0., n_cells=0).image[..., 0]
            if (w, k) == (1, 1): img[100:112, 100:112] //= 20 # will be masked
            if (w, k) == (2, 0): img[60:75, 120:135] = img[60:75, 120:135]//10*13 # bright: no dirt for this model
            write(tmp_path/"in"/f"r02c{w + 2:02}f{k + 1}p01-ch1sk1fk1fl1.tiff", img)
    annotate.run(str(tmp_path/"in"), str(tmp_path/"51")); patches.run(str(tmp_path/"51"), str(tmp_path/"52"))
    selfsupervise.run(str(tmp_path/"52"), str(tmp_path/"53")); infer.run(str(tmp_path/"51"), str(tmp_path/"55"), model=str(masker))
    f = visualize.Findings(tmp_path/"55", unusual=tmp_path/"53")
    t = visualize.find_unmasked(f)
    assert t.field_id[0] == "r02c04f1p01-ch1sk1fk1fl1.tiff" and t.far[0] > 2*t.far[1] and not t.field_id.duplicated().any()
    assert len(visualize.section_unusual(f).items) == 4
    all_of_it = visualize.find_unmasked(f, n=100)
    assert len(all_of_it) == 6 and all_of_it.head(4).equals(t.head(4)), "nothing worse comes later"
    assert not len(visualize.find_unmasked(visualize.Findings(tmp_path/"55"))) and visualize.section_unusual(visualize.Findings(tmp_path/"55")) is None


def test_probabilities_of_images_are_tempered_and_one_half_at_the_threshold():
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 4, 3000); yes = rng.random(3000) < train.to_probability(odds, 2.5)
    assert train._temper(odds, yes) == pytest.approx(2.5, rel=.15)
    assert train.to_probability(0., 3.) == .5 and np.isnan(train.to_probability(np.nan))
    few = np.r_[np.full(4, 8.), np.full(4, -8.)]
    assert .8 < train.to_probability(8., train._temper(few, few > 0)) < .95, "eight images that are all right do not make it certain"


# ---------- the whole way

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "Practice data from the first step to the report, with a short training."
    out = tmp_path_factory.mktemp("protocol")/"work"
    with pytest.MonkeyPatch.context() as m:
        small = annotate.make_practice
        m.setattr(annotate, "make_practice", lambda folder, seed=0: small(folder, 6, 3, (160, 160), seed))
        run_steps("artifacts", out=out, size=96, epochs=2, mask_epochs=1, crops=40, encoder_epochs=1)
    return out


@pytest.mark.slow
def test_practice_data_end_to_end(finished, capsys):
    folders = [step_folder("artifacts", s) for s in built_steps("artifacts")]
    assert folders == ["51_annotate", "52_patches", "53_selfsupervise", "54_train", "55_infer", "56_visualize"]
    assert {p.name for p in finished.iterdir()} == {*folders, "practice"}, "no half-finished folder, lock or scratch is left"
    labels, tiles, _, trained, masks, _ = [check_dataset(finished/f) for f in folders]
    assert set(labels.items.item_id) == set(tiles.items.field_id) == set(masks.items.item_id) == set(trained.items.field_id)
    page = (finished/"56_visualize"/"report.html").read_text(encoding="utf-8")
    assert "practice (synthetic)" in page.lower() and "<script" not in page and 'class="slider"' in page
    assert all(title in page for title in ("How good are the masks?", "The practice generator knows every mask", "What is unusual, and not masked?"))
    assert "practice" in (finished/"54_train"/"masker"/"card.md").read_text().lower()
    stamp = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    assert main(["artifacts", "infer", "--source", str(finished/"51_annotate"), "--model", str(finished/"54_train"), "--out", str(finished/"55_infer")]) == 0
    assert "done before" in capsys.readouterr().out and stamp == {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cam", "faithful", "drawn"])
def test_every_way_to_a_pseudo_mask_leads_to_a_model(finished, tmp_path, how):
    made = train.run(str(finished/"52_patches"), str(tmp_path/"54"), epochs=3, mask_epochs=1, crops=40, refine=how)
    assert open_masker(made.path).classes == ["artifact"] and made.meta["settings"]["refine"] == how
    assert (made.path/"classifier").is_dir() == (how != "drawn")
    rows, masks = train.unpack_masks(made)
    assert len(rows) == len(masks) and masks.dtype == bool


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, finished):
    for k in range(12): write(tmp_path/"in"/f"f{k}.tif", make_dirty_field((300, 300), seed=k, dirt=2.).image[..., 0])
    code = f"from cellprotocols.dataset import DatasetWriter; DatasetWriter.flush_seconds = 0; from cellprotocols.artifacts.infer import mask_folder; mask_folder({str(tmp_path/'in')!r}, {str(finished/'54_train')!r}, {str(tmp_path/'a')!r})"
    p = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if len(list(tmp_path.rglob("filled/*.tif"))) >= 3: break
        assert p.poll() is None, "it ended by itself"
        time.sleep(.1)
    p.send_signal(signal.SIGKILL); assert p.wait() == -signal.SIGKILL
    assert not (tmp_path/"a").exists(), "not finished, so not there"
    before = {f.name: f.stat().st_mtime_ns for f in tmp_path.rglob("filled/*.tif")}; assert 3 <= len(before) < 12
    a, b = infer.mask_folder(tmp_path/"in", finished/"54_train", tmp_path/"a"), infer.mask_folder(tmp_path/"in", finished/"54_train", tmp_path/"b")
    assert a.items.equals(b.items)
    assert sum((a.path/"filled"/f).stat().st_mtime_ns == t for f, t in before.items()) >= len(before) - 1, "what was done is not done again"
    for part in ("masks", "filled"): # the files carry a random identity of their own: their pixels count
        assert find_images(a.path/part) == find_images(b.path/part) and len(find_images(a.path/part)) == 12
        assert all((read_image(a.path/part/f) == read_image(b.path/part/f)).all() for f in find_images(a.path/part))


@pytest.mark.slow
def test_images_that_nobody_has_labelled_are_masked_and_reported(tmp_path, capsys):
    for w in range(4):
        for k in range(2): write(tmp_path/"in"/f"r02c{w + 2:02}f{k + 1}p01-ch1sk1fk1fl1.tiff", make_dirty_field((256, 256), seed=[w, k], dirt=2.).image[..., 0])
    run_steps("artifacts", source=str(tmp_path/"in"), out=tmp_path/"work", mask_epochs=1, crops=40)
    said = capsys.readouterr().out
    assert "from drawn dirt alone" in said and "there is no classifier" in said
    trained = read_dataset(tmp_path/"work"/"54_train")
    assert not (trained.path/"classifier").exists() and "drawn dirt" in (trained.path/"masker"/"card.md").read_text() and "predicted" not in trained.items
    assert read_dataset(tmp_path/"work"/"55_infer").items.p_artifact.isna().all()
    page = (tmp_path/"work"/"56_visualize"/"report.html").read_text(encoding="utf-8")
    assert "AUROC" not in page and "no label says how well that went" in page and "were masked and filled" not in page
