"Labelled cells on their way to a model: nothing is dropped, nothing is changed, and what is odd is said with names."

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from cellprotocols.cellsets import check_alike, check_contradictions, find_contradictions, find_copies
from cellprotocols.chromatin import annotate, infer, patches, train
from cellprotocols.images import write_image
from cellprotocols.imagesets import read_image_set
from cellprotocols.labelled import LabelledError, read_labelled


def picture(path, size=32, seed=0, radius=None, noise=4, **kw):
    "A bright disc in noise; `size` is a side or (height, width)."
    h, w = (size, size) if np.isscalar(size) else size
    y, x = np.mgrid[:h, :w]
    inside = (y - h / 2) ** 2 + (x - w / 2) ** 2 < (radius or min(h, w) / 4) ** 2
    img = 40 + 120 * inside + np.random.default_rng(seed).normal(0, noise, (h, w))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.clip(img, 0, 255).astype(np.uint8), **kw)
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


# --- size and scale of images that are cells already


@pytest.mark.parametrize("size,side", [(300, 300), (256, 256), (120, 120), (71, 72), ((90, 60), 90)])
def test_a_patch_is_the_image_whatever_its_size(tmp_path, capsys, size, side):
    made = through(folders(tmp_path / "cells", n=2, size=size), tmp_path)
    assert made["patches"].shape == (4, side, side, 1)
    h, w = (size, size) if np.isscalar(size) else size
    assert made["valid"][:].sum((1, 2)).tolist() == [h * w] * 4 and (made.items.height == h).all()
    said = capsys.readouterr().out
    assert ("filled around" in said) == ((h, w) != (side, side)) and "middle" not in said
    assert (made.path / "sizes.png").exists() == ((h, w) != (side, side))


def test_what_is_filled_around_an_image_is_its_own_rim_and_not_real(tmp_path):
    folders(tmp_path / "cells", "a", n=2, size=40, noise=0)
    folders(tmp_path / "cells", "b", n=2, size=20, noise=0)
    made = through(tmp_path / "cells", tmp_path)
    small = np.flatnonzero(made.items.height == 20)
    assert made["patches"].shape[1] == 40 and len(small) == 2
    for i in small:
        patch, valid = made["patches"][int(i)][..., 0], made["valid"][int(i)]
        assert valid.sum() == 400 and (patch[~valid] == 40).all() and patch[valid].max() == 160


def test_mixed_sizes_without_pixel_sizes_are_said_and_drawn(tmp_path, capsys):
    folders(tmp_path / "cells", "a", n=2, size=96)
    folders(tmp_path / "cells", "b", n=2, size=(30, 41))
    made = through(tmp_path / "cells", tmp_path)
    said = capsys.readouterr().out
    assert "images of 2 sizes, from 30 to 96 px high and 41 to 96 px wide" in said and "--px-um" in said
    assert (made.path / "sizes.png").read_bytes()[1:4] == b"PNG" and made.items.px_um.isna().all()


def test_a_size_that_cuts_is_asked_for_and_said(tmp_path, capsys):
    folders(tmp_path / "cells", n=2, size=96)
    annotate.run(str(tmp_path / "cells"), str(tmp_path / "21"))
    made = patches.run(str(tmp_path / "21"), str(tmp_path / "22"), size=64)
    assert made["patches"].shape[1] == 64 and made["valid"][:].all()
    assert "of 4 only the middle is used, because a size of 64 px was asked for" in capsys.readouterr().out


def width_of(patch):
    "Of the disc, px."
    return (patch[..., 0] > 100).sum(1).max()


def test_known_pixel_sizes_bring_cells_to_one_scale(tmp_path, capsys):
    "The same cells, 10 um wide, by two microscopes: in a patch they are equally wide, and the scale is kept."
    rows = []
    for k, (um, size, n) in enumerate([(0.25, 80, 3), (0.5, 40, 2)]):
        for i in range(n):
            picture(tmp_path / f"m{k}_{i}.tif", size=size, radius=5 / um, seed=i, px_um=um)
            rows.append(dict(file=f"m{k}_{i}.tif", label="ab"[i % 2], group=f"g{i}"))
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    made = through(tmp_path / "t.csv", tmp_path)
    assert "2 of 5 cells are rescaled to the 0.25 um per px of most" in capsys.readouterr().out
    assert np.allclose(made.items.px_um, 0.25) and made["patches"].shape[1] == 80
    assert made.items.factor.tolist() == [1, 1, 1, 2, 2] and made.items.height.tolist() == [80, 80, 80, 40, 40]
    assert all(abs(width_of(p) - 40) <= 2 for p in made["patches"][:])


