"""The members of a tar, whatever state it is in, read in large pieces.

`tarfile` ends an archive at the first header that it does not understand, and takes ten times as long.
Behind a damaged header the walk goes on at the next whole one.
"""

from collections.abc import Callable, Generator, Iterator
from typing import IO, NamedTuple
from zlib import adler32

from curate.checking.headers import (
    BLOCK,
    KIND,
    LOW,
    SUM,
    is_header,
    name_of,
    number_of,
    padded,
    path_of,
    text_of,
)  # fmt: skip
from curate.checking.kinds import Kind

PIECE = 1 << 19
"""Bytes that are read at once: they stay in the processor's cache."""
MOST = 1 << 28
"""Bytes of a member, at most, whose content is handed on."""

_EMPTY = bytes(BLOCK)
_FILE = frozenset(b"0\x007")  # a regular file, also as old tars and as real-time systems have it
_PLAIN, _NAME = ord("0"), 99  # the usual mark of a file, and the longest name that ends in a zero
_LINKS = frozenset(b"12346S")
_BARE = frozenset(b"123456")  # links, devices and folders, behind which there is no content
_LONG_NAME, _LONG_LINK, _PAX, _PAX_OF_ALL = b"LKxg"
_SPARSE = ord("S")
_EXTENDED, _EXTENDED_FURTHER = 482, 504  # where a sparse header says that more of it follows


class Member(NamedTuple):
    """A file or link of a tar."""

    name: str
    header: int  # offset of its header
    start: int  # offset of its content
    size: int
    is_file: bool  # whether it is no link, device or file with holes


class Fault(NamedTuple):
    """What is wrong with the tar itself."""

    kind: Kind
    at: int  # offset
    name: str = ""  # of the member, as far as it can be read
    what: str = ""


Found = tuple[Member, bytes | None] | Fault
"""A member with its content, if that is not over `MOST`; or a fault, in the order of the file."""


