"""Workers of a local run end with the process that started them, however that one ended."""

import os
import threading
import time
from functools import cache

STARTER = "CURATE_STARTER"
"""The environment variable that says which process starts workers."""


def start_workers() -> None:
    """Say that this process starts those that come."""
    os.environ[STARTER] = str(os.getpid())


@cache
def follow() -> None:
    """In a worker of this machine: end within a second of the process that started it."""
    starter = os.environ.get(STARTER)
    if starter == str(os.getppid()):
        threading.Thread(target=_watch, args=(starter,), daemon=True, name="parent").start()


def _watch(starter: str) -> None:
    while str(os.getppid()) == starter:
        time.sleep(1)
    os._exit(1)
