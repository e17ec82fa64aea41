"""Exact quantiles of any number of values, in memory that does not grow with them.

A value is read as an unsigned integer of the same order, 16 bits at a time from the top: the counts
of one digit say which digit the wanted value has there, and the next pass counts the next digit of
the values that begin so. Two passes find a 32-bit value, four a 64-bit one; what is sent is
at most 65,536 counts a group, and what is held those of some parts. The result does not depend on how
the values were spread.

Where a number of rows is wanted, two further passes go over a hash of the uids of those whose value is
the cut, so that no more of them are taken.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.config import Rule
from curate.ops.hashing import hash64
from curate.ops.strings import Strings
from curate.schema import Column

DIGIT = 16
"""Bits a pass."""
AT_ONCE = 32
"""Counts of parts that are held until they are added up."""

_U = np.uint64
_TIE = 32
"""Bits of what decides between rows of the same value: a multiple of `DIGIT`."""
_TIES = 0x74696573
"""The seed of these, so that they tell nothing of what is drawn for a pair."""


class Quantile(NamedTuple):
    """The value that the highest `fraction` of a column reach, for each value of the column `per`."""

    column: str
    fraction: float
    per: str | None = None
    lowest: int = 0  # in place of a fraction: so many values are at or below the cut
    top: int = 0  # in place of a fraction: so many rows, those with the highest values


class Cut(NamedTuple):
    """A quantile of one group."""

    pairs: int  # that have a value
    value: float | int
    tie: int = 0  # of rows with this value those reach it whose `ties` are at least so high


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

Counted = Mapping[Group, Digits]
Cuts = Mapping[Group, Cut]
Searches = Mapping[Group, Search]


def quantiles_of(rules: Iterable[Rule]) -> tuple[Quantile, ...]:
    """The quantiles that `rules` ask for, each once."""
    found = []
    for leaf in (leaf for rule in rules for leaf in rule.leaves()):
        if leaf.column is not None and leaf.top_fraction is not None:
            found.append(Quantile(leaf.column, leaf.top_fraction, leaf.per))
        if leaf.column is not None and leaf.top is not None:
            found.append(Quantile(leaf.column, 0.0, leaf.per, top=leaf.top))
    return tuple(dict.fromkeys(found))


def read_by(quantiles: Iterable[Quantile]) -> tuple[str, ...]:
    """The columns that quantiles are taken over."""
    names = [x for one in quantiles for x in (one.column, one.per, one.top and "uid") if x]
    return tuple(dict.fromkeys(names))


def ties(uids: Strings) -> NDArray[np.uint64]:
    """A number below 2**32 for each uid, shape (n,): of equal values that with the highest is first."""
    return hash64(uids, seed=_TIES) >> _U(64 - _TIE)


def passes(quantile: Quantile, columns: pa.Schema) -> int:
    """Passes that a quantile takes, over columns of these types."""
    of_values = _width(_dtype(columns.field(quantile.column).type)) // DIGIT
    return of_values + (_TIE // DIGIT if quantile.top else 0)


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
        if number >= passes(quantile, table.schema) or not len(values):
            continue
        codes = np.zeros(len(values), np.int64)
        names: list[str | None] = [None]
        if quantile.per is not None:
            codes, names = _groups(table[quantile.per].filter(pa.array(wanted)))
        left = _width(values.dtype) - DIGIT * (number + 1)
        known = [searches[quantile, name].prefix if number else 0 for name in names]
        bits = _ordered(values)
        if left < 0:  # of the rows whose value is the cut, the ties
            same = bits == np.array([x >> -left - DIGIT for x in known], np.uint64)[codes]
            codes, known = codes[same], [x & (1 << -left - DIGIT) - 1 for x in known]
            bits = ties(table["uid"].filter(pa.array(wanted)).filter(pa.array(same)))
            left += _TIE
        if left + DIGIT < 64:
            same = bits >> _U(left + DIGIT) == np.array(known, np.uint64)[codes]
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


def add_digits(counted: Iterable[Counted]) -> dict[Group, Digits]:
    """All counts together; many at once, as a group's are added up in one go."""
    pieces: dict[Group, list[Digits]] = {}
    for one in counted:
        for group, found in one.items():
            pieces.setdefault(group, []).append(found)
    return {group: _sum(found) for group, found in pieces.items()}


def _sum(found: list[Digits]) -> Digits:
    if len(found) == 1:
        return found[0]
    digits = np.concatenate([one.digits for one in found])
    unique, place = np.unique(digits, return_inverse=True)
    weights = np.concatenate([one.counts for one in found]).astype(np.float64)
    return Digits(unique, np.bincount(place, weights).astype(np.int64))


def added(counted: list[Counted]) -> list[Counted]:
    """What is counted so far, as one where it has become much."""
    return [add_digits(counted)] if len(counted) >= AT_ONCE else counted


def narrow(searches: Searches, counted: Counted, *, number: int) -> Searches:
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
            if top := group[0].top:
                rank = min(top, pairs) - 1
        reached = np.cumsum(counts[::-1])
        at = int(np.searchsorted(reached, rank, side="right"))
        above = int(reached[at] - counts[::-1][at])
        found[group] = Search(pairs, rank - above, prefix << DIGIT | int(digits[::-1][at]))
    return found


def cuts_of(searches: Searches, columns: pa.Schema) -> dict[Group, Cut]:
    """The values that all passes found, in the types of `columns`; in the order of the groups."""
    order = sorted(searches, key=lambda x: (*x[0][:2], x[0].per or "", x[0].top, x[1] or ""))
    found = {}
    for group in order:
        pairs, _, bits = searches[group]
        kind = _dtype(columns.field(group[0].column).type)
        tie = bits & (1 << _TIE) - 1 if group[0].top else 0
        found[group] = Cut(pairs, _value(bits >> _TIE if group[0].top else bits, kind), tie)
    return found


def find_cuts(tables: Callable[[], Iterable[pa.Table]], quantiles: Iterable[Quantile]) -> Cuts:
    """The cuts over all tables, which are read once a pass.

    A cut is the value at index ``int(n * fraction)`` of a group's n values sorted descending, as
    DataComp defines it; at a fraction of 1 the lowest.

    >>> scores = pa.table({"clip_score": [0.5, 0.1, 0.4, 0.2, 0.3]})
    >>> [(_, cut)] = find_cuts(lambda: [scores], [Quantile("clip_score", 0.4)]).items()
    >>> cut[:2]
    (5, 0.3)
    """
    quantiles = tuple(quantiles)
    searches: Searches = {}
    columns = pa.schema([])
    for number in range((64 + _TIE) // DIGIT):
        counted: list[Counted] = []
        for table in tables():
            columns = table.schema
            found = count_digits(table, quantiles, searches, number=number)
            counted = added([*counted, found])
        searches = narrow(searches, add_digits(counted), number=number)
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
