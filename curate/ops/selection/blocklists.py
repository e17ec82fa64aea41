"""Block lists: hashes of images that must not be in the output, and the lookup of an image.

A line is a hash in hex: 32 digits are an MD5, 64 a SHA-256 or a PDQ hash. A prefix (``md5:``,
``sha256:``, ``pdq:``) says which; without one, 64 digits are looked for as both, as no SHA-256
is near any picture's PDQ hash. What follows the hash
after a comma or white space (a quality, a file name) is ignored, as are empty lines and ``#`` comments,
so the output of ``sha256sum`` or of a PDQ hasher is a list as it stands.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.files.texts import read_utf8, utf8
from curate.ops.kernels import Frozen, Rows, nb
from curate.ops.strings import buffers

MAX_DISTANCE = 31
_BANDS = (
    16  # 16 bits each: within 31 bits of 256, one band of two hashes differs in one bit at most
)
_MD5, _SHA256, _PDQ = 1, 2, 4

Hashes = dict[str, NDArray[np.uint8]]
"""Hashes by kind (md5, sha256, pdq), each of shape (n, octets)."""


class Hit(NamedTuple):
    """Why an image is blocked: the image's own hash, its kind, and the bits from the list's."""

    kind: str
    value: str  # hex
    distance: int
    row: int  # of the hash that it is on the list by, among those of its kind

    def __str__(self) -> str:
        near = f" within {self.distance} bits" if self.distance else ""
        return f"{self.kind}:{self.value}{near}"


def lines_of(content: bytes) -> pa.StringArray:
    """The lines of a text file, without outer white space, empty lines and comments.

    Raises
    ------
    CurateError
        Where it is no text.
    """
    try:
        octets = np.frombuffer(utf8(content) + b"\n", np.uint8)
    except ValueError as error:
        raise CurateError(str(error)) from None
    ends = np.flatnonzero(octets == ord("\n")) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    lines = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(octets))
    lines = pc.utf8_trim_whitespace(lines)
    unwanted = pc.or_(pc.equal(lines, ""), pc.starts_with(lines, "#"))
    return lines.filter(pc.invert(unwanted))


def read_hashes(content: bytes) -> Hashes:
    """The hashes of a block list.

    Raises
    ------
    CurateError
        Naming the first line that is no hash.
    """
    lines = lines_of(content)
    hashes, others = hashes_of(lines)
    if len(others):
        raise CurateError(
            f"{others[0].as_py()[:80]!r} is no md5 (32 hex digits), sha256 or pdq hash (64), with or"
            " without its kind and a colon in front"
        )
    return hashes


def read_block_lists(paths: tuple[str, ...]) -> Hashes:
    """The hashes of all lists together.

    Raises
    ------
    CurateError
        Naming the list and the line that is no hash.
    """
    found: list[Hashes] = []
    for path in paths:
        try:
            found.append(read_hashes(read_utf8(path)))
        except CurateError as error:
            told = str(error).removeprefix(f"{path}: ")
            raise CurateError(f"download.block_lists: {path}: {told}") from None
    return {kind: np.concatenate([one[kind] for one in found]) for kind in found[0]}


def hashes_of(lines: pa.Array) -> tuple[Hashes, pa.Array]:
    """The hashes among `lines`, and the lines that are none."""
    content, offsets = buffers(lines)
    kinds, found = _parse(content, offsets)
    hashes = {
        "md5": found[kinds & _MD5 > 0, :16],
        "sha256": found[kinds & _SHA256 > 0],
        "pdq": found[kinds & _PDQ > 0],
    }
    return hashes, lines.filter(pa.array(kinds == 0))


@nb.njit(inline="always")
def _digit(octet: int) -> int:
    """The value of a hex digit; 16 for anything else."""
    if 48 <= octet <= 57:
        return octet - 48
    lower = octet | 32
    return lower - 87 if 97 <= lower <= 102 else 16


@nb.njit(inline="always")
def _starts(content: NDArray[np.uint8], at: int, stop: int, word: bytes) -> bool:
    if stop - at < len(word):
        return False
    same = True
    for i in range(len(word)):
        same &= content[at + i] | 32 == word[i] | 32
    return same


@nb.njit(cache=True, nogil=True)
def _parse(
    content: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For each line the kinds of hash that it can be, as bits, and its octets."""
    n = len(offsets) - 1
    kinds = np.zeros(n, np.uint8)
    found = np.zeros((n, 32), np.uint8)
    for line in range(n):
        at, stop = offsets[line], offsets[line + 1]
        allowed = _MD5 | _SHA256 | _PDQ
        if _starts(content, at, stop, b"md5:"):
            at, allowed = at + 4, _MD5
        elif _starts(content, at, stop, b"sha256:"):
            at, allowed = at + 7, _SHA256
        elif _starts(content, at, stop, b"pdq:"):
            at, allowed = at + 4, _PDQ
        while at < stop and content[at] == 32:
            at += 1
        n_digits = 0
        while at < stop and n_digits < 64 and _digit(content[at]) < 16:
            found[line, n_digits >> 1] |= _digit(content[at]) << (0 if n_digits & 1 else 4)
            n_digits += 1
            at += 1
        ended = at == stop or content[at] == 44 or content[at] == 32 or content[at] == 9
        if ended and n_digits == 32:
            kinds[line] = allowed & _MD5
        elif ended and n_digits == 64:
            kinds[line] = allowed & (_SHA256 | _PDQ)
    return kinds, found


