// The annotators: a grid of patches, and fields or movies with points, boxes, masks or one class per image.

// ---------- contrast and channels, for grid and fields alike: sliders over the percentiles Python has looked up

class Look {
  constructor(look, redraw) {
    this.look = look; this.redraw = redraw; this.gamma = 1;
    const n = look.levels[0].length;
    this.low = look.rgb ? 0 : 3; this.high = look.rgb ? n - 1 : n - 4;
    this.channels = look.channels.map(c => ({ ...c, rgb: hexRgb(c.colour), on: true }));
    const percent = i => ["0", "0.01", "0.03", "0.1", "0.3", "1", "3", "10", "25", "50", "75", "90", "97", "99", "99.7", "99.9", "99.97", "99.99", "100"][i] + " %";
    this.el = h("div", { className: "cp-look", role: "group", "aria-label": "Brightness" },
      slider("dark", { min: 0, max: 9, step: 1, value: this.low, show: percent, title: "Percentile shown black" }, v => { this.low = v; this.update(); }),
      slider("bright", { min: 9, max: n - 1, step: 1, value: this.high, show: percent, title: "Percentile shown white" }, v => { this.high = v; this.update(); }),
      slider("gamma", { min: 0.2, max: 2.5, step: 0.05, value: 1, show: v => (+v).toFixed(2), title: "Gamma: below 1 lifts the dark" }, v => { this.gamma = v; this.update(); }));
    if (this.channels.length > 1 && !look.rgb) this.el.append(h("div", { className: "cp-channels" }, this.channels.map(c =>
      h("label", { style: { "--c": c.colour } }, h("input", { type: "checkbox", checked: true, onchange: e => { c.on = e.target.checked; this.update(); } }), short(c.name, 14)))));
    this.luts = this.make();
  }
  make() { return makeLuts(this.look.levels.map(l => [l[this.low], Math.max(l[this.high], l[this.low] + 1)]), this.gamma, this.look.dtype); }
  update() { cancelAnimationFrame(this.soon); this.soon = requestAnimationFrame(() => { this.luts = this.make(); this.redraw(); }); }
}

function scaleBar(umPerScreenPx, room = 120) { // a bar of a round length
  const nice = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].filter(um => um / umPerScreenPx <= room).pop();
  return nice ? { um: nice, px: nice / umPerScreenPx } : null;
}

// ---------- the grid

class Grid {
  constructor(desk) {
    this.desk = desk; this.side = 84; this.at = 0; this.order = new Uint32Array(0); this.marked = new Set(); this.cells = new Map();
    this.cache = new Map(); this.waiting = new Set(); this.judged = new Set(); this.bad = new Map(); this.review = null; this.items = []; this.follow = true;
    desk.hints = ["The arrow keys move the frame. A click marks a patch, Shift+click (or Shift+arrow) a range, Ctrl+click one more. A class key labels what is marked, or the framed patch, and goes on to the next.",
      "Review: choose a predicted class, click the wrong ones, Enter confirms all others at once."];
    this.scroller = h("div", { className: "cp-scroll", role: "listbox", "aria-label": "Patches", "aria-multiselectable": "true", tabIndex: -1, onscroll: () => this.layoutSoon() });
    this.inner = h("div", { className: "cp-inner", role: "presentation" });
    this.scroller.append(this.inner);
    this.banner = h("div", { className: "cp-banner", hidden: true, role: "status" });
    this.told = h("span", { className: "cp-told", role: "status", "aria-live": "polite" });
    this.bar = h("span", { className: "cp-scale" });
    this.toolbar = h("div", { className: "cp-toolbar" });
    desk.body.append(this.toolbar, this.banner, this.scroller);
    desk.onchange(items => { for (const item of items) { const row = this.rowOf?.get(item); if (row !== undefined) this.dress(row); } });
    desk.chosen = (i, only) => only || this.apply(i);
    desk.escaped = () => { this.marked.clear(); this.dressAll(); };
    desk.turned = entries => { const at = entries.map(e => this.place.get(this.rowOf.get(e.item))).filter(i => i !== undefined); if (at.length) this.go(Math.min(...at)); };
    desk.wire.on("learned", msg => this.learned(msg));
    for (const [k, dx, dy] of [["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]]) {
      desk.key(k, "move the frame", () => this.move(dx + dy * this.columns, false)); desk.key("Shift+" + k, "mark on the way", () => this.move(dx + dy * this.columns, true));
    }
    desk.key("PageUp", "a page up, down", () => this.move(-this.columns * this.rowsShown(), false)); desk.key("PageDown", "a page up, down", () => this.move(this.columns * this.rowsShown(), false));
    desk.key("Home", "the first, the last", () => this.go(0)); desk.key("End", "the first, the last", () => this.go(this.order.length - 1));
    desk.key(" ", "mark the framed patch", () => { this.toggle(this.order[this.at]); this.move(1, false); });
    desk.key("Enter", "give the chosen class; in review: confirm the rest", () => this.review ? this.confirm() : this.apply(desk.current));
    desk.key("Ctrl+a", "mark all that are shown", () => { this.order.forEach(r => this.marked.add(r)); this.dressAll(); });
    desk.key("f", "flag, or take the flag away", () => this.flag());
    for (const k of ["x", "Delete", "Backspace"]) desk.key(k, "take the label away", () => this.erase());
    desk.key("n", "next without a label", () => this.next());
    desk.key("m", "show what is like the framed patch", () => { if (this.sort.select.querySelector("[value=alike]")) { this.sort.select.value = "alike"; this.reorder(); } });
    desk.open(msg => this.ready(msg));
    new ResizeObserver(() => this.layoutSoon()).observe(this.scroller);
  }

  ready(msg) {
    const { desk } = this, { setup } = desk;
    this.items = msg.items; this.known = msg.known; this.rowOf = new Map(msg.items.map((item, i) => [item, i]));
    this.look = new Look(msg.look, () => this.drawAll());
    this.guesses(msg);
    const classes = desk.classes.map(c => [c, c]);
    this.sort = choice("order", setup.sorts, () => this.reorder());
    this.sort.select.value = setup.sort;
    this.filter = choice("show", [["all", "all"], ["unlabelled", "without a label"], ["labelled", "labelled"], ["flagged", "flagged"], ...(this.predicted.length || setup.learns ? [["doubtful", "label and model differ"]] : []),
      ...classes.map(([c, t]) => ["class:" + c, "class " + t]), ...setup.groups.map(g => ["group:" + g, "group " + g])], () => { this.review = null; this.reviewer.select.value = ""; this.reorder(); });
    this.reviewer = choice("review", [["", "-"], ...classes], c => this.startReview(c));
    this.size = slider("size", { min: 40, max: 220, step: 4, value: this.side, title: "Size of the patches on the screen", show: () => "" }, v => { this.side = v; this.clearCells(); this.layout(); });
    const follow = h("label", { className: "cp-check" }, h("input", { type: "checkbox", checked: true, onchange: e => { this.follow = e.target.checked; } }), "re-sort as it learns");
    this.toolbar.append(this.sort, this.filter, ...(this.predicted.length || setup.learns ? [this.reviewer] : []), ...(setup.learns ? [follow] : []), this.look.el, this.size, this.bar, this.told);
    this.reorder();
  }
  guesses(msg) { this.predicted = msg.predicted ?? []; this.sure = msg.sure ?? []; }
  learned(msg) {
    this.guesses(msg);
    this.told.textContent = `learned from ${msg.n} labels in ${msg.seconds.toFixed(2)} s`;
    if (this.follow && ["next", "unsure"].includes(this.sort?.select.value) && !this.review && !this.aside && !this.marked.size) this.reorder(true); else this.dressAll();
  }
  reorder(toOpen = false) {
    this.aside = false;
    const show = this.review ? "predicted:" + this.review : this.filter.select.value, by = this.review ? "sure" : this.sort.select.value;
    this.desk.wire.ask("order", { by, show, like: this.order[this.at] ?? 0 }, (msg, buffers) => {
      if (msg.error) { this.banner.hidden = false; this.banner.textContent = msg.error; return; }
      if (!this.review) this.banner.hidden = true;
      const framed = this.order[this.at];
      this.order = new Uint32Array(toPixels(buffers[0], "uint8").buffer);
      if (toOpen && this.labelOf(framed) === "" && this.order.includes(framed)) this.order = Uint32Array.from([framed, ...this.order.filter(r => r !== framed)]); // the next key is meant for what was looked at
      this.place = new Map(Array.from(this.order, (r, i) => [r, i]));
      this.marked.clear(); this.at = 0; this.clearCells(); this.scroller.scrollTop = 0; this.layout();
      if (toOpen) this.next(true);
      this.desk.root.dataset.shown = this.order.length;
      if (!this.order.length) { this.banner.hidden = false; this.banner.textContent = "Nothing to show with this choice."; }
      if (this.review) this.tellReview();
    });
  }

  // -- where things are
  labelOf(row) { const w = this.desk.word(this.items[row]); return w ? w.label ?? "" : this.known[row] >= 0 ? this.desk.classes[this.known[row]] : ""; }
  rowsShown() { return Math.max(1, Math.floor(this.scroller.clientHeight / (this.side + 26))); }
  layoutSoon() { cancelAnimationFrame(this.soon); this.soon = requestAnimationFrame(() => this.layout()); }
  layout() {
    const w = this.scroller.clientWidth || 900, cw = this.side + 8, ch = this.side + 26;
    const columns = Math.max(1, Math.floor(w / cw));
    if (columns !== this.columns) { this.columns = columns; this.clearCells(); }
    const rows = Math.ceil(this.order.length / columns);
    this.inner.style.height = `${rows * ch}px`;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / ch) - 1), last = Math.min(rows, Math.ceil((this.scroller.scrollTop + (this.scroller.clientHeight || 420)) / ch) + 1);
    const from = first * columns, to = Math.min(this.order.length, last * columns);
    for (const [i, c] of this.cells) if (i < from || i >= to) { c.remove(); this.cells.delete(i); }
    for (let i = from; i < to; i++) if (!this.cells.has(i)) this.make(i, cw, ch);
    this.fetch(from, to);
    this.drawBar();
  }
  drawBar() {
    const um = this.desk.setup.px_um, first = this.cache.values().next().value, bar = um && first ? scaleBar(um * Math.max(first.w, first.h) / this.side, 100) : null;
    this.bar.replaceChildren(...(bar ? [h("i", { style: { width: `${bar.px}px` } }), `${bar.um} µm`] : []));
  }
  clearCells() { this.inner.replaceChildren(); this.cells.clear(); }
  make(i, cw, ch) {
    const row = this.order[i], canvas = h("canvas", { width: 8, height: 8 });
    const c = h("div", { className: "cp-cell", role: "option", id: `${this.desk.wire.page}-${row}`, style: { left: `${(i % this.columns) * cw}px`, top: `${Math.floor(i / this.columns) * ch}px`, width: `${this.side + 4}px` },
      onpointerdown: e => { if (e.button === 0) this.click(i, e); } },
      h("div", { className: "cp-pic", style: { width: `${this.side}px`, height: `${this.side}px` } }, canvas), h("div", { className: "cp-chip" }));
    c.canvas = canvas; c.chip = c.lastChild; c.row = row;
    this.cells.set(i, c); this.inner.append(c);
    this.dress(row); this.draw(row);
  }

