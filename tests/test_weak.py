"Labels of whole images: splits, bags, thresholds, maps."

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cellprotocols.artifacts.annotate import CLASSES
from cellprotocols.classify import StageClassifier
from cellprotocols.errors import UserError
from cellprotocols.weak import (
    StrongestTile,
    TileBags,
    choose_temperature,
    choose_threshold,
    choose_tiles,
    explain_tiles,
    split_fields,
    to_probability,
)


def test_g14_no_well_in_two_parts():
    rng = np.random.default_rng(0)
    items = pd.DataFrame(
        [
            dict(field_id=f"f{i}", group=f"w{i % 9}", label=CLASSES[int(rng.random() < 0.6)])
            for i in range(60)
            for _ in range(2)
        ]
    )
    f = split_fields(items, CLASSES)
    assert (f.groupby("group").part.nunique() == 1).all() and set(f.part) == {"train", "valid", "test"}
    with pytest.raises(UserError, match="groups"):
        split_fields(items[items.group.isin(["w0", "w1"])], CLASSES)
    assert (
        len(split_fields(items.assign(label=np.where(items.field_id == "f3", "unsure", items.label)), CLASSES))
        == len(f) - 1
    )


def test_c5_a_seed_fixes_the_split_and_another_changes_it():
    items = pd.DataFrame([dict(field_id=f"f{i}", group=f"w{i % 12}", label=CLASSES[i % 5 > 1]) for i in range(60)])
    a, b, c = (split_fields(items, CLASSES, s).part.tolist() for s in (0, 0, 3))
    assert a == b != c


def test_c6_batches_take_four_bytes_a_pixel():
    assert TileBags(np.ones((3, 32, 32, 1), np.float16), [[0], [1, 2]])[np.arange(2)].dtype == np.float32


def test_s6_no_network_and_no_hook_is_left_behind_by_a_map():
    model, tile = (
        StageClassifier("resnet18", 1, 2, stride=4, pool="soft").eval(),
        np.random.default_rng(0).random((1, 48, 48, 1), np.float32),
    )
    before = len(list(model.modules()))
    for _ in range(3):
        list(explain_tiles(model, tile, np.array([0]), 0.5, "cpu"))
    assert len(list(model.modules())) == before and not any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules()
    )


def test_threshold_keeps_its_word():
    rng = np.random.default_rng(1)
    for _ in range(50):
        s, y = rng.random(40), rng.random(40) < 0.5
        if not y.any():
            continue
        for r in (0.5, 0.8, 0.9, 1.0):
            at = choose_threshold(s, y, r)
            assert (s[y] > at).mean() >= r - 1e-9 or at == s.min() and y[s.argmin()], "the wanted share is found"
            assert (s[y] > s[s > at].min()).mean() < r, "and no higher threshold would do"
    with pytest.raises(UserError):
        choose_threshold(s, y, 0)


def test_a_field_is_as_dirty_as_its_dirtiest_tile():
    class Dark(nn.Module):
        def forward(self, x):
            m = 0.5 - x.amin((1, 2, 3))
            return torch.stack([-m, m], 1)

    tiles = np.ones((5, 32, 32, 1), np.float16)
    tiles[3, 5, 5] = 0.1
    bags = TileBags(tiles, [[0, 1], [2, 3], [4]])
    z = StrongestTile(Dark())(torch.from_numpy(bags[np.arange(3)]))
    assert z.argmax(1).tolist() == [0, 1, 0] and bags.shape == (3, 2, 1, 32, 32)


def test_of_very_many_tiles_some_of_all_fields_are_learned_from():
    fields = pd.DataFrame([dict(part="train", tiles=list(range(9 * k, 9 * k + 9))) for k in range(400)])
    rows = choose_tiles(fields, "train")
    assert len(rows) == 1200 and len({r // 9 for r in rows}) == 400 and len(choose_tiles(fields[:5], "train")) == 45


def test_probabilities_of_images_are_tempered_and_one_half_at_the_threshold():
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 4, 3000)
    yes = rng.random(3000) < to_probability(odds, 2.5)
    assert choose_temperature(odds, yes) == pytest.approx(2.5, rel=0.15)
    assert to_probability(0.0, 3.0) == 0.5 and np.isnan(to_probability(np.nan))
    few = np.r_[np.full(4, 8.0), np.full(4, -8.0)]
    assert 0.8 < to_probability(8.0, choose_temperature(few, few > 0)) < 0.95, (
        "eight images that are all right do not make it certain"
    )
