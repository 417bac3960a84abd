// Charts over time: uPlot draws, this says how. Each has a text for those who don't see it, and a table of its numbers.

import { clock, day } from "/format.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// A colour, so much lighter that what lies over it can be read; stacks cover each other, so it isn't translucent.
function soft(color) {
  const share = SOFTNESS[css("--theme")];
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [from, to] = [parts(css(color)), parts(css("--panel").padEnd(7, css("--panel").at(-1)))];
  return `rgb(${from.map((part, at) => Math.round(part * share + to[at] * (1 - share))).join(" ")})`;
}

const SOFTNESS = { light: 0.62, dark: 0.82 };
const tick = (text) => text.replace(/^0 .*/, "0").replace(/\.0+(?=\D|$)/, "").replace(/(\.\d)0(?=\D|$)/, "$1");
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

export class TimeChart {
  // `figure` is filled; `format` writes a value of the y axis.
  constructor(figure, { format, stacked = false, most = null, label }) {
    this.figure = figure;
    this.options = { format, stacked, most, label };
    this.canvas = figure.appendChild(document.createElement("div"));
    this.canvas.className = "canvas";
    this.canvas.setAttribute("role", "img");
    this.tip = figure.appendChild(document.createElement("div"));
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.table = figure.appendChild(document.createElement("details"));
    this.table.className = "as-table";
    this.table.append(Object.assign(document.createElement("summary"), { textContent: "as a table" }));
    this.table.addEventListener("toggle", () => this.fillTable());
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    this.plot = null;
    this.shape = "";
  }

  // `lines` are {name, color (a CSS variable), values}; `times` are seconds since the epoch.
  // Before `since` nothing was counted: a young history is drawn from there on.
  show(times, lines, { step, since = times[0], format, most } = {}) {
    Object.assign(this, { times, lines, step, since });
    if (format) this.options.format = format;
    if (most !== undefined) this.options.most = most;
    const data = [times, ...this.drawn().map((line) => line.heights)];
    const shape = JSON.stringify([lines.map((line) => [line.name, line.color]), css("--theme"), this.options.most, String(this.options.format)]);
    if (this.plot && shape === this.shape) {
      this.plot.setData(data);
    } else {
      this.shape = shape;
      this.make(data);
    }
    this.canvas.setAttribute("aria-label", this.said());
    if (this.table.open) this.fillTable();
  }

  redraw() {
    this.shape = "";
    if (this.times) this.show(this.times, this.lines, { step: this.step, since: this.since });
  }

  // Stacked ones are drawn from the top of the pile down, each filled to the ground, so that the next covers it.
  drawn() {
    if (!this.options.stacked) return this.lines.map((line) => ({ ...line, heights: line.values }));
    const sums = new Array(this.times.length).fill(0);
    const piled = this.lines.map((line) => ({
      ...line,
      heights: line.values.map((value, at) => (value == null ? null : (sums[at] += value))),
    }));
    return piled.reverse();
  }

