"""mixed: rows of all parts -> even shards in the order of their keys, in bounded memory and few reads.

    groups of parts -> keys (a file a group) -> (meet by range) -> where each shard begins
                    -> rows and images by shard (a file a group) -> (meet by shard) -> shards

A group reads its parts' images once, as they stand, and writes one file of them that has a piece a
shard; who writes a shard reads its piece of each group's file. Only extents of pieces cross a shuffle.
A worker holds the rows of a group; in front of a store also a group's images, on disk, and those of a
shard. The files are scratch, and take as much room as the shards, until all of these are written.

What a shard holds follows from the set and the seed (`order`).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from mmap import mmap

import apache_beam as beam
import numpy as np
import pyarrow as pa

from curate import files
from curate.files.stores import told_of_temporary
from curate.ops.hashing import order_keys
from curate.parent import at_work
from curate.rundir.directory import Part
from curate.rundir.scratch import Extent, as_bytes, as_table
from curate.rundir.shards import ShardRecord
from curate.rundir.tar import BLOCK
from curate.schema import Stage
from curate.stages.images import members_of
from curate.stages.shards.groups import (
    PLACE,
    ROW_BITS,
    Ints,
    Members,
    pieces_of,
    places_of,
    temporary,
)
from curate.stages.shards.order import WHOLE, Bounds, Group, Keyed, Order, Piece, Range, Whole
from curate.stages.shards.write import ShardStep
from curate.stages.timing import timed

_IN_MEMORY = 1 << 28
"""Bytes of images of a shard that a worker holds, before they go to a file."""
Read = Callable[[int, int], bytes]
"""What reads so many bytes from an offset on."""


@dataclass(frozen=True)
class Mix(Order):
    """Brings the rows of shards together, and writes them."""

    def copy(self, group: Group, bounds: Bounds) -> Iterator[tuple[int, Extent]]:
        """Write the rows and images of a group that belong to shards which are missing."""
        if not bounds.missing:
            return
        step = self.step
        found = []
        for part in group.parts:
            table = step.run.rows(step.reads, part)
            found.append(table.append_column(PLACE, pa.array(places_of(part.index, len(table)))))
        table = pa.concat_tables(found)
        keys = order_keys(table["uid"], seed=step.seed)
        order = np.argsort(keys, kind="stable")
        at = bounds.within(keys[order], table[PLACE].to_numpy()[order])
        sizes = table["tar_size"].to_numpy() + BLOCK
        pieces = [
            (k, rows) for k in bounds.missing for rows in pieces_of(order[at[k] : at[k + 1]], sizes)
        ]
        taken = np.concatenate([np.zeros(0, np.int64), *(rows for _, rows in pieces)])
        with (
            files.atomic_write(self.url(group.number, "images"), synced=False) as file,
            ExitStack() as opened,
        ):
            members = Members.of(step.run, table, taken, opened)
            ordered, start, offset = _taken(table, taken), 0, 0
            for k, rows in pieces:
                content = as_bytes(ordered.slice(start, len(rows)))
                file.write(content)
                for block in members.read(rows):
                    file.write(block)
                held = len(content), int(sizes[rows].sum())
                yield k, (group.number, offset, held)
                start, offset = start + len(rows), offset + sum(held)

    def write(self, index: int, extents: Iterable[Extent], bounds: Bounds) -> ShardRecord:
        """Write a shard of its pieces."""
        shard = bounds.shards[index]
        extents = sorted(extents)
        with at_work(f"shard {shard.name}"), ExitStack() as opened:
            tables, reads, starts = [], [], []
            for table, read, begin in self._held(extents, opened):
                sizes = table["tar_size"].to_numpy() + BLOCK
                tables.append(table)
                reads += [read] * len(table)
                starts.append(begin + np.cumsum(sizes) - sizes)
            table = pa.concat_tables(tables)
            order = np.argsort(order_keys(table["uid"], seed=self.step.seed), kind="stable")
            found = self._images(
                table := _taken(table, order),
                [reads[i] for i in order.tolist()],
                np.concatenate(starts)[order].tolist(),
            )
            return self.step.write(shard, [(table.drop_columns([PLACE]), found)])

    def _held(
        self, extents: list[Extent], opened: ExitStack
    ) -> Iterator[tuple[pa.Table, Read, int]]:
        """The rows of each piece, what reads it, and where its images begin there.

        On a disk that is the file of its group.
        """
        urls = {group: self.url(group, "images") for group, _, _ in extents}
        if all(files.local_path(url) is not None for url in urls.values()):
            groups = {x: opened.enter_context(files.open_read(url)) for x, url in urls.items()}
            for group, begin, (rows, _) in extents:
                read = partial(_read_at, groups[group].fileno())
                yield as_table(read(begin, rows)), read, begin + rows
            return
        sizes = [sum(extent[2]) for extent in extents]
        begins = dict(zip(extents, (np.cumsum(sizes) - sizes).tolist(), strict=True))
        room = opened.enter_context(_room(sum(sizes)))
        view = opened.enter_context(memoryview(room))

        def fill(extent: Extent) -> None:
            group, start, _ = extent
            begin = begins[extent]
            files.read_into(urls[group], start, view[begin : begin + sum(extent[2])])

        for extent, _ in self.step.run.each(extents, fill):
            begin, rows = begins[extent], extent[2][0]
            yield (
                as_table(view[begin : begin + rows].tobytes()),
                partial(_slice, room),
                begin + rows,
            )

    def _images(self, table: pa.Table, reads: list[Read], starts: list[int]) -> Iterator[bytes]:
        """The images of a shard's rows, whose members start there, each checked as in its part."""
        step = self.step
        url_of = cache(lambda part: step.run.part(Stage.DOWNLOAD, part, "tar"))
        parts = (table[PLACE].to_numpy() >> ROW_BITS).tolist()
        each = zip(members_of(table), parts, reads, starts, strict=True)
        for member, part, read, start in each:
            block = read(start, BLOCK + member.size)
            yield member.image(block, url=url_of(part), encode_format=step.encode_format)


