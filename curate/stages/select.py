"""select: a stage's annotated rows -> the rows that its rules keep.

Joins what a stage found out about each pair to the pair, drops those whose outcome was a failure, and
applies the rules whose columns all exist by now. Exact quantiles over the whole pool, where a rule
asks for a top fraction, are taken before (`stages.cuts`). Nothing is fetched or scored here, so it
is cheap to do again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.config import Config, Rule
from curate.config.paths import absolute
from curate.ops.captions import score_figures, with_chosen, with_scores
from curate.ops.selection.quantiles import Cuts, quantiles_of, read_by
from curate.ops.selection.rules import drops, shares
from curate.ops.text.patterns import first_of
from curate.planning.asked import runs_model
from curate.planning.plan import Plan
from curate.planning.steps import Kind, Step
from curate.reasons import ALONE, ONLY, SUCCESS, DropReason, ErrorCode, rule_reason
from curate.rundir.cuts import read_cuts
from curate.rundir.directory import ANNOTATED, SCORED, Beside, Part, Run
from curate.schema import ITEM, OF_CAPTIONS, ROW, SCORE, SEMANTIC, SIMILARITY, Column, Stage
from curate.stages.part import PartOutput, PartStep, Sieve, TakeParts, as_text, given
from curate.stages.score.measure import FAILED
from curate.stages.unwanted import Evaluations

_FAILURE = "failure"
LONGEST_VALUE = 200
"""Characters of a text in the ledger; the pair's caption and URL stand there as they are."""


def apply_rules(
    sieve: Sieve, rules: Sequence[Rule], *, cuts: Cuts | None = None
) -> dict[str, float]:
    """Take out each row that some rule drops, for the first one that does; figures of all rules."""
    dropped = drops(sieve.table, rules, cuts=cuts or {})
    figures = _figures(sieve.by_pair(dropped), rules)
    left = np.arange(len(sieve.table))
    for rule, row in zip(rules, dropped, strict=True):
        gone = row[left]
        sieve.remove(gone, reason=rule_reason(rule.label), value=_values(sieve.table, rule))
        left = left[~gone]
    return figures


def rule_figures(table: pa.Table, rules: Sequence[Rule], *, cuts: Cuts) -> dict[str, float]:
    """What `apply_rules` would count over the rows of `table`, of which nothing is taken out."""
    return _figures(drops(table, rules, cuts=cuts), rules)


