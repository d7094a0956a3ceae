"The whole chromatin protocol in one folder: on practice data from the first step to the report, again, out of order, and killed in the middle."

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from reports import check_report

from cellprotocols.chromatin import annotate
from cellprotocols.cli import main, run_steps
from cellprotocols.protocols import built_steps, step_folder
from cellprotocols.dataset import check_dataset, read_dataset
from cellprotocols.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["annotate", "patches", "train", "visualize"]


def small_practice(folder, n_movies=4, per_state=5, seed=0, make=annotate.make_practice):
    return make(folder, n_movies, per_state, seed)


def run(capsys, *words):
    capsys.readouterr()
    code = main(["run", "chromatin", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def state(folder):
    "Every finished file and when it was written."
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "Practice data from `annotate` to `visualize`, the steps that need no long training."
    out = tmp_path_factory.mktemp("protocol") / "work"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(annotate, "make_practice", small_practice)
        for step in QUICK:
            run_steps("chromatin", out=out, steps=step, **(dict(model="probe", folds=3) if step == "train" else {}))
    return out


def test_practice_data_end_to_end(finished):
    out = finished
    folders = [step_folder("chromatin", s) for s in QUICK]
    assert {p.name for p in out.iterdir()} == {*folders, "practice"}, "no half-finished folder, lock or scratch is left"
    made = {f: check_dataset(out / f) for f in folders}
    labels, patches, trained, report = made.values()
    assert labels.n == patches.n == 4 * 5 * 5 and set(labels.items.item_id) == set(patches.items.item_id)
    assert len(trained) == len(patches), "every labelled cell is learned from"
    for a, b in zip(made.values(), list(made.values())[1:]):
        assert a.fingerprint in {i["fingerprint"] for i in b.meta["inputs"].values()}, (
            "every step knows what it was made from"
        )
    assert patches["patches"].shape == (100, 64, 64, 1) and patches["valid"].shape == (100, 64, 64)
    joined = patches.items.set_index("item_id").loc[labels.items.item_id]
    assert joined.label.tolist() == labels.items.label.tolist() and joined.group.tolist() == labels.items.group.tolist()


def test_practice_scores_are_honest_and_marked(finished):
    out = finished
    scores = pd.read_csv(out / "24_train" / "scores.csv")
    f1 = scores[scores.metric == "macro_f1"].set_index("split").value
    assert 0.5 < f1["grouped"] <= 1, "practice cells can be told apart"
    page = check_report(out / "26_visualize", "cross-validation over groups", "10.3389/fcomp.2021.734559")
    assert "practice (synthetic)" in page.lower()
    assert (out / "24_train" / "bundle" / "card.md").read_text().lower().count("practice") >= 1, (
        "a model of practice data says so wherever it goes"
    )
    assert str(out.parent) not in page and not re.search(r"https?://(?!www\.w3\.org)[^\"'< ]+\.(js|css|png)", page)


def test_the_practice_movies_agree_with_their_clicks(finished):
    "The pixels of each patch are those of the movie at the click: nothing was shuffled on the way."
    out = finished
    patches = read_dataset(out / "22_patches")
    inside = patches.items[patches.items.real == 1].iloc[::7]
    for i, r in inside.iterrows():
        frame = tifffile.imread(out / "practice" / "seed_0" / "data" / r.file)[int(r.t)]
        y, x = int(np.floor(r.y + 0.5)), int(np.floor(r.x + 0.5))
        want = [
            np.asarray(frame).squeeze()[yy - 32 : yy + 32, xx - 32 : xx + 32]
            for yy in {y, round(r.y)}
            for xx in {x, round(r.x)}
        ]
        assert any(np.array_equal(patches["patches"][i][..., 0], w) for w in want), (r.item_id, r.y, r.x)


def test_second_run_says_done_and_writes_nothing(finished, capsys, monkeypatch):
    out = finished
    monkeypatch.setattr(annotate, "make_practice", small_practice)
    before = state(out)
    for step in QUICK:
        code, said, err = run(
            capsys, "--out", out, "--steps", step, *(["--model", "probe", "--folds", "3"] if step == "train" else [])
        )
        assert code == 0 and "done before" in said and not err, (step, err)
    assert state(out) == before, "nothing was written"


def test_other_settings_are_refused_and_change_nothing(finished, capsys, monkeypatch):
    out = finished
    monkeypatch.setattr(annotate, "make_practice", small_practice)
    before = state(out)
    for step, more in dict(
        annotate=["--classes", ",".join(reversed(annotate.STATES))],
        patches=["--size", "48"],
        train=["--model", "probe", "--folds", "4"],
        visualize=["--title", "another"],
    ).items():
        code, _, err = run(capsys, "--out", out, "--steps", step, *more)
        assert (
            code == 2
            and err.count("\n") == 1
            and "finished with other settings" in err
            and step_folder("chromatin", step) in err
        ), (step, err)
    assert state(out) == before


def test_a_step_before_its_predecessor(capsys, tmp_path):
    for step, needs in dict(patches="21_annotate", train="22_patches", visualize="24_train").items():
        code, _, err = run(capsys, "--out", tmp_path, "--steps", step)
        assert code == 2 and err.count("\n") == 1 and f"run {needs} first" in err


def test_a_report_is_made_of_a_training_and_of_nothing_else(finished, tmp_path):
    "The predictions of 25 and the page of 26 are no training: said in a sentence."
    from cellprotocols.chromatin import visualize

    assert read_dataset(finished / "26_visualize").kind == "report"
    for wrong in ("26_visualize", "22_patches"):
        with pytest.raises(UserError, match="run 24_train first"):
            visualize.run(str(finished / wrong), str(tmp_path / "26"))


def test_an_unfinished_predecessor_is_named_as_such(finished, capsys, tmp_path):
    shutil.copytree(finished / "22_patches", tmp_path / ".22_patches.partial" / "data")
    code, _, err = run(capsys, "--out", tmp_path, "--steps", "train")
    assert code == 2 and "not finished" in err and "22_patches" in err


def test_the_same_seed_makes_the_same_numbers(finished, tmp_path):
    out = finished
    for step in QUICK[:3]:
        if step == "annotate":
            shutil.copytree(out / "practice", tmp_path / "practice")
        run_steps("chromatin", out=tmp_path, steps=step, **(dict(model="probe", folds=3) if step == "train" else {}))
    for f in (
        "21_annotate/items.csv",
        "22_patches/items.csv",
        "24_train/items.csv",
        "24_train/scores.csv",
        "24_train/classes.csv",
    ):
        assert (tmp_path / f).read_bytes() == (out / f).read_bytes(), f
    assert read_dataset(tmp_path / "24_train").fingerprint == read_dataset(out / "24_train").fingerprint


def test_stopped_by_the_user_and_taken_up_again(finished, capsys, tmp_path, monkeypatch):
    "Ctrl-C between two folds: code 130, nothing half-written, the same line goes on and gives the same."
    import cellprotocols.judged as judged

    out = tmp_path / "work"
    out.mkdir()
    for f in ("21_annotate", "22_patches"):
        shutil.copytree(finished / f, out / f)
    real, fits = judged.train_recipe, []

    def impatient(*a, **k):
        if len(fits) == 2:
            raise KeyboardInterrupt
        fits.append(1)
        return real(*a, **k)

    monkeypatch.setattr(judged, "train_recipe", impatient)
    words = ["--out", out, "--steps", "train", "--model", "probe", "--folds", "3"]
    code, _, err = run(capsys, *words)
    assert code == 130 and not (out / "24_train").exists() and "Traceback" not in err
    counted = []
    monkeypatch.setattr(judged, "train_recipe", lambda *a, **k: (counted.append(1), real(*a, **k))[1])
    assert run(capsys, *words)[0] == 0
    assert len(counted) == 3 + 3 - 2 + 1, "two of six folds were kept; the last fit is the bundle's"
    for f in ("items.csv", "scores.csv", "classes.csv", "curves.csv", "probe_grouped.csv", "probe_random.csv"):
        assert (out / "24_train" / f).read_bytes() == (finished / "24_train" / f).read_bytes(), f
    assert {p.name for p in out.iterdir()} == {"21_annotate", "22_patches", "24_train"}


def killed_and_resumed(finished, tmp_path, model, more, wait_for, options):
    "Run 24_train in a process of its own, kill -9 it when `wait_for(folder of the run)` is there, run it again; compare with an undisturbed run."
    out, calm = tmp_path / "work", tmp_path / "calm"
    for home in (out, calm):
        home.mkdir()
        for f in ("21_annotate", "22_patches"):
            shutil.copytree(finished / f, home / f)
    code = "import sys; from cellprotocols.cli import main; sys.exit(main())"
    words = [
        sys.executable,
        "-c",
        code,
        "run",
        "chromatin",
        "--out",
        str(out),
        "--steps",
        "train",
        "--model",
        model,
        *more,
    ]
    env = dict(os.environ, OMP_NUM_THREADS="1")
    p = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 200
    while p.poll() is None and not wait_for(out) and time.monotonic() < end:
        time.sleep(0.005)
    assert p.poll() is None, "the run ended before it could be killed: make the test's data larger"
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert not (out / "24_train").exists()
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [*words[: words.index(str(out))], str(calm), *words[words.index(str(out)) + 1 :]],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for f in ("scores.csv", "items.csv", "classes.csv"):
        assert (out / "24_train" / f).read_bytes() == (calm / "24_train" / f).read_bytes(), f
    assert {p.name for p in out.iterdir()} == {"21_annotate", "22_patches", "24_train"}, (
        "nothing is left of the killed runs"
    )
    check_dataset(out / "24_train")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_kill_9_between_folds_and_resume(finished, tmp_path):
    killed_and_resumed(
        finished,
        tmp_path,
        "measured",
        ["--folds", "3"],
        lambda out: list((out / ".24_train.partial").rglob("fold_*.npy")),
        {},
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_kill_9_inside_the_training_of_a_network_and_resume(finished, tmp_path):
    killed_and_resumed(
        finished,
        tmp_path,
        "net",
        ["--folds", "2", "--epochs", "6", "--no-random-split"],
        lambda out: list((out / ".24_train.partial").rglob("checkpoint.safetensors")),
        {},
    )


@pytest.mark.slow
def test_all_steps_in_one_go_and_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(annotate, "make_practice", small_practice)
    out = tmp_path / "work"
    more = ["--out", out, "--model", "probe", "--folds", "3", *(["--epochs", "1"])]
    code, said, err = run(capsys, *more)
    assert code == 0, err
    built = built_steps("chromatin")
    assert {p.name for p in out.iterdir() if not p.name.startswith(".")} == {
        "practice",
        *(step_folder("chromatin", s) for s in built),
    }
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    assert "The report is here" in said
    for s in built:
        check_dataset(out / step_folder("chromatin", s))
    page = (out / "26_visualize" / "report.html").read_text(encoding="utf-8")
    assert len(page) < 8e6 and str(tmp_path) not in page
    if "selfsupervise" in built:
        assert "Which cells are alike?" in page
    before = state(out)
    code, said, err = run(capsys, *more)
    assert code == 0 and said.count("done before") == len(built), said
    assert state(out) == before


@pytest.mark.slow
def test_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(annotate, "make_practice", small_practice)
    capsys.readouterr()
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    assert "practice (synthetic)" in capsys.readouterr().out and "nuclei were found and classified" in (
        tmp_path / "demo" / "26_visualize" / "report.html"
    ).read_text(encoding="utf-8")
