"""Rows of text files by Arrow's readers, and of the lines that these give up on, one by one.

Arrow reads a block of good lines many times as fast as Python, but one bad line ends it. So what is
not UTF-8 is marked before it gets there, rows with another number of fields are set aside, and a block
of JSON that Arrow refuses is read again line by line.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

LONGEST_LINE = 64 << 20
"""Bytes of a line of JSON, at most."""
NOT_UTF8 = "\ufdd0\uffff\ufdd1"
"""Stands in a row for bytes that are not UTF-8; no text has these three noncharacters in a row."""

_END = "\ufdd2\uffff\ufdd3"
_BLANKS = np.frombuffer(b" \t\r", np.uint8)
SHOWN = 500
"""Characters of a bad row that are kept."""

_NONE_KEPT: Mapping[str, pa.DataType] = MappingProxyType({})
_DELIMITERS = {"csv": ",", "tsv": "\t", "quoted-tsv": "\t"}


class BadRow(NamedTuple):
    """A row that could not be read."""

    number: int  # of the row in the file, from 1, the header included
    problem: str
    text: str


class Rows(NamedTuple):
    """A batch of good rows, the wanted columns as strings, and the bad ones among them."""

    good: pa.Table
    bad: list[BadRow]


class Utf8(io.RawIOBase):
    """A file whose bytes are UTF-8 in any case: others are read as `NOT_UTF8`."""

    def __init__(self, file: IO[bytes], *, ending: bytes = b"") -> None:
        self._file = file
        self._ending = ending  # what follows its last byte
        self._rest = b""  # a character cut off at the end of what was read
        self._ready = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, more than none except at the end."""
        while not self._ready:
            block = self._file.read(size)
            content = self._rest + block
            cut = _whole(content) if block else len(content)
            self._ready, self._rest = marked(content[:cut]), content[cut:]
            if not block:
                self._ready, self._ending = self._ready + self._ending, b""
                break
        if size < 0:
            size = len(self._ready)
        ready, self._ready = self._ready[:size], self._ready[size:]
        return ready