  // -- pixels
  fetch(from, to) {
    const ahead = Math.min(this.order.length, to + (to - from)), rows = [];
    for (let i = from; i < ahead && rows.length < 160; i++) { const r = this.order[i]; if (!this.cache.has(r) && !this.bad.has(r) && !this.waiting.has(r)) { rows.push(r); this.waiting.add(r); } }
    if (!rows.length) return;
    this.desk.wire.ask("patches", { rows }, (msg, buffers) => {
      rows.forEach(r => this.waiting.delete(r));
      if (msg.error) { rows.forEach(r => this.bad.set(r, msg.error)); rows.forEach(r => this.draw(r)); return; }
      const data = toPixels(buffers[0], this.look.look.dtype);
      let at = 0;
      msg.heads.forEach((head, k) => {
        if (typeof head === "string") this.bad.set(rows[k], head);
        else { const [hh, w, c] = head; this.cache.set(rows[k], { h: hh, w, c, data: data.subarray(at, at + hh * w * c) }); at += hh * w * c; }
        this.draw(rows[k]);
      });
      if (this.cache.size > 6000) for (const r of this.cache.keys()) { if (this.cache.size <= 4000) break; if (!this.cells.has(this.place.get(r))) this.cache.delete(r); }
      this.layoutSoon();
    });
  }
  cell(row) { return this.cells.get(this.place?.get(row)); }
  draw(row) {
    const c = this.cell(row), img = this.cache.get(row);
    if (!c) return;
    if (this.bad.has(row)) { c.canvas.replaceWith(c.canvas = h("p", { className: "cp-bad", title: this.bad.get(row) }, "cannot be shown")); this.dress(row); return; }
    if (img && c.canvas.getContext) { putPatch(c.canvas, img, this.look.luts, this.channelsFor(img)); c.classList.add("cp-drawn"); }
  }
  channelsFor(img) { return img.c === 1 && this.look.channels.length > 1 ? [{ rgb: [255, 255, 255], on: true }] : this.look.channels; }
  drawAll() { for (const c of this.cells.values()) this.draw(c.row); }

  // -- looks that follow from state
  dress(row) {
    const c = this.cell(row);
    if (!c) return;
    const { desk } = this, item = this.items[row], label = this.labelOf(row), word = desk.word(item), k = desk.classes.indexOf(label), p = this.predicted[row], pos = this.place.get(row);
    c.style.setProperty("--c", k >= 0 ? desk.colours[k] : "transparent");
    c.style.setProperty("--ink", k >= 0 ? inkOn(desk.colours[k]) : "inherit");
    c.className = ["cp-cell", c.classList.contains("cp-drawn") && "cp-drawn", pos === this.at && "cp-at", this.marked.has(row) && (this.review ? "cp-wrong" : "cp-marked"), desk.isPending(item) && "cp-pending", word?.flagged && "cp-flagged", label && "cp-has"].filter(Boolean).join(" ");
    const guess = p === undefined || p < 0 ? "" : `${short(desk.classes[p], 12)}${this.sure[row] < 0.3 ? "?" : ""}`;
    c.chip.replaceChildren(...(label ? [h("b", {}, short(label, 13))] : [h("span", {}, guess || "–")]));
    c.title = [item, label ? `label: ${label}${word?.by ? ` (${word.by})` : ""}` : "no label", guess && `model: ${desk.classes[p]}, ${Math.round(100 * this.sure[row])} % sure`, word?.flagged && "flagged", this.bad.get(row)].filter(Boolean).join("\n");
    c.setAttribute("aria-label", c.title.replaceAll("\n", ", "));
    c.setAttribute("aria-selected", String(this.marked.has(row)));
    if (pos === this.at) this.desk.root.setAttribute("aria-activedescendant", c.id);
  }
  dressAll() { for (const c of this.cells.values()) this.dress(c.row); if (this.review) this.tellReview(); }

