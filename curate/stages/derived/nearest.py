"""nearest: stored embeddings -> `nearest_target`, DataComp's image-based filter as a column.

True where the image's nearest centroid, of k-means over the pool's images, is also the nearest one of
some image of the target set. The centroids are found by one worker from a sample of the pool that is
drawn by a keyed hash of the uid, so of bounded size; samples and centroids travel in files. Each part
is then compared with the centroids by itself. A retry finds the same.
"""

from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np

from curate import config, files
from curate.ops.scores.centroids import find_centroids, holding, read_sample
from curate.ops.scores.vectors import check_width, nearest, read_target
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import Part
from curate.rundir.scratch import HELD, SAMPLES
from curate.stages.derived.column import read_vectors, survey
from curate.stages.derived.sample import DrawSample, SampledStep
from curate.stages.part import PartOutput, TakePart, given
from curate.stages.timing import timed


@dataclass(frozen=True)
class NearestTargetStep(SampledStep):
    """Whether each image lies in a cluster that the target set lies in."""

    column: ClassVar[str] = "nearest_target"

    target: str
    clusters: int

    def process(self, part: Part, _: int) -> PartOutput:
        """The side input, the number of centroids, only says that they are written."""
        vectors = read_vectors(self.run, part.index)
        known = np.asarray(vectors.any(axis=1))
        values = np.zeros(len(vectors), np.bool_)
        if known.any():
            found = files.read_arrays(self.run.path(self.folder, HELD))
            values[known] = found["held"][nearest(vectors[known], found["centroids"])[0]]
        return self.output(part, values, known)


@timed
def settle_centroids(indices: list[int], *, step: NearestTargetStep) -> int:
    """Find the centroids of all samples and those that hold a target; how many there are."""
    sample = read_sample(step.sample_file(index) for index in sorted(indices))
    if not len(sample):
        return 0
    centroids = find_centroids(sample, clusters=step.clusters, seed=step.seed)
    target = read_target(step.target)
    check_width(target, centroids, where=f"score.nearest_target.target: {step.target}")
    held = holding(target, centroids)
    files.write_arrays(step.run.path(step.folder, HELD), centroids=centroids, held=held)
    files.remove(step.run.path(step.folder, SAMPLES))
    return len(centroids)


class NearestTarget(beam.PTransform):
    """Parts that are scored -> the same, once their column is done; a barrier."""

    def __init__(self, step: NearestTargetStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Count, draw a sample, find the centroids, compare."""
        step = self._step
        pool = beam.pvalue.AsSingleton(survey(parts, step=step))
        found = (
            parts
            | "Sample" >> beam.ParDo(DrawSample(step), pool)
            | "Samples" >> beam.combiners.ToList()
            | "Centroids" >> beam.Map(settle_centroids, step=step)
        )
        return parts | "Compare" >> beam.ParDo(TakePart(step), beam.pvalue.AsSingleton(found))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The barrier that finds clusters of the pool, and those of a target set."""
    if not isinstance(asked := step.settings, config.NearestTarget):
        raise AssertionError(f"{step.folder} has no target")
    settings = asked.model_dump() | {"target": files.absolute(asked.target)}
    return NearestTarget(NearestTargetStep(**given(plan, step), **settings, seed=plan.config.seed))
