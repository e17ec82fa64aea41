"""earlier: the shards of a set that grows stay as they are, without the pairs that left it.

    parts -> which pairs left -> the shards without these
                              -> parts of which only the other rows are to be written

A shard keeps its name and its keys, and all that it says of its pairs. It is written again only where
one of them left: pairs of new files join clusters, and where counts grew, the balance keeps fewer of
the pairs of an entry.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import apache_beam as beam

from curate.errors import AbsentError, CurateError, DamagedError
from curate.rundir import held
from curate.rundir.directory import Part
from curate.rundir.revocations import Revocations
from curate.rundir.samples import ShardFiles, take_out
from curate.rundir.shards import ShardRecord, read_stats
from curate.schema import Stage
from curate.stages.shards.write import ShardStep
from curate.stages.timing import timed


class Compared(NamedTuple):
    """A part, with what the shards held of it."""

    part: int
    stays: int  # rows
    rest: int  # rows
    left: list[str]  # uids


@dataclass(frozen=True)
class Earlier:
    """What is done with the shards of the set that grows."""

    step: ShardStep

    def compare(self, part: Part) -> Compared:
        """What left a part, and how many of its rows the shards hold."""
        run = self.step.run
        before = held.uids_of(run, part.index)
        now = run.rows(self.step.reads, part, columns=["uid"])["uid"]
        stays = int(held.staying(before, now).sum())
        return Compared(part.index, stays, len(now) - stays, held.left(before, now))

    def settle(self, name: str, gone: Revocations) -> ShardRecord | None:
        """A shard without pairs that are gone; None where nothing is left, or it cannot be read."""
        shard = ShardFiles(self.step.path(name), listed=False, digest="")
        if take_out(shard, gone, why="left") not in ("removed", "unreadable"):
            with suppress(AbsentError, DamagedError):
                record = read_stats(self.step.run, name)[1]
                return record if self.step.is_whole(record) else None
        return None

    def rest(
        self, parts: list[Part], compared: list[Compared], records: list[ShardRecord]
    ) -> list[Part]:
        """The parts with as many rows as no shard holds.

        Raises
        ------
        CurateError
            Where the shards do not hold what they should: the next command cuts all anew.
        """
        if sum(one.pairs for one in records) != sum(one.stays for one in compared):
            held.remove(self.step.run)
            raise CurateError(
                f"{self.step.run.path(Stage.SHARDS)}: a shard of the earlier set is damaged or gone;"
                " the same command cuts all of them anew"
            )
        rest = {one.part: one.rest for one in compared}
        return [replace(part, kept=rest[part.index]) for part in parts]


def _gone(compared: list[Compared]) -> Revocations:
    return Revocations.of({("uid", uid) for one in compared for uid in one.left}, distance=0)


@timed
def _compare(part: Part, *, earlier: Earlier) -> Compared:
    return earlier.compare(part)


@timed
def _settle(name: str, gone: Revocations, *, earlier: Earlier) -> Iterable[ShardRecord]:
    record = earlier.settle(name, gone)
    return [record] if record else []


class EarlierShards(beam.PTransform):
    """A list of all parts, one element -> `records` of the shards that stay; `parts` of the rest."""

    def __init__(self, step: ShardStep) -> None:
        super().__init__()
        self._earlier = Earlier(step)

    def expand(self, gathered: beam.PCollection) -> dict[str, beam.PCollection]:
        """Compare each part with what it was, then take out of each shard what left."""
        earlier = self._earlier
        single, listed = beam.pvalue.AsSingleton, beam.combiners.ToList
        names = earlier.step.held.names if earlier.step.held else ()
        compared = (
            gathered
            | "Each" >> beam.FlatMap(lambda parts: parts)
            | "Spread" >> beam.Reshuffle()
            | "Compare" >> beam.Map(_compare, earlier=earlier)
            | "All" >> listed()
        )
        gone = compared | "Gone" >> beam.Map(_gone)
        records = (
            gathered
            | "Shards" >> beam.FlatMap(lambda parts: names)
            | "Spread shards" >> beam.Reshuffle()
            | "Settle" >> beam.FlatMap(_settle, single(gone), earlier=earlier)
        )
        settled = records | "Settled" >> listed()
        rest = gathered | "Rest" >> beam.Map(earlier.rest, single(compared), single(settled))
        return {"records": records, "parts": rest}
