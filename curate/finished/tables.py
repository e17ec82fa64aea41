"""The tables of a run: the files of each verdict, and every pair of the pool with what became of it.

A pair is *kept* where it is in the last stage's parts, *dropped* or *dead* where a stage's ledger has
it, and *pending* where a run that is not finished has not yet taken its part to the last stage.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

from curate import files, schema
from curate.config import Config
from curate.errors import DamagedError
from curate.planning.steps import Steps, steps_of
from curate.rundir.directory import ANNOTATED, PART_STAGES, Run
from curate.schema import OF_PARTS, Stage

Verdict = Literal["kept", "dropped", "dead", "pending"]

FATE = pa.schema(
    [("uid", pa.string()), ("url", pa.string()), ("caption", pa.string()), ("part", pa.int32()),
     ("stage", pa.string()), ("verdict", pa.string()), ("reason", pa.string()),
     ("value", pa.string())]
)  # fmt: skip
"""The first columns of every pair: `stage` is where it left, or how far it came. `reason` and `value`
are those of the ledger, or the error and its detail; null where it did not leave."""

_FOLDERS = {"kept": "{}", "dropped": "dropped/{}", "dead": "dead/{}"}


@dataclass(frozen=True)
class Held:
    """The files with the pairs of one verdict at one stage, a part each, in order."""

    stage: Stage
    verdict: Literal["kept", "dropped", "dead"]
    parts: tuple[int, ...]
    urls: tuple[str, ...]
    schema: pa.Schema  # of all of them; a file may lack columns that others have


def held(run: Run, stage: Stage, verdict: Literal["kept", "dropped", "dead"]) -> Held:
    """The files of one verdict of a stage; a part has none of dead pairs where it has no such pair."""
    folder = _FOLDERS[verdict].format(stage)
    parts = run.done(stage)
    if verdict == "dead":
        # A file of none may stand; one that a record has rows for is there.
        parts = [index for index, record in run.records(stage) if record.dead]
    urls = tuple(run.part(folder, index) for index in parts)
    if verdict == "dropped":
        return Held(stage, verdict, tuple(parts), urls, schema.LEDGER)
    if verdict == "dead":
        return Held(stage, verdict, tuple(parts), urls, schema.DEAD)
    return Held(stage, verdict, tuple(parts), urls, _columns_of(run, stage))


def _columns_of(run: Run, stage: Stage) -> pa.Schema:
    """The columns of a stage's parts, of all settings that some of them were made under."""
    records = run.record_table(stage)
    firsts = records.group_by("digest").aggregate([("part", "min")])["part_min"].to_pylist()
    found = []
    for index in sorted(firsts):
        url = run.part(stage, index)
        try:
            with files.open_read(url) as file:
                found.append(pq.read_schema(file).remove_metadata())
        except (pa.ArrowInvalid, FileNotFoundError) as error:
            raise DamagedError(url, "it is no parquet file") from error
    return pa.unify_schemas(found, promote_options="permissive")


def dataset(urls: Sequence[str], columns: pa.Schema) -> ds.FileSystemDataset:
    """Parquet files as one dataset, of which nothing is read before it is asked for."""
    fs, _ = files.file_system(urls[0] if urls else "")
    file_system = LocalFileSystem() if files.is_local(fs) else PyFileSystem(FSSpecHandler(fs))
    paths = [files.file_system(url)[1] for url in urls]
    return ds.FileSystemDataset.from_paths(
        paths, schema=columns, format=ds.ParquetFileFormat(), filesystem=file_system
    )


