"The front door: what it loads, what it answers, and that every bad input ends in one clear sentence and nothing half-written."

import csv
import errno
import html
import importlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

import cellprotocols
from cellprotocols.cli import main, run_steps
from cellprotocols.protocols import PROTOCOLS, STEPS, built_steps, read_options, read_takes, step_file, step_folder
from cellprotocols.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(cellprotocols.__file__).parent


def cli(capsys, *words):
    "(exit code, stdout, stderr) of `cellprotocols words`."
    capsys.readouterr()
    try:
        code = main([str(w) for w in words])
    except SystemExit as e:
        code = e.code
    out, err = capsys.readouterr()
    return code, out, err


def process(*words, **env):
    "The same in a process of its own."
    code = "import sys; from cellprotocols.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, **env),
    )


def refused(capsys, *words, says=()):
    "It must end with code 2 and one sentence that holds the words `says`; returns the sentence."
    code, out, err = cli(capsys, *words)
    said = [line for line in err.splitlines() if not line.startswith("  note:")]
    assert code == 2, (code, out, err)
    assert len(said) == 1 and said[0].startswith("cellprotocols: "), err
    assert "this should not happen" not in err and "Traceback" not in err
    for word in [says] if isinstance(says, str) else says:
        assert word in said[0], said[0]
    return said[0]


# --- what it loads


def loaded_by(*words):
    code = (
        "import sys\nfrom cellprotocols.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('LOADED', *sorted({m.split('.')[0] for m in sys.modules}))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    return set(out.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["list"],
        ["run", "chromatin", "--help"],
        ["chromatin", "train", "--help"],
        ["run", "chromatin", "--nonsense"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(words):
    assert not loaded_by(*words) & {
        "torch",
        "numpy",
        "pandas",
        "fastai",
        "timm",
        "skimage",
        "sklearn",
        "matplotlib",
        "zarr",
        "scipy",
    }


def test_importing_nothing_runs_no_protocol():
    assert not loaded_by("--version") & {"torch", "numpy"}


# --- what it answers


def test_exit_codes(capsys, monkeypatch):
    assert cli(capsys, "list")[0] == 0
    assert cli(capsys, "--version")[0] == 0
    assert cli(capsys)[0] == 2
    assert cli(capsys, "nonsense")[0] == 2
    import cellprotocols.cli as c

    def broken(args):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(c, "_dispatch", broken)
    code, _, err = cli(capsys, "list")
    assert code == 1 and err.count("\n") == 1 and "RuntimeError: first line" in err and "--debug" in err
    with pytest.raises(RuntimeError):
        main(["--debug", "list"])

    def stopped(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(c, "_dispatch", stopped)
    code, _, err = cli(capsys, "list")
    assert code == 130 and "Traceback" not in err

    def mendable(args):
        raise UserError("no\nimages", "some", "give some", file="x")

    monkeypatch.setattr(c, "_dispatch", mendable)
    code, _, err = cli(capsys, "list")
    assert code == 2 and err == "cellprotocols: x: no images; needed: some; give some\n"


def test_an_unexpected_error_deep_inside_is_one_sentence(capsys, monkeypatch):
    import cellprotocols.cli as c

    def broken(*a, **k):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(c, "run_steps", broken)
    code, _, err = cli(capsys, "run", "chromatin")
    assert code == 1 and err.count("\n") == 1 and "RuntimeError: first line" in err
    with pytest.raises(RuntimeError):
        main(["--debug", "run", "chromatin"])


@pytest.mark.slow
def test_doctor_says_0_or_1(capsys):
    assert cli(capsys, "doctor")[0] in (0, 1)


def test_version_is_the_package_s(capsys):
    import cellprotocols

    assert cli(capsys, "--version")[1].strip() == cellprotocols.__version__


def test_list_names_all_protocols_and_built_steps(capsys):
    out = cli(capsys, "list")[1]
    for name, question in PROTOCOLS.items():
        assert name in out and question in out
    assert " > ".join(built_steps("chromatin")) in out


def test_help_shows_every_option_of_every_step_once(capsys):
    code, out, _ = cli(capsys, "run", "chromatin", "--help")
    assert code == 0
    for step in built_steps("chromatin"):
        source = (PACKAGE / "chromatin" / f"{step}.py").read_text(encoding="utf-8")
        options, takes = read_options(source), read_takes(source)
        assert options[0].name == "source" and options[1].name == "out", f"{step}: source and out come first"
        assert options[1].default == f"work/chromatin/{step_folder('chromatin', step)}"
        for o in options:
            assert o.help, f"{step}: --{o.name} is not explained"
            if o.name in takes:
                continue
            assert f"--{o.name.replace('_', '-')}" in out
        assert set(takes.values()) <= set(STEPS)


def test_same_option_of_two_steps_means_the_same_kind():
    kinds = {}
    for step in built_steps("chromatin"):
        for o in read_options((PACKAGE / "chromatin" / f"{step}.py").read_text(encoding="utf-8")):
            if o.name in ("out", "title"):
                continue
            kind = o.type
            assert kinds.setdefault(o.name, kind) == kind, (
                f"--{o.name} is {kind} in {step} and {kinds[o.name]} before: the command line can parse it one way only"
            )


def test_steps_and_their_ranges(capsys, monkeypatch, tmp_path):
    import cellprotocols.cli as c

    ran = []

    class Step:
        def __init__(self, name):
            self.name = name

        def run(self, **args):
            ran.append((self.name, args))

    monkeypatch.setattr(c, "import_module", lambda name: Step(name.rsplit(".", 1)[1]))
    built = built_steps("chromatin")

    def steps(text):
        ran.clear()
        run_steps("chromatin", "data", tmp_path, text)
        return [n for n, _ in ran]

    assert steps("..") == built
    assert steps("patches") == ["patches"]
    assert steps("patches..train") == built[built.index("patches") : built.index("train") + 1]
    assert steps("..patches") == ["annotate", "patches"]
    assert steps("train..") == built[built.index("train") :]
    steps("..")
    by = dict(ran)
    assert by["annotate"]["source"] == "data"
    assert by["patches"]["source"] == str(tmp_path / "21_annotate") and by["train"]["source"] == str(
        tmp_path / "22_patches"
    )
    assert by["visualize"]["out"] == str(tmp_path / "26_visualize")
    for bad in (
        "nonsense",
        "patches..nonsense",
        "train..patches",
        "",
        "a..b..c",
        "patches train",
        "selfsupervise...train",
    ):
        ran.clear()
        code, _, err = cli(capsys, "run", "chromatin", "--steps", bad, "--out", tmp_path)
        assert code == 2 and err.count("\n") == 1 and not ran, (bad, err)


def test_what_an_earlier_step_made_is_never_an_option(capsys, monkeypatch, tmp_path):
    "`--model net` is the recipe of `train`; that `infer` also has an argument `model` (the folder of the bundle) must not matter."
    import cellprotocols.cli as c

    ran = {}

    class Step:
        def __init__(self, name):
            self.name = name

        def run(self, **args):
            ran[self.name] = args

    monkeypatch.setattr(c, "import_module", lambda name: Step(name.rsplit(".", 1)[1]))
    assert cli(capsys, "run", "chromatin", "--out", tmp_path, "--model", "net")[0] == 0
    assert ran["train"]["model"] == "net"
    for step, args in ran.items():
        for arg, maker in read_takes((PACKAGE / "chromatin" / f"{step}.py").read_text(encoding="utf-8")).items():
            assert args[arg] == str(tmp_path / step_folder("chromatin", maker)), (step, arg, args[arg])


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "nonsense"],
        ["chromatin"],
        ["chromatin", "nonsense"],
        ["run", "chromatin", "--nonsense", "3"],
        ["run", "chromatin", "--folds", "many"],
        ["run", "strings_of_pearls"],
    ],
    ids=" ".join,
)
def test_unknown_words(capsys, words):
    code, out, err = cli(capsys, *words)
    assert code == 2 and not out and err.startswith("cellprotocols: ") and err.count("\n") == 1, err


