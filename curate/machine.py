"""Faults of the machine: a full disk, too few open files. They say nothing about the pair at hand.

So such a fault drops no pair: it ends the part with a line that names the remedy, and the same command,
run again, resumes with that part.
"""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from curate.errors import CurateError

FILES_A_REQUEST = 3
"""Sockets that come with a request: two may be dialled at a time, and one stays open behind.

Before that, resolving the host's name may have taken as many, one a name server.
"""
LOOK_UPS_A_REQUEST = 4
"""Resolver threads a request: one that it waits for, and others whose request has already timed out."""
_SPARE = 64
"""Files that are open beside the sockets: those of the part."""
_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_DISKS = {
    errno.ENOSPC: "make room on {disk}",
    errno.EDQUOT: "make room on {disk}, or raise the quota",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or that of {disk}",
    errno.EROFS: "let {disk} be written to, or give another path",
    errno.EIO: "check {disk}",
}
DISKS = frozenset(_DISKS)
"""Numbers of the errors with which a disk refuses a write; whoever writes knows which disk it is."""
_SOME_DISK = (
    "the disk of the run directory, of temporary files (TMPDIR) or of caches (XDG_CACHE_HOME)"
)
_REMEDIES = {
    **_DISKS,
    errno.EMFILE: "raise the limit of open files (ulimit -n) or lower download.concurrency",
    errno.ENFILE: "the machine has too many files open: lower download.concurrency or the workers",
    errno.EAGAIN: "raise the limit of processes (ulimit -u) or lower download.concurrency",
    errno.ENOMEM: "use fewer workers, or give them more memory",
    errno.ENOBUFS: "use fewer workers, or give them more memory",
}
FAULTS = frozenset(_REMEDIES)
"""Numbers of the system's errors that say that the machine has run out of something."""


@contextmanager
def faults_named(what: str) -> Iterator[None]:
    """Turn faults of the machine in the block into a CurateError that names `what` and the remedy."""
    try:
        yield
    except MemoryError as error:
        raise CurateError(f"{what}: {in_words(errno.ENOMEM)}") from error
    except OSError as error:
        if error.errno not in FAULTS:
            raise
        raise CurateError(f"{what}: {in_words(error.errno)}") from error


def in_words(number: int, *, disk: str = _SOME_DISK) -> str:
    """What the system says with an error of `FAULTS`, and the remedy; `disk` is the one in question."""
    remedy = _REMEDIES[number].format(disk=disk)
    return f"{os.strerror(number)}: {remedy}; the same command then goes on"


def is_out_of_files() -> bool:
    """Whether no file can be opened at the moment: the resolver then fails without saying why."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in _FILES
    return False


def allow_requests(concurrency: int) -> None:
    """Raise this process's limit of open files to what `concurrency` requests at a time need.

    Files of resolver threads whose requests have timed out are allowed for up to the hard limit.

    Raises
    ------
    CurateError
        The machine does not allow so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(os.listdir("/dev/fd")) + _SPARE
    wanted = taken + FILES_A_REQUEST * concurrency
    ample = taken + FILES_A_REQUEST * LOOK_UPS_A_REQUEST * concurrency
    if soft == resource.RLIM_INFINITY or ample <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        fits = max((hard - taken) // FILES_A_REQUEST, 0)
        raise CurateError(
            f"download.concurrency: {concurrency} requests at a time take up to {wanted:,} open files,"
            f" and a process may have {hard:,} here (ulimit -Hn): raise that limit"
            + (f", or set download.concurrency to {fits} or less" if fits else "")
        )
    soft = ample if hard == resource.RLIM_INFINITY else min(ample, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
