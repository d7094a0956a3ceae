"The protocol artifacts: golden numbers, the published system's defects that must not return, hostile names, and the whole way on practice data."

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reports import check_report
import tifffile
import torch
from scipy import ndimage
from fields import sums, write, write_masker
from fields import masker  # noqa: F401 (a fixture)

from cellprotocols import pseudomasks, weak
from cellprotocols.artifacts import annotate, infer, patches, selfsupervise, train, visualize
from cellprotocols.artifacts.annotate import CLASSES
from cellprotocols.architectures import count_parameters
from cellprotocols.classify import StageClassifier
from cellprotocols.cli import main, run_steps
from cellprotocols.dataset import check_dataset, read_dataset
from cellprotocols.dirt import clean_field, open_masker
from cellprotocols.drawing import MaskAnnotator
from cellprotocols.errors import UserError
from cellprotocols.images import read_image
from cellprotocols.labelled import LabelledError
from cellprotocols.imagesets import find_groups, find_images, read_image_set
from cellprotocols.maskfiles import name_mask, write_masks
from cellprotocols.maskreport import make_numbers, make_painted_section, make_unusual_section
from cellprotocols.maskscores import make_pixel_histogram, score_pixels
from cellprotocols.painted import score_painted
from cellprotocols.protocols import built_steps, step_folder
from cellprotocols.pseudomasks import read_pseudo_masks
from cellprotocols.steps import make_practice_step
from cellprotocols.synth_dirt import make_dirty_field
from cellprotocols.published import PublishedUNet
from cellprotocols.unet import UNet, prepare_tiles
from cellprotocols.weak import _turn_bags

ROOT = Path(__file__).resolve().parents[1]


# ---------- golden numbers (specification, section 7)


def test_g1_g2_real_files_are_read_whole_and_their_wells_known(shared_data):
    folder = shared_data / "artifacts" / "sabgal"
    t = pd.read_csv(folder / "manifest.csv")
    for r in t.itertuples():
        img = read_image(folder / r.file)
        assert img.shape == (1080, 1080, 1) and img.dtype.kind == "u" and img.dtype.itemsize == 2
        assert (img.min(), img.max()) == (r.min, r.max), "big-endian files are neither swapped nor cut to 8 bits"
    assert find_groups(t.file.tolist()) == t.well.tolist()
    assert t.well.nunique() == 11 and t.well.value_counts()["r6c9"] == 4


def test_g3_g4_published_networks_have_their_size():
    assert count_parameters(PublishedUNet()) == 501_345
    assert sum(p.numel() for p in StageClassifier("resnet50", 3, 2, stride=8).trunk.parameters()) == 1_444_928


def test_g9_g13_masked_output_keeps_type_shape_and_every_other_pixel_and_no_source_changes(tmp_path, masker):
    f = make_dirty_field((200, 260), seed=3, dirt=3.0)
    for name, img in (
        ("big.tif", f.image[..., 0].astype(">u2")),
        ("eight.tif", (f.image[..., 0] >> 8).astype(np.uint8)),
        ("colour.tif", np.repeat((f.image >> 8).astype(np.uint8), 3, 2)),
    ):
        write(tmp_path / "in" / name, img)
    before = sums(tmp_path / "in")
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out", fill="median", widen=0)
    assert sums(tmp_path / "in") == before
    for r in made.items.itertuples():
        img, mask, filled = (
            read_image(tmp_path / "in" / r.file),
            read_image(made.path / "masks" / r.file)[..., 0] > 0,
            read_image(made.path / "filled" / r.file),
        )
        assert filled.shape == img.shape and filled.dtype.newbyteorder("=") == img.dtype.newbyteorder("=")
        assert (filled[~mask] == img[~mask]).all() and mask.any()
        assert np.abs(filled[mask].astype(float) - np.median(img[~mask], 0)).max() <= 1
        assert r.area == pytest.approx(mask.mean()) and r.n_objects == ndimage.label(mask, np.ones((3, 3)))[1]


def test_g12_iou_from_mean_iou_and_accuracy():
    from scipy.optimize import brentq

    for mean, a, p, iou in (
        (0.8067, 0.9919, 0.0186, 0.622),
        (0.7365, 0.9899, 0.0122, 0.483),
    ):  # published: mean IoU of both classes, accuracy, share of dirt
        e = 1 - a
        tp, fn = np.rint(
            1e6 * np.array([x := brentq(lambda x: 0.5 * (x / (x + e) + (a - x) / (1 - x)) - mean, 1e-6, p), p - x])
        ).astype(int)
        fp = round(1e6 * e) - fn
        truth, found = (
            (np.arange(10**6) < tp + fn).reshape(1000, 1000),
            ((np.arange(10**6) < tp) | (np.arange(10**6) >= 10**6 - fp)).reshape(1000, 1000),
        )
        got = score_pixels(make_pixel_histogram(truth, found)[None]).set_index("metric").value
        assert got.iou == pytest.approx(iou, abs=0.002) and (got.iou + got.iou_background) / 2 == pytest.approx(
            mean, abs=0.001
        )


# ---------- defects (section 6)


def test_c2_c3_c4_every_turn_happens_and_light_goes_up_and_down():
    x, g = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(200, 1, 1, 1)[:, None], torch.Generator().manual_seed(0)
    assert len({tuple(t.ravel().tolist()) for t in _turn_bags(x, None, g)[0]}) == 8, (
        "all eight turns of a square, both axes"
    )
    tile, unet = torch.randn(1, 1, 32, 32, generator=g), UNet("resnet18", 1, 1, strides=(2, 4), width=4)
    lit, _ = prepare_tiles(unet.standard, degrees=0, scale=0)(
        tile.repeat(300, 1, 1, 1), torch.zeros(300, 32, 32, dtype=torch.uint8), g
    )
    change, spread = lit.mean((1, 2, 3)) - tile.mean(), lit.std((1, 2, 3)) / tile.std()
    assert (change > 0.05).any() and (change < -0.05).any() and (spread > 1.05).any() and (spread < 0.97).any()


