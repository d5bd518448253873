// Without this script the page shows everything; with it, points and rows of one cell find each other, tables sort,
// figures hide series and can be saved, and the model answers what if.
"use strict";
const all = (query, root = document) => [...root.querySelectorAll(query)];
const make = (parent, tag, text = "", attributes = {}) => {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return parent.appendChild(made);
};
const button = (parent, text, act, attributes = {}) =>
  make(parent, "button", text, { type: "button", ...attributes }).addEventListener("click", act);
const shown = (value, digits = 4) => isNaN(value) ? value : String(+(+value).toPrecision(digits));

// A picked cell is marked in every figure and table.
let picked = null;
function ring(point) {
  const mark = document.createElementNS(point.namespaceURI, "circle"), box = point.getBBox();
  mark.setAttribute("class", "ring");
  mark.setAttribute("cx", box.x + box.width / 2);
  mark.setAttribute("cy", box.y + box.height / 2);
  mark.setAttribute("r", Math.max(7, Math.min(box.width, box.height) / 2));
  point.parentNode.append(mark);
}
function pick(cell) {
  all(".ring").forEach((mark) => mark.remove());
  picked = cell === picked ? null : cell;
  for (const one of all("[data-cell]")) {
    const on = one.dataset.cell === picked;
    one.classList.toggle("picked", on);
    one.querySelector("button.pick")?.setAttribute("aria-pressed", on);
    if (on && one.ownerSVGElement && one.localName !== "g") ring(one);
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

// A click on a head sorts: by number where there is one (1/4, 50k, 1.2 × 10¹³, −0.3), else by letter.
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹", LETTERS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 };
function value(text) {
  const plain = text.replace(/[−⁻]/g, "-").replace(/(\d),(?=\d{3})/g, "$1")
    .replace(/[⁰¹²³⁴-⁹]/g, (letter) => RAISED.indexOf(letter));
  const found = plain.match(/^\s*([+-]?[\d.]+)(?:\/(\d+)|\s*×\s*10(-?\d+)|([kMGTPE])\b)?/u);
  return found && found[1] / (found[2] ?? 1) * 10 ** (found[3] ?? 0) * (LETTERS[found[4]] ?? 1);
}
function sort(head) {
  const table = head.closest("table"), up = head.getAttribute("aria-sort") !== "ascending";
  const key = ({ cells }) => value(cells[head.cellIndex].textContent) ?? cells[head.cellIndex].textContent;
  const after = (a, b) => typeof a === typeof b ? (a > b) - (a < b) : typeof a === "string" ? 1 : -1;
  all("th", table).forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => after(key(a), key(b)) * (up ? 1 : -1)));
}
for (const head of all("th")) {
  const words = [...head.childNodes];
  button(head, "", () => sort(head));
  head.lastChild.append(...words);
}
for (const box of all(".scroll").filter((one) => one.scrollWidth > one.clientWidth)) {
  Object.assign(box, { tabIndex: 0, role: "group", ariaLabel: "Scrolls sideways" });
}

// A series that one figure hides is hidden in all; each figure is saved as SVG, PNG, or the numbers that it shows.
function hide(series) {
  const buttons = all("button.series").filter((one) => one.textContent === series);
  const on = buttons[0].getAttribute("aria-pressed") === "false";
  buttons.forEach((one) => one.setAttribute("aria-pressed", on));
  const parts = all("[data-series]").filter((one) => one.dataset.series === series);
  parts.forEach((one) => { one.style.display = on ? "" : "none"; });
}
const save = (download, href) => Object.assign(document.createElement("a"), { download, href }).click();
const file = (text, type) => URL.createObjectURL(new Blob([text], { type }));
function alone(svg, { width, height } = svg.viewBox.baseVal) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  return file(new XMLSerializer().serializeToString(copy), "image/svg+xml");
}
async function png(svg, { width, height } = svg.viewBox.baseVal) {
  const image = new Image(), canvas = document.createElement("canvas");
  image.src = alone(svg);
  await image.decode();
  Object.assign(canvas, { width: 3 * width, height: 3 * height });
  canvas.getContext("2d").drawImage(image, 0, 0, 3 * width, 3 * height);
  return canvas.toDataURL();
}
function csv(svg) {
  const rows = all("[data-y], [data-points]", svg).flatMap((one) => {
    const shared = ["[data-panel]", "[data-series]", "*"].map((part) => one.closest(part)?.dataset);
    const ends = one.dataset.points?.split(";").map((point) => point.split(",")) ?? [[one.dataset.x, one.dataset.y]];
    return ends.map(([x, y]) => Object.assign({}, ...shared, { x, y }));
  });
  const names = new Set(rows.flatMap(Object.keys)).difference(new Set(["points", "colour"]));
  const quoted = (text = "") => `"${text.replaceAll('"', '""')}"`;
  const lines = rows.map((row) => [...names].map((name) => quoted(row[name])));
  return file([[...names], ...lines].join("\n") + "\n", "text/csv");
}
for (const figure of all("figure:has(svg)")) {
  const svg = figure.querySelector("svg"), words = figure.querySelector("h2, h3")?.textContent ?? "this figure";
  const tools = make(figure, "div", "", { class: "tools", role: "group", "aria-label": `Show and save: ${words}` });
  const series = new Map(all("[data-series]", svg).map(({ dataset }) => [dataset.series, dataset.colour]));
  if (series.size > 1) {
    make(tools, "span", "Shown here and in other figures:");
    series.forEach((colour, name) => button(tools, name, () => hide(name), {
      class: "series", "aria-pressed": "true", style: `--colour: ${colour}`,
    }));
  }
  button(tools, "SVG", () => save(`${figure.id}.svg`, alone(svg)));
  button(tools, "PNG", async () => save(`${figure.id}.png`, await png(svg)));
  button(tools, "CSV", () => save(`${figure.id}.csv`, csv(svg)));
}

