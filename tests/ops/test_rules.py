"""Select rules against a row-by-row reading of their meaning."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.config import Rule
from curate.ops.rules import keeps, top_cut

values = st.none() | st.integers(-5, 5)
bounds = st.none() | st.integers(-6, 6)


def kept(
    values: list[Any], rule: Rule, *, cut: float | None = None, kind: Any = None
) -> list[bool]:
    found: list[bool] = keeps(pa.table({"x": pa.array(values, kind)}), rule, cut=cut).tolist()
    return found


@given(
    column=st.lists(values, max_size=8), low=bounds, high=bounds, some=st.sets(st.integers(-5, 5))
)
@settings(deadline=None)
def test_all_conditions_must_hold(
    column: list[int | None], low: int | None, high: int | None, some: set[int]
) -> None:
    if low is not None and high is not None and low > high:
        low, high = high, low
    odd, even = tuple(some), tuple(x for x in range(-5, 6) if x % 2 == 0)
    rule = Rule.model_validate({"column": "x", "min": low, "max": high, "in": even, "not_in": odd})
    expected = [
        x is not None
        and (low is None or x >= low)
        and (high is None or x <= high)
        and x in even
        and x not in odd
        for x in column
    ]
    assert kept(column, rule, kind=pa.int32()) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(column="x", min=2), [False, True, True, False, False]),
        (Rule(column="x", max=2), [True, True, False, False, False]),
        (Rule(column="x", min=1.5, max=2.5), [False, True, False, False, False]),
        (Rule(column="x", not_in=(1,)), [False, True, True, False, False]),
        (Rule(column="x", not_in=(99,)), [True, True, True, False, False]),
    ],
)
def test_bounds_are_inclusive_and_nulls_are_never_kept(rule: Rule, expected: list[bool]) -> None:
    if rule.not_in is None:
        assert kept([1.0, 2.0, 3.0, None, math.nan], rule) == expected
    assert kept([1, 2, 3, None, None], rule, kind=pa.int64()) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"in": ["en", "de"]}, [True, False, True, False]),
        ({"not_in": ["en", "de"]}, [False, True, False, False]),
        ({"in": []}, [False] * 4),
        ({"not_in": []}, [True, True, True, False]),
    ],
)
def test_strings(condition: dict[str, list[str]], expected: list[bool]) -> None:
    rule = Rule.model_validate({"column": "x", **condition})
    assert kept(["en", "fr", "de", None], rule, kind=pa.string()) == expected


def test_chunks_and_an_empty_table() -> None:
    rule = Rule(column="x", min=2)
    table = pa.table({"x": pa.chunked_array([[1, 2], [], [None, 3]], pa.int32())})
    assert keeps(table, rule).tolist() == [False, True, False, True]
    assert keeps(table.slice(0, 0), rule).tolist() == []


def test_a_top_fraction_keeps_what_reaches_the_cut() -> None:
    rule = Rule(column="x", top_fraction=0.5)
    assert kept([0.1, 0.2, 0.3, None], rule, cut=0.2) == [False, True, True, False]
    both = Rule(column="x", top_fraction=0.5, max=0.25)
    assert kept([0.1, 0.2, 0.3, None], both, cut=0.2) == [False, True, False, False]


def test_a_float32_score_reaches_a_cut_taken_from_it() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    cut = top_cut(scores, fraction=0.5)
    rule = Rule(column="x", top_fraction=0.5)
    assert cut == float(np.float32(0.2))
    assert kept(scores.tolist(), rule, cut=cut, kind=pa.float32()) == [False, True, True, True]


@given(
    scores=st.lists(st.integers(-20, 20), min_size=1, max_size=40),
    fraction=st.floats(0, 1, exclude_min=True),
)
def test_top_cut_is_datacomps(scores: list[int], fraction: float) -> None:
    descending = sorted(scores, reverse=True)
    index = min(int(len(scores) * fraction), len(scores) - 1)
    assert top_cut(np.array(scores, np.float32), fraction=fraction) == descending[index]


def test_top_cut_exact() -> None:
    scores = np.array([0.5, 0.1, 0.4, 0.2, 0.3])
    assert [top_cut(scores, fraction=f) for f in (0.1, 0.2, 0.3, 0.39, 0.4, 0.99, 1)] == [
        0.5, 0.4, 0.4, 0.4, 0.3, 0.1, 0.1,
    ]  # fmt: skip
    assert top_cut(np.array([]), fraction=0.5) == 0.0
    assert (scores >= top_cut(scores, fraction=1)).all()


@given(scores=st.lists(st.floats(-1, 1, width=32), min_size=10, max_size=60, unique=True))
def test_about_the_fraction_is_kept(scores: list[float]) -> None:
    column = np.array(scores, np.float32)
    for fraction in (0.3, 0.5, 0.9):
        count = int((column >= top_cut(column, fraction=fraction)).sum())
        assert count == int(len(scores) * fraction) + 1
