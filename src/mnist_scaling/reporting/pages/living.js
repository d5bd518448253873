// Without this script the page shows everything; with it, points and rows of one cell find each other, tables sort,
// figures hide what is not wanted and can be taken away, and the model answers what if.
"use strict";
const all = (query, root = document) => [...root.querySelectorAll(query)];
const make = (parent, tag, text = "", attributes = {}) => {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return parent.appendChild(element);
};
const button = (parent, text, act, attributes = {}) => {
  const made = make(parent, "button", text, { type: "button", ...attributes });
  made.addEventListener("click", () => act(made));
  return made;
};

// What is folded opens for a printer.
const folds = all("details[data-fold]");
const fold = (open) => folds.forEach((one) => { one.open = open; });
fold(false);
addEventListener("beforeprint", () => fold(true));
addEventListener("afterprint", () => fold(false));

// A cell that was picked is marked in every figure and every table.
let picked = null;
const ofCell = (cell) => all(`[data-cell="${CSS.escape(cell)}"]`);
function ring(point) {
  const mark = document.createElementNS(point.namespaceURI, "circle"), box = point.getBBox();
  const place = point.localName === "use"
    ? { cx: point.getAttribute("x"), cy: point.getAttribute("y"), r: 7 }
    : { cx: box.x + box.width / 2, cy: box.y + box.height / 2, r: Math.max(7, Math.min(box.width, box.height) / 2) };
  for (const [name, value] of Object.entries({ class: "ring", ...place })) mark.setAttribute(name, value);
  point.parentNode.append(mark);
}
function pick(cell) {
  all(".ring").forEach((mark) => mark.remove());
  all(".picked").forEach((one) => one.classList.remove("picked"));
  all("button.pick").forEach((one) => one.setAttribute("aria-pressed", "false"));
  picked = cell === picked ? null : cell;
  for (const one of picked === null ? [] : ofCell(picked)) {
    one.classList.add("picked");
    one.querySelector("button.pick")?.setAttribute("aria-pressed", "true");
    if (one.ownerSVGElement && one.localName !== "g") ring(one);
  }
}
for (const row of all("tr[data-cell]")) {
  const first = row.cells[0], text = first.textContent;
  first.textContent = "";
  button(first, text, () => pick(row.dataset.cell), { class: "pick", "aria-pressed": "false" });
}
document.addEventListener("click", (event) => {
  const point = event.target.closest("svg [data-cell], a[data-cell]");
  if (point) pick(point.dataset.cell);
});

// A card says what lies under the pointer: the point, and the row of its cell.
const card = make(document.body, "div", "", { class: "card", hidden: "" });
const titles = new Map();
for (const title of all("figure svg title")) {
  titles.set(title.parentNode, title.textContent);
  title.remove();
}
const line = (name, value) => { if (value) { make(card, "dt", name); make(card, "dd", value); } };
const bar = (point, axis) => point[`${axis}Low`] ? ` [${shown(point[`${axis}Low`])}, ${shown(point[`${axis}High`])}]` : "";
const shown = (value, digits = 4) => isNaN(value) ? value : +(+value).toPrecision(digits) + "";
document.addEventListener("pointermove", (event) => {
  const point = event.target.closest?.("svg [data-y], svg [data-cell]");
  card.hidden = !point;
  if (!point) return;
  const data = point.dataset, panel = point.closest("[data-panel]")?.dataset ?? {};
  const row = data.cell && document.querySelector(`tr[data-cell="${CSS.escape(data.cell)}"]`);
  card.textContent = "";
  make(card, "b", (titles.get(point) ?? "").replace(/: [^:]*$/, ""));
  if (data.y) {
    line(panel.ofX, shown(data.x) + bar(data, "x"));
    line(panel.ofY, shown(data.y) + bar(data, "y"));
    line(panel.panel, data.value && shown(data.value));
  }
  if (row) {
    const heads = row.closest("table").tHead.rows[0].cells;
    [...row.cells].forEach((cell, i) => line(heads[i].textContent, cell.textContent));
  }
  const room = { x: innerWidth - card.offsetWidth - 8, y: innerHeight - card.offsetHeight - 8 };
  card.style.left = `${Math.max(8, Math.min(event.clientX + 14, room.x))}px`;
  card.style.top = `${Math.max(8, event.clientY + 14 > room.y ? event.clientY - card.offsetHeight - 14 : event.clientY + 14)}px`;
});

