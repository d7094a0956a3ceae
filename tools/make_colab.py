"""Write the Colab editions, one notebook a protocol, from its step notebooks: make_colab.py [--check]

Chapters are steps. What a step notebook defines is imported from the installed package instead; its Settings cell becomes a
form whose fields, types, defaults and help are those of the step's `run` function, as on the command line."""

import ast
import builtins
import importlib
import json
import re
import symtable
import sys
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace

from cellprotocols.protocols import PROTOCOLS, STEPS, built_steps, read_options, read_takes, step_folder

ROOT = Path(__file__).resolve().parent.parent
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": [], "toc_visible": True},
    "kernelspec": {"display_name": "Python 3", "name": "python3"},
    "language_info": {"name": "python"},
}

OURS = {
    "your_data",
    "work",
    "in_work",
    "beside_data",
    "use_drive",
    "mirror",
}  # names that the cells before the first chapter set


def read_settings():
    "Where the project lives: `user`, `repo` and `tag` of settings.ini."
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    return ini["DEFAULT"]


def edition_url(protocol):
    s = read_settings()
    return f"https://colab.research.google.com/github/{s['user']}/{s['repo']}/blob/{s['tag']}/colab/{protocol}.ipynb"


def read_pins():
    return (ROOT / "colab" / "added.txt").read_text(encoding="utf-8").split()


def text_of(cell):
    return "".join(cell["source"])


def markdown(ident, text):
    return {"cell_type": "markdown", "id": ident, "metadata": {}, "source": text.strip("\n").splitlines(keepends=True)}


def code(ident, text):
    metadata = {"cellView": "form"} if text.startswith("#@title") else {}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": ident,
        "metadata": metadata,
        "outputs": [],
        "source": text.strip("\n").splitlines(keepends=True),
    }


# --- forms


def form_type(option):
    "What Colab shows for an option: a menu, a box to tick, a number or a text."
    if option.choices:
        return json.dumps(option.choices) + (" {allow-input: true}" if option.open else "")
    return '{type:"%s"}' % {bool: "boolean", float: "number", int: "integer", str: "string", dict: "raw"}[option.type]


def make_more():
    "The line of Settings for those options of `run` that have no line of their own."
    text = "other settings of `run` with their values, for example dict(axes='TCYX', px_um=0.33)"
    return SimpleNamespace(name="more", default={}, type=dict, choices=(), help=text)


def form_field(option, default):
    value = json.dumps(default, ensure_ascii=False) if isinstance(default, str) else repr(default)
    return f"#@markdown **{option.name}**: {option.help}\n{option.name} = {value} #@param {form_type(option)}"


def read_schema(source):
    "The options of `run` and, for a step that a person does, of the other functions of its notebook."
    found = read_options(source)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name != "run" and not node.name.startswith("_"):
            try:
                found += read_options(source, node.name)
            except (ValueError, AttributeError):
                pass  # an argument without a default or a type: not for settings
    return found


def read_settings_cell(cell, schema, where):
    "The options that a Settings cell sets: each must be in the schema, with the same default."
    chosen = []
    for node in ast.parse(text_of(cell)).body:
        target, value = node.targets[0], ast.literal_eval(node.value)
        for t, default in zip(target.elts, value) if isinstance(target, ast.Tuple) else [(target, value)]:
            named = [o for o in [*schema, make_more()] if o.name == t.id]
            if not named:
                raise SystemExit(f"{where}: Settings sets {t.id}, which is no argument of `run`")
            same = [o for o in named if o.default == default]
            if not same:
                raise SystemExit(f"{where}: Settings says {t.id} = {default!r}, `run` says {named[0].default!r}")
            chosen.append(same[0])
    return chosen


