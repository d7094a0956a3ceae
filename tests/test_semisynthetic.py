"""The semi-synthetic benchmark, on practice fields: wells apart, masks where pixels were planted, sources untouched, repeatable."""

import importlib.util, json
from pathlib import Path
import numpy as np, pandas as pd, pytest
from cellprotocols.dataset import fingerprint
from cellprotocols.images import read_image, write_image
from cellprotocols.synth_dirt import make_dirty_set


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "make_sabgal_semisynthetic.py"
    spec = importlib.util.spec_from_file_location("make_sabgal_semisynthetic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(bench, tmp_path_factory):
    home = tmp_path_factory.mktemp("semi")
    fields, items = make_dirty_set(6, 1, (320, 320), clean=0, dirt=4.0, seed=0)
    (home / "source").mkdir()
    for f, name in zip(fields, items.file):
        write_image(home / "source" / name, f.image)
    before = {p.name: fingerprint(p) for p in (home / "source").iterdir()}
    table = bench.make(home / "source", home / "out", versions=2, seed=1)
    assert before == {p.name: fingerprint(p) for p in (home / "source").iterdir()}
    return home, fields, items, table


@pytest.mark.slow
def test_wells_are_apart_and_everything_is_written_down(made):
    home, fields, items, table = made
    read = pd.read_csv(home / "out" / "items.csv")
    assert len(read) == 18 and set(read.split) == {"train", "test"} and read.groupby("well").split.nunique().max() == 1
    about = json.loads((home / "out" / "generator.json").read_text())
    assert (
        about["seed"] == 1
        and about["settings"]["dark"]
        and len(about["sources"]) == 6
        and {s["split"] for s in about["sources"]} == {"train", "test"}
    )
    planted = pd.read_csv(home / "out" / "artifacts.csv")
    assert len(planted) == read.n_artifacts.sum() and {"kind", "y", "x", "area", "file", "depth", "level"} <= set(
        planted
    )


@pytest.mark.slow
def test_masks_are_where_the_planted_version_differs_from_the_clean_one(made):

    home, fields, items, table = made
    for source, rows in table.groupby("source"):
        clean = read_image(home / "out" / rows.file.iloc[0])
        assert rows.label.iloc[0] == "clean"
        for row in rows.iloc[1:].itertuples():
            img, mask, valid = (
                read_image(home / "out" / row.file),
                read_image(home / "out" / row.mask)[..., 0],
                read_image(home / "out" / row.valid)[..., 0],
            )
            assert set(np.unique(mask)) <= {0, 255} and not (mask[valid == 0]).any() and img.dtype == np.uint16
            changed = (img != clean)[..., 0]
            if mask.any():
                assert changed[mask > 0].mean() > 0.9
            assert (row.label == "artifact") == mask.any() and np.isclose(row.area, (mask > 0).mean())


@pytest.mark.slow
def test_the_dirt_that_was_there_is_left_out(bench, made):
    """On practice fields the real dirt is known: most of it, specks and crystals, is in what is left out, and not much else is."""
    home, fields, items, table = made
    for f, name in zip(fields, items.file):
        valid = read_image(home / "out" / table[table.source == name].valid.iloc[0])[..., 0] > 0
        sure = np.isin(f.labels, f.artifacts.label[f.artifacts.kind.isin(["crystal", "speck"])])
        if sure.sum() > 50:
            assert (~valid)[sure].mean() > 0.8
        assert valid.mean() > 0.6


@pytest.mark.slow
def test_same_seed_same_images_and_existing_folders_are_not_touched(bench, made):
    home, fields, items, table = made
    again = bench.make(home / "source", home / "again", versions=2, seed=1)
    assert again.equals(table)
    for name in table.file:
        assert (read_image(home / "again" / name) == read_image(home / "out" / name)).all()
    with pytest.raises(SystemExit, match="exists"):
        bench.make(home / "source", home / "out")
    with pytest.raises(SystemExit, match="no TIFF"):
        bench.make(home / "out" / "nothing", home / "x")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*groups?:")
def test_baseline_finds_dark_steep_things(bench, made):
    home = made[0]
    best, pixels, objects = bench.score_baseline(home / "out")
    pixels = pixels.set_index("metric").value
    assert 0 < pixels.iou < 1 and 0 <= pixels.clean_area < 0.1 and objects["size"].iloc[-1] == "all"
    x = np.ones((60, 60), np.float32)
    x[20:30, 20:30] = 0.3
    x[:, 45:] -= np.linspace(0, 0.4, 15)
    found = bench.dark_and_steep(x, 0.15, 0.06)
    assert found[24, 24] and not found[:, 45:].any()
