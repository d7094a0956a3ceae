"Strips for the index: pictures that step notebooks keep, side by side: make_strips.py"

import base64
import io
import json
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
HEIGHT, GAP = 330, 24  # px
STRIPS = {  # protocol: step notebook, which of its pictures
    "cell_lines": [("12_patches", 0), ("14_train", 0), ("16_visualize", 0)],
    "strings": [("32_patches", 0), ("34_train", 0)],
    "organelles": [("42_patches", 0), ("45_infer", 0), ("44_train", 0)],
}

FIVE = [  # protocol: step notebook, which of its pictures, the share of its width that is shown; what data it shows
    ("cell_lines", "15_infer", 0, 1.0, "synthetic dish, time-lapse"),
    ("chromatin", "25_infer", 0, 1.0, "synthetic movie of nuclei"),
    ("strings", "35_infer", 0, 1 / 3, "synthetic embryo"),
    ("organelles", "45_infer", 0, 1.0, "synthetic field, four stains"),
    ("artifacts", "55_infer", 0, 2 / 3, "synthetic brightfield field"),
]


def read_pictures(notebook):
    "All stored pictures of a notebook, in order."
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    found = [data for o in outputs for kind, data in o.items() if kind.startswith("image/")]
    return [Image.open(io.BytesIO(base64.b64decode("".join(data)))).convert("RGB") for data in found]


def make_strip(protocol):
    "The pictures of one protocol at one height."
    chosen = [read_pictures(ROOT / "nbs" / protocol / f"{name}.ipynb")[k] for name, k in STRIPS[protocol]]
    chosen = [p.resize((round(p.width * HEIGHT / p.height), HEIGHT), Image.Resampling.LANCZOS) for p in chosen]
    strip = Image.new("RGB", (sum(p.width for p in chosen) + GAP * (len(chosen) - 1), HEIGHT + 2 * GAP), "white")
    x = 0
    for p in chosen:
        strip.paste(p, (x, 0))
        x += p.width + GAP
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 14)
    said = "Practice (synthetic) data, made by the notebooks. Your numbers will differ."
    ImageDraw.Draw(strip).text((8, HEIGHT + GAP / 2), said, "#555555", font)
    return strip


def make_five():
    "A picture of each protocol, with its name above and its data below."
    panels = []
    for protocol, step, k, share, data in FIVE:
        p = read_pictures(ROOT / "nbs" / protocol / f"{step}.ipynb")[k]
        p = p.crop((0, 0, round(p.width * share), p.height))
        panels.append(
            (p.resize((round(p.width * HEIGHT / p.height), HEIGHT), Image.Resampling.LANCZOS), protocol, data)
        )
    width = sum(p.width for p, *_ in panels) + GAP * (len(panels) - 1)
    strip, x = Image.new("RGB", (width, HEIGHT + 4 * GAP), "white"), 0
    large, small = (ImageFont.truetype(font_manager.findfont("DejaVu Sans"), n) for n in (24, 18))
    for p, protocol, data in panels:
        strip.paste(p, (x, 2 * GAP))
        ImageDraw.Draw(strip).text((x + 4, GAP / 2), protocol, "#1f5f99", large)
        ImageDraw.Draw(strip).text((x + 4, HEIGHT + 2 * GAP + 6), data, "#555555", small)
        x += p.width + GAP
    return strip


if __name__ == "__main__":
    make_five().quantize(200, dither=Image.Dither.NONE).save(ROOT / "docs" / "pictures" / "five.png", optimize=True)
    for protocol in STRIPS:
        strip = make_strip(protocol).quantize(200, dither=Image.Dither.NONE)
        strip.save(ROOT / "docs" / "pictures" / f"{protocol}.png", optimize=True)
