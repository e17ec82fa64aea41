"""Words that the image denies: those of a caption that pull its cosine with the image down.

CLIP4DM ("Extract Free Dense Misalignment from CLIP", arXiv 2412.18404). A word's score is the mean of
what its tokens do (`curate.ops.scores.attribution`) to the cosine of the image and "A photo depicts " +
caption; one below a threshold is misaligned: the image denies it. The threshold is of one model: its
authors have -5e-5 for cosines of OpenAI's ViT-B-32 in half precision. A pair's score is the sum of such
words' scores times (1 - the cosine, or 1 where that is negative): at most 0, and nearer 0 is better.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.ops.scores.attribution import STEP, TextModel, refuses, speller_of, width_of
from curate.ops.scores.batch import IMAGE_EMBEDDING, Batch
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.spelled import Speller, Word
from curate.schema import OF_WORDS, WORD


def judged(words: pa.ListArray, *, below: float) -> pa.ListArray:
    """The same `WORD`s by another threshold: misaligned is one with a score `below` it."""
    each = words.flatten()
    scores = each.field("score")
    is_below = np.asarray(scores).astype(np.float64) < below
    fields = [each.field(one.name) for one in WORD][:-1]
    made = pa.StructArray.from_arrays([*fields, pa.array(is_below)], fields=list(WORD))
    lengths = words.value_lengths().fill_null(0)
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), made, mask=words.is_null())


def aggregated(words: pa.ListArray, cosines: pa.Array) -> pa.Array:
    """The score of each pair, of its `WORD`s and the cosine of image and text; null without either.

    >>> word = {"word": "coke", "start": 9, "end": 13, "score": -0.5, "misaligned": True}
    >>> kept = word | {"score": 0.25, "misaligned": False}
    >>> words = pa.array([[word, kept], [kept], []], pa.list_(WORD))
    >>> aggregated(words, pa.array([0.25, 0.5, -1], pa.float32())).to_pylist()
    [-0.375, 0.0, 0.0]
    """
    each = words.flatten()
    lost = np.where(np.asarray(each.field("misaligned")), np.asarray(each.field("score")), 0.0)
    lengths = np.asarray(words.value_lengths().fill_null(0))
    pairs = np.repeat(np.arange(len(words)), lengths)
    sums = np.bincount(pairs, weights=lost, minlength=len(words))
    known = np.asarray(words.is_valid()) & np.asarray(cosines.is_valid())
    share = 1 - np.clip(np.asarray(cosines.fill_null(0)).astype(np.float64), 0, 1)
    return pa.array((sums * share).astype(np.float32) + 0.0, mask=~known)


class MisalignedWords:
    """The words of each caption that its image denies, and what they add up to."""

    reads = (IMAGE_EMBEDDING,)
    version = "1"
    batch_size = 2048  # captions of about one length go through the model together

    def __init__(self, model: ClipModel, name: str, below: float) -> None:
        self._model = TextModel(model)
        self._name, self._below = name, below
        self._speller: Speller | None = None

    @staticmethod
    def columns(name: str, _: Mapping[str, object]) -> pa.Schema:
        """What the words add up to, the cosine of image and text, and the words."""
        return pa.schema([(name + what, kind) for what, (kind, _) in OF_WORDS.items()])

    @staticmethod
    def refuses(model: str) -> str | None:
        """Why this cannot be told of a model, where its configuration says that."""
        return refuses(model)

    @staticmethod
    def settled(found: pa.Table, options: Mapping[str, object]) -> pa.Table:
        """The same columns by another threshold, the option `below`; no model is needed."""
        name, below = str(options["name"]), float(str(options["below"]))
        words = judged(found[f"{name}_words"].combine_chunks(), below=below)
        made = aggregated(words, found[f"{name}_cosine"].combine_chunks())
        for column, values in ((name, made), (f"{name}_words", words)):
            found = found.set_column(found.column_names.index(column), column, values)
        return found

    def __call__(self, batch: Batch) -> dict[str, pa.Array]:
        """The columns NAME, NAME_cosine and NAME_words, (n,) each.

        Raises
        ------
        CurateError
            Where the embeddings are not as wide as the model's, or its text tower is another's.
        """
        cosines, words = self._words_of(batch)
        marked = judged(words, below=self._below)
        return {
            self._name: aggregated(marked, cosines),
            f"{self._name}_cosine": cosines,
            f"{self._name}_words": marked,
        }

    def _words_of(self, batch: Batch) -> tuple[pa.Array, pa.ListArray]:
        import torch

        tower = self._model.load()
        if self._speller is None:
            self._speller = speller_of(tower)
        images = torch.from_numpy(np.ascontiguousarray(batch.image_embeddings, np.float32))
        width = width_of(tower)
        if images.shape[1] != width:
            raise CurateError(
                f"the embeddings have {images.shape[1]} values, the model's texts {width}"
            )
        spelled = [self._speller.words(caption) for caption in batch.captions]
        steps = [words[-1].stop // STEP if words else 0 for words in spelled]
        cosines = np.empty(len(batch), np.float32)
        found: list[list[dict[str, object]]] = [[] for _ in spelled]
        for _, alike in groupby(np.argsort(steps, kind="stable").tolist(), steps.__getitem__):
            for rows in _in_steps(list(alike), size=tower.batch_size):
                captions = [batch.captions[row] for row in rows]
                told = tower(tower.collate([images[row] for row in rows], captions))
                cosines[rows] = told.scores
                for row, each in zip(rows, told.text, strict=True):
                    words = [word for word in spelled[row] if not word.is_punctuation]
                    found[row] = [_judged(word, each) for word in words]
        return pa.array(cosines), pa.array(found, pa.list_(WORD))


def _in_steps(rows: list[int], *, size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _judged(word: Word, tokens: NDArray[np.float32]) -> dict[str, object]:
    """A word and the mean of what its `tokens` do."""
    score = np.float32(tokens[word.first : word.stop].astype(np.float64).mean())
    told = {"word": word.text, "start": word.start, "end": word.end}
    return told | {"score": score, "misaligned": False}
