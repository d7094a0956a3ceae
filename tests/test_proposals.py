"Regions of a picture, grouping them, and the boxes proposed from it."

import subprocess
import sys

import numpy as np
import pytest
from cellprotocols.graphsegment import GraphError, find_regions, make_region_graph, to_levels
from cellprotocols.proposals import (
    COLUMNS,
    ProposalError,
    join_proposals,
    make_proposals,
    propose_grid,
    propose_regions,
)
from cellprotocols.regiongroups import make_groups, measure_regions


def blobs(shape=(120, 160), n=6, seed=0):
    "Bright discs on noise, 16 bit, and their boxes."
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    img, boxes = rng.normal(1000, 20, shape), []
    for k in range(n):
        cy, cx, r = 25 + 60 * (k % 2), 25 + 50 * (k // 2), rng.integers(8, 15)
        inside = (y - cy) ** 2 + (x - cx) ** 2 <= r * r
        img[inside] += 400
        boxes.append((cy - r, cx - r, cy + r + 1, cx + r + 1))
    return img.clip(0).astype(np.uint16), np.array(boxes)


def plain_regions(x, k, min_size):
    "Felzenszwalb and Huttenlocher as they wrote it, slowly."
    h, w = x.shape
    edges = [(abs(x[y, u] - x[y, u + 1]), 2 * (y * w + u), y * w + u + 1) for y in range(h) for u in range(w - 1)]
    edges += [
        (abs(x[y, u] - x[y + 1, u]), 2 * (y * w + u) + 1, (y + 1) * w + u) for y in range(h - 1) for u in range(w)
    ]
    edges = sorted((np.floor(v * 16), e, e // 2, j) for v, e, j in edges)
    members, inside = {i: {i} for i in range(h * w)}, dict.fromkeys(range(h * w), 0.0)
    home = list(range(h * w))

    def join(a, b, v):
        members[a] |= members.pop(b)
        inside[a] = v
        for i in members[a]:
            home[i] = a

    for v, _, i, j in edges:
        a, b = home[i], home[j]
        if a != b and all(v <= inside[r] + 16 * k / len(members[r]) for r in (a, b)):
            join(a, b, v)
    for _, _, i, j in edges:
        a, b = home[i], home[j]
        if a != b and min(len(members[a]), len(members[b])) < min_size:
            join(a, b, 0)
    return np.unique(home, return_inverse=True)[1].reshape(h, w)


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("k, min_size", [(20, 1), (60, 5), (300, 12)])
def test_regions_are_those_of_the_plain_algorithm(k, min_size):
    x = np.random.default_rng(k).integers(0, 256, (14, 17)).astype(np.float32)
    x[3:9, 4:12] += 40
    got = make_region_graph(x[..., None], (k,), 0, min_size).labels
    assert same_partition(got, plain_regions(x, k, min_size))


def test_regions_hang_together_and_keep_the_smallest_size():
    from skimage.measure import label

    found = find_regions(blobs()[0], min_size=50)
    assert np.bincount(found.ravel())[1:].min() >= 50
    assert label(found, connectivity=1).max() == found.max()


def test_a_larger_smallest_size_leaves_fewer_regions():
    img = np.random.default_rng(0).integers(0, 255, (80, 80))
    n = [find_regions(img, k=1, min_size=s).max() for s in (1, 10, 100)]
    assert n[0] > n[1] > n[2]


def test_bit_depth_colour_and_brightness_make_no_difference():
    img, _ = blobs()
    table = propose_regions(img, "quality")
    for other in (img.astype(np.float64) * 4, img.astype(np.int32), np.repeat(img[..., None], 3, 2), img / 2**16):
        assert table.equals(propose_regions(other, "quality"))


def test_two_processes_agree():
    img, _ = blobs(seed=4)
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_proposals import *;"
        "import hashlib; t = propose_regions(np.stack([blobs(seed=s)[0] for s in (4, 5, 6)], -1));"
        "print(len(t), hashlib.sha256(t.to_csv().encode()).hexdigest())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1 and int(next(iter(runs)).split()[0]) > 10


@pytest.mark.parametrize("strategy", ["fast", "quality"])
def test_planted_discs_are_found_among_the_first(strategy):
    img, truth = blobs(seed=2)
    table = propose_regions(img, strategy)
    assert list(table) == COLUMNS and table.score.is_monotonic_decreasing and table.score.between(0, 1).all()
    found = table[COLUMNS[:4]].to_numpy()[:25]
    low, high = np.maximum(found[:, None, :2], truth[:, :2]), np.minimum(found[:, None, 2:], truth[:, 2:])
    both = (high - low).clip(0).prod(2)
    union = (found[:, 2:] - found[:, :2]).prod(1)[:, None] + (truth[:, 2:] - truth[:, :2]).prod(1) - both
    assert ((both / union).max(0) > 0.75).all()


def test_boxes_are_inside_unlike_and_large_enough():
    table = propose_regions(blobs()[0], least_area=150, overlap=0.7)
    b = table[COLUMNS[:4]].to_numpy()
    assert (b[:, :2] >= 0).all() and (b[:, 2] <= 120).all() and (b[:, 3] <= 160).all()
    assert ((b[:, 2:] - b[:, :2]).prod(1) >= 150).all()
    low, high = np.maximum(b[:, None, :2], b[:, :2]), np.minimum(b[:, None, 2:], b[:, 2:])
    both, area = (high - low).clip(0).prod(2), (b[:, 2:] - b[:, :2]).prod(1)
    iou = both / (area[:, None] + area - both)
    assert iou[np.triu_indices(len(b), 1)].max() <= 0.7
    assert len(propose_regions(blobs()[0], most=5)) == 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 5), (64, 64), (9, 9, 2)])
