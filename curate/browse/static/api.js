// Questions to the server.

/** What the server could not answer, in its words. */
export class Refusal extends Error {}

async function answered(reply) {
  const text = await reply.text();
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Refusal(text.trim() || `the server answered with status ${reply.status}`);
  }
  if (!reply.ok) throw new Refusal(found.error ?? `the server answered with status ${reply.status}`);
  return found;
}

/** The answer to a question; `signal` gives it up. */
export async function ask(name, fields = {}, signal) {
  const said = new URLSearchParams(fields);
  try {
    return await answered(await fetch(`/api/${name}?${said}`, { signal }));
  } catch (error) {
    if (error instanceof TypeError) throw new Refusal("the server does not answer: is `curate browse` still running?");
    throw error;
  }
}

/** Send a list to be saved. */
export async function send(name, body) {
  return answered(await fetch(`/api/${name}`, { method: "POST", body: JSON.stringify(body) }));
}

/** Questions of one kind, of which the last alone counts. */
export function latest() {
  let control = new AbortController();
  return async (name, fields) => {
    control.abort();
    control = new AbortController();
    return ask(name, fields, control.signal);
  };
}

/** Whether a question was given up for a later one. */
export const givenUp = (error) => error?.name === "AbortError";

/** Where a pair's image is. */
export function image(version, run, id, { small = true } = {}) {
  return `/image/${version}/${run}/${id}${small ? "?small" : ""}`;
}
