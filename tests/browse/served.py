"""A page that is served in this process, and what is asked of it without a browser."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit

from curate.browse.server import listening


@dataclass(frozen=True)
class Served:
    """A page over runs."""

    link: str
    selections: Path

    @property
    def port(self) -> int:
        return int(urlsplit(self.link).port or 0)

    @property
    def token(self) -> str:
        return self.link.partition("token=")[2]

    def reply(
        self,
        path: str,
        headers: Mapping[str, str | None] = MappingProxyType({}),
        *,
        method: str = "GET",
        body: str | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of an answer; without a header that is None."""
        given = {"Host": f"127.0.0.1:{self.port}", "Cookie": f"curate_{self.port}={self.token}"}
        given |= {name: x for name, x in headers.items() if x is not None}
        left_out = {name for name, x in headers.items() if x is None}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if name not in left_out:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body.encode())))
            connection.endheaders(body.encode() if body is not None else None)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def ask(self, name: str, *fields: tuple[str, object]) -> Any:
        """The answer to a question."""
        status, _, content = self.reply(f"/api/{name}?{urlencode(fields)}")
        found = json.loads(content)
        assert status == 200, found
        return found

    def refused(self, name: str, *fields: tuple[str, object]) -> str:
        """In which words a question is not answered."""
        status, _, content = self.reply(f"/api/{name}?{urlencode(fields)}")
        assert status == 400
        return str(json.loads(content)["error"])

    def all_pairs(self, *fields: tuple[str, object]) -> list[dict[str, Any]]:
        """All pairs of a selection, page by page."""
        found: list[dict[str, Any]] = []
        after: list[tuple[str, object]] = []
        while True:
            page = self.ask("pairs", *fields, *after)
            found += page["pairs"]
            if page["after"] is None:
                return found
            after = [("after", json.dumps(page["after"]))]


@contextmanager
def serving(*runs: Path | str, selections: Path) -> Iterator[Served]:
    """A page over runs while the block runs."""
    with listening([str(x) for x in runs], port=0, selections=str(selections)) as (link, answering):
        thread = threading.Thread(target=answering.run)
        thread.start()
        try:
            yield Served(link, selections)
        finally:
            answering.server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()
