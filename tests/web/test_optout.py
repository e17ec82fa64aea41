"""robots.txt and opt-out lists, against a server on 127.0.0.1."""

import time
import tracemalloc
from pathlib import Path
from urllib.robotparser import RobotFileParser

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego
from yarl import URL

from curate.errors import CurateError
from curate.reasons import DropReason
from curate.web import hosts
from curate.web.fetch import Fetched, FetchPolicy, fetch, request_url
from curate.web.optout import AGENT, OptOutList, read_list
from curate.web.robots import ROBOTS_BYTES, RobotsCache, RobotsRules
from tests.web.hostile import HostileServer, Request, Route, serving

BODY = b"\xff\xd8\xff" + bytes(range(256))
HOSTS = ("a.test", "b.test")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "BACKOFF", 0.01)


def replies(status: int = 200, body: bytes | str = BODY, *headers: str) -> Route:
    content = body.encode() if isinstance(body, str) else body
    return lambda request: request.reply(status, content, *headers)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port of a server may have been that of another test's."""
    monkeypatch.setattr("curate.web.fetch.ROBOTS", RobotsCache[bytes]())


def fetch_all(server: HostileServer, *urls: str, **options: object) -> list[Fetched]:
    policy = FetchPolicy(
        timeout=10,
        connect_to=dict.fromkeys(HOSTS, f"127.0.0.1:{server.port}"),
        **options,  # type: ignore[arg-type]
    )
    return sorted(fetch(urls, uids=urls, policy=policy), key=lambda one: one.index)


def test_robots_txt_is_read_once_a_host_and_before_all_else() -> None:
    rules = (
        "User-agent: *\nDisallow: /private\nUser-agent: curate\nDisallow: /art\nAllow: /art/free"
    )
    server = HostileServer({"/robots.txt": replies(200, rules)})
    paths = ["/art/x", "/art/free/x", "/private/x", "/x"]
    for path in paths:
        server.routes[path] = replies()
    with serving(server):
        got = fetch_all(server, *(f"http://a.test{path}" for path in paths * 5), robots=True)
    assert [(one.reason, one.detail) for one in got] == [
        (DropReason.OPTED_OUT, "robots.txt"), (None, ""), (None, ""), (None, ""),
    ] * 5  # fmt: skip
    assert server.requests == {"/robots.txt": 1, "/art/free/x": 5, "/private/x": 5, "/x": 5}
    assert server.seen[0].path == "/robots.txt"


def test_robots_txt_is_asked_for_once_for_all_parts_of_a_process() -> None:
    server = HostileServer({"/robots.txt": replies(200, "User-agent: *\nDisallow: /art")})
    server.routes |= {"/art": replies(), "/x": replies()}
    urls = ("http://a.test/art", "http://a.test/x")
    with serving(server):
        for part in range(3):
            got = fetch_all(server, *urls, robots=True)
            assert [one.reason for one in got] == [DropReason.OPTED_OUT, None]
            assert server.requests == {"/robots.txt": 1, "/x": part + 1}
        fetch_all(server, *urls, robots=True, user_agent="another")
        assert server.requests["/robots.txt"] == 2  # what one may, another may not
        fetch_all(server, "http://b.test/x", robots=True)
        assert server.requests["/robots.txt"] == 3


def test_that_there_is_no_robots_txt_is_kept_and_that_it_cannot_be_had_is_not() -> None:
    server = HostileServer({"/robots.txt": replies(404), "/x": replies()})
    with serving(server):
        for _ in range(2):
            assert fetch_all(server, "http://a.test/x", robots=True)[0].reason is None
        assert server.requests == {"/robots.txt": 1, "/x": 2}
        server.routes["/robots.txt"] = replies(503)
        for asked in (2, 3):
            got = fetch_all(server, "http://b.test/x", robots=True, retries=0)
            assert got[0].reason is DropReason.HTTP_5XX
            assert server.requests == {"/robots.txt": asked, "/x": 2}
        server.routes["/robots.txt"] = replies(404)
        assert fetch_all(server, "http://b.test/x", robots=True)[0].reason is None


