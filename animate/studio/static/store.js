// What the page knows and what its user has chosen. Choices are remembered by project.

export const store = {
  folder: "",
  files: [],
  clips: [],
  estimates: [],
  fields: [],
  models: [],
  presets: [],
  layout: null,
  choice: {
    photo: "", video: "", person: "main", trim: null, settings: {}, vary: {}, edited: true, compare: [],
  },
};

const listeners = new Map();

/** Call `take` whenever one of the topics changes. */
export function on(topics, take) {
  for (const topic of topics.split(" ")) {
    if (!listeners.has(topic)) listeners.set(topic, new Set());
    listeners.get(topic).add(take);
  }
}

export function changed(topic) {
  for (const take of listeners.get(topic) || []) take();
}

/** Change choices, remember them, and tell. */
export function choose(values) {
  Object.assign(store.choice, values);
  try { localStorage.setItem(memory(), JSON.stringify(store.choice)); } catch { /* private window */ }
  changed("choice");
}

export function recall() {
  try { Object.assign(store.choice, JSON.parse(localStorage.getItem(memory()) || "{}")); } catch { /* none */ }
  const names = new Set(store.files.map((file) => file.name));
  if (!names.has(store.choice.photo)) store.choice.photo = "";
  if (!names.has(store.choice.video)) { store.choice.video = ""; store.choice.trim = null; }
}

const memory = () => `cnx-studio:${store.folder}`;

export const ofKind = (...kinds) => store.files.filter((file) => kinds.includes(file.kind));

/** Name of the pose file of a video, whether or not it is there. */
export const posesOf = (video) => video.replace(/\.[^./]+$/, ".npz");
export const editedOf = (video) => video.replace(/\.[^./]+$/, ".edited.npz");
export const hasFile = (name) => store.files.some((file) => file.name === name);
export const base = (name) => name.split("/").pop();
