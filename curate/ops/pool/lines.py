"""Rows of text files, good and bad, and text that is UTF-8 in any case.

Arrow's readers take a block of good lines many times as fast as Python, but one bad line ends them.
So what is not UTF-8 is marked before it gets there; `separated` sets rows with another number of
fields aside, and `jsonl` reads a block that Arrow refuses again, line by line.
"""

import io
import re
from typing import IO, NamedTuple

import pyarrow as pa

NOT_UTF8 = "\ufdd0\uffff\ufdd1"
"""Stands in a row for bytes that are not UTF-8; no text has these three noncharacters in a row."""
BOM = b"\xef\xbb\xbf"
SHOWN = 500
"""Characters of a bad row that are kept."""


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
    """A file whose bytes are UTF-8 in any case: others are read as `NOT_UTF8`."""

    def __init__(self, file: IO[bytes], *, ending: bytes = b"") -> None:
        self._file = file
        self._ending = ending  # what follows its last byte
        self._rest = b""  # a character cut off at the end of what was read
        self._ready = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, more than none except at the end."""
        while not self._ready:
            block = self._file.read(size)
            content = self._rest + block
            cut = _whole(content) if block else len(content)
            self._ready, self._rest = marked(content[:cut]), content[cut:]
            if not block:
                self._ready, self._ending = self._ready + self._ending, b""
                break
        if size < 0:
            size = len(self._ready)
        ready, self._ready = self._ready[:size], self._ready[size:]
        return ready


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
