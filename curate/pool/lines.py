"""Rows of text files, good and bad, and a decoder whose output is always valid UTF-8.

Arrow's readers are many times as fast as Python, but a single bad line makes them fail. So bytes that
are not UTF-8 are replaced by a mark before Arrow sees them; `separated` sets aside rows with another
number of fields, and `jsonl` parses a block that Arrow refuses again, line by line.
"""

import codecs
import io
import json
import re
from typing import IO, NamedTuple

import pyarrow as pa

from curate.files.texts import encoding_of

NOT_UTF8 = "\ufdd0\uffff\ufdd1"
"""The mark in place of bytes that are not UTF-8; no text has these three noncharacters in a row."""
SHOWN = 500
"""Characters of a bad row that are kept for the ledger."""
LONGEST_LINE = 64 << 20
"""Bytes of a line, at most."""

_HEAD = 4  # bytes that tell the encoding
_MARKED = "curate.not_text"  # the name of the codecs' error handler that writes NOT_UTF8
codecs.register_error(_MARKED, lambda error: (NOT_UTF8, error.end))  # type: ignore[attr-defined]


class BadRow(NamedTuple):
    """A row that could not be read."""

    number: int  # of the row in the file, from 1, the header included
    problem: str
    text: str


class Rows(NamedTuple):
    """A batch of good rows, the wanted columns as strings, and the bad ones among them."""

    good: pa.Table
    bad: list[BadRow]


def shown(text: str) -> str:
    """The text of a bad row as it is kept for the ledger."""
    return text.replace(NOT_UTF8, "\ufffd")[:SHOWN]


class Utf8(io.RawIOBase):
    """A file read as valid UTF-8, whole lines at a time; invalid bytes become `NOT_UTF8`.

    UTF-16 is transcoded, and a byte order mark removed. A truncated file ends with its last complete
    line, and `broken` is then the error.
    """

    def __init__(self, file: IO[bytes], *, ending: bytes = b"") -> None:
        self._file = file
        self._ending = ending  # appended to the file
        self._decoder: codecs.IncrementalDecoder | None = None  # of another encoding than UTF-8
        self._begun = self._ended = False
        self._rest = b""  # of the last line, which is not complete yet
        self._ready = b""
        self.broken: ValueError | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end; without a size at least one byte."""
        while len(self._ready) < max(size, 1) and not self._ended:
            self._ready += self._lines(size)
        if size < 0:
            size = len(self._ready)
        ready, self._ready = self._ready[:size], self._ready[size:]
        return ready

    def _lines(self, size: int) -> bytes:
        block = self._block(size)
        self._ended = not block
        if self._decoder:
            block = self._decoder.decode(block, final=not block).encode()
        content = self._rest + block
        cut = content.rfind(b"\n") + 1
        if self._ended and not self.broken:
            cut = len(content)
        elif not cut and len(content) > LONGEST_LINE:
            cut = _whole(content)
        self._rest = content[cut:]
        return marked(content[:cut]) + (self._ending if self._ended else b"")

    def _block(self, size: int) -> bytes:
        try:
            block = self._file.read(size)
            if self._begun:
                return block
            while 0 < len(block) < _HEAD and (more := self._file.read(_HEAD)):
                block += more
        except ValueError as error:
            self.broken = error
            return b""
        self._begun = True
        codec, mark = encoding_of(block[:_HEAD])
        if codec != "utf-8":
            self._decoder = codecs.getincrementaldecoder(codec)(_MARKED)
        return block[mark:] or self._block(size) if block else block


def marked(content: bytes) -> bytes:
    """`content` with `NOT_UTF8` in place of bytes that are not UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        text = content.decode(errors="surrogateescape")
        return re.sub("[\udc80-\udcff]+", NOT_UTF8, text).encode()
    return content


def _whole(content: bytes) -> int:
    """The length of `content` without an incomplete character at its end."""
    for back in range(1, min(4, len(content) + 1)):
        byte = content[-back]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(content) - back if back < wanted else len(content)
        if byte < 0x80:
            break
    return len(content)


def json_text(value: object) -> str | None:
    """A text as it is, anything else as JSON; a ValueError where that is not valid Unicode."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text.encode()  # half a surrogate pair is none
    return text
