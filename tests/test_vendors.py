"vendors: ND2 and CZI as their packages give them, and what is said without the package."

import sys
import types

import numpy as np
import pytest
from rasters import rng, whole

from cellprotocols.hints import Hints
from cellprotocols.images import open_image
from cellprotocols.sources import ImageError


def test_missing_extras_name_the_line(monkeypatch):
    for module, head, extra in (("nd2", b"\xda\xce\xbe\x0a", "nd2"), ("pylibCZIrw", b"ZISRAWFILE", "czi")):
        for name in [m for m in sys.modules if m.split(".")[0] == module]:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImageError) as e:
            open_image(head + bytes(100))
        assert f'pip install "cellprotocols[{extra}]"' in str(e.value)


def test_nd2_layout(monkeypatch, tmp_path):
    "No ND2 file is at hand: a stand-in with the package's interface."
    a = rng.integers(0, 999, (3, 2, 4, 2, 5, 6), dtype=np.uint16)  # T P Z C Y X
    where = [{"T": t, "P": p, "Z": z} for t in range(3) for p in range(2) for z in range(4)]
    channel = lambda n: types.SimpleNamespace(channel=types.SimpleNamespace(name=n))

    class ND2File:
        def __init__(self, path):
            pass

        sizes, dtype, loop_indices = dict(zip("TPZCYX", a.shape)), a.dtype, where
        metadata = types.SimpleNamespace(channels=[channel("DNA"), channel("actin")])
        experiment = [types.SimpleNamespace(type="TimeLoop", parameters=types.SimpleNamespace(periodMs=2500))]

        def voxel_size(self):
            return types.SimpleNamespace(x=0.25)

        def read_frame(self, i):
            return a[tuple(where[i].values())]

        def close(self):
            pass

    monkeypatch.setitem(sys.modules, "nd2", types.SimpleNamespace(ND2File=ND2File))
    (tmp_path / "a.nd2").write_bytes(b"\xda\xce\xbe\x0a" + bytes(99))
    with open_image(tmp_path / "a.nd2") as img:
        assert (
            img.shape == (3, 4, 5, 6, 2) and img.px_um == 0.25 and img.dt_s == 2.5 and img.channels == ["DNA", "actin"]
        )
        np.testing.assert_array_equal(whole(img), a[:, 0].transpose(0, 1, 3, 4, 2))
        assert "2 images" in img.notes[0]
    with open_image(tmp_path / "a.nd2", hints=Hints(series="1")) as img:
        np.testing.assert_array_equal(whole(img), a[:, 1].transpose(0, 1, 3, 4, 2))


def test_damaged_nd2_and_czi(tmp_path):
    for name, head in (("a.nd2", b"\xda\xce\xbe\x0a"), ("a.czi", b"ZISRAWFILE")):
        pytest.importorskip({"a.nd2": "nd2", "a.czi": "pylibCZIrw"}[name])
        (tmp_path / name).write_bytes(head + bytes(5000))
        with pytest.raises(ImageError, match=name):
            open_image(tmp_path / name)
    with pytest.raises(ImageError, match="from disk"):
        open_image(b"ZISRAWFILE" + bytes(99))


@pytest.mark.parametrize("scenes", [1, 2])
def test_czi_written_and_read(tmp_path, scenes):
    czi = pytest.importorskip("pylibCZIrw.czi")
    a = rng.integers(0, 60000, (scenes, 3, 2, 8, 9), dtype=np.uint16)  # scene T C Y X
    with czi.create_czi(str(tmp_path / "a.czi")) as doc:
        for s in range(scenes):
            for t in range(3):
                for c in range(2):
                    doc.write(
                        data=a[s, t, c][..., None], plane={"T": t, "C": c, "Z": 0}, scene=s, location=(100 * s, 0)
                    )
        doc.write_metadata("a", channel_names={0: "DNA", 1: "actin"}, scale_x=0.2e-6, scale_y=0.2e-6)
    with open_image(tmp_path / "a.czi") as img:
        assert img.shape == (3, 1, 8, 9, 2) and img.channels == ["DNA", "actin"] and img.px_um == pytest.approx(0.2)
        np.testing.assert_array_equal(whole(img)[:, 0], a[0].transpose(0, 2, 3, 1))
        assert bool(img.notes) == (scenes > 1)
    if scenes > 1:
        with open_image(tmp_path / "a.czi", hints=Hints(series="1")) as img:
            np.testing.assert_array_equal(whole(img)[:, 0], a[1].transpose(0, 2, 3, 1))
