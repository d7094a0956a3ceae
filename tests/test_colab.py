"""The Colab editions: what is generated, and (mark `colab`, run by `make colab-test`) how it runs on the versions Colab publishes."""

import ast
import builtins
import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import colab_freeze
import colab_test
import make_colab
from cellprotocols.protocols import PROTOCOLS, Option, built_steps, step_folder

BUILT = [p for p in PROTOCOLS if built_steps(p)]
FIELD = re.compile(r"^(\w+) = (.*?) #@param (.*)$", re.M)


@pytest.fixture(scope="module")
def editions():
    return {p: make_colab.make_edition(p) for p in BUILT}


def code_cells(nb):
    return [c for c in nb["cells"] if c["cell_type"] == "code"]


def text(cell):
    return "".join(cell["source"])


def cell(nb, ident):
    return next(c for c in nb["cells"] if c["id"] == ident)


# --- what is generated


def test_what_is_committed_is_what_the_notebooks_give():
    done = subprocess.run([sys.executable, ROOT / "tools" / "make_colab.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_byte_stable():
    assert make_colab.make_all() == make_colab.make_all()


def test_check_finds_what_is_stale_missing_or_too_much(tmp_path, monkeypatch, capsys):
    for folder in ("nbs", "colab", "cellprotocols"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("settings.ini", "README.md"):
        shutil.copy(ROOT / file, tmp_path)
    monkeypatch.setattr(make_colab, "ROOT", tmp_path)

    def check():
        monkeypatch.setattr(sys, "argv", ["make_colab.py", "--check"])
        with pytest.raises(SystemExit) as e:
            make_colab.main()
        return e.value.code, capsys.readouterr().out

    first = tmp_path / "colab" / f"{BUILT[0]}.ipynb"
    assert check()[0] == 0
    first.write_text(first.read_text().replace("Run all", "Run some", 1))
    assert check()[0] == 1
    first.unlink()
    assert check()[0] == 1
    (tmp_path / "colab" / "old.ipynb").write_text("{}")
    code, said = check()
    assert code == 1 and "old.ipynb" in said and first.name in said
    monkeypatch.setattr(sys, "argv", ["make_colab.py"])
    make_colab.main()
    assert (
        check()[0] == 0
        and first.read_bytes() == (ROOT / "colab" / first.name).read_bytes()
        and not (tmp_path / "colab" / "old.ipynb").exists()
    )


@pytest.mark.parametrize("protocol", BUILT)
def test_one_chapter_a_step_in_order_valid_and_without_outputs(editions, protocol):
    import nbformat

    nb = editions[protocol]
    nbformat.validate(nbformat.from_dict(nb))
    ids = [c["id"] for c in nb["cells"]]
    assert len(set(ids)) == len(ids)
    assert not any(c["outputs"] or c["execution_count"] for c in code_cells(nb))
    heads = [m[1] for c in nb["cells"] if c["cell_type"] == "markdown" and (m := re.match(r"# (\d\d \w+)", text(c)))]
    assert heads == [step_folder(protocol, s).replace("_", " ") for s in built_steps(protocol)]
    assert nb["metadata"]["accelerator"] == "GPU" and nb["metadata"]["colab"]["gpuType"]
    assert "generated from [nbs/" in text(nb["cells"][0]).lower() and "colab-badge.svg" in text(nb["cells"][0])


@pytest.mark.parametrize("protocol", BUILT)
def test_definitions_are_imported_and_nothing_of_the_workshop_is_left(editions, protocol):
    for c in code_cells(editions[protocol]):
        assert not re.search(r"^#\|", text(c), re.M), "a directive of nbdev"
        assert "import *" not in text(c) and "mkdtemp" not in text(c)
        if c["id"] in ("install", "your-data"):
            continue
        assert not any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in ast.parse(text(c)).body), text(c)


@pytest.mark.parametrize("protocol", BUILT)
def test_every_name_is_known_before_it_is_used(editions, protocol):
    known = {*dir(builtins), "display"}
    for c in code_cells(editions[protocol]):
        if c["id"] == "install":
            continue
        assert make_colab.used_names(text(c)) - make_colab.bound_names(text(c)) <= known, text(c)
        known |= make_colab.bound_names(text(c))


@pytest.mark.parametrize("protocol", BUILT)
def test_forms_are_the_signature(editions, protocol):
    "Type, default and help of every field are those of `run`, which the command line reads, too."
    nb = editions[protocol]
    for step in built_steps(protocol):
        source = (ROOT / "cellprotocols" / protocol / f"{step}.py").read_text(encoding="utf-8")
        schema, folders = [*make_colab.read_schema(source), make_colab.make_more()], {*make_colab.read_takes(source)}
        form = next(
            text(c)
            for c in code_cells(nb)
            if text(c).startswith(f"#@title Settings of {step_folder(protocol, step).replace('_', ' ')}\n")
        )
        fields = FIELD.findall(form)
        assert fields
        for name, value, kind in fields:
            fits = [
                o
                for o in schema
                if o.name == name and f"#@markdown **{name}**: {o.help}\n" in form and kind == make_colab.form_type(o)
            ]
            assert fits and isinstance(ast.literal_eval(value), fits[0].type), name
            if name not in folders:
                assert ast.literal_eval(value) in [o.default if o.default is not None else "" for o in fits] + [
                    str(o.default).removeprefix(f"work/{protocol}/") for o in fits
                ]


def test_kinds_of_fields():
    def kind(annotation):
        return make_colab.form_type(Option("x", annotation, None, ""))

    assert [kind(k) for k in ("int", "float", "bool", "str", "str | None", "int | None")] == [
        '{type:"%s"}' % t for t in ("integer", "number", "boolean", "string", "string", "integer")
    ]
    assert (
        kind("Literal['a', 'print']") == '["a", "print"]' and kind("Literal['a'] | str") == '["a"] {allow-input: true}'
    )


@pytest.mark.parametrize("settings, says", [("wrong = 1", "no argument of `run`"), ("folds = 6", "`run` says 5")])
def test_a_settings_cell_beside_the_signature_is_an_error(settings, says):
    with pytest.raises(SystemExit, match=says):
        make_colab.make_form("chromatin", "train", dict(source=[settings]))


def test_owner_name_and_tag_come_from_the_settings_alone(monkeypatch, editions):
    s = dict(make_colab.read_settings())
    before = {p: json.dumps(nb) for p, nb in editions.items()}
    monkeypatch.setattr(make_colab, "read_settings", lambda: {**s, "user": "OWNER", "repo": "NAME", "tag": "TAG"})
    for p in BUILT:
        after = json.dumps(make_colab.make_edition(p))
        assert (
            "git+https://github.com/OWNER/NAME@TAG" in after and f"/github/OWNER/NAME/blob/TAG/colab/{p}.ipynb" in after
        )
        assert (
            not re.search(rf"github(?:\.com)?/{s['user']}/", after)
            and f"@{s['tag']}" not in after
            and f"/{s['tag']}/" not in after
        )
        assert f"github.com/{s['user']}/{s['repo']}@{s['tag']}" in before[p]


def test_the_badges_of_the_readme_are_those_of_the_protocols(monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for p in BUILT:
        assert re.search(rf"^\| [^|]+ \| `{p}` \[!\[[^|]*\]\({re.escape(make_colab.edition_url(p))}\)", readme, re.M), (
            f"{p} has no badge in the table"
        )
    monkeypatch.setattr(make_colab, "read_settings", lambda: dict(user="OWNER", repo="NAME", tag="TAG"))
    assert make_colab.make_readme().count("OWNER/NAME/blob/TAG/colab/") == len(BUILT)


def test_install_is_one_line_that_touches_nothing(editions):
    for nb in editions.values():
        lines = [l for l in text(cell(nb, "install")).splitlines() if not l.startswith("#")]
        assert len(lines) == 1 and " --no-deps " in lines[0]
        named = {w.split("==")[0].strip('"') for w in lines[0].split() if "==" in w}
        published = colab_freeze.read_list(ROOT / "colab" / "constraints.txt")
        assert named and not named & published.keys(), "what Colab has is not installed again"
        assert {r.name for r in colab_freeze.read_requirements()} <= named | {n for n in published}, (
            "every requirement is there or added"
        )


def test_a_scripted_person_is_not_in_an_edition():
    assert not make_colab.wanted(dict(cell_type="code", source=["#| scripted\n", "press()"])) and make_colab.wanted(
        dict(cell_type="code", source=["press()"])
    )


def test_settings_of_a_person_s_step_may_be_those_of_its_widget(tmp_path, monkeypatch):
    (tmp_path / "cellprotocols" / "chromatin").mkdir(parents=True)
    (tmp_path / "cellprotocols" / "chromatin" / "annotate.py").write_text("""
def make_widget(
    log:str="work/chromatin/labels.jsonl", # The label log
    target:int=500, # Cells wanted
): ...

def other(labels): ...

def run(
    source:str|None=None, # Yours
    log:str="", # A log
): ...
""")
    monkeypatch.setattr(make_colab, "ROOT", tmp_path)
    form = make_colab.make_form(
        "chromatin", "annotate", dict(source=['source = None\nlog = "work/chromatin/labels.jsonl"\ntarget = 500'])
    )
    assert form.splitlines()[1:] == [
        "#@markdown **log**: The label log",
        'log = "labels.jsonl" #@param {type:"string"}',
        "#@markdown **target**: Cells wanted",
        'target = 500 #@param {type:"integer"}',
        "source = your_data or None",
        "log = beside_data(log)",
    ]


def test_a_cell_that_needs_a_hidden_one_is_an_error():
    hidden, shown = (
        dict(cell_type="code", source=["#| hide\n", "secret = 1"]),
        dict(cell_type="code", source=["secret + 1"]),
    )
    with pytest.raises(SystemExit, match="secret"):
        make_colab.make_imports({"secret"}, "m", [hidden, shown])


# --- a newer list


TESTED = dict(numpy="2.1.3", torch="2.11.0", fastai="2.8.8", idna="3.18", tifffile="2026.8.16")


@pytest.fixture
def newer(tmp_path):
    def write(**changes):
        have = {**{r.name: "9999" for r in colab_freeze.read_requirements()}, "ipywidgets": "8.1", **TESTED, **changes}
        (tmp_path / "list").write_text(
            "# a comment\ngoogle-colab @ file:///somewhere\n" + "".join(f"{n}=={v}\n" for n, v in have.items() if v)
        )
        return colab_freeze.compare(
            {n: colab_freeze.Version(v) for n, v in TESTED.items()},
            colab_freeze.read_list(tmp_path / "list"),
            {"zarr": colab_freeze.Version("3.1.6")},
            colab_freeze.read_requirements(),
        )

    return write


def test_freeze_says_what_moved(newer):
    lines, to_do = newer(torch="2.12.0+cu128", idna="3.20", zarr=None, ipywidgets="7.7.1")
    said = "\n".join(lines)
    assert to_do == 0 and "All bounds" in said
    assert re.search(
        r"Direct.*moved:\n  torch +2.11.0 -> 2.12.0\+cu128\nIndirect.*moved:\n  idna +3.18 -> 3.20\n", said
    )


def test_freeze_says_what_does_not_hold(newer):
    lines, to_do = newer(fastai="2.7.19", ipywidgets="9.0.0", timm=None, tifffile=None, zarr="3.0.0")
    said = "\n".join(lines)
    assert to_do == 5, said
    for words in (
        "fastai>=2.8.8: the list has 2.7.19",
        "ipywidgets<9,>=7.7: the list has 9.0.0",
        "timm>=1.0.28: neither",
        "zarr>=3.0.3: the list has 3.0.0",
        "(older)",
        "zarr 3.0.0 (added: 3.1.6)",
        "Gone from the list:\n  tifffile",
    ):
        assert words in said, said


def test_freeze_knows_a_list_it_was_made_from():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "colab_freeze.py", ROOT / "colab" / "constraints.txt"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "All bounds" in done.stdout and done.stdout.count("  none") == 2
    assert (
        subprocess.run(
            [sys.executable, ROOT / "tools" / "colab_freeze.py", "nowhere"], capture_output=True, text=True
        ).returncode
        == 1
    )


def test_constraints_are_versions_and_nothing_else():
    for f in ("constraints.txt", "added.txt"):
        for line in (ROOT / "colab" / f).read_text().splitlines():
            assert re.fullmatch(r"[a-z0-9-]+==[\w.]+", line), line


def test_without_the_right_python_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(colab_test.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", "no"))
    with pytest.raises(SystemExit, match="Python 3.13, which was found nowhere.*COLAB_PYTHON"):
        colab_test.find_python()


# --- how it runs on Colab's versions


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    if not colab_test.PYTHON.exists():
        pytest.skip("the environment is not there: run `make colab-test`")
    return colab_test.make_remote(tmp_path_factory.mktemp("remote"))


def fill(nb, **fields):
    "The notebook with its forms filled in, as a person does; a name like `24_folds` means the field of that chapter alone."
    nb, left = json.loads(json.dumps(nb)), set(fields)
    for c in code_cells(nb):

        def put(m):
            key = next((k for k in (m[1], f"{c['id'].split('-')[0]}_{m[1]}") if k in fields), None)
            left.discard(key)
            return m[0] if key is None else f"{m[1]} = {fields[key]!r} #@param {m[3]}"

        c["source"] = FIELD.sub(put, text(c)).splitlines(keepends=True)
    assert not left, f"no form has the fields {left}"
    return nb


def finish(process):
    said = process.communicate(timeout=1200)[0]
    assert process.returncode == 0, said[-4000:]


def read_run(home):
    return json.loads((home / "executed.ipynb").read_text(encoding="utf-8"))


def said(cell):
    return "".join("".join(o.get("text", "")) for o in cell["outputs"])


def pictures(nb):
    return sum("image/png" in o.get("data", {}) for c in code_cells(nb) for o in c["outputs"])


def state(folder):
    return {
        p.relative_to(folder).as_posix(): p.stat().st_mtime_ns
        for p in folder.rglob("*")
        if p.is_file() and not p.is_symlink()
    }


def kill_when(process, seen, timeout=900):
    "kill -9 the kernel of a running notebook as soon as `seen()`."
    end = time.monotonic() + timeout
    while not seen():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0][-3000:]
        time.sleep(0.02)
    kernel = next(
        p for p in psutil.Process(process.pid).children(recursive=True) if any("ipykernel" in w for w in p.cmdline())
    )
    kernel.kill()
    process.kill()
    process.communicate()


def is_fold(name):
    return bool(re.search(r"/fold_\d+\.npy$", str(name)))


@pytest.mark.colab
def test_the_machine_dies_in_training_and_work_goes_on_on_another(remote, editions, tmp_path):
    """The whole edition on practice data, with Drive: killed -9 in training, the machine and its disk lost, run again on a new
    one from top to bottom while the Drive drops out for a time, and then all cells a second time."""
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    drive, variables = (
        tmp_path / "drive" / "MyDrive" / "cellprotocols",
        colab_test.colab_variables(remote, tmp_path / "drive"),
    )
    nb, practice = fill(editions["chromatin"], use_drive=True, every=1), "chromatin/practice"
    first = tmp_path / "first"
    archive = drive / practice / ".24_train.partial.tar"

    def folds_kept():
        if not archive.exists():
            return False
        with tarfile.open(archive) as t:
            return sum(map(is_fold, t.getnames())) >= 2

    kill_when(colab_test.run_notebook(nb, first, variables), folds_kept)
    finished = state(first / "work" / practice / "22_patches")
    shutil.rmtree(first)  # the disk of the machine
    before = state(drive)
    assert finished and not (drive / practice / "24_train").exists()
    with tarfile.open(archive) as t:
        trained = {Path(n).relative_to("."): t.extractfile(n).read() for n in t.getnames() if is_fold(n)}

    second = tmp_path / "second"
    process = colab_test.run_notebook(nb, second, variables)
    again, training, away, back = {}, second / "work" / practice / ".24_train.partial", tmp_path / "away", False
    while process.poll() is None:
        for (
            f
        ) in trained:  # the folds that were done are those brought back, to the last moment before the step is finished
            try:
                again[f] = (training / f).read_bytes()
            except OSError:
                pass
        if not back and not away.exists() and sum(map(is_fold, training.rglob("*"))) > len(trained):
            (tmp_path / "drive" / "MyDrive").rename(away)
        if away.exists() and (second / "work" / practice / "26_visualize").exists():
            away.rename(tmp_path / "drive" / "MyDrive")
            back = True
        time.sleep(0.05)
    finish(process)
    assert again == trained, "a fold was trained twice"
    run = read_run(second)
    assert "Brought back" in said(cell(run, "drive")) and "Mounted" in said(cell(run, "drive"))
    for ident in ("21-06486148", "22-d5bc0d30", "23-03f11591"):
        assert "done before, nothing to do" in said(cell(run, ident))
    assert "done before" not in said(cell(run, "24-299626d9")) and "macro-F1" in said(cell(run, "24-299626d9"))
    assert pictures(run) >= 20
    assert back and "All is in your Drive." in said(cell(run, "copy")), (
        "while the Drive was away work went on, and was copied when it was back"
    )
    after = state(drive)
    assert {k: v for k, v in before.items() if not k.endswith(".tar")}.items() <= after.items(), (
        "nothing finished in the Drive was touched or deleted"
    )
    assert not list(drive.rglob(".*"))
    page = (drive / practice / "26_visualize" / "report.html").read_text(encoding="utf-8")
    assert (
        "Which cells are alike?" in page
        and "What happens in the movies?" in page
        and "practice (synthetic)" in page.lower()
    )

    done = state(second / "work")
    finish(colab_test.run_notebook(nb, second, variables))
    run = read_run(second)
    assert sum("done before, nothing to do" in said(c) for c in code_cells(run)) >= len(built_steps("chromatin"))
    assert state(second / "work") == done and state(drive) == after, "a second run of all cells writes nothing"
    shutil.copy(second / "executed.ipynb", tmp_path.parent / "chromatin_executed.ipynb")


def run_twice(nb, home, variables, protocol):
    "Run all cells, and all of them again: the second time every step says that it is done and no file changes."
    finish(colab_test.run_notebook(nb, home, variables))
    first, done = read_run(home), state(home / "work")
    finish(colab_test.run_notebook(nb, home, variables))
    again = sum("done before, nothing to do" in said(c) for c in code_cells(read_run(home)))
    assert again >= len(built_steps(protocol))
    assert state(home / "work") == done, "a second run of all cells writes nothing"
    return first


@pytest.mark.colab
def test_the_artifacts_edition_on_practice_data_and_again(remote, editions, tmp_path):
    nb, home = fill(editions["artifacts"], epochs=1, mask_epochs=1, crops=40), tmp_path / "home"
    run = run_twice(nb, home, colab_test.colab_variables(remote), "artifacts")
    assert "pixels count from" in said(cell(run, "54-acf1f2c3")) and pictures(run) >= 9
    page = (home / "work" / "artifacts" / "practice" / "56_visualize" / "report.html").read_text(encoding="utf-8")
    assert "Which pixels are dirt?" in page and "practice (synthetic)" in page.lower()


@pytest.mark.colab
def test_own_fields_that_nobody_has_labelled(remote, editions, tmp_path):
    from cellprotocols.synth_dirt import make_dirty_field

    home = tmp_path / "home"
    (home / "fields").mkdir(parents=True)
    for w in range(4):
        for k in range(2):
            tifffile.imwrite(
                home / "fields" / f"r02c{w + 2:02}f{k + 1}p01-ch1sk1fk1fl1.tiff",
                make_dirty_field((256, 256), seed=[w, k], dirt=2.0).image[..., 0],
            )
    nb = fill(editions["artifacts"], your_data="fields", mask_epochs=1, crops=40)
    finish(colab_test.run_notebook(nb, home, colab_test.colab_variables(remote)))
    assert "from drawn dirt alone" in said(cell(read_run(home), "54-acf1f2c3"))
    items = pd.read_csv(home / "work" / "my_artifacts" / "55_infer" / "items.csv")
    assert len(items) == 8 and (home / "work" / "my_artifacts" / "56_visualize" / "report.html").exists()


@pytest.mark.colab
def test_own_films_of_cultures(remote, editions, tmp_path):
    "Frames of three lines from two batches each, in folders; and all cells a second time."
    from test_own_data import write_films

    home, variables = tmp_path / "home", colab_test.colab_variables(remote)
    write_films(home / "films")
    nb = fill(editions["cell_lines"], your_data="films", size=64, **{"13_encoder": "measured"})
    run = run_twice(nb, home, variables, "cell_lines")
    work = home / "work" / "my_cell_lines"
    items = pd.read_csv(work / "14_train" / "items.csv")
    assert items.label.nunique() == 3 and (work / "16_visualize" / "report.html").exists()
    assert pictures(run) >= 6


@pytest.mark.colab
def test_own_films_of_embryos(remote, editions, tmp_path):
    "Frames and boxes of a few embryos in tables of a person's own; and all cells a second time."
    from cellprotocols.synth_embryos import make_embryo_set

    home = tmp_path / "home"
    make_embryo_set(home / "films", 6, 3, 160, contrast=0.25)
    (home / "films" / "practice.txt").unlink()
    short = {"32_most": 40, "33_side": 192, "33_epochs": 1, "33_ae_size": 64, "34_epochs": 2}
    nb = fill(editions["strings"], your_data="films", **short)
    run = run_twice(nb, home, colab_test.colab_variables(remote), "strings")
    work = home / "work" / "my_strings"
    assert (work / "35_infer" / "tracklets.csv").exists() and (work / "36_visualize" / "report.html").exists()
    assert pictures(run) >= 4


@pytest.mark.colab
def test_own_fields_of_four_stains(remote, editions, tmp_path):
    "Fields of a few samples with a table of labels; and all cells a second time."
    from cellprotocols.synth_organelles import make_organelle_set, write_organelle_set

    home = tmp_path / "home"
    write_organelle_set(home / "fields", *make_organelle_set(6, 1, (160, 200), (0, 14, 16), seed=3))
    shutil.rmtree(home / "fields" / "truth")
    (home / "fields" / "practice.txt").unlink()
    nb = fill(editions["organelles"], your_data="fields", **{"42_size": 48})
    run = run_twice(nb, home, colab_test.colab_variables(remote), "organelles")
    work = home / "work" / "my_organelles"
    assert (work / "45_infer" / "submission.csv").exists() and (work / "46_visualize" / "report.html").exists()
    assert pictures(run) >= 6


@pytest.mark.colab
def test_own_data_without_drive(remote, editions, tmp_path):
    "A person's own images, in class folders with a folder a group; a movie for chapter 25."
    rng, home = np.random.default_rng(0), tmp_path / "home"
    for c, width in dict(long=18, round=10).items():
        for g in "abc":
            (home / "cells" / c / g).mkdir(parents=True)
            for i in range(6):
                img = rng.normal(50, 5, (32, 32))
                img[10:22, 16 - width // 2 : 16 + width // 2] += 90
                tifffile.imwrite(home / "cells" / c / g / f"{i}.tif", img.astype(np.uint8))
    movie = rng.normal(50, 5, (4, 96, 96))
    for y, x in ((20, 20), (60, 30), (40, 70)):
        movie[:, y : y + 12, x : x + 14] += 90
    tifffile.imwrite(home / "movie.tif", movie.astype(np.uint8), imagej=True, metadata=dict(axes="TYX"))
    nb = fill(editions["chromatin"], your_data="cells", folds=2, **{"24_model": "probe", "25_movie": "movie.tif"})
    finish(colab_test.run_notebook(nb, home, colab_test.colab_variables(remote)))
    run = read_run(home)
    assert {p.name for p in (home / "work").iterdir()} - {"labels"} == {"my_chromatin"}
    items = pd.read_csv(home / "work" / "my_chromatin" / "24_train" / "items.csv")
    assert set(items.label) == {"long", "round"} and items.group.nunique() == 3
    assert (home / "work" / "my_chromatin" / "26_visualize" / "report.html").exists()
    assert "practice" not in said(cell(run, "26-020f0634"))


@pytest.mark.colab
def test_a_drive_that_is_refused_stops_at_once_and_says_so(remote, editions, tmp_path):
    nb = fill(editions["chromatin"], use_drive=True)
    nb["cells"] = [c for c in nb["cells"] if c["id"] in ("drive", "your-data")]
    process = colab_test.run_notebook(nb, tmp_path / "home", colab_test.colab_variables(remote))
    assert "mount failed" in process.communicate()[0] and process.returncode


WHEELS = ["opencv-python", "opencv-contrib-python", "opencv-python-headless"]


@pytest.mark.colab
@pytest.mark.parametrize("last", WHEELS)
def test_any_of_the_three_opencv_wheels_may_be_on_top(remote, last, tmp_path):
    "All three write into the same folder; which of them Colab installs last is not published."
    for w in [*(w for w in WHEELS if w != last), last]:
        subprocess.run(
            [
                *colab_test.UV,
                "pip",
                "install",
                "-q",
                "--no-deps",
                "--python",
                colab_test.PYTHON,
                "--target",
                tmp_path / "site",
                colab_test.pinned("colab/constraints.txt", w),
            ],
            check=True,
            cwd=ROOT,
        )
    variables = {**colab_test.colab_variables(remote), "PYTHONPATH": str(tmp_path / "site")}
    seen = subprocess.run(
        [colab_test.PYTHON, "-c", "import cv2; print(cv2.__file__)"], env=variables, capture_output=True, text=True
    )
    if "libGL" in seen.stderr:
        pytest.skip(f"{last} wants the desktop's libGL, which Colab has and this machine has not")
    assert seen.stdout.startswith(str(tmp_path / "site")), seen.stderr
    (tmp_path / "tests").mkdir()
    for t in ("test_features.py", "conftest.py"):
        shutil.copy(ROOT / "tests" / t, tmp_path / "tests")
    done = subprocess.run(
        [colab_test.PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "disc or outline or grains", "tests"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
