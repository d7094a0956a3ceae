"The explorer of strings: what was kept gives what the run has found, sliders act on it, and what is missing is said."

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save
from skimage.io import imread, imsave

from cellprotocols.boxcandidates import (
    choose_candidates,
    choose_shown,
    read_candidates,
    to_candidate_row,
    to_embedding_row,
)
from cellprotocols.boxscorer import TwoHead, choose_detections
from cellprotocols.boxscores import SIDES
from cellprotocols.boxtracks import link_boxes
from cellprotocols.coco import read_coco
from cellprotocols.dataset import read_dataset
from cellprotocols.embryosets import name_pixels
from cellprotocols.errors import UserError
from cellprotocols.regions import embed_regions, make_region_view
from cellprotocols.screen import Screen
from cellprotocols.stringexplorer import StringExplorer, find_strings, measure_films, read_string_run
from cellprotocols.strings.visualize import make_explorer
from cellprotocols.writer import DatasetWriter
from cellprotocols.yolo import read_yolo


def make_boxes(seed, n=900, size=90):
    rng = np.random.default_rng(seed)
    y0, x0 = rng.integers(0, size - 40, (2, n))
    t = pd.DataFrame(dict(y0=y0, x0=x0, y1=y0 + rng.integers(8, 40, n), x1=x0 + rng.integers(8, 40, n)))
    prob, fit = rng.uniform(size=(2, n)).round(2).astype(np.float32)  # with ties
    return t.assign(prob=prob, fit=fit, score=(prob * fit) ** 0.5)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("overlap", [0.0, 0.05, 0.3, 1.0])
def test_what_was_kept_gives_the_detections_of_the_run(threshold, overlap):
    "Also where far more than 200 boxes pass, so that detections lie beyond the 200 best."
    beyond = 0
    for seed in range(4):
        t = make_boxes(seed)
        found = choose_detections(t[SIDES], t.score, threshold, overlap)
        rows = choose_candidates(t.score, found)
        again = choose_shown(read_candidates(to_candidate_row(t.iloc[rows]), 0), threshold, overlap)
        assert np.array_equal(again[SIDES + ["score"]].to_numpy(), t.iloc[found][SIDES + ["score"]].to_numpy())
        beyond += (~np.isin(found, np.argsort(-t.score.to_numpy(), kind="stable")[:200])).sum()
    assert beyond > 0 or (threshold, overlap) != (0.0, 0.0), "the case that needs it is among these"


def make_model(folder):
    "A folder as step 34 makes it, with a scorer that has learned nothing."
    view = make_region_view(side=64)
    x, frame = embed_regions(view, np.zeros((64, 64)), [[0, 0, 9, 9]])
    scorer, screen = TwoHead(x.shape[1], [8]).eval(), Screen(np.zeros(len(frame)), 0, ["regions"], [0, 1], 0, "regions")
    about = dict(network=view.name, side=64, weights=view.digest, variant="denoise", ae_size=64, how="ridges", most=40)
    about |= dict(exponent=0.5, threshold=0.1, gate=dict(threshold=0.0), screen=screen.to_dict())
    about["scorer"] = ["TwoHead", scorer.config]
    with DatasetWriter(folder, "predictions", "strings.train") as w:
        w.write_file("model.json", json.dumps(about))
        w.write_file("scorer.safetensors", save({k: v.contiguous() for k, v in scorer.state_dict().items()}))
        w.append(
            "all",
            pd.DataFrame(
                [dict(item_id="f", group="E", label="string", split="test", prob_normal=0.5, prob_string=0.5)]
            ),
        )
        return w.commit()


