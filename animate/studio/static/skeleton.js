// Drawing people's points, and finding the one under a pointer.

import { store } from "./store.js";

const css = ([red, green, blue], light = 1) => `rgba(${red}, ${green}, ${blue}, ${light})`;

/** Draw one person. `at(x, y)` turns a point of the canvas of the poses into pixels. */
export function drawPerson(context, points, at, options = {}) {
  const { limbs, feet, hands, hand_edges: edges, face, colours, seen } = store.layout;
  const { width = 3, ghost = "", active = true, fine = true, marked = new Set() } = options;
  const spot = (index) => at(points[index * 3], points[index * 3 + 1]);
  const score = (index) => points[index * 3 + 2];
  context.lineCap = "round";
  const line = (a, b, colour, thick) => {
    if (score(a) < seen || score(b) < seen) return;
    context.strokeStyle = ghost || css(colour, active ? 0.35 + 0.6 * Math.min(score(a), score(b)) : 0.4);
    context.lineWidth = thick;
    context.beginPath();
    context.moveTo(...spot(a));
    context.lineTo(...spot(b));
    context.stroke();
  };
  limbs.forEach(([a, b], index) => line(a, b, colours[index % colours.length], width));
  if (ghost) return;
  feet.forEach(([a, b]) => line(a, b, [210, 210, 210], width * 0.5));
  if (fine) {
    hands.forEach(([start], side) => edges.forEach(([a, b]) => {
      line(start + a, start + b, side ? [255, 190, 90] : [120, 220, 255], Math.max(1, width * 0.4));
    }));
    context.fillStyle = "rgba(255, 255, 255, 0.75)";
    for (let index = face[0]; index < face[1]; index += 1) {
      if (score(index) < seen) continue;
      const [x, y] = spot(index);
      context.fillRect(x - 1, y - 1, 2, 2);
    }
  }
  for (let index = 0; index < 24; index += 1) {
    if (score(index) < seen) continue;
    const [x, y] = spot(index);
    const radius = (index < 18 ? 1.25 : 0.9) * width * (marked.has(index) ? 1.7 : 1);
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.fillStyle = css(colours[index % colours.length], active ? 1 : 0.5);
    context.fill();
    if (active) {
      context.lineWidth = marked.has(index) ? 2.5 : 1;
      context.strokeStyle = marked.has(index) ? "#fff" : "rgba(0, 0, 0, 0.55)";
      context.stroke();
    }
  }
}

/** The point nearest to pixel (x, y) within `reach`, or -1. `fine`: hands and face too. */
export function pointAt(points, at, x, y, reach, fine) {
  let best = -1;
  let distance = reach;
  const last = fine ? points.length / 3 : 24;
  for (let index = 0; index < last; index += 1) {
    if (points[index * 3 + 2] < store.layout.seen) continue;
    const [left, top] = at(points[index * 3], points[index * 3 + 1]);
    const away = Math.hypot(left - x, top - y) + (index >= 24 ? 3 : 0);
    if (away < distance) { best = index; distance = away; }
  }
  return best;
}

/** Points that go along when one is moved: a hand with its wrist, the face with the nose. */
export function companions(index) {
  const { hands, face } = store.layout;
  const span = ([first, stop]) => Array.from({ length: stop - first }, (_, offset) => first + offset);
  const groups = {
    0: [14, 15, 16, 17, ...span(face)], 4: span(hands[1]), 7: span(hands[0]), 10: [21, 22, 23], 13: [18, 19, 20],
  };
  return groups[index] || [];
}

/** Everything farther out on the same limb. */
export function outward(index) {
  const chains = { 2: [3, 4], 3: [4], 5: [6, 7], 6: [7], 8: [9, 10], 9: [10], 11: [12, 13], 12: [13] };
  const joints = chains[index] || [];
  return [...joints, ...[index, ...joints].flatMap(companions)];
}