def marked(content: bytes) -> bytes:
    """`content` with `NOT_UTF8` in the places that are not UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        text = content.decode(errors="surrogateescape")
        return re.sub("[\udc80-\udcff]+", NOT_UTF8, text).encode()
    return content


def _whole(content: bytes) -> int:
    """The length of `content` without a character that is cut off at its end."""
    for back in range(1, min(4, len(content) + 1)):
        byte = content[-back]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(content) - back if back < wanted else len(content)
        if byte < 0x80:
            break
    return len(content)


def header(file: IO[bytes], *, kind: str, wanted: list[str], block_bytes: int) -> list[str]:
    """The columns that a file names: its header, or the keys of JSON objects.

    Of JSON the first block that holds a whole object is looked at, until all `wanted` keys are found.

    Raises
    ------
    ValueError
        The header is not UTF-8, or one of its names has over 131,072 characters.
    """
    if kind == "jsonl":
        return list(_keys(file, wanted=wanted, block_bytes=block_bytes))
    first = file.read(block_bytes).removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    if kind == "tsv":
        line = re.split("[\r\n]", first, maxsplit=1)[0]
        names = line.split("\t") if line else []
    else:
        try:
            rows = csv.reader(io.StringIO(first, newline=""), delimiter=_DELIMITERS[kind])
            names = next(rows, [])
        except csv.Error as error:
            raise ValueError(f"its header: {error}") from None
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        raise ValueError("its header is not UTF-8") from None
    return names


def documents(first: bytes) -> list[dict[str, Any]]:
    """The JSON objects among the first lines of a file."""
    lines = first.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [one for one in map(_loaded, lines) if isinstance(one, dict)]


def _loaded(line: bytes) -> object:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError):
        return None


def _keys(file: IO[bytes], *, wanted: list[str], block_bytes: int) -> dict[str, None]:
    keys: dict[str, None] = {}
    rest = b""
    while not keys and len(rest) <= LONGEST_LINE:
        block = file.read(block_bytes)
        *lines, rest = (rest + block).removeprefix(b"\xef\xbb\xbf").split(b"\n")
        for line in lines if block else [rest]:
            keys |= _keys_of(line)
            if keys.keys() >= set(wanted):
                return keys
        if not block:
            break
    return keys


def _keys_of(line: bytes) -> dict[str, None]:
    document = _loaded(line)
    return dict.fromkeys(document) if isinstance(document, dict) else {}


def read_separated(
    file: IO[bytes], *, kind: str, columns: list[str], block_bytes: int
) -> Iterator[Rows]:
    """Rows of a csv, tsv or quoted-tsv file.

    In a tsv a quote is a character like any other, so fields hold neither tabs nor line breaks; the
    other two quote as CSV does.

    Raises
    ------
    ValueError
        A quote is never closed, after the rows up to there. To Arrow the end of the file closes it;
        so a row of our own is put behind the last, and is missing where a quote swallowed it.
    """
    plain = kind == "tsv"
    bad: list[BadRow] = []
    ended, opened, number = plain, 0, 1

    def set_aside(row: pa.csv.InvalidRow) -> str:
        nonlocal ended, opened, number
        if not plain and row.text.endswith(_END):
            ended = ended or row.text == _END
            opened = 0 if ended else row.number or 0
        else:
            number += 1
            problem = f"{row.actual_columns} fields where the header has {row.expected_columns}"
            bad.append(BadRow(row.number or 0, problem, _shown(row.text)))
        return "skip"

    source = Utf8(file, ending=b"" if plain else f"\n{_END}\n".encode())
    reader = pa.csv.open_csv(
        pa.PythonFile(source, mode="r"),
        read_options=pa.csv.ReadOptions(block_size=block_bytes, use_threads=False),
        parse_options=pa.csv.ParseOptions(
            delimiter=_DELIMITERS[kind], quote_char=False if plain else '"',
            double_quote=not plain, newlines_in_values=not plain, invalid_row_handler=set_aside,
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), include_columns=columns,
            check_utf8=False,
        ),
    )  # fmt: skip
    last = reader.schema.empty_table()
    try:
        for batch in reader:
            number += len(batch)
            if len(last) and len(batch):
                yield Rows(last, bad.copy())
                bad.clear()
            last = pa.Table.from_batches([batch]) if len(batch) else last
    except Exception as error:
        yield Rows(last, bad)
        if "straddling" not in str(error):
            raise
        raise ValueError(
            f"row {number + 1} has over {block_bytes:,} bytes; most likely its quote is never closed"
        ) from None
    if not ended and not opened:
        own = all(column[-1].as_py() == _END for column in last.columns) if len(last) else False
        opened = 0 if own else number
        last = last.slice(0, max(0, len(last) - 1))
    yield Rows(last, bad)
    if opened:
        raise ValueError(f"the quote that opens in row {opened} is never closed")


def read_jsonl(
    file: IO[bytes],
    *,
    columns: list[str],
    block_bytes: int,
    kept: Mapping[str, pa.DataType] = _NONE_KEPT,
) -> Iterator[Rows]:
    """Rows of a file of JSON objects, one a line; numbers and truth values become their text.

    Those of `columns` that are in `kept` may hold anything: they have the type that stands there, or
    where a block has values of another, are texts, JSON of what is no text.
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


def _rows(lines: bytes, *, first: int, schema: pa.Schema, kept: Mapping[str, pa.DataType]) -> Rows:
    if first == 1:
        lines = lines.removeprefix(b"\xef\xbb\xbf")
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
    """The number of `lines` if each looks like one JSON object and no more, else 0.

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
    for number, line in enumerate(lines.split(b"\n"), first):
        if not line.strip():
            continue
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
            bad.append(BadRow(number, problem, _shown(line.decode())))
            continue
        for name, value in zip(names, row, strict=True):
            values[name].append(value)
    return Rows(pa.table(values, pa.schema([(name, pa.string()) for name in names])), bad)


def _shown(text: str) -> str:
    return text.replace(NOT_UTF8, "\ufffd")[:SHOWN]


def _text(value: object, name: str) -> str | None:
    if isinstance(value, dict | list):
        raise ValueError(f"{name} is a {type(value).__name__}, not a text")
    try:
        return json_text(value)
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half a surrogate pair") from None


def json_text(value: object) -> str | None:
    """A text as it is, anything else as JSON; a ValueError where that is no Unicode."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text.encode()  # half a surrogate pair is none
    return text
