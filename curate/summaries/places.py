"""In which parts a uid, a URL or a survivor's uid occurs, by hashes of 32 bits.

A hash that two texts share names a part too many, never one too few.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.ops.distinct import distinct
from curate.ops.hashing import hash64
from curate.schema import Column

PLACES = pa.schema([("key", pa.uint32()), ("part", pa.int32())])
"""A row a text and part, by `key`."""
ROWS = 1 << 16
"""Rows of a row group: what one look reads."""
_OF = b"curate.of"
_HALF = np.uint64(32)


@dataclass
class Places:
    """Texts of some parts, by their hash."""

    keys: list[tuple[int, NDArray[np.uint32]]] = field(default_factory=list)  # each of a part
    laid_by: list[str] = field(default_factory=list)  # URLs of files of further ones

    def add(self, column: Column, *, part: int) -> None:
        """Texts of a part; null is none."""
        texts = column.drop_null()
        if len(texts):
            self.keys.append((part, distinct(_keys(texts))))

    def extend(self, other: "Places") -> None:
        """Those of other parts."""
        self.keys += other.keys
        self.laid_by += other.laid_by

    def __len__(self) -> int:
        """How many are held here."""
        return sum(len(keys) for _, keys in self.keys)

    def lay_by(self, url: str) -> None:
        """Put what is held here into a file, from which it is read again."""
        files.write_array(url, self._rows())
        self.keys, self.laid_by = [], [*self.laid_by, url]

    def _rows(self) -> NDArray[np.uint64]:
        """Keys and parts of what is held here, as one number each, ascending."""
        none = np.zeros(0, np.uint64)
        rows = [keys.astype(np.uint64) << _HALF | np.uint64(part) for part, keys in self.keys]
        return distinct(np.concatenate([none, *rows]))

    def table(self) -> pa.Table:
        """All of them as rows of `PLACES`."""
        rows = distinct(np.concatenate([self._rows(), *map(files.read_array, self.laid_by)]))
        keys = (rows >> _HALF).astype(np.uint32)
        return pa.table([keys, rows.astype(np.uint32).astype(np.int32)], schema=PLACES)


def _keys(texts: Column | Sequence[str]) -> NDArray[np.uint32]:
    hashes: NDArray[np.uint32] = (hash64(texts) >> np.uint64(32)).astype(np.uint32)
    return hashes


def write(url: str, places: Places, *, of: str) -> None:
    """Write the places of the parts that `of` stands for."""
    files.write_table(url, marked(places.table(), of=of), rows=ROWS)


def find(url: str, texts: Sequence[str], *, of: str | None) -> list[int] | None:
    """The parts that hold one of some texts by the places at a URL, ascending.

    None where there are none, or not `of` the parts that are meant, where that is given. Only the row
    groups that may hold one are read.
    """
    wanted = distinct(_keys(texts))
    with suppress(AbsentError, DamagedError, pa.ArrowInvalid), files.open_read(url) as file:
        found = pq.ParquetFile(file)
        if of is not None and not is_of(found.schema_arrow, of):
            return None
        groups = [i for i in range(found.num_row_groups) if _may_hold(found, i, wanted)]
        rows = found.read_row_groups(groups, use_threads=False)
        ours = np.isin(rows["key"].to_numpy(), wanted)
        return [int(x) for x in distinct(rows["part"].to_numpy()[ours])]
    return None


def _may_hold(found: pq.ParquetFile, group: int, wanted: NDArray[np.uint32]) -> bool:
    ends = found.metadata.row_group(group).column(0).statistics
    return ends is None or bool(((wanted >= ends.min) & (wanted <= ends.max)).any())


def marked(table: pa.Table, *, of: str) -> pa.Table:
    """`table` with a note of what it is made of."""
    return table.replace_schema_metadata({_OF: of})


def is_of(schema: pa.Schema, of: str) -> bool:
    """Whether a table has the note that `marked` gives it."""
    return bool((schema.metadata or {}).get(_OF) == of.encode())