def make_form(protocol, step, cell):
    "A Settings cell as a form. Paths in the work folder are named by their last part; the rest is filled in below."
    source = (ROOT / "cellprotocols" / protocol / f"{step}.py").read_text(encoding="utf-8")
    takes, folder, home = read_takes(source), step_folder(protocol, step), f"work/{protocol}/"
    fields, below = [], []
    for o in read_settings_cell(cell, read_schema(source), f"{protocol}/{folder}"):
        if o.name == "source" and o.name not in takes:
            below.append("source = your_data or None")
            continue
        inside = o.name in takes or str(o.default).startswith(home)
        default = (
            step_folder(protocol, takes[o.name])
            if o.name in takes
            else o.default.removeprefix(home)
            if inside
            else o.default
        )
        fields.append(form_field(o, "" if default is None else default))
        if o.name == "source":
            last = step == STEPS[-1]  # what a report is about is there by then
            below.append("source = in_work(source)" + ("" if last else " if your_data else None"))
        elif inside:
            below.append(f"{o.name} = {'beside_data' if str(o.default).endswith('.jsonl') else 'in_work'}({o.name})")
        elif default is None:
            below.append(f"{o.name} = {o.name} or None")
    return "\n".join([f"#@title Settings of {folder.replace('_', ' ')}", *fields, *below])


# --- definitions become imports


def tables(table):
    yield table
    for child in table.get_children():
        yield from tables(child)


def used_names(text):
    "Names that a cell takes from outside its functions."
    top, *inner = tables(symtable.symtable(text, "cell", "exec"))
    return {s.get_name() for s in top.get_symbols() if s.is_referenced()} | {
        s.get_name() for t in inner for s in t.get_symbols() if s.is_global() and s.is_referenced()
    }


def bound_names(text):
    return {
        s.get_name()
        for s in symtable.symtable(text, "cell", "exec").get_symbols()
        if s.is_assigned() or s.is_imported()
    }


