"""Balancing against MetaCLIP's formulas over Python numbers, and against simulated trials."""

from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.ops.selection.balancing import (
    SMALLEST_T,
    bracket,
    candidate_ts,
    entry_probs,
    expected_sizes,
    interpolate_t,
    keep_probability,
    match_arrays,
    p_to_t,
    t_for_size,
    t_to_p,
)

ID_LISTS = pa.list_(pa.int32())
counts_lists = st.lists(st.integers(0, 1000), max_size=20)
match_lists = st.lists(st.lists(st.integers(0, 7), max_size=5, unique=True), max_size=12)


def lists(*matches: list[int] | None) -> Any:
    return pa.array(matches, ID_LISTS)


@given(counts=counts_lists, t=st.floats(0.001, 2000))
def test_entry_probs_by_the_formula(counts: list[int], t: float) -> None:
    expected = [t / max(count, t) for count in counts]
    assert entry_probs(counts, t=t).tolist() == pytest.approx(expected, rel=1e-12)


def test_entry_probs_is_one_up_to_t_and_falls_from_there() -> None:
    assert entry_probs([0, 19, 20, 21, 40, 2000], t=20).tolist() == [
        1.0, 1.0, 1.0, 20 / 21, 0.5, 0.01,
    ]  # fmt: skip


@pytest.mark.parametrize("t", [0, -1, float("nan")])
def test_a_t_that_is_not_positive_is_an_error(t: float) -> None:
    with pytest.raises(ValueError, match="t must be over 0, not"):
        entry_probs([1], t=t)


@given(counts=counts_lists, t=st.integers(1, 1001))
def test_t_to_p_is_the_share_of_the_tail(counts: list[int], t: int) -> None:
    tail = sum(count for count in counts if count < t)
    assert t_to_p(counts, t=t) == (tail / sum(counts) if sum(counts) else 0.0)


def test_an_entry_counted_t_times_is_head() -> None:
    assert t_to_p([10, 20, 70], t=20) == 0.1
    assert t_to_p([10, 20, 70], t=20.5) == 0.3
    assert t_to_p([10, 20, 70], t=71) == 1.0
    assert t_to_p([], t=1) == t_to_p([0, 0], t=1) == 0.0


def naive_p_to_t(counts: list[int], p: Fraction) -> int:
    ascending = sorted(count for count in counts if count)
    total, running = sum(ascending), 0
    best, nearest = 1, Fraction(10)
    for count in ascending:
        running += count
        if abs(Fraction(running, total) - p) < nearest:
            best, nearest = count, abs(Fraction(running, total) - p)
    return best


def farness(counts: list[int], t: int, p: Fraction) -> Fraction:
    """How far from `p` the nearest share of the count `t` is; each of equal counts has its own."""
    ascending = sorted(counts)
    running = accumulate(ascending)
    shares = [
        Fraction(x, sum(counts)) for x, count in zip(running, ascending, strict=True) if count == t
    ]
    return min(abs(share - p) for share in shares)


@given(counts=counts_lists, p=st.fractions(0, 1, max_denominator=64))
@example(counts=[1, 19, 20, 20], p=Fraction(1, 2))
@settings(max_examples=300)
def test_p_to_t_is_the_count_with_the_nearest_inclusive_share(
    counts: list[int], p: Fraction
) -> None:
    t = p_to_t(counts, p=float(p))
    expected = naive_p_to_t(counts, p)
    if t != expected:  # two shares as near as floating point can tell
        assert float(farness(counts, t, p)) == pytest.approx(float(farness(counts, expected, p)))


def test_p_to_t_exact() -> None:
    counts = [1, 2, 3, 4, 10]  # shares .05 .15 .3 .5 1
    assert [p_to_t(counts, p=p) for p in (0.001, 0.05, 0.2, 0.3, 0.45, 0.9)] == [1, 1, 2, 3, 4, 10]
    assert p_to_t([4, 0, 1, 0, 3, 2, 10], p=0.3) == 3
    assert p_to_t([1, 1, 2], p=0.375) == 1  # .25 and .5 are as near: the smaller
    assert p_to_t([], p=0.5) == p_to_t([0, 0], p=0.5) == 1


