"Pseudo-masks, the published ones beside ours, and what a U-Net learns from."

import numpy as np
import pandas as pd
import pytest
import torch
from fields import disc
from scipy import ndimage

from cellprotocols import pseudomasks, teach
from cellprotocols.artifacts.annotate import CLASSES
from cellprotocols.errors import UserError
from cellprotocols.objects import find_dark
from cellprotocols.pseudomasks import (
    CUTS,
    choose_quiet_threshold,
    count_stain_objects,
    cut_mask_crops,
    make_pseudo_masks,
)
from cellprotocols.published import PUBLISHED_CUT, make_edge_map_published, make_mask_published
from cellprotocols.stamps import paste_drawn


def test_g5_published_threshold_is_luminance_015_of_viridis():
    import matplotlib

    lum = matplotlib.colormaps["viridis"](np.arange(256))[:, :3] @ [0.2125, 0.7154, 0.0721]
    assert np.flatnonzero(lum > 0.15)[0] == 15
    assert 14 / 255 < PUBLISHED_CUT < 15 / 255 == pytest.approx(0.0588, abs=1e-4)


def test_g8_edge_map_of_nothing_is_nothing_and_ignores_exposure():
    assert not make_edge_map_published(np.full((20, 30), 7.0)).any()
    x = np.random.default_rng(0).random((30, 30))
    assert np.allclose(make_edge_map_published(x), make_edge_map_published(300 * x + 9), atol=1e-5)


@pytest.mark.parametrize("r,published", [(2, 8.4), (4, 3.9), (8, 2.0), (12, 1.3)])
def test_g11_discs_are_blown_up_as_published_and_ours_are_not(r, published):
    area, ones = np.pi * r * r, np.ones((96, 96))
    blown, mine = make_mask_published(disc(r), ones).sum() / area, find_dark(disc(r), ones)
    assert blown == pytest.approx(published, rel=0.15)
    assert abs(mine.sum() / area - 1) < abs(blown - 1)
    assert mine[48, 48] and ndimage.binary_fill_holes(mine).sum() == mine.sum(), "the inside is filled"


def test_u1_clean_tiles_are_learned_from_and_pasted_masks_fit_their_pixels():
    rng = np.random.default_rng(0)
    tiles = np.ones((6, 160, 160, 1), np.float32)
    tiles += 0.005 * rng.standard_normal(tiles.shape)
    tiles[0, 40:60, 40:70] *= 0.3
    masks = np.zeros((1, 160, 160), np.uint8)
    masks[0, 40:60, 40:70] = 1
    x, y = cut_mask_crops(tiles, np.array([0]), masks, np.arange(1, 6), crop=96, most=120, paste=0.5, drawn=0.0)
    assert len(x) == 120
    assert x.shape[1:] == (1, 96, 96) and y.shape[1:] == (96, 96) and set(np.unique(y)) <= {0, 1, 255}
    assert (y.max((1, 2)) == 0).any(), "crops without dirt"
    dark = x[:, 0] < 0.6
    assert dark[y == 1].mean() > 0.85 and dark[y == 0].mean() < 0.02
    x, y = cut_mask_crops(
        tiles,
        np.array([0]),
        np.where(masks, 255, 0).astype(np.uint8),
        np.array([0]),
        crop=160,
        most=20,
        paste=0.0,
        drawn=0.5,
    )
    assert all((k[45:55, 45:65] == 255).mean() > 0.3 for k in y) and (y == 1).any(), (
        "what is doubtful stays so under drawn dirt"
    )
    d, m = paste_drawn(np.ones((160, 160), np.float32), [0, 1], dirt=5.0)
    assert m.any() and d[m == 1].mean() < d[m == 0].mean() - 0.05


def test_u3_the_rate_falls_while_the_network_learns():
    tiles = np.ones((4, 64, 64, 1), np.float32)
    tiles[:, 20:30, 20:30] = 0.3
    masks = (tiles[..., 0] < 0.5).astype(np.uint8)
    x, y = cut_mask_crops(tiles, np.arange(4), masks, np.arange(4), crop=64, most=16)
    lr = pseudomasks.train_masker((x, y), (x[:4], y[:4]), 6, device="cpu")[1].lr.to_numpy()
    assert lr.max() > 10 * lr[-1] and lr.argmax() < len(lr) - 2


