"""Inference: no cell lost, tracks and states the same after any crash, and pixel sizes that travel."""

import json
import numpy as np, pandas as pd, pytest, torch
from made import write_patch_set

from cellprotocols import classify
from cellprotocols.bundle import BundleError, write_bundle
from cellprotocols import movies as movie_cells
from cellprotocols.calls import make_calls
from cellprotocols.chromatin import infer
from cellprotocols.dataset import read_dataset
from cellprotocols.tables import DatasetError
from cellprotocols.writer import write_dataset
from cellprotocols.errors import UserError
from cellprotocols.centres import CentreError, read_points
from cellprotocols.movies import MovieError, find_movies, score_states
from cellprotocols.steps import find_practice
from cellprotocols.tracks import TrackError
from cellprotocols.images import write_image
from cellprotocols.synth import make_movie

# ---- a stand-in for a trained model: the brighter the middle, the later the class


class ByBrightness(classify.CellClassifier):
    "Logits from the mean of the middle; keeps what it was shown."

    shown = []

    def __init__(self, n_classes=3, low=60.0, step=40.0):
        super().__init__(n_classes=n_classes, low=low, step=step)
        self.register_buffer("at", low + step * torch.arange(n_classes).float())

    def answer(self, x, valid=None):
        q = x.shape[-1] // 2
        middle = x[:, :, q - 4 : q + 4, q - 4 : q + 4].mean((1, 2, 3))
        ByBrightness.shown.append(x.numpy().copy())
        return -(middle[:, None] - self.at).abs() / 5, torch.stack([middle, x.mean((1, 2, 3))], 1)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(classify.ARCHITECTURES, "ByBrightness", ByBrightness)
    monkeypatch.setenv("CELLPROTOCOLS_DEVICE", "cpu")
    ByBrightness.shown = []


def make_bundle(folder, classes=("dim", "middle", "bright"), size=32, channels=("gray",), px_um=0.333, **more):
    net = ByBrightness(len(classes)).eval()
    return str(
        write_bundle(
            folder,
            net,
            "ByBrightness",
            net.config,
            classes,
            channels,
            np.zeros((1, len(channels), size, size), np.float32),
            px_um=px_um,
            **more,
        )
    )


@pytest.fixture(scope="module")
def movie():
    return make_movie(n_frames=8, size=(160, 160), seed=3, division_rate=6.0)


@pytest.fixture
def file(movie, tmp_path):
    write_image(tmp_path / "m.tif", movie.frames, px_um=movie.px_um)
    return str(tmp_path / "m.tif")


def items(folder):
    return read_dataset(folder, "predictions").items


# ---- columns


def test_description_of_predictions():
    d = make_calls(np.array([[0.2, 0.8], [0.5, 0.5]], np.float32), ["b", "a"])
    assert d.columns.tolist() == ["predicted", "prob_b", "prob_a", "entropy", "margin"] and d.predicted.tolist() == [
        "a",
        "b",
    ]
    assert np.isclose(d.margin[0], 0.6) and np.isclose(d.entropy[1], 1)
    assert len(make_calls(np.zeros((0, 2)), ["a", "b"])) == 0


# ---- patches


def test_every_patch_is_named(tmp_path, capsys):
    "D1, D3, D7: all rows, classes in the model's order, saved."
    ds = write_patch_set(tmp_path / "22_patches", n=230, labelled=lambda i: i % 3)
    model = make_bundle(tmp_path / "bundle", data=dict(fingerprint=ds.fingerprint))
    made = infer.run(str(tmp_path / "22_patches"), str(tmp_path / "25"), model)
    t = items(tmp_path / "25")
    assert len(t) == 1150 and t.item_id.tolist() == ds.items.item_id.tolist() and made["embedding"].shape == (1150, 2)
    assert [c for c in t if c.startswith("prob_")] == ["prob_dim", "prob_middle", "prob_bright"]
    assert ((t.split == "train") == (ds.items.label != "")).all() and "has learned from" in capsys.readouterr().out
    middle = ds["patches"][:][:, 12:20, 12:20].mean((1, 2, 3))
    np.testing.assert_allclose(made["embedding"][:, 0], middle, atol=1e-2)
    assert (
        t.predicted == np.array(["dim", "middle", "bright"])[np.abs(middle[:, None] - [60, 100, 140]).argmin(1)]
    ).all()


