// Points in a plane, coloured by a number: the pointer names one, a click chooses it. Stands on base.js.

function render({ model, el }) {
  const side = 340, pad = 12;
  const canvas = h("canvas", { className: "cp-points", tabIndex: 0, role: "img" });
  const tip = h("div", { className: "cp-points-tip", hidden: true }), said = h("p", { className: "cp-points-said" });
  const bar = h("div", { className: "cp-points-bar" }), low = h("span"), high = h("span");
  const key = h("div", { className: "cp-points-key" }, low, bar, high);
  const root = h("div", { className: "cp cp-pointmap" }, h("div", { className: "cp-points-place" }, canvas, tip), key, said);
  let at = [], values = [];

  const read = () => { // x, y (0 to 1) and value of each point
    const view = model.get("points"), n = view.byteLength / 12;
    at = Array.from({ length: n }, (_, i) => [view.getFloat32(12 * i, true), view.getFloat32(12 * i + 4, true)]);
    values = Array.from({ length: n }, (_, i) => view.getFloat32(12 * i + 8, true));
  };
  const place = i => [pad + at[i][0] * (side - 2 * pad), pad + (1 - at[i][1]) * (side - 2 * pad)];
  const draw = () => {
    const sharp = window.devicePixelRatio || 1, ctx = canvas.getContext("2d");
    canvas.width = canvas.height = Math.round(side * sharp);
    ctx.setTransform(sharp, 0, 0, sharp, 0, 0);
    const colours = model.get("colours"), [from, to] = model.get("limits"), chosen = model.get("chosen");
    const r = at.length > 600 ? 2.4 : at.length > 150 ? 3.2 : 4.5;
    const dot = (i, grow) => { const [x, y] = place(i); ctx.beginPath(); ctx.arc(x, y, r * grow, 0, 2 * Math.PI); };
    [...at.keys()].sort((a, b) => values[a] - values[b]).forEach(i => { // high values are never hidden
      const share = clamp((values[i] - from) / Math.max(to - from, 1e-9), 0, 1);
      dot(i, 1); ctx.fillStyle = colours[Math.round(share * (colours.length - 1))]; ctx.fill();
    });
    if (chosen >= 0 && chosen < at.length) { dot(chosen, 2); ctx.lineWidth = 2.5; ctx.strokeStyle = "#d01c8b"; ctx.stroke(); }
    bar.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
    low.textContent = from.toFixed(2); high.textContent = to.toFixed(2);
    said.textContent = model.get("said");
    canvas.setAttribute("aria-label", `${model.get("title")}: ${at.length} points`);
    root.dataset.points = at.length; root.dataset.chosen = chosen;
  };
  const nearest = e => {
    const box = canvas.getBoundingClientRect(), x = (e.clientX - box.left) * side / box.width, y = (e.clientY - box.top) * side / box.height;
    let best = -1, least = 12 ** 2;
    at.forEach((_, i) => { const p = place(i), d = (p[0] - x) ** 2 + (p[1] - y) ** 2; if (d < least || d === least && values[i] > values[best]) { best = i; least = d; } });
    return best;
  };
  const choose = i => { if (i < 0) return; model.set("chosen", i); model.save_changes(); draw(); };
  canvas.addEventListener("pointermove", e => {
    const i = nearest(e);
    tip.hidden = i < 0; canvas.style.cursor = i < 0 ? "default" : "pointer";
    if (i < 0) return;
    tip.textContent = `${model.get("names")[i]}: ${values[i].toFixed(2)}`;
    const [x, y] = place(i);
    tip.style.left = `${Math.min(x + 10, side - 150)}px`; tip.style.top = `${y > side - 50 ? y - 34 : y + 10}px`;
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("click", e => choose(nearest(e)));
  canvas.addEventListener("keydown", e => { // from the highest value down, and back
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (!step || !at.length) return;
    e.preventDefault();
    const order = [...at.keys()].sort((a, b) => values[b] - values[a]), now = order.indexOf(model.get("chosen"));
    choose(order[now < 0 ? 0 : clamp(now + step, 0, order.length - 1)]);
  });
  const fresh = () => { read(); draw(); };
  for (const name of ["points", "limits", "said"]) model.on(`change:${name}`, fresh);
  model.on("change:chosen", draw);
  fresh();
  el.append(root);
}

export default { render };
