"""A format of users': files that a function or class of theirs reads, called ``MODULE:NAME``."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from curate import files
from curate.errors import CurateError
from curate.formats import AUTO, FORMATS
from curate.imported import fault, imported, version_of
from curate.pool.kept import kind_of
from curate.pool.reader import Reader, Source
from curate.pool.rows import PoolFormat, UnreadableError, is_of_file

KEY = "input.format"
_ROWS = 10_000  # a table; those of the user's reader may have any number
_WANTED = "record batches or tables of Arrow"


@dataclass(frozen=True)
class Own(Reader):
    """Calls the user's reader with the path of a file, or the URL of one on another machine.

    The reader returns or yields record batches, tables, or other objects with `__arrow_c_stream__`,
    such as data frames. An exception that it raises counts as a fault of the file, as for all readers;
    a result of another type, or without columns of URLs and captions, is a CurateError that names it.
    """

    called: str

    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        """By the first rows that the user's reader gives."""
        first = next(self._given(source.path), pa.table({}))
        return {field.name: kind_of(field.type) for field in first.schema}

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        """The rows of a file; a CurateError of the reader where a column is missing or no text."""
        for table in self._gathered(source.path):
            try:
                pool.check(source.path, table.column_names)
            except UnreadableError as error:
                raise CurateError(f"{KEY}: {self.called}: {error}") from None
            for name in (pool.url, pool.caption, pool.uid, pool.image):
                if name in table.column_names and pa.types.is_nested(table.schema.field(name).type):
                    raise self._fault(
                        source.path, f"column {name!r} is {table.schema.field(name).type}", "texts"
                    )
            yield pool.normalise(table, path=source.path)

    def _gathered(self, path: str) -> Iterator[pa.Table]:
        """The rows in tables of `_ROWS` rows, of fewer at the end or where the columns change."""
        held: list[pa.Table] = []
        rows = 0
        try:
            for table in self._given(path):
                for start in range(0, len(table), _ROWS):
                    some = table.slice(start, _ROWS)
                    if held and (rows + len(some) > _ROWS or some.schema != held[0].schema):
                        yield pa.concat_tables(held)
                        held, rows = [], 0
                    held.append(some)
                    rows += len(some)
        except UnreadableError:
            if held:
                yield pa.concat_tables(held)
            raise
        if held:
            yield pa.concat_tables(held)

    def _given(self, path: str) -> Iterator[pa.Table]:
        read = imported(self.called, key=KEY)
        try:
            given = read(files.local_path(path) or path)
            if _is_arrow(given) and not isinstance(given, pa.RecordBatchReader):
                given = [given]
            if not isinstance(given, Iterable):
                raise self._fault(path, f"it gave {type(given).__name__}", _WANTED)
            for batch in given:
                if not _is_arrow(batch):
                    raise self._fault(path, f"it gave {type(batch).__name__}", _WANTED)
                yield pa.table(batch)
        except (CurateError, MemoryError):
            raise
        except (Exception, SystemExit) as error:  # users' code may raise anything
            told = f"{path}: cannot be read as {self.called}: {fault(error, of=read)}"
            if not is_of_file(error):
                raise CurateError(told) from error
            raise UnreadableError(told) from error

    def _fault(self, path: str, found: str, wanted: str) -> CurateError:
        return CurateError(f"{KEY}: {self.called}: {path}: {found}, expected {wanted}")


def _is_arrow(given: object) -> bool:
    return hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__")


def is_at_hand(form: str) -> bool:
    """Whether files of a format can be read on this machine: a user's reader may not be installed."""
    try:
        return bool(form in (AUTO, *FORMATS) or imported(form, key=KEY))
    except CurateError:
        return False


def version_of_reader(form: str) -> str:
    """The version of a user's reader; empty for a format of curate's own.

    Raises
    ------
    CurateError
        Where it cannot be imported, or has no version.
    """
    return "" if form in (AUTO, *FORMATS) else version_of(imported(form, key=KEY))
