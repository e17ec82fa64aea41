"""The kernels of the matcher: entries as a table of their prefixes, captions against it.

A caption becomes a spaced text and its units (tokens, or characters). A prefix of an entry is a run of
units, and its hash combines theirs. The table knows of each prefix whether an entry ends there and
whether one goes on; what it finds is compared with the entry itself, word by word.
"""

from typing import Any

import numba as nb
import numpy as np

_SPACED_MARKS = b",.;:?!`"
CAPTION = np.zeros(256, np.uint8)  # 1: becomes a space, 2: gets spaces around
CAPTION[list(b"\t\n\r")] = 1
CAPTION[list(_SPACED_MARKS)] = 2
CAPTION[32] = 1
ENTRY = np.zeros(256, np.uint8)  # for entries: cut at spaces, otherwise unchanged
ENTRY[32] = 1
_SPACE = 32
_U = np.uint64
_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFFFFFF)  # of a slot: where the entry that ends here is laid out, or 0;
_MORE = np.uint64(1 << 32)  # whether an entry goes on from here;
_TAG = np.uint64(33)  # and from this bit on, the upper bits of the prefix's hash
_EMPTY = np.uint64(0xCBF29CE484222325)  # a unit's hash is FNV-1a
_PRIME = np.uint64(0x100000001B3)
_END = np.uint64(0xFFFFFFFFFFFFFFFF)


@nb.njit(inline="always")
def _mix(h: Any, value: Any) -> Any:
    h = (h ^ value) * _MULTIPLY
    return h ^ (h >> _U(32))


@nb.njit(inline="always")
def _word(words: Any, at: int, stop: int) -> Any:
    """The bytes of a buffer from `at` up to `stop`, eight at the most, as one number.

    `words` is the buffer as aligned words of eight bytes, with one to spare.
    """
    shift = _U((at & 7) * 8)
    value = words[at >> 3] >> shift
    if shift:
        value |= words[(at >> 3) + 1] << (_U(64) - shift)
    if stop - at < 8:
        value &= (_U(1) << _U((stop - at) * 8)) - _U(1)
    return value


@nb.njit(inline="always")
def _write(content: Any, start: int, stop: int, kind: Any, text: Any, units: Any) -> Any:
    """Write a caption into `text`, spaced where `kind` says so, from byte 8 on; and its tokens.

    A token is what stands between two spaces: nothing, between two that touch. Returns where the
    text ends, which is a space as the byte before it is, and the number of tokens.
    """
    starts, stops, hashes = units
    text[7] = _SPACE
    at = 8
    starts[0] = at
    n = 0
    h = _EMPTY
    for k in range(start, stop):
        byte = content[k]
        what = kind[byte]
        if what == 0:
            text[at] = byte
            at += 1
            h = (h ^ _U(byte)) * _PRIME
            continue
        text[at] = _SPACE
        stops[n], hashes[n] = at, h
        if what == 2:
            n += 1
            starts[n], stops[n] = at + 1, at + 2
            hashes[n] = (_EMPTY ^ _U(byte)) * _PRIME
            text[at + 1] = byte
            text[at + 2] = _SPACE
            at += 2
        at += 1
        n += 1
        starts[n] = at
        h = _EMPTY
    text[at] = _SPACE
    stops[n], hashes[n] = at, h
    return at, n + 1


@nb.njit(inline="always")
def _characters_of(text: Any, end: int, units: Any) -> Any:
    """Cut the text into characters in place of tokens; how many."""
    starts, stops, hashes = units
    n = 0
    at = 8
    while at < end:
        starts[n] = at
        h = (_EMPTY ^ _U(text[at])) * _PRIME
        at += 1
        while at < end and (text[at] & 0xC0) == 0x80:
            h = (h ^ _U(text[at])) * _PRIME
            at += 1
        stops[n], hashes[n] = at, h
        n += 1
    return n


