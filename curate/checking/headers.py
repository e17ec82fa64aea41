"""The header of a member of a tar."""

import tarfile
from zlib import adler32

BLOCK = tarfile.BLOCKSIZE
SUM, KIND, LOW = slice(148, 156), 156, 0xFFFF
"""Where the checksum and the kind of a member stand; the half of an Adler-32 that adds up bytes."""
_ADLER = 65521


def is_header(block: bytes) -> bool:
    """Whether a block is the header of a member, by its checksum.

    That is the sum of all bytes, those of the checksum itself as spaces. Adler-32 has the sum of bytes
    in its lower half, modulo a prime that no header of a name in letters comes to.
    """
    if len(block) < BLOCK:
        return False
    digits = block[SUM]
    found = (adler32(block) & LOW) - (adler32(digits) & LOW) + 8 * ord(" ")
    try:
        stored = int(digits[:6], 8)
    except ValueError:
        stored = _octal(digits)
    return not (found - stored) % _ADLER or (not block.isascii() and stored == _signed(block))


def _signed(block: bytes) -> int:
    """The checksum as some old programs take it: of signed bytes."""
    sums = [sum(x - 256 if x > 127 else x for x in part) for part in (block, block[SUM])]
    return sums[0] - sums[1] + 8 * ord(" ")


def padded(size: int) -> int:
    """Bytes that a content of `size` bytes takes."""
    return size + BLOCK - 1 & ~(BLOCK - 1)


def _octal(digits: bytes) -> int:
    """A number of a header; -1 where it is none."""
    try:
        return int(digits.partition(b"\0")[0] or b"0", 8)
    except ValueError:
        return -1


def number_of(digits: bytes) -> int:
    """A size; numbers with the first bit set are in base 256. 0 where it is none."""
    try:
        return max(int(digits[:-1], 8), 0)
    except ValueError:
        if digits[0] & 0x80:
            return int.from_bytes(digits, "big") & ~(0xFF << 88)
        return max(_octal(digits), 0)


def name_of(head: bytes) -> str:
    """The name that a header has."""
    name = head[: head.index(0)] if 0 in head[:100] else head[:100]
    if head[345] and head[257:263] == b"ustar\0":
        name = head[345:500].partition(b"\0")[0] + b"/" + name
    return name.decode(errors="surrogateescape")


def text_of(content: bytes) -> str:
    """What stands before the first zero."""
    return content.partition(b"\0")[0].decode(errors="surrogateescape")


def path_of(content: bytes) -> str:
    """The name that a pax header has; empty where it has none."""
    at = 0
    while b" path=" in content[at:]:
        digits = content[at:].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, _, value = content[at : at + length].partition(b" ")[2].partition(b"=")
        if key == b"path":
            return value.removesuffix(b"\n").decode(errors="surrogateescape")
        if length <= 0:
            break
        at += length
    return ""
