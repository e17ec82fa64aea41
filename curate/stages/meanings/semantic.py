"""semantic: stored embeddings of the pairs that the rules keep -> which of them mean the same.

SemDeDup (arXiv 2303.09540). The verdicts are columns under ``annotated/score/semantic_duplicate``, and
`select` takes the duplicates out after its rules: so only pairs that all rules keep are compared, and
none leaves for another that does not stay. They are not among the rules' columns for that reason.

    parts -> rows that the rules keep -> sample -> centroids (a file)
          -> rows by cluster (a file a part) -> groups of clusters -> verdicts of each part

Embeddings travel in files and are never shuffled: each part writes its rows ordered by cluster, and
the worker of a group of clusters reads their rows from each part's file. What crosses a shuffle are the
sizes of the clusters, and the verdicts on duplicates, packed. A worker holds the embeddings of
`_ROWS` pairs, and those that a cluster's rows are compared with (`ops.duplicates.semantic.WINDOW`):
so a cluster of more than that is compared with its latest rows only, in the order of the cosine to the
centroid, in which rows that mean the same are near each other.

The order, the sample and its centroids depend on uids and embeddings alone, so the verdicts are the
same however the pool is split into parts, any number of workers and any retry.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files, schema
from curate.ops.duplicates.semantic import Against, Cluster, Groups, add_groups, count_groups
from curate.ops.scores.centroids import find_centroids, read_sample, save_sample
from curate.ops.scores.vectors import Vectors, nearest, unit
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import Part
from curate.rundir.scratch import CENTROIDS, WORK, work
from curate.stages.derived.column import DerivedStep, Survey, hand_out, read_stored, survey
from curate.stages.meanings.placed import PLACED, ClusterRows, write_placed
from curate.stages.part import PartOutput, given
from curate.stages.select import SelectScore, scores_step
from curate.stages.timing import timed

PAIRS_A_CLUSTER = 8_800
"""What SemDeDup's 50,000 clusters had of LAION's 440 million pairs."""
_SAMPLE = 256  # images a centroid are enough, as faiss has it
_ROWS = 1 << 17  # that a worker holds at a time, and about those of a group of clusters
_GROUPS = "groups"

Counted = list[tuple[int, int]]
"""Index and rows to compare of each part that has some."""

_FOUND = np.dtype([("row", "<i4"), ("survivor", "S32"), ("cosine", "<f4")])


@dataclass(frozen=True)
class SemanticStep(DerivedStep):
    """The survivor of each row of a part that is a semantic duplicate."""

    column: ClassVar[str] = schema.SEMANTIC

    select: SelectScore  # whose rules say which rows are compared
    epsilon: float
    against: Against
    clusters: int | None
    sample: int
    seed: int

    def process(self, part: Part, verdicts: list[bytes]) -> PartOutput:
        """`verdicts` are the packed verdicts on rows of the part, in any order."""
        found = np.concatenate([np.frombuffer(one, _FOUND) for one in (b"", *verdicts)])
        uids = self.uids(part)
        at = np.full(len(uids), -1)
        at[found["row"]] = np.arange(len(found))
        taken = pa.array(at, mask=at < 0)
        survivors = pa.array(found["survivor"].astype(str).tolist(), pa.string())
        columns = [uids, survivors.take(taken), pa.array(found["cosine"]).take(taken)]
        return PartOutput(pa.table(columns, schema=schema.VERDICT))

    def work(self, index: int, ending: str) -> str:
        """A scratch file of a part, removed once the duplicates are found."""
        return work(self.run, self.folder, WORK, f"part-{index:05d}.{ending}")

    def centroids_for(self, pairs: int) -> int:
        """How many clusters `pairs` are divided into."""
        return self.clusters or max(round(pairs / PAIRS_A_CLUSTER), 1)


class FindRows(beam.DoFn):
    """Part -> index and number of the rows to compare, once they are written; none if all is done."""

    def __init__(self, step: SemanticStep) -> None:
        self._step = step

    @timed
    def process(self, part: Part, pool: Survey) -> Iterator[tuple[int, int]]:
        """The rows that the rules keep, of those that have an embedding."""
        step = self._step
        if pool.done:
            return
        sieve, _ = step.select.sieved(part)
        rows = sieve.table[schema.ROW].to_numpy()
        stored = read_stored(step.run, part.index)
        rows = rows[unit(stored[rows]).any(axis=1)] if len(rows) else rows
        files.write_array(step.work(part.index, "npy"), rows.astype(np.int32))
        if len(rows):
            yield part.index, len(rows)


def _rows(
    step: SemanticStep, index: int
) -> tuple[NDArray[np.int32], pa.ChunkedArray, NDArray[np.floating]]:
    """The rows of a part to compare, their uids and their embeddings as they are stored."""
    rows = files.read_array(step.work(index, "npy"))
    uids = step.uids(Part(index, "", 0, 0)).take(pa.array(rows))
    return rows, uids, read_stored(step.run, index)[rows]


class DrawSample(beam.DoFn):
    """(index, rows) of a part -> the index, once its share of the sample is written."""

    def __init__(self, step: SemanticStep) -> None:
        self._step = step

    @timed
    def process(self, found: tuple[int, int], counted: Counted) -> Iterator[int]:
        """Draw no more than the centroids need."""
        step, (index, _) = self._step, found
        pairs = sum(n for _, n in counted)
        wanted = min(step.sample, _SAMPLE * step.centroids_for(pairs))
        _, uids, stored = _rows(step, index)
        url, share = step.work(index, "npz"), wanted / pairs
        save_sample(url, uids, stored, share=share, seed=step.seed)
        yield index


@timed
def settle_centroids(indices: list[int], counted: Counted, *, step: SemanticStep) -> int:
    """Find the centroids of all samples; their number."""
    sample = read_sample(step.work(index, "npz") for index in sorted(indices))
    if not len(sample):
        return 0
    k = step.centroids_for(sum(n for _, n in counted))
    centroids = find_centroids(sample, clusters=k, seed=step.seed)
    files.write_array(step.run.path(step.folder, CENTROIDS), unit(centroids))
    return len(centroids)


class Place(beam.DoFn):
    """(index, rows) of a part -> the sizes of its clusters, once its rows are written by cluster."""

    def __init__(self, step: SemanticStep) -> None:
        self._step = step
        self._centroids: Vectors | None = None

    @timed
    def process(self, found: tuple[int, int], _: int) -> Iterator[NDArray[np.int64]]:
        """Write the embeddings and what is known of each row, by cluster."""
        step, (index, _) = self._step, found
        if self._centroids is None:
            self._centroids = files.read_array(step.run.path(step.folder, CENTROIDS))
        rows, uids, stored = _rows(step, index)
        placed = np.empty(len(rows), PLACED)
        placed["cluster"], placed["cosine"] = nearest(unit(stored), self._centroids)
        placed["row"], placed["uid"] = rows, np.array(uids.to_pylist(), "S32")
        yield write_placed(
            placed, stored, clusters=len(self._centroids), at=partial(step.work, index)
        )


def add_sizes(sizes: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The sizes of clusters over several parts."""
    total = np.zeros(0, np.int64)
    for one in sizes:
        total = one + total if len(one) and len(total) else one if len(one) else total
    return total


