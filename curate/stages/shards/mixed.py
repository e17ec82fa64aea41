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
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from mmap import mmap
from typing import IO

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.errors import DamagedError
from curate.files.stores import told_of_temporary
from curate.ops.hashing import order_keys
from curate.parent import at_work
from curate.rundir.scratch import Extent, as_bytes, as_table
from curate.rundir.shards import ShardRecord
from curate.rundir.tar import BLOCK
from curate.schema import Stage
from curate.stages.images import open_tar, read_image
from curate.stages.shards.order import (
    ROW_BITS,
    Bounds,
    Group,
    Keyed,
    Order,
    Piece,
    Range,
    places_of,
)
from curate.stages.shards.write import ShardStep
from curate.stages.timing import timed

_PIECE = 1 << 22
"""Bytes that are read at once, about."""
_GAP = 1 << 15
"""Bytes between members that are rather read with them."""
_IN_MEMORY = 1 << 28
"""Bytes of images of a shard that a worker holds, before they go to a file."""
_PLACE = "_place"
"""A column while rows are on their way: part and row."""


@dataclass(frozen=True)
class Mix(Order):
    """Brings the rows of shards together, and writes them."""

    def copy(
        self, group: Group, bounds: Bounds, missing: list[int]
    ) -> Iterator[tuple[int, Extent]]:
        """Write the rows and images of a group that belong to shards which are `missing`."""
        if not missing:
            return
        step = self.step
        found = []
        for part in group.parts:
            table = step.run.rows(step.reads, part)
            found.append(table.append_column(_PLACE, pa.array(places_of(part.index, len(table)))))
        table = pa.concat_tables(found)
        keys = order_keys(table["uid"], seed=step.seed)
        order = np.argsort(keys, kind="stable")
        at = bounds.within(keys[order], table[_PLACE].to_numpy()[order])
        sizes = table["tar_size"].to_numpy() + BLOCK
        pieces = [
            (k, rows) for k in missing for rows in _pieces_of(order[at[k] : at[k + 1]], sizes)
        ]
        url, where = self.url(group.number, "images"), np.full(len(table), -1)
        is_near = files.local_path(url) is not None
        with (
            files.atomic_write(url) as target,
            nullcontext(target) if is_near else _temporary() as file,
        ):
            ordered, start, offset = _taken(table, [rows for _, rows in pieces]), 0, 0
            for k, rows in pieces:
                content = as_bytes(ordered.slice(start, len(rows)))
                start += len(rows)
                os.pwrite(file.fileno(), content, offset)
                ends = offset + len(content) + np.cumsum(sizes[rows])
                where[rows] = ends - sizes[rows]
                held = len(content), int(sizes[rows].sum())
                yield k, (group.number, offset, held)
                offset += sum(held)
            self._copy_images(group, table, where, file.fileno())
            if not is_near:
                file.seek(0)
                shutil.copyfileobj(file, target)

    def _copy_images(
        self, group: Group, table: pa.Table, where: NDArray[np.int64], file: int
    ) -> None:
        """Write the members of a group's tars, in the order of these, to their places in `file`."""
        begins = table["tar_offset"].to_numpy() - BLOCK
        sizes = table["tar_size"].to_numpy() + BLOCK
        parts = table[_PLACE].to_numpy() >> ROW_BITS
        for part in group.parts:
            wanted = np.flatnonzero((parts == part.index) & (where >= 0))
            wanted = wanted[np.argsort(begins[wanted], kind="stable")]
            if not len(wanted):
                continue
            with open_tar(self.step.run, part.index) as tar:
                for rows in _blocks_of(wanted, begins, sizes):
                    first, stop = int(begins[rows[0]]), int(begins[rows[-1]] + sizes[rows[-1]])
                    tar.seek(first)
                    block = memoryview(tar.read(stop - first))
                    if len(block) < stop - first:
                        url = self.step.run.part(Stage.DOWNLOAD, part.index, "tar")
                        raise DamagedError(url, "it is truncated")
                    for row, a in zip(rows.tolist(), (begins[rows] - first).tolist(), strict=True):
                        os.pwrite(file, block[a : a + sizes[row]], where[row])

    def write(self, index: int, extents: Iterable[Extent], bounds: Bounds) -> ShardRecord:
        """Write a shard of its pieces."""
        shard = bounds.shards[index]
        extents = sorted(extents)
        with at_work(f"shard {shard.name}"), ExitStack() as opened:
            held = self._held(extents, opened)
            tables, places = [], []
            for (_, _, (rows, _)), (table, file, begin) in zip(extents, held, strict=True):
                tables.append(table)
                ends = np.cumsum(table["tar_size"].to_numpy() + BLOCK)
                offsets = begin + rows + ends - table["tar_size"].to_numpy()
                places += [(file, offset) for offset in offsets.tolist()]
            table = pa.concat_tables(tables)
            order = np.argsort(order_keys(table["uid"], seed=self.step.seed), kind="stable")
            found = self._images(table := _taken(table, [order]), [places[i] for i in order])
            return self.step.write(shard, [(table.drop_columns([_PLACE]), found)])

    def _held(
        self, extents: list[Extent], opened: ExitStack
    ) -> Iterator[tuple[pa.Table, IO[bytes] | mmap, int]]:
        """The rows of each piece, and where it begins in which file: on a disk that of its group."""
        urls = {group: self.url(group, "images") for group, _, _ in extents}
        if all(files.local_path(url) is not None for url in urls.values()):
            groups = {x: opened.enter_context(files.open_read(url)) for x, url in urls.items()}
            for group, begin, (rows, _) in extents:
                groups[group].seek(begin)
                yield as_table(groups[group].read(rows)), groups[group], begin
            return
        sizes = [sum(extent[2]) for extent in extents]
        begins = dict(zip(extents, (np.cumsum(sizes) - sizes).tolist(), strict=True))
        room = opened.enter_context(_room(sum(sizes)))
        view = opened.enter_context(memoryview(room))

        def read(extent: Extent) -> None:
            group, start, _ = extent
            begin = begins[extent]
            files.read_into(urls[group], start, view[begin : begin + sum(extent[2])])

        for extent, _ in self.step.run.each(extents, read):
            begin = begins[extent]
            yield as_table(bytes(view[begin : begin + extent[2][0]])), room, begin

    def _images(
        self, table: pa.Table, places: list[tuple[IO[bytes] | mmap, int]]
    ) -> Iterator[bytes]:
        """The images of a shard's rows, by file and offset, each checked as in its part."""
        step = self.step
        url_of = cache(lambda part: step.run.part(Stage.DOWNLOAD, part, "tar"))
        names = ["uid", "tar_size", _PLACE, "stored_sha256"]
        known = table.select([name for name in names if name in table.column_names])
        for row, (file, offset) in zip(known.to_pylist(), places, strict=True):
            url, row["tar_offset"] = url_of(row[_PLACE] >> ROW_BITS), offset
            yield read_image(file, row, url=url, encode_format=step.encode_format,
                             sha256=row.get("stored_sha256"))  # fmt: skip


