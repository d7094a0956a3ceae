"Practice fields of four stains: the truth fits the pictures, and labels say what they are meant to say."

import numpy as np
import pandas as pd
import pytest

from cellprotocols.locations import LOCATIONS, NEGATIVE, LocationError, find_location, to_classes, to_label, to_targets
from cellprotocols.synth_organelles import make_organelle_field, make_organelle_set, write_organelle_set


def inside(field, where):
    return field.green[where].mean() - field.green[field.cells == 0].mean()


@pytest.mark.parametrize("k", range(len(LOCATIONS)))
def test_the_protein_is_where_it_was_painted(k):
    field = make_organelle_field((k,), size=(160, 192), seed=k)
    nucleus, cytoplasm = inside(field, field.nuclei > 0), inside(field, (field.cells > 0) & (field.nuclei == 0))
    if k == NEGATIVE:
        assert nucleus < 3
    elif k <= 5:
        assert nucleus > 1.5 * max(cytoplasm, 0)
    elif k not in (9, 11, 12):  # stress fibres and spindles lie over the nucleus, a centrosome may
        assert cytoplasm > 1.5 * max(nucleus, 0)
    assert field.truth[:, k].all()


def test_cells_that_miss_the_label_are_negative_in_the_truth_alone():
    field = make_organelle_field((0,), size=(256, 256), seed=2, miss=0.4)
    assert field.label == "0" and 0 < field.truth[:, NEGATIVE].sum() < len(field.truth)
    assert (field.truth[:, 0] != field.truth[:, NEGATIVE]).all()
    light = np.array([field.green[field.nuclei == i + 1].mean() for i in range(len(field.truth))])
    assert light[field.truth[:, 0]].min() > light[~field.truth[:, 0]].max()


def test_a_set_shares_its_label_within_a_sample_and_is_written_as_the_atlas_names_files(tmp_path):
    fields, table = make_organelle_set(n_samples=3, n_fields=2, size=(128, 160), seed=4)
    assert (table.groupby("sample").label.nunique() == 1).all() and table.id.is_unique
    write_organelle_set(tmp_path, fields, table)
    train = pd.read_csv(tmp_path / "train.csv", dtype=str)
    assert list(train.columns) == ["ID", "Label"] and list(train.ID) == list(table.id)
    assert len(list(tmp_path.glob("*.png"))) == 4 * len(table)
    truth = pd.read_csv(tmp_path / "truth" / "truth.csv", dtype=str)
    assert len(truth) == sum(len(f.truth) for f in fields)


def test_labels_of_every_spelling():
    assert to_classes("Nucleoplasm|16|lysosomes") == (0, 16, 17)
    assert to_classes(" ") == to_classes(float("nan")) == () and to_label([5, "0"]) == "0|5"
    assert to_targets(["8|5|0", (18,)]).sum() == 4
    for wrong in ("19", "-1", "Rods & Rings", "3.5"):
        with pytest.raises(LocationError):
            find_location(wrong)
    with pytest.raises(LocationError, match="Negative"):
        to_classes("18|0")
