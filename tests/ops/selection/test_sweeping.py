"""Against the definitions, written out over all possible draws."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.selection import sweeping
from curate.ops.selection.balancing import expected_sizes
from curate.ops.selection.sweeping import Curve, Expectation, Point

ENTRIES = 5
Pool = list[list[int]]

pools = st.lists(
    st.lists(st.integers(0, ENTRIES - 1), unique=True, max_size=4).map(sorted), max_size=7
)
thresholds = st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 50.0])


def counts_of(pool: Pool) -> list[int]:
    return [sum(e in pair for pair in pool) for e in range(ENTRIES)]


def arrow(pool: Pool) -> pa.Array:
    return pa.array(pool, pa.list_(pa.int32()))


def point_of(pool: Pool, t: float, *, cut: int = 0) -> Point:
    """The module's answer, the pool given in two parts."""
    expected = Expectation(counts_of(pool), ts=[t])
    expected.add(arrow(pool[:cut]))
    expected.add(arrow(pool[cut:]))
    return expected.points()[0]


def entropy_number(weights: list[float]) -> float:
    total = sum(weights)
    return math.exp(-sum(w / total * math.log(w / total) for w in weights if w)) if total else 0.0


@settings(max_examples=150, deadline=None)
@given(pool=pools, t=thresholds, cut=st.integers(0, 7))
def test_the_figures_are_the_means_over_all_draws(pool: Pool, t: float, cut: int) -> None:
    counts = counts_of(pool)
    p_entry = [min(Fraction(1), Fraction(t) / n) if n else Fraction(1) for n in counts]
    keep = [1 - math.prod((1 - p_entry[e] for e in pair), start=Fraction(1)) for pair in pool]
    pairs = covered = Fraction(0)
    kept = [Fraction(0)] * ENTRIES
    for draw in itertools.product((False, True), repeat=len(pool)):
        chance = math.prod(
            (k if drawn else 1 - k for k, drawn in zip(keep, draw, strict=True)), start=Fraction(1)
        )
        left = [pair for pair, drawn in zip(pool, draw, strict=True) if drawn]
        found = counts_of(left)
        pairs += chance * len(left)
        covered += chance * sum(n > 0 for n in found)
        kept = [total + chance * n for total, n in zip(kept, found, strict=True)]
    point = point_of(pool, t, cut=cut)
    assert point.pairs == pytest.approx(float(pairs))
    assert point.covered == pytest.approx(float(covered))
    assert point.matches == pytest.approx(float(sum(kept)))
    assert point.concepts == pytest.approx(entropy_number([float(n) for n in kept]))
    assert point.head == sum(n >= t and n > 0 for n in counts)
    assert point.tail == sum(0 < n < t for n in counts)
    assert point.head_matches == sum(n for n in counts if n >= t)
    assert point.tail_matches == sum(n for n in counts if n < t)
    total = sum(counts)
    assert point.p == pytest.approx(point.tail_matches / total if total else 0.0)


@settings(max_examples=50, deadline=None)
@given(pool=pools)
def test_more_t_keeps_and_covers_more(pool: Pool) -> None:
    ts = [0.5, 1.0, 2.0, 4.0, 8.0]
    expected = Expectation(counts_of(pool), ts=ts)
    expected.add(arrow(pool))
    points = expected.points()
    for name in ("pairs", "matches", "covered", "p", "tail"):
        values = [getattr(point, name) for point in points]
        assert values == pytest.approx(sorted(values)), name
    sizes = expected_sizes(arrow(pool), counts_of(pool), ts=ts)
    assert [point.pairs for point in points] == pytest.approx(sizes)


def test_the_largest_t_keeps_the_matched_pool_itself() -> None:
    pool = [[0, 1], [1], [1, 2], [], [4]]
    point = point_of(pool, 100.0)
    before = sweeping.curve("en", pairs=5, counts=np.array(counts_of(pool)), points=[point])
    assert (point.pairs, point.matches, point.covered) == (4, before.matches, before.matched)
    assert point.concepts == before.concepts == entropy_number([1.0, 3.0, 1.0, 1.0])
    assert (before.pairs, before.matches, before.entries, before.matched) == (5, 6, ENTRIES, 4)


def test_a_long_list_of_pairs_agrees_with_draws() -> None:
    rng = np.random.default_rng(5)
    pool = [sorted({*rng.geometric(0.4, 3).clip(1, ENTRIES) - 1}) for _ in range(3000)]
    point = point_of(pool, 30.0, cut=1234)
    p_entry = [min(1.0, 30 / n) for n in counts_of(pool)]
    keep = np.array([1 - math.prod(1 - p_entry[e] for e in pair) for pair in pool])
    sizes = [(rng.random(len(pool)) < keep).sum() for _ in range(200)]
    error = math.sqrt((keep * (1 - keep)).sum() / len(sizes))
    assert abs(point.pairs - np.mean(sizes)) < 4 * error


@given(
    pool=pools.filter(lambda pool: any(pool)), other=pools, t=thresholds, more=thresholds
)  # the two languages stand for themselves: their entries are not shared
@settings(max_examples=100, deadline=None)
def test_all_languages_together_are_one_list_of_entries(
    pool: Pool, other: Pool, t: float, more: float
) -> None:
    def one(language: str, pool: Pool, t: float) -> Curve:
        counts = np.array(counts_of(pool))
        point = point_of(pool, t)
        return sweeping.curve(language, pairs=len(pool), counts=counts, points=[point])

    en, de = one("en", pool, t), one("de", other, more)
    found = sweeping.total([de, en], reference="en")

    def kept(pool: Pool, t: float) -> list[float]:
        p_entry = [min(1.0, t / n) if n else 1.0 for n in counts_of(pool)]
        keep = [1 - math.prod(1 - p_entry[e] for e in pair) for pair in pool]
        return [
            sum(k for k, pair in zip(keep, pool, strict=True) if e in pair) for e in range(ENTRIES)
        ]

    both = kept(pool, t) + kept(other, more)
    point = found.points[0]
    assert point.t == t
    assert point.concepts == pytest.approx(entropy_number(both))
    assert found.concepts == pytest.approx(
        entropy_number([float(n) for n in counts_of(pool) + counts_of(other)])
    )
    for name in ("pairs", "matches", "covered", "head", "tail", "head_matches", "tail_matches"):
        summed = getattr(en.points[0], name) + getattr(de.points[0], name)
        assert getattr(point, name) == pytest.approx(summed), name
    assert point.p == pytest.approx(point.tail_matches / found.matches)


def test_effective_number() -> None:
    assert sweeping.effective_number([]) == 0
    assert sweeping.effective_number([0, 0]) == 0
    assert sweeping.effective_number([7]) == 1
    assert sweeping.effective_number([3] * 40) == pytest.approx(40)
    assert 1 < sweeping.effective_number([1000, 1]) < 1.02


@pytest.mark.parametrize(
    ("largest", "last", "n"), [(0, 1, 1), (1, 2, 2), (4, 5, 3), (5, 10, 4), (1234, 2000, 11)]
)
def test_default_ts_end_where_nothing_is_in_the_head(largest: int, last: int, n: int) -> None:
    ts = sweeping.default_ts(largest)
    assert (ts[-1], len(ts)) == (last, n)
    assert ts == sorted(set(ts))
