"""What each format of a pool has: a reader of its files.

A format of curate's own is a module with an instance of a subclass, and a row of `curate.formats`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from curate.pool.rows import PoolFormat

FIRST = 1 << 20
"""Bytes of a file of text that say what is in its columns."""


class Source(NamedTuple):
    """A file of the pool; or a folder, with the files in it."""

    path: str
    name: str  # stands for the path in what identifies images that have no URL
    members: Sequence[str] = ()  # the files, where it is a folder
    block_bytes: int = 8 << 20  # of a file of text, at once


class Companions(NamedTuple):
    """Which of several files belong together."""

    images: dict[str, list[str]]  # by the file that stands for all: the tar or folder of its images
    taken: set[str]  # files that are no files of a pool themselves


class Reader(ABC):
    """Reads the files of one format, streaming.

    On meeting a broken file its methods raise any of `curate.pool.rows.BROKEN`, or an UnreadableError
    whose message names the file.
    """

    @abstractmethod
    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        """The columns of a file, and what each is read as; None where that cannot be told.

        What is not typed in the file is judged by its beginning.
        """

    @abstractmethod
    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        """The rows of a file, tables of `schema.POOL` and of the columns that `pool` keeps.

        Rows that cannot be read are among them, with their `error`.
        """

    def check_installed(self, what: str) -> None:
        """Raise a CurateError with what to install, where packages lack that reading `what` takes."""
        return  # none, but what the base install has

    def row_groups(self, path: str, *, pool: PoolFormat) -> list[int] | None:
        """Rows of each group that can be read alone; None where a file is read from its beginning."""
        return None

    def companions(self, paths: Sequence[str], *, asked: str) -> Companions:
        """What belongs to files of this format among `paths`, where the format `asked` was asked for.

        Asked of formats that have `companions` in their row of the table.
        """
        return Companions({}, set())
