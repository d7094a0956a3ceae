"Run a notebook as a person does: edit its Settings, run all cells, in a folder of one's own."

import ast
import json
import os
from pathlib import Path

from fastcore.nbio import dict2nb
from execnb.shell import CaptureShell

ROOT = Path(__file__).resolve().parent.parent


def text_of(cell):
    return "".join(cell["source"])


def find_settings(cells):
    "The one cell below the heading Settings."
    at = next(i for i, c in enumerate(cells) if c["cell_type"] == "markdown" and text_of(c).startswith("## Settings"))
    return next(c for c in cells[at:] if c["cell_type"] == "code")


def read_settings(nb):
    "{name: value} of a notebook's Settings."
    found = {}
    for node in ast.parse(text_of(find_settings(json.loads(Path(nb).read_text(encoding="utf-8"))["cells"]))).body:
        target, value = node.targets[0], ast.literal_eval(node.value)
        found |= dict(zip((t.id for t in target.elts), value)) if isinstance(target, ast.Tuple) else {target.id: value}
    return found


def edit_settings(nb, **values):
    "The notebook as a dict, with other values in its Settings; a name that is not there is an error."
    book, known = json.loads(Path(nb).read_text(encoding="utf-8")), read_settings(nb)
    assert set(values) <= set(known), f"{Path(nb).name}: Settings has no {', '.join(set(values) - set(known))}"
    cell = find_settings(book["cells"])
    cell["source"] = "\n".join(f"{k} = {v!r}" for k, v in (known | values).items()).splitlines(keepends=True)
    return book


def run_notebook(nb, where, **values):
    "Edit, run all cells with `where` as the working folder, and return what was printed; the first error of a cell is raised."
    book, before = edit_settings(nb, **values), Path.cwd()
    os.chdir(where)
    try:
        shell, made = CaptureShell(), dict2nb(book)
        shell.run_all(made, exc_stop=True)
    finally:
        os.chdir(before)
    return "".join(
        "".join(o.get("text", "")) for c in made.cells if c.cell_type == "code" for o in c.get("outputs", [])
    )
