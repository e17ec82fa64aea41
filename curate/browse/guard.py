"""Who may ask the server: the page that it served itself, in a browser that was given the link."""

import hmac
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self';"
        " connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Guard:
    """An application that answers its own page alone.

    The request has to name this server as its host, so that no name that leads here will do (DNS
    rebinding); to come from no other page; and to bring the token, in the link or as the cookie that
    the link sets.
    """

    app: "ASGIApp"
    token: str
    port: int

    @property
    def cookie(self) -> str:
        """Its name: cookies are of a host, whatever the port."""
        return f"curate_{self.port}"

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSocket is spoken here
            return
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        linked = self._linked(scope)
        refusal = self._refusal(scope, headers, linked=linked)

        async def told(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    *((x.encode(), y.encode()) for x, y in HEADERS.items()),
                ]
                if linked and refusal is None:
                    said = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
                    message["headers"].append((b"set-cookie", said.encode()))
            await send(message)

        if refusal is None:
            await self.app(scope, receive, told)
            return
        status, why = refusal
        start = {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/plain; charset=utf-8")],
        }
        await told(start)
        await told({"type": "http.response.body", "body": f"{why}\n".encode()})

    def _refusal(
        self, scope: "Scope", headers: dict[str, list[str]], *, linked: bool
    ) -> tuple[int, str] | None:
        """Status and reason of why a request is refused; None of one that is not."""
        hosts = headers.get("host", [])
        if hosts not in ([f"127.0.0.1:{self.port}"], [f"localhost:{self.port}"]):
            return 421, "This server answers to 127.0.0.1 and localhost alone."
        asks = scope["method"] in ("GET", "HEAD")
        origins = headers.get("origin", [])
        if origins != [f"http://{hosts[0]}"] and (origins or not asks):
            return 403, "Another page asked for this."
        sites = headers.get("sec-fetch-site", [])
        if any(site not in ("same-origin", "none") for site in sites):
            return 403, "Another page asked for this."
        if not linked and not any(map(self._is_token, self._cookies(headers))):
            return 403, "Open the link that `curate browse` printed: it holds the key to this page."
        return None

    def _linked(self, scope: "Scope") -> bool:
        """Whether this is the page itself, asked for by the link."""
        if scope["path"] != "/" or scope["method"] != "GET":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return len(given) == 1 and self._is_token(given[0])

    def _cookies(self, headers: dict[str, list[str]]) -> list[str]:
        found = []
        for line in headers.get("cookie", []):
            cookies: SimpleCookie = SimpleCookie()
            cookies.load(line)
            if self.cookie in cookies:
                found.append(cookies[self.cookie].value)
        return found

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())
