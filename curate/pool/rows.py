"""The rows of a pool as tables of `schema.POOL`, unreadable ones included."""

import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from textwrap import shorten
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from zstandard import ZstdError

from curate.errors import CurateError
from curate.files.texts import TRIED
from curate.formats import AUTO, KNOWN, named_format, sniffed_format
from curate.ops.images.boxes import EXPECTED, read_boxes
from curate.pool.beside import with_images
from curate.pool.kept import as_text, misfit, read_kept
from curate.pool.lines import NOT_UTF8, SHOWN, BadRow
from curate.reasons import ErrorCode
from curate.schema import BOXES, POOL, Column, kept_columns

T = TypeVar("T")

BROKEN = (pa.ArrowException, OSError, ValueError, LookupError, ArithmeticError, EOFError, LZMAError,
          zlib.error, ZstdError, tarfile.TarError, RecursionError)  # fmt: skip
"""The exceptions that readers raise for a broken file."""

ENDLESS = 1_000_000
"""Bytes of a text, at most; a longer one comes most likely of a quote that is never closed."""

_USUAL_URL = ("url", "link", "image_url", "img_url")
_USUAL_CAPTION = ("caption", "text", "alt", "alt_text", "title")


def is_of_file(error: BaseException) -> bool:
    """Whether a reader's exception is a fault of the file, and not of the disk or the network."""
    if isinstance(error, TimeoutError | ConnectionError):
        return False
    return not isinstance(error, OSError) or error.errno is None


class UnreadableError(CurateError):
    """A file of the pool has content that cannot be read; the other files are not affected."""


@dataclass(frozen=True)
class PoolFormat:
    """How to read a pool's files."""

    format: str  # as in `config.Input`; auto: by each file's name, else its content
    url: str
    caption: str
    uid: str | None = None
    blur_boxes: str | None = None
    keep: tuple[tuple[str, str], ...] = ()  # further columns to keep, and their types
    tags: tuple[str, str | None] | None = None  # the one among these that has tags; their separator
    headless: bool = False  # csv and tsv have no header: columns are named by position
    image: str | None = None  # the column of paths of images that need no download
    image_folders: tuple[str, ...] = ()  # where these may be, beside the folder of the pool's file

    def of(self, path: str) -> str:
        """The format of the file at `path`."""
        if self.format != AUTO:
            return self.format
        found = named_format(path) or sniffed_format(path)
        if not found:
            raise UnreadableError(
                f"{path}: cannot tell the format from the name; set input.format to one of {KNOWN}"
            )
        return found

    @property
    def columns(self) -> list[str]:
        """The input's columns that are read."""
        own = (self.url, self.caption, self.uid, self.blur_boxes, self.image)
        named = (*own, *dict(self.keep))
        return list(dict.fromkeys(name for name in named if name))

    @property
    def kept(self) -> pa.Schema:
        """The kept columns with their names and types in the run."""
        return kept_columns(dict(self.keep))

    @property
    def typed(self) -> dict[str, pa.DataType]:
        """The type of each column of JSON lines that is not read as text."""
        own = (self.url, self.caption, self.uid)
        found = {x: pa.type_for_alias(kind) for x, kind in self.keep if x not in own}
        return found | ({self.blur_boxes: BOXES} if self.blur_boxes else {})

    def check(self, path: str, names: list[str]) -> None:
        """Raise UnreadableError if the file's columns, `names`, lack a wanted one or have it twice."""
        for key in ("url", "caption", "uid", "blur_boxes", "image"):
            column = getattr(self, key)
            if key == "url" and self.image and column not in names:
                continue
            if names.count(column or "") > 1:
                raise UnreadableError(f"{path}: two columns are called {column!r}")
            if column is not None and column not in names:
                raise UnreadableError(
                    f"{path}: no column {column!r} among {_listed(names)};"
                    f" name the right one in input.columns.{key}{self._meant(key, names)}"
                    f"{_by_place(names)}"
                )
        for column, _ in self.keep:
            if names.count(column) > 1:
                raise UnreadableError(f"{path}: two columns are called {column!r}")

    def _meant(self, key: str, names: list[str]) -> str:
        """For a message: input.columns with the usual names of pools, where the file has them."""
        by_name = {name.lower(): name for name in reversed(names)}

        def found(own: str, usual: tuple[str, ...]) -> str | None:
            return own if own in names else next((by_name[x] for x in usual if x in by_name), None)

        url, caption = found(self.url, _USUAL_URL), found(self.caption, _USUAL_CAPTION)
        if key not in ("url", "caption") or url is None or caption is None:
            return ""
        return f", as in input.columns: {{url: {url}, caption: {caption}}}"

    def normalise(self, table: pa.Table, *, path: str, **columns: Column) -> pa.Table:
        """Rows with the input's columns as a table of `schema.POOL`, which `columns` are added to."""
        no_text = pa.nulls(len(table), pa.string())
        url = as_text(table[self.url]) if self.url in table.column_names else no_text
        caption = as_text(table[self.caption])
        uid = as_text(table[self.uid]) if self.uid else pa.nulls(len(table), pa.string())
        boxes, no_boxes = self._boxes(table, path=path)
        found = pool_table(url=url, caption=caption, uid=uid, blur_boxes=boxes, **columns)
        broken, endless = (np.zeros(len(table), np.bool_) for _ in range(2))
        for column in (x for x in (url, caption, uid) if x.null_count < len(x)):
            broken |= np.asarray(pc.fill_null(pc.match_substring(column, NOT_UTF8), False))
            endless |= np.asarray(
                pc.fill_null(pc.greater(pc.binary_length(column), ENDLESS), False)
            )
        problems = (
            (broken, TRIED),
            (endless, f"a text of over {ENDLESS:,} bytes"),
            (no_boxes, f"{self.blur_boxes}: not a list of {EXPECTED}"),
        )
        for bad, problem in problems:
            if bad.any():
                found = _flagged(found, pa.array(bad), detail=f"{path}: {problem}")
        if self.image:
            given = as_text(table[self.image])
            found = with_images(found, given, path=path, folders=self.image_folders)
        return self.keeping(found, table, path=path)

    def keeping(self, found: pa.Table, table: pa.Table, *, path: str) -> pa.Table:
        """`found` with the kept columns of `table`, which has the same rows; nulls for missing ones."""
        for (column, _), field in zip(self.keep, self.kept, strict=True):
            if column not in table.column_names:
                found = found.append_column(field, pa.nulls(len(found), field.type))
                continue
            values, bad = read_kept(table[column], field.type)
            problems = [(bad, misfit(column, field.type))]
            if pa.types.is_string(field.type):
                broken = pc.match_substring(values, NOT_UTF8)
                endless = pc.greater(pc.binary_length(values), ENDLESS)
                problems = [(np.asarray(pc.fill_null(broken, False)), f"{column}: {TRIED}"),
                            (np.asarray(pc.fill_null(endless, False)),
                             f"{column}: a text of over {ENDLESS:,} bytes")]  # fmt: skip
            for mask, problem in problems:
                if mask.any():
                    values = pc.if_else(pa.array(mask), pa.scalar(None, field.type), values)
                    found = _flagged(found, pa.array(mask), detail=f"{path}: {problem}")
            found = found.append_column(field, values)
        return found

    def with_bad(self, good: pa.Table, bad: list[BadRow], *, path: str) -> pa.Table:
        """The good rows of the file at `path`, followed by its bad ones."""
        if not bad:
            return good
        return pa.concat_tables([good, self.with_all(bad_rows(bad, path=path))])

    def _boxes(self, table: pa.Table, *, path: str) -> tuple[pa.Array, NDArray[np.bool_]]:
        """The boxes of each row, and a mask of the rows with an invalid value."""
        if self.blur_boxes is None:
            return pa.nulls(len(table), BOXES), np.zeros(len(table), np.bool_)
        column = table[self.blur_boxes]
        try:
            return read_boxes(column)
        except pa.ArrowException:
            raise UnreadableError(
                f"{path}: {self.blur_boxes} is {column.type}, not a list of {EXPECTED};"
                " name the right column in input.columns.blur_boxes"
            ) from None

    def with_all(self, table: pa.Table) -> pa.Table:
        """A pool's table with all kept columns, missing ones as nulls."""
        for field in self.kept:
            if field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        return table


