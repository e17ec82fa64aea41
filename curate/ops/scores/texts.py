"""Texts as the text tower of a run's model embeds them: prompts, names, entries of a list."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from curate.ops.scores.batch import Vectors
from curate.ops.scores.clip import ClipModel, ClipScorer
from curate.ops.scores.pairs import Scorer
from curate.ops.scores.vectors import unit


@lru_cache(maxsize=2)
def text_tower(model: ClipModel) -> ClipScorer:
    """The model on the CPU without its image tower, loaded once a process: for a few texts."""
    tower = replace(model, compile=False, workers=None).on("cpu")
    tower.drop_images()
    return tower


def embed_texts(scorer: Scorer, texts: Sequence[str]) -> Vectors:
    """The unit vector of each text, (n, width) float32; of each alone, whatever stands beside it."""
    size = scorer.batch_size
    found = [
        scorer(scorer.collate([], texts[at : at + size])).text for at in range(0, len(texts), size)
    ]
    return np.concatenate(found)


def filled(templates: Sequence[str], name: str) -> Iterator[str]:
    """`name` in the place of ``{}`` in each template; other braces stay as they are.

    >>> list(filled(["{}", "a photo of {}"], "dog"))
    ['dog', 'a photo of dog']
    """
    return (template.replace("{}", name) for template in templates)


def mean_vector(vectors: Vectors) -> Vectors:
    """The mean of unit vectors, (n, width), as a unit vector, (width,)."""
    mean: Vectors = unit(vectors.mean(axis=0, dtype=np.float64)[None].astype(np.float32))[0]
    return mean
