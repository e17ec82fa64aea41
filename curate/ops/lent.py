"""Captions that duplicates lend to the pair that they are dropped for.

Each says in its field `uid` which pair it came with: so it is found when that one is revoked. Then an
empty caption that was left out stands in its place, for what is known of the others by theirs is true
as before.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops import captions as ops
from curate.ops.captions import OF_EACH, flattened, listed, pairs_of
from curate.ops.strings import codes_of
from curate.reasons import DropReason
from curate.schema import LENT, WITH_LENT, WRITTEN_WITH_LENT, Column

_LARGE = {"caption": pa.large_string(), "matches": pa.large_list(pa.int32())}
"""Types with offsets of 64 bits, for what comes from many parts."""


def own(pairs: pa.Table) -> dict[str, Column]:
    """What each pair may lend: its own caption and what is known of it; null where it was left out."""
    each, starts = flattened(pairs["captions"])
    first = each.take(pa.array(starts[:-1]))
    stays = pc.is_null(first.field("reason"))
    found = {name: pc.if_else(stays, first.field(name), None) for name in OF_EACH}
    return {f"own {x}": found[x].cast(_LARGE.get(x, found[x].type)) for x in OF_EACH}


def lists(pairs: pa.Table, places: NDArray[np.int64], starts: NDArray[np.int64]) -> pa.Array:
    """What `pairs` with the columns of `own` lend, those at some of `places` in lists; `schema.LENT`.

    `starts` say where each list begins and the last one ends among `places`.
    """
    lending = pa.array(places[starts[0] : starts[-1]])
    taken = pairs.select(["uid", *(f"own {x}" for x in OF_EACH)]).take(lending)
    columns = dict(zip(("uid", *OF_EACH), taken.columns, strict=True))
    return listed(columns, starts - starts[0], kind=LENT)


def joined(
    captions: Column, lent: Column, *, source: str, weights: Mapping[str, float]
) -> pa.Array:
    """The column `captions` of pairs with those that are lent to each, as of the source `source`.

    They stand where the order of the sources in `weights` says. One that equals another of the pair's
    captions is left out as its duplicate.
    """
    each, starts = flattened(captions)
    more, more_starts = flattened(lent)
    row = np.concatenate([pairs_of(starts), pairs_of(more_starts)])
    texts = pa.concat_arrays([each.field("caption"), more.field("caption")])
    codes = codes_of(texts)
    key = row * (codes.max(initial=0) + 1) + codes
    stays = np.asarray(pc.is_null(each.field("reason")))
    again = np.isin(key[len(each) :], key[: len(each)][stays])
    reasons = np.full(len(more), None, object)
    reasons[again] = str(DropReason.DUPLICATE_CAPTION)
    reasons[np.asarray(pc.equal(more.field("caption"), ""))] = str(DropReason.REVOKED)
    told = {x.name: more.field(x.name) for x in more.type}
    told |= {"source": pa.array([source] * len(more)), "reason": pa.array(reasons, pa.string())}
    columns: dict[str, Column] = {
        x.name: pa.concat_arrays(
            [each.field(x.name), told.get(x.name, pa.nulls(len(more), x.type)).cast(x.type)]
        )
        for x in each.type
    }
    number = pc.index_in(columns["source"], pa.array([*weights])).to_numpy()
    order = np.lexsort((number, row))
    columns = {name: column.take(pa.array(order)) for name, column in columns.items()}
    merged = listed(
        columns, np.searchsorted(row[order], np.arange(len(starts))), kind=captions.type
    )
    return weighed(merged, weights=weights)


def weighed(captions: Column, *, weights: Mapping[str, float]) -> pa.Array:
    """The column `captions` with the weight of each among those of its pair that are left.

    `weights` are those of the sources; one that it does not name has none.
    """
    each, starts = flattened(captions)
    stays = np.asarray(pc.is_null(each.field("reason")))
    names = pa.array([*weights], pa.string())
    numbers = pc.fill_null(pc.index_in(each.field("source"), names), len(weights)).to_numpy()
    of = np.array([*weights.values(), 0.0])
    shares = ops.weights(numbers, pairs_of(starts), stays, of=of)
    columns = {x.name: each.field(x.name) for x in each.type}
    return listed(columns | {"weight": pa.array(shares, mask=~stays)}, starts, kind=captions.type)


def holds(captions: Column, uids: pa.Array) -> NDArray[np.bool_]:
    """Which lists, of any of the types with `uid`, have a caption that came with one of `uids`."""
    each, starts = flattened(captions)
    found = np.asarray(pc.is_in(each.field("uid"), value_set=uids, skip_nulls=True))
    return np.bincount(pairs_of(starts), found, minlength=len(starts) - 1) > 0


def without(captions: Column, uids: pa.Array) -> pa.Array:
    """Such lists without the captions that came with `uids`: empty ones stand in their places."""
    each, starts = flattened(captions)
    gone = pc.is_in(each.field("uid"), value_set=uids, skip_nulls=True)
    left = {"caption": "", "reason": str(DropReason.REVOKED)}
    columns = {
        x.name: each.field(x.name)
        if x.name == "source"
        else pc.if_else(gone, pa.scalar(left.get(x.name), x.type), each.field(x.name))
        for x in each.type
    }
    return listed(columns, starts, kind=captions.type)


def have_lost(captions: Column) -> NDArray[np.bool_]:
    """Which pairs have lost a caption so, by their column `captions`."""
    each, starts = flattened(captions)
    gone = np.asarray(pc.fill_null(pc.equal(each.field("reason"), str(DropReason.REVOKED)), False))
    return np.bincount(pairs_of(starts), gone, minlength=len(starts) - 1) > 0


def can_hold(columns: pa.Schema) -> bool:
    """Whether pairs of these columns may have lent captions: of a part, and not of a shard."""
    return "captions" in columns.names and columns.field("captions").type == WITH_LENT.field(0).type


def may_lend(columns: pa.Schema) -> bool:
    """Whether a table of these columns may have lent captions: of parts, verdicts or shards."""
    written = "captions" in columns.names and columns.field("captions").type == WRITTEN_WITH_LENT
    return written or "lent" in columns.names or can_hold(columns)
