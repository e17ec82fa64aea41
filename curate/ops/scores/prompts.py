"""How well images fit what texts name: over stored embeddings of images, no image is read again.

One worker embeds the texts, once a run; all that score images are given the vectors (`made`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.files import digest_of
from curate.ops.scores.batch import IMAGE_EMBEDDING, Batch, Vectors
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.texts import embed_texts, filled, mean_vector, text_tower
from curate.ops.scores.vectors import unit

_Texts = Sequence[str]


@dataclass(frozen=True)
class PromptVectors:
    """The vector of each group of prompts, and what a score makes of them."""

    name: str  # of the score
    groups: tuple[str, ...]  # empty: one group, whose cosine is the score
    temperature: float
    digest: str
    vectors: Vectors = field(repr=False)  # (groups, width), unit vectors


class Prompts:
    """The cosine of each image and the mean of some prompts, each in every template.

    The mean is that of the texts' unit vectors, made a unit vector again. Of several groups: the
    softmax of their cosines over the temperature, and the group with the highest, the first of equal
    ones.
    """

    reads = (IMAGE_EMBEDDING,)
    version = "1"
    batch_size = 4096

    @staticmethod
    def columns(name: str, options: Mapping[str, object]) -> pa.Schema:
        """One column of numbers; of groups a text, and a number for each."""
        groups = options.get("groups")
        if not isinstance(groups, Mapping) or not groups:
            return pa.schema([(name, pa.float32())])
        each = [(f"{name}_{group}", pa.float32()) for group in groups]
        return pa.schema([(name, pa.string()), *each])

    @staticmethod
    def made(
        *,
        name: str,
        model: ClipModel,
        prompts: _Texts = (),
        groups: Mapping[str, _Texts] | None = None,
        templates: _Texts = ("{}",),
        temperature: float = 1.0,
    ) -> PromptVectors:
        """The vectors of the prompts of the score `name`, by the text tower of `model`."""
        tower = text_tower(model)
        wanted = list((groups or {"": prompts}).values())
        means = [
            mean_vector(embed_texts(tower, [x for one in texts for x in filled(templates, one)]))
            for texts in wanted
        ]
        vectors = np.stack(means).astype(np.float32)
        digest = digest_of(vectors.shape, vectors.tobytes().hex())
        return PromptVectors(name, tuple(groups or ()), temperature, digest, vectors)

    def __init__(self, made: PromptVectors) -> None:
        self._made = made

    def __call__(self, batch: Batch) -> Mapping[str, Sequence[object] | NDArray[np.float32]]:
        """The columns, each of n values; row by row, as the sums of a product depend on its rows.

        Raises
        ------
        CurateError
            Where the images' embeddings are not as wide as those of the texts.
        """
        made, images = self._made, unit(batch.image_embeddings)
        if images.shape[1] != made.vectors.shape[1]:
            raise CurateError(
                f"the stored embeddings of images have {images.shape[1]} values, those of texts by"
                f" score.model {made.vectors.shape[1]}"
            )
        cosines = np.stack([(images * one).sum(axis=1) for one in made.vectors], axis=1)
        if not made.groups:
            return {made.name: cosines[:, 0].astype(np.float32)}
        scaled = cosines.astype(np.float64) / made.temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        best = [made.groups[at] for at in cosines.argmax(axis=1).tolist()]
        return {made.name: best} | {
            f"{made.name}_{group}": shares[:, at] for at, group in enumerate(made.groups)
        }
