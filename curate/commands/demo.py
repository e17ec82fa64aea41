"""The demo's web server on a loopback port, with redirects, errors and opt-outs.

The pool's URLs have the hosts ``pictures.example`` and ``gone.example``; `serve` maps these to the
server (`download.connect_to`), so URLs and uids are the same in every run.

    /images/NAME       the picture                /cut/NAME           the first half of its bytes
    /moved/NAME        302 to the picture         /mislabelled/NAME   a PDF called image/jpeg
    /copies/NAME       the same bytes elsewhere   /icons/NAME         16 x 16 pixels
    /missing/NAME      404                        /reserved/NAME      X-Robots-Tag: noai
    /soft-404/NAME     a page, with status 200    gone.example        nothing listens
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from curate import files
from curate.config import Config
from curate.config import file as config_file

_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_PAGE = b"<!DOCTYPE html><html><body><h1>Sorry, this picture has moved</h1></body></html>"
_PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"


@lru_cache
def _icon() -> bytes:
    import cv2
    import numpy as np

    pixels = np.full((16, 16, 3), 200, np.uint8)
    pixels[4:12, 4:12] = (60, 120, 30)
    return bytes(cv2.imencode(".png", pixels)[1])


class _Pictures(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    images: Path

    def do_GET(self) -> None:
        folder, _, name = urlsplit(self.path).path.strip("/").partition("/")
        path = self.images / Path(name).name
        headers = {}
        status, kind = 200, _TYPES.get(path.suffix, "application/octet-stream")
        body = path.read_bytes() if path.is_file() else b""
        if folder == "missing" or not body:
            status, body, kind = 404, b"not found", "text/plain"
        elif folder == "moved":
            status, body, headers["Location"] = 302, b"", f"/images/{path.name}"
        elif folder == "soft-404":
            body, kind = _PAGE, "text/html"
        elif folder == "cut":
            body = body[: len(body) // 2]
        elif folder == "mislabelled":
            body, kind = _PDF, "image/jpeg"
        elif folder == "icons":
            body, kind = _icon(), "image/png"
        elif folder == "reserved":
            headers["X-Robots-Tag"] = "noai"
        self.send_response(status)
        for key, value in {
            **headers,
            "Content-Type": kind,
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No log: the ledger has the outcome of each request."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """No traceback for a client that disconnects, as after Ctrl-C."""


@contextmanager
def serve() -> Iterator[dict[str, str]]:
    """Serve the demo's pictures while the block runs; HOST: ADDRESS:PORT of its two hosts."""
    handler = type(
        "Pictures", (_Pictures,), {"images": files.shipped("pipelines/demo/pool/images")}
    )
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="pictures").start()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        try:
            yield {
                "pictures.example": f"127.0.0.1:{server.server_port}",
                "gone.example": f"127.0.0.1:{closed.getsockname()[1]}",
            }
        finally:
            server.shutdown()
            server.server_close()


def demo_config(addresses: dict[str, str], *, out: str, overrides: tuple[str, ...] = ()) -> Config:
    """The configuration in ``pipelines/demo.yaml``, connected to the demo's server."""
    config = config_file.load(
        str(files.shipped("pipelines/demo.yaml")), overrides=overrides, out=out
    )
    download = config.download.model_copy(update={"connect_to": addresses})
    return config.model_copy(update={"download": download})
