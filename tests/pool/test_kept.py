"""Columns that travel along: their types against those of Arrow's own csv reader, and what misfits."""

import io
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.pool.kept import kind_of, kind_of_texts, kind_of_values, read_kept

ARROW = {pa.int64(): "int64", pa.float64(): "float64", pa.bool_(): "bool", pa.string(): "string",
         pa.null(): None}  # fmt: skip
FIELDS = ["1", "-7", "0.25", "1e3", "true", "False", "", "NA", "null", "cc-by", "x y", "nan", "+5"]


@given(fields=st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_texts_have_the_type_that_arrow_infers(fields: list[str]) -> None:
    content = "a,b\n" + "".join(f"{field},z\n" for field in fields)
    inferred = pa.csv.read_csv(io.BytesIO(content.encode()))["a"].type
    assert kind_of_texts(pa.array(fields)) == ARROW[inferred]


def test_an_id_that_no_number_holds_stays_text() -> None:
    assert kind_of_texts(pa.array(["7", "12345678901234567890"])) == "string"
    assert kind_of_values([7, 12345678901234567890]) == "string"
    assert kind_of(pa.uint64()) == "string"


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1], pa.uint32()), "int64"),
        (pa.array([1.5], pa.float32()), "float32"),
        (pa.array([Decimal("1.5")]), "float64"),
        (pa.array(["a"]).dictionary_encode(), "string"),
        (pa.array([b"a"]), "string"),
        (pa.array([[1, 2]]), "string"),
        (pa.array([True]), "bool"),
        (pa.nulls(1), None),
    ],
)
def test_types_of_parquet(column: Any, kind: str | None) -> None:
    assert kind_of(column.type) == kind
    values, bad = read_kept(column, pa.type_for_alias(kind or "string"))
    assert not bad.any()
    assert values.type == pa.type_for_alias(kind or "string")


@given(values=st.lists(st.none() | st.lists(st.integers(0, 9) | st.none()), max_size=4))
def test_nested_values_are_json(values: list[Any]) -> None:
    found, bad = read_kept(pa.array(values, pa.list_(pa.int64())), pa.string())
    assert [None if x is None else json.loads(x) for x in found.to_pylist()] == values
    assert not bad.any()


def test_what_does_not_fit_is_told_from_what_is_not_there() -> None:
    given = pa.chunked_array([["0.5", " 2 ", None, ""], ["high", "NaN", "inf", "n/a"]])
    found, bad = read_kept(given, pa.float64())
    assert found.to_pylist() == [0.5, 2.0, None, None, None, None, None, None]
    assert np.flatnonzero(bad).tolist() == [4]
    found, bad = read_kept(pa.array([1.0, 1.5, None]), pa.int64())
    assert (found.to_pylist(), bad.tolist()) == ([1, None, None], [False, True, False])


def test_a_number_that_is_not_finite_is_none() -> None:
    found, bad = read_kept(pa.array([1.0, float("nan"), float("-inf")]), pa.float32())
    assert found.to_pylist() == [1.0, None, None]
    assert not bad.any()


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, None], "int64"), ([1, 2.5], "float64"), ([True], "bool"), ([True, 1], "string"),
     ([{"a": 1}], "string"), ([None], None), (["1"], "string")],
)  # fmt: skip
def test_values_of_json(values: list[object], kind: str | None) -> None:
    assert kind_of_values(values) == kind
