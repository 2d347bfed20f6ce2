const sweep = JSON.parse(document.getElementById("data").textContent);
const points = sweep.parts.flatMap((part) => part.points.map((point) => ({ ...point, member: part.member })));
const budget = sweep.latency_p99_ms;
const KNOBS = [["instances", "instances"], ["max_batch", "max batch"], ["delay_us", "queue delay, µs"], ["threads", "threads"]];
// the front of all parts together: nothing gives more throughput at a lower p99
for (const point of points) point.pareto = !points.some((other) => other !== point && other.throughput >= point.throughput && other.p99_ms <= point.p99_ms && (other.throughput > point.throughput || other.p99_ms < point.p99_ms));
let chosen = points.findLast((point) => point.status === "winner") || [...points].sort((a, b) => b.throughput - a.throughput)[0];

const fits = (point) => point.status === "winner" || point.status === "meets";
const groupOf = (point) => `${point.member}: ${point.setting.instances} instance${point.setting.instances > 1 ? "s" : ""}` +
  (point.setting.threads ? `, ${point.setting.threads} thread${point.setting.threads > 1 ? "s" : ""}` : "");
const groups = [...new Set(points.map(groupOf))];
const colorOf = (point) => COLORS[groups.indexOf(groupOf(point)) % COLORS.length];

function describe(point) {
  return [
    `${point.member}  ${point.text}`,
    `${short(point.throughput)} inferences/s  (${short(point.throughput_low)} to ${short(point.throughput_high)})`,
    `p50 ${short(point.p50_ms)}  p90 ${short(point.p90_ms)}  p99 ${short(point.p99_ms)} ms`,
    `mean batch ${point.mean_batch}, ${point.windows} window${point.windows > 1 ? "s" : ""}, foreign load ${point.foreign_cores} cores`,
    { winner: "the winner", meets: "keeps the budget", breaks: "breaks the budget", unsure: "too near to the budget" }[point.status],
  ].join("\n");
}

function drawHead() {
  document.getElementById("title").textContent = `Sweep of ${sweep.model}`;
  const goal = { throughput: "most throughput", latency: "lowest p99", cost: "most throughput per core" }[sweep.objective];
  const verdict = sweep.verdict ? sweep.verdict.text : sweep.winner ? "The present configuration is the best that was found." :
    points.length ? "Measured, without a search." : "Nothing could be measured.";
  document.getElementById("headline").textContent = verdict;
  const holder = clear("figures");
  const add = (value, label) => {
    const box = html("div", "figure");
    box.append(html("b", "", value), html("span", "", label));
    holder.append(box);
  };
  add(goal, budget ? `with p99 at most ${short(budget)} ms` : "no latency budget");
  if (sweep.verdict) {
    const percent = (gain) => {
      const whole = Math.round(gain.mean * 100);
      return whole ? `${whole > 0 ? "+" : "−"}${Math.abs(whole)} %` : "±0 %";
    };
    const range = (gain) => gain.high === null ? "one pair" : `95 %: ${(gain.low * 100).toFixed(0)} to ${(gain.high * 100).toFixed(0)} %`;
    add(percent(sweep.verdict.throughput), `throughput (${range(sweep.verdict.throughput)})`);
    add(percent(sweep.verdict.p99), `p99 (${range(sweep.verdict.p99)})`);
  }
  add(String(points.length), `points measured, ${sweep.parts.reduce((sum, part) => sum + part.pruned.length, 0)} promised too little to be measured`);
  add(`${Math.round(sweep.seconds.search)} s`, `search; ${Math.round(sweep.seconds.total)} s with the proof`);
}

