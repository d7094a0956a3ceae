// Cells of a field on a page: outlines over pictures, a table beside them, a click marks a cell in both; corrections are kept until they are saved.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const state = { field: 0, view: 1, cell: null, only: "", corrections: [] };

function make(tag, more = {}, text = "") {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(more)) e.setAttribute(k, v);
  e.textContent = text;
  return e;
}

const colour = (cell) => data.colours[cell.called.split("|")[0]] || "#bbbbbb";
const word = (cell) => cell.called.replaceAll("|", ", ") || "not known";
const field = () => data.fields[state.field];
const shown = () => field().cells.filter((c) => !state.only || c.called.split("|").includes(state.only));

function drawPicture() {
  const f = field();
  const svg = $("picture");
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${f.width} ${f.height}`);
  const image = document.createElementNS(SVG, "image");
  for (const [k, v] of Object.entries({ href: f.views[state.view].src, width: f.width, height: f.height })) image.setAttribute(k, v);
  svg.append(image);
  if (!$("outlines").checked) return;
  for (const c of shown()) {
    const p = document.createElementNS(SVG, "polygon");
    const about = { points: c.points, stroke: colour(c), fill: "transparent", "data-cell": c.id, tabindex: 0, role: "button" };
    for (const [k, v] of Object.entries(about)) p.setAttribute(k, v);
    p.setAttribute("aria-label", `cell ${c.id}: ${word(c)}`);
    if (c.id === state.cell) p.classList.add("chosen");
    p.addEventListener("click", () => choose(c.id));
    p.addEventListener("keydown", (e) => e.key === "Enter" && choose(c.id));
    const t = document.createElementNS(SVG, "text");
    t.setAttribute("x", c.x);
    t.setAttribute("y", c.y);
    t.setAttribute("font-size", f.width / 42);
    t.textContent = c.id;
    svg.append(p, t);
  }
}

function drawTable() {
  const body = $("cells");
  body.replaceChildren();
  for (const c of shown()) {
    const row = make("tr", { tabindex: 0, "data-cell": c.id });
    const told = state.corrections.find((k) => k.image === field().id && k.cell === c.id);
    const values = [c.id, told ? `${told.labels.replaceAll("|", ", ")} (corrected)` : word(c), c.top[0][1].toFixed(2), c.area, c.ratio.toFixed(2), c.remark];
    row.append(...values.map((v) => make("td", {}, v)));
    if (c.id === state.cell) row.classList.add("chosen");
    row.addEventListener("click", () => choose(c.id));
    row.addEventListener("keydown", (e) => e.key === "Enter" && choose(c.id));
    body.append(row);
  }
}

function drawCell() {
  const c = field().cells.find((k) => k.id === state.cell);
  $("detail").hidden = !c;
  if (!c) return;
  $("name").textContent = `Cell ${c.id}: ${word(c)}`;
  $("bars").replaceChildren(
    ...c.top.map(([name, p]) => {
      const line = make("div", { class: "bar" });
      const bar = make("i");
      bar.style.width = `${Math.round(100 * p)}px`;
      bar.style.background = data.colours[name];
      line.append(bar, make("span", {}, `${name} ${p.toFixed(2)}`));
      return line;
    }),
  );
}

function choose(id) {
  state.cell = id;
  drawPicture();
  drawTable();
  drawCell();
  document.querySelector("tr.chosen")?.scrollIntoView({ block: "nearest" });
}

function save(name, lines) {
  const harmless = (v) => (/^'*([=+@\t\r]|-(?![\d.]))/.test(v) ? `'${v}` : v); // a spreadsheet runs no text
  const quote = (v) => (/[",\n]/.test(harmless(v)) ? `"${String(harmless(v)).replaceAll('"', '""')}"` : harmless(v));
  const text = lines.map((l) => l.map(quote).join(",")).join("\n") + "\n";
  const a = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  a.click();
  URL.revokeObjectURL(a.href);
}

function relabel() {
  const labels = [...$("labels").selectedOptions].map((o) => o.value).join("|");
  if (state.cell === null || !labels) return;
  state.corrections = state.corrections.filter((k) => k.image !== field().id || k.cell !== state.cell);
  state.corrections.push({ image: field().id, cell: state.cell, labels, time: new Date().toISOString() });
  $("count").textContent = `${state.corrections.length} corrected; save them before you leave this page`;
  drawTable();
}

function open(k) {
  state.field = k;
  state.cell = null;
  const f = field();
  $("said").textContent = `${f.cells.length} cells; the field: ${f.called || "not known"}${f.warnings ? `; ${f.warnings}` : ""}`;
  choose(null);
}

$("field").append(...data.fields.map((f, k) => make("option", { value: k }, f.id)));
$("field").addEventListener("change", (e) => open(Number(e.target.value)));
$("view").append(...data.fields[0].views.map((v, k) => make("option", { value: k }, v.name)));
$("view").value = state.view;
$("view").addEventListener("change", (e) => ((state.view = Number(e.target.value)), drawPicture()));
$("only").append(make("option", { value: "" }, "all classes"), ...Object.keys(data.colours).map((n) => make("option", { value: n }, n)));
$("only").addEventListener("change", (e) => ((state.only = e.target.value), choose(null)));
$("outlines").addEventListener("change", drawPicture);
$("labels").append(...Object.keys(data.colours).map((n) => make("option", { value: n }, n)));
$("relabel").addEventListener("click", relabel);
$("save").addEventListener("click", () =>
  save("corrections.csv", [["image_id", "cell_id", "labels", "user", "time"], ...state.corrections.map((k) => [k.image, k.cell, k.labels, $("user").value, k.time])]),
);
$("table").addEventListener("click", () =>
  save(`${field().id}_cells.csv`, [["image_id", "cell_id", "called", "top1", "p_top1"], ...shown().map((c) => [field().id, c.id, c.called, c.top[0][0], c.top[0][1]])]),
);
open(0);
