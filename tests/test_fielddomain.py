"Fields unlike those a network that masks has learned from are marked, in the table, on the screen and first in the report."

import numpy as np
import pandas as pd
import pytest
import torch
from fields import write

from cellprotocols.artifacts import infer, visualize
from cellprotocols.bundle import write_bundle
from cellprotocols.dirt import open_masker, to_known_light
from cellprotocols.domain import make_held
from cellprotocols.fielddomain import (
    FieldLimits,
    embed_tiles,
    find_field_limit,
    measure_field_inputs,
    train_field_domain,
)
from cellprotocols.light import cut_light, to_light
from cellprotocols.synth_dirt import make_dirty_set
from cellprotocols.unet import UNet

ABOUT = dict(sigma=80.0, shrink=2, size=32, overlap=0)


def make_learned(n_wells=8):
    "Transmission tiles of practice fields of eight wells, half of them to learn from."
    images, table = make_dirty_set(n_wells, 2, (128, 128), seed=0, dirt=1.0)
    cut = [cut_light(to_light(f.image, 80.0, 2), 32, 0)[1] for f in images]
    rows = np.arange(len(cut) * len(cut[0])).reshape(len(cut), -1)
    part = np.repeat(["train", "valid", "test"], [n_wells, n_wells // 2, n_wells // 2])
    return np.concatenate(cut), table.assign(tiles=rows.tolist(), part=part)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    "A U-Net that was not trained; its encoder sees all the same."
    folder = tmp_path_factory.mktemp("limits") / "masker"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet("regnetx_002", strides=(2, 4, 8), width=8).eval()
    tiles, fields = make_learned()
    split = {p: sorted(set(fields.group[fields.part == p])) for p in ("train", "valid", "test")}
    write_bundle(
        folder,
        net,
        "UNet",
        net.config,
        ["artifact"],
        ["light"],
        np.moveaxis(tiles[:1], 3, 1).astype(np.float32),
        px_um=0.6,
        normalisation=ABOUT,
        thresholds=dict(artifact=0.99),
        split=split,
        data=dict(inputs=measure_field_inputs(tiles, fields)),
        arrays=dict(domain=train_field_domain(net, tiles, fields)._asdict()),
    )
    return folder


@pytest.fixture(scope="module")
def others():
    "Fields of wells that were not seen."
    return [f.image[..., 0] for f in make_dirty_set(6, 1, (128, 128), seed=7, dirt=0.1)[0]]


def cover(img):
    "The same field under a fabric with threads of 3 px that take half of the light."
    threads = 1 - 0.5 * ((np.indices(img.shape) // 3).sum(0) % 2)
    return (img * threads).astype(img.dtype)


def test_usual_fields_are_within_and_covered_ones_are_not(bundle, others):
    limits = FieldLimits(open_masker(bundle))
    light = [to_known_light(limits.bundle, img) for img in others]
    dark = [to_known_light(limits.bundle, cover(img)) for img in others]
    assert not limits.check(light) and not any(limits.measure(x)["unlike"] for x in light)
    assert all(limits.measure(x)["unlike"] for x in dark)
    usual = np.median([limits.measure(x)["novelty"] for x in light])
    assert usual < 1 < min(limits.measure(x)["novelty"] for x in dark)


def test_what_differs_is_said_in_words(bundle, others):
    limits = FieldLimits(open_masker(bundle))
    said = limits.check([to_known_light(limits.bundle, img) ** 0.2 for img in others])
    assert any("contrast of channel light is 0." in s and "times that of the training" in s for s in said)


def test_few_wells_have_a_wide_limit():
    held = pd.DataFrame(dict(novelty=[0.0, 0.1, 0.5], weight=1 / 3))
    limits = [find_field_limit(held, n) for n in (1, 2, 4, 20, 1000)]
    assert (
        limits == sorted(limits, reverse=True)
        and limits[0] == limits[1] > 20
        and limits[-1] == pytest.approx(1.33, abs=0.02)
    )
    far = pd.DataFrame(dict(novelty=[0.0] * 9 + [7.0], weight=0.1))
    assert find_field_limit(far, 1000) == 7.0, "never below what held-out fields are like"


def test_a_crystal_in_one_tile_does_not_make_a_field_odd(bundle):
    limits, flat = FieldLimits(open_masker(bundle)), np.ones((64, 64), np.float32)
    flat += np.random.default_rng(0).normal(0, 0.01, flat.shape).astype(np.float32)
    crystal = flat.copy()
    crystal[:20, :20] = 0.05
    assert abs(limits.measure(crystal)["novelty"] - limits.measure(flat)["novelty"]) < 1
    crystal[:20, -20:] = crystal[-20:, :20] = 0.05
    assert limits.measure(crystal)["novelty"] > limits.measure(flat)["novelty"] + 1, "three of four tiles do"


def test_networks_without_an_encoder_know_no_limits():
    tiles, fields = make_learned(4)
    net = torch.nn.Conv2d(1, 1, 3)
    assert train_field_domain(net, tiles, fields) is None and embed_tiles(net, tiles).shape == (len(tiles), 0)
    net = UNet("regnetx_002", strides=(2, 4), width=4)
    assert train_field_domain(net, tiles, fields.assign(part="train")) is None, "nothing is held out"
    assert len(make_held(train_field_domain(net, tiles, fields))) == (fields.part != "train").sum()


def test_table_screen_and_report_say_it_first(bundle, others, tmp_path, capsys):
    for name, images in (("like", others), ("unlike", [cover(i) for i in others])):
        for k, img in enumerate(images):
            write(tmp_path / name / f"r02c{k + 2:02}f1p01-ch1sk1fk1fl1.tiff", img)
    like = infer.mask_folder(tmp_path / "like", bundle, tmp_path / "a", dust=False)
    said = capsys.readouterr().out
    assert "0 of 6 fields (0.0%) are unlike" in said and not like.items.unlike.any()
    made = infer.mask_folder(tmp_path / "unlike", bundle, tmp_path / "b", dust=False)
    said = capsys.readouterr().out
    assert made.items.unlike.all() and "LOOK AT THESE FIRST: 6 of 6 fields" in said and (made.items.novelty > 1).all()
    pages = []
    for folder in (like, made):
        visualize.run(str(folder.path), str(folder.path) + "_report")
        pages.append((tmp_path / f"{folder.path.name}_report" / "report.html").read_text(encoding="utf-8"))
    assert "LOOK AT THESE FIRST" not in pages[0] and "0 of 6 fields" in pages[0]
    assert pages[1].index("LOOK AT THESE FIRST: 6 of 6 fields") < pages[1].index(
        "Was masked" if "Was masked" in pages[1] else "What was masked?"
    )
    assert "unlike" in pages[1] and "Are the new fields like those it learned from?" in pages[1]
