"""The files of a pool before they are cut, and what the first of them tell of all."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from curate.errors import CurateError
from curate.formats import format_of
from curate.planning.inputs import Pool, names_of
from curate.planning.spreading import is_much
from curate.pool.reader import FIRST
from curate.pool.rows import PoolFormat, UnreadableError
from curate.pool.tables import check_tags, check_urls, read_batches, row_groups
from curate.rundir.directory import Run

_AT_ONCE = 4
"""Parts in a row group that is read in place; a larger one is copied.

pyarrow (25) decodes a row group whole, also where the file has an index of its pages. Of 1,048,576
captions a part of 10,000 takes 0.5 s so, and all 105 of them 50 s; copied once, 1.8 s and 0.01 s each.
"""


class Uncut(NamedTuple):
    """A file of the pool."""

    path: str
    name: str
    format: str
    copies: str  # what the names of its copies begin with
    members: tuple[str, ...] = ()  # the files, where it is a folder

    def read_as(self, pool: PoolFormat) -> PoolFormat:
        """How it is read, in a pool that is read so."""
        return replace(pool, format=self.format or pool.format)


def uncut_files(run: Run, pool: Pool) -> list[Uncut]:
    """The files of a pool, in order."""
    named = zip(names_of(pool), pool.files, strict=True)
    return [
        Uncut(path, name, form, run.path("input", f"file-{number:05d}"),
              tuple(beside) if format_of(form).is_folder else ())
        for number, (name, (path, beside, form)) in enumerate(named)
    ]  # fmt: skip


def check_some(
    uncut: Sequence[Uncut], *, pool: PoolFormat, size: int, weight: int, fraction: float
) -> bool:
    """Whether the files are read where they stand, in parts of `size` rows, as the first of them tells.

    Raises
    ------
    CurateError
        Where its URLs are paths; or neither the first, nor a middle, nor the last of many files can
        be read.
    """
    first = uncut[0]
    check_urls(first.path, pool=first.read_as(pool))  # the others are like it
    check_tags(first.path, pool=first.read_as(pool))
    if all(one.format == first.format for one in uncut):
        with suppress(UnreadableError):
            if is_in_place(row_groups(first.path, pool=first.read_as(pool)), size):
                return True
    if is_much(uncut, weight=weight) and fraction < 1:
        _check_ends(uncut, pool=pool)
    return False


def _check_ends(uncut: Sequence[Uncut], *, pool: PoolFormat) -> None:
    """Raise where neither the first, nor a middle, nor the last of many files can be read."""
    told: list[UnreadableError] = []
    for one in (uncut[0], uncut[len(uncut) // 2], uncut[-1]):
        rows = read_batches(
            one.path, pool=one.read_as(pool), name=one.name, members=one.members, block_bytes=FIRST
        )
        try:
            next(rows, None)
            return
        except UnreadableError as error:
            told.append(error)
    raise CurateError(str(told[0]))


def is_in_place(groups: list[int] | None, size: int) -> bool:
    """Whether parts of `size` rows are read from a file with such row groups as it is."""
    return groups is not None and max(groups, default=0) <= _AT_ONCE * size