def _figures(dropped: NDArray[np.bool_], rules: Sequence[Rule]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for label, (alone, only) in shares(dropped, rules).items():
        figures |= {ALONE + label: alone, ONLY + label: only}
    return figures


def _values(table: pa.Table, rule: Rule) -> Column:
    """What a rule's decision rests on: a column, or ``NAME=VALUE`` of each of several."""
    if rule.column is not None and rule.same_as is None:
        column = table[rule.column]
        return _cut(column, rule.not_matches) if rule.of_text else column
    names = dict.fromkeys(
        name for leaf in rule.leaves() for name in (leaf.column, leaf.same_as) if name
    )
    parts = [pc.binary_join_element_wise(f"{name}", pc.fill_null(as_text(table[name]), ""), "=")
             for name in names]  # fmt: skip
    return pc.binary_join_element_wise(*parts, ", ")


def _cut(column: Column, found: str | None) -> Column:
    """Texts for the ledger: what the pattern `found` matched in them, of long ones the beginning."""
    if found is not None:
        column = first_of(column, found)
    short = pc.utf8_slice_codeunits(column, 0, LONGEST_VALUE)
    return pc.if_else(pc.equal(short, column), column, pc.binary_join_element_wise(short, "…", ""))


@dataclass(frozen=True)
class SelectStep(PartStep):
    """Outcome and rules on one part."""

    rules: tuple[Rule, ...]
    columns: pa.Schema  # of the part afterwards
    scores: tuple[str, ...] = ()  # columns that a pair must have a finite value of
    beside: Beside = field(default_factory=dict)  # further columns of the annotated rows

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The columns, beside outcome and scores, that a failure follows from."""
        return ()

    def process(self, part: Part) -> PartOutput:
        """Judge the outcome, then apply the rules."""
        sieve, figures = self.sieved(part)
        return sieve.output(columns=self.columns, figures=figures)

    def sieved(self, part: Part) -> tuple[Sieve, dict[str, float]]:
        """The pairs that outcome and rules keep, those that they do not, and the rules' figures."""
        table, annotated = self.incoming(part), self._annotated(part)
        if not annotated["uid"].equals(table["uid"]):
            raise AssertionError(
                f"{self.stage}/{ANNOTATED} of part {part.index} is not of the rows of {self.reads}"
            )
        whole = self.together(_joined(table, annotated.drop_columns("uid")))
        sieve = Sieve(self.judged(whole), stage=self.stage)
        for reason in sorted(set(sieve.table[_FAILURE].to_pylist()) - {None}):
            rows = pc.fill_null(pc.equal(sieve.table[_FAILURE], reason), False)
            value = sieve.table["detail"] if "detail" in sieve.table.column_names else None
            sieve.remove(rows, reason=reason, value=value)
        return sieve, apply_rules(sieve, self.rules, cuts=self.cuts)

    @cached_property
    def cuts(self) -> Cuts:
        """The cuts of the rules, which are written before the first part comes; read once a worker."""
        return stored_cuts(self.run, self.stage, self.rules)

    def together(self, table: pa.Table) -> pa.Table:
        """Rows with what the stage found of them, where one changes the other."""
        return table

    def judged(self, table: pa.Table) -> pa.Table:
        """`table` with the reason why a row fails before any rule; null for the others."""
        return table.append_column(_FAILURE, failures(table, scores=self.scores))

    def _annotated(self, part: Part, names: Collection[str] | None = None) -> pa.Table:
        return self.run.annotated(self.stage, part, names, beside=self.beside)

    def sound(self, part: Part) -> pa.Table:
        """The columns that quantiles are of, for the rows that did not fail."""
        names = {*read_by(quantiles_of(self.rules)), *self.scores, *self.judged_by}
        table = self._annotated(part, {"outcome", *names})
        if others := names - {*table.column_names}:
            table = _joined(self.run.rows(self.reads, part, present=others), table)
        return table.filter(pc.is_null(self.judged(table)[_FAILURE]))


def _joined(table: pa.Table, annotated: pa.Table) -> pa.Table:
    for name in annotated.column_names:
        table = table.append_column(name, annotated[name])
    return table


def failures(table: pa.Table, *, scores: Sequence[str]) -> Column:
    """The reason why each row fails before any rule; null for the others.

    A row needs a finite value in each column of `scores`; its `error` is that of a score that failed.
    """
    reasons = pa.nulls(len(table), pa.string())
    if "outcome" in table.column_names:
        failed = pc.not_equal(table["outcome"], SUCCESS)
        reasons = pc.if_else(failed, table["outcome"], reasons)
    for name in scores:
        finite = pc.fill_null(pc.is_finite(table[name]), True)
        reasons = pc.if_else(finite, reasons, str(ErrorCode.SCORE_NOT_FINITE))
        reasons = pc.if_else(pc.is_null(table[name]), str(ErrorCode.IMAGE_UNDECODABLE), reasons)
    if "error" in table.column_names:
        reasons = pc.coalesce(table["error"], reasons)
    return reasons


def with_errors(table: pa.Table, run: Run, part: int | Part, *, folders: Sequence[str]) -> pa.Table:
    """Scores of a part, with error and detail of the first of `folders` in which a row failed."""
    for folder in folders:
        found = run.rows(folder, part, present=FAILED)
        if not found.column_names:
            continue
        failed = pc.is_valid(found["error"])
        for name in FAILED:
            column = pc.if_else(failed, found[name], None)
            if name in table.column_names:
                column = pc.coalesce(table[name], column)
                table = table.drop_columns(name)
            table = table.append_column(name, column)
    return table


@dataclass(frozen=True)
class SelectDownload(SelectStep):
    """Drops failed downloads and applies the image rules."""

    stage: ClassVar[Stage] = Stage.DOWNLOAD

    evaluations: Evaluations | None = None

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The columns that a pair of an evaluation set is recognised by."""
        return ("sha256", "phash", "caption", "detail")

    def judged(self, table: pa.Table) -> pa.Table:
        """As every select step; a pair of an evaluation set fails too, the item being its detail."""
        table = super().judged(table)
        if self.evaluations is None:
            return table
        items = pc.if_else(pc.is_null(table[_FAILURE]), self.evaluations.items(table), None)
        reasons = pc.if_else(pc.is_valid(items), str(DropReason.CONTAMINATED), table[_FAILURE])
        details = pc.coalesce(items, table["detail"])
        return (
            table.drop_columns([_FAILURE, "detail"])
            .append_column(_FAILURE, reasons)
            .append_column("detail", details)
        )


@dataclass(frozen=True)
class SelectScore(SelectStep):
    """Applies the score rules, and then takes out the semantic duplicates among what is left.

    Pairs whose image is as similar to an item of an evaluation set as `contaminated_from` leave
    before the rules.
    """

    stage: ClassVar[Stage] = Stage.SCORE

    scores: tuple[str, ...] = tuple(SCORE.names)
    measured: tuple[str, ...] = ()  # folders of scores that may have failed for some of the pairs
    contaminated_from: float | None = None
    semantic: bool = False  # whether there are verdicts on semantic duplicates
    scored: bool = False  # whether a model has scored each of several captions

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The similarity to evaluation sets, where it counts."""
        return () if self.contaminated_from is None else (SIMILARITY,)

    def process(self, part: Part) -> PartOutput:
        """As every select step, with the verdicts of `stages.semantic` in the end."""
        sieve, figures = self.sieved(part)
        if self.semantic:
            found = self.run.rows(files.join(SCORED, SEMANTIC), part, columns=[SEMANTIC])
            survivors = found[SEMANTIC].take(sieve.table[ROW])
            reason = DropReason.DUPLICATE_MEANING
            sieve.remove(pc.is_valid(survivors), reason=reason, value=survivors)
        if self.scored:
            figures |= score_figures(sieve.table)
        return sieve.output(columns=self.columns, figures=figures)

    def together(self, table: pa.Table) -> pa.Table:
        """Rows whose captions have their scores, and whose caption is the one that was chosen."""
        if not self.scored:
            return table
        at = table.column_names.index("captions")
        captions = with_scores(table["captions"], table["caption_scores"])
        table = table.set_column(at, table.field(at), captions)
        return with_chosen(table, table["caption_at"].to_numpy())

    def judged(self, table: pa.Table) -> pa.Table:
        """As every select step; a pair of an evaluation set fails too, the item being its detail."""
        table = super().judged(table)
        if self.contaminated_from is None:
            return table
        near = pc.greater_equal(table[SIMILARITY], self.contaminated_from)
        near = pc.and_(pc.fill_null(near, False), pc.is_null(table[_FAILURE]))
        reasons = pc.if_else(near, str(DropReason.CONTAMINATED), table[_FAILURE])
        return table.drop_columns(_FAILURE).append_column(_FAILURE, reasons)

    def _annotated(self, part: Part, names: Collection[str] | None = None) -> pa.Table:
        asked = names if names is not None else {"uid", *self.columns.names, *OF_CAPTIONS.names}
        table = self.run.annotated(self.stage, part, asked, beside=self.beside)
        table = with_errors(table, self.run, part, folders=self.measured)
        if names is not None:
            return table
        if self.contaminated_from is not None:
            detail = self.run.rows(files.join(SCORED, SIMILARITY), part, columns=[ITEM])[ITEM]
            if "detail" in table.column_names:
                detail = pc.coalesce(table["detail"], detail)
                table = table.drop_columns("detail")
            table = table.append_column("detail", detail)
        return table.append_column(ROW, pa.array(np.arange(len(table))))


def stored_cuts(run: Run, stage: Stage, rules: Sequence[Rule]) -> Cuts:
    """The stored cuts of the quantile rules among `rules`; empty where there is none."""
    return read_cuts(run, stage) if quantiles_of(rules) else {}


def evaluations(config: Config) -> Evaluations | None:
    """The evaluation sets that no pair may come from."""
    if (found := config.decontaminate) is None:
        return None
    paths = tuple(map(files.absolute, found.against))
    return Evaluations(paths, **found.model_dump(exclude={"against", "embedding_similarity"}))


def images_step(plan: Plan, step: Step) -> SelectDownload:
    """What selects the fetched images of a part under `plan`."""
    return SelectDownload(
        **given(plan, step),
        rules=tuple(map(absolute, step.rules)),
        columns=plan.steps.columns(step.stage),
        evaluations=evaluations(plan.config),
    )


def scores_step(plan: Plan, step: Step) -> SelectScore:
    """What selects the scored pairs of a part under `plan`."""
    sets = plan.config.decontaminate
    return SelectScore(
        **given(plan, step),
        rules=tuple(map(absolute, step.rules)),
        columns=plan.steps.columns(step.stage),
        scores=plan.steps.needed,
        measured=tuple(one.folder for one in plan.steps.of(Kind.MEASURE)),
        beside=plan.steps.beside(step.stage),
        contaminated_from=sets.embedding_similarity if sets else None,
        semantic=plan.config.semdedup is not None,
        scored=bool(plan.config.captions) and runs_model(plan.config),
    )


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts with annotated rows, and the cuts of the rules written -> parts of selected rows."""
    make = images_step if step.kind is Kind.SELECT_IMAGES else scores_step
    return TakeParts(make(plan, step))
