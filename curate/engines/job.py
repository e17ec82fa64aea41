"""A job of a run, as run.json has it, and what its engine says of it."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class State(StrEnum):
    """How a job is doing."""

    WAITING = "waiting"  # for a worker, or a slot
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"  # its engine knows no such job
    SILENT = "silent"  # its engine does not answer

    @property
    def ended(self) -> bool:
        """Whether the job changes nothing any more."""
        return self in (State.DONE, State.FAILED, State.CANCELLED, State.GONE)


@dataclass(frozen=True)
class Job:
    """A job on an engine."""

    engine: str  # the Beam runner
    name: str  # on the engine, of the run and the generation
    where: str  # at which the engine is asked
    of: str  # a digest of what the run is to become
    id: str = ""  # on the engine; empty while it is submitted
    also: str = ""  # another place at which it may be asked, by the job's name
    generation: int = 0  # of the run, in which it was submitted
    host: str = ""  # the machine on which its command started an engine for it, if that did

    def __str__(self) -> str:
        return f"{self.id or self.name} on {self.engine}" + (f" at {self.where}" * bool(self.where))

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "Job | None":
        """The one that run.json names, whose content is `state`."""
        found = state.get("job")
        known = cls.__dataclass_fields__
        return cls(**{x: y for x, y in found.items() if x in known}) if found else None


@dataclass(frozen=True)
class Seen:
    """What an engine says of a job."""

    state: State
    said: tuple[str, ...] = ()  # errors, oldest first, a line each
    why: str = ""  # it is in this state, where the engine tells


class Engine(Protocol):
    """Where jobs run."""

    is_process: bool
    """Whether a job is the process of a command."""

    def look(self, job: Job) -> Seen:
        """How a job is doing."""

    def cancel(self, job: Job) -> None:
        """Ask the engine to end a job, which takes a while."""


_OURS = re.compile(r"curate\.errors\.\w+Error: (.*)")
_PYTHON = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b: .*)$", re.MULTILINE)
_WHILE = re.compile(r" \[while running .*\]$")


def in_one_line(text: str) -> str:
    """What a person should read of an error of a job: our own message, or that of the worker's Python.

    Around it stand the tracebacks of two languages.

    >>> in_one_line("java.X: Traceback:\\n  File\\ncurate.errors.CurateError: a.tar: bad\\n\\tat o.b")
    'a.tar: bad'
    """
    if found := _OURS.findall(text):
        return _WHILE.sub("", found[-1])
    python = _PYTHON.findall(text)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return _WHILE.sub("", python[-1] if python else lines[0] if lines else "no reason given")


def is_ours(text: str) -> bool:
    """Whether there is a message of ours in an error of a job."""
    return bool(_OURS.search(text))


def option(options: list[str], name: str) -> str:
    """The value of an option of Beam's as on a command line; empty where it is not given.

    >>> option(["--job_endpoint=h:1", "--region", "r"], "region")
    'r'
    """
    value = ""
    for one, following in zip(options, [*options[1:], ""], strict=True):
        found, has_value, given = one.partition("=")
        if found == f"--{name}":
            value = given if has_value else following
    return value
