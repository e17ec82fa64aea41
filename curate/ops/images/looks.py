"""Looks (thumbnails of 16 x 16): which pictures of nearly equal perceptual hashes are the same picture.

A perceptual hash sees neither colours nor small details, so those of a red and a green button, or of
two playing cards, are the same. A *look* is 16 x 16 luminances and 8 x 8 chrominances, one octet each,
and the shorter side of the picture. Two pictures look the same if

- no cell is further apart than re-encoding puts it: by a few levels, the more the smaller the picture
  (what is a detail in a large picture is the blur of a small one, and a block of JPEG is half of it),
  and as much again as the edges in and around the cell, which move by about a pixel when a picture is
  resized; and
- the differences are spread as re-encoding spreads them. What a coder does to one place it does to all
  that have as much detail, now up, now down; another face or another number is in one place alone. So
  no luminance may be much further apart than the cells of this pair are on average, and the mean of
  nine neighbours, in which noise cancels, still less. Resizing is less even than coding: it spares
  what is smooth and spoils a grating, so where the sizes differ, more is allowed.

The figures were fitted on drawings, icons and photographs and checked on others: see
`tests/bench/near_images.py`.
"""

import base64
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.kernels import Rows, nb
from curate.ops.strings import buffers

GREYS, COLOURS = 16, 8  # cells along each side
SIZE = 1 + GREYS**2 + 2 * COLOURS**2
"""Octets: the shorter side in pixels, at most 255; the luminances; the two chrominances."""

_STEP, _STEP_BY_SIDE = 4.0, 400.0  # levels, of 255, that any cell may differ by; over pixels a side
_MOVE_GREY, _MOVE_COLOUR = 8.0, 16.0  # over pixels a side: the share of the levels around it, also
_BASE = 128  # levels: how much coding noise there is where there is no edge, as if there were
_CELL, _NINE = 4.0, 2.5  # levels that a cell, and the mean of nine, may differ by in any case
_UNEVEN_CELL, _UNEVEN_NINE = 5.5, 3.0  # times the average, in pictures of one size
_RESIZED_CELL, _RESIZED_NINE = 10.0, 5.0  # times the average, where the sizes differ
_DIGITS = -(-SIZE // 3) * 4


@nb.njit
def _octet(value: float) -> int:
    return int(min(max(value, 0.0), 255.0) + 0.5)


@nb.njit(cache=True, nogil=True)
def look(
    samples: Rows[np.float64], colours: Annotated[NDArray[np.float64], 3], side: int
) -> NDArray[np.uint8]:
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


@nb.njit
def _spread(cells: NDArray[np.uint8], start: int, n: int, y: int, x: int) -> np.int64:
    """Levels between the lightest and the darkest of a cell and those around it."""
    least, most = np.int64(255), np.int64(0)
    for i in range(max(y - 1, 0), min(y + 2, n)):
        for j in range(max(x - 1, 0), min(x + 2, n)):
            value = np.int64(cells[start + i * n + j])
            least, most = min(least, value), max(most, value)
    return most - least


@nb.njit
def _edges(
    left: NDArray[np.uint8], right: NDArray[np.uint8], start: int, n: int, y: int, x: int
) -> np.int64:
    return min(_spread(left, start, n, y, x), _spread(right, start, n, y, x))


@nb.njit
def _near(
    left: NDArray[np.uint8], right: NDArray[np.uint8], start: int, n: int, step: float, move: float
) -> bool:
    """Whether no cell is further apart than re-encoding puts it."""
    for y in range(n):
        for x in range(n):
            at = start + y * n + x
            apart = abs(np.int64(left[at]) - np.int64(right[at]))
            if apart > step and apart > step + move * _edges(left, right, start, n, y, x):
                return False
    return True


@nb.njit
def _details(cells: NDArray[np.uint8]) -> NDArray[np.int16]:
    """`_spread` of each luminance, (GREYS, GREYS): along the rows, then down them."""
    low = np.empty((GREYS + 2, GREYS), np.int16)
    high = np.empty((GREYS + 2, GREYS), np.int16)
    for y in range(GREYS):
        row = cells[1 + y * GREYS : 1 + (y + 1) * GREYS]
        for x in range(GREYS):
            before, after = row[max(x - 1, 0)], row[min(x + 1, GREYS - 1)]
            low[y + 1, x] = min(before, row[x], after)
            high[y + 1, x] = max(before, row[x], after)
    for x in range(GREYS):
        low[0, x], high[0, x] = low[1, x], high[1, x]
        low[-1, x], high[-1, x] = low[-2, x], high[-2, x]
    found = np.empty((GREYS, GREYS), np.int16)
    for y in range(GREYS):
        for x in range(GREYS):
            most = max(high[y, x], high[y + 1, x], high[y + 2, x])
            found[y, x] = most - min(low[y, x], low[y + 1, x], low[y + 2, x])
    return found


@nb.njit
def _even(left: NDArray[np.uint8], right: NDArray[np.uint8], cell: float, nine: float) -> bool:
    """Whether the luminances differ everywhere as much as there is detail, not in one place alone."""
    detail = _BASE + np.minimum(_details(left), _details(right))
    apart = np.zeros((GREYS + 2, GREYS + 2), np.int16)
    total = 0
    for y in range(GREYS):
        for x in range(GREYS):
            at = 1 + y * GREYS + x
            apart[y + 1, x + 1] = np.int16(left[at]) - np.int16(right[at])
            total += abs(apart[y + 1, x + 1])
    average = total / detail.sum()
    for y in range(GREYS):
        for x in range(GREYS):
            expected = average * detail[y, x]
            around = 0
            for i in range(y, y + 3):
                around += apart[i, x] + apart[i, x + 1] + apart[i, x + 2]
            if abs(apart[y + 1, x + 1]) > _CELL + cell * expected:
                return False
            if abs(around) > 9 * (_NINE + nine * expected):
                return False
    return True


@nb.njit(cache=True, nogil=True)
def alike(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> bool:
    """Whether two looks, (SIZE,) octets, are those of the same picture."""
    side = max(GREYS, min(left[0], right[0]))
    step = _STEP + _STEP_BY_SIDE / side
    if not _near(left, right, 1, GREYS, step, _MOVE_GREY / side):
        return False
    for k in range(2):
        start = 1 + GREYS**2 + k * COLOURS**2
        if not _near(left, right, start, COLOURS, step, _MOVE_COLOUR / side):
            return False
    if left[0] == right[0]:
        return bool(_even(left, right, _UNEVEN_CELL, _UNEVEN_NINE))
    return bool(_even(left, right, _RESIZED_CELL, _RESIZED_NINE))
