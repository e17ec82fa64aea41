"""Jobs whose engine does not answer."""

import socket

import pytest

from curate.engines.job import Job, State
from curate.engines.known import engine_of
from tests.engines.prism import free_port


@pytest.mark.parametrize(
    ("host", "also", "state"),
    [
        (socket.gethostname(), "", State.GONE),
        (socket.gethostname(), "http://127.0.0.1:9", State.SILENT),  # a cluster may go on with it
        ("elsewhere", "", State.SILENT),
        ("", "", State.SILENT),
    ],
)
def test_a_job_is_gone_with_the_engine_that_its_command_started_here(
    host: str, also: str, state: State
) -> None:
    where = f"localhost:{free_port()}"
    job = Job("PrismRunner", "name", where, "", id="job-001", host=host, also=also)
    seen = engine_of(job).look(job)
    assert seen.state is state
    assert seen.why == f"the job server at {where} does not answer"
