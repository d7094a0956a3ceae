"The protocol strings: bad input is named, embryos are never on both sides, thresholds come from normals alone where need be, and the whole way."

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from reports import check_report
import tifffile
from skimage.io import imsave

from cellprotocols.boxtracks import link_boxes, measure_tracklets
from cellprotocols.coco import read_coco, write_coco
from cellprotocols.embryosets import EmbryoError, read_embryo_frame, read_embryo_set
from cellprotocols.errors import UserError
from cellprotocols.screen import Screen, train_screen
from cellprotocols.strings import annotate, infer, patches, selfsupervise, train, visualize
from cellprotocols.synth_embryos import make_embryo_set
from cellprotocols.yolo import write_yolo


def write_frames(home, n=3, embryos=2, size=(24, 30)):
    "Grey frames in a folder an embryo."
    rng = np.random.default_rng(0)
    for e in range(embryos):
        for t in range(n):
            name = home / f"E{e}" / f"f{t}.png"
            name.parent.mkdir(parents=True, exist_ok=True)
            imsave(name, rng.integers(90, 160, size, dtype=np.uint8), check_contrast=False)
    return home


def write_boxes(home, rows):
    pd.DataFrame(rows, columns=["file", "y0", "x0", "y1", "x1"]).to_csv(home / "boxes.csv", index=False)


def test_a_frame_without_box_is_clean_only_where_somebody_says_so(tmp_path):
    write_boxes(write_frames(tmp_path), [["E0/f0.png", 2, 2, 9, 9], ["E0/f0.png", 12, 2, 19, 9]])
    frames, boxes, _, said, _ = read_embryo_set(tmp_path)
    assert (frames.label == "").sum() == 5 and len(boxes) == 2 and "neither box nor label" in said[0]
    assert (read_embryo_set(tmp_path, clean=True)[0].label == "normal").sum() == 5


def test_yolo_and_coco_say_which_frames_are_empty(tmp_path):
    home = write_frames(tmp_path / "in")
    shapes = {f"E{e}/f{t}.png": (24, 30) for e in range(2) for t in range(2)}
    box = pd.DataFrame([["E0/f0.png", "string", 2.0, 3, 9, 12]], columns=["field", "label", "y0", "x0", "y1", "x1"])
    write_yolo(tmp_path / "yolo", box, ["string"], shapes)
    write_coco(tmp_path / "boxes.json", box, ["string"], shapes)
    for where in ("yolo", "boxes.json"):
        frames, boxes, *_ = read_embryo_set(home, str(tmp_path / where))
        assert np.allclose(boxes[["y0", "x0", "y1", "x1"]], [[2, 3, 9, 12]], atol=0.01)
        assert frames.label.value_counts().to_dict() == {"normal": 3, "": 2, "string": 1}, where
        with pytest.raises(
            EmbryoError, match=r"no box is called 'strings'; there are string \(1\).*did you mean 'string'"
        ):
            read_embryo_set(home, str(tmp_path / where), wanted="strings")


def test_odd_boxes_and_sizes_are_said(tmp_path):
    write_frames(tmp_path)
    imsave(tmp_path / "E0" / "f9.png", np.full((40, 40), 9, np.uint8), check_contrast=False)
    write_boxes(tmp_path, [["E0/f0.png", 2, 2, 90, 90], ["E0/f1.png", 50, 50, 60, 60], ["E9/no.png", 1, 1, 5, 5]])
    _, boxes, _, said, _ = read_embryo_set(tmp_path)
    assert boxes[["y1", "x1"]].to_numpy().tolist() == [[24, 30]]
    for word in ("name no frame", "outside their frames", "1 boxes reach over the edge", "changing size"):
        assert word in " ".join(said)


def test_an_embryo_in_two_groups_and_odd_labels_are_refused(tmp_path):
    write_frames(tmp_path)
    t = pd.DataFrame(dict(file=["E0/f0.png", "E0/f0.png"], embryo=["A", "B"]))
    t.to_csv(tmp_path / "frames.csv", index=False)
    with pytest.raises(EmbryoError, match="in two embryos"):
        read_embryo_set(tmp_path)
    t.iloc[:1].assign(label="maybe").to_csv(tmp_path / "frames.csv", index=False)
    with pytest.raises(EmbryoError, match="maybe"):
        read_embryo_set(tmp_path)


