"The words of the command line: the nearest one is named, examples can be typed, help fits the protocol, the Tab key works."

import os
import re
import shlex
import subprocess
import sys

import pytest

from cellprotocols.cli import main
from cellprotocols.errors import UserError
from cellprotocols.parser import EXAMPLES, FILES, USUAL, make_parser, read_words, write_examples
from cellprotocols.protocols import PROTOCOLS, built_steps, check_protocol, read_step

BUILT = [p for p in PROTOCOLS if built_steps(p)]
COMMANDS = [f"{c} {p}" for c in ("run", "app") for p in BUILT] + [f"{p} {s}" for p in BUILT for s in built_steps(p)]
MISSING = [p for p in PROTOCOLS if not built_steps(p)]


def refused(line):
    with pytest.raises(UserError) as e:
        read_words(shlex.split(line))
    return str(e.value)


@pytest.mark.parametrize(
    "line, says",
    [
        ("rum chromatin", "did you mean 'run'?"),
        ("Run chromatin", "did you mean 'run'?"),
        ("chromatn train", "did you mean 'chromatin'?"),
        ("run Chromatin", "type chromatin"),
        ("run artefacts", "artefacts is called artifacts here"),
        ("app dirt", "type artifacts"),
        ("run cnn-annotator", "is called chromatin here; type chromatin"),
        ("chromatin trian", "did you mean 'train'?"),
        ("chromatin 24_train", "type train"),
        ("chromatin 22", "type patches"),
        ("artifacts selfsupervised", "did you mean 'selfsupervise'?"),
        ("train", "cellprotocols chromatin train"),
        ("help", "type cellprotocols --help"),
        ("run", "a protocol: cell_lines, chromatin, strings, organelles, artifacts"),
        ("chromatin", "a step: annotate, patches"),
        ("run chromatin --epoch 3", "did you mean '--epochs'?"),
        ("run chromatin --epoks=3", "did you mean '--epochs'?"),
        ("run chromatin --no-smoth", "did you mean '--no-smooth'?"),
        ("run chromatin --px_um 1", "did you mean '--px-um'?"),
        ("chromatin patches --folds 3", "chromatin train has it"),
        ("run artifacts --folds 3", "cell_lines train has it"),
        ("chromatin selfsupervise --out", "--out wants a value"),
        ("run chromatin --folds many", "--folds 'many'; needed: a whole number"),
        ("run chromatin --minutes 1,5", "needed: a number"),
        ("run chromatin my cells", "names with spaces want quotes"),
        ("--qiet list", "did you mean '--quiet'?"),
        ("run cellpose", "chromatin infer --nuclei"),
        ("cellpose", "chromatin infer --nuclei"),
        ("run pearls", "one of cell_lines, chromatin, strings, organelles, artifacts"),
    ],
)
def test_the_word_that_was_meant_is_named(line, says):
    assert says in refused(line)


@pytest.mark.parametrize("protocol", MISSING)
def test_what_is_not_built_says_so(protocol):
    for line in (f"run {protocol}", f"app {protocol}", f"{protocol} train", protocol):
        assert f"the protocol {protocol} is not built yet" in refused(line)


@pytest.mark.parametrize("word, name", [("hpa", "organelles"), ("CLANet", "cell_lines"), ("embryos", "strings")])
def test_names_of_published_systems_lead_to_the_protocol(word, name):
    with pytest.raises(UserError, match=f"{word} is called {name} here"):
        check_protocol(word)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_come_first_and_can_be_typed(command, capsys):
    with pytest.raises(SystemExit) as e:
        main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert e.value.code == 0 and text.index("examples:") < text.index("--source") < text.index("always:")
    lines = re.findall(r"^  cellprotocols (.*?)(?:   .*)?$", write_examples(command), re.M)
    assert len(lines) >= 2 and (command.split()[0] not in ("run", "app") or len(lines) == 3)
    for line in lines:
        assert f"cellprotocols {line}" in text and read_words(shlex.split(line)).command == command.split()[0]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "artifacts" in c])
