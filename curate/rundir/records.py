"""The records of a step's parts: one by one, and all of them as a table.

A run of many parts has an index of each step's records, so that a listing and one read give all of
them. A record in it counts while the listing has its file as it was when the index was written: its
size, and when it was written or what it is, as the store tells. Others are read from their own files.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from curate.errors import CurateError
from curate.ops.ahead import together
from curate.schema import Column

INDEX = "records.index"
"""The index in a folder of records: a parquet file, of no data of the run."""
WORTH = 64
"""Records from which on they have an index."""

_PART = re.compile(r"part-(\d{5,})\.")
_RECORD = r"^part-(?P<part>\d{5,})\.(?:.*\.)?json$"
_AT_ONCE = 4096  # records that are taken apart together

WROTE = pa.list_(pa.struct([("name", pa.string()), ("size", pa.int64()), ("crc32", pa.int64())]))
TABLE = pa.schema(
    [("part", pa.int64()), ("digest", pa.string()), ("own", pa.string()), ("rows", pa.int64()),
     ("kept", pa.int64()), ("seconds", pa.float64()), ("wrote", WROTE)]
)  # fmt: skip
"""All records of a step: those of their fields by which many are looked at."""
_OF_FILES = pa.schema(
    [("name", pa.string()), ("stamp", pa.string()), *TABLE, ("record", pa.string())]
)
"""Those of the index: also what a record's file is, and the whole of it."""


@dataclass(frozen=True)
class PartRecord:
    """What became of a part at a step: the content of its JSON."""

    digest: str  # of everything that the part's content depends on
    own: str  # of the step's own settings alone: rows made under the same ones can be reused
    rows: int  # rows that came in
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)  # by reason
    dead: dict[str, int] = field(default_factory=dict)  # by error
    figures: dict[str, float] = field(default_factory=dict)  # what else the step counted
    seconds: float = 0.0  # of work, what was written included
    wrote: dict[str, files.Content] = field(default_factory=dict)  # that the step wrote, by name
    ended: float = 0.0  # when, in seconds of the clock; 0 in records of earlier versions
    first: bool = (
        False  # whether its process did no part before, so that it loaded what the step needs
    )

    def __post_init__(self) -> None:
        gone = sum(self.dropped.values()) + sum(self.dead.values())
        if self.rows != self.kept + gone:
            raise AssertionError(
                f"pairs are lost: {self.rows} in, {self.kept} kept, {gone} dropped or dead"
            )


def part_index(name: str) -> int | None:
    """The index of the part that a file or folder of this name belongs to; None for any other name.

    Numbers have five digits or, from part 100,000 on, more: names in their order are not in order.

    >>> part_index("part-100000.places.parquet"), part_index("clusters.json")
    (100000, None)
    """
    found = _PART.match(name)
    return int(found[1]) if found else None


def read(url: str) -> PartRecord | None:
    """The record at a URL; None where there is none, or none that can be relied on."""
    try:
        return record_of(files.read_document(url))
    except (CurateError, FileNotFoundError):
        return None  # damaged: done again


def record_of(document: dict[str, Any]) -> PartRecord | None:
    """What a record says; None where another version wrote it, so that its part is done again."""
    try:
        held = {x: files.Content(*y) for x, y in document.pop("wrote", {}).items()}
        return PartRecord(**document, wrote=held)
    except (TypeError, AttributeError, AssertionError):
        return None


def parts_in(folder: str) -> pa.Array:
    """The numbers of the parts that have a record in the folder at a URL, ascending."""
    import pyarrow.compute as pc  # takes long, and `--help` does without

    found = _part_of(pa.array(files.names(folder), pa.string())).drop_null()
    return found.take(pc.sort_indices(found))


def table(folder: str) -> pa.Table:
    """Each record in the folder at a URL that can be relied on, of the schema TABLE, by part."""
    found = _with_files(folder, TABLE.names).select(TABLE.names)
    return found.sort_by("part").combine_chunks()


