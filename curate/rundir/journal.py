"""Records that outlive their writer: what was complete when it died is read again by the next one.

A record is ``uint32 checksum, uint32 m, uint32 n`` (little endian), m bytes of JSON ``[key, columns]``
and n bytes of content; the CRC-32 covers all that follows it. The first one of a file says what the
others depend on. A file has one writer; its readers stop at the first record that is not whole.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

_CHECKSUM = struct.Struct("<I")
_SIZES = struct.Struct("<II")
_HEAD = _CHECKSUM.size + _SIZES.size

Columns = dict[str, Any]
"""What JSON can hold, by name."""


class Journal:
    """Columns and content by key, in a file of its own and in those of earlier writers.

    Every record reaches the operating system before `put` returns, so it survives the death of the
    process; none is forced to the disk, so the death of the machine may cost the last ones. The
    latest record of a key counts.

    >>> import io
    >>> first = io.BytesIO()
    >>> Journal(first, of="settings").put("a", {"width": 2}, b"image")
    >>> second = Journal(io.BytesIO(), of="settings", earlier=[first])
    >>> second.columns, second.content("a")
    ({'a': {'width': 2}}, b'image')
    """

    def __init__(self, file: IO[bytes], *, of: str, earlier: Sequence[IO[bytes]] = ()) -> None:
        """`file` is empty; of `earlier`, oldest first, those count that were begun with this `of`."""
        self.columns: dict[str, Columns] = {}
        self._file = file
        self._places: dict[str, tuple[IO[bytes], int, int]] = {}  # offset and size of the content
        for one in earlier:
            records = _whole_records(one)
            if next(records, (None,))[0] == of:
                for key, columns, offset, size in records:
                    self.columns[key] = columns
                    self._places[key] = one, offset, size
        self._append(of, {}, b"")

    def put(self, key: str, columns: Columns, content: bytes) -> None:
        """Append a record."""
        end = self._append(key, columns, content)
        self.columns[key] = columns
        self._places[key] = self._file, end - len(content), len(content)

    def content(self, key: str) -> bytes:
        """The content of the latest record of `key`."""
        file, offset, size = self._places[key]
        file.seek(offset)
        return file.read(size)

    def count(self, n: int) -> None:
        """Append `n` empty records: `grown` counts records, for the progress bars."""
        self._append("", {}, b"", times=n)

    def _append(self, key: str, columns: Columns, content: bytes, *, times: int = 1) -> int:
        meta = json.dumps([key, columns]).encode()
        sizes = _SIZES.pack(len(meta), len(content))
        checksum = zlib.crc32(content, zlib.crc32(meta, zlib.crc32(sizes)))
        self._file.seek(0, 2)
        self._file.write(b"".join((_CHECKSUM.pack(checksum), sizes, meta, content)) * times)
        self._file.flush()
        return self._file.tell()


def grown(file: IO[bytes], start: int = 0) -> tuple[int, int]:
    """How many whole records there are from `start` on, and where they end; only sizes are read."""
    size = file.seek(0, 2)
    n = 0
    while start + _HEAD <= size:
        file.seek(start + _CHECKSUM.size)
        end = start + _HEAD + sum(_SIZES.unpack(file.read(_SIZES.size)))
        if end > size:
            break
        start, n = end, n + 1
    return n, start


def _whole_records(file: IO[bytes]) -> Iterator[tuple[str, Columns, int, int]]:
    """Key, columns, and offset and size of the content of each record up to the first damaged one."""
    left = file.seek(0, 2)
    at = file.seek(0)
    while (left := left - _HEAD) >= 0:
        head = file.read(_HEAD)
        (checksum,), (meta, size) = _CHECKSUM.unpack(head[:4]), _SIZES.unpack(head[4:])
        if (left := left - meta - size) < 0:
            return
        body = file.read(meta + size)
        if zlib.crc32(body, zlib.crc32(head[4:])) != checksum:
            return
        at += _HEAD + meta + size
        key, columns = json.loads(body[:meta])
        yield key, columns, at - size, size
