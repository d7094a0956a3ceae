"""The report: one file, safe with any text, whole or not at all, and right in a real browser."""

import io
import re
from html.parser import HTMLParser

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cellprotocols import report
from cellprotocols.report import Callout, Facts, Figure, Files, Number, ReportError, Section, Table, Text, write_report

EVIL = (
    "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(2)>]]>--></style>&amp; 🧬\u202eabc\x00"
)
LONG = "Supercalifragilistic" * 15


def png(shape=(60, 90), seed=0, kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 255, (*shape, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def everything(text=EVIL):
    "A report with `text` wherever a text can be."
    table = pd.DataFrame({text: [text, LONG], "n": [1, 2000], "f": [0.5, np.nan]})
    items = [
        Text(f"{text}\n\n- {text}\n- `{text}`"),
        Table(table, text),
        Facts({text: text, LONG: LONG}, text),
        Callout(text, "bad", text),
        Files({text: text, "javascript:alert(3)": text, "//evil.example/x": text, "a/../../b": "", LONG: LONG}, text),
        Figure(png(), text, text),
    ]
    return dict(
        title=text,
        subtitle=text,
        sections=[Section(text, text, items), Section(LONG, items=["text", table, {"a": 1}, png(seed=1)])],
        facts={text: text},
        verdict=Callout(text, "warn", text),
        headline=[Number(text, 0.5, 0.4, 0.6, text), Number(LONG, float("nan"), optimistic=True)],
        date=text,
        lang=text,
    )


class Page(HTMLParser):
    "The tags of a page with their attributes, and whether they close in order."

    void = {"meta", "link", "img", "input", "line", "circle", "br"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.broken = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.broken.append(tag)

    def all(self, tag):
        return [a for t, a in self.tags if t == tag]


def page_of(tmp_path, **kwargs):
    path = write_report(tmp_path / "r.html", **kwargs)
    return Page(path.read_text("utf-8")), path


def check_safe(page):
    assert not page.broken and not page.open
    assert {t for t, _ in page.tags} <= set(
        "html head meta link title style body a div header h1 p main section h2 nav ol li ul footer figure figcaption img input label table caption "
        "thead tbody tr th td dl dt dd code span svg line circle".split()
    )
    for _, attrs in page.tags:
        assert not any(k.startswith("on") for k in attrs)
        for link in ("src", "href"):
            assert link not in attrs or re.match(r"data:|#|\./", attrs[link])


def test_hostile_text_stays_text(tmp_path):
    page, path = page_of(tmp_path, **everything())
    check_safe(page)
    body = path.read_bytes()
    assert b"\x00" not in body and "\u202e".encode() not in body
    assert len(page.all("img")) == 2


@given(st.text(st.characters(codec=None), max_size=40))
@settings(max_examples=40, deadline=None)
def test_any_text_stays_text(tmp_path_factory, text):
    page, _ = page_of(tmp_path_factory.mktemp("r"), **everything(text))
    check_safe(page)


def test_nothing_is_loaded_and_nothing_can_run(tmp_path):
    page, path = page_of(tmp_path, title="t", sections=[Section("s", items=[png()])])
    csp = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in csp and "script" not in csp
    assert not re.search(rb"https?:|url\(|@import", path.read_bytes())


def test_page_has_structure(tmp_path):
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    plt.close(fig)
    page, path = page_of(
        tmp_path,
        title="t",
        sections=[Section("One", items=[Figure(fig, "seen", "described")]), dict(title="Two", text="x")],
    )
    assert page.all("html")[0]["lang"] == "en" and len(page.all("h1")) == len(page.all("main")) == 1
    assert [a["alt"] for a in page.all("img")] == ["described"]
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert all(a["href"][1:] in ids for a in page.all("a") if a["href"].startswith("#"))
    assert [a["href"] for a in page.all("a")] == ["#main", "#s1", "#s2"]


def test_same_input_same_bytes(tmp_path):
    def once():
        fig, ax = plt.subplots()
        ax.plot([1, 2])
        plt.close(fig)
        return write_report(
            tmp_path / "r.html", "t", [Section("s", items=[fig, png()])], date="2025-01-31"
        ).read_bytes()

    assert once() == once()


def test_optimistic_number_is_marked(tmp_path):
    _, path = page_of(tmp_path, title="t", headline=[Number("a", 0.5, 0.4, 0.6), Number("b", 0.9, optimistic=True)])
    first, second = re.findall(r"<li.*?</li>", path.read_text().split('class="headline"')[1], re.S)[:2]
    assert "optimistic" not in first and "optimistic: random split" in second and "0.40 to 0.60" in first


def test_tables_align_numbers_and_say_when_they_are_cut(tmp_path):
    frame = pd.DataFrame(
        dict(
            name=list("ab") * 150,
            n=range(300),
            share=[0.5, np.nan] * 150,
            count=[56.0, np.nan] * 150,
            ok=[True, False] * 150,
        )
    )
    text = Table(frame, max_rows=10).to_html()
    assert re.findall(r"<th [^>]*>", text) == [
        '<th scope="col">',
        *['<th scope="col" class="n">'] * 3,
        '<th scope="col">',
    ]
    assert text.count("<tr>") == 11 and "first 10 of 300 rows" in text
    assert '<td class="n">56</td>' in text and '<td class="n">0.500</td>' in text and "<td>yes</td>" in text


# ---------- size


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_page_stays_under_its_limit_and_says_so(tmp_path, kind):
    pictures = [png((500, 700), i, kind) for i in range(3)] + [png((20, 20), 9)]
    free = write_report(tmp_path / "a.html", "t", [Section("s", items=pictures)], max_mb=50)
    assert "made smaller" not in free.read_text()
    tight = write_report(tmp_path / "b.html", "t", [Section("s", items=pictures)], max_mb=0.4)
    assert (
        tight.stat().st_size <= 400_000
        and "3 pictures made smaller to keep this page under 0.4 MB" in tight.read_text()
    )


def test_pictures_keep_their_place_when_smaller(tmp_path):
    widths = [
        re.findall(
            r"--w:(\d+)px\"",
            write_report(tmp_path / "a.html", "t", [Section("s", items=[png((500, 700))])], max_mb=mb).read_text(),
        )
        for mb in (9, 0.1)
    ]
    assert widths[0] == widths[1] == ["700"]


def test_what_cannot_fit_is_an_error_and_leaves_the_old_page(tmp_path):
    path = write_report(tmp_path / "r.html", "old")
    old = path.read_bytes()
    with pytest.raises(ReportError, match="show fewer rows"):
        write_report(path, "t", [Section("s", "x" * 100_000)], max_mb=0.05)
    with pytest.raises(ReportError, match="do not fit"):
        write_report(path, "t", [Section("s", items=[png(seed=i) for i in range(40)])], max_mb=0.05)
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["r.html"]


# ---------- faults


@pytest.mark.parametrize(
    "bad", [b"", b"not a picture", png()[:200], b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"]
)
def test_broken_pictures(tmp_path, bad):
    with pytest.raises(ReportError, match="cannot be read"):
        write_report(tmp_path / "r.html", "t", [Section("s", items=[Figure(bad)])])
    assert not list(tmp_path.iterdir())


def test_wrong_parts(tmp_path):
    with pytest.raises(ReportError, match="item of type int"):
        write_report(tmp_path / "r.html", "t", [Section("s", items=[3])])
    with pytest.raises(ReportError, match="good, warn or bad"):
        write_report(tmp_path / "r.html", "t", verdict=Callout("x", "fine"))
    with pytest.raises(ReportError, match="picture of type str"):
        write_report(tmp_path / "r.html", "t", [Section("s", items=[Figure("a.png")])])


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    import errno

    def full(*a):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="the disk is full"):
        write_report(tmp_path / "r.html", "t")
    assert not list(tmp_path.iterdir())


def test_links_only_to_files_beside_the_report():
    text = Files(
        {
            "a b#?.csv": "",
            "sub/ü.csv": "",
            "../x": "",
            "/etc/passwd": "",
            "C:\\x": "",
            "a/../../x": "",
            "javascript:alert(1)": "",
        }
    ).to_html()
    assert re.findall(r'href="([^"]*)"', text) == [
        "./a%20b%23%3F.csv",
        "./sub/%C3%BC.csv",
        "./javascript%3Aalert%281%29",
    ]


# ---------- contrast


def colours(css):
    return dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", css))


def luminance(c):
    c = c if len(c) == 7 else "#" + "".join(2 * x for x in c[1:])
    v = [int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        w * (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4) for w, x in zip((0.2126, 0.7152, 0.0722), v)
    )


@pytest.mark.parametrize("ground", ["light", "dark", "print"])
def test_text_has_contrast(ground):
    roots = re.findall(r":root\{([^}]*)\}", report._css)
    c = colours(roots[["light", "dark", "print"].index(ground)])
    pairs = (
        [(t, b) for t in ("ink", "soft", "link") for b in ("bg", "wash")]
        + [(k, k + "bg") for k in ("good", "warn", "bad")]
        + [("ink", k + "bg") for k in ("good", "warn", "bad")]
    )
    for text, back in pairs:
        hi, lo = sorted((luminance(c[text]), luminance(c[back])), reverse=True)
        assert (hi + 0.05) / (lo + 0.05) >= 4.5, (text, back)


# ---------- a real browser


@pytest.mark.browser
@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844), (320, 600)])
@pytest.mark.parametrize("dark", [False, True])
def test_in_the_browser(browser, tmp_path, width, height, dark):
    wide = pd.DataFrame(np.zeros((3, 30)), columns=[f"column_{i}" for i in range(30)])
    report_ = everything()
    report_["sections"] = [
        *report_["sections"],
        Section("Wide", items=[wide, Figure(png((300, 1500)), "a wide picture")]),
    ]
    path = write_report(tmp_path / "r.html", **report_)
    context = browser.new_context(viewport=dict(width=width, height=height), color_scheme="dark" if dark else "light")
    page, asked, ran, said = context.new_page(), [], [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("dialog", lambda d: (ran.append(d.message), d.dismiss()))
    page.on("console", lambda m: said.append(m.text))
    page.goto(path.as_uri())
    assert [u for u in asked if not u.startswith("data:")] == [path.as_uri()] and not ran and not said
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    boxes = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map(e => [e.scrollWidth > e.clientWidth, e.tabIndex])"
    )
    assert boxes[-1] == [True, 0]
    if width < 500:
        page.locator("input.zoom").last.focus()
        page.keyboard.press("Space")  # enlarge with the keyboard
        assert page.evaluate(
            "(() => { const e = [...document.querySelectorAll('.pic')].pop(); return e.scrollWidth > e.clientWidth })()"
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")
    context.close()
