"""The samples of a tar as they come, and what is wrong with each.

Samples are WebDataset's: adjacent members whose names agree up to the first dot.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from curate.checking.content import (
    Decode,
    Seen,
    look_at_document,
    look_at_image,
    look_at_text,
)
from curate.checking.kinds import Kind
from curate.checking.tables import Table, differ
from curate.checking.walk import Fault, Found, Member
from curate.pool.samples import ENDINGS

IMAGE = "image"
"""Stands for the ending of any image."""
_TRIED = 8
"""Images of a shard that are hashed to see whether hashes are those of the stored files."""
Usual = frozenset[str]
"""Endings that at least half of some samples have."""


@dataclass(slots=True)
class Sample:
    """What is known of a sample."""

    key: str
    at: int  # offset of its first header
    endings: list[str] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    image: Seen | None = None
    text: str | None = None
    document: dict[str, Any] | None = None
    wrong: list[tuple[Kind, str]] = field(default_factory=list)
    torn: bool = False  # beside damage: what it lacks is told there

    @property
    def has(self) -> Usual:
        """Its endings, whatever that of the image is."""
        return _general(tuple(self.endings))


@lru_cache(maxsize=1024)
def _general(endings: tuple[str, ...]) -> Usual:
    return frozenset(IMAGE if x in ENDINGS else x for x in endings)


def key_of(name: str) -> tuple[str, str]:
    """The key of a member, and what its name ends in; nothing where it is of no sample.

    >>> key_of("a/b.c/0001.seg.PNG"), key_of("README")
    (('a/b.c/0001', 'seg.png'), ('', ''))
    """
    folder, slash, base = name.rpartition("/")
    key, dot, ending = base.partition(".")
    return (folder + slash + key, ending.lower()) if key and dot else ("", "")


class Loose(NamedTuple):
    """A problem of a tar that is of no sample."""

    kind: Kind
    name: str  # of a key or a member
    what: str
    at: int  # offset


@dataclass
class Reader:
    """Makes samples of what a walk finds; what is of no sample is in `loose`."""

    decode: Decode | None = None
    table: Table | None = None
    hashes: bool = True
    loose: list[Loose] = field(default_factory=list)
    other_hashes: list[str] = field(
        default_factory=list
    )  # keys of images with another than the table
    _hashed: Counter[bool] = field(default_factory=Counter)  # whether hashes are those of the table

    def samples(self, walk: Iterator[Found]) -> Iterator[Sample]:
        """The samples, each once its last member has come."""
        sample: Sample | None = None
        torn = False
        known, prefix = "", "/"  # the key of the last member, and it with the dot behind it
        for found in walk:
            if isinstance(found, Fault):
                name = key_of(found.name)[0] or found.name
                self.loose.append(Loose(found.kind, name, found.what, found.at))
                torn = found.kind is Kind.DAMAGED_HEADER
                if sample is not None and found.kind is not Kind.NO_END:
                    sample.torn |= found.kind is not Kind.BEHIND_END
                continue
            member, content = found
            name = member.name
            if name.startswith(prefix) and member.is_file and "/" not in name[len(prefix) :]:
                key, ending = known, name[len(prefix) :].lower()
            else:
                key, ending = key_of(name)
                if not key or not member.is_file:
                    self._stray(member, bool(key))
                    continue
                known, prefix = key, name[: len(key) + 1]
            if sample is None or key != sample.key or ending in sample.endings:
                if sample is not None:
                    yield sample
                sample = Sample(key, member.header)
            if torn:
                sample.torn, torn = True, False
            sample.endings.append(ending)
            sample.members.append(member)
            if content is not None:
                self._look(sample, ending, content)
        if sample is not None:
            yield sample

    def _stray(self, member: Member, named: bool) -> None:
        base = member.name.rpartition("/")[2]
        if base.startswith("__") and base.endswith("__"):
            return  # of webdataset's own
        what = "it is a link, a device or has holes" if named else "its name is not KEY.ENDING"
        self.loose.append(Loose(Kind.STRAY_MEMBER, member.name, what, member.header))

    def _look(self, sample: Sample, ending: str, content: bytes) -> None:
        if ending in ENDINGS:
            seen = look_at_image(content, self.decode)
            if isinstance(seen, Seen):
                sample.image = sample.image or seen
                if self._hashes_next():
                    self._compare(sample, hashlib.sha256(content).hexdigest())
            else:
                sample.wrong.append(seen)
        elif ending == "txt":
            text = look_at_text(content)
            if isinstance(text, str):
                sample.text = text
            else:
                sample.wrong.append(text)
        elif ending == "json":
            document = look_at_document(content)
            if isinstance(document, dict):
                sample.document = document
            else:
                sample.wrong.append(document)

    def _hashes_next(self) -> bool:
        if self.table is None or "sha256" not in self.table.columns or not self.hashes:
            return False
        return self._hashed.total() < _TRIED or self.are_of_files

    @property
    def are_of_files(self) -> bool:
        """Whether the hashes in the table are of the images as they are stored here."""
        return self._hashed[True] > 0 and self._hashed[True] >= self._hashed[False]

    def _compare(self, sample: Sample, sha256: str) -> None:
        told = self.table.value("sha256", sample.key) if self.table else None
        if told:
            same = told == sha256
            self._hashed[same] += 1
            if not same:
                self.other_hashes.append(sample.key)


def judge(sample: Sample, table: Table | None) -> None:
    """Add to what is wrong with a sample where its members, or the table's row, are of another."""
    document, text = sample.document, sample.text
    at = table.at.get(sample.key) if table is not None else None
    if document is not None and text is not None and differ(document.get("caption"), text):
        sample.wrong.append((Kind.CAPTION_DIFFERS, ""))
    if sample.image is not None:
        if document is not None and "width" in document:
            told = document.get("width"), document.get("height")
        else:
            told = table.size_at(at) if table is not None and at is not None else (None, None)
        if not sample.image.is_of(*told):
            size = f"{sample.image.width}x{sample.image.height}"
            what = f"{size}, {told[0]}x{told[1]} is stated"
            sample.wrong.append((Kind.IMAGE_SIZE, what))
    if table is None or at is None or sample.wrong:
        return
    if column := table.differing(at, document, text):
        sample.wrong.append((Kind.TABLE_DIFFERS, f"its {column} is another in the table"))
