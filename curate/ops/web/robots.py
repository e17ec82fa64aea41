"""robots.txt: what its rules permit, and the files of many hosts kept from part to part."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from protego import Protego
from yarl import URL

from curate.ops.web.optout import AGENT

ROBOTS_BYTES = 500 * 1024
"""How much of a robots.txt is read (RFC 9309, section 2.5)."""
_DAY = 24 * 3600.0
"""Seconds that a robots.txt holds (RFC 9309, section 2.4)."""
_ENTRY = 500
"""Bytes that an entry takes beside its content."""


class RobotsRules:
    """A robots.txt, as RFC 9309 has it; an empty one permits everything."""

    def __init__(self, content: bytes = b"") -> None:
        self._rules = Protego.parse(content.decode("utf-8-sig", errors="replace"))

    def permit(self, url: URL) -> bool:
        """Whether this program may ask for `url`."""
        return bool(self._rules.can_fetch(str(url), AGENT))


class RobotsCache:
    """Contents of robots.txt, each for `seconds`; those not used for longest go where room is needed.

    >>> cache = RobotsCache(max_bytes=2_000)
    >>> cache.put("http://a.example", b"User-agent: *")
    >>> cache.get("http://a.example"), cache.get("http://b.example")
    (b'User-agent: *', None)
    """

    def __init__(
        self, *, max_bytes: int = 64 << 20, seconds: float = _DAY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._max_bytes, self._seconds, self._clock = max_bytes, seconds, clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, origin: str) -> bytes | None:
        """The content that was put there; None where it is too old or has gone."""
        with self._lock:
            put, content = self._entries.get(origin, (0.0, None))
            if content is None or self._clock() - put > self._seconds:
                return None
            self._entries.move_to_end(origin)
            return content

    def put(self, origin: str, content: bytes) -> None:
        """Keep the content as that of now."""
        with self._lock:
            self._drop(origin)
            self._entries[origin] = self._clock(), content
            self._bytes += _ENTRY + len(content)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, origin: str) -> None:
        _, content = self._entries.pop(origin, (0.0, None))
        if content is not None:
            self._bytes -= _ENTRY + len(content)


ROBOTS = RobotsCache()
"""That of this process, for one part after the other."""
