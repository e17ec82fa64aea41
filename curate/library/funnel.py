"""The funnel of a run: what came into each stage, and what became of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from curate import files
from curate.library.plain import Rows
from curate.planning.steps import Steps
from curate.rundir.directory import MANIFEST, Run, totals
from curate.schema import Stage


@dataclass(frozen=True)
class FunnelStage:
    """One stage; `in_` is kept + dropped + dead."""

    stage: str
    in_: int
    kept: int
    dropped: int
    dead: int
    reasons: dict[str, int]  # why pairs left, most often first


_COLUMNS = pa.schema(
    [("stage", pa.string()), ("in", pa.int64()), ("kept", pa.int64()), ("dropped", pa.int64()),
     ("dead", pa.int64()), ("reasons", pa.map_(pa.string(), pa.int64()))]
)  # fmt: skip


class Funnel(Rows):
    """The stages of a run, in flow order."""

    def __init__(self, stages: list[FunnelStage]) -> None:
        self.stages = tuple(stages)
        rows = [
            {"stage": x.stage, "in": x.in_, "kept": x.kept, "dropped": x.dropped, "dead": x.dead,
             "reasons": [*x.reasons.items()]}
            for x in stages
        ]  # fmt: skip
        super().__init__(pa.Table.from_pylist(rows, _COLUMNS))

    def __iter__(self) -> Iterator[FunnelStage]:
        return iter(self.stages)

    def _cells(self) -> list[tuple[object, ...]]:
        return [
            (x.stage, x.in_, x.kept, x.dropped, x.dead, _listed(x.reasons)) for x in self.stages
        ]


def _listed(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {n:,}" for reason, n in reasons.items())


def funnel_of(run: Run, steps: Steps) -> Funnel:
    """The funnel of a run, from the records of its parts; the last line is that of its shards."""
    found = []
    for stage in steps.begun(run):
        counts = totals(run, stage)
        gone = {**counts["dropped"], **counts["dead"]}
        found.append(
            FunnelStage(
                stage=str(stage),
                in_=counts["rows"],
                kept=counts["kept"],
                dropped=sum(counts["dropped"].values()),
                dead=sum(counts["dead"].values()),
                reasons=dict(sorted(gone.items(), key=lambda one: (-one[1], one[0]))),
            )
        )
    manifest = run.path(Stage.SHARDS, MANIFEST)
    if found and Stage.SHARDS in steps.stages and files.exists(manifest):
        pairs = files.read_document(manifest)["pairs"]
        found.append(FunnelStage(str(Stage.SHARDS), found[-1].kept, pairs, 0, 0, {}))
    return Funnel(found)
