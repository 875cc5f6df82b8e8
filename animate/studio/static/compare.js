// The fourth view: clips in step, by a wipe, side by side, as their difference, or in a grid.

import { fileAddress, getJson, pageAddress } from "./api.js";
import { button, clock, fitCanvas, h, rate, trying } from "./dom.js";
import { base, choose, ofKind, on, store } from "./store.js";
import { Frames } from "./frames.js";
import { words } from "./make.js";

const MODES = { wipe: "Wipe", beside: "Side by side", difference: "Difference" };
const MOST = 9;

export class CompareView {
  constructor(root) {
    Object.assign(this, { reels: [], frame: 0, mode: "wipe", split: 0.5, playing: 0, names: "" });
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "the clips that are compared" });
    this.shelf = h("div", { class: "shelf", role: "group", "aria-label": "clips to compare" });
    this.modes = h("div", { class: "segments", role: "radiogroup", "aria-label": "way of comparing" },
      ...Object.entries(MODES).map(([mode, title]) => h("button", { type: "button", role: "radio", "data-mode": mode,
        onclick: () => { this.mode = mode; this.show(); this.draw(); } }, title)));
    this.slider = h("input", { type: "range", min: 0, max: 1, step: 1, value: 0, "aria-label": "frame", class: "grow",
      oninput: () => { this.stop(); this.seek(Number(this.slider.value)); } });
    this.play = button("Play", () => this.toggle(), { key: "space" });
    this.counter = h("output", { class: "counter" });
    this.gain = h("input", { type: "range", min: 1, max: 8, step: 0.5, value: 3, "aria-label": "strength of the difference", oninput: () => this.draw() });
    this.table = h("div", { class: "scores" });
    this.splitter = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: this.split, oninput: () => { this.split = Number(this.splitter.value); this.draw(); } });
    this.hint = h("p", { class: "quiet" });
    this.pages = h("p", { class: "quiet" });
    this.seen = [ // only where there is something to see
      h("div", { class: "transport" }, this.modes, h("label", { class: "slider", id: "gain" }, "times", this.gain), h("label", { class: "slider", id: "split" }, "edge", this.splitter)),
      h("div", { class: "stage" }, this.canvas),
      h("div", { class: "transport" }, this.play, this.slider, this.counter),
    ];
    root.append(h("div", { class: "compare" }, this.hint, this.shelf, ...this.seen, this.table, this.pages));
    this.canvas.addEventListener("pointerdown", (event) => { this.canvas.setPointerCapture(event.pointerId); this.wiping = true; this.wipe(event); });
    this.canvas.addEventListener("pointermove", (event) => { if (this.wiping) this.wipe(event); });
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, () => { this.wiping = false; });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    on("files clips choice", () => this.show());
  }

  show() {
    const files = ofKind("clip", "video").sort((a, b) => b.changed - a.changed);
    const there = new Set(files.map((file) => file.name));
    const chosen = store.choice.compare.filter((name) => there.has(name));
    this.hint.hidden = chosen.length > 1;
    this.hint.textContent = chosen.length < 2 ? "Choose two or more: clips, or the video that they follow." : "";
    this.shelf.replaceChildren(...files.map((file) => h("button", {
      type: "button", class: "chip", "aria-pressed": String(chosen.includes(file.name)),
      onclick: () => choose({ compare: chosen.includes(file.name) ? chosen.filter((name) => name !== file.name) : [...chosen, file.name].slice(-MOST) }),
    }, base(file.name), file.kind === "video" ? h("small", {}, " driving") : null)));
    for (const part of this.seen) part.hidden = !chosen.length;
    const pages = ofKind("page");
    this.pages.hidden = !pages.length;
    this.pages.replaceChildren("Reports and comparisons in the folder: ", ...pages.flatMap((file, index) => [index ? ", " : "",
      h("a", { href: pageAddress(file.name), target: "_blank", rel: "noopener" }, file.name)]));
    for (const item of this.modes.children) item.setAttribute("aria-checked", String(item.dataset.mode === this.mode));
    // Only two pictures lie over each other; fewer or more stand in a grid.
    this.modes.hidden = chosen.length !== 2;
    this.gain.parentElement.hidden = chosen.length !== 2 || this.mode !== "difference";
    this.splitter.parentElement.hidden = chosen.length !== 2 || this.mode !== "wipe";
    const names = chosen.join("\n");
    if (names !== this.names && this.open) {
      this.names = names;
      trying(() => this.load(chosen));
    }
  }

  async load(names) {
    for (const reel of this.reels) reel.frames.close();
    const facts = await Promise.all(names.map((file) => getJson("video", { file })));
    if (names.join("\n") !== this.names) return;
    const width = names.length > 2 ? 360 : 540;
    this.reels = names.map((name, index) => ({ name, facts: facts[index], part: partOf(name, names, facts[index]), frames: new Frames(name, facts[index].frames, width, () => this.draw()) }));
    this.count = Math.max(1, ...this.reels.map((reel) => reel.part[1] - reel.part[0]));
    this.slider.max = this.count - 1;
    this.seek(Math.min(this.frame, this.count - 1));
    this.showTable();
  }

  /** The frame of a reel at the moment that is seen: clips of other rates stay in step. */
  frameOf(reel) {
    const length = ({ part }) => part[1] - part[0];
    const longest = this.reels.reduce((a, b) => (length(b) > length(a) ? b : a));
    const seconds = this.frame / (rate(longest.facts.fps) || 24);
    return Math.min(reel.part[1] - 1, reel.part[0] + Math.round(seconds * (rate(reel.facts.fps) || 24)));
  }

  seek(frame) {
    this.frame = frame;
    this.slider.value = frame;
    const fps = Math.max(...this.reels.map((reel) => rate(reel.facts.fps)), 1);
    this.counter.textContent = `${frame} / ${this.count - 1} · ${clock(frame / fps)}`;
    this.draw();
  }

  toggle() {
    if (this.playing) { this.stop(); return; }
    if (!this.reels.length) return;
    const begun = performance.now();
    const from = this.frame >= this.count - 1 ? 0 : this.frame;
    const fps = Math.max(...this.reels.map((reel) => rate(reel.facts.fps)), 1);
    const tick = (now) => {
      this.seek((from + Math.floor((now - begun) / 1000 * fps)) % this.count);
      this.playing = requestAnimationFrame(tick);
    };
    this.playing = requestAnimationFrame(tick);
    this.play.firstChild.textContent = "Pause";
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.play.firstChild.textContent = "Play";
  }

  wipe(event) {
    const box = this.canvas.getBoundingClientRect();
    this.split = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    this.splitter.value = this.split;
    this.draw();
  }

  draw() {
    if (this.coming || !this.open) return;
    this.coming = true;
    requestAnimationFrame(() => { this.coming = false; this.render(); });
  }

  render() {
    fitCanvas(this.canvas);
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    if (!this.reels.length) return;
    const pictures = this.reels.map((reel) => {
      const frame = this.frameOf(reel);
      return reel.frames.get(frame) || reel.frames.nearest(frame);
    });
    if (this.mode === "beside" || this.reels.length > 2 || this.reels.length < 2) { this.grid(context, pictures); return; }
    const [first, second] = this.reels.map((reel) => fitted(reel.facts, 0, 0, width, height));
    const paint = (index, box) => pictures[index] && context.drawImage(pictures[index], ...box);
    paint(0, first);
    if (this.mode === "difference") {
      context.globalCompositeOperation = "difference";
      paint(1, first);
      context.globalCompositeOperation = "lighter";
      // Twice as light, as often as was asked for.
      for (let times = 2; times <= Number(this.gain.value); times *= 2) context.drawImage(this.canvas, 0, 0);
      context.globalCompositeOperation = "source-over";
      return;
    }
    context.save();
    context.beginPath();
    context.rect(width * this.split, 0, width, height);
    context.clip();
    context.clearRect(0, 0, width, height);
    paint(1, second);
    context.restore();
    context.fillStyle = "#fff";
    context.fillRect(width * this.split - 1, 0, 2, height);
    label(context, base(this.reels[0].name), first[0] + 8, first[1] + 8);
    label(context, base(this.reels[1].name), second[0] + second[2] - 8, second[1] + 8, "right");
  }

  grid(context, pictures) {
    const { width, height } = this.canvas;
    const { facts } = this.reels[0];
    let best = { size: 0, columns: 1 };
    for (let columns = 1; columns <= pictures.length; columns += 1) {
      const rows = Math.ceil(pictures.length / columns);
      const size = Math.min(width / columns / facts.width, height / rows / facts.height);
      if (size > best.size) best = { size, columns };
    }
    const rows = Math.ceil(pictures.length / best.columns);
    this.reels.forEach((reel, index) => {
      const [column, row] = [index % best.columns, Math.floor(index / best.columns)];
      const box = fitted(reel.facts, column * width / best.columns, row * height / rows, width / best.columns, height / rows);
      if (pictures[index]) context.drawImage(pictures[index], ...box);
      label(context, base(reel.name), box[0] + 8, box[1] + 8);
    });
  }

  async showTable() {
    const clips = this.reels.map((reel) => store.clips.find((clip) => clip.output === reel.name));
    const names = [...new Set(clips.flatMap((clip) => Object.keys(clip?.settings || {})))];
    const differing = names.filter((name) => !["output", "reference", "driving"].includes(name)
      && new Set(clips.map((clip) => JSON.stringify(clip?.settings?.[name]))).size > 1);
    const scores = [...new Set(clips.flatMap((clip) => Object.keys(clip?.scores || {})))];
    const files = await Promise.all(this.reels.map((reel) => getJson("clips/files", { file: reel.name }).catch(() => ({}))));
    const row = (title, values) => h("tr", {}, h("th", { scope: "row" }, title), ...values.map((value) => h("td", {}, value)));
    const text = (value) => (value === undefined ? "as by default" : String(value));
    this.table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("td", {}), ...this.reels.map((reel) => h("th", { scope: "col" }, base(reel.name))))),
      h("tbody", {},
        ...differing.map((name) => row(words(name), clips.map((clip) => (clip ? text(clip.settings[name]) : "")))),
        ...scores.map((name) => row(words(name), clips.map((clip) => clip?.scores?.[name]?.toPrecision(4) || ""))),
        row("keep", files.map((each) => h("span", { class: "row" }, ...Object.entries(each).map(([word, name]) => h("a", { href: fileAddress(name, true), download: base(name) }, word))))))));
  }

  key(event) {
    if (event.key === " ") { this.toggle(); return true; }
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      this.stop();
      this.seek(Math.min(this.count - 1, Math.max(0, this.frame + (event.key === "ArrowLeft" ? -1 : 1))));
      return true;
    }
    return false;
  }

  shown(open) {
    this.open = open;
    if (open) { this.show(); this.draw(); } else { this.stop(); }
  }
}

