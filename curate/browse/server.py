"""The server of the page, on a port of this machine alone."""

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files as of_package
from typing import TYPE_CHECKING

from curate.browse.answers import LONGEST, ORDERS, QUESTIONS, Answer, Asked, answered
from curate.browse.guard import Guard
from curate.browse.opened import Shelf
from curate.errors import CurateError

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


def serve(
    urls: Sequence[str], *, port: int, opens: bool, selections: str, say: Callable[[str], None]
) -> None:
    """Serve the page over runs until the process is told to stop; `say` is given its link.

    Raises
    ------
    CurateError
        Where a run cannot be read, or the port is taken.
    """
    with listening(urls, port=port, selections=selections) as (link, answer):
        say(link)
        if opens:
            threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()
        answer.run()


@dataclass(frozen=True)
class Answering:
    """A server that listens already."""

    server: "uvicorn.Server"
    socket: socket.socket

    def run(self) -> None:
        """Answer until the process is told to stop, or the server is (`should_exit`)."""
        self.server.run(sockets=[self.socket])


@contextmanager
def listening(
    urls: Sequence[str], *, port: int, selections: str
) -> Iterator[tuple[str, Answering]]:
    """The link to a page over runs, and the server that is to answer to it."""
    import uvicorn

    shelf = Shelf(urls)
    shelf.state()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # asyncio does it only of sockets that name TCP: an answer's body waited 40 ms for its headers.
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            held.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise CurateError(f"--port {port}: {error}; leave --port out for a free one") from None
        held.listen(64)
        port = held.getsockname()[1]
        token = secrets.token_urlsafe(24)
        config = uvicorn.Config(
            Guard(application(shelf, selections=selections), token, port), log_level="critical",
            access_log=False, lifespan="off", ws="none", server_header=False,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        yield f"http://127.0.0.1:{port}/?token={token}", Answering(uvicorn.Server(config), held)


def application(shelf: Shelf, *, selections: str) -> "Starlette":
    """The application over some runs; `selections` is the folder that lists are saved to."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    static = {
        one.name: (one.read_bytes(), _TYPES[one.name.rpartition(".")[2]])
        for one in (of_package("curate.browse") / "static").iterdir()
        if one.name.rpartition(".")[2] in _TYPES
    }

    def shipped(request: Request) -> Response:
        found = static.get(request.path_params.get("name", "index.html"))
        return Response(found[0], media_type=found[1]) if found else Response(status_code=404)

    def route(path: str, answer: Answer, method: str) -> Route:
        async def replied(request: Request) -> Response:
            body = b""
            async for piece in request.stream():
                body += piece
                if len(body) > LONGEST:
                    return JSONResponse({"error": "the list is too long"}, status_code=413)
            fields = request.query_params.multi_items()
            asked = Asked(shelf, selections, fields, request.path_params, body)
            reply = await run_in_threadpool(answered, answer, asked)
            if not reply.content:
                return JSONResponse(reply.said, reply.status)
            kind = StreamingResponse if isinstance(reply.content, Iterator) else Response
            found: Response = kind(reply.content, reply.status, reply.headers, reply.kind)
            return found

        return Route(path, replied, methods=[method])

    return Starlette(
        routes=[
            Route("/", shipped),
            Route("/static/{name}", shipped),
            *(route(path, answer, "GET") for path, answer in QUESTIONS.items()),
            *(route(path, answer, "POST") for path, answer in ORDERS.items()),
        ]
    )