// What if: surfaces that are near what the sliders say.
function whatIf({ C, reach, loss, N, floor, cells }) {
  const section = document.getElementById("what-if"), top = C.length - reach.length - 1;
  const exponent = loss.map((row) => Math.log(row[top] / row[top + 1]) / Math.log(C[top + 1] / C[top]));
  const knobs = [floor, exponent].map((values, i) => {
    const sorted = values.toSorted((a, b) => a - b), at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const input = all("input", section)[i], knob = { values, input, near: (at(0.84) - at(0.16)) / 4, set: false };
    for (const [name, share] of [["min", 0.01], ["max", 0.99], ["value", 0.5]]) input[name] = at(share);
    input.addEventListener("input", () => { knob.set = true; redraw(); });
    return knob;
  });
  section.querySelector("button").addEventListener("click", () => {
    knobs.forEach((knob) => { knob.set = false; });
    redraw();
  });
  function redraw() {
    const agrees = (knob, i) => !knob.set || Math.abs(knob.values[i] - knob.input.value) <= knob.near;
    const chosen = [...floor.keys()].filter((i) => knobs.every((knob) => agrees(knob, i)));
    const band = (table, place) => {
      const known = chosen.map((i) => table[i][place]).filter((x) => x !== null).sort((a, b) => a - b);
      const enough = known.length > chosen.length / 2;
      return enough && [0.025, 0.5, 0.975].map((share) => known[Math.round(share * (known.length - 1))]);
    };
    all("output", section).forEach((said, i) => {
      said.textContent = knobs[i].set ? shown(knobs[i].input.value, 3) : "any";
    });
    section.querySelector("[role=status]").textContent = `${chosen.length} of ${floor.length} surfaces agree with you`
      + (chosen.length < 12 ? ": the data speak against it." : ".");
    all("svg", section).forEach((svg, column) => {
      const bands = C.map((_, place) => band([loss, N][column], place));
      all("tr:has(td)", section).forEach(({ cells: [, ...row] }, i) => {
        const one = bands[top + 1 + i];
        const [low, x, high] = (one || []).map((v) => v < 100 ? v.toPrecision(2) : shown(v, 2));
        row[column].textContent = one ? (low === high ? x : `${x} [${low}, ${high}]`) : "–";
      });
      panel(svg, bands, column ? [] : cells);
    });
  }
  function panel(svg, bands, points) {
    const known = bands.flatMap((one, i) => one ? [[C[i], ...one]] : []);
    svg.style.display = known[1] ? "" : "none";
    if (!known[1]) return;
    const values = [...known.flatMap((one) => one.slice(1)), ...points.map((one) => one[1])];
    const [low, high] = svg.limits ?? [Math.min(...values), Math.max(...values)];
    const x = (c) => 44 + 246 * Math.log(c / C[0]) / Math.log(C.at(-1) / C[0]);
    const y = (v) => 20 + 148 * Math.log(high / v) / Math.log(high / low);
    const path = (end) => known.map((one) => `${x(one[0])},${y(one[end])}`);
    svg.querySelector("polyline").setAttribute("points", path(2).join(" "));
    svg.querySelector("polygon").setAttribute("points", [...path(1), ...path(3).reverse()].join(" "));
    if (svg.limits) return;
    svg.limits = [low, high];
    const across = [C[0], C[top], C.at(-1)].map((c) =>
      `<text x="${x(c)}" y="186" text-anchor="middle">${c.toExponential(0).replace("+", "")}</text>`);
    const up = svg.limits.map((v) => `<text x="40" y="${y(v) + 3}" text-anchor="end">${shown(v, 2)}</text>`);
    const dots = points.map(([c, v, cell]) => `<circle data-cell="${cell}" cx="${x(c)}" cy="${y(v)}" r="2.6"/>`);
    svg.innerHTML += `${across.join("")}${up.join("")}${dots.join("")}<path d="M${x(C[top])} 20V168"/>`;
  }
  for (const one of all(".what-if")) one.hidden = false;
  redraw();
}
const draws = document.getElementById("draws");
if (draws) whatIf(JSON.parse(draws.textContent));