def test_c7_auroc_is_of_one_class_not_of_both_columns_in_a_row():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    y, p = np.arange(200) < 40, np.clip(rng.random(200) * 0.4, 0, 1)
    p[:40] += 0.05
    t = pd.DataFrame(
        dict(
            label=np.where(y, "artifact", "clean"),
            group=[f"w{i % 10}" for i in range(200)],
            part="test",
            score=np.log(p / (1 - p)),
        )
    )
    value = train.score_calls(t, 0.0).set_index("metric").value["auroc"]
    ravelled = roc_auc_score(np.r_[~y, y], np.r_[1 - p, p])
    assert value == pytest.approx(roc_auc_score(y, p)) and abs(value - ravelled) > 0.05


def test_s8_masks_are_plain_numbers_on_disk(tmp_path, masker):
    write(tmp_path / "in" / "a.tif", make_dirty_field((96, 96), seed=0, dirt=4.0).image[..., 0])
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out")
    mask = tifffile.imread(made.path / "masks" / "a.tif")
    assert mask.shape == (96, 96) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255} and mask.any()


def test_u2_what_is_asked_of_the_network_is_what_is_built():
    small, large = UNet("resnet18", 1, 1, strides=(2, 4), width=4), UNet("resnet18", 2, 3, strides=(2, 4, 8), width=8)
    assert count_parameters(small) < count_parameters(large) and large(torch.zeros(1, 2, 32, 32)).shape == (
        1,
        3,
        32,
        32,
    )
    assert count_parameters(UNet(**large.config)) == count_parameters(large)


def test_u4_a_speck_of_a_few_pixels_is_found_at_full_resolution(tmp_path, masker):
    img = np.full((200, 200), 30_000, np.uint16)
    img[100:104, 50:54] = 3_000
    made = infer.mask_folder(
        write(tmp_path / "in" / "a.tif", img).parent, masker, tmp_path / "out", widen=0, min_area=4
    )
    mask = read_image(made.path / "masks" / "a.tif")[..., 0] > 0
    assert mask.shape == (200, 200) and mask[101:103, 51:53].all() and mask.sum() <= 64


def test_e2_iou_is_of_dirt_alone():
    truth = np.zeros((50, 50), bool)
    truth[:5, :5] = True
    hists = np.stack([make_pixel_histogram(truth, np.zeros((50, 50), np.float32))] * 4)
    scores = score_pixels(hists, np.array(list("abcd")), 0.5).set_index("metric").value
    assert scores["iou"] == 0 and scores["iou_background"] == pytest.approx(0.99)


def test_e3_masks_are_scored_by_masks_a_person_made_and_of_the_same_size(tmp_path):
    annotate.make_practice(tmp_path / "practice", 3, 2, (96, 96))
    labels = annotate.run(str(tmp_path / "practice"), str(tmp_path / "51"))
    tiles = patches.run(str(tmp_path / "51"), str(tmp_path / "52"))
    trained = type("Trained", (), dict(path=tmp_path / "54", items=labels.items.assign(split="test")))
    write_masker(tmp_path / "54" / "masker")
    scores = train.score_masks(trained, tiles, tmp_path / "practice" / "masks").set_index("metric").value
    assert scores["iou"] > 0.1
    assert train.score_masks(trained, tiles, tmp_path / "nowhere").empty
    for f in (tmp_path / "practice" / "masks").glob("*"):
        write(f, np.zeros((50, 60), np.uint8))
    with pytest.raises(UserError, match="50 x 60 px for a field of 96 x 96"):
        train.score_masks(trained, tiles, tmp_path / "practice" / "masks")


# ---------- labels


def test_class_folders_tables_and_published_layout_give_the_same(tmp_path, capsys):
    img = np.full((40, 40), 1000, np.uint16)
    for part in ("train", "test"):
        for c in CLASSES:
            for k in range(2):
                write(
                    tmp_path / "a" / part / c / f"r02c0{k + 1}f{1 if part == 'train' else 2}p01-ch1sk1fk1fl1.tiff", img
                )
    t, root = read_image_set(tmp_path / "a", CLASSES)
    assert root == tmp_path / "a"
    assert len(t) == 8 and set(t.label) == set(CLASSES) and set(t.group) == {"r2c1", "r2c2"}
    t.to_csv(tmp_path / "a" / "t.csv", index=False)
    assert (
        read_image_set(tmp_path / "a" / "t.csv", CLASSES)[0][["label", "group"]].values.tolist()
        == t[["label", "group"]].values.tolist()
    )
    write(tmp_path / "b" / "clean" / "x.tif", img)
    write(tmp_path / "b" / "dirty" / "y.tif", img)
    with pytest.raises(UserError, match="dirty"):
        read_image_set(tmp_path / "b", CLASSES)
    write(tmp_path / "c" / "clean" / "x.tif", img)
    with pytest.raises(UserError, match="labelled clean, and none as the other"):
        annotate.run(str(tmp_path / "c"), str(tmp_path / "o"))
    write(tmp_path / "d" / "x.tif", img)
    assert (
        set(annotate.run(str(tmp_path / "d"), str(tmp_path / "p")).items.label) == {""}
        and "no image is labelled" in capsys.readouterr().out
    )
    with pytest.raises(UserError, match="no such"):
        annotate.run(str(tmp_path / "nowhere"), str(tmp_path / "o"))


def test_a_table_elsewhere_never_writes_over_its_images(tmp_path, masker):
    for k in range(3):
        write(tmp_path / "raw" / f"f{k}.tif", make_dirty_field((90, 90), seed=k, dirt=2.0).image[..., 0])
    (tmp_path / "tables").mkdir()
    pd.DataFrame(
        dict(
            file=["../raw/f0.tif", str(tmp_path / "raw" / "f1.tif"), "../tables/../raw/f2.tif"],
            label=["clean", "artifact", "artifact"],
        )
    ).to_csv(tmp_path / "tables" / "t.csv", index=False)
    before = sums(tmp_path / "raw")
    with pytest.raises(LabelledError, match="outside the folder of the table"):
        annotate.run(str(tmp_path / "tables" / "t.csv"), str(tmp_path / "out" / "51"))
    labels = annotate.run(str(tmp_path / "tables" / "t.csv"), str(tmp_path / "out" / "51"), anywhere=True)
    assert labels.items.file.tolist() == ["f0.tif", "f1.tif", "f2.tif"]
    made = infer.run(str(tmp_path / "out" / "51"), str(tmp_path / "out" / "55"), str(masker))
    assert sums(tmp_path / "raw") == before and find_images(made.path / "masks") == find_images(
        made.path / "filled"
    ) == ["f0.tif", "f1.tif", "f2.tif"]
    assert find_images(tmp_path) == [f"raw/f{k}.tif" for k in range(3)], "what steps have written is no source"


