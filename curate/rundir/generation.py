"""The generation of a run: how often a command began to change it, which only grows.

What a job makes is of the generation that it was started in. A job that goes on after another command
has begun, on a cluster whose launcher was killed, finds that it is late before it changes a file.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from curate import files
from curate.errors import AbsentError, CurateError, DamagedError

FRESH = 1.0
"""Seconds that a worker trusts what it read of the run's generation."""
_looked: dict[tuple[str, int], float] = {}  # when it was found to be the run's, by root


def generation_of(state: dict[str, Any]) -> int:
    """That of the run whose run.json holds `state`."""
    return int(state.get("generation", 0))


def check(root: str, generation: int) -> None:
    """Raise CurateError where another command has begun in the run at `root` since `generation`."""
    now = time.monotonic()
    if now - _looked.get((root, generation), now - FRESH) < FRESH:
        return
    with suppress(AbsentError, DamagedError):
        found = generation_of(files.read_document(files.join(root, "run.json")))
        if found > generation:
            raise CurateError(
                f"{root}: another command has begun there since (generation {found}, this job is of"
                f" {generation}); this job ends, and changes nothing more"
            )
    _looked[root, generation] = now


def bound(root: str, generation: int) -> None:
    """Let this process change the run only while it is of this generation."""
    if generation:
        files.guard(root, partial(check, root, generation))


@contextmanager
def binding(root: str, generation: int) -> Iterator[None]:
    """The same, while the block runs."""
    with files.guarded(root, partial(check, root, generation)):
        yield
