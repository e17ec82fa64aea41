// The grid of pairs: cards that the keyboard moves through, more of them as one goes down.
import { givenUp, image, latest, ask } from "./api.js";
import { el, foreign, shown, verdict } from "./dom.js";
import { go, query, state } from "./state.js";

const grid = document.getElementById("grid");
const more = document.getElementById("more");
const empty = document.getElementById("empty");
const asking = latest();

/** The pairs so far, the version of the runs that they are of, and which are picked. */
export const list = { pairs: [], version: "", after: null, picked: new Map() };
let known; // what there is to browse
let told; // who wants to know of errors and of picks
let loading = false;

export function begin(runs, callbacks) {
  known = runs;
  told = callbacks;
  more.addEventListener("click", () => next());
  new IntersectionObserver((seen) => seen.some((x) => x.isIntersecting) && next(), { rootMargin: "800px" }).observe(more);
}

/** Show the first pairs of the selection. */
export async function first() {
  grid.setAttribute("aria-busy", "true");
  loading = true;
  try {
    const found = await asking("pairs", query({ sort: state.sort, order: state.sort ? state.order : "" }));
    list.pairs = [];
    grid.replaceChildren();
    add(found);
    empty.hidden = list.pairs.length > 0;
    if (!list.pairs.length) {
      empty.replaceChildren(
        el("strong", {}, "No pair is like that."),
        state.fields.length ? el("button", { type: "button", on: { click: () => go({ fields: [] }) } }, "Clear all filters") : " The run has none yet.",
      );
    }
  } catch (error) {
    if (givenUp(error)) return;
    list.pairs = [];
    grid.replaceChildren();
    more.hidden = true;
    throw error;
  } finally {
    grid.removeAttribute("aria-busy");
    loading = false;
  }
}

/** Show the next pairs. */
export async function next() {
  if (loading || !list.after) return false;
  loading = true;
  more.disabled = true;
  try {
    const after = JSON.stringify(list.after);
    add(await ask("pairs", query({ sort: state.sort, order: state.sort ? state.order : "", after })));
    return true;
  } catch (error) {
    told.refused(error);
    return false;
  } finally {
    loading = false;
    more.disabled = false;
  }
}

function add(found) {
  list.version = found.version;
  list.after = found.after;
  more.hidden = !found.after;
  const start = list.pairs.length;
  list.pairs.push(...found.pairs);
  grid.append(...found.pairs.map((pair, i) => card(pair, start + i)));
}

function card(pair, nth) {
  const title = `${pair.caption ?? "no caption"} – ${verdict(pair)}`;
  const open = el("button", {
    class: "open", type: "button", tabindex: nth ? "-1" : "0", "aria-label": title,
    on: { click: () => go({ pair: pair.uid }), focus: () => here(nth) },
  }, picture(pair, list.version, state.run), body(pair));
  const pick = el("input", {
    type: "checkbox", class: "pick", tabindex: "-1", "aria-label": `Pick: ${pair.caption ?? pair.uid}`,
    checked: list.picked.has(pair.uid), on: { change: () => choose(nth) },
  });
  return el("li", { class: `card ${pair.verdict}` }, open, pick);
}

/** The image of a pair, or that there is none. */
export function picture(pair, version, run, properties = {}) {
  if (!pair.picture) return el("span", { class: "picture no", "aria-hidden": "true" }, el("span", {}, known.runs[run].images ? "no image" : "text alone"));
  const shownAs = el("img", {
    src: image(version, run, pair.id, properties), alt: "", loading: "lazy", decoding: "async",
    on: { error: () => shownAs.replaceWith(el("span", {}, "the image cannot be shown")) },
  });
  return el("span", { class: "picture" }, shownAs);
}

function body(pair) {
  const columns = { ...pair.columns, value: pair.value };
  const wanted = [state.sort, state.column, "clip_score", "language"].filter(
    (name, i, all) => all.indexOf(name) === i && columns[name] !== null && columns[name] !== undefined,
  );
  const near = typeof pair.near === "number" ? [el("span", { title: "cosine of the image and what is looked for" }, el("i", {}, "nearness "), shown(pair.near))] : [];
  const facts = wanted.slice(0, 2).map((name) => el("span", {}, el("i", {}, `${name} `), shown(columns[name])));
  const fates = Object.entries(pair.fates).map(([run, fate]) =>
    el("span", { class: `fate ${fate?.verdict ?? "absent"}` }, el("i", {}, `${known.runs[run].name} `), fate ? verdict(fate) : "not there"),
  );
  return el("span", { class: "body" },
    el("span", { class: "verdict" }, verdict(pair)),
    pair.caption ? foreign(pair.caption, "span", { class: "caption" }) : el("span", { class: "caption none" }, "no caption"),
    el("span", { class: "facts" }, near, facts),
    fates.length ? el("span", { class: "fates" }, fates) : null,
  );
}

function here(nth) {
  for (const one of grid.querySelectorAll(".open[tabindex='0']")) one.tabIndex = -1;
  grid.children[nth]?.querySelector(".open")?.setAttribute("tabindex", "0");
}

/** Which card has the focus; -1 where none has. */
export function focused() {
  const card = document.activeElement?.closest?.("#grid > li");
  return card ? [...grid.children].indexOf(card) : -1;
}

/** Put the focus on a card, the nearest that there is. */
export async function focus(nth) {
  if (nth >= list.pairs.length && list.after) await next();
  const to = grid.children[Math.max(0, Math.min(nth, list.pairs.length - 1))];
  to?.querySelector(".open").focus();
  to?.scrollIntoView({ block: "nearest" });
}

/** Pick a pair, or leave it. */
export function choose(nth) {
  const pair = list.pairs[nth];
  if (!pair?.uid) return;
  if (!list.picked.delete(pair.uid)) list.picked.set(pair.uid, pair);
  const box = grid.children[nth].querySelector(".pick");
  box.checked = list.picked.has(pair.uid);
  told.picked(list.picked.size);
}

/** Leave all that are picked. */
export function leave() {
  list.picked.clear();
  for (const box of grid.querySelectorAll(".pick")) box.checked = false;
  told.picked(0);
}

/** How many cards stand side by side. */
export function across() {
  return Math.max(1, getComputedStyle(grid).gridTemplateColumns.split(" ").length);
}

