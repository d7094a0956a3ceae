"Sets of images: what their names say."

import numpy as np
from fields import write

from cellprotocols.artifacts.annotate import CLASSES
from cellprotocols.imagesets import read_image_set


def test_the_well_is_in_the_name_also_in_folders(tmp_path):
    img = np.full((40, 40), 1000, np.uint16)
    for c, week in (("clean", "week1"), ("artifact", "week1")):
        write(tmp_path / c / week / f"r02c05f{len(c)}p01-ch1sk1fk1fl1.tiff", img)
    assert set(read_image_set(tmp_path, CLASSES)[0].group) == {"week1_r2c5"}, "one well, one group, whatever its label"
