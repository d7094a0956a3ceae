"Run notebooks from top to bottom, each in its own folder, and keep their output pictures: run_notebooks.py [notebook ...]"
import os
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent.parent
chosen = [Path(a).resolve() for a in sys.argv[1:]] or sorted(p for p in (here/"nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
for nb in chosen:
    print(nb.relative_to(here), flush=True)
    subprocess.run([sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", "--inplace",
                    "--ExecutePreprocessor.timeout=1800", "--log-level=ERROR", str(nb)], check=True, cwd=here,
                   env={**os.environ, "CELLPROTOCOLS_QUIET": "1"})
    subprocess.run(["nbdev-clean", "--fname", str(nb)], check=True, cwd=here)
