"""The scores that are texts or flags: how many pairs have each value, before the rules and after."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from curate.planning.steps import Steps
from curate.schema import Stage
from curate.summaries.tallies import Tallies, What

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


def labels(scored: Tallies, steps: Steps) -> tuple[Labels, ...]:
    """The columns of texts and flags of a run whose score stage ran."""
    columns = [one.name for one in steps.added[Stage.SCORE] if _is_label(one.type)]
    return tuple(
        _labels(name, scored.of_texts(What.SCORED, name), scored.of_texts(What.SELECTED, name))
        for name in columns
    )


def _labels(name: str, before: Counter[str], after: Counter[str]) -> Labels:
    order = sorted(before, key=lambda text: (-before[text], text))
    found = tuple(Label(text, before[text], after[text]) for text in order[:VALUES])
    return Labels(name, found, len(order) - len(found))


def _is_label(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_boolean(kind))
