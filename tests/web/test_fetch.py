"""The fetcher against a real server on 127.0.0.1; nothing here leaves the loopback interface."""

import asyncio
import dataclasses
import gzip
import hashlib
import itertools
import os
import resource
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pycurl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from curate.config import Download
from curate.errors import CurateError
from curate.ops.images.encoder import ImageEncoder, Refusal
from curate.reasons import TRANSIENT, DropReason
from curate.web import dialler, hosts, transport
from curate.web import fetch as fetch_module
from curate.web.dialler import is_public
from curate.web.fetch import Fetched, FetchPolicy, fetch
from curate.web.names import LookUp, look_up
from curate.web.optout import opted_out

BODY = b"\xff\xd8\xff" + bytes(range(256)) * 40
PATIENT = 20.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Site"

    def setup(self) -> None:
        super().setup()
        self.server.connected()

    def do_GET(self) -> None:
        site = self.server
        with site.lock:
            site.requests[self.path] += 1
            site.headers.append(dict(self.headers))
            site.active += 1
            site.most_active = max(site.most_active, site.active)
        try:
            site.routes.get(self.path, not_found)(self)
        except OSError:  # the client hung up, as it may
            self.close_connection = True
        finally:
            with site.lock:
                site.active -= 1

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


class Site(ThreadingHTTPServer):
    """Counts what it is asked for."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.routes: dict[str, Callable[[_Handler], None]] = {}
        self.requests: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.connections = self.active = self.most_active = 0
        self.ended = threading.Event()

    def connected(self) -> None:
        with self.lock:
            self.connections += 1

    def handle_error(self, *_: object) -> None:
        """A connection that broke is what many tests are about."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def on(self, path: str, answer: Callable[[_Handler], None]) -> None:
        self.routes[path] = answer


def not_found(handler: _Handler) -> None:
    handler.reply(404)


def hang(handler: _Handler) -> None:
    handler.server.ended.wait(PATIENT)


def answer(status: int = 200, body: bytes = BODY, **headers: str) -> Callable[[_Handler], None]:
    return lambda handler: handler.reply(status, body, **headers)


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "BACKOFF", 0.01)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [t.name for t in threading.enumerate() if t.name == "fetch"]


def policy_for(site: Site, **options: Any) -> FetchPolicy:
    """The host ``site.test`` is the server, as ``connect_to`` allows."""
    settings: dict[str, Any] = {"timeout": PATIENT, "connect_to": {
        "site.test": f"127.0.0.1:{site.port}", "other.test": f"127.0.0.1:{site.port}",
    }}  # fmt: skip
    return FetchPolicy(**(settings | options))


def fetch_all(urls: list[str], policy: FetchPolicy, look_up: LookUp = look_up) -> list[Fetched]:
    uids = [f"{i:032x}" for i in range(len(urls))]
    results = fetch(urls, uids=uids, policy=policy, look_up=look_up)
    got = sorted(results, key=lambda one: one.index)
    assert [one.index for one in got] == list(range(len(urls)))
    return got


def fetch_one(url: str, policy: FetchPolicy, look_up: LookUp = look_up) -> Fetched:
    [got] = fetch_all([url], policy, look_up)
    return got


def get(site: Site, path: str = "/x", **options: Any) -> Fetched:
    return fetch_one(f"http://site.test{path}", policy_for(site, **options))


# Answers.


def test_a_body_comes_back_as_it_was_sent(site: Site) -> None:
    site.on("/x", answer())
    assert get(site) == Fetched(0, content=BODY)
    assert site.requests == {"/x": 1}


def test_the_request_says_who_asks_for_what(site: Site) -> None:
    site.on("/x", answer())
    get(site, user_agent="tester/1")
    [headers] = site.headers
    assert headers["Host"] == "site.test"
    assert headers["User-Agent"] == "tester/1"
    assert headers["Accept"] == "image/*,*/*;q=0.1"
    assert "Cookie" not in headers


