"""The one file-system layer: any fsspec URL, atomic writes, content digests, shipped files."""

import hashlib
import io
import json
import os
import re
import secrets
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from numpy.typing import NDArray

from curate.errors import CurateError, DamagedError
from curate.stores import told, told_of_temporary

TEMPORARY = ".tmp"
_TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{8}\.tmp$")
_REPETITIVE = ("language", "outcome", "stage", "reason", "error", "status")
"""Columns worth a dictionary in parquet; for all others it only takes time."""


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of `url` and the path inside it."""
    try:
        fs, path = fsspec.core.url_to_fs(resolve(url))
    except (ValueError, ImportError) as error:
        raise CurateError(f"{url}: {error}") from None
    return fs, path


def join(url: str, *names: str) -> str:
    """`url/name/name`, whatever the protocol."""
    return "/".join((url.rstrip("/"), *names))


def absolute(url: str) -> str:
    """`url` as workers with another working folder can open it."""
    return url if "://" in url or "::" in url else os.path.abspath(os.path.expanduser(url))


def spelt(url: str) -> str:
    """The one spelling of what may be written in several ways: protocol, links, ``..``."""
    fs, path = file_system(url)
    return os.path.realpath(path) if is_local(fs) else str(fs.unstrip_protocol(path))


def local_path(url: str) -> str | None:
    """Where the file or folder at `url` is on this machine's file system; None for any other."""
    fs, path = file_system(url)
    return str(path) if is_local(fs) else None


def exists(url: str) -> bool:
    """Whether a file or folder stands at `url`."""
    with told(url):
        fs, path = file_system(url)
        return stands(fs, path)


def stands(fs: Any, path: str) -> bool:
    """Whether there is a file or folder at `path`; raises where this may not be known."""
    if not is_local(fs):
        return bool(fs.exists(path))
    try:
        os.stat(path)
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False
    return True


def size(url: str) -> int:
    """Bytes of the file at `url`."""
    with told(url):
        fs, path = file_system(url)
        return int(fs.size(path))


def modified(url: str) -> str:
    """When the file at `url` was last written, to the minute; "of unknown age" where none can tell."""
    with told(url):
        fs, path = file_system(url)
        try:
            return f"{fs.modified(path).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        except (NotImplementedError, AttributeError):
            return "of unknown age"


