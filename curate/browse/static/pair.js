// The page of a pair: its image and whole story, its cluster side by side, its fate in each run.
import { ask, image } from "./api.js";
import { el, foreign, link, many, number, shown, verdict } from "./dom.js";
import { list, next, picture } from "./grid.js";
import { go, state } from "./state.js";
import { judged, listed, marked } from "./words.js";

const dialog = document.getElementById("pair");
const CUT = 2000; // characters of a caption that are shown at first
let known;
let asked = 0;

export function begin(runs) {
  known = runs;
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
  dialog.addEventListener("click", (event) => event.target === dialog && close());
}

/** Close the page of a pair. */
export function close() {
  if (state.pair) go({ pair: "" });
}

/** Show the pair that the state names, or none. */
export async function show() {
  const mine = ++asked;
  if (!state.pair) {
    if (dialog.open) dialog.close();
    return;
  }
  const uid = state.pair;
  frame(el("p", { class: "waiting", role: "status" }, "…"));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  try {
    const found = await ask("pair", { run: state.run, uid });
    if (mine !== asked) return;
    const ours = found.runs[state.run];
    frame(...(ours.stories ?? []).map((story, i) => whole(story, found.version, i ? [] : elsewhere(found))),
      ...(ours.error ? [el("p", { class: "notice" }, ours.error), ...elsewhere(found)] : []));
  } catch (error) {
    if (mine === asked) frame(el("p", { class: "notice", role: "alert" }, error.message));
  }
}

function frame(...inside) {
  const at = list.pairs.findIndex((pair) => pair.uid === state.pair);
  const step = (by, said, key) => el("button", {
    type: "button", class: "plain", disabled: at < 0 || (by < 0 ? at === 0 : at === list.pairs.length - 1 && !list.after),
    "aria-keyshortcuts": key, title: `${said} pair (${by < 0 ? "←" : "→"})`, on: { click: () => walk(by) },
  }, by < 0 ? "← previous" : "next →");
  dialog.replaceChildren(
    el("div", { class: "top" },
      step(-1, "Previous", "ArrowLeft"), step(1, "Next", "ArrowRight"),
      el("span", { class: "gap" }, at >= 0 ? `${number(at + 1)} of the selection` : ""),
      el("button", { type: "button", class: "plain close", on: { click: close }, autofocus: true }, "Close", el("kbd", { "aria-hidden": "true" }, "Esc"))),
    ...inside);
  dialog.querySelector(".close").focus();
}

/** Go to the pair that many further on in the selection. */
export async function walk(by) {
  const at = list.pairs.findIndex((pair) => pair.uid === state.pair);
  if (at < 0) return;
  if (at + by >= list.pairs.length) await next();
  const to = list.pairs[at + by];
  if (to) go({ pair: to.uid }, { replace: true });
}

/** Go to the pair that many further on in the cluster. */
export function walkCluster(by) {
  const members = [...dialog.querySelectorAll(".members button")];
  if (members.length < 2) return;
  const at = members.findIndex((one) => one.getAttribute("aria-current") === "true");
  members[(at + by + members.length) % members.length].click();
}

/** Pairs whose images are nearest to this one's; the filters in force stay. */
function likeThis(story) {
  if (!story.card?.picture || !known.runs[state.run].near) return null;
  const others = state.fields.filter(([name]) => !["near", "q", "cluster"].includes(name));
  return el("button", {
    type: "button", on: { click: () => go({ fields: [...others, ["near", `like:${story.uid}`]], sort: "", pair: "" }) },
  }, "More like this");
}

function whole(story, version, sides) {
  const card = story.card;
  const { words } = judged(story);
  return el("article", {},
    el("div", { class: "look" },
      card ? bigPicture(card, version) : el("span", { class: "picture no" }, "no image"),
      el("div", { class: "about" },
        el("p", { class: `verdict ${card?.verdict ?? ""}` }, card ? verdict(card) : ""),
        el("h2", { id: "pair-title", class: "caption" }, caption(story.caption, words)),
        words.some((one) => one.misaligned) ? el("p", { class: "quiet" }, "Marked words: the image denies them.") : null,
        el("p", { class: "url" }, link(story.url)),
        el("dl", { class: "ids" }, el("dt", {}, "uid"), el("dd", {}, el("code", {}, story.uid)), el("dt", {}, "part"), el("dd", {}, String(story.part))),
        placed(story), likeThis(story))),
    ...sides,
    story.cluster ? cluster(story, version) : null,
    el("h3", {}, "Story"), el("ol", { class: "story" }, story.chapters.map((chapter) => step(chapter, story))),
    story.entries.length ? entries(story) : null);
}

function placed(story) {
  const written = story.chapters.find((x) => x.stage === "shards");
  return written ? el("p", { class: "place" }, "in the shard ", el("code", {}, written.found.shard), " under the key ", el("code", {}, written.found.key)) : null;
}

function bigPicture(card, version) {
  const made = picture(card, version, state.run, { small: false });
  return card.picture ? el("a", { class: "whole", href: image(version, state.run, card.id, { small: false }), target: "_blank", rel: "noopener", title: "The stored image alone" }, made) : made;
}

function caption(text, words) {
  if (!text) return el("span", { class: "none" }, text === null ? "caption not kept" : "no caption");
  if (text.length <= CUT) return marked(text, words);
  const made = el("span", {}, marked(`${text.slice(0, CUT)}…`, words), " ",
    el("button", { type: "button", on: { click: () => made.replaceChildren(marked(text, words)) } }, `Show all ${number(text.length)} characters`));
  return made;
}

