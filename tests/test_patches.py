"""Patches: every pixel where it should be, the published arithmetic exactly, and quality numbers that mean what they say."""
import io, zipfile
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from cellprotocols.patches import (PatchError, Stitcher, check_blank, check_brightness, check_focus, check_patches, cut_movie, cut_patches,
    cut_patches_published, find_padding, fit_patches, iter_tiles, match_channels, normalise, normalise_published, pad_tile, um_to_px, valid_masks)
from cellprotocols.synth import make_movie, make_patches

def picture(h, w, c=None, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(1, 256 if dtype == np.uint8 else 60000, (h, w) if c is None else (h, w, c)).astype(dtype)

where = st.tuples(st.integers(1, 60), st.integers(1, 70), st.sampled_from([2, 8, 32, 64]), st.integers(0, 10**6))

@settings(max_examples=60, deadline=None)
@given(where, st.sampled_from(["reflect", "edge", "constant"]), st.sampled_from([None, 1, 3]))
def test_cut_equals_numpy_pad(where, pad, c):
    """Oracle: pad the whole field with numpy, then slice."""
    h, w, size, seed = where
    img, rng = picture(h, w, c), np.random.default_rng(seed)
    yx = np.c_[rng.integers(0, h, 5), rng.integers(0, w, 5)]
    wide = np.pad(img, [(size, size)] * 2 + [(0, 0)] * (img.ndim - 2), mode=pad)
    half = size // 2
    for patch, (y, x) in zip(cut_patches(img, yx, size, pad), yx):
        assert (patch == wide[y + size - half:y + size + half, x + size - half:x + size + half]).all()

def published(img, yx, size):
    """The published crop as the specification words it: pad the whole frame by h - d zeros on all four sides."""
    h, patches, flagged = size // 2, [], []
    for y, x in yx:
        yc, xc, frame = int(y), int(x), img
        d = min(yc, img.shape[0] - yc, xc, img.shape[1] - xc)
        flagged.append(d < h)
        if d < h: frame = np.pad(img, h - d); yc += h - d; xc += h - d
        patches.append(frame[yc - h:yc + h, xc - h:xc + h])
    return np.array(patches), np.array(flagged)

@settings(max_examples=60, deadline=None)
@given(st.integers(20, 90), st.integers(20, 90), st.integers(0, 10**6))
def test_published_crop(h, w, seed):
    rng, img = np.random.default_rng(seed), picture(h, w, seed=seed)
    yx = rng.uniform(0, (h, w), (6, 2))
    ours, theirs = cut_patches_published(img, yx), published(img, yx, 64)
    assert (ours[0] == theirs[0]).all() and (ours[1] == theirs[1]).all()

def test_published_rows():
    """G3: rows int(y) - 32 .. int(y) + 31."""
    img = np.arange(450 * 600, dtype=np.uint32).reshape(450, 600)
    patch, flagged = cut_patches_published(img, [[100.99, 200.99]])
    assert patch[0, 0, 0] == img[68, 168] and patch[0, -1, -1] == img[131, 231] and not flagged[0]
    at = [[32, 300], [31.9, 300], [418, 300], [419, 300]]
    assert cut_patches_published(img, at)[1].tolist() == [False, True, False, True]
    assert (cut_patches_published(img, [[0, 300]])[0][0, :32] == 0).all()

@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32])
def test_native_type_never_wraps(dtype):
    """G11: a 16-bit field gives 16-bit patches with the same numbers."""
    img = picture(100, 100, dtype=dtype)
    for patches in (cut_patches(img, [[50, 50]]), cut_patches_published(img, [[50, 50]])[0], cut_patches(img, [[50, 50]], subpixel=True)):
        assert patches.dtype == dtype and (patches[0] == img[18:82, 18:82]).all()

def test_valid_masks_and_filling():
    img = picture(80, 90, 2)
    yx = np.array([[0, 0], [40, 45], [79, 3]])
    valid = valid_masks(img.shape, yx)
    ones = cut_patches(np.ones(img.shape[:2]), yx, pad="constant")
    assert (valid == (ones == 1)).all() and valid[1].all() and valid.shape == (3, 64, 64)
    mean = cut_patches(img, yx, pad="mean")
    assert np.abs(mean[0][~valid[0]] - mean[0][valid[0]].mean(0)).max() <= .5
    assert (cut_patches(img, yx, pad="constant")[~valid] == 0).all()
    for pad in ("reflect", "edge", "mean", "constant"): assert (cut_patches(img, yx, pad=pad)[valid] == cut_patches(img, yx)[valid]).all()

