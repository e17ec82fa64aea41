"""Exact quantiles of any number of values, in memory that does not grow with them.

A value is read as an unsigned integer of the same order, 16 bits at a time from the top: the counts
of one digit say which digit the wanted value has there, and the next pass counts the next digit of
the values that begin so. Two passes find a 32-bit value, four a 64-bit one; what is held and sent is
at most 65,536 counts a group. The result does not depend on how the values were spread.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.config import Rule
from curate.schema import Column

DIGIT = 16
"""Bits a pass."""

_U = np.uint64


class Quantile(NamedTuple):
    """The value that the highest `fraction` of a column reach, for each value of the column `per`."""

    column: str
    fraction: float
    per: str | None = None
    lowest: int = 0  # in place of a fraction: so many values are at or below the cut


class Cut(NamedTuple):
    """A quantile of one group."""

    pairs: int  # that have a value
    value: float | int


class Digits(NamedTuple):
    """How often each digit occurs."""

    digits: NDArray[np.uint16]  # (n,), ascending
    counts: NDArray[np.int64]  # (n,)


class Search(NamedTuple):
    """What is known of a wanted value after some passes."""

    pairs: int
    rank: int  # from the highest, 0-based, among the values that begin with `prefix`
    prefix: int


Group = tuple[Quantile, str | None]
"""A quantile and the text of the value of `per`; None for a null, and where there is no `per`."""

Cuts = Mapping[Group, Cut]
Searches = Mapping[Group, Search]


def quantiles_of(rules: Iterable[Rule]) -> tuple[Quantile, ...]:
    """The quantiles that `rules` ask for, each once."""
    leaves = [leaf for rule in rules for leaf in rule.leaves()]
    found = [
        Quantile(leaf.column, leaf.top_fraction, leaf.per)
        for leaf in leaves
        if leaf.column is not None and leaf.top_fraction is not None
    ]
    return tuple(dict.fromkeys(found))


def passes(kind: pa.DataType) -> int:
    """Passes that a column of this type takes."""
    return _width(_dtype(kind)) // DIGIT


def _dtype(kind: pa.DataType) -> np.dtype[np.generic]:
    """NumPy's type of numbers in Arrow's; `to_pandas_dtype` imports pandas, which need not be here."""
    values: NDArray[np.generic] = pa.array([], kind).to_numpy(zero_copy_only=False)
    return values.dtype


def count_digits(
    table: pa.Table, quantiles: Iterable[Quantile], searches: Searches, *, number: int
) -> dict[Group, Digits]:
    """The digits of pass `number`, from 0, of the values that begin as the passes before found.

    Nulls and NaN are no values.
    """
    found: dict[Group, Digits] = {}
    for quantile in quantiles:
        column = table[quantile.column]
        wanted = pc.is_valid(column)
        if pa.types.is_floating(column.type):
            wanted = pc.and_(wanted, pc.invert(pc.is_nan(column)))
        wanted = np.asarray(pc.fill_null(wanted, False))
        values = column.filter(pa.array(wanted)).to_numpy()
        left = _width(values.dtype) - DIGIT * (number + 1)
        if left < 0 or not len(values):
            continue
        codes = np.zeros(len(values), np.int64)
        names: list[str | None] = [None]
        if quantile.per is not None:
            codes, names = _groups(table[quantile.per].filter(pa.array(wanted)))
        bits = _ordered(values)
        if number:
            prefixes = np.array([searches[quantile, name].prefix for name in names], np.uint64)
            same = bits >> _U(left + DIGIT) == prefixes[codes]
            bits, codes = bits[same], codes[same]
        digits = (bits >> _U(left)).astype(np.uint16)
        keys, counts = np.unique(codes << DIGIT | digits, return_counts=True)
        for code, start, stop in _runs(keys >> DIGIT):
            group = Digits(keys[start:stop].astype(np.uint16), counts[start:stop])
            found[quantile, names[code]] = group
    return found


def _groups(column: Column) -> tuple[NDArray[np.int64], list[str | None]]:
    texts = pc.cast(column, pa.string()).combine_chunks()
    coded = texts.dictionary_encode(null_encoding="encode")
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()


def _runs(codes: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(code, start, stop) of each run in ascending `codes`."""
    edges = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes))
    for start, stop in itertools.pairwise(edges):
        yield int(codes[start]), int(start), int(stop)


