"""Running a plan: the graph on its runner, the state in run.json, the report at the end."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from curate import files
from curate.clock import SPENT, Took
from curate.config import LOCAL_RUNNER, Beam, Download
from curate.config import file as config_file
from curate.errors import CurateError, DamagedError
from curate.planning.cutting import check_rows, most_dead
from curate.planning.plan import Plan
from curate.planning.resume import Standing, settle
from curate.reasons import ErrorCode
from curate.run import borrowed, revocations
from curate.run.damage import short_shard, whole_files
from curate.run.directory import ANNOTATED, MANIFEST, PART_STAGES, SIZES, Totals, totals, versions
from curate.run.mending import taken_back
from curate.run.scratch import remove_scratch
from curate.run.shards import counts_of
from curate.schema import Stage
from curate.stages.timing import Graph, counted

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.runners.runner import PipelineResult

_OURS = re.compile(r"curate\.errors\.(?:Curate|Damaged|Absent)Error: (.*)")
_FAILURES = (ErrorCode.SCORE_FAILED, ErrorCode.SCORE_NOT_FINITE)
_GRACE = 5.0
"""Seconds that Beam may take to end after a worker was lost."""
_ASKS = tuple(name for name, x in Download.changes().items() if x.redoes == "ask")
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


def prepare_run(plan: Plan, *, failed: dict[int, int] | None = None) -> Standing:
    """Write config.yaml and run.json, and settle what an earlier run left.

    `failed` says how many rows were fetched again of each part (`curate.running.retry`).
    """
    run, config = plan.run, plan.config
    before = run.state()
    if borrowed.changed(run):
        borrowed.clear(run)
        files.remove(run.path(revocations.FILE))
    standing = settle(plan)
    standing = replace(
        standing,
        failed=failed or {},
        changed=_new_ways_to_ask(plan, standing),
        idle=before.get("reported") == _reported(plan) and _is_complete(plan, standing),
    )
    files.write_bytes(
        run.path("config.yaml"), config_file.dump(config_file.absolute(config)).encode()
    )
    run.update(
        state="complete" if standing.idle else "running",
        reported=_reported(plan) if standing.idle else None,
        source=run.source,
        borrowed=borrowed.borrowed_by(run),
        retrying=None,
        revoked=revocations.inherited(run),
        seed=config.seed,
        config_digest=files.digest_of(config.model_dump(mode="json", exclude={"beam", "out"})),
        input_digest=plan.input_digest,
        digests={folder: digest.chain for folder, digest in plan.digests.items()},
        steps=[folder for folder in plan.steps.folders if folder in plan.digests],
        inputs=list(plan.inputs),
        parts=len(plan.parts),
        versions=versions(),
    )
    return standing


def report_written(plan: Plan, *, graph: Graph | None = None, seconds: float = 0.0) -> None:
    """Note that the report is that of this plan: repeated, it has nothing to do.

    What the command took is noted where it did the whole run: its `graph`, and `seconds` in all.
    """
    took: Took | None = None
    if graph:
        took = {
            "workers": plan.config.beam.workers, "cores": len(os.sched_getaffinity(0)),
            "began": time.time() - seconds, "graph": graph.times, "ended": time.time(),
            "contents": SPENT["contents"], "cutting": SPENT["cutting"],
            "facts": SPENT["facts"] + SPENT.pop("subset", 0.0), "between": graph.between,
        }  # fmt: skip
    plan.run.update(reported=_reported(plan), took=took)


def _reported(plan: Plan) -> str:
    """What the report depends on, beside the files of the steps: not how they were asked for or run."""
    told: Any = {"beam": True, "out": True, "download": set(_ASKS)}
    document = plan.config.model_dump(mode="json", exclude=told)
    return files.digest_of({x: y.chain for x, y in plan.digests.items()}, document, versions())


def _is_complete(plan: Plan, standing: Standing) -> bool:
    """Whether every part, every shard and the report are done and valid under the plan."""
    run = plan.run
    stages = [stage for stage in plan.steps.stages if stage in PART_STAGES and run.makes(stage)]
    if not all(standing.skips(stage) for stage in stages) or standing.damaged != plan.damaged:
        return False
    if Stage.DEDUP in stages and not standing.clustered:
        return False
    if not all(files.sizes(run.path(Stage.REPORT)).get(x) for x in ("index.html", "report.json")):
        return False
    if Stage.SHARDS not in plan.steps.stages:
        return True
    sizes = files.sizes(run.path(Stage.SHARDS))
    if not {MANIFEST, SIZES} <= sizes.keys():
        return False
    try:
        manifest = files.read_document(run.path(Stage.SHARDS, MANIFEST))
        counts = files.read_json(run.path(Stage.SHARDS, SIZES))
    except DamagedError:
        return False
    if manifest["digest"] != plan.digests[Stage.SHARDS].chain:
        return False
    if counts != counts_of(manifest):
        return False
    return not any(short_shard(one, sizes) for one in manifest["shards"])


def _new_ways_to_ask(plan: Plan, standing: Standing) -> tuple[str, ...]:
    """The settings of the download that changed since the last run and redo nothing by themselves."""
    url = plan.run.path("config.yaml")
    fetched = standing.valid.get(files.join(Stage.DOWNLOAD, ANNOTATED))
    if plan.retry_failed or not fetched or not files.exists(url):
        return ()
    try:
        was = config_file.load(url).download
    except CurateError:  # written by another version
        return ()

    def asked(name: str, download: Download) -> object:
        found = getattr(download, name)
        if name == "connect_to":  # `curate demo` has new ports each time
            return {host: address.rpartition(":")[0] for host, address in found.items()}
        return found

    new = plan.config.download
    return tuple(name for name in _ASKS if asked(name, was) != asked(name, new))


@contextmanager
def recorded(plan: Plan) -> Iterator[None]:
    """Keep the state in run.json true while the block runs, however it ends."""
    state = "failed"
    try:
        yield
        state = "complete"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        for step in plan.steps:
            if step.has_parts and plan.run.makes(step.stage):
                plan.run.index_records(step.folder)
        held = whole_files(plan.run) if state == "complete" else {}
        plan.run.update(state=state, stages=stage_totals(plan), files=held)


def stage_totals(plan: Plan) -> dict[str, Totals]:
    """Counts of each stage whose output is parts."""
    return {
        str(stage): totals(plan.run, stage) for stage in PART_STAGES if stage in plan.steps.stages
    }


def execute(
    plan: Plan, standing: Standing, *, extra: Sequence[str] = (), debug: bool = False
) -> Graph:
    """Run the whole graph of `plan` to its end; see :func:`run_graph`."""
    from curate.flow import build
    from curate.running.trial import try_models

    try_models(plan, standing)
    graph = partial(build, plan=plan)
    return run_graph(plan, graph, extra=extra, debug=debug)


def run_graph(
    plan: Plan,
    graph: Callable[["beam.Pipeline"], object],
    *,
    extra: Sequence[str] = (),
    debug: bool = False,
) -> Graph:
    """Run what `graph` adds to a pipeline to its end, on the engine of `plan`.

    Raises
    ------
    CurateError
        With the worker's own message where a worker raised one. `debug` lets through what workers
        write to stderr.
    """
    try:
        took = run_pipeline(plan.config.beam, graph, extra=extra, debug=debug)
    except CurateError as error:
        raise taken_back(plan.run, plan.digests, error) from error.__cause__
    remove_scratch(plan.run)
    check_dead(plan)
    return took


def run_pipeline(
    settings: Beam,
    graph: Callable[[Any], object],
    *,
    extra: Sequence[str] = (),
    debug: bool = False,
) -> Graph:
    """As :func:`run_graph`, of a pipeline that is of no plan."""
    import apache_beam as beam

    from curate.running.options import Options
    from curate.running.workers import watched

    began = time.time()
    results: list[PipelineResult] = []

    def run() -> object:
        results.append(pipeline.run())
        return results[0].wait_until_finish()

    quiet = nullcontext() if debug else _without_noise()
    with files.listings_anew(), files.tables_kept(), quiet, watched() as crew:
        try:
            pipeline = beam.Pipeline(options=Options(beam_flags(settings, extra)))
        except ValueError as refused:
            told = " ".join(line.strip() for line in str(refused).splitlines())
            raise CurateError(f"the options after --: {told}") from refused
        graph(pipeline)
        state, error = _on_a_thread(run, lost=lambda: crew.error is not None)
    if crew.error and state is None:
        raise crew.error from error
    if error is not None:
        raise _in_one_line(error) from error
    if state is not None and str(state) != "DONE":
        raise CurateError(f"the {settings.runner} job ended in state {state}")
    between = counted(results[0]) if settings.runner == LOCAL_RUNNER else {}
    return Graph((began, time.time()), between)


def check_dead(plan: Plan) -> None:
    """Raise where more of the pool is dead than `input.max_dead_fraction` allows."""
    if plan.run.makes(Stage.PREPARE):
        found = totals(plan.run, Stage.PREPARE)
        check_rows(
            sum(found["dead"].values()), found["rows"],
            fraction=plan.config.input.max_dead_fraction, see=plan.run.path("dead", Stage.PREPARE),
        )  # fmt: skip
    if Stage.SCORE in plan.steps.stages and plan.run.makes(Stage.SCORE):
        _check_scored(plan)


def _check_scored(plan: Plan) -> None:
    """Raise where `scores` failed for more of the pairs than `input.max_dead_fraction` allows.

    A number of theirs that is not finite is a failure, one of the model's is not: `score.precision`
    has those, and the rest of the set stands.
    """
    run, fraction = plan.run, plan.config.input.max_dead_fraction
    found = totals(run, Stage.SCORE)
    most = most_dead(found["rows"], fraction=fraction)
    if sum(found["dead"].get(error, 0) for error in _FAILURES) <= most:
        return
    failed, names, first = 0, set[str](), ""
    for index, record in run.records(Stage.SCORE):
        if not any(record.dead.get(error) for error in _FAILURES):
            continue
        dead = run.rows(f"dead/{Stage.SCORE}", index, columns=["error", "detail"])
        for row in dead.to_pylist():
            name, _, told = (row["detail"] or "").partition(": ")
            if row["error"] in _FAILURES and name.startswith("scores."):
                failed, first = failed + 1, first or told
                names.add(name)
    if failed > most:
        raise CurateError(
            f"{', '.join(sorted(names))} failed for {failed:,} of {found['rows']:,} pairs, more than"
            f" input.max_dead_fraction {fraction:g} allows, the first with: {first}; see"
            f" {run.path('dead', Stage.SCORE)}"
        )


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
    if found := _OURS.findall(str(error)):
        return CurateError(_WHILE.sub("", found[-1]))
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