@given(counts=st.lists(st.integers(1, 1000), min_size=1, max_size=20, unique=True))
def test_p_to_t_undoes_t_to_p(counts: list[int]) -> None:
    ascending = sorted(counts)
    for count, above in pairwise(ascending):
        assert p_to_t(counts, p=t_to_p(counts, t=above)) == count


def naive_keep(matches: list[int] | None, probs: list[float]) -> float:
    lost = 1.0
    for i in matches or []:
        lost *= 1 - probs[i]
    return 1 - lost


@given(
    matches=st.lists(st.none() | st.lists(st.integers(0, 7), max_size=5), max_size=12),
    probs=st.lists(st.floats(0, 1), min_size=8, max_size=8),
    cut=st.integers(0, 5),
)
@settings(max_examples=200, deadline=None)
def test_keep_probability_by_the_formula(
    matches: list[list[int] | None], probs: list[float], cut: int
) -> None:
    expected = [naive_keep(ids, probs) for ids in matches]
    assert keep_probability(lists(*matches), probs).tolist() == pytest.approx(expected, abs=1e-15)
    found = keep_probability(lists(*matches).slice(cut), probs)
    assert found.tolist() == pytest.approx(expected[cut:], abs=1e-15)


def test_keep_probability_exact() -> None:
    probs = [1.0, 0.5, 0.25]
    found = keep_probability(lists([], None, [1], [1, 2], [0, 2], [2, 2]), probs)
    assert found.tolist() == [0.0, 0.0, 0.5, 0.625, 1.0, 0.4375]


def test_keep_probability_is_not_the_capped_sum_of_the_demo_notebook() -> None:
    assert keep_probability(lists([0, 1]), [0.5, 0.5]).tolist() == [0.75]


def test_keep_probability_is_the_rate_at_which_a_pair_has_a_success() -> None:
    probs = np.array([0.1, 0.3, 0.05])
    trials = np.random.default_rng(0).random((200_000, 3)) < probs
    [expected] = keep_probability(lists([0, 1, 2]), probs)
    rate = trials.any(axis=1).mean()
    assert abs(rate - expected) < 4 * np.sqrt(expected * (1 - expected) / 200_000)


