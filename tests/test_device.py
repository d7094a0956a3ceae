"device: the one that was asked for or an error in one sentence; threads as they were; freed memory is kept."

import os
import platform
import subprocess
import sys

import pytest
import torch

from cellprotocols.device import (
    DeviceError,
    choose_layout,
    choose_precision,
    count_cores,
    is_short_of_memory,
    limit_threads,
    pick_device,
    to_layout,
)


def test_device_and_threads(monkeypatch):
    monkeypatch.setenv("CELLPROTOCOLS_DEVICE", "cpu")
    assert pick_device().type == "cpu"
    for bad in ("nonsense", "cuda:77"):
        monkeypatch.setenv("CELLPROTOCOLS_DEVICE", bad)
        with pytest.raises(DeviceError, match="CELLPROTOCOLS_DEVICE"):
            pick_device()
    before = torch.get_num_threads()
    with limit_threads():
        assert 1 <= torch.get_num_threads() <= max(1, count_cores())
    with pytest.raises(KeyError), limit_threads(3):
        raise KeyError(torch.get_num_threads())
    assert torch.get_num_threads() == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_was_freed_is_kept_for_the_next_layer():
    code = """if True:
        import resource, torch
        from cellprotocols.device import keep_memory
        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(20): [torch.ones(5_000_000) for _ in range(3)]
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        assert keep_memory(); faults(); print(faults())"""
    run = lambda **env: subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}, **env},
    )
    assert int(run().stdout) < 20_000  # about 195,000 if all is given back
    assert "AssertionError" in run(MALLOC_TRIM_THRESHOLD_="131072").stderr, "what a person has set stays"


@pytest.mark.parametrize(
    "error,short",
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError(), True),
        (RuntimeError("HIP out of memory. Tried"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("a bug"), False),
    ],
)
def test_every_way_to_say_that_memory_is_short(error, short):
    assert is_short_of_memory(error) is short


def test_precision_and_layout_of_a_processor():
    cpu = torch.device("cpu")
    assert choose_precision(cpu) is None and choose_precision(cpu, True) is None
    flat, solid = torch.nn.Conv2d(1, 2, 3), torch.nn.Conv3d(1, 2, 3)
    for shape, last in (
        ((8, 1, 64, 64), False),
        ((8, 1, 128, 128), True),
        ((2, 5, 1, 256, 130), True),
        ((8, 1, 128, 64), False),
        ((), False),
        ((5, 300), False),
    ):
        assert (choose_layout(flat, cpu, shape) == torch.channels_last) is last
    assert choose_layout(solid, cpu, (2, 1, 9, 128, 128)) == torch.contiguous_format
    bag = torch.zeros(2, 5)
    assert to_layout(bag, torch.channels_last) is bag and to_layout([1], torch.channels_last) == [1]
