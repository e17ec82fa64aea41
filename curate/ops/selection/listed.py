"""Lists of a column's values that rules keep or drop: a value a line, or a table with marked rows.

A table is what a person fills in: a ``.csv`` or ``.tsv`` with a header, of which the column called as
the rule's holds the values. Where it also has a column ``keep`` (of a list of what stays) or ``drop``
(of what goes), the rows that have a mark there are meant, else all rows.
"""

import csv
import io
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import pyarrow as pa

from curate import files
from curate.errors import CurateError
from curate.files.texts import read_text
from curate.formats import ending
from curate.ops.text.lists import read_items

Mark = Literal["keep", "drop"]
STAMP = "centroids"
"""The column of a table of clusters that says which clusters it is of."""

_YES = frozenset(["1", "x", "y", "yes", "true", "keep", "drop"])
_NO = frozenset(["", "0", "n", "no", "false"])
_TABLES = {"csv": ",", "tsv": "\t"}


def listed(path: str, *, column: str, mark: Mark, kind: pa.DataType) -> pa.Array:
    """The values in the file at `path`, read once a process for what it holds; see `read_listed`."""
    return _read(path, files.content_digest(path), column, mark, kind)


@lru_cache(maxsize=16)
def _read(path: str, digest: str, column: str, mark: Mark, kind: pa.DataType) -> pa.Array:
    return read_listed(path, column=column, mark=mark, kind=kind)


def read_listed(path: str, *, column: str, mark: Mark, kind: pa.DataType) -> pa.Array:
    """The values of `column`, which is of type `kind`, that the file at `path` marks.

    Raises
    ------
    CurateError
        Where the file is no list, has no such column, or a value or a mark that is none.
    """
    delimiter = _TABLES.get(ending(path))
    if delimiter:
        texts = list(_marked(path, column=column, mark=mark, delimiter=delimiter))
    else:
        texts = [(k, x) for k, x in enumerate(read_items(path)[0], 1) if x.strip()]
    if pa.types.is_string(kind):
        return pa.array([text for _, text in texts], kind)
    found: list[int] = []
    for row, text in texts:
        try:
            found.append(int(text))
            pa.scalar(found[-1], kind)
        except (ValueError, pa.ArrowInvalid, OverflowError):
            raise CurateError(
                f"{path}: row {row:,}: {text.strip()[:60]!r} is no value of {column}, which is {kind}"
            ) from None
    return pa.array(found, kind)


def stamp_in(path: str) -> str | None:
    """Which clusters a table says it is of; None of any other list."""
    delimiter = _TABLES.get(ending(path))
    if not delimiter:
        return None
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    first: dict[str, str | None] = next(iter(rows), {})
    return first.get(STAMP) or None


def _marked(path: str, *, column: str, mark: Mark, delimiter: str) -> Iterator[tuple[int, str]]:
    """The values of a table that are meant, with the number of each one's row."""
    rows = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    try:
        names = [name.strip() for name in next(rows, [])]
        if column not in names:
            raise CurateError(
                f"{path}: no column {column!r} in its first row ({', '.join(names)[:80]})"
            )
        at = names.index(column)
        told = names.index(mark) if mark in names else None
        for number, row in enumerate(rows, 2):
            value = row[at].strip() if at < len(row) else ""
            said = row[told].strip().lower() if told is not None and told < len(row) else ""
            if said not in _YES | _NO:
                raise CurateError(
                    f"{path}: row {number:,}: {said[:60]!r} in column {mark!r}; expected yes or nothing"
                )
            if value and (told is None or said in _YES):
                yield number, value
    except csv.Error as error:
        raise CurateError(f"{path}: cannot be read as a table: {error}") from None
