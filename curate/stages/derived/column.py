"""derived: what the columns that are made of stored embeddings have in common.

Each is a step with a folder of its own, ``annotated/score/COLUMN``. One that needs more of the pool
than a part begins with a survey of all parts, and computes nothing where every part's column stands.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files, schema
from curate.ops.scores.vectors import Vectors, stored_vectors, unit
from curate.run.directory import SCORED, Part, Run
from curate.schema import Stage
from curate.stages.part import PartOutput, PartStep, TakePart, standing

Standing = tuple[int, int, bool]
"""Index and rows of a part, and whether its column stands."""


def read_vectors(run: Run, index: int, *, kind: str = "img") -> Vectors:
    """The embeddings of a part's scored rows, row by row: unit vectors, zero where there is none."""
    return unit(read_stored(run, index, kind=kind))


def read_stored(run: Run, index: int, *, kind: str = "img") -> NDArray[Any]:
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
        return self.run.rows(SCORED, part.index, columns=["uid"])["uid"]

    def output(self, part: Part, values: Any, known: NDArray[np.bool_]) -> PartOutput:
        """The column, null where a row has no embedding."""
        field = schema.DERIVED.field(self.column)
        columns = [self.uids(part).combine_chunks(), pa.array(values, field.type, mask=~known)]
        return PartOutput(pa.table(columns, schema=pa.schema([("uid", pa.string()), field])))


@dataclass(frozen=True)
class Survey:
    """What is known of all parts before a column is made."""

    rows: int
    done: bool  # whether every part's column stands

    @classmethod
    def of(cls, parts: list[Standing]) -> "Survey":
        """That of all parts."""
        return cls(sum(rows for _, rows, _ in parts), all(stands for *_, stands in parts))


def standings(parts: Any, *, step: PartStep) -> Any:
    """Parts -> one list of what stands of each, in any order."""
    return (
        parts
        | "Standing" >> beam.Map(_part_standing, step=step)
        | "All" >> beam.combiners.ToList().without_defaults()
    )  # fmt: skip


def survey(parts: Any, *, step: PartStep) -> Any:
    """Parts -> their one `Survey`."""
    return standings(parts, step=step) | "Survey" >> beam.Map(Survey.of)


def _part_standing(part: Part, step: PartStep) -> Standing:
    return part.index, part.kept, standing(step, part) is not None


def hand_out(parts: Any, found: Any, *, step: PartStep) -> Any:
    """Parts and (index, what was found for that part), several of each -> parts that the step took.

    What was found for a part is the step's one side.
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
        """A part that was given; values for others have no taker."""
        _, found = element
        for part in found["parts"]:
            yield from self._take.process(part, list(found["found"]))
