"""All pairs of a run as one table, in the files where they are.

A pair stands in one place: among the rows that the last stage kept, or among those that a stage dropped
or could not handle. A `Branch` is all such places of one verdict and stage. What was measured of a pair
that left stands in the files of the stage before, and in those of what its own stage measured
(`Beside`): they are joined by part and uid, where a question needs their columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files, schema
from curate.browse.connection import Bound, path_of, quoted
from curate.planning.steps import Steps
from curate.reasons import DropReason
from curate.rundir.directory import PART_STAGES, Run, part_index
from curate.schema import MATCHES, Stage


class Verdict(StrEnum):
    """What became of a pair."""

    KEPT = "kept"
    WAITING = "waiting"  # kept so far: the next stage is not done with its part
    DROPPED = "dropped"
    DEAD = "dead"


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    name: str
    kind: str  # number, text or flag
    meaning: str = ""
    stored: str = ""  # its name in the files
    of: str = ""  # its type there


OWN = (
    Column("uid", "text", schema.MEANINGS["uid"]),
    Column("url", "text", schema.MEANINGS["url"]),
    Column("caption", "text", schema.MEANINGS["caption"]),
    Column("verdict", "text", "what became of the pair"),
    Column("stage", "text", "where it left, or the last stage that kept it"),
    Column("reason", "text", "why it left: a drop reason, or `rule:NAME`"),
    Column("value", "text", schema.MEANINGS["value"]),
    Column("host", "text", "of the URL"),
)
"""Columns that every pair has."""
_NAMES = frozenset(one.name for one in OWN)
_OF_EACH = ("uid", "url", "caption")
PICTURE = ("tar_offset", "tar_size")
"""Where a pair's image lies in the tar of its part."""
_HIDDEN = {*schema.OF_PARTS, MATCHES, *schema.TAGGED.names}
_HOST = r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#]*@)?(\[[^\]/]*\]|[^/:?#]+)"


@dataclass(frozen=True)
class Beside:
    """Columns of the rows of a branch that stand in other files: some of each part, by uid."""

    folder: str
    columns: frozenset[str]
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Branch:
    """All pairs of one verdict at one stage."""

    verdict: Verdict
    stage: Stage
    folder: str
    parts: tuple[int, ...]
    columns: frozenset[str]  # that stand in its own files
    beside: tuple[Beside, ...] = ()

    @property
    def is_ledger(self) -> bool:
        """Whether its files are of pairs that left."""
        return self.verdict in (Verdict.DROPPED, Verdict.DEAD)

    @property
    def dead(self) -> bool:
        """Whether its pairs could not be handled."""
        return self.verdict is Verdict.DEAD

    def nth_beside(self, name: str) -> int | None:
        """Which of the files beside its own have a stored column."""
        return next((i for i, one in enumerate(self.beside) if name in one.columns), None)

    def has(self, name: str) -> bool:
        """Whether any of its pairs may have a value of this stored column."""
        return name in self.columns or self.nth_beside(name) is not None


@dataclass(frozen=True)
class Pairs:
    """The table of a run."""

    run: Run
    branches: tuple[Branch, ...]
    columns: dict[str, Column]

    def rows(
        self,
        branch: Branch,
        wanted: Sequence[str],
        bound: Bound,
        *,
        parts: Sequence[int] | None = None,
    ) -> str:
        """A SELECT of columns of a branch, by name, with what it binds put into `bound`.

        Its rows begin with ``#branch``, ``#part`` and ``#row``, by which a pair is found again. `parts`
        are some of those of the branch, else all. Names of `PICTURE` and `MATCHES` are known too.
        """
        taken = branch.parts if parts is None else parts
        names = [
            f'{self.branches.index(branch)} AS "#branch"',
            f'{_number("#file", taken, bound)} AS "#part"',
            '"#row"',
            *(f"{self._column(branch, name)} AS {quoted(name)}" for name in wanted),
        ]
        inner = ['*, t.file_index AS "#file", t.file_row_number AS "#row"']
        stored = {self._stored(name) for name in wanted}
        for nth, beside in enumerate(branch.beside):
            needed = sorted(stored & beside.columns - branch.columns)
            here = [x for x in taken if x in set(beside.parts)]
            if needed and here:
                packed = ", ".join(f"{quoted(x)} := x.{quoted(x)}" for x in needed)
                inner.append(
                    f"(SELECT struct_pack({packed})"
                    f" FROM read_parquet({self._files(beside.folder, here, bound)}) x"
                    f" WHERE x.uid = t.uid AND {_number('file_index', here, bound, of='x.')}"
                    f' = {_number("file_index", taken, bound, of="t.")}) AS "#{nth}"'
                )
            elif needed:
                nothing = ", ".join(f"{quoted(x)} := NULL" for x in needed)
                inner.append(f'struct_pack({nothing}) AS "#{nth}"')
        # Of a pair that was revoked nothing is to be seen.
        where = f" WHERE t.reason <> '{DropReason.REVOKED}'" if branch.verdict is _DROPPED else ""
        return (
            f"SELECT {', '.join(names)} FROM (SELECT {', '.join(inner)}"
            f" FROM read_parquet({self._files(branch.folder, taken, bound)}) t{where})"
        )

    def _files(self, folder: str, parts: Sequence[int], bound: Bound) -> str:
        return bound([path_of(self.run.part(folder, x)) for x in parts])

    def _stored(self, name: str) -> str:
        """What a column is called in the files."""
        return self.columns[name].stored if name in self.columns else name

    def _column(self, branch: Branch, name: str) -> str:
        """A column of a branch as SQL."""
        if name in ("verdict", "stage"):
            return f"'{getattr(branch, name)}'"
        if name in ("reason", "value"):
            if not branch.is_ledger:
                return "NULL::VARCHAR"
            return {"reason": "error", "value": "detail"}[name] if branch.dead else name
        if name == "host":
            return f"lower(nullif(regexp_extract(url, '{_HOST}', 1), ''))"
        if name in _NAMES:
            return name
        stored, of = self._stored(name), self.columns[name].of if name in self.columns else "BIGINT"
        if stored in branch.columns:
            said = quoted(stored)
        elif (nth := branch.nth_beside(stored)) is not None:
            said = f'"#{nth}".{quoted(stored)}'
        else:
            return f"NULL::{of}"
        if of in ("FLOAT", "DOUBLE"):  # JSON has no other numbers
            said = f"CASE WHEN isfinite({said}) THEN {said} END"
        return said


