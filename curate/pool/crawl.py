"""Crawls as pools: reads the records of WARC and WAT files and the candidates of their pages.

A WARC file holds the pages themselves, a WAT file Common Crawl's JSON extract of them.
"""

import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from curate import files
from curate.extras import install, require
from curate.files.texts import decoded
from curate.files.unpacking import Unpacked
from curate.pool.candidates import (
    SURROGATE,
    Candidate,
    choose,
    decode_page,
    page_candidates,
    scalar,
    wat_candidates,
)
from curate.pool.lines import BadRow
from curate.pool.reader import Reader, Source
from curate.pool.records import CONTENT_BYTES, LostRecords, Record, read_records
from curate.pool.rows import PoolFormat, bad_rows, batched, pool_table
from curate.schema import CANDIDATES

if TYPE_CHECKING:
    from warcio.statusandheaders import StatusAndHeaders

_PACKAGES = ("warcio", "selectolax")
_PAGES = 500  # a table
_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class BrokenRecord:
    """A record of a crawl that could not be parsed."""

    number: int  # in the file, from 1
    page: str
    problem: str


class _Crawl(Reader):
    def check_installed(self, what: str) -> None:
        for package in _PACKAGES:
            require(package, by=what, command=install("crawls"))

    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        return {}

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        """Tables with a further column `texts`: every candidate for the caption, with its source."""
        with files.open_read(source.path) as file:
            for pages in batched(read_crawl(file), size=_PAGES):
                broken = [page for page in pages if isinstance(page, BrokenRecord)]
                found = [
                    one for page in pages if not isinstance(page, BrokenRecord) for one in page
                ]
                yield _candidates(
                    found,
                    [BadRow(one.number, one.problem, one.page) for one in broken],
                    source.path,
                )


CRAWL = _Crawl()
"""Reads WARC and WAT files."""


def _candidates(found: list[Candidate], bad: list[BadRow], path: str) -> pa.Table:
    captions = [choose(one.texts) for one in found]
    good = pool_table(url=[one.url for one in found], caption=captions)
    texts = [[text._asdict() for text in one.texts] for one in found] + [None] * len(bad)
    table = pa.concat_tables([good, bad_rows(bad, path=path)])
    return table.append_column("texts", pa.array(texts, CANDIDATES))


def read_crawl(file: IO[bytes]) -> Iterator[list[Candidate] | BrokenRecord]:
    """Stream the candidates of each page in a WARC or WAT file, compressed or not.

    Pages are the HTML responses of status 200, and the JSON extracts of such.

    Raises
    ------
    ValueError
        Where the file itself is broken or ends too early.
    """
    CRAWL.check_installed("a crawl")
    for record in read_records(Unpacked(file), wanted=lambda record: _reader(record) is not None):
        if isinstance(record, LostRecords):
            yield BrokenRecord(record.number, "", record.problem)
        elif record.content:
            yield from _understood(record)


def _reader(record: Record) -> Callable[[Record], list[Candidate] | None] | None:
    kind = record.header("Content-Type")
    if record.kind == "metadata":
        return _read_extract if kind.startswith("application/json") else None
    if record.kind == "resource":
        return _read_resource if kind.startswith(_HTML) else None
    return _read_response if record.kind == "response" else None


def _understood(record: Record) -> Iterator[list[Candidate] | BrokenRecord]:
    from warcio.bufferedreaders import ChunkedDataException

    read = _reader(record)
    assert read is not None
    try:
        found = read(record)
    except (
        ValueError,
        EOFError,
        OSError,
        zlib.error,
        RecursionError,
        ChunkedDataException,
    ) as error:
        problem = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        yield BrokenRecord(record.number, _page(record), problem)
        return
    if found is not None:
        yield [one for one in found if not SURROGATE.search(one.url)]
        for one in found:
            if SURROGATE.search(one.url):
                problem = f"half a surrogate pair in the URL {scalar(one.url)[:100]}"
                yield BrokenRecord(record.number, _page(record), problem)


def _page(record: Record) -> str:
    return record.header("WARC-Target-URI").strip("<> ")


def _read_extract(record: Record) -> list[Candidate]:
    return wat_candidates(json.loads(decoded(record.content)))


def _read_response(record: Record) -> list[Candidate] | None:
    from warcio.statusandheaders import StatusAndHeadersParser

    page = _page(record)
    if not page:
        raise ValueError("a response without WARC-Target-URI")
    if not page.startswith(("http:", "https:")):
        return None
    source = io.BytesIO(record.content)
    http = StatusAndHeadersParser([], verify=False).parse(source)
    served = (http.get_header("Content-Type") or "").strip().lower()
    if http.get_statuscode() != "200" or not served.startswith(_HTML):
        return None
    return _read_page(record, http, source.read())


def _read_resource(record: Record) -> list[Candidate]:
    return _read_page(record, None, record.content)


def _read_page(record: Record, http: "StatusAndHeaders | None", content: bytes) -> list[Candidate]:
    from warcio.recordloader import ArcWarcRecord

    headers = http or record.headers
    whole = ArcWarcRecord("warc", record.kind, record.headers, io.BytesIO(content), http, "", None)
    body, unpacked = bytearray(), whole.content_stream()
    while len(body) < CONTENT_BYTES and (block := unpacked.read(CONTENT_BYTES - len(body))):
        body += block
    content_type = headers.get_header("Content-Type") or ""
    return page_candidates(decode_page(bytes(body), content_type=content_type), page=_page(record))
