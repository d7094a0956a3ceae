"Tables and trees that the tests of datasets share."

from pathlib import Path

import numpy as np, pandas as pd


def rows(n, start=0, group="g", **more):
    return pd.DataFrame(
        dict(
            item_id=[f"i{start + k:05d}" for k in range(n)],
            group=group,
            field_id="f",
            y=np.arange(start, start + n) * 0.1,
            x=0.5,
            size=8,
            **more,
        )
    )


def tree(folder):
    "Every file of a folder and its bytes."
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(Path(folder).rglob("*")) if f.is_file()}


def leftovers(folder):
    return sorted(p.name for p in Path(folder).iterdir() if p.name.startswith("."))


good = {
    "fields": dict(file=["a.tif", "b.tif"], px_um=[0.3, np.nan]),
    "patches": dict(field_id="f", y=[1.5, 2], x=[0, 0], size=64),
    "labels": dict(label="A", by="anna", at="2026-01-01"),
    "boxes": dict(field_id="f", y0=[0, 0], x0=[0, 0], y1=[1, 1], x1=[2, 2], score=[0.1, 0.9]),
    "embeddings": {},
    "bags": dict(label="A", members='["a", "b"]'),
    "masks": dict(field_id="f"),
    "predictions": dict(label=["A", "B"], prob_A=[0.9, 0.1], prob_B=[0.1, 0.9], split="test"),
    "report": {},
}


def table(kind, **change):
    return pd.DataFrame({"item_id": ["a", "b"], "group": "g", **good[kind], **change})


def files_of(kind):
    return {"report.html": "<h1>report</h1>"} if kind == "report" else {}


def arrays_of(kind):
    return {"embeddings": np.ones((2, 3), "f4")} if kind == "embeddings" else {}
