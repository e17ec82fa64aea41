"""rank: `visual_cluster` -> `cluster_rank`, the place of each pair in its cluster in the pool's order.

Every part counts the pairs of each cluster; one worker adds the counts up in the order of parts, and
hands each part what stands before it: four bytes a part and cluster in its memory. The place of a pair
does not depend on how parts are spread, nor on parts that come later.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import SCORED, Part
from curate.rundir.scratch import VISUAL
from curate.stages.derived.column import DerivedStep, Survey, hand_out, survey
from curate.stages.part import PartOutput, given
from curate.stages.timing import timed

Counts = NDArray[np.uint32]
"""Pairs of each cluster, by its number, shape (clusters,); those with higher numbers have none."""


@dataclass(frozen=True)
class ClusterRankStep(DerivedStep):
    """The place of each pair in its cluster."""

    column: ClassVar[str] = "cluster_rank"

    def process(self, part: Part, before: list[Counts]) -> PartOutput:
        """`before` has one element: of each cluster how many pairs stand in the parts before."""
        clusters = self.clusters(part)
        known = clusters >= 0
        ranks = np.zeros(len(clusters), np.int64)
        if known.any():
            ours = clusters[known]
            ranks[known] = before[0][ours] + places(ours)
        return self.output(part, ranks.astype(np.int32), known)

    def clusters(self, part: Part) -> NDArray[np.int64]:
        """The cluster of each row; -1 where it has none."""
        found = self.run.rows(files.join(SCORED, VISUAL), part, columns=[VISUAL])[VISUAL]
        return np.asarray(pc.fill_null(found, -1)).astype(np.int64)

    def counts(self, part: Part) -> Counts:
        """Pairs of each cluster in a part."""
        clusters = self.clusters(part)
        return np.bincount(clusters[clusters >= 0]).astype(np.uint32)


def places(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each row among those of the same cluster, from 0, shape (n,).

    >>> places(np.array([4, 0, 4, 4, 0])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(clusters, kind="stable")
    ours = clusters[order]
    begins = np.flatnonzero(np.diff(ours, prepend=-1))
    found = np.empty(len(clusters), np.int64)
    found[order] = np.arange(len(ours)) - np.repeat(begins, np.diff(begins, append=len(ours)))
    return found


class CountClusters(beam.DoFn):
    """Part -> its index and the pairs of each cluster."""

    def __init__(self, step: ClusterRankStep) -> None:
        self._step = step

    @timed
    def process(self, part: Part, pool: Survey) -> Iterator[tuple[int, Counts]]:
        """Nothing where all is done."""
        if not pool.done:
            yield part.index, self._step.counts(part)


def add_up(counted: Iterable[tuple[int, Counts]]) -> Iterator[tuple[int, Counts]]:
    """Index and counts of all parts -> what stands in the parts before each."""
    counted = sorted(counted, key=lambda one: one[0])
    before = np.zeros(max((len(counts) for _, counts in counted), default=0), np.uint32)
    for index, counts in counted:
        yield index, before.copy()
        before[: len(counts)] += counts


class ClusterRank(beam.PTransform):
    """Parts with their clusters -> the same, once their column is done; a barrier."""

    def __init__(self, step: ClusterRankStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Count, add up, hand out."""
        step = self._step
        pool = beam.pvalue.AsSingleton(survey(parts, step=step))
        before = (
            parts
            | "Count" >> beam.ParDo(CountClusters(step), pool)
            | "Counts" >> beam.combiners.ToList()
            | "Add up" >> beam.FlatMap(add_up)
        )
        return hand_out(parts, before, step=step)


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The barrier that adds up clusters."""
    return ClusterRank(ClusterRankStep(**given(plan, step)))
