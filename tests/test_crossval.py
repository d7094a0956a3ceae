"crossval: nobody is predicted by a model that saw his group, finished folds are kept, labels never touch their own temperature."

import os

import numpy as np
import pandas as pd
import pytest

from cellprotocols.crossval import (
    CrossvalError,
    calibrate_folds,
    make_both_folds,
    make_group_folds,
    predict_all_folds,
    predict_out_of_fold,
    read_curves,
    score_folds,
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("CELLPROTOCOLS_QUIET", "1")


def data(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, n), np.repeat(np.arange(n // 6), 6)


def telling(seen):
    "Logits that say which rows were trained on; every call is noted."

    def predict(train, test, folder):
        seen.append((train, test, folder))
        folder.mkdir(parents=True)
        (folder / "checkpoint.safetensors").write_bytes(b"x")
        return np.stack([test, np.full(len(test), len(train))], 1).astype(float), pd.DataFrame(
            {"epoch": [0], "train_loss": [0.5]}
        )

    return predict


def test_every_item_is_predicted_once_by_a_model_of_the_other_folds(tmp_path):
    y, groups = data()
    fold, seen = make_group_folds(y, groups, 4), []
    logits = predict_out_of_fold(telling(seen), fold, tmp_path / "m")
    assert logits.dtype == np.float32 and np.array_equal(logits[:, 0], np.arange(60)) and len(seen) == 4
    for train, test, _ in seen:
        assert not set(groups[train]) & set(groups[test]) and sorted([*train, *test]) == list(range(60))
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == sorted(
        ["about.json", *[f"fold_{k}.{e}" for k in range(4) for e in ("csv", "npy")]]
    )


def test_a_run_that_was_killed_goes_on_with_the_next_fold(tmp_path):
    fold, seen = np.arange(12) % 3, []
    whole, work = telling(seen), iter(range(1))

    def dies(train, test, folder):
        if next(work, None) is None:
            raise KeyboardInterrupt
        return whole(train, test, folder)

    with pytest.raises(KeyboardInterrupt):
        predict_out_of_fold(dies, fold, tmp_path)
    logits = predict_out_of_fold(whole, fold, tmp_path)
    assert [t[0] for _, t, _ in seen] == [0, 1, 2], "the first fold was not done again"
    assert np.array_equal(logits[:, 0], np.arange(12))


def test_a_failed_write_leaves_no_fold_behind(tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(
            os,
            "replace",
            lambda a, b: (_ for _ in ()).throw(OSError(28, "full")) if str(b).endswith(".npy") else os.rename(a, b),
        )
        with pytest.raises(Exception, match="full"):
            predict_out_of_fold(telling([]), np.arange(6) % 2, tmp_path)
    assert not list(tmp_path.glob("*.npy"))


def test_folds_of_something_else_are_refused(tmp_path):
    fold = np.arange(12) % 3
    predict_out_of_fold(telling([]), fold, tmp_path, dict(seed=0, data="abc"))
    predict_out_of_fold(None, fold, tmp_path, dict(data="abc", seed=0))
    for other, about, words in (
        (np.arange(12)[::-1] % 3, dict(seed=0, data="abc"), "folds="),
        (fold, dict(seed=0, data="xyz"), "data='abc' there, 'xyz' here"),
        (fold, dict(seed=0), "data='abc' there, None here"),
        (fold, dict(seed=0, data="abc", epochs=3), "epochs=None there, 3 here"),
    ):
        with pytest.raises(CrossvalError, match="something else.*" + words):
            predict_out_of_fold(telling([]), other, tmp_path, about)


def test_a_damaged_fold_and_a_wrong_number_of_predictions_are_said(tmp_path):
    predict_out_of_fold(telling([]), np.arange(6) % 2, tmp_path)
    (tmp_path / "fold_1.npy").write_bytes((tmp_path / "fold_1.npy").read_bytes()[:-5])
    with pytest.raises(CrossvalError, match="fold_1.npy: this fold is damaged"):
        predict_out_of_fold(telling([]), np.arange(6) % 2, tmp_path)
    with pytest.raises(CrossvalError, match="2 predictions for 3 items"):
        predict_out_of_fold(lambda train, test, folder: (np.zeros((2, 2)), None), np.arange(6) % 2, tmp_path / "new")


def test_groups_that_cannot_be_dealt_are_said():
    y, groups = data()
    with pytest.raises(CrossvalError, match="all cells are in one group.*another movie, slide or patient"):
        make_group_folds(y, np.zeros(60))
    with pytest.raises(CrossvalError, match="without the groups .* only cells of a remain"):
        make_group_folds(np.where(groups < 9, "a", "b"), np.where(groups < 9, groups % 2, 9), 3)
    both = make_both_folds(y, groups, 4, 1)
    assert list(both) == ["grouped", "random"] and np.array_equal(both["grouped"], make_group_folds(y, groups, 4, 1))
    assert both["random"].max() == both["grouped"].max()


def test_a_fold_s_own_labels_never_touch_its_temperature():
    "Calibration of a fold must be blind to that fold: change its labels, its probabilities stay."
    rng = np.random.default_rng(0)
    y, fold = rng.integers(0, 3, 120), np.arange(120) % 4
    logits = rng.normal(size=(120, 3)) * 3
    logits[np.arange(120), y] += 2
    p = calibrate_folds(logits, y, fold)
    other = y.copy()
    other[fold == 2] = rng.permutation(other[fold == 2])
    q = calibrate_folds(logits, other, fold)
    assert np.array_equal(p[fold == 2], q[fold == 2]) and not np.array_equal(p[fold == 1], q[fold == 1])
    assert np.allclose(p.sum(1), 1) and (p.argmax(1) == logits.argmax(1)).all()


def test_scores_and_curves_name_model_and_split(tmp_path):
    y, groups = data()
    folds = make_both_folds(y, groups, 3)
    logits = predict_all_folds({"a": telling([]), "b": telling([])}, folds, tmp_path)
    assert list(logits) == [("a", "grouped"), ("a", "random"), ("b", "grouped"), ("b", "random")]
    curves = read_curves(tmp_path)
    assert (
        len(curves) == 12
        and set(curves.model) == {"a", "b"}
        and set(curves.split) == {"grouped", "random"}
        and set(curves.fold) == {0, 1, 2}
    )
    probs = {key: np.full((60, 3), 1 / 3) for key in logits}
    table = score_folds(probs, y, ["x", "y", "z"], groups)
    assert list(table.columns) == ["model", "split", "optimistic", "metric", "value", "low", "high"]
    assert table.groupby("split").optimistic.all().to_dict() == {"grouped": False, "random": True}
    assert list(read_curves(tmp_path / "nothing").columns) == ["model", "split", "fold", "epoch"]
