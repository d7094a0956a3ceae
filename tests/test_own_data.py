"A person's own data: every step notebook with nothing but its Settings edited, run from top to bottom, and once more."

import ast
import importlib
import inspect
import json
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.io import imsave

from cellprotocols.dataset import check_dataset
from cellprotocols.errors import UserError
from cellprotocols.protocols import PROTOCOLS, STEPS, built_steps, step_folder
from cellprotocols.synth import make_movie, make_patches
from cellprotocols.synth_dirt import make_dirty_set
from notebooks import ROOT, read_settings, run_notebook, text_of

STEP_NOTEBOOKS = {(p, s): ROOT / "nbs" / p / f"{step_folder(p, s)}.ipynb" for p in PROTOCOLS for s in built_steps(p)}
NAMES = {"Interphase": "in between", "Metaphase": "Plåtte", "Anaphase": "two (early)"}


@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close("all")


def files_below(folder):
    return {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()}


def run_twice(protocol, step, where, *made, **settings):
    "Run a step's notebook twice; the second time it says that it is done, and changes nothing."
    nb, out = STEP_NOTEBOOKS[protocol, step], f"results/{step_folder(protocol, step)}"
    run_notebook(nb, where, out=out, **settings)
    first = check_dataset(where / out)
    assert first.meta["made_by"] == f"{protocol}.{step}" and not first.meta["settings"].get("practice"), (
        "own data are not practice"
    )
    for name in made:
        assert (where / out / name).exists(), f"{name} is missing"
    said = run_notebook(nb, where, out=out, **settings)
    assert "done before" in said, said
    assert check_dataset(where / out).fingerprint == first.fingerprint
    assert not list(where.rglob("practice*")), "practice data were made beside a person's own"
    return first


# --- what people bring


def some_cells(size=52):
    "Images, labels and groups of three states under names of a person's own."
    patches, labels, groups = make_patches(12, size=size, difficulty=0.2, per_track=3)
    use = np.isin(labels, list(NAMES))
    return (
        patches[use, ..., 0],
        np.array([NAMES[l] for l in labels[use]]),
        np.array([f"dish {g % 5}" for g in groups[use]]),
    )


def write_folders(home):
    for i, (img, label, _) in enumerate(zip(*some_cells())):
        (home / label).mkdir(parents=True, exist_ok=True)
        imsave(home / label / f"cell #{i} µ.png", img, check_contrast=False)
    return home, {}


def write_table(home):
    (home / "pictures").mkdir(parents=True)
    patches, labels, groups = some_cells()
    files = [f"pictures/{i}.tif" for i in range(len(patches))]
    for f, img in zip(files, patches):
        tifffile.imwrite(home / f, img)
    pd.DataFrame(dict(file=files, phase=labels, slide=groups)).to_csv(home / "cells.csv", index=False)
    return home / "cells.csv", dict(label="phase", group="slide")


def write_arrays(home):
    home.mkdir(parents=True)
    patches, labels, groups = some_cells()
    np.savez(home / "cells.npz", images=patches, label=labels, group=groups)
    return home / "cells.npz", {}


def write_movies(home, n=5):
    home.mkdir(parents=True)
    clicks = []
    for k in range(n):
        movie = make_movie(n_frames=30, size=(160, 160), seed=50 + k, division_rate=12.0)
        tifffile.imwrite(home / f"dish {k}.tif", movie.frames[..., 0], metadata={"axes": "TYX"})
        cells = movie.cells[movie.cells.state.isin(NAMES)].groupby("state").head(6)
        clicks.append(
            cells.assign(file=f"dish {k}.tif", label=cells.state.map(NAMES))[["file", "t", "y", "x", "label"]]
        )
    return pd.concat(clicks)


def write_clicks(home):
    write_movies(home).to_csv(home / "clicks.csv", index=False)
    return home / "clicks.csv", {}


