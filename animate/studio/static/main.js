// The page: four views, the keyboard, light and dark, and the server's news.

import { getJson, listen } from "./api.js";
import { h, toast, trying } from "./dom.js";
import { changed, choose, on, posesOf, recall, store } from "./store.js";
import { CompareView } from "./compare.js";
import { MakeView } from "./make.js";
import { MotionView } from "./motion.js";
import { SourcesView } from "./sources.js";

const VIEWS = ["sources", "motion", "make", "compare"];
const root = (name) => document.getElementById(name);

function go(name) {
  if (!VIEWS.includes(name)) name = "sources";
  for (const view of VIEWS) {
    root(view).hidden = view !== name;
    document.querySelector(`nav [data-view="${view}"]`).setAttribute("aria-current", view === name ? "page" : "false");
  }
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  if (name !== "motion") views.motion.stop();
  views.compare.shown(name === "compare");
  if (name === "motion") views.motion.shown();
  if (name === "make") views.make.edits(views.motion.state);
}

export const views = {
  sources: new SourcesView(root("sources"), go),
  motion: new MotionView(root("motion"), go),
  make: new MakeView(root("make"), go),
  compare: new CompareView(root("compare")),
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.target.closest("input, select, textarea, dialog")) return;
  const view = VIEWS.find((name) => !root(name).hidden);
  if (event.key === " " && event.target.closest("button, a, summary")) return;
  if (["1", "2", "3", "4"].includes(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) {
    go(VIEWS[Number(event.key) - 1]);
  } else if (!views[view].key?.(event)) {
    return;
  }
  event.preventDefault();
});

// A file that is dropped beside its place is taken too, and the browser does not leave for it.
document.addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  go("sources");
  views.sources.drop([...event.dataTransfer.files]);
});

for (const link of document.querySelectorAll("nav [data-view]")) link.addEventListener("click", () => go(link.dataset.view));

const theme = root("theme");
const setTheme = (name) => {
  document.documentElement.dataset.theme = name;
  theme.textContent = name === "dark" ? "Light" : "Dark";
  views.motion.timeline.draw();
  try { localStorage.setItem("cnx-studio-theme", name); } catch { /* private window */ }
};
theme.addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
let remembered = null;
try { remembered = localStorage.getItem("cnx-studio-theme"); } catch { /* private window */ }
setTheme(remembered || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));

async function refresh() {
  const state = await getJson("state");
  Object.assign(store, { folder: state.folder, files: state.files, clips: state.clips, estimates: state.estimates });
  root("folder").textContent = state.folder;
  document.title = `${state.folder} · cnx studio`;
}

async function begin() {
  await refresh();
  recall();
  const settings = await getJson("settings");
  Object.assign(store, { fields: settings.fields, models: settings.models, presets: settings.presets, layout: settings.layout });
  changed("settings");
  changed("clips");
  choose({});
  go(location.hash.slice(1));
  document.body.dataset.ready = "yes";
  let linked = null;
  listen({
    files: (files) => { store.files = files; changed("files"); },
    clips: (clips) => {
      const running = new Map(store.clips.map((clip) => [clip.name, clip.status]));
      for (const clip of clips) {
        if (clip.status === "done" && running.get(clip.name) === "running") toast(`${clip.output} is there`);
      }
      store.clips = clips;
      changed("clips");
    },
    estimates: (estimates) => {
      for (const estimate of estimates) {
        const before = store.estimates.find((each) => each.poses === estimate.poses);
        if (estimate.status === "done" && before?.status === "running" && estimate.poses === posesOf(store.choice.video)) views.motion.forget();
      }
      store.estimates = estimates;
      changed("estimates");
    },
    motion: (news) => trying(() => views.motion.heard(news)),
    closed: () => toast("the studio was closed; start it again to go on", "fault"),
  }, async (link) => {
    root("link").dataset.on = link ? "yes" : "no";
    root("link").title = link ? "linked with the studio" : "no answer from the studio";
    if (link && linked === false) {
      await trying(async () => { await refresh(); for (const topic of ["files", "clips", "estimates"]) changed(topic); });
    }
    linked = link;
  });
}

on("choice", () => { if (!root("make").hidden) views.make.edits(views.motion.state); });
begin().catch((fault) => {
  document.body.append(h("div", { class: "veil whole" }, h("p", { class: "fault" }, fault.message)));
});