def test_practice_data_are_called_so_also_when_they_are_passed_as_a_source(tmp_path):
    annotate.make_practice(tmp_path / "practice", 3, 2, (96, 96))
    assert annotate.run(str(tmp_path / "practice"), str(tmp_path / "51")).meta["settings"]["practice"] is True
    write(tmp_path / "own" / "a.tif", np.full((40, 40), 1000, np.uint16))
    assert annotate.run(str(tmp_path / "own"), str(tmp_path / "51b")).meta["settings"]["practice"] is False


def test_a_log_that_is_not_there_yet_is_said(tmp_path, capsys):
    write(tmp_path / "in" / "a.tif", np.full((40, 40), 1000, np.uint16))
    assert len(annotate.run(str(tmp_path / "in"), str(tmp_path / "51"), log=str(tmp_path / "labels.jsonl"))) == 1
    assert "nobody has labelled yet" in capsys.readouterr().out


def test_alpha_is_no_light_and_colours_stay_colours(tmp_path, masker):
    rgba = np.full((96, 96, 4), 230, np.uint8)
    rgba[..., 3] = 255
    rgba[30:50, 30:50, :3] = 10
    import imageio.v3 as iio

    (tmp_path / "in").mkdir()
    iio.imwrite(tmp_path / "in" / "a.png", rgba)
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out", fill="median", widen=0)
    assert made.items.area[0] == pytest.approx(400 / 96**2, rel=0.2)
    iio.imwrite(tmp_path / "in" / "b.png", rgba[..., :3])
    with tifffile.TiffFile(
        infer.mask_folder(tmp_path / "in", masker, tmp_path / "out2").path / "filled" / "b.png.tif"
    ) as f:
        assert f.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
    filled = read_image(made.path / "filled" / "a.png.tif")
    assert filled.shape == (96, 96, 4) and (filled[..., 3] == 255).all() and (filled[40, 40, :3] == 230).all()


def test_labels_of_the_widget_reach_the_step_and_unsure_is_not_learned_from(tmp_path):
    for k in range(4):
        write(tmp_path / "in" / f"r02c0{k + 1}f1p01-ch1sk1fk1fl1.tiff", np.full((40, 40), 1000 + k, np.uint16))
    widget = annotate.make_annotator(tmp_path / "in", tmp_path / "log.jsonl", by="me")
    names = find_images(tmp_path / "in")
    widget.label(names[:1], "clean")
    widget.label(names[1:3], "artifact")
    widget.label(names[3:], "unsure")
    made = annotate.run(str(tmp_path / "in"), str(tmp_path / "51"), log=str(tmp_path / "log.jsonl"))
    assert made.items.set_index("item_id").label[names].tolist() == ["clean", "artifact", "artifact", "unsure"] and set(
        made.items.by
    ) == {"me"}
    painter = annotate.make_painter(tmp_path / "in", tmp_path / "masks.jsonl", by="me")
    painter.paint([[10, 10], [10, 20]], "artifact", radius=3, field=names[1])
    (file,) = write_masks(painter, tmp_path / "painted")
    assert read_image(file)[10, 15, 0] == 255 and read_image(file)[30, 30, 0] == 0


HOSTILE = [
    "-rf.tif",
    "a b (1).tif",
    "x;$(touch y).tif",
    "\u202etif.exe.tif",
    "ünï\U0001f52c.tif",
    "CON.tiff",
    'a,b"c.tif',
    "same.png",
    "same.tif",
    ("long" * 40) + ".tif",
]


def test_hostile_names_and_odd_sizes_pass_through(tmp_path, masker):
    img = make_dirty_field((97, 131), seed=1, dirt=2.0).image[..., 0]
    for k, name in enumerate(HOSTILE):
        if name.endswith(".png"):
            import cv2

            (tmp_path / "in").mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / "in" / name), (img >> 8).astype(np.uint8))
        else:
            write(tmp_path / "in" / ("sub dir" if k % 2 else ".") / name, img[: 60 + 5 * k, : 70 + 3 * k])
    write(tmp_path / "in" / ".hidden.tif", img)
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out")
    assert len(made) == len(HOSTILE)
    written = find_images(made.path / "masks")
    assert len(written) == len(HOSTILE) and len(find_images(made.path / "filled")) == len(HOSTILE)
    assert not (tmp_path / "y").exists() and all(".." not in w for w in written)
    for r in made.items.itertuples():
        assert (
            read_image(made.path / "masks" / name_mask(r.file)).shape[:2]
            == read_image(tmp_path / "in" / r.file).shape[:2]
        )


def test_a_field_that_is_all_dirt_and_a_black_one_are_rejected_not_fatal(tmp_path, masker):
    rng = np.random.default_rng(0)
    dark = (30_000 + 300 * rng.standard_normal((200, 200))).astype(np.uint16)
    dark[np.ix_(np.arange(200) % 24 < 14, np.arange(200) % 24 < 14)] = 500
    write(tmp_path / "in" / "spots.tif", dark)
    write(tmp_path / "in" / "black.tif", np.zeros((200, 200), np.uint16))
    write(tmp_path / "in" / "white.tif", np.full((200, 200), 65535, np.uint16))
    for k in range(5):
        write(tmp_path / "in" / f"even{k}.tif", np.full((200, 200), 20_000 + k, np.uint16))
    done = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out")
    made = done.items.set_index("file")
    assert made.status["even0.tif"] == made.status["white.tif"] == "ok" and made.area["even0.tif"] == 0
    assert made.status["spots.tif"] == "reject" and 0.25 < made.area["spots.tif"] < 0.5
    assert pd.read_csv(done.path / "skipped.csv").file.tolist() == ["black.tif"], "black all over: named and left out"
    img = np.random.default_rng(0).integers(0, 255, (20, 20, 1)).astype(np.uint8)
    assert (clean_field(img, np.ones((20, 20), bool)) == img).all()
    with pytest.raises(UserError, match="fill"):
        infer.mask_folder(tmp_path / "in", masker, tmp_path / "out2", fill="magic")
    with pytest.raises(UserError):
        infer.mask_folder(tmp_path / "none", masker, tmp_path / "out3")


