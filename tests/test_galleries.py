"Patches of every kind, absent classes, and the map made of cells."

import numpy as np
import pytest
from figures import drawn, leaves_no_trace, texts  # noqa: F401

from cellprotocols.galleries import (
    find_medoids,
    make_montage,
    read_rows,
    show_collage,
    show_montage,
    show_patches,
    show_worst,
)
from cellprotocols.style import VizError


def test_collage_keeps_absent_classes_and_is_repeatable():
    patches = np.arange(10)[:, None, None] * np.ones((10, 8, 8))
    one, two = (show_collage(patches, ["a"] * 10, ["a", "b"], n=3, seed=4) for _ in range(2))
    assert "no examples" in texts(one) and "b" in texts(one)
    assert (one.images[0].get_array() == two.images[0].get_array()).all()
    assert (one.images[0].get_array()[-8:, :, 3] == 0).all()


def test_lists_of_different_sizes_and_zarr_rows():
    zarr = pytest.importorskip("zarr")
    z = zarr.create_array(zarr.storage.MemoryStore(), shape=(6, 8, 8), dtype="u2", chunks=(2, 8, 8))
    z[:] = np.arange(6, dtype=np.uint16)[:, None, None]
    assert [int(p[0, 0]) for p in read_rows(z, [4, 1, 4])] == [4, 1, 4]
    drawn(show_collage(z, list("aabbcc"), n=2))
    drawn(show_patches([np.ones((8, 9)), np.ones((12, 4))]))


def test_worst_shows_the_surest_error_first():
    prob = np.array([[0.9, 0.1], [0.6, 0.4], [0.99, 0.01], [0.2, 0.8]])
    ax = show_worst(np.zeros((4, 8, 8)), ["b", "b", "a", "b"], prob, ["a", "b"])
    assert [t for t in texts(ax) if t.startswith("true")] == ["true b\n0.90 a", "true b\n0.60 a"]
    assert "no wrong prediction among these" in texts(show_worst(np.zeros((1, 8, 8)), ["a"], prob[:1], ["a", "b"]))


def test_montage_has_the_published_geometry():
    rng = np.random.default_rng(0)
    patches = rng.integers(1, 60000, (200, 64, 64)).astype(np.uint16)
    xy = rng.uniform(size=(200, 2)) * [3, 50]
    canvas = make_montage(patches, xy, bins=32)
    assert canvas.shape == (2112, 2112) and canvas.dtype == np.uint16
    for item, bx, by, _ in find_medoids(xy, 32).to_numpy():
        x, y_up = 64 * bx - 32, 64 * by - 32  # block start, y from below
        y = 2112 - y_up - 64
        assert (canvas[y : y + 64, x : x + 64] == patches[item]).all()


def test_medoid_is_a_member_and_the_brute_force_one():
    rng = np.random.default_rng(1)
    xy, features = rng.normal(size=(300, 2)), rng.normal(size=(300, 7))
    table = find_medoids(xy, 4, features)
    assert table.n.sum() == 300 and not table.duplicated(["bx", "by"]).any()
    lo, hi = xy.min(0), xy.max(0)
    place = np.minimum(((xy - lo) / (hi - lo) * 4).astype(int), 3) + 1
    for item, bx, by, _ in table.to_numpy():
        members = np.flatnonzero((place == [bx, by]).all(1))
        cost = [np.linalg.norm(features[members] - features[m], axis=1).sum() for m in members]
        assert item == members[np.argmin(cost)]


def test_map_with_odd_input():
    assert len(find_medoids(np.full((5, 2), np.nan))) == 0
    assert len(find_medoids(np.ones((5, 2)), 8)) == 1
    with pytest.raises(VizError, match="no patches with a position"):
        make_montage(np.zeros((2, 8, 8)), np.full((2, 2), np.nan))
    drawn(show_montage(np.zeros((0, 8, 8)), np.zeros((0, 2))))
    rgb = make_montage(np.full((2, 8, 8, 3), 9, np.uint8), [[0, 0], [1, 1]], bins=2)
    assert rgb.shape == (24, 24, 3)
