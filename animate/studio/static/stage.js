// A picture on a canvas, fitted and zoomed, with something drawn over it.

import { clamp, fitCanvas } from "./dom.js";

export class Stage {
  /** `paint(context, stage)` draws over the picture; positions come from `at`. */
  constructor(canvas, paint) {
    Object.assign(this, { canvas, paint, picture: null, size: [1, 1], zoom: 1, centre: [0.5, 0.5], dirty: false });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(canvas);
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** Show a picture of (width, height); other points are given in that size. */
  show(picture, size) {
    this.picture = picture;
    this.size = size;
    this.draw();
  }

  draw() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => { this.dirty = false; this.render(); });
  }

  render() {
    fitCanvas(this.canvas);
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.picture) {
      const [left, top] = this.at(0, 0);
      const [right, bottom] = this.at(...this.size);
      context.imageSmoothingQuality = "high";
      context.drawImage(this.picture, left, top, right - left, bottom - top);
    }
    this.paint(context, this);
  }

  get scale() {
    const [width, height] = this.size;
    return Math.min(this.canvas.width / width, this.canvas.height / height) * this.zoom;
  }

  /** Pixels of the canvas for a point of the picture. */
  at = (x, y) => {
    const [width, height] = this.size;
    return [
      this.canvas.width / 2 + (x - this.centre[0] * width) * this.scale,
      this.canvas.height / 2 + (y - this.centre[1] * height) * this.scale,
    ];
  };

  /** The point of the picture under an event. */
  under(event) {
    const [x, y] = this.pixel(event);
    const [width, height] = this.size;
    return [
      (x - this.canvas.width / 2) / this.scale + this.centre[0] * width,
      (y - this.canvas.height / 2) / this.scale + this.centre[1] * height,
    ];
  }

  /** The canvas's pixel under an event. */
  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / Math.max(1, box.width);
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey && this.zoom === 1 && event.deltaY > 0) return;
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 300), this.under(event));
  }

  /** Come nearer by a factor, with a point of the picture staying where it is. */
  zoomBy(factor, point = null) {
    const [x, y] = point || [this.centre[0] * this.size[0], this.centre[1] * this.size[1]];
    const before = this.zoom;
    this.zoom = clamp(this.zoom * factor, 1, 12);
    const share = 1 - before / this.zoom;
    this.pan(share * (x / this.size[0] - this.centre[0]), share * (y / this.size[1] - this.centre[1]));
  }

  /** Move by parts of the picture. */
  pan(right, down) {
    const free = this.zoom === 1 ? 0 : 0.5;
    this.centre = [
      clamp(this.centre[0] + right, 0.5 - free, 0.5 + free), clamp(this.centre[1] + down, 0.5 - free, 0.5 + free),
    ];
    this.draw();
  }
}
