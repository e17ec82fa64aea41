"""The images of a page that have a text: (image URL, texts), of its HTML or of Common Crawl's extract.

A page gives one candidate for each such image, with all its texts; :func:`choose` picks one.
"""

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

SHORT = 5
"""Characters up to which a text says little: `choose` prefers a longer one of another source."""

_SOURCES = ("alt", "figcaption", "title")
_SRCSETS = ("data-srcset", "data-lazy-srcset", "srcset")
_LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-full-src", "src")
_DESCRIPTOR = re.compile(r"(\d+(?:\.\d+)?)([wx])")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_LATIN = frozenset({"iso8859-1", "ascii"})


class Text(NamedTuple):
    """A text of an image and where on the page it stood: alt, figcaption or title."""

    source: str
    text: str


@dataclass(frozen=True)
class Candidate:
    """An image on a page with all its texts, none of them empty, none twice."""

    url: str
    texts: tuple[Text, ...]


def choose(texts: tuple[Text, ...]) -> str:
    """The text that stands for the image.

    The first of at least `SHORT` characters in the order alt, figcaption, title, and on the page
    within each; where all are shorter, the longest.

    >>> choose((Text("title", "A fox in the snow"), Text("alt", "fox")))
    'A fox in the snow'
    """
    ordered = sorted(texts, key=lambda one: _SOURCES.index(one.source))
    long = (one.text for one in ordered if len(one.text) >= SHORT)
    return next(long, None) or max((one.text for one in ordered), key=len)


def resolve(url: str, base: str) -> str | None:
    """`url` of a page joined to `base`; None where that leads to nothing on the web.

    >>> resolve("../a b.jpg#top", "http://x.example/en/page.html")
    'http://x.example/a b.jpg#top'
    >>> resolve("data:image/gif;base64,R0lGOD", "http://x.example/")
    """
    try:
        joined = urljoin(base, re.sub(r"[\t\n\r]", "", url).strip())
        parts = urlsplit(joined)
    except ValueError:
        return None
    return joined if parts.scheme.lower() in ("http", "https") and parts.netloc else None


def srcset(value: str) -> list[str]:
    """The URLs of a `srcset`, largest first: by width, else by density; equals as they stand.

    >>> srcset("a.jpg 320w, b,c.jpg 1024w, d.jpg 640w")
    ['b,c.jpg', 'd.jpg', 'a.jpg']
    """
    found: list[tuple[float, float, str]] = []
    rest = value
    while rest := rest.lstrip(" \t\n\r\f,"):
        url, *more = rest.split(None, 1)
        rest = more[0] if more else ""
        descriptor = ""
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptor, _, rest = rest.partition(",")
        sizes = {unit: float(n) for n, unit in _DESCRIPTOR.findall(descriptor)}
        found.append((sizes.get("w", 0.0), sizes.get("x", 1.0), url))
    return [url for *_, url in sorted(found, key=lambda one: (-one[0], -one[1]))]


def image_url(attributes: Mapping[str, str | None], base: str) -> str | None:
    """The URL of an image element: the largest of its `srcset`, else what scripts load, else `src`.

    Pages that load their images late have a placeholder in `src`, so that comes last.
    """
    urls = [url for name in _SRCSETS for url in srcset(attributes.get(name) or "")[:1]]
    urls += [url for name in _LAZY if (url := attributes.get(name))]
    return next((found for url in urls if (found := resolve(url, base))), None)


def page_candidates(html: str, *, page: str) -> list[Candidate]:
    """The images of a page, in the order of the page; `page` is its URL."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html)
    base = page
    if (element := tree.css_first("base[href]")) is not None:
        base = resolve(element.attributes.get("href") or "", page) or page
    found: dict[str, list[Text]] = {}
    for image in tree.css("img"):
        url = image_url(image.attributes, base)
        if url is None:
            continue
        texts = [Text(name, image.attributes.get(name) or "") for name in ("alt", "title")]
        texts.append(Text("figcaption", _figcaption(image)))
        _add(found, url, texts)
    return _candidates(found)


def _figcaption(image: Any) -> str:
    above = image.parent
    while above is not None and above.tag != "figure":
        above = above.parent
    caption = above.css_first("figcaption") if above is not None else None
    return str(caption.text(separator=" ")) if caption is not None else ""


def wat_candidates(document: Any) -> list[Candidate]:
    """The images of a page, from the JSON of its WAT record; none where it was no page.

    Attributes stand there one a link, such as ``{"path": "IMG@/src", "url": …, "alt": …}``.
    """
    envelope = _get(document, "Envelope")
    page = _get(envelope, "WARC-Header-Metadata", "WARC-Target-URI")
    html = _get(envelope, "Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata")
    links = _get(html, "Links")
    if not isinstance(page, str) or not isinstance(links, list):
        return []
    head = _get(html, "Head", "Base")
    base = (resolve(head, page) if isinstance(head, str) else None) or page
    found: dict[str, list[Text]] = {}
    for link in links:
        element, _, attribute = str(_get(link, "path") or "").partition("@/")
        value = _get(link, "url")
        if element.upper() == "IMG" and isinstance(value, str):
            url = image_url({attribute.lower(): value}, base)
            texts = ((name, _get(link, name)) for name in ("alt", "title"))
            if url is not None:
                _add(found, url, [Text(name, text) for name, text in texts if _is_text(text)])
    return _candidates(found)


def _get(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _add(found: dict[str, list[Text]], url: str, texts: list[Text]) -> None:
    known = found.setdefault(url, [])
    for source, text in texts:
        one = Text(source, " ".join(text.split()))
        if one.text and one not in known:
            known.append(one)


def _candidates(found: dict[str, list[Text]]) -> list[Candidate]:
    return [Candidate(url, tuple(texts)) for url, texts in found.items() if texts]


def decode_page(content: bytes, *, content_type: str) -> str:
    """The text of a page by the charset of its header, else of its `meta`, else as UTF-8.

    Bytes that do not fit become U+FFFD. What calls itself Latin-1 is read as Windows-1252, as all
    browsers do.
    """
    if content.startswith(codecs.BOM_UTF8):
        return content.decode("utf-8-sig", errors="replace")
    named = _CHARSET.search(content_type)
    inside = None if named else _META_CHARSET.search(content[:4096])
    name = named[1] if named else inside[1].decode("ascii", "replace") if inside else "utf-8"
    try:
        codec = codecs.lookup(name).name
        return content.decode("cp1252" if codec in _LATIN else codec, errors="replace")
    except (LookupError, ValueError):
        return content.decode(errors="replace")
