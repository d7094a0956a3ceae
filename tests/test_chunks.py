"A chunk that was changed or lost after it was written is noticed when it is read."

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from cellprotocols.dataset import make_fingerprint, read_dataset
from cellprotocols.tables import DatasetError
from cellprotocols.writer import write_dataset


@pytest.fixture
def made(tmp_path):
    n = 300
    items = pd.DataFrame(dict(item_id=[f"i{k}" for k in range(n)], group="g", field_id="f", y=1.0, x=1.0, size=64))
    a = np.random.default_rng(0).integers(0, 255, (n, 64, 64), np.uint8)
    write_dataset(tmp_path / "d", "patches", items, "a test", arrays=dict(patches=a))
    return tmp_path / "d", a


def test_a_changed_chunk_is_named_and_the_others_are_read(made):
    folder, a = made
    files = sorted((folder / "patches.zarr").glob("c.*"))
    assert len(files) == 2
    np.testing.assert_array_equal(read_dataset(folder)["patches"][:], a)
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 4
    files[1].write_bytes(data)
    ds = read_dataset(folder)
    np.testing.assert_array_equal(ds["patches"][:256], a[:256])
    for _ in range(2):
        with pytest.raises(
            DatasetError, match=f"array patches that was changed .* the file {files[1].name} is another"
        ):
            ds["patches"][256:]


def test_a_chunk_that_is_lost_after_opening_is_no_zeros(made):
    folder, _ = made
    ds = read_dataset(folder)
    next((folder / "patches.zarr").glob("c.0*")).unlink()
    with pytest.raises(DatasetError, match="c.0.0.0 is lost"):
        ds["patches"][0]


def test_a_changed_zarr_json_is_noticed(made):
    folder, _ = made
    file = folder / "patches.zarr" / "zarr.json"
    file.write_text(file.read_text().replace('"fill_value": 0', '"fill_value": 1'))
    with pytest.raises(DatasetError, match="zarr.json is another"):
        read_dataset(folder)["patches"][:]


def test_an_array_may_go_to_another_process(made):
    folder, a = made
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(read_dataset(folder)["patches"]))[3], a[3])


def test_a_dataset_without_digests_of_its_chunks_is_read(made):
    folder, a = made
    file = folder / "dataset.json"
    meta = json.loads(file.read_text())
    del meta["arrays"]["patches"]["chunks"]
    assert make_fingerprint(meta) == meta["fingerprint"]
    file.write_text(json.dumps(meta))
    np.testing.assert_array_equal(read_dataset(folder)["patches"][:], a)


@pytest.mark.parametrize("part", ["settings", "arrays", "items", "n", "columns", "files", "inputs"])
@pytest.mark.parametrize("odd", [None, 3, [], "x", {"patches": 1}])
def test_parts_of_another_type_are_one_error(made, part, odd):
    folder, _ = made
    meta = json.loads((folder / "dataset.json").read_text()) | {part: odd}
    try:
        meta["fingerprint"] = make_fingerprint(meta)
    except (KeyError, TypeError, AttributeError):
        pass
    (folder / "dataset.json").write_text(json.dumps(meta))
    try:
        read_dataset(folder)
    except DatasetError:
        pass
