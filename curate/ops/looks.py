"""What a picture looks like in small: which pictures of nearly the same hash are the same picture.

A perceptual hash sees neither colours nor small details, so those of a red and a green button, or of
two playing cards, are the same. A *look* is 16 x 16 luminances and 8 x 8 chrominances, one octet each,
and the shorter side of the picture. Two pictures look the same if no cell is further apart than
re-encoding puts it: by a few levels, and as much again as the edges in and around the cell, which move
by about a pixel when a picture is resized. Pixels are larger, in cells, the smaller the picture is:
what is a detail in a large picture is the blur of a small one.

The figures were measured on 12,000 drawings, icons and photographs (see `tests/bench/near_images.py`).
"""

import base64
from typing import Any

import numba as nb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.strings import buffers

GREYS, COLOURS = 16, 8  # cells along each side
SIZE = 1 + GREYS**2 + 2 * COLOURS**2
"""Octets: the shorter side in pixels, at most 255; the luminances; the two chrominances."""

_STEPS = 7.0, 8.0  # levels that luminance and chrominance may differ by, of 255
_MOVE = 8.0, 16.0  # in a picture of one pixel: the share of the levels around it that they may also
_DIGITS = -(-SIZE // 3) * 4


@nb.njit(cache=True, nogil=True)
def _octet(value: float) -> int:
    return int(min(max(value, 0.0), 255.0) + 0.5)


@nb.njit(cache=True, nogil=True)
def look(samples: Any, colours: Any, side: int) -> Any:
    """The look, (SIZE,) octets, of 64 x 64 luminances and the (2, 8, 64) levels of blue and red.

    `side` is the shorter side of the picture in pixels.
    """
    found = np.empty(SIZE, np.uint8)
    found[0] = min(side, 255)
    at = 1
    block = len(samples) // GREYS
    for y in range(GREYS):
        for x in range(GREYS):
            part = samples[y * block : (y + 1) * block, x * block : (x + 1) * block]
            found[at] = _octet(part.mean())
            at += 1
    block = len(samples) // COLOURS
    for y in range(COLOURS):
        for x in range(COLOURS):
            across = slice(x * block, (x + 1) * block)
            grey = samples[y * block : (y + 1) * block, across].mean()
            found[at] = _octet(128 + 0.564 * (colours[0, y, across].mean() - grey))
            found[at + COLOURS**2] = _octet(128 + 0.713 * (colours[1, y, across].mean() - grey))
            at += 1
    return found


def spelled(octets: NDArray[np.uint8]) -> str:
    """A look as it is stored: in base64, as records are JSON."""
    return base64.b64encode(octets.tobytes() + bytes(-SIZE % 3)).decode()


def looks_of(strings: pa.ChunkedArray | pa.Array) -> NDArray[np.uint8]:
    """The looks, (n, SIZE), of n stored ones; that of a null is zeros."""
    content, offsets = buffers(strings)
    given = np.flatnonzero(np.diff(offsets) == _DIGITS)
    found = np.zeros((len(offsets) - 1, SIZE), np.uint8)
    for start in range(0, len(given), 4096):  # digits and octets of so many at once
        some = given[start : start + 4096]
        digits = content[offsets[some][:, np.newaxis] + np.arange(_DIGITS)]
        octets = np.frombuffer(base64.b64decode(digits.tobytes()), np.uint8)
        found[some] = octets.reshape(len(some), -1)[:, :SIZE]
    return found


@nb.njit(cache=True, nogil=True)
def _spread(cells: Any, start: int, n: int, y: int, x: int) -> Any:
    """Levels between the lightest and the darkest of a cell and those around it."""
    least, most = np.int64(255), np.int64(0)
    for i in range(max(y - 1, 0), min(y + 2, n)):
        for j in range(max(x - 1, 0), min(x + 2, n)):
            value = np.int64(cells[start + i * n + j])
            least, most = min(least, value), max(most, value)
    return most - least


@nb.njit(cache=True, nogil=True)
def _cells_alike(left: Any, right: Any, start: int, n: int, step: float, move: float) -> bool:
    for y in range(n):
        for x in range(n):
            at = start + y * n + x
            apart = abs(np.int64(left[at]) - np.int64(right[at]))
            if apart > step:
                edges = min(_spread(left, start, n, y, x), _spread(right, start, n, y, x))
                if apart > step + move * edges:
                    return False
    return True


@nb.njit(cache=True, nogil=True)
def alike(left: Any, right: Any) -> bool:
    """Whether two looks, (SIZE,) octets, are those of the same picture."""
    side = max(1, min(left[0], right[0]))
    if not _cells_alike(left, right, 1, GREYS, _STEPS[0], _MOVE[0] / side):
        return False
    for k in range(2):
        start = 1 + GREYS**2 + k * COLOURS**2
        if not _cells_alike(left, right, start, COLOURS, _STEPS[1], _MOVE[1] / side):
            return False
    return True
