"The explorer: what a person selects and labels on the map goes through the log; with a real mouse and real keys."

import base64
import json
import re

import numpy as np
import pytest
from annotators import CLASSES, cells, explorer

from cellprotocols.annotate import read_static
from cellprotocols.explore import Explorer
from cellprotocols.labellog import LabelLog, read_labels
from cellprotocols.mappage import make_explorer_html
from cellprotocols.places import ExploreError, to_unit_square


@pytest.mark.parametrize(
    "xy, said",
    [
        (np.zeros((3, 2)), "places of shape (3, 2) for 60 items"),
        (np.full((60, 2), np.inf), "60 of 60 items have no place"),
    ],
)
def test_wrong_places(tmp_path, xy, said):
    _, items, _, images = cells()
    with pytest.raises(ExploreError, match=re.escape(said)):
        Explorer(images, items, xy, CLASSES, tmp_path / "l")
    with pytest.raises(ExploreError, match=re.escape(said)):
        make_explorer_html(xy, items, [""] * 60, images)


def test_twins_write_what_a_page_would_write(tmp_path):
    e = explorer(tmp_path)
    inside = e.lasso([(0, 0), (5, 0), (5, 6), (0, 6)])
    assert set(inside) == {i for i, x in zip(e.table.item_id, e.xy[:, 0]) if x < 5} and len(inside) > 5
    e.label(inside, "C")
    e.flag(inside[:2])
    e.undo()
    log = read_labels(tmp_path / "log.jsonl")
    assert set(log.item) == set(inside) and set(log.label) == {"C"} and set(log.by) == {"anna"}
    assert e.counts()["C"] == (e.table.label == "C").sum() >= len(inside)
    e.undo()
    assert not len(read_labels(tmp_path / "log.jsonl")) and (e.table.label == e.table.known).all()
    near = e.select_near(*e.xy[7], n=3)
    assert near[0] == "cell_007" and len(set(near)) == 3


def test_two_people_and_no_model_needed(tmp_path):
    anna, ben = explorer(tmp_path), explorer(tmp_path, by="ben")
    anna.label("cell_001", "B")
    ben.act("sync")
    assert ben.table.label[1] == "B" and not ben.labellog.can["undo"]
    sent = []
    ben.send = lambda msg, data=None: sent.append(msg)
    anna.label("cell_002", "C")
    ben.answer({"do": "sync"})
    assert sent[0]["labels"]["cell_002"]["label"] == "C"


def test_hello_tells_all_a_page_needs(tmp_path):
    n = 60
    prob = np.random.default_rng(0).dirichlet([1, 1, 1], n)
    e = explorer(tmp_path, prob=prob, time=[float("nan"), *range(1, n)])
    answer, (places,) = e.answer({"do": "hello"})
    assert (
        np.frombuffer(places, "<f4").shape == (2 * n,)
        and answer["time"][:2] == [None, 1.0]
        and answer["groups"] == [f"g{i}" for i in range(5)]
    )
    assert answer["predicted"] == prob.argmax(1).tolist() and json.dumps(answer, allow_nan=False)
    heads = e.answer({"do": "patches", "rows": [3, 5]})
    assert heads[0]["heads"] == [[24, 24, 1]] * 2 and len(heads[1][0]) == 2 * 24 * 24


def test_a_blind_round_shows_no_label_and_no_guess(tmp_path):
    e = explorer(tmp_path, prob=np.full((60, 3), 1 / 3), round="blind")
    answer, _ = e.answer({"do": "hello"})
    assert set(answer["known"]) == {-1} and answer["predicted"] == []


def draw(page, corners):
    page.mouse.move(*corners[0])
    page.mouse.down()
    for a, b in zip(corners, corners[1:] + corners[:1]):
        for f in (0.25, 0.5, 0.75, 1):
            page.mouse.move(a[0] + f * (b[0] - a[0]), a[1] + f * (b[1] - a[1]))
    page.mouse.up()


def spot(page, e, i):
    "Where the map, just fitted, draws row `i`."
    b = page.locator(".cp-points").bounding_box()
    p = to_unit_square(e.xy if hasattr(e, "xy") else e)
    k = 0.94 * min(b["width"] / np.ptp(p[:, 0]), b["height"] / np.ptp(p[:, 1]))
    return float(b["x"] + b["width"] / 2 + (p[i, 0] - 0.5) * k), float(b["y"] + b["height"] / 2 - (p[i, 1] - 0.5) * k)


