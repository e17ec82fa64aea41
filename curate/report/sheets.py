"""The pairs to look at before a threshold is chosen: those next to it, and the ends of a score."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.finding.stored import spread
from curate.rundir.directory import ANNOTATED, Beside, Run
from curate.schema import Stage
from curate.summaries.counting import NO_LANGUAGE, ends
from curate.summaries.tallies import SHOWN, Example, First, Ranked

PARTS = 64
"""Parts whose pairs are looked at, at most: of a pool of more those that are evenly spread over it."""

_Bound = Literal[">=", ">", "<=", "<"]
_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True)
class Strip:
    """Which pairs to show: those with the lowest values above a bound, or with the highest below."""

    column: str
    bound: _Bound
    value: float
    language: str | None = None  # of the caption; None for all

    @property
    def upward(self) -> bool:
        """Whether the lowest values come first."""
        return self.bound.startswith(">")


@dataclass(frozen=True)
class Sheet:
    """The pairs next to a threshold, the nearest first."""

    rule: str
    value: float
    keeps: str  # `above` or `below`
    language: str | None  # of the captions, where the threshold is that of one language
    kept: tuple[Example, ...]
    dropped: tuple[Example, ...]


@dataclass(frozen=True)
class Ends:
    """The pairs with the highest and with the lowest values of a column."""

    highest: tuple[Example, ...]
    lowest: tuple[Example, ...]


def beside(
    column: str, value: float, *, keeps: str, language: str | None = None
) -> tuple[Strip, Strip]:
    """The kept and the dropped pairs next to a threshold; `keeps` is ``above`` or ``below``."""
    bounds: tuple[_Bound, _Bound] = (">=", "<") if keeps == "above" else ("<=", ">")
    kept, dropped = (Strip(column, bound, value, language) for bound in bounds)
    return kept, dropped


def show(
    run: Run, strips: Sequence[Strip], *, reads: Stage, beside: Beside
) -> dict[Strip, tuple[Example, ...]]:
    """The pairs of each strip, by value and then by uid; of a large pool those of `PARTS` parts.

    `reads` is the stage whose rows the scores are of, `beside` the folders of further columns.
    """
    found: dict[Strip, list[Ranked]] = {strip: [] for strip in strips}
    columns = list(dict.fromkeys(strip.column for strip in strips))

    def read(index: int) -> tuple[pa.Table, pa.Table]:
        table = run.annotated(Stage.SCORE, index, ["uid", *columns], beside=beside)
        return table, run.rows(reads, index, columns=["uid", "url", "caption", "language"])

    folder = files.join(Stage.SCORE, ANNOTATED)
    parts = spread(run.done(folder), n=PARTS) if strips else []
    for index, (table, pairs) in run.each(parts, read):
        if not pairs["uid"].equals(table["uid"]):
            continue  # a run that is not finished: these scores are of other pairs
        for strip, so_far in found.items():
            more = _nearest(pairs, table[strip.column], strip, part=index)
            nearest = sorted([*so_far, *more], key=lambda one: (one[0], one[1].uid))
            found[strip] = nearest[: SHOWN[First.LOWEST]]
    return {strip: tuple(pair for _, pair in rows) for strip, rows in found.items()}


def _nearest(pairs: pa.Table, column: pa.ChunkedArray, strip: Strip, *, part: int) -> list[Ranked]:
    values = column.cast(pa.float64()).to_numpy()
    inside = _COMPARE[strip.bound](values, strip.value)
    if strip.language is not None:
        ours = pc.fill_null(pairs["language"], NO_LANGUAGE)
        inside &= np.asarray(pc.equal(ours, strip.language))
    rank = np.where(inside, values if strip.upward else -values, np.nan)
    return ends(pairs, rank, values, n=SHOWN[First.LOWEST], part=part)
