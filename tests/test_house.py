"The house: every module has one notebook of its name, imports point down, nothing unpickles, nothing heavy at the front door."

import ast
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from house import NBS, ROOT, definitions, is_exported, marks, measure, read_cells, read_table, text_of, write_table

MODULES = sorted(p for p in (ROOT / "cellprotocols").rglob("*.py") if p.name not in ("__init__.py", "_modidx.py"))
PROTOCOLS = {"cell_lines": 1, "chromatin": 2, "strings": 3, "organelles": 4, "artifacts": 5}
STEPS = {"annotate": 1, "patches": 2, "selfsupervise": 3, "train": 4, "infer": 5, "visualize": 6}
PAGES = {"index", "glossary"}  # notebooks without a module

# Each row may import from itself (without circles) and from the rows above it in this list.
# One word a line, in order, so that two new tools do not meet in one line.
ROWS = [
    """
    abstention
    agreement
    answers
    boxscores
    calibration
    cellviews
    chunks
    cultureviews
    dataset
    device
    docstrings
    doctor
    errors
    clocktimes
    filenames
    files
    galleries
    hints
    images
    instanceap
    intervals
    invalid
    labellog
    layouts
    locations
    maskscores
    masktext
    metrics
    mirror
    names
    operating
    origins
    overlays
    pictures
    plots
    progress
    protocols
    scales
    sheets
    sources
    split
    style
    submissions
    synth
    synth_cultures
    synth_dirt
    synth_embryos
    synth_organelles
    tables
    tiff
    tiffpages
    vendors
    viz
    workers
    writer
    """,
    """
    boxes
    boxsheets
    boxcandidates
    boxtracks
    burntin
    cellcrops
    celldepths
    celledits
    cellfiles
    cellplanes
    cellregions
    cells
    cellpolygons
    cellsets
    centres
    channelchecks
    channelfiles
    clicks
    clusters
    coco
    compartments
    confluency
    corrections
    dust
    embryosets
    exports
    fill
    flatfield
    foundshapes
    framecuts
    framesets
    graphsegment
    h5ad
    imagesets
    labelled
    levels
    light
    maskfiles
    movies
    naparifiles
    objects
    patches
    patterns
    pixels
    proposals
    quality
    regiongroups
    ridges
    sequences
    sizes
    stamps
    texture
    tiles
    tracks
    usual
    yolo
    """,
    """
    architectures
    augment
    autoencoder
    smallframes
    backbones
    bags
    batcheffect
    batches
    boxmap
    boxscorer
    cam
    cellnet
    cellpool
    cellrules
    checkpoints
    classify
    crossval
    culturebags
    cultures
    cultureset
    cutpaste
    dino
    domain
    drift
    embed
    embedded
    features
    inputs
    locationmodel
    losses
    maps
    measured
    mil
    multicalls
    multicrop
    multilabel
    predict
    probe
    pseudomasks
    published
    recipes
    regions
    screen
    suggest
    teach
    timesegments
    train
    unet
    vicreg
    weak
    """,
    """
    adapt
    annotate
    app
    bundle
    calls
    celleditor
    cellpage
    cellreport
    culturecalls
    dirt
    drawing
    explore
    fielddomain
    fields
    frames
    grid
    judged
    linereport
    mappage
    maskreport
    maskverdict
    methods
    newfields
    onnxparts
    opener
    painted
    places
    pointmap
    points
    report
    review
    sections
    segmenters
    serve
    share
    steps
    stringexplorer
    stringreport
    zoo
    """,
    """
    cli
    notebooks
    parser
    scale
    """,
]
ROW = {name: i for i, row in enumerate(ROWS) for name in row.split()}


def default_exp(nb):
    for cell in read_cells(nb):
        if m := re.search(r"^#\|\s*default_exp\s+(\S+)", "".join(cell["source"]), re.M):
            return m[1]