@pytest.mark.parametrize(
    ("status", "reason", "attempts"),
    [
        (403, DropReason.HTTP_403, 1),
        (404, DropReason.HTTP_404, 1),
        (410, DropReason.HTTP_410, 1),
        (401, DropReason.HTTP_4XX, 1),
        (418, DropReason.HTTP_4XX, 1),
        (451, DropReason.HTTP_4XX, 1),
        (429, DropReason.HTTP_429, 3),
        (500, DropReason.HTTP_5XX, 3),
        (502, DropReason.HTTP_5XX, 3),
        (503, DropReason.HTTP_5XX, 3),
        (201, DropReason.HTTP_OTHER, 1),
        (204, DropReason.HTTP_OTHER, 1),
        (206, DropReason.HTTP_OTHER, 1),
        (302, DropReason.HTTP_OTHER, 1),  # without a Location there is nowhere to go
    ],
)
def test_a_status_is_a_reason_and_only_the_transient_are_tried_again(
    site: Site, status: int, reason: DropReason, attempts: int
) -> None:
    site.on("/x", answer(status, b""))
    assert get(site, retries=2) == Fetched(0, reason=reason, detail=str(status))
    assert site.requests["/x"] == attempts
    assert (reason in TRANSIENT) is (attempts > 1)


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_retries_are_further_attempts(site: Site, retries: int) -> None:
    site.on("/x", answer(500))
    assert get(site, retries=retries).reason is DropReason.HTTP_5XX
    assert site.requests["/x"] == retries + 1


def test_an_attempt_that_succeeds_is_the_last(site: Site) -> None:
    def third_time_lucky(handler: _Handler) -> None:
        handler.reply(200 if site.requests["/x"] == 3 else 503, BODY)

    site.on("/x", third_time_lucky)
    assert get(site, retries=9).content == BODY
    assert site.requests["/x"] == 3


def test_pauses_double(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "BACKOFF", 0.1)
    times: list[float] = []

    def refuse(handler: _Handler) -> None:
        times.append(time.monotonic())
        handler.reply(500)

    site.on("/x", refuse)
    get(site, retries=2)
    for attempt in (0, 1):
        digest = hashlib.blake2b(f"{attempt} {'0' * 32}".encode(), digest_size=4).hexdigest()
        jitter = int(digest, 16) / 2**32
        pause = 0.1 * 2**attempt * (0.5 + jitter)
        assert pause - 0.01 <= times[attempt + 1] - times[attempt] < pause + 1


def _waits(site: Site, value: str) -> float:
    times: list[float] = []

    def refuse(handler: _Handler) -> None:
        times.append(time.monotonic())
        handler.reply(200 if len(times) == 2 else 429, BODY, Retry_After=value)

    site.on("/x", refuse)
    assert get(site, retries=1).content == BODY
    return times[1] - times[0]


def test_retry_after_is_honoured(site: Site) -> None:
    assert 1.0 <= _waits(site, "1") < 5.0


@pytest.mark.parametrize(
    "value", ["", "soon", "-1", "1.5", "²", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 2015",
              "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
              "Mon, 01 Jan 2001 00:00:00 +99999999999999999999"]
)  # fmt: skip
def test_a_retry_after_that_is_no_number_is_as_none(site: Site, value: str) -> None:
    assert _waits(site, value.encode().decode("latin-1")) < 0.9


def test_a_retry_after_may_be_a_date_by_the_clock_of_the_server(site: Site) -> None:
    times: list[float] = []

    def refuse(handler: _Handler) -> None:
        times.append(time.monotonic())
        handler.send_response_only(503 if len(times) == 1 else 200)
        handler.send_header("Date", "Wed, 21 Oct 2015 07:28:00 GMT")
        handler.send_header("Retry-After", "Wed, 21 Oct 2015 07:28:01 GMT")
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY)

    site.on("/x", refuse)
    assert get(site, retries=1).content == BODY
    assert 1.0 <= times[1] - times[0] < 5.0


@pytest.mark.parametrize("status", [429, 503])
def test_who_says_that_it_takes_long_is_not_asked_again(site: Site, status: int) -> None:
    site.on("/x", answer(status, Retry_After="9" * 400))
    start = time.monotonic()
    assert get(site, retries=5).detail == str(status)
    assert site.requests["/x"] == 1
    assert time.monotonic() - start < 2


# Time and size.