class Walk:
    """Reads a tar of `size` bytes; `see` is handed all bytes of the file, in order."""

    def __init__(
        self, file: IO[bytes], *, size: int, see: Callable[[bytes], None] | None = None
    ) -> None:
        self._file = file
        self._size = size
        self._see = see
        self._piece = b""
        self._base = 0  # offset of the piece in the file
        self._ended = False
        self._long = ""  # the name of the next member, where an extended header has it

    def __iter__(self) -> Iterator[Found]:
        """The members and faults, in the order of the file."""
        at = self._fill(0, BLOCK)
        while True:
            at = yield from self._regular(at)
            piece = self._piece
            head = piece[at : at + BLOCK]
            if len(head) < BLOCK:
                if not self._all_read:
                    at = self._fill(at, BLOCK)
                    continue
                yield from self._cut(at, head)
                return
            if not is_header(head):
                if head == _EMPTY:
                    yield from self._end(at)
                    return
                what = f"the header at byte {self._base + at:,} is not what was written"
                yield Fault(Kind.DAMAGED_HEADER, self._base + at, name_of(head), what)
                self._long = ""
                at = self._next_whole(at + BLOCK)
                continue
            kind = head[KIND]
            size = 0 if kind in _BARE else number_of(head[124:136])
            start = at + BLOCK if kind != _SPARSE else self._behind_map(at)
            stop = start + size
            if stop > len(piece) and not self._all_read:
                if size <= MOST:
                    at = self._fill(at, stop - at)
                    continue
                if self._base + stop <= self._size:
                    yield self._member(head, at, start, size), None
                    at = self._skip(start + padded(size))
                    continue
            if self._base + stop > self._size or (self._ended and stop > len(piece)):
                yield self._truncated(at, self._long or name_of(head))
                return
            if kind in _FILE or kind in _LINKS:
                member = self._member(head, at, start, size)
                if not member.name.endswith("/"):  # a folder, as old tars have it
                    yield member, piece[start:stop] if member.is_file else None
            elif kind == _LONG_NAME:
                self._long = text_of(piece[start:stop])
            elif kind == _PAX:
                self._long = path_of(piece[start:stop]) or self._long
            at = start + padded(size)
            if at > len(piece):  # it has the whole content, but not all of the padding
                at = self._skip(at)

    def _regular(self, at: int) -> Generator[Found, None, int]:
        """Plain files with plain names that the piece holds whole, from `at` on; where others begin.

        What nearly all members are, told in a fifth of the time.
        """
        if self._long:
            return at
        piece, base, new = self._piece, self._base, tuple.__new__
        last = len(piece) - BLOCK
        while at <= last:
            start = at + BLOCK
            head = piece[at:start]
            try:
                size, stored = int(head[124:135], 8), int(head[148:154], 8)
            except ValueError:
                return at
            found = (adler32(head) & LOW) - (adler32(head[SUM]) & LOW) + 256
            stop = start + size
            if head[KIND] != _PLAIN or found != stored or head[345] or size < 0 or stop > last:
                return at
            name = head[: head.find(0)]
            if not name or len(name) > _NAME or not name.isascii():
                return at
            yield (
                new(Member, (name.decode(), base + at, base + start, size, True)),
                piece[start:stop],
            )
            at = start + (size + 511 & ~511)
        return at

    def _member(self, head: bytes, at: int, start: int, size: int) -> Member:
        name = self._long or name_of(head)
        self._long = ""
        return Member(name, self._base + at, self._base + start, size, head[KIND] in _FILE)

    def _fill(self, at: int, wanted: int) -> int:
        """Read on, so that `wanted` bytes from `at` of the piece are there; where `at` is then."""
        rest = self._piece[at:]
        more = self._read(max(PIECE, wanted - len(rest)))
        self._base += at
        self._piece = rest + more if rest else more
        return 0

    def _read(self, size: int) -> bytes:
        more = self._file.read(size)
        self._ended = not more
        if self._see and more:
            self._see(more)
        return more

    @property
    def _all_read(self) -> bool:
        return self._ended or self._base + len(self._piece) >= self._size

    def _skip(self, to: int) -> int:
        """Read up to `to` of the piece without keeping it; where that is then."""
        while to > len(self._piece) and not self._all_read:
            to -= len(self._piece)
            self._base += len(self._piece)
            self._piece = self._read(PIECE)
        return min(to, len(self._piece))

    def _behind_map(self, at: int) -> int:
        """Where the content of a file with holes begins."""
        extended, following = self._piece[at + _EXTENDED], at + BLOCK
        while extended and following + BLOCK <= len(self._piece):
            extended = self._piece[following + _EXTENDED_FURTHER]
            following += BLOCK
        return following

    def _next_whole(self, at: int) -> int:
        """Where the next header is, or the empty blocks at the end: at a multiple of a block.

        Content may hold empty blocks, too.
        """
        while True:
            for place in range(at, len(self._piece) - BLOCK + 1, BLOCK):
                block = self._piece[place : place + BLOCK]
                is_likely = block[257:262] == b"ustar" or not block[KIND]
                if is_likely and block != _EMPTY and is_header(block):
                    return place
            if self._all_read:
                return min(padded(len(self._piece.rstrip(b"\0"))), len(self._piece))
            at = max(at, len(self._piece) // BLOCK * BLOCK)
            over = at - len(self._piece)
            at = self._fill(min(at, len(self._piece)), BLOCK) + max(over, 0)

    def _truncated(self, at: int, name: str) -> Fault:
        place = self._base + at
        what = f"the file ends at byte {self._size:,}, inside the member at {place:,}"
        return Fault(Kind.TRUNCATED_TAR, place, name, what)

    def _cut(self, at: int, rest: bytes) -> Iterator[Fault]:
        """What is wrong where the file ends without an empty block."""
        if any(rest):
            yield self._truncated(at, "")
        else:
            what = "the two empty blocks that end a tar are missing"
            yield Fault(Kind.NO_END, self._base + at, what=what)

    def _end(self, at: int) -> Iterator[Fault]:
        """What is wrong behind the first empty block; the rest of the file is read."""
        begin, found = self._base + at, None
        while True:
            rest = self._piece[at:]
            if found is None and rest.count(0) != len(rest):
                first = len(rest) - len(rest.lstrip(b"\0"))
                place = at + first // BLOCK * BLOCK
                block = self._piece[place : place + BLOCK]
                what = (
                    f"from byte {self._base + place:,} on there is more behind the end of the tar"
                )
                name = name_of(block) if is_header(block) else ""
                found = Fault(Kind.BEHIND_END, self._base + place, name, what)
            if self._all_read:
                break
            at = self._fill(len(self._piece) // BLOCK * BLOCK, BLOCK)
        if found is not None:
            yield found
        elif self._size < begin + 2 * BLOCK:
            what = "one of the two empty blocks that end a tar is missing"
            yield Fault(Kind.NO_END, begin, what=what)
