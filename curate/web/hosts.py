"""Whose turn it is at a host, and when one is given up.

Failures that say something of the host (no name, no connection, no answer in time, 429, a 503 with a
Retry-After) are counted in rounds. A round is what was in flight together; after it the host rests,
twice as long each time, or as long as a 429 asks for. When as many rounds in a row failed as a URL has
attempts, and at least `ROUNDS`, the rest of the host's URLs fail at once for the same reason. So a part
waits for a dead host about as long as for one URL of it, however many it has there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy

from curate.reasons import TRANSIENT, DropReason
from curate.web.transport import FetchError

BACKOFF = 0.5
"""Seconds before the first further attempt; each one after doubles."""
LONGEST_WAIT = 30.0
"""Seconds; a Retry-After of more is no invitation to this run."""
ROUNDS = 3
_HOST_FAILS = TRANSIENT - {DropReason.PROTOCOL, DropReason.HTTP_5XX}


class Host:
    """What is known of a host, and whose turn it is there."""

    def __init__(self, *, places: int, rate: float | None, attempts: int) -> None:
        self._places = asyncio.Semaphore(places)
        self.asking = asyncio.Lock()  # for robots.txt
        self.no_robots: dict[str, FetchError] = {}  # why it cannot be had, by origin
        self._closed: FetchError | None = None
        self._pace = 1 / rate if rate else 0.0
        self._rounds = max(ROUNDS, attempts)
        self._failed = 0
        self._round_ended = self._rests_until = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place at the host once it is free and rested; raises `FetchError` once it is given up."""
        clock = asyncio.get_running_loop().time
        async with self._places:
            while not self._closed and (rest := self._rests_until - clock()) > 0:
                await asyncio.sleep(rest)
            self._rests_until = max(self._rests_until, clock() + self._pace)
            if self._closed:
                raise copy(self._closed)
            yield

    def answered(self) -> None:
        """Note that it lives."""
        self._failed = 0

    def failed(self, error: FetchError, *, started: float) -> None:
        """Note how a request ended that `started` at that time of the loop."""
        busy = error.reason is DropReason.HTTP_5XX and error.retry_after
        if not busy and error.reason not in _HOST_FAILS:
            self._failed = 0
        elif started >= self._round_ended:
            self._end_round(error)

    def _end_round(self, error: FetchError) -> None:
        now = asyncio.get_running_loop().time()
        self._failed += 1
        self._round_ended = now
        if self._failed == self._rounds:
            detail = f"{error.detail}; the host failed {self._failed} times in a row"
            self._closed = FetchError(error.reason, detail, final=True)
        rest = BACKOFF * 2 ** (self._failed - 1)
        if error.reason is DropReason.HTTP_429:
            rest = max(rest, error.retry_after)
        self._rests_until = max(self._rests_until, now + min(rest, LONGEST_WAIT))
