"""Rules over texts against Python's `re` and `split`: a million captions, one core."""

import json
import re

import pyarrow as pa

from curate.files import shipped
from curate.ops.text.patterns import found_in
from curate.ops.text.phrases import Phrases
from tests.bench import pools

CAPTIONS = 1_000_000
PATTERN = r"(?i)\b(stock|file) (photo|image)"


def main() -> None:
    """Rates, their ratios, and that the same captions are found."""
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    texts = [text for line in lines if (text := json.loads(line)["caption"]) and text.isascii()]
    texts = (texts * (CAPTIONS // len(texts) + 1))[:CAPTIONS]
    captions = pa.array(texts)
    entries = shipped("metadata/en-small.txt").read_text().splitlines()
    asked = [entry for entry in entries if entry.isascii()][::20]
    words = {tuple(entry.lower().split()) for entry in asked}
    longest = max(map(len, words))
    expression, phrases = re.compile(PATTERN), Phrases(asked)

    def holds(text: str) -> bool:
        split = text.lower().split()
        return any(
            tuple(split[i : i + n]) in words
            for i in range(len(split))
            for n in range(1, longest + 1)
        )

    some = texts[: max(CAPTIONS // 10, 1)]
    with pools.one_core():
        for name, ours, theirs in (
            ("matches", lambda: found_in(captions, PATTERN),
             lambda: [expression.search(text) is not None for text in some]),
            ("contains_any", lambda: phrases.are_in(captions), lambda: [*map(holds, some)]),
        ):  # fmt: skip
            found, expected = ours().to_pylist(), theirs()  # type: ignore[no-untyped-call]
            rate, other = (CAPTIONS / pools.best(ours), len(some) / pools.best(theirs))
            print(f"  {name:<13} {rate:12,.0f} captions/s, {sum(found) / CAPTIONS:.1%} of them")
            print(f"  Python        {other:12,.0f} captions/s")
            print(f"  ratio         {rate / other:12.1f}")
            if found[: len(some)] != expected:
                raise SystemExit(f"{name}: other captions are found")
