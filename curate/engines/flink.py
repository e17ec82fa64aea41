"""What a Flink cluster says of a job by its REST interface, beyond Beam's job server."""

import json
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import replace
from typing import Any

from curate.engines.job import Job, Seen, State, in_one_line

_ANSWER = 10.0  # seconds
_STATES = {
    "FINISHED": State.DONE, "FAILED": State.FAILED, "CANCELED": State.CANCELLED,
    "CREATED": State.WAITING, "INITIALIZING": State.WAITING,
}  # fmt: skip


def look(job: Job, seen: Seen) -> Seen:
    """What the job server said, with what Flink knows: a slot that is missing, a restart and why."""
    with suppress(OSError, ValueError, KeyError):
        jid, state, tasks = _overview(job)
        found = _STATES.get(state, State.RUNNING)
        errors = _get(job, f"jobs/{jid}/exceptions?maxExceptions=1")
        history = errors.get("exceptionHistory", {}).get("entries", [])
        said = [in_one_line(str(one.get("stacktrace", ""))) for one in history] or list(seen.said)
        why = ""
        if state == "RESTARTING":
            why = f"restarting: {said[-1]}" if said else "restarting"
        elif (
            found is State.RUNNING and tasks["total"] and not (tasks["running"] + tasks["finished"])
        ):
            slots = _get(job, "overview")
            found = State.WAITING
            why = f"no slot is free ({slots['slots-available']} of {slots['slots-total']})"
        if seen.state in (State.SILENT, State.GONE) or not seen.state.ended:
            seen = replace(seen, state=found)
        return replace(seen, said=tuple(said) if found is State.FAILED else seen.said, why=why)
    return seen


def cancel(job: Job) -> None:
    """Ask Flink to end the job."""
    with suppress(OSError, ValueError, KeyError):
        jid, _, _ = _overview(job)
        url = f"{job.also.rstrip('/')}/jobs/{jid}?mode=cancel"
        urllib.request.urlopen(urllib.request.Request(url, method="PATCH"), timeout=_ANSWER).close()


def _overview(job: Job) -> tuple[str, str, dict[str, int]]:
    """Flink's id, state and numbers of tasks of the newest job of this name; KeyError for none."""
    found = [one for one in _get(job, "jobs/overview")["jobs"] if one["name"] == job.name]
    if not found:
        raise KeyError(job.name)
    newest = max(found, key=lambda one: int(one["start-time"]))
    return newest["jid"], newest["state"], newest["tasks"]


def _get(job: Job, path: str) -> Any:
    with urllib.request.urlopen(f"{job.also.rstrip('/')}/{path}", timeout=_ANSWER) as answer:
        return json.load(answer)
