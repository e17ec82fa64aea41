"""What a finished run measured of itself: rows, seconds and bytes of each step, for `predict`.

What grows with the pool is told from what does not. A process loads what a step needs with the first
part that it takes: the seconds by which such parts took longer than others are the step's load. Steps
that no barrier divides are a segment: each worker takes its parts through all of them.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from curate import files
from curate.clock import Took
from curate.config import LOCAL_RUNNER, Config
from curate.config import file as config_file
from curate.errors import CurateError
from curate.planning.steps import Step, Steps, steps_of
from curate.rundir.directory import ON_DEVICE, ON_GPU, PART_STAGES, REUSED, PartRecord, Run
from curate.schema import Stage

_FIRST = 0.3
"""Seconds that what one process does alone takes at least, whatever the size of the pool."""
_ALONE = frozenset({"ExtractOutputs", "Outline", "Say so", "Centroids", "Rounds"})
"""The last words of the labels of transforms that one worker does alone, for all parts."""


class Work(NamedTuple):
    """Seconds of work: what grows with the rows, of all workers, and what each process takes once."""

    growing: float
    load: float


class Stored(NamedTuple):
    """Bytes of a stage."""

    kept: int  # of the pairs that it keeps
    others: int  # of what it has for each pair that comes in


@dataclass(frozen=True)
class Done:
    """A step with parts."""

    step: Step
    work: Work
    began: float  # of the clock; 0 where that is not known
    ended: float
    on_gpu: bool
    gpus: int = 1  # of them, if so


@dataclass(frozen=True)
class Segment:
    """The steps from one barrier to the next, and what is done at the barrier before them."""

    stage: Stage  # that the barrier belongs to
    steps: tuple[Done, ...]  # none after the last barrier, that of the shards
    barrier: Work
    alone: float  # seconds of work at the barrier that one worker does
    wait: float  # seconds at the barrier that do not grow
    busy: float  # share of the workers' time in which they worked


@dataclass(frozen=True)
class Sample:
    """A finished run, as far as a prediction needs it."""

    config: Config
    steps: Steps
    rows: int  # of its pool
    parts: int
    kept: dict[Stage, tuple[int, int]]  # rows in and kept, of each stage with parts
    segments: tuple[Segment, ...]
    workers: int
    cores: int  # of its machine; 0 where that is not known
    start: Work  # from the start of the command to the first part
    report: Work  # from the last shard to the end of the command
    stored: dict[Stage, Stored]
    ledger: int  # bytes: of all pairs that were dropped
    copies: int  # of copies of the pool
    other: int  # of what does not grow
    inputs: dict[str, tuple[int, int]]  # rows and bytes of the pool's files, by format
    is_timed: bool  # whether a version that notes what a run takes made it at once
    has_loads: bool  # whether the first part of a process can be told from others

    @classmethod
    def of(cls, run: Run) -> "Sample":
        """What the run at hand measured.

        Raises
        ------
        CurateError
            Where it is not complete, or has not all stages of its own.
        """
        state = run.state()
        config = config_file.load(run.path("config.yaml"))
        steps = steps_of(config)
        took: Took | None = state.get("took")
        parts = int(state.get("parts", 0))
        records = _records(run, steps, parts=parts)
        first = records[str(Stage.PREPARE)]
        processes = sum(one.first for one in first)
        is_local = config.beam.runner == LOCAL_RUNNER
        workers = took["workers"] if took else config.beam.workers
        workers = workers if is_local else max(processes, 1)
        inputs: dict[str, tuple[int, int]] = {}
        for one in state["inputs"]:
            rows, size = inputs.get(one["format"], (0, 0))
            inputs[one["format"]] = rows + one.get("rows", 0), size + one["bytes"]
        segments = tuple(_segments(steps, records, took, workers=workers))
        sizes = _sizes(run)
        start = report = Work(0.0, 0.0)
        if took:
            begun = segments[0]
            before = begun.barrier.load + begun.barrier.growing / workers + begun.alone
            whole = begun.steps[0].began - took["began"] - before
            start = _told_apart(took["contents"] + took["cutting"], whole=whole)
            report = _told_apart(took["facts"], whole=took["ended"] - took["graph"][1])
        return cls(
            config=config,
            steps=steps,
            rows=sum(one.rows for one in first),
            parts=parts,
            kept={
                x: (sum(y.rows for y in records[x]), sum(y.kept for y in records[x]))
                for x in PART_STAGES
                if x in steps.stages
            },
            segments=segments,
            workers=workers,
            cores=took["cores"] if took and is_local else 0,
            start=start,
            report=report,
            stored={x: Stored(sizes[str(x)], sizes[f"{x}/"]) for x in Stage},
            ledger=sizes["dropped"],
            copies=sizes["input"],
            other=sizes["other"],
            inputs=inputs,
            is_timed=took is not None,
            has_loads=0 < processes < parts,
        )

    @property
    def on_gpu(self) -> bool:
        """Whether a model ran on a GPU."""
        return self.gpus > 0

    @property
    def gpus(self) -> int:
        """How many GPUs models ran on; on several machines, those of one."""
        steps = [one for segment in self.segments for one in segment.steps if one.on_gpu]
        return max((one.gpus for one in steps), default=0)


def _records(run: Run, steps: Steps, *, parts: int) -> dict[str, list[PartRecord]]:
    """The records of each step; a CurateError where they do not tell what a whole run takes."""
    if run.source:
        raise CurateError(
            f"--like {run.root}: a rebalance measures no stage before balance; give the run that it was"
            f" made from: --like {run.source}"
        )
    go_on = f"go on with it first: curate run {run.path('config.yaml')}"
    if (state := run.state().get("state")) != "complete":
        raise CurateError(f"--like {run.root}: its state is {state}; {go_on}")
    records = {folder: [x for _, x in run.records(folder)] for folder in steps.folders}
    for folder, found in records.items():
        if len(found) != parts:
            done = f"of {parts:,} parts, {len(found):,} are done at {folder}"
            raise CurateError(f"--like {run.root}: {done}; {go_on}")
        worked = [one for one in found if one.rows]
        if worked and all(one.figures.get(REUSED) for one in worked):
            raise CurateError(
                f"--like {run.root}: what {folder} takes is not known, since it took over what an"
                " earlier configuration had found; make the sample run in a new --out"
            )
    return records


def _told_apart(reading: float, *, whole: float) -> Work:
    """Seconds of the command's own process, in which it read what grows with the pool, and others."""
    growing = max(reading - _FIRST, 0.0)
    return Work(growing, max(whole - growing, 0.0))


