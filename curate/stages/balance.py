"""balance: entries of all pairs -> counts -> t and p a language -> the pairs that are kept.

May drop: a pair that the sampling leaves out; none where all are to be written (`balance.write`), for
a trainer that samples. Counts are sums over packed arrays, a part at a time; sampling is
``uniform(uid, seed) < P(keep)``, so a retry keeps the same pairs.

The reference language has the given t (or the t that the given p or size leads to); every other
language has the t that gives the same p (Meta CLIP 2).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files, schema
from curate.ops.selection import balancing
from curate.ops.selection.sampling import Probabilities, carry, drawn
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.pool.tables import read_entries
from curate.reasons import DropReason
from curate.rundir.directory import DRAWN, Part, Run
from curate.schema import Stage
from curate.stages import softcap, wfpp
from curate.stages.part import PartOutput, PartStep, Sieve, TakeParts, given
from curate.stages.timing import timed

Ts = dict[str, float]
"""t a language."""


class LanguageCounts(NamedTuple):
    """How often the entries of one language match."""

    pairs: int
    counts: NDArray[np.int64]  # (entries,)


Counts = dict[str, LanguageCounts]
Found = dict[str, tuple[int, NDArray[np.int32], NDArray[np.int64]]]
"""Of a part, by language: its pairs, the ids that they match, ascending, and how often."""


def by_language(table: pa.Table) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """(language, rows) for each language in a part, in alphabetical order."""
    codes = np.asarray(table["language"].to_pylist(), object)
    for language in sorted(set(codes)):
        yield language, np.flatnonzero(codes == language)


class CountEntries(beam.DoFn):
    """Part -> its `Found` by the ids of a column; of the pairs that a draw takes, given its seed."""

    def __init__(self, run: Run, reads: str, *, on: str, seed: int | None = None) -> None:
        self._run, self._reads, self._on, self._seed = run, reads, on, seed

    @timed
    def process(self, part: Part) -> Iterator[Found]:
        """Count the entries of one part."""
        columns = ["language", self._on, *(DRAWN_BY if self._seed is not None else ())]
        table = self._run.rows(self._reads, part, columns=columns)
        yield counted(table if self._seed is None else taken(table, seed=self._seed), on=self._on)


DRAWN_BY = ("uid", "keep_probability")
"""The columns that a draw is of."""


def taken(table: pa.Table, *, seed: int) -> pa.Table:
    """The pairs that the run's own draw takes; `table` has the columns `DRAWN_BY`."""
    return table.filter(pa.array(drawn(table["uid"], table["keep_probability"], seed=seed)))


def drawn_figures(table: pa.Table, *, seed: int) -> dict[str, float]:
    """How many pairs of each language that draw takes."""
    languages = Counter(taken(table, seed=seed)["language"].to_pylist())
    return {DRAWN + language: float(n) for language, n in sorted(languages.items())}


def counted(table: pa.Table, *, on: str) -> Found:
    """The entries of some rows, by the ids of the column `on`."""
    found: Found = {}
    for language, rows in by_language(table):
        ids = balancing.match_arrays(table[on].take(pa.array(rows)))[1]
        entries, counts = np.unique(ids, return_counts=True)
        found[language] = len(rows), entries, counts
    return found


