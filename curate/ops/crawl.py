"""Crawls as pools: (image URL, text) candidates of the pages in WARC and WAT files.

A WARC file holds the pages themselves, a WAT file Common Crawl's JSON extract of them. A page gives
one candidate for each image that has a text, with all its texts; :func:`choose` picks one.
"""

import codecs
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

PAGE_BYTES = 10_000_000
"""What is read of one page or extract, at most."""
SHORT = 5
"""Characters up to which a text says little: `choose` prefers a longer one of another source."""

_BLOCK = 1 << 16
_GZIP = b"\x1f\x8b"
_SOURCES = ("alt", "figcaption", "title")
_SRCSETS = ("data-srcset", "data-lazy-srcset", "srcset")
_LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-full-src", "src")
_HTML = ("text/html", "application/xhtml+xml")
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


@dataclass(frozen=True)
class BrokenRecord:
    """A record of a crawl that could not be understood."""

    number: int  # in the file, from 1
    page: str
    problem: str


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


class _Unpacked:
    """The bytes of a file, unpacked if it is gzip, whatever its members are.

    Not left to warcio, to which a truncated file is a complete one, nor to the gzip module, which on
    meeting the end of such a file loses what it has unpacked already.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._packed = file.read(_BLOCK)
        self._is_gzip = self._packed.startswith(_GZIP)
        self._member: Any = None
        self.tail = b""  # the last bytes read

    def read(self, size: int = _BLOCK) -> bytes:
        """At most `size` bytes, more than none except at the end."""
        block = self._unpack(size) if self._is_gzip else self._copy(size)
        self.tail = (self.tail + block[-4:])[-4:]
        return block

    def _copy(self, size: int) -> bytes:
        self._packed = self._packed or self._file.read(size)
        block, self._packed = self._packed[:size], self._packed[size:]
        return block

    def _unpack(self, size: int) -> bytes:
        while True:
            self._packed = self._packed or self._file.read(_BLOCK)
            if self._member is None:
                self._packed = self._packed.lstrip(b"\0") or self._file.read(_BLOCK)
                if not self._packed:
                    return b""
                self._member = zlib.decompressobj(wbits=31)
            elif not self._packed:
                raise ValueError("the file ends inside a gzip member")
            block = self._member.decompress(self._packed, size)
            self._packed = self._member.unconsumed_tail
            if self._member.eof:
                self._packed, self._member = self._member.unused_data, None
            if block:
                return bytes(block)


def read_crawl(file: IO[bytes]) -> Iterator[list[Candidate] | BrokenRecord]:
    """The candidates of each page in a WARC or WAT file, packed with gzip or not, streaming.

    Pages are the responses of status 200 that are HTML, and the JSON extracts of such.

    Raises
    ------
    ValueError, zlib.error
        Where the file itself is broken or ends too early.
    """
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    stream = _Unpacked(file)
    try:
        for number, record in enumerate(ArchiveIterator(stream), 1):
            if record.format != "warc" or not record.rec_headers.get_header("Content-Length"):
                raise ValueError(f"record {number} is no WARC record, or the file ends inside it")
            read = _reader(record)
            if read is None:
                continue
            content = record.raw_stream.read(PAGE_BYTES)
            while record.raw_stream.read(1 << 16):
                pass
            if record.raw_stream.limit:
                raise ValueError(f"the file ends inside record {number}")
            yield _understood(record, content, number=number, read=read)
        if stream.tail and not stream.tail.endswith((b"\r\n\r\n", b"\n\n")):
            raise ValueError("the file ends inside a record")
    except ArchiveLoadFailed as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "not a WARC file"
        raise ValueError(reason[:80].encode("ascii", "replace").decode()) from None


def _reader(record: Any) -> Any:
    kind = record.rec_headers.get_header("Content-Type") or ""
    if record.rec_type == "metadata":
        return _read_extract if kind.startswith("application/json") else None
    if record.rec_type == "resource":
        return _read_page if kind.startswith(_HTML) else None
    if record.rec_type != "response" or record.http_headers is None:
        return None
    served = (record.http_headers.get_header("Content-Type") or "").strip().lower()
    fine = record.http_headers.get_statuscode() == "200" and served.startswith(_HTML)
    return _read_page if fine else None


def _understood(
    record: Any, content: bytes, *, number: int, read: Any
) -> list[Candidate] | BrokenRecord:
    from warcio.bufferedreaders import ChunkedDataException

    try:
        found: list[Candidate] = read(record, content)
    except (
        ValueError,
        EOFError,
        OSError,
        zlib.error,
        RecursionError,
        ChunkedDataException,
    ) as error:
        problem = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        return BrokenRecord(number, _page(record), problem)
    return found


def _page(record: Any) -> str:
    return (record.rec_headers.get_header("WARC-Target-URI") or "").strip("<> ")


def _read_extract(record: Any, content: bytes) -> list[Candidate]:
    return wat_candidates(json.loads(content))


def _read_page(record: Any, content: bytes) -> list[Candidate]:
    record.raw_stream = io.BytesIO(content)
    body, unpacked = b"", record.content_stream()
    while len(body) < PAGE_BYTES and (block := unpacked.read(PAGE_BYTES - len(body))):
        body += block
    headers = record.http_headers or record.rec_headers
    content_type = headers.get_header("Content-Type") or ""
    return page_candidates(decode_page(body, content_type=content_type), page=_page(record))
