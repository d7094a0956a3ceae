"""The annotators in a real browser: from a key to the next patch, labels a second, ten thousand patches, long movies.

    python benchmarks/bench_annotate.py [--front lab] [--frames 2000] [--keys 300]

JupyterLab (or voila, widgets7) runs a notebook as for a person; Chromium without a window types. Times are taken in the
page: from the time stamp of the key event to the frame after the one in which the next patch, or the movie's frame,
stands on its canvas. Aims: 50 ms at the median from a key to the next patch; a movie of 2,000 frames of 1024 x 1024 px,
16 bit, opens in 2 s and steps a frame in 100 ms. The movies are written to a temporary
folder; a compressed one repeats eight frames. Prints lines for docs/performance.md.
"""

import argparse, json, os, sys, tempfile, time, zlib
from pathlib import Path

import numpy as np, tifffile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import browser as B

SETUP = """
import json, time, numpy as np
from pathlib import Path
from cellprotocols.grid import PatchGrid
from cellprotocols.points import PointAnnotator
start = time.perf_counter()
"""
GRID = (
    SETUP
    + """
some = np.random.default_rng(0).integers(0, 255, (200, 64, 64), np.uint8)
class Many:
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return some[i % 200]
w = PatchGrid(Many(N), [f"cell_{i:05}" for i in range(N)], ["A", "B", "C", "D", "E"], "grid-N.jsonl", by="bench")
Path("made.json").write_text(json.dumps(time.perf_counter() - start)); w
"""
)
MOVIE = (
    SETUP
    + """
w = PointAnnotator(MOVIE, ["A", "B"], "points.jsonl", by="bench", snap=False)
Path("made.json").write_text(json.dumps(time.perf_counter() - start)); w
"""
)
WATCH = """() => { // how long after `.cp` is there something is drawn
  const began = new MutationObserver(() => { const cp = document.querySelector('.cp'); if (!cp) return;
    began.disconnect(); const t0 = performance.now();
    const look = () => cp.querySelectorAll('.cp-drawn').length > 20 || cp.dataset.frame !== undefined
      ? requestAnimationFrame(() => { window.opened = performance.now() - t0; })
      : requestAnimationFrame(look); look(); });
  began.observe(document, { childList: true, subtree: true }); }"""
KEYS = """() => { window.took = []; const cp = document.querySelector('.cp'),
  state = () => cp.dataset.frame ?? cp.getAttribute('aria-activedescendant');
  document.addEventListener('keydown', e => { const was = state(),
    drawn = () => cp.dataset.frame !== undefined || cp.querySelector('.cp-at.cp-drawn');
    const look = () => state() !== was && drawn()
      ? requestAnimationFrame(() => window.took.push(performance.now() - e.timeStamp)) : requestAnimationFrame(look);
    requestAnimationFrame(look); }, true); }"""
JUMP = """async t => {
  const cp = document.querySelector('.cp'), slide = cp.querySelector('.cp-time input'), t0 = performance.now();
  slide.value = t; slide.dispatchEvent(new Event('input', { bubbles: true }));
  while (cp.dataset.frame !== String(t)) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame); return performance.now() - t0; }"""
SCROLL = """async () => { const s = document.querySelector('.cp-scroll'), t = []; let last = performance.now();
  for (let k = 0; k < 200; k++) { s.scrollTop += 200; await new Promise(requestAnimationFrame);
    const now = performance.now(); t.push(now - last); last = now; } return t; }"""


def tell(ms):
    return f"median {np.median(ms):.0f} ms, 95 % within {np.percentile(ms, 95):.0f} ms"


def line(*cells):
    print("| " + " | ".join(cells) + " | `bench_annotate.py` |", flush=True)


def write_movie(path, n, size=1024, compressed=True):
    "A 16-bit movie of smooth cells with a little noise."
    yy, xx = np.mgrid[:size, :size]
    rng = np.random.default_rng(0)
    kinds = [
        (2000 + 1500 * np.sin(xx / 40 + k) * np.sin(yy / 35) + rng.integers(0, 8, (size, size))).astype("<u2")
        for k in range(8)
    ]
    more = dict(shape=(n, size, size), dtype="uint16", bigtiff=True, metadata=dict(axes="TYX"), rowsperstrip=size)
    packed = [zlib.compress(k.tobytes(), 6) for k in kinds] if compressed else kinds
    tifffile.imwrite(
        path, (packed[t % 8] for t in range(n)), **more, **(dict(compression="zlib") if compressed else {})
    )


def open_(front, page, code):
    "Seconds in Python and in the page until something is drawn; a key before each counts as the person's start."
    B.make_notebook(front.folder / "bench.ipynb", [code])
    page.add_init_script(f"({WATCH})()")
    front.open_notebook(page, "bench.ipynb", ".cp")
    page.wait_for_function("window.opened")
    return json.loads((front.folder / "made.json").read_text()), page.evaluate("window.opened") / 1000


