"Masks as text, submissions, and the metric of the competition: against fixed vectors, a trusted library and damage."

import base64
import csv
import zlib

import numpy as np
import pytest

from cellprotocols.instanceap import measure_ap, measure_overlaps, score_instances
from cellprotocols.masktext import (
    MaskTextError,
    iter_mask_texts,
    read_counts,
    read_mask_text,
    to_counts,
    to_mask_text,
    to_runs,
)
from cellprotocols.submissions import SubmissionError, make_prediction_text, read_submission, write_submission


def box(shape, y0, y1, x0, x1):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


VECTORS = [
    (box((4, 5), 1, 3, 1, 4), "5 2 2 2 2 2 5", b"5220003", "eNozNTIyMDAwBgAFgwFd"),
    (np.zeros((3, 3), bool), "9", b"9", "eNqzBAAAOgA6"),
    (np.ones((3, 3), bool), "0 9", b"09", "eNozsAQAAJsAag=="),
    (box((2, 2), 0, 1, 0, 1), "0 1 3", b"013", "eNozMDQGAAEoAJU="),
    (np.zeros((1728, 1728), bool), "2985984", b"PPTk2", "eNoLCAjJNgIABNkBkg=="),
    (np.zeros((2048, 2048), bool), "4194304", b"PPPP4", "eNoLCAgIMAEABJkBdQ=="),
    (np.zeros((3072, 3072), bool), "9437184", b"PPPP9", "eNoLCAgIsAQABJ4Beg=="),
]


@pytest.mark.parametrize("mask, runs, counts, text", VECTORS)
def test_fixed_vectors(mask, runs, counts, text):
    assert to_runs(mask).tolist() == [int(r) for r in runs.split()]
    assert to_counts(to_runs(mask)) == counts == zlib.decompress(base64.b64decode(to_mask_text(mask)))
    assert (read_mask_text(text, *mask.shape) == mask).all()


def test_a_disk_and_a_large_box():
    y, x = np.mgrid[:100, :120]
    runs = to_runs((y - 50) ** 2 + (x - 60) ** 2 <= 30**2)
    assert len(runs) == 123 and runs[:6].tolist() == [3050, 1, 92, 15, 82, 21]
    assert len(to_counts(runs)) == 128 and to_counts(runs).startswith(b"Zo21l2>F6J6L2M4L4M2N")
    mask = box((2048, 2048), 100, 300, 500, 900)
    assert len(to_runs(mask)) == 801 and len(to_counts(to_runs(mask))) == 812 and len(to_mask_text(mask)) <= 48


def test_the_same_letters_as_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for i in range(300):
        shape = rng.integers(1, 40, 2)
        mask = rng.random(shape) < rng.choice([0, 0.02, 0.5, 0.98, 1])
        counts = to_counts(to_runs(mask))
        assert counts == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"], i
        assert (read_counts(counts) == to_runs(mask)).all()
        assert (read_mask_text(to_mask_text(mask), *shape) == mask).all()


def test_every_cell_of_a_label_image_with_gaps_and_at_the_edge():
    labels = np.zeros((31, 47), np.int64)
    labels[:31, :5], labels[0, 20:47], labels[10:20, 30:40] = 2, 70_000, 9
    for given in (labels, labels.astype(np.uint32), np.maximum(labels, 1)):
        found = dict(iter_mask_texts(given))
        assert set(found) == set(np.unique(given)) - {0}
        assert all((read_mask_text(t, 31, 47) == (given == i)).all() for i, t in found.items())


@pytest.mark.parametrize(
    "text", ["", "eNo", "####", "eNozNTIyMDAwBgAFgwFd"[:-6], base64.b64encode(zlib.compress(b"\xff\x10")).decode()]
)
def test_damaged_texts_are_errors(text):
    with pytest.raises(MaskTextError):
        read_mask_text(text, 4, 5)


def test_a_bomb_is_not_unpacked():
    bomb = base64.b64encode(zlib.compress(b"0" * 100_000_000, 9)).decode()
    with pytest.raises(MaskTextError):
        read_mask_text(bomb, 10, 10)


