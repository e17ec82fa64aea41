"""Keys under which duplicates meet, and the edges between those that do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.duplicates import components, hamming, jaccard, minhash
from curate.ops.duplicates.jaccard import normalise_captions
from curate.ops.duplicates.survivors import survivor_order
from curate.ops.hashing import hash64
from curate.ops.images import looks
from curate.ops.urls import normalise_urls

Policy = Literal["url", "image", "pair", "caption"]

_ROW_BITS = 32


@dataclass(frozen=True)
class DedupRule:
    """What counts as a duplicate and what stays; the fields are those of `config.Dedup`."""

    policy: tuple[Policy, ...]
    url_keeps: Literal["one", "distinct_captions"] = "one"
    caption_keeps: int = 1
    keep_captions: bool = False
    normalise: bool = True
    threshold: float = 0.8
    num_perm: int = 128
    ngram: int = 5
    image_distance: int = 31
    prefer: tuple[str, ...] = ()
    prefer_earlier: bool = False  # of a pool that has grown: the pair of the earlier wave
    lends: bool = False  # whether pairs that go lend their captions to those that stay

    def captions(self, table: pa.Table) -> pa.Array:
        """The captions as they are compared."""
        captions = table["caption"].combine_chunks()
        return normalise_captions(captions) if self.normalise else captions


class Meeting(StrEnum):
    """What it says of two rows that they share a hash."""

    EQUAL = "equal"  # they are duplicates
    ALIKE = "alike"  # they are if their captions, or their pictures, are near enough
    MAYBE = "maybe"  # the same, but another hash may be cut to the same: nothing else is said

    @property
    def bits(self) -> int:
        """How much of a hash is kept."""
        return 40 if self is Meeting.MAYBE else 64


class Keys(NamedTuple):
    """Hashes of some rows of a part under which duplicates meet."""

    meeting: Meeting
    hashes: NDArray[np.uint64]  # (k,)
    rows: NDArray[np.int64]  # (k,), ascending


class Slots(NamedTuple):
    """Hashes of some rows of a part in slots, a number of which is part of the hash."""

    hashes: NDArray[Any]  # (k,), what of them the slot does not say
    rows: NDArray[np.integer]  # (k,), of 2 bytes if that is enough
    starts: NDArray[np.int64]  # (slots + 1,): where each slot begins, and the last ends


def node(part: int, rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """One number for each of the `rows` of a part, ascending with part and row."""
    return (part << _ROW_BITS) | rows.astype(np.int64)


def by_part(nodes: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Each part that the ascending `nodes` are of, and where its nodes stand."""
    parts, starts = np.unique(nodes >> _ROW_BITS, return_index=True)
    for part, start, stop in zip(parts, starts, np.r_[starts, len(nodes)][1:], strict=True):
        yield int(part), slice(int(start), int(stop))


