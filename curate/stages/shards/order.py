"""The order of mixed shards: where each begins among the keys of all rows, which no worker holds.

Keys are those of `curate.ops.hashing.order_keys`; rows with the same one, which have the same uid, are
in the order of the pool. A group of parts writes its keys to a file, in order, which whoever has a
range of them reads from each group's: so the rank of each key is known, and with it the rows at which
shards begin. What crosses a shuffle are extents, and these rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from apache_beam.pvalue import TaggedOutput
from numpy.typing import NDArray

from curate import files
from curate.ops.hashing import order_keys
from curate.rundir.directory import Part
from curate.rundir.scratch import WORK, Extent, read_piece, work, write_pieces
from curate.rundir.shards import ShardRecord
from curate.schema import Stage
from curate.stages.shards.cut import Mixed, Shard, count_even, ends_even, sizes_in_tar
from curate.stages.shards.groups import places_of
from curate.stages.shards.write import ShardStep

_GROUP = 1 << 15
"""Rows of a group of parts, about: some GB of images."""
_GROUPS = 16, 512
"""Groups that are enough for workers to share, and the most: a shard is that many files and reads."""
_RANGE = 1 << 20
"""Keys that meet in one element."""


WHOLE = "whole"
"""The output of records of shards that stay as they are."""
Whole: TypeAlias = TaggedOutput[Literal["whole"], ShardRecord]


class Group(NamedTuple):
    """Parts that follow each other."""

    number: int
    ranges: int  # that keys are divided into
    parts: tuple[Part, ...]


class Keyed(NamedTuple):
    """What the file of a group's keys holds."""

    extents: list[Extent]  # a range of keys each: keys and places, both ascending
    size: int  # bytes that the rows take in a tar, about


class Range(NamedTuple):
    """Keys that follow each other, of all groups."""

    start: int  # how many there are before
    pairs: int  # in all ranges
    shards: int
    extents: list[Extent]


class Piece(NamedTuple):
    """The rows of a shard whose keys are in one range."""

    shard: int
    key: int  # of the first
    place: int
    total: int  # of the keys
    pairs: int


