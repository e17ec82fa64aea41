"""Soft cap sampling against its published algorithm, written as it stands there."""

import heapq
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.hashing import uniform
from curate.ops.selection import softcap
from curate.ops.selection.quantiles import Quantile, find_cuts


def names(n: int) -> pa.Array:
    return pa.array([f"{i:032x}" for i in range(n)])


def drawn(
    scores: list[float], *, size: int, penalty: float, seed: int = 0, parts: int = 1
) -> list[int]:
    """What the stage does, in one go: about, about again, exactly."""
    uids, values = names(len(scores)), np.array(scores)
    finite = values[np.isfinite(values)]
    ats = softcap.span(finite.min(), finite.max(), pairs=len(finite), size=size, penalty=penalty)
    pieces = np.array_split(np.arange(len(scores)), parts)
    for _ in range(2):
        found = np.sum(
            [softcap.about(values[rows], ats, penalty=penalty) for rows in pieces], axis=0
        )
        ats = softcap.narrowed(ats, found, size=size)
    tables = [
        pa.table({"at": softcap.moments(uids.take(rows), values[rows], penalty=penalty, seed=seed,
                                        until=ats[-1])})
        for rows in pieces
    ]  # fmt: skip
    ((_, cut),) = find_cuts(lambda: tables, [Quantile("at", 0.0, lowest=size)]).items()
    counts = softcap.draws(uids, values, penalty=penalty, seed=seed, until=float(cut.value))
    found_counts: list[int] = counts.tolist()
    return found_counts


def one_by_one(scores: list[float], *, size: int, penalty: float, seed: int = 0) -> list[int]:
    """The clock of each pair, the earliest first, `size` times."""
    uids = names(len(scores))

    def wait(row: int, before: int) -> float:
        u = float(uniform(uids[row : row + 1], seed=softcap._seed(seed, before))[0])
        return -math.log1p(-u) / math.exp(scores[row] - penalty * before)

    clocks = [(wait(row, 0), row, 0) for row, score in enumerate(scores) if math.isfinite(score)]
    heapq.heapify(clocks)
    counts = [0] * len(scores)
    for _ in range(size):
        now, row, before = heapq.heappop(clocks)
        counts[row] += 1
        heapq.heappush(clocks, (now + wait(row, before + 1), row, before + 1))
    return counts


def published(
    scores: list[float], *, size: int, penalty: float, batch: int, generator: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The algorithm: batches without replacement by the softmax, and what is drawn falls."""
    left = np.array(scores)
    counts = np.zeros(len(scores), np.int64)
    while counts.sum() < size:
        odds = np.exp(left - left.max())
        n = min(batch, size - int(counts.sum()))
        rows = generator.choice(len(left), size=n, p=odds / odds.sum(), replace=False)
        left[rows] -= penalty
        counts[rows] += 1
    return counts


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-8, 8) | st.just(math.nan), min_size=1, max_size=30).filter(
        lambda x: any(map(math.isfinite, x))
    ),
    st.integers(1, 300), st.sampled_from([0.0, 0.01, 0.15, 1.0]), st.integers(0, 2**63),
    st.integers(1, 4),
)  # fmt: skip
def test_one_threshold_gives_the_draws_one_by_one(
    scores: list[float], size: int, penalty: float, seed: int, parts: int
) -> None:
    asked = {"size": size, "penalty": penalty, "seed": seed}
    found = drawn(scores, parts=parts, **asked)  # type: ignore[arg-type]
    assert found == one_by_one(scores, **asked)  # type: ignore[arg-type]
    assert sum(found) == size


@pytest.mark.parametrize("penalty", [0.15, 1.0, 0.0])
def test_it_has_the_law_of_the_published_algorithm(penalty: float) -> None:
    """Means and the chance of none, over many seeds; a batch is one draw."""
    generator = np.random.default_rng(5)
    scores = generator.normal(0, 2.5, 40).tolist()
    asked = {"size": 60, "penalty": penalty}
    times = 200
    ours = np.array([drawn(scores, seed=seed, **asked) for seed in range(times)])  # type: ignore[arg-type]
    theirs = np.array([
        published(scores, batch=1, generator=generator, **asked) for _ in range(times)  # type: ignore[arg-type]
    ])  # fmt: skip
    noise = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / times) + 1e-9
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * noise).all()
    never = (ours == 0).mean(axis=0) - (theirs == 0).mean(axis=0)
    assert np.abs(never).max() < 5 * 0.5 * math.sqrt(2 / times)


def test_more_draws_take_no_draw_back_and_none_is_of_a_pair_without_a_score() -> None:
    generator = np.random.default_rng(1)
    scores = [*generator.normal(0, 2.5, 50), math.nan, math.inf, -math.inf]
    less, more = (np.array(drawn(scores, size=size, penalty=0.15)) for size in (40, 400))
    assert (less <= more).all()
    assert more[-3:].tolist() == [0, 0, 0]
    assert more.max() > 5


def test_draws_far_beyond_what_a_float_holds() -> None:
    found = drawn([5.0, -5.0], size=40_000, penalty=1.0)
    assert sum(found) == 40_000
    assert 5 <= found[0] - found[1] <= 15, "a score of ten more is ten draws more"
