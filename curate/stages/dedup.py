"""dedup: hashes of all pairs -> clusters -> the pairs that survive.

May drop: a pair with the URL of another (normalised), with the same image file, or with a caption
whose shingles are at least `threshold` alike; in this order, each among those that survived before.
Of a cluster the pair with the larger image stays, then the longer caption, then the smaller uid.

Only hashes and row numbers cross the shuffle, packed: an element is (kind and partition, one array),
of one part. Candidates are verified against the pairs themselves before anything is dropped. The
result is one table, ``dedup/clusters.parquet``; a retry writes the same one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.ops import components, minhash
from curate.ops.hashing import hash64
from curate.ops.urls import normalise_urls
from curate.reasons import DropReason
from curate.run import Part, Run
from curate.schema import Stage
from curate.stages.part import PartOutput, PartStep, Sieve, TakePart

PARTITIONS = 16
_ROW_BITS = 32
_EXACT = np.dtype([("hash", "<u8"), ("row", "<u4")])  # the row within its part
_BAND = np.dtype([("hash", "<u4"), ("row", "<u4")])  # half a hash: candidates are verified anyway

_REASONS = {
    "url": DropReason.DUPLICATE_URL,
    "image": DropReason.DUPLICATE_IMAGE,
    "caption": DropReason.DUPLICATE_CAPTION,
}
CLUSTERS = pa.schema(
    [
        ("part", pa.int32()),
        ("row", pa.int32()),
        ("survivor", pa.string()),  # uid
        ("reason", pa.string()),  # null for the survivor
        ("size", pa.int32()),
    ]
)
"""The pairs that are not alone, ordered by part and row."""


def _record(kind: str) -> np.dtype[np.void]:
    return _BAND if kind == "band" else _EXACT


@dataclass(frozen=True)
class DedupRule:
    """What counts as a duplicate; the fields are those of `config.Dedup`."""

    by: tuple[str, ...]
    threshold: float
    num_perm: int
    ngram: int


def keys_of(table: pa.Table, rule: DedupRule) -> Iterator[tuple[str, Any, Any]]:
    """(kind, hashes, rows) under which duplicates of the part's pairs meet.

    Kinds are `url`, `image`, `text` (equal captions) and `band` (a MinHash band of a caption's).
    """
    rows = np.arange(len(table))
    if "url" in rule.by:
        yield "url", hash64(normalise_urls(table["url"])), rows
    if "image" in rule.by and "sha256" in table.column_names:
        yield "image", hash64(table["sha256"]), rows
    if "caption" in rule.by:
        texts = hash64(table["caption"])
        yield "text", texts, rows
        first = np.unique(texts, return_index=True)[1]
        signatures = minhash.minhash_signatures(
            table["caption"].take(pa.array(first)), num_perm=rule.num_perm, ngram=rule.ngram
        )
        bands, size = minhash.bands_and_rows(rule.threshold, rule.num_perm)
        hashes = minhash.band_hashes(signatures, bands=bands, rows=size)
        yield "band", hashes.ravel(), np.repeat(first, bands)


class _Hashes(beam.DoFn):
    """Part -> ((kind, partition), packed records)."""

    def __init__(self, run: Run, reads: str, rule: DedupRule) -> None:
        self._run, self._reads, self._rule = run, reads, rule

    def process(self, part: Part) -> Iterator[tuple[tuple[str, int], tuple[int, bytes]]]:
        table = files.read_table(self._run.part(self._reads, part.index))
        for kind, hashes, rows in keys_of(table, self._rule):
            records = np.empty(len(hashes), _record(kind))
            records["hash"] = hashes & np.uint64(np.iinfo(records["hash"].dtype).max)
            records["row"] = rows
            partition = (hashes >> np.uint64(56)).astype(np.int64) % PARTITIONS
            for k in np.unique(partition).tolist():
                yield (kind, k), (part.index, records[partition == k].tobytes())


def candidate_edges(
    keyed: tuple[tuple[str, int], Iterable[tuple[int, bytes]]],
) -> tuple[str, bytes]:
    """A partition's records -> its candidate edges: (kind, packed pairs of rows)."""
    (kind, _), packed = keyed
    hashes, rows = [], []
    for part, content in packed:
        records = np.frombuffer(content, _record(kind))
        hashes.append(records["hash"].astype(np.uint64))
        rows.append((part << _ROW_BITS) | records["row"].astype(np.int64))
    exact = kind != "band"
    edges = components.bucket_edges(np.concatenate(hashes), np.concatenate(rows), exact=exact)
    return kind, edges.tobytes()


def _candidates(run: Run, reads: str, rows: NDArray[np.int64]) -> pa.Table:
    """What the verdict needs to know of each row in `rows` (ascending), a part at a time."""
    parts = rows >> _ROW_BITS
    tables = []
    for part in np.unique(parts).tolist():
        table = files.read_table(run.part(reads, part))
        chosen = table.take(pa.array(rows[parts == part] & ((1 << _ROW_BITS) - 1)))
        blank = pa.nulls(len(chosen), pa.string())
        has_image = "sha256" in chosen.column_names
        pixels = (
            pc.multiply(
                chosen["original_width"].cast(pa.int64()),
                chosen["original_height"].cast(pa.int64()),
            )
            if has_image
            else pa.array(np.zeros(len(chosen), np.int64))
        )
        urls = normalise_urls(chosen["url"])
        tables.append(
            pa.table(
                {
                    "uid": chosen["uid"], "url": urls,
                    "caption": chosen["caption"], "caption_chars": chosen["caption_chars"],
                    "sha256": chosen["sha256"] if has_image else blank, "pixels": pixels,
                }
            )
        )  # fmt: skip
    return pa.concat_tables(tables).combine_chunks()


def resolve(edges: dict[str, NDArray[np.int64]], table: pa.Table, rule: DedupRule) -> Any:
    """Clusters of the candidate pairs in `table`: (survivor, reason), each of shape (n,).

    `edges[kind]` are pairs of positions in the table, (k, 2). Each candidate is verified: equal URLs,
    files or captions, or a Jaccard similarity of the captions' shingles of at least the threshold.
    """
    n = len(table)
    survivor, reason = np.arange(n), np.full(n, None, object)
    place = components.rank(table)
    none = np.empty((0, 2), np.int64)
    for by in rule.by:
        column = table[{"url": "url", "image": "sha256", "caption": "caption"}[by]]
        found = _equal(column, edges.get("text" if by == "caption" else by, none))
        near = edges.get("band", none) if by == "caption" else none
        found = components.contract(found, near, alive=survivor == np.arange(n))
        if by == "caption":
            found = minhash.joining_edges(column, found, threshold=rule.threshold, ngram=rule.ngram)
        gone = components.absorb(survivor, found[:, 0], found[:, 1], place=place)
        reason[gone] = str(_REASONS[by])
    return survivor, reason


def _equal(column: Any, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """The edges whose two ends hold the same value; a null equals nothing."""
    left, right = edges.T
    same = pc.equal(column.take(pa.array(left)), column.take(pa.array(right)))
    equal: NDArray[np.int64] = edges[np.asarray(pc.fill_null(same, False))]
    return equal


def find_clusters(
    packed: Iterable[tuple[str, bytes]], *, run: Run, reads: str, rule: DedupRule, digest: str
) -> str:
    """All candidate edges -> ``dedup/clusters.parquet``; its URL."""
    rows_of: dict[str, list[Any]] = {}
    for kind, content in packed:
        rows_of.setdefault(kind, []).append(np.frombuffer(content, np.int64).reshape(-1, 2))
    pairs = {kind: np.concatenate(found) for kind, found in rows_of.items()}
    del rows_of
    rows = np.unique(np.concatenate([np.empty(0, np.int64), *(x.ravel() for x in pairs.values())]))
    target = run.path(Stage.DEDUP, "clusters.parquet")
    if not len(rows):
        files.write_table(target, CLUSTERS.empty_table())
    else:
        table = _candidates(run, reads, rows)
        places = {
            kind: components.unique_edges(np.searchsorted(rows, found))
            for kind, found in pairs.items()
        }
        del pairs
        survivor, reason = resolve(places, table, rule)
        size = np.bincount(survivor, minlength=len(rows))[survivor]
        found = pa.table(
            [
                pa.array((rows >> _ROW_BITS).astype(np.int32)),
                pa.array((rows & ((1 << _ROW_BITS) - 1)).astype(np.int32)),
                table["uid"].take(pa.array(survivor)),
                pa.array(reason, pa.string()),
                pa.array(size.astype(np.int32)),
            ],
            schema=CLUSTERS,
        )
        files.write_table(target, found.filter(pa.array(size > 1)))
    files.write_json(run.path(Stage.DEDUP, "clusters.json"), {"digest": digest})
    return target


@dataclass(frozen=True)
class DedupStep(PartStep):
    """Drops the duplicates of one part by the table of clusters."""

    stage: ClassVar[Stage] = Stage.DEDUP

    rule: DedupRule
    columns: pa.Schema

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """`sides[0]` is the URL of the table of clusters."""
        table = self.incoming(part)
        clusters = files.read_table(sides[0], filters=[("part", "=", part.index)])
        rows = clusters["row"].to_numpy()
        survivor = np.asarray(table["uid"].to_pylist(), object)
        size, reason = np.ones(len(table), np.int32), np.full(len(table), "", object)
        survivor[rows] = clusters["survivor"].to_pylist()
        size[rows] = clusters["size"].to_numpy()
        reason[rows] = [found or "" for found in clusters["reason"].to_pylist()]
        table = table.append_column("cluster", pa.array(survivor, pa.string()))
        table = table.append_column("cluster_size", pa.array(size))
        sieve = Sieve(
            table.append_column("reason", pa.array(reason, pa.string())), stage=self.stage
        )
        for by in self.rule.by:
            why = _REASONS[by]
            duplicate = pc.equal(sieve.table["reason"], str(why))
            sieve.remove(duplicate, reason=why, value=sieve.table["cluster"])
        return sieve.output(columns=self.columns)


class Dedup(beam.PTransform):
    """Parts -> parts without duplicates; a barrier."""

    def __init__(self, step: DedupStep, *, clustered: bool) -> None:
        super().__init__()
        self._step, self._clustered = step, clustered

    def expand(self, parts: Any) -> Any:
        """Where the table of clusters stands already (`clustered`), no hash is computed again."""
        step = self._step
        if self._clustered:
            table = step.run.path(Stage.DEDUP, "clusters.parquet")
            return parts | "Drop" >> beam.ParDo(TakePart(step), table)
        clusters = (
            parts
            | "Hash" >> beam.ParDo(_Hashes(step.run, step.reads, step.rule))
            | "Meet" >> beam.GroupByKey()
            | "Candidates" >> beam.Map(candidate_edges)
            | "All" >> beam.combiners.ToList()
            | "Clusters"
            >> beam.Map(
                find_clusters, run=step.run, reads=step.reads, rule=step.rule, digest=step.digest
            )
        )
        return parts | "Drop" >> beam.ParDo(TakePart(step), beam.pvalue.AsSingleton(clusters))
