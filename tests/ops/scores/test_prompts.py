"""What prompts say of images, given their vectors."""

import numpy as np
import pytest

from curate.errors import CurateError
from curate.ops.scores.batch import Batch, Vectors
from curate.ops.scores.prompts import Prompts, PromptVectors


def of(images: Vectors, *groups: str, temperature: float = 0.1) -> dict[str, list[object]]:
    vectors = np.eye(max(len(groups), 1), 2, dtype=np.float32)
    score = Prompts(PromptVectors("x", groups, temperature, "d", vectors))
    found = score(Batch([""] * len(images), image_embeddings=images))
    return {name: np.asarray(values).tolist() for name, values in found.items()}


def test_shares_are_the_softmax_of_cosines_over_the_temperature() -> None:
    """exp(6), exp(8): the image is (.6, .8), however long its stored vector is."""
    found = of(np.array([[0.6, 0.8], [3, 4], [1, 1], [1, 0]], np.float32), "a", "b")
    assert found["x"] == ["b", "b", "a", "a"], "of equal ones the first"
    assert found["x_a"] == pytest.approx([0.1192029, 0.1192029, 0.5, 0.9999546], abs=1e-6)
    assert found["x_b"] == pytest.approx([0.8807971, 0.8807971, 0.5, 0.0000454], abs=1e-6)


def test_no_share_is_lost_at_a_low_temperature() -> None:
    found = of(np.array([[1, 0], [-1, 0]], np.float32), "a", "b", temperature=1e-6)
    assert (found["x_a"], found["x_b"]) == ([1, 0], [0, 1])


def test_without_groups_it_is_the_cosine() -> None:
    assert of(np.array([[0.6, 0.8], [-2, 0]], np.float32)) == {"x": pytest.approx([0.6, -1])}


def test_a_row_is_the_same_whatever_stands_beside_it() -> None:
    images = np.random.default_rng(1).normal(size=(300, 512)).astype(np.float32)
    vectors = np.random.default_rng(2).normal(size=(3, 512)).astype(np.float32)
    score = Prompts(PromptVectors("x", ("a", "b", "c"), 0.01, "d", vectors))
    whole = score(Batch([""] * 300, image_embeddings=images))
    for n in (1, 7, 64):
        some = score(Batch([""] * n, image_embeddings=images[:n]))
        for name, values in some.items():
            assert np.array_equal(np.asarray(values), np.asarray(whole[name])[:n])


def test_other_widths_are_named() -> None:
    with pytest.raises(CurateError, match=r"3 values, those of texts by score\.model 2$"):
        of(np.ones((1, 3), np.float32), "a", "b")
