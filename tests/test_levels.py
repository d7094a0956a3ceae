"Grey levels of more than 8 bits: contrast between frames is kept, exposure is not; what is kept travels with the model."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tifffile import imwrite

from cellprotocols.bundle import read_bundle
from cellprotocols.cell_lines import infer
from cellprotocols.cli import run_steps
from cellprotocols.dataset import read_dataset
from cellprotocols.framecuts import read_grey
from cellprotocols.levels import GreyRange, LevelError, Levels, choose_range, measure_levels, read_range, to_bytes
from cellprotocols.synth_cultures import LINES, Culture, iter_frames


@settings(deadline=None, max_examples=30)
@given(st.floats(0.2, 20), st.integers(0, 50))
def test_exposure_changes_nothing(gain, seed):
    frame = 5000 * (1 + np.random.default_rng(seed).normal(0, 0.1, (40, 50)))
    chosen = choose_range([measure_levels([frame])])
    one, other = (to_bytes(f, *chosen.to_limits(measure_levels([f]))) for f in (frame, gain * frame))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_one_odd_series_does_not_set_the_range():
    usual = [Levels(900, 1000, 1100)] * 30
    assert choose_range([*usual, Levels(900, 1000, 60000)]).high < 1.2


def test_bytes_stay_as_they_are_and_nothing_is_no_error():
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)
    chosen = choose_range([measure_levels([frame])], eight_bit=True)
    assert (to_bytes(frame, *chosen.to_limits(measure_levels([frame]), True)) == frame).all()
    dark = np.zeros((20, 20), np.uint16)
    assert not to_bytes(dark, *choose_range([measure_levels([dark])]).to_limits(measure_levels([dark]))).any()
    assert measure_levels([np.full((4, 4), np.nan)]) == Levels(0, 0, 0)
    with pytest.raises(LevelError, match="common, sequence"):
        choose_range([], "camera")


def test_colours_of_eight_bits_are_read_as_eight_bits(tmp_path):
    grey = np.random.default_rng(0).integers(0, 255, (30, 40)).astype(np.uint8)
    for name, img in dict(grey=grey, colour=np.stack([grey] * 3, -1)).items():
        imwrite(tmp_path / f"{name}.tif", img, photometric="rgb" if img.ndim == 3 else "minisblack")
    assert (read_grey(tmp_path / "grey.tif") == read_grey(tmp_path / "colour.tif")).all()
    small = read_grey(tmp_path / "colour.tif", scale=0.5)
    assert small.dtype == np.uint8 and small.shape == (15, 20)


def write_deep(home, contrast, line_of, exposures=(3000, 9000)):
    "Frames of 16 bits: contrast(line, batch) and the form of cells by line; every batch has its own exposure."
    for k in range(2):
        for b, light in enumerate(exposures):
            for p in range(2):
                for f in iter_frames(LINES[line_of(k)], Culture(f"b{b}"), 2, (150, 200), 100 * k + 10 * b + p):
                    name = home / "AB"[k] / f"batch_{b}" / f"P{p}_{f.hours // 24:02}d{f.hours % 24:02}h00m.tif"
                    name.parent.mkdir(parents=True, exist_ok=True)
                    imwrite(name, (light * (1 + contrast(k, b) * (f.image / 127.5 - 1))).astype(np.uint16))
    return home


def name_held_out(source, out, **options):
    "The share of sequences of held-out batches that are named right."
    run_steps("cell_lines", str(source), out, "..train", size=64, encoder="measured", left_out=0, **options)
    t = read_dataset(out / "14_train").items
    return (t.predicted == t.label).mean()


@pytest.mark.slow
def test_contrast_may_be_the_line_and_travels_with_the_model(tmp_path):
    home = write_deep(tmp_path / "in", lambda k, b: (0.1, 0.4)[k], lambda k: 0)
    assert name_held_out(home, tmp_path / "common") == 1
    assert name_held_out(home, tmp_path / "own", levels="sequence") < 1, "the same cells, stretched alike"
    kept = read_bundle(tmp_path / "common" / "14_train" / "bundle").normalisation["range"]
    cut = read_dataset(tmp_path / "common" / "12_patches")
    assert GreyRange(**kept) == read_range(cut.path)
    assert cut["patches"][:][cut.items.label == "B"].std() > 2.5 * cut["patches"][:][cut.items.label == "A"].std()
    new = write_deep(tmp_path / "new", lambda k, b: (0.1, 0.4)[k], lambda k: 0, exposures=(20000,))
    model = str(tmp_path / "common" / "14_train" / "bundle")
    t = infer.run(None, str(tmp_path / "answers"), model=model, images=str(new)).items
    assert (t.predicted == t.item_id.str[0]).all(), "another exposure, the same contrast"


@pytest.mark.slow
def test_contrast_may_be_the_batch(tmp_path):
    home = write_deep(tmp_path / "in", lambda k, b: (0.2, 0.3)[b], lambda k: k)
    assert name_held_out(home, tmp_path / "out") >= 0.75


def test_foreign_frames_of_sixteen_bits_meet_a_model_of_bytes(tmp_path):
    frame = next(iter_frames(LINES[0], Culture("b"), 1, (150, 200), 3)).image
    chosen = choose_range([measure_levels([frame])], eight_bit=True)
    deep = frame.astype(np.uint16) * 100
    back = to_bytes(deep, *chosen.to_limits(measure_levels([deep])))
    assert np.abs(back.astype(int) - frame).max() <= 1


def test_patches_without_a_range_are_to_be_cut_again(tmp_path):
    with pytest.raises(LevelError, match="cut them again"):
        read_range(tmp_path)
