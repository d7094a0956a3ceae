"A small set of each protocol, and its steps on it, quick: for tests that run steps again and again."

import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from cellprotocols.protocols import step_folder

STEPS = ("annotate", "patches", "selfsupervise", "train", "infer")
QUICK = {
    ("cell_lines", "patches"): dict(size=64, n=4),
    ("cell_lines", "selfsupervise"): dict(encoder="measured"),
    ("chromatin", "selfsupervise"): dict(map_method="pca"),
    ("chromatin", "train"): dict(model="probe", folds=2),
    ("strings", "patches"): dict(most=40),
    ("strings", "selfsupervise"): dict(side=192, epochs=1, ae_size=64),
    ("strings", "train"): dict(epochs=2),
    ("organelles", "patches"): dict(size=48),
    ("organelles", "selfsupervise"): dict(wide=24.0),
    ("artifacts", "train"): dict(net="regnetx_002", mask_epochs=1, crops=16, crop=64),
}


def make_cells(folder, shuffled=False, n=48, side=24):
    "Three classes in four slides; with `shuffled` the classes are names only."
    rng = np.random.default_rng(0)
    for i in range(n):
        k, slide = i % 3, i // 3 % 4
        seen = int(rng.integers(3)) if shuffled else k
        disc = np.hypot(*(np.mgrid[:side, :side] - side / 2)) < side * (0.2 + 0.06 * seen)
        img = np.clip(rng.normal(30 + 120 * disc, 9), 0, 255).astype(np.uint8)
        path = folder / "ABC"[k] / f"slide{slide}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(img).save(path)


def make_fields(folder):
    "Dirty fields of four wells without a label."
    from cellprotocols.synth_dirt import make_dirty_field

    folder.mkdir(parents=True)
    for w in range(4):
        field = make_dirty_field((160, 192), seed=w, dirt=2.0).image[..., 0]
        tifffile.imwrite(folder / f"r02c{w + 2:02}f1p01-ch1sk1fk1fl1.tiff", field)


def make_films(folder):
    from test_own_data import write_films

    write_films(folder)


def make_embryos(folder):
    from cellprotocols.synth_embryos import make_embryo_set

    make_embryo_set(folder, 6, 3, 160, contrast=0.25)
    (folder / "practice.txt").unlink()


def make_stains(folder):
    from cellprotocols.synth_organelles import make_organelle_set, write_organelle_set

    write_organelle_set(folder, *make_organelle_set(6, 1, (160, 200), (0, 14, 16), seed=3))
    shutil.rmtree(folder / "truth")
    (folder / "practice.txt").unlink()


MAKE = dict(
    cell_lines=make_films, chromatin=make_cells, strings=make_embryos, organelles=make_stains, artifacts=make_fields
)


def list_steps(protocol):
    "Those that later steps need."
    return [s for s in STEPS if (protocol, s) != ("artifacts", "selfsupervise")]


def list_paths(protocol, step):
    "What the step reads and writes, in a folder that holds `images` and the results of earlier steps."
    takes = getattr(import_module(f"cellprotocols.{protocol}.{step}"), "takes", {})
    given = {k: step_folder(protocol, before) for k, before in takes.items()} or dict(source="images")
    return given | dict(out=step_folder(protocol, step))


def to_words(protocol, step):
    "The step as a command line, in that folder."
    options = list_paths(protocol, step) | QUICK.get((protocol, step), {})
    return [protocol, step, *(w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", str(v)))]


def run_step(protocol, step, home, name="", **more):
    "One step in `home`; its result is called as usual, or `name`."
    paths = list_paths(protocol, step) | (dict(out=name) if name else {})
    paths = {k: str(Path(home) / v) for k, v in paths.items()}
    return import_module(f"cellprotocols.{protocol}.{step}").run(**paths, **QUICK.get((protocol, step), {}), **more)
