"Organelles, steps 41 and 42, on fields as strangers bring them."

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from cellprotocols.channelfiles import ChannelError
from cellprotocols.dataset import check_dataset
from cellprotocols.locations import CHANNELS
from cellprotocols.organelles import annotate, patches
from cellprotocols.synth_organelles import make_organelle_field


def write(folder, name, field, dtype=np.uint8, ends=CHANNELS):
    folder.mkdir(parents=True, exist_ok=True)
    for colour, end in zip(CHANNELS, ends):
        x = getattr(field, colour).astype(dtype) * (257 if dtype == np.uint16 else 1)
        tifffile.imwrite(folder / f"{name}_{end}.tif", x)


@pytest.fixture(scope="module")
def fields():
    sizes = [(150, 220), (220, 150), (180, 180)]
    return [make_organelle_field((k,), size=s, seed=k) for k, s in zip((0, 14, 16), sizes)]


@pytest.fixture
def brought(tmp_path, fields):
    "Three fields of three shapes and two depths in two folders, one of them under other names; a table elsewhere."
    write(tmp_path / "my images" / "p 1", "7_B2_1", fields[0])
    write(tmp_path / "my images" / "p 1", "7_B2_2", fields[1], np.uint16)
    write(tmp_path / "my images" / "Größe", "Zelle 3", fields[2], ends=("mt", "prot", "nuc", "er"))
    table = pd.DataFrame(dict(ID=["7_B2_1", "7_B2_2", "Zelle 3"], Label=["Nucleoplasm", "0", "16|14"]))
    table.to_csv(tmp_path / "labels of mine.csv", index=False, sep=";")
    return tmp_path


def test_steps_41_and_42_on_a_strangers_folder(brought, capsys):
    labels = annotate.run(
        str(brought / "my images"), str(brought / "r/41_annotate"), labels=str(brought / "labels of mine.csv")
    )
    items = labels.items.set_index("item_id")
    assert items.label.to_dict() == {"7_B2_1": "0", "7_B2_2": "0", "Zelle 3": "14|16"}
    assert items.group.to_dict() == {"7_B2_1": "7_B2", "7_B2_2": "7_B2", "Zelle 3": "Zelle 3"}
    assert "1 fields whose names say no sample" in capsys.readouterr().out
    made = patches.run(str(brought / "r/41_annotate"), str(brought / "r/42_patches"), size=40)
    assert made["patches"].shape[1:] == (40, 40, 4) and made["patches"].dtype == np.uint16
    for field_id, rows in made.items.groupby("field_id"):
        img, cells, nuclei = patches.read_cell_field(made, field_id)
        assert img.shape == (*cells.shape, 4) and set(rows.cell_id) == set(np.unique(cells)) - {0}
        assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()
    made.parent("source")
    assert "done before" not in capsys.readouterr().out
    again = patches.run(str(brought / "r/41_annotate"), str(brought / "r/42_patches"), size=40)
    assert "done before" in capsys.readouterr().out and again.fingerprint == made.fingerprint
    check_dataset(made.path)


def test_a_broken_field_is_named_and_left_out(brought, capsys):
    (brought / "my images/p 1/7_B2_1_red.tif").write_bytes(b"II*\0 nothing")
    labels = annotate.run(str(brought / "my images"), str(brought / "r/41_annotate"))
    out = capsys.readouterr().out
    assert len(labels) == 2 and "1 of 3 fields are left out" in out and "7_B2_1_red.tif" in out


def test_when_nothing_can_be_used_the_reason_is_said(tmp_path, fields):
    write(tmp_path / "a", "x", fields[0])
    (tmp_path / "a" / "x_blue.tif").unlink()
    with pytest.raises(ChannelError, match="none of 1 fields.*blue"):
        annotate.run(str(tmp_path / "a"), str(tmp_path / "41"))


def test_swapped_channels_are_said(tmp_path, fields, capsys):
    write(tmp_path / "a", "x", fields[2], ends=("blue", "green", "red", "yellow"))
    labels = annotate.run(str(tmp_path / "a"), str(tmp_path / "41"))
    assert "were red and blue swapped" in labels.items.remarks[0]
    assert "were red and blue swapped" in capsys.readouterr().out


def test_label_images_of_another_program_keep_their_numbers(tmp_path, fields):
    write(tmp_path / "a", "x", fields[0])
    other = np.where(fields[0].cells > 0, fields[0].cells * 100 + 7, 0)
    (tmp_path / "m").mkdir()
    tifffile.imwrite(tmp_path / "m" / "x_cp_masks.tif", other.astype(np.uint16))
    annotate.run(str(tmp_path / "a"), str(tmp_path / "41_annotate"))
    made = patches.run(str(tmp_path / "41_annotate"), str(tmp_path / "42"), size=32, masks=str(tmp_path / "m"))
    assert set(made.items.cell_id) == set(np.unique(other)) - {0} and made.items.cell_id.max() > 255
    assert (made.items.n_nuclei >= 1).mean() > 0.7


