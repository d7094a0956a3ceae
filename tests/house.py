"The table of the house: what each notebook exports, how long, how wide, and whether it is shown. Run it to read the table: python tests/house.py [module ...]"

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
VERBS = set(
    """read write make cut stitch find iter propose measure embed train predict score choose split check show to""".split()
)
COLUMNS = (
    "module",
    "cells",
    "exports",
    "lines",
    "longest",
    "over30",
    "widest",
    "over120",
    "joined",
    "shown",
    "median",
    "verbs",
)


def read_cells(nb):
    return json.loads(nb.read_text(encoding="utf-8"))["cells"]


def text_of(cell):
    return "".join(cell["source"])


def marks(cell):
    return {m for line in text_of(cell).splitlines() for m in re.findall(r"^#\|\s*(\w+)", line)}


def is_exported(cell):
    return cell["cell_type"] == "code" and bool(marks(cell) & {"export", "exporti", "exports"})


def parse(text):
    return ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in text.splitlines()))


def definitions(text):
    "Functions and classes that begin in the first column; methods that are added to a class (`patch_to`) belong to it."
    found = [n for n in ast.parse(text).body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
    return [n for n in found if not any("patch" in ast.unparse(d) for d in n.decorator_list)]


def longest_function(text):
    "Lines of the longest function or method of a cell."
    found = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return max((n.end_lineno - n.lineno + 1 for n in found), default=0)


def joined_lines(text):
    "Lines with more than one statement (`a; b`), where they do anything; what only ends a cell with `;` does not count."
    starts = {}
    for n in ast.walk(parse(text)):
        for block in ("body", "orelse", "finalbody"):
            body = getattr(n, block, None)
            if isinstance(body, list):
                for a, b in zip(body, body[1:]):
                    if a.end_lineno == b.lineno:
                        starts[b.lineno] = True
    return len(starts)


def is_shown(cells, i):
    "Is the next code cell one that is seen to use what this cell defines?"
    names = [n.name for n in definitions(text_of(cells[i])) if not n.name.startswith("_")]
    after = next((c for c in cells[i + 1 :] if c["cell_type"] == "code"), None)
    if after is None or is_exported(after) or "hide" in marks(after):
        return False
    return any(re.search(rf"\b{n}\b", text_of(after)) for n in names) or not names


def measure(nb):
    "One row of the table; None: a page that exports nothing."
    cells = read_cells(nb)
    exported = [(i, text_of(c)) for i, c in enumerate(cells) if is_exported(c) and c["cell_type"] == "code"]
    if not exported:
        return None
    defining = [(i, t) for i, t in exported if "def " in t or "class " in t]
    public = [i for i, t in defining if any(not n.name.startswith("_") for n in definitions(t))]
    sizes = sorted(len(t.splitlines()) - 1 for _, t in defining)
    code = [line for c in cells if c["cell_type"] == "code" for line in text_of(c).splitlines()]
    functions = [
        n.name
        for _, t in exported
        for n in definitions(t)
        if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")
    ]
    return dict(
        module=nb.relative_to(ROOT / "nbs").with_suffix("").as_posix(),
        cells=len(cells),
        exports=len(exported),
        lines=sum(len(t.splitlines()) - 1 for _, t in exported),
        longest=max(sizes, default=0),
        over30=sum(s > 30 for s in sizes),
        widest=max(map(len, code), default=0),
        over120=sum(len(line) > 120 for line in code),
        joined=sum(joined_lines(text_of(c)) for c in cells if c["cell_type"] == "code"),
        shown=sum(is_shown(cells, i) for i in public) / len(public) if public else 1.0,
        median=sizes[len(sizes) // 2] if sizes else 0,
        verbs=sum(f.split("_")[0] in VERBS for f in functions) / len(functions) if functions else 1.0,
    )


def read_table():
    return [row for row in map(measure, NBS) if row]


def write_table(rows):
    def say(v):
        return f"{v:.2f}" if isinstance(v, float) else str(v)

    return "\n".join(
        " ".join(say(r[c]).ljust(26) if c == "module" else say(r[c]).rjust(8) for c in COLUMNS)
        for r in [dict(zip(COLUMNS, COLUMNS)), *rows]
    )


if __name__ == "__main__":
    print(write_table([r for r in read_table() if not sys.argv[1:] or r["module"] in sys.argv[1:]]))
