"bundle: what was written is read back; everything bad ends in a BundleError; nothing foreign runs."

import errno
import json
import os
import pickle
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings as hyp, strategies as st
from test_domain import make_source
from torch import nn

from cellprotocols.bundle import FILES, BundleError, _write_sums, check_input, read_bundle, write_bundle
from cellprotocols.chromatin import train
from cellprotocols.errors import UserError
from cellprotocols.synth import make_patches


def tiny(n_classes, c=1):
    return nn.Sequential(
        nn.Conv2d(c, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, n_classes)
    )


REGISTRY = {"tiny": tiny}
X = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)


def write(folder, **changes):
    torch.manual_seed(0)
    return write_bundle(
        folder,
        changes.pop("model", tiny(3)),
        **{
            **dict(
                architecture="tiny",
                arguments={"n_classes": 3},
                classes=["a", "b", "c"],
                channels=["H2B"],
                example=X,
                px_um=0.333,
                registry=REGISTRY,
            ),
            **changes,
        },
    )


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "m")


def test_round_trip_keeps_everything(tmp_path):
    model = tiny(3).train()
    model[1].running_mean += 1
    table = pd.DataFrame(
        {
            "metric": ["macro_f1", "auroc"],
            "value": [0.8, np.nan],
            "low": [0.7, np.nan],
            "high": [np.float32(0.9), np.nan],
        }
    )
    read = read_bundle(
        write(
            tmp_path / "deep" / "m",
            model=model,
            metrics=table,
            thresholds={"a": 0.4},
            temperature=1.5,
            data={"fingerprint": "x", "from": tmp_path},
            split={"by": "cell"},
        ),
        REGISTRY,
    )
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), read.model.state_dict().values(), strict=True)
    )
    assert model.training and not read.model.training
    assert (
        read.classes == ["a", "b", "c"]
        and read.temperature == 1.5
        and read.thresholds == {"a": 0.4}
        and read.px_um == 0.333
    )
    assert read.metrics[1] == {"metric": "auroc", "value": None, "low": None, "high": None}
    assert str(tmp_path) not in (read.folder / "bundle.json").read_text(), "no path of this machine"
    card = (read.folder / "card.md").read_text()
    assert "0.800 | 0.700 - 0.900" in card and "H2B" in card and "Licence" in card
    with pytest.raises(AttributeError):
        read.nonsense


def test_sums_are_what_sha256sum_reads(folder):
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum")
    assert os.system(f"cd '{folder}' && sha256sum --status -c SHA256SUMS") == 0


def test_never_overwrites_and_leaves_nothing_half(tmp_path, folder, monkeypatch):
    with pytest.raises(BundleError, match="exists already"):
        write(folder)
    (tmp_path / ".n.1-1.part").mkdir()
    (tmp_path / ".n.1-1.part" / "junk").write_text("of a crash")
    with pytest.raises(BundleError, match="2 classes"):
        write(tmp_path / "n", classes=["a", "b"])
    assert not (tmp_path / "n").exists()
    write(tmp_path / "n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "n"] and {
        p.name for p in (tmp_path / "n").iterdir()
    } == {*FILES, "SHA256SUMS"}


def fill_at(monkeypatch, name):
    "From now on the disk is full when half of a file of this name is written."

    def limit(write):
        def limited(path, data, *args, **kw):
            if path.name != name:
                return write(path, data, *args, **kw)
            write(path, data[: len(data) // 2], *args, **kw)
            raise OSError(errno.ENOSPC, "No space left on device")

        return limited

    for verb in ("write_bytes", "write_text"):
        monkeypatch.setattr(Path, verb, limit(getattr(Path, verb)))


@pytest.mark.parametrize("name", [*FILES, "SHA256SUMS"])
def test_a_full_disk_is_one_sentence_and_leaves_no_half_bundle(tmp_path, monkeypatch, name):
    with monkeypatch.context() as m:
        fill_at(m, name)
        with pytest.raises(UserError, match="the disk is full; free space") as e:
            write(tmp_path / "o")
    assert str(tmp_path / "o") in str(e.value) and not list(tmp_path.iterdir())
    write(tmp_path / "o")
    read_bundle(tmp_path / "o", REGISTRY)


def test_a_small_disk_at_every_size(tmp_path, request):
    "The real thing: whatever file is cut off, nothing is left and the sentence is the same."
    refused = 0
    for kb in range(4, 40, 4):
        small = tmp_path / f"{kb}"
        small.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kb}k", "tmpfs", small], capture_output=True
        ).returncode:
            pytest.skip("only root can make a small disk")
        request.addfinalizer(lambda small=small: subprocess.run(["umount", "-l", small]))
        try:
            write(small / "m")
        except UserError as e:
            refused += 1
            assert "the disk is full" in str(e) and not list(small.iterdir())
        else:
            read_bundle(small / "m", REGISTRY)
    assert 3 <= refused <= 7, refused