// A click on a head sorts: by number where there is one (1/4, 50k, 1.2 × 10¹³, −0.3), else by letter.
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹", LETTERS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 };
function value(text) {
  const plain = text.replace(/[−⁻]/g, "-").replace(/(\d),(?=\d{3})/g, "$1").replace(/[⁰¹²³⁴-⁹]/g, (c) => RAISED.indexOf(c));
  const found = plain.match(/^\s*([+-]?[\d.]+)(?:\/(\d+)|\s*×\s*10(-?\d+)|([kMGTPE])\b)?/u);
  if (!found) return null;
  return found[1] / (found[2] ?? 1) * 10 ** (found[3] ?? 0) * (LETTERS[found[4]] ?? 1);
}
function sort(head) {
  const table = head.closest("table"), column = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
  const key = (row) => value(row.cells[column].textContent) ?? row.cells[column].textContent;
  const after = (a, b) => typeof a === typeof b ? (a > b) - (a < b) : typeof a === "string" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].sort((a, b) => after(key(a), key(b)) * (up ? 1 : -1));
  all("th[aria-sort]", table).forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
}
for (const head of all("th[scope=col]")) {
  const inner = document.createElement("button");
  inner.type = "button";
  inner.append(...head.childNodes);
  inner.addEventListener("click", () => sort(head));
  head.append(inner);
}
for (const box of all(".scroll")) {
  if (box.scrollWidth > box.clientWidth) { box.tabIndex = 0; box.setAttribute("role", "group"); box.setAttribute("aria-label", "Scrolls sideways"); }
}

// Each figure hides its series and can be taken away as SVG, PNG, or the numbers that it shows.
function save(name, url) {
  const link = make(document.body, "a", "", { href: url, download: name });
  link.click();
  link.remove();
}
const file = (text, type) => URL.createObjectURL(new Blob([text], { type }));
function alone(svg) {
  const copy = svg.cloneNode(true), [, , width, height] = svg.getAttribute("viewBox").split(" ");
  all(".ring", copy).forEach((mark) => mark.remove());
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  return new XMLSerializer().serializeToString(copy);
}
function png(name, svg) {
  const image = new Image(), [, , width, height] = svg.getAttribute("viewBox").split(" ");
  image.onload = () => {
    const canvas = make(document.createElement("div"), "canvas", "", { width: 3 * width, height: 3 * height });
    canvas.getContext("2d").drawImage(image, 0, 0, 3 * width, 3 * height);
    save(name, canvas.toDataURL());
  };
  image.src = file(alone(svg), "image/svg+xml");
}
const COLUMNS = ["panel", "series", "cell", "xIs", "x", "xLow", "xHigh", "yIs", "y", "yLow", "yHigh", "value"];
function csv(svg) {
  const rows = [];
  for (const one of all("[data-y], [data-points]", svg)) {
    const panel = one.closest("[data-panel]").dataset, series = one.closest("[data-series]")?.dataset.series;
    const shared = { panel: panel.panel, xIs: panel.ofX, yIs: panel.ofY, series, ...one.dataset };
    for (const point of one.dataset.points?.split(";") ?? [one.dataset.x + "\n" + one.dataset.y]) {
      const [x, y] = point.split(/[,\n]/);
      rows.push({ ...shared, x: one.dataset.x ?? x, y: one.dataset.y ?? y });
    }
  }
  const used = COLUMNS.filter((column) => rows.some((row) => row[column]));
  const quoted = (text = "") => /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  const names = used.map((column) => column.replace(/[A-Z]/, (letter) => " " + letter.toLowerCase()));
  return [names, ...rows.map((row) => used.map((column) => quoted(row[column])))].join("\n") + "\n";
}
for (const figure of all("figure")) {
  const svg = figure.querySelector("svg"), name = figure.id;
  if (!svg) continue;
  const tools = make(figure, "p", "", { class: "tools" });
  const colours = new Map(all("[data-series]", svg).map((one) => [one.dataset.series, one.dataset.colour]));
  if (colours.size > 1) make(tools, "span", "Shown:");
  if (colours.size > 1) for (const [series, colour] of colours) {
    const toggle = button(tools, series, (pressed) => {
      const on = pressed.getAttribute("aria-pressed") === "false";
      pressed.setAttribute("aria-pressed", on);
      all("[data-series]", svg).forEach((one) => { if (one.dataset.series === series) one.style.display = on ? "" : "none"; });
    }, { class: "series", "aria-pressed": "true" });
    toggle.style.setProperty("--colour", colour);
  }
  button(tools, "SVG", () => save(`${name}.svg`, file(alone(svg), "image/svg+xml")));
  button(tools, "PNG", () => png(`${name}.png`, svg));
  button(tools, "CSV", () => save(`${name}.csv`, file(csv(svg), "text/csv")));
  tools.setAttribute("aria-label", `Show, hide and save: ${figure.querySelector("h3")?.textContent ?? name}`);
}

