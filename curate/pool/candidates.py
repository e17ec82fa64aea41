"""The images of a web page that have a text, from its HTML or from Common Crawl's JSON extract of it.

A page gives one candidate for each such image, with all its texts; :func:`choose` picks one. Pages are
not to be trusted: what is read of one is limited, and within the limits time grows with its length.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin, urlsplit

from curate.files.texts import encoding_of

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

PAGE_IMAGES = 10_000
"""Images of a page, and captions of figures, at most; further ones are ignored."""
URL_CHARS = 4_096
"""Characters of a URL, at most; an image with a longer one is ignored."""
NESTED = 5_000
"""Depth of nested elements, by the tags, at most: the parser's time grows with its square."""
FIGURE_DEPTH = 64
"""Elements between a figure and its image or caption, at most."""
CAPTION_CHARS = 2_000
"""Characters that are read of the caption of a figure."""
SHORT = 5
"""Characters below which `choose` prefers a longer text of another source."""

_SOURCES = ("alt", "figcaption", "title")
_SRCSETS = ("data-srcset", "data-lazy-srcset", "srcset")
_LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-full-src", "src")
_DESCRIPTOR = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([wx])")
_SRCSET_URL = re.compile(r"[ \t\n\r\f,]*([^ \t\n\r\f,][^ \t\n\r\f]*)")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=[\s\"']*([\w.:-]+)", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=[\s\"']*([\w.:-]+)", re.IGNORECASE)
_TAG = re.compile(
    r"""<!--.*?(?:-->|\Z)|<(/?)([a-zA-Z][a-zA-Z0-9-]*)"""
    r"""(?:[^<>"'=]++|=\s*+"[^"]*+"|=\s*+'[^']*+'|[="'])*+""",
    re.DOTALL,
)
_RAW = {name: re.compile(f"</{name}", re.IGNORECASE) for name in
        ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")}  # fmt: skip
_SELF_CLOSING = frozenset(
    {"a", "area", "base", "br", "col", "colgroup", "dd", "dt", "embed", "h1", "h2", "h3", "h4", "h5",
     "h6", "hr", "img", "input", "li", "link", "meta", "nobr", "optgroup", "option", "p", "param", "rp",
     "rt", "source", "tbody", "td", "tfoot", "th", "thead", "tr", "track", "wbr"}
)  # fmt: skip
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON and some encodings can hold."""
_LATIN = frozenset({"iso8859-1", "ascii"})


class Text(NamedTuple):
    """A text of an image, and its source on the page: alt, figcaption or title."""

    source: str
    text: str


@dataclass(frozen=True)
class Candidate:
    """An image on a page with all its texts, without empty ones and repeats."""

    url: str
    texts: tuple[Text, ...]


def choose(texts: tuple[Text, ...]) -> str:
    """The text that becomes the caption of the image.

    The first of at least `SHORT` characters in the order alt, figcaption, title, and on the page
    within each; where all are shorter, the longest.

    >>> choose((Text("title", "A fox in the snow"), Text("alt", "fox")))
    'A fox in the snow'
    """
    ordered = sorted(texts, key=lambda one: _SOURCES.index(one.source))
    long = (one.text for one in ordered if len(one.text) >= SHORT)
    return next(long, None) or max((one.text for one in ordered), key=len)


def resolve(url: str, base: str) -> str | None:
    """The absolute URL of `url` on a page with this `base`; None where that is no http or https URL.

    >>> resolve("../a b.jpg#top", "http://x.example/en/page.html")
    'http://x.example/a b.jpg#top'
    >>> resolve("data:image/gif;base64,R0lGOD", "http://x.example/")
    """
    if len(url) > URL_CHARS or len(base) > URL_CHARS:
        return None
    try:
        joined = urljoin(base, re.sub(r"[\t\n\r]", "", url).strip())
        parts = urlsplit(joined)
    except ValueError:
        return None
    return joined if parts.scheme.lower() in ("http", "https") and parts.netloc else None


def srcset(value: str) -> list[str]:
    """The URLs of a `srcset`, largest first: by width, else by density; equal ones in order.

    >>> srcset("a.jpg 320w, b,c.jpg 1024w, d.jpg 640w")
    ['b,c.jpg', 'd.jpg', 'a.jpg']
    """
    found: list[tuple[float, float, str]] = []
    at = 0
    while one := _SRCSET_URL.match(value, at):
        url, at = one[1], one.end()
        sizes: dict[str, float] = {}
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            comma = value.find(",", at)
            end = len(value) if comma < 0 else comma
            for token in value[at:end].split():
                if size := _DESCRIPTOR.fullmatch(token):
                    sizes[size[2]] = float(size[1])
            at = end
        found.append((sizes.get("w", 0.0), sizes.get("x", 1.0), url))
    return [url for *_, url in sorted(found, key=lambda one: (-one[0], -one[1]))]


def image_url(attributes: Mapping[str, str | None], base: str) -> str | None:
    """The URL of an image element: the largest of its `srcset`, else a lazy-loading one, else `src`.

    Where images are loaded lazily, `src` is a placeholder, so it comes last.
    """
    urls = [url for name in _SRCSETS for url in srcset(attributes.get(name) or "")[:1]]
    urls += [url for name in _LAZY if (url := attributes.get(name))]
    return next((found for url in urls if (found := resolve(url, base))), None)


def page_candidates(html: str, *, page: str) -> list[Candidate]:
    """The images of a page, in the order of the page; `page` is its URL.

    Time and memory are linear in the length of the page.

    Raises
    ------
    ValueError
        Where elements are nested deeper than `NESTED`.
    """
    if _is_nested(html):
        raise ValueError(f"more than {NESTED:,} elements in each other")
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html)
    base = page
    if (element := tree.css_first("base[href]")) is not None:
        base = resolve(element.attributes.get("href") or "", page) or page
    captions = _figcaptions(tree)
    found: _Found = {}
    for image in tree.css("img")[:PAGE_IMAGES]:
        url = image_url(image.attributes, base)
        if url is None:
            continue
        texts = [Text(name, image.attributes.get(name) or "") for name in ("alt", "title")]
        figure = next(_figures(image), None)
        if figure is not None:
            texts.append(Text("figcaption", captions.get(figure.mem_id, "")))
        _add(found, url, texts)
    return _candidates(found)


def _is_nested(html: str) -> bool:
    if html.count("<") <= NESTED:
        return False
    opened: Counter[str] = Counter()
    depth = at = 0
    while tag := _TAG.search(html, at):
        at, name = tag.end(), (tag[2] or "").lower()
        if not name or name in _SELF_CLOSING:
            continue
        if name in _RAW and not tag[1]:
            closed = _RAW[name].search(html, at)
            at = closed.end() if closed else len(html)
        elif not tag[1]:
            opened[name] += 1
            depth += 1
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
        if depth > NESTED:
            return True
    return False


def _figures(node: "LexborNode") -> Iterator["LexborNode"]:
    """The figures around `node`, from the inside out."""
    around = node.parent
    for _ in range(FIGURE_DEPTH):
        if around is None:
            return
        if around.tag == "figure":
            yield around
        around = around.parent


def _figcaptions(tree: "LexborHTMLParser") -> dict[int, str]:
    """The text of the first caption in each figure, by the identifier of the figure's node."""
    captions: dict[int, str] = {}
    for caption in tree.css("figcaption")[:PAGE_IMAGES]:
        figures = [one.mem_id for one in _figures(caption) if one.mem_id not in captions]
        if figures:
            captions |= dict.fromkeys(figures, _beginning(caption))
    return captions


def _beginning(node: "LexborNode") -> str:
    texts: list[str] = []
    chars = 0
    for one in islice(node.traverse(include_text=True), CAPTION_CHARS):
        if one.tag == "-text":
            texts.append(one.text_content or "")
            chars += len(texts[-1])
            if chars >= CAPTION_CHARS:
                break
    return " ".join(texts)[:CAPTION_CHARS]


def wat_candidates(document: object) -> list[Candidate]:
    """The images of a page, from the JSON of its WAT record; none where it was no page.

    Links have one attribute each, such as ``{"path": "IMG@/src", "url": …, "alt": …}``.
    """
    envelope = _get(document, "Envelope")
    page = _get(envelope, "WARC-Header-Metadata", "WARC-Target-URI")
    html = _get(envelope, "Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata")
    links = _get(html, "Links")
    if not isinstance(page, str) or not isinstance(links, list):
        return []
    head = _get(html, "Head", "Base")
    base = (resolve(head, page) if isinstance(head, str) else None) or page
    found: _Found = {}
    paths = (str(_get(link, "path") or "").partition("@/") for link in links)
    images = (
        (x, link) for (tag, _, x), link in zip(paths, links, strict=True) if tag.upper() == "IMG"
    )
    for attribute, link in islice(images, PAGE_IMAGES):
        value = _get(link, "url")
        if isinstance(value, str):
            url = image_url({attribute.lower(): value}, base)
            texts = ((name, _get(link, name)) for name in ("alt", "title"))
            if url is not None:
                said = [Text(name, text) for name, text in texts if isinstance(text, str)]
                _add(found, url, said)
    return _candidates(found)


def _get(document: object, *keys: str) -> object:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def scalar(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair, as browsers read it."""
    return SURROGATE.sub("\ufffd", text)


_Found = dict[str, dict[Text, None]]


def _add(found: _Found, url: str, texts: list[Text]) -> None:
    known = found.setdefault(url, {})
    for source, text in texts:
        if words := " ".join(scalar(text).split()):
            known[Text(source, words)] = None


def _candidates(found: _Found) -> list[Candidate]:
    return [Candidate(url, tuple(texts)) for url, texts in found.items() if texts]


def decode_page(content: bytes, *, content_type: str) -> str:
    """The text of a page: by a byte order mark, else by a charset of its header or `meta`, else UTF-8.

    A declared charset is ignored where the bytes cannot be decoded by it but by the next one, and where
    it is a single-byte charset, which decodes anything, but the bytes are valid UTF-8. If none decodes
    them, the first is used with U+FFFD for errors. Latin-1 is read as Windows-1252, as browsers do.
    """
    marked, mark = encoding_of(content[:4])
    if mark:
        return content[mark:].decode(marked, errors="replace")
    served, inside = _CHARSET.search(content_type[:1000]), _META_CHARSET.search(content[:4096])
    names = [served[1]] if served else []
    names += [inside[1].decode("ascii", "replace")] if inside else []
    named = [codec for name in names if (codec := _codec(name, content))] or ["utf-8"]
    for codec in (*["utf-8"][: _has_no_gaps(named[0])], *named, "utf-8"):
        try:
            return content.decode(codec)
        except ValueError:
            continue
    return content.decode(named[0], errors="replace")


def _codec(name: str, content: bytes) -> str | None:
    """Python's codec of that name; None where it has none for text, or the bytes rule it out."""
    try:
        codec = codecs.lookup(name).name
        b"\xe9a".decode(codec, errors="replace")
    except (LookupError, ValueError):
        return None
    if codec.startswith(("utf-16", "utf-32")) and b"\0" not in content[:1000]:
        return None
    return "cp1252" if codec in _LATIN else codec


@lru_cache(maxsize=256)
def _has_no_gaps(codec: str) -> bool:
    """Whether the codec is a single-byte charset, which decodes nearly any bytes."""
    return len(bytes(range(128, 256)).decode(codec, errors="ignore")) > 90
