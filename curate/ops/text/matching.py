"""Substring matching of captions against an entry list, as MetaCLIP defines it.

A caption is *spaced*: one space before and after it, a space on each side of ``, . ; : ? !`` and the
backtick, and tab, newline and carriage return become a space. An entry matches where it stands
between two spaces. In lists of languages without spaces an entry needs no space on a side where its
first (last) character is of such a script or is punctuation (Meta CLIP 2).

The kernel cuts each caption into tokens (and, for entries free of a space, into characters), finds the
number of each in a table, and walks from each along the trie of the entries. The tables hold what they
hash, so a collision cannot match.
"""

import string
import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.ops.strings import Strings, buffers, string_array
from curate.ops.text.trie import group_rows, grown, match_rows
from curate.schema import Column

NO_SPACE_LANGUAGES = frozenset(
    {"bo", "dz", "ja", "km", "lo", "my", "ryu", "th", "wuu", "yue", "zh"}
)
"""Languages written without spaces: those of Meta CLIP 2, and the Chinese ones of fastText."""
_NO_SPACE_CODES = frozenset(
    {"bod", "bur", "chi", "cmn", "dzo", "jpn", "khm", "lao", "mya", "tha", "tib", "zho"}
)
_NO_SPACE_SCRIPTS = frozenset(
    {"hani", "hans", "hant", "jpan", "khmr", "laoo", "mymr", "thai", "tibt"}
)

_NO_SPACE_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x19E0, 0x19FF),  # Khmer symbols
    (0x2E80, 0x2FFF),  # CJK radicals and how characters are composed of them
    (0x3000, 0x33FF),  # CJK punctuation, kana, bopomofo, compatibility
    (0x3400, 0x4DBF),  # CJK extension A
    (0x4E00, 0x9FFF),  # CJK
    (0xA9E0, 0xA9FF),  # Burmese extended B
    (0xAA60, 0xAA7F),  # Burmese extended A
    (0xF900, 0xFAFF),  # CJK compatibility ideographs
    (0xFE30, 0xFE4F),  # CJK compatibility forms
    (0xFF00, 0xFFEF),  # half and full width
    (0x20000, 0x323AF),  # CJK extensions B to H
)


def has_no_spaces(language: str) -> bool:
    """Whether a language is written without spaces, by its code in any of ISO 639, or by its script.

    >>> [has_no_spaces(x) for x in ("zh", "jpn", "zho_Hans", "zh-TW", "en", "zho_Latn", "eng_Latn")]
    [True, True, True, True, False, False, False]
    """
    code, _, script = language.lower().replace("-", "_").partition("_")
    if len(script) == 4:
        return script in _NO_SPACE_SCRIPTS
    return code in NO_SPACE_LANGUAGES or code in _NO_SPACE_CODES


def needs_no_space(character: str) -> bool:
    """Whether an entry that begins (ends) with `character` matches without a space there."""
    point = ord(character)
    if any(low <= point <= high for low, high in _NO_SPACE_RANGES):
        return True
    return character in string.punctuation or unicodedata.category(character).startswith("P")


_RELEASED_RANGES = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # CJK radicals
    (0x2FF0, 0x2FFF),  # how characters are composed of them
    (0x3400, 0x4DBF),  # CJK extension A
    (0x4E00, 0x9FFF),  # CJK
    (0xF900, 0xFAFF),  # CJK compatibility ideographs
    (0x20000, 0x2A6DF),  # CJK extension B
    (0x2A700, 0x2EBEF),  # CJK extensions C to F
)
_RELEASED_MARKS = frozenset(string.punctuation) | frozenset(
    "\u2014\u2018\u2019\u201c\u201d"  # a dash and quotation marks
    "\u3001\u3002\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011"
    "\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f\uff5e"
)


