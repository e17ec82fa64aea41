"""Tags of pairs: texts cut into tags, and the entries of a list that these are.

A tag is the entry that it is equal to, once white space around it is gone: nothing is looked for in it.
"""

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops.strings import Strings, string_array
from curate.ops.text.matching import fold
from curate.schema import Column

_SHOWN = 60  # characters of a text in a message
_IDS = pa.list_(pa.field("element", pa.int32()))


class Tags(NamedTuple):
    """The tags of some rows, one after the other."""

    rows: NDArray[np.int64]  # the row of each, ascending
    tags: pa.Array  # strings without outer white space, none empty
    bad: NDArray[np.bool_]  # of each row: whether its text is no list, and nothing separates it


def split_tags(texts: Column, *, separator: str | None = None) -> Tags:
    """The tags of each text: those of a list in JSON, else what `separator` separates.

    >>> found = split_tags(pa.array(["a, long_hair,,", '["b c", " a"]', None]), separator=",")
    >>> found.rows.tolist(), found.tags.to_pylist()
    ([0, 0, 1, 1], ['a', 'long_hair', 'b c', 'a'])
    """
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    texts = pc.utf8_trim_whitespace(pc.fill_null(texts.cast(pa.string()), ""))
    is_list, bad = np.zeros(len(texts), np.bool_), np.zeros(len(texts), np.bool_)
    of, tags = [np.zeros(0, np.int64)], [pa.array([], pa.string())]
    for row in np.flatnonzero(np.asarray(pc.starts_with(texts, "["))).tolist():
        found = _listed(texts[row].as_py())
        if found is not None:
            is_list[row] = True
            of.append(np.full(len(found), row))
            tags.append(pa.array(found, pa.string()))
    others = np.flatnonzero(~is_list & np.asarray(pc.not_equal(texts, "")))
    if separator is None:
        bad[others] = True
    elif len(others):
        split = pc.split_pattern(texts.take(pa.array(others)), separator)
        of.append(np.repeat(others, pc.list_value_length(split).to_numpy()))
        tags.append(split.flatten())
    rows, tag = np.concatenate(of), pc.utf8_trim_whitespace(pa.concat_arrays(tags))
    some = np.flatnonzero(np.asarray(pc.not_equal(tag, "")))
    order = some[np.argsort(rows[some], kind="stable")]
    return Tags(rows[order], tag.take(pa.array(order)), bad)


def no_list(text: str, *, column: str) -> str:
    """What is said of a text in the pool's column of tags that is no list, where nothing separates."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return (
        f"input.columns.tags: {shown!r} in {column!r} is no list of tags; say what separates them, as"
        f' in input.columns.tags: {{column: {column}, separator: ","}}'
    )


def _listed(text: str) -> list[str] | None:
    """The texts of a list in JSON, numbers as texts; None where it is something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or any(isinstance(x, list | dict) for x in found):
        return None
    return [x if isinstance(x, str) else json.dumps(x) for x in found if x is not None]


def ids_of(
    tags: Strings, *, entries: Strings, ids: list[int] | None = None, ignore_case: bool = False
) -> NDArray[np.int32]:
    """The id of the entry that each tag is, shape (n,); -1 of one that is none.

    `ids` are those of the entries, in place of their positions; of equal entries the first counts.
    """
    texts, of = string_array(tags), string_array(entries)
    if ignore_case:
        texts, of = fold(texts), fold(of)
    found = pc.index_in(texts, value_set=of)
    places: NDArray[np.int32] = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
    places = places.astype(np.int32)
    if ids is not None:
        places = np.append(np.asarray(ids, np.int32), np.int32(-1))[places]
    return places


def listed_ids(rows: NDArray[np.int64], ids: NDArray[np.int32], *, n: int) -> pa.ListArray:
    """Lists of the ids of `n` rows, ascending, each once; those below 0 are left out.

    >>> listed_ids(np.array([0, 0, 2, 2]), np.array([3, 1, 2, 2], np.int32), n=3).to_pylist()
    [[1, 3], [], [2]]
    """
    known = ids >= 0
    rows, ids = rows[known], ids[known]
    order = np.lexsort((ids, rows))
    rows, ids = rows[order], ids[order]
    fresh = np.ones(len(rows), np.bool_)
    fresh[1:] = (rows[1:] != rows[:-1]) | (ids[1:] != ids[:-1])
    rows, ids = rows[fresh], ids[fresh]
    ends = np.searchsorted(rows, np.arange(n + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(ids, pa.int32()), type=_IDS)


def union(one: Column, other: Column) -> pa.ListArray:
    """Lists of the ids that stand in either of two lists of the same rows, ascending."""
    rows, ids = [], []
    for column in (one, other):
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        lengths = pc.fill_null(pc.list_value_length(whole), 0).to_numpy(zero_copy_only=False)
        rows.append(np.repeat(np.arange(len(whole)), lengths))
        ids.append(whole.flatten().to_numpy(zero_copy_only=False).astype(np.int32))
    return listed_ids(np.concatenate(rows), np.concatenate(ids), n=len(one))
