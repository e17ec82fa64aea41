"""The pairs to look at before a threshold is chosen: those next to it, and the ends of a score."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.report.ledger import Example
from curate.run.directory import ANNOTATED, Beside, Run
from curate.schema import Stage

SHOWN = 8
"""Pairs of each row of a sheet."""

_Bound = Literal[">=", ">", "<=", "<"]
_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True)
class Strip:
    """Which pairs to show: the lowest values of a column that lie above a bound, or the highest below.

    Without a value they are the lowest (``>=``) or the highest (``<=``) of all.
    """

    column: str
    bound: _Bound
    value: float | None = None
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
    """The pairs of each strip, by value and then by uid; the same however the pool is split into parts.

    `reads` is the stage whose rows the scores are of, `beside` the folders of further columns.
    """
    found: dict[Strip, list[tuple[float, str, Example]]] = {strip: [] for strip in strips}
    columns = list(dict.fromkeys(strip.column for strip in strips))

    def read(index: int) -> tuple[pa.Table, pa.Table]:
        table = run.annotated(Stage.SCORE, index, ["uid", *columns], beside=beside)
        return table, run.rows(reads, index, columns=["uid", "url", "caption", "language"])

    folder = files.join(Stage.SCORE, ANNOTATED)
    for index, (table, pairs) in run.each(run.done(folder), read) if strips else ():
        if not pairs["uid"].equals(table["uid"]):
            continue  # a run that is not finished: these scores are of other pairs
        for strip, so_far in found.items():
            more = _nearest(pairs, table[strip.column], strip, part=index)
            found[strip] = sorted([*so_far, *more], key=lambda one: one[:2])[:SHOWN]
    return {strip: tuple(one[2] for one in rows) for strip, rows in found.items()}


def _nearest(
    pairs: pa.Table, column: pa.ChunkedArray, strip: Strip, *, part: int
) -> list[tuple[float, str, Example]]:
    values = column.cast(pa.float64()).to_numpy()
    inside = np.isfinite(values)
    if strip.value is not None:
        inside &= _COMPARE[strip.bound](values, strip.value)
    if strip.language is not None:
        ours = pc.fill_null(pairs["language"], "unknown")
        inside &= np.asarray(pc.equal(ours, strip.language))
    at = np.flatnonzero(inside)
    rank = values[at] if strip.upward else -values[at]
    if len(at) > SHOWN:  # ties at the last place are broken by uid
        near = rank <= np.partition(rank, SHOWN - 1)[SHOWN - 1]
        at, rank = at[near], rank[near]
    rows = pairs.take(pa.array(at)).to_pylist()
    found = [
        (
            float(r),
            row["uid"],
            Example(part, row["uid"], row["url"], row["caption"], value=f"{values[i]:.4g}"),
        )
        for i, r, row in zip(at, rank, rows, strict=True)
    ]
    return sorted(found, key=lambda one: one[:2])[:SHOWN]
