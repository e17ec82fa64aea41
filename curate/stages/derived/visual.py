"""visual: stored embeddings -> `visual_cluster`, the cluster of k-means that each image lies in.

The centroids are found by one worker from a sample of the pool that is drawn by a keyed hash of the
uid, and stay in the run: a part that is made again, with or without pairs that were revoked since, is
compared with the same ones. Where they are given, each part is a step of its own.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import apache_beam as beam
import numpy as np

from curate import config, files
from curate.errors import CurateError
from curate.ops.scores.centroids import read_sample
from curate.ops.scores.vectors import check_width
from curate.ops.scores.visual import VisualClusters, digest_of, read_clusters
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import Part
from curate.rundir.scratch import HELD, SAMPLES, VISUAL
from curate.stages.derived.column import read_vectors, survey
from curate.stages.derived.sample import DrawSample, SampledStep
from curate.stages.part import PartOutput, TakePart, given
from curate.stages.timing import timed

_A_CLUSTER = 256  # images a centroid are enough, as faiss has it


@dataclass(frozen=True)
class VisualClusterStep(SampledStep):
    """The number of the cluster of each image."""

    column: ClassVar[str] = VISUAL

    clusters: int
    iterations: int
    whiten: int | None
    centroids: str | None  # a file of them

    def process(self, part: Part, _: int = 0) -> PartOutput:
        """The side input, the number of centroids, only says that they are written."""
        vectors = read_vectors(self.run, part.index)
        known = np.asarray(vectors.any(axis=1))
        values = np.zeros(len(vectors), np.int32)
        if known.any():
            found = clusters_at(self.centroids or self.file, digest=self.digest)
            check_width(found.mean[None], vectors, where=f"score.{VISUAL}: {self.centroids}")
            values[known] = found.numbers(vectors[known])
        return self.output(part, values, known & (values >= 0))

    @property
    def file(self) -> str:
        """Where the centroids of the run are."""
        return self.run.path(self.folder, HELD)

    @property
    def stand(self) -> bool:
        """Whether they were found for this very step."""
        with suppress(CurateError):
            return digest_of(self.file) == self.digest
        return False


@lru_cache(maxsize=1)
def clusters_at(url: str, *, digest: str) -> VisualClusters:
    """The clusters in a file, which a process reads once for the step of this digest."""
    return read_clusters(url)


@timed
def settle_centroids(indices: list[int], *, step: VisualClusterStep) -> int:
    """Find the centroids of all samples; how many there are."""
    sample = read_sample(step.sample_file(index) for index in sorted(indices))
    if not len(sample):
        return 0
    if step.whiten and step.whiten > sample.shape[1]:
        raise CurateError(
            f"score.{VISUAL}.whiten: {step.whiten} components of embeddings that are"
            f" {sample.shape[1]} wide; give at most that"
        )
    found = VisualClusters.find(
        sample,
        clusters=step.clusters,
        iterations=step.iterations,
        whiten=step.whiten,
        seed=step.seed,
    )
    found.write(step.file, digest=step.digest)
    files.remove(step.run.path(step.folder, SAMPLES))
    return len(found.centroids)


class VisualCluster(beam.PTransform):
    """Parts that are scored -> the same, once their column is done; a barrier."""

    def __init__(self, step: VisualClusterStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Count, draw a sample, find the centroids, compare."""
        step = self._step
        if step.centroids:
            return parts | "Compare" >> beam.ParDo(TakePart(step))
        pool = beam.pvalue.AsSingleton(survey(parts, step=step))
        found = (
            parts
            | "Sample" >> beam.ParDo(DrawSample(step), pool)
            | "Samples" >> beam.combiners.ToList()
            | "Centroids" >> beam.Map(settle_centroids, step=step)
        )
        return parts | "Compare" >> beam.ParDo(TakePart(step), beam.pvalue.AsSingleton(found))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The barrier that finds the clusters of the pool, or the map that compares with given ones."""
    if not isinstance(asked := step.settings, config.VisualCluster):
        raise AssertionError(f"{step.folder} has no clusters")
    settings = asked.model_dump() | {
        "sample": asked.sample or _A_CLUSTER * asked.clusters,
        "centroids": asked.centroids and files.absolute(asked.centroids),
    }
    return VisualCluster(VisualClusterStep(**given(plan, step), **settings, seed=plan.config.seed))
