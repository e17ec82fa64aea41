"""Clusters are those of the embeddings, their words those that tell them from the others."""

import math

import numpy as np
import pytest

from curate.finding.map import _plane
from curate.finding.words import _ratio, typical, words_of


def test_words_are_those_that_tell_a_group_from_the_others() -> None:
    captions = [
        "the red dog",
        "a dog and the cat",
        "dog!",
        "the blue sea",
        "sea, the sea",
        "a sea 2",
    ]
    groups = np.array([0, 0, 0, 1, 1, 1])
    assert typical(captions, groups, n=3) == [("dog",), ("sea",)]
    assert typical([], np.array([], np.int64), n=3) == []
    assert typical(["", ""], np.array([0, 0]), n=3) == [()]
    assert words_of("Äpfel & 猫猫 x " + "a" * 30) == {"äpfel", "猫猫"}


def test_the_ratio_is_that_of_two_binomials() -> None:
    """As Dunning writes it: of one share for both, and of a share each."""

    def likelihood(share: float, hits: int, n: int) -> float:
        return sum(
            count * math.log(x) for count, x in ((hits, share), (n - hits, 1 - share)) if count
        )

    one = likelihood(12 / 90, 9, 30) + likelihood(12 / 90, 3, 60)
    each = likelihood(9 / 30, 9, 30) + likelihood(3 / 60, 3, 60)
    assert _ratio(9, 30, 12, 90) == pytest.approx(2 * (each - one))


def test_the_plane_keeps_its_sides() -> None:
    rows = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    assert _plane(rows) == _plane(rows[:, ::-1].copy())
    assert _plane(rows[:1]) == [(0.0, 0.0)]
