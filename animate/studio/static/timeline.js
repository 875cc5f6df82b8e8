// The timeline of a motion: marks, edited frames, trim, a chosen range, and the frame that is seen.

import { clamp, fitCanvas, ink } from "./dom.js";

const ROWS = { trim: 14, marks: 16, person: 10 };
const NAMES = {
  cut: "cut", gap: "not seen", weak: "doubtful", flip: "left and right exchanged?", meet: "people meet", jump: "jump",
};
export const markName = (kind) => NAMES[kind] || kind;

export class Timeline {
  /** `on` has seek(frame), range([first, last] or null) and trim([first, stop]). */
  constructor(canvas, on) {
    Object.assign(this, { canvas, on, frames: 1, frame: 0, range: null, trim: null, marks: [], people: [], person: 0 });
    this.view = [0, 1];
    this.drag = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.drag = null; });
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", () => { this.view = [0, this.frames]; this.draw(); });
  }

  set(values) {
    const frames = this.frames;
    Object.assign(this, values);
    if (this.frames !== frames) this.view = [0, this.frames];
    this.draw();
  }

  follow() {
    const [first, stop] = this.view;
    if (this.frame >= first && this.frame < stop) return;
    const length = stop - first;
    const start = clamp(this.frame - length / 2, 0, this.frames - length);
    this.view = [start, start + length];
  }

  draw() {
    if (this.coming) return;
    this.coming = true;
    requestAnimationFrame(() => { this.coming = false; this.render(); });
  }

  x(frame) { return (frame - this.view[0]) / (this.view[1] - this.view[0]) * this.canvas.width; }

  frameAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (event.clientX - box.left) / box.width;
    return clamp(Math.floor(this.view[0] + part * (this.view[1] - this.view[0])), 0, this.frames - 1);
  }

  render() {
    fitCanvas(this.canvas);
    const { canvas } = this;
    const context = canvas.getContext("2d");
    const scale = canvas.height / Math.max(1, canvas.getBoundingClientRect().height);
    const width = canvas.width;
    context.clearRect(0, 0, width, canvas.height);
    const bar = (first, stop, top, height, colour) => {
      context.fillStyle = colour;
      context.fillRect(this.x(first), top * scale, Math.max(scale * 1.5, this.x(stop) - this.x(first)), height * scale);
    };
    const [begin, end] = this.trim || [0, this.frames];
    bar(0, this.frames, 0, ROWS.trim, ink("groove"));
    bar(begin, end, 0, ROWS.trim, ink("soft"));
    for (const edge of [begin, end]) {
      context.fillStyle = ink("accent");
      context.fillRect(this.x(edge) - (edge === end ? 4 : 0) * scale, 0, 4 * scale, ROWS.trim * scale);
    }
    this.ticks(context, scale);
    let top = ROWS.trim + 4;
    for (const mark of this.marks) {
      if (mark.kind === "cut") continue;
      if (mark.person !== null && mark.person !== this.person) continue;
      bar(mark.first, mark.last + 1, top, ROWS.marks - 6, ink(`mark-${mark.kind}`));
    }
    top += ROWS.marks;
    bar(0, this.frames, top, 3, ink("groove"));
    for (const frame of this.people[this.person]?.edited || []) bar(frame, frame + 1, top - 2, 7, ink("accent"));
    for (const mark of this.marks) {
      if (mark.kind === "cut") bar(mark.first, mark.first, ROWS.trim + 2, 40, ink("text"));
    }
    if (this.range) {
      context.fillStyle = ink("range");
      context.fillRect(this.x(this.range[0]), ROWS.trim * scale, this.x(this.range[1] + 1) - this.x(this.range[0]), canvas.height);
    }
    context.fillStyle = ink("text");
    const now = this.x(this.frame + 0.5);
    context.fillRect(now - scale, 0, 2 * scale, canvas.height);
    context.beginPath();
    context.arc(now, 5 * scale, 5 * scale, 0, 7);
    context.fill();
    canvas.setAttribute("aria-valuenow", String(this.frame));
    canvas.setAttribute("aria-valuemax", String(this.frames - 1));
    canvas.setAttribute("aria-valuetext", `frame ${this.frame} of ${this.frames}`);
  }

  ticks(context, scale) {
    const length = this.view[1] - this.view[0];
    const step = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 10000].find((each) => this.x(each) - this.x(0) > 60 * scale) || 50000;
    if (length < 1) return;
    context.fillStyle = ink("quiet");
    context.font = `${10 * scale}px system-ui, sans-serif`;
    const bottom = this.canvas.height;
    for (let frame = Math.ceil(this.view[0] / step) * step; frame < this.view[1]; frame += step) {
      context.fillRect(this.x(frame), bottom - 12 * scale, 1, 4 * scale);
      context.fillText(String(frame), this.x(frame) + 3 * scale, bottom - 3 * scale);
    }
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus();
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const reach = event.pointerType === "touch" ? 22 : 9;
    const near = (edge) => Math.abs(this.x(edge) / ratio - (event.clientX - box.left)) < reach;
    const [begin, end] = this.trim || [0, this.frames];
    const high = event.clientY - box.top < ROWS.trim + (event.pointerType === "touch" ? 10 : 2);
    if (high && near(begin)) this.drag = { kind: "begin" };
    else if (high && near(end)) this.drag = { kind: "end" };
    else if (event.shiftKey || event.button === 2) this.drag = { kind: "range", from: this.frameAt(event) };
    else this.drag = { kind: "seek" };
    this.move(event);
  }

  move(event) {
    if (!this.drag) return;
    const frame = this.frameAt(event);
    const [begin, end] = this.trim || [0, this.frames];
    if (this.drag.kind === "seek") this.on.seek(frame);
    if (this.drag.kind === "range") this.on.range([Math.min(frame, this.drag.from), Math.max(frame, this.drag.from)]);
    if (this.drag.kind === "begin") this.on.trim([Math.min(frame, end - 1), end]);
    if (this.drag.kind === "end") this.on.trim([begin, Math.max(frame + 1, begin + 1)]);
  }

  wheel(event) {
    event.preventDefault();
    const [first, stop] = this.view;
    const length = stop - first;
    const around = this.frameAt(event);
    const wider = clamp(length * Math.exp(event.deltaY / 400), Math.min(24, this.frames), this.frames);
    const part = (around - first) / length;
    const start = clamp(around - part * wider + event.deltaX / 800 * length, 0, this.frames - wider);
    this.view = [start, start + wider];
    this.draw();
  }
}
