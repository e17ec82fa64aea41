"""Tables of users: pairs, and a table that was sorted by its key -> a column each of those wanted.

They are written to a folder of their own inside ``annotated/score``, null where the table has no row of
the pair. No row leaves here, and a retry writes the same. The tables are sorted before the first part
comes, by whoever starts the graph (`sort_tables`), and once more where a part is to be joined later.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import FurtherScore
from curate.planning.plan import Plan
from curate.planning.steps import Kind, Step
from curate.planning.tables import user_table
from curate.pool.joined import Sorted, opened, sort
from curate.rundir.directory import MATCHED, Part
from curate.rundir.scratch import TABLES
from curate.schema import Stage
from curate.stages.part import PartOutput, PartStep, TakePart, given


@dataclass(frozen=True)
class TableStep(PartStep):
    """The columns of one table for one part."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    name: str
    on: str
    columns: pa.Schema
    table: str  # the folder that it is sorted in

    @property
    def folder(self) -> str:
        """``annotated/score/NAME``."""
        return files.join(super().folder, self.name)

    @cached_property
    def _sorted(self) -> Sorted:
        return opened(self.table)

    def process(self, part: Part) -> PartOutput:
        """Look the pairs up; of several rows with the key of a pair the last counts."""
        pairs = self.run.rows(self.reads, part, columns=list(dict.fromkeys(["uid", self.on])))
        places, found = self._sorted.look_up(pairs[self.on])
        at = np.full(len(pairs), -1)
        at[places] = np.arange(len(places))
        rows = pa.array(at, mask=at < 0)
        columns = [pc.take(found[name], rows).combine_chunks() for name in self.columns.names]
        kinds = pa.schema([("uid", pa.string()), *self.columns])
        table = pa.table([pairs["uid"].combine_chunks(), *columns], names=kinds.names).cast(kinds)
        return PartOutput(table, figures={MATCHED: float((at >= 0).sum())})


def sort_tables(plan: Plan) -> int:
    """Sort each table that a part is still to be joined with; how many of their rows repeat a key.

    Raises
    ------
    CurateError
        Naming the key, and the file and the row that cannot be read.
    """
    repeats = 0
    for step in plan.steps.of(Kind.TABLE):
        digests = plan.run.record_table(step.folder)["digest"].to_pylist()
        if plan.run.makes(step.stage) and digests.count(_digest(plan, step)) < len(plan.parts):
            folder = _folder(plan, step)
            sort(user_table(step.name, _settings(step)), folder)
            repeats += opened(folder).repeats
    return repeats


def _digest(plan: Plan, step: Step) -> str:
    return plan.digests[step.folder].chain


def _folder(plan: Plan, step: Step) -> str:
    return plan.run.path("input", TABLES, f"{step.name}-{plan.digests[step.folder].own[:16]}")


def _settings(step: Step) -> FurtherScore:
    if not isinstance(step.settings, FurtherScore):
        raise AssertionError(f"{step.folder} has no table")
    return step.settings


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts -> parts whose pairs have the columns of a table; a map."""
    own = TableStep(
        **given(plan, step),
        name=step.name,
        on=_settings(step).on,
        columns=step.columns,
        table=_folder(plan, step),
    )
    return beam.ParDo(TakePart(own))
