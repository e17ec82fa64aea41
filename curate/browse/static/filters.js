// The filters at the side, and those in force as chips.
import { ask, latest, givenUp } from "./api.js";
import { el, foreign, many, number, settled } from "./dom.js";
import { drop, go, has, set, state, toggle, values } from "./state.js";

const side = document.getElementById("filters");
const chips = document.getElementById("chips");
const count = document.getElementById("count");
const counting = latest();
const names = new Map(); // of entries, by language and id
const updates = []; // what is drawn anew when the state is another
let known;

const FATES = {
  "": "any", differs: "kept in one only", kept: "kept", left: "dropped", absent: "not there",
};
const VERDICTS = { kept: "Kept", waiting: "Kept so far", dropped: "Dropped", dead: "Could not be handled" };

export function begin(runs) {
  known = runs;
}

/** The columns of the run. */
export const columns = () => known.runs[state.run].columns;
const texts = () => columns().filter((x) => x.kind !== "number" && !["uid", "url", "caption", "verdict", "stage", "reason", "value", "sha256", "md5", "phash", "cluster", "exif"].includes(x.name));
const numbers = () => columns().filter((x) => x.kind === "number");

/** Draw everything for a run. */
export function draw() {
  updates.length = 0;
  side.replaceChildren(
    el("section", { id: "outcome", "aria-label": "What became of them" }),
    ...otherRuns(),
    ...(known.runs[state.run].entries ? [entry()] : []),
    ...texts().map((x) => text(x)),
    range(),
  );
}

/** Draw anew what depends on the filters in force. */
export function update() {
  for (const one of updates) one();
}

function otherRuns() {
  return known.runs.flatMap((run, i) => {
    if (i === state.run) return [];
    const chosen = el("select", { name: `fate.${i}`, on: { change: () => set(`fate.${i}`, chosen.value) } },
      Object.entries(FATES).map(([value, said]) => el("option", { value }, said)));
    updates.push(() => { chosen.value = values(`fate.${i}`)[0] ?? ""; });
    return [el("section", {}, el("label", { class: "title" }, foreign(`In ${run.name}`), chosen))];
  });
}

function entry() {
  const found = el("ul", { class: "values" });
  const input = el("input", { type: "search", "aria-label": "Find an entry", placeholder: "a concept that captions match", on: { input: () => look() } });
  const look = settled(150, async () => {
    const said = input.value.trim();
    if (!said) return found.replaceChildren();
    const rows = await ask("entries", { run: state.run, q: said });
    for (const row of rows) names.set(row.id, row.entry);
    found.replaceChildren(...(rows.length ? rows.map((row) => value("entry", row.id, foreign(row.entry), row.count)) : [el("li", { class: "none" }, "no such entry")]));
  });
  updates.push(look);
  return el("details", {}, el("summary", {}, "entry"), input, found);
}

function text(column) {
  const found = el("ul", { class: "values" });
  const name = `is.${column.name}`;
  const fill = async () => {
    const others = state.fields.filter(([x]) => x !== name);
    const rows = await ask("histogram", new URLSearchParams([...others, ["run", state.run], ["column", column.name]]));
    found.replaceChildren(
      ...rows.bars.map((bar) => value(name, bar.value, foreign(bar.value), bar.pairs)),
      ...(rows.missing ? [value(name, "", el("em", {}, "none"), rows.missing)] : []),
      ...(rows.others ? [el("li", { class: "none" }, `and ${many(rows.others, "pair")} of further values`)] : []),
    );
  };
  updates.push(() => made.open && fill());
  const made = el("details", { open: values(name).length > 0, on: { toggle: () => made.open && fill() } },
    el("summary", { title: column.meaning }, column.name),
    el("form", { on: { submit: (event) => { event.preventDefault(); const said = event.target.elements[0].value.trim(); if (said) toggle(name, said); event.target.reset(); } } },
      el("input", { type: "text", "aria-label": `${column.name} is`, placeholder: "is … (Enter)", autocomplete: "off", spellcheck: "false" })),
    found);
  return made;
}

function value(name, given, said, pairs) {
  return el("li", {}, el("button", {
    type: "button", class: "value", "aria-pressed": String(has(name, given)), on: { click: () => toggle(name, given) },
  }, said, el("span", { class: "number" }, number(pairs))));
}

