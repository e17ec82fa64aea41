"""simcore: stored embeddings -> the round in which each image was taken for a target set, or null.

The centroids of the target set are found once. Every worker compares its parts with them and keeps the
candidates of its bundle, of bounded size, in a file; one worker joins these files and goes through the
rounds (`ops.scores.simcore`). What is nearest does not depend on how parts were bundled, so the result
is the same on any number of workers, and for a retry.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from threadpoolctl import threadpool_limits

from curate import config, files
from curate.ops.scores.centroids import find_centroids
from curate.ops.scores.simcore import Candidates, rounds_of
from curate.ops.scores.vectors import check_width, read_target
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import Part
from curate.rundir.scratch import CANDIDATES, CENTROIDS, TAKEN, work
from curate.stages.derived.column import DerivedStep, Survey, read_vectors, survey
from curate.stages.part import PartOutput, TakePart, given
from curate.stages.timing import timed


@dataclass(frozen=True)
class SimCoreStep(DerivedStep):
    """The round in which each image was taken."""

    column: ClassVar[str] = "simcore"

    target: str
    keep: int
    clusters: int
    tau: float | None
    seed: int

    def process(self, part: Part, _: int) -> PartOutput:
        """The side input, the number of images taken, only says that the rounds are written."""
        rounds = np.zeros(len(self.uids(part)), np.int32)
        if len(rounds):
            found = files.read_arrays(self.run.path(self.folder, TAKEN))
            first, end = (number_of(index) for index in (part.index, part.index + 1))
            here = slice(*np.searchsorted(found["numbers"], [first, end]))
            rounds[found["numbers"][here] - first] = found["rounds"][here]
        return self.output(part, rounds, rounds > 0)


def number_of(part: int, row: int = 0) -> int:
    """The number of an image in the pool: in the order of parts and rows."""
    return (part << 32) + row


@timed
def settle_target(pool: Survey, *, step: SimCoreStep) -> bool:
    """Whether there is anything to do; if so, write the target's centroids."""
    if pool.done:
        return False
    target = read_target(step.target).astype(np.float32)
    centroids = find_centroids(target, clusters=step.clusters, seed=step.seed)
    files.write_array(step.run.path(step.folder, CENTROIDS), centroids)
    return True


class FindCandidates(beam.DoFn):
    """Parts -> the name of a file with the candidates of each bundle of them."""

    def __init__(self, step: SimCoreStep) -> None:
        self._step = step

    def start_bundle(self) -> None:
        """Begin without candidates."""
        self._parts: list[int] = []
        self._found: Candidates | None = None

    @timed
    def process(self, part: Part, wanted: bool) -> None:
        """Hold the nearest of this part's images and of those before."""
        step = self._step
        if not wanted or not part.kept:
            return
        centroids = files.read_array(step.run.path(step.folder, CENTROIDS))
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
        url = work(self._step.run, self._step.folder, CANDIDATES, name)
        files.write_arrays(url, cosines=self._found.cosines, numbers=self._found.numbers)
        yield GlobalWindows.windowed_value(name)


@timed
def settle_rounds(names: list[str], wanted: bool, *, step: SimCoreStep) -> int:
    """Join the candidates of all bundles and go through the rounds; how many images were taken."""
    folder = work(step.run, step.folder, CANDIDATES)
    if not wanted:
        return 0
    joined = Candidates.none(0)
    for name in sorted(names):
        found = files.read_arrays(files.join(folder, name))
        if not joined.numbers.size:
            joined = Candidates.none(len(found["cosines"]))
        joined = joined.among(found["cosines"], found["numbers"], keep=step.keep)
    numbers, rounds = rounds_of(joined, keep=step.keep, tau=step.tau)
    files.write_arrays(step.run.path(step.folder, TAKEN), numbers=numbers, rounds=rounds)
    files.remove(step.run.path(step.folder, CANDIDATES))
    return len(numbers)


class SimCore(beam.PTransform):
    """Parts that are scored -> the same, once their column is done; a barrier."""

    def __init__(self, step: SimCoreStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Find the centroids, the candidates of each bundle, the rounds; mark the parts."""
        step = self._step
        wanted = beam.pvalue.AsSingleton(
            survey(parts, step=step) | "Target" >> beam.Map(settle_target, step=step)
        )
        taken = (
            parts
            | "Candidates" >> beam.ParDo(FindCandidates(step), wanted)
            | "Found" >> beam.combiners.ToList()
            | "Rounds" >> beam.Map(settle_rounds, wanted, step=step)
        )
        return parts | "Mark" >> beam.ParDo(TakePart(step), beam.pvalue.AsSingleton(taken))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The barrier that goes through the rounds."""
    if not isinstance(asked := step.settings, config.SimCore):
        raise AssertionError(f"{step.folder} has no target")
    settings = asked.model_dump() | {"target": files.absolute(asked.target)}
    return SimCore(SimCoreStep(**given(plan, step), **settings, seed=plan.config.seed))
