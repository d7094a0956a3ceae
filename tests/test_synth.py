"""Practice data: the truth it declares must be true, and the same seed must give the same pixels."""

import os, subprocess, sys
from itertools import islice
from pathlib import Path
import numpy as np, pytest
from cellprotocols.synth import STATES, iter_movie, make_movie, make_patches
from cellprotocols.synth_dirt import ARTIFACTS, choose_counts, make_dirty_field, make_dirty_set, paste_artifacts


@pytest.fixture(scope="module")
def movie():
    return make_movie(seed=1)


def test_shapes_and_types(movie):
    assert movie.frames.shape == (50, 256, 256, 1) and movie.frames.dtype == np.uint8
    assert movie.labels.shape == (50, 256, 256) and movie.labels.dtype == np.int32
    assert movie.shape == (50, 1, 256, 256, 1) and len(movie) == 50
    assert list(movie.cells) == ["t", "y", "x", "state", "track_id", "parent_id"]
    assert (movie.frame(7, 0) == movie.frames[7]).all()


def test_same_seed_same_movie(movie):
    again, other = make_movie(seed=1), make_movie(seed=2)
    assert (
        (again.frames == movie.frames).all()
        and again.cells.equals(movie.cells)
        and (again.labels == movie.labels).all()
    )
    assert (other.frames != movie.frames).any()


def test_lazy_is_the_same_as_eager(movie):
    for part in islice(iter_movie(50, seed=1), 0, 50, 9):
        assert (part.frame == movie.frame(part.t)).all() and (part.labels == movie.labels[part.t]).all()


@pytest.mark.parametrize("seed", range(4))
def test_short_movies_show_all_states(seed):
    assert set(make_movie(seed=seed).cells.state) == set(STATES)


def test_division_rate_raises_divisions():
    births = [
        make_movie(n_frames=30, size=(160, 160), seed=3, division_rate=r)
        .cells.query("parent_id > 0")
        .track_id.nunique()
        for r in (1, 8)
    ]
    assert births[1] > 2 * births[0]


def test_lineage_is_consistent(movie):
    first, last = movie.cells.groupby("track_id").head(1), movie.cells.groupby("track_id").t.max()
    for cell in first[first.parent_id > 0].itertuples():
        assert cell.state == "Anaphase" and last[cell.parent_id] == cell.t - 1
    assert movie.cells.groupby("track_id").parent_id.nunique().max() == 1
    assert first[first.parent_id > 0].groupby("parent_id").size().max() == 2
    assert not movie.cells.duplicated(["t", "track_id"]).any()


def test_states_follow_their_order(movie):
    allowed = {
        ("Interphase", "Prometaphase"),
        ("Prometaphase", "Metaphase"),
        ("Anaphase", "Interphase"),
        ("Interphase", "Apoptosis"),
    }
    for _, one in movie.cells.groupby("track_id"):
        seen = one.state.tolist()
        assert {(a, b) for a, b in zip(seen, seen[1:]) if a != b} <= allowed


def test_labels_agree_with_the_table(movie):
    for t in range(0, 50, 7):
        now = movie.cells[movie.cells.t == t]
        for cell in now.itertuples():
            y, x = np.nonzero(movie.labels[t] == cell.track_id)
            assert len(y), "a nucleus of the table has no pixels"
            if 25 < cell.y < 231 and 25 < cell.x < 231 and cell.state in ("Interphase", "Metaphase"):
                assert np.hypot(y.mean() - cell.y, x.mean() - cell.x) < 8


def test_grey_levels_of_the_published_movie(movie):
    """Background 80-95, interphase 100-130, mitotic chromatin up to saturation (spec 2.1)."""
    assert 78 < np.median(movie.frames[movie.labels == 0]) < 96
    means = {}
    for cell in movie.cells.itertuples():
        means.setdefault(cell.state, []).append(
            np.quantile(movie.frames[cell.t][movie.labels[cell.t] == cell.track_id], 0.9)
        )
    assert 100 < np.median(means["Interphase"]) < 130
    for state in STATES[1:]:
        assert np.median(means[state]) > np.median(means["Interphase"]) + 15
    assert movie.frames.max() > 220


def test_shapes_of_the_states(movie):
    """A plate is longer than an interphase nucleus is, and smaller."""
    from skimage.measure import regionprops

    long, area = {}, {}
    for t in range(50):
        state = movie.cells[movie.cells.t == t].set_index("track_id").state
        for r in regionprops(movie.labels[t]):
            y0, x0, y1, x1 = r.bbox
            if r.label in state and min(y0, x0) > 0 and max(y1, x1) < 256:
                long.setdefault(state[r.label], []).append(r.axis_major_length / max(r.axis_minor_length, 1))
                area.setdefault(state[r.label], []).append(r.area)
    assert np.median(long["Metaphase"]) > 1.8 > 1.5 > np.median(long["Interphase"])
    assert np.median(area["Metaphase"]) < np.median(area["Interphase"])


