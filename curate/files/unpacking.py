"""Files packed as gzip, bzip2, xz or zstandard: told by their content, and unpacked to the last byte.

Of a truncated file the standard library loses what it has unpacked already, and zstandard takes it for
a complete one. Here everything up to the break is returned first, and then the error is raised.
"""

import bz2
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

import zstandard

from curate import files

ENDINGS = ("gz", "bz2", "xz", "zst")
"""The endings of packed files' names."""
MEMORY = 1 << 27
"""Bytes that unpacking may take, at most: what `xz -9` and `zstd --ultra -22` need, and no more."""
GARBAGE = 1 << 16
"""Bytes after the last member that are taken for padding and ignored, as gzip and bzip2 do."""

PACKAGE_BYTES = 1 << 32
"""Bytes of a packed file of which any part can be read, at most."""

_IN_MEMORY = 1 << 26
_COPIED = 1 << 20  # bytes at once
_PIECE = 1 << 11  # packed bytes unpacked at once: a zstandard block of 4 bytes can hold 128 KB
_BLOCK = 1 << 14
_HEAD = 10  # bytes that tell
_MAGIC = {
    "gz": rb"\x1f\x8b\x08",
    "bz2": rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)",
    "xz": rb"\xfd7zXZ\0",
    "zst": rb"(?:\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)",
}
_STARTS = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zX", "zst": b"\x28\xb5\x2f"}


def packing(head: bytes) -> str:
    """How a file that begins with `head` is packed, one of `ENDINGS`; empty if it is not."""
    return next((kind for kind, magic in _MAGIC.items() if re.match(magic, head)), "")


def _unpacker(kind: str) -> Any:
    if kind == "gz":
        return zlib.decompressobj(wbits=31)
    if kind == "bz2":
        return bz2.BZ2Decompressor()
    if kind == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
    return zstandard.ZstdDecompressor(max_window_size=MEMORY).decompressobj()


class Unpacked(io.RawIOBase):
    """The bytes of a file, unpacked if it is packed; one of several members or frames is read whole.

    Raises
    ------
    ValueError
        Once all bytes up to there have been read: where the file is cut off, broken, or goes on with
        what is no member. At once where its name (`named`) says that it is packed and it is not.
    """

    def __init__(self, file: IO[bytes], *, named: str = "") -> None:
        self._file = file
        self._packed = file.read(_BLOCK)
        self.packing = packing(self._packed[:_HEAD])
        ending = named.lower().rpartition(".")[2]
        if ending in ENDINGS and self._packed and not self.packing:
            raise ValueError(f"it is not packed, though its name ends in .{ending}")
        self._member: Any = None
        self._held = b""  # zstandard's, which cannot be told how much to give
        self._error: Exception | None = None
        self.begins = False  # whether the last piece is the first of a member

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, or all, fewer only at the end or before what cannot be read."""
        found: list[bytes] = []
        left = size
        while left:
            try:
                piece = b"" if self._error else self.piece(left if size >= 0 else _BLOCK)
            except ValueError as error:
                self._error, piece = error, b""
            if not piece:
                break
            found.append(piece)
            left -= len(piece) if size >= 0 else 0
        if self._error and not found and size:
            raise self._error
        return b"".join(found)

    def whole(self, limit: int) -> bytes:
        """All bytes; a ValueError where they are over `limit`, or cannot all be read."""
        content = self.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"it has over {limit:,} bytes")
        if self._error:
            raise self._error
        return content

    def piece(self, size: int) -> bytes:
        """At most `size` bytes, all of one member, none of them only at the end."""
        if not self.packing:
            return self._copy(size)
        self.begins = False
        while True:
            if self._member is None and not self._next_member():
                return b""
            if block := self._unpack(size):
                return block

    def _copy(self, size: int) -> bytes:
        self._packed = self._packed or self._file.read(size)
        block, self._packed = self._packed[:size], self._packed[size:]
        return block

    def _next_member(self) -> bool:
        while self._fill(_HEAD) and not self._packed.strip(b"\0"):
            self._packed = b""
        self._packed = self._packed.lstrip(b"\0")
        self._fill(_HEAD)
        if not self._packed:
            return False
        if packing(self._packed[:_HEAD]) == self.packing:
            self._member, self.begins = _unpacker(self.packing), True
            return True
        if len(self._packed) < _HEAD and _STARTS[self.packing].startswith(self._packed[:2]):
            raise ValueError(self._cut_off())
        self._fill(GARBAGE + 1)
        if len(self._packed) > GARBAGE or re.search(_MAGIC[self.packing], self._packed):
            raise ValueError(
                f"what follows one of its {self.packing} members is none: it is damaged there"
            )
        self._packed = b""
        return False

    def _fill(self, size: int) -> bool:
        """Read until `size` packed bytes are there; whether any are."""
        while len(self._packed) < size and (block := self._file.read(_BLOCK)):
            self._packed += block
        return bool(self._packed)

    def _unpack(self, size: int) -> bytes:
        member = self._member
        try:
            if self._held:
                block, self._held = self._held[:size], self._held[size:]
            elif self.packing == "zst":
                found = member.decompress(self._take())
                block, self._held = found[:size], found[size:]
            elif self.packing == "gz":
                taken = member.unconsumed_tail or self._take()
                block = member.decompress(taken, size)
            else:
                block = member.decompress(self._take() if member.needs_input else b"", size)
        except (zlib.error, OSError, lzma.LZMAError, zstandard.ZstdError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(self._broken(error)) from None
        if member.eof and not self._held:
            self._packed, self._member = member.unused_data + self._packed, None
        return bytes(block)

    def _take(self) -> bytes:
        """The next packed bytes."""
        if not self._fill(1):
            raise ValueError(self._cut_off())
        taken, self._packed = self._packed[:_PIECE], self._packed[_PIECE:]
        return taken

    def _cut_off(self) -> str:
        return (
            f"the file ends inside its {self.packing} data: it is cut off; fetch or pack it again"
        )

    def _broken(self, error: Exception) -> str:
        said = str(error)
        if "memory" in said.lower():
            return (
                f"unpacking it takes over {MEMORY >> 20} MB: pack it again with a smaller window"
                " (zstd with at most --long=27, xz with at most -9)"
            )
        if "ictionary" in said:
            return "it was packed with a dictionary of its own; unpack it with that one first"
        return f"its {self.packing} data is damaged: {said}"


@contextmanager
def seekable(url: str, *, size: int | None = None) -> Iterator[IO[bytes]]:
    """The file at `url`, or if it is packed a copy of what it holds, its first `size` bytes at least.

    The copy is in memory while it is small, else on the disk.

    Raises
    ------
    ValueError
        Where it is cut off or damaged, or holds over `PACKAGE_BYTES`.
    """
    with files.open_read(url) as file:
        if not packing(file.read(_HEAD)):
            file.seek(0)
            yield file
            return
        file.seek(0)
        unpacked, held = Unpacked(file), 0
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
            while (size is None or held < size) and (block := unpacked.read(_COPIED)):
                held += copy.write(block)
                if held > PACKAGE_BYTES:
                    raise ValueError(
                        f"it holds over {PACKAGE_BYTES >> 30} GB: unpack it first, since what lies in"
                        " it is read again and again"
                    )
            copy.seek(0)
            yield cast(IO[bytes], copy)


@contextmanager
def open_unpacked(url: str) -> Iterator[IO[bytes]]:
    """The bytes of the file at `url`, unpacked if it is packed."""
    with files.open_read(url) as file:
        yield cast(IO[bytes], Unpacked(file, named=url))
