"""The stored images of a part: what they are called in its tar, and reading them back."""

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, NamedTuple

import pyarrow as pa

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.rundir.directory import Run
from curate.rundir.tar import BLOCK, content_of_member
from curate.schema import Stage


def member_name(uid: str, encode_format: str) -> str:
    """The name of a pair's image in its part's tar."""
    return f"{uid}.{encode_format}"


def read_images(run: Run, part: int, rows: pa.Table, *, encode_format: str) -> Iterator[bytes]:
    """The stored image of each row of a part, in order; `rows` has uid, tar_offset, tar_size.

    Raises
    ------
    DamagedError
        Where the tar does not hold an image as it was stored, by ``stored_sha256`` if `rows` has it.
    """
    url = run.part(Stage.DOWNLOAD, part, "tar")
    with ExitStack() as opened:
        try:
            tar = opened.enter_context(files.open_read(url))
        except AbsentError:
            raise DamagedError(url, "it is gone") from None
        for member in members_of(rows):
            yield member.read(tar, url=url, encode_format=encode_format)


class Member(NamedTuple):
    """What a table says of a stored image."""

    uid: str
    offset: int  # in the tar of its part
    size: int
    sha256: str | None  # None where it is not known

    def read(self, tar: IO[bytes], *, url: str, encode_format: str) -> bytes:
        """The image, from `tar`, which is the file at `url`."""
        tar.seek(self.offset - BLOCK)
        return self.image(tar.read(BLOCK + self.size), url=url, encode_format=encode_format)

    def image(self, block: bytes, *, url: str, encode_format: str) -> bytes:
        """The image, of the bytes of its member; `url` is the tar, which is damaged if they differ."""
        name = member_name(self.uid, encode_format)
        try:
            content = content_of_member(block, name=name, offset=self.offset, size=self.size)
        except tarfile.ReadError as error:
            raise DamagedError(url, str(error)) from None
        if self.sha256 is not None and hashlib.sha256(content).hexdigest() != self.sha256:
            raise DamagedError(url, f"{name} is not the image that was stored")
        return content


def members_of(rows: pa.Table) -> Iterator[Member]:
    """Those of the images of `rows`, which has uid, tar_offset, tar_size."""
    known = [rows[name].to_pylist() for name in ("uid", "tar_offset", "tar_size")]
    hashed = "stored_sha256" in rows.column_names
    hashes = rows["stored_sha256"].to_pylist() if hashed else [None] * len(rows)
    return map(Member, *known, hashes)


def row_keys(uids: list[str], pairs: list[str]) -> list[str]:
    """A name for each row of a part, which says what pair it is, whatever rows are beside it.

    It is the uid; with the hash of URL and caption behind it where the uid is not made of them; and
    with a number where the same pair came before.

    >>> row_keys(["a", "b", "a", "u", "u"], ["a", "b", "a", "c", "d"])
    ['a', 'b', 'a.1', 'u.c', 'u.d']
    """
    seen: Counter[str] = Counter()
    keys = []
    for uid, pair in zip(uids, pairs, strict=True):
        key = uid if uid == pair else f"{uid}.{pair}"
        keys.append(f"{key}.{seen[key]}" if seen[key] else key)
        seen[key] += 1
    return keys


def uid_of(key: str) -> str:
    """The uid of the row called `key`."""
    return key.partition(".")[0]
