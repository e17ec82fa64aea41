"""One spelling for URLs that name the same thing."""

from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.compute as pc

from curate.ops.strings import replaced
from curate.schema import Column

TRACKING = frozenset(
    {"fbclid", "gclid", "dclid", "msclkid", "yclid", "mc_cid", "mc_eid", "igshid", "ref_src"}
)
"""Query parameters, beside every ``utm_…``, that follow a visitor and do not change the image."""

WHITE_SPACE = " \t\n\f\r"
"""What the HTML standard calls white space: around a URL it is no part of it."""

_HOST = r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#]*@)?(?P<host>\[[^\]/]*\]|[^/:?#]+)"
_PORTS = {"http": 80, "https": 443}


def normalise_url(url: str) -> str:
    """Lower-case scheme and host; no default port, fragment or tracking parameter.

    >>> normalise_url("HTTP://Example.org:80/a.jpg?utm_source=x&w=2#top")
    'http://example.org/a.jpg?w=2'
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    scheme, host = parts.scheme.lower(), (parts.hostname or "")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS.get(scheme):
        netloc += f":{port}"
    query = "&".join(field for field in parts.query.split("&") if not _tracks(field))
    return urlunsplit((scheme, netloc, parts.path or "/", query, ""))


def stripped(urls: Column) -> Column:
    """A column of texts, without the white space around them that is no part of a URL or uid."""
    return pc.ascii_trim(urls, WHITE_SPACE)


def host_of(url: str) -> str:
    """The host of a URL, in lower case; empty where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _tracks(field: str) -> bool:
    name = field.partition("=")[0]
    return name in TRACKING or name.startswith("utm_")


_NORMAL = r"^https?://[a-z0-9.-]+/[^?#\x00-\x20]*$"


def normalise_urls(urls: Column) -> pa.Array:
    """`normalise_url` of each of the `urls`, a StringArray; most are in that form and only copied."""
    if isinstance(urls, pa.ChunkedArray):
        urls = pa.concat_arrays(urls.chunks) if urls.num_chunks else pa.array([], urls.type)
    return replaced(urls, unlike=_NORMAL, by=normalise_url)


def host_names(urls: Column) -> Column:
    """The host of each URL in lower case, without port and credentials; null where there is none.

    >>> host_names(pa.array(["http://me@Example.org:8080/a.jpg", "https://[::1]/", "a.jpg"]))[0]
    <pyarrow.StringScalar: 'example.org'>
    """
    return pc.utf8_lower(pc.struct_field(pc.extract_regex(urls, _HOST), "host"))
