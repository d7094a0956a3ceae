"Fold the cells of step notebooks that a reader need not see (`--check`: are they?): in JupyterLab a click opens them."

import json
import sys
from pathlib import Path

FOLDED = {"source_hidden": True}


def is_folded(cell):
    "Definitions and checks are folded; what a person sets, calls and looks at is not."
    marks = [line[2:].split()[0] for line in cell["source"] if line.startswith("#|") and line[2:].split()]
    return cell["cell_type"] == "code" and bool({"export", "exporti", "default_exp", "hide"} & {*marks})


def fold(path):
    "Is the notebook changed?"
    text = path.read_text(encoding="utf-8")
    book = json.loads(text)
    for cell in book["cells"]:
        kept = {k: v for k, v in cell["metadata"].items() if k != "jupyter"}
        cell["metadata"] = kept | ({"jupyter": FOLDED} if is_folded(cell) else {})
    new = json.dumps(book, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    if new != text and "--check" not in sys.argv:
        path.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    changed = [p for p in sorted(Path("nbs").glob("*/*.ipynb")) if fold(p)]
    if "--check" in sys.argv and changed:
        sys.exit(f"run `make export`: {', '.join(map(str, changed))}")
