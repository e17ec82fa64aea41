"""How bytes are decoded: by a byte order mark, else as UTF-16 if they begin like it, else as UTF-8.

Other encodings are not guessed: a wrong guess would spoil captions without anybody noticing.
"""

import codecs
import re

from curate import files
from curate.errors import CurateError
from curate.files.unpacking import Unpacked

LIST_BYTES = 1 << 31
"""The most bytes that a list may have once it is unpacked."""
TRIED = "not UTF-8, nor marked as UTF-16; save it as UTF-8, as with: iconv -f WINDOWS-1252 -t UTF-8"
"""What is said of bytes that are no text, and what to do."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_UNMARKED = ((rb"[\t-~]\0[\t-~]\0", "utf-16-le"), (rb"\0[\t-~]\0[\t-~]", "utf-16-be"))


def encoding_of(head: bytes) -> tuple[str, int]:
    """The codec of a text that begins with `head`, and the bytes of its byte order mark.

    >>> encoding_of("a é".encode("utf-16")), encoding_of("a é".encode())
    (('utf-16-le', 2), ('utf-8', 0))
    """
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec, len(mark)
    return next((codec for start, codec in _UNMARKED if re.match(start, head)), "utf-8"), 0


def decoded(content: bytes) -> str:
    """`content` as text, without its byte order mark.

    Raises
    ------
    ValueError
        Where it is none: naming the encoding that was tried, the line and the remedy.
    """
    codec, mark = encoding_of(content[:4])
    try:
        return content[mark:].decode(codec)
    except UnicodeDecodeError as error:
        line = content[mark:][: error.start].decode(codec, "ignore").count("\n") + 1
        tried = (
            TRIED
            if codec == "utf-8"
            else f"not {codec.upper()}, as which it begins; save it as UTF-8"
        )
        raise ValueError(f"line {line} is {tried}") from None


def utf8(content: bytes) -> bytes:
    """`content`, a text, as UTF-8 without a byte order mark; raises as :func:`decoded`."""
    text = decoded(content)
    codec, mark = encoding_of(content[:4])
    return content[mark:] if codec == "utf-8" else text.encode()


def read_text(url: str) -> str:
    """The text of the file at `url`, which may be packed.

    Raises
    ------
    CurateError
        Naming the file, where it is not there, no text, damaged or endless.
    """
    return read_utf8(url).decode()


def read_utf8(url: str) -> bytes:
    """The same as UTF-8."""
    with files.open_read(url) as file:
        try:
            return utf8(Unpacked(file, named=url).whole(LIST_BYTES))
        except ValueError as error:
            raise CurateError(f"{url}: {error}") from None
