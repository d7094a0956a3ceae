"A model knows its limits: what it never learned is marked, what it learned is not, and changed images are named."

import numpy as np
import pandas as pd
import pytest

from cellprotocols.bundle import read_bundle, write_bundle
from cellprotocols.chromatin import infer, train
from cellprotocols.domain import (
    DomainError,
    check_domain,
    check_inputs,
    check_shift,
    check_unlike,
    find_limit,
    make_held,
    measure_distance,
    measure_inputs,
    measure_shift,
    to_domain,
    to_held,
    train_domain,
)
from cellprotocols.synth import make_patches
from cellprotocols.writer import write_dataset


def clouds(n=40, k=3, groups=6, d=20, seed=0):
    "Points around k middles; every group is shifted a little."
    rng = np.random.default_rng(seed)
    middle, shift = 4 * np.eye(d)[:k], 0.3 * rng.normal(size=(groups, d))
    y, g = np.repeat(np.arange(k), n * groups), np.tile(np.repeat(np.arange(groups), n), k)
    return middle[y] + shift[g] + rng.normal(size=(len(y), d)), y, g


def make_limits(x, y, g):
    held = np.zeros(len(x))
    for k in np.unique(g):
        held[g == k] = measure_distance(train_domain(x[g != k], y[g != k]), x[g == k])
    return to_held(train_domain(x, y), held, np.full(len(x), 0.1), g)


@pytest.fixture(scope="module")
def known():
    return make_limits(*clouds())


def test_the_share_of_a_new_group_within_the_limit_is_near_the_stated_one(known):
    x, _, _ = clouds(n=400, groups=1, seed=0)
    for answered in (0.9, 0.99):
        unlike = check_domain(known, x, np.full(len(x), 0.1), answered).unlike
        assert abs(1 - unlike.mean() - answered) < 0.05


def test_a_class_never_seen_and_a_shift_are_marked(known):
    rng = np.random.default_rng(1)
    other = 8 * np.eye(20)[10] + rng.normal(size=(50, 20))
    assert check_domain(known, other, np.full(50, 0.1)).unlike.all()
    assert check_domain(known, clouds(groups=1)[0] + 4, np.full(120, 0.1)).unlike.mean() > 0.95


def test_a_shift_that_no_single_cell_shows_is_found_in_the_whole():
    "Another stain moves every cell a little in one direction."
    x, y, g = clouds()
    shift = np.zeros(len(x))
    for k in np.unique(g):
        shift[g == k] = measure_shift(train_domain(x[g != k], y[g != k]), x[g == k])
    d = to_held(train_domain(x, y), measure_distance(train_domain(x, y), x), np.zeros(len(x)), g, shift)
    new = clouds(n=30, groups=1, seed=0)[0]
    assert len(d.shift) == 6 and check_shift(d, new) == ("", False)
    assert check_domain(d, new + 1, np.zeros(len(new))).unlike.mean() < 0.7
    said, marks = check_shift(d, new + 1)
    assert "shifted by" in said and marks
    few = d._replace(shift=np.full(6, measure_shift(d, new + 1) / 2, "float32"))
    said, marks = check_shift(few, new + 1)  # beyond the largest of six groups, but not far
    assert "6 groups in training that may be chance" in said and not marks
    assert check_shift(few._replace(shift=np.tile(few.shift, 5)), new + 1)[1]  # of thirty groups none is as far
    assert check_shift(d, new[:4] + 1) == check_shift(None, new) == ("", False)


def test_doubt_counts_too(known):
    x = clouds(n=20, groups=1)[0]
    sure, unsure = (check_domain(known, x, np.full(len(x), h)).novelty.mean() for h in (0.1, 0.9))
    assert unsure > sure + 1


def test_every_group_counts_alike():
    "One large odd group must not set the limit for all others."
    x, y, g = clouds(n=10, groups=5)
    d, many = train_domain(x, y), np.repeat(0, 1000)
    distance = np.concatenate([np.ones(len(x)), np.full(len(many), 50.0)])
    group = np.concatenate([g + 1, many])
    held = make_held(to_held(d, distance, np.zeros(len(group)), group))
    assert find_limit(held, 0.8) < 1 < find_limit(held, 0.9)


def test_a_domain_is_small_plain_and_of_its_own_space(known):
    assert sum(a.nbytes for a in known) < 50_000
    assert to_domain({}) is None
    with pytest.raises(DomainError, match="as in training"):
        measure_distance(known, np.zeros((3, 7)))
    with pytest.raises(DomainError, match="spread"):
        to_domain({k: v for k, v in known._asdict().items() if k != "spread"})
    assert list(check_domain(None, np.zeros((3, 7)), np.zeros(3)).columns) == []


