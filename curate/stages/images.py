"""The stored images of a part: what they are called in its tar, and reading them back."""

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from mmap import mmap
from typing import IO

import pyarrow as pa

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.rundir.directory import Run
from curate.rundir.journal import Columns
from curate.rundir.tar import read_member
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
    places = rows.select(["uid", "tar_offset", "tar_size"]).to_pylist()
    hashed = "stored_sha256" in rows.column_names
    hashes = rows["stored_sha256"].to_pylist() if hashed else [None] * len(rows)
    with open_tar(run, part) as tar:
        for place, sha256 in zip(places, hashes, strict=True):
            yield read_image(tar, place, url=url, encode_format=encode_format, sha256=sha256)


@contextmanager
def open_tar(run: Run, part: int) -> Iterator[IO[bytes]]:
    """The tar with the images of a part; a DamagedError where there is none."""
    url = run.part(Stage.DOWNLOAD, part, "tar")
    with ExitStack() as opened:
        try:
            tar = opened.enter_context(files.open_read(url))
        except AbsentError:
            raise DamagedError(url, "it is gone") from None
        yield tar


def read_image(
    tar: IO[bytes] | mmap, place: Columns, *, url: str, encode_format: str, sha256: str | None
) -> bytes:
    """One of them: `place` has its uid, tar_offset and tar_size, `tar` is the file at `url`."""
    name = member_name(place["uid"], encode_format)
    try:
        content = read_member(tar, name=name, offset=place["tar_offset"], size=place["tar_size"])
    except tarfile.ReadError as error:
        raise DamagedError(url, str(error)) from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedError(url, f"{name} is not the image that was stored")
    return content


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
