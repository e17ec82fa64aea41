"""SimCore's rounds against a loop over every image that is left."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.scores.simcore import Candidates, rounds_of
from curate.ops.scores.vectors import unit


def naive(cosines: Any, *, keep: int, tau: float | None) -> dict[int, int]:
    """The rounds by their definition: `cosines` of all centroids with all images."""
    left = list(range(cosines.shape[1]))
    taken: dict[int, int] = {}
    first, number = None, 0
    while left and len(taken) < keep:
        best = [max(left, key=lambda i: (row[i], -i)) for row in cosines]
        mean = float(np.mean([float(row[i]) for row, i in zip(cosines, best, strict=True)]))
        if first is None:
            first = mean
        elif tau is not None and mean < tau * first:
            break
        number += 1
        nearest = {i: max(float(row[j]) for row, j in zip(cosines, best, strict=True) if j == i)
                   for i in best}  # fmt: skip
        for i in sorted(nearest, key=lambda i: (-nearest[i], i))[: keep - len(taken)]:
            taken[i] = number
            left.remove(i)
    return taken


@given(
    images=st.integers(0, 30), centroids=st.integers(1, 6), keep=st.integers(1, 40),
    tau=st.sampled_from([None, 0.95, 0.5, 0.1]), coarse=st.booleans(),
    cuts=st.lists(st.integers(0, 30), max_size=3), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_rounds_are_those_of_the_definition_however_the_pool_is_cut(
    images: int,
    centroids: int,
    keep: int,
    tau: float | None,
    coarse: bool,
    cuts: list[int],
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    pool, target = (unit(random.normal(size=(n, 4)) + 0.7) for n in (images, centroids))
    if coarse:  # many ties
        pool, target = (unit(np.sign(x)) for x in (pool, target))
    numbers = np.arange(images, dtype=np.int64) * 3 + 5
    bounds = [0, *sorted(min(cut, images) for cut in cuts), images]
    slices = [slice(a, b) for a, b in pairwise(bounds)]
    joined = Candidates.none(centroids)
    for k in random.permutation(len(slices)):
        here = slices[k]
        alone = Candidates.none(centroids).with_images(pool[here], numbers[here], target, keep=keep)
        together = joined.with_images(pool[here], numbers[here], target, keep=keep)
        joined = joined.among(alone.cosines, alone.numbers, keep=keep)
        assert joined.cosines.shape == (centroids, min(keep, together.numbers.shape[1]))
        assert (joined.numbers == together.numbers).all()
    found = rounds_of(joined, keep=keep, tau=tau)
    cosines = np.concatenate([target @ pool[here].T for here in slices], axis=1)
    expected = naive(cosines, keep=keep, tau=tau)
    assert dict(zip(((found[0] - 5) // 3).tolist(), found[1].tolist(), strict=True)) == expected
    assert (np.diff(found[0]) > 0).all()


def test_a_pool_that_holds_the_target_yields_it_first() -> None:
    random = np.random.default_rng(1)
    target = unit(random.normal(size=(5, 16)))
    pool = unit(random.normal(size=(200, 16)))
    pool[[3, 50, 77, 120, 199]] = target
    found = Candidates.none(5).with_images(pool, np.arange(200), target, keep=12)
    numbers, rounds = rounds_of(found, keep=12)
    assert numbers[rounds == 1].tolist() == [3, 50, 77, 120, 199]
    assert len(numbers) == 12
    assert rounds.max() == 3
    assert len(rounds_of(found, keep=12, tau=0.95)[0]) == 5, "nothing else is nearly as near"


def test_centroids_that_agree_take_one_image_a_round() -> None:
    target = unit(np.ones((4, 3)))
    pool = unit(np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [-1, 0, 0]]))
    found = Candidates.none(4).with_images(pool, np.arange(4), target, keep=3)
    assert [x.tolist() for x in rounds_of(found, keep=3)] == [[0, 1, 2], [1, 2, 3]]


def test_memory_is_of_what_is_kept_whatever_passes_by() -> None:
    random = np.random.default_rng(2)
    target = unit(random.normal(size=(3, 8)))
    found = Candidates.none(3)
    for start in range(0, 20_000, 1000):
        block = unit(random.normal(size=(1000, 8)))
        found = found.with_images(block, np.arange(start, start + 1000), target, keep=50)
        assert found.numbers.shape == (3, 50)
        assert found.numbers.base is None
    assert found.cosines.min() > 0.8
    assert pytest.approx(np.sort(found.cosines)[:, ::-1]) == found.cosines