function drawScatter() {
  const holder = clear("scatter"), legend = clear("legend");
  for (const group of groups) {
    const entry = html("span"), mark = html("i");
    mark.style.background = COLORS[groups.indexOf(group) % COLORS.length];
    entry.append(mark, group);
    legend.append(entry);
  }
  if (!points.length) return;
  const xHigh = Math.max(...points.map((p) => p.throughput_high)) * 1.05;
  const sorted = points.map((p) => p.p99_ms).sort((a, b) => a - b);
  const yHigh = Math.max(budget || 0, Math.min(sorted.at(-1), 4 * sorted[Math.floor(sorted.length / 2)])) * 1.15;
  const { root, x, y } = frame(holder, { width: 1100, height: 420, xHigh, yHigh, xLabel: "inferences per second", yLabel: "p99, ms" });
  if (budget) {
    root.append(svg("line", { x1: x(0), x2: x(xHigh), y1: y(budget), y2: y(budget), stroke: "var(--bad)", "stroke-dasharray": "6 4", class: "budget" }));
    root.append(svg("text", { x: x(0) + 6, y: y(budget) - 6, style: "fill: var(--bad)" }, `budget ${short(budget)} ms`));
  }
  const front = points.filter((p) => p.pareto && p.p99_ms <= yHigh).sort((a, b) => a.throughput - b.throughput);
  root.append(svg("polyline", { points: front.map((p) => `${x(p.throughput)},${y(p.p99_ms)}`).join(" "), fill: "none", stroke: "var(--soft)", "stroke-width": 1.5, class: "front" }));
  for (const point of points) {
    const beyond = point.p99_ms > yHigh, cy = y(Math.min(point.p99_ms, yHigh));
    root.append(svg("line", { x1: x(Math.max(0, point.throughput_low)), x2: x(point.throughput_high), y1: cy, y2: cy, stroke: colorOf(point), opacity: 0.3 }));
    const dot = svg(beyond ? "path" : "circle", beyond
      ? { d: `M${x(point.throughput) - 6} ${cy + 8} h12 l-6 -10 z` }
      : { cx: x(point.throughput), cy, r: point.status === "winner" ? 8 : 5.5 });
    dot.setAttribute("class", point === chosen ? "dot chosen" : "dot");
    dot.setAttribute("style", fits(point) ? `fill: ${colorOf(point)}` : `fill: var(--paper); stroke: ${colorOf(point)}; stroke-width: 1.8`);
    dot.setAttribute("tabindex", 0);
    hover(dot, describe(point));
    const choose = () => { chosen = point; drawAll(); };
    dot.addEventListener("click", choose);
    dot.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); });
    root.append(dot);
  }
}

const PARTS = [["send", 7], ["network", 4], ["receive", 6], ["queue", 1], ["input", 3], ["compute", 0], ["output", 2]];

