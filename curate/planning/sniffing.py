"""The formats of the pool's files: by their names, else by how they begin, of many at once."""

from dataclasses import replace
from functools import partial

from curate.formats import (
    AUTO,
    ending,
    format_of,
    is_one_document,
    named_format,
    sniffed_format,
)
from curate.planning.spreading import waited_for
from curate.pool.rows import PoolFormat
from curate.pool.samples import ENDINGS
from curate.pool.tables import column_kinds

_NEVER = ENDINGS | {"md", "html", "pdf", "yaml", "yml", "py", "sh", "crc", "lock", "metadata"}
"""What no file of a pool is called, whatever its format is said to be."""


def formats_of(paths: list[str], *, pool: PoolFormat) -> dict[str, str]:
    """The format of each file, empty where nothing tells it."""
    named = {path: named_format(path) if pool.format == AUTO else pool.format for path in paths}
    unnamed = [path for path in paths if not named[path]]
    return named | dict(zip(unnamed, waited_for(sniffed_format, unnamed), strict=True))


def told_formats(paths: list[str], *, pool: PoolFormat) -> dict[str, str]:
    """Those files of a folder that are files of the pool, each with its format as far as that is known.

    Where a format is given, these are all that are named so; or where none is, those whose ending may
    be that of a pool. Else it is those whose format their name or their content tells.
    """
    if pool.format == AUTO:
        formats = formats_of([path for path in paths if ending(path) not in ENDINGS], pool=pool)
        sniffed = [x for x, form in formats.items() if form == "jsonl" and not named_format(x)]
        tables = waited_for(partial(_is_table, pool=pool), sniffed)
        alone = {path for path, is_one in zip(sniffed, tables, strict=True) if not is_one}
        return {path: form for path, form in formats.items() if form and path not in alone}
    named = [path for path in paths if ending(path) in format_of(pool.format).endings]
    wanted = named or [path for path in paths if ending(path) not in _NEVER]
    return dict.fromkeys(wanted, pool.format)


def _is_table(path: str, *, pool: PoolFormat) -> bool:
    """Whether a file that looks like JSON lines is no single document, or one with a pair in it."""
    if not is_one_document(path):
        return True
    kinds = column_kinds(path, pool=replace(pool, format="jsonl"))
    return pool.url in kinds or pool.caption in kinds
