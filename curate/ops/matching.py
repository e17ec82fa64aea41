"""Substring matching of captions against an entry list, as MetaCLIP defines it.

A caption is *spaced*: one space before and after it, a space on each side of ``, . ; : ? !`` and the
backtick, and tab, newline and carriage return become a space. An entry matches where it stands
between two spaces. In lists of languages without spaces an entry needs no space on a side where its
first (last) character is of such a script or is punctuation (Meta CLIP 2).

The kernel cuts each spaced caption into tokens (and, for entries free of a space, into characters),
hashes each once, and from every one on combines hashes for as long as they are those of some prefix of
an entry. What the hash finds is compared byte by byte, so a collision cannot match.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

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
_ENTRY = np.uint64(1)  # a slot's second word: the entry that ends here, plus 1, shifted by this,
_MORE = np.uint64(1)  # and in the lowest bit whether an entry goes on from here

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
def _mix(h: Any, value: Any) -> Any:
    h = (h ^ value) * _MULTIPLY
    return h ^ (h >> _U(32))


@nb.njit(cache=True)
def _space(content: Any, start: int, stop: int, kind: Any, out: Any) -> Any:
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
def _cut(text: Any, start: int, stop: int, by_character: bool, units: Any) -> Any:
    """Cut `text[start:stop]` into units; how many.

    A unit is what stands between two spaces (nothing, between two that touch), or a character.
    """
    starts, stops, hashes = units
    n = 0
    at = start
    while at < stop or (at == stop and not by_character):
        h = _U(1)
        first = at
        if by_character:
            while at == first or (at < stop and (text[at] & 0xC0) == 0x80):
                h = _mix(h, _U(text[at]))
                at += 1
        else:
            while at < stop and text[at] != _SPACE:
                h = _mix(h, _U(text[at]))
                at += 1
        starts[n], stops[n], hashes[n] = first, at, h
        n += 1
        if not by_character:
            at += 1
    return n


@nb.njit(inline="always")
def _slot_of(slots: Any, h: Any) -> Any:
    """The slot that holds `h`, or the free one where it belongs."""
    mask = len(slots) - 1
    slot = np.int64(h >> _U(24)) & mask
    while slots[slot, 0] != 0 and slots[slot, 0] != h:
        slot = (slot + 1) & mask
    return slot


@nb.njit(cache=True)
def _same(entries: Any, first: int, last: int, text: Any, at: int) -> Any:
    for k in range(last - first):  # noqa: SIM110 - a generator does not compile
        if entries[first + k] != text[at + k]:
            return False
    return True


@nb.njit(cache=True)
def _build(
    content: Any, offsets: Any, chosen: Any, by_character: bool, seed: Any, slots: Any, units: Any
) -> Any:
    """Put the prefixes of the `chosen` entries into the table; how many a longest entry has.

    -1 where the table is too small, -2 where two prefixes of different entries share a hash.
    """
    used = 0
    deepest = 0
    hashes = units[2]
    for i in chosen:
        start, stop = offsets[i], offsets[i + 1]
        n = _cut(content, start, stop, by_character, units)
        h = seed
        for k in range(n):
            h = _mix(h, hashes[k])
            if h == 0:
                return -2
            slot = _slot_of(slots, h)
            if slots[slot, 0] == 0:
                slots[slot, 0] = h
                used += 1
                if used * 10 > len(slots) * 7:
                    return -1
            if k + 1 < n:
                slots[slot, 1] |= _MORE
            elif slots[slot, 1] >> _ENTRY == 0:
                slots[slot, 1] |= _U(i + 1) << _ENTRY
            else:
                other = np.int64(slots[slot, 1] >> _ENTRY) - 1
                if offsets[other + 1] - offsets[other] != stop - start or not _same(
                    content, start, stop, content, offsets[other]
                ):
                    return -2
        deepest = max(deepest, n)
    return deepest


@nb.njit(cache=True)
def _find(
    text: Any, units: Any, n: int, by_character: bool, seed: Any, slots: Any, entries: Any, free: Any,
    found: Any, m: int,
) -> Any:  # fmt: skip
    """Append to `found`, which holds `m`, the entries that stand on units; the new length."""
    content, offsets = entries
    starts, stops, hashes = units
    for i in range(n):
        at = starts[i]
        h = seed
        for j in range(i, n):
            h = _mix(h, hashes[j])
            slot = _slot_of(slots, h)
            if slots[slot, 0] == 0:
                break
            value = slots[slot, 1]
            if value >> _ENTRY != 0:
                k = np.int64(value >> _ENTRY) - 1
                stop = stops[j]
                bounded = not by_character or (
                    (free[k] & 1 or text[at - 1] == _SPACE)
                    and (free[k] & 2 or text[stop] == _SPACE)
                )
                first, last = offsets[k], offsets[k + 1]
                if bounded and last - first == stop - at and _same(content, first, last, text, at):
                    if m == len(found):
                        found = np.concatenate((found, np.empty_like(found)))
                    found[m] = k
                    m += 1
            if value & _MORE == 0:
                break
    return m, found


@nb.njit(cache=True)
def _sort(found: Any, n: int) -> None:
    if n > 24:
        found[:n].sort()
        return
    for i in range(1, n):
        value = found[i]
        j = i - 1
        while j >= 0 and found[j] > value:
            found[j + 1] = found[j]
            j -= 1
        found[j + 1] = value


@nb.njit(cache=True, nogil=True)
def _match(
    captions: Any, entries: Any, tokens: Any, characters: Any, free: Any, seed: Any, kind: Any
) -> Any:
    content, offsets = captions
    rows = len(offsets) - 1
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    room = 3 * longest + 3
    text = np.empty(room, np.uint8)
    units = (np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.uint64))
    found = np.empty(64, np.int32)
    out = np.empty(8 * rows + 64, np.int32)
    ends = np.zeros(rows + 1, np.int32)
    total = 0
    for row in range(rows):
        end = _space(content, offsets[row], offsets[row + 1], kind, text) - 1
        m = 0
        if len(tokens):
            n = _cut(text, 1, end, False, units)
            m, found = _find(text, units, n, False, seed, tokens, entries, free, found, m)
        if len(characters):
            n = _cut(text, 1, end, True, units)
            m, found = _find(text, units, n, True, seed, characters, entries, free, found, m)
        _sort(found, m)
        while total + m > len(out):
            out = np.concatenate((out, np.empty_like(out)))
        for i in range(m):
            if i == 0 or found[i] != found[i - 1]:
                out[total] = found[i]
                total += 1
        ends[row + 1] = total
    return ends, out[:total].copy()


@nb.njit(cache=True, nogil=True)
def _group(ends: Any, found: Any, ids: Any) -> Any:
    """The ascending unique `ids` of the entries found in each caption: ends and ids, in place."""
    start = total = 0
    for row in range(1, len(ends)):
        stop = ends[row]
        for k in range(start, stop):
            found[k] = ids[found[k]]
        _sort(found[start:stop], stop - start)
        for k in range(start, stop):
            if k == start or found[k] != found[k - 1]:
                found[total] = found[k]
                total += 1
        ends[row], start = total, stop
    return ends, found[:total].copy()


class Matcher:
    """Finds the entries in captions.

    Parameters
    ----------
    entries : sequence of str
        The metadata; an entry's id is its position. An entry that stands twice has the first id.
    no_space : bool
        Follow the Meta CLIP 2 rule for languages without spaces.
    ids : sequence of int, optional
        The id of each entry in place of its position; synonyms of one concept share an id.

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

    def __init__(
        self, entries: Sequence[str], *, no_space: bool = False, ids: Sequence[int] | None = None
    ) -> None:
        if ids is not None and len(ids) != len(entries):
            raise ValueError(f"{len(entries)} entries, but {len(ids)} ids")
        self._ids = None if ids is None else np.asarray(ids, np.int32)
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
            if tokens is not None and characters is not None:
                self._tokens, self._characters = tokens, characters
                return
        raise ValueError("no seed separates these entries")

    def _fill(self, chosen: NDArray[np.int64], *, by_character: bool) -> NDArray[np.uint64] | None:
        """The table of the prefixes of the `chosen` entries, (slots, 2); None where hashes clash.

        Open addressing over a power of two of slots: the hash of a prefix (0 where free), and what
        is known of it.
        """
        longest = int(np.diff(self._entries.offsets).max(initial=0)) + 1
        units = (
            np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.uint64)
        )  # fmt: skip
        size = 1 << max(4, int(len(chosen) * 1.4).bit_length()) if len(chosen) else 0
        while True:
            slots = np.zeros((size, 2), np.uint64)
            deepest = _build(*self._entries, chosen, by_character, self._seed, slots, units)
            if deepest != -1:
                return None if deepest == -2 else slots
            size *= 2

    def __len__(self) -> int:
        return len(self._free)

    @property
    def nbytes(self) -> int:
        """Bytes that the tables and the entries take."""
        arrays = (*self._entries, self._free, self._tokens, self._characters)
        ids = 0 if self._ids is None else self._ids.nbytes
        return sum(array.nbytes for array in arrays) + ids

    def match(self, captions: Any) -> pa.ListArray:
        """The ascending ids of the entries in each caption: a ListArray of int32 of length n.

        `captions` is a StringArray, LargeStringArray or ChunkedArray; a null matches nothing.
        """
        ends, ids = _match(
            buffers(captions), self._entries, self._tokens, self._characters, self._free,
            self._seed, _KIND,
        )  # fmt: skip
        if self._ids is not None:
            ends, ids = _group(ends, ids, self._ids)
        kind = pa.list_(pa.field("element", pa.int32()))
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(ids), type=kind)
