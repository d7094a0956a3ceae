"Run notebooks from top to bottom, each in its folder, and keep their pictures, small: run_notebooks.py [notebook ...]"

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent.parent
LARGEST = 150_000  # bytes of a stored picture
EXECUTE = "jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.timeout=1800 --log-level=ERROR"


def shrink(png):
    "The smallest good form of a PNG: a palette where that is smaller; pictures of more than 150 kB get fewer colours, then fewer pixels."
    data = base64.b64decode(png)
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    forms = [data] if len(data) <= 20_000 else [min(data, to_palette(picture, 256), key=len)]
    ways = ((colours, scale) for scale in (1, 0.85, 0.7, 0.6, 0.5) for colours in (128, 64))
    while len(forms[-1]) > LARGEST and (way := next(ways, None)):
        forms.append(to_palette(picture, *way))
    return base64.b64encode(forms[-1]).decode()


def to_palette(picture, colours, scale=1):
    "A picture in a few colours, which keep those of thin lines, as the bytes of a PNG."
    small = picture.resize([round(n * scale) for n in picture.size], Image.Resampling.LANCZOS) if scale < 1 else picture
    file = io.BytesIO()
    small.quantize(colours, Image.Quantize.MAXCOVERAGE, 3, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def to_anybody(value, folder):
    "Texts that name the notebook's folder, this repository or a cell, as the reader sees them."
    if isinstance(value, str):
        value = re.sub(r"/tmp/ipykernel_\d+/\d+\.py:\d+", "this cell", value)
        return value.replace(f"{folder}/", "").replace(str(HERE), "cellprotocols")
    return [to_anybody(v, folder) for v in value] if isinstance(value, list) else value


def keep_first(outputs):
    "Outputs in which every warning stands once, however many places it comes from."
    seen, kept = set(), []
    for output in outputs:
        if output.get("name") == "stderr":
            parts = re.split(r"(?m)^(?=\S.*Warning: )", "".join(output["text"]))
            output["text"] = []
            for part in parts:
                words = part.partition("Warning: ")[2].split("\n")[0] or part
                if words not in seen:
                    output["text"] += part.splitlines(keepends=True)
                seen.add(words)
        if output.get("text", True):
            kept.append(output)
    return kept


def tidy_output(output, folder):
    "Small pictures, no paths of this machine."
    if "text" in output:
        output["text"] = to_anybody(output["text"], folder)
    data = output.get("data", {})
    if "image/png" in data:
        data.pop("image/jpeg", None)  # the same picture again
    for kind in list(data):
        data[kind] = shrink(data[kind]) if kind == "image/png" else to_anybody(data[kind], folder)


def tidy(nb):
    "The same notebook, fit to be read by others; the state of widgets is left out."
    book = json.loads(nb.read_text(encoding="utf-8"))
    book["metadata"].pop("widgets", None)
    for cell in (c for c in book["cells"] if "outputs" in c):
        widgets = "application/vnd.jupyter.widget-view+json"
        cell["outputs"] = [o for o in cell["outputs"] if widgets not in o.get("data", {})]
        cell["outputs"] = keep_first(cell["outputs"])
        for output in cell["outputs"]:
            tidy_output(output, nb.parent)
    nb.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    every = (p for p in (HERE / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    for nb in [Path(a).resolve() for a in sys.argv[1:]] or sorted(every):
        print(nb.relative_to(HERE), flush=True)
        quiet = {**os.environ, "CELLPROTOCOLS_QUIET": "1"}
        subprocess.run([sys.executable, "-m", *EXECUTE.split(), str(nb)], check=True, cwd=HERE, env=quiet)
        tidy(nb)
        subprocess.run(["nbdev-clean", "--fname", str(nb)], check=True, cwd=HERE)


if __name__ == "__main__":
    main()
