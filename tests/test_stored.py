"Models that earlier versions have written open in this one, and answer as they did."

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from stored_models import STORED, WRITERS, write_stored

from cellprotocols.bundle import read_bundle
from cellprotocols.locationmodel import LocationModel
from cellprotocols.share import find_parts

VERSIONS = sorted(p for p in STORED.iterdir() if p.is_dir())


def check_stored(folder):
    bundles = sorted(folder.glob("*/*/bundle.json"))
    assert [b.parent.relative_to(folder).as_posix() for b in bundles] == [
        "artifacts/classifier",
        "artifacts/masker",
        "cell_lines/bundle",
        "chromatin/bundle",
    ]
    for b in bundles:
        model = read_bundle(b.parent).model  # which compares its example, too
        answer = load_file(b.parent / "example.safetensors")
        with torch.inference_mode():
            now = model(torch.from_numpy(answer["input"]))
        np.testing.assert_allclose(now, answer["output"], atol=1e-4)
    (scorer,), answer = find_parts(folder / "strings"), load_file(folder / "strings/answer.safetensors")
    with torch.inference_mode():
        now = scorer.model(torch.from_numpy(answer["input"]))
    np.testing.assert_allclose(now, answer["output"], atol=1e-5)
    model, answer = LocationModel(folder / "organelles").model, load_file(folder / "organelles/answer.safetensors")
    np.testing.assert_allclose(model.score(answer["x"], answer["q"]), answer["output"], atol=1e-4)


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda p: p.name)
def test_models_of_earlier_versions_answer_as_they_did(folder):
    check_stored(folder)


def test_they_are_small_and_there_is_one_of_every_protocol():
    for folder in VERSIONS:
        assert {p.name for p in folder.iterdir()} == set(WRITERS)
        sizes = {p.parent: sum(f.stat().st_size for f in p.parent.iterdir()) for p in folder.rglob("model.*")}
        assert max(sizes.values()) < 200_000


def test_a_stored_answer_that_differs_is_seen(tmp_path):
    write_stored(tmp_path / "now")
    check_stored(tmp_path / "now")
    file = tmp_path / "now/strings/scorer.safetensors"
    save_file({k: v + 0.1 for k, v in load_file(file).items()}, file)
    with pytest.raises(AssertionError, match="Not equal"):
        check_stored(tmp_path / "now")
