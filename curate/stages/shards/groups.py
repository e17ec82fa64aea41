"""The file of a group of parts: its rows and their images in pieces, one or more for each shard.

Images are read in the order of their tars, in large blocks, and written a piece at a time: as many as
memory is for (`_HELD`) are brought into their places at once.
"""

from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.rundir.directory import Run
from curate.rundir.tar import BLOCK
from curate.schema import Stage

PLACE = "_place"
"""A column while rows are on their way: part and row."""
ROW_BITS = 32
"""Of a place: that of a row of a part."""
_PIECE = 1 << 22
"""Bytes that are read, or written, at once, about."""
_GAP = 1 << 15
"""Bytes between members that are rather read with them."""
_HELD = 1 << 27
"""Bytes of images of a group that a worker holds, about."""

Ints = NDArray[np.int64]


def places_of(part: int, rows: int) -> Ints:
    """The places of the first `rows` rows of a part, ascending."""
    return (part << ROW_BITS) + np.arange(rows)


def pieces_of(rows: Ints, sizes: Ints) -> list[Ints]:
    """`rows` in pieces of about `_PIECE` bytes; none where there are no rows."""
    ends = np.cumsum(sizes[rows]) // _PIECE
    return np.split(rows, np.flatnonzero(np.diff(ends)) + 1) if len(rows) else []


def copy_members(run: Run, table: pa.Table, where: Ints, file: IO[bytes]) -> None:
    """Write the members of the rows of `table`, from the tars of their parts, to `where` in `file`.

    Those of rows at -1 are left out.

    Raises
    ------
    DamagedError
        Where a tar is gone, or ends before.
    """
    begins = table["tar_offset"].to_numpy() - BLOCK
    sizes = table["tar_size"].to_numpy() + BLOCK
    parts = table[PLACE].to_numpy() >> ROW_BITS
    rows = np.flatnonzero(where >= 0)
    if not len(rows):
        return
    blocks = _blocks_of(rows[np.lexsort((begins[rows], parts[rows]))], parts, begins, sizes)
    stops = np.cumsum([begins[block[-1]] + sizes[block[-1]] - begins[block[0]] for block in blocks])
    batches = np.split(np.arange(len(blocks)), np.flatnonzero(np.diff(stops // _HELD)) + 1)
    starts = np.append(0, stops)
    room = np.empty(max(starts[x[-1] + 1] - starts[x[0]] for x in batches), np.uint8)
    view, at = memoryview(room), np.zeros(len(table), np.int64)

    def read(k: int) -> None:
        block, start = blocks[k], starts[k] - starts[first]
        at[block] = start + begins[block] - begins[block[0]]
        url = run.part(Stage.DOWNLOAD, int(parts[block[0]]), "tar")
        target = view[start : starts[k + 1] - starts[first]]
        try:
            files.read_into(url, int(begins[block[0]]), target)
        except AbsentError:
            raise DamagedError(url, "it is gone") from None

    for batch in batches:
        first = batch[0]
        for _ in run.each(batch.tolist(), read):
            pass
        here = np.concatenate([blocks[k] for k in batch])
        here = here[np.argsort(where[here])]
        apart = np.flatnonzero(where[here[1:]] > where[here[:-1]] + sizes[here[:-1]])
        for together in np.split(here, apart + 1):
            file.seek(where[together[0]])
            ends = at[together] + sizes[together]
            each = zip(at[together].tolist(), ends.tolist(), strict=True)
            file.write(b"".join([view[a:b] for a, b in each]))


def _blocks_of(rows: Ints, parts: Ints, begins: Ints, sizes: Ints) -> list[Ints]:
    """`rows`, in the order of their members in tars, in blocks to read: neighbours, and few."""
    first, stop = begins[rows], begins[rows] + sizes[rows]
    apart = (np.diff(parts[rows]) > 0) | (first[1:] - stop[:-1] > _GAP)
    return np.split(rows, np.flatnonzero(apart | (np.diff(first // _PIECE) > 0)) + 1)
