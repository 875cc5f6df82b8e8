// Elements, messages and small helpers of the page.

/** An element: h("button", { class: "plain", onclick: go }, "Go"). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A button with words, an optional key, and what it does. */
export function button(label, onclick, options = {}) {
  const { key, title, ...properties } = options;
  const hint = [title, key && `key ${key}`].filter(Boolean).join(", ");
  return h("button", { type: "button", onclick, title: hint || null, ...properties },
    label, key ? h("kbd", { "aria-hidden": "true" }, key) : null);
}

/** Show a message for a few seconds; a screen reader reads it out. */
export function toast(text, kind = "note") {
  const box = document.getElementById("messages");
  const line = h("div", { class: `message ${kind}` }, h("span", {}, text),
    h("button", { type: "button", class: "plain", "aria-label": "dismiss", onclick: () => line.remove() }, "×"));
  box.append(line);
  while (box.children.length > 4) box.firstChild.remove();
  setTimeout(() => line.remove(), kind === "fault" ? 12000 : 4500);
}

/** Run an action and show its fault, if it has one. */
export async function trying(action) {
  try {
    return await action();
  } catch (fault) {
    toast(fault.message, "fault");
    return undefined;
  }
}

export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

/** "4.2 s", "1:05 min". */
export function clock(seconds) {
  if (seconds < 59.5) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} min`;
  return `${Math.floor(whole / 3600)}:${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} h`;
}

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${count < 10 && unit ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

/** A fraction such as "30000/1001" as a number. */
export function rate(text) {
  const [above, below] = String(text || "0").split("/");
  return Number(above) / Number(below || 1) || 0;
}

/** Call `action` once things have been quiet for a while. */
export function later(action, pause) {
  let timer = null;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => action(...values), pause); };
}

/** Fit a canvas to its box at the screen's resolution; true if its size changed. */
export function fitCanvas(canvas) {
  const box = canvas.getBoundingClientRect();
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(box.width * scale));
  const height = Math.max(1, Math.round(box.height * scale));
  if (canvas.width === width && canvas.height === height) return false;
  canvas.width = width;
  canvas.height = height;
  return true;
}

/** A colour of the theme. */
export const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
