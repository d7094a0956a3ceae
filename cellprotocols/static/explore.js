// The map: thousands of points on one canvas, the patch of the one under the pointer, a selection that takes a label as one act.
// Stands on base.js; where `setup.readonly` is set nothing is labelled and the selection is copied or downloaded instead.

// ---------- colours and shapes: a class has both, so that nobody needs to tell colours apart

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const STEPS = 24;

function viridis(v) { // 0..1 -> "#rrggbb"
  const at = clamp(v, 0, 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2), f = at - i;
  const [a, b] = [hexRgb(VIRIDIS[i]), hexRgb(VIRIDIS[i + 1])];
  return "#" + a.map((x, k) => Math.round(x + f * (b[k] - x)).toString(16).padStart(2, "0")).join("");
}

const ring = (n, r, turn = -Math.PI / 2, inner = 1) => Array.from({ length: n }, (_, i) => { const a = turn + 2 * Math.PI * i / n, s = i % 2 ? r * inner : r; return [s * Math.cos(a), s * Math.sin(a)]; });
const plus = (r, w) => [[-w, -r], [w, -r], [w, -w], [r, -w], [r, w], [w, w], [w, r], [-w, r], [-w, w], [-r, w], [-r, -w], [-w, -w]];
const turned = (points, a) => points.map(([x, y]) => [x * Math.cos(a) - y * Math.sin(a), x * Math.sin(a) + y * Math.cos(a)]);
const SHAPES = [ // radius -> corners; null: a disc
  null, r => ring(4, 1.25 * r, Math.PI / 4), r => ring(3, 1.4 * r), r => ring(4, 1.3 * r), r => ring(3, 1.4 * r, Math.PI / 2),
  r => plus(1.15 * r, 0.42 * r), r => turned(plus(1.2 * r, 0.42 * r), Math.PI / 4), r => ring(10, 1.5 * r, -Math.PI / 2, 0.45), r => ring(6, 1.15 * r), r => ring(3, 1.4 * r, Math.PI),
];

function outline(ctx, shape, r) {
  ctx.beginPath();
  const corners = SHAPES[shape]?.(r);
  if (corners) { corners.forEach(([x, y], i) => i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)); ctx.closePath(); } else ctx.arc(0, 0, r, 0, 2 * Math.PI);
}

function drawMark(ctx, look, r) { // one mark around (0, 0)
  outline(ctx, look.shape, r);
  ctx.lineJoin = "round";
  if (look.edge) { ctx.strokeStyle = look.edge; ctx.lineWidth = 2 * look.width; ctx.stroke(); }
  if (look.ground) { ctx.fillStyle = look.ground; ctx.fill(); }
  if (look.hollow) { ctx.strokeStyle = look.fill; ctx.lineWidth = Math.max(1, 0.4 * r); ctx.stroke(); }
  else { ctx.fillStyle = look.fill; ctx.fill(); }
}

// ---------- marks are drawn once and then copied pixel by pixel: ten thousand of them take a few milliseconds on any machine

function makeStamp(look, r, stride) {
  const half = Math.ceil(1.5 * r + look.width + 1), n = 2 * half + 1, canvas = h("canvas", { width: n, height: n }), ctx = canvas.getContext("2d", { willReadFrequently: true });
  ctx.translate(half + 0.5, half + 0.5); drawMark(ctx, look, r);
  const { data } = ctx.getImageData(0, 0, n, n), solid = [], soft = [];
  for (let i = 0; i < n * n; i++) {
    const a = data[4 * i + 3], at = (Math.floor(i / n) - half) * stride + i % n - half;
    if (a > 250) solid.push(at, 0xff000000 | data[4 * i + 2] << 16 | data[4 * i + 1] << 8 | data[4 * i]);
    else if (a > 8) soft.push(at, data[4 * i], data[4 * i + 1], data[4 * i + 2], a / 255);
  }
  return { half, solid: Int32Array.from(solid), soft: Float64Array.from(soft) };
}

function stamp(px, base, { solid, soft }) {
  for (let k = 0; k < solid.length; k += 2) px[base + solid[k]] = solid[k + 1];
  for (let k = 0; k < soft.length; k += 5) {
    const at = base + soft[k], was = px[at], a = soft[k + 4], b = 1 - a;
    px[at] = 0xff000000 | (a * soft[k + 3] + b * (was >> 16 & 255)) << 16 | (a * soft[k + 2] + b * (was >> 8 & 255)) << 8 | (a * soft[k + 1] + b * (was & 255));
  }
}

// ---------- where points are: a grid of cells over the map, made once

