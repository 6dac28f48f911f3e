// The difference of two arms while it firms up: an interval that narrows as problems are answered.

import { points } from "./dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const WIDE = 480;
const HIGH = 230;
const LEFT = 46;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 34;

function shape(tag, attributes, text) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text != null) node.textContent = text;
  return node;
}

export class Funnel {
  // `of`: problems that both arms will answer.
  constructor(of) {
    this.of = of;
    this.points = [];
    this.node = shape("svg", { class: "chart funnel", viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" });
  }

  add({ n, difference, ci }) {
    const last = this.points.at(-1);
    if (last?.n === n && last.difference === difference) return;
    if (last && n < last.n) this.points = []; // the run began to answer anew
    this.points.push({ n, difference, low: ci[0], high: ci[1] });
    this._draw();
  }

  _draw() {
    // The newest interval decides the range: the first ones, as wide as it can be, are cut off at its edges.
    const newest = this.points.at(-1);
    const least = 1.3 * Math.max(Math.abs(newest.low), Math.abs(newest.high));
    const reach = [0.1, 0.2, 0.3, 0.4, 0.6].find((edge) => edge >= least) ?? 1;
    const x = (n) => LEFT + (n / Math.max(1, this.of)) * (WIDE - LEFT - RIGHT);
    const y = (value) => TOP + ((reach - Math.max(-reach, Math.min(reach, value))) / (2 * reach)) * (HIGH - TOP - BOTTOM);
    const at = (n, value) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`;
    const parts = [];
    for (const value of [-reach / 2, reach / 2, reach, -reach]) {
      parts.push(shape("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value) }));
    }
    for (const value of [-reach, -reach / 2, 0, reach / 2, reach]) {
      const label = shape("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" });
      label.textContent = value === 0 ? "0" : points(value).replace(".0", "");
      parts.push(label);
    }
    parts.push(shape("line", { class: "zero", x1: LEFT, x2: WIDE - RIGHT, y1: y(0), y2: y(0) }));
    const upper = this.points.map((p) => at(p.n, p.high));
    const lower = this.points.map((p) => at(p.n, p.low)).reverse();
    parts.push(shape("polygon", { class: "band", points: [...upper, ...lower].join(" ") }));
    parts.push(shape("polyline", { class: "line", points: this.points.map((p) => at(p.n, p.difference)).join(" ") }));
    const whisker = { class: "whisker", x1: x(newest.n), x2: x(newest.n), y1: y(newest.low), y2: y(newest.high) };
    parts.push(shape("line", whisker));
    parts.push(shape("circle", { class: "dot", cx: x(newest.n), cy: y(newest.difference), r: 4 }));
    for (const n of [0, Math.round(this.of / 2), this.of]) {
      parts.push(shape("text", { class: "tick", x: x(n), y: HIGH - 17, "text-anchor": n === this.of ? "end" : "middle" }, n));
    }
    const middle = { class: "label", x: (LEFT + WIDE) / 2, y: HIGH - 3, "text-anchor": "middle" };
    parts.push(shape("text", middle, "problems answered by both arms"));
    this.node.replaceChildren(...parts);
    this.node.setAttribute(
      "aria-label",
      `The difference with its 95 % interval, from ${this.points[0].n} to ${newest.n} of ${this.of} problems`,
    );
  }
}