def test_options_reach_their_step_with_the_right_type(capsys, monkeypatch, tmp_path):
    import cellprotocols.cli as c

    ran = {}

    class Step:
        def __init__(self, name):
            self.name = name

        def run(self, **args):
            ran[self.name] = args

    monkeypatch.setattr(c, "import_module", lambda name: Step(name.rsplit(".", 1)[1]))
    assert (
        cli(
            capsys,
            "run",
            "chromatin",
            "--out",
            tmp_path,
            "--folds",
            "3",
            "--minutes",
            "1.5",
            "--no-random-split",
            "--classes",
            "a,b",
            "--seed",
            "7",
        )[0]
        == 0
    )
    assert ran["train"]["folds"] == 3 and ran["train"]["minutes"] == 1.5 and ran["train"]["random_split"] is False
    assert ran["annotate"]["classes"] == "a,b" and "classes" not in ran["train"] and "folds" not in ran["annotate"]
    assert {a["seed"] for a in ran.values() if "seed" in a} == {7}
    assert ran["annotate"]["source"] is None


# --- bad inputs


def image(path, seed=0, size=24, dtype=np.uint8, channels=0, **kw):
    "A small textured image file."
    path.parent.mkdir(parents=True, exist_ok=True)
    shape, rng = ((size, size, channels) if channels else (size, size)), np.random.default_rng(seed)
    img = rng.normal(50, 5, shape)
    a = size // 4
    img[a:-a, a:-a] += rng.uniform(50, 120)  # a cell, not a blank field
    img = img.astype(dtype)
    if path.suffix == ".tif":
        tifffile.imwrite(path, img, **kw)
    else:
        import cv2

        path.write_bytes(cv2.imencode(path.suffix, img)[1].tobytes())
    return path


def class_folders(root, classes=("a", "b"), n=4, **kw):
    for k, c in enumerate(classes):
        for i in range(n):
            image(root / c / f"plate{i % 2}_{i}.tif", seed=100 * k + i, **kw)
    return root


def table(root, rows, name="cells.csv", **kw):
    "A CSV beside images a.tif, b.tif ... that it names."
    t = pd.DataFrame(rows)
    for i, f in enumerate(t["file"].unique() if "file" in t else []):
        if not (root / str(f)).exists():
            image(root / str(f), seed=i, size=kw.get("size", 40))
    t.to_csv(root / name, index=False)
    return root / name


def run_words(source, out, *more):
    "The short run that the tests of bad inputs make; steps that are not needed here are left out."
    steps = [s for s in built_steps("chromatin") if s in ("annotate", "patches")]
    return ["run", "chromatin", "--source", source, "--out", out, "--steps", f"{steps[0]}..{steps[-1]}", *more]


def train_words(source, out, *more):
    return run_words(source, out), [
        "run",
        "chromatin",
        "--out",
        out,
        "--steps",
        "train",
        "--model",
        "probe",
        "--folds",
        "2",
        "--no-random-split",
        *more,
    ]


def check_clean(out, finished=()):
    "Only whole datasets stand in `out`: nothing half-written has a step's name."
    there = {p.name for p in out.iterdir() if not p.name.startswith(".")} if out.exists() else set()
    assert there == set(finished), there
    for name in finished:
        assert (out / name / "dataset.json").exists()


def b_empty(d):
    d.mkdir()
    return d


def b_missing(d):
    return d


def b_only_text(d):
    (d / "a").mkdir(parents=True)
    (d / "a" / "readme.txt").write_text("hello")
    return d


def b_flat(d):
    image(d / "x.tif")
    return d


def b_docx(d):
    d.mkdir()
    (d / "x.docx").write_bytes(b"PK")
    return d / "x.docx"


def b_csv_empty(d):
    d.mkdir()
    (d / "c.csv").write_text("")
    return d / "c.csv"


def b_csv_header(d):
    d.mkdir()
    (d / "c.csv").write_text("file,label\n")
    return d / "c.csv"


def b_csv_binary(d):
    d.mkdir()
    (d / "c.csv").write_bytes(bytes(range(256)) * 4)
    return d / "c.csv"


def b_csv_missing(d):
    p = table(d, [dict(file=f"{c}.tif", label=c) for c in "abcd"])
    (d / "c.tif").unlink()
    return p


