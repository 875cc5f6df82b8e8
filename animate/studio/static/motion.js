// The second view: the skeleton over the video and over the photo, and everything that mends it.

import { getData, getJson, photoAddress, post } from "./api.js";
import { button, clock, fitCanvas, h, later, rate, toast, trying } from "./dom.js";
import { Frames } from "./frames.js";
import { FixedPoints, POINTS, Points } from "./points.js";
import { base, choose, hasFile, on, posesOf, store } from "./store.js";
import { companions, drawPerson, outward, pointAt } from "./skeleton.js";
import { Stage } from "./stage.js";
import { markName, Timeline } from "./timeline.js";

export class MotionView {
  constructor(root, go) {
    Object.assign(this, { go, frame: 0, person: 0, range: null, marked: -1, state: null, video: "", playing: 0, busy: false });
    this.build(root);
    on("choice", () => { this.open(); this.showPhoto(); });
    on("files estimates", () => this.open());
    this.refit = later(() => this.fit(), 400);
  }

  build(root) {
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "the video's frame with its skeleton" });
    this.stage = new Stage(this.canvas, (context) => this.paint(context));
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, (event) => this.release(event, name));
    this.photoCanvas = h("canvas", { role: "img", "aria-label": "the photo with the skeleton as it is laid onto it" });
    this.photoStage = new Stage(this.photoCanvas, (context) => this.paintPhoto(context));
    this.line = h("canvas", { class: "timeline", tabindex: 0, role: "slider", "aria-label": "frame", "aria-valuemin": "0" });
    this.timeline = new Timeline(this.line, {
      seek: (frame) => this.seek(frame),
      range: (range) => this.select(range),
      trim: (trim) => choose({ trim: trim[0] === 0 && trim[1] === this.frames ? null : trim }),
    });
    this.counter = h("output", { class: "counter", for: "timeline" });
    this.play = button("Play", () => this.toggle(), { key: "space" });
    this.empty = h("div", { class: "veil" });
    this.note = h("span", { class: "quiet", role: "status" });
    this.tools = h("aside", { class: "tools", "aria-label": "editing" });
    root.append(h("div", { class: "motion" },
      h("div", { class: "stages" },
        h("div", { class: "stage" }, this.canvas, this.empty),
        h("div", { class: "stage small" }, this.photoCanvas, h("span", { class: "tag" }, "on the photo"))),
      h("div", { class: "transport" }, this.play,
        button("‹", () => this.step(-1), { key: "←", "aria-label": "one frame back" }),
        button("›", () => this.step(1), { key: "→", "aria-label": "one frame on" }),
        this.counter, this.note, h("span", { class: "grow" }),
        button("−", () => this.stage.zoomBy(1 / 1.5), { "aria-label": "farther away" }),
        button("+", () => this.stage.zoomBy(1.5), { "aria-label": "nearer" })),
      this.line,
      this.tools));
    this.buildTools();
  }

  buildTools() {
    this.undo = button("Undo", () => this.change("undo"), { key: "z" });
    this.redo = button("Redo", () => this.change("redo"), { key: "y" });
    this.save = button("Save", () => this.change("save"), { class: "strong", key: "s" });
    this.people = h("div", { class: "chips", role: "radiogroup", "aria-label": "the person to follow" });
    this.rangeText = h("span", {});
    this.marks = h("ol", { class: "marks" });
    this.joint = h("select", { "aria-label": "point", onchange: () => { this.marked = Number(this.joint.value); this.draw(); } });
    this.sliders = ["body", "hands", "face"].map((name) => {
      const shown = h("output", {}, "100 %");
      const input = h("input", { type: "range", min: 0, max: 2, step: 0.05, value: 1, "data-part": name,
        oninput: () => { shown.textContent = `${Math.round(input.value * 100)} %`; } });
      return { name, input, shown, row: h("label", { class: "slider" }, h("span", {}, name), input, shown) };
    });
    this.swapWith = h("select", { "aria-label": "person to exchange with" });
    const group = (title, ...rows) => h("section", {}, h("h3", {}, title), ...rows);
    this.tools.append(
      h("div", { class: "row" }, this.undo, this.redo, this.save),
      group("Person", this.people, h("p", { class: "quiet" }, "Click a skeleton to follow that person.")),
      group("Range", h("p", {}, this.rangeText),
        h("div", { class: "row" },
          button("From here", () => this.select([this.frame, Math.max(this.frame, this.range?.[1] ?? this.frame)]), { key: "i" }),
          button("To here", () => this.select([Math.min(this.frame, this.range?.[0] ?? this.frame), this.frame]), { key: "o" }),
          button("Clear", () => this.select(null), { key: "esc" }))),
      group("Mend",
        h("div", { class: "row" },
          button("Erase", () => this.ranged("erase"), { key: "del", title: "the person is not there in these frames" }),
          button("Hold", () => this.ranged("hold"), { key: "h", title: "the first frame's pose over the range" }),
          button("Smooth", () => this.ranged("smooth"), { key: "m", title: "calm the motion of the range" })),
        h("div", { class: "row" },
          button("Interpolate", () => this.ranged("tween"), { key: "t", title: "a straight way from the range's first to its last frame" }),
          button("Spread edits", () => this.ranged("tween", { motion: true }), { key: "e", title: "carry the corrections of first and last frame over those between, which keep their motion" })),
        h("div", { class: "row" },
          button("Left ⇄ right", () => this.ranged("swap-sides"), { key: "x", title: "exchange left and right" })),
        h("div", { class: "row", id: "swap" },
          button("Exchange with", () => this.swap(), { key: "p", title: "exchange two people, from this frame on or over the range" }), this.swapWith)),
      group("One point", this.joint,
        h("p", { class: "quiet" }, "Drag a point; its hand or face goes along. Shift takes the limb beyond it, Alt the point alone. Arrow keys with Alt move it by a pixel."),
        h("div", { class: "row" }, button("Erase point", () => this.erasePoint()))),
      group("Strength", ...this.sliders.map((slider) => slider.row),
        h("div", { class: "row" }, button("Apply to the range", () => this.strengthen()))),
      group("To look at", this.marks),
      h("div", { class: "onward" }, button("Make the clip", () => this.go("make"), { class: "strong" })));
  }

  get frames() { return this.state?.frames || this.facts?.frames || 1; }
  get poses() { return posesOf(store.choice.video || ""); }

  async open() {
    const video = store.choice.video;
    if (video !== this.video) {
      this.close();
      this.video = video;
      if (video) await trying(() => this.openVideo(video));
    }
    if (video && video === this.video && hasFile(this.poses) && !this.state && !this.opening) {
      this.opening = true;
      await trying(async () => { await this.openPoses(await getJson("motion", { poses: this.poses })); });
      this.opening = false;
    }
    this.timeline.set({ trim: store.choice.trim });
    this.show();
  }

  async openVideo(video) {
    this.facts = await getJson("video", { file: video });
    for (const remark of this.facts.remarks) toast(remark);
    this.pictures = new Frames(video, this.facts.frames, Math.min(540, this.canvas.clientWidth * 0.8 || 360), () => this.draw());
    this.pictures.onfault = (fault) => { this.note.textContent = fault.message; };
    this.timeline.set({ frames: this.facts.frames, frame: 0 });
    this.frame = 0;
    this.draw();
  }

  async openPoses(state) {
    this.state = state;
    this.person = Math.min(Number(store.choice.person) || 0, Math.max(0, state.people.length - 1));
    const make = (layer) => new Points(state.poses, layer, state.frames, state.people.length, () => this.draw());
    this.points = make("edited");
    this.estimated = make("estimated");
    this.joint.replaceChildren(...store.layout.names.map((name, index) => h("option", { value: index }, name)));
    this.joint.value = "";
    this.take(state);
    this.fit();
  }

  take(state) {
    this.state = state;
    this.timeline.set({ frames: state.frames, marks: state.marks, people: state.people, person: this.person });
    this.show();
    this.draw();
  }

  close() {
    this.pictures?.close();
    Object.assign(this, { pictures: null, points: null, estimated: null, state: null, facts: null, fitted: null, frame: 0, range: null, marked: -1 });
    this.timeline.set({ frames: 1, frame: 0, marks: [], people: [], range: null, trim: null });
    this.stop();
  }

  /** News from the server: somebody changed poses. */
  async heard(news) {
    if (!this.state || news.poses !== this.state.poses || this.busy) return;
    if (news.revision === this.state.revision && news.saved === this.state.saved) return;
    const state = await getJson("motion", { poses: news.poses });
    if (state.revision === this.state.revision + 1) await this.points.refresh(...state.changed);
    else if (state.revision !== this.state.revision) await this.points.refresh(0, state.frames);
    this.take(state);
    this.refit();
  }

  /** A pose file was estimated anew. */
  forget() { this.state = null; }

  show() {
    const { state } = this;
    const estimate = store.estimates.find((each) => each.poses === this.poses);
    const words = () => {
      if (!this.video) return ["Choose a video first."];
      if (estimate && ["waiting", "running"].includes(estimate.status)) {
        return [h("p", {}, estimate.total ? `Finding poses: ${estimate.done} of ${estimate.total} frames` : "Finding poses …"),
          h("progress", estimate.total ? { max: estimate.total, value: estimate.done } : {}),
          button("Stop", () => trying(() => post("poses/stop", { poses: this.poses })))];
      }
      if (state) return null;
      return [estimate?.error ? h("p", { class: "fault" }, estimate.error) : h("p", {}, "No poses of this video yet."),
        button("Find poses", () => trying(() => post("poses", { video: this.video })), { class: "strong" })];
    };
    const text = words();
    this.empty.hidden = !text;
    if (text) this.empty.replaceChildren(...text);
    this.tools.inert = !state;
    this.undo.disabled = !state?.edits;
    this.redo.disabled = !state?.undone;
    this.save.disabled = !state || state.saved;
    if (!state) return;
    this.rangeText.textContent = this.range
      ? `Frames ${this.range[0]} to ${this.range[1]}: ${this.range[1] - this.range[0] + 1} frames`
      : "None: edits are of the frame that is seen. Shift-drag over the timeline to choose one.";
    this.people.replaceChildren(...state.people.map((person) => h("button", {
      type: "button", role: "radio", class: "chip", "aria-checked": String(person.number === this.person),
      onclick: () => this.follow(person.number),
    }, person.name, h("small", {}, ` ${person.frames} frames`))));
    const others = state.people.filter((person) => person.number !== this.person);
    this.tools.querySelector("#swap").hidden = !others.length;
    const chosen = this.swapWith.value;
    this.swapWith.replaceChildren(...others.map((person) => h("option", { value: person.number }, person.name)));
    if (others.some((person) => String(person.number) === chosen)) this.swapWith.value = chosen;
    const marks = state.marks.filter((mark) => mark.person === null || mark.person === this.person);
    this.marks.replaceChildren(...marks.slice(0, 80).map((mark) => h("li", {}, h("button", {
      type: "button", class: "plain", onclick: () => { this.seek(mark.first); if (mark.last > mark.first) this.select([mark.first, mark.last]); },
    }, h("i", { class: `dot ${mark.kind}` }), markName(mark.kind), h("small", {}, ` ${mark.first}${mark.last > mark.first ? ` to ${mark.last}` : ""}`)))));
    if (!marks.length) this.marks.replaceChildren(h("li", { class: "quiet" }, "Nothing stands out."));
    this.note.textContent = state.edits ? (state.saved ? "edits are saved" : "edits are not saved to the pose file yet") : "";
  }

  // Time.

  seek(frame) {
    this.frame = Math.max(0, Math.min(this.frames - 1, frame));
    this.timeline.frame = this.frame;
    this.timeline.follow();
    this.timeline.draw();
    this.draw();
  }

  step(count) { this.stop(); this.seek(this.frame + count); }

  toggle() {
    if (this.playing) { this.stop(); return; }
    const begun = performance.now();
    const [first, stop] = store.choice.trim || [0, this.frames];
    const from = this.frame >= stop - 1 || this.frame < first ? first : this.frame;
    const speed = rate(this.state?.fps || this.facts?.fps) || 24;
    const tick = (now) => {
      const passed = Math.floor((now - begun) / 1000 * speed);
      this.seek(first + ((from - first + passed) % Math.max(1, stop - first)));
      this.playing = requestAnimationFrame(tick);
    };
    this.playing = requestAnimationFrame(tick);
    this.play.firstChild.textContent = "Pause";
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    if (this.play) this.play.firstChild.textContent = "Play";
  }

  select(range) {
    this.range = range;
    this.timeline.range = range;
    this.timeline.draw();
    this.show();
  }

  follow(person) {
    this.person = person;
    choose({ person: person === 0 ? "main" : String(person) });
    this.timeline.set({ person });
    this.fit();
    this.show();
    this.draw();
  }

  // Drawing.

  draw() {
    const picture = this.pictures?.get(this.frame) || this.pictures?.nearest(this.frame) || null;
    const size = this.state?.canvas || (this.facts ? [this.facts.width, this.facts.height] : [16, 9]);
    this.stage.show(picture, size);
    this.photoStage.draw();
    const seconds = this.frame / (rate(this.state?.fps || this.facts?.fps) || 24);
    this.counter.textContent = this.video ? `${this.frame} / ${this.frames - 1} · ${clock(seconds)}` : "";
  }

  paint(context) {
    if (!this.state || !this.points) return;
    const width = Math.max(2.5, this.canvas.height / 190);
    for (const person of this.state.people) {
      const points = this.live?.person === person.number ? this.live.points : this.points.get(this.frame, person.number);
      if (!points) continue;
      const active = person.number === this.person;
      const raw = active && this.estimated.get(this.frame, person.number);
      if (raw && person.edited.includes(this.frame)) drawPerson(context, raw, this.stage.at, { width: width * 0.7, ghost: "rgba(255,255,255,0.4)" });
      drawPerson(context, points, this.stage.at, { width, active, marked: new Set(active && this.marked >= 0 ? [this.marked] : []) });
    }
  }

  async showPhoto() {
    const photo = store.choice.photo;
    if (photo === this.photo) return;
    this.photo = photo;
    this.photoStage.show(null, [1, 1]);
    if (!photo) return;
    const image = new Image();
    image.src = photoAddress(photo, 900);
    await image.decode().catch(() => {});
    if (photo !== this.photo) return;
    this.photoStage.show(image, [image.naturalWidth || 1, image.naturalHeight || 1]);
    this.fit();
  }

  /** Lay the motion onto the photo, as the clip will have it. */
  async fit() {
    if (!this.state?.people.length || !this.photo) return;
    const asked = { poses: this.state.poses, reference: this.photo, person: String(this.person), mode: store.choice.settings.retarget || "robust" };
    try {
      const { data, headers } = await getData("motion/fitted", asked);
      this.fitted = new FixedPoints(data);
      this.fittedSize = headers.get("x-canvas").split("x").map(Number);
      this.photoStage.draw();
    } catch (fault) {
      this.fitted = null;
      this.note.textContent = fault.message;
    }
  }

  paintPhoto(context) {
    const points = this.fitted?.get(this.frame, 0);
    if (!points) return;
    const [width, height] = this.photoStage.size;
    const at = (x, y) => this.photoStage.at(x / this.fittedSize[0] * width, y / this.fittedSize[1] * height);
    drawPerson(context, points, at, { width: Math.max(2, this.photoCanvas.height / 220) });
  }

  // Editing.

  /** Do something with the draft; edits of a page come one after another. */
  async change(action, edit) {
    if (!this.state) return;
    if (this.busy) await this.busy.catch(() => {});
    this.busy = (async () => {
      try {
        const state = await post(`motion/${action}`, { poses: this.state.poses, revision: this.state.revision, edit });
        if (action !== "save") await this.points.refresh(...state.changed);
        this.take(state);
        if (action !== "save") this.refit();
      } catch (fault) {
        if (fault.status === 409) {
          const state = await getJson("motion", { poses: this.state.poses });
          await this.points.refresh(0, state.frames);
          this.take(state);
        }
        throw fault;
      }
    })();
    await trying(() => this.busy);
    this.busy = null;
    this.live = null;
    this.draw();
  }

  ranged(kind, values = {}) {
    const [first, last] = this.range || [this.frame, this.frame];
    return this.change("edit", { kind, first, last, person: this.person, ...values });
  }

  swap() {
    const [first, last] = this.range || [this.frame, this.frames - 1];
    return this.change("edit", { kind: "swap-people", first, last, person: this.person, with_person: Number(this.swapWith.value) });
  }

  strengthen() {
    const [first, last] = this.range || [0, this.frames - 1];
    const parts = Object.fromEntries(this.sliders.map(({ name, input }) => [name, Number(input.value)]));
    return this.change("edit", { kind: "strength", first, last, person: this.person, ...parts });
  }

  erasePoint() {
    if (this.marked < 0) { toast("choose a point first"); return undefined; }
    return this.ranged("erase", { joints: [this.marked] });
  }

  press(event) {
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    const points = this.state && this.points?.get(this.frame, this.person);
    const [x, y] = this.stage.pixel(event);
    const reach = (event.pointerType === "touch" ? 26 : 14) * this.canvas.width / Math.max(1, this.canvas.clientWidth);
    const point = points ? pointAt(points, this.stage.at, x, y, reach, this.stage.zoom > 1.8) : -1;
    this.stop();
    this.held = { point, alone: event.altKey, limb: event.shiftKey, from: this.stage.under(event), pixel: [x, y], moved: false };
    if (point >= 0) {
      this.marked = point;
      this.joint.value = String(point);
      this.live = { person: this.person, points: Float32Array.from(points) };
      this.draw();
    }
  }

  drag(event) {
    const { held } = this;
    if (!held) { this.canvas.style.cursor = this.hovers(event) ? "grab" : "default"; return; }
    const [x, y] = this.stage.pixel(event);
    if (!held.moved && Math.hypot(x - held.pixel[0], y - held.pixel[1]) < 4) return;
    held.moved = true;
    if (held.point < 0) {
      this.stage.pan(-(x - held.pixel[0]) / this.stage.scale / this.stage.size[0], -(y - held.pixel[1]) / this.stage.scale / this.stage.size[1]);
      held.pixel = [x, y];
      return;
    }
    const [right, down] = this.stage.under(event);
    const original = this.points.get(this.frame, this.person);
    for (const index of this.going(held)) {
      this.live.points[index * 3] = original[index * 3] + right - held.from[0];
      this.live.points[index * 3 + 1] = original[index * 3 + 1] + down - held.from[1];
    }
    this.draw();
  }

  going({ point, alone, limb }) {
    return [point, ...(alone ? [] : limb ? outward(point) : companions(point))];
  }

  hovers(event) {
    const points = this.state && this.points?.get(this.frame, this.person);
    if (!points || event.pointerType === "touch") return false;
    const ratio = this.canvas.width / Math.max(1, this.canvas.clientWidth);
    return pointAt(points, this.stage.at, ...this.stage.pixel(event), 12 * ratio, this.stage.zoom > 1.8) >= 0;
  }

  release(event, name) {
    const { held } = this;
    this.held = null;
    if (!held) return;
    if (!held.moved || name === "pointercancel") {
      this.live = null;
      if (held.point < 0) this.click(event);
      this.draw();
      return;
    }
    if (held.point >= 0) this.move(this.going(held), this.live.points);
  }

  move(indices, points) {
    const moved = indices.map((index) => [index, points[index * 3], points[index * 3 + 1]]);
    return this.change("edit", { kind: "move", first: this.frame, last: this.frame, person: this.person, points: moved });
  }

  /** Follow the person who was clicked. */
  click(event) {
    if (!this.state) return;
    const pixel = this.stage.pixel(event);
    let best = null;
    for (const { number } of this.state.people) {
      const points = this.points?.get(this.frame, number);
      if (!points) continue;
      for (let index = 0; index < 18; index += 1) {
        if (points[index * 3 + 2] < store.layout.seen) continue;
        const [x, y] = this.stage.at(points[index * 3], points[index * 3 + 1]);
        const away = Math.hypot(x - pixel[0], y - pixel[1]);
        if (!best || away < best.away) best = { number, away };
      }
    }
    if (best && best.number !== this.person && best.away < this.canvas.height / 6) this.follow(best.number);
  }

  nudge(right, down) {
    const points = this.state && this.marked >= 0 && this.points?.get(this.frame, this.person);
    if (!points) return;
    const copy = Float32Array.from(points);
    const indices = [this.marked, ...companions(this.marked)];
    for (const index of indices) { copy[index * 3] += right; copy[index * 3 + 1] += down; }
    this.move(indices, copy);
  }

  key(event) {
    const command = event.ctrlKey || event.metaKey;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const arrow = arrows[event.key];
    if (arrow && event.altKey) { this.nudge(...arrow); return true; }
    if (arrow && arrow[0] && !command) { this.step(arrow[0] * (event.shiftKey ? 10 : 1)); return true; }
    if (command && event.key === "z") { this.change(event.shiftKey ? "redo" : "undo"); return true; }
    if (command && event.key === "s") { this.change("save"); return true; }
    if (command || event.altKey) return false;
    const actions = {
      " ": () => this.toggle(), Home: () => this.seek(0), End: () => this.seek(this.frames - 1),
      z: () => this.change("undo"), y: () => this.change("redo"), s: () => this.change("save"),
      i: () => this.select([this.frame, Math.max(this.frame, this.range?.[1] ?? this.frame)]),
      o: () => this.select([Math.min(this.frame, this.range?.[0] ?? this.frame), this.frame]),
      Escape: () => this.select(null), Delete: () => this.ranged("erase"), h: () => this.ranged("hold"),
      m: () => this.ranged("smooth"), t: () => this.ranged("tween"), e: () => this.ranged("tween", { motion: true }),
      x: () => this.ranged("swap-sides"), p: () => this.swapWith.value && this.swap(),
    };
    if (!actions[event.key]) return false;
    actions[event.key]();
    return true;
  }

  shown() { fitCanvas(this.canvas); this.draw(); this.timeline.draw(); }
}

export { POINTS };
