"""Exact quantiles by digits against sorting."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.config import Rule
from curate.ops.selection.quantiles import Cut, Quantile, find_cuts, passes, quantiles_of

WHOLE = st.integers(-(2**63), 2**63 - 1)
KINDS = {
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.int64(): WHOLE | st.integers(-9, 9),
}


def datacomp_cut(values: list[Any], fraction: float) -> Any:
    """The published definition: sort descending, take the value at ``int(n * fraction)``."""
    return sorted(values, reverse=True)[min(int(len(values) * fraction), len(values) - 1)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data(), fraction=st.floats(0, 1, exclude_min=True))
@settings(deadline=None, max_examples=60)
def test_a_cut_is_the_value_at_its_place(kind: pa.DataType, data: Any, fraction: float) -> None:
    parts = data.draw(st.lists(st.lists(st.none() | KINDS[kind], max_size=9), max_size=4))
    tables = [pa.table({"x": pa.array(part, kind)}) for part in parts]
    values = [x for table in tables for x in table["x"].to_pylist() if x is not None]
    found = find_cuts(lambda: tables, [Quantile("x", fraction)])
    if not values:
        assert found == {}
    else:
        assert found == {
            (Quantile("x", fraction), None): Cut(len(values), datacomp_cut(values, fraction))
        }


@given(
    rows=st.lists(st.tuples(st.sampled_from(["en", "de", "null", None]), st.integers(-4, 4))),
    fractions=st.sets(st.floats(0.01, 1), min_size=1, max_size=3),
    cut=st.integers(0, 9),
)
@settings(deadline=None, max_examples=60)
def test_each_group_has_its_own(
    rows: list[tuple[str | None, int]], fractions: set[float], cut: int
) -> None:
    columns = pa.schema([("language", pa.string()), ("x", pa.int32())])
    table = pa.table([[row[0] for row in rows], [row[1] for row in rows]], schema=columns)
    asked = [Quantile("x", fraction, "language") for fraction in fractions]
    found = find_cuts(lambda: [table.slice(0, cut), table.slice(cut)], asked)
    groups: dict[str | None, list[int]] = {}
    for language, x in rows:
        groups.setdefault(language, []).append(x)
    assert found == {
        (quantile, group): Cut(len(values), datacomp_cut(values, quantile.fraction))
        for quantile in asked
        for group, values in groups.items()
    }


def test_nan_is_no_value_and_the_zeros_are_one() -> None:
    table = pa.table({"x": [math.nan, -0.0, 0.0, math.inf, -1.0, None]})
    cuts = find_cuts(lambda: [table], [Quantile("x", 0.5), Quantile("x", 0.1), Quantile("x", 1)])
    assert [(cut.pairs, str(cut.value)) for cut in cuts.values()] == [
        (4, "inf"), (4, "0.0"), (4, "-1.0"),
    ]  # fmt: skip


def test_a_million_scores_against_numpy() -> None:
    scores = np.random.RandomState(0).beta(4, 9, 1_000_000).astype(np.float32)
    table = pa.table({"x": scores})
    asked = [Quantile("x", fraction) for fraction in (1e-6, 0.1, 0.3, 0.999999, 1)]
    found = find_cuts(lambda: (table.slice(at, 10_000) for at in range(0, 10**6, 10_000)), asked)
    descending = np.sort(scores)[::-1]
    for quantile in asked:
        place = min(int(10**6 * quantile.fraction), 10**6 - 1)
        assert found[quantile, None] == Cut(10**6, float(descending[place]))


def test_quantiles_that_rules_ask_for() -> None:
    top: dict[str, Any] = {"column": "x", "top_fraction": 0.3}
    rules = [
        Rule.model_validate({"name": "a", **top}),
        Rule.model_validate({"name": "b", "any_of": [top, {"all_of": [{**top, "per": "y"}]}]}),
        Rule(column="x", min=1),
    ]
    assert quantiles_of(rules) == (Quantile("x", 0.3), Quantile("x", 0.3, "y"))
    kinds = pa.schema([("f", pa.float32()), ("i", pa.int32()), ("d", pa.float64())])
    assert [passes(Quantile(x, 0.5), kinds) for x in "fid"] == [2, 2, 4]
    assert [passes(Quantile(x, 0, top=5), kinds) for x in "fid"] == [4, 4, 6]