def b_csv_first_missing(d):
    p = table(d, [dict(file=f"{c}.tif", label=c) for c in "abcd"])
    (d / "a.tif").unlink()
    return p


def b_csv_no_label(d):
    return table(d, [dict(file=f"{c}.tif", state=c) for c in "abcd"])


def b_csv_labels_empty(d):
    return table(d, [dict(file=f"{c}.tif", label="") for c in "abcd"])


def b_csv_labels_nan(d):
    return table(d, [dict(file=f"{c}.tif", label=l) for c, l in zip("abcd", ["nan", "NaN", "", "NAN"])])


def b_csv_group_gap(d):
    return table(d, [dict(file=f"{c}.tif", label="x", group=g) for c, g in zip("abcd", ["p1", "", "p2", ""])])


def clicks(d, **odd):
    rows = [dict(file="m.tif", label="xy"[i % 2], y=20.0, x=20.0 + i, t=0) for i in range(4)]
    rows[2].update(odd)
    return table(d, rows)


def b_y_nan(d):
    return clicks(d, y=float("nan"))


def b_y_text(d):
    return clicks(d, y="left")


def b_y_inf(d):
    return clicks(d, y=float("inf"))


def b_y_outside(d):
    return clicks(d, y=1000.0)


def b_y_negative(d):
    return clicks(d, y=-30.0)


def b_t_outside(d):
    return clicks(d, t=7)


def b_t_fraction(d):
    return clicks(d, t=0.5)


def b_t_negative(d):
    return clicks(d, t=-1)


def npz(d, **arrays):
    d.mkdir()
    np.savez(d / "c.npz", **arrays)
    return d / "c.npz"


def b_npz_objects(d):
    return npz(d, images=np.zeros((4, 8, 8)), label=np.array(["a", "b", None, {}], dtype=object))


def b_npz_no_images(d):
    return npz(d, label=np.array(["a", "b"]))


def b_npz_no_label(d):
    return npz(d, images=np.zeros((4, 8, 8), np.uint8), state=np.array(list("abab")))


def b_npz_empty(d):
    return npz(d, images=np.zeros((0, 8, 8), np.uint8), label=np.zeros(0, "U1"))


def b_npz_short_label(d):
    return npz(d, images=np.zeros((4, 8, 8), np.uint8), label=np.array(["a", "b"]))


def b_npz_text(d):
    d.mkdir()
    (d / "c.npz").write_text("hello")
    return d / "c.npz"


def b_npz_cut(d):
    p = npz(
        d,
        images=np.random.default_rng(0).integers(0, 255, (40, 32, 32)).astype(np.uint8),
        label=np.array(list("ab") * 20),
    )
    p.write_bytes(p.read_bytes()[:20000])
    return p


def b_npz_fortran(d):
    return npz(d, images=np.asfortranarray(np.random.default_rng(0).random((6, 9, 8))), label=np.array(list("ababab")))


def b_zip_text(d):
    d.mkdir()
    (d / "annotation_1.zip").write_text("hello")
    return d


def b_zip_empty(d):
    d.mkdir()
    with zipfile.ZipFile(d / "annotation_1.zip", "w"):
        pass
    return d


ANNOTATE = {  # what is wrong -> (how to make it, words of the sentence)
    "empty folder": (b_empty, "class"),
    "no such folder": (b_missing, "no such file or folder"),
    "no images": (b_only_text, "no images"),
    "images without class folders or clicks": (b_flat, "a label log with clicks"),
    "a Word file": (b_docx, ".docx"),
    "empty CSV": (b_csv_empty, "c.csv"),
    "CSV of one header": (b_csv_header, "no rows"),
    "binary CSV": (b_csv_binary, "c.csv"),
    "a file of the CSV is missing": (b_csv_missing, "c.tif"),
    "the first file of the CSV is missing": (b_csv_first_missing, "file"),
    "no label column": (b_csv_no_label, ["'label'", "'state'", "--label"]),
    "no label at all": (b_csv_labels_empty, "no cell has a label"),
    "only NaN labels": (b_csv_labels_nan, "no cell has a label"),
    "group empty in some rows": (b_csv_group_gap, ["2 of 4", "group"]),
    "NaN coordinate": (b_y_nan, "'y'"),
    "text coordinate": (b_y_text, "'left'"),
    "infinite coordinate": (b_y_inf, "'y'"),
    "npz with object array": (b_npz_objects, ["'label'", "objects"]),
    "npz without images": (b_npz_no_images, "no array of images"),
    "npz without labels": (b_npz_no_label, "'label'"),
    "empty npz": (b_npz_empty, "empty"),
    "npz with too few labels": (b_npz_short_label, "label"),
    "text named npz": (b_npz_text, "npz"),
    "cut npz": (b_npz_cut, "npz"),
    "npz in Fortran order": (b_npz_fortran, "Fortran"),
    "text named zip": (b_zip_text, "zip"),
    "empty zip": (b_zip_empty, "JSON"),
}


@pytest.mark.parametrize("what", ANNOTATE)
def test_what_cannot_be_read_is_refused_at_once(capsys, tmp_path, what):
    make, says = ANNOTATE[what]
    source = make(tmp_path / "data")
    sentence = refused(capsys, *run_words(source, tmp_path / "out"), says=says)
    assert len(sentence) < 600
    check_clean(tmp_path / "out")


def p_truncated(d):
    class_folders(d)
    p = d / "b" / "plate1_3.tif"
    p.write_bytes(p.read_bytes()[:200])
    return d


def p_truncated_data(d):
    class_folders(d, size=64, compression="zlib")
    p = d / "b" / "plate1_3.tif"
    b = bytearray(p.read_bytes())
    b[-1500:] = b"\0" * 1500
    p.write_bytes(b)
    return d


def p_zero_bytes(d):
    class_folders(d)
    (d / "b" / "plate1_3.tif").write_bytes(b"")
    return d


def p_text(d):
    class_folders(d)
    (d / "b" / "plate1_3.tif").write_text("I am a text.\n" * 10)
    return d