@nb.njit(inline="always")
def _slot_of(slots: Any, h: Any) -> Any:
    """The slot of the prefix with hash `h`, or the free one where it belongs."""
    mask = len(slots) - 1
    slot = np.int64(h & _LOW) & mask
    while slots[slot] != 0 and slots[slot] >> _TAG != h >> _TAG:
        slot = (slot + 1) & mask
    return slot


@nb.njit(inline="always")
def _is_entry(entries: Any, first: int, words: Any, at: int, stop: int) -> bool:
    """Whether the entry laid out at `first` is the text from `at` to `stop`."""
    first += 1
    while stop - at >= 8:
        if entries[first] != _word(words, at, stop):
            return False
        at += 8
        first += 1
    rest = _END << _U((stop - at) * 8)
    return bool(entries[first] == (_word(words, at, stop) | rest))


@nb.njit(cache=True)
def lay_out(content: Any, offsets: Any) -> Any:
    """Each entry as its id and whole words, closed by bytes that no text holds; where each begins."""
    n = len(offsets) - 1
    firsts = np.empty(n + 1, np.int64)
    firsts[0] = 1
    for i in range(n):
        firsts[i + 1] = firsts[i] + (offsets[i + 1] - offsets[i]) // 8 + 2
    words = np.full(firsts[n], _END, np.uint64)
    octets = words.view(np.uint8)
    for i in range(n):
        words[firsts[i]] = _U(i)
        for k in range(offsets[i + 1] - offsets[i]):
            octets[8 * firsts[i] + 8 + k] = content[offsets[i] + k]
    return words, firsts


@nb.njit(cache=True)
def _scratch(longest: int) -> Any:
    """Room for the longest text, spaced, and for its units."""
    room = 3 * longest + 32
    words = np.zeros(room // 8 + 2, np.uint64)
    units = (np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.uint64))
    return words, words.view(np.uint8), units


@nb.njit(cache=True)
def build_table(
    content: Any, offsets: Any, chosen: Any, by_character: bool, kind: Any, laid_out: Any, seed: Any,
    slots: Any,
) -> Any:  # fmt: skip
    """Put the prefixes of the `chosen` entries into the table; whether that worked.

    -1 where the table is too small, -2 where two entries would share a slot.
    """
    used = longest = 0
    for i in chosen:
        longest = max(longest, offsets[i + 1] - offsets[i])
    _, text, units = scratch = _scratch(longest)
    hashes = units[2]
    entries, firsts = laid_out
    for i in chosen:
        end, n = _write(content, offsets[i], offsets[i + 1], kind, text, units)
        if by_character:
            n = _characters_of(text, end, units)
        h = seed
        for k in range(n):
            h = _mix(h, hashes[k])
            slot = _slot_of(slots, h)
            if slots[slot] == 0:
                slots[slot] = h >> _TAG << _TAG
                used += 1
                if used * 10 > len(slots) * 7:
                    return -1
            if k + 1 < n:
                slots[slot] |= _MORE
            elif slots[slot] & _LOW == 0:
                slots[slot] |= _U(firsts[i])
            elif not _is_entry(entries, np.int64(slots[slot] & _LOW), scratch[0], 8, end):
                return -2
    return 0