/** First frame of a reel that is shown and the one after the last: of a video, what the clips beside it follow. */
function partOf(name, names, facts) {
  const following = store.clips.filter((clip) => names.includes(clip.output) && clip.settings.driving === name);
  const frameAt = (text, otherwise) => {
    const [, number, frames] = /^([\d.]+)(f?)$/.exec(String(text ?? "")) || [];
    if (number === undefined) return otherwise;
    return Math.round(Number(number) * (frames ? 1 : rate(facts.fps)));
  };
  const parts = following.map(({ settings }) => [frameAt(settings.start, 0), frameAt(settings.end, facts.frames)]);
  if (!parts.length || parts.some((part) => String(part) !== String(parts[0]))) return [0, facts.frames];
  const first = Math.min(parts[0][0], facts.frames - 1);
  return [first, Math.max(first + 1, Math.min(parts[0][1], facts.frames))];
}

function fitted({ width, height }, left, top, across, down) {
  const scale = Math.min(across / width, down / height);
  return [left + (across - width * scale) / 2, top + (down - height * scale) / 2, width * scale, height * scale];
}

function label(context, text, x, y, align = "left") {
  const size = Math.max(11, Math.round(context.canvas.height / 40));
  context.font = `${size}px system-ui, sans-serif`;
  context.textAlign = align;
  const width = context.measureText(text).width;
  context.fillStyle = "rgba(0, 0, 0, 0.55)";
  context.fillRect(align === "left" ? x - 5 : x - width - 5, y - 3, width + 10, size + 8);
  context.fillStyle = "#fff";
  context.fillText(text, x, y + size);
}
