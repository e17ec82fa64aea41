"""Select rules against a row-by-row reading of their meaning."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.config import Rule
from curate.ops.selection.quantiles import find_cuts, quantiles_of
from curate.ops.selection.rules import drops, keeps, shares

values = st.none() | st.integers(-5, 5)
bounds = st.none() | st.integers(-6, 6)


def kept(values: list[Any], rule: Rule, *, kind: Any = None) -> list[bool]:
    return list(keeps(pa.table({"x": pa.array(values, kind)}), rule).tolist())


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
        (Rule(column="x", between=(2, 3)), [False, True, True, False, False]),
        (Rule(column="x", not_in=(1,)), [False, True, True, False, False]),
        (Rule(column="x", not_in=(99,)), [True, True, True, False, False]),
    ],
)
def test_bounds_are_inclusive_and_nulls_are_never_kept(rule: Rule, expected: list[bool]) -> None:
    if rule.not_in is None:
        assert kept([1.0, 2.0, 3.0, None, math.nan], rule) == expected
    assert kept([1, 2, 3, None, None], rule, kind=pa.int64()) == expected


large = st.integers(-(1 << 63), (1 << 63) - 1)
bound = st.integers(-20, 20).map(lambda x: x / 4) | st.sampled_from([-(2.0**62), 2.0**53, 2.0**60])


@given(column=st.lists(large | st.integers(-5, 5), max_size=8), bound=bound)
@example(column=[(1 << 60) - 1, 1 << 60, (1 << 60) + 1], bound=2.0**60)
@settings(deadline=None)
def test_whole_numbers_that_no_double_holds(column: list[int], bound: float) -> None:
    for rule, holds in (
        (Rule(column="x", min=bound), [x >= bound for x in column]),
        (Rule(column="x", max=bound), [x <= bound for x in column]),
        (Rule(column="x", between=(bound, bound)), [x == bound for x in column]),
    ):
        assert kept(column, rule, kind=pa.int64()) == holds


@given(rows=st.lists(st.tuples(large | st.integers(-5, 5), st.floats() | bound), max_size=8))
@example(rows=[((1 << 60) + 1, 2.0**60), (1 << 60, 2.0**60), ((1 << 63) - 1, 2.0**63), (0, -0.0)])
@example(rows=[(-(1 << 63), -(2.0**63)), (1, float("inf")), (2, float("nan")), (5, 5.5)])
@settings(deadline=None)
def test_a_whole_number_is_the_same_as_a_double_where_it_is(rows: list[tuple[int, float]]) -> None:
    whole, double = [one for one, _ in rows], [other for _, other in rows]
    table = pa.table({"a": pa.array(whole, pa.int64()), "b": pa.array(double, pa.float64())})
    for rule in (Rule(column="a", same_as="b"), Rule(column="b", same_as="a")):
        assert keeps(table, rule).tolist() == [one == other for one, other in rows]


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


def cut_and_kept(table: pa.Table, rule: Rule) -> list[bool]:
    return list(keeps(table, rule, cuts=find_cuts(lambda: [table], quantiles_of([rule]))).tolist())


def test_a_top_fraction_keeps_what_reaches_the_cut() -> None:
    table = pa.table({"x": pa.array([0.1, 0.2, 0.3, None], pa.float32())})
    assert cut_and_kept(table, Rule(column="x", top_fraction=0.5)) == [False, True, True, False]
    both = Rule(column="x", top_fraction=0.5, max=0.25)
    assert cut_and_kept(table, both) == [False, True, False, False]
    assert keeps(table, both).tolist() == [False] * 4


def test_a_top_fraction_of_each_group() -> None:
    table = pa.table(
        {
            "x": [1, 5, 3, 9, 7, 2, None],
            "language": ["en", "en", "en", "de", "de", None, "fr"],
        }
    )
    rule = Rule(column="x", top_fraction=0.4, per="language")
    # en: index int(1.2) of 5, 3, 1; de: index 0 of 9, 7; the null language is a group like another
    assert cut_and_kept(table, rule) == [False, True, True, True, False, True, False]
    whole = Rule(column="x", top_fraction=0.4)
    assert cut_and_kept(table, whole) == [False, True, False, True, True, False, False]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int64(), pa.int16()], ids=str)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(-2, 2))),
    top=st.integers(1, 9),
    per=st.sampled_from([None, "group"]),
    at=st.integers(0, 9),
)
@settings(deadline=None, max_examples=40)
def test_the_top_of_each_group_are_just_so_many(
    kind: pa.DataType, rows: list[tuple[str | None, int | None]], top: int, per: str | None, at: int
) -> None:
    """However many are equal; and the same ones wherever the parts are cut."""
    columns = [
        pa.array([f"{i:032x}" for i in range(len(rows))]),
        pa.array([group for group, _ in rows], pa.string()),
        pa.array([x for _, x in rows], kind),
    ]
    table = pa.table(columns, names=["uid", "group", "x"])
    rule = Rule(column="x", top=top, per=per)
    tables = [table[:at], table[at:]]
    cuts = find_cuts(lambda: tables, quantiles_of([rule]))
    stays = [bool(x) for part in tables for x in keeps(part, rule, cuts=cuts)]
    assert stays == cut_and_kept(table, rule)
    for group in {group for group, _ in rows} if per else {None}:
        ours = [i for i, (of, _) in enumerate(rows) if not per or of == group]
        values = sorted((rows[i][1] for i in ours if rows[i][1] is not None), reverse=True)  # type: ignore[type-var]
        found = sorted((rows[i][1] for i in ours if stays[i]), reverse=True)  # type: ignore[type-var]
        assert found == values[:top]


def test_equal_values_go_by_the_uid_alone() -> None:
    """A row that is taken among all is taken among fewer, and about half of them in any place."""
    uids = pa.array([f"{i:032x}" for i in range(2000)])
    table = pa.table({"uid": uids, "x": pa.array([0.5] * 2000, pa.float32())})
    rule = Rule(column="x", top=1000)
    whole = np.array(cut_and_kept(table, rule))
    assert whole.sum() == 1000
    assert 430 < whole[:1000].sum() < 570
    half = np.array(cut_and_kept(table[:1000], Rule(column="x", top=500)))
    assert (half == whole[:1000]).mean() > 0.9


def test_every_nth_of_a_rank() -> None:
    """Clusters of 1, 4, 5, 6 and 11 keep 1, 1, 1, 2 and 3 of every 5: TL;DR's released N."""
    sizes = [1, 4, 5, 6, 11]
    for size, expected in zip(sizes, [1, 1, 1, 2, 3], strict=True):
        assert sum(kept([*range(size)], Rule(column="x", every=5), kind=pa.int32())) == expected
    assert kept([0, 1, 5, -5, -4, None], Rule(column="x", every=5), kind=pa.int64()) == [
        True, False, True, True, False, False,
    ]  # fmt: skip
    assert kept([0, 7], Rule(column="x", every=10**9), kind=pa.int16()) == [True, False]


