"Bags of cultures: what is learned, what a patch counts, which pooling is kept, and what is taken out of numbers."

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeClassifier

from cellprotocols.bags import BagError
from cellprotocols.bundle import read_bundle, write_bundle
from cellprotocols.culturebags import BagCultures, choose_pooling, make_trainer, train_culture_bags
from cellprotocols.cultures import Encoder, find_off, to_corrected, train_cultures
from cellprotocols.cultureset import make_cultures_of, predict_cultures
from cellprotocols.domain import train_domain


def make_set(rare=1.0, lines=3, batches=6, patches=10, odd=3.0, hours=True, seed=0):
    "Numbers of cultures in which a share of the patches shows the line; the others show the batch."
    rng, rows, x = np.random.default_rng(seed), [], []
    for k, b in np.ndindex(lines, batches):
        other = rng.normal(0, odd, 8) * (np.arange(8) < 7)
        for f in range(6):
            tells = (rng.random(patches) < rare)[:, None]
            x.append(rng.normal(0, 1, (patches, 8)) + np.where(tells, 8 * np.eye(8)[k] + 6 * np.eye(8)[7], other))
            about = dict(label=f"line {k}", group=f"{k}/{b}", batch=str(b), confluency=0.5)
            when = 4.0 * (f % 2) if hours else np.nan
            rows += [about | dict(field_id=f"{k}/{b}/{f}", sequence=f"{k}/{b}/{f // 2}", hours=when)] * patches
    c = make_cultures_of(pd.DataFrame(rows), np.concatenate(x))
    return c, np.unique(c.sequences.label, return_inverse=True)[1]


@pytest.mark.slow
def test_attention_is_kept_where_few_patches_tell_and_the_mean_where_all_do():
    trains = {p: make_trainer(Encoder(True), pooling=p) for p in ("mean", "attention")}
    chosen = choose_pooling(trains, *make_set(rare=0.2))
    assert chosen.pooling == "attention", chosen.why
    score = chosen.scores.set_index("pooling").macro_f1
    assert score["attention"] > score["mean"] + 0.2
    assert choose_pooling(trains, *make_set(rare=1.0, batches=4)).pooling == "mean"


@pytest.mark.parametrize("segments", ["default", "faithful", "none"])
def test_series_are_shown_in_parts_and_hours_may_be_unknown(segments):
    c, y = make_set(batches=2, hours=segments != "default")
    model = train_culture_bags(c, y[c.of], Encoder(True), segments=segments, epochs=2)
    said = predict_cultures(model, train_domain(model.predict(c.x)[1], y[c.of]), c)
    assert np.isfinite(said.logits).all() and np.isfinite(said.frames).all()
    np.testing.assert_allclose(np.bincount(c.of, said.attention), 1, rtol=1e-4)


def test_the_order_of_patches_changes_nothing():
    c, y = make_set(batches=2)
    model = train_culture_bags(c, y[c.of], Encoder(True), epochs=2)
    order = np.random.default_rng(0).permutation(len(c.x))
    one, other = model.pool(c.x, c.of), model.pool(c.x[order], c.of[order])
    np.testing.assert_allclose(one[0], other[0], atol=1e-4)
    np.testing.assert_allclose(one[1][order], other[1], atol=1e-5)


def test_a_bundle_keeps_pooling_and_what_is_taken_out(tmp_path):
    patches = np.random.default_rng(0).integers(0, 255, (24, 32, 32, 1)).astype(np.uint8)
    rows = [
        dict(field_id=str(k), sequence=str(k), label="AB"[k % 2], group=f"{k % 4}", batch=f"{k % 4}") for k in range(24)
    ]
    c = make_cultures_of(pd.DataFrame(rows).assign(hours=1.0, confluency=0.5), Encoder(True).embed(patches))
    y = np.arange(24) % 2
    off = find_off(c.x, y, c.sequences.group, 1.0)
    assert off is not None
    for learn in (train_cultures, None):
        how = dict(encoder=Encoder(True), off=off)
        model = learn(c.x, y, 2, **how) if learn else train_culture_bags(c, y, epochs=2, **how)
        home = tmp_path / type(model).__name__
        about = dict(classes=["A", "B"], channels=["gray"], example=patches[:2].transpose(0, 3, 1, 2))
        write_bundle(home, model, type(model).__name__, model.config, *about.values(), purpose="a test")
        back = read_bundle(home).model
        np.testing.assert_allclose(back.predict(c.x)[0], model.predict(c.x)[0], atol=1e-5)
        if isinstance(model, BagCultures):
            np.testing.assert_allclose(back.pool(c.x, c.of)[0], model.pool(c.x, c.of)[0], atol=1e-5)


def test_nothing_is_taken_out_where_nothing_can_be_known():
    x = np.random.default_rng(0).normal(0, 1, (20, 5))
    one = np.repeat(["a", "b"], 10)
    assert find_off(x, one, one) is None and find_off(x, one, np.tile(["p", "q"], 10), 0.0) is None
    assert (to_corrected(x) == x.astype(np.float32)).all()


def test_discriminants_see_lines_between_other_lines_which_regression_overlooks():
    rng = np.random.default_rng(1)
    centre = np.zeros((25, 6))
    centre[:, :2] = 4 * np.stack(np.meshgrid(np.arange(5), np.arange(5)), -1).reshape(-1, 2)
    learn, test = (np.concatenate([c + rng.normal(0, 1, (12, 6)) for c in centre]) for _ in range(2))
    y = np.repeat(np.arange(25), 12)
    model = train_cultures(learn, y, 25, Encoder(True))
    ridge = RidgeClassifier(alpha=6).fit(learn, y).predict(test)
    assert (model.predict(test)[0].argmax(1) == y).mean() > (ridge == y).mean() + 0.1


def test_one_learner_sees_patches_as_they_are_and_one_also_as_another_batch_shows_them():
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1], 60)
    x = rng.normal(0, 1, (120, 4)) + 6 * y[:, None] * np.eye(4)[0]
    varied = x + rng.normal(0, 6, (120, 1)) * np.eye(4)[0]  # what tells lines apart, another batch takes away
    model = train_cultures(x, y, 2, Encoder(True), varied=varied)
    plain, both = (h.weight[:, 0].abs().mean() for h in model.linear)
    assert len(model.linear) == 2 and plain > 2 * both
    alone = train_cultures(x, y, 2, Encoder(True))
    assert len(alone.linear) == 1


def test_an_unknown_pooling_is_named():
    with pytest.raises(BagError, match="mean, max, attention"):
        make_trainer(Encoder(True), pooling="sum")