function drawBreakdown() {
  const holder = clear("breakdown");
  if (!chosen) return;
  const others = points.filter((p) => p !== chosen && fits(p)).sort((a, b) => b.throughput - a.throughput).slice(0, 4);
  const rows = [chosen, ...others];
  const segments = rows.map((point) => Object.entries(point.breakdown_ms).flatMap(([model, parts]) =>
    PARTS.filter(([name]) => parts[name] > 0).map(([name, color]) => ({ model, name, color, ms: parts[name] }))));
  const high = Math.max(...segments.map((list) => list.reduce((sum, s) => sum + s.ms, 0)), 0.001);
  const height = 54 + rows.length * 46, width = 540, x = scale(0, high, 8, width - 60);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}` });
  const top = (row) => row * 46 + (row ? 22 : 0); // room for the labels below the first bar
  rows.forEach((point, row) => {
    let at = 0;
    root.append(svg("text", { x: 8, y: 14 + top(row), style: row ? "" : "font-weight: 600; fill: var(--ink)" }, `${point.text}${row ? "" : "  (chosen)"}`));
    let spanStart = 0;
    segments[row].forEach((part, n) => {
      const bar = svg("rect", { x: x(at), y: 20 + top(row), width: Math.max(x(at + part.ms) - x(at), 0.5), height: 18, style: `fill: ${COLORS[part.color]}; stroke: var(--paper)` });
      hover(bar, `${part.model}: ${part.name} ${short(part.ms)} ms`);
      root.append(bar);
      at += part.ms;
      const following = segments[row][n + 1];
      if (!row && (!following || following.model !== part.model)) { // whose time it is, below the chosen bar
        const label = part.model.startsWith(`${sweep.model}_`) ? part.model.slice(sweep.model.length + 1) : part.model;
        root.append(svg("path", { d: `M${x(spanStart) + 1} 42 v4 H${x(at) - 1} v-4`, fill: "none", stroke: "var(--soft)" }));
        if (x(at) - x(spanStart) > label.length * 6.2) root.append(svg("text", { x: (x(spanStart) + x(at)) / 2, y: 58, "text-anchor": "middle" }, label));
        spanStart = at;
      }
    });
    root.append(svg("text", { x: x(at) + 6, y: 33 + top(row) }, `${short(at)} ms`));
  });
  let left = 8;
  for (const [name, color] of PARTS) {
    root.append(svg("rect", { x: left, y: height - 16, width: 10, height: 10, style: `fill: ${COLORS[color]}` }));
    root.append(svg("text", { x: left + 14, y: height - 7 }, name));
    left += 26 + name.length * 7;
  }
  holder.append(root);
}

function drawBatches() {
  const holder = clear("batches");
  if (!chosen) return;
  document.getElementById("batches-of").textContent = `${chosen.member}, ${chosen.text}: share of all requests, by the size of the batch they ran in.`;
  const entries = Object.entries(chosen.batches).map(([size, count]) => [Number(size), Number(size) * count, count]);
  const total = entries.reduce((sum, entry) => sum + entry[1], 0) || 1;
  const last = Math.max(...entries.map((entry) => entry[0]), 1);
  const yHigh = Math.max(...entries.map((entry) => (100 * entry[1]) / total), 1);
  const step = Math.ceil(last / 16);
  const labels = Array.from({ length: last }, (_, n) => n + 1).filter((n) => n % step === 0 || n === 1);
  const { root, x, y } = frame(holder, { xHigh: last + 1, yHigh, xLabel: "batch size", yLabel: "% of requests", xTicks: labels });
  for (const [size, items, count] of entries) {
    const share = (100 * items) / total;
    const width = Math.max(2, (x(1) - x(0)) * 0.7);
    const bar = svg("rect", { x: x(size) - width / 2, y: y(share), width, height: Math.max(y(0) - y(share), 1), style: `fill: ${colorOf(chosen)}` });
    hover(bar, `batch ${size}: ${count} executions, ${share.toFixed(1)} % of the requests`);
    root.append(bar);
  }
}

function drawKnobs() {
  const holder = clear("knobs");
  const knobs = [...KNOBS.map(([key, label]) => [label, (p) => p.setting[key]]), ["load", (p) => p.load]];
  for (const [label, value] of knobs) {
    const values = [...new Set(points.map(value))].sort((a, b) => a - b);
    if (values.length < 2) continue;
    const box = html("div");
    box.append(html("h3", "", label));
    const yHigh = Math.max(...points.map((p) => p.throughput)) * 1.08;
    const width = 270, height = 170, y = scale(0, yHigh, height - 26, 10);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}` });
    const slot = (width - 50) / values.length;
    for (const tick of ticks(yHigh, 3)) {
      root.append(svg("line", { x1: 40, x2: width, y1: y(tick), y2: y(tick), class: "axis" }));
      root.append(svg("text", { x: 36, y: y(tick) + 4, "text-anchor": "end" }, short(tick)));
    }
    values.forEach((v, n) => {
      const here = points.filter((p) => value(p) === v), centre = 44 + slot * (n + 0.5);
      const best = here.filter(fits).sort((a, b) => b.throughput - a.throughput)[0];
      if (best) {
        const bar = svg("rect", { x: centre - slot * 0.35, y: y(best.throughput), width: slot * 0.7, height: y(0) - y(best.throughput), style: "fill: var(--c0); opacity: .25" });
        hover(bar, `${label} ${v}: best ${short(best.throughput)}/s\n${best.text}`);
        root.append(bar);
      }
      for (const point of here) {
        const dot = svg("circle", { cx: centre, cy: y(point.throughput), r: 3.2, class: "dot", style: fits(point) ? "fill: var(--c0)" : "fill: none; stroke: var(--c0)" });
        hover(dot, describe(point));
        dot.addEventListener("click", () => { chosen = point; drawAll(); });
        root.append(dot);
      }
      if (values.length <= 8 || n % Math.ceil(values.length / 8) === 0) root.append(svg("text", { x: centre, y: height - 8, "text-anchor": "middle" }, short(v)));
    });
    box.append(root);
    holder.append(box);
  }
  if (!holder.childElementCount) holder.append(html("p", "hint", "Only one value of every knob was measured."));
}

