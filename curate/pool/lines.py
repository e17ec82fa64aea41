"""Rows of text files, good and bad, and text that is UTF-8 in any case.

Arrow's readers take a block of good lines many times as fast as Python, but one bad line ends them.
So what is not UTF-8 is marked before it gets there; `separated` sets rows with another number of
fields aside, and `jsonl` reads a block that Arrow refuses again, line by line.
"""

import codecs
import io
import json
import re
from typing import IO, NamedTuple

import pyarrow as pa

from curate.files.texts import encoding_of

NOT_UTF8 = "\ufdd0\uffff\ufdd1"
"""Stands in a row for bytes that are not UTF-8; no text has these three noncharacters in a row."""
SHOWN = 500
"""Characters of a bad row that are kept."""
LONGEST_LINE = 64 << 20
"""Bytes of a line, at most."""

_HEAD = 4  # bytes that tell the encoding
_MARKED = "curate.not_text"  # what Python's codecs know NOT_UTF8 by
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
    """What is kept of the text of a bad row."""
    return text.replace(NOT_UTF8, "\ufffd")[:SHOWN]


class Utf8(io.RawIOBase):
    """The lines of a file, whose bytes are UTF-8 in any case: others are read as `NOT_UTF8`.

    Text in UTF-16 becomes UTF-8, and a byte order mark goes. A file that breaks off ends with its last
    whole line, and `broken` says why.
    """

    def __init__(self, file: IO[bytes], *, ending: bytes = b"") -> None:
        self._file = file
        self._ending = ending  # what follows its last byte
        self._decoder: codecs.IncrementalDecoder | None = None  # of what is not in UTF-8
        self._begun = self._ended = False
        self._rest = b""  # of a line that has not ended in what was read
        self._ready = b""
        self.broken: ValueError | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end; with no size any number, more than none."""
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
    """`content` with `NOT_UTF8` in the places that are not UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        text = content.decode(errors="surrogateescape")
        return re.sub("[\udc80-\udcff]+", NOT_UTF8, text).encode()
    return content


def _whole(content: bytes) -> int:
    """The length of `content` without a character that is cut off at its end."""
    for back in range(1, min(4, len(content) + 1)):
        byte = content[-back]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(content) - back if back < wanted else len(content)
        if byte < 0x80:
            break
    return len(content)


def json_text(value: object) -> str | None:
    """A text as it is, anything else as JSON; a ValueError where that is no Unicode."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text.encode()  # half a surrogate pair is none
    return text
