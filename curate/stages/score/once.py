"""once: scores that are loaded with what one worker makes for all, such as the vectors of prompts."""

import apache_beam as beam
import pyarrow.compute as pc

from curate.ops.scores.kinds import made_once
from curate.ops.scores.scoring import ScoreSpec
from curate.stages.part import PartStep, TakePart


class MadeOnce(beam.PTransform):
    """Parts -> parts that `step` took, with what `score` is loaded with as its side input."""

    def __init__(self, step: PartStep, score: ScoreSpec) -> None:
        super().__init__()
        self._step, self._score = step, score

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """It is made of no part, so the parts need not wait for each other."""
        made = (
            parts.pipeline
            | "Score" >> beam.Create([self._score])
            | "Make" >> beam.Map(made_once)
        )  # fmt: skip
        return parts | "Measure" >> beam.ParDo(TakePart(self._step), beam.pvalue.AsSingleton(made))


def stands(step: PartStep, *, parts: int) -> bool:
    """Whether all parts are done, so that nothing has to be made for them."""
    done = step.run.record_table(step.folder)["digest"]
    return len(done) == parts and bool(pc.all(pc.equal(done, step.digest), min_count=0).as_py())
