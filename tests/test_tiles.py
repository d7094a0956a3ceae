"Tiles: they cover the field, and what was cut is stitched back exactly."

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from cellprotocols.patches import PatchError
from cellprotocols.tiles import Stitcher, iter_tiles, pad_tile


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 64), st.floats(0, 0.95))
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
        if n > size:
            assert len(ends) == 1 or (len(ends) - 1) * size - (len(ends) - 2) * overlap < n  # one fewer would not do


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.integers(1, 120), st.integers(2, 50), st.integers(0, 3), st.integers(0, 99))
def test_stitching_gives_back_what_was_cut(h, w, size, channels, seed):
    img = np.random.default_rng(seed).normal(0, 1e3, (h, w, channels) if channels else (h, w)).astype(np.float32)
    stitcher = Stitcher(img.shape, channels)
    boxes = iter_tiles(img.shape, size, size // 3)
    for y0, x0, y1, x1 in np.random.default_rng(seed).permutation(boxes):
        stitcher.add((y0, x0, y1, x1), pad_tile(img[y0:y1, x0:x1], size))
    out = stitcher.result()
    assert out.dtype == np.float32 and np.array_equal(out, img)


def test_blending_has_no_step_and_stays_between_its_tiles():
    stitcher = Stitcher((64, 200))
    for i, (y0, x0, y1, x1) in enumerate(iter_tiles((64, 200), 80, 40)):
        stitcher.add((y0, x0, y1, x1), np.full((y1 - y0, x1 - x0), i % 2))
    row = stitcher.result()[30]
    assert 0 <= row.min() and row.max() <= 1 and np.abs(np.diff(row)).max() < 0.06 and row[0] == 0


def test_a_strip_in_rows_equals_the_whole_and_needs_little_memory():
    rng = np.random.default_rng(0)
    boxes = iter_tiles((3000, 70), 64, 16)
    tiles = [rng.random((y1 - y0, x1 - x0, 2)) for y0, x0, y1, x1 in boxes]  # tiles that disagree
    whole, strip, rows, most = Stitcher((3000, 70), 2), Stitcher((3000, 70), 2), [], 0
    for box, tile in zip(boxes, tiles):
        whole.add(box, tile)
        rows.append(strip.take_rows(box[0]))
        strip.add(box, tile)
        most = max(most, strip._sum.shape[0])
    assert np.array_equal(np.concatenate([*rows, strip.result()]), whole.result()) and most <= 64


@pytest.mark.parametrize("size", [0, 5, 8])
def test_tiles_that_cannot_cover(size):
    with pytest.raises(PatchError):
        iter_tiles((20, 20), size, 8)
    with pytest.raises(PatchError):
        iter_tiles((0, 20), 16, 8)


def test_stitcher_says_what_is_wrong():
    with pytest.raises(PatchError, match="not covered"):
        Stitcher((8, 8)).result()
    with pytest.raises(PatchError, match="at least"):
        Stitcher((8, 8), 2).add((0, 0, 8, 8), np.zeros((8, 8, 3)))
    with pytest.raises(PatchError, match="inside"):
        Stitcher((8, 8)).add((0, 0, 9, 8), np.zeros((9, 8)))
