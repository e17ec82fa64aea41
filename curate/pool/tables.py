"""Reading a pool: any of the formats as tables of `schema.POOL`; and entry lists."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from curate.errors import CurateError
from curate.files.unpacking import open_unpacked
from curate.ops.text.lists import read_items
from curate.pool.candidates import Candidate, choose
from curate.pool.columnar import check_texts
from curate.pool.crawl import BrokenRecord, read_crawl
from curate.pool.jsonl import documents, keys_of, read_jsonl
from curate.pool.kept import kind_of, kind_of_texts, kind_of_values
from curate.pool.lines import SHOWN, BadRow, Utf8
from curate.pool.pictures import BESIDE, first_notes, parted, read_pictures, with_texts
from curate.pool.rows import (
    BROKEN,
    PoolFormat,
    UnreadableError,
    bad_rows,
    batched,
    pool_table,
)
from curate.pool.samples import ENDINGS
from curate.pool.separated import header, positions, read_separated
from curate.pool.stored import first_documents, read_img2dataset, read_webdataset
from curate.schema import CANDIDATES, POOL

_PAGES = 500  # a table
_LOOKED_AT = 100  # rows that say whether a column holds URLs

STAGED = PoolFormat(format="copy", url="url", caption="caption", uid="uid")
"""The format of the copies that a run makes of files which cannot be read from the middle.

