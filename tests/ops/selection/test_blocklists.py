"""Block lists: their lines, exact look-up, and every PDQ hash within the distance and none beyond."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.ops.selection.blocklists import BlockList, Hit, read_block_lists, read_hashes

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
SHA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
RANDOM = np.random.default_rng(0)


def hexed(hashes: Any) -> list[str]:
    return [row.tobytes().hex() for row in hashes]


def flipped(value: str, bits: list[int]) -> str:
    number = int(value, 16)
    for bit in bits:
        number ^= 1 << bit
    return f"{number:064x}"


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        (MD5, {"md5"}),
        (MD5.upper(), {"md5"}),
        (f"MD5: {MD5}", {"md5"}),
        (f"{MD5}  picture.jpg", {"md5"}),
        (SHA, {"sha256", "pdq"}),
        (f"sha256:{SHA}", {"sha256"}),
        (f"pdq:{SHA},87,picture.jpg", {"pdq"}),
        (f"\t{SHA}\t# why\r", {"sha256", "pdq"}),
        ("", set()),
        ("   # a comment", set()),
    ],
)
def test_a_line(line: str, kinds: set[str]) -> None:
    found = read_hashes(b"\xef\xbb\xbf" + line.encode() + b"\n\n")
    assert {kind for kind, hashes in found.items() if len(hashes)} == kinds
    for kind in kinds:
        assert hexed(found[kind]) == [MD5 if kind == "md5" else SHA]
    assert BlockList(found, distance=31).kinds == kinds


@pytest.mark.parametrize(
    "line",
    [
        MD5[:-1],
        MD5 + "0",
        SHA + "0",
        SHA + ".jpg",
        "md5:" + SHA,
        "pdq:" + MD5,
        "sha1:" + MD5,
        "x" * 64,
        "http://x.example/a.jpg",
    ],
)
def test_a_line_that_is_no_hash_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{MD5}\n{line}\n")
    with pytest.raises(CurateError, match=r"list\.txt: '.*' is no md5 \(32 hex digits\), sha256"):
        read_block_lists((str(path),))
    path.write_bytes(b"\xe9\n" + MD5.encode())
    with pytest.raises(CurateError, match=r"list\.txt: line 1 is not UTF-8"):
        read_block_lists((str(path),))


def test_exact_hashes_are_found_and_their_neighbours_are_not() -> None:
    rows = RANDOM.integers(0, 256, (500, 32), dtype=np.uint8)
    rows[250:, :8] = rows[0, :8]  # the first octets alone do not tell these apart
    listed = hexed(rows)
    found = BlockList(read_hashes("\n".join(f"sha256:{x}" for x in listed).encode()), distance=31)
    for row, value in enumerate(listed):
        assert found.find(md5=None, sha256=value, pdq=value) == Hit("sha256", value, 0, row)
        assert found.find(md5=None, sha256=flipped(value, [0]), pdq=None) is None
    assert found.find(md5=MD5, sha256=None, pdq=None) is None
    assert BlockList(read_hashes(MD5.encode()), distance=0).find(
        md5=MD5, sha256=None, pdq=None
    ) == Hit("md5", MD5, 0, 0)


LISTED = hexed(RANDOM.integers(0, 256, (3000, 32), dtype=np.uint8))
LISTS = {
    distance: BlockList(read_hashes("\n".join(LISTED).encode()), distance=distance)
    for distance in (0, 7, 16, 31)
}


@given(
    st.sampled_from(sorted(LISTS)),
    st.integers(0, len(LISTED) - 1),
    st.lists(st.integers(0, 255), unique=True, max_size=40),
)
@settings(deadline=None)
def test_a_pdq_hash_is_found_exactly_within_the_distance(
    distance: int, row: int, bits: list[int]
) -> None:
    value = flipped(LISTED[row], bits)
    by_counting, first = min(
        ((int(value, 16) ^ int(x, 16)).bit_count(), k) for k, x in enumerate(LISTED)
    )
    hit = LISTS[distance].find(md5=None, sha256=None, pdq=value)
    assert hit == (Hit("pdq", value, by_counting, first) if by_counting <= distance else None)


def test_bits_that_are_spread_over_all_bands_are_found() -> None:
    """Two bits in each band but one, which has one: the hardest case for looking up by bands."""
    bits = [16 * band + k for band in range(16) for k in (0, 9)][:-1]
    value = flipped(LISTED[5], bits)
    assert LISTS[31].find(md5=None, sha256=None, pdq=value) == Hit("pdq", value, 31, 5)
    assert LISTS[31].find(md5=None, sha256=None, pdq=flipped(value, [255])) is None
