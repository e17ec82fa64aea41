"""derived: what the columns that are made of stored embeddings have in common.

Each is a step with a folder of its own, ``annotated/score/COLUMN``. One that needs more of the pool
than a part begins with a survey of all parts, and computes nothing where every part's column is done.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files, schema
from curate.ops.scores.vectors import Stored, Vectors, stored_vectors, unit
from curate.rundir.directory import SCORED, Part, Run
from curate.schema import Stage
from curate.stages.part import PartOutput, PartStep, TakePart, is_valid

Progress = tuple[int, int, bool]
"""Index and rows of a part, and whether its column is done."""


def read_vectors(run: Run, index: int, *, kind: str = "img") -> Vectors:
    """The embeddings of a part's scored rows, row by row: unit vectors, zero where there is none."""
    return unit(read_stored(run, index, kind=kind))


def read_stored(run: Run, index: int, *, kind: str = "img") -> Stored:
    """The embeddings of a part's scored rows as they are stored; not finite where there is none."""
    with files.open_read(run.part(SCORED, index, "npz")) as file, np.load(file) as found:
        return stored_vectors(found, kind=kind)


@dataclass(frozen=True)
class DerivedStep(PartStep):
    """A column made of the embeddings of one part."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True
    column: ClassVar[str]

    @property
    def folder(self) -> str:
        """``annotated/score/COLUMN``."""
        return files.join(super().folder, self.column)

    def uids(self, part: Part) -> pa.ChunkedArray:
        """The uids of the scored rows."""
        return self.run.rows(SCORED, part, columns=["uid"])["uid"]

    def output(
        self, part: Part, values: NDArray[np.generic], known: NDArray[np.bool_]
    ) -> PartOutput:
        """The column, null where a row has no embedding."""
        field = schema.DERIVED.field(self.column)
        columns = [self.uids(part).combine_chunks(), pa.array(values, field.type, mask=~known)]
        return PartOutput(pa.table(columns, schema=pa.schema([("uid", pa.string()), field])))


@dataclass(frozen=True)
class Survey:
    """What is known of all parts before a column is made."""

    rows: int
    done: bool  # whether every part's column is

    @classmethod
    def of(cls, parts: list[Progress]) -> "Survey":
        """That of all parts."""
        return cls(sum(rows for _, rows, _ in parts), all(done for *_, done in parts))


def progress(parts: beam.PCollection, *, step: PartStep) -> beam.PCollection:
    """Parts -> one list of the `Progress` of each, in any order."""
    return (
        parts
        | "Progress" >> beam.Map(_progress_of, step=step)
        | "All" >> beam.combiners.ToList().without_defaults()
    )  # fmt: skip


def survey(parts: beam.PCollection, *, step: PartStep) -> beam.PCollection:
    """Parts -> their one `Survey`."""
    return progress(parts, step=step) | "Survey" >> beam.Map(Survey.of)


def _progress_of(part: Part, step: PartStep) -> Progress:
    return part.index, part.kept, is_valid(step.run.record(step.folder, part.index), step)


def hand_out(
    parts: beam.PCollection, found: beam.PCollection, *, step: PartStep
) -> beam.PCollection:
    """Parts and (index, what was found for that part), several of each -> parts that the step took.

    What was found for a part is the list that the step's `process` takes.
    """
    return (
        {"parts": parts | "Index" >> beam.Map(_indexed), "found": found}
        | "By part" >> beam.CoGroupByKey()
        | "Take" >> beam.ParDo(_TakeFound(step))
    )


def _indexed(part: Part) -> tuple[int, Part]:
    return part.index, part


class _TakeFound(beam.DoFn):
    """Takes a part and what was found for it through a step."""

    def __init__(self, step: PartStep) -> None:
        self._take = TakePart(step)

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[Part]:
        """Take the part of this index, if the run has it: values of other parts are left."""
        _, found = element
        for part in found["parts"]:
            yield from self._take.process(part, list(found["found"]))
