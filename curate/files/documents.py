"""JSON documents, parquet tables and numpy arrays at fsspec URLs."""

import gc
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.errors import DamagedError
from curate.files.content import Content, atomic_write, open_read, read_bytes, write_bytes
from curate.files.kept import keep, kept

_REPETITIVE = ("language", "outcome", "stage", "reason", "error", "status")
"""Columns worth a dictionary in parquet; for all others it only takes time."""


_LONG = 1 << 20
"""Characters of a document that nobody reads: to indent it takes ten times as long."""


@contextmanager
def _undamaged(url: str) -> Iterator[None]:
    """Turn what readers say of content that is no file of its kind into an error that names it."""
    try:
        yield
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise DamagedError(url, f"it cannot be read ({_first_line(error)})") from error
    except OSError as error:
        if error.errno is not None:  # the machine's, or the store's
            raise
        raise DamagedError(url, f"it cannot be read ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the search for cycles, of which JSON has none: it takes as long as a large document."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_json(url: str) -> Any:
    """The JSON document at `url`."""
    content = read_bytes(url)
    if not content:
        raise DamagedError(url, "it is empty")
    with _undamaged(url), _uncollected():
        return json.loads(content)


def write_json(url: str, document: object) -> Content:
    """Write `document` to `url` as JSON, atomically; indented unless it is long."""
    text = json.dumps(document, ensure_ascii=False)
    if len(text) < _LONG:
        text = json.dumps(document, indent=1, ensure_ascii=False)
    return write_bytes(url, (text + "\n").encode())


CHECK = "check"
"""The key of a document that holds the CRC-32 of all others."""


def read_document(url: str) -> dict[str, Any]:
    """What `write_document` wrote; older documents have no check.

    Raises
    ------
    DamagedError
        Where it is something else.
    """
    return checked_document(url, read_json(url))


def checked_document(url: str, found: Any) -> dict[str, Any]:
    """The same of what `read_json` found at `url`."""
    if not isinstance(found, dict):
        raise DamagedError(url, "it holds no JSON object")
    check = found.pop(CHECK, None)
    if check not in (None, _check_of(found)):
        raise DamagedError(url, "its content is not what was written")
    return found


def write_document(url: str, document: dict[str, Any]) -> Content:
    """Write a JSON object of the run's own with a check of its content."""
    with _uncollected():
        stored = json.loads(json.dumps(document))
    stored.pop(CHECK, None)
    return write_json(url, {**stored, CHECK: _check_of(stored)})


def _check_of(document: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(document, sort_keys=True).encode())


def digest_of(*things: object) -> str:
    """A short stable digest of JSON-like values."""
    text = json.dumps(things, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_table(
    url: str, *, present: Collection[str] | None = None, content: Content | None = None,
    **options: Any,
) -> pa.Table:  # fmt: skip
    """The parquet file at `url`; of its columns only those in `present`, where it is given.

    `content` is what it has to hold; `options` are those of `pyarrow.parquet.read_table`. On one
    thread: workers are the parallelism here, and a dataset read on Arrow's pool (25.0) can abort the
    process when it exits.

    Raises
    ------
    DamagedError
        Where it is no parquet file, or another than was written.
    """
    columns = options.get("columns")
    with ExitStack() as opened:
        known = kept(url, content) if content and not options.keys() - {"columns"} else None
        if known is not None:
            opened.enter_context(_undamaged(url))
            return _picked(known, _columns(known.schema, columns, present))
        if content is None:
            file: Any = opened.enter_context(open_read(url))
        else:
            held = read_bytes(url)
            content.check(url, held)
            file = pa.BufferReader(held)
        opened.enter_context(_undamaged(url))
        if options.keys() - {"columns"}:
            return pq.read_table(file, use_threads=False, **options)
        # A dataset of one file, which `read_table` makes, takes several times as long to be opened.
        source = opened.enter_context(pq.ParquetFile(file))
        columns = _columns(source.schema_arrow, columns, present)
        return _picked(source.read(columns=columns, use_threads=False), columns)


def _columns(
    schema: pa.Schema, columns: list[str] | None, present: Collection[str] | None
) -> list[str] | None:
    """The names of the columns that are asked for; None for all."""
    return columns if present is None else [name for name in schema.names if name in present]


def _picked(table: pa.Table, columns: list[str] | None) -> pa.Table:
    return table if columns is None else table.select(columns)


def write_table(url: str, table: pa.Table, *, rows: int | None = None) -> Content:
    """Write `table` to `url` as parquet, atomically.

    With `rows` in groups of so many and with their least and greatest values, to be read in pieces.
    """
    is_empty = not len(table)
    stored = (
        _none(table.schema.serialize().to_pybytes(), rows) if is_empty else _parquet(table, rows)
    )
    content = write_bytes(url, stored)
    keep(url, content, table)
    return content


def _parquet(table: pa.Table, rows: int | None) -> pa.Buffer:
    repetitive = [name for name in _REPETITIVE if name in table.schema.names]
    held = pa.BufferOutputStream()
    pq.write_table(
        table, held, compression="zstd", compression_level=1, use_dictionary=repetitive,
        write_statistics=rows is not None, row_group_size=rows,
    )  # fmt: skip
    return held.getvalue()


@lru_cache(maxsize=64)
def _none(schema: bytes, rows: int | None) -> pa.Buffer:
    """The file of an empty table: of a small run most ledgers are empty."""
    return _parquet(pa.ipc.read_schema(pa.py_buffer(schema)).empty_table(), rows)


def read_arrays(url: str) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file, by name."""
    with open_read(url) as file, _undamaged(url), np.load(file) as found:
        return dict(found)


def write_arrays(url: str, **arrays: Any) -> Content:
    """Write arrays as an ``.npz`` file."""
    held = io.BytesIO()
    np.savez(held, **arrays)
    return write_bytes(url, held.getvalue())


def read_array(url: str) -> NDArray[Any]:
    """The array of an ``.npy`` file."""
    with open_read(url) as file, _undamaged(url):
        found: NDArray[Any] = np.load(file)
        return found


def write_array(url: str, array: Any) -> None:
    """Write an array as an ``.npy`` file."""
    with atomic_write(url) as file:
        np.save(file, array)
