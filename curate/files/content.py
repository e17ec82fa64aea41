"""Bytes at fsspec URLs: atomic writes, reads, scratch files, digests."""

import hashlib
import os
import re
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from curate.errors import AbsentError, CurateError, DamagedError
from curate.files.folders import changed, names
from curate.files.guards import check_change
from curate.files.places import file_system, is_local, resolve, size
from curate.files.stores import told, told_of_temporary

TEMPORARY = ".tmp"
_BUFFER = 1 << 18
"""Bytes that are written to a local file at once."""
_TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{8}\.tmp$")


@contextmanager
def atomic_write(url: str, *, synced: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that appears at `url` when the block ends, and never where it raises.

    Local and memory files are written under a temporary name, hidden from who reads the folder, and
    renamed, local ones once they are on the disk: a power cut leaves the old file or the new one.
    Scratch, which is made anew after one, need not be `synced`. On object stores an upload becomes
    visible when it is complete, so nothing needs renaming there.
    """
    fs, path = file_system(url)
    renames = isinstance(fs, LocalFileSystem | MemoryFileSystem)
    folder, _, name = path.rpartition("/")
    target = f"{folder}/.{name}.{secrets.token_hex(4)}{TEMPORARY}" if renames else path
    with told(url, to="write"):
        if renames:
            fs.makedirs(os.path.dirname(path), exist_ok=True)
        file: IO[bytes] = _new(target) if is_local(fs) else fs.open(target, "wb")
        try:
            yield file
            check_change(url)
            if is_local(fs) and synced:
                file.flush()
                os.fsync(file.fileno())
            file.close()  # a full disk may say so here
        except BaseException:
            if renames:
                with suppress(OSError):
                    file.close()
                fs.rm_file(target)
            elif hasattr(file, "discard"):
                file.discard()
            raise
        if is_local(fs):
            os.replace(target, path)
            if synced:
                _sync(folder)
        elif renames:
            fs.cp_file(target, path)  # mv would take brackets in a name for a pattern
            fs.rm_file(target)
        changed(fs, path)


def _new(path: str) -> IO[bytes]:
    return open(path, "wb", buffering=_BUFFER)


def share(url: str, target: str) -> None:
    """Have what is at `url` at `target`, too: a hard link on one disk, else a copy.

    Neither may be changed in place afterwards, but written anew as `atomic_write` does it.
    """
    (fs, path), (there, to) = file_system(url), file_system(target)
    with told(target, to="write"):
        if is_local(fs) and is_local(there):
            there.makedirs(os.path.dirname(to), exist_ok=True)
            with suppress(OSError):  # on another disk, or one without links
                os.link(path, to)
            if os.path.exists(to):
                changed(there, to)
                return
        elif type(fs) is type(there) and fs.storage_options == there.storage_options:
            there.makedirs(os.path.dirname(to), exist_ok=True)
            fs.cp_file(path, to)
            changed(there, to)
            return
        with open_read(url) as source, atomic_write(target) as copy:
            shutil.copyfileobj(source, copy)


def _sync(folder: str) -> None:
    """Wait until the names in a local folder are on the disk, where the system can tell."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Content(NamedTuple):
    """What a file holds, as far as a record says so."""

    size: int
    crc32: int | None = None  # of all bytes; None where only the size is known

    def check(self, url: str, content: bytes) -> None:
        """Raise DamagedError where `content`, which was read from `url`, is not this."""
        if len(content) != self.size:
            raise DamagedError(url, f"it has {len(content):,} of {self.size:,} bytes")
        if self.crc32 not in (None, zlib.crc32(content)):
            raise DamagedError(url, "its content is not what was written")


def content_of(content: bytes) -> Content:
    """The size and CRC-32 of bytes."""
    return Content(len(content), zlib.crc32(content))


def content_again(url: str, old: Content) -> Content:
    """What the file at `url` holds by now, as far as was known of it before."""
    return Content(size(url)) if old.crc32 is None else content_of(read_bytes(url))


def temporaries(folder: str) -> list[str]:
    """What `atomic_write` left anywhere in `folder` where it was killed, by names relative to it.

    Object stores hold none.
    """
    fs, path = file_system(folder)
    if not isinstance(fs, LocalFileSystem | MemoryFileSystem):
        return []
    walked = ((root, names) for root, _, names in os.walk(path))
    each = fs.find(path) if not is_local(fs) else (f"{x}/{y}" for x, ys in walked for y in ys)
    found = (str(name).removeprefix(f"{path}/") for name in each)
    return sorted(name for name in found if _TEMPORARY_NAME.search(name))


@contextmanager
def scratch(folder: str) -> Iterator[tuple[IO[bytes], list[IO[bytes]]]]:
    """A new file to write to and read from, and those that earlier users left, oldest first.

    Files in a local `folder` stay until it is removed, also when their writer is killed. In place of
    a remote one stands a temporary file on this machine, which goes with its process.
    """
    fs, path = file_system(folder)
    with ExitStack() as opened:
        if not is_local(fs):
            opened.enter_context(told_of_temporary())
            yield opened.enter_context(tempfile.TemporaryFile()), []
            return
        opened.enter_context(told(path, to="write"))
        earlier: list[IO[bytes]] = [
            opened.enter_context(open(f"{path}/{name}", "rb")) for name in names(folder)
        ]
        fs.makedirs(path, exist_ok=True)
        changed(fs, path)
        name = f"{len(earlier):05d}-{secrets.token_hex(4)}"
        yield opened.enter_context(open(f"{path}/{name}", "x+b")), earlier


def end_scratch(folder: str) -> None:
    """Remove what users of a scratch folder left; in place of a remote one there is nothing."""
    fs, path = file_system(folder)
    if is_local(fs) and os.path.isdir(path):
        with told(folder, to="remove"):
            shutil.rmtree(path)
        changed(fs, path)


@contextmanager
def open_read(url: str) -> Iterator[IO[bytes]]:
    """A seekable binary file."""
    file_system(url)
    with _found(url), told(url), fsspec.open(resolve(url), "rb") as file:
        yield file


@contextmanager
def _found(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise AbsentError(f"{url}: no such file") from None
    except IsADirectoryError:
        raise CurateError(f"{url}: it is a folder, not a file") from None


def read_bytes(url: str) -> bytes:
    """The content of the file at `url`, in one request to its store.

    Raises
    ------
    AbsentError
        Where there is none: who may do without it need not ask before.
    """
    fs, path = file_system(url)
    with _found(url), told(url):
        content: bytes = fs.cat_file(path)
    return content


def read_range(url: str, start: int, stop: int) -> bytes:
    """The bytes from `start` up to `stop` of the file at `url`, and no others; AbsentError without."""
    fs, path = file_system(url)
    with _found(url), told(url):
        content: bytes = fs.cat_file(path, start=start, end=stop) if stop > start else b""
    return content


def read_into(url: str, start: int, target: memoryview) -> None:
    """Fill `target` with bytes from `start` on of the file at `url`.

    Raises
    ------
    AbsentError
        Where there is none.
    DamagedError
        Where the file ends before.
    """
    fs, path = file_system(url)
    with _found(url), told(url):
        if is_local(fs):
            with open(path, "rb", buffering=0) as file:
                file.seek(start)
                found = file.readinto(target) if len(target) else 0
        else:
            content = fs.cat_file(path, start=start, end=start + len(target))
            found = len(content)
            target[:found] = content
    if found != len(target):
        raise DamagedError(url, "it is truncated")


def ends_as_parquet(url: str, *, size: int) -> bool:
    """Whether a file of `size` bytes ends as parquet files do; 0 where there is none."""
    return size > 0 and read_range(url, max(0, size - 4), size) == b"PAR1"


def write_bytes(url: str, content: bytes) -> Content:
    """Write `content` to `url`, atomically."""
    with atomic_write(url) as file:
        file.write(content)
    return content_of(content)


@contextmanager
def local_copy(url: str) -> Iterator[str]:
    """A path at which code that knows only local files can read `url`, under its own base name.

    A copy is removed at the end of the block; what is mapped into memory by then stays readable.
    """
    fs, path = file_system(url)
    if is_local(fs):
        yield str(path)
        return
    with ExitStack() as stack:
        with told_of_temporary(), told(url):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="curate-"))
            copy = os.path.join(folder, os.path.basename(path))
            fs.get_file(path, copy)
        yield copy


def content_digest(url: str) -> str:
    """SHA-256 (hex) of a local or memory file's bytes; of the store's checksum for a remote one."""
    fs, path = file_system(url)
    if not isinstance(fs, LocalFileSystem | MemoryFileSystem):
        with told(url):
            return hashlib.sha256(str(fs.checksum(path)).encode()).hexdigest()
    digest = hashlib.sha256()
    with open_read(url) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