def _taken(table: pa.Table, rows: Ints) -> pa.Table:
    """These rows of a table, in this order, in one piece."""
    return table.combine_chunks().take(pa.array(rows))


def _read_at(file: int, offset: int, size: int) -> bytes:
    return os.pread(file, size, offset)


def _slice(room: mmap, offset: int, size: int) -> bytes:
    return room[offset : offset + size]


@contextmanager
def _room(size: int) -> Iterator[mmap]:
    """Memory for so many bytes, or a temporary file where they are many."""
    file = temporary() if size > _IN_MEMORY else None
    with file or nullcontext(), told_of_temporary():
        if file:
            os.posix_fallocate(file.fileno(), 0, size)
        with mmap(file.fileno() if file else -1, size) as room:
            yield room


@timed
def _keys(group: Group, *, mix: Mix) -> Keyed:
    return mix.keys(group)


@timed
def _pieces(one: Range, *, mix: Mix) -> list[Piece]:
    return mix.pieces(one)


@timed
def _bounds(found: list[list[Piece]], parts: list[Part], *, mix: Mix) -> Iterator[Bounds | Whole]:
    yield from mix.bounds(found, parts)


@timed
def _copy(group: Group, bounds: Bounds, *, mix: Mix) -> Iterator[tuple[int, Extent]]:
    yield from mix.copy(group, bounds)


@timed
def _write(keyed: tuple[int, Iterable[Extent]], bounds: Bounds, *, mix: Mix) -> ShardRecord:
    return mix.write(*keyed, bounds)


class MixedShards(beam.PTransform):
    """A list of all parts, one element -> the records of the shards; those that are whole stay."""

    def __init__(self, step: ShardStep) -> None:
        super().__init__()
        self._mix = Mix(step)

    def expand(self, gathered: beam.PCollection) -> beam.PCollection:
        """Find where shards begin, then bring their rows and images together."""
        mix = self._mix
        single, listed = beam.pvalue.AsSingleton, beam.combiners.ToList
        begun = gathered | "Groups" >> beam.FlatMap(mix.groups).with_outputs(WHOLE, main="groups")
        groups = begun["groups"] | "Spread" >> beam.Reshuffle()
        found = (
            groups
            | "Keys" >> beam.Map(_keys, mix=mix)
            | "All keys" >> listed()
            | "Ranges" >> beam.FlatMap(mix.ranges)
            | "Spread ranges" >> beam.Reshuffle()
            | "Pieces" >> beam.Map(_pieces, mix=mix)
            | "All pieces" >> listed()
            | "Bounds"
            >> beam.FlatMap(_bounds, single(gathered), mix=mix).with_outputs(WHOLE, main="bounds")
        )
        bounds = single(found["bounds"])
        written = (
            groups
            | "Copy" >> beam.FlatMap(_copy, bounds, mix=mix)
            | "By shard" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write, bounds, mix=mix)
        )
        return (begun[WHOLE], found[WHOLE], written) | "Together" >> beam.Flatten()
