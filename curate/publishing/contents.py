"""What a repository of a set holds: the files beside the shards, as they are, and Croissant's.

They stand at the top of the repository, where loaders look for the card (README.md) and its tars.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from curate import files
from curate.files.content import TEMPORARY
from curate.rundir import counts
from curate.rundir.directory import CARD, MANIFEST, SIZES, Run
from curate.rundir.held import HELD
from curate.rundir.shards import ENERGON, WIDS
from curate.schema import Stage

CROISSANT = "croissant.json"
FILES, BYTES = 100, 5_000_000_000
"""The most that one commit brings."""
_OF_SHARDS = re.compile(r"\d+(\.tar|\.parquet|_stats\.json|\.tar\.idx)")
_OURS = frozenset([MANIFEST, SIZES, WIDS, counts.COUNTS, CARD, CROISSANT])
_PIECE = 1 << 22


@dataclass(frozen=True)
class Item:
    """A file of the repository."""

    name: str
    size: int  # bytes
    url: str = ""  # where it stands
    content: bytes | None = None  # of one that stands nowhere
    sha256: str | None = None  # by the manifest

    def pieces(self) -> Iterator[bytes]:
        """Its bytes."""
        if self.content is not None:
            yield self.content
            return
        with files.open_read(self.url) as file:
            while piece := file.read(_PIECE):
                yield piece


@dataclass(frozen=True)
class Stored:
    """What a hub says of a file."""

    size: int  # bytes
    blob_id: str  # as git names it
    lfs_sha256: str | None  # of one in its large storage


def contents(run: Run, *, address: str) -> list[Item]:
    """The files that the repository at `address` is to hold: shards first, the manifest last."""
    folder = run.path(Stage.SHARDS)
    manifest = files.read_document(files.join(folder, MANIFEST))
    hashes = {f"{one['name']}.tar": one["sha256"] for one in manifest["shards"]}
    found = [
        Item(name, size, files.join(folder, name), sha256=hashes.get(name))
        for name, size in files.sizes_below(folder).items()
        if not name.endswith(TEMPORARY) and name.partition("/")[0] != HELD
    ]
    url = run.path(Stage.REPORT, CROISSANT)
    if files.exists(url):
        content = croissant_of(files.read_bytes(url), address=address)
        found.append(Item(CROISSANT, len(content), content=content))
    return sorted(
        found, key=lambda one: (one.name == MANIFEST, not is_of_shard(one.name), one.name)
    )


def croissant_of(content: bytes, *, address: str) -> bytes:
    """``croissant.json`` for a repository, where it stands beside the shards."""
    document = json.loads(content)
    for one in document["distribution"]:
        if "contentUrl" in one:
            one["contentUrl"] = one["contentUrl"].removeprefix("../shards").lstrip("/") or "."
    text = json.dumps({**document, "url": address}, indent=1, ensure_ascii=False)
    return f"{text}\n".encode()


def is_of_shard(name: str) -> bool:
    """Whether a file is a tar, or beside one, by its name."""
    return _OF_SHARDS.fullmatch(name) is not None


def is_same(item: Item, stored: Stored) -> bool:
    """Whether the hub has the file: by the hash that it stores it under."""
    if item.size != stored.size:
        return False
    if stored.lfs_sha256 is not None:
        return stored.lfs_sha256 == (item.sha256 or _digest(item, hashlib.sha256()))
    return stored.blob_id == _digest(
        item, hashlib.sha1(b"blob %d\0" % item.size)
    )  # as git names it


def _digest(item: Item, digest: "hashlib._Hash") -> str:
    for piece in item.pieces():
        digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class Changes:
    """What a repository lacks, and what has to go from it."""

    send: tuple[Item, ...]
    remove: tuple[str, ...]
    same: int

    @property
    def bytes(self) -> int:
        """Of what is sent."""
        return sum(one.size for one in self.send)

    @property
    def replaces(self) -> bool:
        """Whether a shard goes."""
        return any(map(is_of_shard, self.remove))


def changes(items: Sequence[Item], there: Mapping[str, Stored]) -> Changes:
    """What to send and to remove, so that a repository that has the files `there` has these."""
    send = [one for one in items if one.name not in there or not is_same(one, there[one.name])]
    names = {one.name for one in items}
    ours = (x for x in there if is_of_shard(x) or x in _OURS or x.startswith(f"{ENERGON}/"))
    remove = tuple(sorted(name for name in ours if name not in names))
    return Changes(tuple(send), remove, len(items) - len(send))


def batches(items: Iterable[Item], *, most: int = FILES, size: int = BYTES) -> Iterator[list[Item]]:
    """The files of each commit: those of shards first, and with the last one the lists of all."""
    some: list[Item] = []
    for one in items:
        if some and (len(some) >= most or sum(x.size for x in some) + one.size > size):
            yield some
            some = []
        some.append(one)
    if some:
        yield some
