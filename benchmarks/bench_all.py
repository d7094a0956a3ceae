"""Every benchmark that needs no data of others, one after the other, and one table of them: docs/bench.md (`make bench`).

    python benchmarks/bench_all.py [--only start train] [--out bench.md]

Each is a process of its own, smaller than when it runs alone, so that all take about half an hour on two quiet cores. Benchmarks
on real images (`bench_quality`, `bench_lines`, `bench_proposals` ...) name the folder they need and are run by hand.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

SCRIPTS = {
    "start": [],
    "dataset": ["300000"],
    "images": ["--frames", "500"],
    "patches": ["--frames", "50", "--long", "1000"],
    "metrics": ["--draws", "500"],
    "features": [],
    "many": ["--images", "5000"],
    "train": ["4"],
    "infer": ["--patches", "2000", "--long", "500"],
    "unet": [],
    "clusters": [],
    "organelles": ["--fields", "100"],
    "scale": ["--rows", "300000", "--patches", "1024"],
}
COLUMNS = ("what", "ours", "beside", "value", "aim", "reached", "script")


def run_all(names, file):
    "Run the benchmarks; gives those that failed."
    failed = []
    for name in names:
        start = time.monotonic()
        words = [sys.executable, str(Path(__file__).with_name(f"bench_{name}.py")), *SCRIPTS[name]]
        code = subprocess.run(words, check=False, env=dict(os.environ, CELLPROTOCOLS_BENCH=str(file))).returncode
        print(f"--- bench_{name}: {time.monotonic() - start:.0f} s{', FAILED' if code else ''}\n", flush=True)
        failed += [name] if code else []
    return failed


def describe_machine():
    "In one line."
    gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    busy = os.getloadavg()[0]
    kinds = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "zarr", "scikit-image"))
    return (
        f"{os.cpu_count()} cores {platform.machine()}, {gb:.0f} GB, Python {platform.python_version()}, {kinds}; "
        f"load {busy:.1f} before the first"
    )


def write_table(path, rows, machine, failed):
    "The table, with date and machine."
    lines = [
        "# All benchmarks in one run",
        "",
        f"Written by `make bench` on {date.today()}: {machine}.",
        "*value* is the number that the aim is about: a ratio within one run, unless its unit is said.",
        "Larger runs, and what they say, are in [performance.md](performance.md).",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(row[c] for c in COLUMNS)} |" for row in rows),
    ]
    lines += ["", f"Failed: {', '.join(failed)}."] if failed else []
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=SCRIPTS, default=[*SCRIPTS], metavar="NAME", help=", ".join(SCRIPTS)
    )
    parser.add_argument("--out", type=Path, help="where the table goes; docs/bench.md where all are run")
    given = parser.parse_args()
    out = given.out or Path("docs/bench.md" if given.only == [*SCRIPTS] else "bench.md")
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.touch()
        failed = run_all(given.only, file)
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    write_table(out, rows, machine, failed)
    print(f"{len(rows)} rows in {out}; aims missed: {sum(row['reached'] == '**no**' for row in rows)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
