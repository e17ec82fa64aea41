"""Language identification with fastText's lid.176 (Joulin et al. 2016)."""

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.ops.classifier import Classifier, load, predict


@lru_cache
def _model() -> Classifier:
    return load("shipped://curate/data/lid.176.ftz")


def identify(captions: Any) -> pa.Array:
    """The ISO code of each caption's most likely language, a StringArray of length n.

    A caption must not hold a line feed. An empty one has no language: null.
    """
    model = _model()
    empty = pc.fill_null(pc.equal(pc.binary_length(captions), 0), True)
    labels = pa.array(predict(model, captions), mask=empty.to_numpy(zero_copy_only=False))
    return pa.array(model.labels, pa.string()).take(labels)
