"""Names are looked up on threads of their own; none of those here is asked of a real server."""

import asyncio
import errno
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from curate.reasons import DropReason
from curate.web import dialler, names
from curate.web.fetch import Fetched, FetchPolicy, fetch
from curate.web.names import LookUp, Names, look_up
from tests.web.hostile import CLOSE, HostileServer, Request, serving

BODY = b"\xff\xd8\xff" + bytes(1000)


@pytest.fixture(autouse=True)
def _public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two addresses of the loopback interface stand for public ones; no other is dialled."""
    monkeypatch.setattr(dialler, "is_public", {"127.0.0.1", "::1"}.__contains__)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    _wait_until(lambda: not _threads())


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Until it is set, at the latest at the end of the test, look-ups that wait for it do."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def server() -> Iterator[HostileServer]:
    async def reply(request: Request) -> object:
        await request.reply(200, BODY, "Connection: close")
        return CLOSE

    with serving(HostileServer(otherwise=reply)) as server:
        yield server


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "names"]


def _wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


def _fetch(urls: Sequence[str], look_up: LookUp, **options: Any) -> list[Fetched]:
    policy = FetchPolicy(**({"timeout": 20.0, "retries": 0} | options))
    uids = [f"{i:032x}" for i in range(len(urls))]
    results = fetch(urls, uids=uids, policy=policy, look_up=look_up)
    return sorted(results, key=lambda one: one.index)


# Names that never resolve.


def test_names_that_never_resolve_keep_no_other_waiting(
    server: HostileServer, ended: threading.Event
) -> None:
    """More of them than requests at a time, and in front; their look-ups outlast the fetch."""
    asked: Counter[str] = Counter()

    def answer(name: str) -> list[str]:
        asked[name] += 1
        if name.startswith("dead"):
            ended.wait()
        return ["127.0.0.1"]

    hosts = [f"dead{i}.test" for i in range(200)] + [f"live{i}.test" for i in range(300)]
    began = time.monotonic()
    got = _fetch(
        [f"http://{host}:{server.port}/x" for host in hosts], answer, timeout=2.0, concurrency=80
    )
    took = time.monotonic() - began
    dead = {(one.reason, one.detail, one.content) for one in got[:200]}
    assert dead == {(DropReason.TIMEOUT, "2 s", b"")}
    assert {(one.reason, one.content) for one in got[200:]} == {(None, BODY)}
    assert took < 15, "the 200 take three deadlines of 2 s, 80 at a time"
    assert asked == Counter(hosts)
    _wait_until(lambda: len(_threads()) == 200)
    assert all(thread.daemon for thread in _threads())


def test_a_process_ends_in_spite_of_look_ups_that_do_not() -> None:
    script = """
import threading
from curate.web.fetch import FetchPolicy, fetch
policy = FetchPolicy(timeout=0.2, retries=0)
never = threading.Event()
[one] = fetch(["http://a.test/"], uids=["a"], policy=policy, look_up=lambda _: never.wait())
print(one.reason)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("timeout\n", "")


def test_a_retry_waits_for_the_look_up_that_is_under_way(server: HostileServer) -> None:
    asked = []

    def answer(name: str) -> list[str]:
        asked.append(name)
        time.sleep(0.5)
        return ["127.0.0.1"]

    [got] = _fetch([f"http://slow.test:{server.port}/x"], answer, timeout=0.35, retries=2)
    assert (got.content, asked) == (BODY, ["slow.test"])


def test_the_look_up_is_within_the_deadline(server: HostileServer) -> None:
    async def hang(_: Request) -> None:
        await asyncio.sleep(3)

    server.routes["/hang"] = hang

    def answer(_: str) -> list[str]:
        time.sleep(0.7)
        return ["127.0.0.1"]

    began = time.monotonic()
    [got] = _fetch([f"http://slow.test:{server.port}/hang"], answer, timeout=1.0)
    assert (got.reason, got.detail) == (DropReason.TIMEOUT, "1 s")
    assert 1.0 <= time.monotonic() - began < 1.6


def test_threads_are_bounded_and_what_waits_for_one_gets_it(ended: threading.Event) -> None:
    def answer(name: str) -> list[str]:
        ended.wait()
        return [f"192.0.2.{name}"]

    async def ask() -> list[str]:
        held = Names(answer, concurrency=2)
        tasks = [
            asyncio.create_task(held.addresses(str(i), seconds=30)) for i in range(20) for _ in "ab"
        ]
        await asyncio.sleep(0.1)
        assert len(_threads()) == 8
        ended.set()
        try:
            return await asyncio.gather(*tasks)
        finally:
            held.close()

    assert asyncio.run(ask()) == [f"192.0.2.{i}" for i in range(20) for _ in "ab"]


def test_after_the_end_no_look_up_begins(ended: threading.Event) -> None:
    asked = []

    def answer(name: str) -> list[str]:
        asked.append(name)
        ended.wait()
        return []

    async def ask() -> None:
        held = Names(answer, concurrency=1)
        for i in range(20):
            with pytest.raises(TimeoutError):
                await held.addresses(str(i), seconds=0.001)
        held.close()

    asyncio.run(ask())
    assert len(_threads()) == 4
    ended.set()
    _wait_until(lambda: not _threads())
    assert sorted(asked) == ["0", "1", "2", "3"]


# What comes of a look-up.


def test_an_answer_is_kept_and_shared(server: HostileServer) -> None:
    asked: Counter[str] = Counter()

    def answer(name: str) -> list[str]:
        asked[name] += 1
        return ["127.0.0.1"]

    hosts = ["a.test", "b.test", "A.test"] * 20
    got = _fetch([f"http://{host}:{server.port}/x" for host in hosts], answer, concurrency=16)
    assert {one.content for one in got} == {BODY}
    assert asked == {"a.test": 1, "b.test": 1}


