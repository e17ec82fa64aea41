"""The pool's files split into parts.

A part never spans two files. A parquet file is read in place; all others cannot be read from
the middle and are copied under RUN/input, a file a part. What cannot be read is in the copies as rows
with an error, which `prepare` counts as dead: so no pair is lost from the first file on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.formats import FORMATS
from curate.planning.inputs import Contents, Input, Pool, pool_format
from curate.planning.parts import (
    FORMAT,
    Cut,
    are_whole,
    cut_of,
    document_of,
    name_of,
    pool_digest,
    read_parts,
    standing_cuts,
    write_parts,
)
from curate.planning.spreading import Over, here, waited_for
from curate.planning.uncut import Uncut, check_some, is_in_place, uncut_files
from curate.pool.own import version_of_reader
from curate.pool.rows import PoolFormat, UnreadableError, unreadable_rows
from curate.pool.tables import read_batches, row_groups
from curate.reasons import ErrorCode
from curate.rundir.directory import Part, Run
from curate.rundir.scratch import NOTES
from curate.schema import Stage

WHAT = "reading the pool's files"
"""What is done when files are cut."""


@dataclass(frozen=True)
class Cutter:
    """Splits a file of a pool into parts of `rows`, whose indices are from 0."""

    pool: PoolFormat
    rows: int

    def __call__(self, file: Uncut) -> dict[str, Any]:
        """A `Cut`, as a document."""
        return document_of(_cut_file(file, pool=file.read_as(self.pool), size=self.rows))

    def in_place(self, file: Uncut) -> dict[str, Any] | None:
        """The same of a file that is read where it stands, from its footer; None of any other."""
        found = None
        with suppress(UnreadableError):
            found = _in_place(file, pool=file.read_as(self.pool), size=self.rows)
        return document_of(found) if found else None

    def key(self, file: Uncut, *content: object) -> str:
        """What the cut of a file of this content depends on."""
        name = name_of(file.copies)
        return files.digest_of(self._settings, file.path, file.name, file.format, name, content)

    @cached_property
    def _settings(self) -> str:
        version = version_of_reader(self.pool.format)
        return files.digest_of(FORMAT, asdict(self.pool), version, self.rows)


def cutter_of(config: Config) -> Cutter:
    """What splits the files of the configured pool."""
    return Cutter(pool_format(config), config.part_rows)


def cut(
    run: Run, inputs: tuple[Input, ...], config: Config, *, digests: Sequence[str], pool: Pool,
    contents: Contents, over: Over = here, cuts: Mapping[str, dict[str, Any]] | None = None,
) -> Cut:  # fmt: skip
    """The parts as RUN/input/parts.json lists them; where that is missing or stale, split anew.

    Each file is split by itself, `over` whoever does that, but for those of which the `cuts` are
    there already, by path. What is known of the `contents` of the files is noted with the parts.
    `digests` are those of the pool as of each wave: parts of earlier ones stand.

    Raises
    ------
    CurateError
        Where no rows are found, or more cannot be read than `input.max_dead_fraction` allows.
    """
    fraction = config.input.max_dead_fraction
    digests = [pool_digest(one, config) for one in digests]
    notes = run.path("input", NOTES)
    found = read_parts(run, inputs, digests[-1])
    if found is not None:
        _check_files(found.unreadable, files=len(inputs), fraction=fraction)
        files.remove(notes)
        return found
    is_new = not files.exists(run.root)
    older = files.sizes(run.path("input"))  # copies of a cut that was interrupted, or is stale
    wholes = (read_parts(run, inputs, one) for one in reversed(digests[:-1]))
    before = next((one for one in wholes if one), Cut((), ()))
    try:
        stand = (standing_cuts(run, inputs, one, sizes=older) for one in reversed(digests))
        cuts = next(filter(None, stand), {}) | dict(cuts or {})
        found = _cut(
            run, inputs, config, pool=pool, over=over, cuts=cuts, older=older, before=before
        )
        if not found.parts:
            form = inputs[0]["format"]
            how = "" if form in FORMATS else f" as {form} reads it"
            raise CurateError(f"input.paths: {inputs[0]['path']}: the input holds no rows{how}")
    except CurateError:
        if files.exists(run.path(Stage.PREPARE)):  # of which the copies are
            for name in files.sizes(run.path("input")).keys() - older.keys():
                files.remove_file(run.path("input", name))
        elif not files.exists(notes):  # what workers did stands for another try
            files.remove(run.root if is_new else run.path("input"))
        raise
    write_parts(run, found, inputs, contents=contents, digests=digests)
    files.remove(notes)
    return found


def _cut(
    run: Run, inputs: tuple[Input, ...], config: Config, *, pool: Pool, over: Over,
    cuts: Mapping[str, dict[str, Any]], older: Mapping[str, int], before: Cut,
) -> Cut:  # fmt: skip
    """The parts of the pool's files behind those that were split `before`, and these."""
    fraction = config.input.max_dead_fraction
    found = [before]
    parts = [*before.parts]
    unreadable = [*before.unreadable]
    new = inputs[len(before.rows) :]
    digests = {one["path"]: one["digest"] for one in new}
    cutter, whole = cutter_of(config), uncut_files(run, pool)[len(before.rows) :]
    left = [one for one in whole if one.path not in cuts]
    weight = sum(one["bytes"] for one in new if one["path"] not in cuts)
    if left and check_some(
        left, pool=cutter.pool, size=cutter.rows, weight=weight, fraction=fraction
    ):
        looked_at = zip(left, waited_for(cutter.in_place, left), strict=True)
        cuts = {**cuts, **{one.path: document for one, document in looked_at if document}}
        left = [one for one in left if one.path not in cuts]

    def stands(document: dict[str, Any]) -> bool:
        return are_whole(cut_of(run, document), older)

    made = over(
        cutter, left, what=WHAT, weight=weight, stands=stands,
        keys=[cutter.key(one, digests[one.path]) for one in left],
    )  # fmt: skip
    for one, wave in zip(whole, (one.get("wave", 0) for one in new), strict=True):
        of_file = cut_of(run, cuts[one.path] if one.path in cuts else next(made))
        found.append(of_file)
        parts += [
            replace(part, index=len(parts) + k, wave=wave) for k, part in enumerate(of_file.parts)
        ]
        unreadable += of_file.unreadable
        _check_files(unreadable, files=len(inputs), fraction=fraction)
    rows = tuple(n for one in found for n in one.rows)
    bad = [text for one in found for text in one.bad][:1]
    bad_rows = sum(one.bad_rows for one in found)
    check_rows(bad_rows, sum(rows), fraction=fraction, see="".join(bad))
    for name in older.keys() - {name_of(part.path) for part in parts}:
        if name.endswith(".parquet"):
            files.remove_file(run.path("input", name))
    return Cut(tuple(parts), rows, tuple(bad), bad_rows, tuple(unreadable))


