"""What has been done to an image, by its pixels: noise, blur, its levels, patches that changed places.

They tell those types of *Visual Data-Type Understanding does not emerge from Scaling Vision-Language
Models* (arXiv 2310.08577) that simple operators tell. Each is of the stored image, so in its pixels:
what was finer in a larger file is averaged away. `tests/bench/image_types.py` says how well they tell
the types, and others that were left out for them.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from curate.ops.scores.batch import Batch

Pixels = NDArray[np.uint8]
"""An image, (height, width, 3) RGB, or its luminances, (height, width), levels of 0 to 255."""

_BLOCK = 8  # pixels along each side
_SMOOTHEST = 0.1  # the share of the blocks that has at most the noise that is told
_ENDS = 0.01  # the share of the pixels beyond either end of the range of levels
_PARTS = 5  # patches along each side
_ALONG = 50  # pixels of a side below which its fifths are no lines of their own


class _Measure(ABC):
    """A number an image; never null, which would say that it cannot be decoded."""

    def __call__(self, batch: Batch) -> list[float]:
        """Numbers, n of them."""
        return [self.of(_luminances(pixels)) for pixels in batch.images]

    @abstractmethod
    def of(self, grey: Pixels) -> float:
        """That of an image by its luminances."""


class Noise(_Measure):
    """The deviation of the noise in the smoothest tenth of the image, in levels of 255; from 0.

    Immerkaer's estimate (Fast Noise Variance Estimation, 1996): what a mask leaves that cancels planes
    and edges along the axes, its mean size times sqrt(pi / 2) / 6. Of the means over blocks of 8 x 8
    pixels the tenth percentile, as edges and grain of the picture itself are in other blocks; of white
    noise alone it says four fifths. A plain border (`resize_mode: border`) hides all noise.
    """

    def of(self, grey: Pixels) -> float:
        """0 below ten pixels a side."""
        import cv2

        mask = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)
        left = np.abs(cv2.filter2D(grey, cv2.CV_16S, mask)[1:-1, 1:-1])
        tall, wide = (side // _BLOCK for side in left.shape)
        if not tall * wide:
            return 0.0
        blocks = left[: tall * _BLOCK, : wide * _BLOCK].reshape(tall, _BLOCK, wide, _BLOCK)
        size = np.quantile(blocks.mean(axis=(1, 3)), _SMOOTHEST)
        return float(size * np.sqrt(np.pi / 2) / 6)


class Blur(_Measure):
    """How wide edges are: the deviation, in pixels, of the Gaussian that blurs a step so; from 0.

    The root of half the energy of the gradient (Sobel's) over that of the Laplacian. A step from one
    pixel to the next has 0.35, fine lines and grain less; so noise hides blur, and so does the rounding
    to whole levels what is over 4 or so.
    """

    def of(self, grey: Pixels) -> float:
        """0 for an image of one colour, which has no edges."""
        import cv2

        across, down = (cv2.Sobel(grey, cv2.CV_16S, x, 1 - x) for x in (1, 0))
        gradient = sum(cv2.norm(one, cv2.NORM_L2SQR) for one in (across, down)) / 64
        laplacian = cv2.norm(cv2.Laplacian(grey, cv2.CV_16S), cv2.NORM_L2SQR)
        return float(np.sqrt(gradient / laplacian / 2)) if laplacian else 0.0


class Brightness(_Measure):
    """The middle of the range of luminances that all pixels but 2 % are in, 0 (black) to 1 (white)."""

    def of(self, grey: Pixels) -> float:
        """Of an image of one colour, its luminance."""
        dark, light = _range(grey)
        return (dark + light) / 2


class Contrast(_Measure):
    """The width of the range of luminances that all pixels but 2 % are in, 0 (one colour) to 1."""

    def of(self, grey: Pixels) -> float:
        """Of an image of one colour, 0."""
        dark, light = _range(grey)
        return light - dark


class ShuffledPatches(_Measure):
    """How sharp the edges are on the lines that part an image in fifths, 0 to 1; by chance 0.5.

    The mean, over the four lines across and the four down, of the share of the other lines at which
    neighbouring pixels differ less (half of those at which they differ as much), where a line has the
    most of three neighbours, as resizing moves edges. Patches of a grid of 5 x 5 that changed places
    leave nearly 1. A crop or a border (`resize_mode`) moves the fifths elsewhere.
    """

    def of(self, grey: Pixels) -> float:
        """0.5 where a side has fewer than 50 pixels."""
        if min(grey.shape) < _ALONG:
            return 0.5
        return float(np.mean([_on_fifths(grey), _on_fifths(grey.T)]))


def _luminances(pixels: Pixels) -> Pixels:
    import cv2

    cv2.setNumThreads(1)
    grey: Pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return grey


def _range(grey: Pixels) -> tuple[float, float]:
    """The levels that a hundredth of the pixels, and all but a hundredth, do not exceed, 0 to 1."""
    up_to = np.bincount(grey.ravel(), minlength=256).cumsum()
    dark, light = np.searchsorted(up_to, np.array([_ENDS, 1 - _ENDS]) * grey.size)
    return float(dark) / 255, float(light) / 255


def _on_fifths(grey: Pixels) -> float:
    """The mean rank, 0 to 1, of the edges on the lines down at the fifths among those elsewhere."""
    wide = grey.shape[1]
    steps = np.abs(np.diff(grey.astype(np.int16), axis=1)).mean(axis=0)
    edges = np.maximum(np.maximum(steps[:-2], steps[1:-1]), steps[2:])  # that of step k at k - 1
    lines = np.rint(np.arange(1, _PARTS) * wide / _PARTS).astype(np.int64) - 2
    elsewhere = np.ones(len(edges), bool)
    for line in lines:
        elsewhere[line - 2 : line + 3] = False
    others = np.sort(edges[elsewhere])
    below = np.searchsorted(others, edges[lines], "left")
    return float((below + np.searchsorted(others, edges[lines], "right")).mean() / 2 / len(others))
