"""Reading a pool: any of the formats as record batches of (url, caption, uid) strings."""

import csv
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from zstandard import ZstdError

from curate import files
from curate.errors import CurateError
from curate.schema import POOL

_ENDINGS = {"parquet": "parquet", "pq": "parquet", "csv": "csv", "tsv": "tsv",
            "jsonl": "jsonl", "ndjson": "jsonl"}  # fmt: skip
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_PACKED = (".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True)
class PoolFormat:
    """How to read a pool's files."""

    format: str  # parquet, csv, tsv, jsonl, or auto: by each file's ending
    url: str
    caption: str
    uid: str | None = None

    def of(self, path: str) -> str:
        """The format of the file at `path`."""
        if self.format != "auto":
            return self.format
        name = path.lower()
        for packed in _PACKED:
            name = name.removesuffix(packed)
        ending = name.rsplit(".", 1)[-1]
        if ending not in _ENDINGS:
            raise CurateError(
                f"{path}: cannot tell the format from the name; set input.format to one of"
                f" {', '.join(sorted(set(_ENDINGS.values())))}"
            )
        return _ENDINGS[ending]

    @property
    def columns(self) -> list[str]:
        """The input's columns that are read."""
        return [self.url, self.caption, *([self.uid] if self.uid else [])]

    def check(self, path: str, names: list[str]) -> None:
        """Raise if the file at `path`, whose columns are `names`, lacks one that is wanted."""
        for key, column in (("url", self.url), ("caption", self.caption), ("uid", self.uid)):
            if names.count(column or "") > 1:
                raise CurateError(f"{path}: two columns are called {column!r}")
            if column is not None and column not in names:
                raise CurateError(
                    f"{path}: no column {column!r} among {', '.join(names) or 'none'};"
                    f" name the right one in input.columns.{key}"
                )

    def normalise(self, batch: pa.RecordBatch) -> pa.Table:
        """A batch of the input as a table of `schema.POOL`."""
        table = pa.Table.from_batches([batch])
        uid = table[self.uid].cast(pa.string()) if self.uid else pa.nulls(len(table), pa.string())
        columns = [table[self.url].cast(pa.string()), table[self.caption].cast(pa.string()), uid]
        return pa.table(columns, schema=POOL)


STAGED = PoolFormat(format="parquet", url="url", caption="caption", uid="uid")
"""The format of the copies that a run makes of files which cannot be read from the middle."""


_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, EOFError, LZMAError, zlib.error,
           ZstdError)  # fmt: skip


@contextmanager
def _readable(path: str, kind: str) -> Iterator[None]:
    """Turn what Arrow says of a broken file into one line that names it."""
    try:
        yield
    except _BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CurateError(f"{path}: cannot be read as {kind}: {reason}") from None


def parquet_row_groups(path: str, *, pool: PoolFormat) -> list[int]:
    """Rows of each row group of a parquet file, after a check of its columns."""
    with _readable(path, "parquet"), files.open_read(path) as file:
        footer = pq.ParquetFile(file)
        pool.check(path, footer.schema_arrow.names)
        return [footer.metadata.row_group(i).num_rows for i in range(footer.num_row_groups)]


def read_slice(path: str, *, start: int, rows: int, pool: PoolFormat) -> pa.Table:
    """Rows `start` to `start + rows` of a parquet file as a table of `schema.POOL`."""
    with _readable(path, "parquet"), files.open_read(path) as file:
        source = pq.ParquetFile(file)
        wanted: list[int] = []
        first = position = 0
        for group in range(source.num_row_groups):
            size = source.metadata.row_group(group).num_rows
            if position < start + rows and position + size > start:
                first = first if wanted else position
                wanted.append(group)
            position += size
        table = source.read_row_groups(wanted, columns=pool.columns)
        batches = table.slice(start - first, rows).combine_chunks().to_batches()
        return pa.concat_tables(
            [pool.normalise(batch) for batch in batches] or [POOL.empty_table()]
        )


