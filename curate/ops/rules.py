"""Select rules over columns."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.config import Rule


def keeps(table: pa.Table, rule: Rule, *, cut: float | None = None) -> NDArray[np.bool_]:
    """Whether `rule` keeps each row, shape (n,); a null is never kept.

    `cut` is the value that a row must reach for the rule's `top_fraction`.
    """
    column = table[rule.column]
    conditions = []
    if rule.min is not None:
        conditions.append(pc.greater_equal(column, rule.min))
    if rule.max is not None:
        conditions.append(pc.less_equal(column, rule.max))
    if rule.in_ is not None:
        conditions.append(pc.is_in(column, pa.array(rule.in_, column.type)))
    if rule.not_in is not None:
        conditions.append(pc.invert(pc.is_in(column, pa.array(rule.not_in, column.type))))
    if rule.top_fraction is not None and cut is not None:
        conditions.append(pc.greater_equal(column, cut))
    kept = np.array(pc.is_valid(column))
    for condition in conditions:
        kept &= np.array(pc.fill_null(condition, False))
    return kept


def top_cut(values: NDArray[Any], *, fraction: float) -> float:
    """The value at index ``int(n * fraction)`` of `values` sorted descending (DataComp).

    Rows that reach it are kept, so at a fraction of 1 everything is.
    """
    n = len(values)
    if n == 0:
        return 0.0
    index = min(int(n * fraction), n - 1)
    return float(np.partition(values, n - 1 - index)[n - 1 - index])
