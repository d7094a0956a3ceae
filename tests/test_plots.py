"Bars, matrices and dots show the numbers they were given."

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figures import drawn, leaves_no_trace, texts  # noqa: F401

from cellprotocols import plots
from cellprotocols.plots import show_calibration, show_confusion, show_counts, show_curves, show_scores
from cellprotocols.style import BLUE, VizError
from cellprotocols.viz import to_png


def test_figure_without_pyplot():
    before, fig = plt.get_fignums(), matplotlib.figure.Figure()
    show_confusion(np.eye(3, dtype=int), "abc", ax=fig.subplots())
    assert to_png(fig)[:4] == b"\x89PNG" and plt.get_fignums() == before


def test_labels_outside_the_classes_are_an_error():
    with pytest.raises(VizError, match="'c'"):
        show_counts(["a", "c"], ["a", "b"])
    with pytest.raises(VizError, match="code 2"):
        show_counts([0, 2], ["a", "b"])
    with pytest.raises(VizError, match=r"\(2, 2\)"):
        show_confusion(np.eye(3), ["a", "b"])
    with pytest.raises(VizError, match="probabilities of shape"):
        show_calibration([0], np.ones((2, 2)), ["a", "b"])


def test_counts_are_right_with_flags_and_absent_classes():
    ax = show_counts(["a", "a", "b", None], ["a", "b", "c"], [True, False, False, True], target=5)
    assert [b.get_width() for b in ax.patches] == [1, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("k", [1, 2, 5, 13, 30])
def test_confusion_of_any_size_keeps_empty_rows(k):
    m = np.random.default_rng(k).integers(0, 9, (k, k))
    m[-1] = 0
    ax = show_confusion(m, [f"a rather long class name {i}" for i in range(k)])
    drawn(ax)
    assert "no examples" in texts(ax) and len(ax.get_yticks()) == k
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert len(set(labels)) == k  # long names are still told apart


def test_confusion_is_normalised_by_row():
    ax = show_confusion([[3, 1], [0, 4]], ["a", "b"])
    assert np.allclose(ax.images[0].get_array(), [[0.75, 0.25], [0, 1]])


def test_calibration_ece_by_hand():
    prob = np.array([[0.8, 0.2]] * 10)
    ax = show_calibration([0] * 5 + [1] * 5, prob, ["a", "b"])
    assert any("ECE 0.300" in t for t in texts(ax)) and any("too sure" in " ".join(t.split()) for t in texts(ax))


@pytest.mark.parametrize("metric, best", [("macro_f1", 2), ("valid_loss", 1)])
def test_best_epoch(metric, best):
    curves = pd.DataFrame(
        dict(
            epoch=[1, 2, 3, 4],
            train_loss=[3, 2, 1, 0.0],
            valid_loss=[3, 1, 2, 2.5],
            macro_f1=[0.1, 0.5, 0.7, 0.6],
            lr=[9.0, 9, 9, 9],
        )
    )
    assert plots._best_epoch(curves, metric) == best
    ax = show_curves(curves, metric=metric)
    assert any(f"epoch {best + 1}" in t for t in texts(ax))


def test_optimistic_scores_are_hollow_and_say_so():
    ax = show_scores(
        pd.DataFrame(
            dict(model=["m", "m"], value=[0.5, 0.9], low=[0.4, 0.8], high=[0.6, 1.0], optimistic=[False, True])
        )
    )
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [d.get_markerfacecolor() for d in dots] == [BLUE, "white"] and any("optimistic" in t for t in texts(ax))
