"""The fetcher: many URLs at once, each ending in bytes or in a reason.

How long a URL may take: `timeout` bounds an attempt, from the DNS look-up to the last byte, all
redirects included; after a transient failure `retries` more attempts follow, each after a pause of at
most 30 s. So a URL ends within (retries + 1) * timeout + retries * 30 s. Not counted are the wait in
the queue of a busy host, and the host's robots.txt, which has attempts of its own; once fetched, it is
cached for a day, across parts. `curate.web.hosts` says when the requests to a failing host stop.
"""

import asyncio
import hashlib
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

from yarl import URL

from curate.files import digest_of
from curate.machine import allow_requests
from curate.reasons import LISTED, ROBOTS_TXT, TRANSIENT, DropReason
from curate.web import hosts
from curate.web.hosts import Host
from curate.web.names import LookUp, look_up
from curate.web.optout import read_list, reservation
from curate.web.robots import ROBOTS, ROBOTS_BYTES, RobotsCache, RobotsRules
from curate.web.transport import Answer, FetchError, Limit, Transport, untrusted

__all__ = ["FetchPolicy", "Fetched", "fetch", "request_url"]
_SHARE = 8
"""Slots are released an eighth of them at a time; one by one, a request costs twice as much."""
_DRAIN = 1 << 16  # bytes of an error page that are read to keep the connection
_ROBOTS_UNKNOWN = TRANSIENT | {DropReason.TLS, DropReason.FORBIDDEN_ADDRESS}
_STATUS = {403: DropReason.HTTP_403, 404: DropReason.HTTP_404, 410: DropReason.HTTP_410,
           429: DropReason.HTTP_429}  # fmt: skip
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_REDIRECT = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class FetchPolicy:
    """How to fetch; the fields are those of `config.Download` with the same names."""

    timeout: float = 30.0
    retries: int = 2
    concurrency: int = 128
    per_host: int = 16
    per_host_rate: float | None = None
    max_bytes: int = 50_000_000
    max_redirects: int = 5
    user_agent: str = "curate"
    contact: str | None = None
    opt_out: tuple[str, ...] = ()
    opt_out_list: str | None = None
    robots: bool = False
    connect_to: dict[str, str] = field(default_factory=dict)
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Fetched:
    """The outcome of one URL: `content`, or the `reason` why there is none."""

    index: int
    content: bytes = b""
    reason: DropReason | None = None
    detail: str = ""
    redirects: tuple[str, ...] = ()  # the URLs that were redirected to, in order


def request_url(url: str, *, base: str = "") -> URL:
    """The URL of the request: percent-encoded, the host in IDNA; no credentials, no fragment.

    Raises
    ------
    FetchError
        Where `url` is no http or https URL with a host.
    """
    try:
        found = URL(urljoin(base, url.strip()))
        host, port = found.raw_host or "", found.port
    except (
        ValueError,
        IndexError,
    ) as error:  # yarl indexes into what is left of "http://::1[-1%5B]@"
        raise FetchError(DropReason.BAD_URL, error) from None
    if found.scheme not in ("http", "https"):
        raise FetchError(DropReason.BAD_URL, url)
    labels = host.removesuffix(".").split(".")
    if ":" not in host and not (len(host) < 255 and all(map(_LABEL.fullmatch, labels))):
        raise FetchError(DropReason.BAD_URL, f"no host name: {host}")
    if not port:
        raise FetchError(DropReason.BAD_URL, "port 0")
    return found.with_user(None).with_fragment(None)


