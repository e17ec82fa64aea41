"""Columns of parquet files, read without giving a small file gigabytes of memory.

Parquet stores a text that is repeated once, and packs on top of that, so kilobytes can stand for
gigabytes. Texts are read as dictionaries, whose expanded size is known before it is taken.
"""

from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MOST = 1 << 28
"""Bytes of texts from which on they are compared with what they are stored in."""
RATIO = 1_000
"""Times that texts may be longer than what they are stored in; real ones are up to a hundred times."""

_ROWS = 1 << 16  # at once


def check_texts(file: IO[bytes], *, columns: list[str], groups: list[int] | None = None) -> None:
    """That the texts of a parquet file, or of some of its row `groups`, can be read into memory.

    Raises
    ------
    ValueError
        They are over `MOST` bytes, and over `RATIO` times as long as what is stored.
    """
    footer = pq.ParquetFile(file)
    kinds = {field.name: field.type for field in footer.schema_arrow}
    texts = [name for name in columns if _is_text(kinds[name])]
    source = pq.ParquetFile(file, read_dictionary=texts, metadata=footer.metadata)
    for number in range(footer.num_row_groups) if groups is None else groups:
        group = footer.metadata.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns)]
        chunks = [x for x in chunks if x.path_in_schema in columns]
        stored = sum(x.total_compressed_size for x in chunks)
        _check(sum(x.total_uncompressed_size for x in chunks), stored)

        def batches(rows: int, number: int = number) -> Any:
            return source.iter_batches(rows, row_groups=[number], columns=texts, use_threads=False)

        # A dictionary comes with the first row. What is not in it is as long as it is stored.
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


def _longest(column: Any) -> int:
    """The bytes of the longest text in a column's dictionary."""
    if not pa.types.is_dictionary(column.type):
        return 0
    return int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)


def _length(column: Any) -> int:
    """The bytes of a column's texts, once they are expanded."""
    if not pa.types.is_dictionary(column.type):
        return int(pc.sum(pc.binary_length(column)).as_py() or 0)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)
