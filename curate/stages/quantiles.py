"""quantiles: a column of all parts -> the values that the highest fractions reach; a barrier.

Each pass reads the column again and sends no more than the counts of one digit from each worker
(:mod:`ops.selection.quantiles`), so memory does not grow with the pool. The cuts are the same for any
number of workers, and a retry counts the same.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa

from curate.ops.selection.quantiles import (
    Counted,
    Quantile,
    Searches,
    add_digits,
    added,
    count_digits,
    cuts_of,
    narrow,
    passes,
)
from curate.rundir.directory import Part
from curate.stages.timing import timed


class CountDigits(beam.DoFn):
    """Part -> the counts of one digit of its values."""

    def __init__(self, quantiles: "Quantiles", number: int) -> None:
        self._quantiles, self._number = quantiles, number

    @timed
    def process(self, part: Part, searches: Searches, *sides: Any) -> Iterator[Counted]:
        """Count one part; `sides` are what reading it takes."""
        asked = self._quantiles
        table = asked.read(part, *sides)
        yield count_digits(table, asked.quantiles, searches, number=self._number)


class SumDigits(beam.CombineFn):
    """Sums the counts of parts."""

    def create_accumulator(self) -> list[Counted]:
        """No values."""
        return []

    def add_input(self, total: list[Counted], found: Counted) -> list[Counted]:
        """Add the counts of one part."""
        return added([*total, found])

    def merge_accumulators(self, totals: Iterable[list[Counted]]) -> list[Counted]:
        """Put totals together."""
        merged: list[Counted] = []
        for total in totals:
            merged = added([*merged, *total])
        return merged

    def compact(self, total: list[Counted]) -> list[Counted]:
        """Add up what is to travel."""
        return [add_digits(total)]

    def extract_output(self, total: list[Counted]) -> Counted:
        """The sum."""
        return add_digits(total)


@dataclass(frozen=True)
class Quantiles:
    """What is asked: `read` gives the columns of a part, restricted to the rows that count.

    It is given the part, and the side inputs of `FindCuts`.
    """

    quantiles: tuple[Quantile, ...]
    columns: pa.Schema
    read: Callable[..., pa.Table]


class FindCuts(beam.PTransform):
    """Parts -> one element, the cuts; `sides` are what reading a part takes, an element each."""

    def __init__(self, asked: Quantiles, *sides: beam.PCollection) -> None:
        super().__init__()
        self._asked, self._sides = asked, sides

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """One pass a digit, each knowing what the one before has found."""
        asked = self._asked
        found = parts.pipeline | "Nothing known" >> beam.Create([{}])
        sides = [beam.pvalue.AsSingleton(side) for side in self._sides]
        most = max(passes(one, asked.columns) for one in asked.quantiles)
        for number in range(most):
            counted = (
                parts
                | f"Count {number}"
                >> beam.ParDo(CountDigits(asked, number), beam.pvalue.AsSingleton(found), *sides)
                | f"Sum {number}" >> beam.CombineGlobally(SumDigits()).without_defaults()
            )
            found = found | f"Narrow {number}" >> beam.Map(
                narrow, beam.pvalue.AsSingleton(counted), number=number
            )
        return found | "Settle" >> beam.Map(cuts_of, asked.columns)