def test_numbers_that_never_vary_do_no_harm():
    x, y, g = clouds(d=8)
    x[:, 3] = 5.0
    assert np.isfinite(measure_distance(train_domain(x, y), x)).all()
    one = train_domain(x[:4], np.array([0, 0, 1, 1]))
    assert np.isfinite(measure_distance(one, x)).all()


def test_many_are_said_loudly():
    few, many = np.arange(200) < 2, np.arange(200) < 60
    assert not check_unlike(few)[1] and "2 of 200" in check_unlike(few)[0]
    assert check_unlike(many[:0]) == ("no new cells: whether the model knows their kind cannot be seen", False)
    text, loud = check_unlike(many)
    assert loud and text.startswith("LOOK") and "60 of 200 cells (30.0%)" in text


# ---- images as plain numbers


@pytest.fixture(scope="module")
def images():
    return make_patches(20, size=32, seed=0)


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda p: (p * 0.5).astype(np.uint8), "contrast of channel DNA is 0.5"),
        (lambda p: np.minimum(p.astype(int) + 120, 255).astype(np.uint8), "channel DNA is brighter"),
        (lambda p: p.astype(np.uint16) * 16, "grey levels are uint16, in training uint8"),
    ],
)
def test_changed_images_are_named(images, change, word):
    patches, _, groups = images
    ok = np.ones(patches.shape[:3], bool)
    said = check_inputs(measure_inputs(patches, ok, groups), measure_inputs(change(patches), ok), ["DNA"])
    assert word in "\n".join(said)


def test_unchanged_images_are_not_named(images):
    patches, _, groups = images
    ok, half = np.ones(patches.shape[:3], bool), np.unique(groups)[::2]
    own, new = np.isin(groups, half), ~np.isin(groups, half)
    known = measure_inputs(patches[own], ok[own], groups[own])
    assert check_inputs(known, measure_inputs(patches[new], ok[new]), ["DNA"]) == []
    assert check_inputs({}, known) == []


def of_classes(dim, bright, factor=1):
    "Patches of a dim and a bright class, so many of each."
    side, rng = 24, np.random.default_rng(0)
    disc = np.hypot(*np.mgrid[-12:12, -12:12]) < 8
    labels = np.array(["dim"] * dim + ["bright"] * bright)
    heights = np.where(labels == "dim", 40, 120) * rng.uniform(0.9, 1.1, len(labels)) * factor
    patches = 20 + disc * heights[:, None, None] + rng.normal(0, 2, (len(labels), side, side))
    return patches[..., None].astype(np.float32), np.ones((len(labels), side, side), bool), labels


def test_another_mix_of_classes_is_no_change_of_contrast():
    patches, ok, labels = of_classes(20, 80)
    known = measure_inputs(patches, ok, labels=labels)
    patches, ok, labels = of_classes(90, 10)
    assert "contrast" in "\n".join(check_inputs(known, measure_inputs(patches, ok)))
    assert check_inputs(known, measure_inputs(patches, ok, labels=labels)) == []
    patches, ok, labels = of_classes(90, 10, factor=0.5)
    said = "\n".join(check_inputs(known, measure_inputs(patches, ok, labels=labels)))
    assert "the contrast of channel 0 is 0.5" in said


def test_another_mix_of_classes_is_no_shift():
    _, y, groups = clouds()
    rng = np.random.default_rng(1)
    x = 4 * np.eye(20)[y] + 0.5 * rng.normal(size=(6, 3, 20))[groups, y] + rng.normal(size=(len(y), 20))
    domain = train_domain(x, y)
    even = np.mean([measure_shift(domain, x[groups == g]) for g in range(6)])
    one = np.mean([measure_shift(domain, x[(groups == g) & (y == k)]) for g in range(6) for k in range(3)])
    assert 0.7 * even < one < 1.4 * even
    assert measure_shift(domain, x[y == 0] + domain.unit) > 3 * even


# ---- in the steps: a class withheld, another scale, other channels, a bundle without limits