def names(folder: str) -> list[str]:
    """Base names of the files in `folder`, sorted; none where it does not exist."""
    fs, path = file_system(folder)
    fs.invalidate_cache(path)
    try:
        with told(folder):
            listed = fs.ls(path, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(os.path.basename(f.rstrip("/")) for f in listed)


def sizes(folder: str) -> dict[str, int]:
    """Bytes of each file in `folder`, by base name; none where it does not exist."""
    fs, path = file_system(folder)
    fs.invalidate_cache(path)
    try:
        with told(folder):
            listed = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = [(os.path.basename(one["name"]), one) for one in listed if one["type"] == "file"]
    return {name: int(one["size"]) for name, one in sorted(found, key=lambda pair: pair[0])}


def remove(url: str) -> None:
    """Remove the file or folder at `url`, if there is one."""
    with told(url, to="remove"):
        fs, path = file_system(url)
        if fs.exists(path):
            fs.rm(path, recursive=True)


def is_local(fs: Any) -> bool:
    """Whether a file system is this machine's."""
    return isinstance(fs, LocalFileSystem)


@contextmanager
def atomic_write(url: str) -> Iterator[IO[bytes]]:
    """A binary file that appears at `url` when the block ends, and never where it raises.

    Local and memory files are written under a temporary name, hidden from who reads the folder, and
    renamed, local ones once they are on the disk: a power cut leaves the old file or the new one. On
    object stores an upload becomes visible when it is complete, so nothing needs renaming there.
    """
    fs, path = file_system(url)
    renames = isinstance(fs, LocalFileSystem | MemoryFileSystem)
    folder, _, name = path.rpartition("/")
    target = f"{folder}/.{name}.{secrets.token_hex(4)}{TEMPORARY}" if renames else path
    with told(url, to="write"):
        if renames:
            fs.makedirs(os.path.dirname(path), exist_ok=True)
        file = fs.open(target, "wb")
        try:
            yield file
            if is_local(fs):
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
            _sync(folder)
        elif renames:
            fs.cp_file(target, path)  # mv would take brackets in a name for a pattern
            fs.rm_file(target)


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
    found = (str(name).removeprefix(f"{path}/") for name in fs.find(path))
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
        name = f"{len(earlier):05d}-{secrets.token_hex(4)}"
        yield opened.enter_context(open(f"{path}/{name}", "x+b")), earlier


@contextmanager
def open_read(url: str) -> Iterator[IO[bytes]]:
    """A seekable binary file."""
    file_system(url)
    try:
        with told(url), fsspec.open(resolve(url), "rb") as file:
            yield file
    except FileNotFoundError:
        raise CurateError(f"{url}: no such file") from None
    except IsADirectoryError:
        raise CurateError(f"{url}: it is a folder, not a file") from None


@contextmanager
def _undamaged(url: str) -> Iterator[None]:
    """Turn what readers say of content that is no file of its kind into an error that names it."""
    try:
        yield
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise DamagedError(url, f"it cannot be read ({_first_line(error)})") from error
    except OSError as error:
        if error.errno is not None:  # the machine's, or the store's
            raise
        raise DamagedError(url, f"it cannot be read ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def read_bytes(url: str) -> bytes:
    """The content of the file at `url`."""
    with open_read(url) as file:
        return file.read()


def read_range(url: str, start: int, stop: int) -> bytes:
    """The bytes from `start` up to `stop` of the file at `url`, and no others."""
    fs, path = file_system(url)
    with told(url):
        content: bytes = fs.cat_file(path, start=start, end=stop) if stop > start else b""
    return content


def write_bytes(url: str, content: bytes) -> Content:
    """Write `content` to `url`, atomically."""
    with atomic_write(url) as file:
        file.write(content)
    return content_of(content)


def read_json(url: str) -> Any:
    """The JSON document at `url`."""
    content = read_bytes(url)
    if not content:
        raise DamagedError(url, "it is empty")
    with _undamaged(url):
        return json.loads(content)


def write_json(url: str, document: object) -> Content:
    """Write `document` to `url` as indented JSON, atomically."""
    return write_bytes(url, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


CHECK = "check"
"""The key of a document that holds the CRC-32 of all others."""


def read_document(url: str) -> dict[str, Any]:
    """What `write_document` wrote; older documents have no check.

    Raises
    ------
    DamagedError
        Where it is something else.
    """
    found = read_json(url)
    if not isinstance(found, dict):
        raise DamagedError(url, "it holds no JSON object")
    check = found.pop(CHECK, None)
    if check not in (None, _check_of(found)):
        raise DamagedError(url, "its content is not what was written")
    return found


def write_document(url: str, document: dict[str, Any]) -> Content:
    """Write a JSON object of the run's own with a check of its content."""
    stored = json.loads(json.dumps(document))
    return write_json(url, {**stored, CHECK: _check_of(stored)})


def _check_of(document: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(document, sort_keys=True).encode())


def read_table(
    url: str, *, present: Collection[str] | None = None, content: Content | None = None,
    **options: Any,
) -> pa.Table:  # fmt: skip
    """The parquet file at `url`; of its columns only those in `present`, where it is given.

    `content` is what it has to hold. On one thread: workers are the parallelism here, and a dataset
    read on Arrow's pool (25.0) can abort the process when it exits.

    Raises
    ------
    DamagedError
        Where it is no parquet file, or another than was written.
    """
    with ExitStack() as opened:
        if content is None:
            file: Any = opened.enter_context(open_read(url))
        else:
            held = read_bytes(url)
            content.check(url, held)
            file = pa.BufferReader(held)
        opened.enter_context(_undamaged(url))
        if present is not None:
            names = pq.read_schema(file).names
            options["columns"] = [name for name in names if name in present]
        return pq.read_table(file, use_threads=False, **options)


def write_table(url: str, table: pa.Table) -> Content:
    """Write `table` to `url` as parquet, atomically."""
    repetitive = [name for name in _REPETITIVE if name in table.schema.names]
    held = pa.BufferOutputStream()
    pq.write_table(
        table, held, compression="zstd", compression_level=1, use_dictionary=repetitive,
        write_statistics=False,
    )  # fmt: skip
    return write_bytes(url, held.getvalue())


def read_arrays(url: str) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file, by name."""
    with open_read(url) as file, _undamaged(url), np.load(file) as found:
        return dict(found)


def write_arrays(url: str, **arrays: Any) -> Content:
    """Write arrays as an ``.npz`` file."""
    held = io.BytesIO()
    np.savez(held, **arrays)
    return write_bytes(url, held.getvalue())


def read_array(url: str) -> NDArray[Any]:
    """The array of an ``.npy`` file."""
    with open_read(url) as file, _undamaged(url):
        found: NDArray[Any] = np.load(file)
        return found


def write_array(url: str, array: Any) -> None:
    """Write an array as an ``.npy`` file."""
    with atomic_write(url) as file:
        np.save(file, array)


def local_copy(url: str) -> str:
    """A path at which code that knows only local files can read `url`, under its own base name."""
    fs, path = file_system(url)
    if is_local(fs):
        return str(path)
    with told_of_temporary(), told(url):
        copy = os.path.join(tempfile.mkdtemp(prefix="curate-"), os.path.basename(path))
        fs.get_file(path, copy)
    return copy


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


def digest_of(*things: object) -> str:
    """A short stable digest of JSON-like values."""
    text = json.dumps(things, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


SHIPPED = "shipped://"


@lru_cache
def shipped(name: str) -> Path:
    """Path of a file that travels with the project, such as ``pipelines/demo.yaml``.

    In an installed wheel these stand inside the package, in a checkout at its top level.
    """
    package = Path(__file__).parent
    for root in (package / "shipped", package.parent):
        if (root / name).exists():
            return root / name
    raise CurateError(f"{SHIPPED}{name}: this installation does not ship such a file")


def resolve(url: str) -> str:
    """`url` with ``shipped://NAME`` replaced by where the project's own file stands."""
    return str(shipped(url.removeprefix(SHIPPED))) if url.startswith(SHIPPED) else url
