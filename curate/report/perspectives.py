"""What a balance by perspectives did: head and tail of each, before and after."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from curate.report import entries
from curate.rundir.damage import PERSPECTIVES
from curate.rundir.directory import Run
from curate.schema import Stage


@dataclass(frozen=True)
class Entity:
    """One of the most frequent entities of a perspective."""

    language: str
    entity: str
    occurrences: int
    probability: float
    kept: int


@dataclass(frozen=True)
class Perspective:
    """tau of a perspective, and its entities; the head are those that occur more than tau times."""

    name: str
    share: float
    tau: int
    entities: int
    occurrences: int
    largest: int
    head: int
    head_occurrences: int
    kept: int  # occurrences in the set
    kept_head: int
    top: tuple[Entity, ...]

    @property
    def head_share(self) -> float:
        """The share of the head in all occurrences."""
        return self.head_occurrences / self.occurrences if self.occurrences else 0.0

    @property
    def head_share_after(self) -> float:
        """The same in the set."""
        return self.kept_head / self.kept if self.kept else 0.0


def perspectives(run: Run) -> tuple[Perspective, ...]:
    """Those that the run balanced by; none where it did otherwise."""
    url = run.path(Stage.BALANCE, PERSPECTIVES)
    if not files.exists(url):
        return ()
    names = [x for x in Perspective.__dataclass_fields__ if x not in ("name", "top")]
    return tuple(
        Perspective(name=name, top=_top(run, name), **{x: told[x] for x in names})
        for name, told in files.read_json(url).items()
    )


def _top(run: Run, name: str) -> tuple[Entity, ...]:
    url = run.path(Stage.BALANCE, f"{name}.parquet")
    if name == "entries":
        found = entries.read(url)[1]
        return tuple(Entity(x.language, x.entry, x.count, x.probability, x.kept) for x in found)
    with files.open_read(url) as file:
        first = next(pq.ParquetFile(file).iter_batches(entries.HEAD), None)
    rows = pa.Table.from_batches([first]).to_pylist() if first is not None else []
    return tuple(map(_of_nouns if name == "nouns" else _of_pairs, rows))


def _of_nouns(row: dict[str, Any]) -> Entity:
    return Entity("", row["noun"], row["occurrences"], row["probability"], row["kept_occurrences"])


def _of_pairs(row: dict[str, Any]) -> Entity:
    entity = f"{row['entry']} + {row['other_entry']}"
    return Entity(row["language"], entity, row["count"], row["probability"], row["kept"])
