"""Pictures: they draw what they were given, whatever it is, and leave no trace."""
import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from cellprotocols import viz
from cellprotocols.viz import (class_colours, find_medoids, house_style, intensity_limits, make_montage, show_calibration, show_collage,
                               show_confusion, show_counts, show_curves, show_embedding, show_histogram, show_image, show_montage, show_outlines,
                               show_patches, show_points, show_scores, show_tracks_states, show_worst, to_png, to_rgb, VizError)

STATES = ["Interphase", "Prometaphase", "Metaphase", "Anaphase", "Apoptosis"]
NASTY = ["<b>&\"'", "$\\frac{$", "_hidden", "x" * 300, "two\nlines", "Zellkern äöü μ", "$x$"]


@pytest.fixture(autouse=True)
def _close():
    before = plt.rcParams.copy()
    yield
    plt.close("all")
    assert dict(plt.rcParams) == dict(before), "a picture changed matplotlib's global settings"


def drawn(ax):
    "Draw for good, and give the pixels."
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3]


def texts(ax): return [t.get_text() for t in ax.findobj(matplotlib.text.Text) if t.get_text()]


# ---------- colours

def test_published_states_keep_their_colours():
    assert list(class_colours(STATES).values()) == ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"]
    assert class_colours(STATES[::-1])["Anaphase"] == "#d62728"


@given(st.lists(st.text(min_size=1), max_size=40, unique=True), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_adding_a_class_at_the_end_changes_no_other(names, n):
    names = [n for n in names if n.casefold() not in viz.PUBLISHED_COLOURS]
    whole = class_colours(names)
    assert class_colours(names[:n]) == {k: whole[k] for k in names[:n]}
    assert len(set(whole.values())) == len(whole)


def test_first_colours_are_apart_also_without_green_and_red():
    "Deuteranopia (Machado 2009): the first seven colours stay apart."
    m = np.array([[.367322, .860646, -.227968], [.280085, .672501, .047413], [-.011820, .042940, .968881]])
    rgb = np.array([matplotlib.colors.to_rgb(c) for c in class_colours([f"c{i}" for i in range(7)]).values()])
    seen = np.clip((rgb ** 2.2) @ m.T, 0, 1) ** (1 / 2.2)
    lab = np.array([viz._oklab(tuple(c)) for c in seen])
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(7, 1)]
    assert apart.min() > .04


# ---------- grey levels

@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64, bool]), hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
@settings(max_examples=80, deadline=None)
def test_any_image_becomes_a_picture(img):
    with np.errstate(all="ignore"):
        out = to_rgb(img)
    assert out.shape == (*img.shape, 3) and out.dtype == np.uint8


@given(st.floats(-100, 1e4), st.floats(.5, 1e4))
@settings(max_examples=40, deadline=None)
def test_limits_are_kept(lo, span):
    img = np.array([[lo - 1, lo, lo + span / 2, lo + span, lo + span + 1]])
    assert np.allclose(to_rgb(img, (lo, lo + span))[0, :, 0], [0, 0, 128, 255, 255], atol=1)


def test_a_16_bit_image_does_not_wrap():
    img = np.array([[255, 256, 65535]], np.uint16)
    assert (np.diff(to_rgb(img, (0, 65535))[0, :, 0].astype(int)) >= 0).all()


def test_one_scale_for_all_patches():
    "A patch that is dark in the data is dark on the screen (per-patch contrast hides it)."
    dark, bright = np.full((16, 16), 10, np.uint8), np.full((16, 16), 200, np.uint8)
    dark[0, 0], bright[0, 0] = 0, 220
    tiles = viz._tiles([dark, bright])
    assert tiles[0].mean() < 30 and tiles[1].mean() > 200


def test_rgb_photographs_are_not_stretched():
    img = np.full((8, 8, 3), 100, np.uint8)
    assert (to_rgb(img) == 100).all()
    assert intensity_limits([img], rgb=True) == [(0., 255.)] * 3


def test_channels_add_up_in_their_colours():
    img = np.zeros((1, 2, 2), np.uint16); img[0, 0, 0] = img[0, 1, 1] = 9
    assert to_rgb(img, (0, 9), ["red", "blue"])[0].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert to_rgb(np.ones((3, 3, 5))).shape == (3, 3, 3)
    with pytest.raises(VizError, match="one colour a channel"): to_rgb(img, colours=["red"])


def test_nan_is_neither_black_nor_white():
    assert to_rgb(np.array([[np.nan, 0, 1]]))[0, 0].tolist() not in ([0, 0, 0], [255, 255, 255])
    drawn(show_image(np.full((5, 5), np.nan)))


# ---------- images

@given(st.floats(1e-3, 1e5))
@settings(deadline=None)
def test_scale_bars_are_round(um):
    length, text = viz._nice_length(um)
    assert um / 2.5 < length <= um * 1.001
    assert float(text.split()[0]) in [m * 10 ** k for m in (1, 2, 5) for k in range(3)] or length >= 1e6 or length < 1e-3 * 1.001


