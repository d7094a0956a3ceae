"Autoencoder, regions, scorer and operating point: what the published system got wrong is right here."

import numpy as np
import pandas as pd
import pytest
import torch

from cellprotocols.autoencoder import measure_residual, score_residuals, train_autoencoder
from cellprotocols.boxscorer import (
    ScorerError,
    choose_detections,
    score_boxes,
    to_region_labels,
    train_boxscorer,
)
from cellprotocols.boxscores import measure_iou
from cellprotocols.operating import OperatingError, OperatingPoint, choose_operating_point
from cellprotocols.published import score_boxes_published
from cellprotocols.regions import RegionError, RegionView, embed_once, embed_regions, score_agreement


def test_a_proposal_never_has_two_labels_and_clean_frames_give_negatives():
    "Two true boxes, one proposal that fits one of them only."
    rng = np.random.default_rng(0)
    low = rng.integers(0, 60, (200, 2))
    boxes = np.hstack([low, low + rng.integers(5, 40, (200, 2))])
    truths = boxes[:2]
    t = to_region_labels(boxes, truths)
    assert len(t) == 200 and t.target[:2].eq(1).all()
    assert np.allclose(t.iou, measure_iou(boxes, truths).max(1))
    clean = to_region_labels(boxes, np.zeros((0, 4)))
    assert (clean.target == 0).all() and (clean.iou == 0).all() and (clean.truth == -1).all()


def test_suppression_against_an_oracle():
    from torchvision.ops import nms

    rng = np.random.default_rng(2)
    low = rng.uniform(0, 50, (80, 2))
    boxes, score = np.hstack([low, low + rng.uniform(5, 30, (80, 2))]), rng.random(80)
    kept = nms(torch.tensor(boxes), torch.tensor(score), 0.3).tolist()
    assert choose_detections(boxes, score, overlap=0.3, most=99).tolist() == kept


def test_the_published_scores_differ_and_ours_is_one():
    assert score_boxes_published(0.5, 0.5) != score_boxes_published(0.5, 0.5, "demo")
    assert np.isclose(score_boxes_published(0.5, 0.4, "demo"), score_boxes(0.5, 0.4, 0.6))


def test_ssim_with_zero_padding_inflates_the_border_and_ours_does_not():
    flat = torch.full((1, 1, 48, 48), 0.5)
    box, own = (measure_residual(flat + 0.2, flat, window=w)[0, 0] for w in ("box", "gauss"))
    assert box[0, 0] > 1.3 * box[24, 24] and torch.allclose(own[0, 0], own[24, 24], atol=1e-4)


def test_the_best_epoch_is_kept_on_the_cpu():
    "Not the last one: the weights must give the lowest validation loss of the curve."
    rng = np.random.default_rng(0)
    x = rng.random((12, 1, 32, 32)).astype(np.float32)
    model, curve = train_autoencoder(x[:8], x[8:], "bottleneck", epochs=4, width=4, device="cpu")
    with torch.inference_mode():
        now = measure_residual(model(torch.tensor(x[8:])), torch.tensor(x[8:])).mean()
    assert np.isclose(float(now), curve.valid_loss.min(), atol=1e-3)


def test_both_published_losses_run():
    x = np.random.default_rng(0).random((6, 2, 32, 32)).astype(np.float32)
    for channels in (1, 2):
        model, curve = train_autoencoder(x[:, :channels], None, "faithful", epochs=1, device="cpu")
        assert np.isfinite(curve.train_loss).all()


def test_an_empty_mask_falls_back_to_the_whole_frame():
    r = np.random.default_rng(0).random((2, 9, 9))
    some = np.zeros((2, 9, 9), bool)
    some[0, :2] = True
    assert score_residuals(r, some)[1] == score_residuals(r)[1]
    assert score_residuals(r, some)[0] == np.percentile(r[0, :2], 95)


def test_a_threshold_is_finite_and_comes_back():
    point = choose_operating_point([0.1, 0.2], [0.3])
    assert np.isfinite(point.threshold) and 0.2 < point.threshold < 0.3
    assert OperatingPoint(**point.to_dict()) == point
    alone = choose_operating_point(np.linspace(0, 1, 50))
    assert "no abnormal one" in alone.how and np.isnan(alone.recall)
    with pytest.raises(OperatingError):
        choose_operating_point([np.nan])


def test_regions_of_another_image_of_the_same_size_are_not_served(tmp_path):
    view, rng = RegionView(pretrained=False, side=64), np.random.default_rng(0)
    a, b = (rng.integers(0, 255, (48, 64), dtype=np.uint8) for _ in range(2))
    boxes = np.array([[2, 3, 20, 30], [5, 5, 40, 60]])
    first, other = (embed_once(view, img, boxes, tmp_path)[0] for img in (a, b))
    assert not np.array_equal(first, other) and np.array_equal(first, embed_once(view, a, boxes, tmp_path)[0])
    assert np.array_equal(first, embed_regions(view, a, boxes)[0])


def test_depths_and_colours_give_the_same_regions():
    view = RegionView(pretrained=False, side=64)
    a = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    boxes = [[2, 3, 20, 30]]
    plain = embed_regions(view, a, boxes)[0].astype(float)
    for same in (a.astype(np.uint16) * 257, np.repeat(a[..., None], 3, 2)):
        assert np.allclose(plain, embed_regions(view, same, boxes)[0].astype(float), atol=0.02, rtol=0.02)
    with pytest.raises(RegionError, match="inside the image"):
        embed_regions(view, a, [[70, 70, 80, 80]])


def test_agreement_of_chance_is_low():
    a, b = np.random.default_rng(0).normal(size=(2, 200, 8))
    assert score_agreement(a, a) == 1 and score_agreement(a, b) < 0.15


def test_what_is_left_out_is_not_learned_from():
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(400, 6)).astype(np.float16), np.full(400, -1)
    labels = pd.DataFrame(dict(iou=0.15, truth=0, target=target))
    with pytest.raises(ScorerError, match="0 positive"):
        train_boxscorer(x, labels, np.zeros(400, bool))
