"""simcore: stored embeddings -> the round in which each image was taken for a target set, or null.

The centroids of the target set are found once. Every worker compares its parts with them and keeps the
candidates of its bundle, of bounded size, in a file; one worker joins these files and goes through the
rounds (`curate.ops.simcore`). What is nearest does not depend on how parts were bundled, so the result
is the same on any number of workers, and for a retry.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from threadpoolctl import threadpool_limits

from curate import files
from curate.ops.centroids import find_centroids
from curate.ops.simcore import Candidates, rounds_of
from curate.ops.vectors import check_width, read_target
from curate.run import Part
from curate.stages.embedded import DerivedStep, part_standing, read_vectors
from curate.stages.part import PartOutput, TakePart

CENTROIDS = "centroids.npy"
TAKEN = "taken.npz"
_CANDIDATES = "candidates"


@dataclass(frozen=True)
class SimCoreStep(DerivedStep):
    """The round in which each image was taken."""

    column: ClassVar[str] = "simcore"

    target: str
    keep: int
    clusters: int
    tau: float | None
    seed: int

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """`sides` only say that the rounds are settled."""
        rounds = np.zeros(len(self.uids(part)), np.int32)
        if len(rounds):
            with files.open_read(self.run.path(self.folder, TAKEN)) as file, np.load(file) as found:
                numbers = found["numbers"]
                here = slice(
                    *np.searchsorted(numbers, [number_of(part.index), number_of(part.index + 1)])
                )
                rounds[numbers[here] - number_of(part.index)] = found["rounds"][here]
        return self.output(part, rounds, rounds > 0)


def number_of(part: int, row: int = 0) -> int:
    """The number of an image in the pool: in the order of parts and rows."""
    return (part << 32) + row


def settle_target(parts: list[tuple[int, int, bool]], *, step: SimCoreStep) -> bool:
    """Index, rows and whether it is done, of all parts -> whether any is not; then centroids stand."""
    if all(stands for *_, stands in parts):
        return False
    target = read_target(step.target).astype(np.float32)
    centroids = find_centroids(target, clusters=step.clusters, seed=step.seed)
    with files.atomic_write(step.run.path(step.folder, CENTROIDS)) as file:
        np.save(file, centroids)
    return True


class FindCandidates(beam.DoFn):
    """Parts -> the name of a file with the candidates of each bundle of them."""

    def __init__(self, step: SimCoreStep) -> None:
        self._step = step

    def start_bundle(self) -> None:
        """Nothing yet."""
        self._parts: list[int] = []
        self._found: Candidates | None = None

    def process(self, part: Part, wanted: bool) -> None:
        """Hold the nearest of this part's images and of those before."""
        step = self._step
        if not wanted or not part.kept:
            return
        with files.open_read(step.run.path(step.folder, CENTROIDS)) as file:
            centroids = np.load(file)
        vectors = read_vectors(step.run, part.index)
        known = np.flatnonzero(vectors.any(axis=1))
        if not len(known):
            return
        check_width(centroids, vectors, where=f"score.simcore.target: {step.target}")
        before = self._found or Candidates.none(len(centroids))
        with threadpool_limits(1):
            self._found = before.with_images(
                vectors[known], number_of(part.index) + known, centroids, keep=step.keep
            )
        self._parts.append(part.index)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Write the file; its name follows from the parts, so no two bundles share one."""
        if self._found is None:
            return
        name = f"{files.digest_of(sorted(self._parts))}.npz"
        with files.atomic_write(self._step.run.path(self._step.folder, _CANDIDATES, name)) as file:
            np.savez(file, cosines=self._found.cosines, numbers=self._found.numbers)
        yield GlobalWindows.windowed_value(name)


def settle_rounds(names: list[str], wanted: bool, *, step: SimCoreStep) -> int:
    """Join the candidates of all bundles and go through the rounds; how many images were taken."""
    folder = step.run.path(step.folder, _CANDIDATES)
    if not wanted:
        return 0
    joined = Candidates.none(0)
    for name in sorted(names):
        with files.open_read(files.join(folder, name)) as file, np.load(file) as found:
            if not joined.numbers.size:
                joined = Candidates.none(len(found["cosines"]))
            joined = joined.among(found["cosines"], found["numbers"], keep=step.keep)
    numbers, rounds = rounds_of(joined, keep=step.keep, tau=step.tau)
    with files.atomic_write(step.run.path(step.folder, TAKEN)) as file:
        np.savez(file, numbers=numbers, rounds=rounds)
    files.remove(folder)
    return len(numbers)


class SimCore(beam.PTransform):
    """Parts that are scored -> the same, once their column stands; a barrier."""

    def __init__(self, step: SimCoreStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: Any) -> Any:
        """Find the centroids, the candidates of each bundle, the rounds; mark the parts."""
        step = self._step
        wanted = (
            parts
            | "Standing" >> beam.Map(part_standing, step=step)
            | "All" >> beam.combiners.ToList()
            | "Target" >> beam.Map(settle_target, step=step)
        )
        taken = (
            parts
            | "Candidates" >> beam.ParDo(FindCandidates(step), beam.pvalue.AsSingleton(wanted))
            | "Found" >> beam.combiners.ToList()
            | "Rounds" >> beam.Map(settle_rounds, beam.pvalue.AsSingleton(wanted), step=step)
        )
        return parts | "Mark" >> beam.ParDo(TakePart(step), beam.pvalue.AsSingleton(taken))