def press(page, keys, pause):
    page.evaluate(KEYS)
    page.locator(".cp").focus()
    for k in keys:
        page.keyboard.press(k)
        page.wait_for_timeout(pause)
    page.wait_for_function(f"window.took.length >= {len(keys)}")
    return page.evaluate("window.took")


def bench_grid(front, new_page, keys):
    page = new_page()
    made, shown = open_(front, page, GRID.replace("N)", "2000)").replace("grid-N", "grid-2000"))
    rng = np.random.default_rng(0)
    line(
        "a key to the next patch on the screen (grid of 2,000, 64 x 64 px)",
        tell(press(page, rng.choice(list("12345"), keys).tolist(), 100)),
        "median under 50 ms",
    )
    typed = rng.choice(list("12345"), 1000).tolist()
    start = time.perf_counter()
    for k in typed:
        page.keyboard.press(k)
    fast = time.perf_counter() - start
    page.wait_for_selector('.cp[data-pending="0"]', timeout=300_000)
    slow = time.perf_counter() - start
    log = [json.loads(l) for l in (front.folder / "grid-2000.jsonl").read_text().splitlines()][1:][-1000:]
    assert [e["label"] for e in log] == ["ABCDE"[int(k) - 1] for k in typed]
    line(
        "1,000 labels as fast as the browser takes keys",
        f"typed at {1000 / fast:.0f} a second, all on disk, in order, at {1000 / slow:.0f} a second",
        "none lost",
    )
    page.close()
    front.end_kernels()
    page = new_page()
    made, shown = open_(front, page, GRID.replace("N)", "10000)").replace("grid-N", "grid-10000"))
    frames = page.evaluate(SCROLL)
    line(
        "a grid of 10,000 patches",
        f"made in {made:.2f} s, first patches {shown:.2f} s after the widget is there; "
        f"scrolling: {tell(frames)} a frame",
        "smooth",
    )
    page.close()
    front.end_kernels()


def bench_write(folder):
    from cellprotocols.grid import PatchGrid

    for n, sync in ((2000, True), (2000, False)):
        grid = PatchGrid(
            np.zeros((n, 8, 8), np.uint8), [f"i{k}" for k in range(n)], ["A"], folder / f"rate-{sync}.jsonl", by="bench"
        )
        real = os.fsync
        if not sync:
            os.fsync = lambda fd: None
        start = time.perf_counter()
        for k in range(1000):
            grid.answer(dict(do="give", act=f"a{k}", entries=[dict(item=f"i{k}", label="A")]))
        os.fsync = real
        line(
            "labels that Python can take" + ("" if sync else ", were the disk without delay"),
            f"{1000 / (time.perf_counter() - start):.0f} a second",
            "faster than a hand",
        )


def bench_movie(front, new_page, n, compressed):
    path = front.folder / f"movie-{n}.tif"
    write_movie(path, n, compressed=compressed)
    page = new_page()
    made, shown = open_(front, page, MOVIE.replace("MOVIE", repr(path.name)))
    steps = press(page, ["ArrowRight"] * 60, 250)
    rng = np.random.default_rng(0)
    jumps = [page.evaluate(JUMP, int(t)) for t in rng.choice(np.arange(100, n), 40, replace=False)]
    kind, size = "zlib" if compressed else "uncompressed", path.stat().st_size / 1e9
    name = f"a movie of {n:,} frames, 1024 x 1024 px, 16 bit, {kind}, {size:.1f} GB"
    line(
        name + ": opening",
        f"{made + shown:.2f} s ({made:.2f} s in Python, then {shown:.2f} s to the first frame)",
        "under 2 s",
    )
    line("... a step to the next frame", tell(steps), "under 100 ms")
    line("... a jump anywhere", tell(jumps), "")
    page.close()
    front.end_kernels()
    path.unlink()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--front", default="lab")
    p.add_argument("--frames", type=int, default=2000)
    p.add_argument("--keys", type=int, default=300)
    a = p.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as d, sync_playwright() as play:
        front = B.start(a.front, d)
        chromium = play.chromium.launch(executable_path="/usr/bin/chromium", args=B.CHROMIUM)
        try:
            new_page = lambda: B.watch(chromium.new_page(viewport=dict(width=1280, height=900)))
            print(
                f"Load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; "
                f"front end: {a.front}\n\n| what | measured | aim | script |\n|---|---|---|---|"
            )
            bench_grid(front, new_page, a.keys)
            bench_write(Path(d))
            bench_movie(front, new_page, a.frames, True)
            bench_movie(front, new_page, 200, False)
            print(f"\nLoad at the end: {os.getloadavg()[0]:.1f}")
        finally:
            front.stop()
            chromium.close()


if __name__ == "__main__":
    main()
