"""Language identification with fastText's lid.176 (Joulin et al. 2016)."""

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.ops.text.classifier import Classifier, load, predict


@lru_cache
def _model() -> Classifier:
    return load("shipped://curate/data/lid.176.ftz")


def labels() -> list[str]:
    """The codes of the languages that are told apart."""
    return _model().labels


def identify(captions: Any) -> tuple[pa.Array, pa.Array]:
    """The ISO code of each caption's most likely language, and its probability (float32), length n.

    A caption must not hold a line feed. An empty one has no language: null.
    """
    model = _model()
    empty = pc.fill_null(pc.equal(pc.binary_length(captions), 0), True)
    mask = empty.to_numpy(zero_copy_only=False)
    labels, probabilities = (pa.array(found, mask=mask) for found in predict(model, captions))
    return pa.array(model.labels, pa.string()).take(labels), probabilities
