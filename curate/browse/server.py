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
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from curate.browse.answers import routes

    static = {
        one.name: (one.read_bytes(), _TYPES[one.name.rpartition(".")[2]])
        for one in (of_package("curate.browse") / "static").iterdir()
        if one.name.rpartition(".")[2] in _TYPES
    }

    def shipped(request: Request) -> Response:
        found = static.get(request.path_params.get("name", "index.html"))
        return Response(found[0], media_type=found[1]) if found else Response(status_code=404)

    app = Starlette(
        routes=[Route("/", shipped), Route("/static/{name}", shipped), *routes()],
    )
    app.state.shelf, app.state.selections = shelf, selections
    return app
