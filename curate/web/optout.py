"""Opt-outs of the owners of images: response headers, and lists; for robots.txt see `web.robots`."""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from yarl import URL

from curate import files
from curate.errors import CurateError
from curate.files.texts import read_utf8
from curate.ops.distinct import distinct
from curate.ops.hashing import hash64
from curate.ops.strings import replaced
from curate.ops.urls import normalise_url, normalise_urls
from curate.web.transport import Answer

_HOST = r"^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$"
AGENT = "curate"
"""The name under which robots.txt and X-Robots-Tag address this program."""
TDM_RESERVATION = "tdm-reservation"
_NONE = frozenset({"noindex", "nofollow"})
_VALUED = frozenset({"max-image-preview", "max-snippet", "max-video-preview", "unavailable_after"})


def wanted_directives(directives: Sequence[str]) -> set[str]:
    """`directives` in lower case, and ``none`` where noindex or nofollow is one of them."""
    wanted = {directive.lower() for directive in directives}
    return wanted if wanted.isdisjoint(_NONE) else wanted | {"none"}


def opted_out(values: Sequence[str], *, directives: Sequence[str], agent: str) -> str | None:
    """The first of `directives` in X-Robots-Tag header `values` that applies to `agent`, if any.

    Directives after a user agent and a colon apply to that agent alone, up to the next one. Some
    directives have a colon and a value of their own. ``none`` means noindex and nofollow.
    """
    wanted = wanted_directives(directives)
    for value in values:
        applies = True
        for part in value.lower().split(","):
            name, colon, rest = (word.strip() for word in part.partition(":"))
            scoped = bool(colon) and " " not in name and name not in _VALUED
            if scoped:
                applies = name == agent.lower()
            directive = rest if scoped else name
            if applies and directive in wanted:
                return directive
    return None


def reservation(answer: Answer, *, directives: Sequence[str]) -> str | None:
    """The first of `directives` in the headers of `answer`, X-Robots-Tag or tdm-reservation."""
    if answer.first(TDM_RESERVATION) == "1" and TDM_RESERVATION in map(str.lower, directives):
        return TDM_RESERVATION
    values = answer.all("x-robots-tag")
    return opted_out(values, directives=directives, agent=AGENT) if values else None


class OptOutList:
    """An opt-out list of hosts, each with its subdomains, and URLs; 8 bytes of memory an entry.

    Raises
    ------
    CurateError
        Where a line is neither; the message names `path` and the line.
    """

    def __init__(self, lines: pa.Array, *, path: str = "") -> None:
        lines = pc.utf8_trim_whitespace(pc.replace_substring_regex(lines, "^\ufeff", ""))
        numbers = pa.array(np.arange(1, len(lines) + 1))
        said = pc.invert(pc.match_substring_regex(lines, "^(#|$)"))
        lines, numbers = lines.filter(said), numbers.filter(said)
        whole = pc.match_substring(lines, "://")
        hosts = pc.utf8_lower(lines.filter(pc.invert(whole)))
        hosts = pc.replace_substring_regex(hosts, r"^(\*?\.)?(.*?)\.?$", r"\2")
        hosts = _encoded(hosts)
        urls = normalise_urls(_requoted(lines.filter(whole)))
        fits = pc.match_substring_regex(urls, "^https?://[^/]")
        for kind, good in ((whole, fits), (pc.invert(whole), pc.is_valid(hosts))):
            bad = np.flatnonzero(~np.asarray(good))
            if len(bad):
                at = np.flatnonzero(np.asarray(kind))[bad[0]]
                raise CurateError(
                    f"{path}:{numbers[at]}: {str(lines[at])[:100]!r}: expected a host, such as"
                    " example.org, which its subdomains belong to, or a URL that begins with http:// or https://"
                )
        self._hashes: NDArray[np.uint64] = distinct(np.concatenate([hash64(hosts), hash64(urls)]))

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, entry: str) -> bool:
        """Whether the list has the host or URL `entry`, spelt as `self.entry` returns it."""
        found = hash64(pa.array([entry]))
        return bool(np.isin(found, self._hashes, assume_unique=True)[0])

    def entry(self, url: URL) -> str | None:
        """The entry that covers `url`: itself, its host or a parent domain of that."""
        labels = (url.raw_host or "").rstrip(".").split(".")
        parents = [".".join(labels[i:]) for i in range(len(labels))]
        names = [normalise_url(str(url)), *parents]
        hashes = hash64(pa.array(names))
        at = np.searchsorted(self._hashes, hashes)
        for name, position, value in zip(names, at, hashes, strict=True):
            if position < len(self._hashes) and self._hashes[position] == value:
                return name
        return None


def _encoded(hosts: pa.Array) -> pa.Array:
    """Hosts as URLs spell them, IDNA-encoded and IPv6 without brackets; null for what is no host."""
    return replaced(hosts, unlike=_HOST, by=_host)


def _host(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    if re.search(r"[\s/:@?#%\\\[\]]", text):
        return None
    try:
        host = URL(f"http://{text}/").raw_host or ""
    except (ValueError, IndexError):
        return None
    return host if re.match(_HOST, host) else None


def _requoted(urls: pa.Array) -> pa.Array:
    """The URLs as requests have them: percent-encoded where they are not ASCII."""
    plain = pc.match_substring_regex(urls, r"^[!-~]*$")
    if pc.all(plain).as_py():
        return urls
    return pa.array([_quote(url) for url in urls.to_pylist()], urls.type)


def _quote(url: str) -> str:
    try:
        return str(URL(url))
    except ValueError:
        return url


@lru_cache(maxsize=1)
def _load(path: str, _digest: str) -> OptOutList:
    content = read_utf8(path)
    ends = np.flatnonzero(np.frombuffer(content + b"\n", np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], np.minimum(ends, len(content))]).astype(np.int64)
    lines = pa.LargeStringArray.from_buffers(
        len(ends), pa.py_buffer(offsets), pa.py_buffer(content)
    )
    return OptOutList(lines, path=path)


def read_list(path: str) -> OptOutList:
    """The list in the file at `path`: one host or URL a line; lines that begin with # are comments."""
    return _load(path, files.content_digest(path))
