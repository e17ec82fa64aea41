"""A server on 127.0.0.1 that does to its clients whatever a test wants, byte by byte."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Request:
    """A request as it came, and the way back."""

    path: str
    headers: dict[str, str]
    writer: asyncio.StreamWriter
    server: "HostileServer"
    nth: int  # of the requests for this path

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()
        self.server.sent[self.path] += len(content)

    async def reply(self, status: int = 200, body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
        await self.send("\r\n".join(lines).encode() + body)


Route = Callable[[Request], Awaitable[object]]


@dataclass
class HostileServer:
    """Routes by path; `requests` and `sent` (bytes) count what came and went."""

    routes: dict[str, Route] = field(default_factory=dict)
    otherwise: Route | None = None
    requests: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    seen: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                path = first.split(" ")[1]
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                self.requests[path] += 1
                request = Request(path, headers, writer, self, self.requests[path])
                self.seen.append(request)
                route = self.routes.get(path, self.otherwise)
                if route is None:
                    await request.reply(404)
                elif await route(request) is CLOSE:
                    break
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client hung up, or the test has ended
        finally:
            writer.close()


CLOSE = object()
"""What a route returns when the connection is to be closed after it."""


@contextmanager
def serving(server: HostileServer, *, tls: ssl.SSLContext | None = None) -> Iterator[HostileServer]:
    """Serve on a port of 127.0.0.1 from a thread while the block runs."""
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    async def everything() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        listener = await asyncio.start_server(
            server.serve, "127.0.0.1", 0, ssl=tls, backlog=1024, limit=1 << 20
        )
        server.port = listener.sockets[0].getsockname()[1]
        started.set()
        await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(everything()))
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        stop[0]()
        thread.join()
