"""What stands in a folder: names, sizes and stamps of its files; and how they are removed.

Listing a folder of many files takes seconds, on a store a request a thousand names. A command that
keeps others out of a run lists each of its folders once (`listings_kept`), and sees what it writes or
removes there itself.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
from fsspec import AbstractFileSystem

from curate.errors import CurateError
from curate.files.guards import check_change
from curate.files.places import absolute, file_system, is_local, local_path
from curate.files.stores import told

LISTING = pa.schema([("name", pa.string()), ("size", pa.int64()), ("stamp", pa.string())])
"""What a listing tells of each name: folders have no size.

A stamp tells a file from an earlier one of its name; it is empty where nothing does.
"""
_WRITTEN = (
    "ETag",
    "etag",
    "md5Hash",
    "LastModified",
    "updated",
    "last_modified",
    "mtime",
    "created",
)
"""What the listings of stores and disks say of a file that is another once it was written again."""
Entry = dict[str, Any]
_UNFINISHED = ".unfinished"
_AT_ONCE = 6  # folders that are listed side by side: a client holds all of a listing meanwhile


class _Kept:
    """Listings of the folders below some roots, to which this process alone writes."""

    def __init__(self) -> None:
        self.roots: list[str] = []
        self.pauses = 0
        self._found: dict[str, pa.Table] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def get(self, folder: str) -> tuple[pa.Table | None, int]:
        """The listing of a folder, if it is kept, and the state of what is written meanwhile."""
        with self._lock:
            return self._found.get(folder), self._changes

    def put(self, folder: str, listing: pa.Table, *, began: int) -> None:
        """Keep a listing that began at a state, unless something was written since."""
        with self._lock:
            if self.covers(folder) and began == self._changes:
                self._found[folder] = listing

    def covers(self, folder: str) -> bool:
        """Whether the listing of a folder may be kept."""
        return not self.pauses and any(_is_below(folder, root) for root in self.roots)

    def forget(self, changed: str) -> None:
        """Forget the listings of folders above and below what was written or removed."""
        with self._lock:
            self._changes += 1
            for folder in [*self._found]:
                if _is_below(changed, folder) or _is_below(folder, changed):
                    del self._found[folder]


_kept = _Kept()


def _is_below(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/")


def _key(fs: AbstractFileSystem, path: str) -> str:
    return str(fs.unstrip_protocol(path)).rstrip("/")


@contextmanager
def listings_kept(url: str) -> Iterator[None]:
    """List each folder at and below `url` once while the block runs; nobody else may write there."""
    root = _key(*file_system(url))
    _kept.forget(root)
    _kept.roots.append(root)
    try:
        yield
    finally:
        _kept.roots.remove(root)
        _kept.forget(root)


@contextmanager
def listings_anew() -> Iterator[None]:
    """List folders each time they are asked for while the block runs, as workers write to them."""
    _kept.pauses += 1
    for root in _kept.roots:
        _kept.forget(root)
    try:
        yield
    finally:
        _kept.pauses -= 1


def changed(fs: AbstractFileSystem, path: str) -> None:
    """Have it seen in listings that this process wrote or removed something at `path`."""
    if _kept.roots:
        _kept.forget(_key(fs, path))


def listed(folder: str) -> pa.Table:
    """What stands in a folder of a run, of the schema LISTING; empty where it does not exist.

    Names that are no Unicode are left out: no file of a run is called so.
    """
    fs, path = file_system(folder)
    key = _key(fs, path)
    found, began = _kept.get(key)
    if found is None:
        found = _table(_entries(folder))
        _kept.put(key, found, began=began)
    return found


def list_ahead(folders: Iterable[str]) -> None:
    """List folders of a store side by side, so that nobody waits for them one after the other."""
    far = [one for one in dict.fromkeys(folders) if local_path(one) is None]
    if _kept.roots and not _kept.pauses:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(listed, far))


def _entries(folder: str) -> list[Entry]:
    """What a disk or a store tells of each name in a folder, as it is now."""
    fs, path = file_system(folder)
    with told(folder):
        if is_local(fs) and os.path.isdir(path):
            return [*_on_disk(path)]
        fs.invalidate_cache(path)
        try:
            found: list[Entry] = fs.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        fs.invalidate_cache(path)  # clients would keep all of it
    return found


def _on_disk(path: str) -> Iterator[Entry]:
    with os.scandir(path) as entries:
        for one in entries:
            entry: Entry = {"name": one.name, "type": "other", "size": None}
            with suppress(FileNotFoundError):  # a link that leads nowhere, or it went meanwhile
                of = one.stat()
                kind = "file" if one.is_file() else "other"
                entry |= {"type": kind, "size": of.st_size, "mtime": of.st_mtime, "ino": of.st_ino}
            yield entry


def _name(one: Entry) -> str:
    return os.path.basename(str(one["name"]).rstrip("/"))


def _table(entries: list[Entry]) -> pa.Table:
    """Entries as a table of the schema LISTING, by name."""
    import pyarrow.compute as pc  # takes long, and `--help` does without

    entries = [one for one in entries if _is_unicode(one["name"])]
    paths = pa.array([one["name"] for one in entries], pa.string())
    base = pc.replace_substring_regex(pc.utf8_rtrim(paths, "/"), "(?s)^.*/", "")
    files = [one["size"] if one["type"] == "file" else None for one in entries]
    sizes = pa.array(files, pa.int64())
    first = next((one for one in entries if one["type"] == "file"), {})
    key = next((key for key in _WRITTEN if first.get(key)), "")
    written = pa.array([str(one.get(key) or "") for one in entries], pa.string())
    number = pa.array([str(one.get("ino", "")) for one in entries], pa.string())
    stamp = pc.binary_join_element_wise(pc.cast(sizes, pa.string()), written, number, " ")
    stamp = pc.fill_null(pc.if_else(pc.equal(written, ""), "", stamp), "")
    return pa.Table.from_arrays([base, sizes, stamp], schema=LISTING).sort_by("name")


def _is_unicode(name: str) -> bool:
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False


def names(folder: str) -> list[str]:
    """Base names of what stands in `folder`, sorted; none where it does not exist."""
    fs, path = file_system(folder)
    if is_local(fs) and os.path.isdir(path):
        with told(folder):
            return sorted(os.listdir(path))  # without sizes, which a disk would look up one by one
    if _kept.covers(_key(fs, path)):
        return list(listed(folder)["name"].to_pylist())
    return sorted(map(_name, _entries(folder)))


def sizes(folder: str) -> dict[str, int]:
    """Bytes of each file in `folder`, by base name; none where it does not exist."""
    import pyarrow.compute as pc  # takes long, and `--help` does without

    if not _kept.covers(_key(*file_system(folder))):
        entries = (one for one in _entries(folder) if one["type"] == "file")
        return dict(sorted((_name(one), int(one["size"])) for one in entries))
    found = listed(folder)
    found = found.filter(pc.is_valid(found["size"]))
    return dict(zip(found["name"].to_pylist(), found["size"].to_pylist(), strict=True))


def sizes_below(folder: str) -> dict[str, int]:
    """Bytes of each file anywhere in `folder`, by its name relative to that."""
    with told(folder):
        fs, path = file_system(folder)
        fs.invalidate_cache(path)
        found = fs.find(path, detail=True)
        return {str(x).removeprefix(path).strip("/"): int(one["size"]) for x, one in found.items()}


def remove(url: str) -> None:
    """Remove the file or folder at `url`, if there is one."""
    check_change(url)
    with told(url, to="remove"):
        fs, path = file_system(url)
        if not _is_known_absent(fs, path) and fs.exists(path):
            try:
                fs.rm(path, recursive=True)
            finally:
                changed(fs, path)


def _is_known_absent(fs: AbstractFileSystem, path: str) -> bool:
    """Whether listings of a store that are kept show that nothing stands at `path`."""
    if is_local(fs):
        return False  # where a folder may be empty
    folder, _, name = _key(fs, path).rpartition("/")
    inside, beside = (_kept.get(one)[0] for one in (f"{folder}/{name}", folder))
    if inside is not None:
        return len(inside) == 0
    return beside is not None and name not in beside["name"].to_pylist()


def remove_file(url: str) -> None:
    """Remove the file at `url`, if there is one, in one request to its store."""
    check_change(url)
    with told(url, to="remove"), suppress(FileNotFoundError):
        fs, path = file_system(url)
        try:
            fs.rm_file(path)
        finally:
            changed(fs, path)


@contextmanager
def new_folder(out: str, *, what: str) -> Iterator[str]:
    """A folder to write `what` to, which is at the path `out` once the block ends without an error.

    Raises
    ------
    CurateError
        Where something stands there, or it is on no disk.
    """
    path = local_path(absolute(out))
    if path is None:
        raise CurateError(
            f"--out {out}: {what} is written to a disk; give a folder there, and copy it"
        )
    if names(path) or os.path.isfile(path):
        raise CurateError(f"--out {out} is not empty; give another, or remove it")
    unfinished = f"{path.rstrip('/')}{_UNFINISHED}"
    remove(unfinished)
    with told(out, to="write"):
        os.makedirs(os.path.dirname(unfinished), exist_ok=True)
        yield unfinished
        if os.path.isdir(path):
            os.rmdir(path)
        os.replace(unfinished, path)
