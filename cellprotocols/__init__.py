"""Step-wise protocols for microscopists who have images, few labels and no time: notebooks, a library and a command line."""

from importlib.metadata import PackageNotFoundError, version

try: __version__ = version("cellprotocols")
except PackageNotFoundError: __version__ = "0+source"  # used from a checkout that is not installed
