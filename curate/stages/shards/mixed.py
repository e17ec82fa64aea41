"""mixed: rows of all parts -> even shards in the order of their keys, in bounded memory and few reads.

    groups of parts -> keys (a file a group) -> (meet by range) -> where each shard begins
                    -> rows and images by shard (a file a group) -> (meet by shard) -> shards

A group reads its parts' images once, as they stand, and writes one file of them that has a piece a
shard; who writes a shard reads its piece of each group's file. Only extents of pieces cross a shuffle.
A worker holds the rows of a group, and images on disk: those of a shard, and in front of a store those
of a group. The files are scratch, and take as much room as the shards, until all of these are written.

What a shard holds follows from the set and the seed (`order`).
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
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
from curate.run.scratch import Extent, as_bytes, as_table, read_piece
from curate.run.shards import ShardRecord
from curate.run.tar import BLOCK
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
        spans = [(k, order[at[k] : at[k + 1]]) for k in missing if at[k] < at[k + 1]]
        url, where = self.url(group.number, "images"), np.full(len(table), -1)
        is_near = files.local_path(url) is not None
        with (
            files.atomic_write(url) as target,
            nullcontext(target) if is_near else _temporary() as file,
        ):
            offset = 0
            sizes = table["tar_size"].to_numpy() + BLOCK
            for k, rows in spans:
                content = as_bytes(table.take(pa.array(rows)).combine_chunks())
                file.seek(offset)
                file.write(content)
                ends = offset + len(content) + np.cumsum(sizes[rows])
                where[rows] = ends - sizes[rows]
                held = len(content), int(sizes[rows].sum())
                yield k, (group.number, offset, held)
                offset += sum(held)
            self._copy_images(group, table, where, file)
            if not is_near:
                file.seek(0)
                shutil.copyfileobj(file, target)

    def _copy_images(
        self, group: Group, table: pa.Table, where: NDArray[np.int64], file: IO[bytes]
    ) -> None:
        """Write the members of a group's tars, in the order in which they lie there, to `file`."""
        offsets, sizes = (table[x].to_numpy() for x in ("tar_offset", "tar_size"))
        parts = table[_PLACE].to_numpy() >> ROW_BITS
        for part in group.parts:
            rows = np.flatnonzero((parts == part.index) & (where >= 0))
            rows = rows[np.argsort(offsets[rows], kind="stable")]
            if not len(rows):
                continue
            with open_tar(self.step.run, part.index) as tar:
                for row in rows.tolist():
                    tar.seek(int(offsets[row]) - BLOCK)
                    member = tar.read(int(sizes[row]) + BLOCK)
                    if len(member) < sizes[row] + BLOCK:
                        url = self.step.run.part(Stage.DOWNLOAD, part.index, "tar")
                        raise DamagedError(url, "it is truncated")
                    file.seek(where[row])
                    file.write(member)

    def write(self, index: int, extents: Iterable[Extent], bounds: Bounds) -> ShardRecord:
        """Write a shard of its pieces."""
        shard = bounds.shards[index]
        with at_work(f"shard {shard.name}"), _temporary() as file:
            tables = []
            for _, (rows, images) in self.step.run.each(sorted(extents), self._read_images):
                table = as_table(rows)
                sizes = table["tar_size"].to_numpy() + BLOCK
                offsets = file.tell() + np.cumsum(sizes) - sizes + BLOCK
                file.write(images)
                column = table.column_names.index("tar_offset")
                tables.append(table.set_column(column, "tar_offset", pa.array(offsets)))
            table = pa.concat_tables(tables)
            order = np.argsort(order_keys(table["uid"], seed=self.step.seed), kind="stable")
            table = table.take(pa.array(order)).combine_chunks()
            rows = table.drop_columns([_PLACE])
            return self.step.write(shard, [(rows, self._images(table, file))])

    def _read_images(self, extent: Extent) -> list[bytes]:
        return read_piece(self.url(extent[0], "images"), extent)

    def _images(self, table: pa.Table, file: IO[bytes]) -> Iterator[bytes]:
        """The images of a shard's rows, in `file`, each checked as in the part that it comes from."""
        step = self.step
        names = ["uid", "tar_offset", "tar_size", _PLACE, "stored_sha256"]
        known = table.select([name for name in names if name in table.column_names])
        for place in known.to_pylist():
            url = step.run.part(Stage.DOWNLOAD, place[_PLACE] >> ROW_BITS, "tar")
            yield read_image(file, place, url=url, encode_format=step.encode_format,
                             sha256=place.get("stored_sha256"))  # fmt: skip


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