class SumCounts(beam.CombineFn):
    """Sums the counts of parts into one dense array a language, `sizes` entries long."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes

    def create_accumulator(self) -> Counts:
        """No pairs, no matches."""
        return {x: LanguageCounts(0, np.zeros(n, np.int64)) for x, n in self._sizes.items()}

    def add_input(self, total: Counts, found: Found) -> Counts:
        """Add the counts of one part."""
        for language, (pairs, ids, counts) in found.items():
            total[language].counts[ids] += counts
            total[language] = total[language]._replace(pairs=total[language].pairs + pairs)
        return total

    def merge_accumulators(self, totals: Iterable[Counts]) -> Counts:
        """Add up totals."""
        merged = self.create_accumulator()
        for total in totals:
            for language, (pairs, counts) in total.items():
                sum_ = merged[language]
                merged[language] = LanguageCounts(sum_.pairs + pairs, sum_.counts + counts)
        return merged

    def extract_output(self, total: Counts) -> Counts:
        """The total itself."""
        return total


def arrays(counts: Counts) -> dict[str, NDArray[np.int64]]:
    """The counts of the entries alone."""
    return {language: found.counts for language, found in counts.items()}


@dataclass(frozen=True)
class Target:
    """What the balance aims at, and by which entries; the fields are those of `config.Balance`."""

    t: float | None
    p: float | None
    size: int | None
    reference: str
    on: str = schema.MATCHES  # the column with the ids of the entries

    def ts(self, counts: Counts) -> Ts:
        """t of every language, for a target of t or p."""
        if self.p is not None:
            return {
                language: float(balancing.p_to_t(found.counts, p=self.p))
                for language, found in counts.items()
            }
        if self.t is None:
            raise AssertionError("a target size is reached by SizeSearch")
        return carry(arrays(counts), t=self.t, reference=self.reference)


class Sizes(beam.DoFn):
    """Part -> (index, expected number of kept pairs at each t of a grid)."""

    def __init__(self, run: Run, reads: str, *, reference: str, on: str) -> None:
        self._run, self._reads, self._reference, self._on = run, reads, reference, on

    @timed
    def process(
        self, part: Part, counts: Counts, grid: NDArray[np.float64]
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """The expected sizes of one part."""
        table = self._run.rows(self._reads, part, columns=["language", self._on])
        sizes = np.zeros(len(grid))
        rows = [(x, table[self._on].take(pa.array(r))) for x, r in by_language(table)]
        for k, t in enumerate(grid):
            ts = carry(arrays(counts), t=t, reference=self._reference)
            for language, matches in rows:
                probs = balancing.entry_probs(counts[language].counts, t=ts[language])
                sizes[k] += balancing.keep_probability(matches, probs).sum()
        yield part.index, sizes


def _total(sizes: Iterable[tuple[int, NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Sizes of all parts, summed in the order of the parts: floating sums depend on the order."""
    return np.asarray(np.sum([found for _, found in sorted(sizes, key=lambda x: x[0])], axis=0))


