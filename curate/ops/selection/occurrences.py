"""What captions hold, counted by 64-bit keys: exactly, in memory that a share of the keys bounds.

A key is a hash or a mixed number, so all keys fall evenly into ranges of equal width. Those of one
range are counted by themselves, whatever part they come from, and the counts of all ranges, one after
the other, are in ascending order.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.hashing import hash64
from curate.ops.kernels import Frozen, nb
from curate.ops.selection.balancing import Matches, match_arrays
from curate.schema import Column

AT_ONCE = 1 << 22
"""Keys that are made together: 32 MB."""

Keys = NDArray[np.uint64]
_U = np.uint64


class Occurrences(NamedTuple):
    """The keys of consecutive rows, one after the other."""

    rows: slice
    ends: NDArray[
        np.int64
    ]  # (rows + 1,), of the keys: those of row i are from ends[i] to ends[i + 1]
    keys: Keys


class Tally(NamedTuple):
    """How often each key occurs."""

    keys: Keys  # (n,), ascending
    counts: NDArray[np.int64]  # (n,)


@nb.njit(inline="always")
def _mixed(x: np.uint64) -> np.uint64:
    """The finalizer of SplitMix64, which has an inverse: each number has another key."""
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


def unmixed(keys: Keys) -> Keys:
    """The numbers whose keys these are."""
    x = keys ^ (keys >> _U(31)) ^ (keys >> _U(62))
    x = x * _U(0x319642B2D24D8EC3)
    x = x ^ (x >> _U(27)) ^ (x >> _U(54))
    x = x * _U(0x96DE1B173F119089)
    found: Keys = x ^ (x >> _U(30)) ^ (x >> _U(60))
    return found


@nb.njit(cache=True, nogil=True)
def _pair_keys(
    offsets: NDArray[np.int32], ids: Frozen[np.int32], first: int, ends: NDArray[np.int64]
) -> NDArray[np.uint64]:
    keys = np.empty(ends[-1], np.uint64)
    n = 0
    for row in range(len(offsets) - 1):
        for i in range(offsets[row], offsets[row + 1]):
            one = _U(first + ids[i]) << _U(32)
            for j in range(i + 1, offsets[row + 1]):
                keys[n] = _mixed(one | _U(first + ids[j]))
                n += 1
    return keys


def pair_keys(matches: Matches, *, first: int, at_once: int = AT_ONCE) -> Iterator[Occurrences]:
    """The unordered pairs of distinct entries that each row matches, each once a row.

    `matches` is a ListArray of entry ids, ascending and distinct in a row, or lists of them; entry 0 is
    number `first` among those of all languages. Rows come together as long as they have `at_once`
    pairs of entries; a row that has more comes alone.
    """
    offsets, ids = match_arrays(matches)
    sizes = np.diff(offsets).astype(np.int64)
    for start, stop in _runs(sizes * (sizes - 1) // 2, at_once):
        some = sizes[start:stop]
        ends = np.concatenate([[0], np.cumsum(some * (some - 1) // 2)])
        keys = _pair_keys(offsets[start : stop + 1], ids, first, ends)
        yield Occurrences(slice(start, stop), ends, keys)


@nb.njit(cache=True, nogil=True)
def _keys_of(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.uint64]:
    keys = np.empty(len(low), np.uint64)
    for i in range(len(keys)):
        keys[i] = _mixed((_U(low[i]) << _U(32)) | _U(high[i]))
    return keys


def keys_of(low: NDArray[np.int64], high: NDArray[np.int64]) -> Keys:
    """The keys of pairs of entries, given their numbers, the lower first."""
    found: Keys = _keys_of(low, high)
    return found


def entries_of(keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the two entries of each key that `pair_keys` made, the lower first."""
    numbers = unmixed(keys)
    return (numbers >> _U(32)).astype(np.int64), (numbers & _U(0xFFFFFFFF)).astype(np.int64)


def word_keys(words: Column, *, at_once: int = AT_ONCE) -> Iterator[Occurrences]:
    """The XXH64 of each word of each row's list, as often as it occurs; a null is an empty list.

    Of 100 million words two have the same key with a probability of 0.03 %.
    """
    whole = words.combine_chunks() if isinstance(words, pa.ChunkedArray) else words
    sizes = whole.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat, at = whole.flatten(), np.concatenate([[0], np.cumsum(sizes)])
    for start, stop in _runs(sizes, at_once):
        keys = hash64(flat.slice(at[start], at[stop] - at[start]))
        yield Occurrences(slice(start, stop), at[start : stop + 1] - at[start], keys)


def _runs(sizes: NDArray[np.int64], at_once: int) -> Iterator[tuple[int, int]]:
    """Consecutive rows that have about `at_once` together: the first, and the one after the last."""
    sums = np.concatenate([[0], np.cumsum(sizes)])
    start = 0
    while start < len(sizes):
        stop = int(np.searchsorted(sums, sums[start] + at_once, side="right")) - 1
        stop = min(max(stop, start + 1), len(sizes))
        yield start, stop
        start = stop


def tally(keys: Keys) -> Tally:
    """Count keys."""
    found, counts = np.unique(keys, return_counts=True)
    return Tally(found, counts.astype(np.int64))


def merged(tallies: Sequence[Tally]) -> Tally:
    """The counts of several tallies together."""
    keys = np.concatenate([np.empty(0, np.uint64), *(one.keys for one in tallies)])
    counts = np.concatenate([np.empty(0, np.int64), *(one.counts for one in tallies)])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.diff(keys, prepend=~keys[:1]) != 0)
    return Tally(keys[starts], np.add.reduceat(counts, starts) if len(starts) else counts)


def ranges(found: Tally, n: int) -> list[Tally]:
    """The tally in `n` pieces: those of the keys' ranges of equal width, in order."""
    bounds = np.array([k * 2**64 // n for k in range(1, n)], np.uint64)
    cuts = [0, *np.searchsorted(found.keys, bounds).tolist(), len(found.keys)]
    return [Tally(found.keys[low:high], found.counts[low:high]) for low, high in pairwise(cuts)]


def places(keys: Keys, head: Keys) -> NDArray[np.int64]:
    """Where each key stands in `head`, ascending; -1 where it does not."""
    if not len(head):
        return np.full(len(keys), -1, np.int64)
    at = np.minimum(np.searchsorted(head, keys), len(head) - 1)
    found: NDArray[np.int64] = np.where(head[at] == keys, at, -1)
    return found
