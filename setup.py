"Reads settings.ini, the one home of name, version, requirements and extras, and hands it to setuptools."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]


def lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


# `ini["extras"]` also shows the DEFAULT section's keys: keep only its own.
extras = {k: lines(v) for k, v in ini["extras"].items() if k not in ini.defaults()}


class WithNotebooks(build_py):
    "The package, and the notebook of each step beside its modules."

    def run(self):
        super().run()
        if self.editable_mode:
            return  # they are read where they lie
        for book in sorted(here.glob("nbs/*/[1-9][1-9]_*.ipynb")):
            self.copy_file(str(book), self._to(book))

    def _to(self, book):
        to = Path(self.build_lib) / "cellprotocols" / "notebooks" / book.parent.name
        self.mkpath(str(to))
        return str(to / book.name)


setup(
    cmdclass={"build_py": WithNotebooks},
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license=cfg["license"],
    keywords=cfg["keywords"].split(),
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=["cellprotocols", "cellprotocols.*"]),
    include_package_data=True,
    package_data={"cellprotocols": ["py.typed", "static/*"]},
    install_requires=lines(cfg["requirements"]),
    extras_require=extras,
    entry_points={"console_scripts": lines(cfg["console_scripts"])},
    zip_safe=False,
)