class Grid {
  constructor(xy) {
    const n = xy.length / 2, side = this.side = Math.max(1, Math.ceil(Math.sqrt(n / 3)));
    this.xy = xy; this.start = new Uint32Array(side * side + 1); this.rows = new Uint32Array(n);
    const cell = Uint32Array.from({ length: n }, (_, i) => this.cell(xy[2 * i]) + side * this.cell(xy[2 * i + 1]));
    for (const c of cell) this.start[c + 1]++;
    for (let c = 0; c < side * side; c++) this.start[c + 1] += this.start[c];
    const next = this.start.slice();
    cell.forEach((c, i) => { this.rows[next[c]++] = i; });
  }
  cell(v) { return clamp(Math.floor(v * this.side), 0, this.side - 1); }
  within(x, y, r, fn) { // every point in the square around (x, y)
    for (let cy = this.cell(y - r); cy <= this.cell(y + r); cy++) for (let cx = this.cell(x - r); cx <= this.cell(x + r); cx++) {
      const c = cx + this.side * cy;
      for (let k = this.start[c]; k < this.start[c + 1]; k++) fn(this.rows[k]);
    }
  }
  nearest(x, y, r, ok) {
    let best = -1, least = r * r;
    this.within(x, y, r, i => { const d = (this.xy[2 * i] - x) ** 2 + (this.xy[2 * i + 1] - y) ** 2; if (d <= least && ok(i)) { best = i; least = d; } });
    return best;
  }
}

