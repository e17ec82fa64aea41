"""Selections as lists of uids, one a line: what `curate revoke --list` and `prepare.uids_in` take."""

import re
from collections.abc import Iterable, Iterator

from curate import files
from curate.errors import CurateError

_NAME = re.compile(r"[\w][\w .+-]{0,99}")
_AT_ONCE = 1 << 14
_UID = re.compile(r"[0-9a-f]{32}")


def lines(uids: Iterable[str]) -> Iterator[bytes]:
    """The list, in pieces."""
    held: list[str] = []
    for uid in uids:
        held.append(uid)
        if len(held) == _AT_ONCE:
            yield "".join(f"{one}\n" for one in held).encode()
            held = []
    if held:
        yield "".join(f"{one}\n" for one in held).encode()


def place(folder: str, name: str) -> str:
    """Where a list of this name is to be.

    Raises
    ------
    CurateError
        Where the name is none of a file.
    """
    if not _NAME.fullmatch(name):
        raise CurateError(f"{name!r} is no name for a list: take letters, digits, spaces and .-+_")
    return files.join(folder, name if name.endswith(".txt") else f"{name}.txt")


def save(url: str, uids: Iterable[str]) -> int:
    """Write a list: how many uids it has.

    Raises
    ------
    CurateError
        Where there is nothing to write.
    """
    pairs = 0
    with files.atomic_write(url) as file:
        for piece in lines(uids):
            file.write(piece)
            pairs += piece.count(b"\n")
        if not pairs:
            raise CurateError("the selection has no pair, so nothing was written")
    return pairs


def chosen(uids: Iterable[str]) -> list[str]:
    """The uids of pairs that were picked one by one, ascending, each once."""
    found = sorted({*uids})
    if wrong := [uid for uid in found if not _UID.fullmatch(uid)]:
        raise CurateError(f"{wrong[0][:80]!r} is no uid: one has 32 hex digits")
    return found
