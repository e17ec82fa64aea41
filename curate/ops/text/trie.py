"""The kernels of the matcher: entries as a trie of units, and captions walked through it.

Both hash tables hold whole keys: of a unit its key and, if it is long, a copy of its bytes; of an edge
its parent node and its unit. A lookup compares these, so a collision cannot match and nothing has to be
verified afterwards.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.base import BaseContext
from numba.core.typing import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from curate.ops.kernels import Rows, nb
from curate.ops.strings import Buffers
from curate.ops.text import units as cut
from curate.ops.text.units import CAPTION, ENTRY, LONG, ODD, SPACE, bytes_at, key_of

_U = np.uint64
_LOW = np.uint64(0xFFFFFFFF)
_OTHER_ODD = np.uint64(0xC2B2AE3D27D4EB4F)
_LOWER, _UPPER, _NUMBER, _BEGIN, _EDGE = range(5)  # rows of the kernel's scratch
ROOM = 0.6
"""The highest load factor of a hash table."""


class Trie(NamedTuple):
    """Tables with open addressing; `units` is empty where there are no entries."""

    # (slots, 4): key, key, number | entry + 1 << 32, a bit for each hash of a unit that may follow
    units: Rows[np.uint64]
    # (slots, 2): node << 32 | unit, node that this leads to or 0 | entry + 1 << 32
    edges: Rows[np.uint64]
    # (words,): of each long unit its length in bytes, then its bytes
    long: NDArray[np.uint64]
    depth: int  # units of the longest entry, or a bound of it


@intrinsic
def _prefetch(
    typing: object, array: types.Array, at: types.Integer
) -> tuple[Signature, Callable[..., ir.Value]]:
    """Prefetch the cache line of a uint64 array's element `at`."""

    def generate(
        context: BaseContext,
        builder: ir.IRBuilder,
        signature: Signature,
        arguments: Sequence[ir.Value],
    ) -> ir.Value:
        content = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = ir.IntType(8).as_pointer()
        place = builder.bitcast(builder.gep(content.data, [arguments[1]]), pointer)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.globals.get("llvm.prefetch.p0")
        if function is None:
            function = ir.Function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return nb.void(array, nb.int64), generate


@nb.njit(inline="always")
def _slot(low: np.uint64, high: np.uint64, slots: int) -> np.int64:
    h = (low ^ high * _OTHER_ODD) * ODD
    h ^= h >> _U(29)
    h *= _OTHER_ODD
    return np.int64(((h >> _U(32)) * _U(slots)) >> _U(32))


@nb.njit
def _is_copy(
    long: NDArray[np.uint64], place: int, content: NDArray[np.uint8], start: int, stop: int
) -> bool:
    if long[place] != _U(stop - start):
        return False
    for at in range(start, stop, 8):
        place += 1
        if long[place] != bytes_at(content, at, min(stop - at, 8)):
            return False
    return True


@nb.njit(inline="always")
def _find(slots: NDArray[np.uint64], slot: int, low: np.uint64, high: np.uint64) -> int:
    """The slot that holds a short unit, probed from `slot` on; else the free one where it belongs."""
    while slots[slot, 1] != 0 and (slots[slot, 0] != low or slots[slot, 1] != high):
        slot += 1
        if slot == len(slots):
            slot = 0
    return slot


@nb.njit
def _find_long(
    units: NDArray[np.uint64],
    long: NDArray[np.uint64],
    slot: int,
    low: np.uint64,
    text: NDArray[np.uint8],
    start: int,
    stop: int,
) -> int:
    """The slot that holds a long unit, probed from `slot` on; else the free one where it belongs."""
    while units[slot, 1] != 0:
        if units[slot, 0] == low and units[slot, 1] >= LONG:
            place = np.int64(units[slot, 1] & ~LONG)
            if _is_copy(long, place, text, start, stop):
                break
        slot += 1
        if slot == len(units):
            slot = 0
    return slot


@nb.njit(inline="always")
def find_unit(
    units: NDArray[np.uint64],
    long: NDArray[np.uint64],
    low: np.uint64,
    high: np.uint64,
    text: NDArray[np.uint8],
    start: int,
    stop: int,
) -> np.uint64:
    """The table's value of the unit with this key: number | entry + 1 << 32; 0 if it is not there."""
    slot = _slot(low, high, len(units))
    if high == LONG:
        slot = _find_long(units, long, slot, low, text, start, stop)
    else:
        slot = _find(units, slot, low, high)
    return units[slot, 2]


@nb.njit(inline="always")
def _find_edge(edges: NDArray[np.uint64], slot: int, key: np.uint64) -> int:
    while edges[slot, 0] != 0 and edges[slot, 0] != key:
        slot += 1
        if slot == len(edges):
            slot = 0
    return slot


@nb.njit(inline="always")
def _bit(unit: np.uint64) -> np.uint64:
    return _U(1) << ((unit * ODD) >> _U(58))


