"""`Matcher.match` against pyahocorasick used as MetaCLIP uses it: 500,000 entries, one core.

MetaCLIP's matcher (`metaclip/substr_matching_ahocorasick.py`) spaces a caption by ten replacements,
stores the id and the entry with each word of the automaton, and adds the ids to a set one by one. A
second figure is for the automaton with ids alone.
"""

from typing import Any

import ahocorasick
import numpy as np

from curate import Matcher
from tests.bench import pools

ENTRIES = 500_000
CAPTIONS = 1_000_000


def spaced(caption: str) -> str:
    """The caption as MetaCLIP spaces it, one kind of character after the other."""
    text = f" {caption} "
    for mark in ",.;:?!`":
        text = text.replace(mark, f" {mark} ")
    for blank in "\t\n\r":
        text = text.replace(blank, " ")
    return text


def automaton_of(entries: list[str], *, values: list[Any]) -> Any:
    """pyahocorasick's automaton of the spaced entries, each with its value."""
    automaton = ahocorasick.Automaton()
    for entry, value in zip(entries, values, strict=True):
        automaton.add_word(f" {entry} ", value)
    automaton.make_automaton()
    return automaton


def as_metaclip(automaton: Any, texts: list[str]) -> list[list[int]]:
    """The entry ids of each text, in no order, from an automaton of (id, entry) values."""
    matches = []
    for text in texts:
        found = set()
        for _, (entry_id, _) in automaton.iter(spaced(text)):
            found.add(entry_id)
        matches.append(list(found))
    return matches


def lean(automaton: Any, texts: list[str]) -> list[list[int]]:
    """The ascending entry ids of each text, from an automaton of ids."""
    return [sorted({i for _, i in automaton.iter(spaced(text))}) for text in texts]


def main() -> None:
    """Rates, their ratio, the table's memory and build time, and that the matches are the same."""
    vocabulary = pools.words(320_000)
    entries = pools.entries(ENTRIES, vocabulary=vocabulary)
    captions = pools.captions(CAPTIONS, vocabulary=vocabulary)
    texts = captions.to_pylist()
    ids = list(range(ENTRIES))
    published = automaton_of(entries, values=[(i, f" {entries[i]} ") for i in ids])
    leaner = automaton_of(entries, values=ids)

    Matcher(["warm"]).match(captions[:10])
    with pools.one_core():
        build = pools.best(lambda: Matcher(entries))
        matcher = Matcher(entries)
        ours = CAPTIONS / pools.best(lambda: matcher.match(captions), runs=5)
        some = texts[:60_000]
        theirs = len(some) / pools.best(lambda: as_metaclip(published, some))
        tuned = len(some) / pools.best(lambda: lean(leaner, some))
    found = matcher.match(captions)
    wrong = sum(
        found[start : start + 50_000].to_pylist() != lean(leaner, texts[start : start + 50_000])
        for start in range(0, CAPTIONS, 50_000)
    )
    characters = np.mean([len(text) for text in texts[:10_000]])
    print(f"  {ENTRIES:,} entries, {CAPTIONS:,} captions of {characters:.0f} characters,"
          f" {len(found.values) / CAPTIONS:.1f} matches each")  # fmt: skip
    print(f"  Matcher        {ours:12,.0f} captions/s")
    print(f"  pyahocorasick  {theirs:12,.0f} captions/s, as MetaCLIP uses it")
    print(f"  ratio          {ours / theirs:12.1f}   (at least 15)")
    print(f"  pyahocorasick  {tuned:12,.0f} captions/s, ids alone")
    print(f"  ratio          {ours / tuned:12.1f}")
    print(f"  table          {matcher.nbytes / 1e6:12.1f} MB  (at most 64)")
    print(f"  build          {build:12.2f} s   (at most 1)")
    print(f"  batches of 50,000 whose matches differ: {wrong} of {CAPTIONS // 50_000}")
    if wrong:
        raise SystemExit("the matches differ")
