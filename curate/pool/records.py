"""A reader of the records of WARC and WAT files that recovers from broken ones.

warcio's iterator takes a truncated file for a complete one, and ends at a record whose Content-Length
is wrong. Here the length is checked: after the content comes the next record, or nothing. Where the
length is wrong, the record ends where the next one begins, or with the gzip member that it is in.
"""

import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curate.files.unpacking import Unpacked

if TYPE_CHECKING:
    from warcio.statusandheaders import StatusAndHeaders

CONTENT_BYTES = 10_000_000
"""Bytes that are read of the content of a record, at most."""
HEADER_BYTES = 1 << 20
"""Bytes between two records with the header of the second, at most; else the file is broken."""

_BLOCK = 1 << 16
_START = b"WARC/"
_NEXT = re.compile(rb"\n(?=WARC/[01]\.[0-9]+\r?\n)")
_LONGEST_START = 12
_LOOKAHEAD = 256
_BLANKS = b"\r\n\0"
_BLANK_LINE = b"\r\n\r\n"
_VERSIONS = ("WARC/1.1", "WARC/1.0", "WARC/0.17", "WARC/0.18")


@dataclass(frozen=True)
class Record:
    """A record: warcio's headers, and the beginning of its content where that is wanted."""

    number: int  # in the file, from 1
    headers: "StatusAndHeaders"
    content: bytes = b""

    @property
    def kind(self) -> str:
        """Its WARC-Type."""
        return self.header("WARC-Type")

    def header(self, name: str) -> str:
        """The value of a header, empty where there is none."""
        return self.headers.get_header(name) or ""


@dataclass(frozen=True)
class LostRecords:
    """A stretch of the file that is no record; reading continues after it."""

    number: int
    problem: str


class _Source:
    """A buffer over the unpacked bytes of a file, with the starts of its gzip members."""

    def __init__(self, file: Unpacked) -> None:
        self._file = file
        self.held = bytearray()
        self.dropped = 0  # bytes before those held
        self.members: deque[int] = deque()  # where members begin that are ahead
        self.ended = False
        self.broken: ValueError | None = None  # why it has ended

    def fill(self, size: int) -> bool:
        """Read until the buffer holds `size` bytes; False where the file ends before."""
        while len(self.held) < size and not self.ended:
            try:
                block = self._file.piece(_BLOCK)
            except ValueError as error:
                self.broken, block = error, b""
            if self._file.begins and block:
                self.members.append(self.dropped + len(self.held))
            self.held += block
            self.ended = not block
        return len(self.held) >= size

    def drop(self, size: int) -> None:
        """Discard the first `size` bytes of the buffer."""
        del self.held[:size]
        self.dropped += size
        while self.members and self.members[0] < self.dropped:
            self.members.popleft()

    def member(self, size: int) -> int | None:
        """The offset in the next `size` bytes of a member that begins with a record, or None.

        In files that were compressed in blocks, members may begin inside a record; these do not count.
        """
        for place in self.members:
            at = place - self.dropped
            is_ahead = 0 < at < size and self.fill(at + len(_START))
            if is_ahead and self.held.startswith(_START, at):
                return at
        return None

    def cut_off(self, number: int) -> ValueError:
        """The error for a file that ends inside a record."""
        return self.broken or ValueError(f"the file ends inside record {number}")


def read_records(
    file: Unpacked, *, wanted: Callable[[Record], bool]
) -> Iterator[Record | LostRecords]:
    """The records of a file, with content where they are `wanted`, and the stretches that are none.

    Raises
    ------
    ValueError
        Where the file does not begin with a record, is broken or truncated.
    """
    source, number = _Source(file), 0
    while _skip_blanks(source):
        number += 1
        if not source.held.startswith(_START):
            if _START.startswith(source.held):
                raise source.cut_off(number)
            if number == 1:
                raise ValueError("it does not begin with a WARC record")
            yield LostRecords(number, "not a WARC record")
            _skip_to_next(source)
            continue
        opens_member = bool(source.members) and source.members[0] == source.dropped
        headers = _headers(source, number)
        record = Record(number, headers)
        length = record.header("Content-Length").strip()
        known = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else 0
        content = _content(source, known, number, to_end=opens_member)
        if wanted(record):
            record = Record(number, headers, content)
        yield record
    if source.broken:
        raise source.broken


def _skip_blanks(source: _Source) -> bool:
    """Skip line breaks and padding; False at the end of the file."""
    blanks = 0
    while source.fill(_LONGEST_START) or source.held:
        found = len(source.held) - len(source.held.lstrip(_BLANKS))
        blanks += found
        source.drop(found)
        if blanks > HEADER_BYTES:
            raise ValueError(f"over {HEADER_BYTES >> 20} MB of blank lines")
        if source.held and (len(source.held) >= _LONGEST_START or source.ended):
            return True
    return False


