"""Columns of parquet files, read with a limit on how far their texts expand in memory.

Parquet stores a repeated text once, and compresses on top of that, so kilobytes can expand to
gigabytes. Texts are read as dictionaries, so their expanded size is known before it is allocated.
"""

from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import files
from curate.pool.kept import kind_of
from curate.pool.reader import Reader, Source
from curate.pool.rows import PoolFormat

MOST = 1 << 28
"""Bytes of texts above which `RATIO` is checked."""
RATIO = 1_000
"""Bytes of texts for a stored byte, at most; in real pools it is up to a hundred."""

_ROWS = 1 << 16  # at once


class _Parquet(Reader):
    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        return column_types(source.path)

    def row_groups(self, path: str, *, pool: PoolFormat) -> list[int] | None:
        """Rows of each row group, after a check of the columns; None where the pool names images."""
        if pool.image:
            return None
        with files.open_read(path) as file:
            footer = pq.ParquetFile(file)
            pool.check(path, footer.schema_arrow.names)
            return [footer.metadata.row_group(i).num_rows for i in range(footer.num_row_groups)]

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        with files.open_read(source.path) as file:
            table = pq.ParquetFile(file)
            names = table.schema_arrow.names
            pool.check(source.path, names)
            columns = [name for name in pool.columns if name in names]
            for group in range(table.num_row_groups):
                check_texts(file, table, columns=columns, groups=[group])
                for batch in table.iter_batches(
                    row_groups=[group], columns=columns, use_threads=False
                ):
                    yield pool.normalise(pa.Table.from_batches([batch]), path=source.path)


PARQUET = _Parquet()
"""Reads parquet files."""


def column_types(path: str) -> dict[str, str | None]:
    """What each column of a parquet file is read as; None for one of nulls alone."""
    with files.open_read(path) as file:
        return {field.name: kind_of(field.type) for field in pq.read_schema(file)}


def check_texts(
    file: IO[bytes], footer: pq.ParquetFile, *, columns: list[str], groups: list[int]
) -> None:
    """Check that the texts of some row `groups` of a parquet file fit into memory.

    `footer` is the file as it was opened: of many row groups that takes longer than a small one.

    Raises
    ------
    ValueError
        Where they have over `MOST` bytes, and over `RATIO` times as many as are stored.
    """
    kinds = {field.name: field.type for field in footer.schema_arrow}
    texts = [name for name in columns if _is_text(kinds[name])]
    source = pq.ParquetFile(file, read_dictionary=texts, metadata=footer.metadata)
    for number in groups:
        group = footer.metadata.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns)]
        chunks = [x for x in chunks if x.path_in_schema in columns]
        stored = sum(x.total_compressed_size for x in chunks)
        _check(sum(x.total_uncompressed_size for x in chunks), stored)

        def batches(rows: int, number: int = number) -> Iterator[pa.RecordBatch]:
            found: Iterator[pa.RecordBatch] = source.iter_batches(
                rows, row_groups=[number], columns=texts, use_threads=False
            )
            return found

        # The first row comes with the dictionary; texts outside of it are stored in full length.
        first = next(batches(1), None) if texts else None
        longest = sum(_longest(column) for column in first.columns) if first else 0
        if longest * group.num_rows > max(MOST, RATIO * stored):
            total = 0
            for batch in batches(_ROWS):
                total += sum(map(_length, batch.columns))
                _check(total, stored)


def _check(size: int, stored: int) -> None:
    if size > max(MOST, RATIO * stored):
        raise ValueError(
            f"its {stored:,} bytes stand for texts of over {size:,} bytes, more than {RATIO:,} times as"
            " many: no pool of pairs is like that"
        )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    of_bytes = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string,
                pa.types.is_large_binary)  # fmt: skip
    return any(is_one(kind) for is_one in of_bytes)


def _longest(column: pa.Array) -> int:
    """The bytes of the longest text in a column's dictionary."""
    if not pa.types.is_dictionary(column.type):
        return 0
    return int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)


def _length(column: pa.Array) -> int:
    """The bytes of a column's texts, once they are expanded."""
    if not pa.types.is_dictionary(column.type):
        return int(pc.sum(pc.binary_length(column)).as_py() or 0)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)
