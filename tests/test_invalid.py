"invalid: what holds nothing is found, and counts nowhere: detection, background, light, features, pixels of a set."

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellprotocols.cellregions import find_regions
from cellprotocols.cells import estimate_diameter, find_nuclei
from cellprotocols.confluency import measure_confluency
from cellprotocols.features import measure_cells
from cellprotocols.flatfield import smooth_background
from cellprotocols.framecuts import cut_frame
from cellprotocols.invalid import find_invalid, make_filled
from cellprotocols.labelled import read_labelled
from cellprotocols.levels import measure_levels
from cellprotocols.light import to_light
from cellprotocols.pixels import iter_pixels, read_shapes
from cellprotocols.synth import make_movie
from cellprotocols.synth_cultures import LINES, Culture, iter_frames
from cellprotocols.synth_organelles import make_organelle_field

field = make_movie(n_frames=1, size=(192, 192), seed=3).frames[0, ..., 0]
rim = np.zeros(field.shape, bool)
rim[:40] = rim[:, :40] = True


def with_hole(kind):
    if kind == "masked":
        return np.ma.masked_array(field.astype(np.uint16) + 1000, rim)
    img = field.astype(np.float32 if kind in ("NaN", "infinity") else np.uint16) + 1000
    img[rim] = {"NaN": np.nan, "infinity": np.inf, "zeros": 0, "white": 65535}[kind]
    return img


@pytest.mark.parametrize("kind", ["NaN", "infinity", "zeros", "white", "masked"])
def test_cells_beside_a_rim_are_those_of_the_part_alone(kind):
    img, part = with_hole(kind), field[40:, 40:].astype(np.uint16) + 1000
    assert np.array_equal(find_invalid(img), rim)
    found = find_nuclei(img)
    assert not found[rim].any() and np.array_equal(found[40:, 40:], find_nuclei(part))
    assert estimate_diameter(img) == estimate_diameter(part)


def test_a_rim_of_one_pixel():
    thin = np.random.default_rng(0).poisson(90, (60, 60)).astype(np.uint16)
    thin[:, -1] = 0
    assert find_invalid(thin).sum() == 60 and find_invalid(thin)[:, -1].all()


def test_a_rim_in_a_dim_field():
    dim = np.random.default_rng(0).poisson(9, (100, 100)).astype(np.uint8)
    dim[:20] = dim[:, 90:] = 0
    want = np.zeros((100, 100), bool)
    want[:20] = want[:, 90:] = True
    assert np.array_equal(find_invalid(dim), want)


@pytest.mark.parametrize("k", range(5))
def test_dark_backgrounds_are_no_rim(k):
    yy, xx = np.mgrid[:100, :100]
    blobs = sum(np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 60) for y, x in [(30, 40), (60, 70), (70, 20)])
    img = [
        np.where(blobs > 0.3, 180, 0).astype(np.uint8),  # cells cut out of a black ground
        (200 * blobs).astype(np.uint8),  # drawn cells
        np.random.default_rng(0).poisson(0.2, (100, 100)).astype(np.uint16),  # single photons
        np.zeros((100, 100), np.uint8),
        np.tile(np.arange(100, dtype=np.uint8), (100, 1)),  # a slope
    ][k]
    assert not find_invalid(img).any()


@pytest.mark.parametrize("scale", [1e-12, 1e200])
def test_cells_at_any_scale_of_numbers(scale):
    assert find_nuclei(field.astype(np.float64) * scale).max() == find_nuclei(field).max()
    hot = np.where(field > np.quantile(field, 0.999), np.inf, field.astype(np.float32))
    assert find_nuclei(hot).max() == find_nuclei(field).max()


