"Points, outlines, ribbons and dots lie where they should."

import numpy as np
import pandas as pd
from figures import leaves_no_trace  # noqa: F401

from cellprotocols.overlays import show_embedding, show_outlines, show_points, show_tracks_states


def test_points_are_row_column():
    ax = show_points([[10, 30]], ["a"], img=np.zeros((20, 40)))
    assert ax.collections[0].get_offsets().tolist() == [[30, 10]]


def test_outlines_lie_inside_their_cell():
    labels = np.zeros((12, 12), np.int32)
    labels[3:8, 3:8] = 7
    paint = show_outlines(labels).images[-1].get_array()
    assert paint[..., 3].astype(bool).sum() == 16 and not paint[5, 5, 3] and paint[3, 3, 3] == 255


def test_ribbons_have_the_length_of_their_states():
    table = pd.DataFrame(dict(t=[0, 1, 2, 5, 6], track_id=1, state=["a", "a", "b", "b", "b"]))
    ax = show_tracks_states(table, ["a", "b"])
    spans = sorted((p.vertices[:, 0].min(), p.vertices[:, 0].max()) for c in ax.collections for p in c.get_paths())
    assert spans == [(-0.5, 1.5), (1.5, 2.5), (4.5, 6.5)]  # a gap in time stays white


def test_many_points_are_rasterised_and_markers_differ():
    xy = np.random.default_rng(0).normal(size=(5000, 2))
    ax = show_embedding(xy, np.arange(5000) % 12, [f"c{i}" for i in range(12)])
    assert all(c.get_rasterized() for c in ax.collections)
    assert len({m.get_marker() for m in ax.get_legend().legend_handles}) == 12
