"""Blurred boxes, such as those of faces: the pixels of img2dataset's `BoundingBoxBlurrer`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from curate.ops.images.boxes import Box

if TYPE_CHECKING:
    from cv2.typing import MatLike


def blur_boxes(pixels: "MatLike", boxes: Sequence[Box]) -> "MatLike":
    """`pixels`, shape (height, width[, channels]) uint8, with the boxes blurred.

    Each box grows by a tenth of its longer side; the largest box sets the blur's radius for all, and
    the mask is blurred too, so that no edge shows (the ImageNet face obfuscation's method).

    Examples
    --------
    >>> blur_boxes(np.zeros((4, 4, 3), np.uint8), [[0, 0, 1, 1]]).shape
    (4, 4, 3)
    """
    import cv2

    if not len(boxes):
        return pixels
    height, width = pixels.shape[:2]
    scaled = pixels.astype(np.float32) / 255.0
    mask = np.zeros_like(scaled)
    longest = 0
    for box in boxes:
        left, top, right, bottom = (
            int(share * side) for share, side in zip(box, (width, height) * 2, strict=True)
        )
        longer = max(right - left, bottom - top)
        longest = max(longest, longer)
        x = [int(left - 0.1 * longer), int(right + 0.1 * longer)]
        y = [int(top - 0.1 * longer), int(bottom + 0.1 * longer)]
        (x0, x1), (y0, y1) = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
        mask[y0:y1, x0:x1] = 1
    side = max(3, int(2 * np.ceil(0.1 * longest) + 1))
    blurred, mask = (cv2.GaussianBlur(each, (side, side), 0) for each in (scaled, mask))
    return ((scaled * (1 - mask) + blurred * mask) * 255.0).astype(np.uint8)
