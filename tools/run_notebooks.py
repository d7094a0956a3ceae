"Run notebooks from top to bottom, each in its folder, and keep their pictures, small: run_notebooks.py [notebook ...]"

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent.parent


def shrink_pictures(nb):
    "Larger PNGs get a palette of 128 colours where that makes them smaller; the state of widgets is left out."
    book = json.loads(nb.read_text(encoding="utf-8"))
    book["metadata"].pop("widgets", None)
    for c in book["cells"]:
        if "outputs" in c:
            c["outputs"] = [
                o for o in c["outputs"] if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
            ]
    for data in (o["data"] for c in book["cells"] for o in c.get("outputs", []) if "image/png" in o.get("data", {})):
        png, small = base64.b64decode(data["image/png"]), io.BytesIO()
        Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(
            small, "PNG", optimize=True
        )
        if len(png) > 20_000 and len(small.getvalue()) < len(png):
            data["image/png"] = base64.b64encode(small.getvalue()).decode()
    nb.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    chosen = [Path(a).resolve() for a in sys.argv[1:]] or sorted(
        p for p in (HERE / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
    )
    for nb in chosen:
        print(nb.relative_to(HERE), flush=True)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "jupyter",
                "nbconvert",
                "--to",
                "notebook",
                "--execute",
                "--inplace",
                "--ExecutePreprocessor.timeout=1800",
                "--log-level=ERROR",
                str(nb),
            ],
            check=True,
            cwd=HERE,
            env={**os.environ, "CELLPROTOCOLS_QUIET": "1"},
        )
        shrink_pictures(nb)
        subprocess.run(["nbdev-clean", "--fname", str(nb)], check=True, cwd=HERE)


if __name__ == "__main__":
    main()