def make_run(home, n=6, candidates=True, model=None):
    "A folder as step 35 makes it, with frames beside it: two films, a string from frame 3 of the first on."
    threshold, rng, found = 0.6, np.random.default_rng(0), []
    inputs = dict(model=model) if model else {}
    dim = json.loads((model.path / "model.json").read_text())["scorer"][1]["dim"] if model else 5
    with DatasetWriter(
        home / "run_01" / "35_infer", "predictions", "strings.infer", dict(root="../films"), inputs
    ) as w:
        for g in ("A", "B"):
            for f in range(n):
                file, has = f"{g}/f{f}.png", g == "A" and f >= 3
                (home / "films" / g).mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(90, 160, (90, 90), dtype=np.uint8)
                imsave(home / "films" / file, pixels, check_contrast=False)
                t = make_boxes(f, 300).assign(score=lambda t: t.score * (1 if has else 0.5))
                t["score"] = t.score.astype(np.float32)
                chosen = choose_detections(t[SIDES], t.score, threshold, 0.3)
                here = t.iloc[chosen] if has else t.iloc[:0]
                found.append(here.assign(field=file, group=g, frame=f, hours=96 + f / 2))
                row = dict(item_id=file, group=g, frame=f, hours=96 + f / 2, file=file, t=0, height=90, width=90)
                row |= dict(label="string" if has else "normal", split="test", screen=float(has), detections=len(here))
                row |= dict(called=row["label"], best=float(here.score.max()) if has else 0.0, top=float(t.score.max()))
                row |= dict(prob_normal=1.0 - has, prob_string=float(has))
                kept = t.iloc[choose_candidates(t.score, chosen)]
                seen = np.pad(kept[[*SIDES, "score"]].to_numpy()[:8], ((0, 0), (0, dim - 5)))
                arrays = dict(candidates=to_candidate_row(kept), embedding=to_embedding_row(seen))
                if not candidates:
                    row.pop("top")
                else:
                    row["pixels"] = name_pixels(pixels[..., None])
                w.append(file, pd.DataFrame([row]), **(arrays if candidates else {}))
        w.write_file("detections.csv", link_boxes(pd.concat(found)))
        if candidates:
            w.write_file("used.json", '{"threshold": 0.6, "gate": 0.5, "overlap": 0.3}')
        return w.commit()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    make_run(folder)
    return folder


def test_without_a_run_there_is_none(tmp_path):
    assert make_explorer(tmp_path) is None


def test_it_shows_what_the_run_has_found_and_moves_from_there(home):
    explorer = make_explorer(home)
    frames = read_dataset(home / "run_01" / "35_infer").items
    assert [len(explorer.find_boxes(i)) for i in range(len(frames))] == frames.detections.tolist()
    assert explorer.controls["embryo"].value == "A" and explorer.controls["time"].value == 3
    at_run = explorer.find_boxes()
    assert len(at_run) and (at_run.track != "").all()
    before = explorer.picture.value
    explorer.controls["threshold"].value = 0.95  # as the mouse does
    assert explorer.picture.value != before and len(explorer.find_boxes()) < len(at_run)
    explorer.move(threshold=0.2, overlap=0.9, most=100)
    lower = explorer.find_boxes()
    assert len(lower) == 100 and lower.score.is_monotonic_decreasing and lower.score.iloc[-1] < 0.95
    explorer.move(most=3)
    assert explorer.find_boxes()["rank"].tolist() == [1, 2, 3]
    explorer.go("A", 0)
    assert len(explorer.find_boxes()) == 0, "below the gate"
    explorer.move(gate=False)
    assert len(explorer.find_boxes()) == 3
    explorer.reset()
    explorer.go("A", 3, beside=5)
    assert "frame 3" in explorer.where.value and "frame 5" in explorer.where.value
    for words, said in {("A", 77): "no frame 77", ("Z",): "no embryo 'Z'"}.items():
        with pytest.raises(UserError, match=said):
            explorer.go(*words)


def test_first_last_and_duration_follow_the_threshold(home):
    frames = read_dataset(home / "run_01" / "35_infer").items
    t = measure_films(frames, 0.6, 0.5).set_index("embryo")
    assert t.loc["A", ["with string", "first", "last", "duration"]].tolist() == [3, 97.5, 98.5, 1]
    assert t.loc["B", "with string"] == 0 and np.isnan(t.loc["B", "first"])
    assert (find_strings(frames, 0.6, 0.5) == (frames.detections > 0)).all()
    unknown = measure_films(frames.assign(hours=np.nan), 0.6, 0.5).set_index("embryo")
    assert unknown.loc["A", ["first", "last", "unit"]].tolist() == [3, 5, "frame"]


