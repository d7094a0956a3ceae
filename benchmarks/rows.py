"""Rows of the table that `make bench` writes; each benchmark adds its own, and prints what it prints when it runs alone."""

import json
import os
import sys
from pathlib import Path


def add_row(
    what,  # What was measured
    ours,  # As text, with its unit
    peer="",  # What stands beside it, as text
    value=None,  # The number that the aim is about, mostly a ratio of ours and the peer's in one run
    at_least=None,  # The aim
    at_most=None,  # The aim
):
    "Keep a row in the file that CELLPROTOCOLS_BENCH names, if there is one."
    if not (file := os.environ.get("CELLPROTOCOLS_BENCH")):
        return
    aim, reached = "", ""
    if at_least is not None:
        aim, reached = f"at least {at_least:g}", value >= at_least
    if at_most is not None:
        aim, reached = f"at most {at_most:g}", value <= at_most
    row = dict(
        what=what,
        ours=ours,
        beside=peer,
        value="" if value is None else f"{value:.3g}",
        aim=aim,
        reached={True: "yes", False: "**no**"}.get(reached, ""),
        script=Path(sys.argv[0]).name,
    )
    with open(file, "a", encoding="utf-8") as f:
        f.write(json.dumps(row) + "\n")
