"""gates: the cosines of captions and image -> `caption_weights`, ALIP's weights of two losses.

A barrier: what a pair counts depends on the pool's mean cosines. Of each part three sums are taken, and
they are exact, so the means are the same for any number of workers. The cosines are those that the
model's step has stored, so no model runs here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import schema
from curate.config import Alip
from curate.ops.captions import first, flattened
from curate.ops.gates import Means, Sums, gates, means_of, sums_of
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import SCORED, Part
from curate.stages.derived.column import DerivedStep, Survey, survey
from curate.stages.part import PartOutput, TakePart, given
from curate.stages.timing import timed


@dataclass(frozen=True)
class Cosines:
    """What the gates of a part's pairs are of; NaN where a pair has not both captions."""

    starts: NDArray[np.int64]  # where the captions of each pair begin, shape (n + 1,)
    other: NDArray[np.int64]  # the place of the caption that is weighed beside the first, (n,)
    text_caption: NDArray[np.float64]  # (n,), as the following
    image_text: NDArray[np.float64]
    image_caption: NDArray[np.float64]


@dataclass(frozen=True)
class GatesStep(DerivedStep):
    """The weights of the captions of one part's pairs."""

    column: ClassVar[str] = schema.CAPTION_WEIGHTS

    of: str
    gamma_sample: float
    gamma_pair: float

    def cosines(self, part: Part) -> Cosines:
        """The cosines of a part's pairs, as they stand in its files."""
        pairs = self.run.rows(self.reads, part, columns=["uid", "captions"])
        names = ["uid", "caption_scores", schema.AGREEMENT]
        scored = self.run.rows(SCORED, part, columns=names)
        if not scored["uid"].equals(pairs["uid"]):
            raise AssertionError(f"{SCORED} of part {part.index} is not of its rows")
        each, starts = flattened(pairs["captions"])
        mine = pc.and_(pc.is_null(each.field("reason")), pc.equal(each.field("source"), self.of))
        has_one = np.asarray(mine)
        other = starts[:-1] + first(has_one, starts)
        none = ~has_one[other] if len(each) else np.zeros(0, bool)
        scores, agreement = (
            flattened(scored[x])[0].to_numpy(zero_copy_only=False).astype(np.float64)
            for x in names[1:]
        )
        return Cosines(
            starts, other,
            np.where(none, np.nan, agreement[other]),
            scores[starts[:-1]],
            np.where(none, np.nan, scores[other]),
        )  # fmt: skip

    def process(self, part: Part, means: Means) -> PartOutput:
        """Weigh by the pool's means."""
        of = self.cosines(part)
        found = gates(
            of.text_caption, of.image_text, of.image_caption, means=means,
            gamma_sample=self.gamma_sample, gamma_pair=self.gamma_pair,
        )  # fmt: skip
        values = np.full(int(of.starts[-1]), np.nan, np.float32)
        text, caption = found.weights
        values[of.starts[:-1]] = text
        judged = np.isfinite(caption)
        values[of.other[judged]] = caption[judged]
        kind = schema.DERIVED.field(self.column).type
        column = pa.ListArray.from_arrays(
            pa.array(of.starts.astype(np.int32)), pa.array(values, mask=np.isnan(values)), type=kind
        )
        uids = self.uids(part).combine_chunks()
        return PartOutput(pa.table({"uid": uids, self.column: column}))


class SumCosines(beam.DoFn):
    """Part -> the sums of its cosines; nothing where all is done."""

    def __init__(self, step: GatesStep) -> None:
        self._step = step

    @timed
    def process(self, part: Part, pool: Survey) -> Iterator[Sums]:
        """Read the cosines alone."""
        if not pool.done and part.kept:
            of = self._step.cosines(part)
            yield sums_of(of.text_caption, of.image_text, of.image_caption)


class WeighCaptions(beam.PTransform):
    """Parts that are scored -> the same, once their column is done; a barrier."""

    def __init__(self, step: GatesStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Sum, take the means, weigh."""
        pool = beam.pvalue.AsSingleton(survey(parts, step=self._step))
        means = (
            parts
            | "Sum" >> beam.ParDo(SumCosines(self._step), pool)
            | "Sums" >> beam.combiners.ToList()
            | "Means" >> beam.Map(means_of)
        )
        return parts | "Weigh" >> beam.ParDo(TakePart(self._step), beam.pvalue.AsSingleton(means))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The barrier that weighs captions by the pool's means."""
    if not isinstance(asked := step.settings, Alip):
        raise AssertionError(f"{step.folder} has no gates")
    return WeighCaptions(GatesStep(**given(plan, step), **asked.model_dump()))
