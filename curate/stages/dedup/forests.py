"""The forest of each policy's clusters, over all parts, as Beam transforms; curate.ops does the work.

    part -> file of keys -> (meet by partition) -> edges that hold, and candidates
    candidates -> (meet by part of the earliest row) -> verified edges -> forest
    forest of images -> (meet by component) -> copies and their originals -> forest

Keys, about 90 bytes a caption and 260 a picture, are in a file a part; only where each
partition's are crosses the shuffle. Edges do so packed: an element holds those that one partition has
for another. The largest thing that one worker holds is the forest itself: 16 bytes for each pair that
is a duplicate. It is the same for any number of workers and partitions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.ops.duplicates import components, graph
from curate.ops.duplicates.graph import DedupRule, Meeting, Packed, Policy
from curate.run import scratch
from curate.run.directory import Run
from curate.schema import Stage

KEYS = files.join(Stage.DEDUP, scratch.KEYS)


class Spread(NamedTuple):
    """Into how many partitions the work of all parts is divided; the result does not depend on it."""

    keys: int = 256  # 256 let a band take 4 bytes
    rows: int = 16  # groups of parts, and of clusters

    def of(self, how: Meeting) -> int:
        """How many partitions the keys of a kind fall into."""
        return self.rows if how is Meeting.EQUAL else self.keys

    @classmethod
    def over(cls, rows: int) -> "Spread":
        """The partitions that fit in memory: at most a million pairs in a group."""
        return cls(rows=max(16, rows // 1_000_000))


@dataclass(frozen=True)
class Clustering:
    """What all transforms of this module are given."""

    run: Run
    reads: str  # the folder of the parts that come in
    rule: DedupRule
    spread: Spread

    @property
    def has_hashes(self) -> bool:
        """Whether pictures are compared by more than their files."""
        return self.rule.image_distance > 0 and self.reads != Stage.PREPARE

    def read(self, part: int, columns: list[str] | None = None) -> pa.Table:
        """The rows of a part."""
        return self.run.rows(self.reads, part, columns=columns)

    def keys(self, policy: Policy, part: int) -> str:
        """The URL of a part's file of keys; it is removed once the verdicts are written."""
        return self.run.part(files.join(KEYS, policy), part, "keys")


def edges_in(content: bytes) -> NDArray[np.int64]:
    """Packed edges, or a packed forest, as an array, (k, 2)."""
    return np.frombuffer(content, np.int64).reshape(-1, 2)