def test_a_slow_body_times_out(site: Site) -> None:
    def drip(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not site.ended.wait(0.05):
            handler.wfile.write(b"x")

    site.on("/x", drip)
    start = time.monotonic()
    assert get(site, timeout=0.3, retries=1) == Fetched(
        0, reason=DropReason.TIMEOUT, detail="0.3 s"
    )
    assert 0.6 <= time.monotonic() - start < 5
    assert site.requests["/x"] == 2


def test_a_server_that_never_answers_times_out(site: Site) -> None:
    site.on("/x", hang)
    got = get(site, timeout=0.25, retries=0)
    assert got == Fetched(0, reason=DropReason.TIMEOUT, detail="0.25 s")


def test_the_timeout_spans_the_redirects(site: Site) -> None:
    def slow_hop(handler: _Handler) -> None:
        time.sleep(0.1)
        handler.reply(302, Location="/x")

    site.on("/x", slow_hop)
    got = get(site, timeout=0.6, retries=0, max_redirects=50)
    assert got.reason is DropReason.TIMEOUT
    assert 2 <= site.requests["/x"] <= 7


def test_a_stated_length_over_the_limit_is_not_read(site: Site) -> None:
    sent = threading.Event()

    def announce(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1001")
        handler.end_headers()
        if site.ended.wait(PATIENT):
            sent.set()

    site.on("/x", announce)
    got = get(site, max_bytes=1000, timeout=PATIENT)
    assert got == Fetched(0, reason=DropReason.TOO_LARGE, detail="1001")
    assert not sent.is_set()
    assert site.requests["/x"] == 1


def _unstated(handler: _Handler, chunks: int, size: int = 1000) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for _ in range(chunks):
        handler.wfile.write(b"%x\r\n%s\r\n" % (size, b"x" * size))
    handler.wfile.write(b"0\r\n\r\n")


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(site: Site) -> None:
    site.on("/x", lambda handler: _unstated(handler, 100_000))
    got = get(site, max_bytes=5000)
    assert got == Fetched(0, reason=DropReason.TOO_LARGE, detail="over 5000")


def test_max_bytes_is_inclusive(site: Site) -> None:
    site.on("/stated", answer(body=b"x" * 5000))
    site.on("/unstated", lambda handler: _unstated(handler, 5))
    for path in ("/stated", "/unstated"):
        assert get(site, path, max_bytes=5000).content == b"x" * 5000
        assert get(site, path, max_bytes=4999).reason is DropReason.TOO_LARGE


def test_a_packed_body_counts_unpacked(site: Site) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    site.on("/x", answer(body=bomb, Content_Encoding="gzip"))
    assert len(bomb) < 100_000
    got = get(site, max_bytes=100_000)
    assert got == Fetched(0, reason=DropReason.TOO_LARGE, detail="over 100000")


def test_a_packed_body_is_unpacked(site: Site) -> None:
    site.on("/x", answer(body=gzip.compress(BODY), Content_Encoding="gzip"))
    assert get(site).content == BODY


def test_a_body_that_lies_about_its_packing(site: Site) -> None:
    site.on("/x", answer(body=BODY, Content_Encoding="gzip"))
    assert get(site, retries=1).reason is DropReason.PROTOCOL
    assert site.requests["/x"] == 2


def test_an_empty_body(site: Site) -> None:
    site.on("/x", answer(body=b""))
    site.on("/chunked", lambda handler: _unstated(handler, 0))
    for path in ("/x", "/chunked"):
        assert get(site, path) == Fetched(0, reason=DropReason.EMPTY_BODY)
        assert site.requests[path] == 1


def test_an_html_body_is_fetched_and_refused_by_the_encoder(site: Site) -> None:
    page = b"<!DOCTYPE html><title>Sign in</title>"
    site.on("/x", answer(body=page, Content_Type="image/jpeg"))
    got = get(site)
    assert got.content == page
    assert ImageEncoder()(got.content) == Refusal(DropReason.HTML_PAGE)


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["/there", "there", "http://site.test/there", "//other.test/there"]
)
def test_a_redirect_is_followed(site: Site, status: int, location: str) -> None:
    site.on("/x", answer(status, b"moved", Location=location))
    site.on("/there", answer())
    assert get(site).content == BODY
    assert site.requests == {"/x": 1, "/there": 1}


def test_a_chain_may_be_as_long_as_max_redirects(site: Site) -> None:
    for hop in range(5):
        site.on(f"/{hop}", answer(302, Location=f"/{hop + 1}"))
    site.on("/5", answer())
    hops = tuple(f"http://site.test/{i}" for i in range(1, 6))
    assert get(site, "/0", max_redirects=5) == Fetched(0, content=BODY, redirects=hops)
    got = get(site, "/0", max_redirects=4)
    assert got == Fetched(0, reason=DropReason.REDIRECTS, detail="over 4: http://site.test/5")
    assert site.requests["/5"] == 1
    assert get(site, "/5", max_redirects=0).content == BODY


def test_a_loop_ends(site: Site) -> None:
    site.on("/x", answer(302, Location="/y"))
    site.on("/y", answer(302, Location="/x"))
    got = get(site, max_redirects=5)
    assert got == Fetched(0, reason=DropReason.REDIRECTS, detail="over 5: http://site.test/x")
    assert site.requests == {"/x": 3, "/y": 3}


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:image/png;base64,AAAA",
        "gopher://a/",
        "FILE:/x",
    ],
)
def test_a_redirect_to_another_scheme_is_not_followed(site: Site, location: str) -> None:
    site.on("/x", answer(302, Location=location))
    got = get(site)
    assert (got.reason, got.content) == (DropReason.BAD_URL, b"")
    assert got.detail.lower().replace("///", "/") == location.lower().replace("///", "/")
    assert site.requests["/x"] == 1


