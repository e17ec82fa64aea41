"""Language identification with fastText's lid.176 (Joulin et al. 2016)."""

from functools import lru_cache
from typing import Any

import pyarrow as pa

from curate import files

_LABEL = "__label__"


@lru_cache
def _model() -> Any:
    import fasttext

    return fasttext.load_model(str(files.shipped("curate/data/lid.176.ftz")))


def identify(captions: Any) -> pa.Array:
    """The ISO code of each caption's most likely language, a StringArray of length n.

    A caption must not hold a line feed. An empty one has no language: null.
    """
    texts = captions.to_pylist()
    labels = _model().f.multilinePredict([(text or "") + "\n" for text in texts], 1, 0.0, "strict")[
        0
    ]
    codes = [
        found[0].removeprefix(_LABEL) if found and text else None
        for found, text in zip(labels, texts, strict=True)
    ]
    return pa.array(codes, pa.string())