def test_scale_bar_has_the_right_length_and_needs_a_pixel_size():
    ax = show_image(np.zeros((100, 300)), px_um=.5)
    bar, = ax.patches
    assert bar.get_width() * .5 == float(next(t for t in texts(ax) if "µm" in t).split()[0])
    for unknown in (None, float("nan"), 0): assert not show_image(np.zeros((9, 9)), px_um=unknown).patches


def test_huge_images_keep_their_coordinates():
    ax = show_image(np.zeros((5001, 4000), np.uint8))
    assert ax.images[0].get_array().shape[0] < 2000
    assert ax.get_xlim() == (-.5, 3999.5) and ax.get_ylim() == (5000.5, -.5)


def test_draws_on_the_given_axes_and_opens_no_other_figure():
    fig, axs = plt.subplots(1, 2)
    assert show_image(np.eye(8), ax=axs[1]) is axs[1]
    show_patches([np.eye(8)] * 3, ax=axs[0]); show_points([[1, 2]], ax=axs[1])
    assert plt.get_fignums() == [fig.number] and not axs[1].get_title()


def test_figure_without_pyplot():
    fig = matplotlib.figure.Figure()
    show_confusion(np.eye(3, dtype=int), "abc", ax=fig.subplots())
    assert to_png(fig)[:4] == b"\x89PNG" and not plt.get_fignums()


def test_points_are_row_column():
    ax = show_points([[10, 30]], ["a"], img=np.zeros((20, 40)))
    assert ax.collections[0].get_offsets().tolist() == [[30, 10]]


def test_outlines_lie_inside_their_cell():
    labels = np.zeros((12, 12), np.int32); labels[3:8, 3:8] = 7
    paint = show_outlines(labels).images[-1].get_array()
    assert paint[..., 3].astype(bool).sum() == 16 and not paint[5, 5, 3] and paint[3, 3, 3] == 255


# ---------- patches

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
    assert [int(p[0, 0]) for p in viz._take(z, [4, 1, 4])] == [4, 1, 4]
    drawn(show_collage(z, list("aabbcc"), n=2))
    drawn(show_patches([np.ones((8, 9)), np.ones((12, 4))]))


def test_worst_shows_the_surest_error_first():
    prob = np.array([[.9, .1], [.6, .4], [.99, .01], [.2, .8]])
    ax = show_worst(np.zeros((4, 8, 8)), ["b", "b", "a", "b"], prob, ["a", "b"])
    assert [t for t in texts(ax) if t.startswith("true")] == ["true b\n0.90 a", "true b\n0.60 a"]
    assert "no wrong prediction among these" in texts(show_worst(np.zeros((1, 8, 8)), ["a"], prob[:1], ["a", "b"]))


def test_labels_outside_the_classes_are_an_error():
    with pytest.raises(VizError, match="'c'"): show_counts(["a", "c"], ["a", "b"])
    with pytest.raises(VizError, match="code 2"): show_counts([0, 2], ["a", "b"])
    with pytest.raises(VizError, match=r"\(2, 2\)"): show_confusion(np.eye(3), ["a", "b"])
    with pytest.raises(VizError, match="probabilities of shape"): show_calibration([0], np.ones((2, 2)), ["a", "b"])


# ---------- scores

