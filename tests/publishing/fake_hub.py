"""A fake of the hub's API on a loopback port: what `huggingface_hub` 2.4 asks of it to publish a set.

It stores branches as files by name, large ones by their hash, and checks the token and each hash. It
is no hub: nothing here knows of histories, users or limits.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

TOKEN = "hf_fake_0123456789"
_LARGE = (".tar", ".parquet", ".npz")
_PART = 1 << 15
"""Bytes of a part of what is over two of them: those go up in parts."""
_PAGE = 4
"""Files of a page of a listing."""


@dataclass
class FakeHub:
    """What stands in it, and what was asked of it."""

    branches: dict[str, dict[str, bytes]] = field(default_factory=dict)  # by repository@branch
    private: dict[str, bool] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # by SHA-256
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)  # hashes, as they were sent
    commits: list[list[str]] = field(default_factory=list)  # names that each brought or removed
    requests: Counter[str] = field(default_factory=Counter)
    address: str = ""
    stop_after: int | None = None  # uploads; those that follow are refused
    held: threading.Event | None = None  # uploads wait for it, once `stop_after` have come
    waiting: threading.Event = field(default_factory=threading.Event)

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        """The files of a branch."""
        return self.branches[f"{repo}@{branch}"]


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def _answer(self, document: Any, status: int = 200, **headers: str) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _is_allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer({"error": "Invalid username or password."}, 401)
        return False

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.hub.requests[f"GET {path.split('/')[2] if path.count('/') > 1 else path}"] += 1
        if path == "/api/agent-harnesses":
            self._answer({"harnesses": []})
        elif not self._is_allowed():
            return
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(found[1], found[2], query)
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)", path):
            if found[1] not in self.hub.private:
                self._answer(
                    {"error": "Repository not found"}, 404, **{"X-Error-Code": "RepoNotFound"}
                )
                return
            private = self.hub.private[found[1]]
            self._answer({"id": found[1], "private": private, "sha": "0" * 40, "siblings": []})
        else:
            self._answer({"error": path}, 404)

    def _tree(self, repo: str, branch: str, query: str) -> None:
        files = self.hub.branches[f"{repo}@{branch}"]
        at = re.search(r"cursor=(\d+)", query)
        start = int(at[1]) if at else 0
        names = sorted(files)
        headers: dict[str, Any] = {}
        if start + _PAGE < len(names):
            url = f"{self.hub.address}{self.path.partition('?')[0]}?cursor={start + _PAGE}"
            headers["Link"] = f'<{url}>; rel="next"'
        entries = [self._entry(name, files[name]) for name in names[start : start + _PAGE]]
        self._answer(entries, **headers)

    def _entry(self, name: str, content: bytes) -> dict[str, Any]:
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": name, "size": len(content), "oid": oid}
        if name.endswith(_LARGE):
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
        return entry

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        body = self._body()
        self.hub.requests[f"POST {path.rpartition('/')[2]}"] += 1
        if path.startswith("/complete/"):
            self._complete(path.rpartition("/")[2], json.loads(body))
        elif not self._is_allowed():
            return
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            told = json.loads(body)
            assert told["repoType"] == "dataset"
            assert told["content"].startswith("---\n")
            self._answer({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/datasets/(.+)/branch/(.+)", path):
            branch = self.hub.branches.setdefault(f"{found[1]}@{found[2]}", {})
            branch |= {} if branch else self.hub.branches[f"{found[1]}@main"]
            self._answer({}, 200)
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/preupload/([^/]+)", path):
            self._preupload(self.hub.branches[f"{found[1]}@{found[2]}"], json.loads(body))
        elif found := re.fullmatch(r"/datasets/(.+)\.git/info/lfs/objects/batch", path):
            self._batch(json.loads(body))
        elif path == "/verify":
            one = json.loads(body)
            assert len(self.hub.large[one["oid"]]) == one["size"]
            self._answer({})
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/([^/]+)", path):
            self._commit(found[1], self.hub.branches[f"{found[1]}@{found[2]}"], body)
        else:
            self._answer({"error": path}, 404)

    def _create(self, told: dict[str, Any]) -> None:
        assert told["type"] == "dataset"
        repo = f"{told['organization']}/{told['name']}"
        url = f"{self.hub.address}/datasets/{repo}"
        if repo in self.hub.private:
            self._answer({"error": "You already created this dataset repo", "url": url}, 409)
            return
        self.hub.private[repo] = told.get("visibility") == "private"
        self.hub.branches[f"{repo}@main"] = {".gitattributes": b"*.tar filter=lfs\n"}
        self._answer({"url": url})

    def _preupload(self, files: dict[str, bytes], told: dict[str, Any]) -> None:
        answers = []
        for one in told["files"]:
            name = one["path"]
            entry = self._entry(name, files[name]) if name in files else {}
            oid = entry.get("lfs", entry).get("oid")
            mode = "lfs" if name.endswith(_LARGE) else "regular"
            answers.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._answer({"files": answers})

    def _batch(self, told: dict[str, Any]) -> None:
        assert told["operation"] == "upload"
        objects = []
        for one in told["objects"]:
            answer: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.large:
                href = f"{self.hub.address}/upload/{one['oid']}"
                upload: dict[str, Any] = {"href": href, "header": {}}
                if one["size"] > 2 * _PART:
                    n = -(-one["size"] // _PART)
                    upload["href"] = f"{self.hub.address}/complete/{one['oid']}"
                    upload["header"] = {str(k): f"{href}/{k}" for k in range(1, n + 1)}
                    upload["header"]["chunk_size"] = str(_PART)
                verify = {"href": f"{self.hub.address}/verify", "header": {}}
                answer["actions"] = {"upload": upload, "verify": verify}
            objects.append(answer)
        self._answer({"transfer": "multipart", "objects": objects})

    def do_PUT(self) -> None:
        body = self._body()
        self.hub.requests["PUT"] += 1
        _, _, oid, *part = self.path.split("/")
        if self.hub.stop_after is not None and len(self.hub.uploads) >= self.hub.stop_after:
            if self.hub.held is not None:
                self.hub.waiting.set()
                self.hub.held.wait(60)
            with suppress(OSError):  # who was killed does not hear it
                self._answer({"error": "no room"}, 400)
            return
        if part:
            self.hub.parts[oid, int(part[0])] = body
        else:
            self._keep(oid, body)
        self._answer({}, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def _complete(self, oid: str, told: dict[str, Any]) -> None:
        n = len(told["parts"])
        self._keep(oid, b"".join(self.hub.parts.pop((oid, k)) for k in range(1, n + 1)))
        self._answer({})

    def _keep(self, oid: str, content: bytes) -> None:
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.uploads.append(oid)
        self.hub.large[oid] = content

    def _commit(self, repo: str, files: dict[str, bytes], body: bytes) -> None:
        header, *operations = map(json.loads, body.splitlines())
        assert header["key"] == "header"
        assert header["value"]["summary"]
        names = []
        for one in operations:
            value = one["value"]
            names.append(value["path"])
            if one["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif one["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                assert one["key"] == "deletedFile"
                del files[value["path"]]
        self.hub.commits.append(names)
        self._answer(
            {
                "commitUrl": f"{self.hub.address}/datasets/{repo}/commit/{'0' * 40}",
                "commitOid": "0" * 40,
            }
        )

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """An empty one while the block runs."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()
