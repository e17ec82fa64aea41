"""A bar, or lines, of how many of some files are read before there is a plan to run."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_QUIET = 30.0  # seconds between two lines


@contextmanager
def meanwhile(look: Callable[[], None], *, every: float) -> Iterator[None]:
    """Call `look` every so many seconds while the block runs."""
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(every):
            look()

    thread = threading.Thread(target=poll, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def counted(
    console: Console, told: str, *, total: int, done: Callable[[], int], every: float
) -> Iterator[None]:
    """Print what is done, and how far it is while the block runs: `done` of `total` files.

    Where the output is no terminal, that is a line every half minute.
    """
    console.print(told)
    what = told.partition(":")[0]
    sees = console.is_terminal and not console.is_dumb_terminal
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("files"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not sees, redirect_stderr=False
    ) as progress:
        task = progress.add_task(what, total=total)

        started = said = time.monotonic()

        def look() -> None:
            nonlocal said
            n, now = done(), time.monotonic()
            progress.update(task, completed=n)
            if not sees and now - said >= _QUIET:
                console.print(f"{now - started:,.0f} s: {what} {n:,}/{total:,} files")
                said = now

        with meanwhile(look, every=every):
            yield
