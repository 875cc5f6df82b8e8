// The third view: settings, what they will take, and the queue of clips.

import { fileAddress, getJson, pictureAddress, post } from "./api.js";
import { button, bytes, clock, h, later, rate, toast, trying } from "./dom.js";
import { base, choose, editedOf, hasFile, ofKind, on, posesOf, store } from "./store.js";

const ELSEWHERE = new Set(["start", "end", "person", "overwrite"]);

export class MakeView {
  constructor(root, go) {
    this.go = go;
    this.inputs = new Map();
    this.form = h("form", { class: "settings", onsubmit: (event) => { event.preventDefault(); this.make(); } });
    this.summary = h("p", {});
    this.edited = h("input", { type: "checkbox", onchange: () => { choose({ edited: this.edited.checked }); } });
    this.editedRow = h("label", { class: "check" }, this.edited, "follow the corrected poses");
    this.outlook = h("div", { class: "outlook", role: "status", "aria-live": "polite" });
    this.command = h("pre", { tabindex: 0, "aria-label": "the same as a command" });
    this.vary = h("select", { "aria-label": "setting to vary" });
    this.values = h("input", { type: "text", placeholder: "1, 2, 3", "aria-label": "its values, with commas between" });
    this.start = button("Make the clip", () => this.make(), { class: "strong wide", id: "start" });
    this.queue = h("ul", { class: "queue", "aria-label": "clips" });
    this.cards = new Map();
    root.append(h("div", { class: "make" }, this.form,
      h("aside", {},
        h("section", { class: "card" }, this.summary, this.editedRow, this.outlook, this.start,
          h("details", {}, h("summary", {}, "Several at once"), h("p", { class: "quiet" }, "One clip for every value, to be compared afterwards."),
            h("div", { class: "row" }, this.vary, this.values)),
          h("details", {}, h("summary", {}, "As a command"), this.command,
            button("Copy", () => trying(async () => { await navigator.clipboard.writeText(this.command.textContent); toast("copied"); })))),
        h("section", {}, h("h2", {}, "Clips"), this.queue))));
    this.ask = later(() => this.lookAhead(), 500);
    this.values.addEventListener("input", () => this.showStart());
    on("choice files", () => { this.show(); this.ask(); });
    on("clips", () => this.showQueue());
    on("settings", () => this.build());
  }

  build() {
    const models = store.models.filter((model) => model.installed);
    this.form.replaceChildren(this.modelCards(models), this.presets(models));
    const fields = store.fields.filter((field) => !ELSEWHERE.has(field.name) && field.name !== "model");
    const rows = (list) => list.map((field) => this.field(field));
    const more = fields.filter((field) => !field.usual);
    const titles = { look: "Pictures", output: "What is written", runtime: "How it is computed", input: "More files", place: "Folders" };
    this.form.append(h("fieldset", {}, h("legend", {}, "Usual settings"), h("div", { class: "grid" }, ...rows(fields.filter((field) => field.usual)))));
    for (const [role, title] of Object.entries(titles)) {
      const list = more.filter((field) => field.role === role);
      if (list.length) this.form.append(h("details", {}, h("summary", {}, title), h("div", { class: "grid" }, ...rows(list))));
    }
    const vary = ["seed", "steps", "guidance", "control_weight", "retarget", "model"];
    const names = [...vary, ...fields.map((field) => field.name).filter((name) => !vary.includes(name))];
    this.vary.replaceChildren(...names.map((name) => h("option", { value: name }, words(name))));
    this.show();
    this.ask();
  }

  /** Settings that are chosen together; each takes the place of all that was set before. */
  presets(models) {
    const there = new Set(models.map((model) => model.name));
    const chosen = JSON.stringify(store.choice.settings);
    const take = (settings) => { choose({ settings: { ...settings } }); this.build(); };
    const chip = (name, text, settings, away) => h("button", { type: "button", class: "chip", title: text, disabled: Boolean(away),
      "aria-pressed": String(JSON.stringify(settings) === chosen), onclick: () => take(settings) }, name, away ? h("small", {}, ` needs ${away}`) : null);
    return h("fieldset", {}, h("legend", {}, "Presets"), h("div", { class: "chips" },
      chip("as by default", "every setting as the model has it", {}),
      ...store.presets.map(({ name, text, settings }) => chip(name, text, settings, settings.model && !there.has(settings.model) ? settings.model : ""))));
  }

  modelCards(models) {
    const chosen = () => store.choice.settings.model || "auto";
    const pick = (name) => { this.set("model", name === "auto" ? undefined : name); update(); };
    const auto = models.find((model) => model.chosen);
    const cards = [{ name: "auto", summary: `The best on this machine: ${auto?.name || "tiny"}`, licence: auto?.licence || "" }, ...models].map((model) => h("button", {
      type: "button", role: "radio", class: "model", "data-name": model.name, onclick: () => pick(model.name),
    }, h("b", {}, model.name), h("span", {}, model.summary), h("small", {}, [model.licence, model.commercial === false && "not for commercial use"].filter(Boolean).join(", "))));
    const update = () => { for (const card of cards) card.setAttribute("aria-checked", String(card.dataset.name === chosen())); };
    update();
    const away = store.models.filter((model) => !model.installed).map((model) => model.name);
    return h("fieldset", {}, h("legend", {}, "Model"), h("div", { class: "models", role: "radiogroup", "aria-label": "model" }, ...cards),
      away.length ? h("p", { class: "quiet" }, `Not on this machine: ${away.join(", ")}. Fetch one with cnx models fetch NAME.`) : null);
  }