def test_what_is_saved_can_be_read_again_and_is_never_written_over(home):
    explorer = make_explorer(home)
    found = pd.read_csv(home / "run_01" / "35_infer" / "detections.csv")
    coco, yolo, table = (explorer.save(k, "all embryos") for k in ("coco", "yolo", "csv"))
    assert {p.parent for p in (coco, yolo, table)} == {home.resolve() / "run_01" / "exports"}
    shapes = {f: (90, 90) for f in read_dataset(home / "run_01" / "35_infer").items.item_id}
    assert len(pd.read_csv(table)) == len(found) == len(read_coco(coco).boxes) == len(read_yolo(yolo, shapes).boxes)
    assert len(list((yolo / "labels").rglob("*.txt"))) == len(shapes), "a frame without a box is in it, too"
    content = table.read_bytes()
    explorer.move(threshold=0.9)
    explorer.reset()
    others = [explorer.save(k, "all embryos") for k in ("coco", "yolo", "csv")]
    assert not {coco, yolo, table} & set(others) and table.read_bytes() == content
    explorer.buttons["png"].click()
    assert "Written" in explorer.said.value
    with pytest.raises(UserError, match="csv, coco, yolo, png"):
        explorer.save("xlsx")


def test_frames_that_were_moved_away_or_are_broken_leave_the_rest_at_work(tmp_path):
    make_run(tmp_path)
    (tmp_path / "films" / "A" / "f4.png").write_bytes(b"no picture")
    (tmp_path / "films" / "A" / "f5.png").unlink()
    explorer = make_explorer(tmp_path)
    for frame, said in {4: "f4.png", 5: "the frame is not where it was"}.items():
        explorer.go("A", frame)
        assert said in explorer._panel(explorer._rows()[0]).img and len(explorer.find_boxes())
    (tmp_path / "films").rename(tmp_path / "elsewhere")
    explorer = make_explorer(tmp_path)
    assert "is not where it was" in explorer._panel(explorer._rows()[0]).img
    assert explorer.save("csv").exists() and explorer.save("png").exists()


def test_a_run_without_candidates_shows_its_detections(tmp_path):
    made = make_run(tmp_path, candidates=False)
    explorer = make_explorer(tmp_path)
    assert [len(explorer.find_boxes(i)) for i in range(made.n)] == made.items.detections.tolist()
    assert "are guesses from its results" in explorer.where.value and explorer.run.search is None
    explorer.show_map()
    assert "kept no embeddings" in explorer.map_place.children[-1].value


def test_what_a_run_has_used_is_no_guess(home):
    assert "guess" not in make_explorer(home).where.value


def test_a_point_of_the_map_leads_to_its_frame_and_box(home):
    explorer = make_explorer(home)
    explorer.show_map()
    t = explorer.points
    assert len(t) == 12 * 8 and t.groupby("row").score.max().tolist() == explorer.run.frames.top.tolist()
    for k in (0, 37, 95):
        explorer.map.chosen = k  # as the mouse does
        panel = explorer._panel(explorer._rows()[0])
        assert panel.row.item_id == explorer.run.frames.item_id[t.row[k]]
        assert panel.layers["picked"].to_numpy().tolist() == [t.loc[k, SIDES].tolist()]
    explorer.go("A", 0)
    assert "picked" not in explorer._panel(explorer._rows()[0]).layers, "another frame has not this box"


@pytest.fixture
def openable(tmp_path):
    make_run(tmp_path, model=make_model(tmp_path / "34_train"))
    frame = np.random.default_rng(5).integers(0, 255, (80, 70), dtype=np.uint8)
    imsave(tmp_path / "new.png", frame, check_contrast=False)
    return tmp_path


