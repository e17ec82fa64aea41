"""The scores that are texts or flags: how many pairs have each value, before the rules and after."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate.planning.steps import Steps
from curate.report.wording import value
from curate.run.directory import SCORED, Run
from curate.schema import Stage

VALUES = 20
"""Values of a column that are counted in the report, at most: the most frequent."""


@dataclass(frozen=True)
class Label:
    """A value of a column."""

    value: str
    before: int  # scored pairs
    after: int  # that the score stage kept


@dataclass(frozen=True)
class Labels:
    """A column of texts or flags."""

    column: str
    values: tuple[Label, ...]  # the most frequent first
    others: int  # further values


def labels(run: Run, steps: Steps) -> tuple[Labels, ...]:
    """The columns of texts and flags of a run whose score stage ran."""
    columns = [one.name for one in steps.added[Stage.SCORE] if _is_label(one.type)]
    before: dict[str, Counter[str]] = {name: Counter() for name in columns}
    after: dict[str, Counter[str]] = {name: Counter() for name in columns}
    beside = steps.beside(Stage.SCORE)

    def read(index: int) -> pa.Table:
        return run.annotated(Stage.SCORE, index, columns, beside=beside)

    for _, table in run.each(run.done(SCORED), read) if columns else ():
        _count(table, before)
    for table in run.tables(Stage.SCORE, columns) if columns else ():
        _count(table, after)
    return tuple(_labels(name, before[name], after[name]) for name in columns)


def _labels(name: str, before: Counter[str], after: Counter[str]) -> Labels:
    order = sorted(before, key=lambda text: (-before[text], text))
    found = tuple(Label(text, before[text], after[text]) for text in order[:VALUES])
    return Labels(name, found, len(order) - len(found))


def _count(table: pa.Table, counts: dict[str, Counter[str]]) -> None:
    for name, counter in counts.items():
        for row in pc.value_counts(table[name]).to_pylist():
            counter[value(row["values"])] += row["counts"]


def _is_label(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_boolean(kind))
