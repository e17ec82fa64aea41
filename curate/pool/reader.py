"""The interface of the readers of a pool's files, one for each format.

A format of curate's own is a module with an instance of a subclass, and a row of `curate.formats`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from curate.pool.rows import PoolFormat

FIRST = 1 << 20
"""Bytes of a text file from which the kinds of its columns are inferred."""


class Source(NamedTuple):
    """A file of the pool; or a folder, with the files in it."""

    path: str
    name: str  # the path in the URLs that images without one get
    members: Sequence[str] = ()  # the files, where it is a folder
    block_bytes: int = 8 << 20  # of a text file that are read at once


class Companions(NamedTuple):
    """The files that belong to others: images to their table."""

    images: dict[str, list[str]]  # by the pool's file: the tar or folder of its images
    taken: set[str]  # the files that are not files of the pool by themselves


class Reader(ABC):
    """Reads the files of one format, streaming.

    For a broken file its methods raise one of `curate.pool.rows.BROKEN`, or an UnreadableError whose
    message names the file.
    """

    @abstractmethod
    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        """The columns of a file, and the kind of each; None where it has no values.

        Where the file has no types, kinds are inferred from its beginning.
        """

    @abstractmethod
    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        """The rows of a file, tables of `schema.POOL` and of the columns that `pool` keeps.

        Unreadable rows are among them, with their `error`.
        """

    def check_installed(self, what: str) -> None:
        """Raise a CurateError with the command to install what is missing for reading `what`."""
        return  # the base install is enough

    def row_groups(self, path: str, *, pool: PoolFormat) -> list[int] | None:
        """Rows of each row group; None where a file can only be read from its beginning."""
        return None

    def companions(self, paths: Sequence[str], *, asked: str) -> Companions:
        """The files of this format among `paths` and what belongs to them; `asked` is input.format.

        Called for formats that have `companions` in their row of `curate.formats`.
        """
        return Companions({}, set())