function step(chapter, story) {
  const { column, words } = judged(story);
  const facts = Object.entries(chapter.found).filter(([name]) => !(name === "matches" && story.entries.length) && !["captions", column].includes(name));
  return el("li", { class: chapter.verdict },
    el("p", { class: "head" }, el("strong", {}, chapter.stage), " ", el("span", { class: `verdict ${chapter.verdict}` }, chapter.verdict),
      chapter.reason ? el("span", { class: "why" }, " ", el("code", {}, chapter.reason), chapter.value ? [" = ", foreign(chapter.value, "code")] : null) : null),
    chapter.why ? el("p", { class: "quiet" }, foreign(chapter.why)) : null,
    chapter.stage === "balance" && story.draw !== null ? draw(chapter, story) : null,
    Object.keys(chapter.standing).length ? el("p", { class: "quiet" }, "this pair: ", Object.entries(chapter.standing).map(([name, value]) => [`${name} `, shown(value), "; "])) : null,
    facts.length ? el("dl", {}, facts.map(([name, value]) => el("div", { class: String(value).length > 24 ? "long" : null }, el("dt", {}, name), el("dd", {}, shown(value))))) : null,
    column in chapter.found ? listed(words) : null,
    chapter.found.captions ? el("ul", { class: "captions" }, chapter.found.captions.map((one) => el("li", {}, el("b", {}, `${one.source} `), one.caption ? foreign(one.caption) : el("em", {}, one.reason ?? "none")))) : null);
}

function draw(chapter, story) {
  const chance = Number(chapter.found.keep_probability ?? chapter.value);
  if (!Number.isFinite(chance)) return el("p", { class: "quiet" }, `drawn: ${number(story.draw)}`);
  const kept = story.draw < chance;
  return el("p", { class: "draw" }, `drawn ${number(story.draw)} ${kept ? "<" : "≥"} ${number(chance)}, its probability: ${kept ? "taken" : "left out"}`);
}

function entries(story) {
  const looked = story.entries.some((one) => one.seen !== undefined);
  const head = ["entry", ...(looked ? ["image shows it"] : []), "pairs that match", "probability", "kept"];
  return el("section", {}, el("h3", {}, "Entries that it matches"),
    el("div", { class: "scrolls" }, el("table", {}, el("thead", {}, el("tr", {}, head.map((x) => el("th", { scope: "col" }, x)))),
      el("tbody", {}, story.entries.map((one) => el("tr", {},
        el("th", { scope: "row" }, el("button", { type: "button", class: "plain", title: "Pairs that match it", on: { click: () => go({ pair: "", fields: [["entry", one.id]] }) } }, foreign(one.entry))),
        looked ? el("td", {}, one.seen ? "yes" : "no") : null,
        [one.count, one.probability, one.kept].map((x) => el("td", {}, number(x)))))))));
}

function cluster(story, version) {
  const { pairs, survivor, more } = story.cluster;
  if (pairs.length < 2) return null;
  return el("section", { class: "cluster" },
    el("h3", {}, `Its cluster: ${many(pairs.length, "pair")}${more ? " and more" : ""} `,
      el("button", { type: "button", class: "plain", on: { click: () => go({ pair: "", fields: [["cluster", survivor]] }) } }, "in the grid"),
      el("span", { class: "quiet" }, el("kbd", {}, "↑"), el("kbd", {}, "↓"), " walk through it")),
    el("ul", { class: "members" }, pairs.map((pair) => el("li", { class: pair.verdict },
      el("button", { type: "button", "aria-current": String(pair.uid === story.uid), on: { click: () => go({ pair: pair.uid }, { replace: true }) } },
        picture(pair, version, state.run),
        el("span", { class: "verdict" }, pair.reason?.startsWith("duplicate_") ? pair.reason : `stays${pair.verdict === "kept" ? "" : `, then ${verdict(pair)}`}`),
        pair.caption ? foreign(pair.caption, "span", { class: "caption" }) : null,
        el("span", { class: "facts" }, [["original_width", "original_height"]].map(([w, h]) => pair.columns[w] ? `${pair.columns[w]} × ${pair.columns[h]}` : "")))))));
}

function elsewhere(found) {
  if (found.runs.length < 2) return [];
  return [el("h3", {}, "In each run"), el("div", { class: "sides" }, found.runs.map((one, i) => {
    const story = one.stories?.[0];
    return el("section", { class: story?.card?.verdict ?? "absent" },
      el("h4", {}, foreign(known.runs[i].name), i === state.run ? el("span", { class: "quiet" }, " (this page)") : ""),
      story ? [
        el("p", { class: `verdict ${story.card?.verdict ?? ""}` }, story.card ? verdict(story.card) : story.chapters.at(-1).verdict),
        el("ol", { class: "story short" }, story.chapters.map((x) => el("li", { class: x.verdict }, `${x.stage} ${x.verdict}`, x.reason ? [": ", el("code", {}, x.reason), x.value ? ` = ${x.value}` : ""] : x.found.keep_probability !== undefined ? `, probability ${number(x.found.keep_probability)}` : x.found.clip_score !== undefined ? `, clip_score ${number(x.found.clip_score)}` : ""))),
        i === state.run ? null : el("button", { type: "button", on: { click: () => go({ run: i, fields: [] }) } }, "Look at it there"),
      ] : el("p", { class: "quiet" }, one.error ?? "not there"));
  }))];
}