def test_whole_embryos_are_dealt(tmp_path):
    make_embryo_set(tmp_path / "in", 6, 2, 64)
    made = annotate.run(str(tmp_path / "in"), str(tmp_path / "out"))
    assert (made.items.groupby("group").split.nunique() == 1).all() and made.items.split.nunique() == 3


def test_a_blank_frame_has_no_proposal_and_no_embedding_is_missed():
    assert len(patches.propose_boxes(np.full((60, 60), 7, np.uint8))) == 0
    assert len(train.choose_all(pd.DataFrame(columns=["field_id", "y0", "x0", "y1", "x1", "score"]))) == 0
    assert (
        len(
            measure_tracklets(
                link_boxes(pd.DataFrame(columns=["group", "frame", "hours", "score", "y0", "x0", "y1", "x1"]))
            )
        )
        == 0
    )


def test_what_the_autoencoder_sees_keeps_the_aspect():
    wide = np.zeros((50, 100))
    wide[10:40, 20:50] = 1
    small = selfsupervise.to_small(wide, 64)[0]
    rows, columns = (np.flatnonzero((small > 0.5)[:32].any(k)) for k in (1, 0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


@pytest.mark.slow
def test_the_whole_way_on_practice_data(tmp_path):
    labels = annotate.run(None, str(tmp_path / "practice" / "31"))
    a = patches.run(str(labels.path), str(tmp_path / "32"), most=60)
    b = selfsupervise.run(str(a.path), str(tmp_path / "33"), side=256, epochs=3, ae_size=96)
    c = train.run(str(b.path), str(tmp_path / "34"), epochs=10)
    gate = json.loads((c.path / "model.json").read_text())["gate"]
    assert np.isfinite(gate["threshold"]) and len(gate["normal"]) == 201
    scores = pd.read_csv(c.path / "scores.csv")
    assert scores[scores.metric == "auroc"].value.max() >= 0.9
    d = infer.run(str(labels.path), str(tmp_path / "35"), str(c.path))
    found, tracklets = (pd.read_csv(d.path / f"{n}.csv") for n in ("detections", "tracklets"))
    told = read_coco(d.path / "detections.json")
    assert len(told.boxes) == len(found) and set(told.shapes) == set(d.items.item_id)
    assert found.groupby("tracklet").size().tolist() == tracklets.set_index("tracklet").n.sort_index().tolist()
    held = c.items.set_index("item_id").screen
    assert np.allclose(held[d.items.item_id], d.items.screen, atol=0.05), "one score, here and there"
    e = visualize.run(str(d.path), str(tmp_path / "36"), str(c.path), str(a.path))
    page = check_report(e.path, "searched for boxes", "AUROC", "arXiv 2512.09461")
    assert "practice (synthetic)" in page


def test_probabilities_of_a_screen_are_those_of_held_out_frames():
    rng = np.random.default_rng(0)
    yes, train = np.arange(400) % 4 == 0, np.arange(400) < 200
    strength = rng.normal(size=400) + 1.5 * yes
    s, _ = train_screen(rng.normal(size=(400, 3)), dict(ridge=strength), yes, np.arange(400) // 20, train)
    table = s.score(np.zeros((200, 3)), dict(ridge=strength[~train]))
    prob = s.predict(table[s.chosen].to_numpy())
    assert abs(prob.mean() - yes[~train].mean()) < 0.03 and prob[yes[~train]].mean() > prob[~yes[~train]].mean() + 0.2
    again = Screen(**s.to_dict())
    assert np.array_equal(again.predict(table[s.chosen]), prob)
    assert Screen(np.zeros(3), 0, [], [1.0], 0, "embedding").predict([-9, 9]).tolist() == [0.5, 0.5]


def write_list(folder, text, encoding="utf-8"):
    write_frames(folder)
    (folder / "frames.csv").write_text(text, encoding=encoding)
    return folder


def test_tables_of_other_programs_are_read_or_refused(tmp_path):
    frames = read_embryo_set(write_list(tmp_path / "a", "File;Embryo;Hours\nE0\\f0.png;007;1.5\n", "utf-16"))[0]
    assert frames[["file", "group", "hours"]].values.tolist() == [["E0/f0.png", "007", 1.5]]
    for text, said in {
        "file,embryo\nE0/f0.png,nan\n": "reads as missing",
        "file,embryo,hours\nE0/f0.png,A,soon\n": "'soon'.*is not a number",
        "file;embryo;hours\nE0/f0.png;A;1,5\n": "'1,5'.*without commas",
        "file,embryo\nE0/f0.png,A,1\n": "3 values under 2 names",
        "file,embryo\nE0/F0.PNG,A\n": "upper and lower case",
        "file,embryo,embryo\nE0/f0.png,A,B\n": "two columns",
    }.items():
        with pytest.raises(UserError, match=said):
            read_embryo_set(write_list(tmp_path / "b", text))


def test_frames_outside_the_folder_only_when_asked(tmp_path):
    write_frames(tmp_path / "elsewhere")
    home = write_list(tmp_path / "home", "file,embryo\n../elsewhere/E0/f0.png,A\n")
    with pytest.raises(UserError, match="outside the folder"):
        read_embryo_set(home)
    assert len(read_embryo_set(home, anywhere=True)[0]) == 1


def test_names_of_numbers_in_a_table_of_boxes_stay_text(tmp_path):
    home = write_list(tmp_path, "file,embryo\n001.png,A\n")
    shutil.copy(home / "E0/f0.png", home / "001.png")
    (home / "boxes.csv").write_text("item_id;y0;x0;y1;x1\n001.png;1;1;5;5\n")
    assert read_embryo_set(home)[1].item_id.tolist() == ["001.png"]
    (home / "boxes.csv").write_text("item_id;y0;x0;y1;x1\n001.png;1;1;5;\n")
    with pytest.raises(UserError, match="is not a number"):
        read_embryo_set(home)


def test_a_file_of_boxes_that_fits_no_frame_is_refused(tmp_path):
    write_frames(tmp_path)
    for rows, said in (
        ([["f0.png", 2, 2, 9, 9]], "none of 1 boxes names a frame.*'f0.png'.*such as 'E0/f0.png'"),
        ([["E0/f0.png", 0.1, 0.2, 0.5, 0.6]], "lies in its frame.*multiply them by the width and height"),
        ([["E0/f0.png", 9, 9, 2, 2]], "lies in its frame.*look at the order"),
    ):
        write_boxes(tmp_path, rows)
        with pytest.raises(EmbryoError, match=said):
            read_embryo_set(tmp_path)
    write_boxes(tmp_path, [["E0/f0.jpg", 2, 2, 9, 9]])  # annotated as another kind of file
    assert read_embryo_set(tmp_path).boxes.item_id.tolist() == ["E0/f0.png"]
    (tmp_path / "boxes.csv").rename(tmp_path / "boxes.tsv")
    assert len(read_embryo_set(tmp_path, str(tmp_path / "boxes.tsv")).boxes) == 1
    box = pd.DataFrame([["E0/f0.png", "string", 20, 30, 90, 120]], columns=["field", "label", "y0", "x0", "y1", "x1"])
    write_coco(tmp_path / "boxes.json", box, ["string"], {"E0/f0.png": (240, 300)})
    with pytest.raises(EmbryoError, match="240 x 300 px there, and 24 x 30 px as a file"):
        read_embryo_set(tmp_path, str(tmp_path / "boxes.json"))


def test_boxes_of_several_labels_are_said(tmp_path):
    home, columns = write_frames(tmp_path / "in"), ["field", "label", "y0", "x0", "y1", "x1"]
    both = pd.DataFrame([["E0/f0.png", "string", 2, 3, 9, 12], ["E0/f1.png", "bubble", 2, 3, 9, 12]], columns=columns)
    write_yolo(tmp_path / "yolo", both, ["string", "bubble"], {f"E0/f{t}.png": (24, 30) for t in range(2)})
    with pytest.warns(UserWarning, match=r"string \(1\), bubble \(1\); if one of them is meant"):
        assert len(read_embryo_set(home, str(tmp_path / "yolo")).boxes) == 2
    assert len(read_embryo_set(home, str(tmp_path / "yolo"), wanted="string").boxes) == 1


def test_embryos_and_times_as_names_and_tables_say_them(tmp_path):
    for e in (1, 2):
        (tmp_path / "films").mkdir(exist_ok=True)
        film = np.zeros((3, 24, 30), np.uint8)
        tifffile.imwrite(tmp_path / f"films/e{e}.tif", film, photometric="minisblack", metadata=dict(axes="TYX"))
    frames, _, _, said, _ = read_embryo_set(tmp_path / "films")
    assert frames.groupby("group").frame.apply(list).to_dict() == {"e1": [0, 1, 2], "e2": [0, 1, 2]}
    assert "2 movies are an embryo each" in " ".join(said)

    names = ("E1_24h", "E1_30h", "E2_z1_t1", "E2_z2_t1", "run10_1")
    for name in names:
        imsave(tmp_path / f"{name}.png", np.zeros((24, 30), np.uint8), check_contrast=False)
    write_list(tmp_path, "file,label\n" + "".join(f"{n}.png,\n" for n in names))
    assert read_embryo_set(tmp_path).frames.group.tolist() == ["E1", "E1", "E2", "E2", "run10"]

    write_list(tmp_path, "file,embryo,hours\nE1_30h.png,A,30\nE1_24h.png,A,24\n")
    assert read_embryo_set(tmp_path).frames.set_index("hours").frame.to_dict() == {24: 0, 30: 1}


def test_folders_called_by_numbers_are_embryos(tmp_path):
    for k in (1, 2, 3):
        shutil.copytree(write_frames(tmp_path / "in") / "E0", tmp_path / "numbers" / str(k))
    frames = read_embryo_set(tmp_path / "numbers").frames
    assert set(frames.group) == {"1", "2", "3"} and set(frames.label) == {""}
    for k, name in enumerate(("normal/E5/f2.png", "string/E5/f1.png", "normal/E5/f10.png")):
        (tmp_path / "sorted" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "in/E0/f0.png", tmp_path / "sorted" / name)
    frames = read_embryo_set(tmp_path / "sorted").frames
    assert frames.item_id.tolist() == ["string/E5/f1.png", "normal/E5/f2.png", "normal/E5/f10.png"]


def test_boxes_that_a_person_has_drawn_count(tmp_path, capsys):
    "The widget begins with the boxes of files, in movies, too; once its log is there, it says where strings are."
    from cellprotocols.strings.annotate import make_box_annotator, read_source, read_truths, run

    make_embryo_set(tmp_path / "films", 3, 3, 96)
    source, log = str(tmp_path / "films"), str(tmp_path / "boxes.jsonl")
    frames, there, root, *_ = read_source(source, tmp_path / "31")
    pen = make_box_annotator(source, log, tmp_path / "31", by="x")
    assert len(pen.to_boxes()) == len(there) > 0
    empty = frames.item_id[~frames.item_id.isin(there.item_id)].iloc[0]
    pen.draw((10, 12, 40, 50.5), "string", field=empty)
    gone = pen.to_boxes().item.iloc[0]
    pen.act("give", entries=[dict(item=gone, label="", field=pen.to_boxes().field.iloc[0], box=[0, 0, 5, 5])])
    capsys.readouterr()
    made = run(source, str(tmp_path / "31"), drawn=log, wanted="what files call them")
    assert f"boxes are those of {log}, not of files" in capsys.readouterr().out
    truths = read_truths(made)
    assert len(truths) == len(there)
    assert truths[truths.item_id == empty].iloc[0, 1:5].tolist() == [10, 12, 40, 50.5]
    assert made.items.label[made.items.item_id == empty].item() == "string"

    film = tmp_path / "movies" / "embryo.tif"
    film.parent.mkdir()
    tifffile.imwrite(film, np.zeros((4, 60, 70), np.uint8), metadata=dict(axes="TYX"))
    pen = make_box_annotator(str(film.parent), str(tmp_path / "more.jsonl"), tmp_path / "31", by="x")
    pen.draw((1, 2, 30, 40), "string", t=2, field="embryo.tif")
    _, truths, *_ = read_source(str(film.parent), tmp_path / "31", drawn=str(tmp_path / "more.jsonl"))
    assert truths.item_id.tolist() == ["embryo.tif#t0002"]


def test_step_33_reads_each_frame_once_holds_few_and_goes_on(tmp_path, monkeypatch):
    make_embryo_set(tmp_path / "films", 6, 6, 64, strings=0.5)
    labels = annotate.run(str(tmp_path / "films"), str(tmp_path / "31"))
    made = patches.run(str(labels.path), str(tmp_path / "32"), most=10)
    read, held, score = [], [], selfsupervise.score_frames

    def look(root, r):
        read.append(r.item_id)
        if len(read) == 20:
            raise KeyboardInterrupt
        return read_embryo_frame(root, r)

    def judge(model, small, variant):
        held.append(len(small))
        return score(model, small, variant)

    monkeypatch.setattr(selfsupervise, "read_embryo_frame", look)
    monkeypatch.setattr(selfsupervise, "score_frames", judge)
    how = dict(side=64, epochs=1, ae_size=32)
    with pytest.raises(KeyboardInterrupt):
        selfsupervise.run(str(made.path), str(tmp_path / "33"), **how)
    done = selfsupervise.run(str(made.path), str(tmp_path / "33"), **how)
    frames = patches.read_frame_table(done)
    assert len(read) == len(set(read)) + 1 == len(frames) + 1, "the frame of the interruption is read twice, no other"
    assert frames.residual.notna().all() and held == [32, 4]
    names = ["frames.npy", "autoencoder.safetensors"]
    monkeypatch.setattr(selfsupervise, "read_embryo_frame", read_embryo_frame)
    again = selfsupervise.run(str(made.path), str(tmp_path / "33_again"), **how)
    assert [(done.path / n).read_bytes() for n in names] == [(again.path / n).read_bytes() for n in names]


@pytest.mark.parametrize(
    ("names", "hours"),
    [
        (["E1_9.5h", "E1_10.25h", "E1_10h"], [9.5, 10, 10.25]),
        (["E1_2026-01-30T23-50", "E1_2026-01-31T00-20"], [0, 0.5]),
        (["E1_t90min", "E1_t30min"], [0.5, 1.5]),
    ],
    ids=["hours", "dates over midnight", "minutes"],
)
@pytest.mark.parametrize("listed", [False, True], ids=["folder", "table"])
def test_times_in_names_are_hours(tmp_path, names, hours, listed):
    for name in names:
        imsave(tmp_path / f"{name}.png", np.zeros((24, 30), np.uint8), check_contrast=False)
    if listed:
        (tmp_path / "frames.csv").write_text("file\n" + "".join(f"{name}.png\n" for name in names))
    with pytest.warns(UserWarning, match="read from their names"):
        frames = read_embryo_set(tmp_path).frames
    assert frames.group.unique().tolist() == ["E1"]
    assert frames.hours.tolist() == pytest.approx(hours)


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("xmin,ymin,xmax,ymax", "3,2,12,9"),
        ("X,Y,Width,Height", "3,2,9,7"),
        ("x1,y1,x2,y2", "3,2,12,9"),
        ("cx,cy,w,h", "7.5,5.5,9,7"),
        ("left,top,right,bottom", "3,2,12,9"),
    ],
)
def test_boxes_of_other_programs_are_read_and_said(tmp_path, head, row):
    home = write_frames(tmp_path / "in")
    (home / "boxes.csv").write_text(f"image,{head}\nE0/f0.png,{row}\n")
    with pytest.warns(UserWarning, match="in px"):
        boxes = read_embryo_set(home).boxes
    assert boxes[["y0", "x0", "y1", "x1"]].values.tolist() == [[2, 3, 9, 12]]


@pytest.mark.parametrize("value", [255, np.nan], ids=["white", "no numbers"])
def test_rims_of_frames_hold_no_string(value):
    frame = np.random.default_rng(0).normal(120, 2, (160, 160))
    frame[60:100, 80:82] = 60
    rimmed = np.pad(frame, 12, constant_values=value)
    alone, found = patches.propose_boxes(frame), patches.propose_boxes(rimmed)
    sides = ["y0", "x0", "y1", "x1"]
    assert found[sides].iloc[0].tolist() == pytest.approx(alone[sides].iloc[0] + 12, abs=3)
    assert found.score.iloc[0] == pytest.approx(alone.score.iloc[0], abs=0.1)