def test_counts_are_right_with_flags_and_absent_classes():
    ax = show_counts(["a", "a", "b", None], ["a", "b", "c"], [True, False, False, True], target=5)
    assert [b.get_width() for b in ax.patches] == [1, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("k", [1, 2, 5, 13, 30])
def test_confusion_of_any_size_keeps_empty_rows(k):
    m = np.random.default_rng(k).integers(0, 9, (k, k)); m[-1] = 0
    ax = show_confusion(m, [f"a rather long class name {i}" for i in range(k)])
    drawn(ax)
    assert "no examples" in texts(ax) and len(ax.get_yticks()) == k
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert len(set(labels)) == k                                     # long names are still told apart


def test_confusion_is_normalised_by_row():
    ax = show_confusion([[3, 1], [0, 4]], ["a", "b"])
    assert np.allclose(ax.images[0].get_array(), [[.75, .25], [0, 1]])


def test_calibration_ece_by_hand():
    prob = np.array([[.8, .2]] * 10)
    ax = show_calibration([0] * 5 + [1] * 5, prob, ["a", "b"])
    assert any("ECE 0.300" in t for t in texts(ax)) and any("too sure" in " ".join(t.split()) for t in texts(ax))


@pytest.mark.parametrize("metric, best", [("macro_f1", 2), ("valid_loss", 1)])
def test_best_epoch(metric, best):
    curves = pd.DataFrame(dict(epoch=[1, 2, 3, 4], train_loss=[3, 2, 1, 0.], valid_loss=[3, 1, 2, 2.5], macro_f1=[.1, .5, .7, .6], lr=[9., 9, 9, 9]))
    assert viz._best_epoch(curves, metric) == best
    ax = show_curves(curves, metric=metric)
    assert any(f"epoch {best + 1}" in t for t in texts(ax))


def test_optimistic_scores_are_hollow_and_say_so():
    ax = show_scores(pd.DataFrame(dict(model=["m", "m"], value=[.5, .9], low=[.4, .8], high=[.6, 1.], optimistic=[False, True])))
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [d.get_markerfacecolor() for d in dots] == [viz.BLUE, "white"] and any("optimistic" in t for t in texts(ax))


def test_ribbons_have_the_length_of_their_states():
    table = pd.DataFrame(dict(t=[0, 1, 2, 5, 6], track_id=1, state=["a", "a", "b", "b", "b"]))
    ax = show_tracks_states(table, ["a", "b"])
    spans = sorted((p.vertices[:, 0].min(), p.vertices[:, 0].max()) for c in ax.collections for p in c.get_paths())
    assert spans == [(-.5, 1.5), (1.5, 2.5), (4.5, 6.5)]                    # a gap in time stays white


# ---------- map

def test_montage_has_the_published_geometry():
    rng = np.random.default_rng(0)
    patches = rng.integers(1, 60000, (200, 64, 64)).astype(np.uint16)
    xy = rng.uniform(size=(200, 2)) * [3, 50]
    canvas = make_montage(patches, xy, bins=32)
    assert canvas.shape == (2112, 2112) and canvas.dtype == np.uint16
    for item, bx, by, _ in find_medoids(xy, 32).to_numpy():
        x, y_up = 64 * bx - 32, 64 * by - 32                                # block start, y from below
        y = 2112 - y_up - 64
        assert (canvas[y:y + 64, x:x + 64] == patches[item]).all()


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
    with pytest.raises(VizError, match="no patches with a position"): make_montage(np.zeros((2, 8, 8)), np.full((2, 2), np.nan))
    drawn(show_montage(np.zeros((0, 8, 8)), np.zeros((0, 2))))
    rgb = make_montage(np.full((2, 8, 8, 3), 9, np.uint8), [[0, 0], [1, 1]], bins=2)
    assert rgb.shape == (24, 24, 3)


def test_many_points_are_rasterised_and_markers_differ():
    xy = np.random.default_rng(0).normal(size=(5000, 2))
    ax = show_embedding(xy, np.arange(5000) % 12, [f"c{i}" for i in range(12)])
    assert all(c.get_rasterized() for c in ax.collections)
    assert len({m.get_marker() for m in ax.get_legend().legend_handles}) == 12


# ---------- anything

@pytest.mark.filterwarnings("ignore:Glyph")
def test_nasty_names_everywhere():
    labels = np.array(NASTY * 3, dtype=object)
    n, k = len(labels), len(NASTY)
    patches, prob = np.random.default_rng(0).random((n, 8, 8)), np.random.default_rng(0).dirichlet(np.ones(k), n)
    for ax in (show_counts(labels, NASTY), show_collage(patches, labels, NASTY), show_patches(patches, labels, NASTY), show_confusion(np.eye(k, dtype=int), NASTY),
               show_embedding(prob[:, :2], labels, NASTY), show_montage(patches, prob[:, :2], labels, NASTY, bins=3), show_worst(patches, labels, prob, NASTY),
               show_histogram(prob[:, 0], labels=labels, classes=NASTY, xlabel=NASTY[1], title=NASTY[1]), show_points(prob[:, :2], labels, NASTY),
               show_tracks_states(pd.DataFrame(dict(t=range(n), track_id=1, state=labels)), NASTY), show_image(patches[0], title=NASTY[1]),
               show_scores(pd.DataFrame(dict(model=NASTY, value=.5)))):
        drawn(ax)
    assert "_hidden" in [t.get_text().split("  ")[0] for t in show_embedding(prob[:, :2], labels, NASTY).get_legend().get_texts()]


def test_nothing_to_draw_is_said():
    empty = pd.DataFrame(dict(t=[], track_id=[], state=[], coverage=[], accuracy=[], model=[], value=[]))
    for ax in (show_patches([]), show_counts([], []), show_tracks_states(empty), viz.show_abstention(empty), show_scores(empty), show_histogram([np.nan]),
               show_curves(pd.DataFrame()), show_calibration([], np.zeros((0, 2)), ["a", "b"]), show_confusion(np.zeros((0, 0)), []), show_collage([], [])):
        drawn(ax)
        assert any(t.startswith("no ") for t in texts(ax))
    drawn(show_embedding(np.zeros((0, 2)))); drawn(show_points(np.zeros((0, 2)), [])); drawn(show_confusion(np.zeros((3, 3), int), "abc"))


def test_png_is_bounded_and_repeatable():
    fig = show_image(np.random.default_rng(0).random((300, 300))).figure
    small = to_png(fig, dpi=100, max_kb=30)
    assert len(small) <= 30_000 and small == to_png(fig, dpi=100, max_kb=30)
    assert Image.open(io.BytesIO(small)).format == "PNG"
    with pytest.raises(VizError, match="at most 0.1 kB"): to_png(fig, max_kb=.1)


def test_style_ends_with_its_block_also_after_an_error():
    before = dict(plt.rcParams)
    with pytest.raises(ZeroDivisionError):
        with house_style(): 1 / 0
    assert dict(plt.rcParams) == before
