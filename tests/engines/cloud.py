"""Google Cloud on this machine: a store, and a Dataflow that runs the jobs which are sent to it.

As a program it is the job itself: `python -m tests.engines.cloud PIPELINE` runs a graph that was staged
at a URL, whose container images are processes here.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil

from tests.engines.prism import end_all, free_port

BUCKET = "bucket"


@dataclass
class Submitted:
    """A job as the service knows it."""

    id: str
    document: dict[str, Any]
    process: "subprocess.Popen[bytes] | None" = None
    is_cancelled: bool = False

    @property
    def state(self) -> str:
        if self.is_cancelled:
            return "JOB_STATE_CANCELLED"
        if self.process is None:
            return "JOB_STATE_QUEUED"
        code = self.process.poll()
        return "JOB_STATE_" + ("RUNNING" if code is None else "FAILED" if code else "DONE")

    def start(self) -> None:
        options = self.document["environment"]["sdkPipelineOptions"]["options"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.engines.cloud", options["pipelineUrl"]],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def end(self) -> None:
        self.is_cancelled = self.process is None or self.process.poll() is None
        if self.process:
            end_all(psutil.Process(self.process.pid))
            self.process.wait()

    def told(self) -> dict[str, Any]:
        return {
            "id": self.id, "name": self.document["name"], "projectId": "p",
            "location": "us-central1", "currentState": self.state,
            "createTime": "2026-01-01T00:00:00Z",
            "clientRequestId": self.document.get("clientRequestId", ""),
        }  # fmt: skip


class Dataflow:
    """The service: jobs in the order in which they came; none is started while `is_full`."""

    def __init__(self) -> None:
        self.jobs: list[Submitted] = []
        self.is_full = False
        handler = type("Service", (_Service,), {"dataflow": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.endpoint = f"http://localhost:{self._server.server_port}"
        self.serve = self._server.serve_forever

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for one in self.jobs:
            if one.process and one.process.poll() is None:
                one.end()

    @property
    def options(self) -> list[str]:
        """Beam's options for a job here."""
        return [
            "--runner=DataflowRunner", "--project=p", "--region=us-central1", "--no_auth",
            f"--temp_location=gs://{BUCKET}/temp", f"--staging_location=gs://{BUCKET}/staging",
            f"--dataflow_endpoint={self.endpoint}", "--sdk_location=container",
            "--sdk_container_image=example.invalid/curate:1",
            "--experiments=no_use_multiple_sdk_containers",
        ]  # fmt: skip


class _Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dataflow: Dataflow

    def do_POST(self) -> None:
        jobs = self.dataflow.jobs
        jobs.append(Submitted(f"job-{len(jobs)}", self._document()))
        if not self.dataflow.is_full:
            jobs[-1].start()
        self._answer(jobs[-1].told())

    def do_GET(self) -> None:
        job = self._job()
        if self.path.split("?")[0].endswith("/jobs"):
            self._answer({"jobs": [one.told() for one in self.dataflow.jobs]})
        elif job is None:
            self._answer({"error": {"code": 404, "message": "no such job"}}, status=404)
        else:
            self._answer(job.told())

    def do_PUT(self) -> None:
        job = self._job()
        assert job
        assert self._document()["requestedState"] in ("JOB_STATE_CANCELLED", 5)
        job.end()
        self._answer(job.told())

    def _job(self) -> Submitted | None:
        found = re.search(r"/jobs/([\w-]+)", self.path)
        return next((x for x in self.dataflow.jobs if found and x.id == found[1]), None)

    def _document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.rfile.read(int(self.headers.get("content-length") or 0)) or "{}"
        )
        return found

    def _answer(self, document: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The tests ask for what came."""


@contextmanager
def serving() -> Iterator[Dataflow]:
    """The service and the store while the block runs; this process's environment names the store."""
    from gcp_storage_emulator.server import create_server

    port = free_port()
    store = create_server("localhost", port, in_memory=True, default_bucket=BUCKET)
    store.start()
    environment = {
        "STORAGE_EMULATOR_HOST": f"http://localhost:{port}", "FSSPEC_GCS_TOKEN": "anon",
        "NO_GCE_CHECK": "true", "GOOGLE_CLOUD_PROJECT": "p",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # by gRPC, which the store does not speak
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    dataflow = Dataflow()
    threading.Thread(target=dataflow.serve, daemon=True).start()
    try:
        yield dataflow
    finally:
        dataflow.close()
        store.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def execute(url: str) -> None:
    """Run the graph at `url`, each of its environments as processes here."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability import common_urns, python_urns
    from apache_beam.portability.api import beam_runner_api_pb2
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    from curate import files

    graph = beam_runner_api_pb2.Pipeline.FromString(files.read_bytes(url))
    worker = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
    for one in graph.components.environments.values():
        assert one.urn == common_urns.environments.DOCKER.urn
        del one.dependencies[:]
        one.urn, one.payload = python_urns.SUBPROCESS_SDK, worker.encode()
    FnApiRunner().run_via_runner_api(graph, PipelineOptions([])).wait_until_finish()


if __name__ == "__main__":
    execute(sys.argv[1])
