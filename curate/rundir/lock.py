"""One command at a time in a run directory: an advisory lock on RUN/.lock.

The operating system holds it for the process that runs the command, and lets go of it when that
process ends, however it ends: a file that a killed one left is no obstacle. Workers and decoders do
not share it. Only local folders are locked; object stores have no locks.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from curate import files
from curate.errors import CurateError
from curate.machine import DISKS, in_words

NAME = ".lock"
_held: set[int] = set()  # descriptors of this process


def _forget() -> None:
    """What is forked shares its parent's descriptors, and would hold the lock after it."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def locked(url: str, *, shared: bool = False) -> Iterator[None]:
    """Keep other commands out of the run directory at `url` while the block runs.

    Where `shared`, only those that change it: any number may read it at once. As nobody else changes
    it, its folders are listed once.

    Raises
    ------
    CurateError
        Where another command is at work there, or no file can be made there.
    """
    with _locked(url, shared=shared), files.listings_kept(files.absolute(url)):
        yield


@contextmanager
def _locked(url: str, *, shared: bool) -> Iterator[None]:
    root = files.local_path(files.absolute(url))
    if root is None:
        yield
        return
    missing = _missing(root)
    path = os.path.join(root, NAME)
    descriptor = _acquire(path, url=url, shared=shared)
    if descriptor is None:
        yield
        return
    _held.add(descriptor)
    try:
        yield
    finally:
        with suppress(OSError):  # others that share it will remove the file
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
            for folder in missing:
                os.rmdir(folder)  # of a command that was refused, nothing is to stay
        _held.discard(descriptor)
        os.close(descriptor)


def _missing(folder: str) -> list[str]:
    """What has to be made for `folder` to be, innermost first."""
    found = []
    while folder and not os.path.isdir(folder):
        found.append(folder)
        folder = os.path.dirname(folder)
    return found


def _acquire(path: str, *, url: str, shared: bool) -> int | None:
    """A descriptor that holds the lock; None where there cannot be one."""
    while True:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if shared:
                return None  # a folder of another user, who lets one read
            if error.errno in DISKS:
                raise CurateError(f"{path}: {in_words(error.errno, disk='its disk')}") from None
            raise CurateError(
                f"{url}: cannot write there: {error.strerror}; let this user write there, or give"
                " another folder"
            ) from None
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise CurateError(
                f"another curate command is at work in {url}; wait until it has ended, or give"
                " another folder"
            ) from None
        except OSError:
            os.close(descriptor)
            return None  # a file system without locks
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # its last holder removed it while we waited