@pytest.mark.parametrize("location", ["http://[half", "http://site.test:99999/"])
def test_a_redirect_to_nonsense(site: Site, location: str) -> None:
    site.on("/x", answer(302, Location=location))
    assert get(site).reason is DropReason.BAD_URL


def test_a_redirect_to_a_private_address_is_not_dialled(site: Site) -> None:
    site.on("/x", answer(302, Location=f"http://127.0.0.2:{site.port}/secret"))
    got = get(site)
    assert got == Fetched(
        0, reason=DropReason.FORBIDDEN_ADDRESS, detail="127.0.0.2 is not a public address"
    )
    assert site.requests == {"/x": 1}


# Connections.


class _Resetter(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(100)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.hits += 1  # type: ignore[attr-defined]
        self.request.close()


class _Raw(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(self.server.reply)  # type: ignore[attr-defined]


@pytest.fixture
def raw() -> Iterator[Callable[..., socketserver.ThreadingTCPServer]]:
    """A server of bare TCP that closes after what it says, if anything."""
    started = []

    def start(handler: Any, **attributes: Any) -> socketserver.ThreadingTCPServer:
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        vars(server).update(attributes)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


def policy_for_raw(server: socketserver.ThreadingTCPServer, **options: Any) -> FetchPolicy:
    target = f"127.0.0.1:{server.server_address[1]}"
    return FetchPolicy(timeout=PATIENT, connect_to={"raw.test": target}, **options)


def test_a_connection_that_is_reset(raw: Any) -> None:
    server = raw(_Resetter, hits=0)
    got = fetch_one("http://raw.test/", policy_for_raw(server, retries=2))
    assert (got.reason, got.content) == (DropReason.RESET, b"")
    assert server.hits >= 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", DropReason.RESET),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", DropReason.PROTOCOL),
        (b"SSH-2.0-OpenSSH_9.2\r\n", DropReason.PROTOCOL),
        (b"HTTP/1.1 twohundred OK\r\n\r\n", DropReason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", DropReason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y" * 40_000 + b"\r\n\r\n", DropReason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", DropReason.PROTOCOL),
    ],
    ids=["nothing", "short", "ssh", "status", "length", "long header", "chunk"],
)
def test_an_answer_that_is_no_http(raw: Any, reply: bytes, reason: DropReason) -> None:
    server = raw(_Raw, reply=reply)
    got = fetch_one("http://raw.test/", policy_for_raw(server, retries=0))
    assert (got.reason, got.content) == (reason, b"")


def test_a_body_until_the_end_of_the_connection(raw: Any) -> None:
    server = raw(_Raw, reply=b"HTTP/1.0 200 OK\r\n\r\n" + BODY)
    assert fetch_one("http://raw.test/", policy_for_raw(server)).content == BODY


def test_a_server_without_tls(site: Site) -> None:
    got = fetch_one("https://site.test/x", policy_for(site))
    assert got.reason is DropReason.TLS
    assert site.requests == {}


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken but not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def test_a_port_that_nobody_listens_on(closed_port: int) -> None:
    policy = FetchPolicy(connect_to={"off.test": f"127.0.0.1:{closed_port}"}, retries=1)
    got = fetch_one("http://off.test/", policy)
    assert got.reason is DropReason.REFUSED
    assert got.detail not in ("", "None")


# Addresses and names.

PUBLIC = [
    "8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "192.167.255.255",
    "192.0.1.1", "192.88.98.1", "3ffe::1", "3fff:1000::1", "2606:4700::1111",
    "2001:4860:4860::8888", "::ffff:8.8.8.8",
]  # fmt: skip
FORBIDDEN = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1",
    "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1",
    "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::127.0.0.1",
    "192.0.0.9", "192.88.99.1", "3fff::1", "3fff:fff::1", "5f00::1", "64:ff9b:1::1",
    "::ffff:192.0.0.9", "2002:c058:6301::1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::", "2002:a9fe:a9fe::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbidden_addresses(address: str) -> None:
    assert not is_public(address)


@given(address=st.ip_addresses(v=4))
def test_a_mapped_address_is_as_public_as_the_address(address: Any) -> None:
    assert is_public(f"::ffff:{address}") is is_public(str(address))
    assert not (is_public(str(address)) and (address.is_private or address.is_loopback))


