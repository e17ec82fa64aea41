"""What is made of the answers of Flink's REST interface, which a fake gives: no job server is here."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from curate.engines.job import Job, State
from curate.engines.portable import JobServer

OURS = """org.apache.flink.runtime.taskmanager.AsynchronousException: ...
Caused by: java.lang.RuntimeError: Error received from SDK harness for instruction 7: Traceback (most recent call last):
  File "x.py", line 3, in process
curate.errors.DamagedError: s3://b/run/prepare/part-00003.parquet is damaged: it is gone [while running 'Dedup/Keys']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient$ResponseStreamObserver.onNext
"""  # noqa: E501


class FakeFlink(BaseHTTPRequestHandler):
    """Documents of the shape that Flink 1.20 gives."""

    answers: dict[str, Any]
    cancelled: list[str]

    def do_GET(self) -> None:
        found = self.answers.get(self.path.partition("?")[0].strip("/"))
        content = json.dumps(found).encode()
        self.send_response(200 if found is not None else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PATCH(self) -> None:
        self.cancelled.append(self.path)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def overview(state: str, **tasks: int) -> dict[str, Any]:
    counts = {"total": 4, "running": 0, "finished": 0} | tasks
    older = {
        "jid": "0ld",
        "name": "curate-1",
        "state": "FINISHED",
        "start-time": 1,
        "tasks": counts,
    }
    return {"jobs": [older, older | {"jid": "f00", "state": state, "start-time": 2}]}


@pytest.fixture
def job() -> Iterator[Job]:
    """A job whose job server is gone, and whose Flink is the fake."""
    FakeFlink.answers = {
        "jobs/f00/exceptions": {"exceptionHistory": {"entries": []}},
        "overview": {"slots-total": 2, "slots-available": 0},
    }
    FakeFlink.cancelled = []
    with socket.socket() as closed, ThreadingHTTPServer(("127.0.0.1", 0), FakeFlink) as server:
        closed.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Job(
            engine="FlinkRunner", name="curate-1", id="job_1", of="",
            where=f"127.0.0.1:{closed.getsockname()[1]}",
            also=f"http://127.0.0.1:{server.server_port}",
        )  # fmt: skip
        server.shutdown()
        thread.join()


def test_a_job_that_waits_for_a_slot(job: Job) -> None:
    FakeFlink.answers["jobs/overview"] = overview("RUNNING")
    seen = JobServer().look(job)
    assert (seen.state, seen.why) == (State.WAITING, "no slot is free (0 of 2)")


def test_a_job_that_runs(job: Job) -> None:
    FakeFlink.answers["jobs/overview"] = overview("RUNNING", running=1)
    seen = JobServer().look(job)
    assert (seen.state, seen.why) == (State.RUNNING, "")


def test_a_job_that_restarts_says_why_in_our_words(job: Job) -> None:
    FakeFlink.answers["jobs/overview"] = overview("RESTARTING")
    FakeFlink.answers["jobs/f00/exceptions"]["exceptionHistory"]["entries"] = [{"stacktrace": OURS}]
    seen = JobServer().look(job)
    assert seen.state is State.RUNNING
    assert seen.why == "restarting: s3://b/run/prepare/part-00003.parquet is damaged: it is gone"


@pytest.mark.parametrize(
    ("flinks", "ours"),
    [("FAILED", State.FAILED), ("FINISHED", State.DONE), ("CANCELED", State.CANCELLED)],
)
def test_a_job_that_has_ended(job: Job, flinks: str, ours: State) -> None:
    FakeFlink.answers["jobs/overview"] = overview(flinks)
    FakeFlink.answers["jobs/f00/exceptions"]["exceptionHistory"]["entries"] = [{"stacktrace": OURS}]
    seen = JobServer().look(job)
    assert seen.state is ours
    assert [x.startswith("s3://b/run/prepare") for x in seen.said] == [True] * (flinks == "FAILED")


def test_a_job_is_cancelled_where_its_job_server_is_gone(job: Job) -> None:
    FakeFlink.answers["jobs/overview"] = overview("RUNNING", running=1)
    JobServer().cancel(job)
    assert FakeFlink.cancelled == ["/jobs/f00?mode=cancel"]


def test_a_job_that_flink_does_not_know_either_is_unknown(job: Job) -> None:
    FakeFlink.answers["jobs/overview"] = {"jobs": []}
    seen = JobServer().look(job)
    assert seen.state is State.SILENT
    assert seen.why == f"the job server at {job.where} does not answer"
