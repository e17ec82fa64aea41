"""nearest: stored embeddings -> `nearest_target`, DataComp's image-based filter as a column.

True where the image's nearest centroid, of k-means over the pool's images, is also the nearest one of
some image of the target set. The centroids are found by one worker from a sample of the pool that is
drawn by a keyed hash of the uid, so of bounded size; samples and centroids travel in files. Each part
is then compared with the centroids by itself. A retry finds the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa

from curate import files
from curate.ops.centroids import find_centroids, holding, read_sample, save_sample
from curate.ops.hashing import uniform
from curate.ops.vectors import check_width, nearest, read_target
from curate.run import Part
from curate.stages.embedded import DerivedStep, part_standing, read_vectors
from curate.stages.part import PartOutput, TakePart

CENTROIDS = "centroids.npz"
SAMPLES = "samples"
"""The folder of embeddings that stands while the centroids are found."""


@dataclass(frozen=True)
class NearestTargetStep(DerivedStep):
    """Whether each image lies in a cluster that the target set lies in."""

    column: ClassVar[str] = "nearest_target"

    target: str
    clusters: int
    sample: int
    seed: int

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """`sides` only say that the centroids stand."""
        vectors = read_vectors(self.run, part.index)
        known = np.asarray(vectors.any(axis=1))
        values = np.zeros(len(vectors), np.bool_)
        if known.any():
            url = self.run.path(self.folder, CENTROIDS)
            with files.open_read(url) as file, np.load(file) as found:
                values[known] = found["held"][nearest(vectors[known], found["centroids"])[0]]
        return self.output(part, values, known)

    def sample_file(self, index: int) -> str:
        """Where the sample of a part stands until the centroids are found."""
        return self.run.path(self.folder, SAMPLES, f"part-{index:05d}.npz")


@dataclass(frozen=True)
class _Pool:
    rows: int
    done: bool  # whether every part's column stands

    @classmethod
    def of(cls, parts: list[tuple[int, int, bool]]) -> "_Pool":
        return cls(sum(rows for _, rows, _ in parts), all(stands for *_, stands in parts))


class DrawSample(beam.DoFn):
    """Part -> its index, once its share of the sample is written; nothing where all is done."""

    def __init__(self, step: NearestTargetStep) -> None:
        self._step = step

    def process(self, part: Part, pool: _Pool) -> Iterator[int]:
        """Draw by the uid: a pair is in the sample whatever part it stands in."""
        step = self._step
        if pool.done or not part.kept:
            return
        vectors = read_vectors(step.run, part.index)
        uids = step.uids(part)
        drawn = uniform(uids, seed=step.seed) < step.sample / max(pool.rows, 1)
        drawn &= vectors.any(axis=1)
        save_sample(step.sample_file(part.index), uids.filter(pa.array(drawn)), vectors[drawn])
        yield part.index


def settle_centroids(indices: list[int], *, step: NearestTargetStep) -> int:
    """Find the centroids of all samples and those that hold a target; how many there are."""
    sample = read_sample(step.sample_file(index) for index in sorted(indices))
    if not len(sample):
        return 0
    centroids = find_centroids(sample, clusters=step.clusters, seed=step.seed)
    target = read_target(step.target)
    check_width(target, centroids, where=f"score.nearest_target.target: {step.target}")
    held = holding(target, centroids)
    with files.atomic_write(step.run.path(step.folder, CENTROIDS)) as file:
        np.savez(file, centroids=centroids, held=held)
    files.remove(step.run.path(step.folder, SAMPLES))
    return len(centroids)


class NearestTarget(beam.PTransform):
    """Parts that are scored -> the same, once their column stands; a barrier."""

    def __init__(self, step: NearestTargetStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: Any) -> Any:
        """Count, draw a sample, find the centroids, compare."""
        step = self._step
        pool = (
            parts
            | "Standing" >> beam.Map(part_standing, step=step)
            | "All" >> beam.combiners.ToList()
            | "Pool" >> beam.Map(_Pool.of)
        )
        found = (
            parts
            | "Sample" >> beam.ParDo(DrawSample(step), beam.pvalue.AsSingleton(pool))
            | "Samples" >> beam.combiners.ToList()
            | "Centroids" >> beam.Map(settle_centroids, step=step)
        )
        return parts | "Compare" >> beam.ParDo(TakePart(step), beam.pvalue.AsSingleton(found))
