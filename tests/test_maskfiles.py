"Masks on disk: which belongs to which image."

import cv2
import numpy as np
import pytest
import tifffile
from fields import write
from PIL import Image

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


@pytest.fixture
def numbers():
    y, x = np.mgrid[:60, :60]
    return np.where((y % 20 < 9) & (x % 20 < 9), y // 20 * 3 + x // 20 + 1, 0).astype(np.uint8)


def test_an_indexed_mask_is_black_where_its_table_is(tmp_path, numbers):
    inside = numbers > 0
    for k, (img, table) in enumerate(
        (
            (~inside, [255, 255, 255, 0, 0, 0]),
            (np.where(inside, numbers - 1, 9), [90, 0, 0] * 9 + [0, 0, 0]),
            (inside, [255, 255, 255, 255, 0, 0]),  # no black: 0 is nothing, as in any other mask
            (inside * 255, [255 - i // 3 for i in range(768)]),  # as ImageJ shows a mask on white
        )
    ):
        p = Image.fromarray(img.astype(np.uint8))
        p.putpalette(table)
        for end in ("png", "bmp", "tif"):
            p.save(tmp_path / f"{k}.{end}")
            assert (read_mask(tmp_path / f"{k}.{end}") == inside).all(), (k, end)


def test_what_is_transparent_is_no_mask(tmp_path, numbers):
    inside = numbers > 0
    rgba = np.dstack([np.full((60, 60, 3), 255), inside * 255]).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "white.png")
    assert (read_mask(tmp_path / "white.png") == inside).all()
    rgba[..., 3], rgba[~inside] = 0, 0
    Image.fromarray(rgba).save(tmp_path / "all.png")  # a program that does not know of transparency
    assert (read_mask(tmp_path / "all.png") == inside).all()
    rgba[..., :3], rgba[..., 3] = 0, inside * 255
    Image.fromarray(rgba).save(tmp_path / "black.png")
    with pytest.raises(MaskFileError, match="black on a transparent ground"):
        read_mask(tmp_path / "black.png")


def test_a_mask_of_one_bit_is_what_it_shows(tmp_path, numbers):
    inside = numbers > 0
    tifffile.imwrite(tmp_path / "python.tif", inside)
    Image.fromarray(inside).save(tmp_path / "pillow.tif")
    Image.fromarray(inside).save(tmp_path / "fax.tif", compression="group4", tiffinfo={262: 0})
    for name in ("python", "pillow", "fax"):
        assert (read_mask(tmp_path / f"{name}.tif") == inside).all(), name


def test_masks_that_do_not_say_where_nothing_is(tmp_path, numbers):
    odd = dict(low=numbers.astype(np.int16) - 2000, one=numbers + 1, full=np.where(numbers > 0, numbers, 255))
    for name, img in odd.items():
        write_image(tmp_path / f"{name}.tif", img)
        with pytest.raises(MaskFileError, match="black .0. where nothing is"):
            read_mask(tmp_path / f"{name}.tif")
    write_image(tmp_path / "all.tif", np.full((9, 9), 255, np.uint8))
    assert read_mask(tmp_path / "all.tif").all()
