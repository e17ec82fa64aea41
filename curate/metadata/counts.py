"""Exact counts of strings in bounded memory: what does not fit goes to disk, by hash."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.files.stores import told_of_temporary
from curate.ops.hashing import hash64

PARTITIONS = 64
SPACE = pa.scalar(" ", pa.large_string())  # between the words of a pair
_SCHEMA = pa.schema([("entry", pa.large_string()), ("count", pa.int64())])


class Counts:
    """Sums of counts a string. Add in any order, then read the sums a partition at a time.

    Rows pile up in memory until they exceed a quarter of `memory` bytes and are then summed; where
    the sums alone exceed an eighth of it, they are written to a file, grouped by the XXH64 of the
    string. All rows of a string are thus in one partition, and a partition fits in memory alone
    as long as the distinct strings take less than some 16 times `memory`.

    >>> counts = Counts(memory=1 << 20)
    >>> counts.add(["red", "fox", "red"], [1, 2, 3])
    >>> counts.table().to_pydict()
    {'entry': ['fox', 'red'], 'count': [2, 4]}
    """

    def __init__(self, *, memory: int) -> None:
        self._room = memory // 4
        self._pending: list[pa.Table] = []
        self._bytes = 0
        self._summed = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._spills: list[str] = []
        self.total = 0

    def add(self, entries: object, counts: object) -> None:
        """Add `counts` (integers, shape (n,)) to those of `entries` (strings, shape (n,))."""
        table = pa.table([_strings(entries), pa.array(counts, pa.int64())], schema=_SCHEMA)
        self.total += int(np.sum(table["count"].to_numpy(), dtype=np.int64))
        self._pending.append(table)
        self._bytes += table.nbytes
        if self._bytes - self._summed > self._room:
            self._sum()
            if self._bytes > self._room // 2:
                self._spill()

    def partitions(self) -> Iterator[pa.Table]:
        """Tables (entry, count) of distinct entries, which together hold each entry once."""
        self._sum()
        if not self._spills:
            yield from self._pending
            return
        self._spill()
        maps = [pa.memory_map(path) for path in self._spills]
        try:
            readers = [pa.ipc.open_file(file) for file in maps]
            for part in range(PARTITIONS):
                found = [reader.get_batch(part) for reader in readers]
                yield _summed(pa.Table.from_batches(found, _SCHEMA))
        finally:
            for file in maps:
                file.close()

    def table(self, *, at_least: int = 0) -> pa.Table:
        """The entries counted `at_least` times, ascending, as one table (entry, count)."""
        kept = [
            part.filter(pa.array(part["count"].to_numpy() >= at_least))
            for part in self.partitions()
        ]
        table = pa.concat_tables(kept) if kept else _SCHEMA.empty_table()
        return table.sort_by("entry").combine_chunks()

    @property
    def spilled(self) -> int:
        """How many times sums were written to disk."""
        return len(self._spills)

    def close(self) -> None:
        """Remove what was written to disk."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _sum(self) -> None:
        if len(self._pending) > 1 or (self._pending and self._bytes != self._summed):
            self._pending = [_summed(pa.concat_tables(self._pending))]
        self._bytes = self._summed = sum(table.nbytes for table in self._pending)

    def _spill(self) -> None:
        if not self._pending:
            return
        table = self._pending[0].combine_chunks()
        part = (hash64(table["entry"]) % np.uint64(PARTITIONS)).astype(np.int64)
        table = table.take(pa.array(np.argsort(part, kind="stable"))).combine_chunks()
        edges = _edges(part)
        with told_of_temporary(), ExitStack() as opened:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="curate-counts-")
            path = os.path.join(self._folder.name, f"{len(self._spills):06}.arrow")
            file = opened.enter_context(pa.OSFile(path, "wb"))
            writer = opened.enter_context(pa.ipc.new_file(file, _SCHEMA))
            for start, stop in pairwise(edges):
                batches = table.slice(start, stop - start).to_batches()
                writer.write_batch(
                    batches[0] if batches else pa.RecordBatch.from_pylist([], _SCHEMA)
                )
        self._spills.append(path)
        self._pending = []
        self._bytes = self._summed = 0


def _strings(entries: object) -> pa.Array | pa.ChunkedArray:
    if isinstance(entries, pa.Array | pa.ChunkedArray):
        return entries.cast(pa.large_string())
    return pa.array(entries, pa.large_string())


def _summed(table: pa.Table) -> pa.Table:
    grouped = table.group_by("entry", use_threads=False).aggregate([("count", "sum")])
    return pa.table([grouped["entry"], grouped["count_sum"]], schema=_SCHEMA)


def _edges(part: NDArray[np.int64]) -> list[int]:
    sizes = np.bincount(part, minlength=PARTITIONS)
    return [0, *np.cumsum(sizes).tolist()]
