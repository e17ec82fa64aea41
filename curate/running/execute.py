"""Running a plan: the graph on its runner, the state in run.json, the report at the end."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from curate import files
from curate.clock import SPENT, Took
from curate.config import Download
from curate.config import file as config_file
from curate.engines.job import Job
from curate.errors import CurateError, DamagedError
from curate.planning.growing import wave_of
from curate.planning.plan import Plan
from curate.planning.resume import Standing, settle
from curate.pool.joined import sort
from curate.rundir import borrowed, revocations
from curate.rundir.counts import COUNTS
from curate.rundir.damage import short_shard, whole_files
from curate.rundir.directory import (
    ANNOTATED,
    MANIFEST,
    PART_STAGES,
    SIZES,
    Run,
    Totals,
    totals,
    versions,
)
from curate.rundir.mending import taken_back
from curate.rundir.scratch import remove_laid_by
from curate.rundir.shards import counts_of
from curate.running.failures import check_dead
from curate.running.owned import (
    DetachedError,
    Owner,
    Watch,
    follow,
)
from curate.running.pipeline import run_pipeline
from curate.schema import Stage
from curate.stages.timing import Graph

if TYPE_CHECKING:
    import apache_beam as beam

_ASKS = tuple(name for name, x in Download.changes().items() if x.redoes == "ask")


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
        made=(made := _is_made(plan, standing)),
        idle=made and before.get("reported") == target(plan) and _is_reported(run),
    )
    files.write_bytes(
        run.path("config.yaml"), config_file.dump(config_file.absolute(config)).encode()
    )
    run.update(
        state="complete" if standing.idle else "running",
        generation=run.generation,
        job=None,
        reported=target(plan) if standing.idle else None,
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
        **({"grown": plan.grown} if plan.grown or "grown" in before else {}),
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
    plan.run.update(reported=target(plan), took=took)


def target(plan: Plan) -> str:
    """A digest of what the run and its report become by `plan`, however it is asked for or run."""
    told: Any = {"beam": True, "out": True, "download": set(_ASKS)}
    document = plan.config.model_dump(mode="json", exclude=told)
    grown = [plan.grown] if plan.grown else []
    digests = {folder: digest.chain for folder, digest in plan.digests.items()}
    return files.digest_of(digests, document, versions(), *grown)


def _is_reported(run: Run) -> bool:
    found = files.sizes(run.path(Stage.REPORT))
    return all(found.get(x) for x in ("index.html", "report.json"))


def _is_made(plan: Plan, standing: Standing) -> bool:
    """Whether every part and every shard is done and valid under the plan."""
    run = plan.run
    stages = [stage for stage in plan.steps.stages if stage in PART_STAGES and run.makes(stage)]
    if not all(standing.skips(stage) for stage in stages) or standing.damaged != plan.damaged:
        return False
    if Stage.DEDUP in stages and not standing.clustered:
        return False
    if Stage.SHARDS not in plan.steps.stages:
        return True
    sizes = files.sizes(run.path(Stage.SHARDS))
    asked = plan.config.balance
    counted = {COUNTS} if asked is not None and asked.is_online else set()
    if not {MANIFEST, SIZES, *counted} <= sizes.keys():
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
    try:
        yield
    except DetachedError:
        raise
    except KeyboardInterrupt:
        _ended(plan, state="interrupted")
        raise
    except BaseException:
        _ended(plan, state="failed")
        raise
    _ended(plan, state="complete")


def _ended(plan: Plan, *, state: str) -> None:
    for step in plan.steps:
        if step.has_parts and plan.run.makes(step.stage):
            plan.run.index_records(step.folder)
    held = whole_files(plan.run) if state == "complete" else {}
    waves = max(map(wave_of, plan.inputs), default=0)
    settled = {"settled": waves} if state == "complete" and waves else {}
    plan.run.update(state=state, stages=stage_totals(plan), files=held, **settled)


def stage_totals(plan: Plan) -> dict[str, Totals]:
    """Counts of each stage whose output is parts."""
    return {
        str(stage): totals(plan.run, stage) for stage in PART_STAGES if stage in plan.steps.stages
    }


def execute(
    plan: Plan,
    standing: Standing,
    *,
    extra: Sequence[str] = (),
    debug: bool = False,
    watch: Watch = Watch(),  # noqa: B008 - which is frozen
) -> Graph | None:
    """Run the whole graph of `plan` to its end; see :func:`run_graph`; None where all is made before.

    Raises
    ------
    DetachedError
        Once the job is submitted, where this command is not to stay with it.
    """
    from curate.flow import build
    from curate.running.trial import try_models
    from curate.stages.captions import tables_of
    from curate.stages.score.table import sort_tables

    if standing.made:
        check_dead(plan)
        return None
    for folder, table in tables_of(plan).items():
        if not standing.skips(Stage.PREPARE):
            sort(table, folder)
    try_models(plan, standing)
    sort_tables(plan)
    graph = partial(build, plan=plan)
    return run_graph(
        plan, graph, extra=extra, debug=debug, owner=Owner(plan.run, target(plan), watch)
    )


def attend(plan: Plan, job: Job, *, watch: Watch) -> None:
    """Wait until the job of a run, of the same configuration, has ended; see `owned.follow`."""
    try:
        follow(plan.run, job, watch)
    except CurateError as error:
        raise taken_back(plan.run, plan.digests, error) from error.__cause__
    remove_laid_by(plan.run)
    check_dead(plan)


def run_graph(
    plan: Plan,
    graph: Callable[["beam.Pipeline"], object],
    *,
    extra: Sequence[str] = (),
    debug: bool = False,
    owner: Owner | None = None,
) -> Graph:
    """Run what `graph` adds to a pipeline to its end, on the engine of `plan`.

    `owner` says whose job it becomes, if it is one of the run.

    Raises
    ------
    CurateError
        With the worker's own message where a worker raised one. `debug` lets through what workers
        write to stderr.
    """
    try:
        took = run_pipeline(plan.config.beam, graph, extra=extra, debug=debug, owner=owner)
    except CurateError as error:
        raise taken_back(plan.run, plan.digests, error) from error.__cause__
    remove_laid_by(plan.run)
    check_dead(plan)
    return took
