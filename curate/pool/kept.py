"""Columns of the pool that travel with its pairs: their types, and their values in these types.

The types are those of `schema.Kind`. Nested values become JSON; other values that are no numbers or
booleans become texts; a number that is not finite becomes null. A value that does not fit its column's
type is not taken for a null: its row is dead.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.pool.lines import json_text, marked
from curate.schema import Column

_NUMBERS = {"int64", "float32", "float64"}
_NULLS = pa.array(["", "#N/A", "N/A", "n/a", "NA", "<NA>", "NULL", "null", "None", "NaN", "nan"])
_LONG = r"^[+-]?\d{16,}$"  # what a double cannot hold to the last digit


def kind_of(kind: pa.DataType) -> str | None:
    """The kind that a column of an Arrow type is read as; None for a column of nulls."""
    if pa.types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if pa.types.is_null(kind):
        return None
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "string" if kind == pa.uint64() else "int64"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "float32" if kind in (pa.float16(), pa.float32()) else "float64"
    return "string"


def kind_of_texts(column: Column) -> str | None:
    """The kind of a column of texts by its values: int64, bool, float64, else string.

    >>> kind_of_texts(pa.array(["0.5", "", "1"]))
    'float64'
    """
    texts = _without_nulls(column).drop_null()
    if not len(texts):
        return None
    for kind in ("int64", "bool", "float64"):
        try:
            texts.cast(pa.type_for_alias(kind))
        except pa.ArrowInvalid:
            continue
        is_long = kind == "float64" and pc.any(pc.match_substring_regex(texts, _LONG)).as_py()
        return "string" if is_long else kind
    return "string"


def kind_of_values(values: Iterable[object]) -> str | None:
    """The kind that the values of a JSON key are read as; string where they are of several."""
    kinds = {_kind_of_value(value) for value in values}
    return common({kind for kind in kinds if kind}, mixed="string")


def kinds_of_documents(documents: Sequence[Mapping[str, object]]) -> dict[str, str | None]:
    """The kind that each key of some JSON objects is read as."""
    keys = dict.fromkeys(name for document in documents for name in document)
    return {name: kind_of_values(one.get(name) for one in documents) for name in keys}


def _kind_of_value(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -(1 << 63) <= value < 1 << 63 else "string"
    return "float64" if isinstance(value, float) else "string"


def common(kinds: Collection[str], *, mixed: str) -> str | None:
    """The kind that holds all of `kinds`; `mixed` where none does, None where `kinds` is empty."""
    if len(kinds) < 2:
        return next(iter(kinds), None)
    return "float64" if _NUMBERS.issuperset(kinds) else mixed


def read_kept(column: Column, kind: pa.DataType) -> tuple[Column, NDArray[np.bool_]]:
    """`column` as an array of the type `kind`, and a mask of the rows whose value does not fit it."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    fine = np.zeros(len(column), np.bool_)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind), fine
    if pa.types.is_nested(column.type):
        texts = [json_text(x) for x in column.to_pylist()]
        column = pa.array(texts, pa.string())
    if pa.types.is_string(kind):
        return _whole(as_text(column)), fine
    if kind_of(column.type) == "string":
        column = _without_nulls(column)
    found, bad = _cast(column, kind)
    if pa.types.is_floating(kind):
        found = pc.if_else(pc.is_finite(found), found, pa.scalar(None, kind))
    return found, bad


def _whole(column: Column) -> Column:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _without_nulls(column: Column) -> Column:
    """Texts stripped of white space; null for the usual spellings of a missing value."""
    texts = pc.utf8_trim_whitespace(_whole(as_text(column)))
    return pc.if_else(pc.is_in(texts, _NULLS), pa.scalar(None, pa.string()), texts)


def _cast(column: Column, kind: pa.DataType) -> tuple[Column, NDArray[np.bool_]]:
    bad = np.zeros(len(column), np.bool_)
    safe = not pa.types.is_floating(kind)
    try:
        return column.cast(kind, safe=safe), bad
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    blocks = [pa.nulls(0, kind)]
    for row in range(len(column)):
        try:
            blocks.append(column.slice(row, 1).cast(kind, safe=safe))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            blocks.append(pa.nulls(1, kind))
            bad[row] = True
    return pa.concat_arrays(blocks), bad


def misfit(name: str, kind: pa.DataType) -> str:
    """The message about a value of the pool's column `name` that does not fit its type."""
    said = "true or false" if pa.types.is_boolean(kind) else f"a number ({_alias(kind)})"
    return f"{name} is not {said}; it can be kept as text: input.columns.keep: {{{name}: string}}"


def _alias(kind: pa.DataType) -> str:
    return {pa.float32(): "float32", pa.float64(): "float64"}.get(kind, str(kind))


def as_text(column: Column) -> Column:
    """A column as strings that are UTF-8, with `NOT_UTF8` where they were not."""
    try:
        # What is a string in parquet was not checked when it was read; the last cast does it.
        return column.cast(pa.string()).cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        values = column.cast(pa.binary()).to_pylist()
    texts = [None if x is None else marked(x).decode() for x in values]
    return pa.chunked_array([pa.array(texts, pa.string())])
