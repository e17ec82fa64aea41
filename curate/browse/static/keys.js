// The keyboard.
import { help } from "./dialogs.js";
import { across, choose, focus, focused, list } from "./grid.js";
import { close, walk, walkCluster } from "./pair.js";
import { state } from "./state.js";

const search = document.getElementById("q");
const typing = () => /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName) && document.activeElement.type !== "checkbox";

/** Listen; `save` opens the dialog that saves a list. */
export function listen(save) {
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || document.getElementById("dialog").open) return;
    if (typing()) {
      if (event.key === "Escape") document.activeElement.blur();
      else if (event.key === "ArrowDown" && document.activeElement === search) focus(0);
      else return;
      event.preventDefault();
      return;
    }
    const done = state.pair ? inPair(event.key) : inGrid(event.key, save);
    if (done) event.preventDefault();
  });
}

function inPair(key) {
  const keys = { ArrowLeft: () => walk(-1), ArrowRight: () => walk(1), ArrowUp: () => walkCluster(-1), ArrowDown: () => walkCluster(1), Escape: close, "?": help };
  keys[key]?.();
  return key in keys;
}

function inGrid(key, save) {
  const at = focused();
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across(), ArrowDown: across(), Home: -at, End: list.pairs.length - 1 - at };
  if (key in steps) {
    if (at < 0 && !/Arrow(Down|Right)/.test(key)) return false;
    if (document.activeElement !== document.body && at < 0) return false;
    focus(at < 0 ? 0 : at + steps[key] < 0 ? (key === "ArrowLeft" ? 0 : at) : at + steps[key]);
    return true;
  }
  const keys = { "/": () => search.select(), "?": help, x: () => at >= 0 && choose(at), s: save };
  keys[key]?.();
  return key in keys;
}
