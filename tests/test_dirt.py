"Light, a bundle that masks, and the gate for patches."

import numpy as np
import pytest
from fields import masker  # noqa: F401 (a fixture)

from cellprotocols.dirt import choose_shrink, flag_dirty, open_masker, predict_dirt
from cellprotocols.errors import UserError
from cellprotocols.light import measure_light, to_light


def test_scale_is_followed_or_refused(masker):
    bundle = open_masker(masker)
    assert choose_shrink(bundle) == choose_shrink(bundle, 0.3) == 2 and choose_shrink(bundle, 0.6) == 1
    with pytest.raises(UserError, match="um per pixel"):
        choose_shrink(bundle, 3.0)
    with pytest.raises(UserError):
        open_masker(masker / "nothing")


@pytest.mark.parametrize("rows", [10, 30, 40, 60, 64])
def test_the_gate_is_not_fooled_by_dirt_that_covers_most_of_a_patch(masker, rows):
    patches = np.full((9, 64, 64, 1), 20_000, np.uint16)
    patches[4, :rows] = 4_000
    patches[6:] //= 2  # another well, lit half as bright
    flags = flag_dirty(patches, masker, groups=np.repeat(["a", "b"], [6, 3]))
    assert flags.dirty.tolist() == [k == 4 for k in range(9)] and flags.dirt[4] == pytest.approx(rows / 64, abs=0.06)


def test_the_gate_flags_patches_with_dirt(masker):
    clean = np.full((6, 64, 64, 1), 20_000, np.uint16)
    dirty = clean.copy()
    dirty[::2, 20:40, 20:40] = 5_000
    flags = flag_dirty(dirty, masker)
    assert flags.dirty.tolist() == [True, False] * 3 and flags.dirt[0] == pytest.approx(400 / 4096, rel=0.3)
    assert not flag_dirty(clean, masker).dirty.any() and len(flag_dirty(clean[:0], masker)) == 0
    prob = predict_dirt(open_masker(masker), dirty[0])
    assert prob.shape == (64, 64)


def test_c1_big_endian_is_not_black():
    img = np.full((80, 80), 40_000, ">u2")
    img[30:50, 30:50] = 9_000
    light = to_light(img)
    assert np.median(light) == pytest.approx(1, abs=0.01) and light[20, 20] == pytest.approx(0.225, abs=0.02)


def test_a_camera_of_12_bits_is_saturated_at_its_own_white():
    img = np.full((64, 64, 1), 2_000, np.uint16)
    img[:16] = 4095
    assert (
        measure_light(img, to_light(img))["saturated"] == 0.25
        and measure_light(img // 2, to_light(img // 2))["saturated"] == 0
    )
