"""DNS look-ups on threads of our own, so that one which never ends does not delay the others.

libcurl has at most twenty threads for look-ups. Twenty names whose servers never answer occupy all of
them, and every other name waits until its request times out.
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
"""The addresses of a name, in the order to try them; raises as :func:`look_up` does."""
_SECONDS_KEPT = 300
_ANSWERED_BY_LIBCURL = frozenset({"localhost", "onion"})  # RFC 6761, RFC 7686


@lru_cache(1 << 12)
def is_looked_up(host: str) -> bool:
    """Whether `host` is a name for the resolver, not an address and not a reserved name.

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
    """The address family to ask for: IPv4 alone where this machine has no IPv6, as libcurl does."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return socket.AF_INET
    return socket.AF_UNSPEC


def look_up(name: str) -> Sequence[str]:
    """The addresses of `name` by the system's resolver, without a limit of time.

    Raises
    ------
    socket.gaierror
        Where it has none, or no server answers.
    OSError, MemoryError
        For a fault of this machine.
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
    """A cache of addresses for one event loop; only the look-ups themselves run on other threads.

    There is a thread for each look-up that is pending, abandoned ones included, up to
    `LOOK_UPS_A_REQUEST` times `concurrency` of them. Requests for the same name share a look-up.
    """

    def __init__(self, look_up: LookUp, *, concurrency: int) -> None:
        self._look_up = look_up
        self._most = LOOK_UPS_A_REQUEST * concurrency
        self._threads = 0
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._pending: dict[str, asyncio.Future[str | Exception]] = {}
        self._known: dict[str, tuple[float, str]] = {}  # time of expiry, and addresses
        self._closed = False

    async def addresses(self, name: str, *, seconds: float) -> str:
        """The addresses of `name`, separated by commas, those of IPv6 in brackets.

        Raises
        ------
        TimeoutError
            Where the look-up takes longer than `seconds`.
        socket.gaierror, OSError, MemoryError
            As the look-up raises; OSError also where no thread can be started.
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
            # A daemon, so that the interpreter does not wait for it at exit.
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
        """End each thread after its look-up; does not wait for them."""
        self._closed = True
        for _ in range(self._threads):
            self._queue.put(None)
