"""Processes that this one starts: they end when it does, however it ends, and leave Ctrl-C to it.

Each holds one end of a socket pair. The system closes the other when its holder ends, and that is all
that a child has to watch; what a worker says of the part that it works on goes the same way.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NoReturn

TOOK, LEFT = "+", "-"
"""How a line to the parent begins: work that was begun, and work that is no longer done."""
_ends: list[int] = []  # of a worker: where it tells its parent what it works on


def start(
    target: Callable[[int], None], end: socket.socket, *,
    environment: Mapping[str, str], words: IO[bytes] | None, shared: bool = False,
) -> "subprocess.Popen[bytes]":  # fmt: skip
    """Start a Python process that calls `target`, a function of a module, with the number of `end`.

    `words` takes what it writes to stderr; None is our own. A `shared` one serves others too, so it
    does not end with this process, but by itself. What interrupts the terminal's foreground
    does not reach it: this process decides what becomes of its children.
    """
    n = end.fileno()
    call = f"from {target.__module__} import {target.__name__} as go; go({n})"
    if not shared:
        call = f"from curate.parent import follow; follow({n}); {call}"
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", call], pass_fds=[n], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=words,
            env={**os.environ, **environment, "PYTHONPATH": path},
        )  # fmt: skip
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def follow(end: int) -> None:
    """In a child: end this process as soon as nobody holds the other end any more."""
    poll = select.poll()
    poll.register(end, 0)  # nothing but that it was closed

    def watch() -> None:
        poll.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def tell_on(end: int) -> None:
    """In a worker: say on `end` what it works on."""
    _ends.append(end)


def tell(line: str) -> None:
    """Say a line to the process that started this one, where that listens."""
    for end in _ends:
        os.write(end, f"{line}\n".encode())


@contextmanager
def at_work(what: str) -> Iterator[None]:
    """Let the parent know what this worker does while the block runs, should it be killed there."""
    tell(TOOK + what)
    try:
        yield
    finally:
        tell(LEFT + what)


def in_words(status: int) -> str:
    """How a process ended, of the number that `Popen.wait` gives."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal
        return f"signal {-status}"


def abandon(code: int) -> NoReturn:
    """End this process at once, and the worker processes that it started.

    Workers hold nothing that is worth waiting for: a part counts when its record stands. Threads go on,
    and may end, or wait for a child, meanwhile.
    """
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            for pid in children.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
    os._exit(code)
