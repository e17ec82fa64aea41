"""The pool's files split into parts.

A part never spans two files. A parquet file is read in place; all others cannot be read from
the middle and are copied under RUN/input, a file a part. What cannot be read is in the copies as rows
with an error, which `prepare` counts as dead: so no pair is lost from the first file on.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.formats import FORMATS, format_of
from curate.planning.inputs import Contents, Input, Pool, pool_format
from curate.planning.parts import (
    FORMAT,
    Cut,
    are_whole,
    cut_of,
    name_of,
    pool_digest,
    read_parts,
    write_parts,
)
from curate.planning.spreading import Over, here, is_much, waited_for
from curate.pool.own import version_of_reader
from curate.pool.reader import FIRST
from curate.pool.rows import PoolFormat, UnreadableError, unreadable_rows
from curate.pool.tables import check_urls, read_batches, row_groups
from curate.reasons import ErrorCode
from curate.run.directory import Part, Run
from curate.run.scratch import NOTES

_AT_ONCE = 4  # parts in a row group that is read in place


class Uncut(NamedTuple):
    """A file of the pool."""

    path: str
    name: str
    format: str
    copies: str  # what the names of its copies begin with
    members: tuple[str, ...] = ()  # the files, where it is a folder


@dataclass(frozen=True)
class Cutter:
    """Splits a file of a pool into parts of `rows`, whose indices are from 0."""

    pool: PoolFormat
    rows: int

    def __call__(self, file: Uncut) -> dict[str, Any]:
        """A `Cut`, as a document."""
        return asdict(_cut_file(file, pool=self.of(file), size=self.rows))

    def of(self, file: Uncut) -> PoolFormat:
        """How a file is read."""
        return replace(self.pool, format=file.format or self.pool.format)

    def key(self, file: Uncut, digest: str) -> str:
        """What the cut of a file of this content depends on."""
        form = self.of(file)
        copies = file.copies.rpartition("/")[2]
        return files.digest_of(FORMAT, asdict(form), version_of_reader(form.format), self.rows,
                               file.path, file.name, copies, digest)  # fmt: skip


def cut(
    run: Run, inputs: tuple[Input, ...], config: Config, *, input_digest: str, pool: Pool,
    contents: Contents, over: Over = here,
) -> Cut:  # fmt: skip
    """The parts as RUN/input/parts.json lists them; where that is missing or stale, split anew.

    Each file is split by itself, `over` whoever does that. What is known of the `contents` of the
    files is noted with the parts.

    Raises
    ------
    CurateError
        Where no rows are found, or more cannot be read than `input.max_dead_fraction` allows.
    """
    fraction = config.input.max_dead_fraction
    input_digest = pool_digest(input_digest, config)
    notes = run.path("input", NOTES)
    found = read_parts(run, inputs, input_digest)
    if found is not None:
        _check_files(found.unreadable, files=len(inputs), fraction=fraction)
        files.remove(notes)
        return found
    is_new = not files.exists(run.root)
    try:
        found = _cut(run, inputs, config, pool=pool, over=over)
        if not found.parts:
            form = inputs[0]["format"]
            how = "" if form in FORMATS else f" as {form} reads it"
            raise CurateError(f"input.paths: {inputs[0]['path']}: the input holds no rows{how}")
    except CurateError:
        if not files.exists(notes):  # what workers did stands for another try
            files.remove(run.root if is_new else run.path("input"))
        raise
    write_parts(run, found, inputs, contents=contents, digest=input_digest)
    files.remove(notes)
    return found


def _cut(run: Run, inputs: tuple[Input, ...], config: Config, *, pool: Pool, over: Over) -> Cut:
    cutter = Cutter(pool_format(config), config.part_rows)
    fraction = config.input.max_dead_fraction
    members = {
        path: tuple(beside) for path, beside, form in pool.files if format_of(form).is_folder
    }
    uncut = [
        Uncut(
            one["path"],
            one["name"],
            one["format"],
            run.path("input", f"file-{number:05d}"),
            members.get(one["path"], ()),
        )
        for number, one in enumerate(inputs)
    ]
    check_urls(uncut[0].path, pool=cutter.of(uncut[0]))  # the others are like it
    found: list[Cut] = []
    parts: list[Part] = []
    unreadable: list[str] = []
    older = files.sizes(run.path("input"))  # of a cut that was interrupted, or is stale
    weight = sum(one["bytes"] for one in inputs)
    keys = [cutter.key(one, of["digest"]) for one, of in zip(uncut, inputs, strict=True)]

    def stands(document: dict[str, Any]) -> bool:
        return are_whole(cut_of(run, document), older)

    over = partial(over, keys=keys, stands=stands)
    for document in _each(cutter, uncut, over=over, weight=weight, fraction=fraction):
        of_file = cut_of(run, document)
        found.append(of_file)
        parts += [replace(part, index=len(parts) + k) for k, part in enumerate(of_file.parts)]
        unreadable += of_file.unreadable
        _check_files(unreadable, files=len(inputs), fraction=fraction)
    rows = tuple(one.rows[0] for one in found)
    bad = [text for one in found for text in one.bad][:1]
    bad_rows = sum(one.bad_rows for one in found)
    check_rows(bad_rows, sum(rows), fraction=fraction, see="".join(bad))
    for name in older.keys() - {name_of(part.path) for part in parts}:
        if name.endswith(".parquet"):
            files.remove_file(run.path("input", name))
    return Cut(tuple(parts), rows, tuple(bad), bad_rows, tuple(unreadable))


def _each(
    cutter: Cutter, uncut: list[Uncut], *, over: Over, weight: int, fraction: float
) -> Iterator[dict[str, Any]]:
    """The cut of each file, in their order."""
    first = uncut[0]
    if all(one.format == first.format for one in uncut):
        with suppress(UnreadableError):
            if _in_place(row_groups(first.path, pool=cutter.of(first)), cutter.rows):
                return waited_for(cutter, uncut)  # of the others the footers will do as well
    if is_much(uncut, weight=weight) and fraction < 1:
        _check_some(cutter, uncut)
    return over(cutter, uncut, what="reading the pool's files", weight=weight)


def _check_some(cutter: Cutter, uncut: list[Uncut]) -> None:
    """Raise where neither the first, nor a middle, nor the last of many files can be read."""
    told: list[UnreadableError] = []
    for one in (uncut[0], uncut[len(uncut) // 2], uncut[-1]):
        rows = read_batches(
            one.path, pool=cutter.of(one), name=one.name, members=one.members, block_bytes=FIRST
        )
        try:
            next(rows, None)
            return
        except UnreadableError as error:
            told.append(error)
    raise CurateError(str(told[0]))


def _in_place(groups: list[int] | None, size: int) -> bool:
    """Whether parts of `size` rows are read from a file with such row groups as it is."""
    return groups is not None and max(groups, default=0) <= _AT_ONCE * size


def _cut_file(file: Uncut, *, pool: PoolFormat, size: int) -> Cut:
    """The parts of one file, with indices from 0."""
    path = file.path
    unreadable: list[str] = []
    try:
        groups = row_groups(path, pool=pool)
        if groups is not None and _in_place(groups, size):
            rows = sum(groups)
            starts = range(0, rows, size)
            in_place = [Part(k, path, x, min(size, rows - x)) for k, x in enumerate(starts)]
            return Cut(tuple(in_place), (rows,))
        whole = read_batches(path, pool=pool, name=file.name, members=file.members)
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
