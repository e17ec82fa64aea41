"""Which engine a job is on."""

from curate.engines.job import Engine, Job
from curate.errors import CurateError


def engine_of(job: Job) -> Engine:
    """The engine of a job."""
    short = job.engine.rpartition(".")[2].lower().removesuffix("runner")
    if short == "dataflow":
        from curate.engines.dataflow import Dataflow

        return Dataflow()
    if short in ("portable", "prism", "flink", "spark"):
        from curate.engines.portable import JobServer

        return JobServer()
    if short == "fnapi":
        from curate.engines.local import Local

        return Local()
    raise CurateError(f"{job.engine}: curate does not know how to ask this engine for its jobs")