def each(folder: str) -> Iterator[tuple[int, PartRecord]]:
    """Part and record of each that can be relied on in the folder at a URL, by part."""
    import pyarrow.compute as pc  # takes long, and `--help` does without

    found = _with_files(folder, ["part", "record"]).select(["part", "record"])
    order = pc.sort_indices(found["part"])
    for start in range(0, len(order), _AT_ONCE):  # no sorted copy: the texts are much
        rows = found.take(order.slice(start, _AT_ONCE))
        for part, text in zip(rows["part"].to_pylist(), rows["record"].to_pylist(), strict=True):
            if record := record_of(json.loads(text)):
                yield part, record


def write_index(folder: str) -> None:
    """Write the index of a folder in which nothing is written to meanwhile, where it is worth it."""
    of_file = ["name", "stamp"]
    listed = _records(files.listed(folder)).select(of_file).sort_by("name")
    if len(listed) < WORTH or listed.equals(_index(folder, of_file).sort_by("name")):
        return
    files.write_table(files.join(folder, INDEX), _with_files(folder, _OF_FILES.names))


def _with_files(folder: str, columns: Sequence[str]) -> pa.Table:
    """The records in a folder: these columns, name, stamp and part."""
    import pyarrow.compute as pc  # takes long, and `--help` does without

    columns = [*dict.fromkeys(["name", "stamp", "part", *columns])]
    listing = files.listed(folder)
    listed = _records(listing)
    has_index = pc.is_in(pa.scalar(INDEX), value_set=listing["name"]).as_py()
    known = _index(folder, columns) if has_index else _OF_FILES.empty_table().select(columns)
    at = pc.index_in(listed["name"], value_set=known["name"])
    same = pc.equal(known["stamp"].take(at), listed["stamp"])
    stands = pc.fill_null(pc.and_(same, pc.not_equal(listed["stamp"], "")), False)
    new = _read(folder, listed.filter(pc.invert(stands)))
    return pa.concat_tables([known.take(at.filter(stands)), *(one.select(columns) for one in new)])


def _records(listing: pa.Table) -> pa.Table:
    """The records in a listing: name, stamp and part."""
    import pyarrow.compute as pc  # takes long, and `--help` does without

    parts = _part_of(listing["name"])
    return listing.select(["name", "stamp"]).append_column("part", parts).filter(pc.is_valid(parts))


def _part_of(names: Column) -> Column:
    """The parts of the records among some files, by their names; null for all others."""
    import pyarrow.compute as pc  # takes long, and `--help` does without

    return pc.cast(pc.struct_field(pc.extract_regex(names, _RECORD), "part"), pa.int64())


def _index(folder: str, columns: Sequence[str]) -> pa.Table:
    """Columns of the index of a folder; empty where there is none, or one of another version."""
    wanted = pa.schema([_OF_FILES.field(name) for name in columns])
    with suppress(CurateError, FileNotFoundError, pa.ArrowException):
        held = pq.ParquetFile(pa.BufferReader(files.read_bytes(files.join(folder, INDEX))))
        if held.schema_arrow.names == _OF_FILES.names:
            return held.read(columns=columns, use_threads=False).select(columns).cast(wanted)
    return wanted.empty_table()


def _read(folder: str, listed: pa.Table) -> Iterator[pa.Table]:
    """Records that are read from their own files, many at once in a store."""
    urls = [files.join(folder, name) for name in listed["name"].to_pylist()]
    is_near = files.local_path(folder) is not None
    records = map(read, urls) if is_near else together(read, urls)
    rows = zip(listed.to_pylist(), records, strict=True)
    while chunk := list(islice(rows, _AT_ONCE)):
        yield pa.Table.from_pylist(
            [{**row, **_columns(record)} for row, record in chunk if record], schema=_OF_FILES
        )


def _columns(record: PartRecord) -> dict[str, object]:
    whole = asdict(record)
    wrote = [{"name": x, **y._asdict()} for x, y in record.wrote.items()]
    return {**whole, "wrote": wrote, "record": json.dumps(whole)}
