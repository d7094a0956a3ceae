// Shared by the widgets: elements, the wire to Python, decisions that are never lost, pixels on a canvas, the desk.
// The files of this folder are joined into one module by `cellprotocols.annotate.read_static`; nothing is loaded from elsewhere.

// ---------- elements: text only ever becomes text, whatever a file or a class is called

function h(tag, props = {}, ...kids) {
  const el = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith("on")) el.addEventListener(k.slice(2), v);
    else if (k === "style") for (const [name, value] of Object.entries(v)) el.style.setProperty(name, value);
    else if (k in el && !["list", "role"].includes(k)) el[k] = v;
    else el.setAttribute(k, v === true ? "" : v);
  }
  el.append(...kids.flat().filter(kid => kid !== null && kid !== undefined));
  return el;
}

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(6)), b => b.toString(16).padStart(2, "0")).join("");
const clamp = (v, lo, hi) => Math.max(lo, Math.min(hi, v));
const short = (text, n = 28) => { const c = [...String(text)]; return c.length > n ? c.slice(0, n - 1).join("") + "…" : c.join(""); };

function slider(label, { min = 0, max = 1, step = 0.01, value = 0, title = label, show = v => v }, change) {
  const out = h("output", {}, String(show(value)));
  const input = h("input", { type: "range", min, max, step, value, "aria-label": title, title, oninput: () => { out.textContent = show(+input.value); change(+input.value); } });
  const row = h("label", { className: "cp-slider" }, h("span", {}, label), input, out);
  row.set = v => { input.value = v; out.textContent = show(+input.value); };
  row.get = () => +input.value;
  row.input = input;
  return row;
}

function choice(label, options, change) {
  const select = h("select", { "aria-label": label, onchange: () => change(select.value) }, options.map(([value, text]) => h("option", { value, title: text }, short(text, 40))));
  const row = h("label", { className: "cp-choice" }, h("span", {}, label), select);
  row.select = select;
  return row;
}

const button = (text, title, press, extra = {}) => h("button", { type: "button", title, "aria-label": title, onclick: press, ...extra }, text);

// ---------- the wire: questions with answers, and what Python says by itself

class Wire {
  constructor(model) {
    this.model = model; this.page = newId(); this.asked = new Map(); this.heard = new Map(); this.n = 0;
    this.listen = (msg, buffers) => {
      if (msg.re) { const done = this.asked.get(msg.re); this.asked.delete(msg.re); done?.(msg, buffers ?? []); }
      else for (const fn of this.heard.get(msg.tell) ?? []) fn(msg, buffers ?? []);
    };
    model.on("msg:custom", this.listen);
  }
  ask(verb, fields = {}, answered = () => {}) {
    const ask = `${this.page}-${++this.n}`;
    this.asked.set(ask, answered);
    try { this.model.send({ do: verb, ask, ...fields }); } catch { /* no way to Python just now: what matters is tried again */ }
    return ask;
  }
  on(what, fn) { this.heard.set(what, [...(this.heard.get(what) ?? []), fn]); }
  close() { this.model.off("msg:custom", this.listen); }
}

// ---------- the saver: decisions go out in order; one that is not on disk yet stays in the page and is tried again

