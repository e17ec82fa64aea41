"""robots.txt: what its rules permit, and a cache of the files of many hosts across parts."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from protego import Protego
from yarl import URL

from curate.web.optout import AGENT

T = TypeVar("T")
ROBOTS_BYTES = 500 * 1024
"""How much of a robots.txt is read (RFC 9309, section 2.5)."""
_DAY = 24 * 3600.0
"""Seconds that a robots.txt may be cached (RFC 9309, section 2.4)."""
_ENTRY = 500
"""Bytes that an entry takes beside its content."""
_LARGEST = 40_000_000
"""Bytes of memory that the rules of `ROBOTS_BYTES` take, at most: 30 MB of patterns that end in $."""
_AGENT_LINE = re.compile(r"\s*user[\s-]*agent[\s:]*", re.IGNORECASE)


class RobotsRules:
    """The rules of a robots.txt (RFC 9309); an empty one permits everything.

    All user agents that are not this program's are renamed to one before parsing: the parser keeps each
    rule once for each agent, and a file of 100 kB may have 5,000 agents with 5,000 rules.

    >>> rules = RobotsRules(b"User-agent: a\\nDisallow: /\\nUser-agent: *\\nDisallow: /x")
    >>> rules.permit(URL("http://a.example/y")), rules.permit(URL("http://a.example/x"))
    (True, False)
    """

    def __init__(self, content: bytes = b"") -> None:
        lines = content.decode("utf-8-sig", errors="replace").splitlines()
        self._rules = Protego.parse("\n".join(map(_for_us, lines)))
        self.size = min(_LARGEST, 5_000 + 6 * len(content) + 800 * len(lines))
        """Bytes of memory, at most."""

    def permit(self, url: URL) -> bool:
        """Whether this program may ask for `url`."""
        return bool(self._rules.can_fetch(str(url), AGENT))


def _for_us(line: str) -> str:
    found = _AGENT_LINE.match(line)
    if not found:
        return line
    name = line[found.end() :].partition("#")[0].strip().lower().replace("*", "")
    return line if AGENT.startswith(name) else "User-agent: others"


class RobotsCache(Generic[T]):
    """A least-recently-used cache of hosts' robots.txt; each entry expires after `seconds`.

    >>> cache = RobotsCache[bytes](max_bytes=2_000)
    >>> cache.put("http://a.example", b"User-agent: *", size=13)
    >>> cache.get("http://a.example"), cache.get("http://b.example")
    (b'User-agent: *', None)
    """

    def __init__(
        self, *, max_bytes: int = 64 << 20, seconds: float = _DAY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._max_bytes, self._seconds, self._clock = max_bytes, seconds, clock
        self._entries: OrderedDict[str, tuple[float, int, T]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, origin: str) -> T | None:
        """The entry of an origin; None where there is none, or it has expired."""
        with self._lock:
            if not (entry := self._entries.get(origin)) or self._clock() - entry[0] > self._seconds:
                return None
            self._entries.move_to_end(origin)
            return entry[2]

    def put(self, origin: str, known: T, *, size: int) -> None:
        """Store an entry of `size` bytes as of now; evicts the least recently used ones for room."""
        with self._lock:
            self._drop(origin)
            self._entries[origin] = self._clock(), _ENTRY + size, known
            self._bytes += _ENTRY + size
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, origin: str) -> None:
        if entry := self._entries.pop(origin, None):
            self._bytes -= entry[1]


ROBOTS = RobotsCache[bytes]()
"""The files that this process has fetched, for all its parts."""