// What if: surfaces whose floor and exponent are near what the sliders say count for more (a normal weight).
const NEAR = 0.25, PANEL = { width: 300, height: 210, left: 44, bottom: 34, top: 18, right: 8 };
function whatIf({ C, reach, loss, N, floor, cells }) {
  const section = document.getElementById("what-if"), top = C.length - reach.length - 1;
  section.hidden = false;
  const exponent = loss.map((row) => Math.log(row[top] / row[top + 1]) / Math.log(C[top + 1] / C[top]));
  const form = make(section, "form", "", { class: "knobs" });
  const knobs = [["floor E", floor], ["exponent in compute", exponent]].map(([name, draws]) => {
    const sorted = [...draws].sort((a, b) => a - b), mean = sorted.reduce((a, b) => a + b) / sorted.length;
    const spread = Math.sqrt(sorted.reduce((sum, x) => sum + (x - mean) ** 2, 0) / sorted.length);
    const ends = [0.01, 0.99].map((share) => sorted[Math.round(share * (sorted.length - 1))]);
    const label = make(form, "label", `${name}: `), said = make(label, "output", "any"), still = !(ends[1] > ends[0]);
    const input = make(label, "input", "", { type: "range", min: ends[0], max: ends[1], step: (ends[1] - ends[0]) / 100 || 1, value: sorted[sorted.length >> 1] });
    const one = { draws, input, said, width: NEAR * spread, set: false };
    input.disabled = still;
    if (still) said.textContent = `${shown(ends[0])} in every surface`;
    input.addEventListener("input", () => { one.set = true; said.textContent = shown(input.value); redraw(); });
    return one;
  });
  button(form, "Any floor and exponent", () => {
    for (const one of knobs) if (!one.input.disabled) { one.set = false; one.said.textContent = "any"; }
    redraw();
  });
  const told = make(section, "table"), agreed = make(section, "p", "", { role: "status" }), picture = make(section, "div", "", { class: "panels" });
  make(section, "p", "Lines are medians, shades hold 95 %, points are cells; the dashed line is the largest compute that was run. A shade that hardly moves says that the answer does not hang on what you chose.", { class: "note" });
  function redraw() {
    const weights = floor.map((_, i) => knobs.reduce((w, k) => w * (k.set ? Math.exp(-0.5 * ((k.draws[i] - k.input.value) / k.width) ** 2) : 1), 1));
    const sum = weights.reduce((a, b) => a + b), agree = sum ** 2 / weights.reduce((a, b) => a + b * b, 0);
    const band = (table, place) => {
      const known = table.map((row, i) => [row[place], weights[i]]).filter((one) => one[0] !== null).sort((a, b) => a[0] - b[0]);
      const whole = known.reduce((a, one) => a + one[1], 0);
      if (whole < 0.5 * sum) return null;
      return [0.025, 0.5, 0.975].map((share) => { let left = share * whole; return known.find((one) => (left -= one[1]) <= 0)?.[0] ?? known.at(-1)[0]; });
    };
    const bands = { loss: C.map((_, i) => band(loss, i)), N: N ? C.map((_, i) => band(N, i)) : [] };
    const three = (x) => x < 1000 ? (+x).toPrecision(3) : shown(x, 3);
    const words = (one) => one ? `${three(one[1])} [${three(one[0])}, ${three(one[2])}]` : "most surfaces have none";
    told.innerHTML = `<thead><tr><th scope="col">compute, by the largest run</th><th scope="col">loss</th>${N ? '<th scope="col">best N</th>' : ""}</tr></thead>`
      + reach.map((times, i) => `<tr><td>${times} times</td><td>${words(bands.loss[top + 1 + i])}</td>${N ? `<td>${words(bands.N[top + 1 + i])}</td>` : ""}</tr>`).join("");
    agreed.textContent = agree > floor.length - 0.5 ? `All ${floor.length} surfaces.`
      : `About ${Math.round(agree)} of ${floor.length} surfaces agree with you${agree < 12 ? ": the data speak against it" : ""}.`;
    picture.innerHTML = panel("loss", bands.loss, cells) + (bands.N.some((one) => one) ? panel("best N", bands.N, []) : "");
  }
  function panel(name, found, points) {
    const known = found.map((one, i) => one && { c: C[i], one }).filter((one) => one);
    const values = [...known.flatMap((k) => k.one), ...points.map((p) => p[1])].map(Math.log);
    const [low, high] = [Math.min(...values), Math.max(...values)], { width, height, left, bottom, top: above, right } = PANEL;
    const x = (c) => left + (Math.log(c / C[0]) / Math.log(C.at(-1) / C[0])) * (width - left - right);
    const y = (v) => above + ((high - Math.log(v)) / (high - low || 1)) * (height - above - bottom);
    const path = (ends) => known.map((k) => `${x(k.c).toFixed(1)},${y(k.one[ends]).toFixed(1)}`);
    const ticks = (from, to, steps) => { const out = []; for (let d = Math.floor(Math.log10(from)); d <= Math.log10(to); d++) for (const s of steps) if (s * 10 ** d >= from * 0.999 && s * 10 ** d <= to * 1.001) out.push(s * 10 ** d); return out; };
    const few = (list) => list.filter((_, i) => i % Math.ceil(list.length / 5) === 0);
    const across = few(ticks(C[0], C.at(-1), [1])).map((c) => `<text x="${x(c)}" y="${height - 18}" text-anchor="middle">${c.toExponential().replace("e+", "e")}</text>`);
    const up = few(ticks(Math.exp(low), Math.exp(high), high - low > 3 ? [1] : [1, 2, 5])).map((v) => `<text x="${left - 4}" y="${y(v) + 3}" text-anchor="end">${shown(v)}</text><path class="grid" d="M${left} ${y(v)}H${width - right}"/>`);
    const dots = points.map(([c, v, cell]) => `<circle data-cell="${cell}" data-x="${c}" data-y="${v}" cx="${x(c)}" cy="${y(v)}" r="2.6"/>`);
    return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${name} against training compute">${[...across, ...up].join("")}<path class="largest" d="M${x(C[top])} ${above}V${height - bottom}"/><polygon points="${[...path(0), ...path(2).reverse()].join(" ")}"/><polyline points="${path(1).join(" ")}"/>${dots.join("")}<text x="${left}" y="12">${name}</text><text x="${width - right}" y="${height - 4}" text-anchor="end">training compute C</text></svg>`;
  }
  redraw();
}
const draws = document.getElementById("draws");
if (draws) whatIf(JSON.parse(draws.textContent));