  make(data) {
    this.plot?.destroy();
    const { stacked, most, format } = this.options;
    const grid = { stroke: css("--grid"), width: 1 };
    const axis = { stroke: css("--muted"), font: "11px system-ui, sans-serif", grid, ticks: { ...grid, size: 4 }, border: { show: false } };
    this.plot = new uPlot({
      ...this.size(),
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: !stacked, size: 6 }, drag: { x: false, y: false } },
      scales: { x: { time: true, range: () => this.span() }, y: { range: (_, low, high) => [0, most ?? (high > 0 ? high * 1.08 : 1)] } },
      axes: [
        { ...axis, grid: { show: false }, space: 70, size: 28,
          values: (_, ticks) => ticks.map((at) => this.tick(at)) },
        { ...axis, size: 56, values: (_, ticks) => ticks.map((value) => tick(format(value))) },
      ],
      series: [{}, ...this.drawn().map((line) => ({
        label: line.name,
        stroke: css(line.color),
        width: stacked ? 0 : 1.75,
        fill: stacked ? soft(line.color) : undefined,
        paths: stacked ? uPlot.paths.bars({ size: [1, 1000], align: 1, gap: 0 }) : undefined,
        points: { show: (_, index) => !stacked && this.isSparse(index - 1), size: 4 },
        spanGaps: false,
      }))],
      hooks: { setCursor: [(plot) => this.point(plot)] },
    }, data, this.canvas);
  }

  // Steps that are over and have anything, but at least ten; a bar takes all of its step.
  span() {
    const last = this.times.at(-1), first = Math.max(this.times[0], Math.min(this.since - this.step, last - 10 * this.step));
    return [first, this.options.stacked ? last + this.step : last];
  }

  tick(at) {
    const [first, last] = this.span();
    if (last - first < 600) return clock(at);
    return this.step >= 3600 ? day(at) : clock(at, true).slice(-5);
  }

  // A line through one value alone isn't seen: show its points.
  isSparse(at) {
    return this.drawn()[at].values.filter((value) => value != null).length < 24;
  }

  size() {
    const box = this.canvas.getBoundingClientRect();
    return { width: Math.max(120, Math.floor(box.width)), height: Math.max(80, Math.floor(box.height)) };
  }

  resize() {
    this.plot?.setSize(this.size());
  }

  point(plot) {
    const at = plot.cursor.idx;
    if (at == null || plot.cursor.left < 0) {
      this.tip.hidden = true;
      return;
    }
    const title = Object.assign(document.createElement("div"), { className: "tip-title", textContent: clock(this.times[at], this.step >= 60) });
    const rows = [...this.lines].reverse().filter((line) => line.values[at]).map((line) => {
      const row = document.createElement("div");
      row.append(
        Object.assign(document.createElement("i"), { className: `dot ${line.color.slice(2)}` }),
        Object.assign(document.createElement("span"), { textContent: line.name }),
        Object.assign(document.createElement("b"), { textContent: this.options.format(line.values[at]) }),
      );
      return row;
    });
    this.tip.replaceChildren(title, ...(rows.length ? rows : [Object.assign(document.createElement("div"), { textContent: "nothing" })]));
    this.tip.hidden = false;
    const middle = plot.bbox.left / devicePixelRatio + plot.cursor.left;
    const isRight = plot.cursor.left > plot.bbox.width / devicePixelRatio / 2;
    this.tip.style.transform = `translateX(${isRight ? middle - this.tip.offsetWidth - 12 : middle + 12}px)`;
    this.tip.style.transition = stillness.matches ? "none" : "";
  }

  said() {
    const parts = this.lines.map((line) => {
      const known = line.values.filter((value) => value != null);
      return known.length ? `${line.name} ${this.options.format(known.at(-1))}, at most ${this.options.format(Math.max(...known))}` : "";
    });
    return `${this.options.label}. ${parts.filter(Boolean).join("; ") || "No values."}`;
  }

  fillTable() {
    if (!this.table.open || !this.times) return;
    const cell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    head.append(cell("th", "time"), ...this.lines.map((line) => cell("th", line.name)));
    const body = table.createTBody();
    for (let at = this.times.length - 1; at >= 0; at--) {
      if (this.lines.every((line) => line.values[at] == null)) continue;
      const row = body.insertRow();
      row.append(cell("td", clock(this.times[at], this.step >= 60)), ...this.lines.map((line) => cell("td", this.options.format(line.values[at]))));
    }
    this.table.querySelector("table")?.remove();
    this.table.append(table);
  }
}

// A line without axes, for a tile or a table's row.
export function spark(values, { most = null, className = "" } = {}) {
  const known = values.filter((value) => value != null);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `spark ${className}`);
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  if (known.length < 2) return svg;
  const top = most ?? Math.max(...known, 1e-9);
  const last = values.length - 1;
  const runs = [[]];
  values.forEach((value, at) => {
    if (value == null) runs.push([]);
    else runs.at(-1).push([(at / last) * 100, 22.5 - (value / top) * 21]);
  });
  const drawn = runs.filter((run) => run.length > 1);
  const line = drawn.map((run) => `M${run.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}`).join("");
  const area = drawn.map((run) => `M${run[0][0].toFixed(2)} 24L${run.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}L${run.at(-1)[0].toFixed(2)} 24Z`).join("");
  for (const [name, d] of [["area", area], ["line", line]]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", name);
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

export function bar(share, className = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `bar ${className}`);
  svg.setAttribute("viewBox", "0 0 100 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rect.setAttribute("width", String(Math.max(0, Math.min(100, (share ?? 0) * 100))));
  rect.setAttribute("height", "1");
  svg.append(rect);
  return svg;
}