@given(matches=match_lists, cut=st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_match_arrays_of_slices_and_chunks(matches: list[list[int]], cut: int) -> None:
    cut = min(cut, len(matches))
    forms = (
        pa.chunked_array([matches[:cut], matches[cut:]], ID_LISTS),
        lists(None, *matches).slice(1),
        pa.chunked_array([lists([3], *matches)]).slice(1),
    )
    for form in forms:
        offsets, ids = match_arrays(form)
        assert offsets.dtype == ids.dtype == np.int32
        pairs = pairwise(offsets)
        assert [ids[start:stop].tolist() for start, stop in pairs] == matches


def test_a_null_list_with_values_behind_it_is_an_empty_one() -> None:
    masked = pa.ListArray.from_arrays(
        pa.array([0, 2, 3, 4], pa.int32()), pa.array([5, 6, 7, 8], pa.int32()),
        mask=pa.array([True, False, False]),
    )  # fmt: skip
    offsets, ids = match_arrays(masked)
    assert (offsets.tolist(), ids.tolist()) == ([0, 0, 1, 2], [7, 8])


def _counts(matches: list[list[int]], entries: int) -> list[int]:
    return [sum(i in ids for ids in matches) for i in range(entries)]


@given(matches=match_lists, ts=st.lists(st.floats(0.1, 20), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_expected_sizes_sum_the_probabilities(matches: list[list[int]], ts: list[float]) -> None:
    counts = _counts(matches, 8)
    expected = [
        sum(naive_keep(ids, [t / max(c, t) for c in counts]) for ids in matches) for t in ts
    ]
    sizes = expected_sizes(lists(*matches), counts, ts=ts)
    assert sizes.tolist() == pytest.approx(expected)


def test_expected_size_of_disjoint_entries_exact() -> None:
    matches = lists(*[[0]] * 8, *[[1]] * 2, [], None)
    assert expected_sizes(matches, [8, 2], ts=[1, 2, 4, 8, 9]).tolist() == [2, 4, 6, 10, 10]
    assert expected_sizes(matches, [8, 2], ts=4).tolist() == [6]


def test_candidate_ts_are_a_geometric_grid() -> None:
    ts = candidate_ts(0.5, 8.0, n=5)
    assert ts.tolist() == pytest.approx([0.5, 1, 2, 4, 8])
    assert len(candidate_ts(1, 100)) == 48
    flat = candidate_ts(3.0, 3.0, n=4)
    assert flat.tolist() == pytest.approx([3.0] * 4)
    assert (np.diff(flat) > 0).all()


@pytest.mark.parametrize(
    ("size", "expected"), [(-1, (0, 1)), (0, (0, 1)), (5, (0, 1)), (10, (0, 1)), (11, (1, 2)),
                           (30, (1, 2)), (99, (1, 2))]
)  # fmt: skip
def test_bracket(size: float, expected: tuple[int, int]) -> None:
    ts = np.array([1.0, 2.0, 4.0])
    assert bracket(ts, np.array([0.0, 10.0, 30.0]), size=size) == expected


@pytest.mark.parametrize(
    ("size", "t"), [(-5, 1.0), (0, 1.0), (5, 1.5), (10, 2.0), (20, 3.0), (30, 4.0), (31, 4.0)]
)
def test_interpolate_t(size: float, t: float) -> None:
    found = interpolate_t(np.array([1.0, 2.0, 4.0]), np.array([0.0, 10.0, 30.0]), size=size)
    assert found == pytest.approx(t)


def test_interpolate_t_on_a_plateau_gives_its_far_end() -> None:
    assert interpolate_t(np.array([1.0, 2.0]), np.array([7.0, 7.0]), size=7) == 2.0


def _zipf_matches() -> tuple[list[list[int]], list[int]]:
    draw = np.random.default_rng(1)
    weights = 1 / np.arange(1, 201)
    matches: list[list[int]] = [
        sorted({int(i) for i in draw.choice(200, draw.integers(0, 5), p=weights / weights.sum())})
        for _ in range(3000)
    ]
    return matches, _counts(matches, 200)


def test_t_for_size_gives_the_size_asked_for() -> None:
    matches, counts = _zipf_matches()
    column = lists(*matches)
    matching = sum(map(bool, matches))
    for size in (1, 10, 100, 500, 1234, 2000, matching - 20):
        t = t_for_size(column, counts, size=size)
        [reached] = expected_sizes(column, counts, ts=t)
        assert reached == pytest.approx(size, rel=1e-3), t


def test_t_for_size_exact_where_the_size_is_linear_in_t() -> None:
    matches = lists(*[[0]] * 1000)
    assert t_for_size(matches, [1000], size=250) == pytest.approx(250)
    assert t_for_size(matches, [1000], size=1) == pytest.approx(1)


def test_a_size_out_of_reach_keeps_every_match() -> None:
    matches, counts = _zipf_matches()
    t = t_for_size(lists(*matches), counts, size=10**9)
    assert t >= max(counts)
    assert expected_sizes(lists(*matches), counts, ts=t)[0] == sum(map(bool, matches))


def test_a_size_below_reach_gives_the_smallest_t() -> None:
    matches = lists(*[[i] for i in range(1000)])
    assert t_for_size(matches, [1] * 1000, size=0.5) == pytest.approx(SMALLEST_T)


def test_t_for_size_without_any_match_is_a_valid_t() -> None:
    assert t_for_size(lists([], None), [0, 0], size=5) == pytest.approx(1.0)
    assert t_for_size(lists(), [], size=5) == pytest.approx(1.0)