def test_kept_files_grow_old() -> None:
    now = [1_000.0]
    cache = RobotsCache[bytes](seconds=60, clock=lambda: now[0])
    cache.put("a", b"rules", size=5)
    now[0] += 60
    assert cache.get("a") == b"rules"
    now[0] += 1
    assert cache.get("a") is None
    cache.put("a", b"", size=0)
    assert cache.get("a") == b""


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3_000)), max_size=60))
def test_kept_files_are_those_used_last_and_take_no_more_than_their_room(
    steps: list[tuple[int, bool, int]],
) -> None:
    cache = RobotsCache[bytes](max_bytes=8_000)
    used: dict[str, bytes] = {}  # the one used last stands last
    for number, put, size in steps:
        name = str(number)
        if put:
            used.pop(name, None)
            used[name] = bytes(size)
            cache.put(name, used[name], size=size)
        elif name in used:
            used[name] = used.pop(name)
        while sum(500 + len(x) for x in used.values()) > 8_000:
            del used[next(iter(used))]
        if not put:
            assert cache.get(name) == used.get(name)
    for name in used:
        assert cache.get(name) == used[name]


def lines(*pieces: str) -> bytes:
    return "\n".join(pieces).encode()[:ROBOTS_BYTES]


LONG_ROBOTS = {
    "rules": lines("User-agent: *", *(f"Disallow: /{i:x}" for i in range(40_000))),
    "agents with rules": lines(
        *(f"User-agent: a{i:x}" for i in range(20_000)), *(f"Allow: /{i:x}" for i in range(40_000))
    ),
    "all that stand for us": lines(
        *("User-agent: " + AGENT[:i] for i in range(1, 7)), *(f"Allow: /{i:x}" for i in range(50_000))
    ),
    "ends": lines("User-agent: *", *(f"Allow: /{i:x}$" for i in range(60_000))),
    "stars": lines("User-agent: *", *(f"Allow: /*{i:x}*" for i in range(60_000))),
    "a long line": lines("User-agent: *", "Disallow: /" + "*a" * 300_000),
    "empty lines": b"\n" * ROBOTS_BYTES,
}  # fmt: skip


@pytest.mark.parametrize("case", LONG_ROBOTS)
def test_no_robots_txt_takes_more_memory_than_it_is_counted_for(case: str) -> None:
    tracemalloc.start()
    rules = RobotsRules(LONG_ROBOTS[case])
    rules.permit(URL("http://a.test/x.jpg"))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < rules.size <= 40_000_000
    assert peak < 60_000_000


@given(st.lists(st.sampled_from(
    ["User-agent: *", "user agent curate", "Useragent:CUR*", "User-agent: other # x", "User-agent:",
     "USER-AGENT : a", "Disallow: /", "Disallow: /x", "Allow: /x/y", "Sitemap: z", "", "junk", "j: k"]
), max_size=12))  # fmt: skip
def test_the_other_agents_of_a_robots_txt_change_nothing(lines: list[str]) -> None:
    content = "\n".join(lines)
    whole, ours = Protego.parse(content), RobotsRules(content.encode())
    for path in ("/", "/x", "/x/y", "/z"):
        url = f"http://a.test{path}"
        assert ours.permit(URL(url)) is whole.can_fetch(url, "curate")


def test_the_first_part_of_a_long_robots_txt_holds() -> None:
    rules = "User-agent: *\nDisallow: /art\n" + "#" * 600_000
    server = HostileServer({"/robots.txt": replies(200, rules)}, otherwise=replies())
    with serving(server):
        got = fetch_all(server, "http://a.test/art/x", "http://a.test/x", robots=True)
    assert [one.reason for one in got] == [DropReason.OPTED_OUT, None]
    assert server.requests["/robots.txt"] == 1


def test_without_robots_nobody_asks_for_it() -> None:
    server = HostileServer({"/robots.txt": replies(200, "User-agent: *\nDisallow: /")})
    server.routes["/x"] = replies()
    with serving(server):
        [got] = fetch_all(server, "http://a.test/x", robots=False)
    assert got.content == BODY
    assert server.requests == {"/x": 1}


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, None), (204, None), (401, None), (403, None), (404, None), (410, None),
     (429, DropReason.HTTP_429), (500, DropReason.HTTP_5XX), (503, DropReason.HTTP_5XX)],
)  # fmt: skip
def test_a_robots_txt_that_is_not_there(status: int, reason: DropReason | None) -> None:
    """RFC 9309, section 2.3.1: what is missing forbids nothing, what cannot be had everything."""
    server = HostileServer({"/robots.txt": replies(status, b""), "/x": replies()})
    with serving(server):
        got = fetch_all(server, *["http://a.test/x"] * 3, robots=True, retries=1)
    assert [one.reason for one in got] == [reason] * 3
    assert server.requests["/x"] == (0 if reason else 3)
    assert server.requests["/robots.txt"] == (2 if reason else 1)
    if reason:
        assert {one.detail for one in got} == {f"robots.txt: {status}"}


