"""A local run: its job is the process of the command."""

import os
import signal
import socket

import psutil

from curate.engines.job import Job, Seen, State


def identity() -> tuple[str, str]:
    """What this process is called, and the machine that it runs on."""
    return _identity(psutil.Process()), socket.gethostname()


def _identity(process: psutil.Process) -> str:
    return f"process {process.pid} of {process.create_time():.2f}"


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
        if job.where == socket.gethostname() and (process := _process(job)):
            os.kill(process.pid, signal.SIGINT)


def _process(job: Job) -> psutil.Process | None:
    try:
        process = psutil.Process(int(job.id.split()[1]))
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return process if alive and _identity(process) == job.id else None
    except (psutil.NoSuchProcess, IndexError, ValueError):
        return None
