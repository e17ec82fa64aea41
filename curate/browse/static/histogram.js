// How a column is distributed over the selection; its bars are filters.
import { givenUp, latest } from "./api.js";
import { el, foreign, many, number } from "./dom.js";
import { columns } from "./filters.js";
import { go, has, query, setAll, state, toggle } from "./state.js";

const place = document.getElementById("histogram");
const asking = latest();
const AMONG_FIRST = ["clip_score", "caption_chars", "language"];
const bars = el("div", { class: "bars" });
const note = el("p", { class: "note", role: "status" });
let chosen;
let from = null; // the bar at which a range was begun

/** Draw the frame for a run. */
export function draw(known) {
  const run = known.runs[state.run];
  const names = columns().filter((x) => !["uid", "url", "caption", "value"].includes(x.name)).map((x) => x.name);
  if (run.entries) names.push("entry");
  const shown = names.includes(state.column) ? state.column : AMONG_FIRST.find((x) => names.includes(x)) ?? names[0];
  chosen = el("select", { id: "column", on: { change: () => go({ column: chosen.value }) } },
    names.map((x) => el("option", { value: x, selected: x === shown }, x)));
  place.replaceChildren(el("div", { class: "head" }, el("label", { class: "title" }, "Distribution of ", chosen), el("span", { class: "legend" }, "kept"), el("span", { class: "legend left" }, "left")), bars, note);
}

/** Ask for the distribution of the chosen column, and draw it. */
export async function fill() {
  from = null;
  place.setAttribute("aria-busy", "true");
  try {
    const found = await asking("histogram", query({ column: chosen.value }));
    const most = Math.max(1, ...found.bars.map((x) => x.pairs));
    bars.className = `bars ${found.kind === "number" ? "numbers" : "texts"}`;
    bars.replaceChildren(...found.bars.map((bar, i) => found.kind === "number" ? ofNumbers(bar, i, found, most) : ofTexts(bar, found, most)));
    const said = [];
    if (found.kind === "number" && found.bars.length > 1) said.push(`${number(found.bars[0].low)} to ${number(found.bars.at(-1).high)}${found.is_log ? ", by orders of magnitude" : ""}`);
    if (found.missing) said.push(`${many(found.missing, "pair")} without a value`);
    if (found.others) said.push(`${many(found.others, "pair")} of further values`);
    if (!found.bars.length && !found.missing) said.push("nothing to show");
    note.textContent = said.join(" · ");
  } catch (error) {
    if (givenUp(error)) return;
    bars.replaceChildren();
    note.textContent = error.message;
  } finally {
    place.removeAttribute("aria-busy");
  }
}

function ofNumbers(bar, i, found, most) {
  const said = bar.low === bar.high ? number(bar.low) : `${number(bar.low)} to ${number(bar.high)}`;
  const made = el("button", {
    type: "button", title: `${said}: ${of(bar)}`, "aria-label": `${said}: ${of(bar)}`,
    class: "bar", style: { "--height": `${bar.pairs ? Math.max(2, (100 * bar.pairs) / most) : 0}%`, "--kept": `${(100 * bar.kept) / most}%` },
    on: {
      pointerdown: () => { from = i; },
      pointerenter: (event) => event.buttons && from !== null && mark(from, i),
      pointerup: () => { if (from !== null) choose(found, from, i); },
      keydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(found, event.shiftKey && from !== null ? from : i, i); from = i; } },
    },
  });
  return made;
}

const of = (bar) => `${many(bar.pairs, "pair")}, ${number(bar.kept)} kept`;

function mark(one, other) {
  [...bars.children].forEach((bar, i) => bar.classList.toggle("marked", i >= Math.min(one, other) && i <= Math.max(one, other)));
}

function choose(found, one, other) {
  const low = found.bars[Math.min(one, other)].low, high = found.bars[Math.max(one, other)].high;
  from = null;
  setAll({ [`min.${found.column}`]: String(low), [`max.${found.column}`]: String(high) });
}

function ofTexts(bar, found, most) {
  const name = found.column === "entry" ? "entry" : `is.${found.column}`;
  return el("button", {
    type: "button", class: "bar", "aria-pressed": String(has(name, bar.value)), on: { click: () => toggle(name, bar.value) },
    title: of(bar), style: { "--width": `${(100 * bar.pairs) / most}%`, "--kept": `${(100 * bar.kept) / most}%` },
  }, foreign(bar.name ?? bar.value), el("span", { class: "number" }, number(bar.pairs)));
}
