"checkpoints: what is written comes back; an identity changes with every byte, and with nothing else."

import functools

import numpy as np
import torch
from hypothesis import given, settings as hyp, strategies as st
from torch import nn

from cellprotocols.checkpoints import make_identity, read_checkpoint, write_checkpoint


@given(
    st.dictionaries(st.text("abc.", min_size=1, max_size=5), st.lists(st.floats(width=32), max_size=4), max_size=4),
    st.floats(allow_nan=False),
)
@hyp(max_examples=25, deadline=None)
def test_checkpoint_round_trip(tmp_path_factory, values, fact):
    path = tmp_path_factory.mktemp("c") / "a.safetensors"
    write_checkpoint(path, {k: torch.tensor(v) for k, v in values.items()}, {"x": fact})
    tensors, info = read_checkpoint(path)
    assert info == {"x": fact} and tensors.keys() == values.keys()
    for k, v in values.items():
        assert torch.equal(tensors[k].nan_to_num(7), torch.tensor(v).nan_to_num(7))


def test_one_byte_of_any_storage_changes_the_identity_and_the_storage_does_not(tmp_path):
    import zarr

    x = np.random.default_rng(0).integers(0, 255, (70, 3, 16, 16)).astype(np.uint8)
    name = make_identity(x)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r+")
    stored = zarr.create_array(str(tmp_path / "x.zarr"), shape=x.shape, chunks=(7, 3, 8, 8), dtype=x.dtype)
    stored[:] = x
    for same in (torch.from_numpy(x.copy()), mapped, stored, np.asfortranarray(x), x[:]):
        assert make_identity(same) == name
    for where in ((0, 0, 0, 0), (33, 1, 7, 9), (69, 2, 15, 15)):
        for v in (torch.from_numpy(x.copy()), mapped, stored, x.copy()):
            v[where] = 255 - v[where]
            assert make_identity(v) != name, where
            v[where] = 255 - v[where]
    assert make_identity(mapped) == make_identity(stored) == name
    assert (
        len({make_identity(v) for v in (x, x.astype(np.int16), x.view(np.int8), x.reshape(70, 16, 3, 16), x[:69])}) == 5
    )
    big, one = np.arange(5).astype(">u2"), np.arange(5).astype("<u2")
    assert make_identity(big) == make_identity(one)


def test_identities_of_functions_and_objects():
    def outer(v, log=None):
        return lambda x, g: x.flip(v) if log is None else log

    assert make_identity(outer(2)) == make_identity(outer(2)) != make_identity(outer(3))
    assert make_identity(outer(2, [1])) == make_identity(outer(2, [])), "a list may change while the function works"
    assert make_identity(lambda x: x + 1) != make_identity(lambda x: x - 1)
    assert (
        make_identity(functools.partial(max, 1))
        != make_identity(functools.partial(max, 2))
        != make_identity(functools.partial(min, 2))
    )

    class Turn:
        def __init__(self, degrees, mean):
            self.degrees, self.mean = degrees, mean

        def __call__(self, x):
            return x

    same = [
        make_identity(Turn(d, m))
        for d, m in ((3, np.zeros(2)), (3, np.zeros(2)), (4, np.zeros(2)), (3, np.array([0, 1.0])))
    ]
    assert same[0] == same[1] and len(set(same)) == 3
    assert (
        make_identity(Turn(3, 0).__call__) == make_identity(Turn(3, 0).__call__) != make_identity(Turn(4, 0).__call__)
    )
    nets = [nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(4, 2)]
    names = [make_identity(n) for n in nets]
    assert names[0] == names[1] != names[2], "weights are what training changes"
    assert (
        len(
            {
                make_identity(v)
                for v in (
                    None,
                    0,
                    False,
                    "",
                    b"",
                    (),
                    [],
                    {},
                    {"a": 1},
                    {"a": 2},
                    {"b": 1},
                    0.0,
                    (1, 2),
                    (2, 1),
                    ((1,), 2),
                )
            }
        )
        == 15
    )
    loop = []
    loop.append(loop)
    assert make_identity(loop) and make_identity(iter([1])) == make_identity(iter([2]))
    assert make_identity(np.array(["a", None], object)) != make_identity(np.array(["b", None], object))
    assert make_identity(np.array(["a", "b"])) != make_identity(np.array(["a", "c"]))
    assert make_identity(torch.tensor(3.0)) != make_identity(torch.tensor(4.0)) and make_identity(
        np.float32(3)
    ) != make_identity(np.float32(4))
    assert make_identity(np.zeros((0, 3))) != make_identity(np.zeros((0, 4)))
