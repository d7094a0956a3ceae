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


def test_a_label_image_is_a_mask_of_all_that_it_numbers(tmp_path):
    y, x = np.mgrid[:160, :160]
    labels = np.where((y % 20 < 14) & (x % 20 < 14), y // 20 * 8 + x // 20 + 1, 0)
    for k, kind in enumerate((np.uint8, np.uint16)):
        write_image(tmp_path / f"{k}.tif", labels.astype(kind))
        assert (read_mask(tmp_path / f"{k}.tif") == (labels > 0)).all()
    soft = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 5) + np.random.default_rng(0).normal(
        0, 0.02, y.shape
    )
    write_image(tmp_path / "soft.tif", np.clip(soft * 255, 0, 255).astype(np.uint8))
    with pytest.raises(MaskFileError, match="lie between black and white"):
        read_mask(tmp_path / "soft.tif")
