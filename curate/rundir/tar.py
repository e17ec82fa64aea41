"""Tar files whose bytes depend on their members alone, and the place of each member in them."""

import hashlib
import tarfile
from typing import IO

BLOCK = 512
"""Bytes that members begin at multiples of: what their headers take."""


class TarWriter:
    """Appends members with a fixed owner, mode and time; `end` closes the archive."""

    def __init__(self, file: IO[bytes], *, hashed: bool = True) -> None:
        self._file = file
        self._at = 0
        self._digest = hashlib.sha256() if hashed else None

    def add(self, name: str, content: bytes) -> int:
        """Append a member; the offset of its first content byte."""
        offset = self._at + BLOCK
        header = _header(name, len(content))
        self._write(b"".join((header, content, bytes(-len(content) % BLOCK))))
        return offset + len(header) - BLOCK

    def end(self) -> str:
        """Write the end of the archive; the SHA-256 (hex) of all its bytes, if it is `hashed`."""
        self._write(bytes(2 * BLOCK))
        self._write(bytes(-self._at % tarfile.RECORDSIZE))
        return self._digest.hexdigest() if self._digest else ""

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._at

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        if self._digest:
            self._digest.update(content)
        self._at += len(content)


def _by_tarfile(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o644
    try:
        return header.tobuf(tarfile.USTAR_FORMAT, "utf-8")
    except ValueError:  # it has no room for the name, or for the size
        return header.tobuf(tarfile.GNU_FORMAT, "utf-8")


_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 156)
_NAMELESS = _by_tarfile("", 0)
_SUM = sum(_NAMELESS) - sum(_NAMELESS[_CHECKSUM]) + 8 * ord(" ") - sum(_NAMELESS[_SIZE])


def _header(name: str, size: int) -> bytes:
    """A member's header; `tarfile`, which takes eight times as long, does what is out of the way."""
    coded, digits = name.encode(errors="surrogateescape"), b"%011o" % size
    if len(coded) > _NAME.stop or len(digits) > _SIZE.stop - _SIZE.start:
        return _by_tarfile(name, size)
    header = bytearray(_NAMELESS)
    header[: len(coded)] = coded
    header[_SIZE] = digits
    header[_CHECKSUM] = b"%06o\0 " % (_SUM + sum(coded) + sum(digits))
    return bytes(header)


def read_member(file: IO[bytes], *, name: str, offset: int, size: int) -> bytes:
    """The content of the member `name`, which begins at `offset`; see `content_of_member`."""
    file.seek(offset - BLOCK)
    return content_of_member(file.read(BLOCK + size), name=name, offset=offset, size=size)


def content_of_member(block: bytes, *, name: str, offset: int, size: int) -> bytes:
    """The content of the member `name`, whose header `block` begins with.

    The header in front of it must name the member and its size: a tar that does not belong to its
    table is found out instead of giving another pair's image.
    """
    if len(block) == BLOCK + size and block.startswith(_header(name, size)):
        return block[BLOCK:]
    try:
        header = tarfile.TarInfo.frombuf(block[:BLOCK], "utf-8", "strict")
        found = f"{header.name} of {header.size} bytes"
    except tarfile.HeaderError:
        found = "nothing"
    wanted = f"{name} of {size} bytes"
    if found == wanted and len(block) < BLOCK + size:
        found = f"{len(block) - BLOCK} of them"
    if found != wanted:
        raise tarfile.ReadError(f"expected {wanted} at offset {offset}, found {found}")
    return block[BLOCK:]


REVOKED = "revoked"
"""The name of a member whose content was taken out."""


def blanked(file: IO[bytes], *, stems: set[str]) -> list[tuple[int, int]]:
    """Offset of the header and size of the content of each member whose name begins with a stem."""
    found: list[tuple[int, int]] = []
    at = 0
    while True:
        file.seek(at)
        block = file.read(BLOCK)
        if len(block) < BLOCK or not any(block):
            return found
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        if header.name.partition(".")[0] in stems:
            found.append((at, header.size))
        at += BLOCK + -(-header.size // BLOCK) * BLOCK


def blank_header(size: int) -> bytes:
    """The header of a member of `size` bytes whose content was taken out."""
    return _header(REVOKED, size)
