// Files to open: a path on the computer that runs Python, or a file that is sent there. Stands on base.js.

function render({ model, el }) {
  const path = h("input", { type: "text", className: "cp-opener-path", placeholder: model.get("example"), "aria-label": "path", spellcheck: false });
  const file = h("input", { type: "file", multiple: true, "aria-label": "upload", accept: model.get("accept") });
  const said = h("p", { className: "cp-opener-said", role: "status" }), go = button("Open", "look at the file or folder of this path", () => ask());
  const limit = () => model.get("most_mb");
  const rule = h("span", { className: "cp-opener-rule" }, `at most ${limit()} MB a file; larger ones by their path`);
  const busy = on => { go.disabled = on; file.disabled = on; };
  const ask = () => { if (path.value.trim()) { busy(true); model.send({ do: "path", path: path.value }); } };
  path.addEventListener("keydown", e => { if (e.key === "Enter") { e.preventDefault(); ask(); } });

  const send = async files => {
    const large = files.filter(f => f.size > limit() * 1e6), rest = files.filter(f => f.size <= limit() * 1e6);
    if (large.length) {
      const names = large.slice(0, 3).map(f => `${short(f.name, 40)} (${(f.size / 1e6).toFixed(1)} MB)`).join(", ");
      said.textContent = `Not sent: ${names}${large.length > 3 ? ` and ${large.length - 3} more` : ""}. An upload may have ${limit()} MB: the connection of the page breaks beyond 10. Write the path in the box instead; then nothing is copied.`;
      path.focus();
    }
    if (rest.length) busy(true);
    for (const f of rest) {
      try { model.send({ do: "upload", name: f.name }, undefined, [await f.arrayBuffer()]); }
      catch { busy(false); said.textContent = `${short(f.name, 40)} cannot be read by this browser.`; return; }
    }
  };
  file.addEventListener("change", () => { send([...file.files]); file.value = ""; });
  const show = () => { said.textContent = model.get("said"); busy(model.get("busy")); };
  model.on("change:said", show);
  model.on("change:busy", show);
  model.on("msg:custom", () => show());
  said.textContent = model.get("said");
  el.append(h("div", { className: "cp cp-opener" }, h("div", { className: "cp-opener-row" }, path, go),
    h("label", { className: "cp-opener-row" }, h("span", {}, "or upload"), file, rule), said));
}

export default { render };
