"help() says what is written beside arguments; Tab finds the tools; neither costs an import."

import inspect
import subprocess
import sys

import cellprotocols
from cellprotocols.docstrings import read_arguments, read_fields


def printed(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_tab_finds_tools_and_protocols_without_importing_them():
    out = printed("import cellprotocols, sys; print(*dir(cellprotocols)); print(*sys.modules)")
    names, modules = (line.split() for line in out.splitlines())
    assert {"patches", "images", "metrics", "chromatin", "artifacts", "train"} <= set(names)
    assert not {"numpy", "torch", "pandas", "cellprotocols.patches"} & set(modules)
    assert printed(
        "import cellprotocols as c; print(c.split.__name__, c.chromatin.patches.__name__, dir(c.chromatin))"
    ) == (
        "cellprotocols.split cellprotocols.chromatin.patches "
        "['annotate', 'infer', 'patches', 'selfsupervise', 'train', 'visualize']\n"
    )
    for name in ("nonsense", "_private", "chromatin.nonsense"):
        try:
            eval_path(name)
        except AttributeError as e:
            assert "has no" in str(e) and "train" in str(e)
        else:
            raise AssertionError(name)


def eval_path(name):
    found = cellprotocols
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_help_shows_the_comments_beside_the_arguments():
    out = printed("from cellprotocols.patches import cut_patches; help(cut_patches)")
    assert "Cut one square patch around each point." in out and "(N, 2) as (row, col), px" in out
    assert out.index("img ") < out.index("yx ") < out.index("returns ")


def test_every_commented_argument_of_every_tool_is_in_its_help():
    "Each name that `help` explains is an argument; each comment in a head is explained."
    from cellprotocols import boxes, patches, split, steps, train

    seen = 0
    for module in (boxes, patches, split, steps, train):
        for f in vars(module).values():
            if not inspect.isfunction(f) or f.__module__ != module.__name__ or f.__name__.startswith("_"):
                continue
            told = read_arguments(inspect.getsource(inspect.unwrap(f)).splitlines())
            told = {k.lstrip("*"): v for k, v in told.items()}
            assert told.keys() - {"returns"} <= inspect.signature(f).parameters.keys(), f
            for name, text in told.items():
                assert f" {name}" in f.__doc__ and text in f.__doc__, (f, name)
            seen += len(told)
    assert seen > 150


def test_methods_and_named_tuples_are_explained_too():
    from cellprotocols.doctor import Finding
    from cellprotocols.errors import UserError

    assert "the exact line that mends it" in Finding.__doc__.lower()
    assert "What was found, in plain words" in UserError.__init__.__doc__


def test_odd_heads():
    head = [
        'def f(a, b:str="(#", # A text',
        "    *rest:int, # More",
        "    c=dict(x=1), # Other",
        ") -> x: # All",
        "    d:int, # no",
    ]
    assert read_arguments(head) == {"*rest": "More", "c": "Other", "returns": "All"}
    assert read_arguments(["def f(x): return x # what came"]) == {}
    assert read_fields(["class A:", '    "Text."', "    y:int # One", "    def f(self, # no", "z:int # no"]) == {
        "y": "One"
    }


def test_the_wheel_says_that_types_are_written_down():
    from pathlib import Path

    root = Path(cellprotocols.__file__).parent
    assert (root / "py.typed").is_file()
    setup = root.parent / "setup.py"
    if setup.exists():
        assert "py.typed" in setup.read_text(encoding="utf-8")
