"""Rows of csv, tsv and quoted-tsv files, by Arrow's reader; bad rows are set aside."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import IO

import pyarrow as pa
import pyarrow.csv

from curate.files.texts import TRIED
from curate.files.unpacking import open_unpacked
from curate.pool.kept import kind_of_texts
from curate.pool.lines import NOT_UTF8, BadRow, Rows, Utf8, shown
from curate.pool.reader import FIRST, Reader, Source
from curate.pool.rows import PoolFormat, UnreadableError

_END = "\ufdd2\uffff\ufdd3"
_LOOKED_AT = 100  # rows from which the number of columns is inferred
_DELIMITERS = {"csv": ",", "tsv": "\t", "quoted-tsv": "\t"}


@dataclass(frozen=True)
class _Separated(Reader):
    kind: str

    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        names = self._names(source.path, pool=pool, block_bytes=FIRST)
        once = [name for name in names if names.count(name) == 1]
        with open_unpacked(source.path) as file:
            rows = next(self._rows(file, once, names, pool=pool, block_bytes=FIRST), None)
        if rows is None:
            return dict.fromkeys(once)
        return {name: kind_of_texts(rows.good[name]) for name in once}

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        path = source.path
        names = self._names(path, pool=pool, block_bytes=source.block_bytes)
        if self.kind == "tsv" and any(name.startswith('"') for name in names):
            raise UnreadableError(f"{path}: its header is quoted; set input.format to quoted-tsv")
        pool.check(path, names)
        wanted = [name for name in pool.columns if name in names]
        with open_unpacked(path) as file:
            for good, bad in self._rows(
                file, wanted, names, pool=pool, block_bytes=source.block_bytes
            ):
                yield pool.with_bad(pool.normalise(good, path=path), bad, path=path)

    def _names(self, path: str, *, pool: PoolFormat, block_bytes: int) -> list[str]:
        told = positions if pool.headless else header
        with open_unpacked(path) as file:
            return told(file, kind=self.kind, block_bytes=block_bytes)

    def _rows(
        self,
        file: IO[bytes],
        wanted: list[str],
        names: list[str],
        *,
        pool: PoolFormat,
        block_bytes: int,
    ) -> Iterator[Rows]:
        return read_separated(
            file, kind=self.kind, columns=wanted, block_bytes=block_bytes,
            names=names if pool.headless else None,
        )  # fmt: skip


CSV, TSV, QUOTED_TSV = map(_Separated, _DELIMITERS)
"""Read files of rows of fields."""


def header(file: IO[bytes], *, kind: str, block_bytes: int) -> list[str]:
    """The columns that the first line of a csv, tsv or quoted-tsv file names.

    Raises
    ------
    ValueError
        Where the header is not UTF-8, or one of its names has over 131,072 characters.
    """
    try:
        names = next(_first_rows(file, kind=kind, block_bytes=block_bytes), [])
    except csv.Error as error:
        raise ValueError(f"its header: {error}") from None
    if any(NOT_UTF8 in name for name in names):
        raise ValueError(f"its header is {TRIED}")
    return names


def positions(file: IO[bytes], *, kind: str, block_bytes: int) -> list[str]:
    """The columns of a file without a header, named by position from "1" on.

    Their number is the most common one among the first rows.
    """
    rows = islice(_first_rows(file, kind=kind, block_bytes=block_bytes), _LOOKED_AT)
    counts: Counter[int] = Counter()
    with suppress(csv.Error):
        counts.update(len(row) for row in rows if row)
    [(columns, _)] = counts.most_common(1) or [(0, 0)]
    return [str(place) for place in range(1, columns + 1)]


def _first_rows(file: IO[bytes], *, kind: str, block_bytes: int) -> Iterator[list[str]]:
    source = Utf8(file)
    first = source.read(block_bytes).decode(errors="replace")
    if source.broken and not first:
        raise source.broken
    if kind == "tsv":
        lines = re.split("\r\n|[\r\n]", first, maxsplit=_LOOKED_AT)[:_LOOKED_AT]
        return (line.split("\t") if line else [] for line in lines)
    return csv.reader(io.StringIO(first, newline=""), delimiter=_DELIMITERS[kind])


def read_separated(
    file: IO[bytes],
    *,
    kind: str,
    columns: list[str],
    block_bytes: int,
    names: list[str] | None = None,
) -> Iterator[Rows]:
    """Stream the rows of a csv, tsv or quoted-tsv file; with `names` the file has no header.

    In a tsv a quote is an ordinary character, so fields have neither tabs nor line breaks; the other
    two have the quotes of CSV.

    Raises
    ------
    ValueError
        Where the file is truncated, or a quote is never closed, after the rows before. Arrow takes the
        end of the file for the closing quote; so a sentinel row is appended to the file, and an open
        quote is one that has swallowed it.
    """
    plain = kind == "tsv"
    bad: list[BadRow] = []
    ended, opened, number = plain, 0, 0 if names else 1

    def set_aside(row: pa.csv.InvalidRow) -> str:
        nonlocal ended, opened, number
        if not plain and row.text.endswith(_END):
            ended = ended or row.text == _END
            opened = 0 if ended else row.number or 0
        else:
            number += 1
            problem = (
                f"{row.actual_columns} fields where {'most rows have' if names else 'the header has'}"
                f" {row.expected_columns}"
            )
            bad.append(BadRow(row.number or 0, problem, shown(row.text)))
        return "skip"

    source = Utf8(file, ending=b"" if plain else f"\n{_END}\n".encode())
    reader = pa.csv.open_csv(
        pa.PythonFile(source, mode="r"),
        read_options=pa.csv.ReadOptions(
            block_size=block_bytes, use_threads=False, column_names=names
        ),
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
        quote = "" if plain else "; most likely its quote is never closed"
        raise ValueError(f"row {number + 1} has over {block_bytes:,} bytes{quote}") from None
    if not ended and not opened:
        own = all(column[-1].as_py() == _END for column in last.columns) if len(last) else False
        opened = 0 if own else number
        last = last.slice(0, max(0, len(last) - 1))
    yield Rows(last, bad)
    if source.broken:
        raise source.broken
    if opened:
        raise ValueError(f"the quote that opens in row {opened} is never closed")
