"""The list of all tags of a pool, which its pairs may be balanced over."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Config
from curate.config.pool import Tags
from curate.errors import CurateError
from curate.ops.text.lists import LONGEST
from curate.ops.text.tags import no_list, split_tags
from curate.planning.inputs import find_pool, pool_format
from curate.planning.pool_columns import with_column_types
from curate.pool.tables import check_tags, read_batches
from curate.schema import kept_name

_TOGETHER = 1 << 20
"""Counts that are added up at once, or as many as there are tags."""


@dataclass(frozen=True)
class TagCounts:
    """The tags of a pool."""

    tags: pa.Array  # by name
    counts: pa.Array  # in how many rows each of them is
    rows: int  # that were read


def tag_counts(config: Config) -> TagCounts:
    """In how many rows of the pool of `config` each tag is.

    Held in memory are the tags and their counts, some three times over, and a batch of rows.

    Raises
    ------
    CurateError
        Where `input.columns.tags` is not set, is no column, or holds texts that nothing separates.
    """
    if (tags := config.input.columns.tags) is None:
        raise CurateError("input.columns.tags is not set: name the column of the tags")
    config = with_column_types(config)
    pool, rows, held = pool_format(config), 0, 0
    counted = pa.table({"tag": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
    waiting: list[pa.Table] = []
    for file in find_pool(config).files:
        of_file = replace(pool, format=file.format or pool.format)
        check_tags(file.path, pool=of_file)
        for batch in read_batches(file.path, pool=of_file, members=file.companions):
            rows += len(batch)
            texts = batch.filter(pc.is_null(batch["error"]))[kept_name(tags.column)]
            waiting.append(_counted(texts.combine_chunks(), tags, path=file.path))
            held += len(waiting[-1])
            if held > max(_TOGETHER, len(counted)):
                counted, waiting, held = _summed([counted, *waiting]), [], 0
    counted = _summed([counted, *waiting])
    return TagCounts(counted["tag"].combine_chunks(), counted["n"].combine_chunks(), rows)


def _counted(texts: pa.Array, tags: Tags, *, path: str) -> pa.Table:
    found = split_tags(texts, separator=tags.separator)
    if found.bad.any():
        text = texts.filter(pa.array(found.bad))[0].as_py()
        raise CurateError(f"{path}: {no_list(text, column=tags.column)}")
    each = pa.table({"row": pa.array(found.rows), "tag": found.tags}).group_by(["row", "tag"])
    return each.aggregate([]).group_by("tag").aggregate([([], "count_all")]).rename_columns(_NAMES)


_NAMES = ["tag", "n"]


def _summed(tables: list[pa.Table]) -> pa.Table:
    whole = pa.concat_tables([x.select(_NAMES) for x in tables])
    return whole.group_by("tag").aggregate([("n", "sum")]).rename_columns(_NAMES).sort_by("tag")


def write_list(found: TagCounts, out: str, *, min_count: int = 1) -> tuple[int, int]:
    """Write the tags of at least `min_count` rows to `out`, by name; how many, and those left out.

    A tag a line, or a JSON array where `out` ends in ``.json``. Left out are tags that no line holds:
    with a tab or a line break in them, or longer than an entry may be.
    """
    tags = found.tags.filter(pc.greater_equal(found.counts, min_count))
    long = pc.greater(pc.utf8_length(tags), LONGEST)
    if out.endswith(".json"):
        kept = tags.filter(pc.invert(long))
        files.write_json(out, kept.to_pylist())
        return len(kept), len(tags) - len(kept)
    broken = np.asarray(pc.or_(long, pc.match_substring_regex(tags, r"[\t\n\r]")))
    kept = tags.filter(pa.array(~broken))
    with files.atomic_write(out) as file:
        for lines in _lines(kept):
            file.write(lines)
    return len(kept), int(broken.sum())


def _lines(tags: pa.Array) -> Iterator[bytes]:
    for start in range(0, len(tags), 1 << 16):
        yield "".join(f"{x}\n" for x in tags.slice(start, 1 << 16).to_pylist()).encode()
