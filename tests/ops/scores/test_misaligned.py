"""Words that the image denies, on the demo's model: which, what they add up to, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import CurateError
from curate.ops.scores.attribution import TextModel
from curate.ops.scores.batch import Batch, Vectors
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.kinds import builtin
from curate.ops.scores.misaligned import MisalignedWords, aggregated, judged
from curate.ops.scores.vectors import unit
from curate.schema import WORD
from tests.ops.scores.test_clip import MINI, MINI_WEIGHTS

MODEL = ClipModel(MINI, MINI_WEIGHTS)
CAPTIONS = [
    "A red car, and a dog.",
    "",
    "...",
    "an apple on a plate",
    " ".join(["word"] * 60),
    "cat",
]


def images(n: int) -> Vectors:
    drawn: Vectors = np.random.default_rng(0).normal(size=(n, 256)).astype(np.float32)
    return unit(drawn)


def score(captions: list[str], vectors: Vectors, *, below: float = -5e-5) -> dict[str, pa.Array]:
    return MisalignedWords(MODEL, "words", below)(Batch(captions, image_embeddings=vectors))


def test_a_word_is_the_mean_of_its_tokens() -> None:
    vectors = images(len(CAPTIONS))
    found = score(CAPTIONS, vectors)
    tower = TextModel(MODEL).on("cpu")
    import torch

    told = tower(tower.collate(list(torch.from_numpy(vectors)), CAPTIONS))
    np.testing.assert_allclose(found["words_cosine"], told.scores, atol=1e-6)
    words = found["words_words"].to_pylist()
    assert [one["word"] for one in words[0]] == ["A", "red", "car", "and", "a", "dog"]
    assert [one["start"] for one in words[0]] == [0, 2, 6, 11, 15, 17]
    at = [4, 5, 6, 8, 9, 10]  # the comma is the seventh token, and not judged
    np.testing.assert_allclose([one["score"] for one in words[0]], told.text[0][at], rtol=1e-3)
    assert words[1] == words[2] == []
    assert found["words"].to_pylist()[1:3] == [0, 0]
    assert len(words[4]) == 27  # as many as the model reads
    for sums, each, cosine in zip(found["words"], words, found["words_cosine"], strict=True):
        lost = sum(one["score"] for one in each if one["score"] < -5e-5)
        assert sums.as_py() == pytest.approx(lost * (1 - max(cosine.as_py(), 0)), rel=1e-6)
        assert all(one["misaligned"] == (one["score"] < -5e-5) for one in each)


def test_a_pair_depends_on_itself_alone() -> None:
    captions = [f"{a} {b} on a {c}" for a in ("red", "big") for b in ("dog", "car", "tree")
                for c in ("table", "very large dachshund", "hill of grass in the sun")]  # fmt: skip
    vectors = images(len(captions))
    whole = score(captions, vectors)
    order = np.random.default_rng(1).permutation(len(captions))[:7]
    some = score([captions[x] for x in order], vectors[order])
    for name, values in some.items():
        assert values.equals(whole[name].take(pa.array(order)))


def test_another_threshold_needs_no_model() -> None:
    vectors = images(len(CAPTIONS))
    found = score(CAPTIONS, vectors)
    by_hand = builtin("misaligned_words", name="words", model=MODEL, below=-0.002)
    assert by_hand.schema.names[:3] == ["words", "words_cosine", "words_words"]
    settled = by_hand.settled(pa.table(found))
    expected = score(CAPTIONS, vectors, below=-0.002)
    assert not expected["words"].equals(found["words"])
    assert settled.equals(pa.table(expected))
    empty = by_hand.settled(pa.table(found)[:0])
    assert empty.schema == settled.schema


def test_the_threshold_is_strict_and_nulls_stay() -> None:
    below = float(np.float32(-0.25))
    word = {"word": "a", "start": 0, "end": 1, "score": -0.25, "misaligned": True}
    words = pa.array([[word, {**word, "score": -0.5}], None, [word]], pa.list_(WORD))
    told = judged(words, below=below)
    assert told[1].as_py() is None
    assert [one["misaligned"] for one in told[0].as_py()] == [False, True]
    cosines = pa.array([0.5, None, None], pa.float32())
    assert aggregated(told, cosines).to_pylist() == [-0.25, None, None]


def test_embeddings_of_another_model_are_refused() -> None:
    with pytest.raises(CurateError, match="the embeddings have 8 values, the model's texts 256"):
        score(["a dog"], np.ones((1, 8), np.float32))


@pytest.mark.parametrize("model", ["xlm-roberta-base-ViT-B-32", "ViT-B-16-SigLIP"])
def test_models_with_towers_of_transformers_are_refused(model: str) -> None:
    assert f"the texts of {model} go through" in (MisalignedWords.refuses(model) or "")
    assert MisalignedWords.refuses("ViT-B-32") is None
    assert MisalignedWords.refuses(MINI) is None
