// A field with its cells: a click on an outline or a row chooses a cell or lets it go, a drag draws a cut.
const SVG = "http://www.w3.org/2000/svg";

function make(tag, about = {}, text = "", space = null) {
  const e = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(about)) e.setAttribute(k, v);
  if (text !== "") e.textContent = text;
  return e;
}

function render({ model, el }) {
  const svg = make("svg", { role: "group", "aria-label": "cells of the field" }, "", SVG);
  const list = make("div", { class: "list" });
  const root = make("div", { class: "celleditor" });
  let start = null, drawn = false;
  root.append(svg, list);
  el.append(root);

  const shown = () => model.get("shown");
  const chosen = () => model.get("chosen");
  function toggle(id) {
    model.set("chosen", chosen().includes(id) ? chosen().filter((k) => k !== id) : [...chosen(), id]);
    model.save_changes();
  }
  function press(e, id) { // the same for outlines and rows, by mouse and by keyboard
    e.setAttribute("tabindex", 0);
    e.setAttribute("data-cell", id);
    e.addEventListener("click", () => drawn || toggle(id));
    e.addEventListener("keydown", (k) => (k.key === "Enter" || k.key === " ") && (k.preventDefault(), toggle(id)));
  }

  function drawPicture() {
    const f = shown();
    svg.setAttribute("viewBox", `0 0 ${f.width} ${f.height}`);
    svg.replaceChildren(make("image", { href: f.src, width: f.width, height: f.height }, "", SVG));
    for (const c of f.cells) {
      const about = { points: c.points, stroke: c.colour, role: "button", "aria-label": `cell ${c.id}: ${c.called}` };
      const outline = make("polygon", about, "", SVG);
      outline.classList.toggle("edited", Boolean(c.edited));
      press(outline, c.id);
      svg.append(outline, make("text", { x: c.x, y: c.y, "font-size": f.width / 42 }, c.id, SVG));
    }
    svg.append(make("line", { class: "cut" }, "", SVG));
  }

  function drawTable() {
    const head = make("tr"), body = make("tbody"), table = make("table"), top = make("thead");
    head.append(...["cell", "called", "p", "area", "edited"].map((t) => make("th", {}, t)));
    for (const c of shown().cells) {
      const row = make("tr");
      row.append(...[c.id, c.called, c.p, c.area, c.edited].map((v) => make("td", {}, String(v))));
      press(row, c.id);
      body.append(row);
    }
    top.append(head);
    table.append(top, body);
    list.replaceChildren(table);
  }

  function mark() {
    for (const e of root.querySelectorAll("[data-cell]")) {
      const on = chosen().includes(Number(e.dataset.cell));
      e.classList.toggle("chosen", on);
      e.setAttribute(e.tagName === "TR" ? "aria-selected" : "aria-pressed", on);
    }
  }

  function drawCut() {
    const cut = svg.querySelector(".cut"), line = model.get("line"), k = shown().scale;
    if (!cut) return;
    cut.style.display = line.length ? "" : "none";
    if (line.length) ["y1", "x1", "y2", "x2"].forEach((name, i) => cut.setAttribute(name, line[i] * k));
  }

  function draw() {
    if (!shown().width) return;
    drawPicture();
    drawTable();
    mark();
    drawCut();
  }

  const place = (e) => {
    const p = new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [p.y / shown().scale, p.x / shown().scale];
  };
  svg.addEventListener("dragstart", (e) => e.preventDefault());
  svg.addEventListener("pointerdown", (e) => { start = { x: e.clientX, y: e.clientY, at: place(e) }; drawn = false; });
  svg.addEventListener("pointermove", (e) => {
    if (!start || (!drawn && Math.hypot(e.clientX - start.x, e.clientY - start.y) < 6)) return;
    drawn = true;
    model.set("line", [...start.at, ...place(e)]);
    drawCut();
  });
  const end = () => {
    if (start && drawn) model.save_changes();
    start = null;
  };
  svg.addEventListener("pointerup", end);
  svg.addEventListener("pointerleave", end);

  model.on("change:shown", draw);
  model.on("change:chosen", mark);
  model.on("change:line", drawCut);
  draw();
  return () => {
    model.off("change:shown", draw);
    model.off("change:chosen", mark);
    model.off("change:line", drawCut);
  };
}

export default { render };
