"""Take the pictures of the widgets that README and the notebooks show: make_widget_pictures.py [folder]

A scripted person labels practice (synthetic) data in a real browser."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from browser import CHROMIUM, Bare, watch  # noqa: E402

from cellprotocols.drawing import BoxAnnotator, MaskAnnotator
from cellprotocols.fields import ImageAnnotator
from cellprotocols.grid import PatchGrid
from cellprotocols.points import PointAnnotator  # noqa: E402
from cellprotocols.maps import train_pca, to_map  # noqa: E402
from cellprotocols.explore import Explorer  # noqa: E402
from cellprotocols.features import measure_cells  # noqa: E402
from cellprotocols.synth import STATES, make_movie, make_patches  # noqa: E402


def widgets(folder):
    "Name -> a widget half way through its work."
    movie = make_movie(n_frames=40, seed=3, division_rate=8.0)
    points = PointAnnotator(movie, STATES, folder / "points.jsonl", names=["practice"], by="anna", target=60)
    for t in (0, 12, 25):
        for c in movie.cells[movie.cells.t == t].head(14).itertuples():
            points.click(c.y, c.x, c.state, t=t)
    yield "points", points, lambda page: page.keyboard.press("n")

    patches, states, _ = make_patches(n=60, seed=1)
    x = measure_cells(patches, np.ones(patches.shape[:3], bool))[0]
    x = train_pca(x, 30, scale=True).transform(x)
    items, groups = [f"cell_{i:03}" for i in range(len(patches))], [f"movie {i % 5}" for i in range(len(patches))]
    grid = PatchGrid(
        patches, items, STATES, folder / "grid.jsonl", embeddings=x, groups=groups, by="anna", target=20, px_um=0.33
    )
    for _ in range(4):
        for row in grid.order("next", "unlabelled")[:10]:
            grid.label(items[row], states[row])
        grid.learn()
    yield "grid", grid, lambda page: page.locator("select").nth(1).select_option("all")

    explorer = Explorer(
        patches,
        items,
        to_map(x, "pca"),
        STATES,
        folder / "grid.jsonl",
        labels=list(states),
        groups=groups,
        embeddings=x,
        by="anna",
        colour="label",
    )
    yield "explore", explorer, lambda page: page.mouse.move(380, 330)

    boxes = BoxAnnotator(movie, ["dividing", "resting"], folder / "boxes.jsonl", names=["practice"], by="anna")
    for c in movie.cells[movie.cells.t == 0].head(9).itertuples():
        boxes.draw((c.y - 16, c.x - 18, c.y + 16, c.x + 18), "dividing" if c.state != "Interphase" else "resting")
    yield "boxes", boxes, lambda page: None

    masks = MaskAnnotator(movie, ["crystal", "fibre"], folder / "masks.jsonl", names=["practice"], by="anna")
    masks.paint([(70, 20), (90, 120), (60, 200), (75, 240)], "fibre", radius=3)
    masks.paint([(120, 40), (115, 90), (160, 75), (165, 50)], "crystal", fill=True)
    masks.paint([(190, 180)], "crystal", radius=14)
    yield "masks", masks, lambda page: None

    images = ImageAnnotator(
        [movie.frames[k] for k in range(6)],
        ["clean", "artifact"],
        folder / "images.jsonl",
        names=[f"field {k}" for k in range(6)],
        by="anna",
        target=10,
    )
    images.label("field 0", "clean")
    yield "images", images, lambda page: None


def main(out):
    folder = Path(tempfile.mkdtemp())
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        for name, widget, then in widgets(folder):
            page = watch(browser.new_page(viewport=dict(width=1100, height=640)))
            Bare(page, widget)
            page.wait_for_timeout(1500)
            page.locator(".cp").focus()
            then(page)
            page.wait_for_timeout(2500)
            path = out / f"annotate_{name}.webp"
            Image.open(io.BytesIO(page.locator(".cp").screenshot())).convert("RGB").save(path, quality=86, method=6)
            print(name, f"{path.stat().st_size / 1000:.0f} kB", *page.errors)
            page.close()
        browser.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures")