def test_a_picture_with_nothing_in_it_gives_no_box(shape):
    assert len(propose_regions(np.full(shape, 7, np.uint8))) == 0


def test_a_few_bright_dots_on_an_even_ground_are_found():
    img = np.zeros((400, 400), np.uint8)
    img[100:112, 200:212] = 90
    assert propose_regions(img).iloc[0, :4].tolist() == [100, 200, 112, 212]


def test_what_cannot_be_searched_is_said():
    with pytest.raises(GraphError, match="not a number"):
        propose_regions(np.array([[0, np.nan], [1, 2]]))
    with pytest.raises(GraphError, match="shape"):
        propose_regions(np.zeros((2, 3, 4, 5)))
    with pytest.raises(ProposalError, match="fast"):
        propose_regions(np.zeros((9, 9)), "slow")


def test_every_group_is_made_of_neighbours_and_counts_its_pixels():
    levels = to_levels(blobs()[0])
    graph = make_region_graph(levels, (20.0,), min_size=20)
    boxes, sizes, _ = make_groups(measure_regions(levels, graph.labels), graph)
    n = graph.labels.max() + 1
    assert len(boxes) == 2 * n - 1
    assert sizes[:n].sum() == sizes[-1] == 120 * 160
    assert (sizes <= (boxes[:, 2:] - boxes[:, :2]).prod(1)).all()


def test_grids_cover_everything():
    covered = np.zeros((70, 101), int)
    for y0, x0, y1, x1 in propose_grid((70, 101), (20, 200)).iloc[:, :4].to_numpy():
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 2


def test_sources_take_turns():
    a = make_proposals([[0, 0, 9, 9], [0, 0, 30, 30]], [0.9, 0.1], "a")
    b = make_proposals([[0, 0, 9, 9], [50, 50, 60, 60]], [0.2, 0.1], "b")
    assert join_proposals(a, b).source.tolist() == ["a", "a", "b"]
    assert len(join_proposals(a, b, most=1)) == 1
    assert len(join_proposals()) == 0
