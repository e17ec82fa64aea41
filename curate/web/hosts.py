"""The rate limits of a host, its back-off, and the circuit breaker that opens when it keeps failing.

Failures of the host itself (no DNS entry, no connection, no answer in time, 429, a 503 with a
Retry-After) are counted in rounds. A round is the requests that were in flight together; after a failed
one the host is left alone for a while, twice as long each time, or as long as a 429 asks for. When as
many rounds in a row failed as a URL has attempts, and at least `ROUNDS`, all further URLs of the host
fail at once with the same reason. So a part waits for a dead host about as long as for one of its URLs,
however many the part has.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy

from curate.reasons import TRANSIENT, DropReason
from curate.web.transport import FetchError

BACKOFF = 0.5
"""Seconds before the second attempt; doubled for each one after."""
LONGEST_WAIT = 30.0
"""Seconds; a URL whose Retry-After is longer is not tried again in this run."""
ROUNDS = 3
_HOST_FAILS = TRANSIENT - {DropReason.PROTOCOL, DropReason.HTTP_5XX}


class Host:
    """The state of a host: its free places, its back-off, its robots.txt errors."""

    def __init__(self, *, places: int, rate: float | None, attempts: int) -> None:
        self._places = asyncio.Semaphore(places)
        self.asking = asyncio.Lock()  # for robots.txt
        self.no_robots: dict[str, FetchError] = {}  # why robots.txt is unreachable, by origin
        self._closed: FetchError | None = None
        self._pace = 1 / rate if rate else 0.0
        self._rounds = max(ROUNDS, attempts)
        self._failed = 0
        self._round_ended = self._rests_until = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a place and the end of the back-off; FetchError if the circuit breaker is open."""
        clock = asyncio.get_running_loop().time
        async with self._places:
            while not self._closed and (rest := self._rests_until - clock()) > 0:
                await asyncio.sleep(rest)
            self._rests_until = max(self._rests_until, clock() + self._pace)
            if self._closed:
                raise copy(self._closed)
            yield

    def answered(self) -> None:
        """Count an answer: the host is alive."""
        self._failed = 0

    def failed(self, error: FetchError, *, started: float) -> None:
        """Count the failure of a request that `started` at this time of the event loop."""
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