def test_rounding_is_to_the_nearest_pixel():
    img = picture(100, 100)
    for y in (49.5, 49.9, 50.0, 50.49): assert (cut_patches(img, [[y, 50]]) == cut_patches(img, [[50, 50]])).all()

def test_subpixel():
    y, x = np.mgrid[:100, :100]
    ramp = 2. * y + 3. * x
    shifted = cut_patches(ramp, [[50.25, 40.5]], subpixel=True) - cut_patches(ramp, [[50, 40]])
    assert np.allclose(shifted, .25 * 2 + .5 * 3)
    img = picture(100, 100, 3)
    assert (cut_patches(img, [[50, 40], [2, 2]], subpixel=True) == cut_patches(img, [[50, 40], [2, 2]])).all()

@pytest.mark.parametrize("bad", [dict(size=63), dict(size=0), dict(pad="wrap"), dict(yx=[[500, 5]]), dict(yx=[[np.nan, 5]]), dict(yx=[[5, 5, 5]]), dict(img=np.zeros((2, 9, 9, 1)))])
def test_errors_say_what_to_do(bad):
    with pytest.raises(PatchError) as e: cut_patches(**{**dict(img=picture(90, 90), yx=[[45, 45]]), **bad})
    assert "needed" in str(e.value) and isinstance(e.value, ValueError)

def test_no_points():
    assert cut_patches(picture(90, 90, 3), np.zeros((0, 2))).shape == (0, 64, 64, 3)
    assert cut_patches(picture(90, 90), []).shape == (0, 64, 64)
    assert cut_patches_published(picture(90, 90), [])[1].shape == (0,)
    assert normalise(np.zeros((0, 64, 64), np.uint8)).shape == (0, 64, 64)
    assert len(check_patches(np.zeros((0, 64, 64), np.uint8))) == 0
    assert "blank" in check_patches(np.zeros((0, 64, 64), np.uint8))

def test_um_to_px():
    assert um_to_px(21.333, 1 / 3) == 64 and um_to_px(.1, 1.) == 2 and um_to_px(15, .5) == 30
    for unknown in (None, 0, -1, float("nan")):
        with pytest.raises(PatchError): um_to_px(20, unknown)

class Counting:
    """A movie that counts how often a frame is read."""
    def __init__(self, n): self.n, self.reads = n, []
    def __len__(self): return self.n
    def frame(self, t=0, z=0): self.reads.append((t, z)); return np.full((70, 70, 1), 10 * z + t, np.uint8)

def test_cut_movie_streams():
    movie = Counting(6)
    table = pd.DataFrame(dict(t=[5, 0, 5, 2], y=[1., 2, 3, 4], x=[9., 8, 7, 6]), index=[40, 30, 20, 10])
    parts = cut_movie(movie, table, 8)
    rows, patches, valid = next(parts)
    assert movie.reads == [(0, 0)] and rows.index.tolist() == [30]
    rest = list(parts)
    assert movie.reads == [(0, 0), (2, 0), (5, 0)] and rest[1][0].index.tolist() == [40, 20]
    assert all((p == r.t.iloc[0]).all() and p.shape == (len(r), 8, 8, 1) and v.shape == (len(r), 8, 8) for r, p, v in rest)

def test_cut_movie_z_and_errors():
    movie = Counting(3)
    got = {(r.t.iloc[0], r.z.iloc[0]): p.max() for r, p, _ in cut_movie(movie, pd.DataFrame(dict(t=[1, 1, 2], z=[0, 2, 2], y=30, x=30)), 8)}
    assert got == {(1, 0): 1, (1, 2): 21, (2, 2): 22}
    assert list(cut_movie(movie, pd.DataFrame(dict(t=[], y=[], x=[])))) == []
    with pytest.raises(PatchError, match="without t"): list(cut_movie(movie, pd.DataFrame(dict(y=[1], x=[1]))))
    with pytest.raises(PatchError, match="t=3"): list(cut_movie(movie, pd.DataFrame(dict(t=[3], y=[1], x=[1]))))

@settings(max_examples=30, deadline=None)
@given(st.floats(.01, 100), st.floats(-1000, 1000), st.integers(0, 1000))
def test_normalise_is_affine_invariant(a, b, seed):
    """G5."""
    x = np.random.default_rng(seed).normal(0, 20, (2, 32, 32, 2))
    assert np.allclose(normalise(a * x + b), normalise(x), atol=2e-3)

@pytest.mark.parametrize("value,dtype", [(0, np.uint8), (93, np.uint8), (65535, np.uint16), (.1, np.float32), (1e6, np.float64)])
def test_normalise_constant(value, dtype):
    for fn in (normalise, normalise_published): assert np.abs(fn(np.full((2, 64, 64), value, dtype))).max() < 1e-3

