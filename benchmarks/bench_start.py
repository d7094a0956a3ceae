"""How long until the package is imported and the command line answers? Processor time of whole processes, best of several, printed beside bare Python.

python benchmarks/bench_start.py
"""

import os
import subprocess
import sys

from rows import add_row

COMMANDS = {
    "bare Python": ["-c", "pass"],
    "import cellprotocols": ["-c", "import cellprotocols"],
    "cellprotocols --help": ["-c", "from cellprotocols.cli import main; main(['--help'])"],
    "cellprotocols run chromatin --help": [
        "-c",
        "from cellprotocols.cli import main; main(['run', 'chromatin', '--help'])",
    ],
    "import pandas (for comparison)": ["-c", "import pandas"],
}


def seconds(arguments):
    "Processor time of a whole process."
    before = os.times()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=False)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def main():
    best = {name: min(seconds(a) for _ in range(7)) for name, a in COMMANDS.items()}
    print("| command | s | times bare Python |\n|---|---|---|")
    for name, s in best.items():
        print(f"| {name} | {s:.3f} | {s / best['bare Python']:.1f} |")
        if "cellprotocols" in name:
            add_row(
                f"{name}, s of processor time", f"{s:.3f} s", f"bare Python {best['bare Python']:.3f} s", s, at_most=0.3
            )


if __name__ == "__main__":
    main()