def test_foreign_patches_are_new(tmp_path):
    write_patch_set(tmp_path / "22_patches", labelled=lambda i: i % 3)
    infer.run(str(tmp_path / "22_patches"), str(tmp_path / "25"), make_bundle(tmp_path / "bundle"))
    assert (items(tmp_path / "25").split == "new").all()


def test_patches_go_on_after_a_crash(tmp_path, monkeypatch):
    write_patch_set(tmp_path / "22_patches", n=230, labelled=lambda i: i % 3)
    model = make_bundle(tmp_path / "bundle")
    real, n = ByBrightness.answer, []

    def fragile(self, x, valid=None):
        n.append(len(x))
        if len(n) == 4:
            raise RuntimeError("power cut")  # the second piece; the bundle's example was first
        return real(self, x, valid)

    monkeypatch.setattr(ByBrightness, "answer", fragile)
    with pytest.raises((RuntimeError, UserError)):
        infer.run(str(tmp_path / "22_patches"), str(tmp_path / "a"), model)
    infer.run(str(tmp_path / "22_patches"), str(tmp_path / "a"), model)
    infer.run(str(tmp_path / "22_patches"), str(tmp_path / "b"), model)
    assert read_dataset(tmp_path / "a").fingerprint == read_dataset(tmp_path / "b").fingerprint


def test_blank_patches_are_pointed_out(tmp_path, capsys):
    ds = write_patch_set(tmp_path / "ok", labelled=lambda i: i % 3)
    write_dataset(
        tmp_path / "22",
        "patches",
        ds.items.assign(blank=ds.items.index < 7),
        "chromatin.patches",
        ds.meta["settings"],
        arrays={k: ds[k][:] for k in ("patches", "valid")},
        files={"channels.txt": "gray\n"},
    )
    t = infer.run(str(tmp_path / "22"), str(tmp_path / "25"), make_bundle(tmp_path / "bundle")).items
    assert t.blank.sum() == 7 and "in 7 of them nothing but noise can be seen" in capsys.readouterr().out


def test_temperature_is_used(tmp_path):
    write_patch_set(tmp_path / "22_patches", labelled=lambda i: i % 3)
    hot, cold = (
        items(tmp_path / n)
        for n, temp in (("hot", 3.0), ("cold", 1.0))
        if infer.run(
            str(tmp_path / "22_patches"), str(tmp_path / n), make_bundle(tmp_path / f"b_{n}", temperature=temp)
        )
    )
    assert (
        (hot.predicted == cold.predicted).all()
        and (hot.entropy >= cold.entropy - 1e-9).all()
        and (hot.entropy > cold.entropy + 0.01).any()
    )


def test_patches_of_another_scale_are_rescaled(tmp_path):
    write_patch_set(tmp_path / "22_patches", px_um=0.222, labelled=lambda i: i % 3)
    infer.run(str(tmp_path / "22_patches"), str(tmp_path / "25"), make_bundle(tmp_path / "bundle"))
    assert all(x.shape[2:] == (32, 32) for x in ByBrightness.shown)
    with pytest.raises(BundleError, match="um per pixel"):
        infer.run(str(tmp_path / "22_patches"), str(tmp_path / "26"), make_bundle(tmp_path / "b2", px_um=0.8))


# ---- movies


