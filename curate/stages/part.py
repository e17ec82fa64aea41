"""The one DoFn that takes a part through a step: read, run, write, count, and skip what is done.

A step is a frozen dataclass whose `process` maps a part to a `PartOutput`. This module does the rest:
it writes the files in order (the record last), checks that no pair is lost, writes the ledger, and
reuses rows that an earlier configuration made. A retry, or a second worker on the same part, writes
the same bytes to the same names, so both are safe.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, TypedDict, TypeGuard

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from numpy.typing import NDArray

from curate import files, schema
from curate.errors import DamagedError
from curate.machine import faults_named
from curate.parent import at_work
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.reasons import DropReason, ErrorCode
from curate.rundir.directory import ANNOTATED, JOURNAL, Part, PartRecord, Run, part_name
from curate.rundir.journal import Journal
from curate.schema import Column, Stage
from curate.summaries.counting import Counting
from curate.summaries.groups import MOST, Group, identity, number_of, write

COUNTED = "counted"
"""The output of what is counted of parts."""

_BEGUN: set[tuple[str, str]] = set()
"""The steps, by folder and digest of their settings, of which this process has done a part."""


@dataclass(frozen=True)
class PartOutput:
    """The rows of a part after a step, and those that left there."""

    kept: pa.Table
    dropped: pa.Table = field(default_factory=schema.LEDGER.empty_table)
    dead: pa.Table = field(default_factory=schema.DEAD.empty_table)
    figures: dict[str, float] = field(default_factory=dict)
    wrote: dict[str, files.Content] = field(
        default_factory=dict
    )  # written beside, by name in the run
    seen: pa.Table | None = None  # the rows before any left, with the columns that are counted


class Sieve:
    """A part's rows while a stage takes some out, each with its reason."""

    def __init__(self, table: pa.Table, *, stage: Stage) -> None:
        self.table = self._seen = table
        self._stage = stage
        self._dropped: list[pa.Table] = []
        self._dead: list[pa.Table] = []

    def remove(
        self, rows: Column | NDArray[np.bool_], *, reason: str, value: str | Column | None = None
    ) -> None:
        """Take out the rows where the mask `rows` is true.

        `reason` is a DropReason, a rule's reason or an ErrorCode; `value` a string, or a column of
        the table's length that is written as text.
        """
        mask = np.asarray(rows)
        if not mask.any():
            return
        gone = self.table.filter(pa.array(mask))
        n = len(gone)
        if value is None or isinstance(value, str):
            values = pa.array([value] * n, pa.string())
        else:
            values = as_text(value.filter(pa.array(mask)))
        is_dead = reason in frozenset(ErrorCode)
        url, caption = gone["url"], gone["caption"]
        if reason == DropReason.REVOKED:
            url = caption = pa.nulls(n, pa.string())  # of a revoked pair only the uid may stay
        columns = [
            gone["uid"], url, caption,
            pa.array([str(self._stage)] * n), pa.array([str(reason)] * n), values,
        ]  # fmt: skip
        kind = schema.DEAD if is_dead else schema.LEDGER
        (self._dead if is_dead else self._dropped).append(pa.table(columns, schema=kind))
        self.table = self.table.filter(pa.array(~mask))

    def by_pair(self, dropped: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What rules drop of the rows, (rules, rows), as what they drop of the pairs."""
        return dropped

    def output(self, *, columns: pa.Schema, figures: dict[str, float] | None = None) -> PartOutput:
        """What is left, as the given columns, what was taken out, and what there was."""
        kept = self.table.select(columns.names)
        if not kept.schema.equals(columns, check_metadata=True):
            kept = kept.cast(columns)
        return PartOutput(
            kept=kept,
            dropped=_all(self._dropped, schema.LEDGER),
            dead=_all(self._dead, schema.DEAD),
            figures=figures or {},
            seen=self._seen,
        )


def _all(tables: list[pa.Table], kind: pa.Schema) -> pa.Table:
    return pa.concat_tables(tables) if tables else kind.empty_table()


def as_text(column: Column) -> Column:
    """A column as strings, numbers in at most six digits."""
    if pa.types.is_floating(column.type):
        return pa.array(
            [None if x is None else f"{x:.6g}" for x in column.to_pylist()], pa.string()
        )
    return pc.cast(column, pa.string())


@dataclass(frozen=True)
class PartStep(ABC):
    """A step that a part goes through.

    `stage` is where its rows are counted; an `annotates` step writes a column for every row under
    ``STAGE/annotated`` and drops none, any other writes the stage's parts and ledger.
    """

    stage: ClassVar[Stage]
    annotates: ClassVar[bool] = False

    run: Run
    reads: str  # the folder of the parts that come in
    digest: str
    own: str
    counting: Counting | None = field(default=None, kw_only=True)  # None where it annotates

    @property
    def folder(self) -> str:
        """The folder of the step's parts in the run."""
        return files.join(self.stage, ANNOTATED) if self.annotates else str(self.stage)

    def incoming(self, part: Part) -> pa.Table:
        """The input rows of a part."""
        return self.run.rows(self.reads, part)

    def reusable(self, part: Part) -> pa.Table | None:
        """The part as an earlier run of this step under the same settings of its own left it."""
        if part.fresh:
            return None
        record = self.run.record(self.folder, part.index)
        if record is None or record.own != self.own:
            return None
        try:
            return self.run.rows(self.folder, part.index)
        except DamagedError:
            return None

    @abstractmethod
    def process(self, part: Part, *sides: Any, **none: Any) -> PartOutput:
        """Run the step on a part; a step names the side inputs that its stage wires in, in order."""

    def journal(self, part: Part) -> str:
        """The folder of the journals of a part that is in work."""
        return self.run.part(self.folder, part.index, JOURNAL)

    @contextmanager
    def counted(self, part: Part) -> Iterator[Journal]:
        """A journal that only counts the rows of a part that are done, for the progress bars."""
        with files.scratch(self.journal(part)) as (file, _):
            yield Journal(file, of=self.own)

    def tidy(self, part: Part) -> None:
        """Remove the part's journals: its record is written, so no retry reads them."""
        if self.annotates:
            files.end_scratch(self.journal(part))


class Given(TypedDict):
    """What every step of a part is given."""

    run: Run
    reads: str
    digest: str
    own: str
    counting: Counting | None


def given(plan: Plan, step: Step) -> Given:
    """What `plan` gives to the `PartStep` that does `step`."""
    digest = plan.digests[step.folder]
    reads = plan.steps.upstream(step.stage)
    counting = None if step.kind.value.annotates else Counting.of(plan.steps, step.stage)
    return Given(run=plan.run, reads=reads, digest=digest.chain, own=digest.own, counting=counting)


class TakePart(beam.DoFn):
    """Takes each part through a step, and yields it with the number of rows kept."""

    def __init__(self, step: PartStep) -> None:
        self._step = step

    def process(self, part: Part, *sides: Any) -> Iterator[Part]:
        """Skip the part if it has a record of this digest; else run, write, record."""
        yield taken(self._step, part, *sides)[0]


class CountPart(TakePart):
    """The same; what is counted goes to the output `COUNTED`, by the number of the parts' group.

    Parts of a group that come one after the other go together.
    """

    def __init__(self, step: PartStep) -> None:
        super().__init__(step)
        self._number, self._group = 0, Group()

    def start_bundle(self) -> None:
        """Nothing of a bundle that failed is counted."""
        self._group = Group()

    def process(self, part: Part, *sides: Any) -> Iterator[Any]:
        """Skip the part if it has a record of this digest; else run, write, record and count."""
        left, group = taken(self._step, part, *sides)
        number = number_of(part.index)
        if number != self._number or len(self._group.places) > MOST:
            yield from (TaggedOutput(COUNTED, found) for found in self._counted())
        self._number = number
        self._group.add(group)
        yield left

    def finish_bundle(self) -> Iterator[TaggedOutput]:
        """What is counted of the last parts."""
        for found in self._counted():
            yield TaggedOutput(COUNTED, GlobalWindows.windowed_value(found))

    def _counted(self) -> Iterator[tuple[int, Group]]:
        group, self._group = self._group, Group()
        if group.of:
            yield self._number, group.travels(self._step.run, self._step.stage)


def taken(step: PartStep, part: Part, *sides: Any) -> tuple[Part, Group]:
    """A part after a step, and what is counted of it; that of a part that was done stands in files."""
    record = step.run.record(step.folder, part.index)
    group = Group(left={part.index})
    if not is_valid(record, step):
        started = time.monotonic()
        what = f"{step.folder} of part {part.index}"
        with at_work(what), faults_named(what):
            if record is not None:
                step.run.retract(step.folder, part.index, own=step.own)
            part = replace(part, fresh=record is None)
            output = step.process(part, *sides)
            record = commit(step, part, output, seconds=time.monotonic() - started)
            if step.counting:
                group = count(step.counting, part, output)
            step.tidy(part)
    if step.counting:
        group.of = {part.index: identity(record)}
    return passed(step, part, record), group


def count(counting: Counting, part: Part, output: PartOutput) -> Group:
    """What is counted of a part that went through a step."""
    tallies, places = counting.count(
        part.index, seen=output.seen, kept=output.kept, dropped=output.dropped, dead=output.dead
    )
    return Group(tallies=tallies, places=places)


class Merge(beam.CombineFn):
    """Puts together what is counted of the parts of a group."""

    def create_accumulator(self) -> Group:
        """No parts."""
        return Group()

    def add_input(self, group: Group, found: Group) -> Group:
        """Add parts."""
        group.add(found)
        return group

    def merge_accumulators(self, groups: Iterable[Group]) -> Group:
        """Put parts together."""
        whole = Group()
        for group in groups:
            whole.add(group)
        return whole

    def compact(self, group: Group) -> Group:
        """Count what was counted several times once, before it travels."""
        group.tallies.compact()
        return group

    def extract_output(self, group: Group) -> Group:
        """The parts themselves."""
        return group


class TakeParts(beam.PTransform):
    """Takes parts through a step that drops pairs, and writes what is counted of each group of them."""

    def __init__(self, step: PartStep, *sides: beam.pvalue.AsSideInput) -> None:
        super().__init__()
        self._step, self._sides = step, sides

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Parts through the step; beside them their counts, by group."""
        take = beam.ParDo(CountPart(self._step), *self._sides).with_output_types(Part)
        taken = parts | "Take" >> take.with_outputs(COUNTED, main="parts")
        if counting := self._step.counting:
            groups = taken[COUNTED] | "Merge" >> beam.CombinePerKey(Merge())
            _ = groups | "Summary" >> beam.MapTuple(partial(write, self._step.run, counting))
        return taken["parts"]


def is_valid(record: PartRecord | None, step: PartStep) -> TypeGuard[PartRecord]:
    """Whether there is a record of a part, and of the step's digest."""
    return record is not None and record.digest == step.digest


def passed(step: PartStep, part: Part, record: PartRecord) -> Part:
    """The part for the next steps, which then need not read this step's record for its tables.

    After an annotating step they still read the tables that it read.
    """
    tables = {
        name: held
        for name, held in record.wrote.items()
        if name.startswith(f"{step.folder}/") and name.endswith(".parquet")
    }
    before = part.held if step.annotates else {}
    return replace(part, kept=record.kept, held=before | tables, fresh=False)


def commit(step: PartStep, part: Part, output: PartOutput, *, seconds: float) -> PartRecord:
    """Write what a step made of a part, the record last; `seconds` are those of the work so far."""
    started = time.monotonic()
    run = step.run
    gone = len(output.dropped) + len(output.dead)
    if step.annotates and gone:
        raise AssertionError(f"{step.folder} dropped {gone} rows; only a select step may")
    record = PartRecord(
        digest=step.digest,
        own=step.own,
        rows=_rows_in(step, part),
        kept=len(output.kept),
        dropped=dict(sorted(Counter(output.dropped["reason"].to_pylist()).items())),
        dead=dict(sorted(Counter(output.dead["error"].to_pylist()).items())),
        figures=output.figures,
        first=(step.folder, step.own) not in _BEGUN,
    )
    _BEGUN.add((step.folder, step.own))
    held = dict(output.wrote)
    tables = {step.folder: output.kept}
    if not step.annotates:
        tables |= {f"dropped/{step.stage}": output.dropped, f"dead/{step.stage}": output.dead}
    for folder, table in reversed(tables.items()):
        url = run.part(folder, part.index)
        if len(table) or table is not output.dead or part.index == 0:
            held[part_name(folder, part.index)] = files.write_table(url, table)
        elif not part.fresh:
            files.remove_file(url)  # of rows that were dead under other settings
    record = replace(
        record,
        wrote=dict(sorted(held.items())),
        seconds=round(seconds + time.monotonic() - started, 3),
        ended=round(time.time(), 3),
    )
    run.write_record(step.folder, part.index, record)
    return record


def _rows_in(step: PartStep, part: Part) -> int:
    """The number of input rows by the record of the step before: an independent check of this step."""
    if step.stage is Stage.PREPARE:
        return part.rows
    if part_name(step.reads, part.index) in part.held:
        return part.kept
    record = step.run.record(step.reads, part.index)
    if record is None:
        raise AssertionError(f"{step.reads} of part {part.index} vanished while {step.folder} ran")
    return record.kept
