"Thin lines: strength, pieces, chains and boxes."

import numpy as np
import pytest
from cellprotocols.graphsegment import GraphError
from cellprotocols.ridges import measure_ridges, propose_ridges


def lines(shape=(300, 400), seed=0, contrast=300, noise=100):
    "Pale lines in known boxes on noise, 16 bit."
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    img, boxes = rng.normal(2000, noise, shape), []
    for k in range(6):
        cy, cx, turn = 60 + 120 * (k // 3), 70 + 130 * (k % 3), rng.uniform(0, np.pi)
        along = (y - cy) * np.sin(turn) + (x - cx) * np.cos(turn)
        across = (x - cx) * np.sin(turn) - (y - cy) * np.cos(turn)
        img += contrast * np.exp(-((across / 1.5) ** 2)) * (np.abs(along) < 35)
        h, w = 35 * abs(np.sin(turn)), 35 * abs(np.cos(turn))
        boxes.append((cy - h - 3, cx - w - 3, cy + h + 3, cx + w + 3))
    return img.astype(np.uint16), np.array(boxes)


def best_iou(truth, found):
    low, high = np.maximum(found[:, None, :2], truth[:, :2]), np.minimum(found[:, None, 2:], truth[:, 2:])
    both = (high - low).clip(0).prod(2)
    return (both / ((found[:, 2:] - found[:, :2]).prod(1)[:, None] + (truth[:, 2:] - truth[:, :2]).prod(1) - both)).max(
        0
    )


@pytest.mark.parametrize("turn", np.linspace(0, np.pi, 9)[:-1])
def test_direction_is_across_the_line(turn):
    y, x = np.mgrid[-30:31, -30:31]
    img = np.exp(-(((x * np.sin(turn) - y * np.cos(turn)) / 2) ** 2))
    ridges = measure_ridges(img)
    across = turn + np.pi / 2
    assert abs(np.cos(ridges.angle[30, 30] - across)) > 0.99
    assert -np.pi / 2 - 1e-6 <= ridges.angle.min() and ridges.angle.max() <= np.pi / 2 + 1e-6


def test_strength_knows_pale_from_dark_and_scale_from_width():
    y, x = np.mgrid[:80, :80]
    thin, wide = (np.exp(-(((x - 40) / s) ** 2) / 2) for s in (0.8, 3))
    assert measure_ridges(thin).strength[40, 40] > 0 > measure_ridges(-thin).strength[40, 40]
    assert measure_ridges(thin).scale[40, 40] < measure_ridges(wide).scale[40, 40]


def test_curvatures_are_those_of_scikit_image():
    from cellprotocols.ridges import _curvatures
    from skimage.feature import hessian_matrix, hessian_matrix_eigvals

    img = np.random.default_rng(0).normal(0, 1, (60, 70)).astype(np.float32)
    ours = np.abs(_curvatures(img, 3.0)[0])[15:-15, 15:-15]
    a, b = hessian_matrix_eigvals(hessian_matrix(img, 3.0, use_gaussian_derivatives=False))[:, 15:-15, 15:-15]
    theirs = 9 * np.abs(np.abs(a) - np.abs(b))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98


def test_planted_lines_come_first_at_any_bit_depth():
    img, truth = lines()
    table = propose_ridges(img, "pale")
    assert (best_iou(truth, table.iloc[:12, :4].to_numpy()) > 0.6).all()
    assert table.equals(propose_ridges(img.astype(np.float64) / 2**12, "pale"))
    dark = propose_ridges(65535 - img, "dark")
    assert (best_iou(truth, dark.iloc[:12, :4].to_numpy()) > 0.6).all()


def test_a_broken_line_has_the_box_of_the_whole():
    y, x = np.mgrid[:120, :300]
    img = np.random.default_rng(1).normal(0, 2, (120, 300)) + 60 * np.exp(-(((y - 60) / 1.5) ** 2))
    for gap in (90, 190):
        img[:, gap : gap + 6] -= 60 * np.exp(-(((y[:, gap : gap + 6] - 60) / 1.5) ** 2))
    truth = np.array([[57, 0, 64, 300]])
    assert best_iou(truth, propose_ridges(img).iloc[:, :4].to_numpy())[0] > 0.7
    assert best_iou(truth, propose_ridges(img, gap=0).iloc[:, :4].to_numpy())[0] < 0.5


def test_large_pictures_are_searched_at_their_own_scale():
    img, truth = lines((300, 400))
    big = np.kron(img, np.ones((4, 4), np.uint16))[:1199, :1597]
    table = propose_ridges(big, "pale")
    b = table.iloc[:, :4].to_numpy()
    assert b.max() <= 1597 and (b[:, 2] <= 1199).all() and (b[:, :2] >= 0).all()
    assert (best_iou(truth * 4, b[:40]) > 0.5).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 40), (40, 40, 3)])
def test_where_there_is_no_line_there_is_no_box(shape):
    assert len(propose_ridges(np.full(shape, 5, np.uint8))) == 0


def test_pixels_that_are_no_numbers_are_refused():
    with pytest.raises(GraphError, match="not a number"):
        propose_ridges(np.full((9, 9), np.inf))
