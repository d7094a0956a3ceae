"""Step-wise protocols for microscopists who have images, few labels and no time: notebooks, a library and a command line."""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path


def _open_lazily(package, folder):
    "`__getattr__` and `__dir__` of a package: its modules are seen by the Tab key and imported when they are asked for."

    def names():
        found = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/__init__.py")}
        return sorted(name for name in found if not name.startswith("_"))

    def get(name):
        if name in names():
            return import_module(f"{package}.{name}")
        raise AttributeError(f"{package} has no {name!r}; there are {', '.join(names())}")

    return get, names


class _Finder:
    "Finds modules of this package; the comments beside their arguments go into their docstrings, for `help()`."

    @staticmethod
    def find_spec(name, path=None, target=None):
        own = name.startswith("cellprotocols.") and name != "cellprotocols.docstrings"
        spec = PathFinder.find_spec(name, path, target) if own else None
        if not spec or not spec.origin or not spec.origin.endswith(".py"):
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            if spec.submodule_search_locations:
                module.__getattr__, module.__dir__ = _open_lazily(name, Path(spec.origin).parent)
                return
            from cellprotocols.docstrings import write_docstrings

            write_docstrings(module)

        spec.loader.exec_module = exec_module
        return spec


_get, __dir__ = _open_lazily("cellprotocols", Path(__file__).parent)


def __getattr__(name):
    if name != "__version__":
        return _get(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("cellprotocols")
    except PackageNotFoundError:
        return "0+source"  # used from a checkout that is not installed


sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__qualname__", "") != "_Finder"]  # of an earlier import
sys.meta_path.insert(0, _Finder)