def test_the_table_says_the_pixel_size_before_the_file_and_the_option_for_the_rest(tmp_path):
    for i in range(4):
        picture(tmp_path / f"{i}.tif", seed=i, px_um=9.0)
    rows = pd.DataFrame(dict(file=[f"{i}.tif" for i in range(4)], label=list("abab"), group=list("1122")))
    rows.assign(px_um=["0.5", "0.5", "", ""]).to_csv(tmp_path / "t.csv", index=False)
    made = through(tmp_path / "t.csv", tmp_path / "one", px_um=0.5)
    assert np.allclose(made.items.px_um, 0.5) and (made.items.factor == 1).all()
    rows.assign(px_um=["0.5", "none", "", ""]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(LabelledError, match="'none' in column 'px_um', row 3"):
        through(tmp_path / "t.csv", tmp_path / "two")


def test_some_scales_unknown_is_a_question(tmp_path):
    for i, um in enumerate([0.25, 0.5, None, None]):
        picture(tmp_path / f"{i}.tif", seed=i, px_um=um)
    rows = pd.DataFrame(dict(file=[f"{i}.tif" for i in range(4)], label=list("abab"), group=list("1122")))
    rows.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(LabelledError, match=r"2 images do not say \(2.tif.*column px_um"):
        through(tmp_path / "t.csv", tmp_path)


def test_one_huge_image_is_a_question(tmp_path):
    folders(tmp_path / "cells", n=2, size=20)
    picture(tmp_path / "cells" / "a" / "slide0" / "whole_field.tif", size=400)
    with pytest.raises(LabelledError, match="largest image measures 400 px"):
        through(tmp_path / "cells", tmp_path)


def test_clicks_in_movies_of_two_scales_are_cut_at_one(tmp_path):
    rows = []
    for name, um, size in [("x.tif", 0.25, 160), ("y.tif", 0.5, 80)]:
        picture(tmp_path / name, size=size, radius=5 / um, px_um=um)
        rows += [dict(file=name, t=0, y=size / 2, x=size / 2, label=c, group=name + c) for c in "ab"]
    rows += [dict(rows[0], y=70, label="b", group="more")]
    pd.DataFrame(rows).to_csv(tmp_path / "c.csv", index=False)
    made = through(tmp_path / "c.csv", tmp_path, clicks="yes")
    assert made["patches"].shape[1] == 64 and np.allclose(made.items.px_um, 0.25)
    assert all(abs(width_of(p) - 40) <= 2 for p in made["patches"][:])


# --- class folders inside folders


@pytest.mark.parametrize(
    "paths,labels,groups",
    [
        ("images/a images/b", "a b", None),
        ("train/a train/b", "a b", None),
        ("train/a train/b test/a val/b", "a b a b", None),
        ("data/images/a data/images/b", "a b", None),
        ("images/train/a images/test/b", "a b", None),
        ("a/s1 b/s2", "a b", "s1 s2"),
        ("images/a/s1 images/b/s2", "a b", "s1 s2"),
        ("slide_1/a slide_1/b slide_2/a", "a b a", "slide_1 slide_1 slide_2"),
        ("a/images b/images", "a b", None),
        ("a/train b/test", "a b", None),
    ],
)
def test_class_folders_inside_folders_are_understood(tmp_path, paths, labels, groups):
    for i, p in enumerate(paths.split()):
        picture(tmp_path / "set" / p / f"{i}.tif", seed=i)
    t = read_labelled(tmp_path / "set").sort_values("file", key=lambda f: f.str[-5], ignore_index=True)
    assert t.label.tolist() == labels.split()
    assert t.group.tolist() == (groups.split() if groups else [""] * len(t))
    assert all((tmp_path / "set" / f).is_file() for f in t.file)


@pytest.mark.parametrize(
    "paths,says",
    [
        ("images", "--source .*images"),
        ("my_cells/a my_cells/b", "one folder, 'my_cells', and the folders 'a', 'b' in it.*--source .*my_cells"),
        ("train/a train/b test", "images without a class folder in 'test'.*--source .*train"),
        ("train/a train/b other/c", "beside them 'other'.*--source .*train"),
        ("mitosis/slide1 mitosis/slide2", "one folder, 'mitosis'"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_line_that_helps(tmp_path, paths, says):
    for i, p in enumerate(paths.split()):
        picture(tmp_path / "set" / p / f"{i}.tif", seed=i)
    with pytest.raises(LabelledError, match=says):
        annotate.run(str(tmp_path / "set"), str(tmp_path / "21"))


@pytest.mark.parametrize("inside", ("images/a images/b", "images", "a b"))
def test_a_table_beside_folders_is_a_question(tmp_path, inside):
    for i, p in enumerate(inside.split()):
        picture(tmp_path / p / f"{i}.tif", seed=i)
    first = inside.split()[0]
    (tmp_path / "cells.csv").write_text(f"file,label\n{first}/0.tif,mitosis\n")
    with pytest.raises(LabelledError, match="a table, cells.csv, that names images.*--source .*cells.csv.*--source"):
        annotate.run(str(tmp_path), str(tmp_path / "out" / "21"))
    assert read_labelled(tmp_path / "cells.csv").label.tolist() == ["mitosis"]


def test_a_text_beside_class_folders_is_no_table(tmp_path):
    folders(tmp_path, n=2)
    (tmp_path / "README.txt").write_text("Cells of two states, January\n")
    (tmp_path / "notes.csv").write_text("day,what\n1,stained\n")
    assert len(read_labelled(tmp_path)) == 4


def test_images_beside_class_folders_are_counted(tmp_path, capsys):
    folders(tmp_path, n=2)
    picture(tmp_path / "overview.tif")
    assert len(read_labelled(tmp_path)) == 4
    assert "1 images directly in" in capsys.readouterr().out


def test_class_folders_of_whole_images_inside_folders(tmp_path, capsys):
    for i, p in enumerate(("images/clean", "images/artifact", "images")):
        picture(tmp_path / p / f"{i}.tif", seed=i)
    t, root = read_image_set(tmp_path, ("clean", "artifact"))
    assert dict(zip(t.file, t.label)) == {"images/clean/0.tif": "clean", "images/artifact/1.tif": "artifact"}
    assert "1 images in no class folder" in capsys.readouterr().out


# --- the whole chain, for images of two sources


def source(folder, size, um, n=2, groups=2, first=0):
    "Cells of two classes, 8 and 13 um wide, in images of `size` px; the table says the pixel size."
    rows = []
    for i in range(2 * n * groups):
        label, width = [("small", 8), ("large", 13)][i % 2]
        name = f"{i}.tif"
        picture(folder / name, size=size, radius=width / 2 / um, seed=first + i)
        rows.append(dict(file=name, label=label, group=f"g{i // 2 % groups}", px_um=um))
    pd.DataFrame(rows).to_csv(folder / "cells.csv", index=False)
    return folder / "cells.csv"


def test_a_model_of_300_px_images_judges_120_px_images_of_another_source(tmp_path, capsys):
    big, small = source(tmp_path / "big", 300, 0.1), source(tmp_path / "small", (150, 110), 0.2, first=99)
    a, b = through(big, tmp_path / "a"), through(small, tmp_path / "b")
    assert a["patches"].shape[1] == 300 and b["patches"].shape[1] == 150, "nothing is cut"
    train.run(str(a.path), str(tmp_path / "24"), model="measured", random_split=False, folds=2)
    info = json.loads((tmp_path / "24" / "bundle" / "bundle.json").read_text())
    assert info["px_um"] == pytest.approx(0.1) and info["input_shape"][-2:] == [300, 300]
    made = infer.run(str(b.path), str(tmp_path / "25"), str(tmp_path / "24"))
    assert "rescaled by 2.00" in capsys.readouterr().out
    assert (made.items.predicted == b.items.label).all()


def test_two_sources_in_one_table_are_learned_from_at_one_scale(tmp_path):
    tables = [
        pd.read_csv(source(tmp_path / "big", 200, 0.1)),
        pd.read_csv(source(tmp_path / "small", 80, 0.2, first=99)),
    ]
    for name, t in zip(("big", "small"), tables):
        t["file"] = name + "/" + t.file
    pd.concat(tables).to_csv(tmp_path / "cells.csv", index=False)
    made = through(tmp_path / "cells.csv", tmp_path)
    assert made["patches"].shape[1] == 200 and np.allclose(made.items.px_um, 0.1)
    for label, um in (("small", 8), ("large", 13)):
        rows = np.flatnonzero(made.items.label == label)
        assert all(abs(width_of(made["patches"][int(i)]) - um / 0.1) <= 3 for i in rows)


def test_copies_are_found_in_an_array_on_disk(tmp_path):
    root = folders(tmp_path / "cells", n=2, size=24)
    shutil.copy(root / "a" / "slide0" / "0.tif", root / "a" / "slide0" / "again.tif")
    made = through(root, tmp_path)
    assert find_copies(made["patches"], made.items.label).exact.sum() == 1


@pytest.mark.parametrize(
    "other, fits",
    [("dna gfp", True), ("DNA mCherry", True), ("C0 C1", True), ("gfp dna", False), ("GFP mCherry", False)],
)
def test_channels_of_one_set_are_in_one_order(other, fits, capsys):
    names = [["DNA", "GFP"], ["DNA", "GFP"], other.split()]
    shapes = pd.DataFrame(dict(dtype="uint8", channels=2, names=names))
    files = pd.Series(["a.tif", "b.tif", "c.tif"])
    if fits:
        check_alike(shapes, files)
        assert "taken by their place" in capsys.readouterr().out
        return
    with pytest.raises(LabelledError, match=f"the channels of c.tif are {', '.join(other.split())}"):
        check_alike(shapes, files)
