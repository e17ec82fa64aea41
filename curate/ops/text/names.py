"""Names of concepts in captions: phrases of whole words, as the full-text index of REAL finds them.

A word is a run of letters and digits of any script, without case and, in Latin letters, without
diacritics. What separates words else does not count, but for quotation marks, straight ones, which
are deleted: "snake's" is `snakes`. A text of a script without spaces is one word up to its next mark.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops.strings import Strings, string_array
from curate.ops.text.matching import Matcher, fold
from curate.schema import Column

_DELETED = "['\"]"
_BETWEEN = r"[^\pL\pN\pM\p{Co}]+"
_LATIN_MARKS = r"(\p{Latin})[\x{300}-\x{36F}]+"


def as_words(texts: Strings) -> pa.Array:
    """The words of each text, one space between them; a null of a null.

    >>> as_words(["The NIGHT_SNAKE logo!", "night'snake", "Crème-brûlée, 2 €"]).to_pylist()
    ['the night snake logo', 'nightsnake', 'creme brulee 2']

    Source: The Neglected Tails in Vision-Language Models (arXiv 2401.12425) and its released code,
    which deletes both straight quotation marks and looks phrases up in SQLite's FTS5 (unicode61).
    """
    found = pc.replace_substring_regex(string_array(texts), _DELETED, "")
    found = pc.replace_substring_regex(fold(_without_marks(found)), _BETWEEN, " ")
    return pc.utf8_trim(found, " ")


def _without_marks(texts: pa.Array) -> pa.Array:
    """Texts whose Latin letters have no diacritics."""
    odd = pc.invert(pc.fill_null(pc.string_is_ascii(texts), True))
    if not pc.any(odd).as_py():
        return texts
    apart = pc.utf8_normalize(texts.filter(odd), "NFD")
    plain = pc.utf8_normalize(pc.replace_substring_regex(apart, _LATIN_MARKS, r"\1"), "NFC")
    return pc.replace_with_mask(texts, odd, plain)


class NameMatcher:
    """Finds names of concepts in captions.

    Parameters
    ----------
    names : the names, each with a word at least; several may be the same phrase.
    concepts : the number of the concept of each name, shape (names,).

    >>> matcher = NameMatcher(["night snake", "Hypsiglena"], concepts=[0, 0])
    >>> rows, names = matcher.names_in(pa.array(["The NIGHT_SNAKE", "hypsiglena: a night snake"]))
    >>> rows.tolist(), names.tolist(), [x.tolist() for x in matcher.concepts_of(rows, names)]
    ([0, 1, 1], [0, 0, 1], [[0, 1], [0, 0], [0, 0]])
    """

    def __init__(self, names: Strings, *, concepts: Sequence[int] | NDArray[np.int64]) -> None:
        self._concepts = np.asarray(concepts, np.int64)
        coded = as_words(names).dictionary_encode()
        self._matcher = Matcher(coded.dictionary)
        phrases = coded.indices.to_numpy()
        self._order = np.argsort(phrases, kind="stable")  # the names of each phrase together
        self._starts = np.searchsorted(phrases[self._order], np.arange(len(coded.dictionary) + 1))

    @property
    def nbytes(self) -> int:
        """Bytes that the tables take."""
        own = self._concepts.nbytes + self._order.nbytes + self._starts.nbytes
        return self._matcher.nbytes + int(own)

    def names_in(
        self, captions: Column, *, owners: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and name of each match, each once, ascending.

        `owners` is the row of each caption where a row has several.
        """
        found = self._matcher.match(as_words(captions))
        phrases = found.values.to_numpy()
        rows = np.repeat(np.arange(len(found)), np.diff(found.offsets.to_numpy()))
        if owners is not None:
            rows = owners[rows]
        times = np.diff(self._starts)[phrases]
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        names = self._order[np.repeat(self._starts[phrases], times) + within]
        most = len(self._concepts)
        found_rows, numbers = np.divmod(np.unique(np.repeat(rows, times) * most + names), most)
        return found_rows, numbers

    def concepts_of(
        self, rows: NDArray[np.int64], names: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row and concept of matches, each once, ascending, and the first name that each has."""
        most = int(self._concepts.max(initial=0)) + 1
        found, first = np.unique(rows * most + self._concepts[names], return_index=True)
        return (*np.divmod(found, most), names[first])
