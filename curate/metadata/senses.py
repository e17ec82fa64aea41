"""Words by their first meaning: those whose first WordNet synset is on a list of synsets.

DataComp's text-based filter keeps a caption if it has such a word for the list of ImageNet-21k. Looking
a word up follows WordNet's morphology (morphy(7WN)): the list of exceptions of its part of speech,
or else the word itself and what the endings' rules make of it, in this order. Nouns come before
verbs, adjectives and adverbs, and ImageNet's synsets are nouns, so nouns alone decide.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec

from curate import files
from curate.errors import CurateError
from curate.metadata.sources import lines

ENDINGS = (("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"),
           ("shes", "sh"), ("men", "man"), ("ies", "y"))  # fmt: skip
"""What a noun's ending may stand for."""

_SYNSET = re.compile(r"n(\d{8})\b")
_INDEXED = re.compile(r"(\S+) n (\d+) ")


class Nouns:
    """The nouns of a folder of WordNet's database files."""

    def __init__(self, folder: str) -> None:
        names = files.names(folder)
        for name in ("index.noun", "noun.exc"):
            if name not in names:
                raise CurateError(
                    f"{folder}: no {name} in it; expected the folder of WordNet's database files"
                )
        self.first: dict[str, int] = {}  # the synset of a lemma's first sense
        for line in _lines(files.join(folder, "index.noun")):
            if found := _INDEXED.match(line):
                self.first[found[1]] = int(line.split()[-int(found[2])])
        self.exceptions = {
            word: bases for word, *bases in map(str.split, _lines(files.join(folder, "noun.exc")))
        }

    def synset(self, word: str) -> int | None:
        """The first synset of a lower-case word inflected no more than once; None without one."""
        bases = self.exceptions.get(word)
        if bases is None:
            bases = [word.removesuffix(old) + new for old, new in ENDINGS if word.endswith(old)]
        return next((self.first[form] for form in (word, *bases) if form in self.first), None)

    def forms(self, lemma: str) -> Iterator[str]:
        """The lemma, and what may be inflected from it by the rules."""
        yield lemma
        for old, new in ENDINGS:
            if lemma.endswith(new):
                yield lemma.removesuffix(new) + old


def _lines(path: str) -> Iterator[str]:
    for block in lines(path):
        yield from (line.strip() for line in block.to_pylist() if line.strip())


def imagenet21k() -> str:
    """The list of ImageNet-21k's 21,841 synsets that comes with timm."""
    spec = find_spec("timm")  # of the package alone, because importing it would load torch
    if spec is None or spec.origin is None:
        raise CurateError("timm is not installed, so give the list of synsets with --synsets")
    return os.path.join(os.path.dirname(spec.origin), "data", "_info", "imagenet22k_synsets.txt")


def read_synsets(path: str) -> set[int]:
    """The noun synsets of a list, one a line that begins as ``n02084071`` does (WordNet 3.0)."""
    found = {int(match[1]) for line in _lines(path) if (match := _SYNSET.match(line))}
    if not found:
        raise CurateError(f"{path}: no line of it begins with a synset such as n02084071")
    return found


def words_of(nouns: Nouns, synsets: Iterable[int]) -> list[str]:
    """The lower-case words whose first synset is one of `synsets`, sorted; lemmas and inflections.

    Raises
    ------
    CurateError
        Where no lemma has one of them: they are of another WordNet.
    """
    synsets = set(synsets)
    lemmas = [lemma for lemma, first in nouns.first.items() if first in synsets]
    if not lemmas:
        raise CurateError(
            "no word of this WordNet has one of the synsets; are both of WordNet 3.0?"
        )
    candidates = itertools.chain(nouns.exceptions, *map(nouns.forms, lemmas))
    return sorted({word for word in candidates if nouns.synset(word) in synsets})
