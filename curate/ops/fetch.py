"""The fetcher: many URLs at once, each ending in bytes or in a reason.

Only http and https, and only public addresses, checked on the address that is dialled, so neither a
redirect nor a DNS answer that changes between check and connect leads elsewhere.
"""

import asyncio
import ipaddress
import queue
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import pyarrow as pa

from curate.ops.hashing import uniform
from curate.reasons import DropReason

BACKOFF = 0.5
"""Seconds before the first further attempt; each one after doubles."""
LONGEST_WAIT = 30.0
"""Seconds that a Retry-After is honoured for at the most."""
_CHUNK = 1 << 16
TRANSIENT = frozenset(
    {DropReason.DNS, DropReason.REFUSED, DropReason.RESET, DropReason.TIMEOUT, DropReason.PROTOCOL,
     DropReason.HTTP_429, DropReason.HTTP_5XX}
)  # fmt: skip
_STATUS = {403: DropReason.HTTP_403, 404: DropReason.HTTP_404, 410: DropReason.HTTP_410,
           429: DropReason.HTTP_429}  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_VALUED = frozenset({"max-image-preview", "max-snippet", "max-video-preview", "unavailable_after"})
_REDIRECT = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class FetchPolicy:
    """How to fetch; the fields are those of `config.Download`."""

    timeout: float = 30.0
    retries: int = 2
    concurrency: int = 128
    per_host: int = 16
    max_bytes: int = 50_000_000
    max_redirects: int = 5
    user_agent: str = "curate"
    opt_out: tuple[str, ...] = ()
    connect_to: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fetched:
    """What came of one URL: `content`, or the `reason` that there is none."""

    index: int
    content: bytes = b""
    reason: DropReason | None = None
    detail: str = ""
    retry_after: float = 0.0  # seconds


class _ForbiddenAddressError(OSError):
    pass


