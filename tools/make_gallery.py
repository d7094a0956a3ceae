"""One page a protocol, rendered from its notebooks with the pictures they keep, and the practice reports: make_gallery.py

Nothing in a page is read from elsewhere. Reports are those of `cellprotocols demo`; what is there already is taken: --demos FOLDER
"""

import argparse
import base64
import html
import io
import re
import shutil
from configparser import ConfigParser
from datetime import date
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from PIL import Image
from pygments.formatters import HtmlFormatter

from cellprotocols.cli import main as run_command
from cellprotocols.protocols import PROTOCOLS, built_steps, step_folder

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "gallery"
SAID = "Practice (synthetic) data. The numbers say nothing about your images."
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'">
<title>{title}</title><style>{css}</style></head>
<body><header><nav>{nav}</nav><h1>{title}</h1><p class="soft">{lead}</p></header><main>{body}</main>
<footer>cellprotocols {version}, {date}. {said}</footer></body></html>
"""


def show_picture(file, says):
    "A picture inside the page, as WebP."
    data = io.BytesIO()
    Image.open(file).convert("RGB").save(data, "WEBP", quality=82, method=6)
    return f'<img src="data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}" alt="{html.escape(says)}">'


def point_links(text, protocol):
    "Links between notebooks, as links between pages."

    def point(m):
        name, tail = m[1], m[2] or ""
        home, _, step = name.rpartition("/")
        home = home.replace("../", "").strip(".") or protocol
        if home in PROTOCOLS and re.match(r"\d\d_", step):
            return f"]({home}.html#{step})"
        return f"](../../nbs/{step}.ipynb{tail})"

    def show(m):
        return show_picture(ROOT / "nbs" / protocol / m[2], m[1])

    text = re.sub(r"!\[([^]]*)\]\(([^):]+)\)", show, text)
    return re.sub(r"\]\(([\w./]+)\.ipynb(#[^)]*)?\)", point, text)


def clean_cells(book, protocol):
    "What a reader sees: no directives, no helpers, a word on each folded cell."
    heading, kept = "", []
    for cell in book.cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"^#+ (.+)$", cell.source, re.M)
            heading, cell.source = (found or [heading])[-1], point_links(cell.source, protocol)
            kept.append(cell)
            continue
        marks = re.findall(r"^#\|\s*(\w+)", cell.source, re.M)
        cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip()
        if not {"hide", "default_exp"} & {*marks} and (cell.source or cell.outputs):
            cell.metadata.open = heading == "Settings"
            first = next((line for line in cell.source.splitlines() if line.startswith(("def ", "class "))), "")
            name = re.split("[(:]", first)[0].partition(" ")[2]
            cell.metadata.says = "Settings" if cell.metadata.open else "Code" + (name and f": {name}")
            for o in cell.outputs:
                if png := o.get("data", {}).pop("image/png", None):
                    o.data["text/html"] = show_picture(io.BytesIO(base64.b64decode(png)), f"Figure: {heading}")
            kept.append(cell)
    book.cells = kept
    return book


def make_exporter():
    return HTMLExporter(template_name="gallery", extra_template_basedirs=[str(ROOT / "tools")])


def read_version():
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    return ini["DEFAULT"]["version"]


def write_page(name, title, lead, nav, body):
    css = (ROOT / "tools/gallery/page.css").read_text() + HtmlFormatter().get_style_defs(".highlight")
    about = dict(css=css, version=read_version(), date=date.today(), said=SAID)
    (OUT / f"{name}.html").write_text(
        PAGE.format(title=html.escape(title), lead=lead, nav=nav, body=body, **about), encoding="utf-8"
    )


def make_protocol(protocol, exporter):
    "All steps of a protocol on one page."
    steps, body = [step_folder(protocol, s) for s in built_steps(protocol)], ""
    for step in steps:
        book = clean_cells(nbformat.read(ROOT / "nbs" / protocol / f"{step}.ipynb", as_version=4), protocol)
        body += f'<section id="{step}">{exporter.from_notebook_node(book)[0]}</section>\n'
    links = [("index.html", "all protocols"), *((f"#{s}", s.replace("_", " ")) for s in steps)]
    nav = " ".join(f'<a href="{to}">{says}</a>' for to, says in links)
    lead = f'{SAID} Code is folded; a click opens it. <a href="reports/{protocol}.html">The practice report</a>.'
    write_page(protocol, f"{protocol}: {PROTOCOLS[protocol]}", lead, nav, body)


def make_index():
    "A card a protocol."
    body = ""
    for protocol, question in PROTOCOLS.items():
        says = f"What {protocol} gives, on practice (synthetic) data"
        picture = show_picture(ROOT / "docs/pictures" / f"{protocol}.png", says)
        links = f'<a href="{protocol}.html">The notebooks</a> &middot; <a href="reports/{protocol}.html">The practice report</a>'
        body += f"<section><h2>{protocol}</h2><p>{question}</p>{picture}<p>{links}</p></section>"
    write_page(
        "index", "Five protocols, read without installing anything", SAID, "", f'<div class="cards">{body}</div>'
    )


def find_report(protocol, demos):
    "The report of a demo; the demo is run where there is none."
    folder = demos / protocol
    report = folder / step_folder(protocol, "visualize") / "report.html"
    if not report.exists() and run_command(["demo", protocol, "--out", str(folder)]):
        raise SystemExit(f"the demo of {protocol} did not end well")
    return report


def make_gallery(demos):
    exporter = make_exporter()
    (OUT / "reports").mkdir(parents=True, exist_ok=True)
    for protocol in PROTOCOLS:
        make_protocol(protocol, exporter)
        shutil.copyfile(find_report(protocol, demos), OUT / "reports" / f"{protocol}.html")
    make_index()
    size = sum(f.stat().st_size for f in OUT.rglob("*.html"))
    print(f"{OUT}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--demos", type=Path, default=ROOT / "work" / "gallery", help="where runs of the demos are kept"
    )
    make_gallery(parser.parse_args().demos)