  field(field) {
    const id = `setting-${field.name}`;
    const value = store.choice.settings[field.name];
    const common = { id, "aria-describedby": `${id}-help` };
    let input;
    if (field.kind === "switch") {
      input = h("input", { ...common, type: "checkbox", checked: value ?? field.default ?? false,
        onchange: () => this.set(field.name, input.checked === field.default ? undefined : input.checked) });
    } else if (field.kind === "choice") {
      const empty = field.default === null ? [h("option", { value: "" }, "as the model has it")] : [];
      input = h("select", { ...common, onchange: () => this.set(field.name, input.value === (field.default ?? "") ? undefined : input.value) },
        ...empty, ...field.choices.map((word) => h("option", { value: word }, word)));
      input.value = value ?? field.default ?? "";
    } else {
      const number = field.kind === "whole" || field.kind === "number";
      input = h("input", { ...common, type: number ? "number" : "text", min: field.least, max: field.most,
        step: field.kind === "whole" ? 1 : "any", value: value ?? (field.default ?? ""), placeholder: this.placeholder(field),
        oninput: () => this.set(field.name, this.typed(field, input.value)) });
    }
    this.inputs.set(field.name, input);
    const label = h("label", { for: id }, words(field.name));
    return h("div", { class: `field ${field.kind}` }, label, input, h("small", { id: `${id}-help` }, field.help));
  }

  placeholder(field) {
    const model = store.models.find((each) => each.name === store.choice.settings.model) || store.models.find((each) => each.chosen);
    const given = model?.defaults[field.name];
    if (field.default === null && given !== undefined && given !== null) return `${given} (${model.name})`;
    return field.hint || "";
  }

  typed(field, text) {
    if (text === "" || text === String(field.default ?? "")) return undefined;
    if (field.kind === "list") return text.split(",").map((item) => item.trim()).filter(Boolean);
    return field.kind === "whole" || field.kind === "number" ? Number(text) : text;
  }

  set(name, value) {
    const settings = { ...store.choice.settings };
    if (value === undefined) delete settings[name]; else settings[name] = value;
    choose({ settings });
  }

  /** Settings as the server takes them, with the files that were chosen. */
  request() {
    const { photo, video, person, trim, settings, edited } = store.choice;
    const values = { ...settings, reference: photo, driving: video };
    if (person !== "main") values.person = person;
    if (trim) { values.start = `${trim[0]}f`; values.end = `${trim[1]}f`; }
    if (this.state?.edits && edited) {
      values.poses = editedOf(video);
      values.smooth = false;
    } else if (hasFile(posesOf(video))) {
      values.poses = posesOf(video);
    }
    return values;
  }

  show() {
    const { photo, video, trim, person, edited } = store.choice;
    this.summary.replaceChildren(...(photo && video ? [h("b", {}, base(photo)), " moves as in ", h("b", {}, base(video)),
      trim ? `, frames ${trim[0]} to ${trim[1] - 1}` : "", person !== "main" ? `, person ${person}` : ""] : ["Choose a photo and a video first."]));
    this.editedRow.hidden = !this.state?.edits;
    this.edited.checked = edited;
    const follows = Boolean(this.state?.edits && edited);
    const smooth = this.inputs.get("smooth");
    if (smooth) smooth.disabled = follows;
    this.showStart();
  }

  showStart() {
    const count = this.variations().length || 1;
    this.start.firstChild.textContent = count > 1 ? `Make ${count} clips` : "Make the clip";
    this.start.disabled = !store.choice.photo || !store.choice.video;
  }

  variations() {
    return this.values.value.split(",").map((item) => item.trim()).filter(Boolean);
  }

  /** The motion view's state: whether there are edits. */
  edits(state) { this.state = state; this.show(); this.ask(); }

  async saved() {
    if (this.state?.edits && store.choice.edited && !this.state.saved) {
      this.state = await post("motion/save", { poses: this.state.poses, revision: this.state.revision });
    }
  }

