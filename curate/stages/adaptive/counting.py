"""Parts -> how often each key of a perspective occurs, exactly, and those with more than tau.

The keys of a part are counted, cut into ranges and written to a file of scratch; of each range the
pieces of all parts are added up by themselves. So a worker has the keys of some rows in memory, or one
range's (`Counting.in_range` of occurrences, in expectation), whatever the pool holds. What grows with
the pool is the head: the keys above tau, which are written to two files that samplers map into memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.ops.selection import adaptive, occurrences
from curate.ops.selection.adaptive import Distribution
from curate.ops.selection.occurrences import Occurrences, Tally
from curate.rundir.directory import Part, Run
from curate.rundir.scratch import WORK, Extent, read_piece, work, write_pieces
from curate.schema import Column, Stage
from curate.stages.balance import Counts, by_language
from curate.stages.timing import timed

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Counting:
    """A perspective whose entities are known by keys, and what they are made of."""

    name: str  # pairs, or nouns
    share: float  # r
    first: Mapping[str, int] = field(default_factory=dict)
    """Of pairs: the number of each language's first entry among those of all."""
    in_range: int = 1 << 22
    at_once: int = occurrences.AT_ONCE

    @property
    def columns(self) -> list[str]:
        """The columns that the entities are made of."""
        return ["nouns"] if self.name == "nouns" else ["language", "matches"]

    def keys(self, table: pa.Table) -> Iterator[tuple[Rows, Occurrences]]:
        """The keys of rows, and which rows of the table these are."""
        for rows, column, first in self._columns(table):
            if self.name == "nouns":
                found = occurrences.word_keys(column, at_once=self.at_once)
            else:
                found = occurrences.pair_keys(column, first=first, at_once=self.at_once)
            for one in found:
                yield rows[one.rows], one

    def count(self, table: pa.Table) -> int:
        """How many keys there are."""
        total = 0
        for _, column, _ in self._columns(table):
            sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
            total += int((sizes if self.name == "nouns" else sizes * (sizes - 1) // 2).sum())
        return total

    def _columns(self, table: pa.Table) -> Iterator[tuple[Rows, Column, int]]:
        if self.name == "nouns":
            yield np.arange(len(table)), table["nouns"], 0
            return
        for language, rows in by_language(table):
            if language in self.first:
                yield rows, table["matches"].take(pa.array(rows)), self.first[language]


class Head(NamedTuple):
    """The keys of a perspective that occur more than tau times, and what was counted of all."""

    name: str
    share: float
    tau: int
    distribution: Distribution
    entities: int  # in the head
    urls: tuple[str, str]  # of the keys, ascending, and their counts
    held: tuple[files.Content, files.Content]


class Entries(NamedTuple):
    """What was counted of the entries: how often each occurs, by language."""

    share: float
    tau: int
    distribution: Distribution
    counts: Counts

    @property
    def name(self) -> str:
        """That of the perspective."""
        return "entries"


Found = Mapping[str, Entries | Head]
"""What was counted, and tau, of each perspective by its name."""


def settle_entries(counts: Counts, *, share: float) -> Entries:
    """tau over the entries of all languages."""
    whole = adaptive.together([adaptive.distribution(of.counts) for of in counts.values()])
    return Entries(share, adaptive.threshold(whole, share=share), whole, counts)


class CountKeys(beam.DoFn):
    """Part -> how many keys it has."""

    def __init__(self, run: Run, reads: str, counting: Counting) -> None:
        self._run, self._reads, self._counting = run, reads, counting

    @timed
    def process(self, part: Part) -> Iterator[int]:
        """Those of one part."""
        table = self._run.rows(self._reads, part, columns=self._counting.columns)
        yield self._counting.count(table)


def ranges_for(found: Iterable[int], *, counting: Counting) -> int:
    """Into how many ranges so many keys are cut; the result does not depend on it."""
    return max(1, -(-sum(found) // counting.in_range))


class Spill(beam.DoFn):
    """Part -> its file of counted keys, in the scratch of `at`: (range, extent) for each piece."""

    def __init__(self, run: Run, reads: str, counting: Counting, *, at: Run) -> None:
        self._run, self._reads, self._counting, self._at = run, reads, counting, at

    @timed
    def process(self, part: Part, n: int) -> Iterator[tuple[int, Extent]]:
        """Those of one part, some rows at a time."""
        table = self._run.rows(self._reads, part, columns=self._counting.columns)
        numbers: list[int] = []

        def pieces() -> Iterator[tuple[bytes, bytes]]:
            for _, one in self._counting.keys(table):
                cut = occurrences.ranges(occurrences.tally(one.keys), n)
                for number, (keys, counts) in enumerate(cut):
                    if len(keys):
                        numbers.append(number)
                        yield keys.tobytes(), counts.astype(np.uint32).tobytes()

        url = _piece_url(self._at, self._counting, part.index)
        extents = list(write_pieces(url, part.index, pieces()))
        yield from zip(numbers, extents, strict=True)


class Meet(beam.DoFn):
    """A range's pieces -> (range, distribution of its counts); keys that occur twice go to a file."""

    def __init__(self, run: Run, counting: Counting) -> None:
        self._run, self._counting = run, counting

    @timed
    def process(self, element: tuple[int, Iterable[Extent]]) -> Iterator[tuple[int, Distribution]]:
        """Add up what all parts have in the range."""
        number, extents = element
        tallies = []
        for extent in sorted(extents):
            url = _piece_url(self._run, self._counting, extent[0])
            keys, counts = read_piece(url, extent)
            found = np.frombuffer(counts, np.uint32).astype(np.int64)
            tallies.append(Tally(np.frombuffer(keys, np.uint64), found))
        whole = occurrences.merged(tallies)
        often = whole.counts > 1
        url = _range_url(self._run, self._counting, number)
        sections = whole.keys[often].tobytes(), whole.counts[often].tobytes()
        list(write_pieces(url, number, [sections]))
        yield number, adaptive.distribution(whole.counts)


def write_head(found: Iterable[tuple[int, Distribution]], *, run: Run, counting: Counting) -> Head:
    """Settle tau, and write the keys above it, a range after the other."""
    by_range = sorted(found, key=lambda one: one[0])
    whole = adaptive.together([of for _, of in by_range])
    tau = adaptive.threshold(whole, share=counting.share)
    entities = 0
    urls = _head_url(run, counting, "keys"), _head_url(run, counting, "counts")
    with ExitStack() as stack:
        keys_file, counts_file = (
            stack.enter_context(files.atomic_write(url, synced=False)) for url in urls
        )
        for number, of in by_range:
            n = int(of.entities[of.counts > 1].sum())
            extent = number, 0, (8 * n, 8 * n)
            keys, counts = read_piece(_range_url(run, counting, number), extent)
            above = np.frombuffer(counts, np.int64) > tau
            keys_file.write(np.frombuffer(keys, np.uint64)[above].tobytes())
            counts_file.write(np.frombuffer(counts, np.int64)[above].tobytes())
            entities += int(above.sum())
    held = tuple(files.content_of(files.read_bytes(url)) for url in urls)
    return Head(counting.name, counting.share, tau, whole, entities, urls, (held[0], held[1]))


@lru_cache(maxsize=4)
def _mapped(
    urls: tuple[str, str], held: tuple[files.Content, files.Content], n: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    if not n:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    with files.local_copy(urls[0]) as keys, files.local_copy(urls[1]) as counts:
        return (
            np.asarray(np.memmap(keys, np.uint64, "r", shape=(n,))),
            np.asarray(np.memmap(counts, np.int64, "r", shape=(n,))),
        )


def mapped(head: Head) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The keys of a head, ascending, and their counts, mapped into memory."""
    return _mapped(head.urls, head.held, head.entities)


def _piece_url(run: Run, counting: Counting, part: int) -> str:
    return work(run, Stage.BALANCE, WORK, counting.name, f"part-{part:05d}.keys")


def _range_url(run: Run, counting: Counting, number: int) -> str:
    return work(run, Stage.BALANCE, WORK, counting.name, f"range-{number:05d}.keys")


def _head_url(run: Run, counting: Counting, what: str) -> str:
    return work(run, Stage.BALANCE, WORK, counting.name, f"head.{what}")


class FindHead(beam.PTransform):
    """Parts -> the `Head` of a perspective; a barrier."""

    def __init__(self, run: Run, reads: str, counting: Counting) -> None:
        super().__init__()
        self._run, self._reads, self._counting = run, reads, counting

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Count how many, write them in so many ranges, add up each, settle."""
        run, counting = self._run, self._counting
        given = run, self._reads, counting
        n = (
            parts
            | "Number" >> beam.ParDo(CountKeys(*given))
            | "Numbers" >> beam.combiners.ToList()
            | "Ranges" >> beam.Map(ranges_for, counting=counting)
        )
        return (
            parts
            | "Spill" >> beam.ParDo(Spill(*given, at=run), beam.pvalue.AsSingleton(n))
            | "By range" >> beam.GroupByKey()
            | "Meet" >> beam.ParDo(Meet(run, counting))
            | "All ranges" >> beam.combiners.ToList()
            | "Head" >> beam.Map(write_head, run=run, counting=counting)
        )
