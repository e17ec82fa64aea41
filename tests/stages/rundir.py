"""A run directory laid out by hand, a transform that Beam runs over it, and what it left there."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import uuid4

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from curate import files, flow, schema
from curate.planning.plan import Plan
from curate.planning.steps import Kind
from curate.rundir.directory import Part, PartRecord, Run
from curate.rundir.tar import TarWriter
from curate.schema import Stage
from curate.stages.cuts import TakeCuts
from curate.stages.part import TakePart
from curate.stages.prepare import PrepareStep
from curate.stages.select import SelectStep

Row = dict[str, Any]
Gone = tuple[str, str, str | None]
"""uid, reason and value of a row that left."""


def uid_of(number: int) -> str:
    """A uid that shows its number: ``uid_of(17)`` ends in 17."""
    return f"{number:032d}"


def table_of(rows: Sequence[Row], columns: pa.Schema) -> pa.Table:
    """Rows as a table of `columns`; what a row does not say is null."""
    return pa.Table.from_pylist(list(rows), schema=columns)


def lay(run: Run, folder: str, parts: Sequence[Sequence[Row]], columns: pa.Schema) -> list[Part]:
    """Write parts and their records as the step of `folder` would have; the parts."""
    laid = []
    for index, rows in enumerate(parts):
        files.write_table(run.part(folder, index), table_of(rows, columns))
        run.write_record(folder, index, PartRecord("before", "before", len(rows), len(rows)))
        laid.append(Part(index, "pool.parquet", 0, len(rows), kept=len(rows)))
    return laid


def lay_images(run: Run, index: int, images: dict[str, bytes]) -> dict[str, tuple[int, int]]:
    """Write the tar of a part from images by uid; offset and size of each."""
    places = {}
    with files.atomic_write(run.part(Stage.DOWNLOAD, index, "tar")) as file:
        tar = TarWriter(file)
        for uid, content in images.items():
            places[uid] = (tar.add(f"{uid}.jpg", content), len(content))
        tar.end()
    return places


def drive(run: Run, transform: Any, parts: Sequence[Part], *, workers: int = 1) -> list[Part]:
    """Run a transform of parts in a pipeline of its own; the parts that it yields, in order."""
    flags = ["--runner=FnApiRunner"]
    if workers > 1:
        flags += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    folder = run.path("yielded")
    files.remove(folder)
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        given = pipeline | "Given" >> beam.Create(parts, reshuffle=workers > 1)
        _ = given | "Tested" >> transform | "Written" >> beam.Map(partial(_note, folder))
    found = [files.read_json(files.join(folder, name)) for name in files.names(folder)]
    for part in found:
        part["held"] = {name: files.Content(*held) for name, held in part["held"].items()}
    return sorted((Part(**part) for part in found), key=lambda p: p.index)


def _note(folder: str, part: Part) -> None:
    """Write the part under a name of its own: one that is yielded twice is there twice.

    Beam's ``ToList`` would take a dozen transforms, and Beam as long for each as for one of a stage.
    """
    files.write_json(files.join(folder, f"{uuid4()}.json"), asdict(part))


def rows_of(run: Run, folder: str, *names: str) -> list[Any]:
    """The rows of a folder over all parts, in order: the values of one column, or tuples of some."""
    tables = list(run.tables(folder))
    columns = [[x for table in tables for x in table[name].to_pylist()] for name in names]
    return columns[0] if len(names) == 1 else list(zip(*columns, strict=True))


def gone(run: Run, stage: Stage, parts: int) -> list[Gone]:
    """The ledger of a stage over its `parts` parts."""
    found: list[Gone] = []
    for index in range(parts):
        table = files.read_table(run.ledger(stage, index))
        assert table.schema.equals(schema.LEDGER)
        assert set(table["stage"].to_pylist()) <= {str(stage)}
        found += zip(*(table[x].to_pylist() for x in ("uid", "reason", "value")), strict=True)
    return found


def dead(run: Run, stage: Stage, parts: int) -> list[Gone]:
    """The records that a stage could not handle, over its `parts` parts."""
    found: list[Gone] = []
    for index in range(parts):
        table = run.rows(f"dead/{stage}", index)
        assert table.schema.equals(schema.DEAD)
        assert set(table["stage"].to_pylist()) <= {str(stage)}
        found += zip(*(table[x].to_pylist() for x in ("uid", "error", "detail")), strict=True)
    return found


def check_conserved(run: Run, stage: Stage, parts: Sequence[Part]) -> None:
    """Each part's record agrees with its files, and its files hold what came in, once."""
    for part in parts:
        record = run.record(stage, part.index)
        assert record is not None
        kept = files.read_table(run.part(stage, part.index))
        dropped = files.read_table(run.ledger(stage, part.index))
        left = run.rows(f"dead/{stage}", part.index)
        came = part.rows if stage is Stage.PREPARE else part.kept
        assert record.rows == came == len(kept) + len(dropped) + len(left)
        assert record.kept == len(kept)
        assert record.dropped == Counter(dropped["reason"].to_pylist())
        assert record.dead == Counter(left["error"].to_pylist())


class WithCuts(beam.PTransform):
    """A step with rules, and what comes before it in the graph: its cuts, then `between`."""

    def __init__(self, step: PrepareStep | SelectStep, *between: beam.PTransform) -> None:
        super().__init__()
        self._step, self._between = step, between

    def expand(self, parts: Any) -> Any:
        parts = parts | "Cuts" >> TakeCuts(self._step)
        for one in self._between:
            parts = parts | one
        return parts | "Step" >> beam.ParDo(TakePart(self._step))


def transform_of(plan: Plan, kind: Kind) -> beam.PTransform:
    """The transform of the plan's first step of this kind."""
    return flow.TRANSFORMS[kind](plan, plan.steps.of(kind)[0])
