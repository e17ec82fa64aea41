"""What a run over a larger pool will be and take, by what a finished one measured: arithmetic alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil

from curate.config import NegClipLoss
from curate.config.prices import Prices
from curate.finished.measured import Sample, Segment
from curate.planning.steps import Kind
from curate.schema import Stage

READS: Mapping[Kind, int] = {
    Kind.PREPARE: 2, Kind.FETCH: 3, Kind.CUTS: 3, Kind.SELECT_IMAGES: 3, Kind.DEDUP: 6, Kind.MEASURE: 4,
    Kind.TABLE: 3, Kind.JOIN: 3, Kind.MODEL: 4, Kind.DERIVE: 6, Kind.ENTITIES: 4, Kind.MEANINGS: 26,
    Kind.SELECT_SCORES: 4, Kind.NOUNS: 4, Kind.BALANCE: 4, Kind.ADAPTIVE: 8, Kind.SHARDS: 3,
}  # fmt: skip
"""Requests of a part at a step that read from a store; tests/users/test_requests.py counts them."""
WRITES: Mapping[Kind, int] = {
    Kind.PREPARE: 3, Kind.FETCH: 3, Kind.CUTS: 0, Kind.SELECT_IMAGES: 3, Kind.DEDUP: 4, Kind.MEASURE: 2,
    Kind.TABLE: 2, Kind.JOIN: 2, Kind.MODEL: 3, Kind.DERIVE: 2, Kind.ENTITIES: 2, Kind.MEANINGS: 7,
    Kind.SELECT_SCORES: 3, Kind.NOUNS: 2, Kind.BALANCE: 3, Kind.ADAPTIVE: 5, Kind.SHARDS: 0,
}  # fmt: skip
"""Likewise those that write or remove."""
READS_A_BATCH = 6
"""Likewise those of a part for each of the batches that negCLIPLoss is the mean of."""
OF_A_SHARD = 3
"""Files of a shard, each a request."""
HOUR, GIGABYTE = 3600.0, 1e9


@dataclass(frozen=True)
class Asked:
    """What is to be predicted."""

    rows: int  # pairs of the pool
    part_rows: int
    shard_rows: int
    workers: int
    gpus: int = 0


@dataclass(frozen=True)
class Row:
    """A stage of a run, its start or its report."""

    name: str
    rows: float | None = None  # pairs in
    kept: float | None = None
    work: float = 0.0  # seconds, of all workers
    wall: float = 0.0  # seconds, where the steps of a segment share theirs by their work
    on_gpu: float = 0.0  # seconds of these in which GPUs are held
    bytes: float = 0.0
    reads: float = 0.0
    writes: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """A run that is not made yet."""

    asked: Asked
    rows: tuple[Row, ...]

    @property
    def whole(self) -> Row:
        """All rows together."""
        names = ("work", "wall", "on_gpu", "bytes", "reads", "writes")
        return Row("all", **{name: sum(getattr(x, name) for x in self.rows) for name in names})

    @property
    def binds(self) -> Row:
        """The row that takes longest."""
        return max(self.rows, key=lambda one: one.wall)

    @property
    def worker_hours(self) -> float:
        """Of workers that are held from the first part to the last."""
        held = sum(one.wall for one in self.rows if one.name not in (START, str(Stage.REPORT)))
        return self.asked.workers * held / HOUR

    @property
    def gpu_hours(self) -> float:
        """Of GPUs that are held while a model runs."""
        return self.asked.gpus * self.whole.on_gpu / HOUR

    def costs(self, prices: Prices) -> dict[str, float]:
        """By what is paid for."""
        whole = self.whole
        reads, writes = whole.reads / 1e6, whole.writes / 1e6
        return {
            "workers": self.worker_hours * prices.worker_hour,
            "GPUs": self.gpu_hours * prices.gpu_hour,
            "storage": whole.bytes / GIGABYTE * prices.gigabyte_month * prices.months,
            "requests": reads * prices.million_reads + writes * prices.million_writes,
        }


START = "start"


def predict(sample: Sample, asked: Asked, *, balanced: float | None = None) -> Prediction:
    """The run of the sample's steps over `asked.rows` pairs.

    Each stage keeps the share of its pairs that it kept of the sample's; balancing keeps the share
    `balanced`, where that is known to depend on the pool's size.
    """
    funnel = _funnel(sample, asked, balanced=balanced)
    growth = {x: n / (sample.kept[x][0] or 1) for x, (n, _) in funnel.items()}
    last = [*funnel.values()][-1][1]
    growth[Stage.SHARDS] = last / ([*sample.kept.values()][-1][1] or 1)
    factor, parts = asked.rows / sample.rows, ceil(asked.rows / asked.part_rows)
    start = sample.start.load + sample.start.growing * factor * sample.workers / asked.workers
    rows: dict[str, Row] = {START: Row(START, wall=start, bytes=sample.copies * factor)}
    for stage in sample.steps.stages:
        n, kept = funnel.get(stage, (last, last))
        size = _bytes(stage, sample, funnel, shards=growth[Stage.SHARDS])
        rows[stage] = Row(str(stage), n, kept, bytes=size)
    for segment in sample.segments:
        for one in _time(segment, sample, asked, growth):
            before = rows[one.name]
            rows[one.name] = replace(before, work=before.work + one.work, wall=before.wall + one.wall,
                                     on_gpu=before.on_gpu + one.on_gpu)  # fmt: skip
    for step in sample.steps:
        before = rows[step.stage]
        reads = READS[step.kind]
        if isinstance(step.settings, NegClipLoss):
            reads += READS_A_BATCH * step.settings.batches
        rows[step.stage] = replace(before, reads=before.reads + reads * parts,
                                   writes=before.writes + WRITES[step.kind] * parts)  # fmt: skip
    if Stage.SHARDS in rows:
        more = OF_A_SHARD * ceil(last / asked.shard_rows)
        rows[Stage.SHARDS] = replace(rows[Stage.SHARDS], writes=rows[Stage.SHARDS].writes + more)
    wall = sample.report.load + sample.report.growing * parts / sample.parts
    rows[Stage.REPORT] = Row(str(Stage.REPORT), wall=wall, bytes=sample.other)
    return Prediction(asked, tuple(rows.values()))


def _funnel(
    sample: Sample, asked: Asked, *, balanced: float | None
) -> dict[Stage, tuple[float, float]]:
    """Pairs in and kept of each stage with parts."""
    found: dict[Stage, tuple[float, float]] = {}
    n = float(asked.rows)
    for stage, (rows, kept) in sample.kept.items():
        share = kept / rows if rows else 0.0
        if stage is Stage.BALANCE and balanced is not None:
            share = balanced
        found[stage] = n, n * share
        n *= share
    return found


def _bytes(
    stage: Stage, sample: Sample, funnel: Mapping[Stage, tuple[float, float]], *, shards: float
) -> float:
    """Bytes of what a stage writes, where there are `shards` times as many pairs in shards."""
    held = sample.stored[stage]
    if stage not in funnel:
        return sum(held) * shards
    (n, kept), (rows, stayed) = funnel[stage], sample.kept[stage]
    gone = sum(x - y for x, y in sample.kept.values())
    ledger = (n - kept) * sample.ledger / (gone or 1)
    return held.kept * kept / (stayed or 1) + held.others * n / (rows or 1) + ledger


def _time(
    segment: Segment, sample: Sample, asked: Asked, growth: Mapping[Stage, float]
) -> Iterator[Row]:
    """Work and wall time of the barrier before a segment, and of each step in it."""
    stage = segment.stage
    factor = growth.get(stage, 1.0)
    more = segment.barrier.growing * factor
    once, alone = segment.barrier.load, segment.alone * factor
    wall = segment.wait + once + alone + more / asked.workers
    yield Row(str(stage), work=more + alone + once * asked.workers, wall=wall)
    parts = ceil(asked.rows / asked.part_rows)
    for one in segment.steps:
        workers = asked.workers
        if one.on_gpu and asked.gpus:
            workers = max(sample.workers * asked.gpus // one.gpus, 1)
        growing = one.work.growing * growth[one.step.stage]
        busy = min(1.0, segment.busy / _spread(sample.parts, sample.workers))
        wall = one.work.load + growing / (workers * busy * _spread(parts, workers))
        yield Row(str(one.step.stage), work=growing + one.work.load * min(workers, parts), wall=wall,
                  on_gpu=wall if one.on_gpu else 0.0)  # fmt: skip


def _spread(parts: int, workers: int) -> float:
    """The share of workers that have a part while others do, when each takes as many as any.

    >>> _spread(3, 2), _spread(30, 2), _spread(1, 4)
    (0.75, 1.0, 0.25)
    """
    return parts / (workers * ceil(parts / workers))
