"""The perceptual hash of an image: PDQ, 256 bits that stay nearly the same when it is re-encoded.

The definition is that of "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm"
(Meta, 2019), section 3, so hashes compare with published lists: luminance at 512 x 512 pixels, a tent
filter of one block by two passes of a box, 64 x 64 samples, the 16 x 16 lowest frequencies of their
cosine transform, each bit whether its coefficient is over the median. The picture is scaled to
512 x 512 whatever its size (the reference only scales down): a thumbnail must have the hash of its
original. Scaling, filter and sampling are linear and separable: one set of weights along each side.

Two kinds of picture have no such hash. Where nearly all coefficients are nearly the same, there is
nothing to see, and the hash is None. Where many are, the picture is symmetric, and noise decides those
bits; a fixed pattern is added to it, the stronger the more there are, so that they are the same each
time.

Hashes are compared by Hamming distance: at most 31 of 256 is the usual "same picture". They see no
colour and no small detail: what a picture looks like in small (`ops.images.looks`) is taken from the
same pass over its pixels.
"""

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curate.ops.images import looks
from curate.ops.kernels import Rows, nb

if TYPE_CHECKING:
    from cv2.typing import MatLike

BITS = 256
_SIDE = 512
_BLOCKS = 64
_ROWS = _BLOCKS // looks.COLOURS
_KEPT = 16  # frequencies along each side; the constant one is left out
_DCT = np.sqrt(2 / _BLOCKS) * np.cos(
    np.pi / (2 * _BLOCKS) * np.outer(np.arange(1, _KEPT + 1), 2 * np.arange(_BLOCKS) + 1)
)
MIN_QUALITY = 5
"""Below it a picture shows too little for a hash: one colour, a faint gradient."""

_NEAR = 4.0  # of the median: what re-encoding may change a coefficient by
_EMPTY = 180  # coefficients that near
_LEAST, _SYMMETRIC = 60, 100  # from where to where the pattern grows: no step tells copies apart
_PATTERN = 10.0 * np.unpackbits(np.frombuffer(hashlib.sha256(b"curate").digest(), np.uint8)) - 5.0
_LUMA = np.array([0.114, 0.587, 0.299])  # of blue, green, red


Pixels: TypeAlias = Rows[np.uint8] | Rows[np.uint16]


class PerceptualHash(NamedTuple):
    """`bits` as 64 hex digits, None without any; how much there is to see: 0 (one colour) to 100."""

    bits: str | None
    quality: int | None
    look: str | None = None  # of a picture with bits: `looks.spelled`


NO_HASH = PerceptualHash(None, None)
"""Where no hash is asked for."""


