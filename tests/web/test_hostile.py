"""One run over everything that a server can do to its client; no packet leaves the loopback."""

import asyncio
import gzip
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from curate.ops.images.encoder import ImageEncoder, Refusal
from curate.reasons import DropReason
from curate.web import dialler, hosts
from curate.web.fetch import Fetched, FetchPolicy, _retry_after, fetch, request_url
from curate.web.transport import Answer, FetchError
from tests.web.hostile import CLOSE, HostileServer, Request, Route, serving

TIMEOUT = 1.0
RETRIES = 1
MAX_BYTES = 1_000_000
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
JPEG = bytes(cv2.imencode(".jpg", PIXELS)[1].tobytes())
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def dialled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every address that was permitted; another than the loopback's would be refused and fail."""
    found: list[str] = []
    real = dialler.Dialler.may_dial

    def record(self: dialler.Dialler, address: str, port: int, *, url: URL) -> bool:
        if not real(self, address, port, url=url):
            return False
        found.append(address)
        return address == "127.0.0.1"

    monkeypatch.setattr(dialler.Dialler, "may_dial", record)
    monkeypatch.setattr(hosts, "BACKOFF", 0.05)
    yield found
    assert set(found) <= {"127.0.0.1"}


def replies(status: int = 200, body: bytes = JPEG, *headers: str) -> Route:
    return lambda request: request.reply(status, body, *headers)


def sends(content: bytes) -> Route:
    async def route(request: Request) -> object:
        await request.send(content)
        return CLOSE

    return route


def repeats(content: bytes, *, head: bytes, every: float = 0.0) -> Route:
    """`content` again and again, for as long as the client listens."""

    async def route(request: Request) -> object:
        await request.send(head)
        while True:
            await request.send(content)
            await asyncio.sleep(every)

    return route


async def stay_silent(request: Request) -> object:
    await asyncio.Event().wait()
    return CLOSE


def resets(after: bytes) -> Route:
    async def route(request: Request) -> object:
        await request.send(after)
        await asyncio.sleep(0.05)
        own: socket.socket = request.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.writer.transport.abort()
        return CLOSE

    return route


async def recover(request: Request) -> object:
    busy = request.nth == 1
    await request.reply(503 if busy else 200, b"" if busy else JPEG, "Retry-After: 1")
    return None