def released_needs_no_space(character: str) -> bool:
    """The same as Meta CLIP 2's code has it: of kana, bopomofo, full-width forms an entry needs one.

    So it does at punctuation beyond ASCII, but for 25 marks. The code asks this in all lists, whatever
    the language.
    """
    point = ord(character)
    within = any(low <= point <= high for low, high in _RELEASED_RANGES)
    return within or character in _RELEASED_MARKS


def fold(texts: Column) -> Column:
    """Arrow strings without differences of case: each character's capital, and of that the small one.

    So the final sigma is a sigma and the long s an s, as in Unicode's simple case folding. ß is not ss.

    >>> fold(pa.array(["Red FOX", "ΛΌΓΟΣ", "λόγος"])).to_pylist()
    ['red fox', 'λόγοσ', 'λόγοσ']
    """
    return pc.utf8_lower(pc.utf8_upper(texts))


class Matcher:
    """Finds the entries in captions.

    Parameters
    ----------
    entries : sequence of str, or Arrow array
        The metadata; an entry's id is its position. An entry that stands twice has the first id.
    no_space : bool or "released"
        Follow the Meta CLIP 2 rule for languages without spaces; or what its code does in all.
    ids : sequence of int, optional
        The id of each entry in place of its position; synonyms of one concept share an id.
    ignore_case : bool
        Fold entries and captions (see :func:`fold`); of entries that are then the same the first
        counts.
        MetaCLIP's own matching is case-sensitive.

    Raises
    ------
    ValueError
        Where an entry is empty or is not valid Unicode.

    Examples
    --------
    >>> matcher = Matcher(["red", "red fox", "fox", "Fox"])
    >>> matcher.match(["a red fox, running", "redfox"]).to_pylist()
    [[0, 1, 2], []]

    Source: MetaCLIP (arXiv 2309.16671, section 3.2), Meta CLIP 2 (arXiv 2507.22062, section 3.2).
    """

    def __init__(
        self,
        entries: Strings,
        *,
        no_space: bool | Literal["released"] = False,
        ids: Sequence[int] | None = None,
        ignore_case: bool = False,
    ) -> None:
        entries = string_array(entries)
        if ids is not None and len(ids) != len(entries):
            raise ValueError(f"{len(entries)} entries, but {len(ids)} ids")
        self._ids = None if ids is None else np.asarray(ids, np.int32)
        self._ignore_case = ignore_case
        content = buffers(fold(entries) if ignore_case else entries)
        lengths = np.diff(content.offsets)
        if len(lengths) and not lengths.all():
            raise ValueError(f"entry {int(np.argmin(lengths))} is empty")
        free = np.zeros(len(entries), np.uint8)  # 1: no space needed before, 2: after
        if no_space:
            is_free = released_needs_no_space if no_space == "released" else needs_no_space
            for i, entry in enumerate(entries.to_pylist()):
                free[i] = is_free(entry[0]) | is_free(entry[-1]) << 1
        self._free = free
        self._tokens = grown(content, np.flatnonzero(free == 0), by_character=False)
        self._characters = grown(content, np.flatnonzero(free), by_character=True)

    def __len__(self) -> int:
        return len(self._free)

    @property
    def nbytes(self) -> int:
        """Bytes that the tables and the entries take."""
        ids = 0 if self._ids is None else self._ids.nbytes
        tables = (*self._tokens[:3], *self._characters[:3])
        return self._free.nbytes + ids + sum(table.nbytes for table in tables)

    def match(self, captions: Strings) -> pa.ListArray:
        """The ascending ids of the entries in each caption: a ListArray of int32 of length n.

        `captions` are a list of str or an Arrow array: see `curate.ops.strings.string_array`. A null
        matches nothing.
        """
        texts = fold(string_array(captions)) if self._ignore_case else captions
        ends, ids = match_rows(buffers(texts), self._tokens, self._characters, self._free)
        if self._ids is not None:
            ends, ids = group_rows(ends, ids, self._ids)
        kind = pa.list_(pa.field("element", pa.int32()))
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(ids), type=kind)
