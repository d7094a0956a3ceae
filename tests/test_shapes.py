"Arrays that belong together: one that is too short or of another size is an error that says so, never numpy's own, never a guess."

import warnings
from importlib import import_module

import numpy as np
import pytest

from cellprotocols.errors import UserError

N, K, S = 24, 3, 32
RNG = np.random.default_rng(0)
LABELS = np.array(list("ABC") * (N // 3))
GROUPS = np.array([f"g{i // 3 % 4}" for i in range(N)])
CODES = np.arange(N) % K
PROB = RNG.dirichlet(np.ones(K), N)
X = RNG.normal(size=(N, 5)).astype("f4")
XY = RNG.normal(size=(N, 2))
PATCHES = RNG.integers(0, 255, (N, S, S, 1), dtype=np.uint8)
VALID = np.ones((N, S, S), bool)
IMG, MASK = RNG.integers(1, 255, (S, S), dtype=np.uint8), np.zeros((S, S), bool)
MASK[4:9, 4:9] = True
LABEL_IMAGE = MASK.astype("i4")
T, SLIDE, WEIGHT = np.arange(N), np.repeat(np.arange(4), 6), np.ones(N)
SCORES = dict(y_true=LABELS, y_pred=LABELS[::-1])
PROBS = dict(y_true=CODES, prob=PROB)
IMAGE = dict(img=IMG, mask=MASK)

# function: (arguments that fit, names of those that must agree)
CALLS = {
    "answers.check_pred": (SCORES, "y_true y_pred"),
    "answers.check_prob": (PROBS, "y_true prob"),
    "abstention.make_abstention_curve": (PROBS, "y_true prob"),
    "abstention.score_abstention": (PROBS, "y_true prob"),
    "calibration.make_calibration_bins": (PROBS, "y_true prob"),
    "calibration.score_ece": (PROBS, "y_true prob"),
    "calibration.score_brier": (PROBS, "y_true prob"),
    "calibration.find_temperature": (dict(logits=PROB, y=CODES), "logits y"),
    "cam.compare_maps": (dict(a=PROB, b=PROB), "a b"),
    "cam.check_peak": (dict(saliency=IMG / 255, mask=MASK), "saliency mask"),
    "cam.score_inside": (dict(saliency=IMG / 255, mask=MASK), "saliency mask"),
    "cells.match_cells": (dict(truth=LABEL_IMAGE, found=LABEL_IMAGE), "truth found"),
    "cellsets.find_copies": (dict(patches=PATCHES, labels=LABELS), "patches labels"),
    "crossval.make_group_folds": (dict(labels=LABELS, groups=GROUPS, k=2), "labels groups"),
    "crossval.calibrate_folds": (dict(logits=PROB, y=CODES, fold=CODES), "logits y fold"),
    "dirt.clean_field": (dict(img=PATCHES[0], mask=MASK), "img mask"),
    "dirt.measure_levels": (dict(patches=PATCHES, groups=GROUPS), "patches groups"),
    "features.measure_cells": (dict(patches=PATCHES[:3], valid=VALID[:3]), "patches valid"),
    "fill.fill_median": (IMAGE, "img mask"),
    "fill.fill_ring": (IMAGE, "img mask"),
    "fill.fill_inpaint": (IMAGE, "img mask"),
    "fill.fill_nan": (IMAGE, "img mask"),
    "fill.fill_values": (dict(IMAGE, values=3), "img mask"),
    "flatfield.smooth_background": (dict(img=IMG, mask=MASK), "img mask"),
    "flatfield.polynomial_background": (dict(img=IMG, mask=MASK), "img mask"),
    "flatfield.to_transmission": (dict(img=IMG, background=IMG + 1.0), "img background"),
    "flatfield.flatten_field": (dict(img=IMG, background=IMG + 1.0), "img background"),
    "galleries.show_patches": (dict(patches=PATCHES, labels=LABELS), "patches labels"),
    "galleries.show_collage": (dict(patches=PATCHES, labels=LABELS), "patches labels"),
    "galleries.find_medoids": (dict(xy=XY, features=X), "xy features"),
    "galleries.make_montage": (dict(patches=PATCHES, xy=XY), "patches xy"),
    "galleries.show_montage": (dict(patches=PATCHES, xy=XY, labels=LABELS), "patches xy labels"),
    "inputs.to_standardised": (dict(patches=PATCHES, valid=VALID), "patches valid"),
    "intervals.compare_groups": (dict(a_right=CODES > 0, b_right=CODES > 1, groups=GROUPS), "a_right b_right groups"),
    "maps.measure_knn_purity": (dict(embeddings=X, labels=LABELS, groups=GROUPS, k=2), "embeddings labels groups"),
    "maps.score_knn_purity": (dict(embeddings=X, labels=LABELS, groups=GROUPS, k=2), "embeddings labels groups"),
    "mappage.make_explorer_html": (
        dict(xy=XY, items=list(map(str, T)), images=list(PATCHES), labels=LABELS, groups=GROUPS),
        "xy items images labels groups",
    ),
    "maskscores.make_pixel_histogram": (dict(truth=MASK, prob=IMG / 255, valid=~MASK), "truth prob valid"),
    "maskscores.measure_matches": (dict(mask=MASK, other=MASK), "mask other"),
    "maskscores.measure_boundaries": (dict(truth=MASK, pred=MASK, valid=MASK), "truth pred valid"),
    "measured.train_learners": (dict(x=X, y=CODES, learners=[], n_classes=K, n_trees=3), "x y"),
    "metrics.confusion": (SCORES, "y_true y_pred"),
    "metrics.score_accuracy": (SCORES, "y_true y_pred"),
    "metrics.score_balanced_accuracy": (SCORES, "y_true y_pred"),
    "metrics.score_macro_f1": (SCORES, "y_true y_pred"),
    "metrics.score_mcc": (SCORES, "y_true y_pred"),
    "metrics.score_kappa": (SCORES, "y_true y_pred"),
    "metrics.bootstrap_score": (dict(SCORES, score="accuracy", groups=GROUPS), "y_true y_pred groups"),
    "metrics.score_classes": (dict(SCORES, groups=GROUPS), "y_true y_pred groups"),
    "metrics.score_auroc": (PROBS, "y_true prob"),
    "metrics.score_auprc": (PROBS, "y_true prob"),
    "metrics.score_table": (dict(PROBS, groups=GROUPS), "y_true prob groups"),
    "objects.choose_cut": (dict(prob=PROB[:, 0], area=WEIGHT), "prob area"),
    "overlays.show_points": (dict(yx=XY, labels=LABELS), "yx labels"),
    "overlays.show_embedding": (dict(xy=XY, labels=LABELS), "xy labels"),
    "patches.normalise": (dict(patches=PATCHES, valid=VALID), "patches valid"),
    "plots.show_counts": (dict(labels=LABELS, flagged=CODES > 1), "labels flagged"),
    "probe.train_probe": (dict(embeddings=X, labels=LABELS, groups=GROUPS), "embeddings labels groups"),
    "probe.predict_left_out": (dict(embeddings=X, labels=LABELS, groups=GROUPS), "embeddings labels groups"),
    "published.fill_median_published": (IMAGE, "img mask"),
    "quality.check_blank": (dict(patches=PATCHES, valid=VALID), "patches valid"),
    "quality.check_brightness": (dict(patches=PATCHES, valid=VALID), "patches valid"),
    "quality.check_focus": (dict(patches=PATCHES, valid=VALID), "patches valid"),
    "split.make_folds": (dict(labels=LABELS, groups=GROUPS, k=2), "labels groups"),
    "split.make_split": (dict(labels=LABELS, groups=GROUPS), "labels groups"),
    "split.check_disjoint": (dict(split=SLIDE, groups=SLIDE), "split groups"),
    "split.link_clicks": (dict(t=T, y=XY[:, 0], x=XY[:, 1], movie=GROUPS), "t y x movie"),
    "split.make_blocks": (dict(order=T, labels=LABELS, n_blocks=2), "order labels"),
    "split.audit_split": (dict(images=PATCHES, split=SLIDE, groups=SLIDE), "images split groups"),
    "stamps.cut_stamps": (dict(light=IMG[None] / 255, masks=MASK[None].astype("u1")), "light masks"),
    "suggest.choose_uncertain": (dict(prob=PROB, n=3, groups=GROUPS), "prob groups"),
    "suggest.choose_diverse": (dict(embeddings=X, n=3, seen=CODES == 0), "embeddings seen"),
    "suggest.choose_doubtful": (dict(prob=PROB, y=CODES, n=3), "prob y"),
    "suggest.choose_next": (dict(embeddings=X, labels=LABELS, groups=GROUPS, n=3), "embeddings labels groups"),
    "tracks.smooth_tracks": (
        dict(prob=PROB, t=T, track_id=CODES, transitions=np.full((K, K), 1 / K)),
        "prob t track_id",
    ),
    "weak.choose_threshold": (dict(score=PROB[:, 0], yes=CODES > 0), "score yes"),
}


def call(name, given):
    room, function = name.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(import_module(f"cellprotocols.{room}"), function)(**given)


@pytest.mark.parametrize("name", CALLS)
def test_what_fits_is_taken_and_what_is_short_or_long_is_refused(name):
    given, agree = CALLS[name]
    call(name, given)
    for argument in agree.split():
        whole = given[argument]
        longer = np.concatenate([whole, whole[-1:]]) if isinstance(whole, np.ndarray) else [*whole, whole[-1]]
        for odd in (whole[:-1], whole[:1], longer):
            if len(odd) == len(whole):
                continue
            with pytest.raises(UserError):
                call(name, given | {argument: odd})
                pytest.fail(f"{name}: {len(odd)} instead of {len(whole)} {argument} is taken without a word")
