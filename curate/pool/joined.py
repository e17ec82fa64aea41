"""A table of the user's, joined to pairs by uid or URL: sorted once, looked up a part at a time.

`sort` reads the table's files once and writes its rows by the hash of their key, in *buckets*: files of
Arrow's, each of one range of hashes and sorted. A reader maps a bucket into memory and finds keys by
bisection, so a part of n pairs touches some n places of the table, whatever its length, and nobody
holds more of it than a bucket. In a store each process copies a bucket once that it looks into.
"""

import difflib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.errors import AbsentError, CurateError
from curate.files import listing
from curate.files.stores import told_of_temporary
from curate.formats import AUTO
from curate.ops.hashing import hash64
from curate.ops.urls import stripped
from curate.pool.rows import PoolFormat, UnreadableError
from curate.pool.tables import column_kinds, read_batches
from curate.schema import Column, Kind

INDEX = "index.json"
"""The name of the document beside the buckets, written last."""
_BUCKET = 8 << 20
"""Bytes of the table's files in a bucket, about; packed ones become several times as many."""
_MOST = 256
"""Buckets, at most: each is an open file while the table is read."""
_SECOND = 0x6A6F696E
"""Seed of the second hash of a key; with both, no two keys of a table are taken for each other."""
_HASHES = pa.schema([("first", pa.uint64()), ("second", pa.uint64())])


def table_files(path: str) -> list[str]:
    """The files of a table: a file, a folder, a glob or a range; none are an error."""
    if found := listing.expand(files.absolute(path)):
        return found
    raise CurateError(f"{path}: {listing.nothing_at(files.absolute(path))}")


@dataclass(frozen=True)
class UserTable:
    """A table of the user's, and what is wanted of it."""

    path: str  # a file, a folder, a glob or a range, in any format of a pool that is a table
    key: str  # its column of uids or URLs
    columns: tuple[tuple[str, str], ...]  # those that are wanted, with their kinds (`schema.Kind`)
    called: str  # what an error calls it: a key of the configuration, or an option

    @property
    def files(self) -> list[str]:
        """Its files, in order."""
        try:
            return table_files(self.path)
        except CurateError as error:
            raise CurateError(f"{self.called}: {error}") from None

    def check(self) -> None:
        """Raise a CurateError where the first of its files lacks a column, before any work."""
        known = self.kinds()
        for name in dict(self.columns):
            if name not in known:
                raise CurateError(self.lacks(name, known))

    def kinds(self) -> dict[str, Kind | None]:
        """The columns of its first file, and the kind of each; None where it has no values.

        Raises
        ------
        CurateError
            Where it cannot be read, or has no column `key`.
        """
        try:
            known = column_kinds(self.files[0], pool=self._format)
        except UnreadableError as error:
            raise CurateError(f"{self.called}: {error}") from None
        if self.key not in known:
            raise CurateError(self.lacks(self.key, known))
        return known  # type: ignore[return-value] # the kinds are those of Kind

    def lacks(self, name: str, known: Iterable[str]) -> str:
        """That its first file has no column `name`, but those `known`."""
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        hint = f", did you mean {near[0]!r}?" if near else ";"
        return (
            f"{self.called}: {self.files[0]} has no column {name!r}{hint} it has"
            f" {', '.join(sorted(known))}"
        )

    @property
    def _format(self) -> PoolFormat:
        return PoolFormat(AUTO, url=self.key, caption=self.key, keep=self.columns)

    def rows(self) -> Iterator[pa.Table]:
        """Its rows, a batch at a time: both hashes of the key, and the wanted columns.

        Rows without a key are left out.

        Raises
        ------
        CurateError
            Naming the file and the row that cannot be read.
        """
        wanted = self._format
        try:
            for path in self.files:
                for table in read_batches(path, pool=wanted):
                    for detail in table["detail"].drop_null().to_pylist()[:1]:
                        raise CurateError(f"{self.called}: {detail}")
                    table = table.filter(pc.is_valid(table["url"]))
                    values = [table[name].combine_chunks() for name in wanted.kept.names]
                    hashes = map(pa.array, hashes_of(table["url"]))
                    names = [*_HASHES.names, *dict(self.columns)]
                    yield pa.table([*hashes, *map(_long, values)], names)
        except UnreadableError as error:
            raise CurateError(f"{self.called}: {error}") from None


def _long(column: pa.Array) -> pa.Array:
    """Texts with offsets of 64 bits: a bucket may hold more than 2 GiB of them."""
    return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column


