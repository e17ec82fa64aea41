"""The job of a run: noted before it is submitted, watched until it ends, found again, cancelled."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from curate import files
from curate.config import LOCAL_RUNNER, Beam
from curate.engines import local
from curate.engines.job import Job, Seen, State, option
from curate.engines.known import engine_of
from curate.errors import CurateError, DamagedError
from curate.planning.plan import Plan
from curate.rundir.directory import Run
from curate.rundir.generation import FRESH, generation_of

_POLL = 1.0  # seconds between two looks at a job
_CANCELLED = 120.0  # seconds in which an engine ends a job that it was asked to end
_SILENCE = 120.0  # seconds after which an engine that does not answer is given up
_LATE = 1.0  # seconds that a worker may take to put a finished file in its place
_LOOPBACK = "LOOPBACK"


class DetachedError(Exception):
    """The job was submitted, and this command does not stay with it."""


@dataclass(frozen=True)
class Watch:
    """Who is told of a job while it goes on, and whether this command stays with it."""

    seen: Callable[[Job, Seen], None] = lambda job, seen: None
    cancelling: Callable[[Job], None] = lambda job: None
    detach: bool = False


@dataclass(frozen=True)
class Owner:
    """Whose job it is that a pipeline becomes."""

    run: Run
    of: str  # a digest of what the run is to become; empty where no other command may go on with it
    watch: Watch = Watch()


def under_way(run: Run) -> tuple[Job, Seen] | None:
    """The job that changes the run, as far as its engine says or nobody can say; None for none."""
    job = None
    with suppress(DamagedError):
        job = Job.of_state(run.state())
    if job is None:
        return None
    seen = engine_of(job).look(job)
    return None if seen.state.ended else (job, seen)


def next_generation(plan: Plan, *, late: bool) -> Plan:
    """`plan` in a generation of its own: what jobs of earlier ones still do is in vain.

    Where one may go on (`late`), or workers elsewhere may still be at the last thing that one did, it
    is waited until these have noticed.
    """
    state: dict[str, Any] = {}
    with suppress(DamagedError):
        state = plan.run.state()
    elsewhere = plan.config.beam.runner != LOCAL_RUNNER and state.get("state") != "complete"
    generation = _begun(plan.run, state, late=late or elsewhere) if state else 1
    return replace(plan, run=replace(plan.run, generation=generation))


def take(run: Run) -> None:
    """Make sure that a run is changed by this process alone.

    Raises
    ------
    CurateError
        Where a job changes the run.
    """
    going = under_way(run)
    if going and going[1].state is not State.SILENT:
        job, seen = going
        told = f"{seen.state}, {seen.why}" if seen.why else seen.state
        raise CurateError(
            f"{run.root}: {job} is {told}; wait until it has ended (curate status {run.root}), or end"
            f" it: curate cancel {run.root}"
        )
    state = run.state()
    if going or state.get("state") != "complete":  # else no worker can be left
        _begun(run, state, late=going is not None)


def _begun(run: Run, state: dict[str, Any], *, late: bool) -> int:
    generation = generation_of(state) + 1
    run.update(generation=generation, job=None)
    if late:
        time.sleep(FRESH + _LATE)
    return generation


def planned_job(settings: Beam, flags: list[str], owner: Owner) -> tuple[Job, list[str]]:
    """The job that a pipeline with these options of Beam's will be, and options to be added.

    Raises
    ------
    CurateError
        Where it could not go on without this command, and is to.
    """
    run, engine = owner.run, settings.runner
    if engine == LOCAL_RUNNER:
        name, host = local.identity()
        return Job(engine, name, host, owner.of, id=name), []
    more = []
    name = option(flags, "job_name")
    if not name:
        name = f"curate-{files.digest_of(run.root)[:8]}-{run.generation}"
        more.append(f"--job_name={name}")
    if "dataflow" in engine.lower():
        from curate.engines.dataflow import where_of

        return Job(engine, name, where_of(flags), owner.of), more
    where, host = option(flags, "job_endpoint"), ""
    needed = "a job server that this command starts; start one, and give --job_endpoint"
    needed = "" if where else needed
    if option(flags, "environment_type").upper() == _LOOPBACK:
        needed = "this process as its worker; give another --environment_type"
    if owner.watch.detach and needed:
        raise CurateError(f"--detach: with these options the job needs {needed}")
    if where:
        from curate.engines.portable import JobServer

        JobServer().check_answers(where)
    else:
        port = option(flags, "job_port") or str(_free_port())
        more += [] if option(flags, "job_port") else [f"--job_port={port}"]
        where, host = f"localhost:{port}", socket.gethostname()
    also = option(flags, "flink_master")
    if also and not also.startswith("["):
        also = also if "://" in also else f"http://{also}"
    also = "" if also.startswith("[") else also
    return Job(engine, name, where, owner.of, also=also, host=host), more


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return int(taken.getsockname()[1])


def note(run: Run, job: Job | None) -> None:
    """Say in run.json which job changes the run."""
    run.update(job=asdict(replace(job, generation=run.generation)) if job else None)


@contextmanager
def same_signals() -> Iterator[None]:
    """Keep the handlers of signals that this process has: Beam's job servers put theirs before them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.getsignal(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def submitted(result: Any, job: Job) -> Job:
    """The job with the name that the engine gave to it."""
    if hasattr(result, "job_id"):  # Dataflow's
        return replace(job, id=str(result.job_id()))
    return replace(job, id=str(getattr(result, "_job_id", "")))


def follow(run: Run, job: Job, watch: Watch) -> None:
    """Wait until a job has ended; an interruption cancels it, and waits for that.

    Raises
    ------
    CurateError
        Where it failed, with the worker's own message; was cancelled by another; or its engine is lost.
    """
    engine, answered = engine_of(job), time.monotonic()
    try:
        while True:
            seen = engine.look(job)
            if seen.state is not State.SILENT:
                answered = time.monotonic()
            elif time.monotonic() - answered > _SILENCE:
                raise CurateError(
                    f"{seen.why}, for {_SILENCE:g} s; the job may go on: curate status {run.root}"
                )
            watch.seen(job, seen)
            if seen.state.ended:
                break
            time.sleep(_POLL)
    except KeyboardInterrupt:
        watch.cancelling(job)
        end(job)
        note(run, None)
        raise
    note(run, None)
    if seen.state is State.DONE:
        return
    if seen.said:
        raise CurateError(seen.said[-1])
    raise CurateError(f"{job}: the job is {seen.state}; its engine gives no reason")


def end(job: Job) -> None:
    """Cancel a job, and wait until it has ended.

    Raises
    ------
    CurateError
        Where its engine does not end it.
    """
    engine, began = engine_of(job), time.monotonic()
    engine.cancel(job)
    while not (seen := engine.look(job)).state.ended:
        if time.monotonic() - began > _CANCELLED:
            told = seen.why or f"it is {seen.state}"
            raise CurateError(f"{job}: not ended {_CANCELLED:g} s after it was cancelled: {told}")
        time.sleep(_POLL / 2)
