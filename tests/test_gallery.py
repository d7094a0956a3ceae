"The gallery: every step of every protocol, inside its pages, at three widths."

import re
from pathlib import Path

import pytest

from cellprotocols.protocols import PROTOCOLS, built_steps, step_folder

GALLERY = Path(__file__).resolve().parents[1] / "docs" / "gallery"
PAGES = ["index", *PROTOCOLS, *(f"reports/{p}" for p in PROTOCOLS)]


def test_every_step_and_every_report_is_there():
    for protocol in PROTOCOLS:
        page = (GALLERY / f"{protocol}.html").read_text(encoding="utf-8")
        for step in built_steps(protocol):
            assert f'<section id="{step_folder(protocol, step)}">' in page
        assert page.count("<img ") >= 5 and "Practice (synthetic) data" in page
        assert f'href="reports/{protocol}.html"' in page and (GALLERY / "reports" / f"{protocol}.html").exists()


@pytest.mark.parametrize("name", PAGES)
def test_nothing_comes_from_elsewhere(name):
    page = (GALLERY / f"{name}.html").read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|srcset)=["'](?!data:)[^"']*""", page) == []
    assert not re.search(r"<link(?![^>]*data:)", page) and "url(http" not in page and "@import" not in page


def test_links_lead_somewhere():
    for name in ["index", *PROTOCOLS]:
        page = (GALLERY / f"{name}.html").read_text(encoding="utf-8")
        for link in re.findall(r'href="(?!https?:|#)([^"#]+)', page):
            assert (GALLERY / link).exists(), f"{name}: {link}"


def test_it_is_small_enough_to_keep():
    assert sum(f.stat().st_size for f in GALLERY.rglob("*") if f.is_file()) < 15e6


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_three_widths(browser, name):
    for width in (390, 1024, 1600):
        page, asked = browser.new_page(viewport=dict(width=width, height=900)), []
        page.on("request", lambda r, asked=asked: asked.append(r.url))
        page.goto((GALLERY / f"{name}.html").as_uri())
        page.wait_for_function("[...document.images].every(i => i.complete)")
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).length")
        assert over <= 0 and not broken, f"{over} px too wide, {broken} broken pictures at {width} px"
        assert [u[:60] for u in asked if not u.startswith(("file:", "data:"))] == []
        page.close()
