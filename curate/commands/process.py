"""The process of a command: its standard streams, signals and exit status."""

import atexit
import io
import os
import signal
import sys
import time
from types import FrameType
from typing import Any, NoReturn, TextIO

from curate.parent import abandon

_PATIENCE = 3.0
"""Seconds after the first Ctrl-C in which a second one is ignored, while files are closed."""
_stopped: list[tuple[int, float]] = []  # the first signal that told this command to stop, and when
_lost: list[OSError] = []  # errors in writing the output
_farewell: list[str] = []  # what a second Ctrl-C is told


class _Output(io.FileIO):
    """A stream that discards output once its reader has closed the pipe.

    So a run that is piped into `head` continues when `head` exits.
    """

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return len(content)
        except OSError as error:  # such as a full disk: reported once, at exit
            _lost.append(error)
            return len(content)


def open_stream(descriptor: int) -> TextIO:
    """A text stream that writes to `descriptor`; escapes what its encoding lacks."""
    was = sys.stdout
    raw = io.BufferedWriter(_Output(descriptor, "w", closefd=False))
    return io.TextIOWrapper(
        raw,
        encoding=was.encoding if was else "utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def fill_streams() -> None:
    """Open the null device in place of a standard stream that is closed.

    Else the next file that is opened would get its descriptor, and with it the output.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open_stream(1)
    sys.stderr = sys.stderr or open_stream(2)


def heed_signals() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C; a signal that is ignored stays so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _stopped:
        _stopped.append((number, now))
        raise KeyboardInterrupt
    if _farewell or now - _stopped[0][1] > _PATIENCE:
        os.write(2, "".join(f"{line}\n" for line in _farewell).encode())
        abandon(status())


def tell_on_leaving(line: str) -> None:
    """What is said if a second Ctrl-C ends this command at once."""
    _farewell.append(line)


def status() -> int:
    """The exit status of a command that a signal has stopped."""
    return 128 + (_stopped[0][0] if _stopped else signal.SIGINT)


def end(code: int) -> NoReturn:
    """Run the exit functions, flush the output and end this process at once.

    Without a shutdown of the interpreter: threads of libraries, and of a pipeline that was abandoned,
    would race with it.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if _lost and not code:
        print(f"error standard output: {_lost[0].strerror}", file=sys.stderr, flush=True)
        code = 1
    abandon(code)
