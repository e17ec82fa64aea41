"""What a balance by perspectives leaves beside its parts: the heads, and what was counted of each.

``entries/entries.parquet`` and ``thresholds.json`` are those of the balance by entries, t being tau;
``entries/pairs.parquet`` and ``entries/nouns.parquet`` hold what occurs more than tau times, the most
frequent first; ``perspectives.json`` what was counted from each perspective.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import files, schema
from curate.ops.hashing import hash64
from curate.ops.selection import occurrences
from curate.rundir.damage import PERSPECTIVES
from curate.rundir.directory import Part, Run
from curate.rundir.scratch import WORK
from curate.schema import Stage
from curate.stages.adaptive.counting import Counting, Entries, Found, Head, mapped
from curate.stages.balance import Counts, concepts, write_entries
from curate.stages.timing import timed
from curate.stages.wfpp import remove_entries

_ROWS = 1 << 18  # of a head that are written at once

Named = tuple[int, str]
"""The place of a noun in its head, and the noun."""


class KeptOfHead(NamedTuple):
    """Occurrences in the pairs that were kept."""

    places: NDArray[np.int64]  # in the head, ascending
    counts: NDArray[np.int64]
    entities: int  # in the head
    occurrences: int  # of all, head and tail


def kept_in(table: pa.Table, keys: occurrences.Keys, counting: Counting) -> KeptOfHead:
    """How often what stands in a head, whose `keys` ascend, occurs in some pairs."""
    n, found = 0, [np.empty(0, np.int64)]
    for _, one in counting.keys(table):
        at = occurrences.places(one.keys, keys)
        found.append(at[at >= 0])
        n += len(one.keys)
    places, counts = np.unique(np.concatenate(found), return_counts=True)
    return KeptOfHead(places, counts, len(keys), n)


class CountKept(beam.DoFn):
    """Part of kept pairs -> its `KeptOfHead`."""

    def __init__(self, run: Run, reads: str, counting: Counting) -> None:
        self._run, self._reads, self._counting = run, reads, counting

    @timed
    def process(self, part: Part, found: Found) -> Iterator[KeptOfHead]:
        """Count one part."""
        table = self._run.rows(self._reads, part, columns=self._counting.columns)
        head = found[self._counting.name]
        if isinstance(head, Head):
            yield kept_in(table, mapped(head)[0], self._counting)


class Kept(NamedTuple):
    """What is kept from one perspective."""

    occurrences: int  # of all, head and tail
    counts: NDArray[np.int64]  # of each entity of the head


class SumKept(beam.CombineFn):
    """Sums what is kept of a head, which is as long as its keys are."""

    def create_accumulator(self) -> Kept:
        """Nothing is known of the head."""
        return Kept(0, np.zeros(0, np.int64))

    def add_input(self, total: Kept, found: KeptOfHead) -> Kept:
        """Add those of one part."""
        counts = total.counts if len(total.counts) else np.zeros(found.entities, np.int64)
        counts[found.places] += found.counts
        return Kept(total.occurrences + found.occurrences, counts)

    def merge_accumulators(self, totals: Iterable[Kept]) -> Kept:
        """Add up totals."""
        merged = self.create_accumulator()
        for one in totals:
            counts = one.counts + merged.counts if len(merged.counts) else one.counts
            merged = Kept(
                merged.occurrences + one.occurrences, counts if len(counts) else merged.counts
            )
        return merged

    def extract_output(self, total: Kept) -> Kept:
        """The total itself."""
        return total


class NameHead(beam.DoFn):
    """Part -> the nouns of the head that it has, each with its place there."""

    def __init__(self, run: Run, reads: str) -> None:
        self._run, self._reads = run, reads

    @timed
    def process(self, part: Part, found: Found) -> Iterator[Named]:
        """Those of one part, each once."""
        head = found["nouns"]
        nouns = pc.unique(
            pc.list_flatten(self._run.rows(self._reads, part, columns=["nouns"])["nouns"])
        )
        if isinstance(head, Head):
            places = occurrences.places(hash64(nouns), mapped(head)[0])
            here = np.flatnonzero(places >= 0)
            yield from zip(
                places[here].tolist(), nouns.take(pa.array(here)).to_pylist(), strict=True
            )


def write_found(
    _: None,
    found: Found,
    names: list[Named],
    *kept: Counts | Kept,
    run: Run,
    metadata: Mapping[str, str],
    countings: Sequence[Counting],
) -> str:
    """Write the tables and `PERSPECTIVES`; scratch ends here, and so do files of another balance.

    `kept` is in the order of the perspectives: entries, pairs, nouns.
    """
    remove_entries(run)
    left = iter(kept)
    told: dict[str, dict[str, object]] = {}
    entries = found.get("entries")
    if isinstance(entries, Entries):
        after = next(left)
        if not isinstance(after, dict):
            raise AssertionError("the entries come first")
        ts = dict.fromkeys(entries.counts, float(entries.tau))
        write_entries(after, entries.counts, ts, run=run, metadata=metadata)
        told["entries"] = summary(entries) | kept_entries(entries.tau, entries.counts, after)
    for counting, after in zip(countings, left, strict=True):
        head = found[counting.name]
        if not isinstance(head, Head) or not isinstance(after, Kept):
            raise AssertionError(f"no head of {counting.name}")
        of_head = after.counts if len(after.counts) else np.zeros(head.entities, np.int64)
        url = run.path(Stage.BALANCE, f"{counting.name}.parquet")
        _write_table(url, head, of_head, lists=metadata, counting=counting, names=dict(names))
        told[counting.name] = summary(head) | {
            "kept": after.occurrences, "kept_head": int(of_head.sum()),
            **({"first": dict(counting.first)} if counting.first else {}),
        }  # fmt: skip
    target = run.path(Stage.BALANCE, PERSPECTIVES)
    files.write_json(target, told)
    files.remove(run.path(Stage.BALANCE, WORK))
    return target


def summary(one: Entries | Head) -> dict[str, object]:
    """What is told of a perspective before sampling; its distribution are the last two lists."""
    counts, entities = one.distribution
    head, of_head = one.distribution.above(one.tau)
    return {
        "share": one.share, "tau": one.tau, "entities": int(entities.sum()),
        "occurrences": one.distribution.occurrences, "largest": int(counts.max(initial=0)),
        "head": head, "head_occurrences": of_head,
        "counts": counts.tolist(), "entities_with": entities.tolist(),
    }  # fmt: skip


def kept_entries(tau: float, counts: Counts, kept: Counts) -> dict[str, object]:
    """Matches of the kept pairs: of all entries, and of those that occur more than tau times."""
    of_head = sum(int(kept[x].counts[of.counts > tau].sum()) for x, of in counts.items())
    return {"kept": sum(int(of.counts.sum()) for of in kept.values()), "kept_head": of_head}


def _write_table(
    url: str, head: Head, kept: NDArray[np.int64], *, lists: Mapping[str, str], counting: Counting,
    names: Mapping[int, str],
) -> None:  # fmt: skip
    """The entities of a head, most frequent first, some at a time."""
    keys, counts = mapped(head)
    order = np.argsort(-counts, kind="stable")
    columns = schema.NOUNS if counting.name == "nouns" else schema.PAIRS
    entries = pa.array([name for x in counting.first for name in concepts(lists[x])], pa.string())
    with (
        files.atomic_write(url) as file,
        pq.ParquetWriter(file, columns, compression="zstd", compression_level=1) as writer,
    ):
        for start in range(0, max(len(order), 1), _ROWS):
            at = order[start : start + _ROWS]
            if counting.name == "nouns":
                of = [pa.array([names[x] for x in at.tolist()], pa.string())]
            else:
                of = _of_pairs(keys[at], counting.first, entries)
            share = np.minimum(1.0, head.tau / np.maximum(counts[at], 1))
            numbers = [pa.array(counts[at]), pa.array(share), pa.array(kept[at])]
            writer.write_table(pa.table([*of, *numbers], schema=columns))


def _of_pairs(
    keys: occurrences.Keys, first: Mapping[str, int], entries: pa.Array
) -> list[pa.Array]:
    """Language, ids and names of the entries of each key; `entries` are those of all languages."""
    languages, starts = pa.array(list(first), pa.string()), np.array([*first.values(), 2**32])
    one, other = occurrences.entries_of(keys)
    at = np.searchsorted(starts, one, side="right") - 1
    found = [languages.take(pa.array(at))]
    for numbers in (one, other):
        ids = pa.array((numbers - starts[at]).astype(np.int32))
        found += [ids, entries.take(pa.array(numbers))]
    return found