def _taken(table: pa.Table, rows: list[NDArray[np.int64]]) -> pa.Table:
    """These rows of a table, in this order, in one piece."""
    return table.combine_chunks().take(pa.array(np.concatenate([[], *rows]).astype(np.int64)))


def _pieces_of(rows: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """`rows` in pieces of about `_PIECE` bytes; none where there are no rows."""
    ends = np.cumsum(sizes[rows]) // _PIECE
    return np.split(rows, np.flatnonzero(np.diff(ends)) + 1) if len(rows) else []


def _blocks_of(
    rows: NDArray[np.int64], begins: NDArray[np.int64], sizes: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """`rows`, in the order of their members in a tar, in blocks to read: neighbours, and few."""
    first, stop = begins[rows], begins[rows] + sizes[rows]
    apart = first[1:] - stop[:-1] > _GAP
    return np.split(rows, np.flatnonzero(apart | (np.diff(first // _PIECE) > 0)) + 1)


@contextmanager
def _room(size: int) -> Iterator[mmap]:
    """Memory for so many bytes, or a temporary file where they are many."""
    file = _temporary() if size > _IN_MEMORY else None
    with file or nullcontext(), told_of_temporary():
        if file:
            os.posix_fallocate(file.fileno(), 0, size)
        with mmap(file.fileno() if file else -1, size) as room:
            yield room


def _temporary() -> IO[bytes]:
    with told_of_temporary():
        return tempfile.TemporaryFile()


@timed
def _keys(group: Group, *, mix: Mix) -> Keyed:
    return mix.keys(group)


@timed
def _pieces(one: Range, *, mix: Mix) -> list[Piece]:
    return mix.pieces(one)


@timed
def _copy(
    group: Group, bounds: Bounds, missing: list[int], *, mix: Mix
) -> Iterator[tuple[int, Extent]]:
    yield from mix.copy(group, bounds, missing)


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
        single = beam.pvalue.AsSingleton
        listed = beam.combiners.ToList
        standing = gathered | "Standing" >> beam.Map(mix.standing)
        groups = (
            gathered
            | "Groups" >> beam.FlatMap(mix.groups, single(standing))
            | "Spread" >> beam.Reshuffle()
        )
        pieces = (
            groups
            | "Keys" >> beam.Map(_keys, mix=mix)
            | "All keys" >> listed()
            | "Ranges" >> beam.FlatMap(mix.ranges)
            | "Spread ranges" >> beam.Reshuffle()
            | "Pieces" >> beam.Map(_pieces, mix=mix)
            | "All pieces" >> listed()
        )
        bounds = pieces | "Bounds" >> beam.Map(mix.bounds, single(gathered))
        seen = (
            bounds
            | "Shards" >> beam.FlatMap(lambda bounds: bounds.shards)
            | "Spread shards" >> beam.Reshuffle()
            | "Whole" >> beam.Map(lambda shard: (shard.index, mix.step.whole(shard)))
        )
        missing = (
            seen
            | "Missing" >> beam.FlatMap(lambda one: [one[0]] if one[1] is None else [])
            | "All missing" >> listed()
            | "In order" >> beam.Map(sorted)
        )
        written = (
            groups
            | "Copy" >> beam.FlatMap(_copy, single(bounds), single(missing), mix=mix)
            | "By shard" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write, single(bounds), mix=mix)
        )
        whole = seen | "Found" >> beam.FlatMap(lambda one: [one[1]] if one[1] else [])
        left = standing | "Left" >> beam.FlatMap(lambda records: records)
        return (left, whole, written) | "Together" >> beam.Flatten()