def p_dtypes(d):
    class_folders(d)
    image(d / "b" / "plate1_3.tif", dtype=np.uint16)
    return d


def p_channels(d):
    class_folders(d)
    image(d / "b" / "plate1_3.tif", channels=2, photometric="minisblack", planarconfig="contig")
    return d


def p_channels_3_4(d):
    class_folders(d, channels=4, photometric="minisblack", planarconfig="contig", metadata={"axes": "YXC"})
    image(
        d / "b" / "plate1_3.tif", channels=3, photometric="minisblack", planarconfig="contig", metadata={"axes": "YXC"}
    )
    return d


def p_channels_1_4(d):
    class_folders(d, channels=4, photometric="minisblack", planarconfig="contig", metadata={"axes": "YXC"})
    image(d / "b" / "plate1_3.tif")
    return d


def p_frames(d):
    class_folders(d)
    tifffile.imwrite(d / "b" / "plate1_3.tif", np.zeros((5, 24, 24), np.uint8), metadata={"axes": "TYX"})
    return d


def p_zip_patch(d):
    d.mkdir()
    tif = io.BytesIO()
    tifffile.imwrite(tif, np.eye(64, dtype=np.uint8))
    raw = tif.getvalue()
    with zipfile.ZipFile(d / "annotation_1.zip", "w") as z:
        for i in range(4):
            z.writestr(f"{'ab'[i % 2]}/{'ab'[i % 2]}_1_{i}.tif", raw)
        z.writestr(
            "annotation_1.json",
            json.dumps(
                {
                    "coords-0": [0] * 4,
                    "coords-1": [9.0, 99, 9, 99],
                    "coords-2": [9.0, 9, 99, 99],
                    "labels": list("abab"),
                }
            ),
        )
    b = bytearray((d / "annotation_1.zip").read_bytes())
    b[len(raw) // 2] ^= 255
    (d / "annotation_1.zip").write_bytes(b)
    return d


PATCHES = {
    "mixed dtypes": (p_dtypes, ["uint16", "plate1_3.tif"]),
    "mixed channel counts": (p_channels, ["2 channels", "plate1_3.tif"]),
    "3 channels among stacks of 4": (p_channels_3_4, "plate1_3.tif"),
    "1 channel among stacks of 4": (p_channels_1_4, "plate1_3.tif"),
    "a movie among images": (p_frames, "plate1_3.tif"),
    "a damaged patch in a zip": (p_zip_patch, "annotation_1.zip"),
    "click below the field": (b_y_outside, "1000"),
    "click above the field": (b_y_negative, "-30"),
    "click after the movie": (b_t_outside, "7"),
    "click between frames": (b_t_fraction, "0.5"),
    "click before the movie": (b_t_negative, "-1"),
}


@pytest.mark.parametrize("what", PATCHES)
def test_what_cannot_be_cut_is_refused_by_name(capsys, tmp_path, what):
    make, says = PATCHES[what]
    source = make(tmp_path / "data")
    sentence = refused(capsys, *run_words(source, tmp_path / "out"), says=says)
    assert len(sentence) < 600
    assert not (tmp_path / "out" / "22_patches").exists()


DAMAGED = {
    "truncated TIFF": p_truncated,
    "damaged TIFF": p_truncated_data,
    "TIFF of 0 bytes": p_zero_bytes,
    "text named tif": p_text,
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_image_is_left_out_by_name(capsys, tmp_path, what):
    source = DAMAGED[what](tmp_path / "data")
    code, out, err = cli(capsys, *run_words(source, tmp_path / "out"))
    assert code == 0, err
    assert re.search("1 of .* files are left out, all named in skipped.csv: .*plate1_3.tif", out)
    made = tmp_path / "out" / "22_patches"
    assert pd.read_csv(made / "skipped.csv").file.tolist() == ["b/plate1_3.tif"]
    assert str(tmp_path) not in (made / "skipped.csv").read_text()
    assert "b/plate1_3.tif" not in (made / "items.csv").read_text()


def test_images_of_many_sizes_and_shades_work(capsys, tmp_path):
    d = class_folders(tmp_path / "data")
    image(d / "a" / "small.tif", size=9)
    image(d / "b" / "large.tif", size=40)
    image(d / "b" / "odd.tif", size=31)
    image(d / "a" / "colour.png", channels=3)
    image(d / "b" / "alpha.png", channels=4)
    code, out, err = cli(capsys, *run_words(d, tmp_path / "out"))
    assert code == 0, err
    assert "40 x 40 px, 3 channel(s)" in out


def t_one_class(d):
    return grouped(d, "11112222", labels="aaaaaaaa"), []


def t_one_example(d):
    class_folders(d)
    image(d / "rare" / "x.tif")
    return d, []


def t_blank(d):
    d.mkdir()
    np.savez(d / "c.npz", images=np.full((8, 32, 32), 7, np.uint8), label=np.array(list("abababab")))
    return d / "c.npz", []


def t_leave_out(d):
    return class_folders(d), ["--leave-out", "c"]


def t_model(d):
    return class_folders(d), ["--model", "oracle_9000"]


def t_no_model(d):
    return class_folders(d), ["--model", ""]


def t_folds_1(d):
    return class_folders(d), ["--folds", "1"]


def t_folds_negative(d):
    return class_folders(d), ["--folds", "-3"]


def grouped(d, groups, labels="abababab"):
    d.mkdir(exist_ok=True)
    img = np.random.default_rng(0).normal(50, 5, (len(labels), 32, 32))
    img[:, 8:20, 8:20] += 90
    np.savez(d / "c.npz", images=img.astype(np.uint8), label=np.array(list(labels)), group=np.array(list(groups)))
    return d / "c.npz"


def t_single_group(d):
    return grouped(d, "11111111"), []


def t_class_is_group(d):
    return grouped(d, "12121212"), []


TRAIN = {
    "one class": (t_one_class, ["1 class", "(a)"]),
    "leave out what is not there": (t_leave_out, ["c", "a, b"]),
    "unknown model": (t_model, "oracle_9000"),
    "empty model": (t_no_model, "model"),
    "one fold": (t_folds_1, "fold"),
    "minus three folds": (t_folds_negative, "fold"),
    "all in one group": (t_single_group, ""),
    "every class lives in a group of its own": (t_class_is_group, "group"),
}


@pytest.mark.parametrize("what", TRAIN)
def test_what_cannot_be_learned_is_refused(capsys, tmp_path, what):
    make, says = TRAIN[what]
    source, more = make(tmp_path / "data")
    first, second = train_words(source, tmp_path / "out", *more)
    code, _, err = cli(capsys, *first)
    assert code == 0, err
    refused(capsys, *second, says=says)
    check_clean(tmp_path / "out", ("21_annotate", "22_patches"))


@pytest.mark.parametrize(
    "make,says", [(t_one_example, "rare (1 cell) lives in one group"), (t_blank, "nothing but noise")]
)
def test_what_can_hardly_be_learned_is_said_and_learned(capsys, tmp_path, make, says):
    source, more = make(tmp_path / "data")
    for words in train_words(source, tmp_path / "out", *more):
        code, out, err = cli(capsys, *words)
        assert code == 0, err
    assert says in out and "leave" in out


def test_labels_outside_the_named_classes(capsys, tmp_path):
    d = class_folders(tmp_path / "data", ("a", "b", "typo"))
    refused(capsys, *run_words(d, tmp_path / "out", "--classes", "a,b"), says=["'typo'", "--classes"])
    check_clean(tmp_path / "out")


def test_columns_that_are_not_there(capsys, tmp_path):
    p = table(tmp_path, [dict(file=f"{c}.tif", label=c) for c in "abcd"])
    for flag, says in {
        "--label": ["'nope'", "'label'"],
        "--group": ["'nope'", "--group"],
        "--file": ["'nope'", "--file"],
    }.items():
        refused(capsys, *run_words(p, tmp_path / "out", flag, "nope"), says=says)
    check_clean(tmp_path / "out")


def test_a_group_pattern_that_finds_nothing(capsys, tmp_path):
    d = class_folders(tmp_path / "data")
    for bad in ("(slide\\d)", "plate\\d", "(", "*"):
        refused(capsys, *run_words(d, tmp_path / "out", "--group", bad), says=repr(bad))
    assert cli(capsys, *run_words(d, tmp_path / "out", "--group", "(plate\\d)"))[0] == 0
    from cellprotocols.dataset import read_dataset

    assert set(read_dataset(tmp_path / "out" / "21_annotate").items.group) == {"plate0", "plate1"}


@pytest.mark.parametrize(
    "more,says",
    [
        (["--size", "-5"], "size"),
        (["--size-um", "-5"], "um"),
        (["--size-um", "20"], "um"),
        (["--channels", "7"], "7"),
        (["--channels", "DAPI"], "DAPI"),
        (["--channels", "\u00b2"], "\u00b2"),
        (["--blocks", "3"], "group"),
        (["--blocks", "-3"], ""),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_options_out_of_range(capsys, tmp_path, more, says):
    d = class_folders(tmp_path / "data")
    refused(capsys, *run_words(d, tmp_path / "out", *more), says=says)
    assert not (tmp_path / "out" / "22_patches").exists()


# --- tables as people make them


def labels_of(capsys, source, out, *more):
    code, _, err = cli(capsys, "run", "chromatin", "--source", source, "--out", out, "--steps", "annotate", *more)
    assert code == 0, err
    from cellprotocols.dataset import read_dataset

    return read_dataset(out / "21_annotate").items


@pytest.mark.parametrize(
    "how",
    [
        "plain",
        "bom",
        "semicolon",
        "tab",
        "crlf",
        "cr",
        "quoted",
        "newline in a note",
        "spaces",
        "no last newline",
        "trailing comma",
    ],
)
def test_tables_as_people_make_them(capsys, tmp_path, how):
    for i, c in enumerate("abcd"):
        image(tmp_path / f"{c}.tif", seed=i)
    rows = [["file", "label", "group", "note"]] + [
        [f"{c}.tif", l, f"p{i}", "fine, really"] for i, (c, l) in enumerate(zip("abcd", "xyxy"))
    ]
    if how == "newline in a note":
        rows[2][3] = 'first "line"\nsecond, line'
    buffer = io.StringIO()
    csv.writer(
        buffer,
        delimiter={"semicolon": ";", "tab": "\t"}.get(how, ","),
        quoting=csv.QUOTE_ALL if how == "quoted" else csv.QUOTE_MINIMAL,
        lineterminator="\r\n" if how == "crlf" else "\n",
    ).writerows(rows)
    text = buffer.getvalue()
    if how == "spaces":
        text = "file,label,group,note\n" + "".join(
            f" {c}.tif , {l} , p{i} ,\n" for i, (c, l) in enumerate(zip("abcd", "xyxy"))
        )
    if how == "no last newline":
        text = text.rstrip("\n")
    if how == "trailing comma":
        text = text.replace("\n", ",\n")
    if how == "cr":
        text = text.replace("\n", "\r")
    (tmp_path / "cells.csv").write_bytes((b"\xef\xbb\xbf" if how == "bom" else b"") + text.encode())
    items = labels_of(capsys, tmp_path / "cells.csv", tmp_path / "out")
    assert items.label.tolist() == list("xyxy") and items.group.tolist() == ["p0", "p1", "p2", "p3"]
    assert items.file.tolist() == [f"{c}.tif" for c in "abcd"]


def test_a_trailing_comma_in_the_rows_only_does_not_shift_the_columns(capsys, tmp_path):
    for i, c in enumerate("abcd"):
        image(tmp_path / f"{c}.tif", seed=i)
    (tmp_path / "c.csv").write_text("file,label\n" + "".join(f"{c}.tif,{l},\n" for c, l in zip("abcd", "xyxy")))
    code, _, err = cli(
        capsys, "run", "chromatin", "--source", tmp_path / "c.csv", "--out", tmp_path / "out", "--steps", "annotate"
    )
    if code:
        assert code == 2 and err.count("\n") == 1
    else:
        from cellprotocols.dataset import read_dataset

        assert read_dataset(tmp_path / "out" / "21_annotate").items.label.tolist() == list("xyxy")


def test_a_short_row_counts_as_not_labelled(capsys, tmp_path):
    for i, c in enumerate("abcd"):
        image(tmp_path / f"{c}.tif", seed=i)
    (tmp_path / "c.csv").write_text("file,label,group\na.tif,x,1\nb.tif\nc.tif,y,2\nd.tif,y,3\n")
    code, _, err = cli(
        capsys, "run", "chromatin", "--source", tmp_path / "c.csv", "--out", tmp_path / "out", "--steps", "annotate"
    )
    assert code == 2 and "group is empty in 1 of 4" in err


def test_one_row(capsys, tmp_path):
    p = table(tmp_path, [dict(file="a.tif", label="x")])
    assert len(labels_of(capsys, p, tmp_path / "out")) == 1


def test_one_column_table_is_refused_not_split_at_a_letter(capsys, tmp_path):
    image(tmp_path / "a.tif")
    (tmp_path / "c.csv").write_text("file\na.tif\n")
    refused(capsys, *run_words(tmp_path / "c.csv", tmp_path / "out"), says="'label'")


def test_a_long_text_in_a_column_is_no_file_name(capsys, tmp_path):
    for i, c in enumerate("ab"):
        image(tmp_path / f"{c}.tif", seed=i)
    pd.DataFrame(dict(notes=["word " * 200, ""], label=["x", "y"], tile=["a.tif", "b.tif"])).to_csv(
        tmp_path / "c.csv", index=False
    )
    assert labels_of(capsys, tmp_path / "c.csv", tmp_path / "out").file.tolist() == ["a.tif", "b.tif"]


def test_a_table_of_latin_1_is_refused_by_name(capsys, tmp_path):
    image(tmp_path / "a.tif")
    (tmp_path / "c.csv").write_bytes("file,label\na.tif,zelle gr\u00f6\u00dfer\n".encode("latin-1"))
    code, _, err = cli(
        capsys, "run", "chromatin", "--source", tmp_path / "c.csv", "--out", tmp_path / "out", "--steps", "annotate"
    )
    assert code == 0 or (code == 2 and err.count("\n") == 1 and "c.csv" in err)


# --- names as people give them

HOSTILE = [
    "<script>alert(1)</script>".replace("/", "\u2215"),
    "a & b; \"quoted\" 'single'",
    "M\u00fcller \u7d30\u80de",
    "\U0001f9ec",
    "\U0001f469\u200d\U0001f52c",
    "T\u00a0cell",
    "x" * 120,
    "NA",
    "null",
    "02",
    "1e5",
    "True",
    "= 1+1",
    "% s %d {x}",
    "$x_1$",
    "with, comma",
    "-",
    "label",
    "prob_x",
    "a\\b",
    " lead",
]


QUICK = [HOSTILE[0], "NA"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow, id=ascii(n)[:24]) for n in HOSTILE]
)
def test_hostile_class_names_and_file_names(capsys, tmp_path, name):
    rng = np.random.default_rng(0)
    d = tmp_path / "data"
    for c in (name, "007"):
        for i in range(6):
            img = rng.normal(50, 5, (24, 24))
            img[6:18, 6 : (18 if c == name else 10)] += 90
            (d / c).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(d / c / f"{name[:60]} {i}.tif", img.astype(np.uint8))
    first, second = train_words(d, tmp_path / "out")
    for words in (
        first,
        second,
        ["run", "chromatin", "--out", tmp_path / "out", "--steps", "visualize", "--title", "about " + name],
    ):
        code, out, err = cli(capsys, *words)
        assert code == 0, (words, err)
    from cellprotocols.bundle import read_bundle
    from cellprotocols.dataset import read_dataset

    made = read_dataset(tmp_path / "out" / "24_train")
    said = {name.strip().replace("\u00a0", " "), name, name.strip()}
    assert set(made.items.label) - {"007"} <= said and set(made.items.label) - {"007"}
    assert set(made.items.predicted) <= said | {"007"}
    assert set(read_bundle(made.path / "bundle").classes) == set(made.items.label)
    page = (tmp_path / "out" / "26_visualize" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    shown = pd.read_csv(made.path / "classes.csv", dtype=str, keep_default_na=False)["class"]
    assert set(shown) == set(made.items.label)
    for c in shown:
        assert re.search(
            f"<t[dh][^>]*>({re.escape(html.escape(c))}|{re.escape(html.escape(c, quote=False))})</t", page
        ), f"the table of classes shows another name than {c!r}"


def test_line_break_in_a_class_name_is_refused_before_the_work(capsys, tmp_path):
    d = class_folders(tmp_path / "data", ("two\nlines", "b"))
    code, _, err = cli(capsys, *run_words(d, tmp_path / "out"))
    if code == 0:
        assert cli(capsys, *train_words(d, tmp_path / "out")[1])[0] == 0
    else:
        assert code == 2 and err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="names of any bytes are a Unix matter")
def test_file_names_that_are_no_text(capsys, tmp_path):
    d = class_folders(tmp_path / "data")
    os.rename(d / "a" / "plate0_0.tif", os.fsencode(d / "a") + b"/caf\xe9.tif")
    code, _, err = cli(capsys, *run_words(d, tmp_path / "out"))
    assert code == 0 or (code == 2 and err.count("\n") == 1 and "this should not happen" not in err), err


@pytest.mark.slow
def test_a_terminal_that_knows_ascii_only(tmp_path):
    d = class_folders(tmp_path / "data", ("M\u00fcller \U0001f9ec", "b"))
    done = process(*run_words(d, tmp_path / "out"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    done = process(*run_words(d, tmp_path / "out", "--classes", "b"), PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


# --- disks and folders


SLOW = pytest.mark.slow
DISKS = [(errno.ENOSPC, "disk is full", []), (errno.EROFS, "read-only", []), (errno.EACCES, "may not write", [SLOW])]


@pytest.mark.parametrize(
    "code,says,step",
    [
        pytest.param(c, w, s, marks=m or ([SLOW] if s in ("train", "visualize") else []), id=f"{s}, {w}")
        for c, w, m in DISKS
        for s in ("annotate", "patches", "train", "visualize")
    ],
)
def test_full_and_read_only_disks(capsys, tmp_path, monkeypatch, small_run, code, says, step):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(small_run, out)
    for s in STEPS[STEPS.index(step) :]:
        shutil.rmtree(out / step_folder("chromatin", s), ignore_errors=True)
    source = small_run.parent / "data"
    shutil.copytree(source, tmp_path / "data")
    real = open

    def full(file, mode="r", *a, **k):
        if isinstance(file, (str, Path)) and set(mode) & set("wax+") and str(file).startswith(str(out)):
            raise OSError(code, os.strerror(code), str(file))
        return real(file, mode, *a, **k)

    monkeypatch.setattr("builtins.open", full)
    monkeypatch.setattr(io, "open", full)
    mkdir = os.mkdir

    def no_mkdir(path, *a, **k):
        if str(path).startswith(str(out)):
            raise OSError(code, os.strerror(code), str(path))
        return mkdir(path, *a, **k)

    if code == errno.EROFS:
        monkeypatch.setattr(os, "mkdir", no_mkdir)
    words = (
        run_words(tmp_path / "data", out)
        if step == "annotate"
        else ["run", "chromatin", "--out", out, "--steps", step]
        + (["--model", "probe", "--folds", "2", "--no-random-split"] if step == "train" else [])
    )
    refused(capsys, *words, says=says)
    assert not (out / step_folder("chromatin", step)).exists()


def test_disk_that_fills_up_after_the_dataset_was_begun(capsys, tmp_path, monkeypatch, small_run):
    "The tables and the report that a step writes beside its dataset fill the disk, too."
    import shutil

    out = tmp_path / "out"
    shutil.copytree(small_run, out)
    shutil.rmtree(out / "24_train")
    shutil.rmtree(out / "26_visualize")
    real = pd.DataFrame.to_csv

    def full(self, path=None, *a, **k):
        if path is not None and ".scores." in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(self, path, *a, **k)

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    words = [
        "run",
        "chromatin",
        "--out",
        out,
        "--steps",
        "train",
        "--model",
        "probe",
        "--folds",
        "2",
        "--no-random-split",
    ]
    refused(capsys, *words, says="disk is full")
    monkeypatch.undo()
    assert cli(capsys, *words)[0] == 0, "with space again the same line goes on"


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    "A finished small run: data/ and out/."
    home = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(0)
    for k, c in enumerate("ab"):
        (home / "data" / c).mkdir(parents=True)
        for i in range(6):
            img = rng.normal(50, 5, (24, 24))
            img[6:18, 6 : (18 if k else 10)] += 90
            tifffile.imwrite(home / "data" / c / f"{i}.tif", img.astype(np.uint8))
    first, second = train_words(home / "data", home / "out")
    for words in (first, second, ["run", "chromatin", "--out", home / "out", "--steps", "visualize"]):
        assert main([str(w) for w in words]) == 0
    return home / "out"


def test_out_is_a_file(capsys, tmp_path):
    d = class_folders(tmp_path / "data")
    (tmp_path / "out.txt").write_text("mine")
    refused(capsys, *run_words(d, tmp_path / "out.txt"), says="out.txt")
    assert (tmp_path / "out.txt").read_text() == "mine"


def test_out_holds_somebody_else_s_files(capsys, tmp_path):
    d = class_folders(tmp_path / "data")
    (tmp_path / "out" / "21_annotate").mkdir(parents=True)
    (tmp_path / "out" / "21_annotate" / "thesis.txt").write_text("mine")
    refused(capsys, *run_words(d, tmp_path / "out"), says="not a dataset")
    assert [p.name for p in (tmp_path / "out" / "21_annotate").iterdir()] == ["thesis.txt"]


def test_practice_data_into_an_out_that_cannot_be_made(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    refused(capsys, "run", "chromatin", "--out", tmp_path / "file" / "out", "--steps", "annotate")


def test_finished_with_other_settings(capsys, tmp_path, small_run):
    "A finished folder is never changed: the same line is done, another line is refused in words."
    data, before = small_run.parent / "data", {p: p.stat().st_mtime_ns for p in small_run.rglob("*") if p.is_file()}
    code, out, _ = cli(capsys, *run_words(data, small_run))
    assert code == 0 and out.count("done before") == 2
    said = refused(
        capsys, *run_words(data, small_run, "--classes", "b,a"), says=["21_annotate", "other settings", "classes"]
    )
    assert not re.search("[0-9a-f]{40}", said), "a checksum is nothing to read"
    refused(capsys, *run_words(data, small_run, "--size", "32"), says=["22_patches", "size was 0 and is now 32"])
    refused(
        capsys,
        "run",
        "chromatin",
        "--out",
        small_run,
        "--steps",
        "train",
        "--model",
        "probe",
        "--folds",
        "3",
        "--no-random-split",
        says=["24_train", "folds was 2 and is now 3"],
    )
    assert before == {p: p.stat().st_mtime_ns for p in small_run.rglob("*") if p.is_file()}


def test_data_that_changed_since_are_said_to_have_changed(capsys, tmp_path):
    d = class_folders(tmp_path / "data")
    assert cli(capsys, *run_words(d, tmp_path / "out"))[0] == 0
    image(d / "a" / "plate0_0.tif", seed=99)
    said = refused(capsys, *run_words(d, tmp_path / "out"), says="21_annotate")
    assert not re.search("[0-9a-f]{40}", said), "a checksum is nothing to read"


def test_a_step_before_its_predecessor(capsys, tmp_path):
    for step, needs in dict(patches="21_annotate", train="22_patches", visualize="24_train").items():
        refused(capsys, "run", "chromatin", "--out", tmp_path, "--steps", step, says=f"run {needs} first")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_wrong_kind(capsys, small_run, tmp_path):
    refused(
        capsys,
        "chromatin",
        "train",
        "--source",
        small_run / "21_annotate",
        "--out",
        tmp_path / "x",
        says=["labels", "patches"],
    )
    refused(
        capsys,
        "chromatin",
        "patches",
        "--source",
        small_run.parent / "data",
        "--out",
        tmp_path / "x",
        says="21_annotate",
    )
    refused(
        capsys, "chromatin", "visualize", "--source", small_run / "22_patches", "--out", tmp_path / "x", says="24_train"
    )


def test_an_out_folder_behind_a_link(capsys, tmp_path):
    "The work folder lies on another disk and is reached by a link: paths between the folders must still hold."
    d = class_folders(tmp_path / "data")
    (tmp_path / "big" / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "big" / "disk" / "deep")
    code, _, err = cli(capsys, *run_words(d, tmp_path / "link" / "out"))
    assert code == 0, err


def test_relative_paths_and_another_working_folder(capsys, tmp_path, monkeypatch):
    class_folders(tmp_path / "data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli(capsys, *run_words("data", "out"))[0] == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = cli(capsys, *train_words("../data", "../out")[1])
    assert code == 0, err


def test_a_finished_folder_may_move_with_its_data(capsys, tmp_path, small_run):
    import shutil

    shutil.copytree(small_run.parent, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "out" / "26_visualize")
    assert cli(capsys, "run", "chromatin", "--out", tmp_path / "moved" / "out", "--steps", "visualize")[0] == 0


def test_a_damaged_input_folder_is_noticed(capsys, tmp_path, small_run):
    import shutil

    shutil.copytree(small_run / "22_patches", tmp_path / "22_patches")
    with open(tmp_path / "22_patches" / "items.csv", "a") as f:
        f.write("x\n")
    refused(
        capsys,
        "chromatin",
        "train",
        "--source",
        tmp_path / "22_patches",
        "--out",
        tmp_path / "24_train",
        says="items.csv",
    )


def test_a_broken_pipe_is_no_alarm():
    import shlex

    line = f"{shlex.quote(sys.executable)} -c 'import sys; from cellprotocols.cli import main; sys.exit(main())' run chromatin --help | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT)
    assert "this should not happen" not in done.stderr and "Traceback" not in done.stderr


# --- the page


@pytest.mark.parametrize("protocol", [p for p in PROTOCOLS if built_steps(p)])
def test_every_protocol_has_what_its_page_needs(protocol, tmp_path):
    import ast
    from importlib import import_module

    from cellprotocols.cli import page_code
    from cellprotocols.parser import READING, make_parser, reading_options

    reading = {o.name: {int: 2, float: 0.5, bool: True}.get(o.type, "1") for o in reading_options(protocol)}
    code = page_code(protocol, str(tmp_path), str(tmp_path / "out"), "a,b", "o'neill", **reading)
    calls = {
        n.func.id: n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    for name, step in dict(make_annotator="annotate", make_explorer="visualize").items():
        module = import_module(f"cellprotocols.{protocol}.{step}")
        options = {o.name for o in read_options(Path(module.__file__).read_text(encoding="utf-8"), name)}
        assert {k.arg for k in calls[name].keywords if k.arg} <= options, f"{protocol}.{step}.{name}"
    words = ast.literal_eval(calls["show_protocol"].args[3])
    told = vars(make_parser().parse_args(["run", protocol, *words]))
    assert {"axes", "series"} <= set(reading) and "px_um" in reading or protocol == "strings"
    files = {k: v for k, v in told.items() if v == str(Path("1").resolve())}  # the page runs elsewhere
    assert {k: told[k] for k in reading} == reading | {k: files[k] for k in reading if k in files}
    infers = {o.name for o in read_options(step_file(protocol, "infer").read_text("utf-8"))}
    assert ast.literal_eval(calls["show_protocol"].args[7]) == {k: reading[k] for k in READING if k in infers}
    (labels,) = (ast.literal_eval(k.value) for k in calls["make_annotator"].keywords if not k.arg)
    first = {o.name for o in read_options(step_file(protocol, "annotate").read_text("utf-8"))}
    assert set(labels) == set(reading) & first
    assert told["source"] == str(tmp_path) and (
        protocol != "artifacts" or told["painted"] == str(tmp_path / "out" / "masks.jsonl")
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_demo_runs_every_step_with_what_makes_practice_quick(protocol, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = []
    for step in built_steps(protocol):
        module = importlib.import_module(f"cellprotocols.{protocol}.{step}")
        monkeypatch.setattr(module, "run", lambda step=step, **given: ran.append((step, given)))
    words = [] if protocol == "chromatin" else [protocol]
    assert cli(capsys, "demo", *words)[0] == 0
    folder = Path("work", "_".join(["demo", *words]))
    assert [step for step, _ in ran] == built_steps(protocol)
    for step, given in ran:
        quick = getattr(importlib.import_module(f"cellprotocols.{protocol}.{step}"), "practice", {})
        assert given.items() >= quick.items() and Path(given["out"]) == folder / step_folder(protocol, step)


def test_a_demo_of_a_protocol_that_is_not_known_says_which_there_are(capsys):
    code, _, err = cli(capsys, "demo", "chromatim")
    assert code == 2 and "did you mean 'chromatin'" in err and "Traceback" not in err
    assert cli(capsys, "demo", "hpa")[2].count("organelles") and cli(capsys, "demo", "--out")[0] == 2


def test_notebooks_are_copied_and_a_copy_with_own_settings_stays(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, _ = cli(capsys, "notebooks", "my work", "--protocol", "strings")
    assert code == 0 and "6 notebooks copied" in said and len(list(Path("my work", "strings").glob("*.ipynb"))) == 6
    own = Path("my work", "strings", "31_annotate.ipynb")
    own.write_text("mine")
    code, said, _ = cli(capsys, "notebooks", "my work")
    assert code == 0 and "24 notebooks copied" in said and own.read_text() == "mine"
    assert "stay as they are" in cli(capsys, "notebooks", "my work")[1]
    code, _, err = cli(capsys, "notebooks", own)
    assert code == 2 and "this is a file" in err


@pytest.mark.parametrize(
    "words",
    [
        ("cell_lines", "selfsupervise", "--encoder", "measured"),
        ("strings", "infer", "--gate", "none", "--model", "nowhere"),
    ],
)
def test_a_word_is_no_file_whatever_its_option_is_called_elsewhere(words, tmp_path, capsys):
    assert main([*words, "--source", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "nowhere" in said and words[2] not in said
