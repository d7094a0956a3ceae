"61: which images there are, and which belong together."

from pathlib import Path

import pandas as pd

from cellprotocols.images import write_image
from cellprotocols.names import find_image_files
from cellprotocols.origins import relative_to
from cellprotocols.steps import Step, find_practice
from cellprotocols.synth import make_movie


def make_practice(folder, seed):
    for k in range(4):
        movie = make_movie(n_frames=1, size=(160, 160), seed=seed + k)
        (folder / f"slide{k % 2}").mkdir(parents=True, exist_ok=True)
        write_image(folder / f"slide{k % 2}" / f"field{k}.tif", movie.frames[0], px_um=movie.px_um)
    return folder


def run(
    source: str | None = None,  # A folder with a folder a slide; None: practise on synthetic fields
    out: str = "work/counts/61_annotate",  # Folder that is made
    seed: int = 0,  # Of the practice data
):  # The fields, a `Dataset`
    "List the images of a folder; the folder that one lies in is its group."
    root = Path(source) if source else make_practice(find_practice(out, seed) / "data", seed)
    files = find_image_files(root, deep=True)
    step = Step("counts.annotate", run, locals(), practice=source is None)
    step.inputs["images"] = files
    step.settings["root"] = relative_to(root, Path(out).resolve().parent)
    if made := step.find_done():
        return made
    with step.write("fields") as w:
        names = [f.relative_to(root).as_posix() for f in files]
        w.append("all", pd.DataFrame(dict(item_id=names, file=names, group=[f.parent.name for f in files])))
        return step.end(w.commit(), f"{len(files)} fields")