def test_movie_is_found_followed_and_named(file, movie, tmp_path, capsys):
    made = infer.run(None, str(tmp_path / "25"), make_bundle(tmp_path / "bundle", px_um=0.333), file)
    t, folder = made.items, tmp_path / "25"
    assert (
        set(t.movie) == {"m.tif"}
        and (t.group == "m.tif").all()
        and t.t.max() == 7
        and (t.label == "").all()
        and (t.split == "new").all()
    )
    truth = movie.cells[movie.cells.y.between(8, 152) & movie.cells.x.between(8, 152)]
    hits = sum((np.hypot(t.y[t.t == c.t] - c.y, t.x[t.t == c.t] - c.x) < 8).any() for c in truth.itertuples())
    assert hits / len(truth) > 0.85
    assert not t.duplicated(["t", "track_id"]).any() and t.track_id.nunique() < 0.5 * len(t)
    s = pd.read_csv(folder / "smoothed.csv")
    assert s.item_id.tolist() == t.item_id.tolist() and {"movie", "t", "track_id", "state"} <= set(s)
    counts = pd.read_csv(folder / "states.csv")
    assert counts[["dim", "middle", "bright"]].to_numpy().sum() == len(t) and counts.t.tolist() == list(range(8))
    points = pd.read_csv(folder / "napari_points.csv")
    assert points.columns[:4].tolist() == ["index", "axis-0", "axis-1", "axis-2"] and np.allclose(
        points[["axis-0", "axis-1", "axis-2"]], t[["t", "y", "x"]]
    )
    shapes = json.loads((folder / "points.geojson").read_text())
    assert len(shapes["features"]) == len(t) and np.allclose(
        shapes["features"][5]["geometry"]["coordinates"], t[["x", "y"]].iloc[5], atol=0.01
    )
    assert (folder / "overlay.png").read_bytes()[:4] == b"\x89PNG" and "8 frames of 1 movie" in capsys.readouterr().out


def test_frames_in_files_of_their_own_are_named_by_a_pattern(movie, tmp_path):
    "Through the command line: the same nuclei as in one file, at the times of the file names."
    from cellprotocols.cli import main

    bundle = make_bundle(tmp_path / "bundle")
    (tmp_path / "in").mkdir()
    for t, frame in enumerate(movie.frames):
        write_image(tmp_path / "in" / f"dish_t{t:03}.tif", frame, px_um=movie.px_um)
    write_image(tmp_path / "dish.tif", movie.frames, px_um=movie.px_um)
    found = []
    for k, name in enumerate(("in/dish_t{t}.tif", "dish.tif")):
        words = ["--model", bundle, "--movie", str(tmp_path / name), "--out", str(tmp_path / f"out{k}")]
        assert main(["chromatin", "infer", *words]) == 0
        found.append(read_dataset(tmp_path / f"out{k}", "predictions").items)
    same = ["t", "y", "x", "predicted", "track_id"]
    assert len(found[0]) and found[0][same].equals(found[1][same])
    words = ["--model", bundle, "--movie", str(tmp_path / "in/cell_t{t}.tif"), "--out", str(tmp_path / "none")]
    assert main(["chromatin", "infer", *words]) == 2


def test_movie_is_the_same_after_any_crash(file, tmp_path, monkeypatch):
    model = make_bundle(tmp_path / "bundle")
    monkeypatch.setattr(movie_cells.cut_cells, "__defaults__", (20, 3))  # small pieces
    infer.run(None, str(tmp_path / "whole"), model, file)
    real, calls = ByBrightness.answer, [0, 2]

    def fragile(self, x, valid=None):
        calls[0] += len(x) > 1
        if calls[0] == calls[1]:
            calls[:] = [0, calls[1] + 1]
            raise RuntimeError("power cut")
        return real(self, x, valid)

    monkeypatch.setattr(ByBrightness, "answer", fragile)
    crashes = 0
    for _ in range(20):
        try:
            infer.run(None, str(tmp_path / "torn"), model, file)
            break
        except RuntimeError:
            crashes += 1
    assert crashes >= 2
    for f in ("items.csv", "smoothed.csv", "states.csv", "napari_points.csv", "points.geojson"):
        assert (tmp_path / "torn" / f).read_bytes() == (tmp_path / "whole" / f).read_bytes(), f
    assert read_dataset(tmp_path / "torn").fingerprint == read_dataset(tmp_path / "whole").fingerprint


