"""The samples of WebDataset tars: adjacent members whose names agree up to the first dot.

That is the webdataset library's rule, with two differences: an ending that repeats in a sample, an
error there, begins another sample with the same key; and archives that were concatenated with `cat`
are read to the end.
"""

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from curate import files
from curate.files.unpacking import packing
from curate.pool.rows import UnreadableError

ENDINGS = frozenset(["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "svg"])
"""The endings of images; their content is checked by the decoder."""
TEXT_BYTES = 1 << 24
"""Bytes of a text, or of the header of a member, at most."""

_KEY = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)$")
_SHOWN = 5  # endings in a message
_BLOCK = tarfile.BLOCKSIZE
_FARTHEST = 1 << 50  # no file is longer


@dataclass
class Sample:
    """A sample of a tar: the place of its image, and its texts."""

    number: int
    key: str
    nth: int = 1  # of the samples with this key
    image: tuple[int, int] | None = None  # offset and bytes
    text: bytes | None = None
    document: bytes | None = None
    endings: list[str] = field(default_factory=list)
    problem: str = ""  # why one of its members cannot be read

    @property
    def name(self) -> str:
        """The key; for a second sample with it, ``KEY.2``, which is no key, as keys have no dots."""
        return f"{self.key}.{self.nth}" if self.nth > 1 else self.key

    def check(self) -> None:
        """Raise a ValueError where a member cannot be read, or there is no image."""
        if self.problem:
            raise ValueError(self.problem)
        if self.image is None:
            there = ", ".join(f".{x}" for x in self.endings[:_SHOWN])
            more = ", …" if len(self.endings) > _SHOWN else ""
            images = ", ".join(f".{x}" for x in sorted(ENDINGS))
            apart = (
                f"; its key, {self.key}, has come before: the members of a sample must be neighbours,"
                " as tar --sort=name packs them"
            )
            raise ValueError(
                f"a sample without an image: its files end in {there}{more} (from the first dot); read"
                f" are .txt, .json and the images {images}{apart if self.nth > 1 else ''}"
            )


def read_samples(path: str, *, texts: bool = True) -> Iterator[Sample]:
    """The samples of the tar at `path`, in order; `texts` says whether to read their texts.

    Raises
    ------
    tarfile.TarError, OSError, ValueError
        Where the tar is broken or truncated, after the samples before; the last one may lack members
        and is left out. Also where it has members, but no sample.
    UnreadableError
        Where the tar is compressed.
    """
    sample: Sample | None = None
    seen: Counter[str] = Counter()
    others = 0
    with files.open_read(path) as file:
        if kind := packing(file.read(_BLOCK)):
            raise UnreadableError(
                f"{path}: it is packed ({kind}); tars are read unpacked, as images are read from their"
                " places in them: unpack it first"
            )
        file.seek(0)
        for archive, member in archive_members(file):
            matched = _KEY.match(member.name)
            if matched is None:
                others += 1
                continue
            key, ending = matched[1], matched[2].lower()
            if sample is None or key != sample.key or ending in sample.endings:
                if sample is not None:
                    yield sample
                seen[key] += 1
                number = sample.number + 1 if sample else 1
                sample = Sample(number=number, key=key, nth=seen[key])
            sample.endings.append(ending)
            is_text = ending in ("txt", "json")
            if not is_text and ending not in ENDINGS:
                continue
            if not member.isreg() or member.issparse():
                sample.problem = _unlike_a_file(member)
            elif not is_text:
                sample.image = sample.image or (member.offset_data, member.size)
            elif member.size > TEXT_BYTES:
                sample.problem = f"its .{ending} has over {TEXT_BYTES >> 20} MB"
            elif texts:
                content = archive.extractfile(member)
                setattr(
                    sample, "text" if ending == "txt" else "document", content and content.read()
                )
    if sample is not None:
        yield sample
    elif others:
        raise ValueError(f"none of its {others:,} files is called KEY.ENDING, such as 0001.jpg")


def _unlike_a_file(member: tarfile.TarInfo) -> str:
    if member.issparse():
        return f"{member.name} is stored with holes; pack the tar without --sparse"
    return (
        f"{member.name} is a link to {member.linkname}, which is not followed; pack the tar with"
        " --dereference --hard-dereference"
    )


class _Headers:
    """A file for `tarfile` that limits each read to the size of a header or a text."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell

    def seek(self, at: int) -> int:
        if not 0 <= at <= _FARTHEST:
            raise tarfile.ReadError(f"a member that ends at offset {at:,}")
        return self._file.seek(at)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= TEXT_BYTES + _BLOCK:
            raise tarfile.ReadError(f"a header of {size:,} bytes before offset {self.tell():,}")
        return self._file.read(size)


def archive_members(file: IO[bytes]) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The files and links of an archive, and of those concatenated to it.

    Headers are read up to `TEXT_BYTES`, and a file of the archive in pieces of at most that.
    """
    start: int | None = 0
    while start is not None:
        file.seek(start)
        with tarfile.open(fileobj=_Headers(file), mode="r:") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members = []  # else tarfile keeps all of them in memory
                if member.size < 0:
                    raise tarfile.ReadError(f"{member.name} has {member.size:,} bytes")
                if member.isreg() or member.islnk() or member.issym():
                    yield archive, member
            end = archive.offset
        # A broken header ends an archive as its last block does; only that one is empty.
        file.seek(end)
        if file.read(_BLOCK).strip(b"\0"):
            raise tarfile.ReadError(f"no valid header at offset {end}")
        start = _further(file, end)


def _further(file: IO[bytes], end: int) -> int | None:
    """The offset of an archive after the empty blocks at `end`; None where there is none."""
    file.seek(end)
    at = end
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            first = len(block) - len(block.lstrip(b"\0"))
            at += first - first % _BLOCK
            file.seek(at)
            try:
                tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                return None  # padding of another kind
            return at
        at += len(block)
    return None
