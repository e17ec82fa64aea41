"""SemDeDup's rule inside a cluster, against its definition, row by row in plain Python."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.duplicates import semantic
from curate.ops.duplicates.semantic import Against, Cluster
from curate.ops.scores.vectors import unit

Verdict = tuple[int, float | None]


def cosine(one: Any, other: Any) -> float:
    return math.fsum(float(x) * float(y) for x, y in zip(one, other, strict=True))


def by_definition(vectors: Any, *, epsilon: float, against: Against) -> list[Verdict]:
    """Who stays in the place of each row, and the cosine to the first near one before it."""
    rows = unit(vectors)
    stays: list[int] = []
    verdicts: list[Verdict] = []
    for i, row in enumerate(rows):
        before = range(i) if against == "earlier" else stays
        near = next((j for j in before if cosine(rows[j], row) > 1 - epsilon), None)
        if near is None:
            stays.append(i)
            verdicts.append((i, None))
        else:
            verdicts.append((verdicts[near][0], cosine(rows[near], row)))
    return verdicts


def found_in(vectors: Any, cuts: list[int], **settings: Any) -> list[Verdict]:
    """The same of the kernel, given the rows in several runs."""
    cluster = Cluster(vectors.shape[1], **settings)
    found: list[Verdict] = []
    for run in np.split(vectors, cuts):
        survivors, cosines = cluster.add(run)
        found += [
            (number, None if math.isnan(x) else x)
            for number, x in zip(survivors.tolist(), cosines.tolist(), strict=True)
        ]
    return found


def same(found: list[Verdict], expected: list[Verdict]) -> bool:
    return [x for x, _ in found] == [x for x, _ in expected] and all(
        (a is None) == (b is None) and (a is None or b is None or abs(a - b) < 1e-9)
        for (_, a), (_, b) in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("against", ["kept", "earlier"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_random_vectors_with_ties(data: st.DataObject, against: Against) -> None:
    """Few small whole numbers: many rows are equal, and many cosines; blocks of every size."""
    n = data.draw(st.integers(0, 40))
    vectors = np.array(
        data.draw(st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=n,
                           max_size=n)), np.float16,
    ).reshape(n, 3)  # fmt: skip
    epsilon = data.draw(st.sampled_from([0.001, 0.03, 0.11, 0.4, 0.9]))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_BLOCK", data.draw(st.integers(1, 9)))
        patch.setattr(semantic, "_SLICE", data.draw(st.integers(1, 9)))
        found = found_in(vectors, cuts, epsilon=epsilon, against=against)
    assert same(found, by_definition(vectors, epsilon=epsilon, against=against))


@pytest.mark.parametrize("against", ["kept", "earlier"])
def test_whole_blocks_of_near_rows(against: Against) -> None:
    random = np.random.default_rng(4)
    centres = random.normal(size=(150, 12))
    vectors = centres[random.integers(150, size=1200)] + 0.12 * random.normal(size=(1200, 12))
    vectors = vectors.astype(np.float16)
    found = found_in(vectors, [1060], epsilon=0.02, against=against)
    assert same(found, by_definition(vectors, epsilon=0.02, against=against))
    stays = [number for i, (number, _) in enumerate(found) if number == i]
    assert 150 < len(stays) < 1000
    assert {number for number, _ in found} == set(stays), "who is named stays"


def test_a_chain_of_near_rows_is_where_the_two_rules_differ() -> None:
    """Steps of 10 degrees, each near the next and the one after, at a cosine over that of 21."""
    angles = np.radians(10 * np.arange(7))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    epsilon = 1 - math.cos(math.radians(21))
    kept = found_in(vectors, [], epsilon=epsilon, against="kept")
    assert [number for number, _ in kept] == [0, 0, 0, 3, 3, 3, 6]
    earlier = found_in(vectors, [], epsilon=epsilon, against="earlier")
    assert [number for number, _ in earlier] == [0] * 7
    assert earlier[6][1] == pytest.approx(math.cos(math.radians(20)), abs=1e-6), "to the fourth"


def test_a_threshold_that_a_cosine_meets_exactly_is_not_passed() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8]], np.float32)
    here = float(np.float64(unit(vectors)[1, 0]))
    for epsilon, dropped in ((1 - here, False), (1 - here + 1e-9, True)):
        (_, (number, _)) = found_in(vectors, [], epsilon=epsilon, against="kept")
        assert (number == 0) == dropped


def test_only_the_latest_rows_of_a_window_are_compared() -> None:
    vectors = np.eye(6)[[0, 1, 2, 0, 2]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_BLOCK", 1)
        found = found_in(vectors, [], epsilon=0.1, against="kept", window=2)
    assert [number for number, _ in found] == [0, 1, 2, 3, 2]
