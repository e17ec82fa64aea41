"""A bar, or lines, of how many of some files are read before there is a plan to run."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_QUIET = 30.0  # seconds between two lines


@contextmanager
def counted(
    console: Console, told: str, *, total: int, done: Callable[[], int], every: float
) -> Iterator[None]:
    """Print what is done, and how far it is while the block runs: `done` of `total` files.

    Where the output is no terminal, that is a line every half minute.
    """
    console.print(told)
    what = told.partition(":")[0]
    stop = threading.Event()
    sees = console.is_terminal and not console.is_dumb_terminal
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("files"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not sees, redirect_stderr=False
    ) as progress:
        task = progress.add_task(what, total=total)

        def poll() -> None:
            started = said = time.monotonic()
            while not stop.wait(every):
                n, now = done(), time.monotonic()
                progress.update(task, completed=n)
                if not sees and now - said >= _QUIET:
                    console.print(f"{now - started:,.0f} s: {what} {n:,}/{total:,} files")
                    said = now

        thread = threading.Thread(target=poll, daemon=True, name="counted")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