def test_a_name_is_asked_for_again_once_its_answer_is_old(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came last counts, also where libcurl had another before: rebinding ends at the dial."""
    monkeypatch.setattr(names, "_SECONDS_KEPT", 0)
    answers = iter([["127.0.0.1"], ["10.0.0.9"], ["127.0.0.1"]])
    urls = [f"http://rebound.test:{server.port}/x"] * 3
    got = _fetch(urls, lambda _: next(answers), concurrency=1)
    assert [one.content for one in got] == [BODY, b"", BODY]
    assert (got[1].reason, got[1].detail) == (
        DropReason.FORBIDDEN_ADDRESS,
        "10.0.0.9 is not a public address",
    )
    assert server.connections == 2


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1", "127.0.0.1"], ["10.0.0.1", "::ffff:10.0.0.1", "127.0.0.1", "::1"],
     ["10.0.0.1"] * 3000 + ["127.0.0.1"]],
)  # fmt: skip
@pytest.mark.parametrize("host", ["many.test", "many.test.", "under_score.test"])
def test_the_addresses_of_a_name_are_tried_in_turn(
    server: HostileServer, addresses: list[str], host: str
) -> None:
    [got] = _fetch([f"http://{host}:{server.port}/x"], lambda _: addresses)
    assert got == Fetched(0, content=BODY)


def test_addresses_are_for_any_port(server: HostileServer) -> None:
    asked = []

    def answer(name: str) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"]

    with serving(HostileServer(otherwise=server.otherwise)) as other:
        urls = [f"http://a.test:{port}/x" for port in (server.port, other.port)]
        got = _fetch(urls, answer, concurrency=1)
    assert [one.content for one in got] == [BODY, BODY]
    assert (server.connections, other.connections, asked) == (1, 1, ["a.test"])


@pytest.mark.parametrize(
    "url", ["http://{}:1/x", "http://127.1:1/x", "http://x.localhost:1/x", "http://a.onion/"]
)
def test_what_is_no_name_is_not_looked_up(server: HostileServer, url: str) -> None:
    def answer(name: str) -> list[str]:
        raise AssertionError(name)

    hosts = ("127.0.0.1", "[::1]", "10.0.0.1") if "{}" in url else ("",)
    got = _fetch([url.format(host) for host in hosts], answer, connect_to={"x.test": "10.0.0.1:1"})
    expected = {DropReason.REFUSED, DropReason.FORBIDDEN_ADDRESS, DropReason.DNS}
    assert {one.reason for one in got} <= expected


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL])
def test_a_name_without_an_address(number: int) -> None:
    asked = []

    def answer(name: str) -> list[str]:
        asked.append(name)
        raise socket.gaierror(number, "no")

    [got] = _fetch(["http://Nobody.test/x"], answer, retries=1)
    assert got == Fetched(0, reason=DropReason.DNS, detail="nobody.test")
    assert asked == ["nobody.test"] * 2, "a failure is not kept"


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "files"), MemoryError(), ZeroDivisionError()]
)
def test_a_fault_of_the_machine_or_a_bug_ends_the_fetch(error: Exception) -> None:
    def answer(_: str) -> list[str]:
        raise error

    with pytest.raises(type(error)):
        _fetch(["http://a.test/x"] * 5, answer)


def test_without_a_thread_to_start_no_url_is_to_blame() -> None:
    script = """
import re, resource
from pathlib import Path
from curate.machine import faults_named
from curate.web.fetch import FetchPolicy, fetch
before = resource.getrlimit(resource.RLIMIT_AS)
def limited():
    taken = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (taken + (6 << 20), before[1]))
class Urls(list):  # the fetch's own thread has started once the first is read
    def __getitem__(self, index):
        limited()
        return super().__getitem__(index)
try:
    with faults_named("download of part 3"):
        list(fetch(Urls(["http://a.test/"]), uids=["a"], policy=FetchPolicy()))
except Exception as error:
    resource.setrlimit(resource.RLIMIT_AS, before)
    print(error)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == (
        "download of part 3: Resource temporarily unavailable: raise the limit of processes"
        " (ulimit -u) or lower download.concurrency; the same command then goes on\n"
    ), done.stderr


# The system's resolver.


def test_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(look_up("localhost")) <= {"127.0.0.1", "::1"}
    assert look_up("127.0.0.1") == ["127.0.0.1"]
    with pytest.raises(socket.gaierror):
        look_up("a" * 64 + ".test")
    monkeypatch.setattr(names, "_family", lambda: socket.AF_INET)
    assert look_up("localhost") == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (socket.gaierror(socket.EAI_MEMORY, ""), MemoryError),
        (socket.gaierror(socket.EAI_AGAIN, ""), socket.gaierror),
        (OSError(errno.ENOMEM, ""), OSError),
        (OSError(errno.EBUSY, ""), socket.gaierror),
    ],
)
def test_what_the_system_says(
    raised: OSError, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(expected) as got:
        look_up("a.test")
    assert got.type is expected


def test_without_sockets_for_it_nobody_is_asked_for_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([errno.EMFILE, errno.EAFNOSUPPORT])

    def fail(*_: object) -> None:
        raise OSError(next(numbers), "no")

    names._family.cache_clear()
    monkeypatch.setattr(socket, "socket", fail)
    with pytest.raises(OSError, match="no") as raised:
        names._family()
    assert raised.value.errno == errno.EMFILE
    assert names._family() == socket.AF_INET
    names._family.cache_clear()