@pytest.mark.parametrize("address", FORBIDDEN)
def test_no_socket_is_made_for_a_forbidden_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(socket, "socket", lambda *parts: made.append(parts))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    transfer = transport._Transfer([], dialler.Dialler({}))
    transfer.begin(
        URL("http://x.test/"), resolve=[], seconds=1, limit=lambda _: 0,
        connected=asyncio.Event(), alone=False,
    )  # fmt: skip
    info = (family, socket.SOCK_STREAM, 6, (address, 80))
    assert transfer._open(pycurl.SOCKTYPE_IPCXN, info) == pycurl.SOCKET_BAD
    assert made == []


def test_an_address_is_permitted_at_the_mapped_port_alone() -> None:
    given = dialler.Dialler({"site.test": "127.0.0.1:8080", "six.test": "[::1]:81"})
    site, six = URL("http://Site.test./x"), URL("http://six.test/x")
    assert given.may_dial("127.0.0.1", 8080, url=site)
    assert given.may_dial("::1", 81, url=six)
    for address, port in (("127.0.0.1", 8081), ("127.0.0.1", 81), ("::1", 8080), ("::1", 81)):
        assert not given.may_dial(address, port, url=site)
    for url in ("http://127.0.0.1:8080/x", "http://other.test/x", "http://a.site.test/x"):
        assert not given.may_dial("127.0.0.1", 8080, url=URL(url))
        assert given.may_dial("8.8.8.8", 80, url=URL(url))


def test_a_mapped_address_is_for_its_host_alone(site: Site) -> None:
    """Neither a URL nor a redirect of another host reaches it, nor a connection that is kept open."""
    target = f"http://127.0.0.1:{site.port}/x"
    site.on("/x", answer())
    site.on("/hop", answer(302, Location=target))
    urls = ["http://site.test/x", target, "http://site.test/hop", f"http://localhost:{site.port}/x"]
    policy = policy_for(site, concurrency=1)
    got = [one for url in urls for one in fetch_all(["http://site.test/x", url], policy)][1::2]
    refused = DropReason.FORBIDDEN_ADDRESS
    assert [one.reason for one in got] == [None, refused, refused, refused]
    assert site.requests == {"/x": 5, "/hop": 1}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "2130706433", "0x7f000001", "127.1", "0177.0.0.1",
     "0.0.0.0"],
)  # fmt: skip
def test_a_private_address_in_a_url_is_never_dialled(site: Site, host: str) -> None:
    got = fetch_one(f"http://{host}:{site.port}/x", FetchPolicy(timeout=PATIENT, retries=0))
    assert got.reason in (DropReason.FORBIDDEN_ADDRESS, DropReason.BAD_URL), got
    if host == "127.0.0.1":
        assert got.detail == "127.0.0.1 is not a public address"
        assert got.reason is DropReason.FORBIDDEN_ADDRESS
    assert site.connections == 0


@dataclass
class _Names:
    """Stands for the DNS: names, and what each look-up of them answers."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        rounds = self.answers[host]
        return rounds.pop(0) if len(rounds) > 1 else rounds[0]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What would have been connected to: a permitted address is recorded and then refused."""
    found: list[tuple[str, int]] = []
    real = dialler.Dialler.may_dial

    def record(self: dialler.Dialler, address: str, port: int, *, url: URL) -> bool:
        if not real(self, address, port, url=url):
            return False
        found.append((address, port))
        return address.startswith("127.")

    monkeypatch.setattr(dialler.Dialler, "may_dial", record)
    return found


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.7", "192.168.0.7"], ["::1", "127.0.0.1"], ["169.254.169.254"],
     ["::ffff:127.0.0.1"]],
)  # fmt: skip
def test_a_name_that_leads_to_private_addresses(
    site: Site, dialled: list[tuple[str, int]], addresses: list[str]
) -> None:
    names = _Names({"inside.test": [addresses]})
    url = f"http://inside.test:{site.port}/x"
    got = fetch_one(url, FetchPolicy(timeout=PATIENT), names)
    assert got.reason is DropReason.FORBIDDEN_ADDRESS
    assert got.detail.endswith("is not a public address")
    assert names.asked == ["inside.test"]
    assert (site.connections, dialled) == (0, [])


def test_a_name_whose_answer_changes(site: Site, dialled: list[tuple[str, int]]) -> None:
    names = _Names({"rebound.test": [["8.8.8.8"], ["127.0.0.1"]]})
    url = f"http://rebound.test:{site.port}/x"
    got = fetch_one(url, FetchPolicy(timeout=PATIENT), names)
    assert names.asked == ["rebound.test"]
    assert dialled == [("8.8.8.8", site.port)]
    got = fetch_one(url, FetchPolicy(timeout=PATIENT), names)
    assert got.reason is DropReason.FORBIDDEN_ADDRESS
    assert got.detail == "127.0.0.1 is not a public address"
    assert names.asked == ["rebound.test"] * 2
    assert (site.connections, dialled) == (0, [("8.8.8.8", site.port)])


