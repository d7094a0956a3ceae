"66: one page."

from cellprotocols.report import Section, Table
from cellprotocols.steps import Step

takes = {"source": "infer"}  # The earlier step that each argument reads


def run(
    source: str | None = None,  # The folder made by `infer`; None: practise on synthetic fields
    out: str = "work/counts/66_visualize",  # Folder that is made
    seed: int = 0,  # Of the practice data
):  # The folder with report.html, a `Dataset`
    "Write the report."
    step = Step("counts.visualize", run, locals())
    counted = step.read("source", "masks")
    if made := step.find_done():
        return made
    t = counted.items.groupby("group").nuclei.agg(["count", "mean", "min", "max"]).reset_index()
    with step.write("report") as w:
        section = Section("Counts", "Nuclei of the fields of each slide.", [Table(t)])
        return step.write_page(w, counted.items, "How many nuclei has each field?", [section], "", dict(fields=len(t)))