def is_public(address: str) -> bool:
    """Whether an IP address may be dialled: global and unicast, as is an IPv4 address within it."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.is_site_local:
            return False
        last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = ip.ipv4_mapped or ip.sixtofour or (last if ip in _NAT64 else ip)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class _Dialler(aiohttp.abc.AbstractResolver):
    """Resolves names, `connect_to` first, and opens sockets to permitted addresses only."""

    def __init__(self, connect_to: dict[str, str]) -> None:
        self._mapped = {}
        for host, target in connect_to.items():
            address, _, port = target.rpartition(":")
            self._mapped[host.lower()] = (address.strip("[]"), int(port))
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        mapped = self._mapped.get(f"{host}:{port}") or self._mapped.get(host)
        if mapped is None:
            found = await self._system.resolve(host, port, family)
            allowed = [answer for answer in found if self._may_dial(answer["host"], answer["port"])]
            if not allowed:
                raise _ForbiddenAddressError(f"{found[0]['host']} is not a public address")
            return allowed
        address, port = mapped
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            aiohttp.abc.ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        await self._system.close()

    def open_socket(self, address_info: Any) -> socket.socket:
        """The socket for an address that is about to be dialled."""
        family, kind, protocol, _, (address, port, *_) = address_info
        if not self._may_dial(address, port):
            raise _ForbiddenAddressError(f"{address} is not a public address")
        return socket.socket(family, kind, protocol)

    def _may_dial(self, address: str, port: int) -> bool:
        return is_public(address) or (address, port) in self._mapped.values()


def opted_out(values: Sequence[str], *, directives: Sequence[str], agent: str) -> str | None:
    """The first of `directives` in X-Robots-Tag header `values` that applies to `agent`, if any.

    What follows a user agent and a colon applies to that agent alone, up to the next one. Some
    directives have a colon and a value of their own.
    """
    for value in values:
        applies = True
        for part in value.lower().split(","):
            name, colon, rest = (word.strip() for word in part.partition(":"))
            scoped = bool(colon) and " " not in name and name not in _VALUED
            if scoped:
                applies = name == agent.lower()
            directive = rest if scoped else name
            if applies and directive in directives:
                return directive
    return None


class _Session:
    def __init__(self, policy: FetchPolicy) -> None:
        self.policy = policy
        dialler = _Dialler(policy.connect_to)
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, resolver=dialler, socket_factory=dialler.open_socket, ttl_dns_cache=300
            ),
            headers={"User-Agent": policy.user_agent, "Accept": "image/*,*/*;q=0.1"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self.slots = asyncio.Semaphore(policy.concurrency)
        self.hosts: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(policy.per_host)
        )

    async def fetch(self, index: int, url: str, uid: str) -> Fetched:
        """All the attempts at one URL; the slot of the last one stays taken."""
        host = _host(url)
        attempt = 0
        while True:
            async with self.hosts[host]:
                await self.slots.acquire()
                got = await self._attempt(index, url)
            if got.reason not in TRANSIENT or attempt == self.policy.retries:
                return got
            self.slots.release()
            jitter = uniform(pa.array([uid]), seed=attempt)[0]
            pause = max(BACKOFF * 2**attempt * (0.5 + jitter), got.retry_after)
            await asyncio.sleep(min(pause, LONGEST_WAIT))
            attempt += 1

    async def _attempt(self, index: int, url: str) -> Fetched:
        def failed(reason: DropReason, detail: object = "", retry_after: float = 0.0) -> Fetched:
            return Fetched(index, reason=reason, detail=str(detail)[:200], retry_after=retry_after)

        try:
            async with asyncio.timeout(self.policy.timeout):
                return await self._follow(index, url)
        except TimeoutError:
            return failed(DropReason.TIMEOUT, f"{self.policy.timeout:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return failed(DropReason.TLS, error.certificate_error)
        except aiohttp.ClientConnectorDNSError as error:
            if isinstance(error.os_error, _ForbiddenAddressError):
                return failed(DropReason.FORBIDDEN_ADDRESS, error.os_error)
            return failed(DropReason.DNS, error.host)
        except aiohttp.ClientSSLError as error:
            return failed(DropReason.TLS, error)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _ForbiddenAddressError):
                return failed(DropReason.FORBIDDEN_ADDRESS, error.os_error)
            return failed(DropReason.REFUSED, error.os_error.strerror)
        except _ForbiddenAddressError as error:
            return failed(DropReason.FORBIDDEN_ADDRESS, error)
        except (aiohttp.InvalidURL, ValueError) as error:
            return failed(DropReason.BAD_URL, error)
        except (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError) as error:
            return failed(DropReason.RESET, error)
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            return failed(DropReason.PROTOCOL, error)

    async def _follow(self, index: int, url: str) -> Fetched:
        policy = self.policy
        for _ in range(policy.max_redirects + 1):
            if urlsplit(url).scheme not in ("http", "https"):
                return Fetched(index, reason=DropReason.BAD_URL, detail=url[:200])
            async with self.http.get(url, allow_redirects=False) as response:
                if response.status in _REDIRECT and "Location" in response.headers:
                    url = urljoin(url, response.headers["Location"])
                    continue
                if response.status != 200:
                    return _refused(index, response)
                tags = response.headers.getall("X-Robots-Tag", [])
                if tag := opted_out(tags, directives=policy.opt_out, agent="curate"):
                    return Fetched(index, reason=DropReason.OPTED_OUT, detail=tag)
                return await self._body(index, response)
        return Fetched(index, reason=DropReason.REDIRECTS, detail=url[:200])

    async def _body(self, index: int, response: aiohttp.ClientResponse) -> Fetched:
        limit = self.policy.max_bytes
        content = bytearray()
        if (response.content_length or 0) > limit:
            return Fetched(index, reason=DropReason.TOO_LARGE, detail=str(response.content_length))
        async for chunk in response.content.iter_chunked(_CHUNK):
            content += chunk
            if len(content) > limit:
                return Fetched(index, reason=DropReason.TOO_LARGE, detail=f"over {limit}")
        if not content:
            return Fetched(index, reason=DropReason.EMPTY_BODY)
        return Fetched(index, content=bytes(content))


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _refused(index: int, response: aiohttp.ClientResponse) -> Fetched:
    status = response.status
    by_class = {4: DropReason.HTTP_4XX, 5: DropReason.HTTP_5XX}
    reason = _STATUS.get(status) or by_class.get(status // 100, DropReason.HTTP_OTHER)
    after = response.headers.get("Retry-After", "")
    wait = float(after) if after.isascii() and after.isdigit() else 0.0
    return Fetched(index, reason=reason, detail=str(status), retry_after=wait)


def fetch(urls: Sequence[str], *, uids: Sequence[str], policy: FetchPolicy) -> Iterator[Fetched]:
    """Fetch all `urls`, yielding each as it ends, in whatever order that is.

    The requests run on a thread of their own while the caller works on what came. At most
    `policy.concurrency` bodies are in flight or wait for the caller, so memory is bounded.
    """
    done: queue.SimpleQueue[Fetched | BaseException | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    held: list[_Session] = []

    async def one(session: _Session, index: int) -> None:
        done.put(await session.fetch(index, urls[index], uids[index]))

    async def everything() -> None:
        session = _Session(policy)
        held.append(session)
        async with session.http, asyncio.TaskGroup() as group:
            for index in range(len(urls)):
                group.create_task(one(session, index))

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
    try:
        while (got := done.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got
            loop.call_soon_threadsafe(held[0].slots.release)
    finally:
        loop.call_soon_threadsafe(main.cancel)
        thread.join()
        loop.close()