class Saver {
  constructor(wire, place, changed) {
    this.wire = wire; this.changed = changed; this.queue = []; this.last = ""; this.error = ""; this.silent = false;
    this.prefix = `cellprotocols:${place}:`; this.key = this.prefix + wire.page;
    this.clock = setInterval(() => this.look(), 1000);
    this.gone = () => this.store(0); window.addEventListener("pagehide", this.gone);
  }
  act(verb, fields) {
    const act = { act: newId(), verb, fields, after: this.last, sent: 0 };
    this.last = act.act; this.queue.push(act); this.store();
    if (!this.error) this.send(act);
    this.changed();
    return act.act;
  }
  send(act) {
    act.sent = Date.now();
    this.wire.ask(act.verb, { ...act.fields, act: act.act, after: act.after }, answer => this.answered(act, answer));
  }
  answered(act, answer) {
    this.silent = false;
    if (answer.error && !answer.drop) { if (this.queue[0] === act || !this.error) this.error = answer.error; act.sent = 0; }
    else {
      this.queue = this.queue.filter(a => a !== act);
      this.error = "";
      if (answer.drop) { const next = this.queue.find(a => a.after === act.act); if (next) next.after = act.after; else if (this.last === act.act) this.last = act.after; }
      if (this.queue.length && !this.queue[0].sent) this.queue.forEach(a => this.send(a));
      this.store();
    }
    this.changed(act, answer);
  }
  look() { // once a second: try again what failed, notice that Python is silent
    if (!this.queue.length) return;
    const first = this.queue[0], age = Date.now() - first.sent;
    if (first.sent && age > 4000 && !this.silent) { this.silent = true; this.changed(); }
    if (!first.sent) this.send(first); else if (age > 15000) this.again();
    this.store();
  }
  again() { this.queue.forEach(a => this.send(a)); }
  store(at = Date.now()) { // `at`: when this page was last alive
    try { this.queue.length ? localStorage.setItem(this.key, JSON.stringify({ at, queue: this.queue })) : localStorage.removeItem(this.key); } catch { /* private window: the queue lives as long as the page */ }
  }
  left() { // what earlier pages could not save
    const found = [];
    try {
      for (const key of Object.keys(localStorage).filter(k => k.startsWith(this.prefix) && k !== this.key)) {
        const { at, queue } = JSON.parse(localStorage.getItem(key));
        if (Date.now() - at > 3000) found.push({ key, queue });
      }
    } catch { /* no storage, nothing left */ }
    return found;
  }
  adopt(found) {
    for (const { key, queue } of found) {
      for (const a of queue) { a.after = this.last; this.last = a.act; this.queue.push(a); this.send(a); }
      localStorage.removeItem(key);
    }
    this.store(); this.changed();
  }
  close() { clearInterval(this.clock); window.removeEventListener("pagehide", this.gone); this.store(0); }
}

// ---------- pixels: raw grey levels become colours here, so contrast is immediate and 16 bits stay 16 bits

function toPixels(view, dtype) {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return dtype === "uint16" ? new Uint16Array(bytes) : new Uint8Array(bytes);
}

function makeLut(lo, hi, gamma, levels) { // grey level -> 0..255
  const lut = new Uint8Array(levels), span = Math.max(hi - lo, 1e-9);
  for (let v = 0; v < levels; v++) lut[v] = Math.round(255 * Math.pow(clamp((v - lo) / span, 0, 1), gamma));
  return lut;
}

function makeLuts(limits, gamma, dtype) { return limits.map(([lo, hi]) => makeLut(lo, hi, gamma, dtype === "uint16" ? 65536 : 256)); }

function paint(img, luts, channels) { // img {data, h, w, c}; channels [{rgb: [r, g, b], on}] -> ImageData
  const out = new ImageData(img.w, img.h), px = new Uint32Array(out.data.buffer), { data, c } = img, n = img.h * img.w;
  const shown = channels.map((ch, k) => ({ ...ch, k, lut: luts[k] })).filter(ch => ch.on && ch.k < c);
  if (shown.length === 1 && shown[0].rgb.every(v => v === 255)) {
    const { lut, k } = shown[0];
    for (let i = 0, j = k; i < n; i++, j += c) { const v = lut[data[j]]; px[i] = 0xff000000 | v << 16 | v << 8 | v; }
    return out;
  }
  const tables = shown.map(ch => { // per channel: level -> its three colours, packed so that sums cannot carry over
    const t = new Float32Array(ch.lut.length * 3);
    for (let v = 0; v < ch.lut.length; v++) for (let b = 0; b < 3; b++) t[3 * v + b] = ch.lut[v] * ch.rgb[b] / 255;
    return t;
  });
  for (let i = 0; i < n; i++) {
    let r = 0, g = 0, b = 0;
    for (let s = 0; s < shown.length; s++) { const at = 3 * data[i * c + shown[s].k], t = tables[s]; r += t[at]; g += t[at + 1]; b += t[at + 2]; }
    px[i] = 0xff000000 | Math.min(255, b) << 16 | Math.min(255, g) << 8 | Math.min(255, r);
  }
  return out;
}

