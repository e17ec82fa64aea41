"""Which files a path, a folder, a glob or a range of names stands for: one rule for every store.

What is named itself is read, however it is called. In folders and for wildcards all that begins with
a dot or an underscore is left out, folders included: what tools leave there is no data. Links are
followed.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice

from fsspec import AbstractFileSystem

from curate import files
from curate.errors import CurateError
from curate.files.stores import told

MOST = 1_000_000
"""Names that one range may stand for."""

_RANGE = re.compile(r"(?:(-?\d+)\.\.(-?\d+)|([A-Za-z])\.\.([A-Za-z]))(?:\.\.-?(\d+))?")
_MAGIC = re.compile(r"[*?[]")

Tails = frozenset[tuple[str, ...]]
"""What is left of a glob's components below a folder; several, where ``**`` may end here or go on."""


@dataclass(frozen=True)
class Listing:
    """What a pattern stands for."""

    files: tuple[str, ...]  # sorted
    named: bool  # each by its own name, and not as a file in a folder or by a wildcard
    broken: tuple[str, ...] = ()  # links in folders that lead nowhere


def nothing_at(pattern: str) -> str:
    """That nothing was found, and where it was looked for if it goes by the working folder."""
    where = files.absolute(pattern)
    return "no such file, folder or match" + (f" (looked for {where})" if where != pattern else "")


def expand(pattern: str) -> list[str]:
    """The files that `pattern` stands for, sorted; empty where there are none."""
    return list(find(pattern).files)


def find(pattern: str) -> Listing:
    """What a file, folder, glob or range in braces stands for; what is there as spelt comes first.

    Raises
    ------
    CurateError
        Naming the first member of a range that is missing where others are there, or what may not be
        read.
    """
    with told(pattern):
        found = _find(pattern)
        if found.files or found.broken or "{" not in pattern:
            return found
        names = list(islice(braces(pattern), MOST + 1))
        if len(names) > MOST:
            raise CurateError(f"{pattern}: a range of more than {MOST:,} names")
        _look_ahead(names)
        each = {name: _find(name) for name in names}
    missing = [name for name, one in each.items() if not one.files]
    if missing and len(missing) < len(each):
        more = f", and {len(missing) - 1:,} more of its {len(each):,}" if len(missing) > 1 else ""
        raise CurateError(f"{pattern}: {missing[0]} is not there{more}")
    return Listing(
        tuple(sorted({path for one in each.values() for path in one.files})),
        all(one.named for one in each.values()),
        tuple(path for one in each.values() for path in one.broken),
    )


def braces(pattern: str) -> Iterator[str]:
    """The names that braces stand for, as in bash and webdataset.

    >>> list(braces("{00008..00010}.tar")), list(braces("{a,b{1..3..2}}/x")), list(braces("{a}"))
    (['00008.tar', '00009.tar', '00010.tar'], ['a/x', 'b1/x', 'b3/x'], ['{a}'])
    """
    start = pattern.find("{")
    if start < 0:
        yield pattern
        return
    commas, depth = [start], 0
    for at in range(start, len(pattern)):
        depth += {"{": 1, "}": -1}.get(pattern[at], 0)
        if depth == 1 and pattern[at] == ",":
            commas.append(at)
        if depth == 0:
            break
    else:  # never closed, it is a brace like any letter
        yield from (pattern[: start + 1] + end for end in braces(pattern[start + 1 :]))
        return
    before, after = pattern[:start], pattern[at + 1 :]
    ends = [*commas[1:], at]
    members = [pattern[i + 1 : j] for i, j in zip(commas, ends, strict=True)]
    inside: Iterator[str]
    if len(members) > 1:
        inside = (one for member in members for one in braces(member))
    elif ranged := _RANGE.fullmatch(members[0]):
        inside = _range(*ranged.groups())
    else:
        inside = (f"{{{one}}}" for one in braces(members[0]))
    for one in inside:
        for end in braces(after):
            yield f"{before}{one}{end}"


