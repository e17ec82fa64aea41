"""The two published recipes: which sources, in which order, up to which limits.

The order of the sources is their priority: an entry that several offer counts for the first.

PMI here is in bits: log2 of how much more often a pair occurs than by chance. MetaCLIP asks for 30
of it in the same unit (its code calls NLTK). No pair of a text of N words exceeds log2(N), so from
fewer than 2**30 words 30 bits take nothing, and from an English Wikipedia (some 2.5 billion words)
pairs of words that occur once or twice in it. Defaults read the 30 as a ratio instead: pairs 30
times as frequent as by chance (log2(30), 4.907 bits), seen at least 5 times, since PMI is unstable
below that (Church and Hanks 1990), those of the highest PMI first. For the letter of the published
recipe, from a text of that size: ``--min-pmi 30 --min-bigram-count 1``.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from curate.errors import CurateError


class Source(StrEnum):
    """Where entries come from, in order of priority."""

    NUMBERS = "numbers"
    LIST = "list"
    WORDNET = "wordnet"
    UNIGRAMS = "unigrams"
    BIGRAMS = "bigrams"
    TITLES = "titles"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What of each source is taken; a `max_` counts entries that no earlier source offered."""

    recipe: str
    synset_names: bool  # WordNet: the first lemma of each synset, cut at a period; else all lemmas
    min_count: int  # of a unigram
    unigram_share: float  # of the distinct unigrams, the most frequent first
    max_unigrams: int = 251_465
    min_pmi: float = math.log2(30)
    min_bigram_count: int = 5
    max_bigrams: int = 100_646
    min_row_views: int  # of an hourly row of a pageview file
    min_views: int  # of a title, all rows together
    mobile_views: bool  # whether rows of the mobile site count
    title_share: float  # of the distinct titles, the most viewed first
    max_titles: int = 61_235
    max_characters: int | None  # of an entry
    all_punctuation: bool  # whether all-punctuation entries go, or single ASCII marks alone
    limit: int | None  # entries of all sources together

    def __post_init__(self) -> None:
        for name in ("max_unigrams", "max_bigrams", "max_titles", "min_count", "min_views"):
            if getattr(self, name) < 0:
                option = name.replace("_", "-")
                raise CurateError(f"--{option} {getattr(self, name)}: expected 0 or more")
        if self.limit is not None and self.limit < 1:
            raise CurateError(f"--limit {self.limit}: expected 1 or more")
        for name in ("unigram_share", "title_share"):
            if not 0 < getattr(self, name) <= 1:
                option = name.replace("_", "-")
                raise CurateError(f"--{option} {getattr(self, name)}: expected above 0, at most 1")


RECIPES = {
    "v1": Limits(
        recipe="v1",
        synset_names=True,
        min_count=100,
        unigram_share=1.0,
        min_row_views=50,
        min_views=70,
        mobile_views=False,
        title_share=1.0,
        max_characters=None,
        all_punctuation=False,
        limit=500_000,
    ),
    "v2": Limits(
        recipe="v2",
        synset_names=False,
        min_count=1,
        unigram_share=0.10,
        min_row_views=1,
        min_views=1,
        mobile_views=True,
        title_share=0.76,
        max_characters=256,
        all_punctuation=True,
        limit=None,
    ),
}
"""MetaCLIP (arXiv:2309.16671, section 3.1) and, a language at a time, Meta CLIP 2
(arXiv:2507.22062, section 3.1)."""
