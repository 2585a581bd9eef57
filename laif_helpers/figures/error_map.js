// The error map: one renderer for the saved page and for JupyterLab (as an anywidget).
// Words that a model wrote reach the page through textContent alone: they are shown, never run.

const STYLE = `
.laif-map { position: relative; font: 13px/1.4 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
.laif-map .bar { display: flex; flex-wrap: wrap; gap: .4em 1em; align-items: center; padding: .4em .2em; }
.laif-map .bar input[type=search] { width: 17em; }
.laif-map .plot { height: 620px; } /* here, because Plotly forgets a layout's height when the window changes */
.laif-map .status { color: #444; }
.laif-map .tip { position: absolute; z-index: 9; display: none; width: 30em; max-width: 60%; padding: .5em .7em;
  background: #fff; border: 1px solid #999; box-shadow: 0 2px 8px #0003; pointer-events: none; font-size: 12px; }
.laif-map .tip div { white-space: pre-wrap; overflow-wrap: anywhere; margin-bottom: .25em; }
.laif-map .tip b { margin-right: .4em; }`;

const GREY = "#C4C4C4", PALE = "#E9E9E9";
const CHOICES = { cluster: "cluster", benchmark: "benchmark", grade: "right or wrong", flip: "flip" };
const GRADES = { right: ["#0072B2", "circle"], wrong: ["#D55E00", "x"] };
const FLIPS = { fixed: ["#009E73", "triangle-up"], broken: ["#D55E00", "x"], "still wrong": ["#555555", "square"],
  "still right": [GREY, "circle"] };
const SEVERAL = [["#0072B2", "circle"], ["#D55E00", "square"], ["#009E73", "triangle-up"], ["#E69F00", "diamond"],
  ["#CC79A7", "triangle-down"], ["#56B4E9", "cross"], ["#000000", "x"]];

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return await new Response(stream).text();
}

function run(script) {
  const element = document.createElement("script");
  element.textContent = script;
  document.head.append(element);
}

function child(parent, tag, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  parent.append(element);
  return element;
}

// Which mark a point gets: [legend name, [colour, symbol], rank in the legend]
function markOf(data, i, choice) {
  if (choice === "cluster") {
    if (data.right[i]) return ["right", [GREY, "circle"], -1];
    const cluster = data.clusters[data.cluster[i]] || { name: "in no cluster", look: ["#767676", "x-thin-open"] };
    return [cluster.name, cluster.look, data.cluster[i] < 0 ? 1e6 : data.cluster[i]];
  }
  if (choice === "benchmark") {
    const at = data.benchmark[i];
    return [data.benchmarks[at], SEVERAL[at % SEVERAL.length], at];
  }
  const looks = choice === "flip" ? FLIPS : GRADES;
  const name = choice === "flip" ? data.flip[i] : data.right[i] ? "right" : "wrong";
  return [name, looks[name] || [GREY, "circle"], -Object.keys(looks).indexOf(name)];
}

function textOf(data, column, i) { return data.texts[data[column][i]]; }

function tracesOf(data, view) {
  const groups = new Map();
  for (let i = 0; i < data.id.length; i++) {
    if (view.wrongOnly && data.right[i]) continue;
    const [name, look, rank] = view.found && !view.found.has(i)
      ? ["not found", [PALE, "circle"], -1e6] : markOf(data, i, view.choice);
    if (!groups.has(name)) groups.set(name, { name, look, rank, at: [] });
    groups.get(name).at.push(i);
  }
  const type = data.id.length > 2000 && view.webgl ? "scattergl" : "scatter";
  const sorted = [...groups.values()].sort((a, b) => a.rank - b.rank);
  const traces = sorted.map(group => ({
    type, mode: "markers", hoverinfo: "none", name: `${group.name} (N = ${group.at.length.toLocaleString("en")})`,
    x: group.at.map(i => data.x[i]), y: group.at.map(i => data.y[i]), customdata: group.at,
    marker: { color: group.look[0], symbol: group.look[1], size: [GREY, PALE].includes(group.look[0]) ? 4 : 7,
      line: { width: group.look[1].endsWith("open") ? 1 : 0 } },
    selectedpoints: view.selected ? group.at.flatMap((i, k) => view.selected.has(i) ? [k] : []) : undefined,
    unselected: { marker: { opacity: 0.25 } },
  }));
  if (data.density) traces.unshift({ type: "heatmap", ...data.density, colorscale: "Greys", reversescale: true,
    showscale: false, hoverinfo: "skip", opacity: 0.6, name: "all points, density" });
  return traces;
}

function describe(tip, data, i) {
  const rows = [["question", textOf(data, "question", i)], ["gold", textOf(data, "gold", i)],
    ["read", textOf(data, "extracted", i) || "nothing"], ["response", textOf(data, "response", i) || "(empty)"],
    [data.right[i] ? "right" : "wrong", textOf(data, "reason", i)],
    ["cluster", data.clusters[data.near[i]]?.name || "none"]];
  if (data.clusters[data.near[i]]?.sentence) rows.push(["the instructor says", data.clusters[data.near[i]].sentence]);
  if (data.flip) rows.push(["since the iteration before", data.flip[i]]);
  rows.push(["id", `${data.id[i]} (${data.benchmarks[data.benchmark[i]]})`]);
  tip.replaceChildren();
  for (const [label, text] of rows) {
    const line = child(tip, "div");
    child(line, "b", { textContent: label });
    line.append(text);
  }
}

