"""Substring matching of captions against an entry list, as MetaCLIP defines it.

A caption is *spaced*: one space before and after it, a space on each side of ``, . ; : ? !`` and the
backtick, and tab, newline and carriage return become a space. An entry matches where it stands
between two spaces. In lists of languages without spaces an entry needs no space on a side where its
first (last) character is of such a script or is punctuation (Meta CLIP 2).

The kernel walks each spaced caption once. From every token start it extends a running hash, a token
(or, for entries free of a space, a character) at a time, for as long as the hash is that of some
prefix of an entry. What the hash finds is compared byte by byte, so a collision cannot match.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numba as nb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.strings import buffers

_SPACED_MARKS = b",.;:?!`"
_KIND = np.zeros(256, np.uint8)  # 1: becomes a space, 2: gets spaces around
_KIND[list(b"\t\n\r")] = 1
_KIND[list(_SPACED_MARKS)] = 2
_SPACE = 32
_U = np.uint64
_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
_NO_ENTRY = np.int32(-1)

NO_SPACE_LANGUAGES = frozenset({"bo", "dz", "ja", "km", "lo", "my", "ryu", "th", "zh"})
"""Languages written without spaces (Meta CLIP 2)."""

_NO_SPACE_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x19E0, 0x19FF),  # Khmer symbols
    (0x2E80, 0x2FDF),  # CJK radicals
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


def needs_no_space(character: str) -> bool:
    """Whether an entry that begins (ends) with `character` matches without a space there."""
    point = ord(character)
    if any(low <= point <= high for low, high in _NO_SPACE_RANGES):
        return True
    return unicodedata.category(character).startswith("P")


@nb.njit(inline="always")
def _mix(h: Any, byte: Any) -> Any:
    h = (h ^ _U(byte)) * _MULTIPLY
    return h ^ (h >> _U(29))


@nb.njit(cache=True)
def _slot_of(keys: Any, h: Any) -> Any:
    """The slot that holds `h`, or the free one where it belongs; key 0 is free."""
    mask = len(keys) - 1
    slot = np.int64(h >> _U(20)) & mask
    while keys[slot] != 0 and keys[slot] != h:
        slot = (slot + 1) & mask
    return slot


@nb.njit(cache=True)
def _is_step(content: Any, at: int, stop: int, by_character: bool) -> Any:
    """Whether a prefix may end at `at`: before a space or at the end; before any character."""
    if at == stop:
        return True
    if by_character:
        return (content[at] & 0xC0) != 0x80
    return content[at] == _SPACE


@nb.njit(cache=True)
def _same(entries: Any, first: int, last: int, text: Any, at: int) -> bool:
    for k in range(last - first):  # noqa: SIM110 - a generator does not compile
        if entries[first + k] != text[at + k]:
            return False
    return True


@nb.njit(cache=True)
def _build(
    content: Any, offsets: Any, chosen: Any, by_character: bool, seed: Any, table: Any
) -> int:
    """Put the prefixes of the `chosen` entries into the table; how many a longest entry has.

    -1 where the table is too small, -2 where two entries share a hash under this seed.
    """
    keys, entry, more = table
    used = 0
    deepest = 0
    for i in chosen:
        start, stop = offsets[i], offsets[i + 1]
        h = seed
        depth = 0
        for at in range(start, stop):
            h = _mix(h, content[at])
            if not _is_step(content, at + 1, stop, by_character):
                continue
            if h == 0:
                return -2
            depth += 1
            slot = _slot_of(keys, h)
            if keys[slot] == 0:
                keys[slot] = h
                used += 1
                if used * 10 > len(keys) * 7:
                    return -1
            if at + 1 < stop:
                more[slot] = True
            elif entry[slot] == _NO_ENTRY:
                entry[slot] = i
            else:
                other = entry[slot]
                if offsets[other + 1] - offsets[other] != stop - start or not _same(
                    content, start, stop, content, offsets[other]
                ):
                    return -2
        deepest = max(deepest, depth)
    return deepest


@nb.njit(cache=True)
def _space(content: Any, start: int, stop: int, kind: Any, out: Any) -> int:
    """Write the spaced caption into `out`; its length."""
    out[0] = _SPACE
    n = 1
    for at in range(start, stop):
        byte = content[at]
        what = kind[byte]
        if what == 0:
            out[n] = byte
            n += 1
        elif what == 1:
            out[n] = _SPACE
            n += 1
        else:
            out[n] = _SPACE
            out[n + 1] = byte
            out[n + 2] = _SPACE
            n += 3
    out[n] = _SPACE
    return n + 1


@nb.njit(cache=True)
def _extend(
    text: Any, at: int, end: int, by_character: bool, seed: Any, table: Any, entries: Any, free: Any,
    found: Any, n: int,
) -> int:  # fmt: skip
    """Append to `found` the ids of the entries that begin at `at`; the new length."""
    keys, entry, more = table
    content, offsets = entries
    h = seed
    stop = at
    while stop < end:
        h = _mix(h, text[stop])
        stop += 1
        if stop < end and not _is_step(text, stop, end, by_character):
            continue
        slot = _slot_of(keys, h)
        if keys[slot] == 0:
            break
        i = entry[slot]
        if i >= 0:
            length = offsets[i + 1] - offsets[i]
            bounded = not by_character or (
                (free[i] & 1 or text[at - 1] == _SPACE) and (free[i] & 2 or text[stop] == _SPACE)
            )
            if (
                bounded
                and length == stop - at
                and _same(content, offsets[i], offsets[i + 1], text, at)
            ):
                found[n] = i
                n += 1
        if not more[slot]:
            break
    return n


@nb.njit(cache=True, nogil=True)
def _match(
    captions: Any, entries: Any, tokens: Any, characters: Any, free: Any, seed: Any, deepest: int,
    kind: Any,
) -> Any:  # fmt: skip
    content, offsets = captions
    rows = len(offsets) - 1
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    text = np.empty(3 * longest + 2, np.uint8)
    found = np.empty(64 + 2 * deepest, np.int32)
    out = np.empty(8 * rows + 64, np.int32)
    ends = np.zeros(rows + 1, np.int32)
    total = 0
    for row in range(rows):
        end = _space(content, offsets[row], offsets[row + 1], kind, text) - 1
        n = 0
        for at in range(1, end):
            if n + 2 * deepest > len(found):
                found = np.concatenate((found, np.empty_like(found)))
            if len(tokens[0]) and text[at - 1] == _SPACE:
                n = _extend(text, at, end, False, seed, tokens, entries, free, found, n)
            if len(characters[0]) and (text[at] & 0xC0) != 0x80:
                n = _extend(text, at, end, True, seed, characters, entries, free, found, n)
        if n > 24:
            found[:n].sort()
        else:
            for i in range(1, n):
                value = found[i]
                j = i - 1
                while j >= 0 and found[j] > value:
                    found[j + 1] = found[j]
                    j -= 1
                found[j + 1] = value
        while total + n > len(out):
            out = np.concatenate((out, np.empty_like(out)))
        for i in range(n):
            if i == 0 or found[i] != found[i - 1]:
                out[total] = found[i]
                total += 1
        ends[row + 1] = total
    return ends, out[:total].copy()


class _Table(NamedTuple):
    """Open addressing by the hash of a prefix; a power of two of slots, or none at all."""

    keys: NDArray[np.uint64]  # (slots,), 0 where free
    entry: NDArray[np.int32]  # (slots,), the entry that ends here, or -1
    more: NDArray[np.bool_]  # (slots,), whether an entry goes on from here

    @classmethod
    def of(cls, slots: int) -> "_Table":
        return cls(np.zeros(slots, np.uint64), np.full(slots, _NO_ENTRY), np.zeros(slots, np.bool_))


class Matcher:
    """Finds the entries in captions.

    Parameters
    ----------
    entries : sequence of str
        The metadata; an entry's id is its position. An entry that stands twice has the first id.
    no_space : bool
        Follow the Meta CLIP 2 rule for languages without spaces.

    Raises
    ------
    ValueError
        Where an entry is empty or is not valid Unicode.

    Examples
    --------
    >>> matcher = Matcher(["red", "red fox", "fox", "Fox"])
    >>> matcher.match(pa.array(["a red fox, running", "redfox"])).to_pylist()
    [[0, 1, 2], []]

    Source: MetaCLIP (arXiv 2309.16671, section 3.2), Meta CLIP 2 (arXiv 2507.22062, section 3.2).
    """

    def __init__(self, entries: Sequence[str], *, no_space: bool = False) -> None:
        try:
            self._entries = buffers(pa.array(entries, pa.large_string()))
        except UnicodeEncodeError as error:
            raise ValueError(f"an entry is not valid Unicode: {error.object!r}") from None
        lengths = np.diff(self._entries.offsets)
        if len(lengths) and not lengths.all():
            raise ValueError(f"entry {int(np.argmin(lengths))} is empty")
        free = np.zeros(len(entries), np.uint8)  # 1: no space needed before, 2: after
        if no_space:
            for i, entry in enumerate(entries):
                free[i] = needs_no_space(entry[0]) | needs_no_space(entry[-1]) << 1
        self._free = free
        for self._seed in np.arange(1, 17, dtype=np.uint64):
            tokens = self._fill(np.flatnonzero(free == 0), by_character=False)
            characters = self._fill(np.flatnonzero(free), by_character=True)
            if tokens and characters:
                (self._tokens, deep), (self._characters, deeper) = tokens, characters
                self._deepest = max(deep, deeper)
                return
        raise ValueError("no seed separates these entries")

    def _fill(self, chosen: NDArray[np.int64], *, by_character: bool) -> tuple[_Table, int] | None:
        slots = 1 << max(4, int(len(chosen) * 2).bit_length()) if len(chosen) else 0
        while True:
            table = _Table.of(slots)
            deepest = _build(*self._entries, chosen, by_character, self._seed, table)
            if deepest != -1:
                return None if deepest == -2 else (table, int(deepest))
            slots *= 2

    def __len__(self) -> int:
        return len(self._free)

    @property
    def nbytes(self) -> int:
        """Bytes that the tables and the entries take."""
        arrays = (*self._entries, self._free, *self._tokens, *self._characters)
        return sum(array.nbytes for array in arrays)

    def match(self, captions: Any) -> pa.ListArray:
        """The ascending ids of the entries in each caption: a ListArray of int32 of length n.

        `captions` is a StringArray, LargeStringArray or ChunkedArray; a null matches nothing.
        """
        ends, ids = _match(
            buffers(captions), self._entries, self._tokens, self._characters, self._free,
            self._seed, self._deepest, _KIND,
        )  # fmt: skip
        kind = pa.list_(pa.field("element", pa.int32()))
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(ids), type=kind)