def test_a_full_disk_while_a_model_is_handed_over_loses_nothing(tmp_path, monkeypatch):
    patches, labels, groups = make_patches(12, size=32, seed=2)
    source = make_source(tmp_path / "22", patches, labels, groups)

    def run(name):
        return train.run(source, str(tmp_path / name), model="measured", folds=3, random_split=False)

    def digests(name):
        meta = json.loads((tmp_path / name / "dataset.json").read_text())
        return {k: v for k, v in meta["files"].items() if k != "bundle/SHA256SUMS"}

    run("calm")
    with monkeypatch.context() as m:
        fill_at(m, "model.safetensors")
        with pytest.raises(UserError, match="the disk is full"):
            run("full")
    assert not (tmp_path / "full").exists() and not list(tmp_path.rglob("*.part"))
    assert not [p for p in tmp_path.rglob("bundle.json") if "calm" not in p.parts]
    run("full")
    assert digests("full") == digests("calm")


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(architecture="rnn"), "not known here; needed: one of tiny"),
        (dict(arguments={"n_classes": 4}), "do not fit"),
        (dict(arguments={"width": 4}), "do not fit"),
        (dict(channels=["a", "b"]), "2 channels"),
        (dict(example=X[:, :, :1, :1]), "cannot compute its example"),
    ],
)
def test_a_bundle_that_could_not_be_read_is_not_written(tmp_path, changes, words):
    with pytest.raises(BundleError, match=words):
        write(tmp_path / "m", **changes)
    assert not (tmp_path / "m").exists()


def test_nan_weights_are_refused(tmp_path):
    model = tiny(3)
    model[0].weight.data[0] = np.nan
    with pytest.raises(BundleError, match="NaN"):
        write(tmp_path / "m", model=model)


# ---- bad bundles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FILES, "SHA256SUMS"])
@pytest.mark.parametrize("how", ["missing", "link", "empty", "cut", "folder"])
def test_a_file_that_is_not_as_it_was(folder, tmp_path, name, how):
    path, raw = folder / name, (folder / name).read_bytes()
    path.unlink()
    if how == "link":
        (tmp_path / "copy").write_bytes(raw)
        path.symlink_to(tmp_path / "copy")
    if how == "empty":
        path.write_bytes(b"")
    if how == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    if how == "folder":
        path.mkdir()
    if how == "link" and name == "SHA256SUMS":
        return  # the list itself may be reached by a link: it is only compared with
    with pytest.raises(BundleError) as e:
        read_bundle(folder, REGISTRY)
    assert "\n" not in str(e.value) and str(folder) in str(e.value)


@pytest.mark.parametrize("seed", range(40))
def test_any_changed_byte_is_noticed(folder, seed):
    rng = np.random.default_rng(seed)
    path = folder / rng.choice([*FILES, "SHA256SUMS"])
    raw = bytearray(path.read_bytes())
    at = rng.integers(len(raw))
    raw[at] ^= 1 << rng.integers(8)
    path.write_bytes(raw)
    with pytest.raises(BundleError):
        read_bundle(folder, REGISTRY)


@pytest.mark.parametrize("seed", range(60))
def test_garbage_with_right_checksums_is_still_a_bundle_error_or_harmless(folder, seed):
    rng = np.random.default_rng(seed)
    path = folder / rng.choice([f for f in FILES if f != "card.md"])
    raw = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 4)):
        raw[rng.integers(len(raw))] = rng.integers(256)
    path.write_bytes(raw)
    _write_sums(folder)
    try:
        read_bundle(folder, REGISTRY)
    except BundleError as e:
        assert "\n" not in str(e)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, (os.environ["BOMB"],))


