"""Look-ups of names on threads of our own, so that one which never ends keeps nobody else waiting.

libcurl looks names up on twenty threads at most. As many names whose servers never answer hold all of
them, and every other name then waits until its request is out of time.
"""

import asyncio
import errno
import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, lru_cache

from curate.machine import FAULTS, LOOK_UPS_A_REQUEST, is_out_of_files

LookUp = Callable[[str], Sequence[str]]
"""The addresses of a name, the one to be tried first in front; raises as :func:`look_up` does."""
_SECONDS_KEPT = 300
_ANSWERED_BY_LIBCURL = frozenset({"localhost", "onion"})  # RFC 6761, RFC 7686


@lru_cache(1 << 12)
def is_looked_up(host: str) -> bool:
    """Whether `host` is a name that somebody has to be asked for.

    >>> list(map(is_looked_up, ["a.test", "127.1", "0x7f000001", "::1", "a.localhost."]))
    [True, False, False, False, False]
    """
    if ":" in host or host.removesuffix(".").rpartition(".")[2] in _ANSWERED_BY_LIBCURL:
        return False
    try:
        socket.inet_aton(host)
    except OSError:
        return True
    return False


@cache
def _family() -> int:
    """IPv4 alone where this machine makes no sockets for IPv6, as libcurl asks too."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return socket.AF_INET
    return socket.AF_UNSPEC


def look_up(name: str) -> Sequence[str]:
    """The addresses of `name` as the system's resolver gives them; it may take as long as that likes.

    Raises
    ------
    socket.gaierror
        It has none, or nobody says.
    OSError, MemoryError
        This machine cannot ask.
    """
    try:
        found = socket.getaddrinfo(name.encode(), None, _family(), socket.SOCK_STREAM)
    except OSError as error:
        if is_out_of_files():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
        if isinstance(error, socket.gaierror):
            if error.errno == socket.EAI_MEMORY:
                raise MemoryError from error
            raise
        if error.errno in FAULTS:
            raise
        raise socket.gaierror(socket.EAI_SYSTEM, str(error)) from error
    return [str(address[0]).partition("%")[0] for *_, address in found]


class Names:
    """What names stand for; of one event loop, on which all but the look-ups themselves is done.

    There are as many threads as look-ups at a time, those included that nobody waits for any more, up
    to `LOOK_UPS_A_REQUEST` times `concurrency`. A name that is asked for again before its look-up has
    ended shares that one.
    """

    def __init__(self, look_up: LookUp, *, concurrency: int) -> None:
        self._look_up = look_up
        self._most = LOOK_UPS_A_REQUEST * concurrency
        self._threads = 0
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._pending: dict[str, asyncio.Future[str | Exception]] = {}
        self._known: dict[str, tuple[float, str]] = {}  # until when, and what
        self._closed = False

    async def addresses(self, name: str, *, seconds: float) -> str:
        """The addresses of `name` with commas between them, those of IPv6 in brackets.

        Raises
        ------
        TimeoutError
            They did not come within `seconds`.
        socket.gaierror, OSError, MemoryError
            As the look-up says; OSError also where no further thread can be started.
        """
        loop = asyncio.get_running_loop()
        if (known := self._known.get(name)) and loop.time() < known[0]:
            return known[1]
        pending = self._pending.get(name) or self._begin(name, loop)
        await asyncio.wait((pending,), timeout=seconds)
        if not pending.done():
            raise TimeoutError
        if isinstance(outcome := pending.result(), Exception):
            raise outcome
        return outcome

    def _begin(self, name: str, loop: asyncio.AbstractEventLoop) -> asyncio.Future[str | Exception]:
        if self._threads < min(len(self._pending) + 1, self._most):
            # As a daemon, for an interpreter that ends does not wait for it.
            thread = threading.Thread(target=self._work, args=(loop,), daemon=True, name="names")
            try:
                thread.start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
            self._threads += 1
        pending = self._pending[name] = loop.create_future()
        self._queue.put(name)
        return pending

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        outcome: str | Exception
        while (name := self._queue.get()) is not None and not self._closed:
            try:
                outcome = ",".join(f"[{x}]" if ":" in x else x for x in self._look_up(name))
            except Exception as error:  # noqa: BLE001 - raised again by `addresses`
                outcome = error
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._settle, name, outcome, loop)

    def _settle(self, name: str, outcome: str | Exception, loop: asyncio.AbstractEventLoop) -> None:
        if isinstance(outcome, str):
            self._known[name] = loop.time() + _SECONDS_KEPT, outcome
        self._pending.pop(name).set_result(outcome)

    def close(self) -> None:
        """Let the threads end, each as soon as its look-up does; nobody waits for that."""
        self._closed = True
        for _ in range(self._threads):
            self._queue.put(None)
