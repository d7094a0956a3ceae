"""Compare a newer list of Colab's packages with the one the editions were tested on: colab_freeze.py LIST [--write]

LIST is a file with a `name==version` line each, as `pip list --format=freeze` prints on Colab, or as its maintainers publish.
Prints which packages that we depend on moved or went away, and whether the lower bounds in settings.ini still hold; ends with 1
if something has to be done. `--write` makes colab/constraints.txt anew from LIST: what we and the tests need, and nothing else."""

import re
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parent.parent
TOOLS = """pip setuptools wheel ipykernel ipython nbclient nbconvert notebook pytest umap-learn
    opencv-python-headless opencv-contrib-python""".split()  # Colab has them; the tests use them


def read_list(path):
    "{canonical name: version} of the `name==version` lines; anything else in the file is passed over."
    found = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if m := re.fullmatch(r"\s*([A-Za-z0-9][\w.-]*)\s*==\s*([^\s;#]+)\s*(?:[;#].*)?", line):
            try:
                found[canonicalize_name(m[1])] = Version(m[2])
            except InvalidVersion:
                pass
    return found


def read_requirements():
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    return [Requirement(line) for line in ini["DEFAULT"]["requirements"].split("\n") if line.strip()]


def compare(tested, newer, added, requirements):
    "(lines to print, number of things to do)."
    ours = {canonicalize_name(r.name): r for r in requirements}
    moved = [n for n in sorted(tested) if n in newer and newer[n] != tested[n]]

    def row(n):
        return f"  {n:24} {tested[n]} -> {newer[n]}" + ("" if newer[n] > tested[n] else "   (older)")

    lines = [
        "Direct dependencies that moved:",
        *([row(n) for n in moved if n in ours] or ["  none"]),
        "Indirect ones that moved:",
        *([row(n) for n in moved if n not in ours] or ["  none"]),
    ]
    gone = [n for n in sorted(tested) if n not in newer]
    here = [n for n in sorted(added) if n in newer]
    broken = [
        f"  {r}: the list has {newer[n]}"
        for n, r in ours.items()
        if n in newer and not r.specifier.contains(newer[n], prereleases=True)
    ]
    missing = [
        f"  {r}: neither in the list nor in colab/added.txt"
        for n, r in ours.items()
        if n not in newer and n not in added
    ]
    if gone:
        lines += ["Gone from the list:", *(f"  {n} ({tested[n]})" for n in gone)]
    if here:
        lines += [
            "In the list now, so colab/added.txt need not name them:",
            *(f"  {n} {newer[n]} (added: {added[n]})" for n in here),
        ]
    lines += (
        ["Bounds of settings.ini that do not hold:", *broken, *missing]
        if broken or missing
        else ["All bounds of settings.ini hold."]
    )
    if moved or gone:
        lines.append("To test the editions on it: colab_freeze.py LIST --write, then make colab-test.")
    return lines, len(broken) + len(missing)


def close_over(newer):
    "The part of a list that we and the tests need, found by resolving for Colab's Python."
    with tempfile.TemporaryDirectory() as d:
        (Path(d) / "in").write_text("\n".join([*map(str, read_requirements()), *TOOLS]))
        (Path(d) / "list").write_text("\n".join(f"{n}=={v}" for n, v in newer.items()))
        out = subprocess.run(
            [
                sys.executable,
                "-m",
                "uv",
                "pip",
                "compile",
                "-q",
                "--no-header",
                "--no-annotate",
                "--python-version",
                "3.13",
                "-c",
                Path(d) / "list",
                Path(d) / "in",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    needed = {canonicalize_name(line.split("==")[0]) for line in out.splitlines() if "==" in line}
    return {n: v for n, v in sorted(newer.items()) if n in needed}


def main():
    args = [a for a in sys.argv[1:] if a != "--write"]
    if len(args) != 1 or not Path(args[0]).is_file():
        sys.exit(__doc__.splitlines()[0] + (f"\nThere is no file {args[0]}." if len(args) == 1 else ""))
    newer, constraints = read_list(args[0]), ROOT / "colab" / "constraints.txt"
    if not newer:
        sys.exit(f"{args[0]} has no line like name==version.")
    lines, to_do = compare(
        read_list(constraints) if constraints.exists() else {},
        newer,
        read_list(ROOT / "colab" / "added.txt"),
        read_requirements(),
    )
    print("\n".join(lines))
    if "--write" in sys.argv:
        constraints.write_text("".join(f"{n}=={v}\n" for n, v in close_over(newer).items()), encoding="utf-8")
    sys.exit(bool(to_do))


if __name__ == "__main__":
    main()
