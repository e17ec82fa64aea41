"""What the library's functions share: errors of one line, and tables that a person reads."""

import html
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from curate.errors import CurateError, DamagedError, hidden
from curate.extras import install, require
from curate.files.stores import told
from curate.machine import faults_named

if TYPE_CHECKING:
    import pandas as pd

_LONG = 80  # characters of a value that are shown


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Raise whatever a disk, a store or a damaged run refuses in the block as a CurateError."""
    try:
        with faults_named(what), told():
            yield
    except DamagedError as error:
        from curate.rundir.mending import note_damage, remedy

        told_of = str(error) + remedy(error.url, noted=note_damage(error.url))
        raise CurateError(hidden(told_of)) from error
    except CurateError as error:
        if str(error).startswith("--"):  # an option of the command; here an argument
            raise CurateError(str(error).removeprefix("--")) from error
        raise


def to_pandas(table: pa.Table) -> "pd.DataFrame":
    """`table` as pandas has it, where that is installed."""
    require("pandas", by="to_pandas", command=install("training"))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def cell(value: object) -> str:
    """A value as a table shows it: numbers short, long texts cut."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def as_text(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in plain text; numbers stand to the right."""
    found = [*rows]
    cells = [[cell(value) for value in row] for row in found]
    right = [all(_is_number(row[k]) for row in found) for k in range(len(names))]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = (
        "  ".join(
            x.rjust(n) if on_right else x.ljust(n)
            for x, n, on_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(names), *cells]
    )
    return "\n".join(lines)


def as_html(names: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """The same as HTML, in which every value is text whatever it holds."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(_td(value) for value in row) + "</tr>" for row in rows
    )  # fmt: skip
    title = f"<caption style='text-align: left'>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _td(value: object) -> str:
    align = "right" if _is_number(value) else "left"
    return f"<td style='text-align: {align}'>{html.escape(cell(value))}</td>"


class Rows:
    """A small table: it prints well, and goes to Arrow and pandas."""

    def __init__(self, table: pa.Table, *, shown: Sequence[str] | None = None) -> None:
        self._table = table
        self._shown = list(shown or table.column_names)

    def to_arrow(self) -> pa.Table:
        """All columns, as an Arrow table."""
        return self._table

    def to_pandas(self) -> "pd.DataFrame":
        """All columns, as a pandas frame."""
        return to_pandas(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, column: str) -> list[Any]:
        """The values of a column."""
        return self._table[column].to_pylist()  # type: ignore[no-any-return]

    def _cells(self) -> list[tuple[object, ...]]:
        columns = (self._table[name].to_pylist() for name in self._shown)
        return [tuple(row) for row in zip(*columns, strict=True)]

    def __repr__(self) -> str:
        return as_text(self._shown, self._cells())

    def _repr_html_(self) -> str:
        return as_html(self._shown, self._cells())