def plan_groups(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Clusters in consecutive groups of about as many rows as a worker holds: first and end."""
    first, rows = 0, 0
    for cluster, n in enumerate(sizes.tolist()):
        if rows and rows + n > _ROWS:
            yield first, cluster
            first, rows = cluster, 0
        rows += n
    if rows:
        yield first, len(sizes)


class Compare(beam.DoFn):
    """A group of clusters -> (part, packed verdicts on its duplicates)."""

    def __init__(self, step: SemanticStep) -> None:
        self._step = step

    @timed
    def process(self, group: tuple[int, int], counted: Counted) -> Iterator[Any]:
        """Read a run of rows at a time, and go through its clusters."""
        step = self._step
        width = _width(step)
        held = ClusterRows([index for index, _ in counted], group, at=step.work)
        clusters, n = held.placed["cluster"], len(held.placed)
        survivors, cosines = np.empty(n, np.int64), np.empty(n)
        borders = {0, *(1 + np.flatnonzero(np.diff(clusters))).tolist()}
        cluster, first = Cluster(width, epsilon=step.epsilon, against=step.against), 0
        for start in range(0, n, _ROWS):
            run = slice(start, min(start + _ROWS, n))
            vectors = held.vectors(run, width)
            edges = sorted({start, *(x for x in borders if start < x < run.stop), run.stop})
            for at, end in pairwise(edges):
                if at in borders:
                    cluster = Cluster(width, epsilon=step.epsilon, against=step.against)
                    first = at
                found, cosines[at:end] = cluster.add(vectors[at - start : end - start])
                survivors[at:end] = first + found
        yield beam.pvalue.TaggedOutput(_GROUPS, count_groups(survivors, held.placed["uid"]))
        gone = np.flatnonzero(survivors != np.arange(n))
        for index in np.unique(held.part[gone]).tolist():
            here = gone[held.part[gone] == index]
            verdicts = np.empty(len(here), _FOUND)
            verdicts["row"] = held.placed["row"][here]
            verdicts["survivor"] = held.placed["uid"][survivors[here]]
            verdicts["cosine"] = cosines[here]
            yield index, verdicts.tobytes()


def _width(step: SemanticStep) -> int:
    with files.open_read(step.run.path(step.folder, CENTROIDS)) as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
    return int(shape[1])


def tidy(parts: int, groups: Groups, pool: Survey, *, step: SemanticStep) -> int:
    """Write the groups that were found, and remove the scratch files, if anything was compared."""
    if not pool.done:
        files.write_json(step.run.path(step.folder, schema.GROUPS), asdict(groups))
        files.remove(step.run.path(step.folder, WORK))
    return parts


class FindDuplicates(beam.PTransform):
    """Parts that are scored, with the cuts of the rules -> the same, once the verdicts are written.

    A barrier.
    """

    def __init__(self, step: SemanticStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Rows, sample, centroids, clusters, verdicts: each once the one before is written."""
        step, one = self._step, beam.pvalue.AsSingleton
        pool = one(survey(parts, step=step))
        rows = parts | "Rows" >> beam.ParDo(FindRows(step), pool)
        counted = one(rows | "Pool" >> beam.combiners.ToList())
        centroids = (
            rows
            | "Sample" >> beam.ParDo(DrawSample(step), counted)
            | "Samples" >> beam.combiners.ToList()
            | "Centroids" >> beam.Map(settle_centroids, counted, step=step)
        )
        found = (
            rows
            | "Place" >> beam.ParDo(Place(step), one(centroids))
            | "Sizes" >> beam.CombineGlobally(add_sizes)
            | "Groups" >> beam.FlatMap(plan_groups)
            | "Spread" >> beam.Reshuffle()
            | "Compare" >> beam.ParDo(Compare(step), counted).with_outputs(_GROUPS, main="verdicts")
        )
        groups = found[_GROUPS] | "Add groups" >> beam.CombineGlobally(add_groups)
        taken = hand_out(parts, found.verdicts, step=step)
        _ = (
            taken
            | "Written" >> beam.combiners.Count.Globally()
            | "Tidy" >> beam.Map(tidy, one(groups), pool, step=step)
        )
        return taken


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The barrier that compares, among themselves, the pairs that the rules keep."""
    if plan.config.semdedup is None:
        raise AssertionError("semdedup is not configured")
    own = SemanticStep(
        **given(plan, step),
        **plan.config.semdedup.model_dump(),
        select=scores_step(plan, plan.steps.at(str(step.stage))),
        seed=plan.config.seed,
    )
    return FindDuplicates(own)