class _Merge(beam.CombineFn):
    """Packed edges -> the packed forest of all of them."""

    def create_accumulator(self) -> list[NDArray[np.int64]]:
        return []

    def add_input(self, held: list[NDArray[np.int64]], content: bytes) -> list[NDArray[np.int64]]:
        return self._reduced([*held, edges_in(content)])

    def merge_accumulators(
        self, many: Iterable[list[NDArray[np.int64]]]
    ) -> list[NDArray[np.int64]]:
        held: list[NDArray[np.int64]] = []
        for other in many:
            held = self._reduced([*held, *other])
        return held

    def _reduced(self, held: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """The first is a forest; the rest is merged into it once it is as large."""
        if sum(map(len, held[1:])) < max(1 << 20, len(held[0])):
            return held
        return [components.merge(held)]

    def compact(self, held: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        return [components.merge(held)]

    def extract_output(self, held: list[NDArray[np.int64]]) -> bytes:
        return components.merge(held).tobytes()


def merged() -> beam.CombineGlobally:
    """Packed edges -> the packed forest of all of them, one element."""
    return beam.CombineGlobally(_Merge())


class Extent(NamedTuple):
    """Where a part's file of keys holds those that fall into a partition."""

    part: int
    offset: int
    hashes: int  # bytes
    rows: int  # bytes


Reference = tuple[int, int, int, int]
"""An `Extent` as it crosses the shuffle."""


class _Keys(beam.DoFn):
    """(part, its rows' clusters or None) -> its file of keys, and the extent of each partition's.

    A part without keys has an empty extent, so that there is a forest where no part has keys.
    """

    def __init__(self, clustering: Clustering, policy: Policy) -> None:
        self._clustering, self._policy = clustering, policy

    def process(
        self, element: tuple[int, bytes | None]
    ) -> Iterator[tuple[tuple[str, int], Reference]]:
        part, clusters = element
        make = self._clustering
        table = make.read(part)
        within = None
        if clusters is not None:
            found = edges_in(clusters)
            within = np.full(len(table), -1)
            within[graph.rows_of(found[:, 0])] = found[:, 1]
        references: list[tuple[tuple[str, int], Reference]] = []
        with files.atomic_write(make.keys(self._policy, part)) as file:
            offset = 0
            for keys in graph.keys_of(table, self._policy, make.rule, within=within):
                partitions = make.spread.of(keys.meeting)
                for slot, packed in graph.pack(keys, part=part, partitions=partitions):
                    _, hashes, rows = packed
                    file.write(hashes + rows)
                    place = part, offset, len(hashes), len(rows)
                    references.append(((str(keys.meeting), slot), place))
                    offset += len(hashes) + len(rows)
        yield from references or [((str(Meeting.EQUAL), 0), (part, 0, 0, 0))]


_EQUAL = "equal"
_MEMBERS = 1 << 20


class _Meet(beam.DoFn):
    """A partition's keys -> edges that hold, and candidates by the group of their earliest row.

    Candidates are edges between captions, and whole buckets of images.
    """

    def __init__(self, clustering: Clustering, policy: Policy) -> None:
        self._clustering, self._policy = clustering, policy

    def process(self, keyed: tuple[tuple[str, int], Iterable[Reference]]) -> Iterator[Any]:
        (meeting, _), references = keyed
        how, make = Meeting(meeting), self._clustering
        partitions = make.spread.of(how)
        packed = (self._read(one) for one in references if one[2])
        if self._policy == "image" and how is not Meeting.EQUAL:
            buckets = graph.buckets_of(packed, how=how, partitions=partitions)
            sizes = np.diff(np.r_[-1, np.flatnonzero(buckets < 0)])
            earliest = buckets[np.cumsum(sizes) - sizes]
            groups = np.repeat(graph.part_of(earliest) % make.spread.rows, sizes)
            for group in np.unique(groups).tolist():
                yield group, buckets[groups == group].tobytes()
            return
        edges = graph.edges_of(packed, how=how, partitions=partitions)
        if how is Meeting.EQUAL:
            yield beam.pvalue.TaggedOutput(_EQUAL, edges.tobytes())
            return
        groups = graph.part_of(edges[:, 0]) % make.spread.rows
        for group in np.unique(groups).tolist():
            yield group, edges[groups == group].tobytes()

    def _read(self, reference: Reference) -> Packed:
        place = Extent(*reference)
        with files.open_read(self._clustering.keys(self._policy, place.part)) as file:
            file.seek(place.offset)
            content = file.read(place.hashes + place.rows)
        return place.part, content[: place.hashes], content[place.hashes :]


class _Verify(beam.DoFn):
    """A group's candidates -> those edges that hold, as a forest."""

    def __init__(self, clustering: Clustering, policy: Policy) -> None:
        self._clustering, self._policy = clustering, policy

    def process(self, keyed: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        if self._policy == "image":
            yield from map(self._images, _batches(keyed[1]))
        else:
            yield self._captions(np.concatenate([edges_in(x) for x in keyed[1]]))

    def _captions(self, edges: NDArray[np.int64]) -> bytes:
        edges = components.unique_edges(edges)
        nodes = np.unique(edges)
        rows, at = self._rows(nodes, ["caption"]), np.searchsorted(nodes, edges)
        joined = graph.near_captions(rows, at, self._clustering.rule)
        return components.forest(nodes[joined]).tobytes()

    def _images(self, buckets: NDArray[np.int64]) -> bytes:
        members = np.where(buckets < 0, ~buckets, buckets)
        nodes = np.unique(members)
        at = np.searchsorted(nodes, members)
        rows = self._rows(nodes, ["phash", "look"])
        marked = np.where(buckets < 0, ~at, at)
        joined = graph.near_images(rows, marked, self._clustering.rule)
        return components.forest(nodes[joined]).tobytes()

    def _rows(self, nodes: NDArray[np.int64], columns: list[str]) -> pa.Table:
        chosen = [pa.table({name: pa.array([], pa.string()) for name in columns})]
        for part, here in graph.by_part(nodes):
            rows = pa.array(graph.rows_of(nodes[here]))
            chosen.append(self._clustering.read(part, columns).take(rows))
        return pa.concat_tables(chosen)


def _batches(packed: Iterable[bytes]) -> Iterator[NDArray[np.int64]]:
    """Buckets together, a million members at a time: their pictures are read into memory."""
    held: list[NDArray[np.int64]] = []
    for content in packed:
        held.append(np.frombuffer(content, np.int64))
        if sum(map(len, held)) >= _MEMBERS:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


class Forest(beam.PTransform):
    """(part, clusters of its rows or None) -> the forest of a policy's clusters, one element."""

    def __init__(self, clustering: Clustering, policy: Policy) -> None:
        super().__init__()
        self._clustering, self._policy = clustering, policy

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Candidates take a second shuffle, to be verified. `pair` may have no part at all."""
        make = self._clustering
        met = (
            parts
            | "Keys" >> beam.ParDo(_Keys(make, self._policy))
            | "Partitions" >> beam.GroupByKey()
            | "Meet"
            >> beam.ParDo(_Meet(make, self._policy)).with_outputs(_EQUAL, main="candidates")
        )
        edges = [met[_EQUAL]]
        if self._policy in ("pair", "caption") or (self._policy == "image" and make.has_hashes):
            edges.append(
                met.candidates
                | "Groups" >> beam.GroupByKey()
                | "Verify" >> beam.ParDo(_Verify(make, self._policy))
            )
        merge = merged() if self._policy == "pair" else merged().without_defaults()
        return edges | "Both" >> beam.Flatten() | "Merge" >> merge
