// The first view: a photo and a video, dropped or picked from the folder.

import { fileAddress, photoAddress, post, upload } from "./api.js";
import { base, choose, hasFile, ofKind, on, posesOf, store } from "./store.js";
import { button, bytes, h, toast, trying } from "./dom.js";
import { Frames } from "./frames.js";

export class SourcesView {
  constructor(root, go) {
    this.go = go;
    this.photo = this.side("photo", "Photo", "The person to animate", "image/*", ["photo"]);
    this.video = this.side("video", "Motion", "The video whose motion is taken", "video/*,.mkv,.ts", ["video", "clip"]);
    this.next = button("Look at the motion", () => this.onward(), { class: "strong" });
    this.hint = h("p", { class: "quiet", role: "status" });
    root.append(
      h("div", { class: "sides" }, this.photo.box, this.video.box),
      h("div", { class: "onward" }, this.hint, this.next),
    );
    on("files choice estimates", () => this.show());
  }

  side(kind, title, text, accept, kinds) {
    const input = h("input", { type: "file", accept, class: "unseen", "aria-label": `choose a ${kind} file`,
      onchange: () => { this.take([...input.files], kind); input.value = ""; } });
    const preview = h("div", { class: "preview" });
    const drop = h("label", { class: "drop" }, preview,
      h("span", { class: "words" }, h("b", {}, title), h("span", {}, text), h("span", { class: "quiet" }, "drop a file, or click to choose one")),
      input);
    for (const name of ["dragover", "dragleave", "drop"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", name === "dragover");
        if (name === "drop") { event.stopPropagation(); this.drop([...event.dataTransfer.files], kind); }
      });
    }
    const shelf = h("div", { class: "shelf", role: "radiogroup", "aria-label": `${title} of the folder` });
    const bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": `sending the ${kind}` });
    return { kind, kinds, preview, shelf, bar, shown: "", drop, box: h("section", { class: "side" }, drop, bar, shelf) };
  }

  /** Take dropped files: photos and videos find their side, what is neither by name goes to `kind`. */
  drop(files, kind = "photo") {
    const sideOf = (file) => ({ "image/gif": kind, image: "photo", video: "video" })[file.type] ?? { image: "photo", video: "video" }[file.type.split("/")[0]] ?? kind;
    for (const side of ["photo", "video"]) this.take(files.filter((file) => sideOf(file) === side), side);
  }

  async take(files, kind) {
    const side = this[kind];
    for (const file of files.slice(0, 1)) {
      await trying(async () => {
        side.bar.hidden = false;
        try {
          const name = await upload(file, (part) => { side.bar.value = part; });
          if (!hasFile(name)) store.files = [...store.files, { name, kind, bytes: file.size, changed: Date.now() / 1000 }];
          this.pick(kind, name);
          toast(`${base(name)} is in the folder`);
        } finally {
          side.bar.hidden = true;
          side.bar.value = 0;
        }
      });
    }
  }

  pick(kind, name) {
    choose(kind === "photo" ? { photo: name } : { video: name, trim: null, person: "main" });
  }

  async onward() {
    const video = store.choice.video;
    if (video && !hasFile(posesOf(video))) await trying(() => post("poses", { video }));
    this.go("motion");
  }

  show() {
    for (const side of [this.photo, this.video]) {
      const chosen = store.choice[side.kind];
      this.showShelf(side, chosen);
      if (side.shown !== chosen) this.showPreview(side, chosen);
      side.shown = chosen;
    }
    const { photo, video } = store.choice;
    this.next.disabled = !photo || !video;
    const missing = [!photo && "a photo", !video && "a video"].filter(Boolean).join(" and ");
    this.hint.textContent = missing ? `Choose ${missing} to go on.` : `${base(photo)} will move as in ${base(video)}.`;
  }

  showShelf(side, chosen) {
    const files = ofKind(...side.kinds).sort((a, b) => (a.kind === "clip") - (b.kind === "clip") || b.changed - a.changed).slice(0, 60);
    const names = files.map((file) => file.name).join("\n");
    if (side.names !== names) {
      side.names = names;
      side.shelf.replaceChildren(...files.map((file) => h("button", {
        type: "button", role: "radio", class: "thumb", "data-name": file.name, title: `${file.name}, ${bytes(file.bytes)}`,
        onclick: () => this.pick(side.kind, file.name),
      }, thumb(file), h("span", {}, base(file.name)))));
    }
    for (const item of side.shelf.children) item.setAttribute("aria-checked", String(item.dataset.name === chosen));
  }

  showPreview(side, name) {
    side.drop.classList.toggle("full", Boolean(name));
    if (!name) { side.preview.replaceChildren(); return; }
    if (side.kind === "photo") {
      side.preview.replaceChildren(h("img", { src: photoAddress(name, 900), alt: `the photo ${base(name)}` }));
    } else {
      const playable = /\.(mp4|m4v|webm)$/i.test(name);
      side.preview.replaceChildren(playable
        ? h("video", { src: fileAddress(name), muted: true, loop: true, autoplay: true, playsinline: true, "aria-label": `the video ${base(name)}` })
        : firstFrame(name));
      side.preview.querySelector("video")?.play?.().catch(() => {});
    }
  }
}

function thumb(file) {
  if (file.kind === "photo") return h("img", { src: photoAddress(file.name, 160), alt: "", loading: "lazy" });
  return firstFrame(file.name, 120);
}

/** A canvas with the first frame of a video. */
export function firstFrame(name, width = 360) {
  const canvas = h("canvas", { width: 4, height: 3, "aria-hidden": "true" });
  const frames = new Frames(name, 1, width, () => {
    const picture = frames.get(0);
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.getContext("2d").drawImage(picture, 0, 0);
    frames.close();
  });
  frames.get(0);
  return canvas;
}
