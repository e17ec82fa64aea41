"""How well images fit what texts name: over stored embeddings of images, no image is read again."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.ops.scores.batch import IMAGE_EMBEDDING, Batch
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.texts import embed_texts, filled, mean_vector, text_tower
from curate.ops.scores.vectors import unit


class Prompts:
    """The cosine of each image and the mean of some prompts, each in every template.

    The mean is that of the texts' unit vectors, made a unit vector again.
    """

    reads = (IMAGE_EMBEDDING,)
    version = "1"
    batch_size = 4096

    def __init__(
        self, model: ClipModel, prompts: Sequence[str], templates: Sequence[str] = ("{}",)
    ) -> None:
        texts = [text for prompt in prompts for text in filled(templates, prompt)]
        self._mean = mean_vector(embed_texts(text_tower(model), texts))

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Cosines, (n,); row by row, as the order of the sums depends on the rows of a product."""
        images = unit(batch.image_embeddings)
        return np.asarray((images * self._mean).sum(axis=1), np.float32)