def test_label_images_are_used(file, movie, tmp_path):
    write_image(tmp_path / "labels.tif", movie.labels, axes="TYX")
    t = infer.run(
        None, str(tmp_path / "25"), make_bundle(tmp_path / "bundle"), file, nuclei=str(tmp_path / "labels.tif")
    ).items
    for frame in (0, 7):
        ids = np.unique(movie.labels[frame])[1:]
        assert (t.t == frame).sum() == len(ids)
        ys = sorted(np.nonzero(movie.labels[frame] == i)[0].mean() for i in ids)
        np.testing.assert_allclose(sorted(t.y[t.t == frame]), ys)
    assert (t.area > 0).all()
    write_image(tmp_path / "short.tif", movie.labels[:5], axes="TYX")
    with pytest.raises(MovieError, match="label images of 5"):
        infer.run(None, str(tmp_path / "26"), make_bundle(tmp_path / "b2"), file, nuclei=str(tmp_path / "short.tif"))


@pytest.mark.parametrize("tracked", [True, False])
def test_a_table_of_centres_is_used(file, movie, tmp_path, tracked):
    table = movie.cells[["t", "y", "x", *(["track_id"] if tracked else [])]]
    table = table[table.t != 3]  # a frame without cells
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "p.csv", index=False)
    t = infer.run(
        None, str(tmp_path / "25"), make_bundle(tmp_path / "bundle"), file, points=str(tmp_path / "p.csv")
    ).items
    key = lambda d: d.sort_values(["t", "y", "x"])[["t", "y", "x"]].to_numpy()
    np.testing.assert_allclose(key(t), key(table))
    assert 3 not in set(t.t)
    if tracked:
        assert sorted(zip(t.t, t.track_id)) == sorted(zip(table.t, table.track_id))
    else:
        assert 0 < t.track_id.nunique() < len(t) / 2


@pytest.mark.filterwarnings("ignore:an unfinished 25")
def test_tables_that_do_not_fit(file, tmp_path):
    def attempt(text, match):
        (tmp_path / "p.csv").write_text(text)
        with pytest.raises(CentreError, match=match):
            infer.run(None, str(tmp_path / "25"), model, file, points=str(tmp_path / "p.csv"))

    model = make_bundle(tmp_path / "bundle")
    attempt("a,b\n1,2\n", "no column t, y, x; the columns are a, b")
    attempt("t,y,x\n0,5,5\n0,,5\n", "row 3")
    attempt("t,y,x\n99,5,5\n", "t from 0 to 7")
    attempt("t,y,x,track_id\n0,5,5,1\n0,9,9,1\n", "track 1 is twice in frame 0")
    with pytest.raises(UserError, match="no file or folder"):
        infer.run(None, str(tmp_path / "25"), model, file, points=str(tmp_path / "none.csv"))
    with pytest.raises(CentreError, match="not a table"):
        read_points(tmp_path)
    (tmp_path / "p.csv").write_text("t,y,x\n0,500,5\n")
    with pytest.raises(UserError, match="outside the field"):
        infer.run(None, str(tmp_path / "25"), model, file, points=str(tmp_path / "p.csv"))