@pytest.mark.parametrize("kind", ["NaN", "zeros"])
def test_background_and_light_do_not_know_of_a_rim(kind):
    rng = np.random.default_rng(0)
    whole = (20_000 * (1 + 0.2 * np.linspace(0, 1, 200)) + rng.normal(0, 100, (160, 200))).astype(np.float32)
    torn = whole.copy()
    torn[:, :50] = np.nan if kind == "NaN" else 0
    assert np.abs(smooth_background(torn)[:, 50:] / smooth_background(whole)[:, 50:] - 1).max() < 0.03
    light = to_light(torn, shrink=1)
    assert (light[:, :50] == 1).all() and np.abs(light - to_light(whole, shrink=1)).max() < 0.06


def test_features_leave_out_what_is_no_number():
    patch = field[60:124, 60:124].astype(np.float32)
    torn, valid = patch.copy(), np.ones(patch.shape, bool)
    torn[:9], valid[:9] = np.nan, False
    one, names = measure_cells(torn[None])
    two, _ = measure_cells(patch[None], valid[None])
    assert np.isfinite(one).all() and np.array_equal(one, two) and len(names) == one.shape[1]


def test_holes_take_the_nearest_pixel_and_rims_are_mirrored():
    img = np.arange(48.0).reshape(6, 8)
    bad = np.zeros(img.shape, bool)
    bad[:2], bad[4, 4] = True, True
    got = make_filled(img, bad)
    assert got[4, 4] in (img[3, 4], img[5, 4], img[4, 3], img[4, 5])
    assert np.array_equal(got[:2, :4], img[[4, 3], :4]) and np.array_equal(got[~bad], img[~bad])
    assert make_filled(img, bad | True) is img


def test_pixels_of_a_set_leave_out_transparency_and_what_holds_nothing(tmp_path):
    rgb = np.random.default_rng(0).integers(50, 250, (20, 24, 3)).astype(np.uint8)
    alpha = np.full((20, 24), 255, np.uint8)
    alpha[:5] = 0
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png")
    torn = rgb[..., 0].astype(np.float32)
    torn[:, :6] = np.nan
    tifffile.imwrite(tmp_path / "b.tif", torn)
    (tmp_path / "c.csv").write_text("file,label\na.png,x\nb.tif,y\n")
    t = read_labelled(tmp_path / "c.csv")
    assert read_shapes(t, tmp_path).names.tolist() == [["R", "G", "B"], ["gray"]]
    (_, a, ok_a), (_, b, ok_b) = iter_pixels(t, tmp_path)
    assert a.shape == (20, 24, 3) and (ok_a == (alpha > 0)).all() and np.array_equal(a[5:], rgb[5:])
    assert np.isfinite(b).all() and (ok_b == np.isfinite(torn)).all()


def put_in_rim(img, value):
    whole = np.full(np.add(img.shape, 90), value, np.float32 if value != value else img.dtype)
    whole[50:-40, 30:-60] = img
    return whole


@pytest.mark.parametrize("value", [0, 255, np.nan])
def test_a_culture_in_a_rim_is_the_culture_alone(value):
    frame = list(iter_frames(LINES[2], Culture("day 1"), 3))[-1].image
    want, found = cut_frame(frame, 64, 12), cut_frame(put_in_rim(frame, value), 64, 12)
    assert found.confluency == want.confluency and (found.mask == put_in_rim(want.mask, False)).all()
    assert (found.boxes[["y0", "x0"]] == want.boxes[["y0", "x0"]] + [50, 30]).to_numpy().all()
    assert measure_confluency(put_in_rim(frame, value)) == measure_confluency(frame)
    assert measure_levels([put_in_rim(frame, value)]) == measure_levels([frame])


@pytest.mark.parametrize("value", [0, 255, np.nan])
def test_stained_cells_in_a_rim_are_those_of_the_part_alone(value):
    drawn = make_organelle_field((16,), size=(240, 320), radius=22, seed=3)
    planes = drawn.blue, drawn.red, drawn.yellow
    want, found = find_regions(*planes), find_regions(*(put_in_rim(x, value) for x in planes))
    assert want.cells.any() and (found.cells == put_in_rim(want.cells, 0)).all()
    assert (found.nuclei == put_in_rim(want.nuclei, 0)).all() and found.scale == want.scale
