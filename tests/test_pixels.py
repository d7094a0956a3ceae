"Pixels of a labelled set: in the file's own type, in the right place, from files, archives, arrays and movies."

import numpy as np
import pytest
import tifffile

from cellprotocols.hints import Hints, Notes, give_hints
from cellprotocols.labelled import LabelledError, read_labelled
from cellprotocols.origins import find_root
from cellprotocols.pixels import iter_pixels, read_shapes


def write(path, img, **kw):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, img, **kw)
    return path


def save(path, images, **more):
    np.savez_compressed(path, images=images, label=np.array(["a", "b"] * len(images))[: len(images)], **more)
    return path


@pytest.mark.parametrize(
    "shape,hwc",
    [
        ((6, 9, 8), (9, 8, 1)),
        ((6, 3, 9, 8), (9, 8, 3)),
        ((6, 9, 8, 3), (9, 8, 3)),
        ((6, 1, 9, 8), (9, 8, 1)),
        ((6, 9, 8, 1), (9, 8, 1)),
        ((6, 5, 40, 40), (40, 40, 5)),
        ((6, 28, 28, 4), (28, 28, 4)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float32, np.int16, bool])
def test_arrays_of_every_layout_and_dtype(tmp_path, shape, hwc, dtype):
    images = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    t = read_labelled(save(tmp_path / "c.npz", images))
    got = {i: a for i, a, real in iter_pixels(t, find_root(tmp_path / "c.npz"))}
    want = images[..., None] if len(shape) == 3 else np.moveaxis(images, 1, 3) if hwc[:2] == shape[2:] else images
    assert sorted(got) == list(range(6))
    for i in got:
        assert got[i].shape == hwc and got[i].dtype == np.dtype(dtype) and np.array_equal(got[i], want[i])
    s = read_shapes(t, tmp_path)
    assert s[["height", "width", "channels"]].to_numpy().tolist() == [list(hwc)] * 6


def test_only_the_rows_that_are_wanted(tmp_path):
    images = np.arange(50, dtype=np.uint16)[:, None, None] * np.ones((1, 6, 6), np.uint16)
    t = read_labelled(save(tmp_path / "c.npz", images)).iloc[[40, 3, 17]]
    assert {i: int(a[0, 0, 0]) for i, a, _ in iter_pixels(t, tmp_path)} == {0: 40, 1: 3, 2: 17}


def test_the_array_called_images_is_taken_not_its_masks(tmp_path):
    images = np.full((4, 8, 8), 9, np.uint8)
    np.savez(tmp_path / "c.npz", masks=np.zeros((4, 8, 8), bool), images=images, label=np.array(list("abab")))
    t = read_labelled(tmp_path / "c.npz")
    assert all((a == 9).all() for _, a, _ in iter_pixels(t, tmp_path))


def test_a_damaged_array_ends_in_a_sentence(tmp_path):
    rng = np.random.default_rng(0)
    p = save(tmp_path / "c.npz", rng.integers(0, 255, (30, 16, 16)).astype(np.uint8))
    whole = p.read_bytes()
    for at in [100, 400, len(whole) // 2, len(whole) // 3]:
        b = bytearray(whole)
        b[at] ^= 0xFF
        p.write_bytes(b)
        try:
            for _ in iter_pixels(read_labelled(p), tmp_path):
                pass
        except LabelledError:
            pass
    for cut in (10, len(whole) // 2, len(whole) - 5):
        p.write_bytes(whole[:cut])
        with pytest.raises(LabelledError):
            for _ in iter_pixels(read_labelled(p), tmp_path):
                pass


def test_R5_G11_pixels_keep_their_type_and_their_place(tmp_path):
    rows = []
    for k, (dtype, top) in enumerate([(np.uint16, 60000)] * 3):
        write(tmp_path / f"{k}.tif", np.full((10, 10 + k), top + k, dtype))
        rows.append(f"{k}.tif,{'ab'[k % 2]}")
    (tmp_path / "c.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    t = read_labelled(tmp_path / "c.csv").iloc[::-1]
    for i, img, real in iter_pixels(t, tmp_path):
        k = 2 - i
        assert img.dtype == np.uint16 and (img == 60000 + k).all() and img.shape == (10, 10 + k, 1) and real.all()


def test_clicks_cut_what_lies_there(tmp_path):
    movie = np.arange(3 * 50 * 60, dtype=np.uint16).reshape(3, 50, 60)
    tifffile.imwrite(tmp_path / "m.tif", movie, photometric="minisblack", metadata={"axes": "TYX"})
    (tmp_path / "c.csv").write_text("file,label,t,y,x\nm.tif,a,2,25,30\nm.tif,b,0,25,30\nm.tif,a,1,0,0\n")
    t = read_labelled(tmp_path / "c.csv")
    got = {i: (a, v) for i, a, v in iter_pixels(t, tmp_path, size=16)}
    assert np.array_equal(got[0][0][..., 0], movie[2, 17:33, 22:38]) and got[0][1].all()
    assert np.array_equal(got[1][0][..., 0], movie[0, 17:33, 22:38])
    a, v = got[2]
    assert v.sum() == 64 and np.array_equal(a[..., 0][v], movie[1, :8, :8].ravel())


def test_which_array_and_which_axis_are_said_and_can_be_told(tmp_path):
    images = np.random.default_rng(0).integers(0, 99, (4, 3, 20, 30)).astype(np.uint8)
    np.savez(tmp_path / "c.npz", x=images, y=images[:, :, ::2, ::2], label=np.array([["a"], ["b"]] * 2))
    notes = Notes()
    t = read_labelled(tmp_path / "c.npz")
    assert t.label.tolist() == list("abab")  # a column of shape (n, 1)
    assert [a.shape for _, a, _ in iter_pixels(t, tmp_path)] == [(20, 30, 3)] * 4
    said = " ".join(notes.lines())
    assert "the array 'x'" in said and "'y' (4, 3, 10, 15)" in said and "axis 1" in said
    give_hints(tmp_path, Hints(array="y", axes="NYXC"))
    notes = Notes()
    assert read_shapes(read_labelled(tmp_path / "c.npz"), tmp_path).iloc[0, :3].tolist() == [3, 10, 15]
    assert not notes.lines()
    for wrong in (Hints(array="z"), Hints(axes="NYX")):
        give_hints(tmp_path, wrong)
        with pytest.raises(LabelledError, match="asked for|axes="):
            list(iter_pixels(read_labelled(tmp_path / "c.npz"), tmp_path))
    give_hints(tmp_path, Hints())
