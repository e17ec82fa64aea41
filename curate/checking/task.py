"""A tar to be checked, what lists say of it, and what was found in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate import files
from curate.checking.kinds import Kind, Problem
from curate.checking.samples import Sample, Usual
from curate.ops.hashing import hash64


class Claim(NamedTuple):
    """What a list says of a tar, as far as it says so."""

    by: str  # the name of the list
    pairs: int | None = None
    size: int | None = None  # bytes
    sha256: str | None = None
    md5: str | None = None
    kind: Kind = Kind.COUNT


class Beside(NamedTuple):
    """What a list says of a file beside a tar."""

    by: str
    name: str
    content: files.Content


@dataclass(frozen=True)
class Options:
    """How thorough a check is."""

    images: bool = False  # whether images are decoded
    hashes: bool = True  # whether what lists have hashes of is hashed


@dataclass(frozen=True)
class Task:
    """A tar to be checked."""

    url: str
    name: str  # relative to what is checked
    claims: tuple[Claim, ...] = ()
    beside: tuple[Beside, ...] = ()
    stats: bool = False  # whether these files are there
    table: bool = False
    lacks_table: bool = False  # which most of the others have
    size: int = 0  # bytes, by the listing

    @property
    def stem(self) -> str:
        """The URL without its ending."""
        return self.url.removesuffix(".tar")

    def called(self, ending: str) -> str:
        """The name of a file beside the tar."""
        return self.name.removesuffix(".tar") + ending


@dataclass
class Shard:
    """What was found in a tar."""

    name: str
    problems: list[Problem] = field(default_factory=list)
    bytes: int = 0
    pairs: int = 0
    usual: Usual = frozenset()
    hashes: NDArray[np.uint64] = field(
        default_factory=lambda: np.zeros(0, np.uint64)
    )  # of its keys
    torn: bool = False
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    """Those that are kept for a copy, by key: several where their members are apart."""

    def add(self, kind: Kind, key: str = "", what: str = "", *, file: str = "") -> None:
        """Note a problem; `file` is another than the tar."""
        self.problems.append(Problem(kind, file or self.name, key, what))


def hashes_of(keys: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each key, also of those that are no Unicode."""
    text = "".join(keys)
    if text.isascii():
        return hash64([*keys])
    return hash64([x.encode(errors="replace").decode() for x in keys])
