"Fields, files and a model that was never trained, for the tests of what masks dirt."

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellprotocols.bundle import write_bundle
from cellprotocols.architectures import register
from cellprotocols.unet import MaskNet


def disc(r, n=96):
    y, x = np.mgrid[:n, :n] - n // 2
    return 1 - 0.5 / (1 + np.exp((np.hypot(y, x) - r) * 4))


def write(path, img):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, img)
    return path


def sums(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in Path(folder).rglob("*")
        if p.is_file()
    }


@register
class DarkIsDirt(MaskNet):
    "Masks what takes more than a fifth of the light; never trained."

    def __init__(self, channels=1, n_classes=1):
        super().__init__(8, channels=channels, n_classes=n_classes)

    def decode(self, x):
        return (0.8 - x) * 40


def write_masker(folder, **more):
    "A bundle that calls dirt whatever is dark."
    write_bundle(
        folder,
        DarkIsDirt(),
        "DarkIsDirt",
        dict(channels=1, n_classes=1),
        ["artifact"],
        ["light"],
        np.ones((1, 1, 32, 32), np.float32),
        px_um=0.6,
        normalisation=dict(sigma=80.0, shrink=2),
        thresholds=dict(artifact=0.5),
        **more,
    )


@pytest.fixture(scope="session")
def masker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "masker"
    write_masker(folder)
    return folder.parent
