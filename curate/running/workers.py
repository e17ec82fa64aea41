"""The worker processes of a local run: Beam's own, started and watched by us.

Beam waits for ever for the answer of a worker that is gone. Here a thread a worker holds the other end
of its socket: when that closes, the worker has ended, and unless the run has too, the run is ended
with a line that says which worker it was, by what, and at which part.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from apache_beam.portability import python_urns
from apache_beam.portability.api import endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from google.protobuf import json_format, text_format

from curate import parent
from curate.errors import CurateError
from curate.running.recruits import Recruit, recruit

if TYPE_CHECKING:
    from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo

START = 120.0
"""Seconds that a worker may take from its start until it has connected."""
_END = 10.0
"""Seconds that a worker may take to end when the run has ended, or failed."""
_PROXIES = ("no_grpc_proxy", "no_proxy", "NO_PROXY")
_LOOPBACK = "localhost,127.0.0.1,::1"
_AGAIN = "the same command goes on"
_REMEDIES: dict[int, str] = {
    signal.SIGKILL: "what the system does where memory is short: give it more memory, or take fewer"
    f" workers (--workers), or smaller parts (part_rows, in another --out); {_AGAIN}",
    signal.SIGTERM: f"it was told to end; {_AGAIN}",
    signal.SIGHUP: f"it was told to end; {_AGAIN}",
    signal.SIGINT: f"it was told to end; {_AGAIN}",
}
_CRASHED = f"it crashed; {_AGAIN}, and with --debug it says where it crashes"


class Crew:
    """The workers of one run, and what became of the first that was lost."""

    def __init__(self) -> None:
        self.error: CurateError | None = None
        self.workers: list[_Worker] = []
        self._lock = threading.Lock()

    def lose(self, error: CurateError) -> None:
        """End the run, which can do nothing without one of its workers."""
        with self._lock:
            self.error = self.error or error
        for worker in list(self.workers):
            worker.kill()


_crew = Crew()


@contextmanager
def watched() -> Iterator[Crew]:
    """The crew of a run that goes on while the block runs."""
    global _crew
    _crew = Crew()
    _reach_loopback()
    try:
        yield _crew
    finally:
        for worker in _crew.workers:
            worker.dismiss()


def _reach_loopback() -> None:
    """Keep gRPC, by which workers are spoken to, from asking a proxy for this machine.

    It has a variable of its own for that, before the one that all programs read: what else speaks to
    the network, such as the stores of a run, goes on using the proxies that are set.
    """
    given = next((found for name in _PROXIES if (found := os.environ.get(name))), "")
    if _LOOPBACK not in given:
        os.environ[_PROXIES[0]] = f"{given},{_LOOPBACK}".lstrip(",")


@worker_handlers.WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class _Worker(worker_handlers.GrpcWorkerHandler):
    """A worker in a process of its own, in the place of Beam's `SubprocessSdkWorkerHandler`."""

    def __init__(
        self,
        command: bytes,
        state: worker_handlers.StateServicer,
        provision_info: "ExtendedProvisionInfo",
        grpc_server: worker_handlers.GrpcServer,
    ) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._recruit: Recruit | None = None  # the process
        self._work: list[str] = []  # what it says that it works on
        self._closing = False  # Beam wants it to end
        self._killed = False  # we do
        self._crew = _crew
        self._thread = threading.Thread(target=self._attend, daemon=True, name=self.worker_id)

    def start_worker(self) -> None:
        """Start the process; what comes of it is for the thread that attends to it."""
        self._crew.workers.append(self)
        self._thread.start()
        if self._crew.error:
            raise self._crew.error

    def close(self) -> None:
        """Let the process end."""
        self._closing = True
        super().close()

    def stop_worker(self) -> None:
        """Wait for its end, but not for long: a part counts once its record is written."""
        self._thread.join(0 if self._crew.error else _END)
        self.dismiss()

    def dismiss(self) -> None:
        """End the process if it has not ended, and note how it did."""
        self._closing = True
        self.kill()
        if self._thread.is_alive():
            self._thread.join()

    def kill(self) -> None:
        """End the process at once."""
        if self._recruit and self._recruit.process.poll() is None:
            self._killed = True
            self._recruit.process.kill()

    def _attend(self) -> None:
        try:
            self._recruit = recruit()
            self._recruit.engage(self._engine())
            if self._closing:  # meanwhile
                self.kill()
            fault = self._listen(self._recruit.end)
        except (CurateError, OSError) as error:
            fault = str(error)
        if self._recruit:
            if fault:
                self.kill()
            status = self._recruit.process.wait()
            # Beam may have noticed first, and closed it.
            lost = not self._killed and (status < 0 or not self._closing)
            fault = self._fault(self._recruit, status) if lost else fault
            self._recruit.dismiss()
        if fault:
            self._crew.lose(CurateError(fault))
        while not self._closing:  # what Beam waits for now, and what it would wait for next
            with suppress(RuntimeError):  # an answer comes at the same moment
                self.control_conn.abort(self._crew.error)
            self.data_conn.close()
            time.sleep(0.1)

    def _engine(self) -> dict[str, str]:
        def described(url: str) -> str:
            return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url)))

        options = self.provision_info.provision_info.pipeline_options
        return {
            "CONTROL_API_SERVICE_DESCRIPTOR": described(self.control_address),
            "LOGGING_API_SERVICE_DESCRIPTOR": described(self.logging_api_service_descriptor().url),
            "PIPELINE_OPTIONS": json_format.MessageToJson(options),
            "WORKER_ID": self.worker_id,
        }

    def _listen(self, ours: socket.socket) -> str:
        """Note what the worker says until it ends; what is wrong if it does not even start."""
        ours.settimeout(START)
        with ours.makefile(encoding="utf-8") as lines:
            try:
                connected = lines.readline()
            except ConnectionResetError:  # it ended before it read where the engine is
                connected = ""
            except TimeoutError:
                return f"a worker has not connected within {START:g} s: is the machine overloaded?"
            if connected:
                ours.settimeout(None)
                self._work.append("")
            for line in lines:
                begun, what = line[0] == parent.TOOK, line[1:].rstrip("\n")
                self._work.append(what) if begun else self._work.remove(what)
        return ""

    def _fault(self, ended: Recruit, status: int) -> str:
        """What there is to say of a worker that ended."""
        if -status in (signal.SIGTERM, signal.SIGHUP):
            time.sleep(0.5)  # the whole session may have been told, and then it is ours to say
        number = self._crew.workers.index(self) + 1
        name = f"worker {number} of {len(self._crew.workers)} (process {ended.process.pid})"
        where = ", ".join(self._work[1:]) or "between two parts"
        remedy = _REMEDIES.get(-status, _CRASHED)
        if not self._work:
            ended.words.seek(0)
            last = ended.words.read().decode(errors="replace").strip().rpartition("\n")[2]
            where, remedy = "at its start", last if status > 0 and last else remedy
        return f"{name} ended by {parent.in_words(status)}, {where}: {remedy}"
