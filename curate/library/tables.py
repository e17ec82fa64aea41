"""A table of a run, of which nothing is read before it is asked for."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from curate.errors import CurateError
from curate.extras import install, require
from curate.library.plain import as_html, as_text, one_line, to_pandas
from curate.schema import DEAD, LEDGER

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

Scan = Callable[[list[str] | None], Iterator[pa.Table]]
"""The rows of a table with some columns, or with all, a part at a time."""
_HEAD = 10


def _no_column(table: str, name: str, names: Sequence[str]) -> CurateError:
    near = difflib.get_close_matches(name, names, n=1)
    meant = f", did you mean {near[0]!r}?" if near else ";"
    elsewhere = ""
    if {*names} <= {*LEDGER.names, *DEAD.names}:
        elsewhere = "; what is known of pairs that left stands in table('all')"
    return CurateError(f"{table}: no column {name!r}{meant} it has {', '.join(names)}{elsewhere}")


@contextmanager
def told_of_columns(table: str, names: Sequence[str], filter: object) -> Iterator[None]:
    """Raise as a CurateError what is met in reading a table, or wrong with an expression over it."""
    if filter is not None and not isinstance(filter, ds.Expression):
        raise CurateError(
            f"{table}: expected an expression of pyarrow, as pc.field('width') > 200, not {filter!r}"
        )
    with one_line(table):
        try:
            yield
        except FileNotFoundError as error:
            raise CurateError(f"{table}: {error.filename or error}: it is gone") from error
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            told = str(error).splitlines()[0]
            if named := re.match(r"No match for FieldRef.Name\((.*?)\)", told):
                raise _no_column(table, named[1], names) from error
            raise CurateError(f"{table}: {told}") from error


@dataclass(frozen=True)
class Table:
    """Rows of a run: they are read from its files, a piece at a time, as they are asked for.

    Arrow's own tools take it as it is (`polars.from_arrow`, `duckdb.from_arrow`): it has an
    ``__arrow_c_stream__``.
    """

    name: str  # for messages
    schema: pa.Schema
    _dataset: ds.Dataset | None
    _scan: Scan | None = None
    _held: object = None  # what its files go with

    @property
    def dataset(self) -> ds.Dataset:
        """The files as a dataset of pyarrow.

        Raises
        ------
        CurateError
            For `all`, whose rows are put together of several files.
        """
        if self._dataset is None:
            raise CurateError(
                f"{self.name}: its rows are of several files, so it is no dataset; read it by"
                " to_batches(), duckdb() or to_arrow()"
            )
        return self._dataset

    def select(self, columns: Sequence[str] | str) -> "Table":
        """The same with some columns."""
        names = [columns] if isinstance(columns, str) else [*columns]
        return replace(self, schema=pa.schema([self._field(name) for name in names]))

    def _field(self, name: str) -> pa.Field:
        if name not in self.schema.names:
            raise _no_column(self.name, name, self.schema.names)
        return self.schema.field(name)

    def to_batches(
        self, columns: Sequence[str] | None = None, *, filter: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows, a batch at a time; those of `filter`, as ``pc.field("clip_score") > 0.3``."""
        schema = self.schema if columns is None else self.select(columns).schema
        with told_of_columns(self.name, self.schema.names, filter):
            yield from self._batches(schema, filter)

    def _batches(self, schema: pa.Schema, filter: ds.Expression | None) -> Iterator[pa.RecordBatch]:
        names = schema.names
        if self._dataset is not None:
            # On Arrow's pool a dataset can abort the process as it exits.
            yield from self._dataset.to_batches(columns=names, filter=filter, use_threads=False)
            return
        assert self._scan is not None
        for table in self._scan(names if filter is None else None):
            found = table if filter is None else table.filter(filter)
            yield from found.select(names).to_batches()

    def to_arrow(
        self, columns: Sequence[str] | None = None, *, filter: ds.Expression | None = None
    ) -> pa.Table:
        """The rows as an Arrow table, which is in memory."""
        schema = self.schema if columns is None else self.select(columns).schema
        return pa.Table.from_batches(self.to_batches(columns, filter=filter), schema)

    def to_pandas(
        self, columns: Sequence[str] | None = None, *, filter: ds.Expression | None = None
    ) -> "pd.DataFrame":
        """The rows as a pandas frame, which is in memory."""
        return to_pandas(self.to_arrow(columns, filter=filter))

    def count_rows(self, *, filter: ds.Expression | None = None) -> int:
        """How many rows there are, or those of `filter`."""
        if self._dataset is not None and filter is None:
            with one_line(self.name):
                return int(self._dataset.count_rows(use_threads=False))
        names = [self.schema.names[0]]
        return sum(batch.num_rows for batch in self.to_batches(names, filter=filter))

    def head(self, n: int = _HEAD) -> pa.Table:
        """The first rows."""
        found: list[pa.RecordBatch] = []
        for batch in self.to_batches():
            found.append(batch)
            if sum(one.num_rows for one in found) >= n:
                break
        return pa.Table.from_batches(found, self.schema).slice(0, n)

    def duckdb(self) -> "duckdb.DuckDBPyRelation":
        """A relation of DuckDB over the files, on its default connection.

        It reads them anew for each question: of a dataset what that needs, of `all` all its columns,
        so name those that are asked for (`select`).
        """
        require("duckdb", by="duckdb()", command=install("browse"))
        import duckdb

        if self._dataset is None:
            return duckdb.from_arrow(self)
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in self.schema.names)
        return duckdb.from_arrow(self._dataset).project(names)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.schema, self.to_batches())
        return reader.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"{self.name}\n" + as_text(
            ("column", "type"), [(x.name, str(x.type)) for x in self.schema]
        )

    def _repr_html_(self) -> str:
        first = self.head()
        rows = [tuple(row.values()) for row in first.to_pylist()]
        return as_html(self.schema.names, rows, caption=f"{self.name}: the first {len(rows)} rows")
