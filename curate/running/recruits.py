"""Worker processes of a local run before they have work: they load what it takes, and wait for it.

Loading takes about as long as planning a run, so a command starts them as soon as it knows that it will
run. The address of the engine comes on the socket that each holds, once there is an engine.
"""

import faulthandler
import gc
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from curate import files, parent
from curate.config import LOCAL_RUNNER, Beam
from curate.errors import DamagedError
from curate.files.stores import told_of_temporary
from curate.machine import faults_named
from curate.rundir.directory import Run

CONNECTED = "connected"
"""What a worker says first."""
_waiting: list["Recruit"] = []


class Recruit:
    """A worker process that loads, or waits.

    `end` is our end of its socket, `words` what it writes to stderr.
    """

    def __init__(self) -> None:
        loud = bool(os.environ.get("CURATE_DEBUG"))
        with faults_named("starting a worker"):
            with told_of_temporary():
                self.words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `dismiss`
            self.end, theirs = socket.socketpair()
            with theirs:
                words = None if loud else self.words
                self.process = parent.start(serve, theirs, environment={}, words=words)

    def engage(self, engine: Mapping[str, str]) -> None:
        """Tell it where the engine is, as variables of its environment.

        One that has ended meanwhile is found by who listens to it.
        """
        told = {"environment": {**os.environ, **engine}, "path": sys.path}
        with suppress(OSError):
            self.end.sendall(json.dumps(told).encode() + b"\n")

    def dismiss(self) -> int:
        """End it, if it has not ended; its exit status, as `Popen.wait` gives it."""
        self.process.kill()
        self.end.close()
        self.words.close()
        return self.process.wait()


@contextmanager
def ahead(settings: Beam, *, out: str | None) -> Iterator[None]:
    """Let the workers of a run load while the block finds out what there is to do.

    Not where the run in `out` is complete: it may be repeated. Those that no engine has taken by then
    end with the block.
    """
    local = settings.runner == LOCAL_RUNNER and settings.workers > 1
    try:
        if local and out and not _is_complete(out):
            for _ in range(settings.workers):
                _waiting.append(Recruit())
        yield
    finally:
        while _waiting:
            _waiting.pop().dismiss()


def _is_complete(out: str) -> bool:
    with suppress(DamagedError):  # told, or mended, by the plan
        return Run.to(out).state().get("state") == "complete"
    return False


def recruit() -> Recruit:
    """One that waits, else one that is started."""
    try:
        return _waiting.pop(0)
    except IndexError:
        return Recruit()


def serve(end: int) -> None:
    """What a worker process does."""
    parent.tell_on(end)
    faulthandler.enable()
    gc.disable()  # what is loaded stays: a collection would go through all of it for nothing
    import grpc
    from apache_beam.runners.worker import sdk_worker_main

    import curate.flow  # noqa: F401 - what parts go through

    gc.freeze()
    gc.enable()
    with open(end, encoding="utf-8", closefd=False) as lines:
        told = json.loads(lines.readline())
    os.environ.update(told["environment"])
    sys.path[:] = told["path"]
    try:
        log, harness, _ = sdk_worker_main.create_harness(os.environ)
    except grpc.FutureTimeoutError:
        sys.exit("no connection to the process that started it, on localhost, within 60 s")
    parent.tell(CONNECTED)
    if not os.environ.get("CURATE_DEBUG"):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the decoders' warnings
    try:
        with files.tables_kept():
            harness.run()
    finally:
        log.close()
    os._exit(0)  # threads of libraries would race with the interpreter's end
