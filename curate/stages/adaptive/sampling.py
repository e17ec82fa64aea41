"""Balance by perspectives (ADR): counts of all pairs -> tau of each perspective -> the pairs kept.

In the place of the balance by entries where `balance.adaptive` is set. May drop: a pair that the
sampling leaves out. tau is over the entries of all languages together, of which those of two languages
are others. A pair's perspectives are independent, so what is drawn is one number a pair, by its uid,
against the probability that enough of them pass: the same law as a draw for each entity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.config import Adaptive as Asked
from curate.ops.selection import adaptive, balancing
from curate.ops.selection.sampling import drawn
from curate.planning.plan import Plan
from curate.planning.steps import Kind, Step
from curate.reasons import DropReason
from curate.rundir.directory import Part
from curate.schema import MATCHES, Stage
from curate.stages.adaptive.counting import (
    Counting,
    Entries,
    FindHead,
    Found,
    Head,
    mapped,
    settle_entries,
)
from curate.stages.adaptive.written import CountKept, NameHead, SumKept, write_found
from curate.stages.balance import CountEntries, SumCounts, by_language, concepts
from curate.stages.part import PartOutput, PartStep, Sieve, TakeParts, given


@dataclass(frozen=True)
class AdaptiveStep(PartStep):
    """Samples the pairs of one part."""

    stage: ClassVar[Stage] = Stage.BALANCE

    asked: Asked
    metadata: dict[str, str]
    seed: int
    columns: pa.Schema
    nouns: str | None = None  # the folder of the nouns of what comes in

    def incoming(self, part: Part) -> pa.Table:
        """The input rows of a part, with their nouns."""
        table = super().incoming(part)
        if self.nouns is None:
            return table
        found = self.run.rows(self.nouns, part.index, columns=["uid", "nouns"])
        if not found["uid"].equals(table["uid"]):
            raise AssertionError(f"{self.nouns} of part {part.index} is not of its rows")
        return table.append_column("nouns", found["nouns"])

    def countings(self) -> list[Counting]:
        """The perspectives whose entities are known by keys."""
        found, first = [], 0
        numbers = {}
        if self.asked.pairs is not None:
            for language in sorted(self.metadata):
                numbers[language] = first
                first += len(concepts(self.metadata[language]))
            found.append(Counting("pairs", self.asked.pairs, numbers))
        if self.asked.nouns is not None:
            found.append(Counting("nouns", self.asked.nouns))
        return found

    def process(self, part: Part, found: Found) -> PartOutput:
        """Sample by what was counted."""
        table = self.incoming(part)
        keep = pa.array(self.probabilities(table, found))
        sieve = Sieve(table.append_column("keep_probability", keep), stage=self.stage)
        left_out = ~drawn(table["uid"], keep, seed=self.seed)
        sieve.remove(left_out, reason=DropReason.SAMPLED_OUT, value=keep)
        return sieve.output(columns=self.columns)

    def probabilities(self, table: pa.Table, found: Found) -> NDArray[np.float64]:
        """The probability with which each pair is kept, shape (n,)."""
        passing = [passes(table, self.countings(), found[name], name) for name in sorted(found)]
        return adaptive.keep_probability(passing, n_p=self.asked.n_p, alpha=self.asked.alpha)


def passes(
    table: pa.Table, countings: Sequence[Counting], found: Entries | Head, name: str
) -> NDArray[np.float64]:
    """The probability with which a perspective of each pair passes, shape (n,)."""
    out = np.zeros(len(table))
    if isinstance(found, Entries):
        for language, rows in by_language(table):
            if language in found.counts:
                probs = balancing.entry_probs(found.counts[language].counts, t=found.tau)
                out[rows] = balancing.keep_probability(table["matches"].take(rows), probs)
        return out
    head, counts = mapped(found)
    counting = next(one for one in countings if one.name == name)
    for rows, (_, ends, keys) in counting.keys(table):
        out[rows] = adaptive.passes(ends, keys, head=head, counts=counts, tau=found.tau)
    return out


def gather(_: None, *found: Entries | Head) -> Found:
    """The perspectives by name."""
    return {one.name: one for one in found}


class Adaptive(beam.PTransform):
    """Parts -> parts that are sampled; a barrier. What was counted is written beside."""

    def __init__(self, step: AdaptiveStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Count from each perspective, settle tau, sample, count what is left."""
        step, one = self._step, beam.pvalue.AsSingleton
        sizes = {x: len(concepts(path)) for x, path in step.metadata.items()}
        share, perspectives = step.asked.entries, []
        if share is not None:
            counts = self._counts(parts, "Count", step.reads, sizes)
            perspectives.append(counts | "Settle" >> beam.Map(settle_entries, share=share))
        countings = step.countings()
        for counting in countings:
            reads = step.nouns if counting.name == "nouns" and step.nouns else step.reads
            head = FindHead(step.run, reads, counting)
            perspectives.append(parts | f"Count {counting.name}" >> head)
        once = parts.pipeline | "Once" >> beam.Create([None])
        found = one(once | "Gather" >> beam.Map(gather, *map(one, perspectives)))
        sampled = parts | "Sample" >> TakeParts(step, found)
        kept = []
        if share is not None:
            kept.append(self._counts(sampled, "Count kept", step.folder, sizes))
        for counting in countings:
            count = beam.ParDo(CountKept(step.run, step.folder, counting), found)
            of_it = sampled | f"Count kept {counting.name}" >> count
            sum_ = beam.CombineGlobally(SumKept()).without_defaults()
            kept.append(of_it | f"Count kept {counting.name}: sum" >> sum_)
        names = parts.pipeline | "No names" >> beam.Create([])
        if step.nouns is not None:
            names = parts | "Names" >> beam.ParDo(NameHead(step.run, step.nouns), found)
        named = (
            names | "One a key" >> beam.CombinePerKey(min) | "All names" >> beam.combiners.ToList()
        )
        write = beam.Map(
            write_found, found, one(named), *map(one, kept), run=step.run, metadata=step.metadata,
            countings=countings,
        )  # fmt: skip
        _ = once | "Write" >> write
        return sampled

    def _counts(
        self, parts: beam.PCollection, label: str, reads: str, sizes: Mapping[str, int]
    ) -> beam.PCollection:
        return (
            parts
            | label >> beam.ParDo(CountEntries(self._step.run, reads, on=MATCHES))
            | f"{label}: sum" >> beam.CombineGlobally(SumCounts(dict(sizes))).without_defaults()
        )


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The balance by perspectives."""
    asked = plan.config.balance
    if asked is None or asked.adaptive is None:
        raise AssertionError("balance.adaptive is not configured")
    nouns = plan.steps.of(Kind.NOUNS)
    own = AdaptiveStep(
        **given(plan, step),
        asked=asked.adaptive,
        metadata={x: files.absolute(p) for x, p in plan.config.prepare.metadata.items()},
        seed=plan.config.seed,
        columns=plan.steps.columns(step.stage),
        nouns=nouns[0].folder if nouns else None,
    )
    return Adaptive(own)
