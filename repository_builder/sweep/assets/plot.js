"use strict";
// Small SVG helpers: elements, scales, axes, tooltips.

const SVG = "http://www.w3.org/2000/svg";
const COLORS = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => `var(--c${n})`);

function svg(name, attributes = {}, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function html(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function clear(id) {
  const element = document.getElementById(id);
  element.replaceChildren();
  return element;
}

const scale = (low, high, from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);

function ticks(high, wanted = 5) {
  const rough = high / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let value = 0; value <= high * 1.0001; value += step) found.push(value);
  return found;
}

const short = (value) => (value >= 100 ? Math.round(value).toString() : value >= 10 ? value.toFixed(1).replace(/\.0$/, "") : String(+value.toFixed(2)));

// A plot area with both axes; gives back the group to draw into and both scales.
function frame(holder, { width = 560, height = 300, xHigh, yHigh, xLabel, yLabel, left = 56, xTicks }) {
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const x = scale(0, xHigh, left, width - 16), y = scale(0, yHigh, height - 40, 14);
  for (const value of ticks(yHigh)) {
    root.append(svg("line", { x1: left, x2: width - 16, y1: y(value), y2: y(value), class: "axis" }));
    root.append(svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  for (const value of xTicks || ticks(xHigh, 8)) root.append(svg("text", { x: x(value), y: height - 22, "text-anchor": "middle" }, short(value)));
  root.append(svg("text", { x: (left + width - 16) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
  root.append(svg("text", { transform: `translate(13 ${height / 2 - 10}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  holder.append(root);
  return { root, x, y };
}

function hover(element, text) {
  const tip = document.getElementById("tip");
  element.addEventListener("pointermove", (event) => {
    tip.textContent = typeof text === "function" ? text() : text;
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    const top = event.clientY + 16 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : event.clientY + 16;
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
    tip.style.opacity = 1;
  });
  element.addEventListener("pointerleave", () => { tip.style.opacity = 0; });
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