def test_results_belong_to_the_content_of_an_image(openable):
    "Another image in the same file, of the same size, has results of its own; the same image is not looked at twice."
    explorer, file = make_explorer(openable), openable / "new.png"
    own = [explorer.run.candidates(i) for i in range(12)]
    assert "1 of 1 frames looked at now." in explorer.look_at(file)
    first = explorer.run.candidates(12)
    assert explorer.run.frames.pixels[12] == name_pixels(imread(file)[..., None]) and len(first)
    assert "0 of 1 frames looked at now, 1 known by content" in explorer.look_at(file)
    imsave(file, np.ascontiguousarray(imread(file)[::-1]), check_contrast=False)
    explorer.show()
    explorer.seen.clear()
    panel = explorer._panel(explorer._rows()[0])
    assert "holds another image than the one that was looked at" in panel.img, "old boxes on a new image"
    explorer.look_at(file)
    assert len(explorer.run.frames) == 13 and not first.equals(explorer.run.candidates(12))
    assert not isinstance(explorer._panel(explorer._rows()[0]).img, str), "not what was kept of the former image"
    assert all(a.equals(explorer.run.candidates(i)) for i, a in enumerate(own)), "the run is as it was"
    imsave(openable / "films" / "A" / "f3.png", imread(openable / "films" / "A" / "f4.png"), check_contrast=False)
    explorer.go("A", 3)
    assert "holds another image" in explorer._panel(explorer._rows()[0]).img, "frames of the run, too"


def test_folders_uploads_and_what_cannot_be_opened(openable, monkeypatch):
    explorer = make_explorer(openable)
    monkeypatch.chdir(openable)
    explorer.opener.go("films/A")
    assert "6 of 6 frames looked at now" in explorer.opener.said, "a relative path"
    assert explorer.controls["embryo"].value == "opened: A/f" and explorer.controls["time"].max == 5
    explorer.show_map()
    assert len(set(explorer.points.row) & set(range(12, 18))) > 3, "those that were opened are on the map, too"
    assert "the first 2 of 6" in explorer.look_at(openable / "films" / "B", most=2)
    content = (openable / "new.png").read_bytes()
    for _ in range(2):
        explorer.opener.upload("new.png", content)
    assert "1 known by content" in explorer.opener.said
    assert len(list((openable / "run_01" / "opened" / "uploads").rglob("*.png"))) == 1
    rows = len(explorer.run.frames)
    explorer.opener.upload("long.png", bytes(8_000_001))
    assert "give its path instead" in explorer.opener.said
    (openable / "empty").mkdir()
    (openable / "broken.png").write_bytes(content[:200])
    (openable / "notes.txt").write_text("no image")
    for path in ("empty", "broken.png", "notes.txt", "nowhere.png", ""):
        explorer.opener.go(path)
        assert explorer.opener.said.startswith("Nothing was opened. "), path
    assert len(explorer.run.frames) == rows and not explorer.opener.busy
    assert explorer.save("yolo", "all embryos").exists() and explorer.save("coco", "this embryo").exists()


def test_without_its_model_a_run_is_still_shown(openable):
    (openable / "34_train").rename(openable / "elsewhere")
    explorer = make_explorer(openable)
    assert len(explorer.find_boxes())
    explorer.opener.go(openable / "new.png")
    assert explorer.opener.said.startswith("Nothing was opened. ")


def test_long_films_are_judged_without_reading_boxes_or_frames(home):
    "Only the frames that are shown are opened; all else comes from the table."
    answers, opened, read = read_dataset(home / "run_01" / "35_infer"), [], []
    run = read_string_run(answers, lambda row: opened.append(row.item_id) or (np.zeros((90, 90)), None))
    many = pd.concat([run.frames] * 170, ignore_index=True)
    many["frame"], many["item_id"] = np.arange(len(many)), [f"f{k}" for k in range(len(many))]
    film = many.assign(group="A")
    explorer = StringExplorer(run._replace(frames=film, candidates=lambda i: read.append(i) or run.candidates(i % 12)))
    explorer.go("A", 1500)
    explorer.move(threshold=0.1)
    assert set(opened) == {"f3", "f1500"} and set(read) == {3, 1500} and len(explorer.seen) == 1