def _cut_file(file: Uncut, *, pool: PoolFormat, size: int) -> Cut:
    """The parts of one file, with indices from 0."""
    unreadable: list[str] = []
    try:
        if in_place := _in_place(file, pool=pool, size=size):
            return in_place
        whole = read_batches(file.path, pool=pool, name=file.name, members=file.members)
        tables = _to_its_end(whole, unreadable)
    except UnreadableError as error:
        unreadable.append(str(error))
        tables = iter([unreadable_rows(error)])
    parts: list[Part] = []
    bad: list[str] = []
    bad_rows = 0
    for k, table in enumerate(_rechunk(tables, size)):
        copy = f"{file.copies}-{k:05d}.parquet"
        held = files.write_table(copy, table)
        has_images = table["size"].null_count < len(table)
        parts.append(Part(k, copy, 0, len(table), staged=True, images=has_images, copy=held))
        details = table.filter(pc.equal(table["error"], ErrorCode.BAD_ROW))["detail"]
        bad_rows += len(details)
        bad = bad or details[:1].to_pylist()
    rows = sum(part.rows for part in parts)
    return Cut(tuple(parts), (rows,), tuple(bad), bad_rows, tuple(unreadable))


def _in_place(file: Uncut, *, pool: PoolFormat, size: int) -> Cut | None:
    """The parts of a file that is read where it stands."""
    groups = row_groups(file.path, pool=pool)
    if groups is None or not is_in_place(groups, size):
        return None
    rows = sum(groups)
    starts = range(0, rows, size)
    return Cut(
        tuple(Part(k, file.path, x, min(size, rows - x)) for k, x in enumerate(starts)), (rows,)
    )


def _to_its_end(tables: Iterator[pa.Table], unreadable: list[str]) -> Iterator[pa.Table]:
    """`tables`, and a row for what follows where they break off; that is noted in `unreadable`."""
    rows = 0
    try:
        for table in tables:
            rows += len(table)
            yield table
    except UnreadableError as error:
        where = f" (after {rows:,} rows)" if rows else ""
        ended = UnreadableError(f"{error}{where}")
        unreadable.append(str(ended))
        yield unreadable_rows(ended)


def _rechunk(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    n = 0
    for table in tables:
        held.append(table)
        n += len(table)
        while n >= rows:
            joined = pa.concat_tables(held, promote_options="default")
            yield joined.slice(0, rows)
            held, n = [joined.slice(rows)], n - rows
    if n:
        yield pa.concat_tables(held, promote_options="default")


def _check_files(unreadable: Sequence[str], *, files: int, fraction: float) -> None:
    broken = len(unreadable)
    if broken <= fraction * files:
        return
    first = unreadable[0]
    if files == 1:
        raise CurateError(first)
    raise CurateError(
        f"{broken} of {files} input files cannot be read, more than input.max_dead_fraction"
        f" {fraction:g} allows; the first: {first}"
    )


def most_dead(rows: int, *, fraction: float) -> int:
    """How many of an input's rows may be unusable: a fraction, and one where that would be none.

    >>> [most_dead(n, fraction=0.1) for n in (1, 2, 19, 20)], most_dead(9, fraction=0)
    ([0, 1, 1, 2], 0)
    """
    floor = 1 if fraction > 0 and rows > 1 else 0
    return max(int(fraction * rows), floor)


def check_rows(dead: int, rows: int, *, fraction: float, see: str) -> None:
    """Raise where `dead` of the input's `rows` are over the limit; `see` is where they are listed."""
    if dead > most_dead(rows, fraction=fraction):
        raise CurateError(
            f"{dead:,} of the input's {rows:,} rows cannot be used, more than"
            f" input.max_dead_fraction {fraction:g} allows; see {see}"
        )
