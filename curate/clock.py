"""How long pieces of a command took in this process, by name: what `curate plan --like` scales."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

SPENT: dict[str, float] = {}
"""Seconds of the latest block of each name."""


@contextmanager
def spent(name: str) -> Iterator[None]:
    """Note in `SPENT` how long the block takes."""
    started = time.monotonic()
    try:
        yield
    finally:
        SPENT[name] = time.monotonic() - started
