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
    """In a worker of this machine: end within a second or two of the process that started it.

    A shell may stand between the two, so that one is watched by its number.
    """
    starter = int(os.environ.get(STARTER, os.getpid()))
    if starter != os.getpid():
        threading.Thread(target=_watch, args=(starter,), daemon=True, name="parent").start()


def _watch(starter: int) -> None:
    while True:
        try:
            os.kill(starter, 0)
        except ProcessLookupError:
            os._exit(1)
        except PermissionError:
            return  # the number is another's by now
        time.sleep(1)