@dataclass(frozen=True)
class Fates:
    """Every pair of a run's pool, a part at a time: `FATE`, then the columns known of it.

    Of a pair that left these are what stages before had found out, and what was fetched or scored of
    it. Pairs of the same uid, URL and caption are not told apart there.
    """

    run: Run
    config: Config

    @cached_property
    def steps(self) -> Steps:
        """Those of the configuration."""
        return steps_of(self.config)

    @cached_property
    def stages(self) -> list[Stage]:
        """The stages that have parts."""
        return self.steps.begun(self.run)

    @cached_property
    def parts(self) -> list[int]:
        """The parts of the pool."""
        return self.run.done(self.stages[0]) if self.stages else []

    @cached_property
    def schema(self) -> pa.Schema:
        """`FATE`, and each column that some stage has, but those of the places of images."""
        known = [held(self.run, stage, "kept").schema for stage in self.stages]
        merged = pa.unify_schemas(known, promote_options="permissive") if known else FATE
        more = [x for x in merged if x.name not in {*FATE.names, *OF_PARTS}]
        return pa.schema([*FATE, *more])

    @cached_property
    def _done(self) -> dict[Stage, frozenset[int]]:
        return {stage: frozenset(self.run.done(stage)) for stage in self.stages}

    @property
    def last(self) -> Stage:
        """The stage that takes the last pairs out, whether or not it has parts."""
        return [stage for stage in PART_STAGES if stage in self.steps.stages][-1]

    def tables(
        self, columns: Sequence[str] | None = None, parts: Collection[int] | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Each part, or each of `parts`, and its pairs in the order in which they left; kept ones last.

        `columns` are of `schema`.
        """
        names = [*(self.schema.names if columns is None else columns)]
        wanted = self.parts if parts is None else [x for x in self.parts if x in parts]
        return self.run.each(wanted, lambda index: self._part(index, names))

    def _part(self, index: int, names: list[str]) -> pa.Table:
        columns = pa.schema([self.schema.field(name) for name in names])
        found: list[pa.Table] = []
        before: Stage | None = None
        for stage in self.stages:
            if index not in self._done[stage]:
                break
            found += self._left(stage, before, index, columns)
            before = stage
        if before is not None:
            own = [x for x in columns.names if x not in ("part", "stage", "verdict")]
            table = self.run.rows(before, index, present=own)
            verdict: Verdict = "kept" if before is self.last else "pending"
            found.append(_fate(table, before, verdict, index, columns))
        return pa.concat_tables(found) if found else columns.empty_table()

    def _left(
        self, stage: Stage, before: Stage | None, index: int, columns: pa.Schema
    ) -> Iterator[pa.Table]:
        """The pairs of a part that a stage dropped, and those that it could not handle."""
        record = self.run.record(stage, index)
        further = [x for x in columns.names if x not in FATE.names]
        known: pa.Table | None = None
        for verdict, counts in (
            ("dropped", record and record.dropped),
            ("dead", record and record.dead),
        ):
            if not counts:
                continue
            gone = self.run.rows(f"{verdict}/{stage}", index)
            if verdict == "dead":
                gone = gone.rename_columns({"error": "reason", "detail": "value"})
            if further and before is not None:
                if known is None:
                    known = self._known(stage, before, index, further)
                gone = _beside(gone, known, by_caption=not self.config.captions)
            yield _fate(gone, stage, verdict, index, columns)

    def _known(self, stage: Stage, before: Stage, index: int, names: list[str]) -> pa.Table:
        """What is known of the pairs that came into a stage, with their uid, URL and caption."""
        table = self.run.rows(before, index, present={"uid", "url", "caption", *names})
        inner = files.join(stage, ANNOTATED)
        more = [
            x for x in names if x in self.steps.added[stage].names and x not in table.schema.names
        ]
        if more and self.run.record(inner, index) is not None:
            beside = self.steps.beside(stage)
            found = self.run.annotated(stage, index, {"uid", *more}, beside=beside)
            if found["uid"].equals(table["uid"]):
                for name in more:
                    if name in found.schema.names:
                        table = table.append_column(name, found[name])
        return table


def _fate(table: pa.Table, stage: Stage, verdict: str, index: int, columns: pa.Schema) -> pa.Table:
    """Rows with these columns: those that they lack are null, and what the same is of all is set."""
    n = len(table)
    same = {"stage": str(stage), "verdict": verdict, "part": index}
    made = []
    for column in columns:
        if column.name in same:
            made.append(pa.repeat(pa.scalar(same[column.name], column.type), n))
        elif column.name in table.schema.names:
            made.append(table[column.name].cast(column.type))
        else:
            made.append(pa.nulls(n, column.type))
    return pa.table(made, schema=columns)


def _beside(gone: pa.Table, known: pa.Table, *, by_caption: bool) -> pa.Table:
    """Rows of a ledger with the columns of the pairs that have the same uid, URL and caption."""
    names = ["uid", "url", "caption"] if by_caption else ["uid", "url"]

    def key(table: pa.Table) -> pa.Array:
        parts = [table[name].combine_chunks() for name in names]
        return pc.binary_join_element_wise(*parts, "\0", null_handling="replace")

    at = pc.index_in(key(gone), value_set=key(known))
    for name in known.schema.names:
        if name not in gone.schema.names:
            gone = gone.append_column(known.schema.field(name), known[name].take(at))
    return gone
