"""Language identification by a classifier of fastText's (Joulin et al. 2016): lid.176, or another.

The shipped model is run by our own kernel, any other by the `fasttext` package.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError
from curate.extras import install, require
from curate.ops.text import classifier
from curate.schema import Column

_SHIPPED = "shipped://curate/data/lid.176.ftz"
_LABEL = "__label__"


class _Model(NamedTuple):
    labels: list[str]  # codes of languages
    predict: Callable[[Column], tuple[NDArray[np.int32], NDArray[np.float32]]]
    """The number of each caption's label, -1 for none, and its probability."""


class _Library(Protocol):
    """A model as the `fasttext` package holds it."""

    def get_labels(self) -> list[str]:
        """The labels of a classifier; the words of any other model."""

    def predict(self, text: list[str]) -> tuple[list[list[str]], list[list[float]]]:
        """The most likely label of each line and its probability; of a line without words, none."""


def _model(path: str | None) -> _Model:
    if path is None:
        return _shipped()
    local = files.local_path(path)
    written = os.stat(local).st_mtime_ns if local and os.path.exists(local) else 0
    return _other(path, written)


@lru_cache
def _shipped() -> _Model:
    model = classifier.load(_SHIPPED)
    return _Model(model.labels, partial(classifier.predict, model))


@lru_cache(maxsize=1)
def _other(path: str, _written: int) -> _Model:
    require("fasttext", by=f"{path}: it", command=install("languages"))
    import fasttext

    try:
        with files.local_copy(path) as copy:
            library: _Library = fasttext.load_model(copy)
        library.predict(["a"])
    except (ValueError, RuntimeError, MemoryError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise CurateError(f"{path}: not a classifier of fastText's: {told[:200]}") from None
    labels = library.get_labels()
    for label in labels:
        if not label.removeprefix(_LABEL):
            raise CurateError(
                f"{path}: a label is {label!r}; expected {_LABEL} and a language code"
            )
        if not label.startswith(_LABEL):
            raise CurateError(f"{path}: a label is {label!r}; expected {_LABEL}{label}")
    return _Model(
        [label.removeprefix(_LABEL) for label in labels],
        partial(_predict, library, {label: number for number, label in enumerate(labels)}),
    )


def _predict(
    library: _Library, numbers: dict[str, int], captions: Column
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    found, probabilities = library.predict([text or "" for text in captions.to_pylist()])
    return (
        np.array([numbers[one[0]] if len(one) else -1 for one in found], np.int32),
        np.minimum(np.array([one[0] if len(one) else 0 for one in probabilities], np.float32), 1),
    )


def labels(model: str | None = None) -> list[str]:
    """The codes of the languages that a model tells apart: the one in the file `model`, or lid.176.

    Raises
    ------
    CurateError
        Where the file is no such model, or the package that runs it is not installed.
    """
    return classifier.labels(_SHIPPED) if model is None else _model(model).labels


def identify(captions: Column, *, model: str | None = None) -> tuple[pa.Array, pa.Array]:
    """The code of each caption's most likely language, and its probability (float32), length n.

    A caption must not hold a line feed. An empty one has no language: null. Codes are the model's
    labels without ``__label__``; lid.176, which is taken without another, has those of ISO 639-1.
    """
    found = _model(model)
    numbers, probabilities = found.predict(captions)
    empty = pc.fill_null(pc.equal(pc.binary_length(captions), 0), True)
    mask = empty.to_numpy(zero_copy_only=False) | (numbers < 0)
    languages = pa.array(found.labels, pa.string()).take(pa.array(numbers, mask=mask))
    return languages, pa.array(probabilities, mask=mask)


@dataclass(frozen=True)
class CountsAs:
    """Languages whose captions count as another one, which has an entry list."""

    languages: Mapping[str, str]
    rest: str | None = None  # what a language counts as that is neither here nor has a list
    lists: frozenset[str] = frozenset()  # the languages that have one

    def of(self, languages: pa.Array) -> pa.Array:
        """The language that each counts as, of an array of codes.

        >>> counts = CountsAs({"yue": "zh"}, rest="other", lists=frozenset({"zh", "en"}))
        >>> counts.of(pa.array(["yue", "en", "tlh"])).to_pylist()
        ['zh', 'en', 'other']
        """
        each = languages.dictionary_encode()
        named = [self._one(code) for code in each.dictionary.to_pylist()]
        return pa.array(named, pa.string()).take(each.indices)

    def _one(self, code: str) -> str:
        if code in self.languages:
            return self.languages[code]
        return code if self.rest is None or code in self.lists else self.rest
