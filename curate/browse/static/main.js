// The page: what is asked when the state changes, and where the answers go.
import { ask } from "./api.js";
import * as dialogs from "./dialogs.js";
import { el, foreign, number, settled } from "./dom.js";
import * as filters from "./filters.js";
import * as grid from "./grid.js";
import * as histogram from "./histogram.js";
import { listen } from "./keys.js";
import * as map from "./map.js";
import * as pair from "./pair.js";
import { go, onChange, read, sameList, setAll, state, values } from "./state.js";

const at = (id) => document.getElementById(id);
let known;
let total = null; // pairs of the selection, once they are counted

function refused(error) {
  at("notice").replaceChildren(foreign(error.message));
  at("notice").hidden = false;
}

function drawRuns() {
  at("runs").replaceChildren(...known.runs.map((run, i) => el("button", {
    type: "button", title: run.root, "aria-current": i === state.run ? "page" : null, on: { click: () => go({ run: i, fields: [], sort: "", column: "", pair: "" }) },
  }, foreign(run.name))));
  const run = known.runs[state.run];
  document.title = `${run.name} – curate browse`;
  at("notice").hidden = !run.notice;
  at("notice").textContent = run.notice ?? "";
  at("how").hidden = at("show-map").hidden = !run.near;
}

/** Whether what is typed is looked for in the embeddings of images, not in captions. */
const near = () => !at("how").hidden && at("how").value === "near";

function search(options) {
  const said = at("q").value.trim();
  setAll(near() ? { q: "", near: said && `text:${said}` } : { q: said, near: "" }, options);
}

function drawSearch() {
  const [sought = ""] = values("near");
  if (sought) at("how").value = "near";
  else if (values("q").length) at("how").value = "q";
  at("q").value = sought ? sought.replace(/^text:|^like:.*/s, "") : (values("q")[0] ?? "");
  at("q").placeholder = near() ? "What images show, as in: a red bicycle" : "Search captions, a uid, a URL";
}

function drawSort() {
  at("sort").replaceChildren(el("option", { value: "" }, values("near").length ? "the nearest first" : "as they stand"), ...filters.columns().map((x) => el("option", { value: x.name, title: x.meaning }, x.name === "uid" ? "uid (shuffled)" : x.name)));
  at("sort").value = state.sort;
  at("order").hidden = !state.sort;
  at("order").textContent = state.order === "desc" ? "↓ highest first" : "↑ lowest first";
}

function drawFrame() {
  drawRuns();
  filters.draw();
  histogram.draw(known);
}

async function load() {
  drawSearch();
  drawSort();
  filters.update();
  total = null;
  const work = [grid.first(), filters.tally().then((found) => { total = found; }), filters.drawChips(), histogram.fill()];
  for (const done of await Promise.allSettled(work)) if (done.status === "rejected") refused(done.reason);
}

function picked(count) {
  at("picked").replaceChildren(...(count ? [`${number(count)} picked `, el("button", { type: "button", class: "plain", on: { click: grid.leave } }, "none")] : []));
  at("save").textContent = count ? "Save these…" : "Save list…";
}

function changed(before) {
  if (!known.runs[state.run]) state.run = 0;
  if (before.run !== state.run) grid.leave();
  if (!sameList(before, state)) {
    at("notice").hidden = true;
    if (before.run !== state.run) drawFrame();
    load();
    scrollTo({ top: 0 });
  } else if (before.column !== state.column) {
    histogram.draw(known);
    histogram.fill();
  }
  map.close();
  if (before.pair !== state.pair || before.run !== state.run) pair.show();
  if (before.pair && !state.pair) {
    const nth = grid.list.pairs.findIndex((one) => one.uid === before.pair);
    if (nth >= 0) grid.focus(nth);
  }
}

async function start() {
  read();
  history.replaceState(null, "", location.pathname + location.search.replace(/[?&]token=[^&]*/, "").replace(/^&/, "?"));
  try {
    known = await ask("runs");
  } catch (error) {
    refused(error);
    return;
  }
  if (!known.runs[state.run]) state.run = 0;
  grid.begin(known, { refused, picked });
  filters.begin(known);
  pair.begin(known);
  drawFrame();
  const save = () => dialogs.save(total);
  listen(save);
  onChange(changed);
  at("search").addEventListener("submit", (event) => { event.preventDefault(); search(); grid.focus(0); });
  at("q").addEventListener("input", settled(300, () => { if (!near()) search({ replace: true }); }));
  at("how").addEventListener("change", () => { search(); at("q").focus(); });
  at("sort").addEventListener("change", () => go({ sort: at("sort").value, order: state.sort ? state.order : "desc" }));
  at("order").addEventListener("click", () => go({ order: state.order === "desc" ? "asc" : "desc" }));
  at("save").addEventListener("click", save);
  at("show-map").addEventListener("click", map.show);
  at("show-help").addEventListener("click", dialogs.help);
  at("show-filters").addEventListener("click", () => {
    const open = at("filters").classList.toggle("open");
    at("show-filters").setAttribute("aria-expanded", String(open));
  });
  await load();
  if (state.pair) pair.show();
}

start();