def test_normalise_formula():
    """The published formula, (x - mean) / max(sd, 1 / sqrt(N)), clipped; ours is the same where nothing is masked."""
    x = make_patches(3)[0][..., 0].astype(np.float64)
    want = np.stack([np.clip((p - p.mean()) / max(p.std(), 1 / 64), -4, 4) for p in x])
    assert np.allclose(normalise_published(x.astype(np.uint8)), want, atol=1e-5) and np.allclose(normalise(x.astype(np.uint8)), want, atol=1e-5)
    spike = np.zeros((1, 64, 64), np.uint8); spike[0, 3, 3] = 255
    assert normalise(spike).max() == 4 and normalise(spike).dtype == np.float32

def test_normalise_ignores_what_is_filled_in():
    x, valid = make_patches(2)[0].astype(np.float32), np.ones((10, 64, 64), bool)
    valid[:, :20] = False
    dirty = x.copy(); dirty[~valid] = 1e4
    assert np.allclose(normalise(dirty, valid)[valid], normalise(x, valid)[valid]) and np.isfinite(normalise(dirty, valid)).all()
    assert (normalise(x, np.zeros_like(valid)) == np.clip(normalise(x, np.zeros_like(valid)), -4, 4)).all()
    x[0, 5, 5] = np.nan
    assert np.isfinite(normalise(x)).all()

def test_fit_patches():
    big, small = picture(81, 90, 3), picture(33, 40, 3)
    fitted = fit_patches(iter([big, small]), 64)
    assert (fitted[0] == big[8:72, 13:77]).all()
    assert (fitted[1] == np.pad(small, ((16, 15), (12, 12), (0, 0)), mode="reflect")).all()
    assert fit_patches([picture(1, 1)], 8).shape == (1, 8, 8, 1)

def test_channels():
    grey, rgb = picture(20, 20), picture(20, 20, 3)
    assert [i.shape[2] for i in match_channels([grey, rgb], 3)] == [3, 3] and [i.shape[2] for i in match_channels([grey, rgb], 1)] == [1, 1]
    from PIL import Image  # the oracle: its "L" is the same Rec. 601 brightness
    one = next(match_channels([rgb], 1))[..., 0]
    assert one.dtype == np.uint8 and np.abs(one.astype(int) - np.array(Image.fromarray(rgb).convert("L"))).max() <= 1
    with pytest.raises(PatchError, match="image 1 has 3"): fit_patches([grey, rgb], 16)
    with pytest.raises(PatchError): list(match_channels([picture(20, 20, 2)], 3))

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 255))
def test_find_padding(top, bottom, left, right, value):
    x = make_patches(1, difficulty=.5)[0][:2].copy()
    want = np.ones((64, 64), bool); want[top:64 - bottom, left:64 - right] = False
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
        return np.stack([tifffile.imread(io.BytesIO(z.read(n))) for n in names]), np.array([n.split("/")[0] for n in names])

def test_blank_detector_on_published_patches(shared_data):
    """G6: all 20 demo "Apoptosis" patches, none of the other 56; the same in the older zips that hold blanks."""
    for path in sorted((shared_data / "chromatin/zips").glob("annotation_*.zip")):
        patches, names = zip_patches(path)
        empty = (names == "Apoptosis") & ("02-19" not in path.name)  # that zip's two are real nuclei
        assert (check_blank(patches).blank == empty).all(), path.name
        for scale in (16, 257): assert (check_blank(patches.astype(np.uint16) * scale).blank == empty).mean() > .98, path.name

def test_blank_on_practice_data():
    patches = make_patches(20, difficulty=0)[0]
    field = make_movie(n_frames=1, n_cells=0, seed=2, dtype=np.uint16).frame(0)
    blanks = cut_patches(field, np.random.default_rng(0).uniform(0, 255, (40, 2)), pad="constant")
    assert not check_blank(patches).blank.any() and check_blank(blanks).blank.all()
    assert check_blank(np.zeros((3, 64, 64), np.uint8)).blank.all()
    assert not check_blank(255 - patches).blank.any()  # dark cells are cells, too

def test_brightness_and_saturation():
    x = np.full((2, 10, 10, 2), 100, np.uint8); x[1, :5] = 255; x[1, 5:, :, 0] = 7
    t = check_brightness(x, np.ones((2, 10, 10), bool))
    assert t.brightness[0] == 100 and t.saturated.tolist() == [0, .5]
    assert check_brightness(np.full((1, 8, 8), 4095, np.uint16), white=4095).saturated[0] == 1
    assert check_brightness(np.full((1, 8, 8), 1.)).saturated[0] == 0

