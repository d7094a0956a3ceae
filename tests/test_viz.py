"Images: grey levels, colours, scale bars, and PNGs of bounded size."

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from figures import drawn, leaves_no_trace, texts  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from cellprotocols import viz
from cellprotocols.galleries import show_patches
from cellprotocols.overlays import show_points
from cellprotocols.style import VizError
from cellprotocols.viz import find_intensity_limits, show_image, to_png, to_rgb, to_tiles


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64, bool]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    )
)
@settings(max_examples=80, deadline=None)
def test_any_image_becomes_a_picture(img):
    with np.errstate(all="ignore"):
        out = to_rgb(img)
    assert out.shape == (*img.shape, 3) and out.dtype == np.uint8


@given(st.floats(-100, 1e4), st.floats(0.5, 1e4))
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
    tiles = to_tiles([dark, bright])
    assert tiles[0].mean() < 30 and tiles[1].mean() > 200


def test_rgb_photographs_are_not_stretched():
    img = np.full((8, 8, 3), 100, np.uint8)
    assert (to_rgb(img) == 100).all()
    assert find_intensity_limits([img], rgb=True) == [(0.0, 255.0)] * 3


def test_channels_add_up_in_their_colours():
    img = np.zeros((1, 2, 2), np.uint16)
    img[0, 0, 0] = img[0, 1, 1] = 9
    assert to_rgb(img, (0, 9), ["red", "blue"])[0].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert to_rgb(np.ones((3, 3, 5))).shape == (3, 3, 3)
    with pytest.raises(VizError, match="one colour a channel"):
        to_rgb(img, colours=["red"])


def test_nan_is_neither_black_nor_white():
    assert to_rgb(np.array([[np.nan, 0, 1]]))[0, 0].tolist() not in ([0, 0, 0], [255, 255, 255])
    drawn(show_image(np.full((5, 5), np.nan)))


@given(st.floats(1e-3, 1e5))
@settings(deadline=None)
def test_scale_bars_are_round(um):
    length, text = viz._nice_length(um)
    assert um / 2.5 < length <= um * 1.001
    assert (
        float(text.split()[0]) in [m * 10**k for m in (1, 2, 5) for k in range(3)]
        or length >= 1e6
        or length < 1e-3 * 1.001
    )


def test_scale_bar_has_the_right_length_and_needs_a_pixel_size():
    ax = show_image(np.zeros((100, 300)), px_um=0.5)
    (bar,) = ax.patches
    assert bar.get_width() * 0.5 == float(next(t for t in texts(ax) if "µm" in t).split()[0])
    for unknown in (None, float("nan"), 0):
        assert not show_image(np.zeros((9, 9)), px_um=unknown).patches


def test_huge_images_keep_their_coordinates():
    ax = show_image(np.zeros((5001, 4000), np.uint8))
    assert ax.images[0].get_array().shape[0] < 2000
    assert ax.get_xlim() == (-0.5, 3999.5) and ax.get_ylim() == (5000.5, -0.5)


def test_draws_on_the_given_axes_and_opens_no_other_figure():
    before, (fig, axs) = plt.get_fignums(), plt.subplots(1, 2)
    assert show_image(np.eye(8), ax=axs[1]) is axs[1]
    show_patches([np.eye(8)] * 3, ax=axs[0])
    show_points([[1, 2]], ax=axs[1])
    assert plt.get_fignums() == [*before, fig.number] and not axs[1].get_title()


def test_png_is_bounded_and_repeatable():
    fig = show_image(np.random.default_rng(0).random((300, 300))).figure
    small = to_png(fig, dpi=100, max_kb=30)
    assert len(small) <= 30_000 and small == to_png(fig, dpi=100, max_kb=30)
    assert Image.open(io.BytesIO(small)).format == "PNG"
    with pytest.raises(VizError, match="at most 0.1 kB"):
        to_png(fig, max_kb=0.1)