def test_little_overlap(movie):
    worst = []
    for t in range(0, 50, 5):
        now = movie.cells[(movie.cells.t == t) & (movie.cells.state == "Interphase")]
        yx = now[["y", "x"]].to_numpy()
        far = np.hypot(*(yx[:, None] - yx[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(yx))
        worst += far.min(1).tolist()
    assert np.quantile(worst, 0.05) > 15


def test_16_bit():
    a, b = make_movie(n_frames=12, seed=1), make_movie(n_frames=12, seed=1, dtype=np.uint16)
    assert b.frames.dtype == np.uint16 and b.frames.max() < 65535 and b.frames.max() > 255
    assert np.abs(b.frames[a.frames < 255] / 64 - a.frames[a.frames < 255]).max() <= 0.6
    assert a.cells.equals(b.cells)


def test_physical_size():
    fine, coarse = (
        make_movie(n_frames=1, size=s, px_um=p, n_cells=20, seed=0) for s, p in (((400, 400), 0.2), ((200, 200), 0.4))
    )
    area = [np.median(np.unique(m.labels[m.labels > 0], return_counts=True)[1]) for m in (fine, coarse)]
    assert 3 < area[0] / area[1] < 5.3


def test_empty_and_tiny():
    assert len(make_movie(n_frames=3, n_cells=0).cells) == 0
    assert make_movie(n_frames=2, size=(48, 33), n_cells=1).frames.shape == (2, 48, 33, 1)


@pytest.mark.slow
def test_memory_is_bounded():
    """Peak memory of 4 and of 16 large frames differs by less than 12 frames would take."""
    peak = [
        int(
            subprocess.check_output(
                [
                    sys.executable,
                    "-c",
                    f"""
from cellprotocols.synth import iter_movie
from memory import measure_peak
for part in iter_movie({n}, size=(1024, 1024)): pass
print(round(measure_peak()))""",
                ],
                cwd=Path(__file__).parent,
                env=os.environ | {"PYTHONPATH": f"{Path(__file__).parents[1]}"},
            )
        )
        for n in (4, 16)
    ]
    assert peak[1] - peak[0] < 20  # MB; one frame with its labels is 5 MB


def test_long_movies_stay_populated():
    n = [len(p.cells) for p in iter_movie(250, size=(128, 128), n_cells=8, seed=5, division_rate=12)]
    assert 3 < np.median(n[200:]) < 18


def test_patches():
    patches, labels, groups = make_patches(12, seed=3)
    assert patches.shape == (60, 64, 64, 1) and patches.dtype == np.uint8
    assert {s: int((labels == s).sum()) for s in STATES} == dict.fromkeys(STATES, 12)
    assert len(set(groups)) > 6 and all((groups == g).sum() > 1 for g in set(groups))
    again = make_patches(12, seed=3)
    assert (again[0] == patches).all() and (again[1] == labels).all() and (again[2] == groups).all()
    assert make_patches(2, size=80)[0].shape == (10, 80, 80, 1)


def test_difficulty_makes_it_harder():
    """A forest on grey levels and edges, groups apart: good at 0, worse at 1, never perfect."""
    from skimage.feature import hog
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GroupKFold, cross_val_score

    score = []
    for difficulty in (0.0, 1.0):
        patches, labels, groups = make_patches(60, seed=0, difficulty=difficulty)
        middle = patches[:, 16:48, 16:48, 0].astype(float)
        x = np.c_[
            np.quantile(middle.reshape(len(middle), -1), [0.1, 0.25, 0.5, 0.75, 0.9, 0.99], axis=1).T,
            [np.sort(hog(m, pixels_per_cell=(8, 8), cells_per_block=(1, 1)).reshape(-1, 9).mean(0)) for m in middle],
        ]
        score.append(
            cross_val_score(
                RandomForestClassifier(50, random_state=0), x, labels, groups=groups, cv=GroupKFold(4)
            ).mean()
        )
    assert score[0] > score[1] + 0.08 and 0.4 < score[1] < 0.9 and 0.8 < score[0]


@pytest.mark.parametrize("kind", list(ARTIFACTS))
def test_the_mask_of_an_artifact_is_where_it_takes_light(kind):
    """On an even field: what is masked has lost light, what is not has lost less than `level` (holes inside count as artifact)."""
    even = np.full((400, 500), 20_000, np.uint16)
    for seed in range(8):
        image, labels, table = paste_artifacts(even, {kind: 1}, seed)
        row, loss = table.iloc[0], 1 - image / 20_000
        assert len(table) == 1 and row.kind == kind and row.area == (labels == 1).sum() > 0
        assert loss[labels == 0].max() <= row.level + 0.001
        assert (loss[labels == 1] > row.level - 0.001).mean() > 0.35 and loss[labels == 1].max() > row.level
        y, x = np.nonzero(labels)
        assert abs(y.mean() - row.y) < 3 and abs(x.mean() - row.x) < 3


def test_pasting_keeps_away_keeps_type_and_repeats():
    field = np.random.default_rng(0).integers(0, 65536, (300, 300, 1)).astype(np.uint16)
    avoid = np.zeros((300, 300), bool)
    avoid[100:, :] = True
    image, labels, table = paste_artifacts(field, dict(crystal=5, speck=9, disc=2), [1, 2], avoid)
    again = paste_artifacts(field, dict(crystal=5, speck=9, disc=2), [1, 2], avoid)
    assert (image == again[0]).all() and (labels == again[1]).all() and table.equals(again[2])
    assert not labels[avoid].any() and labels.any() and image.dtype == np.uint16 and image.shape == field.shape
    other = paste_artifacts(field, dict(crystal=5, speck=9, disc=2), [1, 3], avoid)[1]
    assert (other != labels).any()
    white = paste_artifacts(np.full((200, 200), 65535, np.uint16), dict(bubble=4), 0)[0]
    assert white.min() > 5_000  # bright fringes are cut off at the top, they do not wrap round


def test_nothing_to_paste_and_no_room():
    field = np.full((50, 60), 9, np.uint8)
    image, labels, table = paste_artifacts(field, {})
    assert (image == field).all() and not labels.any() and len(table) == 0 and "area" in table
    assert len(paste_artifacts(field, dict(speck=3), avoid=np.ones((50, 60), bool))[2]) == 0


def test_dirty_field_differs_from_its_clean_twin_only_near_artifacts():
    from scipy.ndimage import distance_transform_edt

    dirty = make_dirty_field((300, 320), seed=2, counts=dict(crystal=3, speck=4))
    assert dirty.image.shape == dirty.clean.shape == (300, 320, 1) and dirty.image.dtype == np.uint16
    changed = (dirty.image != dirty.clean)[..., 0]
    assert distance_transform_edt(~dirty.mask)[changed].max() < 25 and changed[dirty.mask].mean() > 0.97
    assert (make_dirty_field((300, 320), seed=2, counts={}).image == dirty.clean).all()
    again = make_dirty_field((300, 320), seed=2, counts=dict(crystal=3, speck=4))
    assert (again.image == dirty.image).all() and (again.labels == dirty.labels).all()
    assert not make_dirty_field((64, 64), seed=2, dirt=0).mask.any()


def test_stain_is_dark_and_not_masked():
    dirty = make_dirty_field((400, 400), seed=1, n_cells=5, stained=1.0, counts={})
    grey = dirty.image[..., 0] / np.median(dirty.image)
    assert dirty.stain.mean() > 0.01 and grey[dirty.stain].mean() < grey[~dirty.stain].mean() - 0.04


def test_counts():
    rng = np.random.default_rng(0)
    many = [choose_counts(rng) for _ in range(300)]
    assert all(set(c) == set(ARTIFACTS) and sum(c.values()) and c["edge"] <= 1 for c in many)
    assert 1.5 < np.mean([c["crystal"] for c in many]) < 3.5 and not sum(choose_counts(rng, 0.0).values())


def test_dirty_set_has_wells_names_and_both_labels():
    import re

    fields, items = make_dirty_set(6, 3, (96, 128), seed=0)
    assert (
        len(fields) == len(items) == 18
        and items.group.nunique() == 6
        and set(items.label) == {"clean", "artifact"}
        and items.file.is_unique
    )
    for f, row in zip(fields, items.itertuples()):
        assert f.image.shape == (96, 128, 1) and f.mask.any() <= (row.label == "artifact")
        m = re.fullmatch(r"r(\d+)c(\d+)f(\d+)p(\d+)-ch(\d+)sk(\d+)fk(\d+)fl(\d+)\.tiff", row.file)
        assert [int(g) for g in m.groups()[:3]] == [row.row, row.col, row.field] and row.well == f"r{row.row}c{row.col}"
    again = make_dirty_set(6, 3, (96, 128), seed=0)
    assert all((a.image == b.image).all() for a, b in zip(fields, again[0])) and items.equals(again[1])
