"""What other values of t would keep of a run: from its stored matches, a part at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.config.balance import column_of
from curate.errors import AbsentError, CurateError, DamagedError
from curate.finished.rebalance import Source
from curate.ops.selection import balancing
from curate.ops.selection.sampling import carry
from curate.ops.selection.sweeping import Curve, Expectation, Point, Sweep, curve, default_ts, total
from curate.pool.tables import read_entries
from curate.report.sweeps import SWEEP
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.stages.balance import (
    Counts,
    LanguageCounts,
    Sizes,
    SumCounts,
    arrays,
    by_language,
    counted,
)

MEMORY = 512_000_000
"""Bytes for the arrays of one pass; values of t that do not fit take further passes."""
TOGETHER = 64
"""Parts whose rows are looked at together: each of a few rows would cost as much as one of many."""


def sweep(
    source: Source,
    *,
    ts: Sequence[float] = (),
    sizes: Sequence[float] = (),
    reference: str | None = None,
    on: str | None = None,
) -> Sweep:
    """Balancing at each t of `ts`, and at those that lead to the expected `sizes`.

    Without either: 1, 2, 5, 10, ... up to the count of the most frequent entry. Every other
    language has the t that gives it the p of the `reference`, as in a run. Counted is what the run's
    own balance counts, unless `on` names something else.
    """
    reference, on = reference or source.reference, source.on(on)
    metadata = source.config.prepare.metadata
    if reference not in metadata:
        raise CurateError(
            f"--reference {reference}: the run's entry lists are for {', '.join(sorted(metadata))}"
        )
    for option, wanted in (("t", ts), ("size", sizes)):
        for value in wanted:
            if not 0 < value < float("inf"):
                raise CurateError(f"--{option} {value:g}: expected a number over 0")
    counts = count(source, on=on)
    largest = int(counts[reference].counts.max(initial=1))
    chosen = {
        *ts,
        *_ts_of(source, counts, sizes=sizes, largest=largest, reference=reference, on=on),
    }
    if not chosen:
        chosen = set(default_ts(largest))
    curves = _curves(source, counts, ts=sorted(chosen), reference=reference, on=on)
    curves.sort(key=lambda one: (-one.matches, one.language))
    whole = total(curves, reference=reference)
    return Sweep(source.digest, reference, whole, tuple(curves), on)


def count(source: Source, *, on: str) -> Counts:
    """How often each entry occurs in what reaches the balance, by the column that `on` names."""
    sizes = {
        language: len(read_entries(files.absolute(path)).concepts)
        for language, path in source.config.prepare.metadata.items()
    }
    if found := _stored(source, sizes, on=on):
        return found
    sums = SumCounts(sizes)
    counts = sums.create_accumulator()
    for table in _tables(source, on=on):
        counts = sums.add_input(counts, counted(table, on=column_of(on)))
    return counts


def _stored(source: Source, sizes: dict[str, int], *, on: str) -> Counts | None:
    """What the run's own balance counted; None where it has none, or pairs were revoked since."""
    balance = source.config.balance
    if balance is None or not balance.by_entries or balance.on != on:
        return None
    entries, thresholds = (
        source.run.path(Stage.BALANCE, x) for x in ("entries.parquet", "thresholds.json")
    )
    try:
        table = files.read_table(entries, columns=["language", "count"])
        told = files.read_json(thresholds)
    except (AbsentError, DamagedError):
        return None
    found = {}
    for language, n in sizes.items():
        counts = table["count"].filter(pc.equal(table["language"], language)).to_numpy()
        if len(counts) != n or "pairs" not in told.get(language, ()):
            return None
        found[language] = LanguageCounts(told[language]["pairs"], counts)
    is_whole = sum(one.pairs for one in found.values()) == sum(x.rows for x in source.parts)
    return found if is_whole else None


def _tables(source: Source, *, on: str) -> Iterator[pa.Table]:
    """The languages and entries of all pairs, those of some parts together."""
    parts = {part.index: part for part in source.parts}

    def read(index: int) -> pa.Table:
        return source.run.rows(source.reads, parts[index], columns=["language", column_of(on)])

    each = (table for _, table in source.run.each(parts, read))
    while tables := list(islice(each, TOGETHER)):
        yield pa.concat_tables(tables)


def _ts_of(
    source: Source,
    counts: Counts,
    *,
    sizes: Sequence[float],
    largest: int,
    reference: str,
    on: str,
) -> Iterator[float]:
    """The t of each expected size, by the two rounds of a run's search (`SizeSearch`)."""
    step = Sizes(source.run, source.reads, reference=reference, on=column_of(on))

    def at(grid: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = {part.index: part for part in source.parts}
        each = source.run.each(parts, lambda x: [*step.process(parts[x], counts, grid)])
        found = [sizes for _, of_part in each for _, sizes in of_part]
        total: NDArray[np.float64] = np.sum(found, axis=0)
        return total

    if not sizes:
        return
    grid = balancing.candidate_ts(balancing.SMALLEST_T, float(max(largest, 1)))
    coarse = at(grid)
    for size in sizes:
        low, high = balancing.bracket(grid, coarse, size=size)
        fine = balancing.candidate_ts(grid[low], grid[high])
        yield balancing.interpolate_t(fine, at(fine), size=size)


def _curves(
    source: Source, counts: Counts, *, ts: Sequence[float], reference: str, on: str
) -> list[Curve]:
    carried = [carry(arrays(counts), t=t, reference=reference) for t in ts]
    entries = sum(len(found.counts) for found in counts.values())
    at_once = max(1, MEMORY // (Expectation.BYTES * max(entries, 1)))
    points: dict[str, list[Point]] = {language: [] for language in counts}
    for first in range(0, len(ts), at_once):
        pass_ = carried[first : first + at_once]
        expected = {
            language: Expectation(found.counts, ts=[t[language] for t in pass_])
            for language, found in counts.items()
        }
        for table in _tables(source, on=on):
            for language, rows in by_language(table):
                expected[language].add(table[column_of(on)].take(rows))
        for language, one in expected.items():
            points[language] += one.points()
    return [
        curve(language, pairs=found.pairs, counts=found.counts, points=points[language])
        for language, found in counts.items()
    ]


def write(run: Run, found: Sweep) -> str:
    """Write ``report/sweep.json``, which the report shows from then on; its URL."""
    url = run.path(Stage.REPORT, SWEEP)
    files.write_json(url, asdict(found))
    return url
