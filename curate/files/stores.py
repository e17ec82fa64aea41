"""What a disk or a store refuses, as one line that names the path and the remedy."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

from curate.errors import CurateError
from curate.machine import DISKS, in_words

_CLIENTS = frozenset(["adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs",
                      "google", "requests", "s3fs", "urllib3"])  # fmt: skip
"""Packages whose exceptions tell of a store; each has a family of its own."""
_CREDENTIALS = "set them as the store's own tools take them (environment, profile or login)"
_NO_BUCKET = re.compile(r"(?i)bucket does not exist|bucket not found|no such bucket|NoSuchBucket")
_NO_TEMPORARY = "No usable temporary directory"  # as `tempfile` has it
_ABSENT = os.strerror(errno.ENOENT)
_REASONS = {
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ELOOP: "links that lead to each other",
    errno.ENAMETOOLONG: "the name is too long for this file system",
}


@contextmanager
def told(url: str = "", *, to: str = "read") -> Iterator[None]:
    """Turn what a disk or a store refuses in the block into a CurateError that names `url`.

    `to` says what was tried. All other exceptions pass through, other faults of the machine
    (`machine.FAULTS`) too; on reading also a full disk, which cannot be the disk that is read.
    """
    try:
        yield
    except CurateError:
        raise
    except Exception as error:
        place = getattr(error, "filename", None) if to == "read" or not url else None
        name = place if isinstance(place, str) and place else url
        if (reason := _refusal(error, to=to, named=bool(name))) is None:
            raise
        raise CurateError(f"{name}: {reason}" if name else reason) from error


@contextmanager
def told_of_temporary() -> Iterator[None]:
    """As `told`, where the block writes to the folder of temporary files."""
    with told():
        folder = tempfile.gettempdir()
    with told(f"{folder} (TMPDIR)", to="write"):
        yield


def _refusal(error: Exception, *, to: str, named: bool) -> str | None:
    """Why a store or a disk did not let something be done, and what helps; None for all else."""
    client = type(error).__module__.partition(".")[0] in _CLIENTS
    number = getattr(error, "errno", None)
    if getattr(error, "strerror", None) == _ABSENT:
        return None  # which is no refusal: who asks for what may not be there catches it
    said = shorten(str(error), width=200, placeholder=" …") or type(error).__name__
    if isinstance(error, PermissionError) or number in (errno.EACCES, errno.EPERM):
        if number is None:
            return f"the store refuses it: {said}; check the credentials and what they allow"
        return f"permission denied; let this user {to} it (chmod, chown), or give another path"
    if _NO_BUCKET.search(said):
        return "no such bucket; check its name, or make it first"
    if client and "redential" in type(error).__name__ + said:
        return f"no credentials for this store ({said}); {_CREDENTIALS}"
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if client and status in (401, 403):
        return f"the server refuses it ({status}); check the address and the credentials"
    if client:
        return f"the store cannot be used: {said}; check the address, the network and the store"
    if not isinstance(error, OSError) or number is None:
        return None
    if (error.strerror or "").startswith(_NO_TEMPORARY):
        return (
            f"{error.strerror}: make room in one, or set TMPDIR to a folder that can be written to"
        )
    if number in DISKS and (to != "read" or number == errno.EIO):
        return in_words(number, disk="its disk") if named else in_words(number)
    return _REASONS.get(number)