  async lookAhead() {
    if (!store.choice.photo || !store.choice.video) { this.outlook.replaceChildren(); return; }
    try {
      await this.saved();
      const look = await post("outlook", { settings: this.request() });
      const facts = [
        look.model && ["model", look.model], look.size && ["size", look.size], look.frames && ["frames", String(look.frames)],
        ["time", look.time ? `about ${look.time}` : "known after the first clip"], look.memory && ["memory", `about ${bytes(look.memory)}`],
      ].filter(Boolean);
      this.outlook.replaceChildren(
        look.problem ? h("p", { class: "fault" }, look.problem) : h("dl", {}, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
        ...look.remarks.map((remark) => h("p", { class: "caution" }, remark)));
      this.command.textContent = look.command;
    } catch (fault) {
      this.outlook.replaceChildren(h("p", { class: "fault" }, fault.message));
    }
  }

  async make() {
    await trying(async () => {
      await this.saved();
      const values = this.variations();
      const variations = values.length ? { [this.vary.value]: values } : {};
      const { clips } = await post("clips", { settings: this.request(), variations });
      this.values.value = "";
      this.showStart();
      toast(clips.length > 1 ? `${clips.length} clips wait` : "the clip waits its turn");
    });
  }

  showQueue() {
    const names = new Set(store.clips.map((clip) => clip.name));
    for (const [name, card] of this.cards) if (!names.has(name)) { card.box.remove(); this.cards.delete(name); }
    let before = this.queue.firstChild;
    for (const clip of store.clips) {
      if (!this.cards.has(clip.name)) this.cards.set(clip.name, new ClipCard(clip, this.go));
      const card = this.cards.get(clip.name);
      card.show(clip);
      if (card.box !== before) this.queue.insertBefore(card.box, before); else before = before.nextSibling;
    }
    this.queue.dataset.empty = store.clips.length ? "" : "yes";
  }
}

class ClipCard {
  constructor(clip, go) {
    this.go = go;
    this.title = h("b", {}, base(clip.output));
    this.words = h("span", { role: "status" });
    this.bar = h("progress", { max: 1 });
    this.media = h("div", { class: "media" });
    this.actions = h("div", { class: "row" });
    this.box = h("li", { class: "clip" }, this.media, h("div", { class: "about" }, this.title, this.words, this.bar, this.actions));
  }

  show(clip) {
    this.box.dataset.status = clip.status;
    this.bar.hidden = clip.status !== "running";
    if (clip.part) this.bar.value = clip.part; else this.bar.removeAttribute("value");
    this.words.textContent = told(clip);
    this.words.className = clip.status === "failed" ? "fault" : "quiet";
    if (clip.preview) this.preview(clip);
    const key = `${clip.status} ${clip.pictures}`;
    if (this.key === key) return;
    this.key = key;
    const act = (label, action) => button(label, () => trying(() => post(`clips/${action}`, { clip: clip.name })));
    this.actions.replaceChildren(...{
      waiting: [act("Stop", "stop")], running: [act("Stop", "stop")],
      stopped: [act("Go on", "resume"), act("Remove", "remove")], failed: [act("Try again", "resume"), act("Remove", "remove")],
      done: [button("Compare", () => {
        // A clip alone is compared with the video that it follows.
        const clips = new Set(ofKind("clip").map((file) => file.name));
        const others = store.choice.compare.filter((name) => clips.has(name) && name !== clip.output);
        const beside = others.length ? others : [clip.settings.driving].filter(Boolean);
        choose({ compare: [...beside, clip.output].slice(-6) });
        this.go("compare");
      }),
        h("a", { class: "button", href: fileAddress(clip.output, true), download: base(clip.output) }, "Download")],
    }[clip.status]);
    if (clip.status === "done") {
      const playable = /\.(mp4|m4v|webm)$/i.test(clip.output);
      this.media.replaceChildren(playable
        ? h("video", { src: fileAddress(clip.output), controls: true, loop: true, playsinline: true, preload: "metadata", "aria-label": `the clip ${base(clip.output)}` })
        : h("img", { src: pictureAddress(clip.name, 0), alt: "" }));
    } else if (!clip.preview) {
      this.media.replaceChildren();
    }
  }

  preview(clip) {
    const image = this.media.querySelector("img") || h("img", { alt: "the clip so far" });
    const address = `/api/clips/preview?clip=${encodeURIComponent(clip.name)}&number=${clip.preview}`;
    if (image.getAttribute("src") !== address) image.src = address;
    if (!image.isConnected && clip.status === "running") this.media.replaceChildren(image);
  }
}

const STAGES = { begin: "begins: the model is loaded", denoise: "makes the frames", decode: "turns them into pictures", encode: "writes the clip", poses: "finds the poses", background: "looks at the background" };

/** The state of a clip, in words. */
export function told(clip) {
  if (clip.status === "running") {
    const part = clip.total ? ` ${clip.done} of ${clip.total}` : "";
    const left = clip.seconds_left === null ? "" : `, ${clock(clip.seconds_left)} left`;
    return `${STAGES[clip.stage] || clip.stage}${part}${left}`;
  }
  if (clip.status === "failed") return clip.error;
  if (clip.status === "done") {
    const length = clip.frames && rate(clip.fps) ? `${clip.frames} frames, ${clock(clip.frames / rate(clip.fps))}` : "";
    return [length, clip.size, clip.model, clip.wall_seconds && `made in ${clock(clip.wall_seconds)}`].filter(Boolean).join(" · ");
  }
  return clip.status === "waiting" ? "waits its turn" : "stopped; nothing of it is lost";
}

export const words = (name) => name.replaceAll("_", " ");
export { getJson };