def write_zips(home):
    from cellprotocols.clicks import write_annotation_zip

    home.mkdir(parents=True)
    patches, labels, groups = make_patches(8, difficulty=0.2, per_track=2)
    for k in range(3):
        use = np.arange(len(labels)) % 3 == k
        n = int(use.sum())
        where = pd.DataFrame(
            dict(label=labels[use], t=np.arange(n) * 20.0, y=50.0 + groups[use], x=50.0 + 40 * groups[use])
        )
        write_annotation_zip(home, where, patches[use], f"03-0{k + 1}-2021--13-39-57")
    return home, {}


CELLS = dict(folders=write_folders, table=write_table, arrays=write_arrays, clicks=write_clicks, zips=write_zips)


@pytest.mark.parametrize("how", ["relative", "absolute"])
@pytest.mark.parametrize("what", CELLS)
def test_cells_that_are_labelled(tmp_path, what, how):
    source, columns = CELLS[what](tmp_path / "my data")
    brought = files_below(tmp_path / "my data")
    given = str(source.relative_to(tmp_path)) if how == "relative" else str(source)
    made = run_twice("chromatin", "annotate", tmp_path, source=given, log="results/labels.jsonl", **columns)
    assert made.items.label.nunique() >= 3 and (made.items.label != "").all(), "nothing that was labelled is lost"
    assert files_below(tmp_path / "my data") == brought, "nothing is written among a person's data"
    assert {p.name for p in tmp_path.iterdir()} == {"my data", "results"}, "nothing is written elsewhere"


