"""`fetch` against a bare aiohttp loop, and 1,000 hosts of which one never answers, on 127.0.0.1."""

import asyncio
import multiprocessing
import os
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import trustme

from curate.web.fetch import FetchPolicy, fetch

BODY = os.urandom(60_000)
REQUESTS = 6_000
CONCURRENCY = 64
ROUNDS = 3
TIMEOUT = 2.0
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class _Reply(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        while b"\r\n\r\n" in self._head:
            request, _, self._head = self._head.partition(b"\r\n\r\n")
            if b"Host: silent.test" not in request:
                self._transport.write(_REPLY)


def serve(ports: Any, certificate: str) -> None:
    """A plain and a TLS server; `ports` gets where they are."""

    async def everything() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        loop = asyncio.get_running_loop()
        for tls in (None, context):
            server = await loop.create_server(_Reply, "127.0.0.1", 0, ssl=tls, backlog=1024)
            ports.put(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(everything())


@contextmanager
def _served() -> Iterator[tuple[int, int, ssl.SSLContext]]:
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        pem = Path(folder, "server.pem")
        pem.write_bytes(authority.issue_cert("site.test").private_key_and_cert_chain_pem.bytes())
        authority.cert_pem.write_to_path(f"{folder}/ca.pem")
        os.environ["SSL_CERT_FILE"] = f"{folder}/ca.pem"
        spawn = multiprocessing.get_context("spawn")
        ports = spawn.SimpleQueue()
        server = spawn.Process(target=serve, args=(ports, str(pem)), daemon=True)
        server.start()
        yield ports.get(), ports.get(), ssl.create_default_context(cafile=f"{folder}/ca.pem")
        server.terminate()
        server.join()
        del os.environ["SSL_CERT_FILE"]


async def bare(url: str, address: str, context: ssl.SSLContext) -> None:
    """What an aiohttp program does that checks nothing and tries nothing again."""
    port = int(address.rpartition(":")[2])

    class Resolver(aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, *_: Any, **__: Any) -> list[Any]:
            return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2,
                     "proto": 0, "flags": 0}]  # fmt: skip

        async def close(self) -> None: ...

    connector = aiohttp.TCPConnector(limit=16, resolver=Resolver(), ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one() -> None:
            async with slots, session.get(url) as response:
                assert len(await response.read()) == len(BODY)

        await asyncio.gather(*(one() for _ in range(REQUESTS)))


def ours(url: str, address: str) -> None:
    """The fetcher with its defaults, robots.txt included."""
    policy = FetchPolicy(
        concurrency=CONCURRENCY, connect_to={"site.test": address}, robots=True, opt_out=("noai",)
    )
    for got in fetch([url] * REQUESTS, uids=[f"{i:032x}" for i in range(REQUESTS)], policy=policy):
        assert len(got.content) == len(BODY), got


def _measure(work: Callable[[], Any]) -> tuple[float, float]:
    """Requests a second, and CPU milliseconds a request."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    if isinstance(result, Awaitable):
        asyncio.run(result)  # type: ignore[arg-type]
    took = time.perf_counter() - start
    return REQUESTS / took, 1e3 * (time.process_time() - cpu) / REQUESTS


def main() -> None:
    """Rates and CPU a request of both, their ratio, and how long a silent host holds a run."""
    with _served() as (plain, tls, context):
        for scheme, port in (("http", plain), ("https", tls)):
            url, address = f"{scheme}://site.test/x.jpg", f"127.0.0.1:{port}"
            ours(url, address)
            runs = [(_measure(lambda: ours(url, address)),  # noqa: B023
                     _measure(lambda: bare(url, address, context)))  # noqa: B023
                    for _ in range(ROUNDS)]  # fmt: skip
            mine, other = (min((run[i] for run in runs), key=lambda x: x[1]) for i in (0, 1))
            print(f"  {scheme}, {REQUESTS:,} bodies of {len(BODY):,} bytes, one host")
            print(f"    fetch         {mine[0]:8,.0f} requests/s {mine[1]:8.3f} ms CPU each")
            print(f"    bare aiohttp  {other[0]:8,.0f} requests/s {other[1]:8.3f} ms CPU each")
            print(f"    CPU ratio     {mine[1] / other[1]:8.2f}   (at most 1.1)")
        hosts = [f"h{i}.test" for i in range(999)]
        connect_to = dict.fromkeys((*hosts, "silent.test"), f"127.0.0.1:{plain}")
        living = [f"http://{host}/x" for host in hosts for _ in range(4)]
        silent = ["http://silent.test/x"] * 400
        policy = FetchPolicy(timeout=TIMEOUT, connect_to=connect_to)
        took = []
        for urls in (living, silent + living):
            start = time.perf_counter()
            outcomes = [got.reason for got in fetch(urls, uids=urls, policy=policy)]
            took.append(time.perf_counter() - start)
        assert outcomes.count(None) == len(living)
        deadline = (policy.retries + 1) * TIMEOUT
        print(f"  1,000 hosts, one of them silent with 400 of {len(urls):,} URLs")
        print(f"    without it    {took[0]:8.1f} s")
        print(f"    with it       {took[1]:8.1f} s   (deadline of a URL {deadline:.0f} s; a queue"
              f" behind it {len(silent) / policy.per_host * deadline:.0f} s)")  # fmt: skip
