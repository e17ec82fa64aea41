"""The one hashing module: XXH64 and XXH32 as kernels over Arrow buffers, uids and keyed sampling.

Both are the published algorithms (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md), so that
the `xxhash` package, or any other implementation, computes the same values.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.kernels import nb
from curate.ops.strings import Strings, buffers, string_array

_A1 = np.uint64(11400714785074694791)
_A2 = np.uint64(14029467366897019727)
_A3 = np.uint64(1609587929392839161)
_A4 = np.uint64(9650029242287828579)
_A5 = np.uint64(2870177450012600261)
_B1 = np.uint64(2654435761)
_B2 = np.uint64(2246822519)
_B3 = np.uint64(3266489917)
_B4 = np.uint64(668265263)
_B5 = np.uint64(374761393)
_LOW = np.uint64(0xFFFFFFFF)
_U = np.uint64


@nb.njit(inline="always")
def _rotate64(x: np.uint64, r: int) -> np.uint64:
    return (x << _U(r)) | (x >> _U(64 - r))


@nb.njit(inline="always")
def _rotate32(x: np.uint64, r: int) -> np.uint64:
    return ((x << _U(r)) | (x >> _U(32 - r))) & _LOW


@nb.njit(inline="always")
def _read(content: NDArray[np.uint8], at: int, width: int) -> np.uint64:
    value = _U(0)
    for i in range(width):
        value |= _U(content[at + i]) << _U(8 * i)
    return value


@nb.njit(inline="always")
def _round64(acc: np.uint64, lane: np.uint64) -> np.uint64:
    return _rotate64(acc + lane * _A2, 31) * _A1


@nb.njit(cache=True)
def xxh64(content: NDArray[np.uint8], start: int, stop: int, seed: np.uint64) -> np.uint64:
    """XXH64 of `content[start:stop]` as uint64; `seed` is a uint64."""
    at = start
    if stop - start >= 32:
        v1, v2, v3, v4 = seed + _A1 + _A2, seed + _A2, seed, seed - _A1
        while at + 32 <= stop:
            v1 = _round64(v1, _read(content, at, 8))
            v2 = _round64(v2, _read(content, at + 8, 8))
            v3 = _round64(v3, _read(content, at + 16, 8))
            v4 = _round64(v4, _read(content, at + 24, 8))
            at += 32
        h = _rotate64(v1, 1) + _rotate64(v2, 7) + _rotate64(v3, 12) + _rotate64(v4, 18)
        h = (h ^ _round64(_U(0), v1)) * _A1 + _A4
        h = (h ^ _round64(_U(0), v2)) * _A1 + _A4
        h = (h ^ _round64(_U(0), v3)) * _A1 + _A4
        h = (h ^ _round64(_U(0), v4)) * _A1 + _A4
    else:
        h = seed + _A5
    h += _U(stop - start)
    while at + 8 <= stop:
        h = _rotate64(h ^ _round64(_U(0), _read(content, at, 8)), 27) * _A1 + _A4
        at += 8
    if at + 4 <= stop:
        h = _rotate64(h ^ (_read(content, at, 4) * _A1), 23) * _A2 + _A3
        at += 4
    while at < stop:
        h = _rotate64(h ^ (_U(content[at]) * _A5), 11) * _A1
        at += 1
    h = (h ^ (h >> _U(33))) * _A2
    h = (h ^ (h >> _U(29))) * _A3
    return h ^ (h >> _U(32))


@nb.njit(inline="always")
def _round32(acc: np.uint64, lane: np.uint64) -> np.uint64:
    return (_rotate32((acc + lane * _B2) & _LOW, 13) * _B1) & _LOW


@nb.njit(cache=True)
def xxh32(content: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """XXH32 with seed 0 of `content[start:stop]`, as a uint64 below 2**32."""
    at = start
    if stop - start >= 16:
        v1, v2, v3, v4 = (_B1 + _B2) & _LOW, _B2, _U(0), (_U(0) - _B1) & _LOW
        while at + 16 <= stop:
            v1 = _round32(v1, _read(content, at, 4))
            v2 = _round32(v2, _read(content, at + 4, 4))
            v3 = _round32(v3, _read(content, at + 8, 4))
            v4 = _round32(v4, _read(content, at + 12, 4))
            at += 16
        h = _rotate32(v1, 1) + _rotate32(v2, 7) + _rotate32(v3, 12) + _rotate32(v4, 18)
    else:
        h = _B5
    h = (h + _U(stop - start)) & _LOW
    while at + 4 <= stop:
        h = (_rotate32((h + _read(content, at, 4) * _B3) & _LOW, 17) * _B4) & _LOW
        at += 4
    while at < stop:
        h = (_rotate32((h + _U(content[at]) * _B5) & _LOW, 11) * _B1) & _LOW
        at += 1
    h = ((h ^ (h >> _U(15))) * _B2) & _LOW
    h = ((h ^ (h >> _U(13))) * _B3) & _LOW
    return h ^ (h >> _U(16))


@nb.njit(cache=True, nogil=True)
def _hash_all(
    content: NDArray[np.uint8], offsets: NDArray[np.int64], seeds: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    out = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(out)):
        out[i] = xxh64(content, offsets[i], offsets[i + 1], seeds[i % len(seeds)])
    return out


def hash64(strings: Strings, *, seed: int | NDArray[np.uint64] = 0) -> NDArray[np.uint64]:
    """XXH64 of each string's UTF-8, shape (n,); `seed` is one number or one a string."""
    content, offsets = buffers(strings)
    seeds = np.atleast_1d(np.asarray(seed, np.uint64))
    hashes: NDArray[np.uint64] = _hash_all(content, offsets, seeds)
    return hashes


_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_UID_SEEDS = (0x637572617465, 0x70616972)


def pair_uids(urls: Strings, captions: Strings) -> pa.Array:
    """The uid of each (url, caption): 128 bits as 32 hex digits, a StringArray of length n.

    Each half is the XXH64 of the caption seeded with the XXH64 of the URL, so the same pair has the
    same uid wherever it stands. Both are lists of str or Arrow arrays of one length.
    """
    urls, captions = string_array(urls), string_array(captions)
    if len(urls) != len(captions):
        raise ValueError(f"{len(urls)} URLs, but {len(captions)} captions")
    halves = [hash64(captions, seed=hash64(urls, seed=seed)) for seed in _UID_SEEDS]
    octets = np.stack(halves, axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)
    digits = np.stack([_HEX[octets >> 4], _HEX[octets & 15]], axis=2).reshape(-1, 32)
    offsets = np.arange(len(digits) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(
        len(digits), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits))
    )


def uniform(uids: Strings, *, seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each uid, shape (n,): the top 53 bits of its XXH64 keyed by `seed`.

    It depends on nothing else, so a pair that is kept at some probability is kept at any higher one.
    """
    top = hash64(uids, seed=seed & 0xFFFFFFFFFFFFFFFF) >> np.uint64(11)
    return top.astype(np.float64) * 2.0**-53


def order_keys(uids: Strings, *, seed: int) -> NDArray[np.uint64]:
    """A number for each uid, shape (n,): in their order pairs are mixed.

    The XXH64 of the uid, keyed by that of a text with `seed` in it, so that it tells nothing of what
    `uniform` draws with the same seed.
    """
    return hash64(uids, seed=hash64([f"order of mixed shards, seed {seed}"]))
