"""A bar, or lines, of how many of some files are read before there is a plan to run."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

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
    console: Console,
    told: str,
    *,
    total: int,
    done: Callable[[], int],
    every: float,
    things: str = "files",
) -> Iterator[None]:
    """Print what is done, and how far it is while the block runs: `done` of `total` things.

    Where the output is no terminal, that is a line every half minute.
    """
    console.print(told)
    what = told.partition(":")[0]
    sees = console.is_terminal and not console.is_dumb_terminal
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn(things), TimeRemainingColumn(),
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
                console.print(f"{now - started:,.0f} s: {what} {n:,}/{total:,} {things}")
                said = now

        with meanwhile(look, every=every):
            yield


class Phases:
    """A bar, or lines, for each of some phases, one after the other.

    `seen` is told which phase it is, how much of it is done, and of how much.
    """

    def __init__(self, console: Console, *, every: float, things: Mapping[str, str]) -> None:
        self._console = console
        self._every = every
        self._things = things  # that each phase counts
        self._held = ExitStack()
        self._phase = ""
        self._done = 0

    def __enter__(self) -> "Phases":
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def seen(self, phase: str, done: int, of: int) -> None:
        """Show that so much of a phase is done."""
        self._done = done
        if phase == self._phase:
            return
        self._held.close()
        self._phase, things = phase, self._things[phase]
        self._held.enter_context(
            counted(
                self._console, f"{phase}: {of:,} {things}", total=of, done=lambda: self._done,
                every=self._every, things=things,
            )
        )  # fmt: skip
