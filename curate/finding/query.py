"""A text or an image as the model of a run embeds it."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from curate.config import Scorer
from curate.errors import CurateError
from curate.ops.scores.clip import ClipModel, ClipScorer
from curate.ops.scores.texts import embed_texts, text_tower
from curate.ops.scores.vectors import Vectors
from curate.planning.asked import clip_model


def embed_text(scorer: Scorer, text: str) -> Vectors:
    """The unit vector of a text, (width,)."""
    found: Vectors = embed_texts(text_tower(_spec(scorer)), [text])[0]
    return found


def embed_image(scorer: Scorer, content: bytes) -> Vectors:
    """The unit vector of an image file, (width,).

    Raises
    ------
    CurateError
        Where it cannot be decoded.
    """
    model = _loaded(_spec(scorer))
    pixels = model.prepare(content)
    if pixels is None:
        raise CurateError("it is no image that can be decoded")
    found: Vectors = model(model.collate([pixels], [""])).image[0]
    return found


def _spec(scorer: Scorer) -> ClipModel:
    return replace(clip_model(scorer), batch_size=1, compile=False)


@lru_cache(maxsize=2)
def _loaded(spec: ClipModel) -> ClipScorer:
    """The model on the CPU: for one query it is as quick as a GPU is."""
    return spec.on("cpu")


def check_width(query: Vectors, width: int) -> None:
    """Raise CurateError where the embeddings that a run stores are not of its model's length."""
    if len(query) != width:
        raise CurateError(
            f"the model's embeddings have {len(query)} values, those stored {width}: the"
            " configuration names another model than scored the pairs"
        )


def similarities(vectors: Vectors, query: Vectors) -> Vectors:
    """The cosine of each row, (n, width), to a unit vector; -1 where a row has no embedding."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    lengths[~(lengths > 0)] = np.inf
    found = np.nan_to_num(vectors @ query / lengths, nan=-1.0)
    return np.where(np.isinf(lengths), -1.0, found).astype(np.float32)
