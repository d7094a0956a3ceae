"""The map of cells in a browser: what a frame takes while it is moved, until it shows, until the page is written.

python benchmarks/bench_explore.py [cells ...]
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from cellprotocols.mappage import write_explorer_html
from cellprotocols.synth import make_patches

# Between the first and the last callback of a frame lies the drawing of that frame. The map is dragged in a circle.
PAN = """frames => new Promise(done => {
  const map = document.querySelector('.cp-points'), r = map.getBoundingClientRect(), took = [], apart = [];
  const send = (type, x, y) => map.dispatchEvent(new PointerEvent(type,
    { pointerId: 1, clientX: r.left + x, clientY: r.top + y, bubbles: true, button: 0 }));
  map.setPointerCapture = () => {};
  send('pointerdown', 300, 300);
  let k = 0, last = 0;
  const step = now => {
    let t = 0;
    if (last) apart.push(now - last);
    last = now;
    requestAnimationFrame(() => { t = performance.now(); });
    send('pointermove', 300 + 60 * Math.sin(k / 8), 300 + 40 * Math.cos(k / 8));
    requestAnimationFrame(() => took.push(performance.now() - t));
    if (++k < frames) requestAnimationFrame(step);
    else { send('pointerup', 300, 300); setTimeout(() => done([took, apart]), 100); }
  };
  requestAnimationFrame(step);
})"""
HOVER = """n => {
  const map = document.querySelector('.cp-points'), r = map.getBoundingClientRect(), t = performance.now();
  for (let k = 0; k < n; k++) map.dispatchEvent(new PointerEvent('pointermove',
    { pointerId: 1, clientX: r.left + r.width * ((k * 0.618) % 1),
      clientY: r.top + r.height * ((k * 0.382) % 1), bubbles: true }));
  return (performance.now() - t) / n;
}"""


def make_page(n, path):
    patches, states, groups = make_patches(100, size=64, seed=0)
    rng = np.random.default_rng(0)
    which = rng.integers(0, len(patches), n)
    states = np.asarray(states, object)
    classes = sorted(set(states))
    middle = {c: [4 * np.cos(1.25 * k), 4 * np.sin(1.25 * k)] for k, c in enumerate(classes)}
    xy = np.array([middle[c] for c in states[which]]) + rng.normal(size=(n, 2))
    t = time.perf_counter()
    write_explorer_html(
        path,
        xy,
        [f"cell_{i:06}" for i in range(n)],
        states[which],
        patches[which],
        classes=classes,
        groups=np.asarray(groups)[which],
        time=which,
        title="Practice cells",
        max_mb=12,
    )
    return time.perf_counter() - t


def main(*sizes):
    print(
        "1280 x 720, one device pixel a CSS pixel, no graphics card\n\n"
        "| cells | page | written in | shown after | drawing a frame: median | 95 % | frames apart: median | hover |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        for n in sizes:
            path = Path(folder) / f"{n}.html"
            wrote = make_page(n, path)
            page = browser.new_page(viewport=dict(width=1280, height=720))
            t = time.perf_counter()
            page.goto(path.as_uri())
            page.locator(".cp-entry").first.wait_for()
            shown = time.perf_counter() - t
            page.wait_for_timeout(500)
            took, apart = page.evaluate(PAN, 180)
            hover = page.evaluate(HOVER, 500)
            print(
                f"| {n:,} | {path.stat().st_size / 1e6:.1f} MB | {wrote:.1f} s | {shown:.2f} s "
                f"| {np.median(took):.1f} ms | {np.percentile(took, 95):.1f} ms "
                f"| {np.median(apart):.1f} ms | {hover:.2f} ms |",
                flush=True,
            )
            page.close()
        browser.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or (1000, 10_000, 50_000)))
