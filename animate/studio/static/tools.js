// The side panel of the motion view: whom, which frames, what to mend, how strong.

import { button, h } from "./dom.js";
import { markName } from "./timeline.js";

export class Tools {
  /** `view` is the motion view, `editor` makes the edits. */
  constructor(view, editor) {
    Object.assign(this, { view, editor });
    this.box = h("aside", { class: "tools", "aria-label": "editing" });
    this.undo = button("Undo", () => this.editor.change("undo"), { key: "z" });
    this.redo = button("Redo", () => this.editor.change("redo"), { key: "y" });
    this.save = button("Save", () => this.editor.change("save"), { class: "strong", key: "s" });
    this.people = h("div", { class: "chips", role: "radiogroup", "aria-label": "the person to follow" });
    this.rangeText = h("span", {});
    this.trimText = h("span", {});
    this.marks = h("ol", { class: "marks" });
    this.joint = h("select", { "aria-label": "point", onchange: () => { this.editor.marked = Number(this.joint.value); this.view.draw(); } });
    this.sliders = ["body", "hands", "face"].map((name) => {
      const shown = h("output", {}, "100 %");
      const input = h("input", { type: "range", min: 0, max: 2, step: 0.05, value: 1, "data-part": name,
        oninput: () => { shown.textContent = `${Math.round(input.value * 100)} %`; } });
      return { name, input, shown, row: h("label", { class: "slider" }, h("span", {}, name), input, shown) };
    });
    this.swapWith = h("select", { "aria-label": "person to exchange with" });
    const group = (title, ...rows) => h("section", {}, h("h3", {}, title), ...rows);
    this.box.append(
      h("div", { class: "row" }, this.undo, this.redo, this.save),
      group("Person", this.people, h("p", { class: "quiet" }, "Click a skeleton to follow that person.")),
      group("Part of the video", h("p", {}, this.trimText),
        h("div", { class: "row" },
          button("Begin here", () => this.view.trimTo("begin"), { key: "b" }),
          button("End here", () => this.view.trimTo("end"), { key: "n" }),
          button("Whole video", () => this.view.trimTo("whole")))),
      group("Range", h("p", {}, this.rangeText),
        h("div", { class: "row" },
          button("From here", () => this.view.select([this.view.frame, Math.max(this.view.frame, this.view.range?.[1] ?? this.view.frame)]), { key: "i" }),
          button("To here", () => this.view.select([Math.min(this.view.frame, this.view.range?.[0] ?? this.view.frame), this.view.frame]), { key: "o" }),
          button("Clear", () => this.view.select(null), { key: "esc" }))),
      group("Mend",
        h("div", { class: "row" },
          button("Erase", () => this.editor.ranged("erase"), { key: "del", title: "the person is not there in these frames" }),
          button("Hold", () => this.editor.ranged("hold"), { key: "h", title: "the first frame's pose over the range" }),
          button("Smooth", () => this.editor.ranged("smooth"), { key: "m", title: "calm the motion of the range" })),
        h("div", { class: "row" },
          button("Interpolate", () => this.editor.ranged("tween"), { key: "t", title: "a straight way from the range's first to its last frame" }),
          button("Spread edits", () => this.editor.ranged("tween", { motion: true }), { key: "e", title: "carry the corrections of first and last frame over those between, which keep their motion" })),
        h("div", { class: "row" },
          button("Left ⇄ right", () => this.editor.ranged("swap-sides"), { key: "x", title: "exchange left and right" })),
        h("div", { class: "row", id: "swap" },
          button("Exchange with", () => this.editor.swap(), { key: "p", title: "exchange two people, from this frame on or over the range" }), this.swapWith)),
      group("One point", this.joint,
        h("p", { class: "quiet" }, "Drag a point; its hand or face goes along. Shift takes the limb beyond it, Alt the point alone. Arrow keys with Alt move it by a pixel."),
        h("div", { class: "row" }, button("Erase point", () => this.editor.erasePoint()))),
      group("Strength", ...this.sliders.map((slider) => slider.row),
        h("div", { class: "row" }, button("Apply to the range", () => this.editor.strengthen()))),
      group("To look at", this.marks),
      h("div", { class: "onward" }, button("Make the clip", () => this.view.go("make"), { class: "strong" })));
  }

  /** Show the state of poses; null while there are none. */
  show(state) {
    this.box.inert = !state;
    this.undo.disabled = !state?.edits;
    this.redo.disabled = !state?.undone;
    this.save.disabled = !state || state.saved;
    if (!state) return;
    const [begin, end] = this.view.trim;
    this.trimText.textContent = end - begin === state.frames ? "All of it becomes the clip." : `Frames ${begin} to ${end - 1} of ${state.frames} become the clip.`;
    this.rangeText.textContent = this.view.range
      ? `Frames ${this.view.range[0]} to ${this.view.range[1]}: ${this.view.range[1] - this.view.range[0] + 1} frames`
      : "Edits are of the frame that is seen. Shift-drag over the timeline for a range.";
    this.people.replaceChildren(...state.people.map((person) => h("button", {
      type: "button", role: "radio", class: "chip", "aria-checked": String(person.number === this.view.person),
      onclick: () => this.view.follow(person.number),
    }, person.name, h("small", {}, ` ${person.frames} frames`))));
    const others = state.people.filter((person) => person.number !== this.view.person);
    this.box.querySelector("#swap").hidden = !others.length;
    const chosen = this.swapWith.value;
    this.swapWith.replaceChildren(...others.map((person) => h("option", { value: person.number }, person.name)));
    if (others.some((person) => String(person.number) === chosen)) this.swapWith.value = chosen;
    const marks = state.marks.filter((mark) => mark.person === null || mark.person === this.view.person);
    this.marks.replaceChildren(...marks.slice(0, 80).map((mark) => h("li", {}, h("button", {
      type: "button", class: "plain", onclick: () => { this.view.seek(mark.first); if (mark.last > mark.first) this.view.select([mark.first, mark.last]); },
    }, h("i", { class: `dot ${mark.kind}` }), markName(mark.kind), h("small", {}, ` ${mark.first}${mark.last > mark.first ? ` to ${mark.last}` : ""}`)))));
    if (!marks.length) this.marks.replaceChildren(h("li", { class: "quiet" }, "Nothing stands out."));
  }
}
