// Lines on a canvas: sparklines, and charts of the last minutes. Colours come from the style sheet, so both schemes fit.

import { onFrame } from "./dom.js";

const drawn = new Set();
const scheme = matchMedia("(prefers-color-scheme: dark)");
scheme.addEventListener("change", () => drawn.forEach((chart) => chart.ask()));

/** A canvas that is as sharp as the screen, and drawn again when its size or the colours change. */
class Drawing {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.ask = onFrame(() => this.#draw());
    this.resized = new ResizeObserver(() => this.ask());
    this.resized.observe(canvas);
    drawn.add(this);
  }

  remove() {
    this.resized.disconnect();
    drawn.delete(this);
  }

  color(name) {
    return getComputedStyle(this.canvas).getPropertyValue(name).trim();
  }

  #draw() {
    const { canvas, context } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    if (width > 0 && height > 0) this.paint(context, width, height);
  }
}

/** The way of one value, newest at the right; a hole in the line is an update that was missed. */
export class Sparkline extends Drawing {
  #values = [];
  #kept;
  trend = 0;

  constructor(canvas, kept = 90) {
    super(canvas);
    this.#kept = kept;
  }

  push(value) {
    this.#values.push(value);
    if (this.#values.length > this.#kept) this.#values.shift();
    this.ask();
  }

  hole() {
    if (this.#values.length > 0 && this.#values.at(-1) !== null) this.push(null);
  }

  paint(context, width, height) {
    const numbers = this.#values.filter((value) => value !== null);
    if (numbers.length < 2) return;
    const low = Math.min(...numbers);
    const high = Math.max(...numbers);
    const pad = 3;
    const x = (at) => pad + ((width - 2 * pad) * (at + this.#kept - this.#values.length)) / (this.#kept - 1);
    const y = (value) => (high === low ? height / 2 : pad + ((height - 2 * pad) * (high - value)) / (high - low));
    const color = this.color(this.trend > 0 ? "--up" : this.trend < 0 ? "--down" : "--ink-3");
    context.strokeStyle = color;
    context.fillStyle = color;
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    let isDown = false;
    this.#values.forEach((value, at) => {
      if (value === null) isDown = false;
      else if (isDown) context.lineTo(x(at), y(value));
      else context.moveTo(x(at), y(value));
      isDown = value !== null;
    });
    context.stroke();
    const last = this.#values.at(-1);
    if (last === null) return;
    context.beginPath();
    context.arc(x(this.#values.length - 1), y(last), 2.25, 0, 2 * Math.PI);
    context.fill();
  }
}

/** Round steps for an axis from zero to `most`. */
export function ticks(most, count = 3) {
  if (!(most > 0)) return [0, 1];
  const raw = most / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) * power;
  const result = [];
  for (let at = 0; at < most + step * 0.999; at += step) result.push(at);
  return result;
}

/** Several series over the last minutes, told apart by colour and by dashes. */
export class LineChart extends Drawing {
  #points = [];
  #series;
  #format;
  #windowMs;
  #pointer;

  /**
   * @param {{series: {label: string, color: string, dash?: number[]}[], format: (value: number) => string, windowMs?: number}} options
   */
  constructor(canvas, { series, format, windowMs = 120_000 }) {
    super(canvas);
    this.#series = series;
    this.#format = format;
    this.#windowMs = windowMs;
    canvas.setAttribute("role", "img");
    canvas.addEventListener("pointermove", ({ offsetX }) => ((this.#pointer = offsetX), this.ask()));
    canvas.addEventListener("pointerleave", () => ((this.#pointer = undefined), this.ask()));
  }

  /** One value for each series; null where there is none. */
  push(timeMs, values) {
    this.#points.push([timeMs, values]);
    while (this.#points.length > 2 && this.#points[1][0] < timeMs - this.#windowMs) this.#points.shift();
    this.canvas.setAttribute("aria-label", this.#series.map(({ label }, at) => `${label} ${values[at] === null ? "unknown" : this.#format(values[at])}`).join(", "));
    this.ask();
  }

  paint(context, width, height) {
    context.font = `12px ${this.color("--sans")}`;
    context.textBaseline = "middle";
    const most = Math.max(0, ...this.#points.flatMap(([, values]) => values).filter((value) => value !== null));
    const steps = ticks(most);
    const top = steps.at(-1);
    const labels = steps.map(this.#format);
    const left = Math.max(44, ...labels.map((label) => context.measureText(label).width + 12));
    const [plotTop, plotBottom] = [10, height - 22];
    const now = this.#points.at(-1)?.[0] ?? 0;
    const x = (timeMs) => width - 6 - ((now - timeMs) / this.#windowMs) * (width - 6 - left);
    const y = (value) => plotBottom - (value / top) * (plotBottom - plotTop);
    context.lineWidth = 1;
    steps.forEach((step, at) => {
      context.strokeStyle = this.color("--line");
      context.beginPath();
      context.moveTo(left, Math.round(y(step)) + 0.5);
      context.lineTo(width - 6, Math.round(y(step)) + 0.5);
      context.stroke();
      context.fillStyle = this.color("--ink-3");
      context.textAlign = "right";
      context.fillText(labels[at], left - 8, y(step));
    });
    context.textAlign = "left";
    context.fillText(`${this.#windowMs / 60_000} min ago`, left, height - 8);
    context.textAlign = "right";
    context.fillText("now", width - 6, height - 8);
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, height);
    context.clip();
    this.#series.forEach(({ color, dash = [] }, series) => {
      context.strokeStyle = this.color(color);
      context.lineWidth = 1.75;
      context.lineJoin = "round";
      context.setLineDash(dash);
      context.beginPath();
      let isDown = false;
      for (const [timeMs, values] of this.#points) {
        const value = values[series];
        if (value === null) isDown = false;
        else if (isDown) context.lineTo(x(timeMs), y(value));
        else context.moveTo(x(timeMs), y(value));
        isDown = value !== null;
      }
      context.stroke();
    });
    context.restore();
    context.setLineDash([]);
    if (this.#pointer !== undefined && this.#points.length > 0) this.#readout(context, x, y, width);
  }

  #readout(context, x, y, width) {
    const [timeMs, values] = this.#points.reduce((best, point) => (Math.abs(x(point[0]) - this.#pointer) < Math.abs(x(best[0]) - this.#pointer) ? point : best));
    const lines = this.#series.map(({ label }, at) => `${label} ${values[at] === null ? "–" : this.#format(values[at])}`);
    const box = Math.max(...lines.map((line) => context.measureText(line).width)) + 16;
    const at = Math.min(Math.max(x(timeMs) + 8, 0), width - box - 4);
    context.strokeStyle = this.color("--line-strong");
    context.beginPath();
    context.moveTo(Math.round(x(timeMs)) + 0.5, 10);
    context.lineTo(Math.round(x(timeMs)) + 0.5, y(0));
    context.stroke();
    context.fillStyle = this.color("--raised");
    context.strokeRect(at + 0.5, 12.5, box, lines.length * 18 + 8);
    context.fillRect(at + 1, 13, box - 1, lines.length * 18 + 7);
    context.fillStyle = this.color("--ink");
    context.textAlign = "left";
    lines.forEach((line, row) => context.fillText(line, at + 8, 26 + row * 18));
  }
}
