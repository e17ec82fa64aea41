"""Crawls as pools: the records of WARC and WAT files, and the candidates of their pages.

A WARC file holds the pages themselves, a WAT file Common Crawl's JSON extract of them.
"""

import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import IO, Any

from curate.ops.pool.candidates import (
    SURROGATE,
    Candidate,
    decode_page,
    page_candidates,
    scalar,
    wat_candidates,
)

PAGE_BYTES = 10_000_000
"""What is read of one page or extract, at most."""
HEADER_BYTES = 1 << 20
"""Bytes between two records, the second one's header included; with more the file is broken."""

_BLOCK = 1 << 16
_GZIP = b"\x1f\x8b"
_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class BrokenRecord:
    """A record of a crawl that could not be understood."""

    number: int  # in the file, from 1
    page: str
    problem: str


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
        self.allowed: int | None = None  # how many more bytes, where there is a limit

    def read(self, size: int = _BLOCK) -> bytes:
        """At most `size` bytes, more than none except at the end."""
        block = self._unpack(size) if self._is_gzip else self._copy(size)
        self.tail = (self.tail + block[-4:])[-4:]
        if self.allowed is not None:
            self.allowed -= len(block)
            if self.allowed < 0:
                raise ValueError(f"a header of over {HEADER_BYTES >> 20} MB")
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
        records = ArchiveIterator(stream, no_record_parse=True)
        for number in count(1):
            stream.allowed = HEADER_BYTES
            if (record := next(records, None)) is None:
                break
            stream.allowed = None
            if record.format != "warc" or not record.rec_headers.get_header("Content-Length"):
                raise ValueError(f"record {number} is no WARC record, or the file ends inside it")
            read = _reader(record)
            content = record.raw_stream.read(PAGE_BYTES) if read else b""
            while record.raw_stream.read(_BLOCK):
                pass
            if record.raw_stream.limit:
                raise ValueError(f"the file ends inside record {number}")
            if read and content:
                yield from _understood(record, content, number=number, read=read)
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
    return _read_response if record.rec_type == "response" else None


def _understood(
    record: Any, content: bytes, *, number: int, read: Any
) -> Iterator[list[Candidate] | BrokenRecord]:
    from warcio.bufferedreaders import ChunkedDataException

    try:
        found: list[Candidate] | None = read(record, content)
    except (
        ValueError,
        EOFError,
        OSError,
        zlib.error,
        RecursionError,
        ChunkedDataException,
    ) as error:
        problem = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        yield BrokenRecord(number, _page(record), problem)
        return
    if found is not None:
        yield [one for one in found if not SURROGATE.search(one.url)]
        for one in found:
            if SURROGATE.search(one.url):
                problem = f"half a surrogate pair in the URL {scalar(one.url)[:100]}"
                yield BrokenRecord(number, _page(record), problem)


def _page(record: Any) -> str:
    return (record.rec_headers.get_header("WARC-Target-URI") or "").strip("<> ")


def _read_extract(record: Any, content: bytes) -> list[Candidate]:
    return wat_candidates(json.loads(content))


def _read_response(record: Any, content: bytes) -> list[Candidate] | None:
    from warcio.statusandheaders import StatusAndHeadersParser

    page = _page(record)
    if not page:
        raise ValueError("a response without WARC-Target-URI")
    if not page.startswith(("http:", "https:")):
        return None
    source = io.BytesIO(content)
    http = StatusAndHeadersParser([], verify=False).parse(source)
    served = (http.get_header("Content-Type") or "").strip().lower()
    if http.get_statuscode() != "200" or not served.startswith(_HTML):
        return None
    record.http_headers = http
    return _read_page(record, content[source.tell() :])


def _read_page(record: Any, content: bytes) -> list[Candidate]:
    record.raw_stream = io.BytesIO(content)
    body, unpacked = bytearray(), record.content_stream()
    while len(body) < PAGE_BYTES and (block := unpacked.read(PAGE_BYTES - len(body))):
        body += block
    headers = record.http_headers or record.rec_headers
    content_type = headers.get_header("Content-Type") or ""
    return page_candidates(decode_page(bytes(body), content_type=content_type), page=_page(record))
