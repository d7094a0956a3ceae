"65: the nuclei of every field."

import pandas as pd

from cellprotocols.cells import find_nuclei
from cellprotocols.images import read_image
from cellprotocols.maskfiles import write_mask
from cellprotocols.progress import track
from cellprotocols.steps import Step

takes = {"source": "annotate"}  # The earlier step that each argument reads


def run(
    source: str | None = None,  # The folder made by `annotate`; None: practise on synthetic fields
    out: str = "work/counts/65_infer",  # Folder that is made
    diameter: float = 0.0,  # Of a nucleus, px; 0: estimated
    seed: int = 0,  # Of the practice data
):  # The masks, a `Dataset`
    "Find nuclei, a mask a field; after a crash it goes on with the next field."
    step = Step("counts.infer", run, locals())
    fields = step.read("source", "fields")
    if made := step.find_done():
        return made
    root = fields.path.parent / fields.settings["root"]
    with step.write("masks") as w:
        for r in track([r for r in fields.items.itertuples() if r.item_id not in w.done], "counting"):
            labels = find_nuclei(read_image(root / r.file), diameter or None)
            write_mask(w.folder / "masks", r.file, labels)
            row = dict(item_id=r.item_id, group=r.group, field_id=r.item_id, file=r.file, nuclei=labels.max())
            w.append(r.item_id, pd.DataFrame([row]))
        made = w.commit()
    return step.end(made, f"{made.items.nuclei.sum()} nuclei in {len(made)} fields")