class Live:
    "The widget's own page with its own Python behind it, without a notebook between them."

    def __init__(self, page, widget, path):
        self.page, self.widget, self.told = page, widget, []
        widget.send = lambda msg, data=None: self.told.append([msg, self.code(data)])
        page.expose_function("toPython", self.answer)
        model = """const model = { get: k => window.synced[k], on: (_, fn) => { model.hear = fn }, off: () => {},
          send: async msg => { for (const [m, data] of await window.toPython(msg)) 
              model.hear(m, data.map(d => new DataView(Uint8Array.from(atob(d), c => c.charCodeAt(0)).buffer))) } };
          window.stop = render({ model, el: document.body });"""
        style = read_static("annotate.css", "explore.css")
        synced = json.dumps(dict(setup=widget.setup)).replace("<", chr(92) + "u003c")
        path.write_text(
            f'<!doctype html><meta charset="utf-8"><style>{style}</style><body>'
            f"<script>window.synced = {synced}</script>"
            f'<script type="module">{read_static("base.js", "explore.js")}\n{model}</script>'
        )
        page.goto(path.as_uri())
        page.locator(".cp-points").wait_for()
        self.saved()

    def code(self, data):
        return [base64.b64encode(bytes(d)).decode() for d in data or []]

    def answer(self, msg):
        answer, data = self.widget.answer(msg)
        told, self.told = self.told, []
        return [*told, [{"re": msg["ask"], **answer}, self.code(data)]]

    def saved(self):
        self.page.locator('.cp[data-pending="0"]').wait_for()


@pytest.fixture
def live(page, tmp_path):
    n = 60
    e = explorer(tmp_path, prob=np.random.default_rng(1).dirichlet([0.3] * 3, n), time=np.arange(n), target=20)
    yield Live(page, e, tmp_path / "page.html")
    assert not page.errors


@pytest.mark.browser
def test_lasso_and_a_key_label_in_one_act(live):
    page, e = live.page, live.widget
    b = page.locator(".cp-points").bounding_box()
    page.locator(".cp-points").press("l")
    assert page.locator(".cp-mode").get_attribute("aria-pressed") == "true"
    p = to_unit_square(e.xy)
    corners = [(0.02, 0.22), (0.5, 0.22), (0.55, 0.5), (0.3, 0.79), (0.02, 0.6)]
    k = float(0.94 * min(b["width"] / np.ptp(p[:, 0]), b["height"] / np.ptp(p[:, 1])))
    draw(
        page, [(b["x"] + b["width"] / 2 + (x - 0.5) * k, b["y"] + b["height"] / 2 - (y - 0.5) * k) for x, y in corners]
    )
    low, high = e.xy.min(0), e.xy.max(0)
    side = (high - low).max()
    expected = e.lasso([(np.array(c) - 0.5) * side + (low + high) / 2 for c in corners])
    assert len(expected) > 8 and page.locator(".cp").get_attribute("data-picked") == str(len(expected))
    page.locator(".cp-points").press("3")
    live.saved()
    log = read_labels(e.labellog.path)
    assert set(log.item) == set(expected) and set(log.label) == {"C"} and len(e.labellog.acts) == 1
    assert set(log.suggestion.dropna()) <= set(CLASSES) and len(log.suggestion.dropna()) == len(log)
    page.keyboard.press("f")
    live.saved()
    assert e.table.flagged.sum() == len(expected) and set(e.table.label[e.table.flagged]) == {"C"}
    page.keyboard.press("u")
    page.keyboard.press("u")
    live.saved()
    assert not len(read_labels(e.labellog.path))
    page.keyboard.press("r")
    live.saved()
    assert len(read_labels(e.labellog.path)) == len(expected)
    page.keyboard.press("x")
    live.saved()
    assert (e.table.set_index("item_id").label[expected] == "").all()


