"""Make the environment that Colab publishes, install from the edition's own install cell, run the fast tests and the editions there.

colab_test.py [--env-only]   (what `make colab-test` runs; the environment is kept in .venv-colab)"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from make_colab import ROOT, read_pins, read_settings

ENV = ROOT / ".venv-colab"
PYTHON = ENV / "bin" / "python"
UV = [sys.executable, "-m", "uv"]


def find_python():
    "A Python 3.13: the one in COLAB_PYTHON, on the path, of pyenv, of uv; else uv fetches one."
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.13*/bin/python"))
    for python in (os.environ.get("COLAB_PYTHON"), *map(str, pyenv), "python3.13"):
        if (
            python
            and subprocess.run(
                [python, "-c", "import sys; assert sys.version_info[:2] == (3, 13)"], capture_output=True
            ).returncode
            == 0
        ):
            return python
    for command in (["python", "find", "3.13"], ["python", "install", "3.13"], ["python", "find", "3.13"]):
        done = subprocess.run([*UV, *command], capture_output=True, text=True)
        if done.returncode == 0 and command[1] == "find":
            return done.stdout.strip()
    sys.exit(
        "The Colab editions are tested with Python 3.13, which was found nowhere and could not be fetched: "
        "install one and name it in the variable COLAB_PYTHON."
    )


def install(*packages):
    subprocess.run([*UV, "pip", "install", "-q", "--python", str(PYTHON), *packages], check=True)


def pinned(file, name):
    return next(line for line in (ROOT / file).read_text(encoding="utf-8").split() if line.startswith(f"{name}=="))


def make_env():
    "Colab's versions; of the three OpenCV wheels, which overwrite each other, the one that needs no screen comes last."
    wanted = (ROOT / "colab" / "constraints.txt").read_bytes() + Path(__file__).read_bytes()
    stamp, mark = ENV / "made_from", hashlib.sha256(wanted).hexdigest()
    if stamp.exists() and stamp.read_text() == mark:
        return
    print("Making the environment that Colab publishes (several GB with torch) ...", flush=True)
    shutil.rmtree(ENV, ignore_errors=True)
    subprocess.run([*UV, "venv", "-q", "--python", find_python(), str(ENV)], check=True)
    install("--compile-bytecode", "-r", "colab/constraints.txt", pinned("constraints.txt", "hypothesis"))
    last_wheel("opencv-python-headless")
    stamp.write_text(mark)


def last_wheel(name):
    "Install one of the OpenCV wheels over the others."
    install("--no-deps", "--reinstall-package", name, pinned("colab/constraints.txt", name))


def make_remote(folder):
    "A repository that holds the working tree under the tag; returns the variables that make git find it at the published address."
    s = read_settings()
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for f in filter(None, files):
        if (ROOT / f).is_file():
            (folder / f).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / f, folder / f)

    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=tester", "-c", "user.email=tester@example.org", *words],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "the working tree")
    git("tag", s["tag"])
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{s['user']}/{s['repo']}",
    }


def colab_variables(remote, drive=None):
    "The environment of a Colab runtime: its Python first, its own package, no traces of ours."
    variables = {
        k: v
        for k, v in os.environ.items()
        if k not in ("VIRTUAL_ENV", "PYTHONPATH", "STAND_IN_DRIVE", "MPLBACKEND", "PYTEST_ADDOPTS")
    }
    variables |= {
        **remote,
        "PATH": f"{ENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "tests" / "stand_in"),
        "OMP_NUM_THREADS": "1",
        "CELLPROTOCOLS_QUIET": "1",
    }
    return variables | ({"STAND_IN_DRIVE": str(drive)} if drive else {})


def run_notebook(nb, folder, variables, timeout=1200):
    "Start the run of a notebook in a folder; the executed one will be there as executed.ipynb."
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notebook.ipynb").write_text(json.dumps(nb), encoding="utf-8")
    return subprocess.Popen(
        [
            str(PYTHON),
            "-m",
            "nbconvert",
            "--to",
            "notebook",
            "--execute",
            "--output",
            "executed.ipynb",
            f"--ExecutePreprocessor.timeout={timeout}",
            "--ExecutePreprocessor.record_timing=True",
            "notebook.ipynb",
        ],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def list_packages():
    out = subprocess.run(
        [str(PYTHON), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(line.split("==") for line in out.split() if "==" in line)


def install_by_cell(home, variables):
    "Run the edition's install cell in an environment without us; it must add what it says and touch nothing."
    nb = json.loads((ROOT / "colab" / "chromatin.ipynb").read_text(encoding="utf-8"))
    nb["cells"] = [c for c in nb["cells"] if c["id"] == "install"]
    ours = [read_settings()["lib_name"], *(p.split("==")[0] for p in read_pins())]
    subprocess.run([*UV, "pip", "uninstall", "-q", "--python", str(PYTHON), *ours], check=True)
    before = list_packages()
    process = run_notebook(nb, home, variables)
    said = process.communicate()[0]
    after = list_packages()
    if (
        process.returncode
        or (changed := {n for n in before if after.get(n) != before[n]})
        or set(after) - set(before) != set(ours)
    ):
        sys.exit(
            f"The install cell did not do what it says.\n{said}\nadded: {sorted(set(after) - set(before))}, "
            f"asked for: {ours}; changed: {sorted(changed if not process.returncode else [])}"
        )
    print(
        f"The install cell added {', '.join(ours)} and touched none of the {len(before)} packages that were there.",
        flush=True,
    )


def main():
    make_env()
    with tempfile.TemporaryDirectory(prefix="colab_") as d:
        d = Path(d)
        variables = colab_variables(make_remote(d / "remote"))
        install_by_cell(d / "install", variables)
        if "--env-only" in sys.argv:
            return
        for part in ("tests", "benchmarks"):  # not the library: what they import is the installed package
            shutil.copytree(ROOT / part, d / "outside" / part)
        left_out = [
            f"--ignore=tests/{t}.py" for t in ("test_house", "test_colab", "test_gallery", "test_own_data")
        ]  # these are about the source tree
        library = subprocess.Popen(
            [
                str(PYTHON),
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "--disable-warnings",
                "--hypothesis-profile=ci",
                "-m",
                "not slow and not browser",
                *left_out,
                "tests",
            ],
            cwd=d / "outside",
            env=variables,
            stdout=open(d / "log", "w"),
            stderr=subprocess.STDOUT,
        )
        try:
            editions = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-m", "colab", "tests/test_colab.py", "--durations=0"],
                cwd=ROOT,
                env={**os.environ, **variables, "PATH": os.environ["PATH"], "PYTHONPATH": ""},
            ).returncode
        finally:
            code = library.wait()
        print(f"The library's fast tests in the Colab environment:\n{(d / 'log').read_text()[-6000:]}")
        sys.exit(bool(editions or code))


if __name__ == "__main__":
    main()
