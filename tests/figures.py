"What tests of pictures share: draw for good, read the texts, and check that no setting was changed."

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

STATES = ["Interphase", "Prometaphase", "Metaphase", "Anaphase", "Apoptosis"]
NASTY = ["<b>&\"'", "$\\frac{$", "_hidden", "x" * 300, "two\nlines", "Zellkern äöü μ", "$x$"]


@pytest.fixture(autouse=True)
def leaves_no_trace():
    before = plt.rcParams.copy()
    yield
    plt.close("all")
    assert dict(plt.rcParams) == dict(before), "a picture changed matplotlib's global settings"


def drawn(ax):
    "Draw for good, and give the pixels."
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3]


def texts(ax):
    return [t.get_text() for t in ax.findobj(matplotlib.text.Text) if t.get_text()]