def test_a_robots_txt_that_moved() -> None:
    server = HostileServer({"/robots.txt": replies(301, b"", "Location: http://b.test/rules")})
    server.routes["/rules"] = replies(200, "User-agent: *\nDisallow: /x")
    server.routes["/x"] = server.routes["/y"] = replies()
    with serving(server):
        got = fetch_all(server, "http://a.test/x", "http://a.test/y", robots=True)
    assert [one.reason for one in got] == [DropReason.OPTED_OUT, None]


def test_the_robots_txt_of_where_a_redirect_leads() -> None:
    async def rules(request: Request) -> object:
        ours = request.headers["host"] == "b.test"
        await request.reply(200, b"User-agent: *\nDisallow: /x" if ours else b"")
        return None

    server = HostileServer({"/robots.txt": rules, "/x": replies()})
    server.routes["/hop"] = replies(302, b"", "Location: http://b.test/x")
    with serving(server):
        got = fetch_all(server, "http://a.test/hop", "http://a.test/x", robots=True)
    assert [(one.reason, one.detail) for one in got] == [
        (DropReason.OPTED_OUT, "robots.txt"), (None, ""),
    ]  # fmt: skip
    assert server.requests["/x"] == 1


def test_a_robots_txt_without_end_is_read_to_its_limit() -> None:
    async def endless(request: Request) -> object:
        await request.send(b"HTTP/1.1 200 OK\r\n\r\nUser-agent: *\nDisallow: /x\n")
        while True:
            await request.send(b"# " + b"x" * 9998)

    server = HostileServer({"/robots.txt": endless, "/y": replies()})
    with serving(server):
        got = fetch_all(server, "http://a.test/x", "http://a.test/y", robots=True)
    assert [one.reason for one in got] == [DropReason.OPTED_OUT, None]
    assert server.sent["/robots.txt"] < 12e6


@given(
    rules=st.lists(
        st.tuples(st.sampled_from(["Allow", "Disallow"]), st.text("ab/", min_size=1, max_size=4)),
        max_size=4,
    ),
    path=st.text("ab/", max_size=5),
)
def test_plain_rules_are_those_of_the_standard_library(
    rules: list[tuple[str, str]], path: str
) -> None:
    """The library takes the first rule that fits, RFC 9309 the longest: so in that order."""
    prefixes = {"/" + prefix.lstrip("/"): kind for kind, prefix in rules}
    ordered = sorted(prefixes.items(), key=lambda rule: -len(rule[0]))
    lines = ["User-agent: curate", *(f"{kind}: {prefix}" for prefix, kind in ordered)]
    reference = RobotFileParser()
    reference.parse(lines)
    url = "http://a.test/" + path.lstrip("/")
    ours = RobotsRules("\n".join(lines).encode()).permit(URL(url))
    assert ours == reference.can_fetch("curate", url)


def test_rules_that_would_take_a_backtracking_matcher_for_ever() -> None:
    rules = RobotsRules(b"User-agent: *\nDisallow: /" + b"*a" * 30 + b"*b$")
    start = time.monotonic()
    assert rules.permit(URL("http://a.test/" + "a" * 2000))
    assert time.monotonic() - start < 5


@given(st.binary(max_size=60))
def test_any_bytes_are_rules(content: bytes) -> None:
    RobotsRules(content).permit(URL("http://a.test/x"))


def listed(*lines: str) -> OptOutList:
    return OptOutList(pa.array(lines, pa.large_string()))


