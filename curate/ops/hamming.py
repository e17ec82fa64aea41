"""Pictures by their perceptual hashes of 256 bits: which may be near, which are, and whose copies.

Two pictures are near if their hashes are within a distance and their looks alike (`curate.ops.looks`).

Candidates share a band: 24 bits of the hash. Four permutations cut it into ten bands each, so two
hashes at most nine bits apart always meet; further apart they do with probability
``1 - (1 - (1 - d / 256) ** 24) ** 40``: 0.998 at 20 bits, 0.98 at 24, 0.84 at 31. All pairs of a
bucket are compared, so none that is further apart passes; many pictures that share a band are sorted by
each quarter of the hash, and each is compared with the next 4,096.
"""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from curate.ops import looks
from curate.ops.strings import buffers

DIGITS = 64  # hex digits of a hash
_BITS = 256
_BAND = 24  # bits
_PERMUTATIONS = 4
_BANDS = _BITS // _BAND
BANDS = _PERMUTATIONS * _BANDS
"""Bands of a hash."""
_WINDOW = 4096

_U = np.uint64
_ORDER = np.concatenate(
    [np.random.RandomState(seed).permutation(_BITS) for seed in range(_PERMUTATIONS)]
).reshape(_PERMUTATIONS, _BITS)[:, : _BANDS * _BAND].reshape(BANDS, _BAND)  # fmt: skip


def words_of(hashes: Any) -> NDArray[np.uint64]:
    """Hashes of 64 hex digits each as words, shape (n, 4); zeros for a null."""
    content, offsets = buffers(hashes)
    given = np.diff(offsets) == DIGITS
    octets = np.zeros((len(given), 32), np.uint8)
    digits = content[offsets[:-1][given][:, np.newaxis] + np.arange(DIGITS)]
    values = np.where(digits > ord("9"), (digits | 32) - (ord("a") - 10), digits - ord("0"))
    octets[given] = values[:, ::2] << 4 | values[:, 1::2]
    return octets.view(np.uint64)


@nb.njit(cache=True, nogil=True)
def _band_hashes(words: Any, order: Any) -> Any:
    found = np.empty((len(words), len(order)), np.uint64)
    for i in range(len(words)):
        for band in range(len(order)):
            key = _U(band + 1)
            for bit in order[band]:
                key = key << _U(1) | (words[i, bit >> 6] >> _U(bit & 63)) & _U(1)
            key *= _U(0x9E3779B97F4A7C15)
            key ^= key >> _U(29)
            found[i, band] = key * _U(0xBF58476D1CE4E5B9)
    return found


def band_hashes(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of each band of each hash, shape (n, BANDS)."""
    found: NDArray[np.uint64] = _band_hashes(words, _ORDER)
    return found


@nb.njit(cache=True, nogil=True)
def _ones(x: Any) -> Any:
    x = x - ((x >> _U(1)) & _U(0x5555555555555555))
    x = (x & _U(0x3333333333333333)) + ((x >> _U(2)) & _U(0x3333333333333333))
    x = (x + (x >> _U(4))) & _U(0x0F0F0F0F0F0F0F0F)
    return (x * _U(0x0101010101010101)) >> _U(56)


@nb.njit(cache=True, nogil=True)
def _measure(words: Any, i: int, start: int, stop: int, apart: Any) -> None:
    """Bits between picture `i` and those from `start` to `stop`; without a branch, so it is packed."""
    for j in range(start, stop):
        bits = _U(0)
        for w in range(4):
            bits += _ones(words[w, i] ^ words[w, j])
        apart[j - start] = bits


@nb.njit(cache=True, nogil=True)
def _root(parent: Any, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@nb.njit(cache=True, nogil=True)
def _join(words: Any, seen: Any, bucket: Any, distance: int, parent: Any) -> None:
    """Join those of a `bucket` that are near; each is compared with the next `_WINDOW` of it."""
    size = len(bucket)
    here = np.empty((4, size), np.uint64)
    for at in range(size):
        for w in range(4):
            here[w, at] = words[bucket[at], w]
    apart = np.empty(min(_WINDOW, size), np.uint64)
    for at in range(size):
        stop = min(at + 1 + _WINDOW, size)
        _measure(here, at, at + 1, stop, apart)
        for other in range(at + 1, stop):
            if apart[other - at - 1] > distance:
                continue
            i, j = bucket[at], bucket[other]
            first, second = _root(parent, i), _root(parent, j)
            if first != second and looks.alike(seen[i], seen[j]):
                parent[max(first, second)] = min(first, second)


@nb.njit(cache=True, nogil=True)
def _join_all(words: Any, seen: Any, members: Any, starts: Any, distance: int, parent: Any) -> None:
    for k in range(len(starts) - 1):
        if starts[k + 1] - starts[k] <= _WINDOW + 1:
            _join(words, seen, members[starts[k] : starts[k + 1]], distance, parent)


def near_edges(
    words: NDArray[np.uint64],
    seen: NDArray[np.uint8],
    buckets: NDArray[np.int64],
    *,
    distance: int,
) -> NDArray[np.int64]:
    """Edges, (k, 2), that connect the pictures that pairs of near ones in one bucket connect.

    `buckets` are positions among the n pictures, laid out as by `components.buckets`; `seen` are the
    looks, (n, `looks.SIZE`). Edges go from the smallest position of each component.
    """
    members = np.where(buckets < 0, ~buckets, buckets)
    starts = np.r_[0, np.flatnonzero(buckets < 0) + 1]
    parent = np.arange(len(words))
    _join_all(words, seen, members, starts, distance, parent)
    for k in np.flatnonzero(np.diff(starts) > _WINDOW + 1).tolist():
        bucket = members[starts[k] : starts[k + 1]]
        for quarter in range(4):
            order = np.argsort(words[bucket, quarter], kind="stable")
            _join(words, seen, bucket[order], distance, parent)
    while (further := parent[parent] != parent).any():
        parent[further] = parent[parent[further]]
    joined = np.flatnonzero(parent != np.arange(len(words)))
    return np.stack([parent[joined], joined], axis=1)


@nb.njit(cache=True, nogil=True)
def _originals(words: Any, seen: Any, component: Any, distance: int) -> Any:
    found = np.empty(len(words), np.int64)
    firsts = np.empty(len(words), np.int64)
    n = 0
    for i in range(len(words)):
        if i == 0 or component[i] != component[i - 1]:
            n = 0
        found[i] = i
        nearest = distance + 1
        for k in range(n):
            apart = 0
            for w in range(4):
                apart += int(_ones(words[i, w] ^ words[firsts[k], w]))
            if apart < nearest and looks.alike(seen[i], seen[firsts[k]]):
                nearest, found[i] = apart, firsts[k]
        if found[i] == i:
            firsts[n] = i
            n += 1
    return found


def originals(
    words: NDArray[np.uint64],
    seen: NDArray[np.uint8],
    component: NDArray[np.int64],
    *,
    distance: int,
) -> NDArray[np.int64]:
    """The position of the picture that each of n is a copy of, itself where it is an original.

    Chains of pictures, each near the next, may join what is not alike at all. So a picture counts as
    the copy of another only if it is near that one itself: taken in the order given, in which pictures
    of a component stand together, each is the copy of the nearest original before it, and an original
    where none is near enough.
    """
    found: NDArray[np.int64] = _originals(words, seen, component, distance)
    return found