def own_imports(py):
    "Names of the cellprotocols modules that a file imports, anywhere in it. (nbdev writes imports as relative ones.)"
    package = py.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(py.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            full = (
                ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
                if node.level
                else node.module
            )
            if full == "cellprotocols":
                yield from (a.name for a in node.names if not a.name.startswith("__"))
            elif full.startswith("cellprotocols."):
                yield full[14:]
        elif isinstance(node, ast.Import):
            yield from (a.name[14:] for a in node.names if a.name.startswith("cellprotocols."))


@pytest.mark.parametrize("nb", NBS, ids=lambda p: p.relative_to(ROOT / "nbs").as_posix())
def test_notebook_sits_where_its_module_does(nb):
    rel, exp = nb.relative_to(ROOT / "nbs"), default_exp(nb)
    if rel.stem in PAGES:
        assert exp is None
    elif len(rel.parts) == 1:
        assert exp == rel.stem
    else:
        protocol, (number, step) = rel.parts[0], rel.stem.split("_", 1)
        assert number == f"{PROTOCOLS[protocol]}{STEPS[step]}", (
            f"{rel}: the number should be protocol digit + step digit"
        )
        assert exp == f"{protocol}.{step}"


@pytest.mark.parametrize("nb", NBS, ids=lambda p: p.relative_to(ROOT / "nbs").as_posix())
def test_stored_pictures_are_small(nb):
    outputs = [o for c in read_cells(nb) for o in c.get("outputs", [])]
    sizes = [len(v) * 3 // 4 for o in outputs for k, v in o.get("data", {}).items() if k.startswith("image/")]
    assert max(sizes, default=0) <= 150_000, "python tools/run_notebooks.py stores them small"


def test_every_module_has_its_notebook_and_no_two_share_one():
    exported = [e for e in map(default_exp, NBS) if e]
    assert len(set(exported)) == len(exported), "two notebooks write one module: the later would win in silence"
    names = {p.relative_to(ROOT / "cellprotocols").with_suffix("").as_posix().replace("/", ".") for p in MODULES}
    assert names == set(exported)


def test_no_cell_exports_into_another_module_or_imports_everything():
    for nb in NBS:
        for cell in read_cells(nb):
            src = "".join(cell["source"])
            assert not re.search(r"^#\|\s*export[ \t]+\S", src, re.M), f"{nb.name}: a cell exports into another module"
            if re.search(r"^#\|\s*exporti?\b", src, re.M):
                assert "import *" not in src, f"{nb.name}: import * in an exported cell"


@pytest.mark.parametrize("py", MODULES, ids=lambda p: p.relative_to(ROOT / "cellprotocols").as_posix())
def test_imports_point_down(py):
    rel = py.relative_to(ROOT / "cellprotocols")
    for target in own_imports(py):
        top = target.split(".")[0]
        if len(rel.parts) == 1:  # a tool
            assert top not in PROTOCOLS, f"{rel} imports the protocol {top}: a tool never imports a protocol"
            assert ROW[top] <= ROW[rel.stem], f"{rel} imports {top}, which sits in a higher row"
        else:
            assert top not in PROTOCOLS or top == rel.parts[0], (
                f"{rel} imports {top}: protocols never import each other"
            )


def test_every_module_has_a_row():
    assert {p.stem for p in MODULES if p.parent.name == "cellprotocols"} <= set(ROW), "give a new tool its row in ROWS"


def test_every_tool_is_in_the_index():
    index = (ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8")
    tools = {nb.stem for nb in (ROOT / "nbs").glob("*.ipynb")} - PAGES
    assert {t for t in tools if f"| [{t}]({t}.ipynb) | " not in index} == set()


def test_no_circles():
    edges = {
        p.relative_to(ROOT / "cellprotocols").with_suffix("").as_posix().replace("/", "."): set(own_imports(p))
        for p in MODULES
    }

    def walk(name, trail):
        assert name not in trail, " -> ".join([*trail, name])
        for nxt in edges.get(name, ()):
            walk(nxt, [*trail, name])

    for name in edges:
        walk(name, [])


def test_no_module_hides_the_standard_library():
    for p in MODULES:
        assert p.stem not in sys.stdlib_module_names, p


# What a model file from a stranger could use to run code. `eval(` as a method (`model.eval()`) is fine.
BANNED = [
    r"\bpickle\b",
    r"load_learner",
    r"weights_only\s*=\s*False",
    r"allow_pickle\s*=\s*True",
    r"read_pickle",
    r"\.export\(\s*['\"]",
    r"(?<![\w.])eval\(",
    r"torch\.load\((?![^)\n]*weights_only=True)",
    r"joblib",
]


@pytest.mark.parametrize("pattern", BANNED)
def test_nothing_unpickles(pattern):
    for p in [*MODULES, *(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        code = "\n".join(line.split("#")[0] for line in p.read_text(encoding="utf-8").splitlines())
        assert not re.search(pattern, code), f"{p.relative_to(ROOT)} uses {pattern}"


def test_nothing_exported_imports_nbdev_and_fastai_lives_in_train_alone():
    for p in MODULES:
        names = {
            a
            for n in ast.walk(ast.parse(p.read_text(encoding="utf-8")))
            if isinstance(n, (ast.Import, ast.ImportFrom))
            for a in ([n.module or ""] if isinstance(n, ast.ImportFrom) else [x.name for x in n.names])
        }
        tops = {n.split(".")[0] for n in names}
        assert "nbdev" not in tops, p
        if p.relative_to(ROOT / "cellprotocols").as_posix() != "train.py":
            assert "fastai" not in tops, p


def test_public_functions_of_the_library_say_what_they_do():
    for p in MODULES:
        for node in ast.parse(p.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{p.name}: {node.name} has no docstring"


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_front_door_is_light():
    assert not loaded_after("import cellprotocols") & {"torch", "numpy", "pandas", "fastai", "timm"}
    assert not loaded_after("import cellprotocols.cli") & {"torch", "numpy", "pandas", "fastai", "timm", "skimage"}
    assert "fastai" not in loaded_after("import cellprotocols.train")


def test_one_home_for_the_version():
    from configparser import ConfigParser

    import cellprotocols

    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini")
    assert cellprotocols.__version__ == ini["DEFAULT"]["version"]
    assert "[project]" not in (ROOT / "pyproject.toml").read_text()


def test_no_traces_of_a_workplace():
    "No absolute paths of somebody's machine, no registry hosts, no loose ends in what is committed."
    out = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if out.returncode:
        pytest.skip("not a git checkout")
    loose = "|".join(["TO" + "DO", "FIX" + "ME"])
    rule = re.compile(
        r"/(?:home|root|Users)/\w+|/work/(?:main|shared)|" + rf"\b(?:{loose})\b" + "|pypi" + r"\.org|python" + "hosted"
    )
    for name in out.stdout.split("\n"):
        p = ROOT / name
        if (
            p.suffix in {".py", ".md", ".ini", ".toml", ".txt", ".ipynb", ".sh", ".js", ".css"}
            and p.is_file()
            and p != Path(__file__)
        ):
            found = rule.search(p.read_text(encoding="utf-8"))
            assert not found, f"{name}: {found[0]}"


# --- the table of the house: the worst counts, not the average


def test_the_table_of_the_house():
    "Printed with `pytest -s`, or by `python tests/house.py`."
    print("\n" + write_table(read_table()))


@pytest.mark.parametrize(
    "nb", [n for n in NBS if n.stem not in PAGES], ids=lambda p: p.relative_to(ROOT / "nbs").as_posix()
)
def test_code_reads_like_the_rest(nb):
    row = measure(nb)
    assert row["over120"] == 0, f"{row['over120']} lines of code over 120 characters, the widest {row['widest']}"
    assert row["joined"] == 0, f"{row['joined']} lines with two statements"
    assert row["longest"] <= 45, f"a cell of {row['longest']} lines"
    assert row["over30"] <= max(2, row["exports"] / 6), (
        f"{row['over30']} of {row['exports']} exported cells over 30 lines"
    )
    assert row["shown"] >= 0.9, f"only {row['shown']:.0%} of the exported cells are shown at once"
    if len(nb.relative_to(ROOT / "nbs").parts) == 2:  # a step
        assert row["exports"] <= 8 and row["lines"] <= 220, (
            f"a step of {row['exports']} exported cells, {row['lines']} lines: move what it does into tools"
        )
        assert row["cells"] <= 36, f"a step notebook of {row['cells']} cells"


HEADINGS = ["Settings", "Load", "Do", "Look", "Check", "Save", "If it went wrong"]
STEP_NBS = [n for n in NBS if len(n.relative_to(ROOT / "nbs").parts) == 2]


@pytest.mark.parametrize("nb", STEP_NBS, ids=lambda p: p.stem)
def test_a_step_reads_like_a_protocol(nb):
    "A sentence before each definition; tests and imports are folded; examples have a value; the same headings everywhere."
    cells = read_cells(nb)
    heads = re.findall(r"^## (.+)$", "\n".join(text_of(c) for c in cells if c["cell_type"] == "markdown"), re.M)
    if nb.stem.endswith("annotate"):  # a person looks, then labels
        assert sorted(heads) == sorted(HEADINGS), heads
    else:
        assert heads == HEADINGS, heads
    for before, cell in zip(cells, cells[1:], strict=False):
        text = text_of(cell)
        if cell["cell_type"] != "code":
            continue
        assert "__doc__" not in text, f"an example that prints a docstring: {text[:60]}"
        folded = bool(marks(cell) & {"export", "hide", "default_exp"})
        assert cell["metadata"] == ({"jupyter": {"source_hidden": True}} if folded else {}), "run `make export`"
        if is_exported(cell) and definitions(text):
            assert before["cell_type"] == "markdown", f"no sentence before {definitions(text)[0].name}"
        if not folded:
            assert not re.search(r"^(test_\w+|expect_fail)\(", text, re.M), f"a test that is not folded: {text[:60]}"


def wide_lines(py):
    "Lines over 120 characters; a text that stands in one piece may be longer."
    with tokenize.open(py) as f:
        tokens = list(tokenize.generate_tokens(f.readline))
    texts = {n for t in tokens if "STRING" in tokenize.tok_name[t.type] for n in range(t.start[0], t.end[0] + 1)}
    lines = py.read_text(encoding="utf-8").splitlines()
    return [n for n, line in enumerate(lines, 1) if len(line) > 120 and n not in texts]


def test_tests_and_tools_are_narrow_enough():
    files = [p for d in ("tests", "tools", "benchmarks") for p in (ROOT / d).glob("*.py")]
    wide = {p.name: found for p in files if (found := wide_lines(p))}
    assert not wide, wide
