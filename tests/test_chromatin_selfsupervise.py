"""Step 23: map, vectors and list of suggestions; it goes on after a crash and says what is missing."""

import numpy as np
import pandas as pd
import pytest

from made import write_patch_set

from cellprotocols.chromatin import selfsupervise


@pytest.mark.parametrize("labelled", [None, 4])
def test_step_writes_map_vectors_and_list(tmp_path, labelled, capsys):
    source = write_patch_set(tmp_path / "22_patches", 24, lambda i: not labelled or i % labelled == 0, difficulty=0.3)
    made = selfsupervise.run(
        str(tmp_path / "22_patches"), str(tmp_path / "23"), components=10, map_method="pca", n_suggest=8
    )
    assert made["embedding"].shape == (120, 10) and made.items.item_id.tolist() == source.items.item_id.tolist()
    assert np.isfinite(made.items[["map_x", "map_y"]]).all().all()
    todo = pd.read_csv(tmp_path / "23" / "suggestions.csv", keep_default_na=False)
    label = made.items.set_index("item_id").label[todo.item_id]
    assert (label == "").all() if labelled else (label != "").all()
    assert ("to label next" if labelled else "to check next") in capsys.readouterr().out
    selfsupervise.run(str(tmp_path / "22_patches"), str(tmp_path / "23"), components=10, map_method="pca", n_suggest=8)
    assert "done before" in capsys.readouterr().out


def test_step_goes_on_after_a_crash(tmp_path, monkeypatch):
    write_patch_set(tmp_path / "22_patches", 120, difficulty=0.3)
    run = lambda out: selfsupervise.run(
        str(tmp_path / "22_patches"), str(tmp_path / out), components=5, map_method="pca"
    )
    real, seen = (lambda p, v: (p.reshape(len(p), -1)[:, :400:20].astype(np.float32), None)), []

    def fragile(p, v):
        seen.append(len(p))
        if len(seen) == 2:
            raise RuntimeError("power cut")
        return real(p, v)

    monkeypatch.setattr(selfsupervise, "measure_cells", fragile)
    with pytest.raises(RuntimeError):
        run("a")
    seen.append(0)
    done = len(seen)
    again = run("a")
    assert len(seen) - done == 2, "the first piece is not measured again"
    assert not (tmp_path / ".a.partial").exists()
    monkeypatch.setattr(selfsupervise, "measure_cells", real)
    whole = run("b")
    assert (
        again.fingerprint == whole.fingerprint
        and (tmp_path / "a" / "suggestions.csv").read_bytes() == (tmp_path / "b" / "suggestions.csv").read_bytes()
    )


@pytest.mark.filterwarnings("ignore:. groups")
def test_step_takes_a_network(tmp_path):
    write_patch_set(tmp_path / "22_patches", 4, difficulty=0.3)
    assert selfsupervise.run(
        str(tmp_path / "22_patches"),
        str(tmp_path / "23"),
        method="resnet10t",
        pretrained=False,
        components=4,
        map_method="pca",
    )["embedding"].shape == (20, 4)


def test_step_says_what_is_missing(tmp_path):
    from cellprotocols.errors import UserError

    with pytest.raises(UserError, match="22_patches first"):
        selfsupervise.run(str(tmp_path / "none"), str(tmp_path / "23"))
    write_patch_set(tmp_path / "22_patches", 4, difficulty=0.3)
    with pytest.raises(UserError, match="no network 'measured'"):
        selfsupervise.run(str(tmp_path / "22_patches"), str(tmp_path / "23"), method="measured")


def test_step_takes_packaged_weights_and_says_where_they_are_missing(tmp_path, monkeypatch):
    from cellprotocols import backbones, embedded
    from cellprotocols.errors import UserError

    write_patch_set(tmp_path / "22_patches", 4, difficulty=0.3)
    arguments = dict(method="efficientnet-lite0", map_method="pca", components=4)
    made = selfsupervise.run(str(tmp_path / "22_patches"), str(tmp_path / "23"), **arguments)
    assert made["embedding"].shape == (20, 4)
    embedded._open.cache_clear()
    monkeypatch.setattr(backbones, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r'pip install "cellprotocols\[backbone\]"'):
        selfsupervise.run(str(tmp_path / "22_patches"), str(tmp_path / "23b"), **arguments)
    embedded._open.cache_clear()