function search(data, words) {
  const wanted = words.toLowerCase().trim();
  if (!wanted) return null;
  const hits = new Set(data.texts.flatMap((text, k) => text.toLowerCase().includes(wanted) ? [k] : []));
  return new Set(data.id.flatMap((id, i) => ["question", "gold", "response"].some(name => hits.has(data[name][i])) ||
    id.toLowerCase().includes(wanted) ? [i] : []));
}

function controls(bar, data, view, draw) {
  child(bar, "label", { textContent: "colour by " });
  const choice = child(bar.lastChild, "select", { className: "colour" });
  for (const [value, text] of Object.entries(CHOICES))
    if (value !== "flip" || data.flip) child(choice, "option", { value, textContent: text });
  choice.onchange = () => { view.choice = choice.value; draw(); };
  const only = child(bar, "label");
  const box = child(only, "input", { type: "checkbox", className: "wrong-only" });
  only.append(" wrong only");
  box.onchange = () => { view.wrongOnly = box.checked; draw(); };
  const words = child(bar, "input", { type: "search", placeholder: "search question, answer, id" });
  let waiting = 0;
  words.oninput = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { view.found = search(data, words.value); draw(); }, 150);
  };
}

function download(ids) {
  const file = new Blob([JSON.stringify({ ids }, null, 2)], { type: "application/json" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: "selection.json" });
  link.click();
  URL.revokeObjectURL(link.href);
}

// Draw the map into `el`. `chosen(ids)` is called with the wrong items of a lassoed region, [] when it is let go.
function mount(el, data, Plotly, chosen = null) {
  const root = child(el, "div", { className: "laif-map" });
  child(root, "style", { textContent: STYLE });
  const bar = child(root, "div", { className: "bar" });
  const plot = child(root, "div", { className: "plot" });
  const tip = child(root, "div", { className: "tip" });
  const webgl = !!document.createElement("canvas").getContext("webgl");
  const view = { choice: "cluster", wrongOnly: false, found: null, selected: null, webgl };
  const layout = { margin: { l: 40, r: 10, t: 34, b: 40 }, dragmode: "lasso", hovermode: "closest",
    uirevision: "kept", legend: { itemsizing: "constant", font: { size: 11 } },
    xaxis: { showticklabels: false, zeroline: false, title: { text: "UMAP 1 (no unit)" } },
    yaxis: { showticklabels: false, zeroline: false, title: { text: "UMAP 2 (no unit)" } } };
  const config = { displaylogo: false, responsive: true, modeBarButtons: [["lasso2d", "select2d", "pan2d"],
    ["zoomIn2d", "zoomOut2d", "resetScale2d"]] };
  const status = document.createElement("span");
  const save = document.createElement("button");
  let standing = data.note;  // what the bar says while nothing is searched: above all, that a selection is in force
  const show = text => { status.textContent = standing = text; };
  const draw = () => {
    Plotly.react(plot, tracesOf(data, view), layout, config);
    status.textContent = view.found ? `${view.found.size.toLocaleString("en")} found` : standing;
  };
  controls(bar, data, view, draw);
  Object.assign(status, { className: "status" });
  Object.assign(save, { className: "save", textContent: "lasso first", disabled: true,
    title: "draw around errors on the map; then this button downloads them as selection.json" });
  bar.append(status, ...(chosen ? [] : [save]));
  draw();
  let ids = [];
  save.onclick = () => download(ids);
  plot.on("plotly_hover", ({ points, event }) => {
    if (points[0].customdata === undefined) return;
    describe(tip, data, points[0].customdata);
    const place = root.getBoundingClientRect(), x = event.clientX - place.left, y = event.clientY - place.top;
    const left = x > place.width / 2;
    Object.assign(tip.style, { display: "block", left: left ? "" : `${x + 15}px`, top: `${y > 350 ? y - 220 : y + 10}px`,
      right: left ? `${place.width - x + 15}px` : "" });
  });
  plot.on("plotly_unhover", () => { tip.style.display = "none"; });
  const select = at => {
    view.selected = at.length ? new Set(at) : null;
    ids = at.filter(i => !data.right[i]).map(i => data.id[i]);
    save.disabled = !ids.length;
    save.textContent = ids.length ? "download selection.json" : "lasso first";
    show(at.length ? `${ids.length.toLocaleString("en")} wrong items selected (${at.length - ids.length} right ones left out)` +
      "; double click lets go" : data.note);
    if (chosen) chosen(ids);
  };
  plot.on("plotly_selected", event => { if (event) select(event.points.map(point => point.customdata)); });
  plot.on("plotly_deselect", () => { select([]); });
  return { show };
}

// plotly.js comes from the kernel, once for a page: the notebook stays small and nothing is fetched.
function plotlyOf(model) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  return new Promise((resolve, refuse) => {
    setTimeout(() => refuse("no kernel"), 15000);
    model.on("msg:custom", async (message, buffers) => {
      if (message !== "plotly") return;
      if (!window.Plotly) run(await gunzip(buffers[0]));
      resolve(window.Plotly);
    });
    model.send("plotly");
  });
}

async function render({ model, el }) {
  const waiting = child(el, "p", { textContent: "The map is drawn once the kernel answers; error_map.html needs none." });
  const [Plotly, text] = await Promise.all([plotlyOf(model), gunzip(model.get("payload"))]);
  waiting.remove();
  const map = mount(el, JSON.parse(text), Plotly, ids => { model.set("selected", ids); model.save_changes(); });
  model.on("change:status", () => map.show(model.get("status")));
}

export default { render };