@dataclass(frozen=True)
class Bounds:
    """Where each shard begins, in order."""

    keys: NDArray[np.uint64]  # (k,), of its first row
    places: NDArray[np.int64]  # (k,), likewise: of rows with the same key
    shards: tuple[Shard, ...]
    missing: tuple[int, ...]  # the indices of those that are to be written

    def within(self, keys: NDArray[np.uint64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each shard begins, and the last ends, among rows in order, shape (k + 1,)."""
        found = np.searchsorted(keys, self.keys, side="left")
        ends = np.searchsorted(keys, self.keys, side="right")
        for k in np.flatnonzero(found < ends):
            found[k] += np.searchsorted(places[found[k] : ends[k]], self.places[k])
        return np.append(found, len(keys))


@dataclass(frozen=True)
class Order:
    """Finds the bounds of all shards."""

    step: ShardStep

    def url(self, group: int, kind: str) -> str:
        """The URL of a file of a group."""
        return work(self.step.run, Stage.SHARDS, WORK, f"part-{group:05d}.{kind}")

    def groups(self, parts: list[Part]) -> Iterator[Group | Whole]:
        """All parts that have rows; or, `WHOLE`, the records of the shards that a revocation left."""
        for shard in (left := self.step.standing(parts) or []):
            if record := self.step.whole(shard):
                yield TaggedOutput(WHOLE, record)
        parts = sorted((part for part in parts if part.kept), key=lambda part: part.index)
        pairs = sum(part.kept for part in parts)
        if left or not parts:
            return
        few, most = _GROUPS
        n = min(max(min(-(-pairs // _GROUP), most), few), len(parts))
        kept = np.array([part.kept for part in parts])
        numbers = ((np.cumsum(kept) - kept) * n // pairs).tolist()
        for number in sorted({*numbers}):
            here = tuple(x for x, y in zip(parts, numbers, strict=True) if y == number)
            yield Group(number, -(-pairs // _RANGE), here)

    def keys(self, group: Group) -> Keyed:
        """Write the keys of a group's rows, a piece a range."""
        step, size = self.step, 0
        keys, places = [], []
        for part in group.parts:
            table = step.run.rows(step.reads, part, columns=["uid", "tar_size"])
            keys.append(order_keys(table["uid"], seed=step.seed))
            places.append(places_of(part.index, len(table)))
            size += int(sizes_in_tar(table["tar_size"].to_numpy()).sum())
        order = np.argsort(found := np.concatenate(keys), kind="stable")
        ordered, where = found[order], np.concatenate(places)[order]
        inner = np.array([(i << 64) // group.ranges for i in range(1, group.ranges)], np.uint64)
        ends = [0, *np.searchsorted(ordered, inner).tolist(), len(order)]
        pieces = ((ordered[a:b].tobytes(), where[a:b].tobytes()) for a, b in pairwise(ends))
        url = self.url(group.number, "keys")
        return Keyed(list(write_pieces(url, group.number, pieces)), size)

    def ranges(self, groups: list[Keyed]) -> Iterator[Range]:
        """Each range of keys, with what has to be known of all others."""
        counts = [[extent[2][0] // 8 for extent in group.extents] for group in groups]
        totals = [sum(of_groups) for of_groups in zip(*counts, strict=True)]
        pairs, size = sum(totals), sum(group.size for group in groups)
        shards, start = count_even(pairs, size, self.step.settings), 0
        for number, n in enumerate(totals):
            yield Range(start, pairs, shards, sorted(group.extents[number] for group in groups))
            start += n

    def pieces(self, one: Range) -> list[Piece]:
        """Which shards the rows of a range belong to."""
        read = [sections for _, sections in self.step.run.each(one.extents, self._read_keys)]
        keys = np.concatenate([np.frombuffer(x, np.uint64) for x, _ in read])
        places = np.concatenate([np.frombuffer(x, np.int64) for _, x in read])
        order = np.argsort(keys, kind="stable")  # groups, so places, are in order
        keys, places = keys[order], places[order]
        ends = ends_even(one.pairs, one.shards) - one.start
        first, last = np.searchsorted(ends, [0, len(keys) - 1], side="right").tolist()
        inner = ends[first:last].tolist()
        return [
            Piece(k, int(keys[a]), int(places[a]), int(keys[a:b].sum()), b - a)
            for k, (a, b) in enumerate(pairwise([0, *inner, len(keys)]), first)
            if a < b
        ]

    def _read_keys(self, extent: Extent) -> list[memoryview]:
        return read_piece(self.url(extent[0], "keys"), extent)

    def bounds(self, found: list[list[Piece]], parts: list[Part]) -> Iterator[Bounds | Whole]:
        """Those of all shards; and, `WHOLE`, the records of those that are written."""
        by_shard: dict[int, list[Piece]] = {}
        for piece in sorted(piece for pieces in found for piece in pieces):
            by_shard.setdefault(piece.shard, []).append(piece)
        indices = sorted(part.index for part in parts)
        ends = [0, *ends_even(len(indices), len(by_shard)).tolist()]
        shards = []
        for (k, pieces), (a, b) in zip(by_shard.items(), pairwise(ends), strict=True):
            total = sum(piece.total for piece in pieces) % 2**64
            first, stop = (indices[a], indices[b - 1] + 1) if a < b else (0, 0)
            shards.append(Shard(k, mixed=Mixed(f"{total:016x}", first, stop)))
        step = self.step
        names = {*files.names(step.path(""))}
        there = [shard for shard in shards if f"{shard.name}_stats.json" in names]
        whole = {
            shard.index: record for shard, record in step.run.each(there, step.whole) if record
        }
        yield from (TaggedOutput(WHOLE, record) for record in whole.values())
        firsts = [pieces[0] for pieces in by_shard.values()]
        yield Bounds(
            np.array([piece.key for piece in firsts], np.uint64),
            np.array([piece.place for piece in firsts], np.int64),
            tuple(shards),
            tuple(shard.index for shard in shards if shard.index not in whole),
        )