def test_a_field_without_cells_is_said_and_does_no_harm(tmp_path, fields, capsys):
    write(tmp_path / "a", "b", fields[0])
    empty = make_organelle_field((0,), size=(150, 220), n_cells=0, seed=1)
    write(tmp_path / "a", "a", empty)
    annotate.run(str(tmp_path / "a"), str(tmp_path / "41_annotate"))
    made = patches.run(str(tmp_path / "41_annotate"), str(tmp_path / "42"), size=32)
    assert set(made.items.field_id) == {"b"} and "1 fields have no cell, such as a" in capsys.readouterr().out
    assert pd.read_csv(made.path / "fields.csv").n_cells.tolist()[0] == 0


def test_four_channels_in_one_file_need_their_order(tmp_path, fields):
    (tmp_path / "a").mkdir()
    tifffile.imwrite(tmp_path / "a" / "x.tif", np.moveaxis(fields[0].image, -1, 0), photometric="minisblack")
    with pytest.raises(ChannelError, match="RGBY"):
        annotate.run(str(tmp_path / "a"), str(tmp_path / "41_annotate"))
    annotate.run(str(tmp_path / "a"), str(tmp_path / "41_annotate"), order="RGBY")
    made = patches.run(str(tmp_path / "41_annotate"), str(tmp_path / "42"), size=32)
    img, _, _ = patches.read_cell_field(made, "x")
    assert (img == fields[0].image).all()


def test_labels_of_a_person_are_put_in(tmp_path, fields):
    write(tmp_path / "a", "x", fields[0])
    widget = annotate.make_annotator(str(tmp_path / "a"), str(tmp_path / "log.jsonl"), str(tmp_path / "41"), by="me")
    widget.label(["x"], "Golgi apparatus")
    labels = annotate.run(str(tmp_path / "a"), str(tmp_path / "41"), log=str(tmp_path / "log.jsonl"))
    assert labels.items.label.tolist() == ["7"] and labels.items["by"].tolist() == ["me"]


def test_truth_of_practice_follows_the_cells_that_were_found(tmp_path):
    annotate.make_practice(tmp_path / "p", seed=1)
    for f in (tmp_path / "p").glob("*.png"):
        if not f.name.startswith(("101_A1", "101_A2")):
            f.unlink()
    annotate.run(str(tmp_path / "p"), str(tmp_path / "41_annotate"))
    made = patches.run(str(tmp_path / "41_annotate"), str(tmp_path / "42"), size=32)
    truth = pd.read_csv(made.path / "truth.csv", dtype=str)
    assert made.settings["practice"] and set(truth.item_id) <= set(made.items.item_id)
    assert len(truth) > 0.8 * len(made) and truth.item_id.is_unique
    cell = made.items[made.items.item_id == truth.item_id[0]].iloc[0]
    true = cv2.imread(str(tmp_path / "p/truth" / f"{cell.field_id}_cells.png"), -1)
    at = true[int(cell.y), int(cell.x)]
    known = pd.read_csv(tmp_path / "p/truth/truth.csv", dtype=str)
    assert known[(known.ID == cell.field_id) & (known.cell == str(at))].Label.iloc[0] == truth.label[0]


def test_seven_real_fields_from_files_to_crops(shared_data, tmp_path):
    labels = annotate.run(str(shared_data / "organelles/hpa_quarter"), str(tmp_path / "41_annotate"))
    assert len(labels) == 7 and (labels.items.remarks == "").all()
    made = patches.run(str(tmp_path / "41_annotate"), str(tmp_path / "42"))
    assert 115 <= len(made) <= 140 and not (made.path / "truth.csv").read_text().count("\n") > 1


def test_a_run_that_was_cut_off_goes_on_and_makes_the_same(brought, monkeypatch):
    annotate.run(str(brought / "my images"), str(brought / "r/41_annotate"))
    whole = patches.run(str(brought / "r/41_annotate"), str(brought / "r/whole/42_patches"), size=32)
    cut, seen = patches._cut, []

    def fail(*args):
        seen.append(args[0].item_id)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return cut(*args)

    monkeypatch.setattr(patches, "_cut", fail)
    with pytest.raises(KeyboardInterrupt):
        patches.run(str(brought / "r/41_annotate"), str(brought / "r/42_patches"), size=32)
    assert not (brought / "r/42_patches").exists()
    made = patches.run(str(brought / "r/41_annotate"), str(brought / "r/42_patches"), size=32)
    assert len(seen) == 4, "two fields were there already"
    assert made.items.equals(whole.items) and made.meta["files"] == whole.meta["files"]
    assert (made["patches"][:] == whole["patches"][:]).all()
