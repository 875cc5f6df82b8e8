// Corrections of a person's points: by pointer, by key, and over ranges of frames.

import { getJson, post } from "./api.js";
import { toast, trying } from "./dom.js";
import { store } from "./store.js";
import { companions, outward, pointAt } from "./skeleton.js";

export class Editor {
  /** `view` is the motion view: its frame, person, range, points and stage. */
  constructor(view) {
    Object.assign(this, { view, marked: -1, live: null, held: null, busy: null });
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.release(event, name));
  }

  /** Do something with the draft; edits of a page come one after another. */
  async change(action, edit) {
    if (!this.view.state) return;
    if (this.busy) await this.busy.catch(() => {});
    this.busy = (async () => {
      try {
        const state = await post(`motion/${action}`, { poses: this.view.state.poses, revision: this.view.state.revision, edit });
        if (action !== "save") await this.view.points.refresh(...state.changed);
        this.view.take(state);
        if (action !== "save") this.view.refit();
      } catch (fault) {
        if (fault.status === 409) {
          const state = await getJson("motion", { poses: this.view.state.poses });
          await this.view.points.refresh(0, state.frames);
          this.view.take(state);
        }
        throw fault;
      }
    })();
    await trying(() => this.busy);
    this.busy = null;
    this.live = null;
    this.view.draw();
  }

  ranged(kind, values = {}) {
    const [first, last] = this.view.range || [this.view.frame, this.view.frame];
    return this.change("edit", { kind, first, last, person: this.view.person, ...values });
  }

  swap() {
    const [first, last] = this.view.range || [this.view.frame, this.view.frames - 1];
    return this.change("edit", { kind: "swap-people", first, last, person: this.view.person, with_person: Number(this.view.tools.swapWith.value) });
  }

  strengthen() {
    const [first, last] = this.view.range || [0, this.view.frames - 1];
    const parts = Object.fromEntries(this.view.tools.sliders.map(({ name, input }) => [name, Number(input.value)]));
    return this.change("edit", { kind: "strength", first, last, person: this.view.person, ...parts });
  }

  erasePoint() {
    if (this.marked < 0) { toast("choose a point first"); return undefined; }
    return this.ranged("erase", { joints: [this.marked] });
  }

  press(event) {
    this.view.canvas.focus();
    this.view.canvas.setPointerCapture(event.pointerId);
    const points = this.view.state && this.view.points?.get(this.view.frame, this.view.person);
    const [x, y] = this.view.stage.pixel(event);
    const reach = (event.pointerType === "touch" ? 26 : 14) * this.view.canvas.width / Math.max(1, this.view.canvas.clientWidth);
    const point = points ? pointAt(points, this.view.stage.at, x, y, reach, this.view.stage.zoom > 1.8) : -1;
    this.view.stop();
    this.held = { point, alone: event.altKey, limb: event.shiftKey, from: this.view.stage.under(event), pixel: [x, y], moved: false };
    if (point >= 0) {
      this.marked = point;
      this.view.tools.joint.value = String(point);
      this.live = { person: this.view.person, points: Float32Array.from(points) };
      this.view.draw();
    }
  }

  drag(event) {
    const { held } = this;
    if (!held) { this.view.canvas.style.cursor = this.hovers(event) ? "grab" : "default"; return; }
    const [x, y] = this.view.stage.pixel(event);
    if (!held.moved && Math.hypot(x - held.pixel[0], y - held.pixel[1]) < 4) return;
    held.moved = true;
    if (held.point < 0) {
      this.view.stage.pan(-(x - held.pixel[0]) / this.view.stage.scale / this.view.stage.size[0], -(y - held.pixel[1]) / this.view.stage.scale / this.view.stage.size[1]);
      held.pixel = [x, y];
      return;
    }
    const [right, down] = this.view.stage.under(event);
    const original = this.view.points.get(this.view.frame, this.view.person);
    for (const index of this.going(held)) {
      this.live.points[index * 3] = original[index * 3] + right - held.from[0];
      this.live.points[index * 3 + 1] = original[index * 3 + 1] + down - held.from[1];
    }
    this.view.draw();
  }

  going({ point, alone, limb }) {
    return [point, ...(alone ? [] : limb ? outward(point) : companions(point))];
  }

  hovers(event) {
    const points = this.view.state && this.view.points?.get(this.view.frame, this.view.person);
    if (!points || event.pointerType === "touch") return false;
    const ratio = this.view.canvas.width / Math.max(1, this.view.canvas.clientWidth);
    return pointAt(points, this.view.stage.at, ...this.view.stage.pixel(event), 12 * ratio, this.view.stage.zoom > 1.8) >= 0;
  }

  release(event, name) {
    const { held } = this;
    this.held = null;
    if (!held) return;
    if (!held.moved || name === "pointercancel") {
      this.live = null;
      if (held.point < 0) this.click(event);
      this.view.draw();
      return;
    }
    if (held.point >= 0) this.move(this.going(held), this.live.points);
  }

  move(indices, points) {
    const moved = indices.map((index) => [index, points[index * 3], points[index * 3 + 1]]);
    return this.change("edit", { kind: "move", first: this.view.frame, last: this.view.frame, person: this.view.person, points: moved });
  }

  /** Follow the person who was clicked. */
  click(event) {
    if (!this.view.state) return;
    const pixel = this.view.stage.pixel(event);
    let best = null;
    for (const { number } of this.view.state.people) {
      const points = this.view.points?.get(this.view.frame, number);
      if (!points) continue;
      for (let index = 0; index < 18; index += 1) {
        if (points[index * 3 + 2] < store.layout.seen) continue;
        const [x, y] = this.view.stage.at(points[index * 3], points[index * 3 + 1]);
        const away = Math.hypot(x - pixel[0], y - pixel[1]);
        if (!best || away < best.away) best = { number, away };
      }
    }
    if (best && best.number !== this.view.person && best.away < this.view.canvas.height / 6) this.view.follow(best.number);
  }

  nudge(right, down) {
    const points = this.view.state && this.marked >= 0 && this.view.points?.get(this.view.frame, this.view.person);
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
    if (arrow && arrow[0] && !command) { this.view.step(arrow[0] * (event.shiftKey ? 10 : 1)); return true; }
    if (command && event.key === "z") { this.change(event.shiftKey ? "redo" : "undo"); return true; }
    if (command && event.key === "s") { this.change("save"); return true; }
    if (command || event.altKey) return false;
    const actions = {
      " ": () => this.view.toggle(), Home: () => this.view.seek(0), End: () => this.view.seek(this.view.frames - 1),
      z: () => this.change("undo"), y: () => this.change("redo"), s: () => this.change("save"),
      i: () => this.view.select([this.view.frame, Math.max(this.view.frame, this.view.range?.[1] ?? this.view.frame)]),
      o: () => this.view.select([Math.min(this.view.frame, this.view.range?.[0] ?? this.view.frame), this.view.frame]),
      b: () => this.view.trimTo("begin"), n: () => this.view.trimTo("end"),
      Escape: () => this.view.select(null), Delete: () => this.ranged("erase"), h: () => this.ranged("hold"),
      m: () => this.ranged("smooth"), t: () => this.ranged("tween"), e: () => this.ranged("tween", { motion: true }),
      x: () => this.ranged("swap-sides"), p: () => this.view.tools.swapWith.value && this.swap(),
    };
    if (!actions[event.key]) return false;
    actions[event.key]();
    return true;
  }
}