def _done(step: Step, records: Collection[PartRecord]) -> Done:
    """The seconds of a step, with those of the first part of each process told apart.

    Parts of which rows were taken over from an earlier configuration do not tell what they take.
    """
    told = [one for one in records if not one.figures.get(REUSED)]
    first = [one for one in told if one.first]
    others = [one for one in told if not one.first]
    rows = sum(one.rows for one in others)
    load = 0.0
    if first and rows:
        a_row = sum(one.seconds for one in others) / rows
        load = max(0.0, sum(x.seconds - a_row * x.rows for x in first) / len(first))
    growing = sum(one.seconds for one in told) - load * len(first)
    growing *= sum(one.rows for one in records) / (sum(one.rows for one in told) or 1)
    timed = [one for one in records if one.ended]
    return Done(
        step,
        Work(max(growing, 0.0), load),
        began=min((one.ended - one.seconds for one in timed), default=0.0),
        ended=max((one.ended for one in timed), default=0.0),
        on_gpu=any(one.figures.get(ON_GPU) for one in records),
        gpus=len({x for one in records for x in one.figures if x.startswith(ON_DEVICE)}) or 1,
    )


def _segments(
    steps: Steps, records: Mapping[str, Collection[PartRecord]], took: Took | None, *, workers: int
) -> Iterator[Segment]:
    """The segments, in flow order."""
    groups: list[list[Step]] = []
    for step in steps:
        if not groups or (step.gathers and any(one.has_parts for one in groups[-1])):
            groups.append([])
        groups[-1].append(step)
    before = 0.0  # when the segment before ended
    for group in groups:
        stage, done = (
            group[0].stage,
            tuple(_done(x, records[x.folder]) for x in group if x.has_parts),
        )
        if took is None:
            yield Segment(stage, done, Work(0.0, 0.0), alone=0.0, wait=0.0, busy=1.0)
            continue
        began = min((one.began for one in done), default=took["graph"][1])
        ended = max((one.ended for one in done), default=began)
        wait = max(began - (before or began), 0.0)  # the first waits for nothing
        barrier, alone, seconds = _barrier(group, took["between"], workers=workers)
        if took["between"]:
            wait = max(wait - seconds, 0.0)
        else:  # no local run: what grows is not told from what does not
            barrier, wait = Work(wait * workers, 0.0), 0.0
        yield Segment(stage, done, barrier, alone=alone, wait=wait,
                      busy=_busy(done, ended - began, workers=workers))  # fmt: skip
        before = ended


def _barrier(
    group: Collection[Step], between: Mapping[str, tuple[int, float, float]], *, workers: int
) -> tuple[Work, float, float]:
    """The work of some steps that has no records, what of it one worker does, and how long both took.

    Of the n pieces of a transform on w workers, w have its load with them, among them the longest.
    """
    labels = {step.label for step in group}
    growing = load = alone = seconds = 0.0
    for label, (n, total, longest) in between.items():
        words = label.split("/")
        if words[0] not in labels:
            continue
        if words[-1] in _ALONE:
            alone += total
            continue
        at_once, once = min(workers, n), 0.0
        if n > at_once:
            other = max(total - at_once * longest, 0.0) / (n - at_once)
            once = max(longest - other, 0.0)
        rest = max(total - at_once * once, 0.0)
        growing, load, seconds = growing + rest, load + once, seconds + once + rest / at_once
    grown = max(alone - _FIRST, 0.0)
    return Work(growing, load), grown, seconds + grown


def _busy(done: Collection[Done], seconds: float, *, workers: int) -> float:
    """The share of the workers' time, after their loads, in which they worked."""
    growing = sum(one.work.growing for one in done)
    held = workers * (seconds - sum(one.work.load for one in done))
    return min(1.0, growing / held) if held > 0 < growing else 1.0


def _sizes(run: Run) -> Counter[str]:
    """Bytes of the folders of a run: ``STAGE``, what else a stage writes as ``STAGE/``, and others."""
    owners = {"input": "input"}
    for stage in Stage:
        owners |= {url[len(run.root) + 1 :]: f"{stage}/" for url in run.folders(stage)}
        owners |= {
            str(stage): str(stage),
            f"subset/{stage}": str(stage),
            f"dropped/{stage}": "dropped",
        }
    owners["entries"] = owners[str(Stage.REPORT)] = "other"
    found: Counter[str] = Counter()
    for name, size in files.sizes_below(run.root).items():
        folders = name.split("/")[:-1]
        inside = ("/".join(folders[:n]) for n in range(len(folders), 0, -1))
        found[next((owners[x] for x in inside if x in owners), "other")] += size
    return found