def test_what_files_do_not_say_is_said_in_settings(tmp_path):
    "Files whose axes cannot be known are asked about; the answer goes into `more`, for the run and for the annotator."
    from cellprotocols.chromatin.annotate import make_annotator

    patches, labels, groups = some_cells()
    for i, (patch, label, group) in enumerate(zip(patches, labels, groups)):
        place = tmp_path / "cells" / label / f"dish {group}"
        place.mkdir(parents=True, exist_ok=True)
        two = np.stack([patch, patch // 2])
        tifffile.imwrite(place / f"{i}.tif", two, photometric="minisblack", metadata=None)
    settings = dict(source="cells", out="results/21_annotate", log="results/labels.jsonl")
    with pytest.raises(UserError, match="axes="):
        run_notebook(STEP_NOTEBOOKS["chromatin", "annotate"], tmp_path, **settings)
    made = run_twice("chromatin", "annotate", tmp_path, source="cells", log=settings["log"], more=dict(axes="CYX"))
    assert made.settings["axes"] == "CYX" and len(made) == len(patches)
    tifffile.imwrite(tmp_path / "film.tif", np.zeros((3, 60, 70), np.uint8), photometric="minisblack", metadata=None)
    film = str(tmp_path / "film.tif")
    person = make_annotator(film, str(tmp_path / "log.jsonl"), axes="TYX")
    assert person.answer(dict(do="field", f=0))[0]["info"]["shape"][0] == 3
    asked = make_annotator(film, str(tmp_path / "log.jsonl")).answer(dict(do="field", f=0))[0]
    assert "axes=" in str(asked), "the annotator asks, too"


def test_movies_wait_for_clicks_and_then_go_on(tmp_path):
    "Nobody has clicked yet: that is no error. The clicks are kept beside the results, and the next run takes them up."
    from cellprotocols.chromatin.annotate import make_annotator

    truth = write_movies(tmp_path / "movies")
    settings = dict(source="movies", out="results/21_annotate", log="results/labels.jsonl")
    run_notebook(STEP_NOTEBOOKS["chromatin", "annotate"], tmp_path, **settings)
    assert not (tmp_path / "results" / "21_annotate").exists()
    person = make_annotator(
        str(tmp_path / "movies"), str(tmp_path / "results" / "labels.jsonl"), classes=",".join(NAMES.values())
    )
    for c in truth.itertuples():
        person.click(c.y, c.x, c.label, t=int(c.t), field=c.file)
    made = run_twice("chromatin", "annotate", tmp_path, source="movies", log="results/labels.jsonl")
    assert len(made) == len(person.shapes()) > 30


@pytest.fixture(scope="module")
def cells_home(tmp_path_factory):
    "Labelled cells and a movie, and the folder that the steps work in."
    home = tmp_path_factory.mktemp("own")
    write_table(home / "my data")
    movie = make_movie(n_frames=6, size=(160, 160), seed=77)
    tifffile.imwrite(home / "my data" / "new dish.tif", movie.frames[..., 0], metadata={"axes": "TYX"})
    return home


@pytest.mark.slow
def test_all_steps_of_chromatin(cells_home):
    home = cells_home
    log = dict(log="results/labels.jsonl")
    run_twice("chromatin", "annotate", home, source="my data/cells.csv", label="phase", group="slide", **log)
    patches = run_twice("chromatin", "patches", home, source="results/21_annotate")
    assert patches["patches"].shape[1:3] == (52, 52), "images of cells are taken as they are"
    run_twice("chromatin", "selfsupervise", home, "suggestions.csv", source=str(home / "results" / "22_patches"), **log)
    run_twice("chromatin", "train", home, "bundle/card.md", "scores.csv", source="results/22_patches")
    run_twice("chromatin", "infer", home, source="results/22_patches", model="results/24_train")
    run_twice(
        "chromatin",
        "visualize",
        home,
        "report.html",
        source="results/24_train",
        embeddings="results/23_selfsupervise",
        infer="results/25_infer",
        **log,
    )


def test_own_movies_are_inferred(cells_home):
    home = cells_home
    if not (home / "results" / "24_train").exists():
        pytest.skip("needs the model of the test before")
    nb = STEP_NOTEBOOKS["chromatin", "infer"]
    for _ in range(2):
        run_notebook(
            nb, home, source=None, out="results/movies", model="results/24_train", movie="my data/new dish.tif"
        )
    made = check_dataset(home / "results" / "movies")
    assert made.items.t.nunique() == 6 and not made.meta["settings"]["practice"]


# --- artifacts


def write_fields(home, n_wells=6, n_fields=3):
    "Images of fields in class folders, and their table."
    fields, table = make_dirty_set(n_wells, n_fields, (192, 192), seed=3, dirt=2.5)
    for f, row in zip(fields, table.itertuples()):
        (home / row.label).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(home / row.label / row.file, f.image[..., 0])
    return table.assign(file=table.label + "/" + table.file)


@pytest.mark.parametrize("how", ["relative", "absolute"])
@pytest.mark.parametrize("what", ["folders", "table", "images"])
def test_fields(tmp_path, what, how):
    table = write_fields(tmp_path / "my plates")
    source = tmp_path / "my plates"
    if what == "table":
        table[["file", "label", "group"]].to_csv(source / "what I saw.csv", index=False)
        source = source / "what I saw.csv"
    if what == "images":
        (source / "all").mkdir()
        for f in table.file:
            shutil.move(source / f, source / "all" / Path(f).name)
        source = source / "all"
    given = str(source.relative_to(tmp_path)) if how == "relative" else str(source)
    made = run_twice("artifacts", "annotate", tmp_path, source=given, log="results/labels.jsonl")
    labelled = made.items.label.isin(["clean", "artifact"]).sum()
    assert len(made) == len(table) and labelled == (0 if what == "images" else len(table))
    assert {p.name for p in tmp_path.iterdir()} == {"my plates", "results"}, "nothing is written elsewhere"


@pytest.mark.slow
def test_all_steps_of_artifacts(tmp_path):
    write_fields(tmp_path / "my plates")
    run_twice("artifacts", "annotate", tmp_path, source="my plates", log="results/labels.jsonl")
    run_twice("artifacts", "patches", tmp_path, "fields.csv", source="results/51_annotate")
    run_twice("artifacts", "selfsupervise", tmp_path, source=str(tmp_path / "results" / "52_patches"))
    run_twice(
        "artifacts", "train", tmp_path, "masker/card.md", source="results/52_patches", epochs=1, mask_epochs=1, crops=64
    )
    run_twice("artifacts", "infer", tmp_path, "masks", source="results/51_annotate", model="results/54_train")
    run_twice(
        "artifacts",
        "visualize",
        tmp_path,
        "report.html",
        source="results/55_infer",
        train="results/54_train",
        unusual="results/53_selfsupervise",
    )


# --- cell lines


def write_films(home, lines=3, batches=2, sequences=2, frames=2):
    "Frames of own lines in own batches, in folders, under names of a person's own."
    from cellprotocols.synth_cultures import LINES, iter_frames, make_cultures

    for k in range(lines):
        for c, culture in enumerate(make_cultures(batches, 40 + k)):
            for p in range(sequences):
                for f in iter_frames(LINES[k], culture, frames, (180, 220), 100 * k + 10 * c + p):
                    name = home / f"line {k} µ" / f"thaw {c}" / f"P{p}_{f.hours // 24:02}d{f.hours % 24:02}h00m.png"
                    name.parent.mkdir(parents=True, exist_ok=True)
                    imsave(name, f.image, check_contrast=False)
    return home


@pytest.mark.slow
def test_all_steps_of_cell_lines(tmp_path):
    write_films(tmp_path / "my films")
    brought = files_below(tmp_path / "my films")
    labels = run_twice(
        "cell_lines", "annotate", tmp_path, "sequences.csv", source="my films", log="results/labels.jsonl"
    )
    assert labels.items.label.nunique() == 3 and labels.items.sequence.nunique() == 12
    run_twice("cell_lines", "patches", tmp_path, "frames.csv", source="results/11_annotate", size=64)
    run_twice("cell_lines", "selfsupervise", tmp_path, "encoder.json", source="results/12_patches", encoder="measured")
    run_twice("cell_lines", "train", tmp_path, "bundle/card.md", source="results/13_selfsupervise")
    run_twice("cell_lines", "infer", tmp_path, source="results/11_annotate", model="results/14_train")
    run_twice(
        "cell_lines",
        "visualize",
        tmp_path,
        "report.html",
        source="results/15_infer",
        train="results/14_train",
        embeddings="results/13_selfsupervise",
        patches="results/12_patches",
    )
    assert files_below(tmp_path / "my films") == brought, "nothing is written among a person's data"


# --- strings


@pytest.mark.slow
def test_all_steps_of_strings(tmp_path):
    "Films of embryos of a person's own, in a table under another name, boxes in a file elsewhere."
    from cellprotocols.synth_embryos import make_embryo_set

    made = make_embryo_set(tmp_path / "my films", 7, 4, 200, contrast=0.25)
    for name in ("frames.csv", "boxes.csv"):
        (tmp_path / "my films" / name).rename(tmp_path / "my films" / f"my {name}")
    (tmp_path / "my films" / "practice.txt").unlink()
    brought = files_below(tmp_path / "my films")
    labels = run_twice(
        "strings",
        "annotate",
        tmp_path,
        "boxes.csv",
        source="my films/my frames.csv",
        boxes="my films/my boxes.csv",
        log="results/labels.jsonl",
    )
    assert labels.items.label.tolist() == made.label.tolist() and not labels.settings["practice"]
    run_twice("strings", "patches", tmp_path, "recall.csv", source="results/31_annotate", most=60)
    small = dict(side=256, epochs=2, ae_size=64)
    run_twice("strings", "selfsupervise", tmp_path, "frames.npy", source="results/32_patches", **small)
    run_twice("strings", "train", tmp_path, "model.json", source="results/33_selfsupervise", epochs=4)
    run_twice("strings", "infer", tmp_path, "tracklets.csv", source="results/31_annotate", model="results/34_train")
    run_twice(
        "strings",
        "visualize",
        tmp_path,
        "report.html",
        source="results/35_infer",
        train="results/34_train",
        patches="results/32_patches",
    )
    assert files_below(tmp_path / "my films") == brought, "nothing is written among a person's data"


# --- organelles


@pytest.mark.slow
def test_all_steps_of_organelles(tmp_path):
    "Fields of four stains of a person's own: other endings, 16 bit, a table under another name, no truth beside them."
    from cellprotocols.locations import CHANNELS
    from cellprotocols.synth_organelles import make_organelle_set

    fields, table = make_organelle_set(9, 1, (170, 210), (0, 14, 16), seed=3)
    home = tmp_path / "my images" / "plåte 1"
    home.mkdir(parents=True)
    for name, field in zip(table.id, fields):
        for colour, end in zip(CHANNELS, ("MT", "Prot", "DAPI", "ER")):
            tifffile.imwrite(home / f"{name}_{end}.tif", getattr(field, colour).astype(np.uint16) * 200)
    table.rename(columns=dict(id="id", label="LABEL")).to_csv(tmp_path / "what I know.csv", index=False)
    brought = files_below(tmp_path / "my images")
    known = dict(source="my images", labels="what I know.csv", log="results/labels.jsonl")
    labels = run_twice("organelles", "annotate", tmp_path, **known)
    assert labels.items.label.tolist() == table.label.tolist() and labels.items.group.nunique() == 9
    run_twice("organelles", "patches", tmp_path, "fields.csv", "masks", source="results/41_annotate", size=48, masks="")
    run_twice("organelles", "selfsupervise", tmp_path, source="results/42_patches")
    run_twice("organelles", "train", tmp_path, "scores.csv", source="results/43_selfsupervise")
    run_twice("organelles", "infer", tmp_path, "submission.csv", source="results/42_patches", model="results/44_train")
    run_twice("organelles", "visualize", tmp_path, "report.html", source="results/45_infer", train="results/44_train")
    assert files_below(tmp_path / "my images") == brought, "nothing is written among a person's data"


# --- every step notebook, whatever it does


@pytest.mark.parametrize("protocol, step", STEP_NOTEBOOKS)
def test_settings_is_the_only_cell_to_edit(protocol, step):
    "Source, out and seed come first; nothing changes folder or hides in a temporary one; results have their usual names."
    nb = STEP_NOTEBOOKS[protocol, step]
    settings = read_settings(nb)
    assert settings["source"] is None and settings["seed"] == 0
    assert settings["out"] == f"work/{protocol}/{step_folder(protocol, step)}"
    if "log" in settings:
        assert Path(settings["log"]).parent == Path(settings["out"]).parent, "the log lies beside out"
    code = "\n".join(
        "".join(c["source"]) for c in json.loads(nb.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"
    )
    for word in ("chdir", "tempfile", "mkdtemp", "TemporaryDirectory"):
        assert word not in code, f"{nb.name} uses {word}"


@pytest.mark.parametrize("protocol, step", STEP_NOTEBOOKS)
def test_settings_reach_every_option(protocol, step):
    "An option of `run` has a line in Settings, or `more` takes it and every own run is given `more`."
    nb = STEP_NOTEBOOKS[protocol, step]
    settings = read_settings(nb)
    run = importlib.import_module(f"cellprotocols.{protocol}.{step}").run
    missing = set(inspect.signature(run).parameters) - set(settings)
    assert not missing or settings.get("more") == {}, f"{nb.name}: Settings cannot say {', '.join(missing)}"
    assert missing or "more" not in settings, f"{nb.name}: nothing is left for more"
    cells = json.loads(nb.read_text(encoding="utf-8"))["cells"]
    shown = [c for c in cells if c["cell_type"] == "code" and "#| export" not in text_of(c)]
    calls = [node for c in shown for node in ast.walk(ast.parse(text_of(c))) if isinstance(node, ast.Call)]
    own = [c for c in calls if getattr(c.func, "id", "") == "run" and getattr(c.args[0], "id", "") == "source"]
    assert own, f"{nb.name} runs nothing on a person's data"
    for call in own if missing else []:
        spread = {k.value.id for k in call.keywords if k.arg is None and isinstance(k.value, ast.Name)}
        made = [n for c in shown for n in ast.walk(ast.parse(text_of(c))) if isinstance(n, ast.Assign)]
        given = {n.targets[0].id: ast.unparse(n.value) for n in made if isinstance(n.targets[0], ast.Name)}
        assert "more" in spread or any("**more" in given.get(name, "") for name in spread), ast.unparse(call)


def test_every_built_step_is_tried_on_own_data():
    "A new step cannot be forgotten here."
    source = Path(__file__).read_text(encoding="utf-8")
    for protocol, step in STEP_NOTEBOOKS:
        tried = re.search(rf'run_twice\(\s*"{protocol}",\s*"{step}"', source)
        assert step in STEPS and tried, f"{protocol}.{step} is not run on own data"