def test_the_localhost_of_the_system(site: Site) -> None:
    got = fetch_one(f"http://localhost:{site.port}/x", FetchPolicy(timeout=PATIENT))
    assert got.reason is DropReason.FORBIDDEN_ADDRESS
    assert site.connections == 0


def test_a_name_that_nobody_knows() -> None:
    """libcurl asks nobody for an .onion name (RFC 7686)."""
    got = fetch_one("http://unknown.onion/", FetchPolicy(retries=2))
    detail = "unknown.onion; the host failed 3 times in a row"
    assert got == Fetched(0, reason=DropReason.DNS, detail="unknown.onion")
    many = fetch_all(["http://unknown.onion/"] * 50, FetchPolicy(retries=2, per_host=4))
    assert {one.reason for one in many} == {DropReason.DNS}
    assert [one.detail for one in many].count(detail) > 40


def test_a_name_that_is_no_idna_is_reported_as_it_was_asked_for() -> None:
    got = fetch_one("http://xn--xn--.onion/", FetchPolicy(retries=0))
    assert got == Fetched(0, reason=DropReason.DNS, detail="xn--xn--.onion")


def test_mapped_hosts_are_not_looked_up(site: Site) -> None:
    site.on("/x", answer())
    names = _Names({"only.test": [["10.0.0.1"]]})
    assert fetch_one("http://SITE.test/x", policy_for(site), names).content == BODY
    target = f"127.0.0.1:{site.port}"
    for key, url in (
        ("only.test:81", "http://only.test:81/x"),
        ("Upper.Test", "http://upper.test/x"),
        (f"127.0.0.1:{site.port}", f"http://{target}/x"),
    ):
        policy = FetchPolicy(timeout=PATIENT, connect_to={key: target})
        assert fetch_one(url, policy, names).content == BODY, key
    policy = FetchPolicy(timeout=PATIENT, connect_to={"only.test:81": target}, retries=0)
    assert names.asked == []
    got = fetch_one("http://only.test:82/x", policy, names)
    assert (got.reason, names.asked) == (DropReason.FORBIDDEN_ADDRESS, ["only.test"])


def test_a_port_is_mapped_before_its_host(site: Site) -> None:
    site.on("/x", answer())
    connect = {"site.test": "127.0.0.1:1", "site.test:81": f"127.0.0.1:{site.port}"}
    policy = FetchPolicy(timeout=PATIENT, connect_to=connect, retries=0)
    assert fetch_one("http://site.test:81/x", policy).content == BODY
    assert fetch_one("http://site.test/x", policy).reason is DropReason.REFUSED


@pytest.mark.parametrize(
    "url",
    ["http://[half/x", "http://::1[-1%5B]@", "http://site.test:99999/x", "http://site.test:port/x", "http:///x",
     "file:///etc/passwd", "ftp://site.test/x", "data:,x", "x", "", "//site.test/x",
     f"http://{'a' * 70}.test/x", "http://a..test/x"],
)  # fmt: skip
def test_a_url_that_is_none_is_dropped_and_the_others_are_fetched(site: Site, url: str) -> None:
    site.on("/x", answer())
    bad, good = fetch_all([url, "http://site.test/x"], policy_for(site))
    assert (bad.reason, bad.content) == (DropReason.BAD_URL, b"")
    assert good.content == BODY


# X-Robots-Tag.

DIRECTIVES = ("noai", "noimageai", "noindex", "noimageindex")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], None),
        ([""], None),
        (["noai"], "noai"),
        (["NoAI"], "noai"),
        ([" noai , nofollow"], "noai"),
        (["nofollow,noimageai"], "noimageai"),
        (["nofollow", "noindex"], "noindex"),
        (["all"], None),
        (["nofollow"], None),
        (["noaix", "xnoai", "no ai"], None),
        (["curate: noai"], "noai"),
        (["Curate:NOAI"], "noai"),
        (["otherbot: noai"], None),
        (["otherbot: noai", "noindex"], "noindex"),
        (["otherbot: nofollow, noai"], None),
        (["curate: nofollow, noai"], "noai"),
        (["otherbot: noai, curate: noindex"], "noindex"),
        (["curate: nofollow, otherbot: noindex"], None),
        (["max-image-preview:large, noindex"], "noindex"),
        (["noindex, max-image-preview:none"], "noindex"),
        (["noindex, max-snippet:-1"], "noindex"),
        (["noai, unavailable_after: 25 Jun 2030 15:00:00 PST"], "noai"),
        (["unavailable_after: Friday, 25-Jun-30 15:00:00 UTC, noai"], "noai"),
        (["curate: max-snippet: 5, noai"], "noai"),
        (["none"], "none"),
        (["curate: None, noai"], "none"),
        (["otherbot: none"], None),
        (["max-image-preview: none"], None),
        (["otherbot: max-snippet: 5, noai"], None),
    ],
)
def test_opt_outs(values: list[str], found: str | None) -> None:
    assert opted_out(values, directives=DIRECTIVES, agent="curate") == found
    upper = [directive.upper() for directive in DIRECTIVES]
    assert opted_out(values, directives=upper, agent="curate") == found


