"""Build the English entry list of the demo from WordNet lemmas that are in common use.

    python pipelines/demo/build_entries.py --wordnet usr/share/wordnet \
        --openclipart usr/share/openclipart --out metadata

Needs the package wordfreq; takes about 10 seconds on one core. Writes ``en-small.txt`` (one
entry a line, sorted by code point, unique) and ``MANIFEST.json`` (count, SHA-256, sources).
"""

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from openclipart import read_drawings, wordnet_lemmas
from wordfreq import zipf_frequency

LIST_NAME = "en-small.txt"
MIN_ZIPF_WORD = 3.2
MIN_ZIPF_PHRASE = 3.5


def main(argv: Sequence[str] | None = None) -> None:
    """Build the list as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wordnet", type=Path, required=True, help="holds data.noun and others")
    parser.add_argument("--openclipart", type=Path, required=True, help="holds png/ and svg/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the entry lists")
    args = parser.parse_args(argv)

    drawings = read_drawings(args.openclipart / "png", svg_root=args.openclipart / "svg")
    captions = {drawing.caption for drawing in drawings}
    origins = select_entries(
        wordnet_lemmas(args.wordnet), tagged=tagged_lemmas(args.wordnet), captions=captions
    )
    text = "".join(f"{entry}\n" for entry in sorted(origins))
    (args.out / LIST_NAME).write_text(text, encoding="utf-8")
    manifest = {
        LIST_NAME: {
            "entries": len(origins),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "sources": dict(sorted(Counter(origins.values()).items())),
            "licence": "WordNet 3.0 (LICENSE.wordnet)",
        }
    }
    (args.out / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    print(f"{len(origins)} entries in {args.out / LIST_NAME}")


def select_entries(
    lemmas: Iterable[str], *, tagged: Container[str], captions: Iterable[str]
) -> dict[str, str]:
    """Map each lemma worth an entry to the reason it was kept.

    A single word needs a Zipf frequency of 3.2 (1.6 uses in a million words). wordfreq does not
    count phrases and hyphenations but infers them from their parts, far too high; so one of these
    needs 3.5 and to be in `tagged`, or to occur as whole words in one of `captions`.
    One-character lemmas are left out.

    >>> select_entries(["dog", "dogsled", "polar bear", "dog house"], tagged=set(),
    ...                captions=["a polar bear, animal"])
    {'dog': 'common word', 'polar bear': 'phrase in captions'}
    """
    phrases = _phrases(captions)
    origins: dict[str, str] = {}
    for lemma in lemmas:
        if len(lemma) < 2:
            continue
        zipf = zipf_frequency(lemma, "en")
        if re.search(r"[ -]", lemma) is None:
            if zipf >= MIN_ZIPF_WORD:
                origins[lemma] = "common word"
        elif lemma.lower() in tagged and zipf >= MIN_ZIPF_PHRASE:
            origins[lemma] = "common phrase"
        elif lemma.lower() in phrases:
            origins[lemma] = "phrase in captions"
    return origins


def tagged_lemmas(wordnet: Path) -> set[str]:
    """Lower-case lemmas that occur in WordNet's sense-tagged texts (``cntlist.rev``)."""
    lines = (wordnet / "cntlist.rev").read_text(encoding="utf-8").splitlines()
    return {line.partition("%")[0].replace("_", " ") for line in lines}


def _phrases(captions: Iterable[str]) -> set[str]:
    """Every run of two to five words in `captions`, lower case, not crossing a comma."""
    phrases: set[str] = set()
    for caption in captions:
        for clause in re.split(r"[,.;:!?()]", caption.lower()):
            words = clause.split()
            for length in range(2, 6):
                starts = range(len(words) - length + 1)
                phrases.update(" ".join(words[start : start + length]) for start in starts)
    return phrases


if __name__ == "__main__":
    main()
