"""What a command is to the system: its streams, the signals that stop it, its end."""

import atexit
import io
import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TextIO

from curate.parent import abandon

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PATIENCE = 3.0
"""Seconds in which a second Ctrl-C is taken for the first: what is open is being closed."""
_stopped: list[tuple[int, float]] = []  # the first signal that told this command to stop, and when
_lost: list[OSError] = []  # what kept the output from being written


class _Output(io.FileIO):
    """A stream that nobody has to read: what comes after its reader has gone is let go.

    A run goes on when the `head` that it was piped into has seen enough.
    """

    def write(self, content: "Buffer") -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return memoryview(content).nbytes
        except OSError as error:  # such as a full disk: said once, at the end
            _lost.append(error)
            return memoryview(content).nbytes


def open_stream(descriptor: int) -> TextIO:
    """A text stream that writes to `descriptor`, and what its encoding cannot say as escapes."""
    was = sys.stdout
    raw = io.BufferedWriter(_Output(descriptor, "w", closefd=False))
    return io.TextIOWrapper(
        raw,
        encoding=was.encoding if was else "utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def fill_streams() -> None:
    """Open the null device where the standard input, output or error is closed.

    The next files to be opened would have their numbers, and get what is written to them.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open_stream(1)
    sys.stderr = sys.stderr or open_stream(2)


def heed_signals() -> None:
    """Stop as after Ctrl-C on all signals that ask for an end; those that are ignored stay so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _stopped:
        _stopped.append((number, now))
        raise KeyboardInterrupt
    if now - _stopped[0][1] > _PATIENCE:
        abandon(status())


def status() -> int:
    """The exit status of a command that a signal has stopped."""
    return 128 + (_stopped[0][0] if _stopped else signal.SIGINT)


def end(code: int) -> NoReturn:
    """End this process with what it still has to say, and nothing else.

    Threads of libraries, and of a pipeline that was given up, would race with the interpreter's end.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if _lost and not code:
        print(f"error standard output: {_lost[0].strerror}", file=sys.stderr, flush=True)
        code = 1
    abandon(code)