@pytest.mark.browser
def test_hover_shows_the_patch_and_click_selects(live):
    page, e = live.page, live.widget
    i = int(np.argmax((((e.xy[:, None] - e.xy) ** 2).sum(2) + np.eye(60) * 1e9).min(1)))  # the loneliest
    page.mouse.move(*spot(page, e, i))
    tip = page.locator(".cp-tip")
    tip.wait_for()
    text = tip.inner_text()
    assert e.table.item_id[i] in text and e.table.group[i] in text and e.table.predicted[i] in text
    page.wait_for_function("document.querySelector('.cp-tip canvas').width == 24")
    grey = page.evaluate("document.querySelector('.cp-tip canvas').getContext('2d').getImageData(12, 2, 1, 1).data[0]")
    low, high = np.percentile([np.asarray(im) for im in e.images], [0.1, 99.9])
    assert abs(grey - 255 * (float(e.images[i][2, 12]) - low) / (high - low)) < 4
    page.mouse.down()
    page.mouse.up()
    assert page.locator(".cp").get_attribute("data-picked") == "1"
    j = int(np.argsort(((e.xy - e.xy[i]) ** 2).sum(1))[20])
    page.keyboard.down("Shift")
    page.mouse.click(*spot(page, e, j))
    page.keyboard.up("Shift")
    assert page.locator(".cp-strip button").count() == 2
    page.locator(".cp-strip button").first.click()
    assert page.locator(".cp").get_attribute("data-picked") == "1"
    page.locator(".cp-points").press("Escape")
    assert page.locator(".cp").get_attribute("data-picked") == "0"


@pytest.mark.browser
def test_keyboard_alone(live):
    page, e = live.page, live.widget
    page.locator(".cp-points").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = page.locator(".cp-said").inner_text()
    item = re.search(r"cell_\d+", said)[0]
    page.keyboard.press("Enter")
    page.keyboard.press("2")
    live.saved()
    assert e.table.label[e.row_of[item]] == "B"
    page.keyboard.press("Control+a")
    assert page.locator(".cp").get_attribute("data-picked") == "60"
    page.keyboard.press("?")
    assert "select the cell" in page.locator(".cp-help").inner_text()


@pytest.mark.browser
def test_what_is_hidden_is_not_selected(live):
    page, e = live.page, live.widget
    page.locator(".cp-points").press("Control+a")
    page.locator(".cp-entry").first.click()
    shown = int((e.table.label != "A").sum())
    assert page.locator(".cp").get_attribute("data-picked") == str(shown)
    page.locator(".cp-points").press("Control+a")
    assert page.locator(".cp").get_attribute("data-picked") == str(shown)
    page.locator(".cp-entry").nth(1).click(modifiers=["Shift"])
    page.locator(".cp-points").press("Control+a")
    assert page.locator(".cp").get_attribute("data-picked") == str((e.table.label == "B").sum())
    for by in ("prediction", "uncertainty", "group", "time", "label"):
        page.locator(".cp-choice select").select_option(by)
        page.locator(".cp-points").press("Control+a")
        assert page.locator(".cp").get_attribute("data-picked") == "60"


@pytest.mark.browser
def test_a_colleague_changes_colours_here(live):
    page, e = live.page, live.widget
    before = page.locator(".cp-entry b").first.inner_text()
    other = LabelLog(e.labellog.path, "ben")
    other.give([dict(item=f"cell_{i:03}", label="A") for i in range(60)], "ben1", "")
    page.wait_for_function("document.querySelector('.cp-entry b').textContent == '60'", timeout=15_000)
    assert before != "60"


@pytest.mark.browser
@pytest.mark.slow
def test_in_a_notebook(front_end, page, tmp_path):
    from browser import make_notebook

    log = tmp_path / "labels.jsonl"
    make_notebook(
        front_end.folder / "explore.ipynb",
        [
            f"""
import numpy as np
from cellprotocols.explore import Explorer
rng = np.random.default_rng(0)
Explorer(rng.integers(0, 255, (300, 16, 16), np.uint8), [f"cell_{{i}}" for i in range(300)],
         rng.normal(size=(300, 2)), ["A", "B"], {str(log)!r}, by="anna")"""
        ],
    )
    front_end.open_notebook(page, "explore.ipynb", ".cp-map")
    page.locator(".cp-points").click(position=dict(x=5, y=5))
    page.locator(".cp-points").press("Control+a")
    page.locator(".cp-points").press("2")
    page.locator('.cp[data-saved="300"][data-pending="0"]').wait_for()
    assert len(read_labels(log)) == 300 and set(read_labels(log).label) == {"B"}
    page.locator(".cp-points").press("u")
    page.locator('.cp[data-saved="0"][data-pending="0"]').wait_for()
    assert not len(read_labels(log)) and not front_end.complaints(page)
