"Reads settings.ini, the one home of name, version, requirements and extras, and hands it to setuptools."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]


def lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


# `ini["extras"]` also shows the DEFAULT section's keys: keep only its own.
extras = {k: lines(v) for k, v in ini["extras"].items() if k not in ini.defaults()}

setup(
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
