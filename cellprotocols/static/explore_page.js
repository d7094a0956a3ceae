// The map as a page of its own: in place of Python, what the page holds answers. Loaded after base.js and explore.js.

class PageModel {
  constructor(data) { this.data = data; this.sheets = data.atlas.sheets.map(src => { const img = new Image(); img.src = src; return img; }); }
  get(key) { return this.data[key]; }
  on(_, fn) { this.hear = fn; }
  off() { this.hear = () => {}; }
  async send(msg) { const [answer, buffers] = await this.answer(msg); this.hear({ re: msg.ask, ...answer }, buffers); }
  async answer(msg) {
    if (msg.do === "hello") return [this.data.hello, [new DataView(Uint8Array.from(atob(this.data.places), c => c.charCodeAt(0)).buffer)]];
    if (msg.do !== "patches") return [{}, []];
    const { side, columns, rows, broken, grey, why, unread } = this.data.atlas, c = grey ? 1 : 3, canvas = h("canvas", { width: side, height: side }), ctx = canvas.getContext("2d", { willReadFrequently: true });
    const heads = [], data = new Uint8Array(msg.rows.length * side * side * c);
    let at = 0;
    for (const i of msg.rows) {
      const k = rows ? rows.indexOf(i) : i, sheet = this.sheets[Math.floor(k / columns ** 2)], cell = k % columns ** 2;
      if (k < 0 || broken.includes(i)) { heads.push(k < 0 ? why : unread); continue; }
      await sheet.decode();
      ctx.drawImage(sheet, side * (cell % columns), side * Math.floor(cell / columns), side, side, 0, 0, side, side);
      const px = ctx.getImageData(0, 0, side, side).data;
      for (let p = 0; p < side * side; p++) for (let b = 0; b < c; b++) data[at++] = px[4 * p + b];
      heads.push([side, side, c]);
    }
    return [{ rows: msg.rows, heads }, [new DataView(data.buffer)]];
  }
}

render({ model: new PageModel(JSON.parse(document.getElementById("data").textContent)), el: document.getElementById("map") });