def test_dust_of_the_set_is_corrected_and_what_is_under_it_comes_back(tmp_path, masker):
    rng, spots = np.random.default_rng(0), np.ones((160, 160), np.float32)
    for y, x in ((40, 50), (110, 90)):
        spots[y - 5 : y + 5, x - 5 : x + 5] = 0.7
    clean = []
    for k in range(10):
        img = 30_000 * (1 + 0.01 * rng.standard_normal((160, 160)))
        y, x = rng.integers(20, 120, 2)
        img[y : y + 20, x : x + 20] *= 0.9
        clean.append(img)
        write(tmp_path / "in" / f"f{k}.tif", (img * spots).astype(np.uint16))
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out")
    assert (made.path / "dust.tif").exists() and (made.items.dust > 0).all()
    dust = read_image(made.path / "dust.tif")[..., 0] > 0
    assert dust[spots < 1].mean() > 0.8 and dust.mean() < 0.08
    for k in range(10):
        got, was = (
            read_image(made.path / "filled" / f"f{k}.tif")[..., 0].astype(float),
            read_image(tmp_path / "in" / f"f{k}.tif")[..., 0],
        )
        mask = read_image(made.path / "masks" / f"f{k}.tif")[..., 0] > 0
        assert (got[~dust & ~mask] == was[~dust & ~mask]).all()
        assert (
            np.abs(got - clean[k])[(spots < 1) & ~mask].mean() < np.abs(was - clean[k])[(spots < 1) & ~mask].mean() / 3
        ), k


def test_dust_is_found_beside_alpha_and_beside_images_of_another_size(tmp_path, masker, capsys):
    import imageio.v3 as iio

    rng, spots = np.random.default_rng(0), np.ones((160, 160, 1), np.float32)
    (tmp_path / "in").mkdir()
    for y, x in ((40, 50), (110, 90)):
        spots[y - 5 : y + 5, x - 5 : x + 5] = 0.7
    for k in range(10):
        img = 180 * (1 + 0.01 * rng.standard_normal((160, 160, 1))) * np.ones(3)
        y, x = rng.integers(20, 120, 2)
        img[y : y + 20, x : x + 20] *= 0.9
        iio.imwrite(
            tmp_path / "in" / f"f{k}.png",
            np.concatenate([img * spots, np.full((160, 160, 1), 255)], 2).astype(np.uint8),
        )
    iio.imwrite(tmp_path / "in" / "z.png", np.full((120, 100), 180, np.uint8))
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out")
    assert (made.items.dust > 0).tolist() == [True] * 10 + [
        False
    ] and "1 images are not of 160 x 160 px with 3 channels" in capsys.readouterr().out


