"""Counting the words and the pairs of neighbouring words of texts, and how strongly pairs hold.

Words are split as the matcher splits captions, so that what is counted is what an entry would match: a
word lies between two spaces once ``, . ; : ? !`` and the backtick are set apart (see
`curate.ops.text.matching`). A pair is two words with one space between; the words of a pair never have
one of those marks, a lone punctuation mark or a double space between them. In languages without
spaces each character of such a script (with its combining marks) is a word, any punctuation is a
mark, and a pair is two words that touch.
"""

import string
import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.metadata.counts import SPACE, Counts
from curate.ops.hashing import xxh64
from curate.ops.kernels import nb
from curate.ops.strings import buffers
from curate.ops.text.matching import needs_no_space
from curate.schema import Column

_U = np.uint64
_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
_LETTER, _PUNCTUATION, _CHARACTER, _COMBINING, _SPACE, _MARK = range(6)
_CLASSIFIED = 0x323B0  # no punctuation and no script without spaces lies above


@lru_cache
def _classes(by_character: bool) -> NDArray[np.uint8]:
    """The class of each code point."""
    classes = np.zeros(_CLASSIFIED, np.uint8)
    for point in range(_CLASSIFIED):
        character = chr(point)
        category = unicodedata.category(character)
        if character in string.punctuation or category.startswith("P"):
            classes[point] = _MARK if by_character else _PUNCTUATION
        elif by_character and character.isspace():
            classes[point] = _SPACE
        elif by_character and needs_no_space(character):
            classes[point] = _COMBINING if category.startswith("M") else _CHARACTER
    classes[list(b" \t\n\r")] = _SPACE
    classes[list(b",.;:?!`")] = _MARK
    return classes


class _Table(NamedTuple):
    """Words by number and pairs of word numbers, both found by open addressing."""

    slots: NDArray[np.int32]  # number of the word, plus 1
    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]  # word i is arena[starts[i]:starts[i + 1]]
    arena: NDArray[np.uint8]
    counts: NDArray[np.int64]
    pairs: NDArray[np.uint64]  # (number + 1) << 32 | (number + 1)
    pair_counts: NDArray[np.int64]
    used: NDArray[np.int64]  # words, pairs