leaf_rules = st.one_of(
    st.builds(lambda low: {"column": "x", "min": low}, st.integers(-3, 3)),
    st.builds(lambda high: {"column": "y", "max": high}, st.integers(-3, 3)),
    st.builds(lambda some: {"column": "word", "in": some}, st.lists(st.sampled_from("abc"))),
    st.builds(lambda a, b: {"column": "y", "between": sorted((a, b))},
              st.integers(-3, 3), st.integers(-3, 3)),
    st.just({"column": "x", "same_as": "y"}),
)  # fmt: skip
nested_rules = st.recursive(
    leaf_rules,
    lambda inner: st.builds(
        lambda key, rules: {key: rules},
        st.sampled_from(["any_of", "all_of"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


def satisfies(row: dict[str, Any], rule: dict[str, Any]) -> bool:
    """One row's reading of a rule."""
    if "any_of" in rule:
        return any(satisfies(row, one) for one in rule["any_of"])
    if "all_of" in rule:
        return all(satisfies(row, one) for one in rule["all_of"])
    value = row[rule["column"]]
    if value is None:
        return False
    if "same_as" in rule:
        return bool(value == row[rule["same_as"]])
    low, high = rule.get("between", (rule.get("min", -9), rule.get("max", 9)))
    return value in rule["in"] if "in" in rule else bool(low <= value <= high)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"x": values, "y": values, "word": st.none() | st.sampled_from("abcd")}
        ),
        max_size=6,
    ),
    rules=st.lists(nested_rules, max_size=4),
)
@settings(deadline=None)
def test_nested_rules_and_what_each_alone_and_only_it_drops(
    rows: list[dict[str, Any]], rules: list[dict[str, Any]]
) -> None:
    columns = pa.schema([("x", pa.int32()), ("y", pa.float32()), ("word", pa.string())])
    named = [Rule.model_validate(rule | {"name": str(i)}) for i, rule in enumerate(rules)]
    dropped = drops(pa.Table.from_pylist(rows, columns), named)
    expected = [[not satisfies(row, rule) for row in rows] for rule in rules]
    assert dropped.tolist() == expected
    for i, (alone, only) in enumerate(shares(dropped, named).values()):
        assert alone == sum(expected[i])
        assert only == sum(
            expected[i][k] and sum(one[k] for one in expected) == 1 for k in range(len(rows))
        )
