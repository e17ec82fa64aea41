"""Running a plan: the graph on its runner, the state in run.json, the report at the end."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from curate import config as configuration
from curate import files
from curate.errors import CurateError
from curate.flow import LOCAL_RUNNER, build
from curate.plan import Plan
from curate.resume import Standing, settle
from curate.run import PART_STAGES, totals, versions
from curate.schema import Stage

_OURS = re.compile(r"curate\.errors\.CurateError: (.*)")


def beam_flags(plan: Plan, extra: Sequence[str] = ()) -> list[str]:
    """The Beam options of a plan, as on a command line; the runner is always named."""
    settings = plan.config.beam
    flags = [f"--runner={settings.runner}"]
    if settings.runner == LOCAL_RUNNER and settings.workers > 1:
        flags += [
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={settings.workers}",
        ]
    return [*flags, *settings.options, *extra]


def prepare_run(plan: Plan) -> Standing:
    """Write config.yaml and run.json, and settle what an earlier run left."""
    run, config = plan.run, plan.config
    standing = settle(plan)
    files.write_bytes(run.path("config.yaml"), configuration.dump(config).encode())
    run.update(
        state="running",
        seed=config.seed,
        config_digest=files.digest_of(config.model_dump(mode="json", exclude={"beam", "out"})),
        input_digest=plan.input_digest,
        inputs=list(plan.inputs),
        parts=len(plan.parts),
        versions=versions(),
    )
    return standing


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
        plan.run.update(state=state, stages=stage_totals(plan))


def stage_totals(plan: Plan) -> dict[str, Any]:
    """Counts of each stage whose output is parts."""
    return {str(stage): totals(plan.run, stage) for stage in PART_STAGES if stage in plan.stages}


def execute(plan: Plan, standing: Standing, *, extra: Sequence[str] = ()) -> None:
    """Run the graph to its end.

    Raises
    ------
    CurateError
        With the worker's own message where a worker raised one.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    pipeline = beam.Pipeline(options=PipelineOptions(beam_flags(plan, extra)))
    build(pipeline, plan, clustered=standing.clustered)
    try:
        result = pipeline.run()
        state = result.wait_until_finish()
    except RuntimeError as error:
        if found := _OURS.findall(str(error)):
            raise CurateError(found[-1]) from None
        raise
    if state is not None and str(state) != "DONE":
        raise CurateError(f"the {plan.config.beam.runner} job ended in state {state}")


def write_uids(plan: Plan) -> str:
    """``balance/uids.npy``: the kept uids as a DataComp subset (sorted, dtype u8,u8); its URL."""
    import numpy as np

    last = plan.upstream(Stage.SHARDS)
    halves = [np.empty((0, 2), np.uint64)]
    for table in plan.run.tables(last, columns=["uid"]):
        digits = "".join(table["uid"].to_pylist())
        halves.append(np.frombuffer(bytes.fromhex(digits), ">u8").reshape(-1, 2).astype(np.uint64))
    uids = np.ascontiguousarray(np.concatenate(halves)).view([("f0", "u8"), ("f1", "u8")]).ravel()
    uids.sort()
    target = plan.run.path(last, "uids.npy")
    with files.atomic_write(target) as file:
        np.save(file, uids)
    return target