@pytest.mark.parametrize(
    ("line", "url", "covered"),
    [
        ("example.org", "http://example.org/x", True),
        ("example.org", "https://EXAMPLE.org:8443/x", True),
        ("example.org", "http://a.b.example.org./x", True),
        ("example.org", "http://badexample.org/x", False),
        ("example.org", "http://example.org.test/x", False),
        ("a.example.org", "http://example.org/x", False),
        (" *.Example.ORG. ", "http://a.example.org/x", True),
        (".example.org", "http://example.org/x", True),
        ("org", "http://example.org/x", True),
        ("http://example.org/x.jpg", "http://example.org/x.jpg", True),
        ("http://example.org/x.jpg", "http://example.org/x.jpg#top", True),
        ("http://example.org/x.jpg", "https://example.org/x.jpg", False),
        ("http://example.org/x.jpg", "http://example.org/x.jpg?w=2", False),
        ("http://EXAMPLE.org:80/é.jpg", "http://example.org/%C3%A9.jpg", True),
        ("http://example.org", "http://example.org/", True),
        ("http://example.org", "http://example.org/x", False),
        ("例え.jp", "http://例え.jp/x", True),
        ("*.例え.JP.", "http://a.xn--r8jz45g.jp/x", True),
        ("xn--r8jz45g.jp", "http://例え.jp/x", True),
        ("BÜCHER.example", "http://www.bücher.example/x", True),
        ("http://例え.jp/é", "http://xn--r8jz45g.jp/%C3%A9", True),
        ("\ufeffexample.org", "http://example.org/x", True),
        ("[2001:DB8::1]", "http://[2001:db8::1]/x", True),
        ("10.0.0.1", "http://10.0.0.1/x", True),
        ("# example.org", "http://example.org/x", False),
        ("", "http://example.org/x", False),
    ],
)
def test_what_a_line_covers(line: str, url: str, *, covered: bool) -> None:
    asked = request_url(url)
    assert bool(listed(line).entry(asked)) is covered
    assert not listed().entry(asked)


@pytest.mark.parametrize(
    "line", ["example.com/", "example.net:8080", "a b.example", "ftp://a.example/x", "http:///x",
             "a..b", "*", "me@a.example", "https://", f"{'a' * 64}.example", "a.example # mine",
             "::1::"]
)  # fmt: skip
def test_a_line_that_would_cover_nothing_is_an_error(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"# mine\na.test\n\nhttp://b.test/\n {line}\nc.test\n")
    with pytest.raises(CurateError) as error:
        read_list(str(path))
    assert str(error.value) == (
        f"{path}:5: {line!r}: expected a host, such as example.org, which its subdomains belong to,"
        " or a URL that begins with http:// or https://"
    )


def test_a_list_is_heeded_after_a_redirect_too(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# mine\r\nb.test\r\n\r\nhttp://a.test/y\n")
    server = HostileServer({"/x": replies(), "/y": replies()})
    server.routes["/hop"] = replies(302, b"", "Location: http://b.test/x")
    urls = ["http://a.test/x", "http://a.test/y", "http://b.test/x", "http://a.test/hop"]
    with serving(server):
        got = fetch_all(server, *urls, opt_out_list=str(tmp_path / "list.txt"), robots=True)
    assert [(one.reason, one.detail) for one in got] == [
        (None, ""),
        (DropReason.OPTED_OUT, "list: http://a.test/y"),
        (DropReason.OPTED_OUT, "list: b.test"),
        (DropReason.OPTED_OUT, "list: b.test"),
    ]
    assert server.requests == {"/robots.txt": 1, "/x": 1, "/hop": 1}


def test_a_list_is_read_anew_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.test")
    first = read_list(str(path))
    assert (len(first), read_list(str(path))) == (1, first)
    path.write_text("a.test\nb.test\na.test\n")
    assert len(read_list(str(path))) == 2


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "list.gz"
    path.write_bytes(b"\x1f\x8b\xff\xfe")
    with pytest.raises(
        CurateError, match=r"list.gz: it is not packed, though its name ends in .gz"
    ):
        read_list(str(path))


def test_a_long_list_takes_eight_bytes_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("".join(f"host{i}.example\n" for i in range(200_000)))
    found = read_list(str(path))
    assert found._hashes.nbytes == 8 * len(found) == 1_600_000
    assert found._hashes.dtype == np.uint64
    for i in (0, 100_000, 199_999):
        assert found.entry(URL(f"http://www.host{i}.example/x")) == f"host{i}.example"
    assert found.entry(URL("http://host200000.example/x")) is None


def test_the_user_agent_names_the_project_and_whom_to_ask() -> None:
    server = HostileServer({"/x": replies()})
    with serving(server):
        fetch_all(server, "http://a.test/x", user_agent="curate/1", contact="me@example.org")
    assert server.seen[0].headers["user-agent"] == "curate/1 (me@example.org)"
