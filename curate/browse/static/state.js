// What is looked at: it stands in the address, so that going back and links work.

/** Fields that say how pairs are shown; all others of the address say which. */
const SHOWING = ["run", "sort", "order", "column", "pair"];
const NOT_SELECTING = new Set([...SHOWING, "token"]);

export const state = { fields: [], run: 0, sort: "", order: "asc", column: "", pair: "" };
const heard = new Set();

/** Call back whenever the state is another, with the one before. */
export function onChange(call) {
  heard.add(call);
}

/** The state that the address says. */
export function read() {
  const asked = new URLSearchParams(location.search);
  state.fields = [...asked].filter(([name]) => !NOT_SELECTING.has(name));
  state.run = Number(asked.get("run") ?? 0) || 0;
  state.sort = asked.get("sort") ?? "";
  state.order = asked.get("order") === "desc" ? "desc" : "asc";
  state.column = asked.get("column") ?? "";
  state.pair = asked.get("pair") ?? "";
}

/** The address of a state. */
export function address(of = state) {
  const said = new URLSearchParams();
  if (of.run) said.set("run", of.run);
  for (const [name, value] of of.fields) said.append(name, value);
  if (of.sort) said.set("sort", of.sort);
  if (of.sort && of.order === "desc") said.set("order", "desc");
  if (of.column) said.set("column", of.column);
  if (of.pair) said.set("pair", of.pair);
  return said.size ? `?${said}` : location.pathname;
}

/** Go to another state; `replace` where it is no step that one would go back to. */
export function go(changes, { replace = false } = {}) {
  const before = { ...state };
  Object.assign(state, changes);
  const to = address();
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  for (const call of heard) call(before);
}

addEventListener("popstate", () => {
  const before = { ...state };
  read();
  for (const call of heard) call(before);
});

/** Whether two states mean the same pairs in the same order. */
export function sameList(one, other) {
  const of = (x) => JSON.stringify([x.fields, x.run, x.sort, x.order]);
  return of(one) === of(other);
}

/** What the server is asked for the selection, and these fields more. */
export function query(more = {}) {
  const said = new URLSearchParams(state.fields);
  said.set("run", state.run);
  for (const [name, value] of Object.entries(more)) if (value !== "") said.set(name, value);
  return said;
}

export const values = (name) => state.fields.filter(([x]) => x === name).map(([, value]) => value);
export const has = (name, value) => state.fields.some(([x, y]) => x === name && y === value);

/** Set the one value of a field; none where it is empty. */
export const set = (name, value, options) => setAll({ [name]: value }, options);

/** Set several fields at once. */
export function setAll(changes, options) {
  const others = state.fields.filter(([x]) => !(x in changes));
  go({ fields: [...others, ...Object.entries(changes).filter(([, value]) => value !== "")] }, options);
}

/** Add a value of a field, or take it away. */
export function toggle(name, value) {
  const without = state.fields.filter(([x, y]) => x !== name || y !== value);
  go({ fields: without.length < state.fields.length ? without : [...state.fields, [name, value]] });
}

/** Take one condition away. */
export function drop(name, value) {
  go({ fields: state.fields.filter(([x, y]) => x !== name || y !== value) });
}