function drawTimes() {
  const holder = clear("times");
  const curves = sweep.parts.flatMap((part) => part.batch_times.map((time) => ({ ...time, member: part.member })));
  if (!curves.length) { holder.append(html("p", "hint", "Not fitted in a plain grid.")); return; }
  const sizes = curves.flatMap((curve) => Object.keys(curve.seen_ms).map(Number));
  const xHigh = Math.max(...sizes, 1) * 1.05;
  const yHigh = Math.max(...curves.flatMap((curve) => [...Object.values(curve.seen_ms), curve.fixed_ms + curve.per_item_ms * xHigh])) * 1.05;
  const { root, x, y } = frame(holder, { xHigh, yHigh, xLabel: "batch size", yLabel: "ms" });
  for (const curve of curves) {
    const color = colorOf({ member: curve.member, setting: curve });
    const line = svg("line", { x1: x(0), y1: y(curve.fixed_ms), x2: x(xHigh), y2: y(curve.fixed_ms + curve.per_item_ms * xHigh), stroke: color, "stroke-width": 1.5 });
    const name = groupOf({ member: curve.member, setting: curve });
    hover(line, `${name}\n${short(curve.fixed_ms)} ms + ${short(curve.per_item_ms)} ms for each item`);
    root.append(line);
    for (const [size, ms] of Object.entries(curve.seen_ms)) {
      const dot = svg("circle", { cx: x(Number(size)), cy: y(ms), r: 3.5, style: `fill: ${color}` });
      hover(dot, `${name}, batch ${size}: ${short(ms)} ms`);
      root.append(dot);
    }
  }
}

function drawPairs() {
  const holder = clear("pairs"), text = document.getElementById("proof-text");
  const { before, after } = sweep.pairs;
  if (!before.length) { text.textContent = "There was nothing to compare."; return; }
  const poisson = sweep.verdict.poisson ? ` Under Poisson arrivals of ${short(sweep.verdict.poisson_rate)}/s p99 is ${short(1e3 * sweep.verdict.poisson[0])} ms now and ${short(1e3 * sweep.verdict.poisson[1])} ms tuned.` : "";
  text.textContent = `Present and tuned configuration in turns, loaded anew each time.${poisson}`;
  const yHigh = Math.max(...before.concat(after).map((w) => w.throughput)) * 1.1;
  const { root, x, y } = frame(holder, { xHigh: before.length + 1, yHigh, xLabel: "pair", yLabel: "inferences per second", xTicks: before.map((_, n) => n + 1) });
  before.forEach((window, n) => {
    root.append(svg("line", { x1: x(n + 1), x2: x(n + 1), y1: y(window.throughput), y2: y(after[n].throughput), stroke: "var(--line)", "stroke-width": 3 }));
    for (const [w, name, color] of [[window, "now", 7], [after[n], "tuned", 0]]) {
      const dot = svg("circle", { cx: x(n + 1), cy: y(w.throughput), r: 6, style: `fill: ${COLORS[color]}` });
      hover(dot, `${name}: ${short(w.throughput)}/s, p99 ${short(w.p99_ms)} ms, foreign load ${w.foreign_cores} cores`);
      root.append(dot);
    }
  });
}

function drawModels() {
  const holder = clear("models");
  sweep.members.forEach((name, n) => {
    if (n) holder.append(html("span", "arrow", "→"));
    const part = sweep.parts.find((p) => p.member === name), box = html("div", part ? "model varied" : "model");
    box.append(html("b", "", name));
    const now = sweep.start.settings[name], tuned = sweep.winner && sweep.winner.settings[name];
    const words = (s) => `${s.instances} × batch ${s.max_batch || "none"}, delay ${s.delay_us / 1000} ms${s.threads ? `, ${s.threads} thread${s.threads > 1 ? "s" : ""}` : ""}`;
    if (now) box.append(html("span", "", `now: ${words(now)}`));
    if (tuned) box.append(html("span", "", `tuned: ${words(tuned)}`));
    if (part) box.append(html("span", "", `varied: ${part.why}`));
    const times = chosen && chosen.breakdown_ms[name];
    if (times) box.append(html("span", "", `chosen: ${short(times.queue)} ms queue, ${short(times.input + times.compute + times.output)} ms computed`));
    holder.append(box);
  });
}