def find_imports(cells):
    "{name: the statement that imports it} for everything that these cells import."
    found = {}
    for node in (n for c in cells for n in ast.walk(ast.parse(text_of(c)))):
        if isinstance(node, ast.Import):
            found |= {a.asname or a.name.split(".")[0]: ("", a.name, a.asname) for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            for a in node.names:
                if a.name == "*":
                    found |= {n: (node.module, n, None) for n in importlib.import_module(node.module).__all__}
                else:
                    found[a.asname or a.name] = (node.module, a.name, a.asname)
    return found


def make_imports(names, module, cells):
    "Import statements for these names: from the module where it defines them, else as the notebook imports them."
    defines = {n for c in cells if is_exported(c) for n in bound_names(text_of(c)) - find_imports([c]).keys()}
    imported = find_imports(cells)
    lines, modules = set(), {}
    for name in sorted(names):
        if name in defines:
            modules.setdefault(module, []).append(name)
        elif name in imported:
            where, what, alias = imported[name]
            text = what + (f" as {alias}" if alias else "")
            if where:
                modules.setdefault(where, []).append(text)
            else:
                lines.add(f"import {text}")
        elif name not in {*dir(builtins), "display"}:
            raise SystemExit(f"{module}: a cell uses {name}, which only a hidden cell or an earlier run knows")
    return "\n".join([*sorted(lines), *(f"from {m} import {', '.join(n)}" for m, n in sorted(modules.items()))])


# --- chapters


def directives(cell):
    return {line[2:].split()[0] for line in text_of(cell).splitlines() if re.match(r"#\|\s*\w", line)}


def is_exported(cell):
    return bool(directives(cell) & {"export", "exporti", "exports"})


def only_tests(text):
    "Does a cell make values only to test them? They are of use where the function is defined."
    body = ast.parse(text).body
    test = [
        isinstance(n, ast.Expr)
        and isinstance(n.value, ast.Call)
        and getattr(n.value.func, "id", "").startswith("test_")
        for n in body
    ]
    return any(test) and all(t or isinstance(n, ast.Assign) for t, n in zip(test, body))


def wanted(cell):
    "Is this cell for the reader of an edition? In a cell marked `#| scripted` a scripted person presses the buttons."
    if cell["cell_type"] == "markdown":
        return not is_exported(cell)
    return not directives(cell) & {
        "export",
        "exporti",
        "exports",
        "hide",
        "default_exp",
        "eval:",
        "scripted",
    } and not only_tests(text_of(cell))


def empty_sections_out(cells):
    "Without headings that have nothing below them."

    def level(c):
        return len(m[0]) if c and c["cell_type"] == "markdown" and (m := re.match("#+(?= )", text_of(c))) else 9

    return [
        c
        for c, after in zip(cells, [*cells[1:], None])
        if "\n" in text_of(c).strip() or level(c) == 9 or level(after) > level(c)
    ]


def make_chapter(protocol, step):
    "The cells of one step."
    folder, module = step_folder(protocol, step), f"cellprotocols.{protocol}.{step}"
    cells = json.loads((ROOT / "nbs" / protocol / f"{folder}.ipynb").read_text(encoding="utf-8"))["cells"]
    coded, kept = [c for c in cells if c["cell_type"] == "code"], empty_sections_out([c for c in cells if wanted(c)])
    first = next(i for i, c in enumerate(kept) if c["cell_type"] == "code")
    if not text_of(kept[first - 1]).startswith("## Settings"):
        raise SystemExit(f"{protocol}/{folder}: the first cell to run is not below the heading Settings")
    form, known, missing = make_form(protocol, step, kept[first]), set(OURS), set()
    for text in [form, *(text_of(c) for c in kept[first + 1 :] if c["cell_type"] == "code")]:
        if clash := OURS & bound_names(text):
            raise SystemExit(f"{protocol}/{folder}: a cell sets {', '.join(clash)}, which the edition needs for itself")
        missing |= used_names(text) - bound_names(text) - known
        known |= bound_names(text)
    form += "\n" + make_imports(missing, module, coded)

    def edited(c):
        return form if c is kept[first] else re.sub(r"^#\|.*\n", "", text_of(c), flags=re.M)

    number = folder.split("_")[0]
    return [
        markdown(f"{number}-{c['id']}", text_of(c))
        if c["cell_type"] == "markdown"
        else code(f"{number}-{c['id']}", edited(c))
        for c in kept
    ]


# --- the edition


def make_edition(protocol):
    "The notebook of one protocol, as a dict."
    s, steps = read_settings(), built_steps(protocol)
    home, tag = f"github.com/{s['user']}/{s['repo']}", s["tag"]
    subtitle = {
        p: re.search(
            r"^> (.*)$",
            text_of(
                json.loads((ROOT / "nbs" / protocol / f"{step_folder(protocol, p)}.ipynb").read_text(encoding="utf-8"))[
                    "cells"
                ][0]
            ),
            re.M,
        )[1]
        for p in steps
    }
    top = [
        markdown(
            "title",
            f"""
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({edition_url(protocol)})

# {protocol}: {PROTOCOLS[protocol][0].lower() + PROTOCOLS[protocol][1:]}

Nothing to install on your computer. **Runtime > Run all** goes through all chapters on practice (synthetic) data; then
name your own data below and run all again.

| chapter | |
|---|---|
"""
            + "\n".join(f"| {step_folder(protocol, p).replace('_', ' ')} | {subtitle[p]} |" for p in steps)
            + f"""

Interrupted? Run all again: what is finished says so and is not done again, and training goes on at the step it had reached.

*Generated from [nbs/{protocol}](https://{home}/tree/{tag}/nbs/{protocol}), edit that. It installs version {tag} and was run on the versions in
[colab/constraints.txt](https://{home}/blob/{tag}/colab/constraints.txt).*""",
        ),
        code(
            "install",
            "#@title Install\n#@markdown One minute. What Colab brings along stays as it is.\n"
            f'!pip install -q --no-deps "{s["lib_name"]} @ git+https://{home}@{tag}" {" ".join(read_pins())}',
        ),
        code("doctor", "#@title Is this machine ready?\nfrom cellprotocols.doctor import doctor\ndoctor();"),
        markdown(
            "keep",
            """
## Keep your results
This machine forgets everything when it is taken away. Tick the box, and the folder `work` is copied to your Google Drive while
you work, unfinished training too; the next time it is brought back from there, and work goes on. The steps themselves work on
the fast disk of this machine. Without Drive, download what you need from the folder symbol on the left.""",
        ),
        code(
            "drive",
            """
#@title A copy on Google Drive
use_drive = False #@param {type:"boolean"}
#@markdown The folder in your Drive:
drive_folder = "cellprotocols" #@param {type:"string"}
#@markdown Seconds between two rounds of copying:
every = 60 #@param {type:"integer"}
from pathlib import Path
from cellprotocols.mirror import keep_copy
if use_drive:
    from google.colab import drive
    drive.mount(str(Path("drive").absolute()))
    mirror = keep_copy("work", Path("drive", "MyDrive", drive_folder), every)""".lstrip("\n"),
        ),
        markdown(
            "data",
            f"""
## Your data
Chapter {step_folder(protocol, steps[0])[:2]} says what it may be; there it is called `source`. Data in your Drive are at `drive/MyDrive/...`; drag small ones into the files
panel on the left. Left empty, every chapter practises on synthetic data.""",
        ),
        code(
            "your-data",
            f"""
#@title Your data
your_data = "" #@param {{type:"string"}}
#@markdown A name for the results; a new one for every data set and for every change of settings:
results = "my_{protocol}" #@param {{type:"string"}}
work = f"work/{{results}}" if your_data else "work/{protocol}/practice"
def in_work(folder): return str(Path(work, folder)) if folder else ""
def beside_data(log): # labels outlast a name for results
    return str(Path("work/labels", Path(your_data).stem or "{protocol}_practice", log)) if log else ""
print(f"Results go to {{work}}")""".lstrip("\n"),
        ),
    ]
    end = [
        markdown("end", "# Keep it\nThe last round of copying, if you use Drive."),
        code(
            "copy",
            """
if use_drive:
    mirror.copy()
    if mirror.reached: print("All is in your Drive.")
    else: print("Your Drive cannot be reached: run this cell again before you leave.")""".lstrip("\n"),
        ),
    ]
    cells = [*top, *(c for p in steps for c in make_chapter(protocol, p)), *end]
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def make_readme():
    "README.md with the badges leading to where settings.ini says."
    return re.sub(
        r"https://colab\.research\.google\.com/github/\S+?/(\w+)\.ipynb",
        lambda m: edition_url(m[1]),
        (ROOT / "README.md").read_text(encoding="utf-8"),
    )


def make_all():
    "{file: text} of every edition, and of README.md."
    return {
        ROOT / "README.md": make_readme(),
        **{
            ROOT / "colab" / f"{p}.ipynb": json.dumps(make_edition(p), indent=1, ensure_ascii=False, sort_keys=True)
            + "\n"
            for p in PROTOCOLS
            if built_steps(p)
        },
    }


def main():
    made, there = (
        make_all(),
        {p: p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *(ROOT / "colab").glob("*.ipynb")]},
    )
    stale = sorted(p.name for p in made.keys() | there.keys() if made.get(p) != there.get(p))
    if "--check" in sys.argv:
        if stale:
            print(
                "These are not what the notebooks and settings.ini give; run `make export` and commit:",
                *stale,
                sep="\n  ",
            )
        sys.exit(bool(stale))
    for p in there.keys() - made.keys():
        p.unlink()
    for p, text in made.items():
        p.write_text(text, encoding="utf-8")
    print(
        f"{', '.join(p.name for p in sorted(made))}"
        + (f"; changed: {', '.join(stale)}" if stale else ", nothing changed")
    )


if __name__ == "__main__":
    main()