class SizeSearch(beam.PTransform):
    """Parts and counts -> t of every language for a target size: two rounds over a grid of t."""

    def __init__(
        self, run: Run, reads: str, target: Target, counts: beam.pvalue.AsSingleton
    ) -> None:
        super().__init__()
        self._sizes = Sizes(run, reads, reference=target.reference, on=target.on)
        self._target = target
        self._counts = counts

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Twice: the expected size at each t of the grid, then a grid or a t where it fits."""
        target, counts = self._target, self._counts
        grid = (
            parts.pipeline
            | "First grid" >> beam.Create([None])
            | "Span"
            >> beam.Map(
                lambda _, found: balancing.candidate_ts(
                    balancing.SMALLEST_T,
                    float(max(found[target.reference].counts.max(initial=1), 1)),
                ),
                counts,
            )
        )
        for step in ("Coarse", "Fine"):
            side = beam.pvalue.AsSingleton(grid)
            sizes = (
                parts
                | f"{step} sizes" >> beam.ParDo(self._sizes, counts, side)
                | f"{step} list" >> beam.combiners.ToList().without_defaults()
                | f"{step} total" >> beam.Map(_total)
            )
            refine = _refine if step == "Coarse" else _settle
            grid = sizes | f"{step} t" >> beam.Map(refine, side, size=float(target.size or 0))
        return grid | "Carry" >> beam.Map(
            lambda t, found: carry(arrays(found), t=t, reference=target.reference), counts
        )


def _refine(
    sizes: NDArray[np.float64], grid: NDArray[np.float64], *, size: float
) -> NDArray[np.float64]:
    low, high = balancing.bracket(grid, sizes, size=size)
    return balancing.candidate_ts(grid[low], grid[high])


def _settle(sizes: NDArray[np.float64], grid: NDArray[np.float64], *, size: float) -> float:
    return balancing.interpolate_t(grid, sizes, size=size)


@dataclass(frozen=True)
class BalanceStep(PartStep):
    """Samples the pairs of one part."""

    stage: ClassVar[Stage] = Stage.BALANCE

    target: Target
    metadata: dict[str, str]
    seed: int
    columns: pa.Schema
    write_all: bool = False

    def process(self, part: Part, counts: Counts, ts: Ts) -> PartOutput:
        """Sample by the counts of the entries and the t of each language."""
        table = self.incoming(part)
        of_entries = {
            language: balancing.entry_probs(counts[language].counts, t=ts[language])
            for language in set(table["language"].to_pylist())
        }
        keep = pa.array(Probabilities(of_entries).of(table["language"], table[self.target.on]))
        table = table.append_column("keep_probability", keep)
        sieve = Sieve(table, stage=self.stage)
        if self.write_all:
            figures = drawn_figures(table, seed=self.seed)
            return sieve.output(columns=self.columns, figures=figures)
        left_out = ~drawn(table["uid"], keep, seed=self.seed)
        sieve.remove(left_out, reason=DropReason.SAMPLED_OUT, value=table["keep_probability"])
        return sieve.output(columns=self.columns)


@lru_cache(maxsize=256)
def concepts(path: str) -> list[str]:
    """The entries of a list by their ids."""
    return read_entries(path).concepts


def write_entries(
    kept: Counts, counts: Counts, ts: Ts, mentions: Counts | None = None, *,
    run: Run, metadata: Mapping[str, str],
) -> str:  # fmt: skip
    """``entries/entries.parquet`` and ``thresholds.json`` from the counts before and after.

    `mentions` are the counts of all matches, where `counts` are of some of them.
    """
    wfpp.remove_entries(run)
    kind = schema.ENTRIES if mentions is None else schema.SEEN_ENTRIES
    tables, thresholds = [kind.empty_table()], {}
    for language in sorted(counts):
        pairs, found = counts[language]
        t = ts[language]
        n = len(found)
        columns = [
            pa.array([language] * n), pa.array(np.arange(n, dtype=np.int32)),
            pa.array(concepts(metadata[language])), pa.array(found),
            pa.array(balancing.entry_probs(found, t=t)), pa.array(kept[language].counts),
        ]  # fmt: skip
        columns += [] if mentions is None else [pa.array(mentions[language].counts)]
        tables.append(pa.table(columns, schema=kind))
        thresholds[language] = {
            "t": t, "p": balancing.t_to_p(found, t=t), "pairs": pairs,
            "matches": int(found.sum()), "entries": n, "largest": int(found.max(initial=0)),
        }  # fmt: skip
    files.write_table(run.path(Stage.BALANCE, "entries.parquet"), pa.concat_tables(tables))
    target = run.path(Stage.BALANCE, "thresholds.json")
    files.write_json(target, thresholds)
    return target


class Balance(beam.PTransform):
    """Parts -> parts that are sampled; a barrier. The entries are counted again and written beside."""

    def __init__(self, step: BalanceStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Count, settle t, sample, count again."""
        step = self._step
        sizes = {language: len(concepts(path)) for language, path in step.metadata.items()}
        on = step.target.on
        before = CountEntries(step.run, step.reads, on=on)
        counts = beam.pvalue.AsSingleton(self._count(parts, "Count", before, sizes))
        if step.target.size is not None:
            search = SizeSearch(step.run, step.reads, step.target, counts)
            ts = parts | "Search" >> search
        else:
            once = parts.pipeline | "Once" >> beam.Create([None])
            ts = once | "Settle" >> beam.Map(lambda _, found: step.target.ts(found), counts)
        side = beam.pvalue.AsSingleton(ts)
        sampled = parts | "Sample" >> TakeParts(step, counts, side)
        seed = step.seed if step.write_all else None
        kept = self._count(
            sampled, "Count kept", CountEntries(step.run, step.folder, on=on, seed=seed), sizes
        )
        more = []
        if on not in (schema.MATCHES, *schema.TAGGED.names):
            all_ = CountEntries(step.run, step.reads, on=schema.MATCHES)
            more.append(beam.pvalue.AsSingleton(self._count(parts, "Count mentions", all_, sizes)))
        write = beam.Map(write_entries, counts, side, *more, run=step.run, metadata=step.metadata)
        _ = kept | "Entries" >> write
        return sampled

    def _count(
        self, parts: beam.PCollection, label: str, count: CountEntries, sizes: dict[str, int]
    ) -> beam.PCollection:
        return (
            parts
            | label >> beam.ParDo(count)
            | f"{label}: sum" >> beam.CombineGlobally(SumCounts(sizes)).without_defaults()
        )


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The balance by entries, or by the frequency of words where that is asked for."""
    asked = plan.config.balance
    if asked is None:
        raise AssertionError("balance is not configured")
    if asked.wfpp:
        return wfpp.transform(plan, step)
    if asked.soft_cap:
        return softcap.transform(plan, step)
    own = BalanceStep(
        **given(plan, step),
        target=Target(
            t=asked.t, p=asked.p, size=asked.size, reference=asked.reference, on=asked.column
        ),
        write_all=asked.writes_all,
        metadata={x: files.absolute(p) for x, p in plan.config.prepare.metadata.items()},
        seed=plan.config.seed,
        columns=plan.steps.columns(step.stage),
    )
    return Balance(own)