def test_several_movies(movie, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for k in (2, 10):
        write_image(tmp_path / "in" / f"m{k}.tif", movie.frames[k % 3 : k % 3 + 4], px_um=0.333)
    model = make_bundle(tmp_path / "bundle")
    t = infer.run(None, str(tmp_path / "25"), model, str(tmp_path / "in")).items
    assert list(dict.fromkeys(t.movie)) == ["m2.tif", "m10.tif"] and t.item_id.is_unique and t.group.nunique() == 2
    assert {p.name for p in (tmp_path / "25").glob("*.geojson")} == {"points_m2.tif.geojson", "points_m10.tif.geojson"}
    assert (
        pd.read_csv(tmp_path / "25" / "smoothed.csv").groupby("movie").size().to_dict()
        == t.groupby("movie").size().to_dict()
    )
    (tmp_path / "p.csv").write_text("t,y,x\n0,50,50\n")
    with pytest.raises(CentreError, match="column movie"):
        infer.run(None, str(tmp_path / "26"), model, str(tmp_path / "in"), points=str(tmp_path / "p.csv"))
    (tmp_path / "p.csv").write_text("movie,t,y,x\nm10.tif,0,50,50\n")
    t = infer.run(None, str(tmp_path / "27"), model, str(tmp_path / "in"), points=str(tmp_path / "p.csv")).items
    assert t.movie.tolist() == ["m10.tif"] and "no nucleus was found in m2.tif" in capsys.readouterr().out
    (tmp_path / "labels").mkdir()
    write_image(tmp_path / "labels" / "m2.tif", movie.labels[2:6], axes="TYX")
    with pytest.raises(MovieError, match="no label images called m10.tif"):
        infer.run(None, str(tmp_path / "28"), model, str(tmp_path / "in"), nuclei=str(tmp_path / "labels"))


def test_a_folder_of_single_images_is_one_movie(movie, tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(4):
        write_image(tmp_path / "in" / f"t{k}.tif", movie.frames[k])
    assert find_movies(tmp_path / "in") == [tmp_path / "in"]
    t = infer.run(None, str(tmp_path / "25"), make_bundle(tmp_path / "bundle"), str(tmp_path / "in")).items
    assert sorted(set(t.t)) == [0, 1, 2, 3] and set(t.movie) == {"in"}
    with pytest.raises(MovieError, match="no movie here"):
        find_movies(tmp_path / "nowhere")


@pytest.mark.parametrize("px_um, side", [(0.333, 32), (0.345, 32), (0.222, 48), (0.6, 18)])
def test_pixel_size_travels(movie, tmp_path, px_um, side):
    "A disc of one size in um has one size in px when the model sees it."
    img = np.zeros((2, 200, 200, 1), np.uint8)
    yy, xx = np.mgrid[:200, :200]
    img[:, np.hypot(yy - 100, xx - 100) < 3 / px_um] = 200
    write_image(tmp_path / "m.tif", img, px_um=px_um)
    pd.DataFrame(dict(t=[0, 1], y=100, x=100)).to_csv(tmp_path / "p.csv", index=False)
    infer.run(
        None,
        str(tmp_path / "25"),
        make_bundle(tmp_path / "bundle"),
        str(tmp_path / "m.tif"),
        points=str(tmp_path / "p.csv"),
    )
    seen = ByBrightness.shown[-1]
    assert seen.shape == (2, 1, 32, 32)
    width = (seen[0, 0, 16] > 100).sum()
    assert abs(width - 6 / (px_um if side == 32 else 0.333)) < 2.5, width  # unscaled it would be 27 or 9 instead of 18


def test_pixel_size_too_different_or_unknown(movie, tmp_path, capsys):
    model = make_bundle(tmp_path / "bundle")
    write_image(tmp_path / "far.tif", movie.frames[:2], px_um=0.7)
    with pytest.raises(BundleError, match="0.7 um per pixel"):
        infer.run(None, str(tmp_path / "25"), model, str(tmp_path / "far.tif"))
    write_image(tmp_path / "none.tif", movie.frames[:2])
    infer.run(None, str(tmp_path / "26"), model, str(tmp_path / "none.tif"))
    said = capsys.readouterr().out
    assert "pixel size of the images is unknown" in said and "the diameter of a nucleus in these images" in said, (
        "what is done instead is said"
    )
    with pytest.raises(MovieError, match="pass px_um"):
        infer.run(None, str(tmp_path / "27"), model, str(tmp_path / "none.tif"), diameter_um=8.0)
    infer.run(None, str(tmp_path / "28"), model, str(tmp_path / "none.tif"), px_um=0.333, diameter_um=10.0)


def test_channels_are_those_of_the_model(movie, tmp_path):
    two = np.concatenate([255 - movie.frames, movie.frames], axis=3)
    write_image(tmp_path / "m.tif", two, channels=["BF", "GFP"], px_um=0.333)
    write_image(tmp_path / "one.tif", movie.frames, px_um=0.333)
    model = make_bundle(tmp_path / "bundle", channels=("GFP",))
    a = infer.run(None, str(tmp_path / "a"), model, str(tmp_path / "m.tif")).items
    b = infer.run(None, str(tmp_path / "b"), model, str(tmp_path / "one.tif")).items
    c = infer.run(None, str(tmp_path / "c"), model, str(tmp_path / "m.tif"), channels="1").items
    for other in (b, c):
        assert (a.predicted == other.predicted).all() and np.allclose(a[["y", "x"]], other[["y", "x"]])
    assert (tmp_path / "a" / "channels.png").exists() and not (tmp_path / "b" / "channels.png").exists()
    with pytest.raises(MovieError, match=r"the images have 0 \(BF\), 1 \(GFP\).*channels="):
        infer.run(None, str(tmp_path / "d"), make_bundle(tmp_path / "b2", channels=("DAPI",)), str(tmp_path / "m.tif"))
    both = infer.run(
        None,
        str(tmp_path / "e"),
        make_bundle(tmp_path / "b3", channels=("GFP", "BF")),
        str(tmp_path / "m.tif"),
        detect_channel="GFP",
    ).items
    assert len(both) == len(a)
    np.testing.assert_allclose(ByBrightness.shown[-1][0, 0] + ByBrightness.shown[-1][0, 1], 255)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_types_of_pixels(movie, tmp_path, dtype):
    write_image(tmp_path / "m.tif", movie.frames[:3].astype(dtype), px_um=0.333)
    write_image(tmp_path / "u8.tif", movie.frames[:3], px_um=0.333)
    model = make_bundle(tmp_path / "bundle")
    a, b = (infer.run(None, str(tmp_path / f"o{n}"), model, str(tmp_path / n)).items for n in ("m.tif", "u8.tif"))
    assert len(a) == len(b) and (a.predicted == b.predicted).all()


def test_movies_that_cannot_be_used(movie, tmp_path):
    model = make_bundle(tmp_path / "bundle")
    write_image(tmp_path / "z.tif", np.zeros((2, 3, 40, 40), np.uint8), axes="TZYX")
    with pytest.raises(MovieError, match="3 z planes"):
        infer.run(None, str(tmp_path / "25"), model, str(tmp_path / "z.tif"))
    write_image(tmp_path / "dark.tif", np.full((3, 64, 64, 1), 7, np.uint8), px_um=0.333)
    with pytest.raises(MovieError, match="no nucleus was found"):
        infer.run(None, str(tmp_path / "26"), model, str(tmp_path / "dark.tif"))
    with pytest.raises(UserError, match="24_train"):
        infer.run(None, str(tmp_path / "27"), str(tmp_path / "none"), str(tmp_path / "z.tif"))
    with pytest.raises(UserError, match="24_train"):
        infer.run(None, str(tmp_path / "27"), "", str(tmp_path / "z.tif"))
    with pytest.raises(TrackError, match="names something else"):
        infer.run(None, str(tmp_path / "27"), model, str(tmp_path / "z.tif"), allowed="dim>dark")


def test_one_frame_and_no_smoothing(movie, tmp_path):
    write_image(tmp_path / "m.tif", movie.frames[0], px_um=0.333)
    infer.run(None, str(tmp_path / "25"), make_bundle(tmp_path / "bundle"), str(tmp_path / "m.tif"), smooth=False)
    assert not (tmp_path / "25" / "smoothed.csv").exists() and (tmp_path / "25" / "overlay.png").exists()


def test_done_and_other_settings(file, tmp_path, capsys):
    model = make_bundle(tmp_path / "bundle")
    infer.run(None, str(tmp_path / "25"), model, file)
    infer.run(None, str(tmp_path / "25"), model, file)
    assert "done before" in capsys.readouterr().out
    with pytest.raises(DatasetError, match="stay was 0.9 and is now 0.8"):
        infer.run(None, str(tmp_path / "25"), model, file, stay=0.8)
    with pytest.raises(DatasetError, match="input model"):
        infer.run(None, str(tmp_path / "25"), make_bundle(tmp_path / "other", px_um=0.34), file)


@pytest.mark.slow
def test_whole_protocol_on_practice_data(tmp_path):
    made = infer.run(None, str(tmp_path / "25_infer"))
    s, truth = (
        pd.read_csv(tmp_path / "25_infer" / "smoothed.csv"),
        pd.read_csv(find_practice(tmp_path / "25_infer") / "movie" / "practice_truth.csv"),
    )
    got = score_states(made.items.assign(state=s.state), truth)
    assert (
        got["found"] > 0.9 and got["said"] > 0.9 and got["smoothed"] >= got["said"] and got["smoothed_by_state"] > 0.88
    ), got
