// Elements made of text: nothing that a caption or a URL holds is ever read as HTML.

/** An element with properties and children; strings become text. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "on") for (const [kind, heard] of Object.entries(value)) made.addEventListener(kind, heard);
    else if (name === "style") for (const [rule, set] of Object.entries(value)) made.style.setProperty(rule, set);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const CONTROLS = {
  "\u200e": "LRM", "\u200f": "RLM", "\u061c": "ALM", "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF",
  "\u202d": "LRO", "\u202e": "RLO", "\u2066": "LRI", "\u2067": "RLI", "\u2068": "FSI", "\u2069": "PDI",
};
const TRICKS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Text that others wrote, apart from what is around it; control characters stand as marks in it. */
export function foreign(text, tag = "bdi", properties = {}) {
  const made = el(tag, { dir: "auto", ...properties });
  let start = 0;
  for (const found of String(text).matchAll(TRICKS)) {
    made.append(text.slice(start, found.index));
    const code = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    made.append(el("span", { class: "control", title: `control character U+${code}` }, CONTROLS[found[0]] ?? `U+${code}`));
    start = found.index + found[0].length;
  }
  made.append(String(text).slice(start));
  return made;
}

/** A pair's URL, which leads out of the page only where it is one of the web. */
export function link(url) {
  if (!url) return el("span", { class: "none" }, "no URL");
  const shown = foreign(url.length > 300 ? `${url.slice(0, 300)}…` : url);
  if (!/^https?:\/\//i.test(url)) return shown;
  return el("a", { href: url, rel: "noreferrer noopener nofollow", target: "_blank" }, shown);
}

const WHOLE = new Intl.NumberFormat("en");
const SOME = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** A number for people. */
export function number(value) {
  return Number.isInteger(value) ? WHOLE.format(value) : SOME.format(value);
}

/** How many of a thing. */
export function many(count, thing) {
  return `${number(count)} ${thing}${count === 1 ? "" : "s"}`;
}

/** A value of any column. */
export function shown(value) {
  if (value === null || value === undefined) return el("span", { class: "none" }, "–");
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return foreign(typeof value === "string" ? value : JSON.stringify(value));
}

/** The last call alone, once there has been none for a while. */
export function settled(milliseconds, call) {
  let waiting;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => call(...given), milliseconds);
  };
}

/** A stage and reason in a word. */
export function verdict(pair) {
  if (pair.verdict === "kept") return "kept";
  if (pair.verdict === "waiting") return `kept so far, through ${pair.stage}`;
  return `${pair.stage}: ${(pair.reason ?? pair.verdict).replace(/^rule:/, "rule ")}`;
}