def gzip_bomb() -> bytes:
    """A gigabyte of zeros."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 24)
    return b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()


def png(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has nearly no content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        size, check = len(content), zlib.crc32(kind + content)
        return struct.pack(">I", size) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    )


@dataclass
class Case:
    """An answer and what must become of it; `None`: an image is stored."""

    outcome: DropReason | None
    route: Route | None = None
    url: str = "http://{name}.test/"
    detail: str = ""


def redirect(where: str) -> Route:
    return replies(302, b"", f"Location: {where}")


DROP = DropReason
CASES = {
    # time
    "silent": Case(DROP.TIMEOUT, stay_silent),
    "one-byte-a-second": Case(
        DROP.TIMEOUT, repeats(b"x", head=HEAD + b"Content-Length: 9999\r\n\r\n", every=1)
    ),
    "headers-byte-by-byte": Case(DROP.TIMEOUT, repeats(b"x", head=HEAD + b"X: ", every=0.1)),
    # size
    "ten-gigabytes": Case(
        DROP.TOO_LARGE,
        repeats(bytes(1 << 16), head=HEAD + b"Content-Length: 10737418240\r\n\r\n"),
        detail="10737418240",
    ),
    "ten-gigabytes-unsaid": Case(DROP.TOO_LARGE, repeats(bytes(1 << 16), head=HEAD + b"\r\n")),
    "chunks-without-end": Case(
        DROP.TOO_LARGE,
        repeats(
            b"8000\r\n" + bytes(0x8000) + b"\r\n", head=HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        ),
        detail=f"over {MAX_BYTES}",
    ),
    "gzip-bomb": Case(DROP.TOO_LARGE, replies(200, gzip_bomb(), "Content-Encoding: gzip")),
    "gzip-in-gzip": Case(
        DROP.PROTOCOL, replies(200, gzip.compress(JPEG), "Content-Encoding: " + "gzip, " * 30)
    ),
    "megabyte-header": Case(
        DROP.PROTOCOL, sends(HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n")
    ),
    "megabyte-of-headers": Case(
        DROP.PROTOCOL, sends(HEAD + b"X: y\r\n" * 170_000 + b"\r\n")
    ),
    "headers-without-end": Case(DROP.PROTOCOL, repeats(b"X: y\r\n" * 99, head=HEAD)),
    "continue-without-end": Case(
        DROP.PROTOCOL, repeats(b"HTTP/1.1 100 Continue\r\n\r\n" * 99, head=b"")
    ),
    "trailers-without-end": Case(
        DROP.PROTOCOL,
        repeats(
            b"X: y\r\n" * 99, head=HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        ),
    ),
    # protocol
    "empty": Case(DROP.EMPTY_BODY, replies(200, b"")),
    "length-too-long": Case(DROP.PROTOCOL, sends(HEAD + b"Content-Length: 99\r\n\r\nshort")),
    "length-too-short": Case(DROP.NOT_AN_IMAGE, sends(HEAD + b"Content-Length: 1\r\n\r\n" + JPEG)),
    "length-negative": Case(DROP.PROTOCOL, sends(HEAD + b"Content-Length: -1\r\n\r\n" + JPEG)),
    "length-of-5000-digits": Case(
        DROP.TOO_LARGE, sends(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + JPEG)
    ),
    "length-twice": Case(
        DROP.PROTOCOL, sends(HEAD + b"Content-Length: 9\r\nContent-Length: 8\r\n\r\n" + JPEG)
    ),
    "chunk-too-long": Case(
        DROP.PROTOCOL, sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx")
    ),
    "no-http": Case(DROP.PROTOCOL, sends(b"220 mail.test ESMTP\r\n")),
    "gibberish": Case(DROP.PROTOCOL, sends(bytes(range(256)) * 99)),
    "status-0": Case(DROP.PROTOCOL, sends(b"HTTP/1.1 000 No\r\n\r\n")),
    "closed": Case(DROP.RESET, sends(b"")),
    "reset": Case(DROP.RESET, resets(b"")),
    "reset-in-headers": Case(DROP.RESET, resets(HEAD)),
    "reset-in-body": Case(DROP.RESET, resets(HEAD + b"Content-Length: 99\r\n\r\nx")),
    # status
    "busy": Case(DROP.HTTP_5XX, replies(503, b"", "Retry-After: 1"), detail="503"),
    "busy-once": Case(None, recover),
    "too-many": Case(DROP.HTTP_429, replies(429, b""), detail="429"),
    "gone": Case(DROP.HTTP_410, replies(410, bytes(500_000))),
    # redirects
    "loop": Case(DROP.REDIRECTS, redirect("/")),
    "to-file": Case(DROP.BAD_URL, redirect("file:///etc/passwd"), detail="file:///etc/passwd"),
    "to-metadata": Case(
        DROP.FORBIDDEN_ADDRESS,
        redirect("http://169.254.169.254/latest/meta-data/"),
        detail="169.254.169.254 is not a public address",
    ),
    "to-private": Case(DROP.FORBIDDEN_ADDRESS, redirect("http://10.0.0.1/")),
    "to-six": Case(DROP.FORBIDDEN_ADDRESS, redirect("http://[::1]/")),
    "to-mapped": Case(DROP.FORBIDDEN_ADDRESS, redirect("http://[::ffff:169.254.169.254]/")),
    "to-localhost": Case(DROP.FORBIDDEN_ADDRESS, redirect("http://localhost:{secret}/")),
    # addresses
    "name-of-loopback": Case(DROP.FORBIDDEN_ADDRESS, url="http://localhost:{secret}/"),
    "number": Case(DROP.FORBIDDEN_ADDRESS, url="http://2130706433:{secret}/"),
    "hexadecimal": Case(DROP.FORBIDDEN_ADDRESS, url="http://0x7f.1:{secret}/"),
    "other-port": Case(DROP.FORBIDDEN_ADDRESS, url="http://127.0.0.1:{secret}/"),
    "nobody": Case(DROP.DNS, url="http://nobody.onion/"),
    # TLS
    "stranger": Case(DROP.TLS, url="https://stranger.test/"),
    "impostor": Case(DROP.TLS, url="https://impostor.test/"),
    "plain": Case(DROP.TLS, url="https://plain.test/"),
    "false-http2": Case(DROP.PROTOCOL, url="https://false-http2.test/"),
    # URLs
    "spaces": Case(None, replies(), url=" http://spaces.test/a b c.jpg "),
    "unicode": Case(None, replies(), url="http://unicode.test/bücher/日本.jpg?q=é"),
    "encoded": Case(None, replies(), url="http://encoded.test/%C3%A9%20%2F.jpg"),
    "alphabet": Case(None, replies(), url="http://bücher.test/"),
    "credentials": Case(None, replies(), url="http://user:secret@credentials.test/"),
    "fragment": Case(None, replies(), url="http://fragment.test/x.jpg#part"),
    "injection": Case(None, replies(), url="http://injection.test/x\r\nX-Injected: 1"),
    "port-0": Case(DROP.BAD_URL, url="http://port-0.test:0/", detail="port 0"),
    "port-70000": Case(DROP.BAD_URL, url="http://port.test:70000/"),
    "no-host": Case(DROP.BAD_URL, url="http:///x.jpg"),
    "scheme": Case(DROP.BAD_URL, url="file:///etc/passwd"),
    "inline": Case(DROP.BAD_URL, url="data:image/png;base64,AAAA"),
    "long": Case(None, replies(), url="http://long.test/" + "x" * 60_000),
    # opt-outs
    "noai": Case(DROP.OPTED_OUT, replies(200, JPEG, "X-Robots-Tag: noai"), detail="noai"),
    "tdm": Case(
        DROP.OPTED_OUT, replies(200, JPEG, "TDM-Reservation: 1"), detail="tdm-reservation"
    ),
    "no-tdm": Case(None, replies(200, JPEG, "TDM-Reservation: 0")),
    # content
    "png-of-60000": Case(DROP.TOO_MANY_PIXELS, replies(200, png(60_000, 60_000))),
    "truncated": Case(DROP.TRUNCATED, replies(200, JPEG[: len(JPEG) // 2])),
    "html": Case(DROP.HTML_PAGE, replies(200, b"<!doctype html><p>gone", "Content-Type: image/jpeg")),
    "svg": Case(
        DROP.VECTOR_IMAGE,
        replies(200, b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
    ),
}  # fmt: skip


async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers whatever is said in HTTP/1.1."""
    await reader.read(100)
    writer.write(HEAD + b"Content-Length: 1\r\n\r\nx")
    await writer.drain()
    writer.close()


