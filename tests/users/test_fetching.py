"""What a server does on a connection costs the URL that it answers, and none beside it."""

import asyncio
import socket
import ssl
import struct
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from curate.reasons import DropReason
from curate.web import fetch as fetch_module
from curate.web import hosts
from curate.web.fetch import Fetched, FetchPolicy, fetch
from curate.web.robots import RobotsCache
from tests.web.hostile import CLOSE, HostileServer, Request, Route, serving

IMAGE = b"\xff\xd8\xff" + bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "BACKOFF", 0.01)


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS for the server of site.test."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("site.test").configure_cert(context)
    return context


def says(*pieces: bytes, pause: float = 0.0) -> Route:
    """The pieces as they are, one write each, and the connection is kept."""

    async def route(request: Request) -> object:
        for piece in pieces:
            await request.send(piece)
            await asyncio.sleep(pause)
        return None

    return route


async def sends_image(request: Request) -> object:
    await request.reply(200, IMAGE)
    return None


async def breaks_when_used_again(request: Request) -> object:
    """Answers the first request of a connection, and resets it at the second."""
    if not getattr(request.writer, "used", False):
        request.writer.used = True  # type: ignore[attr-defined]
        await request.reply(200, IMAGE)
        return None
    own: socket.socket = request.writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.writer.transport.abort()
    return CLOSE


async def ends_when_used_again(request: Request) -> object:
    if getattr(request.writer, "used", False):
        return CLOSE
    request.writer.used = True  # type: ignore[attr-defined]
    await request.reply(200, IMAGE)
    return None


