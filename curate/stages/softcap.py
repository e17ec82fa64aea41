"""soft cap: a score of all pairs -> how often each is drawn; a barrier.

Replaces the balance where `balance.soft_cap` is set. May drop: a pair that is not drawn once; none
where all are to be written (`balance.write`). What is counted is about how many draws there are up to
some moments, a part at a time, and then exactly which moment the last wanted one has
(:mod:`ops.selection.softcap`): memory does not grow with the pool, and a retry draws the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops.selection import softcap
from curate.ops.selection.quantiles import Cut, Cuts, Quantile
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.reasons import DropReason
from curate.rundir.directory import DRAWS, Part
from curate.schema import Stage
from curate.stages.part import PartOutput, PartStep, Sieve, TakeParts, given
from curate.stages.quantiles import FindCuts, Quantiles
from curate.stages.timing import timed
from curate.stages.wfpp import remove_entries

_MOMENT = pa.schema([("moment", pa.float64())])
Ends = tuple[int, float, float]
"""Pairs that have a score, the lowest and the highest."""


@dataclass(frozen=True)
class SoftCapStep(PartStep):
    """Draws the pairs of one part, up to a moment."""

    stage: ClassVar[Stage] = Stage.BALANCE

    size: int
    penalty: float
    column: str
    seed: int
    columns: pa.Schema
    write_all: bool

    def scores(self, part: Part) -> tuple[pa.Array, NDArray[np.float64]]:
        """uid and score of each pair of a part; NaN for none."""
        return self._of(self.run.rows(self.reads, part, columns=["uid", self.column]))

    def _of(self, table: pa.Table) -> tuple[pa.Array, NDArray[np.float64]]:
        scores = pc.fill_null(table[self.column].cast(pa.float64()), float("nan"))
        return table["uid"].combine_chunks(), scores.to_numpy()

    def moments(self, part: Part, ats: NDArray[np.float64]) -> pa.Table:
        """The moments of the draws of a part's pairs, up to the last of `ats`."""
        uids, scores = self.scores(part)
        until = float(ats[-1])
        found = softcap.moments(uids, scores, penalty=self.penalty, seed=self.seed, until=until)
        return pa.table([found], schema=_MOMENT)

    def process(self, part: Part, until: float) -> PartOutput:
        """Draw up to the moment `until`."""
        table = self.incoming(part)
        uids, scores = self._of(table)
        drawn = softcap.draws(uids, scores, penalty=self.penalty, seed=self.seed, until=until)
        sieve = Sieve(table.append_column("weight", pa.array(drawn)), stage=self.stage)
        if not self.write_all:
            sieve.remove(drawn == 0, reason=DropReason.NOT_DRAWN, value=table[self.column])
        return sieve.output(columns=self.columns, figures={DRAWS: float(drawn.sum())})


class _Ends(beam.DoFn):
    """Part -> its `Ends`."""

    def __init__(self, step: SoftCapStep) -> None:
        self._step = step

    @timed
    def process(self, part: Part) -> Iterator[Ends]:
        """Those of one part."""
        scores = self._step.scores(part)[1]
        finite = scores[np.isfinite(scores)]
        if len(finite):
            yield len(finite), float(finite.min()), float(finite.max())


class _About(beam.DoFn):
    """Part -> (index, about how many of its draws come up to each of some moments)."""

    def __init__(self, step: SoftCapStep) -> None:
        self._step = step

    @timed
    def process(
        self, part: Part, ats: NDArray[np.float64]
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Those of one part."""
        scores = self._step.scores(part)[1]
        yield part.index, softcap.about(scores, ats, penalty=self._step.penalty)


def _span(found: Iterable[Ends], *, step: SoftCapStep) -> NDArray[np.float64]:
    ends = [*found] or [(0, 0.0, 0.0)]
    pairs, lows, highs = zip(*ends, strict=True)
    return softcap.span(
        min(lows), max(highs), pairs=sum(pairs), size=step.size, penalty=step.penalty
    )


def _narrowed(
    found: Iterable[tuple[int, NDArray[np.float64]]], ats: NDArray[np.float64], *, size: int
) -> NDArray[np.float64]:
    """In the order of the parts: floating sums depend on it."""
    total = np.sum([of for _, of in sorted(found, key=lambda one: one[0])], axis=0)
    return softcap.narrowed(ats, total, size=size)


def _settled(cuts: Cuts, *, step: SoftCapStep) -> float:
    """The moment of the last wanted draw."""
    remove_entries(step.run)
    return next(iter(cuts.values()), Cut(0, -np.inf)).value


class SoftCap(beam.PTransform):
    """Parts -> parts of the pairs that are drawn; a barrier."""

    def __init__(self, step: SoftCapStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Find about, then exactly, the moment of the last draw; draw."""
        step = self._step
        ats = (
            parts
            | "Ends" >> beam.ParDo(_Ends(step))
            | "All ends" >> beam.combiners.ToList()
            | "Span" >> beam.Map(_span, step=step)
        )
        for label in ("Coarse", "Fine"):
            side = beam.pvalue.AsSingleton(ats)
            ats = (
                parts
                | f"{label} counts" >> beam.ParDo(_About(step), side)
                | f"{label} list" >> beam.combiners.ToList().without_defaults()
                | f"{label} moments" >> beam.Map(_narrowed, side, size=step.size)
            )
        wanted = Quantile(_MOMENT.names[0], 0.0, lowest=step.size)
        until = (
            parts
            | "Last draw" >> FindCuts(Quantiles((wanted,), _MOMENT, step.moments), ats)
            | "Settle" >> beam.Map(_settled, step=step)
        )
        return parts | "Draw" >> TakeParts(step, beam.pvalue.AsSingleton(until))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Soft cap sampling, in the balance's place."""
    asked = plan.config.balance
    if asked is None or asked.soft_cap is None:
        raise AssertionError("balance.soft_cap is not configured")
    own = SoftCapStep(
        **given(plan, step),
        **asked.soft_cap.model_dump(),
        seed=plan.config.seed,
        columns=plan.steps.columns(step.stage),
        write_all=asked.writes_all,
    )
    return SoftCap(own)