With `keep` replaced by the pool's, it is that of copies with these columns.
"""
_FIRST = 1 << 20  # bytes of a file of text that say what is in its columns


@contextmanager
def _readable(path: str, kind: str) -> Iterator[None]:
    """Turn what a reader says of a broken file into one line that names it.

    What the disk or the network says (an `OSError` with a number, a time-out) is not the file's fault:
    it is let through.
    """
    try:
        yield
    except BROKEN as error:
        elsewhere = isinstance(error, TimeoutError | ConnectionError)
        if elsewhere or (isinstance(error, OSError) and error.errno is not None):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableError(f"{path}: cannot be read as {kind}: {reason}") from None


def parquet_row_groups(path: str, *, pool: PoolFormat) -> list[int]:
    """Rows of each row group of a parquet file, after a check of its columns."""
    with _readable(path, "parquet"), files.open_read(path) as file:
        footer = pq.ParquetFile(file)
        pool.check(path, footer.schema_arrow.names)
        return [footer.metadata.row_group(i).num_rows for i in range(footer.num_row_groups)]


def check_urls(path: str, *, pool: PoolFormat) -> None:
    """Raise a CurateError where the URLs at the beginning of a table are paths of pictures."""
    try:
        kind = pool.of(path)
    except UnreadableError:
        return  # which is told where it is cut
    if pool.image or kind not in ("parquet", "csv", "tsv", "quoted-tsv", "jsonl"):
        return
    only = replace(pool, caption=pool.url, uid=None, blur_boxes=None, keep=())
    try:
        with _readable(path, kind):
            urls = _first_urls(path, kind, only)
    except UnreadableError:
        return
    if urls and all(map(_is_path, urls)):
        raise CurateError(
            f"{path}: column {pool.url!r} holds paths, such as {urls[0][:SHOWN]!r}, and no URLs: name"
            " it in input.columns.image, as in input.columns:"
            f" {{image: {pool.url}, caption: {pool.caption}}}"
        )


def _first_urls(path: str, kind: str, pool: PoolFormat) -> list[str]:
    if kind == "parquet":
        with files.open_read(path) as file:
            source = pq.ParquetFile(file)
            columns, groups = [pool.url], [*range(source.num_row_groups)][:1]
            check_texts(file, columns=columns, groups=groups)
            batches = source.iter_batches(
                _LOOKED_AT, row_groups=groups, columns=columns, use_threads=False
            )
            found = [batch.column(0).to_pylist() for batch in islice(batches, 1)]
    else:
        tables = _lines(path, kind, pool, _FIRST)
        found = [table["url"].slice(0, _LOOKED_AT).to_pylist() for table in islice(tables, 1)]
    return [url.strip() for one in found for url in one if isinstance(url, str) and url.strip()]


def _is_path(url: str) -> bool:
    """Whether what stands for a URL is the path of a picture.

    >>> [_is_path(x) for x in ("file:///a", "a/b.JPG", "http://x.example/a.jpg", "none")]
    [True, True, False, False]
    """
    scheme, colon, _ = url.partition("://")
    return scheme.lower() == "file" if colon else parted(url)[1] in ENDINGS


def read_slice(path: str, *, start: int, rows: int, pool: PoolFormat) -> pa.Table:
    """Rows `start` to `start + rows` of a parquet file as a table of `schema.POOL`.

    With the format of `STAGED` the file is a copy that has these columns, but for the texts of
    pictures, which are read now as `pool` says. Columns that are kept follow.
    """
    with _readable(path, "parquet"), files.open_read(path) as file:
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
        check_texts(file, columns=columns, groups=wanted)
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
    """The columns of a file of the pool, and what each is read as; None where that cannot be told.

    What is not typed in the file is judged by its beginning; `members` are the files of a folder of
    pictures.

    Raises
    ------
    UnreadableError
        Where the file is none of its format.
    """
    kind = pool.of(path)
    with _readable(path, kind):
        if kind in ("parquet", "img2dataset"):
            with files.open_read(path) as file:
                fields = pq.read_schema(file)
            return {field.name: kind_of(field.type) for field in fields}
        if kind in ("wat", "warc"):
            return {}
        if kind == "webdataset":
            found = first_documents(path)
        elif kind == "images":
            found = first_notes(members)
        else:
            with open_unpacked(path) as file:
                if kind != "jsonl":
                    told = positions if pool.headless else header
                    names = told(file, kind=kind, block_bytes=_FIRST)
                    return _separated_kinds(path, kind, names, headless=pool.headless)
                found = documents(Utf8(file).read(_FIRST))
        keys = dict.fromkeys(name for document in found for name in document)
        return {name: kind_of_values(one.get(name) for one in found) for name in keys}


def _separated_kinds(
    path: str, kind: str, names: list[str], *, headless: bool
) -> dict[str, str | None]:
    once = [name for name in names if names.count(name) == 1]
    with open_unpacked(path) as file:
        rows = next(
            read_separated(
                file, kind=kind, columns=once, block_bytes=_FIRST, names=names if headless else None
            ),
            None,
        )
    if rows is None:
        return dict.fromkeys(once)
    return {name: kind_of_texts(rows.good[name]) for name in once}


def read_batches(
    path: str,
    *,
    pool: PoolFormat,
    name: str = "",
    members: Sequence[str] = (),
    block_bytes: int = 8 << 20,
) -> Iterator[pa.Table]:
    """The whole file, a table of `schema.POOL` at a time, streaming.

    Rows that cannot be read are among them, with their `error`. The tables of a crawl have a further
    column `texts`; those of a folder of pictures, whose files are `members`, are those of
    `read_pictures`. `name` stands for the path in what identifies images that have no URL.

    Raises
    ------
    UnreadableError
        Where the rest of the file cannot be read, after the tables of what could.
    """
    kind = pool.of(path)
    with _readable(path, kind):
        if kind == "parquet":
            yield from _parquet(path, pool)
        elif kind == "img2dataset":
            yield from read_img2dataset(path, pool=pool)
        elif kind == "webdataset":
            yield from read_webdataset(path, pool=pool, name=name or path.rsplit("/", 1)[-1])
        elif kind == "images":
            yield from read_pictures(path, members, name=name or path.rsplit("/", 1)[-1])
        elif kind in ("wat", "warc"):
            yield from _crawl(path)
        else:
            yield from _lines(path, kind, pool, block_bytes)


def _parquet(path: str, pool: PoolFormat) -> Iterator[pa.Table]:
    with files.open_read(path) as file:
        source = pq.ParquetFile(file)
        pool.check(path, source.schema_arrow.names)
        columns = _present(pool.columns, source.schema_arrow.names)
        check_texts(file, columns=columns)
        for batch in source.iter_batches(columns=columns, use_threads=False):
            yield pool.normalise(pa.Table.from_batches([batch]), path=path)


def _lines(path: str, kind: str, pool: PoolFormat, block_bytes: int) -> Iterator[pa.Table]:
    with open_unpacked(path) as file:
        if kind == "jsonl":
            names = keys_of(file, wanted=pool.columns, block_bytes=block_bytes)
        else:
            told = positions if pool.headless else header
            names = told(file, kind=kind, block_bytes=block_bytes)
    if kind == "tsv" and any(name.startswith('"') for name in names):
        raise UnreadableError(f"{path}: its header is quoted; set input.format to quoted-tsv")
    pool.check(path, names)
    with open_unpacked(path) as file:
        if kind == "jsonl":
            found = read_jsonl(file, columns=pool.columns, block_bytes=block_bytes, kept=pool.typed)
        else:
            columns = _present(pool.columns, names)
            found = read_separated(
                file, kind=kind, columns=columns, block_bytes=block_bytes,
                names=names if pool.headless else None,
            )  # fmt: skip
        for good, bad in found:
            table = pool.normalise(good, path=path)
            if bad:
                table = pa.concat_tables([table, pool.with_all(bad_rows(bad, path=path))])
            yield table


def _crawl(path: str) -> Iterator[pa.Table]:
    with files.open_read(path) as file:
        for pages in batched(read_crawl(file), size=_PAGES):
            broken = [page for page in pages if isinstance(page, BrokenRecord)]
            found = [one for page in pages if not isinstance(page, BrokenRecord) for one in page]
            yield _candidates(
                found, [BadRow(one.number, one.problem, one.page) for one in broken], path
            )


def _candidates(found: list[Candidate], bad: list[BadRow], path: str) -> pa.Table:
    captions = [choose(one.texts) for one in found]
    good = pool_table(url=[one.url for one in found], caption=captions)
    texts = [[text._asdict() for text in one.texts] for one in found] + [None] * len(bad)
    table = pa.concat_tables([good, bad_rows(bad, path=path)])
    return table.append_column("texts", pa.array(texts, CANDIDATES))


class EntryList(NamedTuple):
    """What to match captions with, and the concepts that the matches count for."""

    entries: list[str]
    concepts: list[str]
    ids: list[int] | None  # the concept of each entry; None where each has one of its own


def read_entries(path: str) -> EntryList:
    """The entry list at `path`, packed or not: one entry a line; blank lines and repeats are left out.

    A line may be ``entry<TAB>concept``: its entries are matched one by one and count as one concept,
    once a caption. A line without a tab stands for the concept of its own name, so in ::

        cat
        kitten<TAB>cat
        tomcat<TAB>cat

    three entries count as `cat`. Concepts are numbered in the order in which they first appear. A JSON
    array of texts, as in MetaCLIP's ``metadata.json``, has an entry a text.

    Raises
    ------
    CurateError
        Where the list is empty or not UTF-8, a line with a tab lacks one of its two columns or has
        more, or one entry stands for two concepts.
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
                f"{path}:{number}: {entry!r} stands for {found[entry]!r} already and cannot stand for"
                f" {concept!r} as well; leave one of the two out"
            )
    return found