class _Session:
    def __init__(self, policy: FetchPolicy, *, look_up: LookUp) -> None:
        self.policy = policy
        contact = f" ({policy.contact})" if policy.contact else ""
        self.transport = Transport(
            user_agent=policy.user_agent + contact,
            connect_to=policy.connect_to,
            proxy=policy.proxy,
            concurrency=policy.concurrency,
            look_up=look_up,
        )
        self.opt_out_list = read_list(policy.opt_out_list) if policy.opt_out_list else None
        self.slots = asyncio.Semaphore(policy.concurrency)
        self.hosts: dict[str, Host] = {}
        self.rules: RobotsCache[RobotsRules] = RobotsCache()
        # A server may send another robots.txt to another agent, and so may another server.
        self.asker = digest_of(policy.user_agent, policy.contact, policy.connect_to)

    def _new_host(self) -> Host:
        policy = self.policy
        return Host(places=policy.per_host, rate=policy.per_host_rate, attempts=policy.retries + 1)

    def release(self, slots: int) -> None:
        """Release so many slots: the caller has used the content that they were for."""
        for _ in range(slots):
            self.slots.release()

    async def image(self, index: int, url: str, uid: str) -> Fetched:
        """The outcome of `url`; if it is content, it holds a slot until `release`."""
        try:
            answer = await self._attempts(url, uid=uid, limit=self._wanted)
        except FetchError as error:
            return Fetched(index, reason=error.reason, detail=error.detail)
        try:
            with untrusted():
                unwanted = self._unwanted(answer)
        except FetchError as error:
            unwanted = error.reason, error.detail
        if unwanted:
            self.slots.release()
            return Fetched(index, b"", unwanted[0], unwanted[1], answer.redirects)
        return Fetched(index, bytes(answer.body), redirects=answer.redirects)

    def _wanted(self, answer: Answer) -> int:
        if reservation(answer, directives=self.policy.opt_out):
            return 0
        wanted = self.policy.max_bytes if answer.status == 200 else _DRAIN
        return wanted if answer.length <= wanted else 0

    def _unwanted(self, answer: Answer) -> tuple[DropReason, str] | None:
        if reserved := reservation(answer, directives=self.policy.opt_out):
            return DropReason.OPTED_OUT, reserved
        if answer.over:
            limit = self.policy.max_bytes
            stated = str(answer.length) if answer.length > limit else over(limit)
            return DropReason.TOO_LARGE, stated
        return None if answer.body else (DropReason.EMPTY_BODY, "")

    async def _attempts(self, url: str, *, uid: str, limit: Limit, robots: bool = True) -> Answer:
        attempt = 0
        while True:
            try:
                return await self._follow(url, limit=limit, robots=robots)
            except FetchError as error:
                if error.final or error.reason not in TRANSIENT or attempt == self.policy.retries:
                    raise
                if error.retry_after > hosts.LONGEST_WAIT:
                    raise
                jitter = 0.5 + _fraction(uid, attempt=attempt)
                pause = max(hosts.BACKOFF * 2**attempt * jitter, error.retry_after)
            await asyncio.sleep(min(pause, hosts.LONGEST_WAIT))
            attempt += 1

    async def _follow(self, url: str, *, limit: Limit, robots: bool) -> Answer:
        """The answer at the end of the redirects, with a slot taken."""
        clock = asyncio.get_running_loop().time
        left = self.policy.timeout
        base = ""
        hops: list[str] = []
        for _ in range(self.policy.max_redirects + 1):
            target = request_url(url, base=base)
            name = target.host_port_subcomponent or ""
            host = self.hosts.get(name) or self.hosts.setdefault(name, self._new_host())
            if robots:
                await self._check(target, host)
            async with host.turn():
                await self.slots.acquire()
                started = clock()
                try:
                    answer = await self.transport.get(target, seconds=left, limit=limit)
                    location = answer.first("location") if answer.status in _REDIRECT else ""
                    if answer.status != 200 and not location:
                        with untrusted():
                            raise _refusal(answer)
                    host.answered()
                except BaseException as error:
                    self.slots.release()
                    if isinstance(error, FetchError):
                        if error.reason is DropReason.TIMEOUT:
                            error.detail = f"{self.policy.timeout:g} s"
                        elif error.reason is DropReason.DNS:
                            error.detail = target.raw_host or ""
                        host.failed(error, started=started)
                    raise
            if base:
                hops.append(str(target))
            if not location:
                answer.redirects = tuple(hops)
                return answer
            self.slots.release()
            left -= clock() - started
            url, base = location, str(target)
        detail = over(self.policy.max_redirects, urljoin(base, url))
        raise FetchError(DropReason.REDIRECTS, detail)

    async def _check(self, target: URL, host: Host) -> None:
        """Raise FetchError if the opt-out list or the host's robots.txt forbids `target`."""
        if self.opt_out_list and (entry := self.opt_out_list.entry(target)):
            raise FetchError(DropReason.OPTED_OUT, LISTED + entry)
        if not self.policy.robots:
            return
        origin = str(target.origin())
        async with host.asking:
            if error := host.no_robots.get(origin):
                raise copy(error)
            if (rules := self.rules.get(origin)) is None:
                try:
                    rules = await self._read_robots(origin)
                except FetchError as error:
                    host.no_robots[origin] = error
                    raise copy(error) from None
                self.rules.put(origin, rules, size=rules.size)
        with untrusted():
            permitted = rules.permit(target)
        if not permitted:
            raise FetchError(DropReason.OPTED_OUT, ROBOTS_TXT)

    async def _read_robots(self, origin: str) -> RobotsRules:
        """RFC 9309, section 2.3.1: a missing file permits everything, an unreachable one nothing."""
        key = f"{self.asker} {origin}"
        try:
            if (content := ROBOTS.get(key)) is None:
                content = await self._robots_content(origin)
                ROBOTS.put(key, content, size=len(content))
            with untrusted():
                return RobotsRules(content)
        except FetchError as error:
            detail = f"{ROBOTS_TXT}: {error.detail}"
            raise FetchError(error.reason, detail, final=True) from None

    async def _robots_content(self, origin: str) -> bytes:
        try:
            answer = await self._attempts(
                f"{origin}/robots.txt", uid=origin, limit=lambda _: ROBOTS_BYTES, robots=False
            )
        except FetchError as error:
            if error.reason in _ROBOTS_UNKNOWN:
                raise
            return b""
        self.slots.release()
        return bytes(answer.body[:ROBOTS_BYTES])


