"What the tests of the annotators and of the map share: a small grid, a small map, what a page sends, what it hears."

import json

import numpy as np

from cellprotocols.explore import Explorer
from cellprotocols.grid import PatchGrid

EVIL = (
    "</script><script>window.ran=1</script>\"'><img src=http://evil.example/x onerror=window.ran=2>"
    "]]>--></style><!-- 🧬\u202eabc\x00&amp;"
)
CLASSES = ["A", "B", "C"]


def listen(widget):
    "What the widget sends from now on: a list of (message, buffers)."
    sent = []
    widget.send = lambda msg, buffers=None: sent.append((json.loads(json.dumps(msg, allow_nan=False)), buffers))
    return sent


def make_grid(tmp_path, n=30, classes="ABC", **more):
    rng = np.random.default_rng(0)
    return PatchGrid(
        rng.integers(0, 255, (n, 16, 16), np.uint8),
        [f"i{k}" for k in range(n)],
        list(classes),
        tmp_path / "log.jsonl",
        by="x",
        **more,
    )


def give(widget, item, label, act="", after="", **more):
    return widget.answer(dict(do="give", entries=[dict(item=item, label=label, **more)], act=act, after=after))[0]


def cells(n=60, seed=0, size=24, dtype=np.uint8):
    "Places in a square of 10 x 6, patches whose brightness says which row they are."
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 1, (n, 2)) * [10, 6]
    images = np.broadcast_to((40 + 200 * np.arange(n) / n).astype(dtype)[:, None, None], (n, size, size)).copy()
    images[:, ::4] //= 2
    return (
        xy,
        [f"cell_{i:03}" for i in range(n)],
        np.array([CLASSES[i % 3] if i % 4 else "" for i in range(n)], object),
        images,
    )


def explorer(tmp_path, n=60, **more):
    xy, items, labels, images = cells(n)
    return Explorer(
        images,
        items,
        xy,
        CLASSES,
        tmp_path / "log.jsonl",
        **dict(labels=labels, groups=[f"g{i % 5}" for i in range(n)], by="anna") | more,
    )
