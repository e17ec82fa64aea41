"""Files and folders at fsspec URLs: their names, what stands there, what the project ships."""

import os
from datetime import UTC
from functools import lru_cache
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from curate.errors import CurateError
from curate.files.stores import told

SHIPPED = "shipped://"


@lru_cache
def shipped(name: str) -> Path:
    """Path of a file that travels with the project, such as ``pipelines/demo.yaml``.

    In an installed wheel these stand inside the package, in a checkout at its top level.
    """
    package = Path(__file__).parents[1]
    for root in (package / "shipped", package.parent):
        if (root / name).exists():
            return root / name
    raise CurateError(f"{SHIPPED}{name}: this installation does not ship such a file")


def resolve(url: str) -> str:
    """`url` with ``shipped://NAME`` replaced by where the project's own file stands."""
    return str(shipped(url.removeprefix(SHIPPED))) if url.startswith(SHIPPED) else url


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of `url` and the path inside it."""
    if ":" not in url:
        here = _here()
        return here, here._strip_protocol(url)
    try:
        fs, path = fsspec.core.url_to_fs(resolve(url))
    except (ValueError, ImportError) as error:
        raise CurateError(f"{url}: {error}") from None
    return fs, path


@lru_cache
def _here() -> LocalFileSystem:
    """This machine's files; fsspec takes a tenth of a millisecond to find out that they are meant."""
    return fsspec.filesystem("file")


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


def is_here_alone(url: str) -> bool:
    """Whether no other machine can open `url`, by its protocol; those in the wheel are everywhere.

    >>> [is_here_alone(x) for x in ("a.txt", "file:///a", "zip://a.txt::/b.zip")]
    [True, True, True]
    >>> [is_here_alone(x) for x in ("gs://b/a", "shipped://a", "zip://a.txt::s3://b/c.zip")]
    [False, False, False]
    """
    protocol, has_one, _ = url.rpartition("::")[2].partition("://")
    return not has_one or protocol in ("file", "local", "memory")


def exists(url: str) -> bool:
    """Whether a file or folder stands at `url`."""
    with told(url):
        fs, path = file_system(url)
        return stands(fs, path)


def stands(fs: AbstractFileSystem, path: str) -> bool:
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


def stamp(url: str) -> tuple[int, int]:
    """Bytes of a file, and when it was last written, in nanoseconds; 0 where no clock of ours tells."""
    path = local_path(url)
    if path is None:
        return size(url), 0
    with told(url):
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns


def modified(url: str) -> str:
    """When the file at `url` was last written, to the minute; "of unknown age" where none can tell."""
    with told(url):
        fs, path = file_system(url)
        try:
            return f"{fs.modified(path).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        except (NotImplementedError, AttributeError):
            return "of unknown age"


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether a file system is this machine's."""
    return isinstance(fs, LocalFileSystem)
