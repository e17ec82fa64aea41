// Small dialogs: the keys, and saving a list.
import { send } from "./api.js";
import { el, foreign, many } from "./dom.js";
import { leave, list } from "./grid.js";
import { query, state } from "./state.js";

const dialog = document.getElementById("dialog");
const KEYS = [
  ["/", "search"], ["← → ↑ ↓", "move through the pairs"], ["Enter", "open a pair"], ["x", "pick a pair, or leave it"],
  ["s", "save a list"], ["← →", "on a pair's page: the previous, the next"], ["↑ ↓", "there: walk through its cluster"],
  ["Esc", "close, or leave the search"], ["?", "these keys"],
];

function open(title, ...inside) {
  dialog.replaceChildren(el("h2", { id: "dialog-title" }, title), ...inside);
  if (!dialog.open) dialog.showModal();
}

const closing = (said = "Close") => el("button", { type: "button", class: "plain", on: { click: () => dialog.close() } }, said);

/** Show the keys. */
export function help() {
  open("Keys", el("dl", { class: "keys" }, KEYS.flatMap(([key, said]) => [el("dt", {}, key.split(" ").map((x) => el("kbd", {}, x))), el("dd", {}, said)])), closing());
}

/** Ask for a name, and save the pairs that are picked or else the whole selection. */
export function save(total) {
  const picked = [...list.picked.keys()];
  const name = el("input", { id: "name", type: "text", required: true, pattern: "[\\w][\\w .+\\-]{0,99}", value: "selection", autocomplete: "off" });
  const what = picked.length ? `the ${many(picked.length, "pair")} you picked` : total === null ? "all pairs of the selection" : `all ${many(total, "pair")} of the selection`;
  const said = el("p", { role: "status" });
  const write = async (event, replace = false) => {
    event?.preventDefault();
    try {
      const done = await send("selections", { name: name.value, run: state.run, fields: state.fields, uids: picked.length ? picked : null, replace });
      if (done.pairs === null) {
        said.replaceChildren(foreign(done.path, "code"), " is there already. ", el("button", { type: "button", on: { click: () => write(null, true) } }, "Replace it"));
        return;
      }
      open("Saved", el("p", {}, `${many(done.pairs, "uid")} in `, foreign(done.path, "code")),
        el("p", { class: "quiet" }, "For ", el("code", {}, "curate revoke RUN --list FILE"), ", ", el("code", {}, "curate subset RUN --list FILE --npy …"), " and ", el("code", {}, "prepare.uids_in: FILE"), "."),
        closing());
      if (picked.length) leave();
    } catch (error) {
      said.replaceChildren(foreign(error.message));
    }
  };
  open("Save a list",
    el("form", { on: { submit: write } },
      el("p", {}, `Uids of ${what}, one a line.`),
      el("label", {}, "Name ", name), el("div", { class: "buttons" },
        el("button", { type: "submit", class: "strong" }, "Save"),
        picked.length ? null : el("a", { class: "button", href: `/api/uids?${query()}`, download: "" }, "Download"),
        closing("Cancel")), said));
  name.select();
}