def test_none_is_none_of_indexing_alone() -> None:
    for directive, found in (("noindex", "none"), ("NOFOLLOW", "none"), ("noai", None)):
        assert opted_out(["none"], directives=[directive], agent="curate") == found


def test_an_image_that_its_owner_keeps_back(site: Site) -> None:
    def twice(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("X-Robots-Tag", "otherbot: noindex")
        handler.send_header("X-Robots-Tag", "nofollow, NoAI")
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY)

    site.on("/x", twice)
    site.on("/other", answer(X_Robots_Tag="otherbot: noai"))
    assert get(site, opt_out=DIRECTIVES) == Fetched(0, reason=DropReason.OPTED_OUT, detail="noai")
    assert site.requests["/x"] == 1
    assert get(site, opt_out=()).content == BODY
    assert get(site, "/other", opt_out=DIRECTIVES).content == BODY


# Many at once.


def test_every_url_ends_once_whatever_the_others_do(site: Site) -> None:
    site.on("/ok", answer())
    site.on("/gone", answer(410))
    site.on("/ill", answer(500))
    urls = ["http://site.test/ok", "http://site.test/gone", "http://other.test/ill", "file:/x"] * 25
    got = fetch_all(urls, policy_for(site, retries=1, concurrency=7))
    reasons = Counter(one.reason for one in got)
    assert reasons == dict.fromkeys(
        [None, DropReason.HTTP_410, DropReason.HTTP_5XX, DropReason.BAD_URL], 25
    )
    assert site.requests == {"/ok": 25, "/gone": 25, "/ill": 50}


