"""`curate plan --like RUN`: what a run will be and take, by what a finished one measured."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from curate.commands.terminal import many, out_console
from curate.config import Config
from curate.config import file as config_file
from curate.errors import CurateError
from curate.rundir.directory import Run
from curate.schema import Stage

if TYPE_CHECKING:
    from curate.finished.measured import Sample
    from curate.finished.predict import Asked


def tell_prediction(
    config: Config, like: str, *, pairs: float | None, gpus: int | None, prices: str | None
) -> None:
    """Print what a run of `config` will be, by what the run at `like` measured; nothing is done."""
    from curate.finished.likeness import differences, pairs_in_pool, share_balanced
    from curate.finished.measured import Sample
    from curate.finished.predict import Asked, predict

    if pairs is not None and not 1 <= pairs < float("inf"):
        raise CurateError(f"--pairs {pairs:g}: expected a number of pairs, as in --pairs 1e9")
    priced = config_file.load_prices(prices) if prices is not None else None
    run = Run.at(like)
    sample = Sample.of(run)
    if gpus is not None and gpus < 1:
        raise CurateError(f"--gpus {gpus}: expected 1 or more")
    if gpus and not sample.on_gpu:
        raise CurateError(
            f"--gpus {gpus}: no model ran on a GPU in {run.root}, so the rate of one is not known; make"
            " the sample run on a machine that has one"
        )
    differ = differences(config, run, sample)
    rows = round(pairs) if pairs is not None else pairs_in_pool(config, sample)
    asked = Asked(rows, config.part_rows, _rows_a_shard(config, sample), workers=config.beam.workers,
                  gpus=gpus or sample.gpus)  # fmt: skip
    found = predict(sample, asked, balanced=share_balanced(config, run, sample, rows=rows))
    about = "" if pairs is not None else "about "
    out_console.print(
        f"{about}{rows:,} pairs, predicted by {run.root}: {sample.rows:,} pairs in"
        f" {many(sample.parts, 'part')}, {_crew(sample)}"
    )
    from curate.report.page import duration, size

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "in", "kept", "work", "time", "on disk", "reads", "writes"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for one in (*found.rows, found.whole):
        pairs_of, requests = (one.rows, one.kept), (one.reads or None, one.writes or None)
        table.add_row(
            one.name,
            *("" if n is None else f"{n:,.0f}" for n in pairs_of),
            duration(one.work) if one.work else "",
            duration(one.wall),
            size(one.bytes),
            *("" if n is None else f"{n:,.0f}" for n in requests),
        )
    out_console.print(table)
    most = found.binds
    held = f"{many(asked.workers, 'worker')}: {found.worker_hours:,.2f} worker-hours"
    if asked.gpus:
        held += f"; {many(asked.gpus, 'GPU')}: {found.gpu_hours:,.2f} GPU-hours"
    out_console.print(
        f"{most.name} takes longest: {most.wall / (found.whole.wall or 1):.0%} of the time\n{held}"
    )
    if priced:
        costs = {name: cost for name, cost in found.costs(priced).items() if cost}
        told = ", ".join(f"{name} {cost:,.2f}" for name, cost in costs.items())
        out_console.print(
            f"costs {sum(costs.values()):,.2f} {priced.currency}: {told or 'nothing'}"
        )
    for line in _notes(sample, asked, differ):
        out_console.print(line, style="dim")


def _notes(sample: "Sample", asked: "Asked", differ: list[str]) -> Iterator[str]:
    """What the prediction takes for granted, a line each."""
    if not sample.is_timed:
        yield (
            "not in it: start, barriers, shards and report, as that run was not made by one command of"
            " this version"
        )
    elif not sample.has_loads:
        yield (
            f"too high: with {many(sample.parts, 'part')} on"
            f" {many(sample.workers, 'worker')} what each process loads once is not told from what"
            f" each part takes; make the sample run with part_rows under {sample.config.part_rows:,}"
        )
    if differ:
        yield f"of other values in that run, and predicted with them: {', '.join(differ)}"
    if Stage.DEDUP in sample.kept and asked.rows > sample.rows:
        yield "a larger pool has more duplicates in proportion, so less may be left after dedup"
    if asked.workers != sample.workers:
        yield (
            f"each worker is taken to be as fast as those of that run, {_crew(sample)}: with as many"
            " cores, and a store and hosts that bear it"
        )


def _crew(sample: "Sample") -> str:
    """The workers of a sample run."""
    on = f" on {many(sample.cores, 'core')}" if sample.cores else ""
    return f"{many(sample.workers, 'worker')}{on}"


def _rows_a_shard(config: Config, sample: "Sample") -> int:
    """How many pairs a shard holds; those of the sample say what one takes."""
    if not config.shards.bytes or Stage.SHARDS not in sample.steps.stages:
        return config.shards.rows
    pairs = [*sample.kept.values()][-1][1]
    return max(int(config.shards.bytes * pairs / (sum(sample.stored[Stage.SHARDS]) or 1)), 1)
