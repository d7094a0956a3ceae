"Masks on disk: which belongs to which image."

import cv2
import numpy as np
import pytest
from fields import write

from cellprotocols.images import write_image
from cellprotocols.maskfiles import MaskFileError, find_masks, read_mask


def test_a_mask_belongs_to_one_field(tmp_path):
    for name in ("p1/a.tif", "same.tif", "c.tif", "d.png.tif"):
        write(tmp_path / name, np.zeros((4, 4), np.uint8))
    found = {
        f: m and m.relative_to(tmp_path).as_posix()
        for f, m in find_masks(
            tmp_path, ["p1/a.png", "p2/a.png", "same.png", "same.tif", "images/c.jpg", "d.png"]
        ).items()
    }
    assert found == {
        "p1/a.png": "p1/a.tif",
        "p2/a.png": None,
        "same.png": None,
        "same.tif": "same.tif",
        "images/c.jpg": "c.tif",
        "d.png": "d.png.tif",
    }


def test_probabilities_and_pictures_are_no_masks(tmp_path):
    rng, disc = np.random.default_rng(0), np.zeros((60, 60), np.uint8)
    cv2.circle(disc, (30, 30), 12, 255, -1)
    write_image(tmp_path / "a.tif", cv2.GaussianBlur(disc, (0, 0), 1))  # a soft rim is one
    assert 400 < read_mask(tmp_path / "a.tif").sum() < 900
    for k, odd in enumerate((rng.random((60, 60), np.float32), rng.integers(0, 255, (60, 60), dtype=np.uint8))):
        write_image(tmp_path / f"{k}.tif", odd)
        with pytest.raises(MaskFileError, match="lie between black and white"):
            read_mask(tmp_path / f"{k}.tif")