OK = b"HTTP/1.1 200 OK\r\n"
OTHER = OK + b"Content-Length: 3\r\n\r\nBAD"
"""A whole answer, where nobody has asked for one."""
ODD: dict[str, tuple[Route, DropReason | None]] = {
    "204 with a body": (
        says(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
        DropReason.HTTP_OTHER,
    ),
    "204 with a body that comes later": (
        says(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b"hello", pause=0.02),
        DropReason.HTTP_OTHER,
    ),
    "204 whose body is not announced": (
        says(b"HTTP/1.1 204 No Content\r\n\r\n", b"<html>", pause=0.002),
        DropReason.HTTP_OTHER,
    ),
    "204 whose body is an answer": (
        says(b"HTTP/1.1 204 No Content\r\n\r\n", OTHER, pause=0.002),
        DropReason.HTTP_OTHER,
    ),
    "304 with a body": (
        says(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"hello", pause=0.002),
        DropReason.HTTP_OTHER,
    ),
    "100 with a body": (
        says(b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello" + OTHER),
        DropReason.PROTOCOL,
    ),
    "103 before the answer": (
        says(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OTHER),
        None,
    ),
    "more than was announced": (says(OTHER + b"more"), None),
    "more than was announced, later": (says(OTHER, b"more", pause=0.002), None),
    "an answer more than was asked for": (says(OTHER + OTHER), None),
    "an empty line behind the body": (says(OTHER, b"\r\n", pause=0.002), None),
    "chunks with trailers": (
        says(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nBAD\r\n0\r\nX: y\r\nZ: 1\r\n\r\n"),
        None,
    ),
    "chunks and a length": (
        says(OK + b"Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n3\r\nBAD\r\n0\r\n\r\n"),
        None,
    ),
    "more behind the last chunk": (
        says(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nBAD\r\n0\r\n\r\n", b"more", pause=0.002),
        None,
    ),
    "a reset when used again": (breaks_when_used_again, None),
    "an end when used again": (ends_when_used_again, None),
}


def fetched(paths: list[str], *, port: int, scheme: str = "http", **options: Any) -> list[Fetched]:
    urls = [f"{scheme}://site.test{path}" for path in paths]
    policy = FetchPolicy(
        retries=0, connect_to={"site.test": f"127.0.0.1:{port}"}, **({"timeout": 10.0} | options)
    )
    return sorted(fetch(urls, uids=urls, policy=policy), key=lambda one: one.index)


def with_odd(*, every: int = 5) -> list[str]:
    """Forty good images of a host, each fifth behind an odd one."""
    good = [f"/{i}.jpg" for i in range(40)]
    return [path for i, one in enumerate(good) for path in ([one] if i % every else ["/odd", one])]


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("per_host", [1, 4])
def test_a_strange_answer_costs_no_other_image_of_the_host(case: str, per_host: int) -> None:
    odd, reason = ODD[case]
    server = HostileServer(routes={"/odd": odd})
    again = odd in (breaks_when_used_again, ends_when_used_again)
    server.otherwise = odd if again else sends_image
    paths = with_odd()
    with serving(server):
        got = fetched(paths, port=server.port, per_host=per_host)
    lost = [x for x in got if paths[x.index] != "/odd" and x.content != IMAGE]
    assert not lost
    assert {x.reason for x in got if paths[x.index] == "/odd"} == {reason}
    # Once more by us; libcurl itself asks again where a connection ends unanswered, five times.
    most = 7 if again else 2
    assert max(server.requests[path] for path in paths if path != "/odd") <= most


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("stuck", ["silent", "less than was announced"])
def test_an_answer_that_does_not_end_holds_no_other_image_of_the_host(
    stuck: str, scheme: str, certified: ssl.SSLContext
) -> None:
    begins = b"" if stuck == "silent" else OK + b"Content-Length: 10\r\n\r\nBAD"
    server = HostileServer(routes={"/odd": says(begins, pause=2.0)})
    server.otherwise = sends_image
    paths = ["/odd", *(f"/{i}.jpg" for i in range(20))]
    with serving(server, tls=certified if scheme == "https" else None):
        got = fetched(paths, port=server.port, scheme=scheme, per_host=4, timeout=1.0)
    assert [one.reason for one in got] == [DropReason.TIMEOUT] + [None] * 20


class EndingServer(HostileServer):
    """Asked for /odd over HTTP/2, it says GOAWAY and ends the connection under all that use it."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            return await super().serve(reader, writer)
        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()

        def end(stream: int) -> None:
            if not writer.is_closing():
                http.send_data(stream, IMAGE[100:], end_stream=True)
                writer.write(http.data_to_send())

        while not writer.is_closing():
            writer.write(http.data_to_send())
            for event in http.receive_data(await reader.read(1 << 16)):
                if not isinstance(event, RequestReceived):
                    continue
                path = dict(event.headers)[b":path"].decode()
                self.requests[path] += 1
                if path == "/odd":
                    http.close_connection(last_stream_id=2**31 - 1)
                    writer.write(http.data_to_send())
                    writer.close()
                    break
                http.send_headers(event.stream_id, [(":status", "200")])
                http.send_data(event.stream_id, IMAGE[:100])
                asyncio.get_running_loop().call_later(0.01, partial(end, event.stream_id))
        return None


def test_a_shared_connection_that_ends_costs_no_other_image(certified: ssl.SSLContext) -> None:
    certified.set_alpn_protocols(["h2", "http/1.1"])
    paths = with_odd()
    server = EndingServer(routes={"/odd": says()}, otherwise=sends_image)
    with serving(server, tls=certified):
        got = fetched(paths, port=server.port, scheme="https", per_host=8, timeout=1.0)
    assert [x for x in got if paths[x.index] != "/odd" and x.content != IMAGE] == []
    assert max(server.requests[path] for path in paths if path != "/odd") <= 7


AGENTS = "".join(f"User-agent: a{i}\n" for i in range(1_000))
ROBOTS = (AGENTS + "".join(f"Allow: /{i}\n" for i in range(1_000))).encode()
"""A million pairs of agent and rule in 30 kB."""


@pytest.mark.parametrize("kept", [None, 1])
def test_robots_txt_of_many_hosts_fit_into_memory(
    kept: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the parsed ones do not fit, they are parsed again; nobody is asked for one again."""
    if kept:
        monkeypatch.setattr(fetch_module, "RobotsCache", partial(RobotsCache, max_bytes=kept))
    monkeypatch.setattr(fetch_module, "ROBOTS", RobotsCache())
    names = [f"h{i}.test" for i in range(20)]
    server = HostileServer(otherwise=sends_image)
    server.routes["/robots.txt"] = says(OK + b"Content-Length: %d\r\n\r\n" % len(ROBOTS) + ROBOTS)
    tracemalloc.start()
    with serving(server):
        urls = [f"http://{name}/{i}.jpg" for i in range(3) for name in names]
        policy = FetchPolicy(
            retries=0, robots=True, connect_to=dict.fromkeys(names, f"127.0.0.1:{server.port}")
        )
        got = list(fetch(urls, uids=urls, policy=policy))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [one.reason for one in got] == [None] * len(urls)
    assert server.requests["/robots.txt"] == len(names)
    assert peak < 60_000_000
