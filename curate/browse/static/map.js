// The map: clusters of the run's images, those first of which most was kept.
import { ask } from "./api.js";
import { el, foreign, many, number } from "./dom.js";
import { picture } from "./grid.js";
import { go, state } from "./state.js";

const dialog = document.getElementById("map");
let asked = 0;

/** Close the map, where it is open. */
export function close() {
  if (dialog.open) dialog.close();
}

/** Show the map of the run. */
export async function show() {
  const mine = ++asked;
  frame(el("p", { class: "waiting", role: "status" }, "drawing the map …"));
  dialog.showModal();
  try {
    const found = await ask("map", { run: state.run });
    if (mine !== asked) return;
    const of = found.pairs < found.scored ? ` A sample of ${number(found.pairs)} of the ${many(found.scored, "pair")} that were scored.` : "";
    frame(
      el("p", { class: "quiet" }, `Pairs whose images look alike to the run's model, those first of which most was kept.${of}`),
      ...found.concepts.map((one) => concept(one, found)),
    );
  } catch (error) {
    if (mine === asked) frame(el("p", { class: "notice", role: "alert" }, error.message));
  }
}

function frame(...inside) {
  dialog.replaceChildren(
    el("div", { class: "top" }, el("h2", { id: "map-title" }, "Map"), el("span", { class: "gap" }),
      el("button", { type: "button", class: "plain close", on: { click: close }, autofocus: true }, "Close", el("kbd", { "aria-hidden": "true" }, "Esc"))),
    ...inside);
}

function concept(one, found) {
  const share = `${number(Math.round((100 * one.kept) / one.pairs))} %`;
  const [[reason, n] = []] = Object.entries(one.left);
  const facts = [
    many(one.pairs, "pair"), `${share} kept`,
    one.score === null ? null : `mean ${found.column} ${number(one.score)}`,
    reason ? `${number(n)} left by ${reason.replace(/^rule:/, "rule ")}` : null,
  ];
  return el("article", { class: "concept" },
    el("h3", {}, foreign(one.words.join(", ") || "no words in common")),
    el("div", { class: "portion", role: "img", "aria-label": `${share} kept` }, el("span", { style: { width: `${(100 * one.kept) / one.pairs}%` } })),
    el("p", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
    el("div", { class: "sheet" }, one.cards.map((card) => el("button", {
      type: "button", class: card.verdict, "aria-label": `${card.caption ?? "no caption"}: more like this`, title: card.caption ?? "",
      on: { click: () => go({ fields: [["near", `like:${card.uid}`]], sort: "", pair: "" }) },
    }, picture(card, found.version, state.run)))));
}