def _by_place(names: list[str]) -> str:
    """For a message: the setting for a file whose first row is no header.

    >>> _by_place(["a red fox", "http://x.example/fox.jpg"])
    '; where the first row is no header, by their places: input.columns: {url: 2, caption: 1}'
    """
    urls = [place for place, name in enumerate(names, 1) if re.match(r"\s*https?://", name)]
    others = [place for place in range(1, len(names) + 1) if place not in urls]
    if not urls or not others:
        return ""
    places = f"{{url: {urls[0]}, caption: {others[0]}}}"
    return f"; where the first row is no header, by their places: input.columns: {places}"


def _listed(names: list[str]) -> str:
    return shorten(", ".join(names), width=SHOWN, placeholder=" …") or "none"


def batched(things: Iterable[T], *, size: int) -> Iterator[list[T]]:
    """Lists of `size` things each; those before an error of a broken file come first."""
    held: list[T] = []
    try:
        for thing in things:
            held.append(thing)
            if len(held) == size:
                yield held
                held = []
    except BROKEN:
        if held:
            yield held
        raise
    if held:
        yield held


def pool_table(**columns: Column | Sequence[object]) -> pa.Table:
    """A table of `schema.POOL` from some of its columns, `url` among them; the others are null."""
    rows = len(columns["url"])
    given = [columns.get(field.name, pa.nulls(rows, field.type)) for field in POOL]
    return pa.table(given, schema=POOL)


def bad_rows(rows: list[BadRow], *, path: str) -> pa.Table:
    """Rows of the file at `path` that cannot be read."""
    return pool_table(
        url=pa.nulls(len(rows), pa.string()),
        caption=[row.text for row in rows],
        error=[str(ErrorCode.BAD_ROW)] * len(rows),
        detail=[f"{path}: row {row.number}: {row.problem}" for row in rows],
    )


def unreadable_rows(error: UnreadableError, *, rows: int = 1) -> pa.Table:
    """As many dead rows in place of the `rows` rows of a file that cannot be read."""
    return pool_table(
        url=pa.nulls(rows, pa.string()),
        error=[str(ErrorCode.UNREADABLE_FILE)] * rows,
        detail=[str(error)] * rows,
    )


def _flagged(table: pa.Table, bad: pa.Array, *, detail: str) -> pa.Table:
    """`table` with an error in the `bad` rows, and their texts shortened, U+FFFD for the marks."""
    for name in ("url", "caption", "uid"):
        shown = pc.replace_substring(table[name], NOT_UTF8, "\ufffd")
        shown = pc.if_else(bad, pc.utf8_slice_codeunits(shown, 0, SHOWN), table[name])
        table = table.set_column(POOL.get_field_index(name), name, shown)
    for name, value in (("error", str(ErrorCode.BAD_ROW)), ("detail", detail)):
        flags = pc.if_else(bad, pa.scalar(value), table[name])
        table = table.set_column(POOL.get_field_index(name), name, flags)
    return table
