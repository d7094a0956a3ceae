"Quality of patches: borders, blanks, light and focus, on practice data and on published patches."

import io
import zipfile

import numpy as np
from hypothesis import given, settings, strategies as st

from cellprotocols.patches import cut_patches
from cellprotocols.quality import check_blank, check_brightness, check_focus, check_patches, find_padding
from cellprotocols.synth import make_movie, make_patches


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 255))
def test_find_padding(top, bottom, left, right, value):
    x = make_patches(1, difficulty=0.5)[0][:2].copy()
    want = np.ones((64, 64), bool)
    want[top : 64 - bottom, left : 64 - right] = False
    x[:, want] = value
    found = find_padding(x)
    assert (found == want).all()


def test_find_padding_constant_and_plain():
    assert not find_padding(np.full((2, 16, 16), 3, np.uint8)).any()
    assert not find_padding(make_patches(5)[0]).any()


def zip_patches(path):
    with zipfile.ZipFile(path) as z:
        import tifffile

        names = [n for n in z.namelist() if n.endswith(".tif")]
        return np.stack([tifffile.imread(io.BytesIO(z.read(n))) for n in names]), np.array(
            [n.split("/")[0] for n in names]
        )


def test_blank_detector_on_published_patches(shared_data):
    """G6: all 20 demo "Apoptosis" patches, none of the other 56; the same in the older zips that hold blanks."""
    for path in sorted((shared_data / "chromatin/zips").glob("annotation_*.zip")):
        patches, names = zip_patches(path)
        empty = (names == "Apoptosis") & ("02-19" not in path.name)  # that zip's two are real nuclei
        assert (check_blank(patches).blank == empty).all(), path.name
        for scale in (16, 257):
            assert (check_blank(patches.astype(np.uint16) * scale).blank == empty).mean() > 0.98, path.name


def test_blank_on_practice_data():
    patches = make_patches(20, difficulty=0)[0]
    field = make_movie(n_frames=1, n_cells=0, seed=2, dtype=np.uint16).frame(0)
    blanks = cut_patches(field, np.random.default_rng(0).uniform(0, 255, (40, 2)), pad="constant")
    assert not check_blank(patches).blank.any() and check_blank(blanks).blank.all()
    assert check_blank(np.zeros((3, 64, 64), np.uint8)).blank.all()
    assert not check_blank(255 - patches).blank.any()  # dark cells are cells, too


def test_brightness_and_saturation():
    x = np.full((2, 10, 10, 2), 100, np.uint8)
    x[1, :5] = 255
    x[1, 5:, :, 0] = 7
    t = check_brightness(x, np.ones((2, 10, 10), bool))
    assert t.brightness[0] == 100 and t.saturated.tolist() == [0, 0.5]
    assert check_brightness(np.full((1, 8, 8), 4095, np.uint16), white=4095).saturated[0] == 1
    assert check_brightness(np.full((1, 8, 8), 1.0)).saturated[0] == 0


def test_focus_falls_with_blur():
    from scipy.ndimage import gaussian_filter

    x = make_patches(10, difficulty=0)[0].astype(np.float32)
    sharp, soft = check_focus(x), check_focus(gaussian_filter(x, (0, 2, 2, 0)))
    assert (sharp > soft).all().all()
    assert np.allclose(check_focus(x * 3 + 10), sharp, rtol=1e-2)


def test_quality_works_in_chunks(tmp_path):
    import zarr

    x = make_patches(120)[0]
    stored = zarr.create_array(store=tmp_path / "x.zarr", shape=x.shape, chunks=(64, 64, 64, 1), dtype=x.dtype)
    stored[:] = x
    table = check_patches(stored)
    assert len(table) == len(x) and np.allclose(table.select_dtypes(float), check_patches(x).select_dtypes(float))
    order = np.random.default_rng(0).permutation(len(x))
    assert np.allclose(check_patches(x[order]).signal, table.signal[order])


def test_no_patches():
    none = np.zeros((0, 64, 64), np.uint8)
    assert len(check_patches(none)) == 0 and "blank" in check_patches(none)