_DROPPED = Verdict.DROPPED


def _number(index: str, parts: Sequence[int], bound: Bound, *, of: str = "") -> str:
    """The part of a row as SQL, from the number of its file among those of `parts`."""
    name = of + (index if of else quoted(index))
    first = parts[0] if parts else 0
    if list(parts) == list(range(first, first + len(parts))):
        return f"({name}::BIGINT + {first})"
    return f"list_extract({bound([*parts])}, ({name} + 1)::BIGINT)::BIGINT"


def table_of(run: Run, steps: Steps) -> Pairs:
    """The table of a run as far as it is done, which may be nowhere."""
    columns = {one.name: one for one in OWN}
    stages = [stage for stage in PART_STAGES if stage in steps.stages]
    for one in steps.columns(stages[-1]):
        if one.name in _OF_EACH or one.name in _HIDDEN or (kind := _kind(one.type)) is None:
            continue
        name = f"pool_{one.name}" if one.name in _NAMES else one.name
        columns[name] = Column(name, kind[0], schema.MEANINGS.get(one.name, ""), one.name, kind[1])
    return Pairs(run, tuple(_branches(run, steps, stages)), columns)


def _kind(of: pa.DataType) -> tuple[str, str] | None:
    """Of a column with values of this type: its kind, and the type in DuckDB's words."""
    if pa.types.is_boolean(of):
        return "flag", "BOOLEAN"
    if pa.types.is_integer(of):
        return "number", "BIGINT"
    if pa.types.is_floating(of):
        return "number", "DOUBLE" if of == pa.float64() else "FLOAT"
    return ("text", "VARCHAR") if pa.types.is_string(of) else None


def _branches(run: Run, steps: Steps, stages: Sequence[Stage]) -> Iterator[Branch]:
    through = [_done(run, stage) for stage in stages]
    for nth in range(
        1, len(stages)
    ):  # a part that is made again is no further than the first of them
        through[nth] &= through[nth - 1]
    for nth, stage in reversed([*enumerate(stages)]):
        last = nth + 1 == len(stages)
        parts = sorted(through[nth] - (set() if last else through[nth + 1]))
        if parts:
            verdict = Verdict.KEPT if last else Verdict.WAITING
            yield Branch(verdict, stage, str(stage), tuple(parts), _columns(run, str(stage), parts))
    for nth, stage in enumerate(stages):
        parts, before = sorted(through[nth]), steps.upstream(stage)
        beside = [_beside(run, before, parts)] if before and parts else []
        for folder in run.steps(stage) if before and parts else ():
            if folder != stage:
                done = set(run.done(folder))
                beside.append(_beside(run, folder, [x for x in parts if x in done]))
        dead = {part_index(name) for name in files.names(run.path(f"dead/{stage}"))}
        for verdict, held in (
            (Verdict.DROPPED, parts),
            (Verdict.DEAD, [x for x in parts if x in dead]),
        ):
            if held:
                names = schema.LEDGER.names if verdict is Verdict.DROPPED else schema.DEAD.names
                own = frozenset(names)
                yield Branch(verdict, stage, f"{verdict}/{stage}", tuple(held), own, tuple(beside))


def _beside(run: Run, folder: str, parts: Sequence[int]) -> Beside:
    return Beside(folder, _columns(run, folder, parts) if parts else frozenset(), tuple(parts))


def _done(run: Run, stage: Stage) -> set[int]:
    """The parts of a stage that are those of the run's configuration."""
    records = run.record_table(stage)
    digest = run.state().get("digests", {}).get(stage)
    of = zip(records["part"].to_pylist(), records["digest"].to_pylist(), strict=True)
    return {part for part, its in of if digest in (None, its) or not run.makes(stage)}


def _columns(run: Run, folder: str, parts: Sequence[int]) -> frozenset[str]:
    """The columns of the files of a folder, which are alike."""
    with files.open_read(run.part(folder, parts[0])) as file:
        return frozenset(pq.read_schema(file).names)
