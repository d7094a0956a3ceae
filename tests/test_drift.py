"Cells that look well one by one, and are of another size as a set: said, marked, and no false alarm."

import cv2
import numpy as np
import pandas as pd
import pytest

from cellprotocols.chromatin import infer, train
from cellprotocols.drift import (
    check_drift,
    choose_groups,
    measure_groups,
    measure_looks,
    say_drift,
    say_unknown,
    show_drift,
)
from cellprotocols.patches import to_patches
from cellprotocols.sections import make_limits_section
from cellprotocols.synth import make_patches
from cellprotocols.writer import write_dataset


def make_looks(groups=20, n=15, between=0.04, within=0.2, size=1.0, contrast=1.0, mix=(0.5, 0.5), seed=0):
    "Two classes, one larger than the other; groups differ a little in size and much in contrast."
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), n)
    called = rng.choice(["large", "small"], len(g), p=mix)
    level = np.where(called == "large", np.log(40), np.log(28))
    looks = pd.DataFrame(
        {
            "size": level + between * rng.normal(size=groups)[g] + within * rng.normal(size=len(g)) + np.log(size),
            "sharpness": 0.1 * rng.normal(size=len(g)),
            "the contrast of channel DNA": 3 + 0.3 * rng.normal(size=groups)[g] + np.log(contrast),
        }
    )
    return looks, called, g


@pytest.fixture(scope="module")
def known():
    return measure_groups(*make_looks())


def row(found, name="size"):
    return found[found.name == name].iloc[0]


@pytest.mark.parametrize("factor", [0.7, 0.85, 1.2, 1.5])
def test_another_size_is_found_said_and_marks_all(known, factor):
    found = check_drift(known, *make_looks(size=factor, seed=1))
    r = row(found)
    assert r.drifts and r.marks and abs(r.ratio / factor - 1) < 0.1 and abs(r.same / factor - 1) < 0.05
    (said,) = say_drift(found)
    assert f"these cells are {r.ratio:.2f} times the size" in said
    assert ("none of the 20 training groups strays so far" in said) == (factor in (0.7, 1.5))
    assert "px_um" in said and "adapt the model" in said and "all cells are marked as unlike" in said


def test_sets_like_the_training_are_left_alone():
    "At most one set of a hundred is named by chance: here two of 300 would still pass, five would not."
    named = []
    for seed in range(300):
        looks, called, g = make_looks(groups=30, seed=seed)
        own = g < 20
        kept = measure_groups(looks[own], called[own], g[own])
        named.append(len(say_drift(check_drift(kept, looks[~own], called[~own], g[~own]))))
    assert np.mean(np.array(named) > 0) < 5 / 300


def test_a_difference_that_does_not_matter_is_not_said(known):
    assert say_drift(check_drift(known, *make_looks(groups=60, n=60, size=1.06, seed=1))) == []


def test_another_mix_of_classes_is_said_and_marks_nothing(known):
    found = check_drift(known, *make_looks(mix=(0.02, 0.98), seed=2))
    r = row(found)
    assert r.mixed and not r.drifts and not found.marks.any() and r.ratio < 0.9 < r.same
    assert "if the classes are not just in another mix" in say_drift(found)[0]


def test_contrast_marks_only_beyond_the_farthest_group(known):
    name = "the contrast of channel DNA"
    less, far = (row(check_drift(known, *make_looks(groups=60, contrast=c, seed=3)), name) for c in (0.7, 0.2))
    assert less.drifts and not less.marks and far.drifts and far.marks
    assert f"{name} is" in say_drift(check_drift(known, *make_looks(groups=60, contrast=0.7, seed=3)))[0]


def test_few_groups_are_no_ground_for_an_alarm_and_it_is_said():
    few, some = (measure_groups(*make_looks(groups=k)) for k in (3, 6))
    found = check_drift(few, *make_looks(size=0.5, seed=1))
    assert say_drift(found) == [] and not found.marks.any()
    assert "cannot be known: training had 3 groups" in say_unknown(found)
    looks, called, _ = make_looks(groups=1, seed=1)
    wide = measure_groups(*make_looks(groups=6, between=0.2))
    assert "cannot be noticed (training had 6 groups" in say_unknown(check_drift(wide, looks, called))
    assert row(check_drift(some, *make_looks(size=0.5, seed=1))).marks
    assert "cannot be known" in say_unknown(check_drift({}, looks, called))