@nb.njit(cache=True)
def fill(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    chosen: NDArray[np.int64],
    by_character: bool,
    trie: Trie,
) -> tuple[int, int, int, int]:
    """Insert the `chosen` entries into empty tables.

    Returns how many slots of each table they take (units, edges, words of long units), and how many
    units the longest entry has. Stops where a table's load would pass `ROOM`: the tables are then
    incomplete, and the caller makes larger ones.
    """
    units, edges, long, _ = trie
    longest = 0
    for i in chosen:
        longest = max(longest, offsets[i + 1] - offsets[i])
    cuts = np.empty((2, longest + 3), np.int64)
    n_units = n_edges = n_long = depth = 0
    node = len(units)  # a single unit's node has the unit's own number, which is below
    for i in chosen:
        start, stop = offsets[i], offsets[i + 1]
        if by_character:
            text = content[start:stop]
            n = cut.characters(text, stop - start, cuts)
        else:
            text = content
            n = cut.tokens(content, start, stop, ENTRY, cuts)
        depth = max(depth, n)
        parent, first = _U(0), 0
        for k in range(n):
            at = (cuts[0, k], cuts[1, k])
            low, high = key_of(text, at[0], at[1])
            slot = _slot(low, high, len(units))
            if high == LONG:
                slot = _find_long(units, long, slot, low, text, at[0], at[1])
            else:
                slot = _find(units, slot, low, high)
            if units[slot, 1] == 0:
                n_units += 1
                if n_units > ROOM * len(units):
                    return n_units, n_edges, n_long, depth
                if high == LONG:
                    size = (at[1] - at[0] + 7) // 8 + 1
                    if n_long + size > ROOM * len(long):
                        return n_units, n_edges, n_long + size, depth
                    long[n_long] = _U(at[1] - at[0])
                    for w in range(1, size):
                        begin = at[0] + 8 * (w - 1)
                        long[n_long + w] = bytes_at(text, begin, min(at[1] - begin, 8))
                    high |= _U(n_long)
                    n_long += size
                units[slot, 0], units[slot, 1], units[slot, 2] = low, high, _U(n_units)
            unit = units[slot, 2] & _LOW
            if k == 0:
                parent, first = unit, slot
                if n == 1 and units[slot, 2] >> _U(32) == 0:
                    units[slot, 2] |= _U(i + 1) << _U(32)
                continue
            if k == 1:
                units[first, 3] |= _bit(unit)
            key = parent << _U(32) | unit
            edge = _find_edge(edges, _slot(key, _U(0), len(edges)), key)
            if edges[edge, 0] == 0:
                n_edges += 1
                if n_edges > ROOM * len(edges):
                    return n_units, n_edges, n_long, depth
                edges[edge, 0] = key
            if k + 1 == n:
                if edges[edge, 1] >> _U(32) == 0:
                    edges[edge, 1] |= _U(i + 1) << _U(32)
            elif edges[edge, 1] & _LOW == 0:
                node += 1
                edges[edge, 1] |= _U(node)
            parent = edges[edge, 1] & _LOW
    return n_units, n_edges, n_long, depth