def hashes_of(keys: Column) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Two hashes of each uid or URL; white space around it does not count."""
    keys = stripped(keys)
    return hash64(keys), hash64(keys, seed=_SECOND)


def sort(table: UserTable, folder: str) -> None:
    """Write the rows of `table` by the hash of their key to `folder`; one that stands is left alone.

    Rows with the same key stay in the order of the table. Two that do this at once write the same.
    """
    if files.exists(files.join(folder, INDEX)):
        return
    size = sum(map(files.size, table.files))
    bits = max(0, min(_MOST, -(-size // _BUCKET)) - 1).bit_length()
    rows = repeats = 0
    with told_of_temporary(), tempfile.TemporaryDirectory(prefix="curate-") as spilled:
        kinds = _spill(table, spilled, bits=bits)
        for bucket in range(1 << bits):
            found = _spilled(os.path.join(spilled, _name(bucket)), kinds)
            first, second = (found[name].to_numpy() for name in _HASHES.names)
            order = np.lexsort([second, first])  # a stable sort
            first, second = first[order], second[order]
            rows += len(order)
            repeats += int(((first[1:] == first[:-1]) & (second[1:] == second[:-1])).sum())
            sorted_rows = found.take(pa.array(order)).combine_chunks()
            url = files.join(folder, _name(bucket))
            with (
                files.atomic_write(url) as file,
                pa.ipc.new_file(file, sorted_rows.schema) as writer,
            ):
                writer.write_table(sorted_rows)
    document = {"bits": bits, "rows": rows, "repeats": repeats}
    files.write_document(files.join(folder, INDEX), document)


def _name(bucket: int) -> str:
    return f"{bucket:05d}.arrow"


def _bucket_of(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """The bucket of each hash: its first bits."""
    if not bits:
        return np.zeros(len(hashes), np.int64)
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


def _spill(table: UserTable, folder: str, *, bits: int) -> pa.Schema:
    """Write the rows of `table` to a file a bucket on this machine, in their order; their schema."""
    with ExitStack() as opened:
        writers: list[pa.ipc.RecordBatchStreamWriter] = []
        kinds = pa.schema([])
        for rows in table.rows():
            if not writers:
                kinds = rows.schema
                paths = (os.path.join(folder, _name(x)) for x in range(1 << bits))
                writers = [opened.enter_context(pa.ipc.new_stream(x, kinds)) for x in paths]
            buckets = _bucket_of(rows["first"].to_numpy(), bits)
            order = np.argsort(buckets, kind="stable")
            ends = np.searchsorted(buckets[order], np.arange(len(writers) + 1))
            rows = rows.take(pa.array(order))
            for writer, start, stop in zip(writers, ends[:-1], ends[1:], strict=True):
                if stop > start:
                    writer.write_table(rows.slice(start, stop - start).combine_chunks())
        if not writers:
            raise CurateError(f"{table.called}: {table.path} holds no rows")
    return kinds


def _spilled(path: str, kinds: pa.Schema) -> pa.Table:
    with pa.memory_map(path) as file, pa.ipc.open_stream(file) as reader:
        return reader.read_all().cast(kinds)


@dataclass(frozen=True)
class Sorted:
    """A table as `sort` has left it in a folder."""

    folder: str
    bits: int
    rows: int
    repeats: int  # rows with a key that a row before has

    def look_up(self, keys: Column) -> tuple[NDArray[np.int64], pa.Table]:
        """The rows of the table that have one of `keys`: the places of these, ascending, and columns.

        Rows of the same key are in the order of the table. A null matches nothing.
        """
        first, second = hashes_of(keys)
        buckets = _bucket_of(first, self.bits)
        buckets[np.asarray(pc.is_null(keys))] = -1
        places: list[NDArray[np.int64]] = []
        tables: list[pa.Table] = []
        for bucket in np.unique(buckets[buckets >= 0]).tolist():
            held = _opened(files.join(self.folder, _name(bucket)))
            asked = np.flatnonzero(buckets == bucket)
            hashes = held.column("first").to_numpy()
            start, stop = (np.searchsorted(hashes, first[asked], x) for x in ("left", "right"))
            runs = (stop - start).astype(np.int64)
            begin = np.cumsum(runs) - runs
            rows = np.arange(runs.sum()) - np.repeat(begin, runs) + np.repeat(start, runs)
            found = np.repeat(asked, runs)
            own = held.column("second").to_numpy()[rows] == second[found]
            places.append(found[own])
            columns = held.select(held.schema.names[len(_HASHES) :])
            tables.append(pa.Table.from_batches([columns.take(pa.array(rows[own]))]))
        if not tables:
            held = _opened(files.join(self.folder, _name(0)))
            columns = held.select(held.schema.names[len(_HASHES) :]).slice(0, 0)
            return np.zeros(0, np.int64), _short(pa.Table.from_batches([columns]))
        at = np.concatenate(places)
        order = np.argsort(at, kind="stable")
        whole = pa.concat_tables(tables).take(pa.array(order)).combine_chunks()
        return at[order], _short(whole)


def _short(table: pa.Table) -> pa.Table:
    """Texts with offsets of 32 bits, as the columns of a part have them."""
    kinds = [
        pa.field(x.name, pa.string() if pa.types.is_large_string(x.type) else x.type)
        for x in table.schema
    ]
    return table.cast(pa.schema(kinds))


def opened(folder: str) -> Sorted:
    """The table that `sort` has written to `folder`.

    Raises
    ------
    AbsentError
        Where it has not.
    """
    found = files.read_document(files.join(folder, INDEX))
    return Sorted(folder, found["bits"], found["rows"], found["repeats"])


@lru_cache(maxsize=_MOST)
def _opened(url: str) -> pa.RecordBatch:
    """A bucket, mapped into memory: what is not looked at is not read."""
    with files.local_copy(url) as path, pa.memory_map(path) as file:
        reader = pa.ipc.open_file(file)
        batch = reader.get_batch(0) if reader.num_record_batches else None
        return batch or pa.RecordBatch.from_pylist([], schema=reader.schema)


def stands(folder: str) -> bool:
    """Whether a table was sorted into `folder` to its end."""
    try:
        opened(folder)
    except AbsentError:
        return False
    return True