def _headers(source: _Source, number: int) -> "StatusAndHeaders":
    from warcio.exceptions import ArchiveLoadFailed
    from warcio.statusandheaders import StatusAndHeadersParser, StatusAndHeadersParserException

    size = 0
    while not (end := re.compile(rb"\n\r?\n").search(source.held, max(0, size - 3))):
        size = len(source.held)
        if size > HEADER_BYTES:
            raise ValueError(f"a header of over {HEADER_BYTES >> 20} MB")
        if not source.fill(size + 1):
            raise source.cut_off(number)
    head = bytes(source.held[: end.end()])
    source.drop(end.end())
    try:
        return StatusAndHeadersParser(_VERSIONS).parse(io.BytesIO(head))
    except (ArchiveLoadFailed, StatusAndHeadersParserException, EOFError) as error:
        said = str(error).strip().splitlines() or ["no header"]
        raise ValueError(said[0][:80].encode("ascii", "replace").decode()) from None


def _content(source: _Source, length: int, number: int, *, to_end: bool) -> bytes:
    """The beginning of a record's content; the source is then after all of it.

    A record with a gzip member of its own (`to_end`) extends to the end of that.
    """
    kept = min(length, CONTENT_BYTES)
    whole = source.fill(kept + _LONGEST_START)
    end = source.member(min(len(source.held), length + 1))
    if end is not None:  # a member with the next record begins before this one ends
        return _up_to(source, end)
    if not whole and len(source.held) < length:
        return _shortened(source, number, to_end=to_end)
    if length > kept:
        return _long(source, length, number)
    if _ends(source, length):
        return _taken(source, length)
    found = _NEXT.search(source.held, 0, length + _LONGEST_START)
    if found:
        return _up_to(source, found.end())
    return _lengthened(source, length, to_end=to_end)


def _taken(source: _Source, end: int) -> bytes:
    content = bytes(source.held[: min(end, CONTENT_BYTES)])
    source.drop(end)
    return content


def _up_to(source: _Source, end: int) -> bytes:
    """The content up to the next record, without the line breaks between them."""
    return _taken(source, end).removesuffix(b"\r\n").removesuffix(b"\r\n")


def _ends(source: _Source, at: int) -> bool:
    """Whether the next record, a blank line or nothing follows after a content that ends at `at`."""
    source.fill(at + _LOOKAHEAD)
    rest = bytes(source.held[at : at + _LOOKAHEAD])
    if rest.startswith(_BLANK_LINE) and at:  # unless it is the one behind a page's headers
        return not source.held.startswith(b"HTTP/") or source.held.find(_BLANK_LINE, 0, at) >= 0
    rest = rest.lstrip(_BLANKS)
    return not rest or rest.startswith(_START)


def _shortened(source: _Source, number: int, *, to_end: bool) -> bytes:
    """The content of a record whose length goes beyond the end of the file."""
    if found := _NEXT.search(source.held):
        return _up_to(source, found.end())
    if to_end and not source.broken:
        return _up_to(source, len(source.held))
    raise source.cut_off(number)


def _long(source: _Source, length: int, number: int) -> bytes:
    """The beginning of a content that is longer than `CONTENT_BYTES`."""
    content = _taken(source, CONTENT_BYTES)
    left = length - CONTENT_BYTES
    while left:
        if not source.fill(1):
            raise source.cut_off(number)
        source.fill(_BLOCK)
        end = source.member(min(left, len(source.held)))
        step = min(left, len(source.held)) if end is None else end
        source.drop(step)
        left = 0 if end is not None else left - step
    return content


def _lengthened(source: _Source, length: int, *, to_end: bool) -> bytes:
    """The content of a record that is longer than its length says: up to the next record."""
    size = length
    while True:
        looked_at = max(0, size - _LONGEST_START)
        there = source.fill(size + _BLOCK)
        size = len(source.held)
        end = source.member(size)
        found = _NEXT.search(source.held, looked_at, size if end is None else end)
        if found:
            return _up_to(source, found.end())
        if end is not None:
            return _up_to(source, end)
        if not there:  # nothing follows that could be a record
            return _up_to(source, size) if to_end and not source.broken else _taken(source, length)
        if size > CONTENT_BYTES + length:
            return _taken(source, length)


def _skip_to_next(source: _Source) -> None:
    """Skip to the next record, or to the end of the file."""
    source.drop(1)
    while source.fill(_BLOCK) or source.held:
        end = source.member(len(source.held))
        found = _NEXT.search(source.held, 0, len(source.held) if end is None else end)
        if found or end is not None:
            source.drop(found.end() if found else end or 0)
            return
        if source.ended:
            source.drop(len(source.held))
            return
        source.drop(max(0, len(source.held) - _LONGEST_START))
