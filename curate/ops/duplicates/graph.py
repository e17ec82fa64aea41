"""Keys under which duplicates meet, and the edges between those that do."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
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


Packed = tuple[int, bytes, bytes]
"""Keys of one part that fall into one partition: part, hashes, rows (of 2 bytes if that is enough)."""


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


def _stored(how: Meeting, partitions: int) -> np.dtype[Any]:
    return np.min_scalar_type(((1 << how.bits) - 1) // partitions)


def pack(keys: Keys, *, part: int, partitions: int) -> Iterator[tuple[int, Packed]]:
    """Each partition and the keys that fall into it; what meets is the same for any number of them.

    A partition's number is part of the hash and need not be stored: with 256 of them, 4 bytes are.
    """
    hashes = keys.hashes >> np.uint64(64 - keys.meeting.bits)
    slots = (hashes % np.uint64(partitions)).astype(np.min_scalar_type(partitions - 1))
    hashes = (hashes // np.uint64(partitions)).astype(_stored(keys.meeting, partitions))
    rows = keys.rows.astype(np.uint16 if keys.rows.max(initial=0) < 1 << 16 else np.uint32)
    order = np.argsort(slots, kind="stable")
    found, starts = np.unique(slots[order], return_index=True)
    for slot, start, stop in zip(found, starts, np.r_[starts, len(rows)][1:], strict=True):
        here = order[start:stop]
        yield int(slot), (part, hashes[here].tobytes(), rows[here].tobytes())


def edges_of(packed: Iterable[Packed], *, how: Meeting, partitions: int) -> NDArray[np.int64]:
    """The edges between the rows, of all parts, whose keys are equal in one partition, (k, 2)."""
    hashes, nodes = _unpacked(packed, how=how, partitions=partitions)
    return components.bucket_edges(hashes, nodes, exact=how is Meeting.EQUAL)


def buckets_of(packed: Iterable[Packed], *, how: Meeting, partitions: int) -> NDArray[np.int64]:
    """The rows, of all parts, whose keys are equal in one partition: `components.buckets`."""
    return components.buckets(*_unpacked(packed, how=how, partitions=partitions))


def _unpacked(
    packed: Iterable[Packed], *, how: Meeting, partitions: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Hashes and nodes, the nodes ascending."""
    dtype = _stored(how, partitions)
    hashes, nodes = [np.empty(0, dtype)], [np.empty(0, np.int64)]
    for part, some, content in sorted(packed, key=lambda keys: keys[0]):
        hashes.append(np.frombuffer(some, dtype))
        width = len(content) // len(hashes[-1])
        nodes.append(node(part, np.frombuffer(content, f"<u{width}")))
    return np.concatenate(hashes), np.concatenate(nodes)


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