function inside(x, y, polygon) { // even-odd, as the twin in Python
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i], [xj, yj] = polygon[j];
    if ((yi > y) !== (yj > y) && x < (xj - xi) * (y - yi) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

// ---------- patches: asked for together, kept while there is room

class Patches {
  constructor(wire, look, arrived) {
    this.wire = wire; this.look = look; this.arrived = arrived; this.kept = new Map(); this.wanted = new Set(); this.asked = new Set();
    this.channels = look.rgb ? ["#ff0000", "#00ff00", "#0000ff"].map(c => ({ rgb: hexRgb(c), on: true })) : look.channels.map(c => ({ rgb: hexRgb(c.colour), on: true }));
    this.setGamma(1);
  }
  setGamma(gamma) { this.luts = makeLuts(this.look.levels.map(levels => [levels[3], levels[15]]), gamma, this.look.dtype); } // from 0.1 to 99.9 % of the grey levels, the same for all
  want(rows) {
    for (const i of rows) if (!this.kept.has(i) && !this.asked.has(i)) this.wanted.add(i);
    if (this.wanted.size && !this.timer) this.timer = setTimeout(() => this.send(), 20);
  }
  send() {
    this.timer = 0;
    const rows = [...this.wanted].slice(-64);
    rows.forEach(i => { this.wanted.delete(i); this.asked.add(i); });
    this.wire.ask("patches", { rows }, (msg, [data]) => {
      rows.forEach(i => this.asked.delete(i));
      if (msg.error) { rows.forEach(i => this.kept.set(i, { error: msg.error })); return this.arrived(rows); }
      let at = 0; const wide = this.look.dtype === "uint16" ? 2 : 1;
      msg.heads.forEach((head, k) => {
        if (typeof head === "string") { this.kept.set(rows[k], { error: head }); return; }
        const [hh, w, c] = head, size = hh * w * c * wide;
        this.kept.set(rows[k], { h: hh, w, c, data: toPixels(new DataView(data.buffer, data.byteOffset + at, size), this.look.dtype) });
        at += size;
      });
      for (const i of this.kept.keys()) { if (this.kept.size <= 3000) break; this.kept.delete(i); }
      this.arrived(rows);
    });
    if (this.wanted.size) this.timer = setTimeout(() => this.send(), 20);
  }
  show(canvas, i) { // false: not here yet
    const img = this.kept.get(i);
    if (!img || img.error) { canvas.width = canvas.height = 1; canvas.title = img?.error ?? ""; canvas.classList.toggle("cp-none", Boolean(img)); return Boolean(img); }
    putPatch(canvas, img, this.luts, this.channels);
    canvas.classList.remove("cp-none"); canvas.title = "";
    return true;
  }
  error(i) { return this.kept.get(i)?.error ?? ""; }
}

// ---------- the map

class CellMap {
  constructor(desk, msg, [places]) {
    this.desk = desk; this.items = msg.items; this.known = msg.known; this.n = msg.items.length; this.rowOf = new Map(msg.items.map((item, i) => [item, i]));
    this.xy = new Float32Array(places.buffer.slice(places.byteOffset, places.byteOffset + 8 * this.n)); this.grid = new Grid(this.xy);
    this.extent = [0, 1].map(k => { let lo = Infinity, hi = -Infinity; for (let i = k; i < this.xy.length; i += 2) { lo = Math.min(lo, this.xy[i]); hi = Math.max(hi, this.xy[i]); } return Math.max(hi - lo, 0.02); });
    this.groups = msg.groups ?? []; this.group = msg.group ?? []; this.time = msg.time ?? []; this.predicted = msg.predicted ?? []; this.sure = msg.sure ?? []; this.groupColours = msg.group_colours ?? [];
    this.readonly = Boolean(desk.setup.readonly); this.picked = new Set(); this.hidden = new Set(); this.under = -1; this.lassoing = false; this.lasso = null;
    this.patches = new Patches(desk.wire, msg.look, rows => this.patched(rows));
    this.order = Uint32Array.from({ length: this.n }, (_, i) => i); this.shuffle();
    this.code = new Int16Array(this.n); this.stamps = []; this.view = { x: 0.5, y: 0.5, k: 1 };
    this.build(); this.setKeys(); this.pointers();
    desk.onchange(items => this.relabelled(items));
    desk.wire.on("learned", m => { this.predicted = m.predicted; this.sure = m.sure; this.options(); this.recolour(); });
    desk.chosen = (i, only) => only || this.give(desk.classes[i]);
    desk.escaped = () => this.pick([]);
    this.options(); this.colourBy(desk.setup.colour && this.by.has(desk.setup.colour) ? desk.setup.colour : "label");
    this.seen = new ResizeObserver(() => this.resize()); this.seen.observe(this.stage);
    this.theme = matchMedia("(prefers-color-scheme: dark)"); this.onTheme = () => this.themed(); this.theme.addEventListener("change", this.onTheme);
    this.jupyter = new MutationObserver(this.onTheme); this.jupyter.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
    this.showPicked(); this.themed();
  }
  close() { this.seen.disconnect(); this.theme.removeEventListener("change", this.onTheme); this.jupyter.disconnect(); cancelAnimationFrame(this.frame); }

  shuffle() { // the same every time; no class lies on top of the others
    let s = 1;
    for (let i = this.n - 1; i > 0; i--) { s = Math.imul(s, 1664525) + 1013904223 >>> 0; const j = s % (i + 1); [this.order[i], this.order[j]] = [this.order[j], this.order[i]]; }
  }

  // -- what is on the page
  build() {
    const { desk } = this;
    this.canvas = h("canvas", { className: "cp-points", tabIndex: 0, role: "img", "aria-label": `Map of ${this.n.toLocaleString("en")} cells. Arrow keys go from cell to cell, Enter selects.` });
    this.tip = h("div", { className: "cp-tip", hidden: true });
    this.said = h("p", { className: "cp-said", role: "status", "aria-live": "polite" });
    this.stage = h("div", { className: "cp-plot" }, this.canvas, this.tip);
    this.choice = choice("Colour by", [], by => this.colourBy(by));
    this.mode = button("Lasso", `Select by drawing around cells (${this.lassoKey = desk.setup.keys.includes("l") ? "m" : "l"})`, () => this.setLasso(!this.lassoing), { className: "cp-mode", "aria-pressed": "false" });
    this.bright = slider("Brightness", { min: -4, max: 4, step: 1, value: 0, title: "Brightness of the patches" }, v => { this.patches.setGamma(2 ** (-v / 3)); this.repaint(); });
    this.bar = h("div", { className: "cp-bar-map" }, this.choice, this.mode, button("+", "Zoom in (+)", () => this.zoom(1.5)), button("−", "Zoom out (-)", () => this.zoom(1 / 1.5)), button("Fit", "Show all (0)", () => this.fit()), this.bright);
    this.legend = h("div", { className: "cp-legend", role: "group", "aria-label": "Legend: press to hide or show" });
    this.count = h("p", { className: "cp-picked", role: "status", "aria-live": "polite" });
    this.strip = h("ul", { className: "cp-strip", "aria-label": "Selected cells" });
    const acts = this.readonly
      ? [button("Copy ids", "Copy the item ids of the selection", () => this.copy()), button("Download CSV", "Download the selection as a table", () => this.download())]
      : [button("Flag", "Flag the selection (f)", () => this.flag()), button("Take labels away", "Take the labels of the selection away (x)", () => this.give(""))];
    this.acts = h("div", { className: "cp-acts" }, acts, button("Clear", "Select nothing (Esc)", () => this.pick([])));
    this.side = h("aside", { className: "cp-aside", "aria-label": "Legend and selection" }, this.legend, h("div", { className: "cp-selection" }, this.count, this.acts, this.strip, this.said));
    desk.body.replaceChildren(this.bar, this.stage, this.side);
    if (this.readonly) {
      desk.palette.remove(); desk.status.hidden = true; desk.tools.querySelectorAll(".cp-undo, .cp-redo").forEach(b => { b.hidden = true; });
      for (const k of [...desk.setup.keys, ".", ",", "u", "r", "Ctrl+z", "Ctrl+y", "Ctrl+Shift+z"]) desk.keys.delete(k);
      desk.root.querySelector(".cp-head").remove(); this.bar.append(desk.tools);
    }
    desk.hints = ["Hover: the patch. Click selects, Shift+click adds or leaves out. Drag moves the map; with the lasso, or with Shift, it draws around cells. The wheel zooms once the map was clicked.",
      this.readonly ? "Nothing is labelled on this page: copy or download the selection." : "A class key labels all that is selected, as one act."];
  }
  setKeys() {
    const { desk } = this, key = (...a) => desk.key(...a);
    key(this.lassoKey, "lasso on or off", () => this.setLasso(!this.lassoing));
    if (!this.readonly) { key("f", "flag the selection", () => this.flag()); key("x", "take labels away", () => this.give("")); }
    key("Enter", "select the cell", () => this.under >= 0 && this.pick([this.under])); key("Shift+Enter", "add it to the selection, or leave it out", () => this.under >= 0 && this.toggle(this.under));
    for (const [name, dx, dy] of [["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, 1], ["ArrowDown", 0, -1]]) {
      key(name, "next cell that way", () => this.step(dx, dy)); key("Shift+" + name, "move the map", () => this.pan(-80 * dx, 80 * dy));
    }
    key("+", "zoom in", () => this.zoom(1.5)); key("=", "zoom in", () => this.zoom(1.5)); key("-", "zoom out", () => this.zoom(1 / 1.5)); key("0", "show all", () => this.fit());
    key("Ctrl+a", "select all that is in view", () => this.pick(this.inView()));
  }

  // -- what a point is
  label(i) { const w = this.desk.word(this.items[i]); return w ? w.label : this.known[i] >= 0 ? this.desk.classes[this.known[i]] : ""; }
  flagged(i) { return Boolean(this.desk.word(this.items[i])?.flagged); }
  options() {
    const classes = this.desk.classes.map((name, i) => ({ name, fill: this.desk.colours[i], shape: i % SHAPES.length })), at = new Map(classes.map((c, i) => [c.name, i]));
    const groups = this.groups.map((name, i) => ({ name, fill: this.groupColours[i % this.groupColours.length], shape: i % SHAPES.length }));
    const scale = Array.from({ length: STEPS }, (_, k) => ({ name: "", fill: viridis(k / (STEPS - 1)), shape: 0 }));
    const known = this.time.filter(v => v !== null), t0 = known.reduce((a, b) => Math.min(a, b), Infinity), t1 = known.reduce((a, b) => Math.max(a, b), -Infinity);
    const step = v => clamp(Math.floor(v * STEPS), 0, STEPS - 1);
    this.by = new Map([["label", { text: "label", looks: classes, none: "not labelled", at: i => at.get(this.label(i)) ?? -1 }]]);
    if (this.predicted.length) this.by.set("prediction", { text: "prediction", looks: classes, none: "no prediction", at: i => this.predicted[i] ?? -1 });
    if (this.sure.length) this.by.set("uncertainty", { text: "uncertainty", looks: scale, none: "no prediction", ends: ["sure", "unsure"], at: i => this.sure[i] === null ? -1 : step(1 - this.sure[i]) });
    if (groups.length) this.by.set("group", { text: "group", looks: groups, none: "no group", at: i => this.group[i] });
    if (known.length) this.by.set("time", { text: "time", looks: scale, none: "no time", ends: [t0, t1].map(v => String(+v.toFixed(3))), at: i => this.time[i] === null ? -1 : step((this.time[i] - t0) / (t1 - t0 || 1)) });
    const chosen = this.choice.select.value;
    this.choice.select.replaceChildren(...[...this.by].map(([value, { text }]) => h("option", { value }, text)));
    if (this.by.has(chosen)) this.choice.select.value = chosen;
  }
  get colouring() { return this.by.get(this.choice.select.value); }
  colourBy(by) { this.choice.select.value = by; this.hidden.clear(); this.recolour(); }
  recolour() {
    const { at } = this.colouring;
    for (let i = 0; i < this.n; i++) this.code[i] = at(i);
    this.stamps = []; this.showLegend(); this.draw();
  }
  relabelled(items) {
    const rows = items.map(item => this.rowOf.get(item)).filter(i => i !== undefined), { at } = this.colouring;
    for (const i of rows) this.code[i] = at(i);
    if (this.choice.select.value === "label") this.showLegend();
    if (rows.some(i => this.picked.has(i))) this.showPicked();
    if (rows.includes(this.under)) this.showTip();
    this.draw();
  }
  seenAt(i) { return !this.hidden.has(this.code[i]); }

  // -- the legend
  showLegend() {
    const { looks, none, ends } = this.colouring, counts = new Map();
    for (const c of this.code) counts.set(c, (counts.get(c) ?? 0) + 1);
    const entry = (c, look) => {
      const icon = h("canvas", { className: "cp-icon", width: 36, height: 36, "aria-hidden": "true" }), ctx = icon.getContext("2d");
      ctx.translate(18, 18); drawMark(ctx, { ...look, width: 0 }, 10);
      return h("button", { type: "button", className: "cp-entry", "aria-pressed": String(!this.hidden.has(c)), title: `${look.name}: press to hide or show, with Shift to show it alone`, onclick: e => this.toggleClass(c, e.shiftKey) },
        icon, h("span", { className: "cp-name" }, look.name), h("b", {}, (counts.get(c) ?? 0).toLocaleString("en")));
    };
    const rows = ends ? [h("div", { className: "cp-ramp" }, h("i", { style: { background: `linear-gradient(90deg, ${VIRIDIS.join(",")})` } }), h("span", {}, ends[0]), h("span", {}, ends[1]))]
      : looks.map((look, c) => counts.get(c) || looks.length < 30 ? entry(c, look) : null);
    if (counts.get(-1)) rows.push(entry(-1, this.noneLook(none)));
    const focused = [...this.legend.children].indexOf(document.activeElement);
    this.legend.replaceChildren(...rows.filter(Boolean));
    if (focused >= 0) this.legend.children[focused]?.focus();
  }
  noneLook(name) { return { name, fill: this.css("--ink-2"), shape: 0, hollow: true }; }
  css(name) { const ctx = this.scratch ??= h("canvas").getContext("2d"); ctx.fillStyle = getComputedStyle(this.desk.root).getPropertyValue(name).trim(); return ctx.fillStyle.slice(0, 7); } // as #rrggbb
  themed() { this.paper = this.css("--paper"); this.halo = inkOn(this.paper) === "#000" ? "#ffffff" : "#c9d1d9"; this.recolour(); }
  toggleClass(c, alone) {
    const all = [...new Set(this.code)];
    if (alone) { const was = all.every(k => k === c || this.hidden.has(k)) && !this.hidden.has(c); this.hidden = was ? new Set() : new Set(all.filter(k => k !== c)); }
    else if (!this.hidden.delete(c)) this.hidden.add(c);
    if ([...this.picked].some(i => !this.seenAt(i))) this.pick([...this.picked].filter(i => this.seenAt(i)));
    if (this.under >= 0 && !this.seenAt(this.under)) this.point(-1);
    this.showLegend(); this.draw();
  }

  // -- drawing
  resize() {
    const { clientWidth: w, clientHeight: hh } = this.stage, dpr = Math.min(window.devicePixelRatio || 1, 2);
    if (!w || !hh) return;
    this.w = w; this.h = hh; this.dpr = dpr; this.pad = 48;
    this.canvas.width = Math.round(w * dpr); this.canvas.height = Math.round(hh * dpr);
    this.ctx = this.canvas.getContext("2d");
    this.image = new ImageData(this.canvas.width + 2 * this.pad, this.canvas.height + 2 * this.pad); this.px = new Uint32Array(this.image.data.buffer);
    this.stamps = [];
    if (!this.fitted) this.fit(); else this.draw();
  }
  fit() { this.fitted = true; this.view = { x: 0.5, y: 0.5, k: 0.94 * Math.min(this.w / this.extent[0], this.h / this.extent[1]) }; this.whole = this.view.k; this.draw(); }
  get radius() { return clamp(Math.sqrt(this.w * this.h / this.n) * 0.2, 2.2, 5) * clamp(Math.sqrt(this.view.k / this.whole), 0.8, 2.6); }
  toMap(sx, sy) { const { x, y, k } = this.view; return [x + (sx - this.w / 2) / k, y - (sy - this.h / 2) / k]; }
  toScreen(i) { const { x, y, k } = this.view; return [this.w / 2 + (this.xy[2 * i] - x) * k, this.h / 2 - (this.xy[2 * i + 1] - y) * k]; }
  draw() { this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.paint(); }); }
  stampOf(code, kind, r) { // 0 a point, 1 what shows around a selected one, 2 a selected one
    const at = 3 * (code + 1) + kind;
    if (!this.stamps[at]) {
      const look = code < 0 ? this.noneLook("") : this.colouring.looks[code], ink = this.css("--ink-1"), stride = this.canvas.width + 2 * this.pad, size = code < 0 ? 0.8 * r : r;
      this.stamps[at] = makeStamp(kind === 1 ? { shape: look.shape, fill: ink, edge: ink, width: 2 * this.dpr } : { ...look, ground: kind === 2 && look.hollow ? this.paper : "", edge: look.hollow ? "" : this.halo, width: look.hollow ? 0 : 0.5 * this.dpr }, size, stride);
    }
    return this.stamps[at];
  }
  paint() {
    if (!this.ctx) return;
    const r = Math.round(this.radius * this.dpr * 4) / 4;
    if (r !== this.drawnRadius) { this.stamps = []; this.drawnRadius = r; }
    const { px, pad, code, xy, order } = this, W = this.canvas.width, H = this.canvas.height, stride = W + 2 * pad, { k: kk } = this.view, k = kk * this.dpr, ox = W / 2 - this.view.x * k, oy = H / 2 + this.view.y * k;
    const [br, bg, bb] = hexRgb(this.paper), edge = pad - Math.ceil(2 * r + 4 * this.dpr);
    px.fill(0xff000000 | bb << 16 | bg << 8 | br);
    const put = (i, kind = 0) => {
      const sx = Math.round(ox + xy[2 * i] * k), sy = Math.round(oy - xy[2 * i + 1] * k);
      if (sx > -edge && sy > -edge && sx < W + edge && sy < H + edge) stamp(px, (sy + pad) * stride + sx + pad, this.stampOf(code[i], kind, r));
    };
    if (!this.hidden.has(-1)) for (const i of order) if (code[i] < 0) put(i); // what is not known lies below
    const shown = Array.from(this.colouring.looks, (_, c) => !this.hidden.has(c));
    for (const i of order) if (shown[code[i]]) put(i);
    for (const i of this.picked) put(i, 1); // first all rims, then all points: a crowd keeps its colours
    for (const i of this.picked) put(i, 2);
    this.ctx.putImageData(this.image, -pad, -pad);
    this.ctx.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    if (this.under >= 0) { const [x, y] = this.toScreen(this.under); this.ctx.strokeStyle = this.css("--ink-1"); this.ctx.lineWidth = 2; this.ctx.beginPath(); this.ctx.arc(x, y, this.radius + 6, 0, 2 * Math.PI); this.ctx.stroke(); }
    if (this.lasso?.length > 1) {
      this.ctx.beginPath(); this.lasso.forEach(([x, y], i) => i ? this.ctx.lineTo(x, y) : this.ctx.moveTo(x, y)); this.ctx.closePath();
      this.ctx.fillStyle = this.css("--accent") + "2a"; this.ctx.fill(); this.ctx.setLineDash([5, 4]); this.ctx.strokeStyle = this.css("--ink-1"); this.ctx.lineWidth = 1.5; this.ctx.stroke(); this.ctx.setLineDash([]);
    }
    this.ctx.setTransform(1, 0, 0, 1, 0, 0);
    if (!this.tip.hidden) this.placeTip();
  }
  zoom(f, sx = this.w / 2, sy = this.h / 2) {
    const [x, y] = this.toMap(sx, sy), k = clamp(this.view.k * f, this.whole / 2, this.whole * 400);
    this.view = { k, x: x - (sx - this.w / 2) / k, y: y + (sy - this.h / 2) / k }; this.draw();
  }
  pan(dx, dy) { this.view.x = clamp(this.view.x - dx / this.view.k, -0.2, 1.2); this.view.y = clamp(this.view.y + dy / this.view.k, -0.2, 1.2); this.draw(); }

  // -- the pointer
  pointers() {
    const { canvas } = this, down = new Map(), at = e => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    let start = null, moved = false;
    canvas.addEventListener("pointerdown", e => {
      if (e.button > 0) return;
      canvas.focus({ preventScroll: true }); canvas.setPointerCapture(e.pointerId); down.set(e.pointerId, at(e)); start = at(e); moved = false;
      this.lasso = down.size === 1 && (this.lassoing || e.shiftKey) ? [at(e)] : null; this.adding = e.shiftKey;
    });
    canvas.addEventListener("pointermove", e => {
      const [x, y] = at(e), was = down.get(e.pointerId);
      if (!was) { if (e.pointerType !== "touch") this.point(this.find(x, y)); return; }
      if (Math.hypot(x - start[0], y - start[1]) > 4) moved = true;
      if (down.size === 2) { // two fingers
        const other = [...down].find(([id]) => id !== e.pointerId)[1], f = Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(was[0] - other[0], was[1] - other[1]));
        this.lasso = null; this.zoom(f, (x + other[0]) / 2, (y + other[1]) / 2); this.pan((x - was[0]) / 2, (y - was[1]) / 2);
      } else if (moved && this.lasso) { this.point(-1); const last = this.lasso.at(-1); if (Math.hypot(x - last[0], y - last[1]) > 2) { this.lasso.push([x, y]); this.draw(); } }
      else if (moved) { this.point(-1); this.pan(x - was[0], y - was[1]); }
      down.set(e.pointerId, [x, y]);
    });
    const up = e => {
      if (!down.delete(e.pointerId) || down.size) return;
      const lasso = this.lasso; this.lasso = null;
      if (e.type === "pointercancel") return this.draw();
      if (!moved) { const i = this.find(...start); this.point(i); if (i < 0) { if (!this.adding) this.pick([]); } else if (this.adding) this.toggle(i); else this.pick([i]); }
      else if (lasso) { const polygon = lasso.map(([x, y]) => this.toMap(x, y)), rows = this.encircled(polygon); this.pick(this.adding ? [...this.picked, ...rows] : rows); }
      this.draw();
    };
    canvas.addEventListener("pointerup", up); canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => { if (!down.size && !this.stepping) this.point(-1); });
    canvas.addEventListener("wheel", e => {
      if (!e.ctrlKey && !this.desk.root.contains(document.activeElement)) return; // the page scrolls until the map was clicked
      e.preventDefault(); this.zoom(Math.exp(-clamp(e.deltaY * (e.deltaMode ? 30 : 1), -240, 240) * 0.0022), ...at(e));
    }, { passive: false });
    canvas.addEventListener("dblclick", e => this.zoom(2, ...at(e)));
    canvas.addEventListener("blur", () => { this.stepping = false; });
  }
  find(sx, sy) { const [x, y] = this.toMap(sx, sy); return this.grid.nearest(x, y, (this.radius + 6) / this.view.k, i => this.seenAt(i)); }
  encircled(polygon) {
    const rows = [], xs = polygon.map(p => p[0]), ys = polygon.map(p => p[1]), x0 = Math.min(...xs), x1 = Math.max(...xs), y0 = Math.min(...ys), y1 = Math.max(...ys);
    for (let i = 0; i < this.n; i++) { const x = this.xy[2 * i], y = this.xy[2 * i + 1]; if (x >= x0 && x <= x1 && y >= y0 && y <= y1 && this.seenAt(i) && inside(x, y, polygon)) rows.push(i); }
    return rows;
  }
  inView() { const [x0, y1] = this.toMap(0, 0), [x1, y0] = this.toMap(this.w, this.h); return this.encircled([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]); }
  setLasso(on) { this.lassoing = on; this.mode.setAttribute("aria-pressed", String(on)); this.stage.classList.toggle("cp-lassoing", on); }
  step(dx, dy) { // the nearest cell that way
    const from = this.under >= 0 ? [this.xy[2 * this.under], this.xy[2 * this.under + 1]] : [this.view.x, this.view.y];
    let best = -1, least = Infinity;
    for (let i = 0; i < this.n; i++) {
      if (i === this.under || !this.seenAt(i)) continue;
      const x = this.xy[2 * i] - from[0], y = this.xy[2 * i + 1] - from[1], along = x * dx + y * dy, across = Math.abs(x * dy - y * dx);
      if (this.under >= 0 && (along <= 0 || across > along)) continue;
      const d = Math.hypot(x, y) + across;
      if (d < least) { best = i; least = d; }
    }
    if (best < 0) return;
    this.stepping = true; this.point(best);
    const [sx, sy] = this.toScreen(best);
    if (sx < 20 || sy < 20 || sx > this.w - 20 || sy > this.h - 20) { this.view.x = this.xy[2 * best]; this.view.y = this.xy[2 * best + 1]; this.draw(); }
    this.said.textContent = this.facts(best).map(([k, v]) => `${k} ${v}`).join(", ");
  }

  // -- the cell under the pointer
  point(i) {
    if (i === this.under) return;
    this.under = i; this.showTip(); this.draw();
    if (i < 0) return;
    const near = []; // its neighbours too: the pointer goes there next
    this.grid.within(this.xy[2 * i], this.xy[2 * i + 1], 20 / this.view.k, j => { if (near.length < 15) near.push(j); });
    this.patches.want([...near.filter(j => j !== i), i]);
  }
  facts(i) {
    const label = this.label(i), guess = this.predicted[i] >= 0 ? this.desk.classes[this.predicted[i]] : "", sure = this.sure[i];
    return [["item", this.items[i]], this.groups.length ? ["group", this.groups[this.group[i]] ?? "–"] : null, this.time.length && this.time[i] !== null ? ["time", String(this.time[i])] : null,
      ["label", (label || "not labelled") + (this.flagged(i) ? " ⚑" : "")],
      guess ? ["model", guess + (sure === null || sure === undefined ? "" : `, sure ${sure.toFixed(2)}`)] : null].filter(Boolean);
  }
  showTip() {
    const i = this.under;
    this.tip.hidden = i < 0;
    if (i < 0) return;
    const canvas = h("canvas", { className: "cp-patch", "aria-hidden": "true" });
    const here = this.patches.show(canvas, i), error = this.patches.error(i);
    const label = this.label(i), guess = this.predicted[i] >= 0 ? this.desk.classes[this.predicted[i]] : "";
    this.tip.replaceChildren(error ? h("p", { className: "cp-missing" }, short(error, 90)) : canvas,
      h("dl", {}, this.facts(i).map(([k, v]) => h("div", { className: k === "model" && label && guess !== label ? "cp-differs" : "" }, h("dt", {}, k), h("dd", {}, short(v, 60))))));
    canvas.classList.toggle("cp-waiting", !here);
    this.placeTip();
  }
  placeTip() {
    const [x, y] = this.toScreen(this.under), w = this.tip.offsetWidth, hh = this.tip.offsetHeight, left = x + 18 + w > this.w ? x - 18 - w : x + 18;
    this.tip.style.setProperty("left", `${clamp(left, 4, Math.max(4, this.w - w - 4))}px`); this.tip.style.setProperty("top", `${clamp(y - hh / 2, 4, Math.max(4, this.h - hh - 4))}px`);
  }
  patched(rows) {
    if (rows.includes(this.under)) this.showTip();
    for (const li of this.strip.children) if (rows.includes(li.row)) this.patches.show(li.canvas, li.row);
  }
  repaint() { if (this.under >= 0) this.showTip(); for (const li of this.strip.children) this.patches.show(li.canvas, li.row); }

  // -- the selection
  pick(rows) { this.picked = new Set(rows); this.showPicked(); this.draw(); }
  toggle(i) { if (!this.picked.delete(i)) this.picked.add(i); this.showPicked(); this.draw(); }
  showPicked() {
    const rows = [...this.picked], shown = rows.slice(0, 120), n = rows.length, counts = new Map();
    for (const i of rows) { const l = this.label(i) || "not labelled"; counts.set(l, (counts.get(l) ?? 0) + 1); }
    this.count.replaceChildren(n ? h("b", {}, `${n.toLocaleString("en")} selected`) : "Nothing is selected: click a cell, or draw around some with the lasso.",
      ...(n ? [h("span", {}, [...counts].sort((a, b) => b[1] - a[1]).map(([l, k]) => `${k} ${short(l)}`).join(", "))] : []));
    this.acts.hidden = !n;
    this.strip.replaceChildren(...shown.map(i => {
      const canvas = h("canvas", { "aria-hidden": "true" }), label = this.label(i), c = this.desk.classes.indexOf(label);
      const b = h("button", { type: "button", title: `${this.items[i]}, ${label || "not labelled"}: press to leave it out`, "aria-label": `${this.items[i]}, ${label || "not labelled"}: leave it out`, style: { "--c": c >= 0 ? this.desk.colours[c] : "transparent" },
        onclick: () => this.toggle(i), onpointerenter: () => this.point(i), onpointerleave: () => this.point(-1) }, canvas, this.flagged(i) ? h("span", { className: "cp-flag" }, "⚑") : null);
      const li = h("li", {}, b); li.canvas = canvas; li.row = i;
      this.patches.show(canvas, i);
      return li;
    }), ...(n > shown.length ? [h("li", { className: "cp-more" }, `and ${(n - shown.length).toLocaleString("en")} more`)] : []));
    this.patches.want(shown);
    this.desk.root.dataset.picked = n;
  }
  give(label) {
    if (this.readonly || !this.picked.size) return;
    this.desk.give([...this.picked].map(i => ({ item: this.items[i], label, ...(this.flagged(i) ? { flagged: true } : {}) })));
  }
  flag() {
    if (!this.picked.size) return;
    const rows = [...this.picked], flagged = !rows.every(i => this.flagged(i));
    this.desk.give(rows.map(i => ({ item: this.items[i], label: this.label(i), flagged })));
  }
  async copy() {
    const text = [...this.picked].map(i => this.items[i]).join("\n");
    let done = false;
    try { await navigator.clipboard.writeText(text); done = true; } catch { // no leave for the clipboard: the old way
      const box = h("textarea", { value: text, className: "cp-copy" });
      this.side.append(box); box.select(); done = document.execCommand("copy"); box.remove(); this.desk.root.focus({ preventScroll: true });
    }
    this.said.textContent = done ? `${this.picked.size.toLocaleString("en")} item ids copied.` : "The browser did not allow copying: download the table instead.";
  }
  toCsv() {
    const harmless = v => /^'*([=+@\t\r]|-(?![\d.]))/.test(v) ? `'${v}` : v, { classes } = this.desk; // a spreadsheet runs no text
    const quote = v => /[",\r\n]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v;
    const rows = [...this.picked].map(i => [this.items[i], this.groups[this.group[i]] ?? "", this.label(i), classes[this.predicted[i]] ?? ""].map(harmless).map(quote).join(","));
    return ["item_id,group,label,predicted", ...rows].join("\r\n") + "\r\n";
  }
  download() {
    const url = URL.createObjectURL(new Blob(["\ufeff", this.toCsv()], { type: "text/csv" }));
    h("a", { href: url, download: "selection.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
}

function render({ model, el }) {
  const desk = new Desk(model, el);
  desk.root.classList.add("cp-map");
  let map = null;
  desk.open((msg, buffers) => { map = new CellMap(desk, msg, buffers); });
  return () => { map?.close(); desk.close(); };
}

export default { render };
