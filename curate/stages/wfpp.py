"""wfpp: captions of all pairs -> word counts -> a score a pair -> the pairs with the highest scores.

Replaces the balance where `balance.wfpp` is set. May drop: a pair whose score does not reach
that of the wanted fraction, exactly, over the whole pool. Counts are sums over packed arrays, and a
score is a function of the caption and the counts: it is computed wherever it is needed and stored
nowhere, so memory does not grow with the pool, and a retry keeps the same pairs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import pyarrow as pa

from curate import files
from curate.ops.selection.quantiles import Cut, Cuts, Quantile
from curate.ops.selection.wfpp import (
    WordCounts,
    WordWeights,
    count_words,
    sum_counts,
    word_scores,
    word_weights,
)
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.reasons import DropReason
from curate.rundir.damage import OF_BALANCE
from curate.rundir.directory import Part, Run
from curate.schema import WFPP, Stage
from curate.stages.part import PartOutput, PartStep, Sieve, TakeParts, given
from curate.stages.quantiles import FindCuts, Quantiles
from curate.stages.timing import timed

_FEW = 1 << 18


def _captions(run: Run, reads: str, part: Part) -> pa.ChunkedArray:
    return run.rows(reads, part, columns=["caption"])["caption"]


class CountWords(beam.DoFn):
    """Part -> the counts of its words."""

    def __init__(self, run: Run, reads: str) -> None:
        self._run, self._reads = run, reads

    @timed
    def process(self, part: Part) -> Iterator[WordCounts]:
        """Count the words of one part."""
        yield count_words(_captions(self._run, self._reads, part))


class SumWords(beam.CombineFn):
    """Sums word counts.

    The accumulator is a list: the sum so far, and what was not yet added to it. Adding when both are
    about as long sorts each word a few times, not once a part.
    """

    def create_accumulator(self) -> list[WordCounts]:
        """No words."""
        return [sum_counts([])]

    def add_input(self, total: list[WordCounts], found: WordCounts) -> list[WordCounts]:
        """Add the counts of one part."""
        total.append(found)
        waiting = sum(len(one.words) for one in total[1:])
        return [sum_counts(total)] if waiting > max(_FEW, len(total[0].words)) else total

    def merge_accumulators(self, totals: Iterable[list[WordCounts]]) -> list[WordCounts]:
        """Add up totals."""
        return [sum_counts([one for total in totals for one in total])]

    def extract_output(self, total: list[WordCounts]) -> WordCounts:
        """All counts in one."""
        return sum_counts(total)


@dataclass(frozen=True)
class WfppStep(PartStep):
    """Keeps the pairs of one part whose score reaches the cut."""

    stage: ClassVar[Stage] = Stage.BALANCE

    fraction: float
    threshold: float
    columns: pa.Schema

    def process(self, part: Part, weights: WordWeights, cut: float) -> PartOutput:
        """Keep the pairs whose score, by the `weights` of their words, is at least `cut`."""
        table = self.incoming(part)
        scores = pa.array(word_scores(table["caption"], weights))
        table = table.append_column("word_score", scores)
        sieve = Sieve(table, stage=self.stage)
        below = scores.to_numpy() < cut
        sieve.remove(below, reason=DropReason.FREQUENT_WORDS, value=table["word_score"])
        return sieve.output(columns=self.columns)

    def scores(self, part: Part, weights: WordWeights) -> pa.Table:
        """The score of each pair of a part."""
        return pa.table([word_scores(_captions(self.run, self.reads, part), weights)], WFPP)


def remove_entries(run: Run) -> None:
    """Remove what a balance of another kind has left of another configuration."""
    for name in OF_BALANCE:
        files.remove(run.path(Stage.BALANCE, name))


def settle_cut(cuts: Cuts, *, step: WfppStep) -> float:
    """The score to reach."""
    remove_entries(step.run)
    return next(iter(cuts.values()), Cut(0, 0.0)).value


class Wfpp(beam.PTransform):
    """Parts -> parts without the pairs whose words are frequent; a barrier."""

    def __init__(self, step: WfppStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Count, score, settle the cut, keep."""
        step = self._step
        weights = (
            parts
            | "Count words" >> beam.ParDo(CountWords(step.run, step.reads))
            | "Sum words" >> beam.CombineGlobally(SumWords()).without_defaults()
            | "Weights" >> beam.Map(word_weights, threshold=step.threshold)
        )
        wanted = Quantile(WFPP.names[0], step.fraction)
        known = beam.pvalue.AsSingleton(weights)
        cut = (
            parts
            | "Quantiles" >> FindCuts(Quantiles((wanted,), WFPP, step.scores), weights)
            | "Cut" >> beam.Map(settle_cut, step=step)
        )
        return parts | "Keep" >> TakeParts(step, known, beam.pvalue.AsSingleton(cut))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The pruning of pairs of frequent words, in the balance's place."""
    if plan.config.balance is None or plan.config.balance.wfpp is None:
        raise AssertionError("balance.wfpp is not configured")
    own = WfppStep(
        **given(plan, step),
        **plan.config.balance.wfpp.model_dump(),
        columns=plan.steps.columns(step.stage),
    )
    return Wfpp(own)