def make_source(folder, patches, labels, groups, px_um=0.333, channels="gray"):
    size = patches.shape[1]
    table = pd.DataFrame(
        dict(item_id=[f"c{i:04d}" for i in range(len(labels))], group=groups.astype(str), label=labels)
    )
    table = table.assign(field_id="f", y=size / 2, x=size / 2, size=size, px_um=px_um, blank=False)
    arrays, classes = dict(patches=patches, valid=np.ones(patches.shape[:3], bool)), sorted(set(labels) - {""})
    about = ("patches", table, "chromatin.patches", dict(classes=classes, practice=True))
    return str(write_dataset(folder, *about, arrays=arrays, files={"channels.txt": channels + "\n"}).path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "A model of three classes; `rest` are cells of other groups, one class more."
    tmp = tmp_path_factory.mktemp("domain")
    patches, labels, groups = make_patches(24, size=32, seed=1)
    odd = sorted(set(labels))[0]
    new = np.isin(groups, np.unique(groups)[::3])
    own = ~new & (labels != odd)
    source = make_source(tmp / "22", patches[own], labels[own], groups[own])
    made = train.run(source, str(tmp / "24"), model="probe", folds=3, random_split=False)
    return tmp, made, (patches[new], labels[new], groups[new]), odd


def test_a_withheld_class_is_marked_more_often_than_cells_of_new_groups(trained, tmp_path, capsys):
    tmp, made, rest, odd = trained
    t = infer.run(make_source(tmp_path / "22", *rest), str(tmp_path / "25"), str(tmp / "24")).items
    assert t.novelty[t.label == odd].median() > t.novelty[t.label != odd].quantile(0.7)
    assert t.unlike[t.label != odd].mean() < 0.2
    assert "unlike anything the model learned from" in capsys.readouterr().out


def test_changed_contrast_and_dtype_are_said_and_marked(trained, tmp_path, capsys):
    tmp, made, (patches, labels, groups), odd = trained
    dim = make_source(tmp_path / "22", (patches // 6), labels, groups)
    made = infer.run(dim, str(tmp_path / "25"), str(tmp / "24"))
    said = capsys.readouterr().out
    assert "NOT AS IN TRAINING: the contrast of channel gray" in said and "LOOK AT THESE FIRST" in said
    assert made.items.unlike.all()  # as a whole they are shifted, see differences.txt
    assert "these cells as a whole are shifted" in said
    assert "contrast" in (made.path / "differences.txt").read_text()


def test_images_that_are_cut_without_a_scale_are_marked(trained, tmp_path, capsys):
    tmp, made, (patches, labels, groups), odd = trained
    large = np.repeat(np.repeat(patches, 3, 1), 3, 2)
    source = make_source(tmp_path / "22", large, labels, groups, px_um=np.nan)
    t = infer.run(source, str(tmp_path / "25"), str(tmp / "24")).items
    assert t.unlike.all()
    assert "patches of 96 px, in training they had 32 px" in capsys.readouterr().out


def test_images_of_a_known_scale_are_rescaled_and_it_is_said(trained, tmp_path, capsys):
    tmp, made, (patches, labels, groups), odd = trained
    large = np.repeat(np.repeat(patches, 2, 1), 2, 2)
    source = make_source(tmp_path / "22", large, labels, groups, px_um=0.333 / 2)
    t = infer.run(source, str(tmp_path / "25"), str(tmp / "24")).items
    same = infer.run(
        make_source(tmp_path / "same", patches, labels, groups), str(tmp_path / "b"), str(tmp / "24")
    ).items
    assert "patches are rescaled by 0.50" in capsys.readouterr().out
    assert (t.predicted == same.predicted).mean() > 0.9


def test_a_bundle_without_limits_loads_and_says_that_it_cannot_judge(trained, tmp_path, capsys):
    tmp, made, rest, odd = trained
    b = read_bundle(made.path / "bundle")
    x = np.zeros((1, 1, 32, 32), np.float32)
    how = (type(b.model).__name__, b.model.config, b.classes, b.channels, x)
    old = write_bundle(tmp_path / "old", b.model, *how, px_um=b.px_um, data=dict(practice=True))
    assert read_bundle(old).read_arrays("domain") == {}
    t = infer.run(make_source(tmp_path / "22", *rest), str(tmp_path / "25"), str(old)).items
    assert "unlike" not in t and "cannot be judged" in capsys.readouterr().out


def test_held_out_cells_of_training_carry_their_distance(trained):
    tmp, made, rest, odd = trained
    assert np.isfinite(made.items.distance).all()
    domain = to_domain(read_bundle(made.path / "bundle").read_arrays("domain"))
    assert np.allclose(np.sort(domain.distance), np.sort(made.items.distance), rtol=1e-4)
    assert (made.path / "bundle" / "domain.safetensors").stat().st_size < 2e6