def grown(content: Buffers, chosen: NDArray[np.int64], *, by_character: bool) -> Trie:
    """The trie of the `chosen` entries; its tables are enlarged until all fit."""
    sizes = np.full(3, len(chosen) * 3 // 2 + 4 if len(chosen) else 0)
    while True:
        units, edges, long = sizes
        trie = Trie(
            np.zeros((units, 4), np.uint64),
            np.zeros((edges, 2), np.uint64),
            np.zeros(long, np.uint64),
            0,
        )
        if not units:
            return trie
        *taken, depth = fill(*content, chosen, by_character, trie)
        full = np.array(taken) > sizes * ROOM
        if not full.any():
            return trie._replace(long=trie.long[: taken[2]].copy(), depth=depth)
        sizes[full] = sizes[full] * 3 // 2


@nb.njit(inline="always")
def _stands(
    entry: int, free: NDArray[np.uint8], text: NDArray[np.uint8], start: int, stop: int
) -> bool:
    """Whether the entry between these positions has the spaces before and after that it needs."""
    before = start > 0 and text[start - 1] == SPACE
    after = stop < len(text) and text[stop] == SPACE
    return bool((free[entry] & 1 or before) and (free[entry] & 2 or after))


@nb.njit
def _walk(
    content: NDArray[np.uint8],
    cuts: NDArray[np.int64],
    n: int,
    by_character: bool,
    units: NDArray[np.uint64],
    edges: NDArray[np.uint64],
    long: NDArray[np.uint64],
    free: NDArray[np.uint8],
    slots: NDArray[np.int64],
    work: NDArray[np.uint64],
    out: NDArray[np.int32],
    end: int,
) -> int:
    """Write the entries that match within n units to `out` from `end` on, unordered; the new end.

    Each step first prefetches all slots that it will need, so that the memory latencies overlap.
    """
    for i in range(n):
        low, high = key_of(content, cuts[0, i], cuts[1, i])
        slots[i] = _slot(low, high, len(units))
        _prefetch(units, slots[i] * 4)
        work[_LOWER, i], work[_UPPER, i] = low, high
    live = 0
    seconds = _U(0)
    for i in range(n - 1, -1, -1):
        slot, low, high = slots[i], work[_LOWER, i], work[_UPPER, i]
        if high == LONG:
            slot = _find_long(units, long, slot, low, content, cuts[0, i], cuts[1, i])
        else:
            slot = _find(units, slot, low, high)
        value = units[slot, 2]
        number = value & _LOW
        work[_NUMBER, i] = number
        if value >> _U(32):
            entry = np.int32((value >> _U(32)) - _U(1))
            if not by_character or _stands(entry, free, content, cuts[0, i], cuts[1, i]):
                out[end] = entry
                end += 1
        if units[slot, 3] & seconds:
            work[_BEGIN, live] = _U(i)
            work[_EDGE, live] = number << _U(32) | work[_NUMBER, i + 1]
            live += 1
        seconds = _bit(number) if number else _U(0)
    length = 2
    while live:
        for k in range(live):
            slots[k] = _slot(work[_EDGE, k], _U(0), len(edges))
            _prefetch(edges, slots[k] * 2)
        still = 0
        for k in range(live):
            edge = _find_edge(edges, slots[k], work[_EDGE, k])
            value = edges[edge, 1]
            begin = np.int64(work[_BEGIN, k])
            if value >> _U(32):
                entry = np.int32((value >> _U(32)) - _U(1))
                stop = cuts[1, begin + length - 1]
                if not by_character or _stands(entry, free, content, cuts[0, begin], stop):
                    out[end] = entry
                    end += 1
            if value & _LOW and begin + length < n and work[_NUMBER, begin + length]:
                work[_BEGIN, still] = _U(begin)
                work[_EDGE, still] = (value & _LOW) << _U(32) | work[_NUMBER, begin + length]
                still += 1
        live = still
        length += 1
    return end


@nb.njit
def _sort(out: NDArray[np.int32], start: int, end: int, few: NDArray[np.int32]) -> int:
    """Put `out` from `start` to `end` in ascending order, each value once; the new end.

    A few values are sorted by rank (the number of smaller ones): no branch can be mispredicted.
    """
    n = end - start
    if n > len(few):
        out[start:end].sort()
    else:
        for k in range(n):
            few[k] = out[start + k]
        for k in range(n):
            value = few[k]
            place = start
            for j in range(n):
                place += (few[j] < value) | ((few[j] == value) & (j < k))
            out[place] = value
    kept = start
    for k in range(start, end):
        value = out[k]
        is_new = (k == start) | (value != out[kept - 1])
        out[kept] = value
        kept += is_new
    return kept


@nb.njit(cache=True, nogil=True)
def match_rows(
    captions: Buffers, tokens: Trie, characters: Trie, free: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The ids of the entries in each caption, ascending: where each caption's end, and all of them.

    `tokens` and `characters` are the tries of the entries that need a space on both sides and of
    those that do not.
    """
    content, offsets = captions
    units, edges, long, depth = tokens
    signs, links, spelled, reach = characters
    rows = len(offsets) - 1
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    room = 3 * longest + 2
    text = np.empty(room, np.uint8)
    cuts, slots = np.empty((2, room), np.int64), np.empty(room, np.int64)
    work = np.empty((5, room), np.uint64)
    few = np.empty(32, np.int32)
    out = np.empty(8 * rows + 64, np.int32)
    ends = np.zeros(rows + 1, np.int32)
    total = np.int64(0)  # of one type with what follows: a kernel is compiled for each
    for row in range(rows):
        start, stop = offsets[row], offsets[row + 1]
        most = total + (3 * (stop - start) + 2) * max(depth, reach)
        if most > len(out):
            out = np.concatenate((out, np.empty(most, np.int32)))
        end = total
        if depth:
            n = cut.tokens(content, start, stop, CAPTION, cuts)
            end = _walk(content, cuts, n, False, units, edges, long, free, slots, work, out, end)
        if reach:
            size = cut.spaced(content, start, stop, CAPTION, text)
            n = cut.characters(text, size, cuts)
            end = _walk(
                text[:size], cuts, n, True, signs, links, spelled, free, slots, work, out, end
            )
        total = _sort(out, total, end, few)
        ends[row + 1] = total
    return ends, out[:total].copy()


@nb.njit(cache=True, nogil=True)
def group_rows(
    ends: NDArray[np.int32], found: NDArray[np.int32], ids: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The ascending unique `ids` of the entries found in each caption: ends and ids, in place."""
    few = np.empty(32, np.int32)
    start, total = np.int64(0), np.int64(0)
    for row in range(1, len(ends)):
        stop = ends[row]
        end = total
        for k in range(start, stop):
            found[end] = ids[found[k]]
            end += 1
        total = _sort(found, total, end, few)
        ends[row], start = total, stop
    return ends, found[:total].copy()