@pytest.mark.parametrize("step", ["_wanted", "_unwanted"])
def test_an_answer_that_nobody_thought_of_is_the_outcome_of_its_row(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    site.on("/ok", answer())
    real, calls = getattr(fetch_module._Session, step), itertools.count()

    def every_other(*args: Any, **options: Any) -> Any:
        return real(*args, **options) if next(calls) % 2 else 1 // 0

    monkeypatch.setattr(fetch_module._Session, step, every_other)
    got = fetch_all(["http://site.test/ok"] * 20, policy_for(site, concurrency=1, retries=0))
    assert Counter((one.reason, one.detail, one.content) for one in got) == {
        (None, "", BODY): 10, (DropReason.PROTOCOL, "ZeroDivisionError", b""): 10,
    }  # fmt: skip


@pytest.mark.parametrize("error", [MemoryError, ZeroDivisionError])
def test_an_error_of_the_machine_or_a_bug_ends_the_fetch(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(transport.Transport, "get", fail)
    with pytest.raises(error):
        fetch_all(["http://site.test/x"] * 20, policy_for(site))


@pytest.fixture
def no_more_files() -> Iterator[Callable[[], None]]:
    """A call that leaves the process without a file that it might open, until the test ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def take() -> None:
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))

    yield take
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("then", ["http://other.test/x", "http://nobody.invalid/x"])
def test_without_files_to_open_no_url_is_to_blame(
    site: Site, no_more_files: Callable[[], None], then: str
) -> None:
    """Whether it is the socket that cannot be made, or what the look-up of a name reads."""

    def last(handler: _Handler) -> None:
        no_more_files()
        handler.reply(200, BODY)

    site.on("/x", last)
    results = fetch(
        ["http://site.test/x", then], uids=["a", "b"], policy=policy_for(site, concurrency=1)
    )
    assert next(results) == Fetched(0, content=BODY)
    with pytest.raises(OSError, match="Too many open files"):
        next(results)


def test_certificates_that_are_not_there_are_no_fault_of_the_server(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    with pytest.raises(CurateError, match=r"empty\.pem"):
        fetch_one("https://site.test/x", policy_for(site, retries=0))


def test_the_order_of_the_urls_does_not_matter(site: Site) -> None:
    paths = [f"/{i}" for i in range(30)]
    for i, path in enumerate(paths):
        site.on(path, answer(body=path.encode() * (1 + 997 * i)))
    urls = [f"http://site.test{path}" for path in paths]
    for order in (urls, urls[::-1]):
        got = fetch_all(order, policy_for(site, concurrency=3))
        contents = {url: one.content for url, one in zip(order, got, strict=True)}
        assert contents == {
            f"http://site.test/{i}": f"/{i}".encode() * (1 + 997 * i) for i in range(30)
        }


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _slow(handler: _Handler) -> None:
    time.sleep(0.05)
    handler.reply(200, BODY)


def test_no_more_than_per_host_requests_at_one_host(site: Site) -> None:
    site.on("/x", _slow)
    got = fetch_all(["http://site.test/x"] * 20, policy_for(site, per_host=3))
    assert all(one.content == BODY for one in got)
    assert site.most_active == 3


def test_hosts_do_not_wait_for_each_other(site: Site) -> None:
    site.on("/x", _slow)
    urls = ["http://site.test/x", "http://other.test/x"] * 10
    fetch_all(urls, policy_for(site, per_host=3))
    assert 4 <= site.most_active <= 6


def test_no_more_than_concurrency_requests_in_flight(site: Site) -> None:
    site.on("/x", _slow)
    fetch_all(["http://site.test/x", "http://other.test/x"] * 12, policy_for(site, concurrency=4))
    assert site.most_active == 4


def test_a_caller_that_takes_nothing_stops_the_requests(site: Site) -> None:
    site.on("/x", answer())
    urls = ["http://site.test/x"] * 40
    results = fetch(urls, uids=["u"] * 40, policy=policy_for(site, concurrency=5))
    for taken in (0, 1, 2):
        next(results)
        _wait_until(lambda: site.requests["/x"] >= 5 + taken)  # noqa: B023
        time.sleep(0.1)
        assert site.requests["/x"] == 5 + taken, "five bodies wait; a sixth is not asked for"
    assert len(list(results)) == 37
    assert site.requests["/x"] == 40


def test_a_pause_between_attempts_does_not_hold_a_slot(site: Site) -> None:
    site.on("/ill", answer(503, Retry_After="2"))
    site.on("/ok", answer())
    policy = policy_for(site, concurrency=1, retries=1)
    urls = ["http://site.test/ill", "http://other.test/ok", "http://other.test/ok"]
    order = [one.index for one in fetch(urls, uids=["a", "b", "c"], policy=policy)]
    assert sorted(order[:2]) == [1, 2]
    assert order[2] == 0


def test_a_caller_that_leaves_early_leaves_nothing_behind(site: Site) -> None:
    site.on("/ok", answer())
    site.on("/hang", hang)
    before = set(threading.enumerate())
    urls = ["http://site.test/ok"] * 3 + ["http://other.test/hang"] * 5
    results = fetch(urls, uids=["u"] * 8, policy=policy_for(site))
    assert next(results).content == BODY
    start = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 5
    assert not {t.name for t in threading.enumerate() if t not in before} & {"fetch", "asyncio_0"}
    with pytest.raises(StopIteration):
        next(results)


def test_a_caller_that_fails_leaves_no_thread_behind(site: Site) -> None:
    site.on("/ok", answer())

    def consume() -> None:
        for _ in fetch(["http://site.test/ok"] * 9, uids=["u"] * 9, policy=policy_for(site)):
            raise LookupError

    with pytest.raises(LookupError):
        consume()
    _wait_until(lambda: not any(t.name == "fetch" for t in threading.enumerate()))


def test_nothing_is_requested_before_the_first_result_is_wanted(site: Site) -> None:
    results = fetch(["http://site.test/x"], uids=["u"], policy=policy_for(site))
    time.sleep(0.05)
    assert site.connections == 0
    assert [one.reason for one in results] == [DropReason.HTTP_404]


def test_no_urls_no_results() -> None:
    assert fetch_all([], FetchPolicy()) == []


def test_the_policy_has_the_names_and_the_limits_of_the_configuration() -> None:
    configured = Download().model_dump()
    for option in dataclasses.fields(FetchPolicy):
        assert option.name in configured
    defaults = dataclasses.asdict(FetchPolicy())
    for name in ("timeout", "retries", "concurrency", "per_host", "max_bytes", "max_redirects"):
        assert defaults[name] == configured[name]


def test_transient_reasons_are_those_that_another_attempt_may_mend() -> None:
    assert {
        DropReason.DNS, DropReason.REFUSED, DropReason.RESET, DropReason.TIMEOUT,
        DropReason.PROTOCOL, DropReason.HTTP_429, DropReason.HTTP_5XX,
    } == TRANSIENT  # fmt: skip
