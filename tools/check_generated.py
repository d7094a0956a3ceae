"Are notebooks clean, and is `cellprotocols/` what they export? Says which file is not, and leaves the fresh one there."

import subprocess
import sys
from pathlib import Path


def snapshot():
    return {
        p: p.read_bytes()
        for root, ext in [("nbs", "ipynb"), ("cellprotocols", "py")]
        for p in Path(root).rglob(f"*.{ext}")
        if ".ipynb_checkpoints" not in p.parts
    }


before = snapshot()
for command in ("nbdev-clean", "nbdev-export"):
    subprocess.run(command, check=True)
after = snapshot()
changed = sorted(str(p) for p in before.keys() | after.keys() if before.get(p) != after.get(p))
if changed:
    print("These files were not what `make export` writes; they are now. Look at the change and commit it:")
    print("\n".join(f"  {p}" for p in changed))
sys.exit(bool(changed))
