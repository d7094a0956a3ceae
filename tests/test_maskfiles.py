"Masks on disk: which belongs to which image."

import numpy as np
from fields import write

from cellprotocols.maskfiles import find_masks


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