@nb.njit(inline="always")
def _find(
    words: Any, text: Any, units: Any, n: int, by_character: bool, seed: Any, slots: Any,
    entries: Any, free: Any, work: Any, found: Any, m: int,
) -> Any:  # fmt: skip
    """Append to `found`, which holds `m`, the entries that stand on units; and the new length.

    Prefixes grow by one unit a round, all of a caption at a time, and each round first reads every
    slot that it will need: memory is what this waits for, and so the waits overlap.
    """
    starts, stops, hashes = units
    begins, states, candidates = work
    mask = len(slots) - 1
    for i in range(n):
        begins[i], states[i] = i, _mix(seed, hashes[i])
    live, length = n, 0
    while live:
        touched = _U(0)
        for k in range(live):
            touched |= slots[np.int64(states[k] & _LOW) & mask]
        if touched == 0:
            break
        n_candidates = still = 0
        for k in range(live):
            i, h = begins[k], states[k]
            value = slots[_slot_of(slots, h)]
            if value & _LOW:
                candidates[n_candidates, 0] = np.int64(value & _LOW)
                candidates[n_candidates, 1] = i
                n_candidates += 1
            if value & _MORE and i + length + 1 < n:
                begins[still], states[still] = i, _mix(h, hashes[i + length + 1])
                still += 1
        for k in range(n_candidates):
            touched |= entries[candidates[k, 0]]
        if m + n_candidates > len(found):
            found = np.concatenate((found, np.empty(n_candidates + len(found), np.int32)))
        for k in range(n_candidates):
            first, i = candidates[k]
            at, stop = starts[i], stops[i + length]
            if _is_entry(entries, first, words, at, stop):
                entry = np.int32(entries[first])
                if not by_character or (
                    (free[entry] & 1 or text[at - 1] == _SPACE)
                    and (free[entry] & 2 or text[stop] == _SPACE)
                ):
                    found[m] = entry
                    m += 1
        live = still
        length += 1
    return m, found


@nb.njit(inline="always")
def _put_sorted(found: Any, n: int, out: Any, total: int) -> Any:
    """Write the first `n` of `found`, ascending and each once, to `out`; its new length.

    A few are put where the number of smaller ones says, without a branch that could be mispredicted.
    """
    if n > 32:
        ordered = np.sort(found[:n])
        for k in range(n):
            out[total + k] = ordered[k]
    else:
        for k in range(n):
            value = found[k]
            place = total
            for j in range(n):
                place += (found[j] < value) | ((found[j] == value) & (j < k))
            out[place] = value
    kept = total
    for k in range(total, total + n):
        value = out[k]
        is_new = (k == total) | (value != out[kept - 1])
        out[kept] = value
        kept += is_new
    return kept


@nb.njit(cache=True, nogil=True)
def match_rows(
    captions: Any, entries: Any, tokens: Any, characters: Any, free: Any, seed: Any, kind: Any
) -> Any:
    """The ids of the entries in each caption, ascending: where each caption's end, and all of them.

    `tokens` and `characters` are the tables of the entries that need a space on both sides and of
    those that do not; an empty one is skipped.
    """
    content, offsets = captions
    rows = len(offsets) - 1
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    words, text, units = _scratch(longest)
    room = len(units[0])
    work = (np.empty(room, np.int64), np.empty(room, np.uint64), np.empty((room, 2), np.int64))
    found = np.empty(64, np.int32)
    out = np.empty(8 * rows + 64, np.int32)
    ends = np.zeros(rows + 1, np.int32)
    total = 0
    for row in range(rows):
        end, n = _write(content, offsets[row], offsets[row + 1], kind, text, units)
        m = 0
        if len(tokens):
            m, found = _find(
                words, text, units, n, False, seed, tokens, entries, free, work, found, m
            )
        if len(characters):
            n = _characters_of(text, end, units)
            m, found = _find(
                words, text, units, n, True, seed, characters, entries, free, work, found, m
            )
        while total + m > len(out):
            out = np.concatenate((out, np.empty_like(out)))
        total = _put_sorted(found, m, out, total)
        ends[row + 1] = total
    return ends, out[:total].copy()


@nb.njit(cache=True, nogil=True)
def group_rows(ends: Any, found: Any, ids: Any) -> Any:
    """The ascending unique `ids` of the entries found in each caption: ends and ids, in place."""
    start = total = 0
    for row in range(1, len(ends)):
        stop = ends[row]
        concepts = ids[found[start:stop]]
        total = _put_sorted(concepts, stop - start, found, total)
        ends[row], start = total, stop
    return ends, found[:total].copy()
