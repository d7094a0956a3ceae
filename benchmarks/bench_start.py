"""How long until the package is imported and the command line answers? Whole processes, best of several, printed beside bare Python.

python benchmarks/bench_start.py
"""

import subprocess
import sys
import time

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
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def main():
    best = {name: min(seconds(a) for _ in range(7)) for name, a in COMMANDS.items()}
    print("| command | s | times bare Python |\n|---|---|---|")
    for name, s in best.items():
        print(f"| {name} | {s:.3f} | {s / best['bare Python']:.1f} |")


if __name__ == "__main__":
    main()
