"""All records of a step in one file: a run of many parts is looked through by a listing and one read.

A record in the index counts while the listing has its file as it was when the index was written: its
size, and when it was written or what it is, as the store tells. Others are read from their own files.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa

from curate import files
from curate.errors import DamagedError
from curate.ops.ahead import together

NAME = "records.index"
"""The index in a folder of records: a parquet file, of no data of the run."""
WORTH = 64
"""Records from which on they have an index."""

_COLUMNS = pa.schema([("name", pa.string()), ("stamp", pa.string()), ("record", pa.string())])
Document = dict[str, Any]


def documents(
    folder: str, *, number: Callable[[str], int | None]
) -> Iterator[tuple[int, Document | None]]:
    """Number and content of each record in the folder at a URL, by number; None for a damaged one.

    `number` is that of a file by its name, None for one that is no record.
    """
    stamps = files.stamps(folder)
    names = _names(stamps, number=number)
    index = _index(folder) if NAME in stamps else {}
    known = {x: index[x][1] for x in names if stamps[x] and index.get(x, ("",))[0] == stamps[x]}
    unknown = [files.join(folder, x) for x in names if x not in known]
    is_near = files.local_path(folder) is not None
    read = map(_read, unknown) if is_near else together(_read, unknown)
    for name, n in names.items():
        yield n, json.loads(known[name]) if name in known else next(read)


def write(folder: str, *, number: Callable[[str], int | None]) -> None:
    """Write the index of a folder in which nothing is written to meanwhile, where it is worth it."""
    stamps = files.stamps(folder)
    names = _names(stamps, number=number)
    if len(names) < WORTH:
        return
    if NAME in stamps and {x: held for x, (held, _) in _index(folder).items()} == {
        x: stamps[x] for x in names
    }:
        return
    found = zip(names, documents(folder, number=number), strict=True)
    rows = [
        {"name": name, "stamp": stamps[name], "record": json.dumps(one)}
        for name, (_, one) in found
        if one is not None and stamps[name]
    ]
    files.write_table(files.join(folder, NAME), pa.Table.from_pylist(rows, schema=_COLUMNS))


def _names(stamps: Iterable[str], *, number: Callable[[str], int | None]) -> dict[str, int]:
    """The numbers of the records among some files by name, in order."""
    found = {
        name: n for name in stamps if name.endswith(".json") and (n := number(name)) is not None
    }
    return dict(sorted(found.items(), key=lambda one: one[1]))


def _index(folder: str) -> dict[str, tuple[str, str]]:
    """Stamp and text of each record that the index of a folder holds, by name."""
    with suppress(DamagedError, FileNotFoundError):
        table = files.read_table(files.join(folder, NAME), columns=_COLUMNS.names)
        columns = (table[name].to_pylist() for name in _COLUMNS.names)
        return {name: (stamp, text) for name, stamp, text in zip(*columns, strict=True)}
    return {}


def _read(url: str) -> Document | None:
    try:
        return files.read_document(url)
    except (DamagedError, FileNotFoundError):
        return None