function range() {
  const chosen = el("select", { "aria-label": "Column of numbers" }, numbers().map((x) => el("option", { value: x.name, title: x.meaning, selected: x.name === state.column }, x.name)));
  const ends = ["min", "max"].map((end) => el("input", { type: "text", inputmode: "decimal", name: end, placeholder: end === "min" ? "from" : "to", "aria-label": end === "min" ? "from" : "to", size: 6 }));
  const show = () => ends.forEach((one) => { one.value = values(`${one.name}.${chosen.value}`)[0] ?? ""; });
  const apply = (event) => {
    event.preventDefault();
    const wrong = ends.find((one) => one.value && !Number.isFinite(Number(one.value)));
    if (wrong) return wrong.setCustomValidity("a number"), wrong.reportValidity();
    const mine = ends.map((one) => [`${one.name}.${chosen.value}`, one.value.trim()]);
    const others = state.fields.filter(([x]) => !mine.some(([y]) => x === y));
    return go({ fields: [...others, ...mine.filter(([, x]) => x)] });
  };
  chosen.addEventListener("change", show);
  ends.forEach((one) => one.addEventListener("input", () => one.setCustomValidity("")));
  updates.push(show);
  return el("form", { class: "range", on: { submit: apply } }, el("span", { class: "title" }, "Range of a number"), chosen, el("div", {}, ends, el("button", { type: "submit" }, "Set")));
}

/** Count the selection, by what became of the pairs. */
export async function tally() {
  try {
    const found = await counting("groups", new URLSearchParams([...state.fields, ["run", state.run]]));
    const verdicts = values("is.verdict"), stages = values("is.stage"), reasons = values("is.reason");
    const ours = found.filter((x) =>
      (!verdicts.length || verdicts.includes(x.verdict)) && (!stages.length || stages.includes(x.stage))
      && (!reasons.length || reasons.includes(x.reason ?? "")));
    const sum = (rows) => rows.reduce((total, x) => total + x.pairs, 0);
    count.replaceChildren(el("strong", {}, number(sum(ours))), ` pair${sum(ours) === 1 ? "" : "s"}`,
      sum(ours) && sum(ours) < sum(found) ? el("span", { class: "quiet" }, ` of ${number(sum(found))} with any outcome`) : null ?? "");
    outcome(found, sum);
    return sum(ours);
  } catch (error) {
    if (givenUp(error)) return null;
    count.textContent = "";
    throw error;
  }
}

function outcome(found, sum) {
  const total = sum(found) || 1;
  const line = (name, given, said, rows, title) => el("button", {
    type: "button", class: "value", title, "aria-pressed": String(has(name, given)), on: { click: () => toggle(name, given) },
    style: { "--share": `${(100 * sum(rows)) / total}%` },
  }, said, el("span", { class: "number" }, number(sum(rows))));
  const parts = Object.entries(VERDICTS).flatMap(([verdict, said]) => {
    const rows = found.filter((x) => x.verdict === verdict);
    return rows.length || has("is.verdict", verdict) ? [el("li", { class: verdict }, line("is.verdict", verdict, said, rows))] : [];
  });
  const left = found.filter((x) => x.reason);
  const stages = known.runs[state.run].stages.flatMap((stage) => {
    const rows = left.filter((x) => x.stage === stage);
    if (!rows.length) return [];
    return [el("li", {}, line("is.stage", stage, stage, rows),
      el("ul", { class: "values" }, rows.map((x) => el("li", { class: x.verdict },
        line("is.reason", x.reason, x.reason.startsWith("rule:") ? el("span", {}, el("em", {}, "rule "), foreign(x.reason.slice(5))) : x.reason, [x], x.why)))))];
  });
  document.getElementById("outcome").replaceChildren(
    el("h2", {}, "Outcome"), el("ul", { class: "values" }, parts),
    stages.length ? el("h2", {}, "Why they left") : "", el("ul", { class: "values stages" }, stages),
  );
}

/** Draw the conditions in force. */
export async function drawChips() {
  const unknown = values("entry").filter((id) => !names.has(id));
  if (unknown.length) {
    const asked = new URLSearchParams([["run", state.run], ...unknown.map((id) => ["id", id])]);
    for (const row of await ask("entries", asked).catch(() => [])) names.set(row.id, row.entry);
  }
  chips.replaceChildren(...state.fields.map(([name, value]) =>
    el("li", {}, el("button", { type: "button", title: "Take this filter away", on: { click: () => drop(name, value) } },
      foreign(said(name, value)), el("span", { "aria-hidden": "true" }, " ×")))));
  if (state.fields.length > 1) chips.append(el("li", {}, el("button", { type: "button", class: "clear", on: { click: () => go({ fields: [] }) } }, "Clear all")));
}

function said(name, value) {
  const [kind, ...rest] = name.split(".");
  const column = rest.join(".");
  if (name === "q") return `“${value}”`;
  if (name === "near") return value.startsWith("text:") ? `like “${value.slice(5)}”` : `like the image of ${value.slice(5, 13)}…`;
  if (name === "entry") return `entry ${names.get(value) ?? value}`;
  if (name === "cluster") return `cluster of ${value.slice(0, 8)}…`;
  if (kind === "min") return `${column} ≥ ${value}`;
  if (kind === "max") return `${column} ≤ ${value}`;
  if (kind === "fate") return `${known.runs[column]?.name ?? column}: ${FATES[value] ?? value}`;
  return `${column}: ${value || "none"}`;
}
