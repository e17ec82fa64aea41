"""Reads a pool's files of any format as tables of `schema.POOL`; and entry lists."""

import io
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from curate.errors import CurateError
from curate.formats import FORMATS, format_of
from curate.ops.text.lists import read_items
from curate.ops.text.tags import no_list, split_tags
from curate.pool.columnar import check_texts
from curate.pool.lines import SHOWN
from curate.pool.own import Own
from curate.pool.pictures import BESIDE, parted, with_texts
from curate.pool.reader import FIRST, Reader, Source
from curate.pool.rows import BROKEN, PoolFormat, UnreadableError, is_of_file
from curate.pool.samples import ENDINGS
from curate.schema import POOL, kept_name

_LOOKED_AT = 100  # rows from which it is inferred whether a column has URLs

STAGED = PoolFormat(format="copy", url="url", caption="caption", uid="uid")
"""The format of a run's own copies of files that cannot be read from the middle.

`keep` is then replaced by the pool's.
"""


@contextmanager
def _readable(path: str, kind: str) -> Iterator[None]:
    """Turn a reader's error for a broken file into an UnreadableError of one line that names it."""
    try:
        yield
    except BROKEN as error:
        if not is_of_file(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableError(f"{path}: cannot be read as {kind}: {reason}") from None


def reader_of(form: str) -> Reader:
    """The reader of a format; a user's reader is imported when it is used."""
    if form not in FORMATS:
        return Own(form)
    found: Reader = pkgutil.resolve_name(FORMATS[form].reader)
    return found


def row_groups(path: str, *, pool: PoolFormat) -> list[int] | None:
    """Rows of each row group of a file; None where it can only be read from its beginning."""
    kind = pool.of(path)
    with _readable(path, kind):
        return reader_of(kind).row_groups(path, pool=pool)


def check_urls(path: str, *, pool: PoolFormat) -> None:
    """Raise a CurateError where the first URLs of a table are all paths of pictures."""
    only = replace(pool, caption=pool.url, uid=None, blur_boxes=None, keep=())
    try:
        if pool.image or not format_of(pool.of(path)).is_table:
            return
        first = next(read_batches(path, pool=only, block_bytes=FIRST), None)
    except UnreadableError:
        return  # reported when the pool is split into parts
    found = first["url"].slice(0, _LOOKED_AT).drop_null().to_pylist() if first else []
    urls = [url for one in found if (url := one.strip())]
    if urls and all(map(_is_path, urls)):
        raise CurateError(
            f"{path}: column {pool.url!r} holds paths, such as {urls[0][:SHOWN]!r}, and no URLs: name"
            " it in input.columns.image, as in input.columns:"
            f" {{image: {pool.url}, caption: {pool.caption}}}"
        )


def check_tags(path: str, *, pool: PoolFormat) -> None:
    """Raise a CurateError where the first tags of a table are texts that nothing separates."""
    if pool.tags is None:
        return
    column, separator = pool.tags
    only = replace(pool, uid=None, blur_boxes=None, keep=((column, "string"),))
    try:
        if not format_of(pool.of(path)).is_table:
            return
        first = next(read_batches(path, pool=only, block_bytes=FIRST), None)
    except UnreadableError:
        return  # reported when the pool is split into parts
    if first is None:
        return
    texts = first[kept_name(column)].slice(0, _LOOKED_AT).combine_chunks()
    bad = split_tags(texts, separator=separator).bad
    if bad.any():
        text = texts.filter(pa.array(bad))[0].as_py()
        raise CurateError(f"{path}: {no_list(text, column=column)}")


def _is_path(url: str) -> bool:
    """Whether the text in place of a URL is the path of a picture.

    >>> [_is_path(x) for x in ("file:///a", "a/b.JPG", "http://x.example/a.jpg", "none")]
    [True, True, False, False]
    """
    scheme, colon, _ = url.partition("://")
    return scheme.lower() == "file" if colon else parted(url)[1] in ENDINGS


def read_slice(
    path: str, *, start: int, rows: int, pool: PoolFormat, content: bytes | None = None
) -> pa.Table:
    """Rows `start` to `start + rows` of a parquet file as a table of `schema.POOL`.

    `content` is that of the file, where it was read already.
    With the format of `STAGED` the file is a copy with these columns, except for the texts of pictures,
    which are read now. The columns to keep come last.
    """
    held = files.open_read(path) if content is None else nullcontext(io.BytesIO(content))
    with _readable(path, "parquet"), held as file:
        source = pq.ParquetFile(file)
        wanted: list[int] = []
        first = position = 0
        for group in range(source.num_row_groups):
            size = source.metadata.row_group(group).num_rows
            if position < start + rows and position + size > start:
                first = first if wanted else position
                wanted.append(group)
            position += size
        is_copy = pool.format == STAGED.format
        columns = [*POOL.names, *pool.kept.names, BESIDE] if is_copy else pool.columns
        columns = _present(columns, source.schema_arrow.names)
        check_texts(file, source, columns=columns, groups=wanted)
        table = source.read_row_groups(wanted, columns=columns, use_threads=False)
        table = table.slice(start - first, rows)
        if not is_copy:
            return pool.normalise(table, path=path)
        whole = pa.schema([*POOL, *pool.kept])
        return pool.with_all(with_texts(table, pool=pool)).select(whole.names).cast(whole)


def _present(wanted: list[str], names: list[str]) -> list[str]:
    return [name for name in wanted if name in names]


def column_kinds(
    path: str, *, pool: PoolFormat, members: Sequence[str] = ()
) -> dict[str, str | None]:
    """The columns of a file of the pool, and the kind of each; None where it has no values.

    Where the file has no types, kinds are inferred from its beginning; `members` are the files of a
    folder of pictures.

    Raises
    ------
    UnreadableError
        Where the file is not of its format.
    """
    kind = pool.of(path)
    with _readable(path, kind):
        return reader_of(kind).kinds(Source(path, "", members), pool=pool)


def read_batches(
    path: str,
    *,
    pool: PoolFormat,
    name: str = "",
    members: Sequence[str] = (),
    block_bytes: int = 8 << 20,
) -> Iterator[pa.Table]:
    """Stream a whole file as tables of `schema.POOL`.

    Unreadable rows are among them, with their `error`. The tables of a crawl have a further column
    `texts`; those of a folder of pictures, whose files are `members`, the column `pictures.BESIDE`.
    `name` replaces the path in the URLs that images without one get.

    Raises
    ------
    UnreadableError
        Where the rest of the file cannot be read, after the tables before.
    """
    kind = pool.of(path)
    with _readable(path, kind):
        source = Source(path, name or path.rsplit("/", 1)[-1], members, block_bytes)
        yield from reader_of(kind).tables(source, pool=pool)


class EntryList(NamedTuple):
    """The entries to match captions with, and the concepts that their matches count for."""

    entries: list[str]
    concepts: list[str]
    ids: list[int] | None  # the index of each entry's concept; None where entries are the concepts


def read_entries(path: str) -> EntryList:
    """The entry list at `path`, compressed or not: one entry a line, without blank lines and repeats.

    A line may be ``entry<TAB>concept``: the entries of a concept are matched separately and count as
    one, once a caption. A line without a tab is its own concept, so in ::

        cat
        kitten<TAB>cat
        tomcat<TAB>cat

    three entries count as `cat`. Concepts are numbered in order of first appearance. A JSON array of
    texts, such as MetaCLIP's ``metadata.json``, has one entry a text.

    Raises
    ------
    CurateError
        Where the list is empty or not UTF-8, a line with a tab has not exactly two columns, or an entry
        has two concepts.
    """
    lines, are_lines = read_items(path)
    if are_lines and any("\t" in line for line in lines):
        concept_of = _concept_of_each(path, lines)
        names = {concept: i for i, concept in enumerate(dict.fromkeys(concept_of.values()))}
        ids = [names[concept] for concept in concept_of.values()]
        own = ids == list(range(len(ids)))
        found = EntryList(list(concept_of), list(names), None if own else ids)
    else:
        entries = list(dict.fromkeys(line for line in lines if line.strip()))
        found = EntryList(entries, entries, None)
    if not found.entries:
        raise CurateError(f"{path}: the entry list is empty; expected one entry a line")
    return found


def _concept_of_each(path: str, lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry, tab, concept = line.partition("\t")
        if tab and (not entry.strip() or not concept.strip() or "\t" in concept):
            raise CurateError(f"{path}:{number}: {line!r}: expected an entry, or entry<TAB>concept")
        concept = concept if tab else entry
        if found.setdefault(entry, concept) != concept:
            raise CurateError(
                f"{path}:{number}: {entry!r} counts as {found[entry]!r} already and cannot count as"
                f" {concept!r} as well; leave one of the two out"
            )
    return found
