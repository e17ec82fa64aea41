"""Text in images by RapidOCR: its area, its overlap with the caption, and a mask of it.

T-MARS (arXiv 2307.03132) scores an image again once its text is masked. DiHT's text-spotting rule
(arXiv 2301.02280) drops a pair whose caption is written in its image.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curate.ops.scores.batch import Batch
from curate.ops.scores.clip import ClipModel

if TYPE_CHECKING:
    from cv2.typing import MatLike
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
"""An image, (height, width, 3)."""
Boxes = list[NDArray[np.float32]]
"""Quadrangles, shape (4, 2), of x and y in pixels."""

_WORD = re.compile(r"[^\W_]+")
_SHORTEST = 4  # characters of a word that counts
_MARGIN = 3  # pixels that a box is enlarged by, and width of the ring around it


class Reader:
    """RapidOCR's detector and recogniser on one thread."""

    def __init__(self) -> None:
        from rapidocr_onnxruntime import RapidOCR

        self._engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)

    def boxes(self, pixels: "MatLike") -> Boxes:
        """The boxes of text in an image, (height, width, 3) BGR uint8."""
        found, _ = self._engine(pixels, use_det=True, use_cls=False, use_rec=False)
        return [np.asarray(box, np.float32) for box in (found if found is not None else ())]

    def lines(self, pixels: "MatLike") -> list[str]:
        """The recognised text of an image, a line a box."""
        found, _ = self._engine(pixels)
        return [text for _, text, _ in found or ()]


@lru_cache(maxsize=1)
def reader() -> Reader:
    """The reader of this process."""
    return Reader()


def mask_of(boxes: Boxes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask of `shape` (height, width): 1 inside a box."""
    import cv2

    mask = np.zeros(shape, np.uint8)
    for box in boxes:
        cv2.fillPoly(mask, [np.round(box).astype(np.int32)], 1)
    return mask


def masked(pixels: "MatLike", boxes: Boxes) -> "MatLike":
    """`pixels` with each box, enlarged by a margin, filled with the mean colour of the ring around it.

    Without such a ring, the mean colour of the image outside of all text is taken; grey for an image
    that is all text.
    """
    import cv2

    kernel = np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8)
    text = cv2.dilate(mask_of(boxes, pixels.shape[:2]), kernel)
    filled = pixels.copy()
    beyond = pixels[text == 0]
    plain = beyond.mean(axis=0) if len(beyond) else np.full(3, 128.0)
    for box in boxes:
        inside = cv2.dilate(mask_of([box], pixels.shape[:2]), kernel)
        ring = pixels[(cv2.dilate(inside, kernel) == 1) & (text == 0)]
        filled[inside == 1] = np.round(ring.mean(axis=0) if len(ring) else plain)
    return filled


def overlap(caption: str, lines: Iterable[str]) -> float:
    """The share of a caption's words that are written in an image, 0 to 1.

    Words are runs of at least four letters and digits after NFKC and case folding. A word counts as
    written if a recognised line contains it after spaces and punctuation are removed, because OCR loses
    spaces. The share of a caption without such a word is 0.

    >>> overlap("Grand Opening of the shop", ["GRANDOPENING", "20% off"])
    0.6666666666666666
    """
    words = {word for word in _words(caption) if len(word) >= _SHORTEST}
    read = ["".join(_words(line)) for line in lines]
    return sum(any(word in line for line in read) for word in words) / max(len(words), 1)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class TextArea:
    """The share of an image that boxes of text cover, 0 to 1."""

    def __call__(self, batch: Batch) -> list[float]:
        """Shares, n of them."""
        return [
            float(mask_of(reader().boxes(_bgr(pixels)), pixels.shape[:2]).mean())
            for pixels in batch.images
        ]


class TextOverlap:
    """The share of a caption's words that are written in its image: see `overlap`."""

    def __call__(self, batch: Batch) -> list[float]:
        """Shares, n of them."""
        pairs = zip(batch.captions, batch.images, strict=True)
        return [overlap(caption, reader().lines(_bgr(pixels))) for caption, pixels in pairs]


class MaskedClip:
    """The cosine of caption and image once the image's text is masked (T-MARS)."""

    batch_size = 256

    def __init__(self, model: ClipModel) -> None:
        self._model = model

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Cosines, shape (n,)."""
        scorer = self._model.load()
        scores = np.empty(len(batch), np.float32)
        for start in range(0, len(batch), scorer.batch_size):
            rows = slice(start, start + scorer.batch_size)
            ready = [scorer.transform(_without_text(pixels)) for pixels in batch.images[rows]]
            scores[rows] = scorer(scorer.collate(ready, batch.captions[rows])).scores
        return scores


def _bgr(pixels: "MatLike") -> Pixels:
    """RGB as OpenCV has it."""
    return np.ascontiguousarray(pixels[..., ::-1])


def _without_text(pixels: Pixels) -> "Image":
    """An RGB image of Pillow's whose text is masked; as it is where there is none."""
    from PIL import Image

    bgr = _bgr(pixels)
    boxes = reader().boxes(bgr)
    return Image.fromarray(_bgr(masked(bgr, boxes)) if boxes else pixels)
