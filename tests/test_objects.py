"Objects: what clean images have, too, is no dirt."

import numpy as np
import pytest
from fields import disc
from scipy import ndimage

from cellprotocols.errors import UserError
from cellprotocols.objects import UNSURE, ObjectVote, find_certain, find_dark, find_stain, measure_crowd
from cellprotocols.unet import IGNORE


def test_things_that_clean_images_have_too_are_no_dirt():
    rng, tiles = np.random.default_rng(0), np.ones((24, 128, 128, 1), np.float32)
    tiles += 0.005 * rng.standard_normal(tiles.shape)

    def spot(t, depth, r, n):
        for _ in range(n):
            y, x = rng.integers(15, 113, 2)
            yy, xx = np.mgrid[:128, :128]
            t[..., 0] *= 1 - depth * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * r * r))

    for t in tiles:
        spot(t, 0.2, 2.0, 25)  # stain, everywhere
    before = tiles.copy()
    for t in tiles[1::2]:
        spot(t, 0.8, 6.0, 2)  # dirt, in every other one
    dirt = (before - tiles)[..., 0] > 0.2
    vote = ObjectVote(tiles, np.arange(18), np.arange(18) % 2 == 1, np.arange(18) // 2)
    masks = vote.masks()
    assert not masks[::2].any() and ((masks[1::2] == 1) & dirt[1:18:2]).sum() > 0.5 * dirt[1:18:2].sum()
    said = np.stack([vote.mask(t[..., 0]) for t in tiles[18:]])
    assert set(np.unique(said)) == {0, 1, 255}, "what clean images have, too, does not count in dirty ones"
    said = said == 1
    assert said[::2].mean() < 0.002 and (said & dirt[18:]).sum() > 0.5 * dirt[18:].sum()
    with pytest.raises(UserError, match="no dark thing in any dirty image"):
        ObjectVote(tiles, np.arange(0, 18, 2), np.zeros(9, bool), np.arange(9))


def test_without_labels_only_black_and_steep_things_are_dirt_for_certain():
    x = np.ones((128, 128), np.float32)
    x[20:30, 20:30] = 0.2
    x[60:66, 60:66] = 0.6
    x[100:103, 100:103] = 0.85
    said = find_certain(x)
    assert (said[25, 25], said[63, 63], said[101, 101], said[45, 45]) == (1, 255, 0, 0)
    assert not find_certain(1 - 0.4 * (1 - disc(30, 128))).astype(bool)[0].any()
    stain = np.ones((128, 128), np.float32)
    stain[30:70, 30:70] = 0.35
    crystal, wall = stain.copy(), stain.copy()
    crystal[30:70, 70:73] = crystal[70:73, 30:70] = 1.3
    wall[30:70, 30:70] = 0.05
    assert [find_certain(x)[50, 50] for x in (stain, crystal, wall)] == [255, 1, 1], (
        "smooth stain is black, too, but has no bright fringe"
    )


def make_grains(depth, seed=0):
    "A crowd of grains, 3 px a side and about 9 px apart, in the left half of empty ground with some noise."
    rng = np.random.default_rng(seed)
    x = 1 + 0.004 * rng.standard_normal((128, 256)).astype(np.float32)
    for a, b in np.mgrid[20:100:9, 20:100:9].reshape(2, -1).T + rng.integers(-1, 2, (81, 2)):
        x[a : a + 3, b : b + 3] *= 1 - depth
    return x


@pytest.mark.parametrize("depth", [0.35, 0.5, 0.7])
def test_grains_in_a_crowd_are_nothing_and_the_same_grain_alone_may_be_dirt(depth):
    x = make_grains(depth)
    x[60:64, 200:204] *= 1 - depth
    said = find_certain(x)
    assert not (said[28:90, 28:90] == 1).any(), "no grain inside a crowd is dirt for certain, however dark"
    assert said[61, 201] in (1, 255)
    if depth < 0.6:
        assert not said[28:90, 28:90].any(), "nor doubtful"
    stain = find_stain(x)
    assert stain[30:90, 30:90].mean() > 0.9 and not stain[:, 160:].any()


def test_dark_streaky_stain_without_a_bright_fringe_is_an_example_of_nothing():
    (y, x), rng = np.mgrid[:192, :192] - 96, np.random.default_rng(0)
    streaks = ndimage.gaussian_filter(rng.standard_normal((192, 192)), 1)
    cell = 1 - 0.65 / (1 + np.exp((np.hypot(y, x * 0.7) - 32) / 5)) * (1 + 0.06 * streaks / streaks.std())
    cell = (cell + 0.004 * rng.standard_normal(cell.shape)).astype(np.float32)
    assert cell.min() < 0.45 and not find_certain(cell).any(), "black in the middle, but soft and without a fringe"
    stain = find_stain(cell)
    assert stain[80:110, 80:110].all() and not stain[:10].any()


def test_neighbours_are_counted_by_their_middles():
    names = np.zeros((40, 40), int)
    for k, (a, b) in enumerate([(5, 5), (5, 12), (5, 30)], 1):
        names[a : a + 2, b : b + 2] = k
    assert measure_crowd(names, 3).tolist() == [1, 1, 0] and measure_crowd(names, 3, 20).tolist() == [1, 2, 1]
    assert measure_crowd(names * 0, 0).shape == (0,)


def test_saliency_outside_dirt_gives_nothing_and_dirt_outside_saliency_neither():
    x = np.ones((96, 96))
    x[20:30, 20:30] = 0.3
    seen = np.zeros((96, 96))
    seen[60:80, 60:80] = 1
    assert not find_dark(x, seen).any()


def test_clean_images_with_nothing_dark_make_every_dark_thing_dirt():
    tiles = np.ones((6, 64, 64, 1), np.float32)
    tiles[1::2, 20:30, 20:30] = 0.4
    vote = ObjectVote(tiles, np.arange(6), np.arange(6) % 2 == 1, np.arange(6) // 2)
    assert (vote.masks()[1::2, 22:28, 22:28] == 1).all() and (vote.mask(tiles[1, ..., 0])[22:28, 22:28] == 1).all()


def test_what_does_not_count_is_called_alike():
    assert UNSURE == IGNORE
