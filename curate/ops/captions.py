"""Several captions of each pair: their weights, and which of them is chosen.

What is known of all captions of a pair is one value of the column `captions` (`schema.CAPTIONS`): a
list, the pair's own caption first, in which those that were left out have a reason. Everything here is
a function of the pair alone, so it does not depend on what stands beside it in a part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops.hashing import uniform
from curate.ops.strings import Strings
from curate.schema import (
    CAPTION_WEIGHTS,
    CAPTIONS,
    WITH_LENT,
    WRITTEN_CAPTIONS,
    WRITTEN_WITH_LENT,
    Column,
)

How: TypeAlias = Literal["all", "draw", "best"]
SOURCES = "caption_source"
_CAPTIONS = CAPTIONS.field("captions").type
_DRAWN = 0x63617074696F6E73
"""Added to the seed, so that what is drawn of a pair says nothing about whether balancing keeps it."""


@dataclass(frozen=True)
class Choice:
    """Which of a pair's captions is chosen; the fields are those of `config.Caption`."""

    choose: How
    by: str
    seed: int


OF_EACH = ("caption", "language", "language_score", "words_in_list", "matches")
"""What is known of each caption and becomes a column of the pair whose caption it is."""


def flattened(captions: Column) -> tuple[pa.StructArray, NDArray[np.int64]]:
    """What lists hold, one after the other, and where those of each pair begin, shape (n + 1,)."""
    whole = captions.combine_chunks() if isinstance(captions, pa.ChunkedArray) else captions
    offsets = whole.offsets.to_numpy().astype(np.int64)
    return whole.values.slice(offsets[0], offsets[-1] - offsets[0]), offsets - offsets[0]