@pytest.mark.parametrize("name", ["model.safetensors", "example.safetensors"])
@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_a_masquerading_pickle_never_runs(folder, tmp_path, monkeypatch, name, kind):
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    payload = pickle.dumps(Bomb())
    if kind == "pickle":
        (folder / name).write_bytes(payload)
    else:
        with zipfile.ZipFile(folder / name, "w") as z:
            z.writestr("archive/data.pkl", payload)
    _write_sums(folder)
    with pytest.raises(BundleError, match="pickle.*never loaded"):
        read_bundle(folder, REGISTRY)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["../m2/x", "/etc/passwd", "..", "a\\b", "C:x", ".", "sub/x"])
def test_names_outside_the_folder_are_refused(folder, name):
    with open(folder / "SHA256SUMS", "a") as f:
        f.write("0" * 64 + f"  {name}\n")
    with pytest.raises(BundleError, match="outside the folder"):
        read_bundle(folder, REGISTRY)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"schema": 2}, "update"),
        ({"schema": "1"}, "schema"),
        ({"kind": "cake"}, "does not describe"),
        ({"architecture": {"name": "os.system", "arguments": {}}}, "not known"),
        ({"architecture": "tiny"}, "architecture"),
        ({"architecture": {"name": "tiny", "arguments": [3]}}, "architecture"),
        ({"architecture": {"name": ["tiny"], "arguments": {}}}, "architecture"),
        ({"architecture": {"name": "tiny", "arguments": {"n_classes": "__import__('os')"}}}, "do not fit"),
        ({"classes": ["a"]}, "3 scores for 1 classes"),
        ({"classes": None}, "classes"),
        ({"channels": None}, "channels"),
        ({"temperature": None}, "temperature"),
    ],
)
def test_bad_descriptions(folder, changes, words):
    info = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(info | changes))
    _write_sums(folder)
    with pytest.raises(BundleError, match=words):
        read_bundle(folder, REGISTRY)


def test_other_weights_give_another_output(tmp_path, folder):
    torch.manual_seed(5)
    other = write(tmp_path / "other")
    torch.manual_seed(5)
    model = tiny(3)
    model[5].bias.data += 0.01
    other = write(tmp_path / "third", model=model)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    _write_sums(folder)
    with pytest.raises(BundleError, match="another output"):
        read_bundle(folder, REGISTRY)
    assert read_bundle(folder, REGISTRY, tolerance=10.0)


def test_no_folder(tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        read_bundle(tmp_path / "none", REGISTRY)


# ---- does it suit ----------------------------------------------------------------------------------------------------


@given(st.floats(0.01, 20))
@hyp(max_examples=60, deadline=None)
def test_the_factor_brings_images_to_the_models_pixel_size_or_refuses(px):
    info = {"channels": ["H2B"], "px_um": 0.333}
    from pathlib import Path
    from cellprotocols.bundle import Bundle

    bundle = Bundle(Path("m"), None, [], info)
    try:
        factor = check_input(bundle, ["H2B"], px)
    except BundleError:
        assert not 0.5 <= px / 0.333 <= 2
    else:
        assert abs(px / factor - 0.333) <= 0.03 * 0.333 + 1e-9


def test_channels_and_unknown_sizes(folder):
    bundle = read_bundle(folder, REGISTRY)
    with pytest.raises(BundleError, match="pick or reorder"):
        check_input(bundle, ["H2B", "BF"], 0.333)
    with pytest.warns(UserWarning, match="called GFP"):
        assert check_input(bundle, ["GFP"], 0.333) == 1
    with pytest.warns(UserWarning, match="pixel size of the images"):
        assert check_input(bundle, ["H2B"], None) == 1
    bundle.info["channels"] = ["H2B", "BF"]
    with pytest.raises(BundleError, match="in this order"):
        check_input(bundle, ["BF", "H2B"], 0.333)
    with pytest.raises(BundleError, match="in this order"):
        check_input(bundle, ["bf", "h2b"], 0.333)
    assert check_input(bundle, ["h2b ", "Bf"], 0.333) == 1
