"""A pipeline on its engine: a local run's on a thread, another's on the main one."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from curate import files
from curate.config import LOCAL_RUNNER, Beam
from curate.engines.job import Job, in_one_line, is_ours
from curate.errors import CurateError
from curate.rundir.generation import binding
from curate.running.owned import (
    DetachedError,
    Owner,
    end,
    follow,
    note,
    planned_job,
    same_signals,
    submitted,
)
from curate.stages.timing import Graph, counted

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.runners.runner import PipelineResult

_GRACE = 5.0
"""Seconds that Beam may take to end after a worker was lost."""
_WHILE = re.compile(r" \[while running .*\]$")


def beam_flags(settings: Beam, extra: Sequence[str] = ()) -> list[str]:
    """Beam's options, as on a command line; the runner is always named."""
    flags = [f"--runner={settings.runner}"]
    if settings.runner == LOCAL_RUNNER and settings.workers > 1:
        flags += [
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={settings.workers}",
        ]
    return [*flags, *settings.options, *extra]


def run_pipeline(
    settings: Beam,
    graph: Callable[[Any], object],
    *,
    extra: Sequence[str] = (),
    debug: bool = False,
    owner: Owner | None = None,
) -> Graph:
    """Run what `graph` adds to a pipeline to its end; `owner` says whose job it becomes, if a run's."""
    import apache_beam as beam

    from curate.running.options import Options
    from curate.running.workers import watched

    began = time.time()
    results: list[PipelineResult] = []

    def run() -> object:
        results.append(pipeline.run())
        return results[0].wait_until_finish()

    quiet = nullcontext() if debug else _without_noise()
    with (
        files.listings_anew(),
        files.tables_kept(),
        quiet,
        watched() as crew,
        ExitStack() as opened,
    ):
        flags = beam_flags(settings, extra)
        job, more = planned_job(settings, flags, owner) if owner else (None, [])
        try:
            pipeline = beam.Pipeline(options=Options([*flags, *more]))
        except ValueError as refused:
            told = " ".join(line.strip() for line in str(refused).splitlines())
            raise CurateError(f"the options after --: {told}") from refused
        graph(pipeline)
        if owner and job:
            opened.enter_context(binding(owner.run.root, owner.run.generation))
            note(owner.run, job)
        if settings.runner != LOCAL_RUNNER:
            return _elsewhere(pipeline, owner, job, began=began)
        try:
            state, error = _on_a_thread(run, lost=lambda: crew.error is not None)
        finally:
            if owner:
                with suppress(CurateError):  # another command has begun
                    note(owner.run, None)
    if crew.error and state is None:
        raise crew.error from error
    if error is not None:
        raise _in_one_line(error) from error
    if state is not None and str(state) != "DONE":
        raise CurateError(f"the {settings.runner} job ended in state {state}")
    between = counted(results[0]) if settings.runner == LOCAL_RUNNER else {}
    return Graph((began, time.time()), between)


def _elsewhere(
    pipeline: "beam.Pipeline", owner: Owner | None, job: Job | None, *, began: float
) -> Graph:
    """Submit a pipeline to an engine that is not this process, and wait for its job.

    On the main thread, as Beam's job servers take signals; what watches them runs on others.
    """
    result: PipelineResult | None = None
    try:
        with same_signals():
            result = pipeline.run()
            if owner is None or job is None:
                result.wait_until_finish()
                return Graph((began, time.time()), {})
    except KeyboardInterrupt:
        if job:
            end(job)
        elif result:
            result.cancel()
        raise
    except Exception as error:
        raise _in_one_line(error) from error
    job = submitted(result, job)
    note(owner.run, job)
    if owner.watch.detach:
        raise DetachedError(str(job))
    follow(owner.run, job, owner.watch)
    return Graph((began, time.time()), {})


def _on_a_thread(
    work: Callable[[], object], *, lost: Callable[[], bool]
) -> tuple[object, BaseException | None]:
    """What `work` returns, or raises. Ctrl-C interrupts this thread, which only waits, at once.

    Once `lost`, it is waited for no longer than `_GRACE` seconds.
    """
    ended: list[tuple[object, BaseException | None]] = []

    def body() -> None:
        try:
            ended.append((work(), None))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            ended.append((None, error))

    thread = threading.Thread(target=body, daemon=True, name="pipeline")
    thread.start()
    while thread.is_alive() and not lost():
        thread.join(0.1)
    thread.join(_GRACE)
    return ended[0] if ended else (None, None)


def _in_one_line(error: BaseException) -> CurateError:
    """What a person should read of an error that ended a pipeline.

    A worker in another process sends its traceback as text; our own message is in it.
    """
    if isinstance(error, CurateError):
        return CurateError(_WHILE.sub("", str(error)))
    if is_ours(str(error)):
        return CurateError(in_one_line(str(error)))
    import grpc

    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        told = f"{error.code().name}: {error.details()}"
        return CurateError(f"the pipeline failed: its job server's answer is {told}")
    last = str(error).strip().splitlines() or [""]
    return CurateError(
        f"the pipeline failed: {type(error).__name__}: {last[-1]}; --debug shows where"
    )


@contextmanager
def _without_noise() -> Iterator[None]:
    """Keep what decoders and worker processes write to stderr from the person's screen.

    After Ctrl-C stderr stays shut: the workers get the same signal, and each would tell of it.
    """
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        os.dup2(kept, 2)
        raise
    os.dup2(kept, 2)
    os.close(kept)