@lru_cache(maxsize=2048)
def _weights(n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First pixel and weights, (64,) and (64, taps), of each of the 64 samples along `n` pixels."""
    dense = _tent() @ _resizing(n)
    first = (dense > 0).argmax(axis=1)
    taps = int((n - (dense > 0)[:, ::-1].argmax(axis=1) - first).max())
    first = np.minimum(first, n - taps)
    return first, np.take_along_axis(dense, first[:, np.newaxis] + np.arange(taps), axis=1)


@lru_cache(maxsize=1)
def _tent() -> NDArray[np.float64]:
    """Two passes of means over half a block, cut off at the edges, at the 64 samples: (64, 512)."""
    window = _SIDE // (2 * _BLOCKS)
    after = window // 2
    apart = np.arange(_SIDE) - np.arange(_SIDE)[:, np.newaxis]
    inside = (apart <= after) & (apart > after - window)
    box = inside / inside.sum(axis=1, keepdims=True)
    centres = (2 * np.arange(_BLOCKS) + 1) * _SIDE // (2 * _BLOCKS)
    tent: NDArray[np.float64] = box[centres] @ box
    return tent


def _resizing(n: int) -> NDArray[np.float64]:
    """`n` pixels to 512: means over areas where there are more, linear where there are fewer."""
    if n >= _SIDE:
        edges = np.arange(_SIDE + 1) * n / _SIDE
        pixels = np.arange(n)
        low = np.maximum(edges[:-1, np.newaxis], pixels)
        high = np.minimum(edges[1:, np.newaxis], pixels + 1)
        shares: NDArray[np.float64] = np.maximum(high - low, 0) * (_SIDE / n)
        return shares
    at = np.clip((np.arange(_SIDE) + 0.5) * n / _SIDE - 0.5, 0, n - 1)
    apart = np.abs(at[:, np.newaxis] - np.arange(n))
    weights: NDArray[np.float64] = np.maximum(1 - apart, 0)
    return weights


@nb.njit(cache=True, nogil=True)
def _samples(
    pixels: Pixels,
    luma: NDArray[np.float64],
    top: NDArray[np.int64],
    down: Rows[np.float64],
    left: NDArray[np.int64],
    across: Rows[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 64 x 64 luminances, 0 to 255, of (height, 3 * width) pixels, and 8 rows of their colours.

    Down the columns first: there a row of pixels is added to another, which the compiler packs. Of
    blue and red, (2, 8, 64), each row is the sum of eight.
    """
    length = pixels.shape[1]
    samples = np.empty((_BLOCKS, _BLOCKS))
    colours = np.zeros((2, looks.COLOURS, _BLOCKS))
    line = np.empty(length, np.float32)
    several = np.zeros(length, np.float32)
    grey = np.empty(length // 3)
    for j in range(_BLOCKS):
        line[:] = 0
        for i in range(down.shape[1]):
            y, weight = top[j] + i, np.float32(down[j, i])
            if weight > 0:
                for x in range(length):
                    line[x] += weight * np.float32(pixels[y, x])
        for x in range(len(grey)):
            grey[x] = luma[0] * line[3 * x] + luma[1] * line[3 * x + 1] + luma[2] * line[3 * x + 2]
        for k in range(_BLOCKS):
            total = 0.0
            for i in range(across.shape[1]):
                total += across[k, i] * grey[left[k] + i]
            samples[j, k] = total
        several += line
        if j % _ROWS == _ROWS - 1:
            for k in range(_BLOCKS):
                for i in range(across.shape[1]):
                    x = 3 * (left[k] + i)
                    colours[0, j // _ROWS, k] += across[k, i] * several[x]
                    colours[1, j // _ROWS, k] += across[k, i] * several[x + 2]
            several[:] = 0
    return samples, colours


@nb.njit(cache=True, nogil=True)
def _quality(samples: Rows[np.float64]) -> int:
    """Sum of the differences between neighbours, in per cent of the range, over 90; at most 100."""
    total = 0
    for y in range(_BLOCKS):
        for x in range(_BLOCKS):
            if y + 1 < _BLOCKS:
                total += abs(int((samples[y, x] - samples[y + 1, x]) * 100 / 255))
            if x + 1 < _BLOCKS:
                total += abs(int((samples[y, x] - samples[y, x + 1]) * 100 / 255))
    return min(total // 90, 100)


@nb.njit(cache=True, nogil=True)
def _frequencies(samples: Rows[np.float64], dct: Rows[np.float64]) -> Rows[np.float64]:
    """The 16 x 16 lowest frequencies, by loops: a BLAS may add in another order elsewhere."""
    half = np.zeros((_KEPT, _BLOCKS))
    for i in range(_KEPT):
        for y in range(_BLOCKS):
            for x in range(_BLOCKS):
                half[i, x] += dct[i, y] * samples[y, x]
    found = np.zeros((_KEPT, _KEPT))
    for i in range(_KEPT):
        for j in range(_KEPT):
            for x in range(_BLOCKS):
                found[i, j] += half[i, x] * dct[j, x]
    return found


def perceptual_hash(pixels: "MatLike") -> PerceptualHash:
    """The PDQ hash of `pixels`, an array of OpenCV's: (height, width) grey or (height, width, 3) BGR.

    Values are uint8, uint16, or of another type and then what an encoder would make of them: 0 to 255.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        pixels = np.clip(np.nan_to_num(pixels), 0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., np.newaxis], 3, axis=2)
    lines = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    scale = 255 / np.iinfo(pixels.dtype).max
    height, width = pixels.shape[:2]
    samples, colours = _samples(lines, _LUMA * scale, *_weights(height), *_weights(width))
    quality = int(_quality(samples))
    found = _frequencies(samples, _DCT).ravel()
    ties = np.count_nonzero(np.abs(found - _median(found)) < _NEAR)
    if quality < MIN_QUALITY or ties >= _EMPTY:
        return PerceptualHash(None, quality)
    if ties > _LEAST:
        found = found + _PATTERN * min(1, (ties - _LEAST) / (_SYMMETRIC - _LEAST))
    bits = np.packbits(found[::-1] > _median(found))
    look = looks.look(samples, colours * (scale / _ROWS), side=min(height, width))
    return PerceptualHash(bits.tobytes().hex(), quality, looks.spelled(look))


def _median(values: NDArray[np.float64]) -> float:
    """The lower of the two in the middle."""
    return float(np.partition(values, BITS // 2 - 1)[BITS // 2 - 1])
