"""The same answers over HTTP/1.1 and HTTP/2, from hypercorn on 127.0.0.1."""

import asyncio
import gzip
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycurl
import pytest
import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config

from curate.reasons import DropReason
from curate.web import hosts
from curate.web.fetch import Fetched, FetchPolicy, fetch

BODY = bytes(range(256)) * 999
ANSWERS: dict[str, tuple[int, list[tuple[bytes, bytes]], bytes]] = {
    "/ok": (200, [], BODY),
    "/packed": (200, [(b"content-encoding", b"gzip")], gzip.compress(BODY)),
    "/empty": (200, [], b""),
    "/large": (200, [], bytes(1_000_001)),
    "/stated": (200, [(b"content-length", b"1000001")], bytes(1_000_001)),
    "/moved": (302, [(b"location", b"/ok")], b""),
    "/loop": (302, [(b"location", b"/loop")], b""),
    "/inward": (302, [(b"location", b"http://169.254.169.254/")], b""),
    "/reserved": (200, [(b"x-robots-tag", b"NoAI")], BODY),
    "/tdm": (200, [(b"tdm-reservation", b"1")], BODY),
    "/gone": (410, [], bytes(300_000)),
    "/busy": (429, [(b"retry-after", b"0")], b""),
    "/ill": (503, [], b""),
    "/headers": (200, [(b"x", b"y" * 7000)] * 10, BODY),
    "/short": (200, [(b"content-length", b"99")], b"short"),
}
versions: Counter[str] = Counter()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    versions[scope["http_version"]] += 1
    status, headers, body = ANSWERS.get(scope["path"], (404, [], b""))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address and port of a server that speaks HTTP/2 to who asks for it, and HTTP/1.1 otherwise."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("site.test")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    for pem in issued.cert_chain_pems:
        pem.write_to_path(str(folder / "cert.pem"), append=True)
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    port = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile, config.keyfile = str(folder / "cert.pem"), str(folder / "key.pem")
    config.errorlog = None
    config.include_server_header = False
    ended = threading.Event()

    async def end() -> None:
        while not ended.is_set():
            await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serve(app, config, shutdown_trigger=end)))
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        patch.setattr(hosts, "BACKOFF", 0.01)
        yield f"127.0.0.1:{port}"
    ended.set()
    thread.join()


def outcomes(address: str, monkeypatch: pytest.MonkeyPatch, *, version: int) -> list[Fetched]:
    monkeypatch.setattr(pycurl, "CURL_HTTP_VERSION_2TLS", version)
    paths = [*ANSWERS, "/missing"]
    policy = FetchPolicy(
        timeout=10, retries=1, max_bytes=1_000_000, per_host=4, connect_to={"site.test": address},
        opt_out=("noai", "tdm-reservation"),
    )  # fmt: skip
    urls = [f"https://site.test{path}" for path in paths]
    return sorted(fetch(urls, uids=paths, policy=policy), key=lambda one: one.index)


def test_the_outcomes_are_those_of_http_1(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = pycurl.CURL_HTTP_VERSION_2TLS
    versions.clear()
    old = outcomes(address, monkeypatch, version=pycurl.CURL_HTTP_VERSION_1_1)
    assert set(versions) == {"1.1"}
    versions.clear()
    new = outcomes(address, monkeypatch, version=newer)
    assert set(versions) == {"2"}
    reasons = [one.reason for one in new]
    expected = [
        None, None, DropReason.EMPTY_BODY, DropReason.TOO_LARGE, DropReason.TOO_LARGE, None,
        DropReason.REDIRECTS, DropReason.FORBIDDEN_ADDRESS, DropReason.OPTED_OUT,
        DropReason.OPTED_OUT, DropReason.HTTP_410, DropReason.HTTP_429, DropReason.HTTP_5XX,
        None, DropReason.PROTOCOL, DropReason.HTTP_404,
    ]  # fmt: skip
    assert reasons == expected
    assert [one.reason for one in old] == expected
    assert [one.content for one in old] == [one.content for one in new]
    assert {one.content for one in new} == {b"", BODY}


def test_many_requests_share_a_connection(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    class Curl(pycurl.Curl):
        def setopt(self, option: int, value: Any) -> None:
            def opening(*parts: Any) -> Any:
                opened.append(parts)
                return value(*parts)

            opens = option == pycurl.OPENSOCKETFUNCTION
            super().setopt(option, opening if opens else value)

    monkeypatch.setattr(pycurl, "Curl", Curl)
    policy = FetchPolicy(timeout=20, per_host=16, connect_to={"site.test": address})
    urls = ["https://site.test/ok"] * 64
    got = list(fetch(urls, uids=urls, policy=policy))
    assert all(one.content == BODY for one in got)
    assert len(opened) == 1
