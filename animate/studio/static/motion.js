// The second view: the skeleton over the video and over the photo, and everything that mends it.

import { getData, getJson, photoAddress, post } from "./api.js";
import { button, clock, fitCanvas, h, later, rate, toast, trying } from "./dom.js";
import { Frames } from "./frames.js";
import { FixedPoints, Points } from "./points.js";
import { base, choose, hasFile, on, posesOf, store } from "./store.js";
import { Editor } from "./editor.js";
import { drawPerson } from "./skeleton.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";
import { Tools } from "./tools.js";

const FITTED = 2000; // frames of a motion that are laid onto the photo together

export class MotionView {
  constructor(root, go) {
    Object.assign(this, { go, frame: 0, person: 0, range: null, state: null, video: "", playing: 0 });
    this.build(root);
    on("choice", () => { this.open(); this.showPhoto(); });
    on("files estimates", () => this.open());
    this.refit = later(() => this.fit(), 400);
  }

  build(root) {
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "the video's frame with its skeleton" });
    this.stage = new Stage(this.canvas, (context) => this.paint(context));
    this.editor = new Editor(this);
    this.photoCanvas = h("canvas", { role: "img", "aria-label": "the photo with the skeleton as it is laid onto it" });
    this.photoStage = new Stage(this.photoCanvas, (context) => this.paintPhoto(context));
    this.line = h("canvas", { class: "timeline", tabindex: 0, role: "slider", "aria-label": "frame", "aria-valuemin": "0" });
    this.timeline = new Timeline(this.line, {
      seek: (frame) => this.seek(frame),
      range: (range) => this.select(range),
      trim: (trim) => this.cut(trim),
    });
    this.counter = h("output", { class: "counter", for: "timeline" });
    this.play = button("Play", () => this.toggle(), { key: "space" });
    this.empty = h("div", { class: "veil" });
    this.note = h("span", { class: "quiet", role: "status" });
    this.tools = new Tools(this, this.editor);
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
      this.tools.box));
  }

  get frames() { return this.state?.frames || this.facts?.frames || 1; }
  get trim() { return store.choice.trim || [0, this.frames]; }
  get poses() { return posesOf(store.choice.video || ""); }

  async open() {
    const video = store.choice.video;
    if (video !== this.video) {
      this.close();
      this.video = video;
      this.loading = Boolean(video);
      this.show();
      if (video) await trying(() => this.openVideo(video));
      if (video === this.video) this.loading = false;
    }
    if (video && video === this.video && hasFile(this.poses) && !this.state && !this.opening) {
      this.opening = true;
      this.show();
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
    this.tools.joint.replaceChildren(...store.layout.names.map((name, index) => h("option", { value: index }, name)));
    this.tools.joint.value = "";
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
    Object.assign(this, { pictures: null, points: null, estimated: null, state: null, facts: null, fitted: null, frame: 0, range: null });
    this.editor.marked = -1;
    this.timeline.set({ frames: 1, frame: 0, marks: [], people: [], range: null, trim: null });
    this.stop();
  }

  /** News from the server: somebody changed poses. */
  async heard(news) {
    if (!this.state || news.poses !== this.state.poses || this.editor.busy) return;
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
      if (this.loading) return [h("p", {}, "Opening the video …"), h("progress", {})];
      if (estimate && ["waiting", "running"].includes(estimate.status)) {
        return [h("p", {}, estimate.total ? `Finding poses: ${estimate.done} of ${estimate.total} frames` : "Finding poses …"),
          h("progress", estimate.total ? { max: estimate.total, value: estimate.done } : {}),
          button("Stop", () => trying(() => post("poses/stop", { poses: this.poses })))];
      }
      if (state) return null;
      if (this.opening) return [h("p", {}, "Opening the poses …"), h("progress", {})];
      return [estimate?.error ? h("p", { class: "fault" }, estimate.error) : h("p", {}, "No poses of this video yet."),
        button("Find poses", () => trying(() => post("poses", { video: this.video })), { class: "strong" })];
    };
    const text = words();
    this.empty.hidden = !text;
    if (text) this.empty.replaceChildren(...text);
    this.tools.show(state);
    if (state) this.note.textContent = state.edits ? (state.saved ? "edits are saved" : "edits are not saved to the pose file yet") : "";
  }

  // Time.

  seek(frame) {
    this.frame = Math.max(0, Math.min(this.frames - 1, frame));
    if (this.fitted && !this.fitted.get(this.frame)) this.refit();
    this.timeline.frame = this.frame;
    this.timeline.follow();
    this.timeline.draw();
    this.draw();
  }

  step(count) { this.stop(); this.seek(this.frame + count); }

  toggle() {
    if (this.playing) { this.stop(); return; }
    const begun = performance.now();
    const [first, stop] = this.trim;
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

  /** Take a part of the video, its first frame and the one after its last. */
  cut(trim) { choose({ trim: trim[0] === 0 && trim[1] === this.frames ? null : trim }); }

  trimTo(edge) {
    const [begin, end] = this.trim;
    if (edge === "begin") this.cut([this.frame, end > this.frame ? end : this.frames]);
    else if (edge === "end") this.cut([begin <= this.frame ? begin : 0, this.frame + 1]);
    else this.cut([0, this.frames]);
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
      const points = this.editor.live?.person === person.number ? this.editor.live.points : this.points.get(this.frame, person.number);
      if (!points) continue;
      const active = person.number === this.person;
      const raw = active && this.estimated.get(this.frame, person.number);
      if (raw && person.edited.includes(this.frame)) drawPerson(context, raw, this.stage.at, { width: width * 0.7, ghost: "rgba(255,255,255,0.4)" });
      drawPerson(context, points, this.stage.at, { width, active, marked: new Set(active && this.editor.marked >= 0 ? [this.editor.marked] : []) });
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
    // Around the frame that is seen: all of a long video would be a hundred megabytes.
    const first = Math.max(0, Math.min(this.frame - FITTED / 4, this.frames - FITTED));
    const asked = { first: Math.floor(first), stop: Math.min(this.frames, Math.floor(first) + FITTED), poses: this.state.poses, reference: this.photo, person: String(this.person), mode: store.choice.settings.retarget || "robust" };
    try {
      const { data, headers } = await getData("motion/fitted", asked);
      this.fitted = new FixedPoints(data, asked.first);
      this.fittedSize = headers.get("x-canvas").split("x").map(Number);
      this.photoStage.draw();
    } catch (fault) {
      this.fitted = null;
      this.note.textContent = fault.message;
    }
  }

  paintPhoto(context) {
    const points = this.fitted?.get(this.frame);
    if (!points) return;
    const [width, height] = this.photoStage.size;
    const at = (x, y) => this.photoStage.at(x / this.fittedSize[0] * width, y / this.fittedSize[1] * height);
    drawPerson(context, points, at, { width: Math.max(2, this.photoCanvas.height / 220) });
  }

  key(event) { return this.editor.key(event); }

  shown() { fitCanvas(this.canvas); this.draw(); this.timeline.draw(); }
}