def _range(first: str, last: str, a: str, z: str, step: str | None) -> Iterator[str]:
    """The members of a range of numbers, or of letters; numbers are padded where either end is."""
    low, high = (ord(a), ord(z)) if a else (int(first), int(last))
    by = max(int(step or 1), 1)
    padded = not a and any(re.match("-?0[0-9]", x) for x in (first, last))
    width = max(len(first), len(last)) if padded else 0
    for number in range(low, high + 1, by) if low <= high else range(low, high - 1, -by):
        yield chr(number) if a else f"{number:0{width}d}" if width else str(number)


def _look_ahead(names: list[str]) -> None:
    """List the folders of names on a store, so that each is not asked for by a request of its own."""
    for folder in dict.fromkeys(name.rpartition("/")[0] for name in names if "://" in name):
        fs, path = files.file_system(folder)
        with suppress(OSError, ValueError, NotImplementedError):
            fs.ls(path, detail=False)


def _find(url: str) -> Listing:
    fs, path = files.file_system(url)
    broken: list[str] = []
    if fs.isdir(path):
        found, named = _below(fs, path.rstrip("/"), ("**",), broken), False
    elif files.stands(fs, path):
        found, named = [path], True
    else:
        parts = path.split("/")
        starts = (n for n, x in enumerate(parts) if _MAGIC.search(x))
        at = next((n for n in starts if not files.stands(fs, "/".join(parts[: n + 1]))), None)
        root, rest = "/".join(parts[:at]), tuple(parts[at or len(parts) :])
        found, named = _below(fs, root, rest, broken) if rest else [], not rest
        if not found and not files.is_local(fs):
            with suppress(FileNotFoundError), told(url):  # a bucket that is not there is said
                fs.info(root)
    if not files.is_local(fs):
        found = [str(fs.unstrip_protocol(x)) for x in found]
    return Listing(tuple(sorted(found)), named, tuple(sorted(set(broken))))


def _below(
    fs: AbstractFileSystem, root: str, rest: tuple[str, ...], broken: list[str]
) -> list[str]:
    """The files below the folder `root` whose components match those of `rest`."""
    start: Tails = frozenset([rest])
    if files.is_local(fs):
        if not os.path.isdir(root or "/"):
            return []
        return list(_walk(root or "/", start, broken=broken, seen=set()))
    depth = None if "**" in rest else len(rest)
    found = []
    for name, one in fs.find(root, maxdepth=depth, detail=True).items():
        # Consoles mark a folder by an empty object whose name ends in a slash.
        below = str(name).removeprefix(root).lstrip("/")
        if one["type"] == "file" and below and not str(one["name"]).endswith("/"):
            tails = start
            for component in below.split("/"):
                tails = _after(tails, component)
            if _ends(tails):
                found.append(str(name))
    return found


def _walk(
    folder: str, tails: Tails, *, broken: list[str], seen: set[tuple[int, int, Tails]]
) -> Iterator[str]:
    """The same in a local folder; `seen` are those that were walked, and what was asked there."""
    of = os.stat(folder)
    if (of.st_dev, of.st_ino, tails) in seen:
        return
    seen.add((of.st_dev, of.st_ino, tails))
    folders = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            left = _after(tails, entry.name)
            if not left:
                continue
            path = os.path.join(folder, entry.name)
            if os.path.isdir(path):
                folders.append((entry.is_symlink(), path, left))
            elif _ends(left) and os.path.isfile(path):
                yield path
            elif _ends(left) and entry.is_symlink() and not os.path.exists(path):
                broken.append(path)
    # Links come last, so that a folder is called by its own name if it has one here.
    for _, path, left in sorted(folders):
        yield from _walk(path, left, broken=broken, seen=seen)


def _after(tails: Tails, name: str) -> Tails:
    """What of a glob is left below `name`."""
    found: set[tuple[str, ...]] = set()
    for head, *rest in filter(None, tails):
        if head == "**":
            found |= _after(frozenset([tuple(rest)]), name)
            if not name.startswith((".", "_")):
                found.add((head, *rest))
        elif fnmatchcase(name, head) and (not name.startswith((".", "_")) or name[0] == head[0]):
            found.add(tuple(rest))
    return frozenset(found)


def _ends(tails: Tails) -> bool:
    return any(set(tail) <= {"**"} for tail in tails)
