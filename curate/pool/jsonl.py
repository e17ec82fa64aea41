"""JSON lines, by Arrow's reader; a block that it refuses is parsed line by line."""

import io
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.json

from curate.files.unpacking import open_unpacked
from curate.pool.kept import kinds_of_documents
from curate.pool.lines import LONGEST_LINE, BadRow, Rows, Utf8, json_text, shown
from curate.pool.reader import FIRST, Reader, Source
from curate.pool.rows import PoolFormat

_LOOKED_AT = 100_000  # lines to look for the first object with a key, at most
_BLANKS = np.frombuffer(b" \t\r", np.uint8)
_NONE_KEPT: Mapping[str, pa.DataType] = MappingProxyType({})


class _JsonLines(Reader):
    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        with open_unpacked(source.path) as file:
            return kinds_of_documents(documents(Utf8(file).read(FIRST)))

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        with open_unpacked(source.path) as file:
            names = keys_of(file, wanted=pool.columns, block_bytes=source.block_bytes)
        pool.check(source.path, names)
        with open_unpacked(source.path) as file:
            for good, bad in read_jsonl(
                file, columns=pool.columns, block_bytes=source.block_bytes, kept=pool.typed
            ):
                yield pool.with_bad(pool.normalise(good, path=source.path), bad, path=source.path)


JSON_LINES = _JsonLines()
"""Reads files of JSON objects, one a line."""


def documents(first: bytes) -> list[dict[str, object]]:
    """The JSON objects among the first lines of a file."""
    lines = filter(bytes.strip, first.split(b"\n"))
    return [one for one in map(_loaded, lines) if isinstance(one, dict)]


def _loaded(line: bytes) -> object:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError):
        return None


def keys_of(file: IO[bytes], *, wanted: list[str], block_bytes: int) -> list[str]:
    """The keys of the objects in the first block that has a complete one; stops at all `wanted`."""
    source = Utf8(file)
    keys: dict[str, None] = {}
    rest, looked_at = b"", 0
    while not keys and len(rest) <= LONGEST_LINE and looked_at < _LOOKED_AT:
        block = source.read(block_bytes)
        if block.isspace() and not rest:
            continue
        *lines, rest = (rest + block).split(b"\n")
        for line in lines if block else [rest]:
            if line.strip():
                keys |= _keys(line)
                looked_at += 1
            if keys.keys() >= set(wanted) or looked_at == _LOOKED_AT:
                return list(keys)
        if not block:
            break
    if source.broken and not looked_at:
        raise source.broken
    return list(keys)


def _keys(line: bytes) -> dict[str, None]:
    document = _loaded(line)
    return dict.fromkeys(document) if isinstance(document, dict) else {}


def read_jsonl(
    file: IO[bytes],
    *,
    columns: list[str],
    block_bytes: int,
    kept: Mapping[str, pa.DataType] = _NONE_KEPT,
) -> Iterator[Rows]:
    """Stream the rows of a JSON-lines file; numbers and booleans become texts.

    Those of `columns` that are in `kept` may have values of any type: a block of them has the type in
    `kept`, or, where a value does not fit it, texts, with JSON for what is no text.

    Raises
    ------
    ValueError
        Where a line is longer than `LONGEST_LINE`, or the file is truncated, after the rows before.
    """
    source = Utf8(file)
    schema = pa.schema([(name, kept.get(name, pa.string())) for name in columns])
    number, rest = 1, b""
    while block := source.read(block_bytes):
        rest += block
        cut = rest.rfind(b"\n") + 1
        if cut:
            lines, rest = rest[:cut], rest[cut:]
            yield _rows(lines, first=number, schema=schema, kept=kept)
            number += lines.count(b"\n")
        elif len(rest) > LONGEST_LINE:
            raise ValueError(f"line {number} has over {LONGEST_LINE >> 20} MB")
    if rest:
        yield _rows(rest, first=number, schema=schema, kept=kept)
    if source.broken:
        raise source.broken


def _rows(lines: bytes, *, first: int, schema: pa.Schema, kept: Mapping[str, pa.DataType]) -> Rows:
    if lines.isspace():
        return Rows(schema.empty_table(), [])
    count = _objects(lines)
    if count:
        try:
            table = pa.json.read_json(
                io.BytesIO(lines),
                read_options=pa.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                parse_options=pa.json.ParseOptions(
                    explicit_schema=schema, unexpected_field_behavior="ignore"
                ),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError):
            table = None
        if table is not None and len(table) == count:
            return Rows(table, [])
    return _line_by_line(lines, first=first, names=schema.names, kept=kept)


def _objects(lines: bytes) -> int:
    """The number of `lines` if each seems to be exactly one JSON object, else 0.

    Arrow (25.0) takes two objects on a line for two rows, and a `null` outside of an object ends the
    process.
    """
    content = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(content == ord("\n"))
    starts = np.concatenate([[0], ends + 1])
    starts = starts[starts < len(content)]
    if not (content[starts] == ord("{")).all():
        return 0
    padded = np.append(content, np.full(2, ord("\n"), np.uint8))
    after = np.flatnonzero(content == ord("}")) + 1
    first, second = padded[after], padded[after + 1]
    could_be_null = (first == ord("n")) | (
        np.isin(first, _BLANKS) & np.isin(second, np.append(_BLANKS, ord("n")))
    )
    return 0 if could_be_null.any() else len(starts)


def _line_by_line(
    lines: bytes, *, first: int, names: list[str], kept: Mapping[str, pa.DataType]
) -> Rows:
    values: dict[str, list[str | None]] = {name: [] for name in names}
    bad = []
    for number, line in _with_text(lines, first=first):
        try:
            document = json.loads(line.decode())
            if not isinstance(document, dict):
                raise ValueError(f"a JSON {type(document).__name__}, not an object")
            row = [
                json_text(document.get(name)) if name in kept else _text(document.get(name), name)
                for name in names
            ]
        except (ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            problem = f"not JSON: {reason}" if isinstance(error, json.JSONDecodeError) else reason
            bad.append(BadRow(number, problem, shown(line.decode())))
            continue
        for name, value in zip(names, row, strict=True):
            values[name].append(value)
    return Rows(pa.table(values, pa.schema([(name, pa.string()) for name in names])), bad)


def _with_text(lines: bytes, *, first: int) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; fast over millions of blank ones."""
    content = np.frombuffer(lines, np.uint8)
    text = (content != ord(" ")) & ((content < ord("\t")) | (content > ord("\r")))
    ends = np.append(np.flatnonzero(content == ord("\n")), len(content))
    starts = np.concatenate([[0], ends[:-1] + 1])
    starts = starts[starts < len(content)]
    for k in np.flatnonzero(np.add.reduceat(text, starts, dtype=np.int64)).tolist():
        yield first + k, lines[starts[k] : ends[k]]


def _text(value: object, name: str) -> str | None:
    if isinstance(value, dict | list):
        raise ValueError(f"{name} is a {type(value).__name__}, not a text")
    try:
        return json_text(value)
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half a surrogate pair") from None