class BlockList:
    """Hashes ready to be looked up: sorted for MD5 and SHA-256, by bands of 16 bits for PDQ.

    `distance` is the largest number of bits between two PDQ hashes of the same picture.
    """

    def __init__(self, hashes: Hashes, *, distance: int) -> None:
        self._exact = {kind: _Sorted(hashes[kind]) for kind in ("md5", "sha256")}
        self._near = _Near(hashes["pdq"], distance=distance)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of hash that the list holds."""
        held = {kind for kind, found in self._exact.items() if len(found)}
        return frozenset(held | ({"pdq"} if len(self._near) else set()))

    def find(self, *, md5: str | None, sha256: str | None, pdq: str | None) -> Hit | None:
        """The entry of the list that an image with these hashes (hex) matches; None without one."""
        for kind, value in (("md5", md5), ("sha256", sha256)):
            row = self._exact[kind].row(bytes.fromhex(value)) if value else -1
            if value and row >= 0:
                return Hit(kind, value, 0, row)
        if pdq:
            row, distance = self._near.nearest(np.frombuffer(bytes.fromhex(pdq), np.uint8))
            if row >= 0:
                return Hit("pdq", pdq, distance, row)
        return None


class _Sorted:
    """Membership by bisection over the first eight octets."""

    def __init__(self, hashes: NDArray[np.uint8]) -> None:
        heads = np.ascontiguousarray(hashes[:, :8]).view(">u8").ravel().astype(np.uint64)
        order = np.argsort(heads, kind="stable")
        self._heads, self._hashes, self._order = heads[order], hashes[order], order

    def __len__(self) -> int:
        return len(self._heads)

    def row(self, value: bytes) -> int:
        """The first row of the hash `value`, -1 where it is not among them."""
        head = np.uint64(int.from_bytes(value[:8], "big"))
        at = int(np.searchsorted(self._heads, head))
        while at < len(self._heads) and self._heads[at] == head:
            if self._hashes[at].tobytes() == value:
                return int(self._order[at])
            at += 1
        return -1


class _Near:
    """Nearest hash within a distance, exactly, by multi-index hashing (Norouzi et al., 2012).

    Of 16 bands of 16 bits, two hashes at most 31 bits apart have one that differs in at most one bit:
    17 buckets a band hold every candidate, each of which is then counted out.
    """

    def __init__(self, hashes: NDArray[np.uint8], *, distance: int) -> None:
        if not 0 <= distance <= MAX_DISTANCE:
            raise ValueError(f"a distance of 0 to {MAX_DISTANCE} bits, not {distance}")
        self._distance = distance
        self._words = _words(hashes)
        self._starts, self._members = _bucketed(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def nearest(self, value: NDArray[np.uint8]) -> tuple[int, int]:
        """First row of the nearest hash to `value` (32 octets), and bits; -1 where none is near."""
        word = _words(value.reshape(1, -1))[0]
        flips = self._distance >= _BANDS
        row, distance = _nearest(
            word, self._words, self._starts, self._members, self._distance, flips
        )
        return int(row), int(distance)


def _words(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes).view(np.uint64).reshape(len(hashes), 4)


@nb.njit(inline="always")
def _band(words: NDArray[np.uint64], band: int) -> np.uint64:
    return (words[band >> 2] >> np.uint64(16 * (band & 3))) & np.uint64(0xFFFF)


@nb.njit(cache=True, nogil=True)
def _bucketed(words: Rows[np.uint64]) -> tuple[Rows[np.uint32], Rows[np.uint32]]:
    """For each band, where each bucket starts, and the rows of the hashes by bucket."""
    starts = np.zeros((_BANDS, 65537), np.uint32)
    members = np.empty((_BANDS, len(words)), np.uint32)
    for band in range(_BANDS):
        for i in range(len(words)):
            starts[band, _band(words[i], band) + np.uint64(1)] += np.uint32(1)
        for value in range(65536):
            starts[band, value + 1] += starts[band, value]
        free = starts[band, :-1].copy()
        for i in range(len(words)):
            value = _band(words[i], band)
            members[band, free[value]] = i
            free[value] += np.uint32(1)
    return starts, members


@nb.njit(inline="always")
def _ones(x: np.uint64) -> np.uint64:
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@nb.njit(cache=True, nogil=True)
def _nearest(
    word: Frozen[np.uint64],
    words: Rows[np.uint64],
    starts: Rows[np.uint32],
    members: Rows[np.uint32],
    most: int,
    flips: bool,
) -> tuple[np.int64, int]:
    best = most + 1
    row = np.int64(-1)
    for band in range(_BANDS):
        own = _band(word, band)
        for flip in range(17 if flips else 1):
            value = own ^ np.uint64(1 << (flip - 1)) if flip else own
            for at in range(starts[band, value], starts[band, value + np.uint64(1)]):
                other = words[members[band, at]]
                apart = 0
                for k in range(4):
                    apart += int(_ones(word[k] ^ other[k]))
                member = np.int64(members[band, at])
                if apart < best or (apart == best and member < row):
                    best, row = apart, member
    return row, best
