"""MinHash signatures of captions, and their LSH bands.

The scheme is datasketch 2's ``affine32``: the 32-bit hash of each shingle goes through the
MurmurHash3 finaliser, and value i of a signature is the minimum over the shingles of
``a[i] * h + b[i]`` in wrapping 32-bit arithmetic.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops.hashing import xxh32
from curate.ops.kernels import Rows, nb
from curate.ops.strings import Strings, buffers, string_array

_U = np.uint64
_LOW = np.uint64(0xFFFFFFFF)
_SPACE = 32


def shingle_hash(shingle: bytes) -> int:
    """XXH32 of a shingle: the `hashfunc` under which datasketch gives the same signatures."""
    content = np.frombuffer(bytearray(shingle), np.uint8)
    return int(xxh32(content, 0, len(content)))


@nb.njit(inline="always")
def _finalise(h: np.uint64) -> np.uint64:
    h = ((h ^ (h >> _U(16))) * _U(0x85EBCA6B)) & _LOW
    h = ((h ^ (h >> _U(13))) * _U(0xC2B2AE35)) & _LOW
    return h ^ (h >> _U(16))


@nb.njit
def shingles_of(
    content: NDArray[np.uint8],
    start: int,
    stop: int,
    ngram: int,
    words: bool,
    starts: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill `starts` with where each unit begins, `stop` last: (units, shingles)."""
    units = 0
    for at in range(start, stop):
        if words:
            begins = content[at] != _SPACE and (at == start or content[at - 1] == _SPACE)
        else:
            begins = (content[at] & 0xC0) != 0x80
        if begins:
            starts[units] = at
            units += 1
    starts[units] = stop + 1 if words else stop
    return units, (max(1, units - ngram + 1) if units else 0)


@nb.njit(inline="always")
def end_of(
    content: NDArray[np.uint8],
    starts: NDArray[np.int64],
    first: int,
    ngram: int,
    units: int,
    words: bool,
) -> int:
    """Where the shingle that begins at unit `first` ends."""
    last = min(first + ngram, units)
    end = starts[last]
    if words:
        end -= 1
        while end > starts[first] and content[end - 1] == _SPACE:
            end -= 1
    return end


@nb.njit(cache=True, nogil=True)
def _signatures(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    a: NDArray[np.uint32],
    b: NDArray[np.uint32],
    ngram: int,
    words: bool,
) -> NDArray[np.uint32]:
    rows, perms = len(offsets) - 1, len(a)
    out = np.full((rows, perms), 0xFFFFFFFF, np.uint32)
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    starts = np.empty(longest + 1, np.int64)
    for row in range(rows):
        units, n = shingles_of(content, offsets[row], offsets[row + 1], ngram, words, starts)
        signature = out[row]
        for i in range(n):
            end = end_of(content, starts, i, ngram, units, words)
            h = np.uint32(_finalise(xxh32(content, starts[i], end)))
            for k in range(perms):
                value = np.uint32(a[k] * h + b[k])
                signature[k] = min(signature[k], value)
    return out


@lru_cache
def _permutations(num_perm: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    draw = np.random.RandomState(seed)
    a = [draw.randint(0, 2**31, dtype=np.int64) * 2 + 1 for _ in range(num_perm)]
    b = [draw.randint(0, 2**32, dtype=np.int64) for _ in range(num_perm)]
    return np.array(a, np.uint32), np.array(b, np.uint32)


def minhash_signatures(
    captions: Strings,
    *,
    num_perm: int = 128,
    ngram: int = 5,
    seed: int = 1,
    unit: Literal["char", "word"] = "char",
) -> NDArray[np.uint32]:
    """The MinHash signature of each caption, of a list of str or an Arrow array: (n, num_perm).

    A shingle is the UTF-8 of `ngram` consecutive characters, or of as many words (the text between
    spaces) joined by one space; a shorter caption is one shingle, an empty one has none and its
    signature is all ones.

    Source: Broder 1997; datasketch 2 (`affine32`), bit for bit with `hashfunc=shingle_hash`.
    """
    if unit == "word":
        captions = pc.replace_substring_regex(string_array(captions), " {2,}", " ")
    content, offsets = buffers(captions)
    a, b = _permutations(num_perm, seed)
    signatures: NDArray[np.uint32] = _signatures(content, offsets, a, b, ngram, unit == "word")
    return signatures


@lru_cache
def bands_and_rows(threshold: float, num_perm: int) -> tuple[int, int]:
    """Bands and rows a band that datasketch's optimiser chooses, misses weighing nine to one."""
    from datasketch import MinHashLSH

    lsh = MinHashLSH(threshold=threshold, num_perm=num_perm, weights=(0.1, 0.9))
    return int(lsh.b), int(lsh.r)


@nb.njit(cache=True, nogil=True)
def _bands(signatures: Rows[np.uint32], bands: int, rows: int) -> NDArray[np.uint64]:
    out = np.empty((len(signatures), bands), np.uint64)
    for i in range(len(signatures)):
        for band in range(bands):
            h = _U(band + 1) * _U(0x9E3779B97F4A7C15)
            for k in range(band * rows, band * rows + rows):
                h = (h ^ _U(signatures[i, k])) * _U(0xFF51AFD7ED558CCD)
                h ^= h >> _U(32)
            out[i, band] = h
    return out


def band_hashes(signatures: NDArray[np.uint32], *, bands: int, rows: int) -> NDArray[np.uint64]:
    """A hash of each band of `rows` values of each signature, shape (n, bands)."""
    hashes: NDArray[np.uint64] = _bands(signatures, bands, rows)
    return hashes
