// The server's addresses, and its news.

const address = (path, values = {}) => {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined));
  return `/api/${path}${query.size ? `?${query}` : ""}`;
};

async function answer(response) {
  if (response.ok) return response;
  let words = `the studio answered ${response.status}`;
  const text = await response.text();
  try { words = JSON.parse(text).error || words; } catch { words = text.trim() || words; }
  const fault = new Error(words);
  fault.status = response.status;
  throw fault;
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (reason) {
    if (reason.name === "AbortError") throw reason;
    throw new Error("the studio does not answer; is it still running?");
  }
  return answer(response);
}

export const getJson = async (path, values) => (await ask(address(path, values))).json();
export const getData = async (path, values, signal) => {
  const response = await ask(address(path, values), { signal });
  return { data: await response.arrayBuffer(), headers: response.headers };
};
export const post = async (path, values) => (await ask(address(path), {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(values),
})).json();

export const photoAddress = (file, size = 540) => address("photo", { file, size });
export const fileAddress = (file, keep = false) => address("file", { file, keep: keep ? 1 : undefined });
export const pageAddress = (file) => address("page", { file });
export const pictureAddress = (clip, number) => address("clips/picture", { clip, number });

/** Send a file; `onpart` is told the part that has gone, from 0 to 1. */
export function upload(file, onpart) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address("upload", { name: file.name }));
    request.upload.onprogress = (event) => onpart(event.total ? event.loaded / event.total : 0);
    request.onload = () => {
      let values = {};
      try { values = JSON.parse(request.responseText); } catch { /* not ours */ }
      if (request.status === 201) resolve(values.name);
      else reject(new Error(values.error || request.responseText || `the studio answered ${request.status}`));
    };
    request.onerror = () => reject(new Error(`${file.name} could not be sent; is the studio still running?`));
    request.send(file);
  });
}

/** Listen for news until the page goes; `topics` has a function for each. */
export function listen(topics, onlink) {
  const source = new EventSource("/api/events");
  for (const [topic, take] of Object.entries(topics)) {
    source.addEventListener(topic, (event) => take(JSON.parse(event.data)));
  }
  source.onopen = () => onlink(true);
  source.onerror = () => onlink(false);
}
