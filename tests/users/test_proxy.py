"""Fetching through the only way out; every server here is on 127.0.0.1."""

import asyncio
import base64
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trustme

from curate.errors import CurateError
from curate.reasons import DropReason
from curate.web import hosts
from curate.web.fetch import Fetched, FetchPolicy, fetch
from tests.e2e.conftest import Command
from tests.web.hostile import HostileServer, Request, serving

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
IMAGE = bytes(cv2.imencode(".jpg", PIXELS)[1].tobytes())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "BACKOFF", 0.01)


async def sends_image(request: Request) -> object:
    if request.path.endswith("/robots.txt"):
        await request.reply(200, b"User-agent: *\nDisallow: /private")
    else:
        await request.reply(200, IMAGE)
    return None


@dataclass
class Proxy(HostileServer):
    """Answers requests for http itself, and tunnels CONNECT to `behind`; with `user`, to it alone."""

    behind: int = 0
    user: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split(" ")
        given = f"Proxy-Authorization: Basic {base64.b64encode(self.user.encode()).decode()}"
        self.requests[path] += 1
        if self.user and given not in head:
            writer.write(
                b"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
            )
        elif method == "CONNECT" and path.startswith("refused"):
            writer.write(b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n")
        elif method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n")
            there, back = await asyncio.open_connection("127.0.0.1", self.behind)
            await asyncio.wait(
                [
                    asyncio.ensure_future(pump(reader, back)),
                    asyncio.ensure_future(pump(there, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            back.close()
        else:
            await sends_image(Request(path, {}, writer, self, 1))
        await writer.drain()
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1 << 16):
        writer.write(chunk)
        await writer.drain()


def fetched(proxy: str, *urls: str, **options: object) -> list[Fetched]:
    policy = FetchPolicy(proxy=proxy, timeout=10.0, retries=0, **options)  # type: ignore[arg-type]
    return sorted(fetch(urls, uids=urls, policy=policy), key=lambda one: one.index)


@pytest.mark.parametrize("user", ["", "me:s3cret"])
def test_all_goes_through_the_proxy_robots_txt_too(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("safe.test").configure_cert(context)
    origin = HostileServer(otherwise=sends_image)
    own = HostileServer(otherwise=sends_image)
    with (
        serving(origin, tls=context),
        serving(own),
        serving(Proxy(behind=origin.port, user=user)) as proxy,
    ):
        got = fetched(
            f"http://{user + '@' if user else ''}127.0.0.1:{proxy.port}",
            "http://plain.test/a.jpg", "http://plain.test/private/b.jpg", "https://safe.test/c.jpg",
            "http://127.0.0.1/d.jpg", "http://10.0.0.1:8080/e.jpg", "http://localhost/f.jpg",
            "https://refused.test/g.jpg", "http://own.test/h.jpg",
            robots=True, connect_to={"own.test": f"127.0.0.1:{own.port}"},
        )  # fmt: skip
    refused = DropReason.FORBIDDEN_ADDRESS
    assert [one.reason for one in got] == [
        None, DropReason.OPTED_OUT, None, refused, refused, refused, DropReason.REFUSED, None
    ]  # fmt: skip
    assert got[6].detail.endswith("the proxy answers 502")
    assert {one.content for one in got if one.reason is None} == {IMAGE}
    assert origin.requests == {"/robots.txt": 1, "/c.jpg": 1}
    assert own.requests == {"/robots.txt": 1, "/h.jpg": 1}
    assert proxy.requests["http://plain.test/a.jpg"] == 1
    assert proxy.requests["http://plain.test/robots.txt"] == 1
    assert "http://plain.test/private/b.jpg" not in proxy.requests


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_cannot_be_used_is_no_fault_of_the_urls(scheme: str) -> None:
    url = f"{scheme}://plain.test/a.jpg"
    with serving(Proxy(user="me:s3cret")) as proxy:
        with pytest.raises(CurateError, match="asks for a user and password") as caught:
            fetched(f"http://me:wr0ng@127.0.0.1:{proxy.port}", url)
        assert "wr0ng" not in str(caught.value)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(CurateError, match=f"download.proxy http://127.0.0.1:{port}: .*onnect"):
        fetched(f"http://me:s3cret@127.0.0.1:{port}", url)


def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    own = HostileServer(otherwise=sends_image)
    with serving(own), serving(Proxy()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        [got] = fetched("", "http://own.test/", connect_to={"own.test": f"127.0.0.1:{own.port}"})
    assert got.reason is None
    assert not proxy.requests


def test_the_password_is_not_written_into_the_run(tmp_path: Path, curate: Command) -> None:
    urls = [f"http://plain.test/{i}.jpg" for i in range(3)]
    captions = [f"a red fox, number {i}" for i in range(3)]
    pq.write_table(pa.table({"url": urls, "caption": captions}), tmp_path / "pool.parquet")
    (tmp_path / "c.yaml").write_text("input: {paths: pool.parquet}\ndedup: {enabled: false}\n")
    with serving(Proxy(user="me:s3cret")) as proxy:
        run = ("run", "c.yaml", "--out", "run")
        where = f"127.0.0.1:{proxy.port}"
        set_ = ("--set", f"download.proxy=http://me:s3cret@{where}")
        refused = curate(*run, "--set", f"download.proxy=http://me:wr0ng@{where}", cwd=tmp_path)
        done = curate(*run, *set_, cwd=tmp_path)
    assert refused.returncode == 1
    assert "asks for a user and password" in refused.stderr
    assert done.returncode == 0, done.stderr
    odd = curate(*run, "--set", "download.proxy=http://me:s3cret@127.0.0.1", cwd=tmp_path)
    assert "expected http://HOST:PORT" in odd.stderr
    said = refused.stdout + refused.stderr + done.stdout + done.stderr + odd.stderr
    assert "s3cret" not in said
    assert "wr0ng" not in said
    assert f"proxy: http://{where}" in (tmp_path / "run/config.yaml").read_text()
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes()
