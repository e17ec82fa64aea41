"""The scores that are names (texts, flags, numbers of clusters): pairs of each, before and after."""

from collections import Counter
from dataclasses import dataclass

from curate import schema
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
    """The columns of labels of a run whose score stage ran."""
    columns = [one.name for one in steps.added[Stage.SCORE] if schema.is_label(one)]
    return tuple(
        _labels(name, scored.of_texts(What.SCORED, name), scored.of_texts(What.SELECTED, name))
        for name in columns
    )


def _labels(name: str, before: Counter[str], after: Counter[str]) -> Labels:
    order = sorted(before, key=lambda text: (-before[text], text))
    found = tuple(Label(text, before[text], after[text]) for text in order[:VALUES])
    return Labels(name, found, len(order) - len(found))
