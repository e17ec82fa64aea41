"""`Matcher.match` against pyahocorasick used as MetaCLIP uses it: 500,000 entries, one core."""

import ahocorasick
import numpy as np

from curate import Matcher
from tests.bench import pools

ENTRIES = 500_000
CAPTIONS = 1_000_000
_SPACED = str.maketrans({mark: f" {mark} " for mark in ",.;:?!`"} | dict.fromkeys("\t\n\r", " "))


def spaced(caption: str) -> str:
    """The caption as MetaCLIP spaces it."""
    return f" {caption.translate(_SPACED)} "


def main() -> None:
    """Rates, their ratio, the table's memory and build time, and that the matches are the same."""
    vocabulary = pools.words(320_000)
    entries = pools.entries(ENTRIES, vocabulary=vocabulary)
    captions = pools.captions(CAPTIONS, vocabulary=vocabulary)
    texts = captions.to_pylist()
    automaton = ahocorasick.Automaton()
    for i, entry in enumerate(entries):
        automaton.add_word(f" {entry} ", i)
    automaton.make_automaton()

    def reference(texts: list[str]) -> list[list[int]]:
        return [sorted({i for _, i in automaton.iter(spaced(text))}) for text in texts]

    Matcher(["warm"]).match(captions[:10])
    with pools.one_core():
        build = pools.best(lambda: Matcher(entries))
        matcher = Matcher(entries)
        ours = CAPTIONS / pools.best(lambda: matcher.match(captions), runs=5)
        some = texts[:60_000]
        theirs = len(some) / pools.best(lambda: reference(some))
    found = matcher.match(captions)
    wrong = sum(
        found[start : start + 50_000].to_pylist() != reference(texts[start : start + 50_000])
        for start in range(0, CAPTIONS, 50_000)
    )
    characters = np.mean([len(text) for text in texts[:10_000]])
    print(f"  {ENTRIES:,} entries, {CAPTIONS:,} captions of {characters:.0f} characters,"
          f" {len(found.values) / CAPTIONS:.1f} matches each")  # fmt: skip
    print(f"  Matcher        {ours:12,.0f} captions/s")
    print(f"  pyahocorasick  {theirs:12,.0f} captions/s")
    print(f"  ratio          {ours / theirs:12.1f}   (at least 15)")
    print(f"  table          {matcher.nbytes / 1e6:12.1f} MB  (at most 64)")
    print(f"  build          {build:12.2f} s   (at most 1)")
    print(f"  batches of 50,000 whose matches differ: {wrong} of {CAPTIONS // 50_000}")
    if wrong:
        raise SystemExit("the matches differ")