def test_files_that_are_no_images_are_named_counted_and_left_out(tmp_path, masker, capsys):
    for k in range(6):
        write(tmp_path / "in" / f"f{k}.tif", make_dirty_field((120, 140), seed=k, dirt=1.0).image[..., 0])
    (tmp_path / "in" / "a_text.tif").write_text("not an image")
    whole = (tmp_path / "in" / "f0.tif").read_bytes()
    (tmp_path / "in" / "half.tif").write_bytes(whole[: len(whole) // 2])
    tifffile.imwrite(
        tmp_path / "in" / "movie.tif", np.zeros((5, 40, 40), np.uint16), imagej=True, metadata=dict(axes="TYX")
    )
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out")
    assert (
        made.items.file.tolist() == [f"f{k}.tif" for k in range(6)]
        and "3 of 9 files are left out" in capsys.readouterr().out
    )
    assert set(pd.read_csv(made.path / "skipped.csv").file) == {"a_text.tif", "half.tif", "movie.tif"}
    labels = annotate.run(str(tmp_path / "in"), str(tmp_path / "51"))
    assert len(labels) == 9 and patches.run(str(tmp_path / "51"), str(tmp_path / "52")).items.field_id.nunique() == 6
    for f in (tmp_path / "in").glob("f*.tif"):
        f.write_text("gone")
    with pytest.raises(UserError, match="none of the files"):
        infer.mask_folder(tmp_path / "in", masker, tmp_path / "out2")


# ---------- scale, gate


def test_one_odd_image_does_not_stop_a_folder(tmp_path, masker, capsys):
    for k in range(6):
        write(tmp_path / "in" / f"f{k}.tif", make_dirty_field((96, 96), seed=k, dirt=2.0).image[..., 0])
    write(tmp_path / "in" / "bw.tif", np.ones((96, 96), bool))
    write(tmp_path / "in" / "thumb.tif", np.full((3, 3), 900, np.uint16))
    bad = np.full((96, 96), 0.5, np.float32)
    bad[3, 3] = np.nan
    write(tmp_path / "in" / "nan.tif", bad)
    tifffile.imwrite(
        tmp_path / "in" / "coarse.tif",
        np.full((96, 96), 900, np.uint16),
        resolution=(1e4 / 3, 1e4 / 3),
        resolutionunit="CENTIMETER",
    )  # 3 um a pixel
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "out")
    why = pd.read_csv(made.path / "skipped.csv").set_index("file").why
    assert len(made) == 6 and set(why.index) == {"bw.tif", "thumb.tif", "nan.tif", "coarse.tif"}
    assert (
        "black and white" in why["bw.tif"]
        and "3 x 3 px" in why["thumb.tif"]
        and "no numbers" in why["nan.tif"]
        and "um per pixel" in why["coarse.tif"]
    )
    assert all(f in w for f, w in why.items()) and "4 of 10 files are left out" in capsys.readouterr().out


def test_two_images_never_share_a_mask_and_another_pattern_is_another_run(tmp_path, masker):
    import imageio.v3 as iio

    img = make_dirty_field((96, 96), seed=0, dirt=2.0).image[..., 0]
    (tmp_path / "in").mkdir()
    for name in ("w1_a.png", "w1_b.png", "w2_a.png"):
        iio.imwrite(tmp_path / "in" / name, img)
    assert infer.mask_folder(tmp_path / "in", masker, tmp_path / "out").items.group.nunique() == 3
    with pytest.raises(UserError, match="another"):
        infer.mask_folder(tmp_path / "in", masker, tmp_path / "out", pattern=r"(w\d)")
    assert infer.mask_folder(tmp_path / "in", masker, tmp_path / "wells", pattern=r"(w\d)").items.group.tolist() == [
        "w1",
        "w1",
        "w2",
    ]
    write(tmp_path / "in" / "w1_a.png.tif", img)
    with pytest.raises(UserError, match="one mask"):
        infer.mask_folder(tmp_path / "in", masker, tmp_path / "out3")


def test_labels_stay_when_images_come_and_go(tmp_path):
    for k in range(5):
        write(tmp_path / "in" / f"f{k}.tif", make_dirty_field((64, 64), seed=k).image[..., 0])
    w = annotate.make_annotator(str(tmp_path / "in"), str(tmp_path / "labels.jsonl"), by="x")
    for name, label in (("f0.tif", "clean"), ("f1.tif", "artifact"), ("f3.tif", "clean")):
        w.label(name, label)
    write(tmp_path / "in" / "new.tif", np.full((64, 64), 900, np.uint16))
    (tmp_path / "in" / "f3.tif").unlink()
    with pytest.warns(UserWarning, match="not in this set"):
        made = annotate.run(str(tmp_path / "in"), str(tmp_path / "51"), log=str(tmp_path / "labels.jsonl"))
    assert dict(zip(made.items.file, made.items.label)) == {
        "f0.tif": "clean",
        "f1.tif": "artifact",
        "f2.tif": "",
        "f4.tif": "",
        "new.tif": "",
    }
    write(tmp_path / "other" / "a.tif", np.full((64, 64), 900, np.uint16))
    with pytest.raises(UserError, match="none of the"):
        annotate.run(str(tmp_path / "other"), str(tmp_path / "52"), log=str(tmp_path / "labels.jsonl"))


def test_c5_pretrained_weights_reach_both_networks(monkeypatch):
    import timm

    asked, real = [], timm.create_model

    def create(*args, pretrained=False, **kw):
        asked.append(pretrained)
        return real(*args, **kw)

    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr("cellprotocols.backbones._check_weights", lambda *a: None)
    monkeypatch.setattr(weak, "train_model", lambda *a, **k: type("H", (), dict(curves=None)))
    monkeypatch.setattr(pseudomasks, "train_unet", lambda *a, **k: type("H", (), dict(curves=None)))
    fields = pd.DataFrame(
        [
            dict(part=p, label=l, tiles=[k])
            for k, (p, l) in enumerate(
                [("train", "clean"), ("train", "artifact"), ("valid", "clean"), ("valid", "artifact")]
            )
        ]
    )
    for yes in (True, False):
        asked.clear()
        weak.train_tile_classifier(
            np.random.default_rng(0).random((4, 64, 64, 1), np.float32), fields, "artifact", pretrained=yes
        )
        assert any(asked) == yes
        asked.clear()
        pseudomasks.train_masker(None, None, pretrained=yes)
        assert any(asked) == yes


# ---------- what a person says of the masks


@pytest.fixture
def masked(tmp_path, masker):
    "Four wells with a black square in each field, masked; of the first well something was learned."
    for w in range(4):
        img = np.full((160, 160), 30_000, np.uint16)
        img[40:60, 40 + 10 * w : 60 + 10 * w] = 6_000
        write(tmp_path / "in" / f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", img)
    f = visualize.Findings(infer.mask_folder(tmp_path / "in", masker, tmp_path / "55", widen=0))
    f.items = f.items.assign(part=["train", "test", "new", "test"])
    return f


def test_painted_masks_score_what_was_delivered_and_only_wells_not_learned_from(masked, tmp_path):
    for k, file in enumerate(
        masked.items.file
    ):  # the first mask is all wrong, and of a well that was learned from; the last field is painted clean
        true = np.zeros((160, 160), np.uint8)
        true[40:60, 40 + 10 * k : 60 + 10 * k] = 255 * (0 < k < 3)
        write(tmp_path / "painted" / file, true)
    found = score_painted(masked.items, masked.mask_of, tmp_path / "painted", tmp_path / "none")
    score = found.pixels.set_index("metric").value
    assert (
        found.table.row.tolist() == [1, 2, 3]
        and score["recall"] > 0.95
        and score["precision"] == pytest.approx(2 / 3, abs=0.05)
        and 350 / 160**2 < score["clean_area"] < 450 / 160**2
    )
    assert (
        found.objects.set_index("size").n["all"] == 2
        and found.objects.set_index("size").found["all"] == 1
        and found.table.wrong.idxmax() == 2
    )
    section = make_painted_section(found, masked.items, masked.look, visualize.OFFER)
    assert (
        "3 fields of 3 wells that nothing was learned from" in section.text
        and "person" in section.text
        and len(section.items) == 5
    )
    assert [n.name for n in make_numbers(masked.items, masked.scores, found)][0].startswith("masks: IoU")
    masked.items["part"] = "unknown"
    assert len(found := score_painted(masked.items, masked.mask_of, tmp_path / "painted", tmp_path / "none").table) == 4
    assert (
        "the numbers flatter"
        in make_painted_section(
            score_painted(masked.items, masked.mask_of, tmp_path / "painted", tmp_path / "none"),
            masked.items,
            masked.look,
            visualize.OFFER,
        ).text
    )
    masked.items["part"] = "train"
    assert (
        "Painted masks: 4; of images that are here: 4; of wells that nothing was learned from: none"
        in make_painted_section(
            score_painted(masked.items, masked.mask_of, tmp_path / "painted", tmp_path / "none"),
            masked.items,
            masked.look,
            visualize.OFFER,
        ).text
    )
    masked.items["part"] = "test"
    write(tmp_path / "painted" / masked.items.file[2], np.zeros((50, 60), np.uint8))
    with pytest.raises(UserError, match="50 x 60 px for a field of 160 x 160"):
        score_painted(masked.items, masked.mask_of, tmp_path / "painted", tmp_path / "none")


def test_what_a_well_was_to_the_model_is_in_the_table(tmp_path, masker):
    for w in range(3):
        write(tmp_path / "in" / f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", np.full((64, 64), 30_000, np.uint16))
    write_masker(tmp_path / "masker", split=dict(by="group", train=["r2c2"], test=["r2c3"]))
    annotate.run(str(tmp_path / "in"), str(tmp_path / "51"))
    assert infer.run(
        str(tmp_path / "51"), str(tmp_path / "55"), model=str(tmp_path / "masker")
    ).items.part.tolist() == ["train", "test", "new"]
    assert set(infer.mask_folder(tmp_path / "in", tmp_path / "masker", tmp_path / "55b").items.part) == {"unknown"}, (
        "another folder may name its wells alike"
    )


@pytest.mark.parametrize(
    "value,low,wells,says,kind",
    [
        (0.9, 0.3, 2, "2 test wells are too few", "warn"),
        (0.9, 0.3, 9, "no better than chance", "bad"),
        (0.55, 0.3, 2, "no better than chance", "bad"),
        (0.9, 0.8, 2, "were masked and filled", "good"),
    ],
)
def test_the_verdict_tells_few_wells_from_a_bad_classifier(masked, value, low, wells, says, kind):
    masked.scores, masked.labelled = pd.DataFrame([dict(metric="auroc", value=value, low=low, high=1.0)]), True
    masked.trained = type("Trained", (), dict(items=pd.DataFrame(dict(group=range(wells), split="test"))))
    verdict = visualize.make_verdict(masked)
    assert says in verdict.text and verdict.kind == kind


def test_masks_that_hold_nothing_are_not_good_enough(tmp_path, capsys):
    for w in range(3):
        img = np.full((96, 96), 30_000, np.uint16)
        img[40:60, 40:60] = 29_000  # too faint for this model
        write(tmp_path / "in" / f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", img)
        write(tmp_path / "painted" / f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", 255 * (img < 30_000).astype(np.uint8))
    write_masker(tmp_path / "masker")
    f = visualize.Findings(infer.mask_folder(tmp_path / "in", tmp_path / "masker", tmp_path / "55", dust=False))
    truth = score_painted(f.items, f.mask_of, tmp_path / "painted", tmp_path / "none")
    verdict = visualize.make_verdict(f, truth)
    assert verdict.kind == "bad" and "IoU 0.00" in verdict.text and "3 fields" in verdict.text
    f.labelled = False
    assert visualize.make_verdict(f, truth).kind == "bad", "learned from drawn dirt alone or not"
    assert visualize.make_verdict(f).kind == "bad" and "Nothing was masked" in visualize.make_verdict(f).text
    f.items["label"] = "artifact"
    assert "3 of 3 fields are called dirty" in visualize.make_verdict(f).text
    f.items["label"], f.labelled = "clean", True
    assert visualize.make_verdict(f).kind == "good", "clean fields have nothing to mask"
    made = visualize.run(str(tmp_path / "55"), str(tmp_path / "56"), painted=str(tmp_path / "painted"))
    page = (made.path / "report.html").read_text(encoding="utf-8")
    assert -1 < page.index("Not good enough") < page.index("Take care"), "the verdict comes first"
    assert "does not say what its training fields looked like" in page, "an older model knows no limits"
    assert "IoU 0.00" in capsys.readouterr().out, "the verdict is said on the screen, too"


def test_half_right_masks_are_to_be_looked_at(masked, tmp_path):
    for file in masked.items.file[1:]:
        true = np.zeros((160, 160), np.uint8)
        true[40:60, 40:130] = 255  # the mask covers 400 of 1800 px, or with what it is wrong about less
        write(tmp_path / "painted" / file, true)
    far = score_painted(masked.items, masked.mask_of, tmp_path / "painted", tmp_path / "none")
    assert visualize.make_verdict(masked, far).kind == "bad"
    score = far.pixels.assign(value=lambda t: t.value.where(t.metric != "iou", 0.4))
    assert visualize.make_verdict(masked, far._replace(pixels=score)).kind == "warn"
    score = far.pixels.assign(value=lambda t: t.value.where(t.metric != "iou", 0.8))
    assert visualize.make_verdict(masked, far._replace(pixels=score)).kind == "good"


def break_file(path, k):
    "One of six ways in which a file is broken."
    whole = path.read_bytes()
    path.write_bytes(
        [b"", b"II*\0", whole[: len(whole) // 2], b"not an image", whole[:8] + b"\xff" * (len(whole) - 8), b"\0" * 99][
            k % 6
        ]
    )


def test_every_broken_file_is_named_in_one_table_and_the_others_are_masked(tmp_path, masker, capsys):
    img = np.full((32, 32), 30_000, np.uint16)
    img[10:16, 10:16] = 3_000
    for k in range(30):
        write(tmp_path / "in" / f"r02c{k % 6 + 2:02}f{k}p01-ch1sk1fk1fl1.tiff", img)
    broken = find_images(tmp_path / "in")[::5]
    for k, f in enumerate(broken):
        break_file(tmp_path / "in" / f, k)
    made = infer.mask_folder(tmp_path / "in", masker, tmp_path / "55", dust=False)
    said = pd.read_csv(made.path / "skipped.csv")
    assert sorted(said.file) == sorted(broken) and said.why.str.len().gt(10).all() and len(made) == 24
    assert (made.items.n_objects == 1).all() and "6 of 30 files are left out" in capsys.readouterr().out
    assert not set(find_images(made.path / "masks")) & set(broken)
    annotate.run(str(tmp_path / "in"), str(tmp_path / "51"))
    tiles = patches.run(str(tmp_path / "51"), str(tmp_path / "52"), dust=False, size=64, shrink=1)
    assert sorted(pd.read_csv(tiles.path / "skipped.csv").file) == sorted(broken)
    assert tiles.items.field_id.nunique() == 24
    page = visualize.run(str(tmp_path / "55"), str(tmp_path / "56")).path / "report.html"
    assert all(f in page.read_text(encoding="utf-8") for f in broken)


@pytest.mark.parametrize("called", ["artifact", "dust"])
def test_the_log_of_the_brush_is_enough_and_the_eraser_says_clean(masked, tmp_path, called):
    names = masked.items.file.tolist()
    brush = MaskAnnotator([masked.root / n for n in names], [called], tmp_path / "masks.jsonl", names=names)
    brush.paint([[40, 50], [40, 69], [59, 69], [59, 50]], called, field=names[1], fill=True)
    brush.paint([[5, 5]], called, field=names[3], erase=True)
    found = score_painted(masked.items, masked.mask_of, tmp_path / "masks.jsonl", tmp_path / "drawn")
    truth = [read_image(k)[..., 0] > 0 for k in found.table.file]
    assert found.table.row.tolist() == [1, 3] and truth[0].sum() == pytest.approx(400, abs=45) and not truth[1].any()
    assert found.pixels.set_index("metric").value["recall"] > 0.9 and found.n_files == 2
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(UserError):
        score_painted(masked.items, masked.mask_of, tmp_path / "odd.jsonl", tmp_path / "drawn")


def test_fields_to_be_painted_are_chosen_by_chance_and_not_of_wells_that_were_learned_from(tmp_path, masker):
    for w in range(6):
        write(tmp_path / "in" / f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", np.full((64, 64), 30_000, np.uint16))
    write_masker(tmp_path / "masker", split=dict(by="group", train=["r2c2", "r2c3"], valid=["r2c7"]))
    annotate.run(str(tmp_path / "in"), str(tmp_path / "51"))
    infer.run(str(tmp_path / "51"), str(tmp_path / "run" / "55_infer"), model=str(tmp_path / "masker"))
    brush = visualize.make_explorer(str(tmp_path / "run"), n=3)
    assert {k.name[:6] for k in brush.fields} == {"r02c04", "r02c05", "r02c06"}


def test_without_a_painted_mask_the_report_says_so(masked, tmp_path, capsys):
    visualize.run(str(tmp_path / "55"), str(tmp_path / "56"), painted=str(tmp_path / "masks.jsonl"))
    assert "nobody has painted yet" in capsys.readouterr().out
    assert "Nobody has painted a mask" in (tmp_path / "56" / "report.html").read_text(encoding="utf-8")
    write(tmp_path / "masks" / "nobody.tif", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match="painted"):
        visualize.run(str(tmp_path / "55"), str(tmp_path / "56"), painted=str(tmp_path / "masks"))
    visualize.run(str(tmp_path / "55"), str(tmp_path / "57"), painted=str(tmp_path / "masks"))
    assert "Painted masks: 1; of images that are here: 0;" in (tmp_path / "57" / "report.html").read_text(
        encoding="utf-8"
    )


def test_the_log_beside_the_steps_is_found_and_goes_before_a_folder_made_of_it(masked, tmp_path):
    near = lambda painted="": visualize._find_painted(masked, painted, tmp_path)
    assert near() is None
    (tmp_path / "painted").mkdir()
    assert near() == tmp_path / "painted"
    (tmp_path / "masks.jsonl").touch()
    assert near() == tmp_path / "masks.jsonl" and near(str(tmp_path / "painted")) == tmp_path / "painted"


def test_what_is_unusual_and_not_masked_is_shown(tmp_path, masker):
    for w in range(3):
        for k in range(2):
            img = make_dirty_field((200, 200), seed=[w, k], dirt=0.0, n_cells=0).image[..., 0]
            if (w, k) == (1, 1):
                img[100:112, 100:112] //= 20  # will be masked
            if (w, k) == (2, 0):
                img[60:75, 120:135] = img[60:75, 120:135] // 10 * 13  # bright: no dirt for this model
            write(tmp_path / "in" / f"r02c{w + 2:02}f{k + 1}p01-ch1sk1fk1fl1.tiff", img)
    annotate.run(str(tmp_path / "in"), str(tmp_path / "51"))
    patches.run(str(tmp_path / "51"), str(tmp_path / "52"))
    found, masks = (
        selfsupervise.run(str(tmp_path / "52"), str(tmp_path / "53")),
        infer.run(str(tmp_path / "51"), str(tmp_path / "55"), model=str(masker)),
    )
    f = visualize.Findings(masks, unusual=found)
    t = f.find_unmasked()
    assert (
        t.field_id[0] == "r02c04f1p01-ch1sk1fk1fl1.tiff"
        and t.far[0] > 2 * t.far[1]
        and not t.field_id.duplicated().any()
    )
    assert len(make_unusual_section(t, f.look).items) == 4
    all_of_it = f.find_unmasked(n=100)
    assert len(all_of_it) == 6 and all_of_it.head(4).equals(t.head(4)), "nothing worse comes later"
    none = visualize.Findings(masks).find_unmasked()
    assert not len(none) and make_unusual_section(none, f.look) is None


# ---------- the whole way


def run_all(out):
    "Practice data from the first step to the report, with a short training."
    with pytest.MonkeyPatch.context() as m:
        small = annotate.make_practice
        m.setattr(annotate, "make_practice", lambda folder, seed=0: small(folder, 6, 3, (160, 160), seed))
        m.setattr("cellprotocols.steps.date", type("Day", (), dict(today=staticmethod(lambda: "one day"))))
        run_steps("artifacts", out=out, size=96, epochs=2, mask_epochs=1, crops=40, encoder_epochs=1)
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("protocol") / "work")


@pytest.mark.slow
def test_two_undisturbed_runs_give_the_same_bytes(finished, tmp_path):
    first, second = sums(finished), sums(run_all(tmp_path / "work"))
    assert first.keys() == second.keys()
    assert [f for f in first if first[f] != second[f]] == []


@pytest.mark.slow
def test_practice_data_end_to_end(finished, capsys):
    folders = [step_folder("artifacts", s) for s in built_steps("artifacts")]
    assert folders == ["51_annotate", "52_patches", "53_selfsupervise", "54_train", "55_infer", "56_visualize"]
    assert {p.name for p in finished.iterdir()} == {*folders, "practice"}, (
        "no half-finished folder, lock or scratch is left"
    )
    labels, tiles, _, trained, masks, _ = [check_dataset(finished / f) for f in folders]
    assert (
        set(labels.items.item_id)
        == set(tiles.items.field_id)
        == set(masks.items.item_id)
        == set(trained.items.field_id)
    )
    page = check_report(finished / "56_visualize", "Score-CAM maps", "10.1038/s41598-022-14703-y", "IoU with masks")
    assert "practice (synthetic)" in page.lower() and "<script" not in page and 'class="slider"' in page
    assert all(
        title in page
        for title in (
            "How good are the masks?",
            "The practice generator knows every mask",
            "What is unusual, and not masked?",
        )
    )
    assert "practice" in (finished / "54_train" / "masker" / "card.md").read_text().lower()
    stamp = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    assert (
        main(
            [
                "artifacts",
                "infer",
                "--source",
                str(finished / "51_annotate"),
                "--model",
                str(finished / "54_train"),
                "--out",
                str(finished / "55_infer"),
            ]
        )
        == 0
    )
    assert "done before" in capsys.readouterr().out and stamp == {
        p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cam", "faithful", "drawn"])
def test_every_way_to_a_pseudo_mask_leads_to_a_model(finished, tmp_path, how):
    made = train.run(str(finished / "52_patches"), str(tmp_path / "54"), epochs=3, mask_epochs=1, crops=40, refine=how)
    assert open_masker(made.path).classes == ["artifact"] and made.meta["settings"]["refine"] == how
    assert (made.path / "classifier").is_dir() == (how != "drawn")
    rows, masks = read_pseudo_masks(made.path / "pseudo_valid.npz")
    assert len(rows) == len(masks) and masks.dtype == bool


@pytest.fixture(scope="module")
def practice_model(tmp_path_factory):
    "The practice model of step 54, which really masks practice dirt."
    return make_practice_step("artifacts", "train", tmp_path_factory.mktemp("practice") / "work" / "55_infer")


def mask_in_a_process(images, model, out, threads=1):
    "Mask a folder in a process of its own, with so many threads; every line of its table is flushed at once."
    code = (
        "from cellprotocols.writer import DatasetWriter; DatasetWriter.flush_seconds = 0\n"
        "from cellprotocols.artifacts.infer import mask_folder\n"
        f"mask_folder({str(images)!r}, {str(model)!r}, {str(out)!r}, device='cpu')"
    )
    env = {**os.environ, **{k: str(threads) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def masks_of(made):
    return {f: read_image(made.path / "masks" / f)[..., 0] > 0 for f in find_images(made.path / "masks")}


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, practice_model):
    fields = [make_dirty_field((300, 300), seed=k, dirt=3.0) for k in range(12)]
    for k, f in enumerate(fields):
        write(tmp_path / "in" / f"f{k}.tif", f.image[..., 0])
    p = mask_in_a_process(tmp_path / "in", practice_model, tmp_path / "a")
    for _ in range(6000):
        if len(list(tmp_path.rglob("filled/[!.]*.tif"))) >= 3:
            break
        assert p.poll() is None, "it ended by itself"
        time.sleep(0.1)
    p.send_signal(signal.SIGKILL)
    assert p.wait() == -signal.SIGKILL
    assert not (tmp_path / "a").exists(), "not finished, so not there"
    before = {f.name: f.stat().st_mtime_ns for f in tmp_path.rglob("filled/[!.]*.tif")}  # whole ones
    assert 3 <= len(before) < 12
    for out, threads in (("a", 1), ("b", 1), ("c", 2)):
        assert mask_in_a_process(tmp_path / "in", practice_model, tmp_path / out, threads).wait() == 0
    a, b, c = (read_dataset(tmp_path / out, "masks") for out in "abc")
    true = np.stack([fields[int(f[1:-4])].mask for f in masks_of(b)])
    said = np.stack(list(masks_of(b).values()))
    # a short training ends differently on other machines: what counts is that this model masks, and masks dirt
    hit = (true & said).sum()
    assert hit > 0.1 * true.sum(), "a model that masks nothing would prove nothing"
    assert hit / said.sum() > 5 * true.mean(), "nor would one that masks by chance"
    assert (said.any((1, 2))).sum() >= 6, "nor one that masks a few fields alone"
    # the same number of threads: the same bytes, killed or not
    assert a.items.equals(b.items) and a.fingerprint == b.fingerprint
    assert sum((a.path / "filled" / f).stat().st_mtime_ns == t for f, t in before.items()) >= len(before) - 1, (
        "what was done is not done again"
    )
    # another number of threads: sums in another order, so the last digits of the probabilities differ
    assert (np.stack(list(masks_of(c).values())) ^ said).mean() <= 1e-4
    assert np.allclose(
        c.items.select_dtypes("number"), b.items.select_dtypes("number"), rtol=0.01, atol=2e-4, equal_nan=True
    )


@pytest.mark.slow
def test_images_that_nobody_has_labelled_are_masked_and_reported(tmp_path, capsys):
    for w in range(4):
        for k in range(2):
            write(
                tmp_path / "in" / f"r02c{w + 2:02}f{k + 1}p01-ch1sk1fk1fl1.tiff",
                make_dirty_field((256, 256), seed=[w, k], dirt=2.0).image[..., 0],
            )
    run_steps("artifacts", source=str(tmp_path / "in"), out=tmp_path / "work", mask_epochs=1, crops=40)
    said = capsys.readouterr().out
    assert "from drawn dirt alone" in said and "there is no classifier" in said
    trained = read_dataset(tmp_path / "work" / "54_train")
    assert (
        not (trained.path / "classifier").exists()
        and "drawn dirt" in (trained.path / "masker" / "card.md").read_text()
        and "predicted" not in trained.items
    )
    assert read_dataset(tmp_path / "work" / "55_infer").items.p_artifact.isna().all()
    page = check_report(tmp_path / "work" / "56_visualize", "no label was used")
    assert "AUROC" not in page and "no label says how well that went" in page and "were masked and filled" not in page
