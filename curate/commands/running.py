"""A plan from the command line: its questions, its job, its bars, its report."""

import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from curate import files
from curate.clock import spent
from curate.commands.terminal import (
    check_seen_by_workers,
    debugging,
    error_console,
    many,
    named_in,
    out_console,
    over_workers,
)
from curate.config import Config
from curate.config import file as config_file
from curate.engines.job import Job, Seen, State
from curate.engines.known import engine_of
from curate.errors import CurateError
from curate.rundir.directory import Run
from curate.rundir.lock import locked
from curate.running.recruits import ahead
from curate.schema import Stage

if TYPE_CHECKING:
    from curate.planning.plan import Plan
    from curate.planning.resume import Standing
    from curate.stages.timing import Graph


REMEDY = "add --force to replace it; to keep it, move it away first or give another --out"
"""What to do about a finished set that another would replace."""


def loaded(path: str, *, overrides: tuple[str, ...] = (), out: str | None = None) -> Config:
    """The configuration in the file at `path`, which is to be run.

    Raises
    ------
    CurateError
        Where there is none or it is not valid, or it is that of a run which has been moved or copied.
    """
    if not files.exists(path):
        raise CurateError(f"{path}: no such file{config_file.recipe_meant(path)}")
    config = config_file.load(path, overrides=overrides, out=out)
    if out is None and not any(one.startswith("out=") for one in overrides):
        _check_still_there(path, config)
    return config


def _check_still_there(path: str, config: Config) -> None:
    """Raise where `path` is the configuration of a moved or copied run: its `out` names another."""
    folder = files.absolute(path).rpartition("/")[0]
    if not config.out or not files.exists(files.join(folder, "run.json")):
        return
    if files.spelt(files.absolute(config.out)) != files.spelt(folder):
        raise CurateError(
            f"{path} belongs to the run in {folder} but its `out` is {config.out}; go on with the one"
            f" with --out {folder}, or with the other with --out {config.out}"
        )


def run_config(
    config: Config,
    *,
    options: list[str],
    retry_failed: frozenset[str] = frozenset(),
    force: bool = False,
    detach: bool = False,
    remedy: str = REMEDY,
) -> None:
    """Run a configuration, or go on with its run; see :func:`run_plan`."""
    started = time.monotonic()
    check_seen_by_workers(config.beam, named_in(config))
    with (
        locked(config.out) if config.out else nullcontext(),
        ahead(config.beam, out=config.out),
    ):
        from curate.planning.based import begin, pooled
        from curate.planning.plan import make_plan

        pool = pooled(config)
        begin(config)
        over = over_workers(pool, options)
        plan = replace(make_plan(pool, over=over), retry_failed=retry_failed)
        run_plan(
            plan, options=options, started=started, force=force, detach=detach, remedy=remedy
        )  # fmt: skip


def _ask_before_replacing(planned: "Plan", *, remedy: str) -> None:
    """Ask on the terminal whether to replace a finished set; a CurateError without a yes."""
    from curate.planning.replacing import replaced
    from curate.rundir.damage import find_damage
    from curate.rundir.mending import in_words

    told = replaced(planned)
    if told is None:
        return
    found = find_damage(planned.run, planned.digests)
    if damaged := in_words(planned.run, [*planned.damaged, *found.names]):
        error_console.print(Text.assemble(("warning", "bold yellow"), " ", damaged))
    if sys.stdin.isatty() and sys.stdout.isatty():
        if typer.confirm(f"{told}. Replace it?"):
            return
        raise CurateError("nothing was changed")
    raise CurateError(f"{told}; {remedy}")