@pytest.mark.parametrize(
    "scores, hits, n, ap",
    [
        ([0.9, 0.8, 0.7], [1, 0, 1], 3, 0.5556),
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 4, 0.6875),
        ([0.9, 0.8, 0.7], [0, 0, 1], 1, 0.3333),
        ([0.9, 0.8], [1, 1], 2, 1),
        ([0.5], [0], 2, 0),
    ],
)
def test_average_precision_vectors(scores, hits, n, ap):
    assert measure_ap(scores, hits, n) == pytest.approx(ap, abs=1e-4)


def test_map_of_two_fields_with_a_duplicate_and_an_iou_of_exactly_six_tenths():
    first = (np.array([[0.6, 0], [0.9, 0], [0, 0.59]]), np.array([[0.9, 0.1], [0.8, 0.1], [0.7, 0.1]]))
    second = (np.array([[1.0]]), np.array([[0.95, np.nan]]))
    truths = np.array([[1, 0], [1, 0]], bool), np.array([[1, 0]], bool)
    t = score_instances([(*first, truths[0]), (*second, truths[1])])
    # class 0: .95 hit, .9 hit (IoU .6), .8 duplicate, .7 too little: recall 2/3 at precision 1
    assert t.ap[0] == pytest.approx(2 / 3) and np.isnan(t.ap[1]) and t.n_truth.tolist() == [3, 0]
    assert score_instances([(np.zeros((0, 2)), np.zeros((0, 2)), truths[0])]).ap[0] == 0


def test_a_submission_read_again_scores_as_in_memory(tmp_path):
    rng = np.random.default_rng(1)
    rows, parts, truths = [], [], []
    for k in range(3):
        truth = np.kron(np.arange(1, 13).reshape(3, 4) * 3, np.ones((16, 20), int))
        found = np.roll(truth, k, 1) * (rng.random(truth.shape) < 0.97)
        shown, prob = rng.random((12, 19)) < 0.2, rng.random((12, 19)).round(5)
        iou, ids, _ = measure_overlaps(found, truth)
        parts.append((iou, prob, shown))
        truths.append((truth, shown))
        rows.append((f"f{k}", truth.shape[1], truth.shape[0], make_prediction_text(found, ids, prob)))
    again = []
    for field, (truth, shown) in zip(read_submission(write_submission(tmp_path / "s.csv", rows)), truths):
        masks = field.masks()
        iou, _, _ = measure_overlaps(list(masks.values()), truth)
        prob = field.calls.pivot(index="text", columns="class_id", values="confidence").loc[list(masks)]
        again.append((iou, prob.to_numpy(), shown))
    a, b = score_instances(parts), score_instances(again)
    np.testing.assert_allclose(a.ap, b.ap)
    assert 0 < a.ap.mean() < 1


def test_rows_of_any_length_are_read_and_the_limit_of_csv_stays(tmp_path):
    usual, mask = csv.field_size_limit(), np.random.default_rng(0).random((900, 900)) > 0.5
    text = make_prediction_text(mask.astype(np.int32), [1], np.ones((1, 19)))
    assert len(text) > usual
    (field,) = read_submission(write_submission(tmp_path / "s.csv", [("a", 900, 900, text)]))
    assert (field.height, field.width) == (900, 900) and csv.field_size_limit() == usual


def test_files_that_are_no_submissions(tmp_path):
    file = tmp_path / "s.csv"
    for text, match in [
        ("ImageID,a\n", "rename"),
        ("ID,ImageWidth,ImageHeight,PredictionString\na,wide,3,\n", "row 2"),
        ("ID,ImageWidth,ImageHeight,PredictionString\na,3,3,0 1\n", "three each"),
        ("ID,ImageWidth,ImageHeight,PredictionString\na,3,3,0 high x\n", "high"),
    ]:
        file.write_text(text)
        with pytest.raises(SubmissionError, match=match):
            list(read_submission(file))
    write_submission(file, [("a", 5, 9, "0 1 eNozNTIyMDAwBgAFgwFd")])
    with pytest.raises(SubmissionError, match="field a: a mask of 20 pixels"):
        next(read_submission(file)).masks()
    with pytest.raises(SubmissionError, match="no cell 4"):
        make_prediction_text(np.zeros((5, 5), int), [4], np.ones((1, 19)))
