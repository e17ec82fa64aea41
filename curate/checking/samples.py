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
from curate.checking.tables import Table, differing
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
        for found in walk:
            if isinstance(found, Fault):
                name = key_of(found.name)[0] or found.name
                self.loose.append(Loose(found.kind, name, found.what, found.at))
                torn = found.kind is Kind.DAMAGED_HEADER
                if sample is not None and found.kind is not Kind.NO_END:
                    sample.torn |= found.kind is not Kind.BEHIND_END
                continue
            member, content = found
            key, ending = key_of(member.name)
            if not key or not member.is_file:
                self._stray(member, bool(key))
                continue
            if sample is None or key != sample.key or ending in sample.endings:
                if sample is not None:
                    yield sample
                sample = Sample(key, member.header)
            sample.torn |= torn
            torn = False
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
        row = self.table.row(sample.key) if self.table else None
        if row is not None and row["sha256"]:
            same = row["sha256"] == sha256
            self._hashed[same] += 1
            if not same:
                self.other_hashes.append(sample.key)


def judge(sample: Sample, row: dict[str, Any] | None) -> None:
    """Add to what is wrong with a sample where its members, or the table's row, are of another."""
    document, text = sample.document, sample.text
    caption = document.get("caption") if document is not None else None
    if isinstance(caption, str) and text is not None and caption.strip() != text.strip():
        sample.wrong.append((Kind.CAPTION_DIFFERS, ""))
    told = document if document is not None and "width" in document else row or {}
    if sample.image is not None and not sample.image.is_of(told.get("width"), told.get("height")):
        stated = f"{told.get('width')}x{told.get('height')} is stated"
        sample.wrong.append(
            (Kind.IMAGE_SIZE, f"{sample.image.width}x{sample.image.height}, {stated}")
        )
    if row is not None and not sample.wrong and (column := differing(row, document, text)):
        sample.wrong.append((Kind.TABLE_DIFFERS, f"its {column} is another in the table"))
