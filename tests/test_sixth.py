"The smallest sixth protocol: under 100 lines, all of house tools, and everything that the house gives comes with it."

from pathlib import Path

import pandas as pd
import pytest

import cellprotocols
from cellprotocols import parser, protocols
from cellprotocols.cli import main, run_steps
from cellprotocols.dataset import DatasetError, check_dataset

HOME = Path(__file__).parent / "sixth"
STEPS = ["annotate", "infer", "visualize"]


@pytest.fixture
def counts(monkeypatch):
    "The sixth protocol beside the five; one of the package would lie in nbs/counts and be exported."

    def step_file(protocol, step):
        return (HOME if protocol == "counts" else Path(cellprotocols.__file__).parent) / protocol / f"{step}.py"

    monkeypatch.setattr(cellprotocols, "__path__", [*cellprotocols.__path__, str(HOME)])
    monkeypatch.setitem(protocols.PROTOCOLS, "counts", "How many nuclei has each field?")
    for module in (protocols, parser):
        monkeypatch.setattr(module, "step_file", step_file)


def test_it_has_under_a_hundred_lines_and_only_house_tools():
    texts = [p.read_text() for p in sorted((HOME / "counts").glob("*.py"))]
    lines = [line for t in texts for line in t.splitlines() if line.strip()]
    assert len(texts) == 3 and len(lines) < 100, len(lines)
    used = {line.split()[1].split(".")[0] for line in lines if line.startswith(("from ", "import "))}
    assert used <= {"cellprotocols", "pathlib", "pandas"}


def test_all_steps_on_practice_data_keep_the_contract(counts, tmp_path):
    report = run_steps("counts", out=tmp_path / "work")
    made = {s: check_dataset(tmp_path / "work" / protocols.step_folder("counts", s)) for s in STEPS}
    assert [d.path.name for d in made.values()] == ["61_annotate", "65_infer", "66_visualize"]
    assert {s: d.kind for s, d in made.items()} == dict(annotate="fields", infer="masks", visualize="report")
    for earlier, later in zip(STEPS, STEPS[1:]):
        assert made[later].meta["inputs"]["source"]["fingerprint"] == made[earlier].fingerprint
    assert made["infer"].items.nuclei.min() > 0 and all(d.settings["practice"] for d in made.values())
    assert "How many nuclei" in (report / "report.html").read_text()


def test_a_second_run_is_done_and_a_changed_input_is_refused(counts, tmp_path, capsys):
    words = ["run", "counts", "--out", str(tmp_path / "work")]
    assert main(words) == 0 and main(words) == 0
    assert capsys.readouterr().out.count("done before, nothing to do") == 3
    file = tmp_path / "work" / "61_annotate" / "items.csv"
    pd.read_csv(file).iloc[:-1].to_csv(file, index=False)
    assert main([*words, "--steps", "infer"]) == 2
    assert "changed after it was written" in capsys.readouterr().err
    with pytest.raises(DatasetError):
        check_dataset(file.parent)


def test_an_interrupted_step_goes_on_and_ends_alike(counts, tmp_path, monkeypatch):
    from cellprotocols.counts import infer

    whole = run_steps("counts", out=tmp_path / "a", steps="annotate..infer")
    run_steps("counts", out=tmp_path / "b", steps="annotate")
    find, seen = infer.find_nuclei, []

    def stops(img, diameter):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return find(img, diameter)

    monkeypatch.setattr(infer, "find_nuclei", stops)
    assert main(["run", "counts", "--out", str(tmp_path / "b"), "--steps", "infer"]) == 130
    assert main(["run", "counts", "--out", str(tmp_path / "b"), "--steps", "infer"]) == 0
    assert len(seen) == 5, "two fields were kept, two were left"
    assert check_dataset(tmp_path / "b" / "65_infer").fingerprint == check_dataset(whole).fingerprint


def test_command_line_help_and_export_know_it(counts, tmp_path, capsys):
    assert main(["list"]) == 0 and "annotate > infer > visualize" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["counts", "infer", "--help"])
    assert "--diameter" in capsys.readouterr().out
    folder = run_steps("counts", out=tmp_path / "work", steps="annotate..infer")
    assert main(["share", str(folder), "--to", "coco", "--name", "nucleus"]) == 0
    assert "objects in 4 images" in capsys.readouterr().out
