"""Units of text for the matcher's kernels: how a caption is cut, and the key of each piece.

A unit is a token (what stands between two spaces) or a character. Its key is two words: a unit of up
to 15 bytes is its own key, so that equal keys are equal units; a longer one's is a hash.
"""

from collections.abc import Callable, Sequence

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.base import BaseContext
from numba.core.typing import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from curate.ops.kernels import nb

_SPACED_MARKS = b",.;:?!`"
CAPTION = np.zeros(256, np.uint8)  # 1: becomes a space, 2: gets spaces around
CAPTION[list(b"\t\n\r")] = 1
CAPTION[list(_SPACED_MARKS)] = 2
CAPTION[32] = 1
ENTRY = np.zeros(256, np.uint8)  # for entries: cut at spaces, otherwise unchanged
ENTRY[32] = 1
SPACE = 32
ODD = np.uint64(0x9E3779B97F4A7C15)
LONG = np.uint64(0xFF << 56)  # the second word of a long unit's key

_U = np.uint64
_SHORT = 15  # bytes that fit into a key beside the length
_FIRST = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(17)], np.uint64)  # of n bytes, those in
_SECOND = np.array([(1 << 8 * max(n - 8, 0)) - 1 for n in range(16)] + [0], np.uint64)  # each word


@intrinsic
def _load(
    typing: object, array: types.Array, at: types.Integer
) -> tuple[Signature, Callable[..., ir.Value]]:
    """Eight bytes of a uint8 array from index `at` on, at any alignment, as a little-endian word."""

    def generate(
        context: BaseContext,
        builder: ir.IRBuilder,
        signature: Signature,
        arguments: Sequence[ir.Value],
    ) -> ir.Value:
        content = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(content.data, [arguments[1]])
        word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return nb.uint64(array, nb.int64), generate


@nb.njit(inline="always")
def bytes_at(content: NDArray[np.uint8], at: int, n: int) -> np.uint64:
    """The `n` bytes (at most eight) from `at` on, as a word; none behind the array is read."""
    if at + 8 <= len(content):
        return _load(content, at) & _FIRST[n]
    word = _U(0)
    for k in range(n):
        word |= _U(content[at + k]) << _U(8 * k)
    return word


@nb.njit
def _long_key(content: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    h = _U(stop - start)
    for at in range(start, stop, 8):
        h = (h ^ bytes_at(content, at, min(stop - at, 8))) * ODD
        h ^= h >> _U(32)
    return h


@nb.njit(inline="always")
def key_of(content: NDArray[np.uint8], start: int, stop: int) -> tuple[np.uint64, np.uint64]:
    """A unit's key: its bytes, with its length + 1 in the highest byte; of a long unit a hash."""
    n = stop - start
    if n > _SHORT:
        return _long_key(content, start, stop), LONG
    if start + 16 <= len(content):
        low = _load(content, start) & _FIRST[n]
        high = _load(content, start + 8) & _SECOND[n]
    else:
        low = bytes_at(content, start, min(n, 8))
        high = bytes_at(content, start + 8, n - 8) if n > 8 else _U(0)
    return low, high | _U(n + 1) << _U(56)


@nb.njit
def tokens(
    content: NDArray[np.uint8],
    start: int,
    stop: int,
    kind: NDArray[np.uint8],
    cuts: NDArray[np.int64],
) -> int:
    """Write the bounds of a text's tokens, as in its spaced form, to `cuts`; the number of tokens."""
    n = 0
    begin = start
    for k in range(start, stop):
        what = kind[content[k]]
        if what:
            cuts[0, n], cuts[1, n] = begin, k
            n += 1
            if what == 2:
                cuts[0, n], cuts[1, n] = k, k + 1
                n += 1
            begin = k + 1
    cuts[0, n], cuts[1, n] = begin, stop
    return n + 1


@nb.njit
def spaced(
    content: NDArray[np.uint8],
    start: int,
    stop: int,
    kind: NDArray[np.uint8],
    text: NDArray[np.uint8],
) -> int:
    """Write the spaced form of a text, with a space before and after it, to `text`; its length."""
    text[0] = SPACE
    n = 1
    for k in range(start, stop):
        what = kind[content[k]]
        if what == 0:
            text[n] = content[k]
        else:
            text[n] = SPACE
            if what == 2:
                text[n + 1], text[n + 2] = content[k], SPACE
                n += 2
        n += 1
    text[n] = SPACE
    return n + 1


@nb.njit
def characters(text: NDArray[np.uint8], end: int, cuts: NDArray[np.int64]) -> int:
    """Write the bounds of the characters in a text's first `end` bytes to `cuts`; their number."""
    n = at = 0
    while at < end:
        cuts[0, n] = at
        at += 1
        while at < end and (text[at] & 0xC0) == 0x80:
            at += 1
        cuts[1, n] = at
        n += 1
    return n
