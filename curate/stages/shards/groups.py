"""Rows of a group of parts on their way to mixed shards: their places, and what reads their images."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.files.stores import told_of_temporary
from curate.rundir.directory import Run
from curate.rundir.tar import BLOCK
from curate.schema import Stage

PLACE = "_place"
"""A column while rows are on their way: part and row."""
ROW_BITS = 32
"""Of a place: that of a row of a part."""
_PIECE = 1 << 22
"""Bytes that are read, or written, at once, about."""
_BLOCK = 1 << 19
"""Bytes that are copied at once, about: few enough for a processor's own memory."""
_GAP = 1 << 15
"""Bytes between members that are rather read with them."""
_OPEN = 64
"""Tars that are open at once, at most."""

Ints = NDArray[np.int64]


def places_of(part: int, rows: int) -> Ints:
    """The places of the first `rows` rows of a part, ascending."""
    return (part << ROW_BITS) + np.arange(rows)


def pieces_of(rows: Ints, sizes: Ints) -> list[Ints]:
    """`rows` in pieces of about `_PIECE` bytes; none where there are no rows."""
    ends = np.cumsum(sizes[rows]) // _PIECE
    return np.split(rows, np.flatnonzero(np.diff(ends)) + 1) if len(rows) else []


def temporary() -> IO[bytes]:
    """A new file that goes with whoever has it open."""
    with told_of_temporary():
        return tempfile.TemporaryFile()


@dataclass(frozen=True)
class Members:
    """Reads members, header and image, of the tars of a run, by rows of a table."""

    run: Run
    parts: Ints  # (n,)
    begins: Ints  # (n,), in the tar of the part
    sizes: Ints  # (n,)
    files: Ints  # (n,), descriptors of what is read: that tar, or a copy of its members
    starts: Ints  # (n,), there

    @classmethod
    def of(cls, run: Run, table: pa.Table, rows: Ints, opened: ExitStack) -> "Members":
        """Of these `rows` of `table`, in files that `opened` closes.

        All are asked for at once, in the order of the tars: on a disk the system is told to read
        ahead; those in a store, or of many tars, are copied to a temporary file.

        Raises
        ------
        DamagedError
            Where a tar is gone.
        """
        begins = table["tar_offset"].to_numpy() - BLOCK
        sizes = table["tar_size"].to_numpy() + BLOCK
        parts = table[PLACE].to_numpy() >> ROW_BITS
        made = cls(run, parts, begins, sizes, np.zeros(len(table), np.int64), begins.copy())
        blocks = made._blocks(rows)
        tars = {part: made.url(part) for part in np.unique(parts[rows]).tolist()}
        is_near = all(files.local_path(url) is not None for url in tars.values())
        if is_near and len(tars) <= _OPEN:
            made._open(blocks, tars, opened)
        else:
            made._copy(blocks, opened)
        return made

    def url(self, part: int) -> str:
        """The URL of the tar of a part."""
        return self.run.part(Stage.DOWNLOAD, part, "tar")

    def read(self, rows: Ints) -> Iterator[memoryview]:
        """The members of `rows`, one after the other, in blocks that are valid until the next.

        Raises
        ------
        DamagedError
            Where a tar ends before.
        """
        room = memoryview(bytearray(max(_BLOCK, self.sizes[rows].max(initial=0))))
        each = (x[rows].tolist() for x in (self.parts, self.files, self.starts, self.sizes))
        at = 0
        for part, file, start, size in zip(*each, strict=True):
            if at + size > len(room):
                yield room[:at]
                at = 0
            if os.preadv(file, [room[at : at + size]], start) < size:
                raise DamagedError(self.url(part), "it is truncated")
            at += size
        yield room[:at]

    def _blocks(self, rows: Ints) -> list[Ints]:
        """`rows`, in the order of their members in tars, in blocks to read: neighbours, and few."""
        rows = rows[np.lexsort((self.begins[rows], self.parts[rows]))]
        first, stop = self.begins[rows], self.begins[rows] + self.sizes[rows]
        apart = (np.diff(self.parts[rows]) > 0) | (first[1:] - stop[:-1] > _GAP)
        ends = np.flatnonzero(apart | (np.diff(first // _PIECE) > 0)) + 1
        return np.split(rows, ends) if len(rows) else []

    def _range(self, block: Ints) -> tuple[int, int, int]:
        """The part, and where a block begins and ends in its tar."""
        last = block[-1]
        return (
            int(self.parts[last]), int(self.begins[block[0]]),
            int(self.begins[last] + self.sizes[last]),
        )  # fmt: skip

    def _open(self, blocks: list[Ints], tars: dict[int, str], opened: ExitStack) -> None:
        for url in tars.values():
            if not files.exists(url):
                raise DamagedError(url, "it is gone")
        held = {part: opened.enter_context(files.open_read(url)) for part, url in tars.items()}
        for block in blocks:
            part, start, stop = self._range(block)
            self.files[block] = file = held[part].fileno()
            os.posix_fadvise(file, start, stop - start, os.POSIX_FADV_WILLNEED)

    def _copy(self, blocks: list[Ints], opened: ExitStack) -> None:
        def read(block: Ints) -> bytes:
            part, start, stop = self._range(block)
            try:
                return files.read_range(self.url(part), start, stop)
            except AbsentError:
                raise DamagedError(self.url(part), "it is gone") from None

        copy = opened.enter_context(temporary())
        self.files[:] = copy.fileno()
        at = 0
        for block, content in self.run.each(blocks, read):
            self.starts[block] += at - self.begins[block[0]]
            at += len(content)
            with told_of_temporary():
                copy.write(content)
                copy.flush()