def tls(authority: trustme.CA, name: str, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    context.set_alpn_protocols(list(protocols))
    return context


class _Resident:
    """The largest resident size of this process while the block runs, beyond that at its start."""

    def __enter__(self) -> "_Resident":
        self._ended = threading.Event()
        self.start = self.peak = self._now()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _now(self) -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self.peak = max(self.peak, self._now())

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_each_case_ends_in_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trusted, other = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with ExitStack() as stack:
        secret = stack.enter_context(serving(HostileServer()))
        servers = {
            name: stack.enter_context(
                serving(HostileServer(), tls=tls(authority, host, "http/1.1"))
            )
            for name, authority, host in (
                ("stranger", other, "stranger.test"), ("impostor", trusted, "elsewhere.test"),
            )
        }  # fmt: skip
        for name, context in (
            ("plain", None), ("false-http2", tls(trusted, "false-http2.test", "h2")),
        ):  # fmt: skip
            servers[name] = HostileServer()
            servers[name].serve = speak_plainly  # type: ignore[method-assign]
            stack.enter_context(serving(servers[name], tls=context))
        urls, connect_to = [], {}
        for name, case in CASES.items():
            url = case.url.format(name=name, secret=secret.port)
            urls.append(url)
            if case.route is not None:
                # A port for each case: nothing that one does can touch another.
                server = servers[name] = stack.enter_context(serving(HostileServer()))
                server.otherwise = _with_port(case, secret.port)
            if name in servers:
                host = "xn--bcher-kva" if name == "alphabet" else name
                connect_to[f"{host}.test"] = f"127.0.0.1:{servers[name].port}"
        policy = FetchPolicy(
            timeout=TIMEOUT, retries=RETRIES, max_bytes=MAX_BYTES, connect_to=connect_to,
            opt_out=("noai", "tdm-reservation"),
        )  # fmt: skip
        encoder = ImageEncoder()
        list(fetch(["http://warm.test:0/"], uids=["w"], policy=policy))
        encoder(JPEG)
        start = time.monotonic()
        outcomes: dict[str, DropReason | None] = {}
        details = {}
        with _Resident() as resident:
            for got in fetch(urls, uids=list(CASES), policy=policy):
                name = list(CASES)[got.index]
                image = encoder(got.content) if got.reason is None else None
                outcomes[name] = image.reason if isinstance(image, Refusal) else got.reason
                details[name] = got.detail
        took = time.monotonic() - start
    assert outcomes == {name: case.outcome for name, case in CASES.items()}
    for name, case in CASES.items():
        assert case.detail in details[name], (name, details[name])
        assert "after" not in details[name], "nothing of the clock is recorded"
    attempts, pauses = RETRIES + 1, 1.0 * RETRIES
    assert took < attempts * TIMEOUT + pauses + 20, "20 s for a busy machine"
    assert resident.peak - resident.start < len(CASES) * MAX_BYTES + 150e6, "of 14 GB offered"
    assert secret.connections == 0
    for name in ("ten-gigabytes", "ten-gigabytes-unsaid", "chunks-without-end"):
        assert sum(servers[name].sent.values()) < 12e6, "what the sockets hold, not more"
    asked = {name: server.seen[0] for name, server in servers.items() if server.seen}
    assert asked["spaces"].path == "/a%20b%20c.jpg"
    assert asked["unicode"].path == "/b%C3%BCcher/%E6%97%A5%E6%9C%AC.jpg?q=%C3%A9"
    assert asked["encoded"].path == "/%C3%A9%20%2F.jpg"
    assert asked["alphabet"].headers["host"] == "xn--bcher-kva.test"
    assert asked["fragment"].path == "/x.jpg"
    assert "authorization" not in asked["credentials"].headers
    assert "x-injected" not in asked["injection"].headers
    assert asked["silent"].headers["accept-encoding"] == "identity"
    assert not capfd.readouterr().err, "an error in a callback would be printed and forgotten"
    print(f"{len(CASES)} cases in {took:.1f} s, {(resident.peak - resident.start) / 1e6:.0f} MB")


def _with_port(case: Case, port: int) -> Route:
    if case.route is None:
        raise AssertionError
    if case is CASES["to-localhost"]:
        return redirect(f"http://localhost:{port}/")
    return case.route


def _finish(urls: list[str], policy: FetchPolicy) -> tuple[list[Fetched], list[float]]:
    """The outcomes, and the seconds until each, in the order of the URLs."""
    start = time.monotonic()
    got, ended = {}, {}
    for one in fetch(urls, uids=[f"{i:032x}" for i in range(len(urls))], policy=policy):
        got[one.index], ended[one.index] = one, time.monotonic() - start
    return [got[i] for i in range(len(urls))], [ended[i] for i in range(len(urls))]


def test_a_thousand_hosts_do_not_wait_for_one_that_is_silent() -> None:
    """The silent one answers once all others have: if one of them waited for it, none ever would."""
    served = set()
    all_others = asyncio.Event()

    async def answer(request: Request) -> object:
        host = request.headers["host"]
        if host == "h500.test":
            await all_others.wait()
        else:
            served.add(host)
            if len(served) == 999:
                all_others.set()
        await request.reply(200, JPEG)
        return None

    with serving(HostileServer({"/x": answer})) as server:
        connect_to = {f"h{i}.test": f"127.0.0.1:{server.port}" for i in range(1000)}
        policy = FetchPolicy(timeout=60, retries=0, connect_to=connect_to)
        urls = ["http://h500.test/x"] * 200
        urls += [f"http://h{i}.test/x" for i in range(1000) if i != 500]
        got, _ = _finish(urls, policy)
    assert {one.content for one in got} == {JPEG}


def test_what_a_dead_host_costs_is_a_few_deadlines_not_a_queue() -> None:
    """Once it is given up, it is asked no more, however many of its URLs are left."""
    unanswered = []

    async def answer(request: Request) -> None:
        unanswered.append(request)
        await asyncio.Event().wait()

    with serving(HostileServer({"/x": answer})) as server:
        connect_to = {"dead.test": f"127.0.0.1:{server.port}"}
        policy = FetchPolicy(timeout=TIMEOUT, retries=2, connect_to=connect_to)
        urls = ["http://dead.test/x"] * 200
        asked = []  # requests that it had got when each outcome came
        reasons, given_up = set(), []
        for one in fetch(urls, uids=[f"{i:032x}" for i in range(len(urls))], policy=policy):
            asked.append(len(unanswered))
            reasons.add(one.reason)
            given_up.append("failed 3 times in a row" in str(one.detail))
    assert (len(asked), reasons) == (200, {DropReason.TIMEOUT})
    assert len(unanswered) <= 3 * policy.per_host, "of 600 requests"
    assert sum(given_up) > 100
    assert asked[given_up.index(True)] == len(unanswered)


def test_a_host_that_answers_now_and_then_is_not_given_up() -> None:
    routes = {"/bad": replies(429, b""), "/good": replies()}
    with serving(HostileServer(routes)) as server:
        policy = FetchPolicy(
            timeout=5, per_host=1, connect_to={"a.test": f"127.0.0.1:{server.port}"}
        )
        got, _ = _finish(["http://a.test/bad", "http://a.test/good"] * 8, policy)
    assert [one.reason for one in got] == [DropReason.HTTP_429, None] * 8
    assert any("failed 3 times in a row" in one.detail for one in got), (
        "once only bad ones are left"
    )


def test_a_rate_is_kept_at_each_host() -> None:
    times: dict[str, list[float]] = {"a.test": [], "b.test": []}

    async def note(request: Request) -> object:
        times[request.headers["host"]].append(time.monotonic())
        await request.reply(200, JPEG)
        return None

    with serving(HostileServer({"/x": note})) as server:
        connect_to = dict.fromkeys(times, f"127.0.0.1:{server.port}")
        policy = FetchPolicy(timeout=5, per_host_rate=20, connect_to=connect_to)
        _, ended = _finish([f"http://{host}/x" for host in times] * 11, policy)
    for asked in times.values():
        assert len(asked) == 11
        assert asked[-1] - asked[0] >= 0.45
    assert max(ended) < 1.5, "both at once"


def test_a_429_lets_the_whole_host_rest() -> None:
    times: list[float] = []

    async def busy(request: Request) -> object:
        times.append(time.monotonic())
        first = len(times) == 1
        await request.reply(429 if first else 200, b"" if first else JPEG, "Retry-After: 1")
        return None

    with serving(HostileServer({"/x": busy})) as server:
        connect_to = {"a.test": f"127.0.0.1:{server.port}"}
        policy = FetchPolicy(timeout=5, per_host=1, connect_to=connect_to)
        got, _ = _finish(["http://a.test/x"] * 4, policy)
    assert all(one.content == JPEG for one in got)
    assert times[1] - times[0] >= 1.0


def test_redirects_take_their_turn_at_the_host_that_they_lead_to() -> None:
    active = most = 0

    async def hop(request: Request) -> object:
        nonlocal active, most
        if request.path == "/hop":
            await request.reply(302, b"", "Location: http://b.test/x")
            return None
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.02)
        active -= 1
        await request.reply(200, JPEG)
        return None

    with serving(HostileServer({"/hop": hop, "/x": hop})) as server:
        hosts = ["a.test", "b.test", *(f"c{i}.test" for i in range(10))]
        policy = FetchPolicy(
            timeout=5, per_host=2,
            connect_to=dict.fromkeys(hosts, f"127.0.0.1:{server.port}"),
        )  # fmt: skip
        urls = [f"http://{host}/hop" for host in hosts if host != "b.test"]
        got, _ = _finish(urls, policy)
    assert all(one.content == JPEG for one in got)
    assert most == 2


def test_a_url_as_it_is_asked_for() -> None:
    asked = request_url(" HTTP://U:p@Site.TEST:80/ä b?x=1&y=%41#f ")
    assert str(asked) == "http://site.test/%C3%A4%20b?x=1&y=A"


@given(
    st.text(max_size=40) | st.from_regex(r"https?://[\[\]:@/?#.%0-9a-zé -]{0,20}", fullmatch=True)
)
def test_any_text_is_a_url_or_none(text: str) -> None:
    try:
        asked = request_url(text)
    except FetchError:
        return
    assert asked.scheme in ("http", "https")
    assert asked.raw_host
    assert asked.port
    assert str(asked).isascii()
    assert not set(str(asked)) & set(" \r\n\0#")
    assert (asked.user, asked.password) == (None, None)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_retry_after_is_a_number_of_seconds(after: str, date: str) -> None:
    answer = Answer(503, [("retry-after", after), ("date", date)])
    assert _retry_after(answer) >= 0