def test_focus_falls_with_blur():
    from scipy.ndimage import gaussian_filter
    x = make_patches(10, difficulty=0)[0].astype(np.float32)
    sharp, soft = check_focus(x), check_focus(gaussian_filter(x, (0, 2, 2, 0)))
    assert (sharp > soft).all().all()
    assert np.allclose(check_focus(x * 3 + 10), sharp, rtol=1e-2)

def test_quality_works_in_chunks(tmp_path):
    import zarr
    x = make_patches(120)[0]
    stored = zarr.create_array(store=tmp_path / "x.zarr", shape=x.shape, chunks=(64, 64, 64, 1), dtype=x.dtype); stored[:] = x
    table = check_patches(stored)
    assert len(table) == len(x) and np.allclose(table.select_dtypes(float), check_patches(x).select_dtypes(float))
    order = np.random.default_rng(0).permutation(len(x))
    assert np.allclose(check_patches(x[order]).signal, table.signal[order])


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 64), st.floats(0, .95))
def test_tiles_cover_the_field_and_overlap_enough(h, w, size, share):
    overlap = int(share * size)
    boxes = iter_tiles((h, w), size, overlap)
    seen = np.zeros((h, w), int)
    for y0, x0, y1, x1 in boxes:
        assert (y1 - y0, x1 - x0) == (min(size, h), min(size, w))
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1 and boxes == sorted(boxes)
    for n, ends in ((h, sorted({(b[0], b[2]) for b in boxes})), (w, sorted({(b[1], b[3]) for b in boxes}))):
        assert all(end - start >= overlap and start > before for (before, end), (start, _) in zip(ends, ends[1:]))
        assert ends[0][0] == 0 and ends[-1][1] == n
        if n > size: assert len(ends) == 1 or (len(ends) - 1) * size - (len(ends) - 2) * overlap < n  # one fewer would not do


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.integers(1, 120), st.integers(2, 50), st.integers(0, 3), st.integers(0, 99))
def test_stitching_gives_back_what_was_cut(h, w, size, channels, seed):
    img = np.random.default_rng(seed).normal(0, 1e3, (h, w, channels) if channels else (h, w)).astype(np.float32)
    stitcher = Stitcher(img.shape, channels)
    boxes = iter_tiles(img.shape, size, size // 3)
    for y0, x0, y1, x1 in np.random.default_rng(seed).permutation(boxes): stitcher.add((y0, x0, y1, x1), pad_tile(img[y0:y1, x0:x1], size))
    out = stitcher.result()
    assert out.dtype == np.float32 and np.array_equal(out, img)


def test_blending_has_no_step_and_stays_between_its_tiles():
    stitcher = Stitcher((64, 200))
    for i, (y0, x0, y1, x1) in enumerate(iter_tiles((64, 200), 80, 40)): stitcher.add((y0, x0, y1, x1), np.full((y1 - y0, x1 - x0), i % 2))
    row = stitcher.result()[30]
    assert 0 <= row.min() and row.max() <= 1 and np.abs(np.diff(row)).max() < .06 and row[0] == 0


def test_a_strip_in_rows_equals_the_whole_and_needs_little_memory():
    rng = np.random.default_rng(0)
    boxes = iter_tiles((3000, 70), 64, 16)
    tiles = [rng.random((y1 - y0, x1 - x0, 2)) for y0, x0, y1, x1 in boxes]  # tiles that disagree
    whole, strip, rows, most = Stitcher((3000, 70), 2), Stitcher((3000, 70), 2), [], 0
    for box, tile in zip(boxes, tiles):
        whole.add(box, tile)
        rows.append(strip.take_rows(box[0])); strip.add(box, tile)
        most = max(most, strip._sum.shape[0])
    assert np.array_equal(np.concatenate([*rows, strip.result()]), whole.result()) and most <= 64


@pytest.mark.parametrize("size", [0, 5, 8])
def test_tiles_that_cannot_cover(size):
    with pytest.raises(PatchError): iter_tiles((20, 20), size, 8)
    with pytest.raises(PatchError): iter_tiles((0, 20), 16, 8)


def test_stitcher_says_what_is_wrong():
    with pytest.raises(PatchError, match="not covered"): Stitcher((8, 8)).result()
    with pytest.raises(PatchError, match="at least"): Stitcher((8, 8), 2).add((0, 0, 8, 8), np.zeros((8, 8, 3)))
    with pytest.raises(PatchError, match="inside"): Stitcher((8, 8)).add((0, 0, 9, 8), np.zeros((9, 8)))
