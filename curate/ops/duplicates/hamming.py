"""Near-duplicate pictures by perceptual hashes of 256 bits: candidates, true pairs, and originals.

Two pictures are near if their hashes are within a distance and their looks alike (`ops.images.looks`).
Where one of them has fewer than 64 pixels a side, what the coder and the resizing leave of the higher
frequencies is noise: there the 8 x 8 lowest frequencies of the 16 x 16 may be within that distance
alone, each for four.

Candidates share a band: 24 bits of the hash. Two permutations of all bits are cut into ten bands each,
so two hashes at most nine bits apart always meet, and ten of the 64 bits of the lowest frequencies,
which copies change least, into two each. Of 6,161 near copies of `tests/bench/near_images.py` four met
in none. All pairs of a bucket are compared, so none that is further apart passes; many pictures that
share a band are sorted by each quarter of the hash, and each is compared with the next 4,096.
"""

import numpy as np
from numpy.typing import NDArray

from curate.ops.duplicates.components import root_of
from curate.ops.images import looks
from curate.ops.kernels import Rows, nb
from curate.ops.strings import Strings, buffers

DIGITS = 64  # hex digits of a hash
_BITS = 256
_BAND = 24  # bits
_SMALL = 64  # pixels along the shorter side
_WINDOW = 4096

_U = np.uint64
_LOW = _U(0xFF00FF00FF00FF00)
"""Where in the last two words the 8 x 8 lowest frequencies are: the hash ends with the lowest."""
_SHARE = 4  # bits of the hash for each of them
_LOW_BITS = np.array([64 * w + b for w in (2, 3) for b in range(64) if int(_LOW) >> b & 1])


def _bands(bits: NDArray[np.int64], *, permutations: int, seed: int) -> NDArray[np.int64]:
    """`bits` in other orders, each cut into bands: (bands, _BAND)."""
    random = np.random.RandomState(seed)
    whole = len(bits) // _BAND * _BAND
    orders = [random.permutation(bits)[:whole] for _ in range(permutations)]
    return np.concatenate(orders).reshape(-1, _BAND)


_ORDER = np.concatenate(
    [_bands(np.arange(_BITS), permutations=2, seed=0), _bands(_LOW_BITS, permutations=10, seed=1)]
)
BANDS = len(_ORDER)
"""Bands of a hash."""


def words_of(hashes: Strings) -> NDArray[np.uint64]:
    """Hashes of 64 hex digits each as words, shape (n, 4); zeros for a null."""
    content, offsets = buffers(hashes)
    given = np.diff(offsets) == DIGITS
    octets = np.zeros((len(given), 32), np.uint8)
    digits = content[offsets[:-1][given][:, np.newaxis] + np.arange(DIGITS)]
    values = np.where(digits > ord("9"), (digits | 32) - (ord("a") - 10), digits - ord("0"))
    octets[given] = values[:, ::2] << 4 | values[:, 1::2]
    return octets.view(np.uint64)


@nb.njit(cache=True, nogil=True)
def _band_hashes(words: Rows[np.uint64], order: Rows[np.int64]) -> Rows[np.uint64]:
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


@nb.njit
def _ones(x: np.uint64) -> np.uint64:
    x = x - ((x >> _U(1)) & _U(0x5555555555555555))
    x = (x & _U(0x3333333333333333)) + ((x >> _U(2)) & _U(0x3333333333333333))
    x = (x + (x >> _U(4))) & _U(0x0F0F0F0F0F0F0F0F)
    return (x * _U(0x0101010101010101)) >> _U(56)


@nb.njit
def _measure(
    words: NDArray[np.uint64], i: int, start: int, stop: int, apart: NDArray[np.uint64]
) -> None:
    """Bits between picture `i` and those from `start` to `stop`, as if all were small.

    There is no branch, so the compiler vectorises the loop.
    """
    for j in range(start, stop):
        bits = _ones(words[0, i] ^ words[0, j]) + _ones(words[1, i] ^ words[1, j])
        third, fourth = words[2, i] ^ words[2, j], words[3, i] ^ words[3, j]
        bits += _ones(third) + _ones(fourth)
        apart[j - start] = min(bits, _U(_SHARE) * (_ones(third & _LOW) + _ones(fourth & _LOW)))


@nb.njit
def _apart(left: NDArray[np.uint64], right: NDArray[np.uint64], small: bool) -> int:
    """Bits between two hashes, (4,) words each."""
    bits = low = _U(0)
    for w in range(4):
        other = left[w] ^ right[w]
        bits += _ones(other)
        if w > 1:
            low += _ones(other & _LOW)
    return int(min(bits, _U(_SHARE) * low) if small else bits)


@nb.njit
def _is_small(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> bool:
    """Whether one of two looks is of a small picture."""
    return bool(min(left[0], right[0]) < _SMALL)


@nb.njit(cache=True, nogil=True)
def _join(
    words: Rows[np.uint64],
    seen: Rows[np.uint8],
    bucket: NDArray[np.int64],
    distance: int,
    parent: NDArray[np.int64],
) -> None:
    """Join the near pictures of a `bucket`; each is compared with the `_WINDOW` that follow it."""
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
            if _apart(words[i], words[j], _is_small(seen[i], seen[j])) > distance:
                continue
            first, second = root_of(parent, i), root_of(parent, j)
            if first != second and looks.alike(seen[i], seen[j]):
                parent[max(first, second)] = min(first, second)


@nb.njit(cache=True, nogil=True)
def _join_all(
    words: Rows[np.uint64],
    seen: Rows[np.uint8],
    members: NDArray[np.int64],
    starts: NDArray[np.int64],
    distance: int,
    parent: NDArray[np.int64],
) -> None:
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
def _originals(
    words: Rows[np.uint64], seen: Rows[np.uint8], component: NDArray[np.int64], distance: int
) -> NDArray[np.int64]:
    found = np.empty(len(words), np.int64)
    firsts = np.empty(len(words), np.int64)
    n = 0
    for i in range(len(words)):
        if i == 0 or component[i] != component[i - 1]:
            n = 0
        found[i] = i
        nearest = distance + 1
        for k in range(n):
            first = firsts[k]
            apart = _apart(words[i], words[first], _is_small(seen[i], seen[first]))
            if apart < nearest and looks.alike(seen[i], seen[first]):
                nearest, found[i] = apart, first
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