def add_digits(total: Digits | None, found: Digits) -> Digits:
    """Both counts together."""
    if total is None:
        return found
    digits = np.concatenate([total.digits, found.digits])
    unique, place = np.unique(digits, return_inverse=True)
    counts = np.zeros(len(unique), np.int64)
    np.add.at(counts, place, np.concatenate([total.counts, found.counts]))
    return Digits(unique, counts)


def narrow(searches: Searches, counted: Mapping[Group, Digits], *, number: int) -> Searches:
    """What is known once the digits of pass `number` are counted over all values."""
    found = dict(searches)
    for group, (digits, counts) in counted.items():
        if number:
            pairs, rank, prefix = searches[group]
        else:
            pairs, prefix = int(counts.sum()), 0
            rank = min(int(pairs * group[0].fraction), pairs - 1)
            if lowest := group[0].lowest:
                rank = max(pairs - lowest, 0)
        reached = np.cumsum(counts[::-1])
        at = int(np.searchsorted(reached, rank, side="right"))
        above = int(reached[at] - counts[::-1][at])
        found[group] = Search(pairs, rank - above, prefix << DIGIT | int(digits[::-1][at]))
    return found


def cuts_of(searches: Searches, columns: pa.Schema) -> dict[Group, Cut]:
    """The values that all passes found, in the types of `columns`; in the order of the groups."""
    order = sorted(searches, key=lambda group: (*group[0][:2], group[0].per or "", group[1] or ""))
    found = {}
    for group in order:
        pairs, _, bits = searches[group]
        kind = _dtype(columns.field(group[0].column).type)
        found[group] = Cut(pairs, _value(bits, kind))
    return found


def find_cuts(tables: Callable[[], Iterable[pa.Table]], quantiles: Iterable[Quantile]) -> Cuts:
    """The cuts over all tables, which are read once a pass.

    A cut is the value at index ``int(n * fraction)`` of a group's n values sorted descending, as
    DataComp defines it; at a fraction of 1 the lowest.

    >>> scores = pa.table({"clip_score": [0.5, 0.1, 0.4, 0.2, 0.3]})
    >>> [(_, cut)] = find_cuts(lambda: [scores], [Quantile("clip_score", 0.4)]).items()
    >>> cut
    Cut(pairs=5, value=0.3)
    """
    quantiles = tuple(quantiles)
    searches: Searches = {}
    columns = pa.schema([])
    for number in range(64 // DIGIT):
        counted: dict[Group, Digits] = {}
        for table in tables():
            columns = table.schema
            for group, digits in count_digits(table, quantiles, searches, number=number).items():
                counted[group] = add_digits(counted.get(group), digits)
        searches = narrow(searches, counted, number=number)
    return cuts_of(searches, columns)


def _width(kind: np.dtype[np.generic]) -> int:
    narrow = np.float32 if kind.kind == "f" else np.int32
    return 32 if np.can_cast(kind, narrow) else 64


def _ordered(values: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Unsigned integers in the order of `values`, which are floats or integers."""
    width = _width(values.dtype)
    sign = _U(1 << (width - 1))
    if values.dtype.kind != "f":
        return values.astype(np.int64).view(np.uint64) + sign
    floats = values.astype(f"f{width // 8}") + 0  # no negative zero
    bits = floats.view(f"u{width // 8}").astype(np.uint64)
    return bits ^ np.where(bits & sign, _U((1 << width) - 1), sign)


def _value(bits: int, kind: np.dtype[np.generic]) -> float | int:
    """The value whose ordered bits these are."""
    width = _width(kind)
    sign = 1 << (width - 1)
    if kind.kind != "f":
        return bits - sign
    raw = bits ^ (sign if bits & sign else (1 << width) - 1)
    return float(np.array(raw, f"u{width // 8}").view(f"f{width // 8}")[()])