def part_of(nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The part of each node."""
    return nodes >> _ROW_BITS


def rows_of(nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each node within its part."""
    return nodes & ((1 << _ROW_BITS) - 1)


def keys_of(
    table: pa.Table, policy: Policy, rule: DedupRule, *, within: NDArray[np.int64] | None = None
) -> Iterator[Keys]:
    """The keys of a part's pairs under a policy.

    For `pair`, `within` is the cluster of each pair's image, below 0 for a picture that only one
    pair has; captions are then compared within a cluster alone. Without downloaded images, pairs
    share a picture if they share a URL. A picture without a perceptual hash, one that is blank or whose
    download computed none, meets only those with the same file.
    """
    rows = np.arange(len(table))
    if policy == "image" and "sha256" in table.column_names:
        rows = np.flatnonzero(np.asarray(table["sha256"].is_valid()))
        yield Keys(Meeting.EQUAL, hash64(table["sha256"].drop_null()), rows)
        if rule.image_distance:
            rows = np.flatnonzero(np.asarray(table["look"].is_valid()))
            seen = table.select(["phash", "look"]).take(pa.array(rows))
            both = hash64(seen["look"], seed=hash64(seen["phash"], seed=1))
            yield Keys(Meeting.EQUAL, both, rows)
            first = np.sort(np.unique(both, return_index=True)[1])
            hashes = hamming.band_hashes(hamming.words_of(seen["phash"])[first])
            yield Keys(Meeting.ALIKE, hashes.ravel(), np.repeat(rows[first], hamming.BANDS))
    elif policy in ("url", "image"):
        hashes = hash64(normalise_urls(table["url"]))
        if policy == "url" and rule.url_keeps == "distinct_captions":
            hashes = hash64(rule.captions(table), seed=hashes)
        yield Keys(Meeting.EQUAL, hashes, rows)
    else:
        seed = np.zeros(len(table), np.uint64)
        if within is not None:
            rows = np.flatnonzero(within >= 0)
            table = table.take(pa.array(rows))
            seed = within[rows].astype(np.uint64)
        captions = rule.captions(table)
        texts = hash64(captions, seed=seed)
        yield Keys(Meeting.EQUAL, texts, rows)
        first = np.sort(np.unique(texts, return_index=True)[1])
        signatures = minhash.minhash_signatures(
            captions.take(pa.array(first)), num_perm=rule.num_perm, ngram=rule.ngram
        )
        bands, size = minhash.bands_and_rows(rule.threshold, rule.num_perm)
        hashes = minhash.band_hashes(signatures, bands=bands, rows=size)
        how = Meeting.MAYBE
        if within is not None:
            hashes ^= (seed[first] * np.uint64(0x9E3779B97F4A7C15))[:, None]
            how = Meeting.ALIKE
        yield Keys(how, hashes.ravel(), np.repeat(rows[first], bands))


def _stored(how: Meeting, slots: int) -> np.dtype[Any]:
    return np.min_scalar_type(((1 << how.bits) - 1) // slots)


def slots_of(keys: Sequence[Keys], *, slots: int) -> Slots:
    """Keys of a part, all of one meeting, by slot; what meets is the same for any number of slots.

    A slot's number is part of the hash and need not be stored: with 256 of them, 4 bytes of a hash
    that is cut to 40 bits are.
    """
    how = keys[0].meeting
    hashes = np.concatenate([one.hashes for one in keys]) >> np.uint64(64 - how.bits)
    rows = np.concatenate([one.rows for one in keys])
    at = (hashes % np.uint64(slots)).astype(np.min_scalar_type(slots - 1))
    order = np.argsort(at, kind="stable")
    hashes = (hashes // np.uint64(slots)).astype(_stored(how, slots))
    rows = rows.astype(np.uint16 if rows.max(initial=0) < 1 << 16 else np.uint32)
    starts = np.append(0, np.cumsum(np.bincount(at, minlength=slots)))
    return Slots(hashes[order], rows[order], starts)


def pack(parts: Sequence[Slots | None], slots: range) -> bytes:
    """What consecutive parts have in a range of slots, each slot's keys together; b"" for nothing.

    Counts come first, uint32 of shape (slots, parts), then all hashes and all rows.
    """
    counts = np.zeros((len(slots), len(parts)), np.uint32)
    hashes: list[list[NDArray[Any]]] = [[] for _ in slots]
    rows: list[list[NDArray[Any]]] = [[] for _ in slots]
    for k, found in enumerate(parts):
        if found is None:
            continue
        starts = found.starts[slots.start : slots.stop + 1]
        counts[:, k] = np.diff(starts)
        for at in np.flatnonzero(counts[:, k]).tolist():
            here = slice(starts[at], starts[at + 1])
            hashes[at].append(found.hashes[here])
            rows[at].append(found.rows[here])
    columns = [np.concatenate([*chain.from_iterable(x)]) for x in (hashes, rows) if any(x)]
    return b"".join(x.tobytes() for x in (counts, *columns)) if columns else b""


class Block(NamedTuple):
    """What `pack` made, and of which parts."""

    first: int  # part
    parts: int
    content: bytes


def unpacked(
    blocks: Sequence[Block], *, how: Meeting, all_slots: int, slots: int
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Hashes and nodes of all parts, the parts in order, of each of `slots` consecutive slots.

    `all_slots` is how many there are of these.
    """
    dtype = _stored(how, all_slots)
    opened = [
        _opened(block, dtype, slots) for block in sorted(blocks, key=lambda one: one.first)
        if block.content
    ]  # fmt: skip
    for at in range(slots):
        hashes, nodes = [np.empty(0, dtype)], [np.empty(0, np.int64)]
        for parts, counts, starts, some, rows in opened:
            here = slice(starts[at], starts[at + 1])
            hashes.append(some[here])
            nodes.append(np.repeat(parts, counts[at]) | rows[here])
        yield np.concatenate(hashes), np.concatenate(nodes)


def _opened(block: Block, dtype: np.dtype[Any], slots: int) -> tuple[NDArray[Any], ...]:
    """First node of each part, counts, where the slots begin, hashes, rows."""
    n = slots * block.parts
    counts = np.frombuffer(block.content, np.uint32, n).reshape(slots, block.parts)
    starts = np.append(0, np.cumsum(counts.sum(1, dtype=np.int64)))
    total, at = int(starts[-1]), counts.nbytes
    hashes = np.frombuffer(block.content, dtype, total, at)
    at += hashes.nbytes
    width = (len(block.content) - at) // total
    rows = np.frombuffer(block.content, f"<u{width}", total, at)
    parts = np.arange(block.first, block.first + block.parts, dtype=np.int64) << _ROW_BITS
    return parts, counts, starts, hashes, rows


def near_captions(rows: pa.Table, edges: NDArray[np.int64], rule: DedupRule) -> NDArray[np.int64]:
    """Of candidate `edges`, (k, 2) positions in `rows`, enough true ones to connect what all do."""
    captions = rule.captions(rows)
    return jaccard.joining_edges(captions, edges, threshold=rule.threshold, ngram=rule.ngram)


def near_images(rows: pa.Table, buckets: NDArray[np.int64], rule: DedupRule) -> NDArray[np.int64]:
    """Edges, (k, 2), that connect what the near pairs in `buckets` of positions in `rows` do."""
    words, seen = hamming.words_of(rows["phash"]), looks.looks_of(rows["look"])
    return hamming.near_edges(words, seen, buckets, distance=rule.image_distance)


def copies(rows: pa.Table, rule: DedupRule) -> NDArray[np.int64]:
    """Edges, (k, 2), from each picture of some components to the one that it is a copy of.

    `rows` has the nodes as `row`, their `component`, `phash`, `look`, and the columns of
    `survivors.survivor_order`: the original of a cluster is the picture that is to stay.
    """
    order = survivor_order(rows, prefer=rule.prefer)
    component = rows["component"].to_numpy()[order]
    order = order[np.argsort(component, kind="stable")]
    nodes, component = rows["row"].to_numpy()[order], rows["component"].to_numpy()[order]
    words, seen = hamming.words_of(rows["phash"])[order], looks.looks_of(rows["look"])[order]
    first = hamming.originals(words, seen, component, distance=rule.image_distance)
    edges = np.sort(np.stack([nodes, nodes[first]], axis=1), axis=1)
    return edges[edges[:, 0] < edges[:, 1]]


def labels_of(nodes: NDArray[np.int64], trees: NDArray[np.int64]) -> NDArray[np.int64]:
    """The root of each of the `nodes` in a forest, -1 for those that are in no tree."""
    found = components.members(trees)
    if not len(found):
        return np.full(len(nodes), -1)
    at = np.minimum(np.searchsorted(found[:, 0], nodes), len(found) - 1)
    return np.where(found[at, 0] == nodes, found[at, 1], -1)


def outline(forests: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """All pairs that any policy's forest holds, (m, 2 + policies), ascending.

    Columns: the node, the cluster that it is in when the edges of all policies are taken together,
    and its cluster under each policy, -1 for none.
    """
    found = components.members(components.merge(forests))
    return np.column_stack([found, *(labels_of(found[:, 0], trees) for trees in forests)])
