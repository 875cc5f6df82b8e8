// Points of poses: x, y and score of 134 points a person and frame, fetched in pieces.

import { getData } from "./api.js";

export const POINTS = 134;
const PIECE = 1000;

export class Points {
  constructor(poses, layer, frames, people, onready) {
    Object.assign(this, { poses, layer, frames, people, onready });
    this.pieces = new Map();
    this.stride = people * POINTS * 3;
  }

  /** Float32Array of one person's frame (134 triples), or null while it is on its way. */
  get(frame, person) {
    const number = Math.floor(frame / PIECE);
    const piece = this.pieces.get(number);
    if (!piece) { this.load(number); return null; }
    if (!(piece instanceof Float32Array)) return null;
    const start = (frame - number * PIECE) * this.stride + person * POINTS * 3;
    return piece.subarray(start, start + POINTS * 3);
  }

  async load(number) {
    const first = number * PIECE;
    const stop = Math.min(this.frames, first + PIECE);
    this.pieces.set(number, "coming");
    try {
      this.pieces.set(number, await this.fetch(first, stop));
      this.onready();
    } catch { this.pieces.delete(number); }
  }

  async fetch(first, stop) {
    const { data } = await getData("motion/points", { poses: this.poses, layer: this.layer, first, stop });
    return new Float32Array(data);
  }

  /** Take in frames that have changed. */
  async refresh(first, stop) {
    for (let number = Math.floor(first / PIECE); number * PIECE < stop; number += 1) {
      const piece = this.pieces.get(number);
      if (!(piece instanceof Float32Array)) continue;
      const from = Math.max(first, number * PIECE);
      const to = Math.min(stop, (number + 1) * PIECE, this.frames);
      piece.set(await this.fetch(from, to), (from - number * PIECE) * this.stride);
    }
    this.onready();
  }
}

/** One person's points of frames from `first` on that are there already, such as a motion laid onto a picture. */
export class FixedPoints {
  constructor(data, first) {
    this.values = new Float32Array(data);
    this.first = first;
  }

  get(frame) {
    const start = (frame - this.first) * POINTS * 3;
    return start >= 0 && start < this.values.length ? this.values.subarray(start, start + POINTS * 3) : null;
  }
}
