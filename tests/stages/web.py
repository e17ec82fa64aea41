"""A web of two hosts on the loopback that does what real servers do, and counts what it is asked."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from tests.ops.images.doubles import ABORT, HANG
from tests.ops.images.pictures import pool, turned


def picture(width: int, height: int, ending: str = ".png") -> bytes:
    y, x, c = np.ogrid[:height, :width, :3]
    pixels = ((5 * x + 3 * y + 70 * c) % 256).astype(np.uint8)
    return bytes(cv2.imencode(ending, pixels)[1].tobytes())


PICTURES = {
    "wide.png": picture(120, 60),
    "tall.jpg": picture(50, 90, ".jpg"),
    "small.webp": picture(20, 30, ".webp"),
    "square.jpg": picture(64, 64, ".jpg"),
    "long.png": bytes(cv2.imencode(".png", np.zeros((70_000, 2, 3), np.uint8))[1].tobytes()),
    "moves.gif": pool()["animated gif"], "moves.webp": pool()["animated webp"],
    "print.jpg": pool()["cmyk jpeg"], "deep.png": pool()["16-bit png"],
    "profile.jpg": pool()["icc jpeg"], "turned.jpg": turned(6, "JPEG"),
    "palette.png": pool()["transparent palette png"],
}  # fmt: skip
TYPED = {
    "drawing": (200, b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
    "page": (200, b"<!doctype html><p>gone</p>"),
    "text": (200, b"just text"),
    "empty": (200, b""),
    "cut": (200, PICTURES["tall.jpg"][:400]),
    "broken": (200, PICTURES["wide.png"][:60] + bytes(200) + b"IEND\xaeB`\x82"),
    "pixels": (200, picture(300, 200)),
    "large": (200, bytes(100_001)),
    "aborts": (200, PICTURES["wide.png"] + ABORT), "hangs": (200, PICTURES["wide.png"] + HANG),
    "403": (403, b""), "404": (404, b""), "410": (410, b""), "429": (429, b""),
    "418": (418, b""), "503": (503, b""), "304": (304, b""),
}  # fmt: skip
MOVED = {"once": "/wide.png", "circle": "/circle", "inward": "http://10.1.2.3/a.png",
         "mail": "mailto:someone@x.example"}  # fmt: skip


class _Server(ThreadingHTTPServer):
    request_queue_size = 64


class _Web(BaseHTTPRequestHandler):
    hits: Counter[str]

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.hits[name] += 1
        if name == "slow":
            time.sleep(4)
        if name == "garbage":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
        if name in ("slow", "garbage", "silent"):
            return
        status, body = TYPED.get(name, (200, PICTURES.get(name, PICTURES["wide.png"])))
        self.send_response(302 if name in MOVED else status)
        if name in MOVED:
            self.send_header("Location", MOVED[name])
        if name == "reserved":
            self.send_header("X-Robots-Tag", "NoAI")
        if name == "for-others":
            self.send_header("X-Robots-Tag", "otherbot: noai")
        self.send_header("Content-Length", "0" if name in MOVED else str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if name in MOVED else body)

    def log_message(self, format: str, *args: object) -> None:
        """The tests count the hits."""


@dataclass(frozen=True)
class Web:
    """A server's requests by name, and the addresses of its hosts."""

    hits: Counter[str]
    addresses: dict[str, str]


@contextmanager
def serve() -> Iterator[Web]:
    """Serve x.example on a loopback port while the block runs; gone.example refuses."""
    hits: Counter[str] = Counter()
    server = _Server(("127.0.0.1", 0), type("Web", (_Web,), {"hits": hits}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        here, nobody = (
            f"127.0.0.1:{port}" for port in (server.server_port, closed.getsockname()[1])
        )
        try:
            yield Web(hits, {"x.example": here, "gone.example": nobody})
        finally:
            server.shutdown()
            server.server_close()
