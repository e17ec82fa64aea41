"""cuts: parts -> the same, once the quantile cuts of a stage's rules over a top fraction are written.

A barrier, only where a stage has such rules. Stored cuts are valid while the parts are, and then no
value is counted again. The steps that apply the rules read the file.
"""

from typing import ClassVar, Protocol

import apache_beam as beam
import pyarrow as pa

from curate.config import Rule
from curate.ops.selection.quantiles import quantiles_of
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.cuts import FILE, cuts_stand, write_cuts
from curate.rundir.directory import Part, Run
from curate.schema import Stage
from curate.stages import prepare, select
from curate.stages.quantiles import FindCuts, Quantiles


class Ruled(Protocol):
    """A step with rules, and the columns that their quantiles are taken over."""

    stage: ClassVar[Stage]

    @property
    def run(self) -> Run:
        """The run."""

    @property
    def digest(self) -> str:
        """The digest of the step's parts."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules."""

    @property
    def columns(self) -> pa.Schema:
        """The columns of a part afterwards."""

    def sound(self, part: Part) -> pa.Table:
        """The columns that quantiles are of, for the rows that reach the rules."""


class TakeCuts(beam.PTransform):
    """Parts -> the same, once the cuts of the rules of `step` are written."""

    def __init__(self, step: Ruled) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Nothing to do without a quantile rule, or where the stored cuts are valid."""
        step = self._step
        asked = quantiles_of(step.rules)
        if not asked or cuts_stand(step.run, step.stage, digest=step.digest):
            return parts
        cuts = (
            parts
            | "Quantiles" >> FindCuts(Quantiles(asked, step.columns, step.sound))
            | "Write"
            >> beam.Map(write_cuts, target=step.run.path(step.stage, FILE), digest=step.digest)
        )
        return parts | "Wait" >> beam.Map(lambda part, _: part, beam.pvalue.AsSingleton(cuts))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The barrier before the step of the same stage that applies the rules."""
    ruled = plan.steps.at(str(step.stage))
    if step.stage is Stage.PREPARE:
        return TakeCuts(prepare.step_of(plan, ruled))
    make = select.images_step if step.stage is Stage.DOWNLOAD else select.scores_step
    return TakeCuts(make(plan, ruled))