def pairs_of(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pair of each caption, given where those of each begin.

    >>> pairs_of(np.array([0, 2, 2, 3])).tolist()
    [0, 0, 2]
    """
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def own_captions(pairs: pa.Table) -> Column:
    """The caption that each pair came with, whichever is chosen."""
    if "captions" not in pairs.column_names:
        return pairs["caption"]
    each, starts = flattened(pairs["captions"])
    return each.field("caption").take(pa.array(starts[:-1]))


def weights(
    sources: NDArray[np.int64],
    pairs: NDArray[np.int64],
    stays: NDArray[np.bool_],
    *,
    of: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The share of the draws of each caption, 0 where it does not stay; those of a pair add up to 1.

    Captions of one source share its weight. A pair that only has captions of weight 0 draws among them.

    Parameters
    ----------
    sources, pairs : numbers of the source and the pair of each caption, shape (n,).
    stays : whether a caption was not left out, shape (n,).
    of : the weight of each source.
    """
    if not len(pairs):
        return np.zeros(0)
    group = pairs * len(of) + sources
    alike = np.bincount(group, stays)[group]
    share = np.where(stays, of[sources] / np.maximum(alike, 1), 0.0)
    left, total = np.bincount(pairs, stays)[pairs], np.bincount(pairs, share)[pairs]
    equal = np.where(stays, 1 / np.maximum(left, 1), 0.0)
    return np.where(total > 0, share / np.where(total > 0, total, 1.0), equal)


def draws(uids: Strings, *, seed: int) -> NDArray[np.float64]:
    """The place of each pair among the shares of its captions, in [0, 1), shape (n,)."""
    return uniform(uids, seed=seed + _DRAWN)


def drawn(
    shares: NDArray[np.float64], starts: NDArray[np.int64], *, at: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The caption at the place `at`, in [0, 1), of the shares of each pair, counted in the pair.

    >>> drawn(np.array([0.5, 0.5, 0.25, 0.75]), np.array([0, 2, 4]), at=np.array([0.4, 0.4])).tolist()
    [0, 1]
    """
    counts = np.diff(starts)
    found = np.zeros(len(counts), np.int64)
    reached, done = np.zeros(len(counts)), np.zeros(len(counts), bool)
    for place in range(counts.max(initial=0)):
        rows = np.flatnonzero(counts > place)
        share = shares[starts[rows] + place]
        reached[rows] += share
        found[rows] = np.where(~done[rows] & (share > 0), place, found[rows])  # the last, at least
        done[rows] |= reached[rows] > at[rows]
    return found


def first(stays: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first caption of each pair that stays, counted in the pair."""
    return best(np.where(stays, 0.0, np.nan), starts)


def best(scores: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The caption of each pair with the highest finite score, the first of several; else the first.

    >>> best(np.array([0.1, 0.3, np.nan, np.nan]), np.array([0, 3, 4])).tolist()
    [1, 0]
    """
    counts = np.diff(starts)
    found, highest = np.zeros(len(counts), np.int64), np.full(len(counts), -np.inf)
    for place in range(counts.max(initial=0)):
        rows = np.flatnonzero(counts > place)
        score = scores[starts[rows] + place]
        higher = rows[np.isfinite(score) & (score > highest[rows])]
        found[higher], highest[higher] = place, scores[starts[higher] + place]
    return found


def chosen(captions: Column, uids: Column, choice: Choice) -> NDArray[np.int64]:
    """Which caption of each pair is its own before scores are known, by its place, shape (pairs,)."""
    each, starts = flattened(captions)
    stays = np.asarray(pc.is_null(each.field("reason")))
    if choice.choose == "draw":
        shares = pc.fill_null(each.field("weight"), 0.0).to_numpy(zero_copy_only=False)
        return drawn(shares, starts, at=draws(uids, seed=choice.seed))
    return first(stays, starts)


def with_scores(captions: Column, scores: Column) -> pa.Array:
    """The column `captions` with the score of each, from a list a pair."""
    each, starts = flattened(captions)
    columns = {x.name: each.field(x.name) for x in each.type}
    return listed(columns | {"score": flattened(scores)[0]}, starts, kind=captions.type)


def word_count(captions: Column) -> Column:
    """White-space separated words of each caption that has no outer white space, int32."""
    words = pc.list_value_length(pc.utf8_split_whitespace(captions))
    return pc.if_else(pc.equal(captions, ""), pa.scalar(0, pa.int32()), words)


def chars_and_words(captions: Column) -> dict[str, Column]:
    """The columns that say how long captions without outer white space are."""
    return {"caption_chars": pc.utf8_length(captions), "caption_words": word_count(captions)}


def with_chosen(pairs: pa.Table, at: NDArray[np.int64]) -> pa.Table:
    """`pairs` whose caption, and all that follows from it, is the one at these places of its list."""
    each, starts = flattened(pairs["captions"])
    rows = each.take(pa.array(starts[:-1] + at))
    columns = {name: rows.field(name) for name in OF_EACH} | {SOURCES: rows.field("source")}
    columns |= chars_and_words(columns["caption"])
    for name, column in columns.items():
        if name in pairs.column_names:
            pairs = pairs.set_column(pairs.column_names.index(name), name, column)
        else:
            pairs = pairs.append_column(name, column)
    return pairs


FIGURE = "caption"
"""What the figures of the sources of captions begin with; then source and what is counted of it."""


def figures(pairs: pa.Table) -> dict[str, float]:
    """What there is to say of each source, of the captions of `pairs`: sums, and counts by reason.

    ``caption SOURCE pairs``: pairs with a caption of it that stays; ``captions``, ``chars``, ``words``,
    ``entries``: of these captions; ``chosen``; ``left REASON``: captions that were left out.
    """
    each, starts = flattened(pairs["captions"])
    sources, of = each.field("source"), pairs_of(starts)
    stays = np.asarray(pc.is_null(each.field("reason")))
    lengths = {
        "chars": pc.utf8_length(each.field("caption")),
        "words": word_count(each.field("caption")),
        "entries": pc.fill_null(pc.list_value_length(each.field("matches")), 0),
    }
    found: dict[str, float] = {}
    for name in sources.unique().to_pylist():
        ours = np.asarray(pc.equal(sources, name))
        told = f"{FIGURE} {name}"
        found[f"{told} pairs"] = len(np.unique(of[ours & stays]))
        found[f"{told} captions"] = int((ours & stays).sum())
        for what, values in lengths.items():
            found[f"{told} {what}"] = int(np.asarray(values)[ours & stays].sum())
        found[f"{told} chosen"] = pc.sum(pc.equal(pairs[SOURCES], name)).as_py() or 0
        for count in pc.value_counts(each.field("reason").filter(pa.array(ours & ~stays))):
            found[f"{told} left {count['values'].as_py()}"] = count["counts"].as_py()
    return found


def score_figures(pairs: pa.Table) -> dict[str, float]:
    """The same of scores: ``scored`` captions, the sum of their ``score``, and the pairs ``chosen``.

    Where they are weighed, ``weighed`` captions and the sum of their ``loss`` weights, too.
    """
    each, _ = flattened(pairs["captions"])
    scores = each.field("score").to_numpy(zero_copy_only=False).astype(np.float64)
    weighed = None
    if CAPTION_WEIGHTS in pairs.column_names:
        weighed = flattened(pairs[CAPTION_WEIGHTS])[0].to_numpy(zero_copy_only=False)
    found: dict[str, float] = {}
    for name in each.field("source").unique().to_pylist():
        of_it = np.asarray(pc.equal(each.field("source"), name))
        ours = scores[of_it & np.isfinite(scores)]
        told = f"{FIGURE} {name}"
        if weighed is not None:
            losses = weighed[of_it & np.isfinite(weighed)].astype(np.float64)
            found |= {f"{told} weighed": len(losses), f"{told} loss": round(float(losses.sum()), 6)}
        found |= {f"{told} scored": len(ours), f"{told} score": round(float(ours.sum()), 6)}
        found[f"{told} chosen"] = pc.sum(pc.equal(pairs[SOURCES], name)).as_py() or 0
    return found


def written_weights(weights: Column, captions: Column) -> pa.Array:
    """The column `caption_weights` as it stands in the shards: of the captions that do there."""
    each, starts = flattened(captions)
    stays = np.asarray(pc.is_null(each.field("reason")))
    values = flattened(weights)[0].filter(pa.array(stays))
    offsets = pa.array(np.append(0, np.cumsum(stays))[starts].astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values, type=weights.type)


def joined(captions: Column, *, by: str) -> dict[str, Column]:
    """What follows from the caption of each pair, if that is all of its captions that stay, joined.

    Its source is theirs, joined by ``+``.
    """
    each, starts = flattened(written(captions))
    offsets = pa.array(starts.astype(np.int32))

    def of(name: str, between: str) -> Column:
        return pc.binary_join(pa.ListArray.from_arrays(offsets, each.field(name)), between)

    texts = of("caption", by)
    return {"caption": texts, SOURCES: of("source", "+"), **chars_and_words(texts)}


def written(captions: Column) -> pa.Array:
    """The column `captions` as it stands in the shards: without what was left out."""
    each, starts = flattened(captions)
    stays = np.asarray(pc.is_null(each.field("reason")))
    has_lent = captions.type == WITH_LENT.field("captions").type
    kind = WRITTEN_WITH_LENT if has_lent else WRITTEN_CAPTIONS
    columns = {x.name: each.field(x.name).filter(pa.array(stays)) for x in kind.value_type}
    return listed(columns, np.append(0, np.cumsum(stays))[starts], kind=kind)


def listed(
    columns: Mapping[str, Column],
    starts: NDArray[np.int64],
    *,
    kind: pa.ListType = _CAPTIONS,
) -> pa.Array:
    """Lists of what is known of each caption, and where those of each pair begin; `captions`."""
    n = int(starts[-1])
    values = pa.StructArray.from_arrays(
        [
            _whole(columns[x.name]).cast(x.type) if x.name in columns else pa.nulls(n, x.type)
            for x in kind.value_type
        ],
        fields=list(kind.value_type),
    )
    return pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), values, type=kind)


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
