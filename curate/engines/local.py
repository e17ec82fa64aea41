"""A local run: its job is the process of the command."""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from curate.engines.job import Job, Seen, State


def identity(pid: int | None = None) -> tuple[str, str]:
    """What a process is called, this one by default, and the machine that it runs on.

    Where the system tells when a process began, a later one of the same number is called otherwise.
    """
    pid = pid or os.getpid()
    began = _began(pid)
    return f"process {pid}" + (f" of {began}" if began else ""), socket.gethostname()


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine did; empty for one that is gone, or unknown."""
    with suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    return ""


class Local:
    """The processes of this machine."""

    is_process = True

    def look(self, job: Job) -> Seen:
        """Whether the command still runs; on another machine nobody can tell."""
        if job.where != socket.gethostname():
            return Seen(State.SILENT, why=f"it is a process of {job.where}")
        return Seen(State.RUNNING if _process(job) else State.GONE)

    def cancel(self, job: Job) -> None:
        """Interrupt the command, as Ctrl-C does."""
        if job.where == socket.gethostname() and (pid := _process(job)):
            os.kill(pid, signal.SIGINT)


def _process(job: Job) -> int | None:
    """The number of the process that still is the job."""
    with suppress(IndexError, ValueError, OSError):
        pid = int(job.id.split()[1])
        os.kill(pid, 0)
        others = pid != os.getpid()  # what this one left of an earlier run is over
        return pid if others and identity(pid)[0] == job.id else None
    return None
