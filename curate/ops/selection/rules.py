"""Select rules over columns."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.config import Rule
from curate.ops.selection.listed import listed
from curate.ops.selection.quantiles import Cuts, Quantile, quantiles_of, ties
from curate.ops.text.patterns import found_in
from curate.ops.text.phrases import phrases_of
from curate.schema import Column

_NONE: Cuts = {}


def keeps(table: pa.Table, rule: Rule, *, cuts: Cuts = _NONE) -> NDArray[np.bool_]:
    """Whether `rule` keeps each row, shape (n,); a null never satisfies a condition.

    `cuts` are the values that a row must reach for a `top_fraction` or `top`; a group without one keeps
    none.
    """
    kept: NDArray[np.bool_] = np.ones(len(table), np.bool_)
    if rule.any_of is not None:
        return np.asarray(np.any(~drops(table, rule.any_of, cuts=cuts), axis=0))
    if rule.all_of is not None:
        return np.asarray(np.all(~drops(table, rule.all_of, cuts=cuts), axis=0))
    column = table[rule.column]
    low, high = rule.between or (None, None)
    conditions = [pc.is_valid(column)]
    conditions += [_reaches(column, x) for x in (rule.min, low) if x is not None]
    conditions += [_within(column, x) for x in (rule.max, high) if x is not None]
    if rule.in_ is not None:
        conditions.append(pc.is_in(column, pa.array(rule.in_, column.type)))
    if rule.not_in is not None:
        conditions.append(pc.invert(pc.is_in(column, pa.array(rule.not_in, column.type))))
    if rule.same_as is not None:
        conditions.append(_same(column, table[rule.same_as]))
    if rule.matches is not None:
        conditions.append(found_in(column, rule.matches))
    if rule.not_matches is not None:
        conditions.append(pc.invert(found_in(column, rule.not_matches)))
    if rule.contains_any is not None:
        conditions.append(phrases_of(rule.contains_any).are_in(column))
    for mark, path in rule.lists.items():
        values = listed(path, column=str(rule.column), mark=mark, kind=column.type)
        is_in = pc.is_in(column, value_set=values)
        conditions.append(is_in if mark == "keep" else pc.invert(is_in))
    conditions += [_among(table, quantile, cuts) for quantile in quantiles_of([rule])]
    if rule.every is not None:
        conditions.append(_is_divided(column, rule.every))
    for condition in conditions:
        kept &= np.asarray(pc.fill_null(condition, False))
    return kept


def _reaches(column: Column, least: float) -> Column:
    return pc.greater_equal(column, _bound(column, math.ceil(least), least))


def _within(column: Column, most: float) -> Column:
    return pc.less_equal(column, _bound(column, math.floor(most), most))


def _bound(column: Column, whole: int, bound: float) -> Column:
    """What to compare a column with; of whole numbers some over 2^53 are no double, as Arrow says."""
    if not pa.types.is_integer(column.type):
        return pa.scalar(bound, pa.float64())
    return pa.scalar(max(-(1 << 63), min(whole, (1 << 63) - 1)), pa.int64())


def _same(one: Column, other: Column | pa.Scalar) -> Column:
    """Whether each value is that beside it; Arrow compares no whole number over 2^53 with a double."""
    if pa.types.is_floating(one.type):
        one, other = other, one
    if not (pa.types.is_integer(one.type) and pa.types.is_floating(other.type)):
        return pc.equal(one, other)
    doubles = pc.cast(other, pa.float64())
    fits = pc.and_(pc.greater_equal(doubles, -(2.0**63)), pc.less(doubles, 2.0**63))
    whole = pc.if_else(pc.and_(fits, pc.equal(pc.floor(doubles), doubles)), doubles, None)
    return pc.equal(pc.cast(one, pa.int64()), pc.cast(whole, pa.int64(), safe=False))


def _is_divided(column: Column, by: int) -> Column:
    whole, step = pc.cast(column, pa.int64()), pa.scalar(by, pa.int64())
    return pc.equal(pc.multiply(pc.divide(whole, step), step), whole)


def _among(table: pa.Table, quantile: Quantile, cuts: Cuts) -> Column:
    """Whether each row reaches the cut of its group; null where there is none."""
    ours = {group: cut for (of, group), cut in cuts.items() if of == quantile}
    column = table[quantile.column]
    at = pa.array(np.zeros(len(table), np.int64), mask=np.full(len(table), not ours))
    if quantile.per is not None:
        texts = pc.cast(table[quantile.per], pa.string())
        at = pc.index_in(texts, pa.array(ours, pa.string())).combine_chunks()
    values = pa.array([cut.value for cut in ours.values()], column.type).take(at)
    if not quantile.top:
        return pc.greater_equal(column, values)
    least = pa.array([cut.tie for cut in ours.values()], pa.uint64()).take(at)
    equal = pc.and_(pc.equal(column, values), pc.greater_equal(pa.array(ties(table["uid"])), least))
    return pc.or_(pc.greater(column, values), equal)


def drops(table: pa.Table, rules: Sequence[Rule], *, cuts: Cuts = _NONE) -> NDArray[np.bool_]:
    """Whether each rule by itself drops each row, shape (rules, n)."""
    found = [~keeps(table, rule, cuts=cuts) for rule in rules]
    return np.array(found, np.bool_).reshape(len(rules), len(table))


def shares(dropped: NDArray[np.bool_], rules: Sequence[Rule]) -> Mapping[str, tuple[int, int]]:
    """Of each rule's label, how many rows it alone would drop, and how many only it drops."""
    once = dropped.sum(axis=0) == 1
    return {
        rule.label: (int(row.sum()), int((row & once).sum()))
        for rule, row in zip(rules, dropped, strict=True)
    }