def _fraction(uid: str, *, attempt: int) -> float:
    """A number in [0, 1), pseudo-random by uid and attempt: the jitter of a pause.

    >>> [round(_fraction("a", attempt=attempt), 3) for attempt in (0, 1)]
    [0.798, 0.253]
    """
    digest = hashlib.blake2b(f"{attempt} {uid}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def over(limit: int, what: str = "") -> str:
    """The detail of an outcome that exceeded a limit.

    >>> over(5, "http://a.example/"), over(1_000)
    ('over 5: http://a.example/', 'over 1000')
    """
    return f"over {limit}: {what}" if what else f"over {limit}"


def _refusal(answer: Answer) -> FetchError:
    status = answer.status
    by_class = {4: DropReason.HTTP_4XX, 5: DropReason.HTTP_5XX}
    reason = _STATUS.get(status) or by_class.get(status // 100, DropReason.HTTP_OTHER)
    return FetchError(reason, status, retry_after=_retry_after(answer))


def _retry_after(answer: Answer) -> float:
    """Seconds. A date is taken relative to the Date header, so only the server's clock matters."""
    value = answer.first("retry-after")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        then, now = (parsedate_to_datetime(x) for x in (value, answer.first("date")))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0


def _first(error: BaseException) -> BaseException:
    """The first error of a task group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def fetch(
    urls: Sequence[str], *, uids: Sequence[str], policy: FetchPolicy, look_up: LookUp = look_up
) -> Iterator[Fetched]:
    """Fetch all `urls`; yields the outcome of each as it completes, in no particular order.

    The requests run on a thread of their own while the caller works on the outcomes. At most
    `policy.concurrency` bodies are in flight or wait for the caller, so memory is bounded.

    Raises
    ------
    CurateError, OSError, MemoryError
        For a fault of this machine, which says nothing of any URL. Requests in flight are cancelled.
    """
    if not urls:
        return
    allow_requests(policy.concurrency)
    done: queue.SimpleQueue[Fetched | BaseException | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    held: list[_Session] = []

    async def one(session: _Session, index: int) -> None:
        done.put(await session.image(index, urls[index], uids[index]))

    async def everything() -> None:
        session = _Session(policy, look_up=look_up)
        held.append(session)
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(urls)):
                    group.create_task(one(session, index))
        finally:
            await session.transport.close()

    main = loop.create_task(everything())

    def work() -> None:
        try:
            loop.run_until_complete(main)
            done.put(None)
        except asyncio.CancelledError:
            done.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            done.put(error)

    thread = threading.Thread(target=work, daemon=True, name="fetch")
    thread.start()
    used, several = 0, max(1, policy.concurrency // _SHARE)
    try:
        while (got := done.get()) is not None:
            if isinstance(got, BaseException):
                raise _first(got)
            yield got
            used += got.reason is None
            if used == several or (used and done.empty()):
                loop.call_soon_threadsafe(held[0].release, used)
                used = 0
    finally:
        loop.call_soon_threadsafe(main.cancel)
        thread.join()
        loop.close()