def test_few_cells_damaged_numbers_and_other_channels_do_no_harm(known):
    looks, called, g = make_looks(groups=1, n=4, size=0.5)
    assert say_drift(check_drift(known, looks, called, g)) == []
    looks, called, g = make_looks(groups=2, size=0.7)
    assert not check_drift(known, looks * np.nan, called, g).drifts.any()
    assert not check_drift(known, looks.rename(columns={"size": "area"}), called, g).marks.any()
    assert not check_drift(known, looks, ["never seen"] * len(called), g).marks.any()
    assert len(show_drift(check_drift(known, looks * np.nan, called, g)).patches) == 0


def test_looks_know_what_is_not_real():
    patches = make_patches(4, size=40, seed=0)[0]
    valid = np.ones(patches.shape[:3], bool)
    valid[:, :6] = False
    dirty = np.where(valid[..., None], patches, 0)
    a, b = (measure_looks(p, valid) for p in (patches, dirty))
    assert np.allclose(a.filter(like="channel"), b.filter(like="channel"))
    nothing = measure_looks(np.zeros((3, 32, 32, 1), np.uint8), np.zeros((3, 32, 32), bool))
    assert nothing["size"].isna().all() and nothing.shape == (3, 4)


def test_many_groups_are_looked_at_in_part_but_each_with_enough_cells():
    groups = np.repeat(np.arange(400), 100)
    rows = choose_groups(groups)
    counts = np.bincount(groups[rows], minlength=400)
    assert len(rows) == 1500 and np.sum(counts >= 5) >= 60 and counts.max() == 25
    assert np.array_equal(rows, np.unique(rows))


# ---- in the steps


def make_source(folder, patches, labels, groups):
    size = patches.shape[1]
    table = pd.DataFrame(dict(item_id=[f"c{i:04d}" for i in range(len(labels))], group=groups, label=labels))
    table = table.assign(field_id="f", y=size / 2, x=size / 2, size=size, px_um=np.nan, blank=False)
    arrays, classes = dict(patches=patches, valid=np.ones(patches.shape[:3], bool)), sorted(set(labels))
    about = ("patches", table, "chromatin.patches", dict(classes=classes, practice=True))
    return str(write_dataset(folder, *about, arrays=arrays, files={"channels.txt": "gray\n"}).path)


def shrink(patches, factor):
    side = round(patches.shape[1] * factor)
    small = [cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA)[..., None] for p in patches]
    return to_patches(small, patches.shape[1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("drift")
    patches, labels, _ = make_patches(40, size=48, seed=1)
    groups = np.array([f"dish {i % 15:02d}" for i in np.random.default_rng(0).permutation(len(labels))])
    new = groups >= "dish 10"
    train.run(
        make_source(tmp / "22", patches[~new], labels[~new], groups[~new]),
        str(tmp / "24"),
        model="probe",
        folds=3,
        random_split=False,
    )
    return str(tmp / "24"), (patches[new], labels[new], groups[new])


def test_smaller_cells_are_said_on_screen_and_marked(trained, tmp_path, capsys):
    model, (patches, labels, groups) = trained
    made = infer.run(make_source(tmp_path / "22", shrink(patches, 0.7), labels, groups), str(tmp_path / "25"), model)
    said = capsys.readouterr().out
    assert "NOT AS IN TRAINING: these cells are 0.7" in said and "all cells are marked as unlike" in said
    assert made.items.unlike.all()
    found = pd.read_csv(made.path / "drift.csv")
    assert row(found).marks and "times the size" in (made.path / "differences.txt").read_text()
    section = make_limits_section(made.items, pd.read_csv(made.path / "held.csv"), drift=found)
    assert any("as a set" in getattr(p, "caption", "") for p in section.items)


def test_cells_of_the_same_size_are_not(trained, tmp_path, capsys):
    model, (patches, labels, groups) = trained
    made = infer.run(make_source(tmp_path / "22", patches, labels, groups), str(tmp_path / "25"), model)
    said = capsys.readouterr().out
    assert "times the size" not in said and "cannot be noticed" not in said and "cannot be known" not in said
    assert made.items.unlike.mean() < 0.2 and not pd.read_csv(made.path / "drift.csv").drifts.any()