def run_plan(
    planned: "Plan", *, options: list[str], started: float, force: bool = False,
    detach: bool = False,
    remedy: str = REMEDY,
) -> None:  # fmt: skip
    """Run a plan and write its report. `started` is a time of the monotonic clock.

    Without `force` a finished set is replaced only if a person agrees; `remedy` is for the error.
    With `detach` its job is left to its engine.
    """
    from curate.commands import progress
    from curate.planning.resume import Standing
    from curate.running import execute, retry
    from curate.running.owned import DetachedError, next_generation, under_way

    run = planned.run
    going = under_way(run)
    if going and _goes_on_with(planned, *going):
        if detach:
            out_console.print(f"{going[0]} goes on already; curate status {run.root} tells of it")
        else:
            out_console.print(f"Watching {going[0]}, which makes this run already")
            attend(planned, going[0], started=started)
        return
    if not force:
        _ask_before_replacing(planned, remedy=remedy)
    if going:
        _end_before(run, *going)
    planned = next_generation(planned, late=going is not None)
    run = planned.run
    failed = retry.failures(planned)
    progress.announce_retry(out_console, planned, failed)
    if failed:
        with progress.watch(out_console, planned, Standing({}, {}, clustered=False)):
            retry.retry(planned, failed, extra=options, debug=debugging())
    standing = execute.prepare_run(planned, failed=failed)
    n = len(planned.parts)
    rows = sum(part.rows for part in planned.parts)
    stages = " > ".join(stage for stage in planned.steps.stages if run.makes(stage))
    for note in planned.notes:
        out_console.print(note)
    out_console.print(f"{many(rows, 'pair')} in {many(n, 'part')}: {stages}")
    progress.announce(out_console, planned, standing)
    if standing.idle:
        progress.tried_again(out_console, planned, standing)
        report = run.path(Stage.REPORT, "index.html")
        out_console.print("Nothing to do: all is done already")
        progress.summary(out_console, planned, standing=standing, report=report, started=started)
        return
    try:
        with execute.recorded(planned):
            with progress.watch(out_console, planned, standing) as watch:
                graph = execute.execute(
                    planned, standing, extra=options, debug=debugging(),
                    watch=replace(watch, detach=detach),
                )  # fmt: skip
            _write_subset(planned)
    except DetachedError as left:
        out_console.print(
            f"Submitted {left}; it goes on by itself. How it is doing: curate status {run.root}; the"
            " same command without --detach waits for it, and writes the report"
        )
        return
    finish(planned, standing=standing, graph=graph, started=started)


def _write_subset(planned: "Plan") -> None:
    from curate.finished.subset import write_subset
    from curate.rundir.directory import SUBSET

    if not planned.config.download.enabled:
        kept = planned.steps.upstream(Stage.SHARDS)
        with spent("subset"):
            write_subset(planned.run, kept, planned.run.path(kept, SUBSET))


def attend(planned: "Plan", job: "Job", *, started: float) -> None:
    """Wait for the job of a run that another command has submitted, and write the report."""
    from curate.commands import progress
    from curate.planning.resume import Standing
    from curate.running import execute

    planned = replace(planned, run=replace(planned.run, generation=job.generation))
    standing = Standing({}, {}, clustered=False, parts=len(planned.parts))
    with execute.recorded(planned):
        with progress.watch(out_console, planned, standing) as watch:
            execute.attend(planned, job, watch=watch)
        _write_subset(planned)
    finish(planned, standing=standing, graph=None, started=started)


def finish(
    planned: "Plan", *, standing: "Standing", graph: "Graph | None", started: float
) -> None:  # fmt: skip
    """Write the report of a run that is made, and say what came of it."""
    from curate.commands import progress
    from curate.report.write import write_report
    from curate.running import execute

    run = planned.run
    report = write_report(run, planned.config, steps=planned.steps)
    whole = graph if standing.is_fresh and not run.source else None
    execute.report_written(planned, graph=whole, seconds=time.monotonic() - started)
    progress.tried_again(out_console, planned, standing)
    progress.summary(out_console, planned, standing=standing, report=report, started=started)


def _goes_on_with(plan: "Plan", job: Job, seen: Seen) -> bool:
    """Whether the job of a run makes just what `plan` asks for, so that it is waited for.

    Raises
    ------
    CurateError
        Where it is the process of another command here.
    """
    if engine_of(job).is_process and seen.state is not State.SILENT:
        raise CurateError(
            f"another curate command is at work in {plan.run.root}: {job.id}; wait until it has ended,"
            f" or end it: curate cancel {plan.run.root}"
        )
    from curate.running.execute import target

    same = job.of == target(plan)
    if same and plan.retry_failed:
        raise CurateError(
            f"{job} makes this run; wait until it has ended, and then fetch again what failed"
        )
    return same and seen.state is not State.SILENT


def _end_before(run: Run, job: Job, seen: Seen) -> None:
    """End the job of another configuration; one whose engine is silent ends as its workers notice."""
    if seen.state is State.SILENT:
        out_console.print(
            f"{job} may still go on: {seen.why}. Its workers end when they find that this command has"
            " begun"
        )
        return
    from curate.running.owned import end

    out_console.print(f"Cancelling {job}, which makes this run under another configuration")
    end(job)
