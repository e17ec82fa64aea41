"""select: a stage's annotated rows -> the rows that its rules keep.

Joins what a stage found out about each pair to the pair, drops those whose outcome was a failure, and
applies the rules over the stage's columns. Exact quantiles over the whole pool, where a rule asks for
a top fraction, are taken before. Nothing is fetched or scored here, so it is cheap to do again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Rule
from curate.ops.rules import keeps, top_cut
from curate.reasons import ErrorCode, rule_reason
from curate.run import ANNOTATED, Part, Run
from curate.schema import Stage
from curate.stages.download import SUCCESS
from curate.stages.part import PartOutput, PartStep, Sieve, TakePart


@dataclass(frozen=True)
class SelectStep(PartStep):
    """Outcome and rules on one part."""

    rules: tuple[Rule, ...]
    columns: pa.Schema  # of the part afterwards

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """`sides[0]`, where there are quantile rules, maps each one's label to its cut."""
        cuts: dict[str, float] = sides[0] if sides else {}
        table = self.incoming(part)
        folder = files.join(self.stage, ANNOTATED)
        annotated = files.read_table(self.run.part(folder, part.index))
        if not annotated["uid"].equals(table["uid"]):
            raise AssertionError(
                f"{folder} of part {part.index} is not of the rows of {self.reads}"
            )
        for name in annotated.column_names:
            if name != "uid":
                table = table.append_column(name, annotated[name])
        sieve = Sieve(table, stage=self.stage)
        self._failures(sieve)
        for rule in self.rules:
            rows = ~keeps(sieve.table, rule, cut=cuts.get(rule.label))
            sieve.remove(rows, reason=rule_reason(rule.label), value=sieve.table[rule.column])
        return sieve.output(columns=self.columns)

    def _failures(self, sieve: Sieve) -> None:
        if "outcome" in sieve.table.column_names:
            for outcome in sorted(set(sieve.table["outcome"].to_pylist()) - {SUCCESS}):
                failed = pc.equal(sieve.table["outcome"], outcome)
                sieve.remove(failed, reason=outcome, value=sieve.table["detail"])
        if "clip_score" in sieve.table.column_names:
            finite = pc.fill_null(pc.is_finite(sieve.table["clip_score"]), False)
            sieve.remove(pc.invert(finite), reason=ErrorCode.SCORE_NOT_FINITE)


@dataclass(frozen=True)
class SelectDownload(SelectStep):
    """Drops failed downloads and applies the image rules."""

    stage: ClassVar[Stage] = Stage.DOWNLOAD


@dataclass(frozen=True)
class SelectScore(SelectStep):
    """Applies the score rules."""

    stage: ClassVar[Stage] = Stage.SCORE


class _Values(beam.DoFn):
    def __init__(self, run: Run, folder: str, rules: tuple[Rule, ...]) -> None:
        self._run, self._folder, self._rules = run, folder, rules

    def process(self, part: Part) -> Iterator[tuple[str, Any]]:
        columns = [rule.column for rule in self._rules]
        table = files.read_table(self._run.part(self._folder, part.index), columns=columns)
        for rule in self._rules:
            values = pc.drop_null(table[rule.column]).to_numpy()
            yield rule.label, values[np.isfinite(values)]


def _cuts(values: Iterable[tuple[str, Any]], *, run: Run, stage: Stage, rules: Any) -> Any:
    """One cut a rule, written to ``STAGE/quantiles.json``."""
    by_label: dict[str, list[Any]] = {rule.label: [] for rule in rules}
    for label, found in values:
        by_label[label].append(found)
    cuts = {
        rule.label: top_cut(np.concatenate(by_label[rule.label]), fraction=rule.top_fraction)
        for rule in rules
    }
    files.write_json(run.path(stage, "quantiles.json"), cuts)
    return cuts


class Select(beam.PTransform):
    """Parts whose annotated rows stand -> parts whose rows are selected."""

    def __init__(self, step: SelectStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: Any) -> Any:
        """Without a quantile rule a map; with one, a barrier: every row's value, then the map."""
        step = self._step
        rules = tuple(rule for rule in step.rules if rule.top_fraction is not None)
        if not rules:
            return parts | "Rules" >> beam.ParDo(TakePart(step))
        folder = files.join(step.stage, ANNOTATED)
        cuts = (
            parts
            | "Values" >> beam.ParDo(_Values(step.run, folder, rules))
            | "All" >> beam.combiners.ToList()
            | "Cuts" >> beam.Map(_cuts, run=step.run, stage=step.stage, rules=rules)
        )
        return parts | "Rules" >> beam.ParDo(TakePart(step), beam.pvalue.AsSingleton(cuts))
