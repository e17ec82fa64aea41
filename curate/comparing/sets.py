"""What two sets hold: their columns over each other, their languages, hosts and entries."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.finding.stored import spread
from curate.finished.tables import Fates
from curate.ops.urls import host_names
from curate.schema import Column, Stage, is_score, kept_columns

_CELLS = 40
_LOOKED_AT = 16  # parts by which the edges of a histogram are chosen
_ENDS = (0.002, 0.998)  # quantiles beyond which all is in the last cells
_NONE = np.zeros(0)
SHOWN = 15
"""Hosts, languages and entries that are shown, those with the largest change."""
_HOSTS = 1 << 18
_PLAIN = ("smaller_side", "aspect", "caption_chars", "caption_words")


@dataclass(frozen=True)
class Overlay:
    """A column of both sets, in the same cells."""

    column: str
    edges: tuple[float, ...]
    shares: tuple[tuple[float, ...], tuple[float, ...]]  # of each set's pairs that have the column
    means: tuple[float | None, float | None]
    pairs: tuple[int, int]  # that have it


@dataclass(frozen=True)
class Shift:
    """How many pairs each set has of a thing: a language, a host, an entry."""

    name: str
    a: int
    b: int
    language: str = ""  # of an entry

    @property
    def change(self) -> int:
        """How many the second has more."""
        return self.b - self.a


@dataclass
class Held:
    """What is counted of one set."""

    cells: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Sets:
    """Two sets over each other."""

    overlays: tuple[Overlay, ...]
    languages: tuple[Shift, ...]
    hosts: tuple[Shift, ...]
    entries: tuple[Shift, ...]


def sets(a: Fates, b: Fates) -> Sets:
    """What the kept pairs of both runs are like: their parts are read twice, some columns of them."""
    both = (a, b)
    columns = _numbers(a, b)
    looked_at = [table for one in both for table in _parts(one, columns, most=_LOOKED_AT)]
    values = {
        name: np.concatenate([_NONE, *(_values(x, name) for x in looked_at)]) for name in columns
    }
    edges = {name: _edges(found) for name, found in values.items() if len(found)}
    first, second = (_held(one, edges) for one in both)
    overlays = tuple(_overlay(name, edges[name], first, second) for name in edges)
    return Sets(
        overlays,
        _largest(first.languages, second.languages),
        _largest(first.hosts, second.hosts),
        _entries(a, b),
    )


def _numbers(a: Fates, b: Fates) -> list[str]:
    """Scores first, those of the pool too, then sizes: columns of numbers that kept pairs have."""
    found: dict[str, None] = {}
    for one in (a, b):
        of_pool = kept_columns(one.config.input.columns.kept)
        for x in (*one.steps.added.get(Stage.SCORE, ()), *of_pool):
            if is_score(x):
                found[x.name] = None
    return [*found, *_PLAIN]


def _parts(one: Fates, names: Sequence[str], *, most: int | None = None) -> Iterator[pa.Table]:
    """The kept pairs a part at a time, with those of these columns that there are; of all parts, or
    of `most` that are evenly spread."""
    if not one.stages:
        return
    last = one.stages[-1]
    parts = one.run.done(last)
    parts = parts if most is None else spread(parts, n=most)
    for _, table in one.run.each(parts, partial(one.run.rows, last, present={*names})):
        yield table


def _values(table: pa.Table, name: str) -> NDArray[np.float64]:
    """The finite values of a column, if there is such a one."""
    if name not in table.column_names:
        return _NONE
    values = table[name].drop_null().cast(pa.float64()).to_numpy()
    finite: NDArray[np.float64] = values[np.isfinite(values)]
    return finite


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The edges of the cells of a column: round, and where nearly all its values are."""
    low, high = np.quantile(values, _ENDS)
    width = ((high - low) or abs(high) or 1.0) / _CELLS
    power = 10.0 ** math.floor(math.log10(width))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= width * 0.999)
    if np.all(values == np.round(values)):
        step = max(1.0, round(step))
    start = math.floor(low / step) * step
    cells = max(1, math.ceil((high - start) / step + 1e-9))
    edges: NDArray[np.float64] = np.round(start + step * np.arange(cells + 1), 9)
    return edges


def _held(one: Fates, edges: dict[str, NDArray[np.float64]]) -> Held:
    found = Held({name: np.zeros(len(x) - 1, np.int64) for name, x in edges.items()})
    for table in _parts(one, [*edges, "language", "url"]):
        for name, at in edges.items():
            values = _values(table, name)
            inside = np.clip(values, at[0], at[-1])
            found.cells[name] += np.histogram(inside, at)[0]
            found.sums[name] = found.sums.get(name, 0.0) + float(values.sum())
        _count(found.languages, table["language"])
        _count(found.hosts, host_names(table["url"]))
        if len(found.hosts) > 2 * _HOSTS:
            found.hosts = Counter(dict(found.hosts.most_common(_HOSTS)))
    return found


def _count(counter: Counter[str], column: Column) -> None:
    for one in pc.value_counts(column.drop_null()).to_pylist():
        counter[one["values"]] += one["counts"]


def _overlay(name: str, edges: NDArray[np.float64], a: Held, b: Held) -> Overlay:
    pairs = int(a.cells[name].sum()), int(b.cells[name].sum())
    shares = tuple(
        tuple((one.cells[name] / max(n, 1)).tolist()) for one, n in zip((a, b), pairs, strict=True)
    )
    means = tuple(one.sums[name] / n if n else None for one, n in zip((a, b), pairs, strict=True))
    return Overlay(name, tuple(edges.tolist()), (shares[0], shares[1]), (means[0], means[1]), pairs)


def _largest(a: Counter[str], b: Counter[str]) -> tuple[Shift, ...]:
    shifts = [Shift(name, a[name], b[name]) for name in {*a, *b}]
    shifts.sort(key=lambda one: (-abs(one.change), -max(one.a, one.b), one.name))
    return tuple(shifts[:SHOWN])


def _entries(a: Fates, b: Fates) -> tuple[Shift, ...]:
    """The entries of which the number of kept pairs changed most; none where a run has none."""
    first, second = _entry_table(a), _entry_table(b)
    if first is None or second is None:
        return ()
    both = first.join(
        second, ["language", "entry"], join_type="full outer", right_suffix="_b", use_threads=False
    )
    kept = [pc.fill_null(both[name], 0) for name in ("kept", "kept_b")]
    both = both.append_column("change", pc.abs(pc.subtract(kept[1], kept[0])))
    order = [("change", "descending"), ("language", "ascending"), ("entry", "ascending")]
    largest = both.filter(pc.greater(both["change"], 0)).sort_by(order).slice(0, SHOWN)
    return tuple(
        Shift(row["entry"], row["kept"] or 0, row["kept_b"] or 0, row["language"])
        for row in largest.to_pylist()
    )


def _entry_table(one: Fates) -> pa.Table | None:
    url = one.run.path(Stage.BALANCE, "entries.parquet")
    if Stage.BALANCE not in one.stages or not files.exists(url):
        return None
    return files.read_table(url, columns=["language", "entry", "kept"])
