"The harness itself: a throw-away widget goes through all that the annotators need, on every front end."

import json

import pytest
from browser import make_notebook

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

WIDGET = '''
import json, os
from pathlib import Path
import anywidget, traitlets

class Clicks(anywidget.AnyWidget):
    _esm = """
    function render({ model, el }) {
      el.classList.add("clicks"); el.tabIndex = 0;
      el.setAttribute("data-lm-suppress-shortcuts", "true"); // or JupyterLab takes the keys: x cuts the cell
      el.innerHTML = "<button>click</button> <span></span> <b></b>";
      const bytes = new Uint8Array(100000).map((_, i) => i % 251);
      const show = () => el.querySelector("span").textContent = model.get("n") + " on disk";
      const send = () => model.send({ kind: "click" }, undefined, [bytes.buffer]);
      el.querySelector("button").onclick = send;
      el.onkeydown = e => { e.stopPropagation(); e.preventDefault(); send(); };   // or the classic notebook takes them
      model.on("msg:custom", (msg, [b]) => {
        const back = new Uint8Array(b.buffer, b.byteOffset, b.byteLength).reverse();
        el.querySelector("b").textContent = msg.kind + " " + back.length + " " + back.every((x, i) => x == bytes[i]);
      });
      model.on("change:n", show); show();
    }
    export default { render };
    //""" + "x" * 100_000
    n = traitlets.Int().tag(sync=True)
    def __init__(self, file):
        self.file = Path(file)
        super().__init__(n=len(self.file.read_text().splitlines()) if self.file.exists() else 0)
        self.on_msg(self._clicked)
    def _clicked(self, _, content, buffers):
        with self.file.open("a") as f:
            f.write(json.dumps(dict(kind=content["kind"], bytes=len(buffers[0]))) + "\\n")
            f.flush(); os.fsync(f.fileno())
        self.n += 1
        self.send(dict(kind="saved"), [bytes(buffers[0])[::-1]])
'''


@pytest.mark.browser
def test_a_widget_keeps_what_was_clicked(front_end, page):
    make_notebook(front_end.folder / "clicks.ipynb", ["import cellprotocols.dataset", WIDGET, "Clicks('clicks.jsonl')"])
    log = front_end.folder / "clicks.jsonl"
    n, back = page.locator(".clicks span"), page.locator(".clicks b")

    def on_disk(count):
        expect(n).to_have_text(f"{count} on disk")
        assert [json.loads(line) for line in log.read_text().splitlines()] == [dict(kind="click", bytes=100000)] * count

    def click():
        page.locator(".clicks button").click()
        expect(back).to_have_text("saved 100000 true")

    front_end.open_notebook(page, "clicks.ipynb", ".clicks")
    expect(n).to_have_text("0 on disk")
    click()
    on_disk(1)
    front_end.reload(page, ".clicks")
    expect(n).to_have_text("1 on disk")
    for key in "x1dd":  # keys that notebooks know, too
        page.locator(".clicks").focus()
        page.keyboard.press(key)
    on_disk(5)
    front_end.kill_kernel(page)
    front_end.run_all(page, ".clicks")
    expect(n).to_have_text("5 on disk")
    click()
    on_disk(6)
    front_end.shot(page, "harness")
    assert not front_end.complaints(page)


@pytest.mark.browser
def test_an_error_in_a_cell_is_told(front_end, page):
    make_notebook(front_end.folder / "wrong.ipynb", ["1 + 1", "raise ValueError('seven of nine')"])
    with pytest.raises(AssertionError, match="seven of nine"):
        front_end.open_notebook(page, "wrong.ipynb")
