"""A real web server on a loopback port: nginx, or Python's own where nginx is missing."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
NAME = "nginx" if NGINX else "python -m http.server (nginx is not installed)"

_CONFIG = """
daemon off; worker_processes 1; pid {state}/pid; error_log {state}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; types {{ image/jpeg jpg; }}
  client_body_temp_path {state}/a; proxy_temp_path {state}/b; fastcgi_temp_path {state}/c;
  uwsgi_temp_path {state}/d; scgi_temp_path {state}/e;
  server {{ listen 127.0.0.1:{port} backlog=2048; root {root}; }}
}}
"""


def _command(root: Path, state: Path, port: int) -> list[str]:
    if NGINX is None:
        serve = [sys.executable, "-m", "http.server", str(port)]
        return [*serve, "--bind", "127.0.0.1", "--directory", str(root), "--protocol", "HTTP/1.1"]
    config = state / "nginx.conf"
    config.write_text(_CONFIG.format(state=state, port=port, root=root))
    return [NGINX, "-c", str(config), "-e", str(state / "error.log")]


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve the files under `root` while the block runs; yields ``127.0.0.1:PORT``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as state:
        server = subprocess.Popen(
            _command(root, Path(state), port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait(port)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _wait(port: int) -> None:
    for _ in range(200):
        with socket.socket() as dialled:
            if dialled.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{NAME} does not listen on port {port}")
