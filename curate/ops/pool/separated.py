"""Rows of csv, tsv and quoted-tsv files, by Arrow's reader; bad ones are set aside."""

import csv
import io
import re
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.csv

from curate.ops.pool.lines import NOT_UTF8, BadRow, Rows, Utf8, shown
from curate.texts import TRIED

_END = "\ufdd2\uffff\ufdd3"
_DELIMITERS = {"csv": ",", "tsv": "\t", "quoted-tsv": "\t"}


def header(file: IO[bytes], *, kind: str, block_bytes: int) -> list[str]:
    """The columns that the first line of a csv, tsv or quoted-tsv file names.

    Raises
    ------
    ValueError
        The header is not UTF-8, or one of its names has over 131,072 characters.
    """
    source = Utf8(file)
    first = source.read(block_bytes).decode(errors="replace")
    if source.broken and not first:
        raise source.broken
    if kind == "tsv":
        line = re.split("[\r\n]", first, maxsplit=1)[0]
        names = line.split("\t") if line else []
    else:
        try:
            rows = csv.reader(io.StringIO(first, newline=""), delimiter=_DELIMITERS[kind])
            names = next(rows, [])
        except csv.Error as error:
            raise ValueError(f"its header: {error}") from None
    if any(NOT_UTF8 in name for name in names):
        raise ValueError(f"its header is {TRIED}")
    return names


def read_separated(
    file: IO[bytes], *, kind: str, columns: list[str], block_bytes: int
) -> Iterator[Rows]:
    """Rows of a csv, tsv or quoted-tsv file.

    In a tsv a quote is a character like any other, so fields hold neither tabs nor line breaks; the
    other two quote as CSV does.

    Raises
    ------
    ValueError
        The file breaks off, or a quote is never closed, after the rows up to there. To Arrow the end
        of the file closes it; so a row of our own is put behind the last, and is missing where a quote
        swallowed it.
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
            bad.append(BadRow(row.number or 0, problem, shown(row.text)))
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