def test_s3_s4_clean_tiles_have_no_pseudo_mask_and_no_nan():
    flat = np.ones((3, 64, 64, 1), np.float16)
    for how in ("cam", "faithful"):
        assert not make_pseudo_masks(flat, np.arange(3), np.zeros((3, 64, 64), np.float16), how).any()
    with pytest.raises(UserError, match="refine"):
        make_pseudo_masks(flat, np.arange(3), np.zeros((3, 64, 64)), "viridis")


def test_s9_a_weak_artifact_does_not_vanish_beside_a_strong_one():
    x = np.ones((1, 96, 96, 1), np.float32)
    x[0, 20:30, 20:30] = 0.1
    x[0, 60:70, 60:70] = 0.85
    seen = np.zeros((1, 96, 96), np.float16)
    seen[0, 15:35, 15:35] = 1
    seen[0, 55:75, 55:75] = 0.9
    mine = make_pseudo_masks(x, np.array([0]), seen)[0]
    assert mine[65, 65] and mine[25, 25]
    theirs = make_mask_published(x[0, ..., 0], np.asarray(seen[0], np.float32))
    assert not theirs[65, 65], "the published rule draws edges, not objects"


def test_when_nothing_is_called_dirty_it_is_said(monkeypatch):
    fields = pd.DataFrame(
        [
            dict(
                field_id=f"f{k}",
                group=f"w{k}",
                label=CLASSES[k % 2],
                part=("train", "valid", "test")[k // 2 % 3],
                tiles=[k],
            )
            for k in range(12)
        ]
    )
    tiles, score = (
        np.ones((12, 64, 64, 1), np.float32),
        np.where((fields.part == "valid") & (fields.label == "artifact"), 5.0, -5.0),
    )
    monkeypatch.setattr(teach, "score_tiles", lambda model, tiles: score)
    with pytest.raises(UserError, match="no tile of the train wells dirty"):
        teach.teach(tiles, fields, None, "artifact", "cam")


class Shade(torch.nn.Module):
    "Log odds of dirt that grow with the share of light taken."

    def forward(self, x):
        return (1 - x) * 20 - 4


def test_the_cut_goes_up_until_stain_is_left_alone_and_no_further():
    rng = np.random.default_rng(0)
    tiles = 1 + 0.004 * rng.standard_normal((2, 128, 128, 1)).astype(np.float32)
    for t in tiles:
        for k, (a, b) in enumerate(np.mgrid[10:110:9, 10:110:9].reshape(2, -1).T):
            t[a : a + 3, b : b + 3] *= 0.72 + 0.0015 * (k % 100)  # few grains are the darkest
    found = count_stain_objects(Shade(), tiles, [0, 1])
    assert len(found) == len(CUTS) and found[0] > 10 and found[-1] == 0 and (np.diff(found) <= 0).all()
    at = choose_quiet_threshold(0.09, found, 1)
    assert found[np.searchsorted(CUTS, at)] <= 1 < found[np.searchsorted(CUTS, at) - 1], "the lowest that will do"
    assert choose_quiet_threshold(0.09, found, 1000) == 0.09, "where all are borne, the best F1 stays"
    tiles[:, 60:70, 60:70] = 0.05  # a black thing is no stain
    assert count_stain_objects(Shade(), tiles, [0, 1])[-1] == 0
    assert choose_quiet_threshold(0.3, found * 0 + 5, 1) == 0.95, "none will do: the highest"
    assert choose_quiet_threshold(0.3, found * 0 + 5, 1, highest=0.5) == 0.5
    assert choose_quiet_threshold(0.7, found * 0 + 5, 1, highest=0.5) == 0.7, "never below where it began"


def test_empty_ground_raises_no_cut():
    tiles = 1 + 0.004 * np.random.default_rng(0).standard_normal((1, 96, 96, 1)).astype(np.float32)
    tiles[0, 40:44, 40:44] *= 0.72  # a speck that lies alone may be dirt: it says nothing about stain
    assert not count_stain_objects(Shade(), tiles, [0]).any()


def test_tiles_with_pseudo_masks_are_read_one_by_one_and_their_objects_are_pasted_elsewhere():
    tiles = np.ones((4, 96, 96, 1), np.float32)
    tiles[:2, 40:52, 40:52] = 0.1
    masks = (tiles[:2, ..., 0] < 0.5).astype(np.uint8)
    x, y = cut_mask_crops(tiles, np.arange(2), masks, np.arange(2, 4), crop=64, most=40, paste=0.4, drawn=0.2)
    assert len(x) == len(y) == 40 and (y == 1).any((1, 2)).sum() > 10