def _new_table(memory: int) -> _Table:
    words = max(1 << 6, 1 << (memory // 256).bit_length())
    return _Table(
        slots=np.zeros(2 * words, np.int32),
        hashes=np.empty(words, np.uint64),
        starts=np.zeros(words + 1, np.int64),
        arena=np.empty(16 * words, np.uint8),
        counts=np.empty(words, np.int64),
        pairs=np.zeros(8 * words, np.uint64),
        pair_counts=np.empty(8 * words, np.int64),
        used=np.zeros(2, np.int64),
    )


@nb.njit(inline="always")
def _decode(content: NDArray[np.uint8], at: int, stop: int) -> tuple[np.int64, int]:
    """The code point at `at` and its bytes; a byte that begins none counts as one of its own."""
    byte = np.int64(content[at])
    width = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if width == 1 or at + width > stop:
        return byte, 1
    point = byte & (0xFF >> (width + 1))
    for k in range(1, width):
        point = point << 6 | (np.int64(content[at + k]) & 0x3F)
    return point, width


@nb.njit
def _number(content: NDArray[np.uint8], start: int, stop: int, table: _Table) -> int:
    """Count the word `content[start:stop]`; its number."""
    slots, hashes, starts, arena, counts, _, _, used = table
    h = xxh64(content, start, stop, _U(0))
    mask = len(slots) - 1
    slot = np.int64(h >> _U(20)) & mask
    while slots[slot] != 0:
        i = slots[slot] - 1
        if hashes[i] == h and starts[i + 1] - starts[i] == stop - start:
            same = True
            for k in range(stop - start):
                if arena[starts[i] + k] != content[start + k]:
                    same = False
                    break
            if same:
                counts[i] += 1
                return i
        slot = (slot + 1) & mask
    i = used[0]
    used[0] += 1
    slots[slot] = i + 1
    hashes[i] = h
    counts[i] = 1
    starts[i + 1] = starts[i] + stop - start
    for k in range(stop - start):
        arena[starts[i] + k] = content[start + k]
    return i


@nb.njit
def _pair(before: int, after: int, table: _Table) -> None:
    pairs, pair_counts, used = table.pairs, table.pair_counts, table.used
    key = (_U(before + 1) << _U(32)) | _U(after + 1)
    mask = len(pairs) - 1
    h = key * _MULTIPLY
    slot = np.int64((h ^ (h >> _U(32))) & _U(mask))
    while pairs[slot] != 0:
        if pairs[slot] == key:
            pair_counts[slot] += 1
            return
        slot = (slot + 1) & mask
    pairs[slot] = key
    pair_counts[slot] = 1
    used[1] += 1


@nb.njit(inline="always")
def _class_at(
    content: NDArray[np.uint8], at: int, stop: int, classes: NDArray[np.uint8]
) -> tuple[np.uint8, int]:
    """The class of the character at `at`, and its bytes."""
    point, width = _decode(content, at, stop)
    return (classes[point] if point < len(classes) else np.uint8(_LETTER)), width


@nb.njit(cache=True, nogil=True)
def _count(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    first: int,
    classes: NDArray[np.uint8],
    touch: bool,
    table: _Table,
) -> int:
    """Count texts from `first` on; the first that the table has no room for."""
    starts, used = table.starts, table.used
    words, room, pair_room = len(table.counts), len(table.arena), len(table.pairs) * 3 // 4
    for i in range(first, len(offsets) - 1):
        at, stop = offsets[i], offsets[i + 1]
        most = stop - at
        if used[0] + most > words or starts[used[0]] + most > room or used[1] + most > pair_room:
            return i
        before = -1
        start = at
        spelled = False  # whether the word has anything but punctuation
        while at <= stop:
            kind, width = np.uint8(_SPACE), 1
            if at < stop:
                kind, width = _class_at(content, at, stop, classes)
            apart = kind == _CHARACTER
            if kind != _SPACE and kind != _MARK and not apart:
                spelled = spelled or kind != _PUNCTUATION
                at += width
                continue
            if at > start and spelled:
                word = _number(content, start, at, table)
                if before >= 0:
                    _pair(before, word, table)
                before = word
            elif at > start or not apart:
                before = -1
            if apart:
                while at + width < stop:
                    follows, more = _class_at(content, at + width, stop, classes)
                    if follows != _COMBINING:
                        break
                    width += more
                word = _number(content, at, at + width, table)
                if before >= 0:
                    _pair(before, word, table)
                before = word
            elif kind == _MARK or touch:
                before = -1
            at += width
            start = at
            spelled = False
    return len(offsets) - 1


class NgramCounts:
    """Exact counts of words and pairs of texts, in about `memory` bytes however many there are.

    A table in memory takes the texts; where it is full its sums go to `Counts`, which go to disk.
    """

    def __init__(self, *, memory: int, by_character: bool = False) -> None:
        self.words = Counts(memory=memory // 4)
        self.pairs = Counts(memory=memory // 2)
        self._by_character = by_character
        self._memory = min(memory // 4, 128 << 20)
        self._table = _new_table(self._memory)

    def add(self, texts: Column) -> None:
        """Count the words and pairs of an Arrow string array; nulls are empty."""
        content, offsets = buffers(texts)
        touch = self._by_character
        at = 0
        while at < len(offsets) - 1:
            done = _count(content, offsets, at, _classes(touch), touch, self._table)
            if done == at:  # a text that is too large for an empty table
                self.flush()
                longest = int(offsets[at + 1] - offsets[at])
                if longest > len(self._table.counts):
                    self._table = _new_table(256 * longest)
                continue
            at = done
            if at < len(offsets) - 1:
                self.flush()

    def flush(self) -> None:
        """Hand the sums of the table on; to be called before `words` and `pairs` are read."""
        table = self._table
        n = int(table.used[0])
        if not n:
            return
        words = pa.LargeStringArray.from_buffers(
            n, pa.py_buffer(table.starts[: n + 1]), pa.py_buffer(table.arena)
        )
        used = np.flatnonzero(table.pairs)
        keys = table.pairs[used]
        before, after = (keys >> _U(32)).astype(np.int64) - 1, keys.astype(np.uint32) - _U(1)
        joined = pc.binary_join_element_wise(
            words.take(pa.array(before)), words.take(pa.array(after.astype(np.int64))), SPACE
        )
        self.words.add(words.take(pa.array(np.arange(n))), table.counts[:n].copy())
        self.pairs.add(joined, table.pair_counts[used])
        table.slots[:] = 0
        table.pairs[:] = 0
        table.used[:] = 0


def lift(pairs: pa.Table, *, words: pa.Table, total: int) -> NDArray[np.float64]:
    """How much more often each pair occurs than by chance, shape (n,); 0 for an unknown word.

    `pairs` and `words` are tables (entry, count), a pair being two words and one space; `total` is
    the sum of all word counts. With c the counts, ``lift = c(x y) * total / (c(x) * c(y))``, and
    PMI, in bits, is its binary logarithm, as in NLTK's `BigramAssocMeasures.pmi`, which MetaCLIP
    calls. Church and Hanks, "Word association norms" (1990), section 3.
    """
    if not len(pairs):
        return np.zeros(0)
    parts = pc.split_pattern(pairs["entry"].combine_chunks(), " ").flatten()
    where = pc.fill_null(pc.index_in(parts, value_set=words["entry"].combine_chunks()), -1)
    numbers = where.to_numpy(zero_copy_only=False)
    counts = np.append(words["count"].to_numpy(), 0).astype(np.float64)[numbers]
    by_chance = counts[0::2] * counts[1::2]
    together = pairs["count"].to_numpy().astype(np.float64) * float(total)
    found: NDArray[np.float64] = np.divide(
        together, by_chance, out=np.zeros(len(pairs)), where=by_chance > 0
    )
    return found
