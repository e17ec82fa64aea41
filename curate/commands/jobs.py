"""`curate status` and `curate cancel`: the job that makes a run, asked for from anywhere."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from curate.commands.terminal import one_line_errors, out_console, shown
from curate.engines.job import Job, Seen, State
from curate.engines.known import engine_of
from curate.errors import CurateError
from curate.rundir.directory import Run

RunDirectory = Annotated[str, typer.Argument(metavar="RUN", help="A run directory.")]


def status(
    run_directory: RunDirectory,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Show how far a run is, and how its job is doing, from any machine that sees RUN.

    Parts done of each step, pairs a second, time left of the step at work, the job's state on its
    engine and its last errors.
    """
    with one_line_errors():
        run = Run.at(run_directory)
        state = run.state()
        steps = _steps(run, state)
        going = _going(state)
        if as_json:
            job, seen = going or (None, None)
            document = {
                "state": state.get("state"), "job": asdict(job) if job else None,
                "seen": asdict(seen) if seen else None, "steps": steps,
            }  # fmt: skip
            print(shown(json.dumps(document, ensure_ascii=False)))
            return
        out_console.print(_told(run, state, going))
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("step", "parts", "pairs/s", "left"):
            table.add_column(name, justify="left" if name == "step" else "right")
        for one in steps:
            rate = f"{one['pairs_per_second']:,.0f}" if one["pairs_per_second"] else ""
            left = f"{one['seconds_left']:,.0f} s" if one["seconds_left"] is not None else ""
            table.add_row(one["step"], f"{one['done']:,}/{one['parts']:,}", rate, left)
        out_console.print(table)
        for line in going[1].said[-3:] if going else ():
            out_console.print(f"error   {line}")


def _going(state: dict[str, Any]) -> tuple[Job, Seen] | None:
    job = Job.of_state(state)
    return (job, engine_of(job).look(job)) if job else None


def _told(run: Run, state: dict[str, Any], going: tuple[Job, Seen] | None) -> str:
    """The state of a run in a line."""
    if not going:
        return f"{run.root}: {state.get('state', 'begun')}; no job is going on"
    job, seen = going
    why = f", {seen.why}" if seen.why else ""
    told = f"{run.root}: the job {job} is {seen.state}{why}"
    if seen.state is State.DONE:
        told += "; the report is still to be written: give the `curate run` command again"
    elif seen.state.ended:
        told += "; give the `curate run` command again, and it goes on"
    return told


def _steps(run: Run, state: dict[str, Any]) -> list[dict[str, Any]]:
    """How far each step is: those of its records that are of the configuration."""
    found = []
    parts = state.get("parts", 0)
    for folder, digest in state.get("digests", {}).items():
        if folder not in state.get("steps", ()) or folder == "shards":
            continue
        records = [one for _, one in run.records(folder) if one.digest == digest]
        ended = sorted(one.ended for one in records if one.ended)
        spent = ended[-1] - ended[0] if len(ended) > 1 else 0.0
        pairs = sum(one.rows for one in records)
        is_at_work = 0 < len(records) < parts and spent > 0
        found.append({
            "step": folder, "done": len(records), "parts": parts, "pairs": pairs,
            "pairs_per_second": round(pairs / spent, 1) if spent else None,
            "seconds_left": round((parts - len(records)) * spent / (len(records) - 1), 1)
            if is_at_work else None,
        })  # fmt: skip
    return found


def cancel(run_directory: RunDirectory) -> None:
    """End the job that makes a run, from any machine that sees RUN, and wait until it has ended.

    What is done is kept: the same `curate run` goes on with it.
    """
    with one_line_errors():
        from curate.running import owned

        run = Run.at(run_directory)
        going = owned.under_way(run)
        if not going:
            out_console.print(f"{run.root}: no job is going on")
            return
        job, seen = going
        if seen.state is State.SILENT:
            raise CurateError(f"{job}: cannot be ended from here: {seen.why}")
        out_console.print(f"Cancelling {job}")
        owned.end(job)
        if Job.of_state(run.state()) == job:  # the command that submitted it is gone
            run.update(state="interrupted", job=None)
        out_console.print("It has ended; what is done is kept")


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(status)
    app.command()(cancel)
