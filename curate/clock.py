"""How long pieces of a command took in this process, by name: what `curate plan --like` scales."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

SPENT: dict[str, float] = {}
"""Seconds of the latest block of each name."""


class Took(TypedDict):
    """The key `took` of run.json: what a command took that did a whole run at once."""

    workers: int
    cores: int  # of its machine
    began: float  # of the clock, as all that follows but the last three
    graph: tuple[float, float]  # when it began and ended
    ended: float
    contents: float  # seconds: looking at the pool's files
    cutting: float  # splitting them into parts
    facts: float  # reading the run for its report, and for its list of uids
    between: dict[str, tuple[int, float, float]]
    """By the label of a transform without records: how often it worked, its seconds, the longest; of a
    local run."""


@contextmanager
def spent(name: str) -> Iterator[None]:
    """Note in `SPENT` how long the block takes."""
    started = time.monotonic()
    try:
        yield
    finally:
        SPENT[name] = time.monotonic() - started
