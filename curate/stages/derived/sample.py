"""sample: parts -> files of their shares of a sample of the pool, drawn by a keyed hash of the uid."""

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from curate.ops.scores.centroids import save_sample
from curate.rundir.directory import Part
from curate.rundir.scratch import SAMPLES, work
from curate.stages.derived.column import DerivedStep, Survey, read_stored
from curate.stages.timing import timed


@dataclass(frozen=True)
class SampledStep(DerivedStep):
    """A column that is made by what is found on a sample of the pool's images."""

    sample: int  # images, about
    seed: int

    @property
    def stand(self) -> bool:
        """Whether what is found on the sample stands already."""
        return False

    def sample_file(self, index: int) -> str:
        """The file of a part's sample; it is removed once the centroids are found."""
        return work(self.run, self.folder, SAMPLES, f"part-{index:05d}.npz")


class DrawSample(beam.DoFn):
    """Part -> its index, once its share of the sample is written."""

    def __init__(self, step: SampledStep) -> None:
        self._step = step

    @timed
    def process(self, part: Part, pool: Survey) -> Iterator[int]:
        """Nothing where all is done, or what is found on the sample stands."""
        step = self._step
        if pool.done or not part.kept or step.stand:
            return
        save_sample(
            step.sample_file(part.index), step.uids(part), read_stored(step.run, part.index),
            share=step.sample / pool.rows, seed=step.seed,
        )  # fmt: skip
        yield part.index
