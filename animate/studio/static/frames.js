// Frames of a video: fetched in blocks, kept as JPEGs, decoded when they are near.

import { getData } from "./api.js";

export const BLOCK = 24;
const SIZES = [120, 240, 360, 540];
const MOST_BLOCKS = 140;
const MOST_BITMAPS = 160;

export class Frames {
  /** `onready(frame)` is called when a frame that was asked for can be drawn. */
  constructor(file, count, width, onready) {
    this.file = file;
    this.count = count;
    this.size = SIZES.find((size) => size >= width) || SIZES[SIZES.length - 1];
    this.onready = onready;
    this.blocks = new Map(); // number -> Blob[] or a promise of them
    this.bitmaps = new Map(); // frame -> ImageBitmap, the newest last
    this.wanted = 0;
    this.closed = false;
    this.abort = new AbortController();
  }

  /** The picture of a frame, or null while it is on its way. */
  get(frame) {
    this.wanted = frame;
    const bitmap = this.bitmaps.get(frame);
    if (bitmap) {
      this.bitmaps.delete(frame);
      this.bitmaps.set(frame, bitmap);
    } else {
      this.bring(frame);
    }
    for (let ahead = 1; ahead <= 4; ahead += 1) {
      if (frame + ahead < this.count && !this.bitmaps.has(frame + ahead)) this.bring(frame + ahead, true);
    }
    this.ahead(frame);
    return bitmap || null;
  }

  /** The decoded picture that is nearest to a frame, to show meanwhile. */
  nearest(frame) {
    let best = null;
    let distance = Infinity;
    for (const [number, bitmap] of this.bitmaps) {
      if (Math.abs(number - frame) < distance) { best = bitmap; distance = Math.abs(number - frame); }
    }
    return best;
  }

  async bring(frame, early = false) {
    if (early && !(this.blocks.get(Math.floor(frame / BLOCK)) instanceof Array)) return;
    try {
      const block = await this.block(Math.floor(frame / BLOCK));
      // Scrubbing passes by frames that nobody waits for any more.
      if (this.closed || this.bitmaps.has(frame) || Math.abs(frame - this.wanted) > 8) return;
      const blob = block[frame % BLOCK];
      if (!blob) return;
      const bitmap = await createImageBitmap(blob);
      if (this.closed) return;
      this.bitmaps.set(frame, bitmap);
      for (const [number, old] of this.bitmaps) {
        if (this.bitmaps.size <= MOST_BITMAPS) break;
        old.close();
        this.bitmaps.delete(number);
      }
      if (!early) this.onready(frame);
    } catch (fault) {
      if (!this.closed && fault.name !== "AbortError") this.onfault?.(fault);
    }
  }

  ahead(frame) {
    const next = Math.floor(frame / BLOCK) + 1;
    for (const number of [next, next + 1]) {
      if (number * BLOCK < this.count && !this.blocks.has(number)) this.block(number).catch(() => {});
    }
  }

  block(number) {
    const kept = this.blocks.get(number);
    if (kept) {
      this.blocks.delete(number);
      this.blocks.set(number, kept);
      return kept;
    }
    const coming = this.load(number).then((blobs) => {
      this.blocks.set(number, blobs);
      return blobs;
    }, (fault) => { this.blocks.delete(number); throw fault; });
    this.blocks.set(number, coming);
    for (const oldest of this.blocks.keys()) {
      if (this.blocks.size <= MOST_BLOCKS) break;
      this.blocks.delete(oldest);
    }
    return coming;
  }

  async load(number) {
    const { data } = await getData("frames", { file: this.file, block: number, size: this.size }, this.abort.signal);
    const view = new DataView(data);
    const blobs = [];
    for (let at = 0; at < data.byteLength;) {
      const length = view.getUint32(at, true);
      blobs.push(new Blob([data.slice(at + 4, at + 4 + length)], { type: "image/jpeg" }));
      at += 4 + length;
    }
    return blobs;
  }

  close() {
    this.closed = true;
    this.abort.abort();
    for (const bitmap of this.bitmaps.values()) bitmap.close();
    this.bitmaps.clear();
    this.blocks.clear();
  }
}
