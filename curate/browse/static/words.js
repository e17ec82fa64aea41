// Words of a caption that the image denies, as a score of kind misaligned_words found them.
import { el, foreign, number } from "./dom.js";

const WHOLE = { dir: null }; // of the text that they stand in, not apart from it

/** The judged words of a pair, of the first score that has any, and the column that they stand in. */
export function judged(story) {
  for (const column of story.words ?? []) {
    const found = story.chapters.map((chapter) => chapter.found[column]).find(Array.isArray);
    if (found) return { column, words: found };
  }
  return { column: "", words: [] };
}

/** A text in which those words are marked; places are counted in characters, not in halves of them. */
export function marked(text, words) {
  const letters = [...text];
  const made = el("bdi", { dir: "auto" });
  let at = 0;
  for (const { start, end, score, misaligned } of words) {
    if (!misaligned || start === null || start < at || end > letters.length) continue;
    made.append(foreign(letters.slice(at, start).join(""), "span", WHOLE));
    made.append(foreign(letters.slice(start, end).join(""), "mark", { ...WHOLE, title: `the image denies it: ${number(score)}` }));
    at = end;
  }
  made.append(foreign(letters.slice(at).join(""), "span", WHOLE));
  return made;
}

/** Each word with its score. */
export function listed(words) {
  return el("p", { class: "words" }, words.map(({ word, score, misaligned }) => [
    foreign(word, misaligned ? "mark" : "bdi"), ` ${number(score)} `]).flat());
}
