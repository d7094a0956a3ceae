"doctor: what is missing or too old is said with the line that mends it; slow machines get smaller settings."

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from types import SimpleNamespace

import pytest

import cellprotocols.doctor as doctor
from cellprotocols.doctor import check_imports, check_machine, check_packages, check_speed


def row(found, what):
    return next(f for f in found if f.what == what)


def with_versions(monkeypatch, **versions):
    "As if these packages were there in these versions (None: missing)."
    real = doctor.version

    def version(name):
        name = name.replace("-", "_")
        if name not in versions:
            return real(name)
        if versions[name] is None:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor, "version", version)


def test_every_requirement_is_looked_at():
    names = {re.match(r"[\w-]+", r)[0] for r in requires("cellprotocols") if "extra ==" not in r}
    assert names - {f.what for f in check_packages()} == {"opencv-python"}, (
        "OpenCV has a row of its own for its four wheels"
    )


@pytest.mark.parametrize(
    "version, mark, says",
    [("1.0.28", "ok", "1.0.28"), ("0.9.1", "mend", ">=1.0.28 is needed"), (None, "mend", "missing")],
)
def test_missing_or_too_old(monkeypatch, version, mark, says):
    with_versions(monkeypatch, timm=version)
    f = row(check_packages(), "timm")
    assert (
        f.mark == mark
        and says in f.seen
        and f.do in (("",) if mark == "ok" else ('pip install "timm>=1.0.28"', '%pip install "timm>=1.0.28"'))
    )


def test_too_new_is_said_too(monkeypatch):
    with_versions(monkeypatch, ipywidgets="9.0.0")
    f = row(check_packages(), "ipywidgets")
    assert f.mark == "mend" and re.search(r'pip install "ipywidgets(<9,>=7.7|>=7.7,<9)"', f.do)
    with_versions(monkeypatch, ipywidgets="7.7.1")
    assert row(check_packages(), "ipywidgets").mark == "ok"


@pytest.mark.parametrize(
    "wheels, mark",
    [
        (dict(opencv_python="5.0", opencv_python_headless=None, opencv_contrib_python=None), "ok"),
        (dict(opencv_python="5.0", opencv_python_headless="5.0", opencv_contrib_python="4.14"), "note"),
        (dict(opencv_python=None, opencv_python_headless="5.0", opencv_contrib_python=None), "ok"),
        (dict(opencv_python=None, opencv_python_headless=None, opencv_contrib_python=None), "mend"),
    ],
)
def test_the_wheels_of_opencv(monkeypatch, wheels, mark):
    with_versions(monkeypatch, opencv_contrib_python_headless=None, **wheels)
    f = row(check_packages(), "opencv")
    assert f.mark == mark and f.seen.count("opencv") == sum(v is not None for v in wheels.values())


def test_the_line_is_what_one_types_in_a_notebook(monkeypatch):
    with_versions(monkeypatch, timm=None)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    assert row(check_packages(), "timm").do.startswith("%pip install ")


def test_a_package_that_does_not_import(monkeypatch):
    real = doctor.importlib.import_module

    def broken(name):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    f = row(check_imports(), "opencv works")
    assert f.mark == "mend" and "libGL" in f.seen and "opencv-python-headless" in f.do


def test_no_card(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert "minutes without one" in row(check_machine(), "graphics card").do
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    assert "Change runtime type" in row(check_machine(), "graphics card").do
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "cannot use it" in row(check_machine(), "graphics card").seen


def seconds(text):
    return [float(n) * dict(s=1, min=60, h=3600)[u] for n, u in re.findall(r"(\d+) (s|min|h)\b", text)]


@pytest.mark.parametrize("rate", [30, 300, 1500])
def test_a_slow_machine_gets_smaller_settings_and_their_times(rate):
    f = check_speed(rate)
    assert f.mark == "note" and "folds = 3" in f.do and "epochs = 15" in f.do and 'model = "measured"' in f.do
    usual, small = seconds(f.seen)[0], seconds(f.do)[0]
    assert (
        usual == pytest.approx(1000 * 40 * 9 / (0.8 * rate), rel=0.2)
        and small == pytest.approx(1000 * 15 * 3 / (0.8 * rate), rel=0.2)
        and small < usual / 6
    )


def test_a_fast_machine_is_left_in_peace():
    assert check_speed(20000).mark == "ok" and not check_speed(20000).do


def test_what_it_proposes_are_settings_of_a_step():
    from cellprotocols.chromatin import train
    import inspect

    assert {"folds", "epochs", "minutes", "model", "random_split"} <= inspect.signature(train.run).parameters.keys()