function drawDiff() {
  const holder = clear("diff");
  if (sweep.diff && !sweep.better) document.getElementById("diff-title").textContent = "What would change (not proven better, so --apply writes nothing)";
  if (!sweep.diff) { holder.textContent = "Nothing."; return; }
  for (const line of sweep.diff.split("\n")) {
    const kind = line.startsWith("@@") || line.startsWith("---") || line.startsWith("+++") ? "at" : line.startsWith("+") ? "add" : line.startsWith("-") ? "del" : "";
    holder.append(html("span", kind, `${line}\n`));
  }
}

const COLUMNS = [
  ["model", (p) => p.member], ["configuration", (p) => p.text], ["status", (p) => p.status], ["windows", (p) => p.windows],
  ["disturbed", (p) => p.disturbed_windows], ["inferences/s", (p) => p.throughput], ["low", (p) => p.throughput_low], ["high", (p) => p.throughput_high],
  ["p50 ms", (p) => p.p50_ms], ["p90 ms", (p) => p.p90_ms], ["p95 ms", (p) => p.p95_ms], ["p99 ms", (p) => p.p99_ms], ["p99 low", (p) => p.p99_low_ms],
  ["p99 high", (p) => p.p99_high_ms], ["mean batch", (p) => p.mean_batch], ["foreign cores", (p) => p.foreign_cores],
];
let order = { column: 5, down: true };

function drawTable() {
  const table = clear("points"), head = html("thead"), row = html("tr"), body = html("tbody");
  COLUMNS.forEach(([name], n) => {
    const cell = html("th", "", name + (order.column === n ? (order.down ? " ↓" : " ↑") : ""));
    cell.addEventListener("click", () => { order = { column: n, down: order.column === n ? !order.down : true }; drawTable(); });
    row.append(cell);
  });
  head.append(row);
  const get = COLUMNS[order.column][1];
  const sorted = [...points].sort((a, b) => (get(a) < get(b) ? -1 : get(a) > get(b) ? 1 : 0) * (order.down ? -1 : 1));
  for (const point of sorted) {
    const line = html("tr", point.status);
    for (const [, value] of COLUMNS) line.append(html("td", "", typeof value(point) === "number" ? short(value(point)) : value(point)));
    line.addEventListener("click", () => { chosen = point; drawAll(); });
    body.append(line);
  }
  table.append(head, body);
}

function drawPruned() {
  const left = sweep.parts.flatMap((part) => [
    ...part.pruned.map((entry) => [part.member, entry.point, entry.why]),
    ...part.refused.map((entry) => [part.member, entry.point, `refused: ${entry.why}`]),
  ]);
  document.getElementById("pruned-title").textContent = `${left.length} points that were not measured, and why`;
  const table = clear("pruned");
  for (const cells of left) {
    const row = html("tr");
    for (const cell of cells) row.append(html("td", "", cell));
    table.append(row);
  }
}

function drawMachine() {
  const list = clear("machine");
  for (const [name, value] of Object.entries(sweep.machine)) list.append(html("dt", "", name), html("dd", "", value));
}

function asCsv() {
  const quote = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const parts = points.length ? Object.entries(points[0].breakdown_ms).flatMap(([model, values]) => Object.keys(values).map((name) => [model, name])) : [];
  const setting = ["instances", "max_batch", "delay_us", "threads"];
  const head = [...COLUMNS.map(([name]) => name), ...setting, "load", ...parts.map(([model, name]) => `${model} ${name} ms`)];
  const rows = points.map((p) => [...COLUMNS.map(([, value]) => value(p)), ...setting.map((key) => p.setting[key]), p.load, ...parts.map(([model, name]) => p.breakdown_ms[model][name])]);
  return [head, ...rows].map((cells) => cells.map(quote).join(",")).join("\n") + "\n";
}

function drawAll() {
  drawScatter(); drawBreakdown(); drawBatches(); drawKnobs(); drawModels();
}

drawHead(); drawAll(); drawTimes(); drawPairs(); drawDiff(); drawTable(); drawPruned(); drawMachine();
document.getElementById("csv").addEventListener("click", () => save(`${sweep.model}-sweep.csv`, "text/csv", asCsv()));
document.getElementById("json").addEventListener("click", () => save(`${sweep.model}-sweep.json`, "application/json", JSON.stringify(sweep, null, 1)));
document.body.dataset.ready = "yes";