def test_a_protocol_of_images_does_not_speak_of_movies(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert not re.search("movie|nucle[iu]|clicks", capsys.readouterr().out)


@pytest.mark.parametrize("protocol", BUILT)
def test_usual_options_and_files_are_options(protocol):
    names = {o.name for s in built_steps(protocol) for o in read_step(protocol, s).options} | {"steps"}
    assert set(USUAL[protocol]) <= names
    assert f"run {protocol}" in EXAMPLES and f"app {protocol}" in EXAMPLES
    for step in built_steps(protocol):
        for o in read_step(protocol, step).options:
            asks = re.search(r"\b(folder|file|zips|log|table|safetensors|images of)\b", o.help.split(";")[0], re.I)
            known = o.name in FILES or o.name in read_step(protocol, step).takes
            assert known or not asks or o.name in ("file", "group", "pattern", "device", "px_um"), (step, o)


def test_only_what_is_named_is_read(monkeypatch):
    import cellprotocols.parser as parser

    read, real = [], parser.read_step
    monkeypatch.setattr(parser, "read_step", lambda p, s: (read.append((p, s)), real(p, s))[1])
    make_parser(["artifacts", "train"])
    assert set(read) == {("artifacts", "train")}
    make_parser(["list"])
    assert len(set(read)) == 1


def test_missing_files_are_named_before_anything_runs(capsys, tmp_path, monkeypatch):
    import cellprotocols.cli as c

    ran = []
    monkeypatch.setattr(c, "run_steps", lambda *a, **k: ran.append(a))
    (tmp_path / "labels.jsonl").touch()
    for option in ("log", "gate", "movie", "nuclei", "points"):
        assert main(["run", "chromatin", f"--{option}", str(tmp_path / "nowhere")]) == 2
        err = capsys.readouterr().err
        assert f"--{option} " in err and "there is no such file or folder" in err and err.count("\n") == 1
    assert main(["run", "chromatin", "--log", str(tmp_path / "label.jsonl")]) == 2
    assert "did you mean 'labels.jsonl'?" in capsys.readouterr().err
    assert not ran


def test_an_unknown_model_is_refused_before_anything_runs(capsys, tmp_path):
    assert main(["run", "chromatin", "--model", "mesured", "--out", str(tmp_path / "out")]) == 2
    assert "did you mean 'measured'?" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_practice_is_announced_first_and_quiet_is_quiet(capsys, tmp_path, monkeypatch):
    import cellprotocols.cli as c

    def run(self, out, **args):
        print("a line")
        assert bool(os.environ.get("CELLPROTOCOLS_QUIET")) == self.quiet

    monkeypatch.delenv("CELLPROTOCOLS_QUIET", raising=False)
    for words, quiet in ([], False), (["--quiet"], True):
        step = type("Step", (), dict(run=run, quiet=quiet))()
        monkeypatch.setattr(c, "import_module", lambda name: step)
        out = str(tmp_path / "out")
        assert main(["run", "chromatin", "--out", out, *words]) == 0
        said, err = capsys.readouterr()
        first = (err if quiet else said).splitlines()[0]
        assert first.startswith("Practice (synthetic) data: no --source is given")
        assert said == f"{tmp_path}/out/26_visualize\n" if quiet else "a line" in said
        assert main([*words, "artifacts", "patches", "--source", out, "--out", out]) == 0
        assert "Practice" not in "".join(capsys.readouterr())
        assert main([*words, "chromatin", "infer", "--model", out, "--movie", str(tmp_path), "--out", out]) == 0
        assert "Practice" not in "".join(capsys.readouterr())
    assert "CELLPROTOCOLS_QUIET" not in os.environ


def completions(line):
    "What the shell is offered after `line`."
    code = "import sys; from cellprotocols.cli import main; sys.argv[0] = 'cellprotocols'; main()"
    words = shlex.split(line)
    asked = dict(_ARGCOMPLETE="1", _ARGCOMPLETE_IFS="\n", COMP_LINE=line, COMP_POINT=str(len(line)), COMP_TYPE="9")
    return subprocess.run(
        [sys.executable, "-c", f"import os, sys\nos.dup2(1, 8)\n{code}", *words[1:]],
        env=dict(os.environ, **asked),
        capture_output=True,
        text=True,
    ).stdout.split()


@pytest.mark.skipif(os.name == "nt", reason="completion is a Unix shell's matter")
@pytest.mark.parametrize(
    "line, offers",
    [
        ("cellprotocols ru", ["run"]),
        ("cellprotocols run chro", ["chromatin"]),
        ("cellprotocols artifacts sel", ["selfsupervise"]),
        ("cellprotocols run chromatin --epo", ["--epochs"]),
        ("cellprotocols chromatin train --model mea", ["measured"]),
    ],
)
def test_the_tab_key(line, offers):
    pytest.importorskip("argcomplete")
    assert completions(line) == offers
