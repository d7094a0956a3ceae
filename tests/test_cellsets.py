"Labelled cells on their way to a model: nothing is dropped, nothing is changed, and what is odd is said with names."

import shutil

import numpy as np
import pandas as pd
import pytest

from cellprotocols.cellsets import check_contradictions, find_contradictions
from cellprotocols.chromatin import annotate, patches
from cellprotocols.dataset import read_dataset
from cellprotocols.images import write_image


def picture(path, size=32, seed=0, radius=None, noise=4, **kw):
    "A bright disc in noise; `size` is a side or (height, width)."
    h, w = (size, size) if np.isscalar(size) else size
    y, x = np.mgrid[:h, :w]
    inside = (y - h / 2) ** 2 + (x - w / 2) ** 2 < (radius or min(h, w) / 4) ** 2
    img = 40 + 120 * inside + np.random.default_rng(seed).normal(0, noise, (h, w))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.clip(img, 0, 255).astype(np.uint8)[None], **kw)
    return path


def folders(root, classes="ab", n=4, **kw):
    for k, c in enumerate(classes):
        for i in range(n):
            picture(root / c / f"slide{i % 2}" / f"{i}.tif", seed=10 * k + i, **kw)
    return root


def through(source, out, **kw):
    "Steps 21 and 22."
    annotate.run(str(source), str(out / "21"), **kw)
    return patches.run(str(out / "21"), str(out / "22"))


# --- one picture with two labels


def test_a_file_in_two_class_folders_is_named(tmp_path, capsys):
    root = folders(tmp_path / "cells")
    shutil.copy(root / "a" / "slide0" / "0.tif", root / "b" / "slide1" / "copy.tif")
    made = through(root, tmp_path)
    said = capsys.readouterr().out
    want = "1 picture has more than one label: a/slide0/0.tif (a) = b/slide1/copy.tif (b)"
    assert said.count(want) == 2, "steps 21 and 22 both say it"
    assert len(made) == 9, "and nothing is dropped"
    assert pd.read_csv(made.path / "contradictions.csv").label.tolist() == ["a", "b"]


def test_a_row_twice_in_a_table_is_named(tmp_path, capsys):
    for i in range(4):
        picture(tmp_path / f"{i}.tif", seed=i)
    rows = [("0.tif", "a", "g"), ("1.tif", "b", "g"), ("2.tif", "a", "h"), ("3.tif", "b", "h"), ("0.tif", "b", "g")]
    pd.DataFrame(rows, columns=["file", "label", "group"]).to_csv(tmp_path / "t.csv", index=False)
    annotate.run(str(tmp_path / "t.csv"), str(tmp_path / "out"))
    assert "1 picture has more than one label: 0.tif (a) = 0.tif (b)" in capsys.readouterr().out


def test_equal_pixels_in_other_files_are_found_where_pixels_are_read(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 255, (6, 16, 16), dtype=np.uint8)
    images[5] = images[0]
    np.savez(tmp_path / "c.npz", images=images, label=np.array(list("ababab")), group=np.array(list("112233")))
    through(tmp_path / "c.npz", tmp_path)
    assert capsys.readouterr().out.count("c.npz/0 (a) = c.npz/5 (b)") == 1


def test_the_same_picture_twice_with_one_label_is_no_contradiction():
    t = pd.DataFrame(dict(item_id=list("pqrs"), file=list("wxyz"), label=["a", "a", "b", ""], sha1=[1, 1, 2, 2]))
    assert not len(find_contradictions(t, ["sha1"])) and check_contradictions(t, ["sha1"]) == []


def test_two_cells_of_one_movie_are_two_pictures(tmp_path):
    t = pd.DataFrame(dict(item_id=list("pq"), file="m.tif", label=["a", "b"], sha256=1, member="", y=[1, 2], x=3))
    assert not len(find_contradictions(t, ["sha256", "member", "t", "y", "x"]))
    assert len(find_contradictions(t.assign(y=1), ["sha256", "member", "t", "y", "x"])) == 2


# --- small classes


def test_small_classes_are_said_when_cells_are_brought_together(tmp_path, capsys):
    root = folders(tmp_path / "cells")
    picture(root / "rare" / "slide0" / "x.tif", seed=99)
    made = through(root, tmp_path)
    said = capsys.readouterr().out
    assert "rare (1 cell) lives in one group" in said and "leave_out" in said
    assert (made.items.label == "rare").sum() == 1