function putPatch(canvas, img, luts, channels) { // a small image onto its own canvas, at its own resolution
  if (canvas.width !== img.w || canvas.height !== img.h) { canvas.width = img.w; canvas.height = img.h; }
  canvas.getContext("2d").putImageData(paint(img, luts, channels), 0, 0);
}

const hexRgb = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
const inkOn = hex => { const [r, g, b] = hexRgb(hex).map(v => (v / 255) ** 2.2); return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff"; };

const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
const keyName = k => k.replace("Ctrl+", MAC ? "⌘" : "Ctrl+").replace("Arrow", "").replace(/Left$/, "←").replace(/Right$/, "→").replace(/Up$/, m => k.startsWith("Page") ? m : "↑").replace(/Down$/, m => k.startsWith("Page") ? m : "↓").replace(/^ $/, "space").replace(/\+([a-z])$/, (_, c) => "+" + c.toUpperCase());

// ---------- the desk: palette, counts, what is saved, keys and help, the same around every widget

class Desk {
  constructor(model, el) {
    this.model = model; this.setup = model.get("setup"); this.wire = new Wire(model);
    this.words = new Map(); this.mine = new Map(); this.keys = new Map(); this.current = 0; this.problems = []; this.notes = []; this.listeners = []; this.done = []; this.undone = []; this.since = performance.now();
    this.classes = this.setup.classes; this.colours = this.setup.colours;
    this.saver = new Saver(this.wire, this.setup.place, (act, answer) => this.saved(act, answer));
    this.root = h("section", { className: "cp", tabIndex: 0, role: "application", "aria-label": this.setup.title, "data-lm-suppress-shortcuts": "true",
      onkeydown: e => { this.byMouse = false; this.pressed(e); }, onpointerdown: () => { this.byMouse = true; this.focus(); },
      onclick: () => this.byMouse && this.comeBack("button, input[type=range], input[type=checkbox]"), onchange: () => this.byMouse && setTimeout(() => this.comeBack("select")) });
    this.alert = h("div", { className: "cp-alert", role: "alert", hidden: true });
    this.assumed = h("div", { className: "cp-assumed", role: "note", "aria-label": "What was assumed", hidden: true });
    this.status = h("span", { className: "cp-status", role: "status", "aria-live": "polite" }, "waiting for Python …");
    this.help = h("div", { className: "cp-help", role: "dialog", "aria-label": "Keys", hidden: true });
    this.palette = h("div", { className: "cp-palette", role: "radiogroup", "aria-label": "Classes" }, this.classes.map((name, i) => this.swatch(name, i)));
    this.tools = h("span", { className: "cp-tools" },
      button("↶", "Undo (u)", () => this.undo(), { className: "cp-undo" }), button("↷", "Redo (r)", () => this.redo(), { className: "cp-redo" }), button("?", "Keys (?)", () => this.toggleHelp(), { className: "cp-keys" }));
    this.goal = h("p", { className: "cp-goal" });
    this.body = h("div", { className: "cp-body" });
    this.root.append(h("header", { className: "cp-head" }, this.palette, h("div", { className: "cp-corner" }, this.tools, this.status)), this.goal, this.alert, this.assumed, this.body, this.help);
    el.append(this.root);
    this.classes.forEach((name, i) => this.setup.keys[i] && this.key(this.setup.keys[i], `class ${short(name)}`, () => this.choose(i)));
    this.key(".", "next class", () => this.choose((this.current + 1) % this.classes.length, true));
    this.key(",", "class before", () => this.choose((this.current + this.classes.length - 1) % this.classes.length, true));
    for (const k of ["u", "Ctrl+z"]) this.key(k, "undo", () => this.undo());
    for (const k of ["r", "Ctrl+y", "Ctrl+Shift+z"]) this.key(k, "redo", () => this.redo());
    this.key("?", "these keys", () => this.toggleHelp()); this.key("Escape", "close these keys, or let go of what is marked", () => this.escape());
    this.wire.on("labels", msg => this.take(msg));
    this.wire.on("problem", msg => { this.problems = msg.problems; this.showState(); });
    this.wire.on("notes", msg => { this.notes = msg.notes; this.showNotes(); });
    this.keepKeys();
    this.poll = setInterval(() => document.hidden || this.wire.asked.has(this.synced) || (this.synced = this.wire.ask("sync")), 5000);
    this.choose(0, true);
  }

  // a button that is switched off, hidden or taken away while it holds the keyboard would take the next keys with it
  keepKeys() {
    const usable = el => el.isConnected && !el.disabled && el.checkVisibility();
    this.root.addEventListener("focusin", e => { this.held = e.target; });
    this.root.addEventListener("focusout", e => queueMicrotask(() => { if (this.held === e.target && usable(e.target)) this.held = null; })); // the person went elsewhere
    const back = () => { const at = document.activeElement; if (this.held && !usable(this.held) && (at === this.held || at === document.body)) this.root.focus({ preventScroll: true }); };
    this.watcher = new MutationObserver(back);
    this.watcher.observe(this.root, { subtree: true, childList: true, attributes: true, attributeFilter: ["disabled", "hidden"] });
    this.stray = e => { if (e.target === document.body && this.takesStray()) { this.root.focus({ preventScroll: true }); this.pressed(e); } };
    document.addEventListener("keydown", this.stray);
  }
  takesStray() { // on a page, keys that nothing else holds are for the first widget that is seen; a notebook has keys of its own
    return !document.querySelector(".jp-NotebookPanel, #notebook-container") && [...document.querySelectorAll(".cp")].find(el => el.checkVisibility()) === this.root;
  }

  // what the mouse has set lets go of the keyboard: the next key is for the cells
  comeBack(from) { const at = document.activeElement; if (this.help.hidden && this.root.contains(at) && at.matches(from)) this.root.focus({ preventScroll: true }); }
  focus() { if (!this.root.contains(document.activeElement)) this.root.focus({ preventScroll: true }); }

  swatch(name, i) {
    const bar = h("i", { className: "cp-bar" }), count = h("b", { className: "cp-count" }, "0"), colour = this.colours[i];
    const b = h("button", { type: "button", className: "cp-class", role: "radio", "aria-checked": "false", title: name, style: { "--c": colour, "--ink": inkOn(colour) }, onclick: () => { this.focus(); this.choose(i); } },
      h("kbd", {}, this.setup.keys[i] ?? ""), h("span", { className: "cp-name" }, name), count, bar);
    b.count = count; b.bar = bar;
    return b;
  }

  choose(i, only = false) { // `only`: change the palette, label nothing
    this.current = i;
    [...this.palette.children].forEach((b, k) => b.setAttribute("aria-checked", String(k === i)));
    this.chosen?.(i, only);
  }

  // -- keys
  key(k, what, fn) { this.keys.set(k, { what, fn }); }
  pressed(e) {
    e.stopPropagation();
    const on = what => e.target.matches?.(what), graph = e.getModifierState?.("AltGraph"); // AltGr writes [ and ] on many keyboards
    if (on("select, input[type=text], input[type=search]") || (e.altKey && !graph) || (!this.help.hidden && !["Escape", "?"].includes(e.key))) return;
    if ((on("button") && [" ", "Enter"].includes(e.key)) || (on("input[type=checkbox]") && e.key === " ") || (on("input[type=range]") && e.key.startsWith("Arrow"))) return;
    const plain = e.key.length === 1 ? e.key : (e.shiftKey ? "Shift+" : "") + e.key, ctrl = (e.ctrlKey || e.metaKey) && !graph;
    const known = ctrl ? this.keys.get("Ctrl+" + (e.shiftKey ? "Shift+" : "") + e.key.toLowerCase())
      : this.keys.get(plain) ?? (plain.length === 1 ? this.keys.get(plain.toLowerCase()) : null) ?? (e.shiftKey ? null : this.keys.get(/^Digit(\d)$/.exec(e.code)?.[1])); // Caps Lock; a row of digits that wants Shift
    if (!known) return;
    e.preventDefault();
    if (!e.repeat || /Arrow|Page|^[ur.,+=[\]-]$/.test(plain)) known.fn(e); // a key that is held down moves on, but labels once
  }
  escape() { if (!this.help.hidden) this.toggleHelp(); else this.escaped?.(); }
  toggleHelp() {
    this.help.hidden = !this.help.hidden;
    if (this.help.hidden) return this.root.focus({ preventScroll: true });
    const said = new Map(); // keys that do the same stand in one line
    for (const [k, { what }] of this.keys) if (what) said.set(what, [...(said.get(what) ?? []), keyName(k)]);
    const rows = [...said].map(([what, keys]) => h("li", {}, h("span", { className: "cp-which" }, keys.map(k => h("kbd", {}, k))), h("span", {}, what)));
    this.help.replaceChildren(h("strong", {}, this.setup.title), h("ul", {}, rows), ...(this.hints ?? []).map(t => h("p", {}, t)), button("Close", "Close (Esc)", () => this.toggleHelp()));
    this.help.querySelector("button").focus({ preventScroll: true }); this.help.scrollTop = 0;
  }

  // -- labels: what Python has on disk (`words`), and over it what this page has decided and not yet heard of (`mine`)
  word(item) { return this.mine.get(item)?.entry ?? this.words.get(item); }
  isPending(item) { return this.mine.has(item); }
  *items() { for (const [item, w] of this.words) if (!this.mine.has(item)) yield [item, w]; for (const [item, m] of this.mine) yield [item, m.entry]; }
  give(entries) {
    const ms = Math.round(performance.now() - this.since); this.since = performance.now();
    entries = entries.map(e => ({ ms: Math.round(ms / entries.length), ...e }));
    const act = this.saver.act("give", { entries });
    for (const e of entries) this.mine.set(e.item, { act, entry: e });
    this.done = [...this.done.slice(-499), entries]; this.undone = [];
    this.changed(entries.map(e => e.item));
  }
  undo() { this.saver.act("undo", {}); this.turn(this.done, this.undone); }
  redo() { this.saver.act("redo", {}); this.turn(this.undone, this.done); }
  turn(from, to) { const entries = from.pop(); if (entries) { to.push(entries); this.turned?.(entries); } } // look at what is taken back
  take(msg) { // the last words of some items, as they are on disk; null: nothing stands
    const items = [];
    for (const [item, w] of Object.entries(msg.labels)) { w ? this.words.set(item, w) : this.words.delete(item); items.push(item); }
    this.counts = msg.counts; this.can = msg.can;
    this.showCounts(); this.changed(items);
  }
  saved(act, answer) {
    if (act && !answer?.error || answer?.drop) {
      const items = [...this.mine].filter(([, m]) => m.act === act.act).map(([item]) => item);
      items.forEach(item => this.mine.delete(item));
      if (answer.drop) { this.problems = [...this.problems, answer.error]; setTimeout(() => { this.problems = this.problems.filter(p => p !== answer.error); this.showState(); }, act.verb === "give" ? 30000 : 6000); }
      this.changed(items);
    }
    this.showState();
  }
  onchange(fn) { this.listeners.push(fn); }
  changed(items) { for (const fn of this.listeners) fn(items); }

  // -- what the person is told
  showCounts() {
    const { target } = this.setup;
    [...this.palette.children].forEach((b, i) => {
      const n = this.counts?.[this.classes[i]] ?? 0;
      b.count.textContent = target ? `${n}/${target}` : String(n);
      b.bar.style.width = target ? `${clamp(100 * n / target, 0, 100)}%` : "0";
      b.setAttribute("aria-label", `${this.classes[i]}, ${n}${target ? ` of ${target}` : ""} labelled`);
    });
    this.showGoal();
    this.showState();
  }
  showGoal() { // what to do, how many, what comes then
    const { target, task, next } = this.setup, open = this.classes.map(c => [c, target - (this.counts?.[c] ?? 0)]).filter(([, n]) => n > 0);
    const most = open.slice(0, 6).map(([c, n]) => `${n} more ${short(c, 20)}`).join(", ") + (open.length > 6 ? ", and more of others" : "");
    const how = !target ? "" : open.length ? `${target} of each class are a good number: ${most}. Fewer can be tried at any time.` : "There are enough of each class.";
    this.goal.textContent = [task, how, next].filter(Boolean).join(" ");
  }
  showNotes() { // what a reader had to assume of the files
    this.assumed.hidden = !this.notes.length;
    this.assumed.replaceChildren(...this.notes.map(text => h("p", {}, h("b", {}, "Assumed: "), text)));
  }
  showState() {
    const n = this.saver.queue.length, total = Object.values(this.counts ?? {}).reduce((a, b) => a + b, 0);
    this.root.dataset.pending = n; this.root.dataset.saved = total;
    this.status.textContent = n ? this.saver.error || this.saver.silent ? `${n} not saved` : `saving ${n} …` : `${total} labelled, all saved · ${short(this.setup.by, 16)}`;
    this.status.classList.toggle("cp-busy", n > 0);
    const said = [...new Set(this.problems)].map(text => h("p", {}, text));
    if (this.saver.error) said.unshift(h("p", {}, h("b", {}, `Not saved (${n}): `), this.saver.error, " ", button("Try again", "Save what is not saved yet", () => this.saver.again())));
    else if (n && this.saver.silent) said.unshift(h("p", {}, h("b", {}, `Not saved (${n}): `), "Python does not answer; it is busy or was stopped. The decisions wait in this page; run the notebook again if it was stopped."));
    this.alert.hidden = !said.length; this.alert.replaceChildren(...said);
    this.tools.querySelector(".cp-undo").disabled = !this.can?.undo && !n;
    this.tools.querySelector(".cp-redo").disabled = !this.can?.redo;
  }
  open(ready) { // ask for everything; then offer what an earlier page could not save
    this.wire.ask("hello", {}, (msg, buffers) => {
      if (msg.error) { this.problems = [msg.error]; this.showState(); return; }
      this.problems = msg.problems ?? []; this.notes = msg.notes ?? []; this.showNotes(); ready(msg, buffers); this.take(msg);
      this.offer(); this.later = setTimeout(() => this.offer(), 4000); // a page that died a moment ago
    });
  }
  offer() {
    const left = this.saver.left(), n = left.reduce((sum, l) => sum + l.queue.length, 0);
    this.left?.remove();
    if (!n) return;
    this.left = h("div", { className: "cp-left", role: "alert" }, `${n} ${n > 1 ? "decisions" : "decision"} of an earlier page ${n > 1 ? "were" : "was"} never saved. `,
      button("Save them now", "Save them now", () => { this.saver.adopt(left); this.left.remove(); }), " ", button("Forget them", "Forget them", () => { left.forEach(l => localStorage.removeItem(l.key)); this.left.remove(); }));
    this.alert.after(this.left);
  }
  close() { clearInterval(this.poll); clearTimeout(this.later); this.watcher.disconnect(); document.removeEventListener("keydown", this.stray); this.saver.close(); this.wire.close(); }
}