  // -- moving and marking
  go(i, extend = false) {
    const before = this.order[this.at];
    this.at = clamp(i, 0, Math.max(0, this.order.length - 1));
    if (extend) for (let j = Math.min(this.at, this.anchor ?? this.at); j <= Math.max(this.at, this.anchor ?? this.at); j++) this.marked.add(this.order[j]);
    else this.anchor = this.at;
    const ch = this.side + 26, y = Math.floor(this.at / this.columns) * ch, s = this.scroller;
    if (y < s.scrollTop || y + ch > s.scrollTop + s.clientHeight) { s.scrollTop = y < s.scrollTop ? y : y + ch - s.clientHeight + 4; this.layout(); }
    if (extend) this.dressAll(); else { this.dress(before); this.dress(this.order[this.at]); }
    this.desk.since = performance.now();
  }
  move(by, extend) { this.go(this.at + by, extend); }
  next(here = false) {
    const n = this.order.length;
    for (let d = here ? 0 : 1; d <= n; d++) { const i = (this.at + d) % n; if (!this.labelOf(this.order[i])) return this.go(i); }
    this.go(Math.min(this.at + 1, n - 1));
  }
  toggle(row) { this.marked.has(row) ? this.marked.delete(row) : this.marked.add(row); this.dress(row); if (this.review) this.tellReview(); }
  click(i, e) {
    e.preventDefault(); this.desk.root.focus({ preventScroll: true });
    const row = this.order[i];
    if (this.review || e.ctrlKey || e.metaKey) { this.go(i); this.toggle(row); }
    else if (e.shiftKey) this.go(i, true);
    else { const only = this.marked.size === 1 && this.marked.has(row); this.marked.clear(); if (!only) this.marked.add(row); this.go(i); this.dressAll(); }
  }

  // -- deciding
  targets() { return this.marked.size ? [...this.marked] : this.order.length ? [this.order[this.at]] : []; }
  entry(row, fields) { const word = this.desk.word(this.items[row]); return { item: this.items[row], label: this.labelOf(row), ...(word?.flagged ? { flagged: true } : {}), ...fields }; }
  apply(i) {
    const rows = this.targets(), several = this.marked.size > 0;
    if (!rows.length) return;
    this.marked.clear();
    if (this.review) rows.forEach(r => this.judged.add(r)); // said by hand: not among those that are confirmed
    this.desk.give(rows.map(r => this.entry(r, { label: this.desk.classes[i] })));
    if (several || this.review) this.dressAll();
    this.next();
  }
  flag() { const rows = this.targets(), on = !rows.every(r => this.desk.word(this.items[r])?.flagged); if (rows.length) this.desk.give(rows.map(r => this.entry(r, { flagged: on }))); }
  erase() { const rows = this.targets(); if (rows.length) this.desk.give(rows.map(r => this.entry(r, { label: "" }))); }
  startReview(c) { this.review = c || null; this.judged.clear(); this.reorder(); }
  tellReview() {
    const n = this.order.filter(r => !this.marked.has(r) && !this.judged.has(r)).length;
    this.banner.hidden = false;
    this.banner.replaceChildren(`The model calls these ${this.review}. Click the wrong ones (${this.marked.size}), then `, button(`Confirm the other ${n}`, `Confirm the other ${n} (Enter)`, () => this.confirm()), " ", button("Leave", "Leave the review", () => { this.reviewer.select.value = ""; this.startReview(""); }));
  }
  confirm() {
    const right = [...this.order].filter(r => !this.marked.has(r) && !this.judged.has(r)), wrong = [...this.order].filter(r => this.marked.has(r)), name = this.review;
    if (right.length) this.desk.give(right.map(r => this.entry(r, { label: name, reviewed: true })));
    this.review = null; this.reviewer.select.value = "";
    if (!wrong.length) { this.told.textContent = `${right.length} confirmed as ${name}`; return this.reorder(); }
    this.aside = true; // they stay until the person has gone through them
    this.order = new Uint32Array(wrong); this.place = new Map(wrong.map((r, i) => [r, i])); this.marked.clear(); this.at = 0; this.clearCells(); this.layout();
    this.banner.hidden = false;
    this.banner.replaceChildren(`${right.length} confirmed. These ${wrong.length} are not ${name}: what are they? `, button("Show all again", "Show all again", () => this.reorder()));
    this.desk.root.dataset.shown = wrong.length;
  }
}

// ---------- fields and movies

const BUDGET = 2.3e6; // pixels of a view that is asked for at once

