"""Who may change a folder: a check before anything in it is replaced or removed.

It is asked just before a file appears or goes, so that no writer has to remember it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_checks: dict[str, Callable[[], None]] = {}


def guard(folder: str, check: Callable[[], None]) -> None:
    """From here on let this process ask `check` before it changes anything in `folder`.

    It raises where nothing may be changed; it has to be cheap, as it is asked for each file.
    """
    _checks[folder] = check


@contextmanager
def guarded(folder: str, check: Callable[[], None]) -> Iterator[None]:
    """The same, while the block runs."""
    guard(folder, check)
    try:
        yield
    finally:
        _checks.pop(folder, None)


def check_change(url: str) -> None:
    """Raise whatever the checks of the folders raise in which `url` is."""
    for folder, check in list(_checks.items()):
        if url.startswith(f"{folder}/"):
            check()
