"Colours, and a style that leaves no trace; every picture takes any name and says when there is nothing to draw."

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figures import NASTY, STATES, drawn, leaves_no_trace, texts  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprotocols import style
from cellprotocols.galleries import show_collage, show_montage, show_patches, show_worst
from cellprotocols.overlays import show_embedding, show_points, show_tracks_states
from cellprotocols.plots import (
    show_abstention,
    show_calibration,
    show_confusion,
    show_counts,
    show_curves,
    show_histogram,
    show_scores,
)
from cellprotocols.style import PUBLISHED_COLOURS, choose_class_colours, house_style
from cellprotocols.viz import show_image


def test_published_states_keep_their_colours():
    assert list(choose_class_colours(STATES).values()) == ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"]
    assert choose_class_colours(STATES[::-1])["Anaphase"] == "#d62728"


@given(st.lists(st.text(min_size=1), max_size=40, unique=True), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_adding_a_class_at_the_end_changes_no_other(names, n):
    names = [n for n in names if n.casefold() not in PUBLISHED_COLOURS]
    whole = choose_class_colours(names)
    assert choose_class_colours(names[:n]) == {k: whole[k] for k in names[:n]}
    assert len(set(whole.values())) == len(whole)


def test_first_colours_are_apart_also_without_green_and_red():
    "Deuteranopia (Machado 2009): the first seven colours stay apart."
    m = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])
    rgb = np.array([matplotlib.colors.to_rgb(c) for c in choose_class_colours([f"c{i}" for i in range(7)]).values()])
    seen = np.clip((rgb**2.2) @ m.T, 0, 1) ** (1 / 2.2)
    lab = np.array([style._oklab(tuple(c)) for c in seen])
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(7, 1)]
    assert apart.min() > 0.04


@pytest.mark.filterwarnings("ignore:Glyph")
def test_nasty_names_everywhere():
    labels = np.array(NASTY * 3, dtype=object)
    n, k = len(labels), len(NASTY)
    patches, prob = np.random.default_rng(0).random((n, 8, 8)), np.random.default_rng(0).dirichlet(np.ones(k), n)
    for ax in (
        show_counts(labels, NASTY),
        show_collage(patches, labels, NASTY),
        show_patches(patches, labels, NASTY),
        show_confusion(np.eye(k, dtype=int), NASTY),
        show_embedding(prob[:, :2], labels, NASTY),
        show_montage(patches, prob[:, :2], labels, NASTY, bins=3),
        show_worst(patches, labels, prob, NASTY),
        show_histogram(prob[:, 0], labels=labels, classes=NASTY, xlabel=NASTY[1], title=NASTY[1]),
        show_points(prob[:, :2], labels, NASTY),
        show_tracks_states(pd.DataFrame(dict(t=range(n), track_id=1, state=labels)), NASTY),
        show_image(patches[0], title=NASTY[1]),
        show_scores(pd.DataFrame(dict(model=NASTY, value=0.5))),
    ):
        drawn(ax)
    assert "_hidden" in [
        t.get_text().split("  ")[0] for t in show_embedding(prob[:, :2], labels, NASTY).get_legend().get_texts()
    ]


def test_nothing_to_draw_is_said():
    empty = pd.DataFrame(dict(t=[], track_id=[], state=[], coverage=[], accuracy=[], model=[], value=[]))
    for ax in (
        show_patches([]),
        show_counts([], []),
        show_tracks_states(empty),
        show_abstention(empty),
        show_scores(empty),
        show_histogram([np.nan]),
        show_curves(pd.DataFrame()),
        show_calibration([], np.zeros((0, 2)), ["a", "b"]),
        show_confusion(np.zeros((0, 0)), []),
        show_collage([], []),
    ):
        drawn(ax)
        assert any(t.startswith("no ") for t in texts(ax))
    drawn(show_embedding(np.zeros((0, 2))))
    drawn(show_points(np.zeros((0, 2)), []))
    drawn(show_confusion(np.zeros((3, 3), int), "abc"))


def test_style_ends_with_its_block_also_after_an_error():
    before = dict(plt.rcParams)
    with pytest.raises(ZeroDivisionError):
        with house_style():
            1 / 0
    assert dict(plt.rcParams) == before
