/** Calls of the server. Each answers with JSON, or throws an Error whose message is a sentence to show. */

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer.");
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(sentence(body.error ?? `The server answered with error ${answer.status}.`));
  return body;
}

/** Start with a capital letter and end with a period, as in a text. */
export function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

export const get = (path) => call(path);

export const remove = (path) => call(path, { method: "DELETE" });

export const post = (path, body = {}) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/**
 * Send an image file.
 *
 * @param {Blob} file
 * @param {"photo" | "painting" | "mask"} kind
 * @param {number} bytes Most bytes that the server takes.
 */
export function upload(file, kind, bytes = Infinity) {
  if (file.size > bytes) {
    const megabytes = (size) => `${(size / 1e6).toFixed(size < 1e7 ? 1 : 0)} MB`;
    throw new Error(`The file has ${megabytes(file.size)}, expected at most ${megabytes(bytes)}.`);
  }
  return call(`/api/pictures?kind=${kind}`, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: file,
  });
}
