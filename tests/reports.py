"What every report must have."

import html
import re
from pathlib import Path
from urllib.parse import unquote


def to_words(markup):
    "What a reader sees of a piece of HTML."
    return html.unescape(re.sub(r"<[^>]+>", " ", markup)).strip()


def check_report(folder, *said):
    "Methods with versions and what to cite, links to files that are there, captions that are sentences, a named data set."
    page = (Path(folder) / "report.html").read_text(encoding="utf-8")
    titles = [to_words(t) for t in re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.S)]
    assert titles[-4:] == ["Methods, ready to paste", "Tables and the model", "Figures", "Settings and versions"], (
        titles
    )
    methods = page[page.rindex(">Methods, ready to paste<") : page.rindex(">Tables and the model<")]
    assert "Software: " in methods and "cellprotocols" in methods and "10.1038/s41586-020-2649-2" in methods
    for part in said:
        assert part in to_words(methods), part
    links = [unquote(html.unescape(a)) for a in re.findall(r'<a href="\./([^"]+)"', page)]
    missing = [a for a in links if not (Path(folder) / a).exists()]
    assert not missing, missing
    n = page.count("<figure>") + page.count('<figure class="slider')
    kept = [a for a in links if a.startswith("figures/")]
    assert len(kept) == n == len(list((Path(folder) / "figures").iterdir())), (kept, n)
    assert len([a for a in links if a.endswith(".csv")]) >= 2, links
    found = re.findall(r"<(figcaption|caption)>(.*?)</\1>", page, re.S) + [
        ("p", c) for c in re.findall(r'<p class="caption">(.*?)</p>', page, re.S)
    ]
    bad = [t for t in (to_words(c) for _, c in found) if not t.endswith((".", "?", "!")) or len(t.split()) < 3]
    assert found and not bad, bad
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts["data"] not in ("", "own", ".", ".."), facts["data"]
    return page