def read_batches(path: str, *, pool: PoolFormat, block_bytes: int = 8 << 20) -> Iterator[pa.Table]:
    """The whole file, a table of `schema.POOL` at a time, streaming."""
    kind = pool.of(path)
    with _readable(path, kind):
        if kind != "parquet":
            pool.check(path, _names(path, kind, block_bytes))
        yield from _stream(path, kind, pool, block_bytes)


def _names(path: str, kind: str, block_bytes: int) -> list[str]:
    """The columns that the first line of a text file names."""
    with files.open_read(path, compression="infer") as file:
        first = file.read(block_bytes).partition(b"\n")[0].decode("utf-8-sig")
    if kind == "jsonl":
        return list(json.loads(first or "{}"))
    return next(csv.reader([first], delimiter=_DELIMITERS[kind]), [])


def _stream(path: str, kind: str, pool: PoolFormat, block_bytes: int) -> Iterator[pa.Table]:
    with files.open_read(path, compression="infer") as file:
        if kind == "parquet":
            source = pq.ParquetFile(file)
            pool.check(path, source.schema_arrow.names)
            for batch in source.iter_batches(columns=pool.columns):
                yield pool.normalise(batch)
        elif kind in ("csv", "tsv"):
            reader = pa.csv.open_csv(
                file,
                read_options=pa.csv.ReadOptions(block_size=block_bytes),
                parse_options=pa.csv.ParseOptions(
                    delimiter=_DELIMITERS[kind], newlines_in_values=True
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(pool.columns, pa.string()),
                    include_columns=list(dict.fromkeys(pool.columns)),
                ),
            )
            for batch in reader:
                yield pool.normalise(batch)
        else:
            reader = pa.json.open_json(
                file,
                read_options=pa.json.ReadOptions(block_size=block_bytes),
                parse_options=pa.json.ParseOptions(
                    explicit_schema=pa.schema([(name, pa.string()) for name in pool.columns]),
                    unexpected_field_behavior="ignore",
                ),
            )
            for batch in reader:
                yield pool.normalise(batch)


class EntryList(NamedTuple):
    """What to match captions with, and the concepts that the matches count for."""

    entries: list[str]
    concepts: list[str]
    ids: list[int] | None  # the concept of each entry; None where each has one of its own


def read_entries(path: str) -> EntryList:
    """The entry list at `path`: UTF-8, one entry a line; blank lines and repeats are left out.

    A line may be ``entry<TAB>concept``: its entries are matched one by one and count as one concept,
    once a caption. A line without a tab stands for the concept of its own name, so in ::

        cat
        kitten<TAB>cat
        tomcat<TAB>cat

    three entries count as `cat`. Concepts are numbered in the order in which they first appear.

    Raises
    ------
    CurateError
        Where the list is empty or not UTF-8, a line with a tab lacks one of its two columns or has
        more, or one entry stands for two concepts.
    """
    text = files.read_bytes(path)
    try:
        lines = [line.rstrip("\r") for line in text.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise CurateError(f"{path}:{line}: not UTF-8") from None
    if b"\t" in text:
        concept_of = _concept_of_each(path, lines)
        names = {concept: i for i, concept in enumerate(dict.fromkeys(concept_of.values()))}
        ids = [names[concept] for concept in concept_of.values()]
        own = ids == list(range(len(ids)))
        found = EntryList(list(concept_of), list(names), None if own else ids)
    else:
        entries = list(dict.fromkeys(line for line in lines if line.strip()))
        found = EntryList(entries, entries, None)
    if not found.entries:
        raise CurateError(f"{path}: the entry list is empty; expected one entry a line")
    return found


def _concept_of_each(path: str, lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry, tab, concept = line.partition("\t")
        if tab and (not entry.strip() or not concept.strip() or "\t" in concept):
            raise CurateError(f"{path}:{number}: {line!r}: expected an entry, or entry<TAB>concept")
        concept = concept if tab else entry
        if found.setdefault(entry, concept) != concept:
            raise CurateError(
                f"{path}:{number}: {entry!r} stands for {found[entry]!r} already and cannot stand for"
                f" {concept!r} as well; leave one of the two out"
            )
    return found