class Stage {
  constructor(desk, kind) {
    this.desk = desk; this.kind = kind; this.f = 0; this.t = 0; this.z = 0; this.scale = 1; this.ox = 0; this.oy = 0; this.seen = new Map(); this.asked = new Set(); this.infos = []; this.tool = null; this.fps = 8;
    this.selected = null; this.suggestions = []; this.hinted = -1; this.radius = 6; this.erase = false; this.fill = false; this.mouse = null;
    const aim = { points: "Cells of the frame", boxes: "Boxes of the frame", masks: "Mask of the frame", images: "The image" }[kind];
    this.canvas = h("canvas", { className: "cp-canvas", role: "img", "aria-label": aim });
    this.over = h("canvas", { className: "cp-over", "aria-hidden": "true" });
    this.note = h("div", { className: "cp-note", hidden: true, role: "alert" });
    this.view = h("div", { className: "cp-view" }, this.canvas, this.over, this.note);
    this.side = h("aside", { className: "cp-side" });
    this.foot = h("div", { className: "cp-foot" });
    desk.body.append(h("div", { className: "cp-stage" }, this.view, this.side), this.foot);
    this.base = document.createElement("canvas"); this.paintOver = document.createElement("canvas"); this.paintNow = document.createElement("canvas");
    this.fieldPick = choice("field", desk.setup.fields.map((n, i) => [String(i), `${i + 1}  ${n}`]), v => this.openField(+v));
    this.find = h("input", { type: "search", placeholder: "find a field", "aria-label": "Find a field by name", oninput: () => this.listFields(), onkeydown: e => { if (["Enter", "Escape"].includes(e.key)) { if (e.key === "Escape") this.find.value = ""; this.listFields(); if (e.key === "Enter" && this.listed.length) this.openField(this.listed[0]); this.desk.root.focus({ preventScroll: true }); e.stopPropagation(); } } });
    this.onlyOpen = h("input", { type: "checkbox", onchange: () => this.listFields() });
    this.listed = desk.setup.fields.map((_, i) => i);
    this.told = h("span", { className: "cp-told", role: "status", "aria-live": "polite" });
    this.keys();
    desk.onchange(() => { this.painted = null; this.drawSoon(); if (this.onlyOpen.checked) this.listFields(); });
    for (const [type, fn] of Object.entries({ pointerdown: e => this.down(e), pointermove: e => this.moved(e), pointerup: e => this.up(e), pointercancel: () => { this.drag = null; this.draw(); }, pointerleave: () => { this.mouse = null; this.preview(); this.drawSoon(); }, contextmenu: e => e.preventDefault(), dblclick: e => e.preventDefault() })) this.over.addEventListener(type, fn);
    this.over.addEventListener("wheel", e => { if (!e.ctrlKey && !this.desk.root.contains(document.activeElement)) return; e.preventDefault(); this.zoom(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.002)), e.offsetX, e.offsetY); }, { passive: false });
    new ResizeObserver(() => { this.resize(); }).observe(this.view);
    this.furnish();
    desk.open(() => this.openField(this.firstOpen()));
  }
  get name() { return this.desk.setup.fields[this.f]; }
  get info() { return this.infos[this.f]; }
  firstOpen() { if (this.kind !== "images") return 0; const i = this.desk.setup.fields.findIndex(n => !this.labelOf(n)); return Math.max(0, i); }
  labelOf(name) { const w = this.desk.word(name); return w ? w.label ?? "" : this.desk.setup.known?.[name] ?? ""; } // of a whole image
  toggled(label) { // what the open image shows, with a class added or taken away
    const { classes, setup } = this.desk, now = this.labelOf(this.name).split("|").filter(Boolean);
    if (now.includes(label)) return now.filter(c => c !== label).join("|");
    const kept = label === setup.alone ? [] : now.filter(c => c !== setup.alone);
    return classes.filter(c => c === label || kept.includes(c)).join("|");
  }

  keys() {
    const { desk, kind } = this, many = desk.setup.fields.length > 1;
    const frames = d => kind === "images" ? this.step(d) : this.goto(this.t + d);
    desk.key("ArrowRight", kind === "images" ? "next image" : "next frame", () => frames(1)); desk.key("ArrowLeft", kind === "images" ? "image before" : "frame before", () => frames(-1));
    desk.key("Shift+ArrowRight", "ten frames on", () => this.goto(this.t + 10)); desk.key("Shift+ArrowLeft", "ten frames back", () => this.goto(this.t - 10));
    desk.key("ArrowUp", "next plane", () => this.plane(1)); desk.key("ArrowDown", "plane before", () => this.plane(-1));
    desk.key("Home", "first frame", () => this.goto(0)); desk.key("End", "last frame", () => this.goto(1e9));
    if (many && kind !== "images") { desk.key("PageDown", "next field", () => this.step(1)); desk.key("PageUp", "field before", () => this.step(-1)); }
    desk.key("+", "zoom in", () => this.zoom(1.4)); desk.key("=", "zoom in", () => this.zoom(1.4)); desk.key("-", "zoom out", () => this.zoom(1 / 1.4)); desk.key("z", "fit into the window", () => { this.fit(); this.draw(); });
    if (kind !== "images") {
      desk.key(" ", "play, stop", () => this.play());
      for (const k of ["x", "Delete", "Backspace"]) desk.key(k, "delete the marked one, or the one under the mouse", () => this.remove());
    }
    desk.key("f", "flag, or take the flag away", () => this.flag());
    if (kind === "points") { desk.key("n", "next suggested cell", () => this.nextSuggestion()); desk.key("Enter", "take the suggestion", () => this.takeSuggestion()); }
    if (kind === "masks") {
      desk.key("[", "smaller brush", () => this.brush(this.radius / 1.25)); desk.key("]", "larger brush", () => this.brush(this.radius * 1.25));
      desk.key("m", "rubber on, off", () => this.setErase(!this.erase)); desk.key("b", "fill an outline, or brush", () => this.setFill(!this.fill));
    }
    if (kind === "images") { desk.key("n", "next without a label", () => this.nextImage()); desk.key("x", "take the label away", () => desk.give([{ item: this.name, label: "" }])); desk.key("Enter", "give the chosen class", () => this.apply(desk.current)); }
    desk.chosen = (i, only) => this.apply(i, only);
    desk.turned = ([e]) => {
      const f = desk.setup.fields.indexOf(kind === "images" ? e.item : e.field);
      if (f >= 0 && (f !== this.f || kind === "images")) this.openField(f, e.t ?? 0); else if (e.t !== this.t || e.z !== this.z) { this.z = e.z; this.goto(e.t); }
    };
    desk.escaped = () => { this.selected = null; this.hinted = -1; this.drag = null; this.draw(); };
    desk.hints = ["Wheel or pinch zooms; drag with the right button, or with Alt, moves the picture."].concat({
      points: "Click puts a point of the chosen class; drag moves one; click on one marks it, then a class key changes it.", boxes: "Drag draws a box of the chosen class; click marks one, its corners and sides can be dragged.",
      masks: "Drag paints with the chosen class.", images: desk.setup.several ? "A class key adds a class or takes it away; n goes on." : "A class key labels the image and goes on." }[kind]);
  }

  furnish() {
    const { kind } = this;
    this.slide = slider("frame", { min: 0, max: 0, step: 1, value: 0, show: v => `${+v + 1} / ${this.info?.shape?.[0] ?? 1}` }, v => this.goto(v));
    this.zslide = slider("z", { min: 0, max: 0, step: 1, value: 0, show: v => `${+v + 1}` }, v => { this.z = v; this.goto(this.t); });
    this.ticks = h("canvas", { className: "cp-ticks", height: 8, "aria-hidden": "true" });
    this.playButton = button("▶", "Play (space)", () => this.play());
    this.picker = h("span", { className: "cp-fields" }, this.fieldPick, this.find, h("label", { className: "cp-check" }, this.onlyOpen, "unlabelled only"));
    this.foot.append(this.picker, this.playButton, h("div", { className: "cp-time" }, this.ticks, this.slide), this.zslide, button("−", "Zoom out (-)", () => this.zoom(1 / 1.4)), button("fit", "Fit into the window (z)", () => { this.fit(); this.draw(); }), button("+", "Zoom in (+)", () => this.zoom(1.4)), this.told);
    this.picker.hidden = this.desk.setup.fields.length < 2;
    if (kind === "points") {
      this.pic = h("canvas", { className: "cp-preview", width: 64, height: 64, role: "img", "aria-label": "The patch under the mouse" });
      this.sideTools = [h("figure", {}, this.pic, h("figcaption", {}, `patch under the mouse, ${this.desk.setup.size} px`)),
        h("label", { className: "cp-check" }, this.snapBox = h("input", { type: "checkbox", checked: this.desk.setup.snap }), "snap to the nucleus"),
        button("Suggest cells (n)", "Suggest the next cell without a point (n)", () => this.nextSuggestion())];
    } else if (kind === "masks") {
      this.brushSlide = slider("brush", { min: 1, max: 60, step: 0.5, value: this.radius, show: v => `${(2 * v).toFixed(0)} px` }, v => { this.radius = v; this.drawSoon(); });
      this.eraseBox = h("input", { type: "checkbox", onchange: e => this.setErase(e.target.checked) }); this.fillBox = h("input", { type: "checkbox", onchange: e => this.setFill(e.target.checked) });
      this.sideTools = [this.brushSlide, h("label", { className: "cp-check" }, this.eraseBox, "rubber (m)"), h("label", { className: "cp-check" }, this.fillBox, "fill outlines (b)")];
    } else if (kind === "images") this.sideTools = [this.answer = h("div", { className: "cp-answer", role: "status" }), button("Next without a label (n)", "Next without a label (n)", () => this.nextImage())];
    else this.sideTools = [h("p", { className: "cp-small" }, "Drag to draw a box. Click one to change it.")];
  }

  // -- fields and frames
  listFields() { // those whose name holds what is looked for, and, if wanted, only those without a label; the open one stays
    const { fields } = this.desk.setup, text = this.find.value.trim().toLowerCase(), done = new Set();
    if (this.onlyOpen.checked && this.kind === "images") for (const name of fields) { if (this.labelOf(name)) done.add(name); }
    else if (this.onlyOpen.checked) for (const [, w] of this.desk.items()) if (w.label) done.add(w.field);
    this.listed = fields.map((_, i) => i).filter(i => fields[i].toLowerCase().includes(text) && !done.has(fields[i]));
    const shown = this.listed.includes(this.f) ? this.listed : [this.f, ...this.listed].sort((a, b) => a - b);
    this.fieldPick.select.replaceChildren(...shown.map(i => h("option", { value: String(i), title: fields[i] }, short(`${i + 1}  ${fields[i]}`, 40))));
    this.fieldPick.select.value = String(this.f);
    this.desk.root.dataset.listed = this.listed.length;
    if (text || this.onlyOpen.checked) this.told.textContent = `${this.listed.length} of ${fields.length} fields`;
  }
  step(d) { // the next one of those that are listed
    const f = d > 0 ? this.listed.find(i => i > this.f) : this.listed.findLast(i => i < this.f);
    if (f !== undefined) this.openField(f);
  }
  say(text, again) { this.note.hidden = !text; this.note.replaceChildren(...(text ? [text, " ", button("Try again", "Read it again", again)] : [])); }
  openField(f, t = 0) {
    f = clamp(f, 0, this.desk.setup.fields.length - 1);
    this.f = f; if (![...this.fieldPick.select.options].some(o => o.value === String(f))) this.listFields(); this.fieldPick.select.value = String(f); this.t = t; this.z = 0; this.selected = null; this.suggestions = []; this.hinted = -1; this.stop();
    this.desk.since = performance.now(); this.shown = null;
    if (this.infos[f]) return this.opened();
    this.desk.wire.ask("field", { f }, msg => {
      if (msg.error) { this.infos[f] = { broken: msg.error }; } else this.infos[f] = msg.info;
      if (f === this.f) this.opened();
    });
  }
  opened() {
    const { info } = this;
    this.desk.root.dataset.field = this.name;
    this.say(info.broken && `${this.name} cannot be shown: ${info.broken}`, () => { this.infos[this.f] = null; this.openField(this.f); });
    if (info.broken) { this.shown = null; this.side.replaceChildren(...(this.kind === "images" ? this.sideTools : [])); this.base.width = this.base.height = 1; this.draw(); return; }
    const [T, Z] = info.shape;
    this.look = this.looks?.[this.f] ?? new Look(info, () => this.repaint()); (this.looks ??= {})[this.f] = this.look;
    this.side.replaceChildren(...this.sideTools, this.look.el);
    this.slide.input.max = T - 1; this.slide.parentElement.hidden = T < 2; this.playButton.hidden = T < 2; this.zslide.input.max = Z - 1; this.zslide.hidden = Z < 2;
    this.resize(true); this.goto(this.t);
    if (this.kind === "images") this.ahead(this.f + 1);
  }
  ahead(f) { // the next image, information and pixels
    if (f >= this.desk.setup.fields.length) return;
    if (this.infos[f]) { if (!this.infos[f].broken) this.load(0, f, 0); return; }
    this.desk.wire.ask("field", { f }, msg => { this.infos[f] ??= msg.error ? { broken: msg.error } : msg.info; this.ahead(f); });
  }
  wholeStep(f = this.f) { const [, , H, W] = this.infos[f].shape; return Math.max(1, Math.ceil(Math.sqrt(H * W / BUDGET))); }
  key(t, z = this.z, f = this.f) { return `${f} ${t} ${z}`; }
  goto(t) {
    if (!this.info || this.info.broken) return;
    this.t = clamp(Math.round(t), 0, this.info.shape[0] - 1); this.slide.set(this.t); this.zslide.set(this.z);
    this.suggestions = []; this.hinted = -1;
    this.want();
  }
  plane(d) { if (this.info?.shape[1] > 1) { this.z = clamp(this.z + d, 0, this.info.shape[1] - 1); this.goto(this.t); } }
  want() { // show the frame if it is here; else ask for it. At most two questions are open, the newest wish counts
    const frame = this.seen.get(this.key(this.t));
    if (frame) { this.show(frame); this.prefetch(); return; }
    if (this.asked.size < 2) this.load(this.t);
  }
  load(t, f = this.f, z = this.z) {
    const k = this.key(t, z, f), step = this.wholeStep(f);
    if (this.asked.has(k) || this.seen.has(k)) return;
    this.asked.add(k);
    this.desk.wire.ask("frame", { f, t, z, step }, (msg, buffers) => {
      this.asked.delete(k);
      if (msg.error) this.seen.set(k, { broken: msg.error });
      else { const [hh, w, c] = msg.head; this.seen.set(k, { h: hh, w, c, step, data: toPixels(buffers[0], this.infos[f].dtype) }); this.trim(); }
      if (!this.info || this.info.broken) return;
      const here = this.seen.get(this.key(this.t));
      if (k === this.key(this.t)) this.show(here);
      if (here) this.prefetch(); else this.want();
    });
  }
  prefetch() { for (const d of [1, 2, 3, -1]) { const t = this.t + d; if (t >= 0 && t < this.info.shape[0] && !this.seen.has(this.key(t)) && !this.asked.size) return this.load(t); } }
  trim() { let bytes = 0; for (const v of this.seen.values()) bytes += v.data?.byteLength ?? 0; for (const [k, v] of this.seen) { if (bytes < 192e6) break; if (k !== this.key(this.t)) { bytes -= v.data?.byteLength ?? 0; this.seen.delete(k); } } }
  show(frame) {
    this.say(frame.broken, () => { this.seen.delete(this.key(this.t)); this.want(); });
    if (frame.broken) { this.shown = null; this.base.width = this.base.height = 1; } else { this.shown = frame; this.detail = null; }
    this.desk.root.dataset.frame = this.t;
    this.repaint(); this.askDetail();
  }
  repaint() {
    if (this.shown && this.look) { putPatch(this.base, this.shown, this.look.luts, this.look.channels); if (this.detail) putPatch(this.detail.canvas, this.detail, this.look.luts, this.look.channels); }
    this.draw(); this.preview();
  }
  askDetail() { // a field larger than the budget is sharpened where one looks
    clearTimeout(this.later);
    const step = this.shown?.step ?? 1;
    if (step === 1 || this.scale * step <= 1.2) { this.detail = null; return; }
    this.later = setTimeout(() => {
      const [, , H, W] = this.info.shape, w = this.view.clientWidth, hh = this.view.clientHeight;
      const box = [clamp(Math.floor(-this.oy / this.scale), 0, H - 1), clamp(Math.floor(-this.ox / this.scale), 0, W - 1), clamp(Math.ceil((hh - this.oy) / this.scale), 1, H), clamp(Math.ceil((w - this.ox) / this.scale), 1, W)];
      const fine = Math.max(1, Math.floor(1 / this.scale), Math.ceil(Math.sqrt((box[2] - box[0]) * (box[3] - box[1]) / BUDGET))), k = this.key(this.t);
      if (fine >= step || box[2] <= box[0] || box[3] <= box[1]) return;
      this.desk.wire.ask("frame", { f: this.f, t: this.t, z: this.z, box, step: fine }, (msg, buffers) => {
        if (msg.error || k !== this.key(this.t)) return;
        const [h2, w2, c] = msg.head;
        this.detail = { h: h2, w: w2, c, box, step: fine, data: toPixels(buffers[0], this.info.dtype), canvas: document.createElement("canvas") };
        this.repaint();
      });
    }, 120);
  }
  play() { if (this.timer) return this.stop(); if (this.info?.shape[0] < 2) return; this.playButton.textContent = "⏸"; this.timer = setInterval(() => { const next = (this.t + 1) % this.info.shape[0]; if (this.seen.has(this.key(next))) this.goto(next); else this.load(next); }, 1000 / this.fps); }
  stop() { clearInterval(this.timer); this.timer = null; if (this.playButton) this.playButton.textContent = "▶"; }

  // -- where things are: screen = image * scale + offset; a pixel i covers [i, i + 1)
  resize(fit = false) {
    const w = this.view.clientWidth, hh = this.view.clientHeight, dpr = window.devicePixelRatio || 1;
    if (!w) return;
    for (const c of [this.canvas, this.over]) { c.width = Math.round(w * dpr); c.height = Math.round(hh * dpr); c.style.width = `${w}px`; c.style.height = `${hh}px`; }
    if (fit || this.fitted !== false) this.fit(); // a picture that filled the view fills the new one, too
    this.draw();
  }
  fit() {
    if (!this.info || this.info.broken) return;
    const [, , H, W] = this.info.shape, w = this.view.clientWidth, hh = this.view.clientHeight;
    this.scale = Math.min(w / W, hh / H); this.ox = (w - W * this.scale) / 2; this.oy = (hh - H * this.scale) / 2; this.fitted = true;
    this.askDetail();
  }
  zoom(by, x = this.view.clientWidth / 2, y = this.view.clientHeight / 2) {
    const s = clamp(this.scale * by, 0.02, 60); by = s / this.scale; this.fitted = false;
    this.ox = x - (x - this.ox) * by; this.oy = y - (y - this.oy) * by; this.scale = s; this.draw(); this.askDetail();
  }
  toImage(e) { return [(e.offsetY - this.oy) / this.scale, (e.offsetX - this.ox) / this.scale]; }
  toScreen(y, x) { return [x * this.scale + this.ox, y * this.scale + this.oy]; }

  // -- what is on the frame
  *shapes() { for (const [item, w] of this.desk.items()) if (w.label && w.field === this.name && w.t === this.t && (w.z ?? 0) === this.z) yield [item, w]; }
  hit(e) {
    let best = null, near = 14;
    for (const [item, w] of this.shapes()) {
      if (this.kind === "points") { const [sx, sy] = this.toScreen(w.y + 0.5, w.x + 0.5), d = Math.hypot(sx - e.offsetX, sy - e.offsetY); if (d < near) { near = d; best = item; } }
      else if (this.kind === "boxes") {
        const [x0, y0] = this.toScreen(w.box[0], w.box[1]), [x1, y1] = this.toScreen(w.box[2], w.box[3]);
        if (e.offsetX > x0 - 5 && e.offsetX < x1 + 5 && e.offsetY > y0 - 5 && e.offsetY < y1 + 5) { const area = (x1 - x0) * (y1 - y0); if (!best || area < near) { near = area; best = item; } }
      }
    }
    return best;
  }
  grip(e) { // which sides of the marked box the mouse holds: 0..3 = y0 x0 y1 x1
    const w = this.selected && this.desk.word(this.selected);
    if (!w?.box) return null;
    const [x0, y0] = this.toScreen(w.box[0], w.box[1]), [x1, y1] = this.toScreen(w.box[2], w.box[3]), near = (a, b) => Math.abs(a - b) < 7;
    if (e.offsetX < x0 - 7 || e.offsetX > x1 + 7 || e.offsetY < y0 - 7 || e.offsetY > y1 + 7) return null;
    const sides = []; if (near(e.offsetY, y0)) sides.push(0); else if (near(e.offsetY, y1)) sides.push(2); if (near(e.offsetX, x0)) sides.push(1); else if (near(e.offsetX, x1)) sides.push(3);
    return sides.length ? sides : null;
  }

  // -- the mouse
  down(e) {
    this.desk.root.focus({ preventScroll: true });
    if (!this.shown) return;
    this.over.setPointerCapture(e.pointerId);
    const at = [e.offsetX, e.offsetY], image = this.toImage(e);
    if (e.button === 2 || e.button === 1 || e.altKey || this.kind === "images") { this.drag = { what: "pan", at }; return; }
    if (e.button !== 0) return;
    if (this.kind === "masks") { this.drag = { what: "stroke", points: [image.map(v => v - 0.5)] }; this.drawSoon(); return; }
    const sides = this.kind === "boxes" && this.grip(e), item = sides ? this.selected : this.hit(e);
    this.drag = { what: sides ? "side" : item ? "item" : this.kind === "boxes" ? "box" : "new", at, image, item, sides, start: item ? this.desk.word(item) : null, moved: false };
    this.selected = item; this.hinted = -1; this.drawSoon();
  }
  moved(e) {
    this.mouse = e; const d = this.drag;
    if (!d) { this.preview(); if (this.kind === "masks") this.drawSoon(); if (this.kind === "boxes") { const g = this.grip(e); this.over.style.cursor = g ? g.length > 1 ? "nwse-resize" : g[0] % 2 ? "ew-resize" : "ns-resize" : "crosshair"; } return; }
    if (d.what === "pan") { this.fitted = false; this.ox += e.offsetX - d.at[0]; this.oy += e.offsetY - d.at[1]; d.at = [e.offsetX, e.offsetY]; this.askDetail(); this.drawSoon(); return; }
    if (d.what === "stroke") { const p = this.toImage(e).map(v => v - 0.5), q = d.points.at(-1); if (Math.hypot(p[0] - q[0], p[1] - q[1]) >= 0.7) d.points.push(p); this.drawSoon(); return; }
    if (Math.hypot(e.offsetX - d.at[0], e.offsetY - d.at[1]) > 3) d.moved = true;
    d.now = this.toImage(e); this.preview(); this.drawSoon();
  }
  dragged(d) { // what the dragged shape is right now
    const now = d.now ?? d.image, dy = now[0] - d.image[0], dx = now[1] - d.image[1];
    if (d.what === "box") return { box: [Math.min(d.image[0], now[0]), Math.min(d.image[1], now[1]), Math.max(d.image[0], now[0]), Math.max(d.image[1], now[1])] };
    if (this.kind === "points") return { y: d.start.y + dy, x: d.start.x + dx };
    const b = [...d.start.box];
    if (d.what === "side") for (const s of d.sides) b[s] += s % 2 ? dx : dy; else { b[0] += dy; b[2] += dy; b[1] += dx; b[3] += dx; }
    return { box: [Math.min(b[0], b[2]), Math.min(b[1], b[3]), Math.max(b[0], b[2]), Math.max(b[1], b[3])] };
  }
  up(e) {
    const d = this.drag; this.drag = null;
    if (!d || d.what === "pan") return;
    const { desk } = this, where = { field: this.name, t: this.t, z: this.z }, label = desk.classes[desk.current];
    if (d.what === "stroke") desk.give([{ item: "s_" + newId(), label, ...where, stroke: { points: d.points.map(p => p.map(v => Math.round(v * 100) / 100)), radius: this.radius, erase: this.erase, fill: this.fill && d.points.length > 2 } }]);
    else if (d.what === "new") { if (!d.moved) this.put(d.image[0] - 0.5, d.image[1] - 0.5, label, this.snapBox.checked); }
    else if (d.what === "box") { const shape = this.dragged(d), [y0, x0, y1, x1] = shape.box; if ((y1 - y0) * this.scale > 4 && (x1 - x0) * this.scale > 4) { const item = "b_" + newId(); desk.give([{ item, label, ...where, ...shape }]); this.selected = item; } }
    else if (d.moved) desk.give([{ ...this.entry(d.item), ...this.dragged(d), snap: this.kind === "points" && this.snapBox.checked ? true : undefined }]);
    this.draw();
  }
  entry(item) { const w = this.desk.word(item); return Object.fromEntries(Object.entries({ item, label: w.label, field: w.field, t: w.t, z: w.z, y: w.y, x: w.x, box: w.box, flagged: w.flagged }).filter(([, v]) => v !== undefined)); }
  put(y, x, label, snap) { const [, , H, W] = this.info.shape; if (y < -0.5 || x < -0.5 || y >= H || x >= W) return; this.desk.give([{ item: "p_" + newId(), label, field: this.name, t: this.t, z: this.z, y, x, snap }]); }

  // -- the keys
  apply(i, only = false) {
    const { desk } = this, label = desk.classes[i];
    if (only) return;
    if (this.kind === "images" && desk.setup.several) { desk.give([{ item: this.name, label: this.toggled(label) }]); return; }
    if (this.kind === "images") { desk.give([{ item: this.name, label }]); this.nextImage(); return; }
    if (this.hinted >= 0) { const s = this.suggestions[this.hinted]; this.put(s.y, s.x, label, false); this.suggestions.splice(this.hinted, 1); this.hinted -= 1; this.tellOpen(); if (this.suggestions.length) this.nextSuggestion(); else { this.hinted = -1; this.showHint(); } return; }
    if (this.selected && this.desk.word(this.selected)) desk.give([{ ...this.entry(this.selected), label }]);
  }
  target() { return this.selected ?? (this.mouse && this.hit(this.mouse)); }
  remove() { const item = this.target(); if (item && this.desk.word(item)) { this.desk.give([{ ...this.entry(item), label: "" }]); this.selected = null; this.draw(); } }
  flag() {
    if (this.kind === "images") { const w = this.desk.word(this.name); this.desk.give([{ item: this.name, label: this.labelOf(this.name), flagged: !w?.flagged }]); return; }
    const item = this.target(), w = item && this.desk.word(item); if (w) this.desk.give([{ ...this.entry(item), flagged: !w.flagged }]);
  }
  nextImage() {
    const n = this.desk.setup.fields.length;
    for (let d = 1; d <= n; d++) { const f = (this.f + d) % n; if (!this.labelOf(this.desk.setup.fields[f])) return this.openField(f); }
    this.told.textContent = "every image has a label"; this.draw();
  }
  nextSuggestion() {
    if (this.suggestions.length) { this.hinted = (this.hinted + 1) % this.suggestions.length; this.selected = null; return this.showHint(); }
    const k = this.key(this.t); this.told.textContent = "looking for cells …";
    this.desk.wire.ask("suggest", { f: this.f, t: this.t, z: this.z }, msg => {
      if (k !== this.key(this.t)) return;
      this.suggestions = msg.cells ?? []; this.tellOpen(msg.error); this.hinted = this.suggestions.length ? 0 : -1; this.showHint();
    });
  }
  tellOpen(error) { const n = this.suggestions.length; this.told.textContent = error ?? (n ? `${n} ${n > 1 ? "cells" : "cell"} without a point` : "every cell of this frame has a point"); }
  showHint() {
    const s = this.suggestions[this.hinted];
    if (s) { const [x, y] = this.toScreen(s.y + 0.5, s.x + 0.5), w = this.view.clientWidth, hh = this.view.clientHeight; if (x < 0 || y < 0 || x > w || y > hh) { this.fitted = false; this.ox += w / 2 - x; this.oy += hh / 2 - y; this.askDetail(); } }
    this.preview(s); this.draw();
  }
  takeSuggestion() { const s = this.suggestions[this.hinted]; if (s) { const i = s.label ? this.desk.classes.indexOf(s.label) : this.desk.current; this.apply(i < 0 ? this.desk.current : i); } }
  brush(r) { this.radius = clamp(r, 1, 60); this.brushSlide.set(this.radius); this.draw(); }
  setErase(on) { this.erase = on; this.eraseBox.checked = on; this.draw(); }
  setFill(on) { this.fill = on; this.fillBox.checked = on; this.draw(); }

  // -- drawing
  drawSoon() { cancelAnimationFrame(this.soon); this.soon = requestAnimationFrame(() => this.draw()); }
  draw() {
    const g = this.canvas.getContext("2d"), dpr = window.devicePixelRatio || 1;
    g.setTransform(1, 0, 0, 1, 0, 0); g.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const o = this.over.getContext("2d");
    o.setTransform(1, 0, 0, 1, 0, 0); o.clearRect(0, 0, this.over.width, this.over.height);
    if (!this.shown) return this.tell();
    const [, , H, W] = this.info.shape, s = this.scale;
    g.setTransform(dpr * s, 0, 0, dpr * s, dpr * this.ox, dpr * this.oy);
    g.imageSmoothingEnabled = s * this.shown.step < 1;
    g.drawImage(this.base, 0, 0, W, H);
    if (this.detail) { const b = this.detail.box; g.imageSmoothingEnabled = s * this.detail.step < 1; g.drawImage(this.detail.canvas, b[1], b[0], b[3] - b[1], b[2] - b[0]); }
    o.setTransform(dpr, 0, 0, dpr, 0, 0);
    if (this.kind === "points") this.drawPoints(o); else if (this.kind === "boxes") this.drawBoxes(o); else if (this.kind === "masks") this.drawMask(o);
    this.drawScale(o); this.tell();
  }
  colourOf(label) { const i = this.desk.classes.indexOf(label); return i < 0 ? "#ffffff" : this.desk.colours[i]; }
  ring(o, x, y, r, colour, { dash = [], width = 2 } = {}) {
    o.beginPath(); o.arc(x, y, r, 0, 7); o.setLineDash([]); o.lineWidth = width + 2; o.strokeStyle = "rgba(0,0,0,.65)"; o.stroke(); o.setLineDash(dash); o.lineWidth = width; o.strokeStyle = colour; o.stroke(); o.setLineDash([]);
  }
  tag(o, text, x, y, colour) { o.font = "600 11px system-ui, sans-serif"; const w = o.measureText(text).width + 6; o.fillStyle = colour; o.fillRect(x, y - 12, w, 14); o.fillStyle = inkOn(colour); o.fillText(text, x + 3, y - 1); }
  drawPoints(o) {
    this.suggestions.forEach((s, i) => { const [x, y] = this.toScreen(s.y + 0.5, s.x + 0.5); this.ring(o, x, y, i === this.hinted ? 13 : 9, i === this.hinted ? "#ffffff" : "rgba(255,255,255,.75)", { dash: [4, 4], width: i === this.hinted ? 3 : 1.5 }); if (i === this.hinted && s.label) this.tag(o, `${short(s.label, 16)}? ${Math.round(100 * s.p)} %`, x + 14, y - 8, this.colourOf(s.label)); });
    for (const [item, w] of this.shapes()) {
      const d = this.drag?.item === item && this.drag.moved ? this.dragged(this.drag) : w, [x, y] = this.toScreen(d.y + 0.5, d.x + 0.5), c = this.colourOf(w.label);
      this.ring(o, x, y, item === this.selected ? 11 : 8, c, { dash: this.desk.isPending(item) ? [2, 3] : [], width: item === this.selected ? 3.5 : 2.5 });
      o.fillStyle = c; o.beginPath(); o.arc(x, y, 1.8, 0, 7); o.fill();
      this.tag(o, (this.desk.setup.keys[this.desk.classes.indexOf(w.label)] ?? "") + (w.flagged ? " ⚑" : ""), x + 8, y - 6, c);
    }
  }
  drawBoxes(o) {
    const one = (box, c, { marked, pending, label, flagged }) => {
      const [x0, y0] = this.toScreen(box[0], box[1]), [x1, y1] = this.toScreen(box[2], box[3]);
      o.setLineDash([]); o.lineWidth = 4; o.strokeStyle = "rgba(0,0,0,.6)"; o.strokeRect(x0, y0, x1 - x0, y1 - y0); o.setLineDash(pending ? [4, 4] : []); o.lineWidth = marked ? 3 : 2; o.strokeStyle = c; o.strokeRect(x0, y0, x1 - x0, y1 - y0); o.setLineDash([]);
      if (label) this.tag(o, short(label, 18) + (flagged ? " ⚑" : ""), x0 - 1, y0 - 2, c);
      if (marked) for (const [x, y] of [[x0, y0], [x1, y0], [x0, y1], [x1, y1]]) { o.fillStyle = "#fff"; o.fillRect(x - 4, y - 4, 8, 8); o.strokeStyle = "#000"; o.lineWidth = 1; o.strokeRect(x - 4, y - 4, 8, 8); }
    };
    for (const [item, w] of this.shapes()) { const d = this.drag?.item === item && this.drag.moved ? this.dragged(this.drag) : w; one(d.box, this.colourOf(w.label), { marked: item === this.selected, pending: this.desk.isPending(item), label: w.label, flagged: w.flagged }); }
    if (this.drag?.what === "box") one(this.dragged(this.drag).box, this.colourOf(this.desk.classes[this.desk.current]), { pending: true });
  }
  stroke(m, s, colour) {
    m.globalCompositeOperation = s.erase ? "destination-out" : "source-over"; m.fillStyle = m.strokeStyle = colour; m.lineCap = m.lineJoin = "round";
    const p = s.points;
    m.beginPath();
    if (s.fill) { p.forEach(([y, x], i) => i ? m.lineTo(x + 0.5, y + 0.5) : m.moveTo(x + 0.5, y + 0.5)); m.closePath(); m.fill(); }
    else if (p.length === 1) { m.arc(p[0][1] + 0.5, p[0][0] + 0.5, s.radius, 0, 7); m.fill(); }
    else { m.lineWidth = Math.max(1, Math.round(2 * s.radius)); p.forEach(([y, x], i) => i ? m.lineTo(x + 0.5, y + 0.5) : m.moveTo(x + 0.5, y + 0.5)); m.stroke(); }
  }
  drawMask(o) {
    const [, , H, W] = this.info.shape, q = Math.max(1, Math.ceil(Math.sqrt(H * W / 4e6))), c = this.paintOver;
    const fresh = canvas => { canvas.width = Math.ceil(W / q); canvas.height = Math.ceil(H / q); const m = canvas.getContext("2d"); m.setTransform(1 / q, 0, 0, 1 / q, 0, 0); return m; };
    if (this.painted !== this.key(this.t)) { // strokes that stand are painted once, not with every move of the mouse
      this.painted = this.key(this.t);
      const m = fresh(c);
      for (const [, w] of this.shapes()) if (w.stroke) this.stroke(m, w.stroke, this.colourOf(w.label));
    }
    let top = c;
    if (this.drag?.what === "stroke" && !this.fill) {
      const m = fresh(top = this.paintNow); m.drawImage(c, 0, 0, c.width * q, c.height * q);
      this.stroke(m, { points: this.drag.points, radius: this.radius, erase: this.erase }, this.colourOf(this.desk.classes[this.desk.current]));
    }
    o.save(); o.globalAlpha = 0.5; o.translate(this.ox, this.oy); o.scale(this.scale, this.scale); o.imageSmoothingEnabled = false; o.drawImage(top, 0, 0, top.width * q, top.height * q); o.restore();
    if (this.drag?.what === "stroke" && this.fill) { o.beginPath(); this.drag.points.forEach(([y, x], i) => { const [sx, sy] = this.toScreen(y + 0.5, x + 0.5); i ? o.lineTo(sx, sy) : o.moveTo(sx, sy); }); o.setLineDash([4, 3]); o.lineWidth = 2; o.strokeStyle = this.colourOf(this.desk.classes[this.desk.current]); o.stroke(); o.setLineDash([]); }
    if (this.mouse && !this.fill) this.ring(o, this.mouse.offsetX, this.mouse.offsetY, Math.max(2, this.radius * this.scale), this.erase ? "#ffffff" : this.colourOf(this.desk.classes[this.desk.current]), { dash: this.erase ? [3, 3] : [], width: 1.5 });
  }
  drawScale(o) {
    const um = this.info.px_um, bar = um ? scaleBar(um / this.scale) : null, hh = this.view.clientHeight;
    if (!bar) return;
    o.fillStyle = "rgba(0,0,0,.55)"; o.fillRect(8, hh - 30, bar.px + 16, 24); o.fillStyle = "#fff"; o.fillRect(16, hh - 12, bar.px, 3); o.font = "11px system-ui, sans-serif"; o.fillText(`${bar.um} µm`, 16, hh - 16);
  }
  preview(at) { // the patch around the mouse or a suggestion, from the pixels that are here
    if (!this.pic) return;
    const size = this.desk.setup.size, p = at ? [at.y, at.x] : this.mouse && this.shown ? this.toImage(this.mouse).map(v => v - 0.5) : null, img = this.shown;
    const g = this.pic.getContext("2d");
    if (!p || !img) { g.clearRect(0, 0, this.pic.width, this.pic.height); return; }
    const n = Math.max(8, Math.round(size / img.step)), y0 = Math.round(p[0] / img.step) - (n >> 1), x0 = Math.round(p[1] / img.step) - (n >> 1), out = { h: n, w: n, c: img.c, data: new img.data.constructor(n * n * img.c) };
    const mirror = (i, n) => { i = Math.abs(i); return clamp(i < n ? i : 2 * n - 2 - i, 0, n - 1); }; // as patches are cut
    for (let y = 0; y < n; y++) { const sy = mirror(y0 + y, img.h); for (let x = 0; x < n; x++) { const sx = mirror(x0 + x, img.w); for (let k = 0; k < img.c; k++) out.data[(y * n + x) * img.c + k] = img.data[(sy * img.w + sx) * img.c + k]; } }
    putPatch(this.pic, out, this.look.luts, this.look.channels);
  }
  tell() {
    const n = this.info && !this.info.broken ? [...this.shapes()].length : 0, what = { points: "points", boxes: "boxes", masks: "strokes" }[this.kind];
    if (what && this.info && !this.info.broken) this.canvas.setAttribute("aria-label", `${this.name}, frame ${this.t + 1} of ${this.info.shape[0]}, ${n} ${what}`);
    this.desk.root.dataset.shapes = n;
    if (this.answer) {
      const { setup } = this.desk, label = this.labelOf(this.name), flag = this.desk.word(this.name)?.flagged ? " ⚑" : "", parts = setup.several ? label.split("|") : [label];
      const said = parts.map((c, i) => h("b", { style: { "--c": c ? this.colourOf(c) : "transparent" } }, c ? short(c, 24) : "no label yet", i === parts.length - 1 ? flag : ""));
      this.answer.replaceChildren(h("small", {}, `${this.f + 1} of ${setup.fields.length}`), ...said, h("span", {}, short(this.name, 40)));
    }
    this.drawTicks();
  }
  drawTicks() { // where in time something is labelled
    const T = this.info?.shape?.[0] ?? 1, c = this.ticks;
    if (T < 2 || c.hidden) return;
    const w = c.clientWidth || 300; if (c.width !== w) c.width = w;
    const g = c.getContext("2d"); g.clearRect(0, 0, w, 8);
    for (const [, s] of this.desk.items()) if (s.label && s.field === this.name) { g.fillStyle = this.colourOf(s.label); g.fillRect(8 + (w - 18) * (s.t ?? 0) / (T - 1), 0, 2, 8); }
  }
  close() { this.stop(); clearTimeout(this.later); }
}

export default {
  render({ model, el }) {
    const desk = new Desk(model, el), kind = model.get("kind"), view = kind === "grid" ? new Grid(desk) : new Stage(desk, kind);
    return () => { view.close?.(); desk.close(); };
  },
};
