"""Pools that bring their images along: WebDataset shards, and output folders of img2dataset.

A row says where the bytes of its image lie, so the download reads them there. What has no such place,
as the failed rows of img2dataset, is fetched by its URL like any other pair.
"""

import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from curate.errors import CurateError
from curate.ops.images.boxes import EXPECTED, read_boxes
from curate.ops.pool.jsonl import documents, json_text
from curate.ops.pool.lines import BadRow
from curate.ops.pool.rows import PoolFormat, UnreadableError, bad_rows, batched, pool_table
from curate.reasons import SUCCESS
from curate.schema import POOL

ENDINGS = frozenset(["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "svg"])
"""Of the members and files that are images; what they really are is found out later."""
STATS = "_stats.json"
"""What the name of the statistics of an img2dataset shard ends in."""

_ROWS = 2_000  # a table
_LOOKED_AT = 100  # samples that say what is in the columns
_TEXT_BYTES = 1 << 24
_KEY = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)$")


class Place(NamedTuple):
    """Where the bytes of an image lie."""

    file: str
    offset: int
    size: int


def read_places(places: Iterable[tuple[int, Place]]) -> Iterator[tuple[int, bytes]]:
    """The bytes of images with the number that each was given, in order."""
    for path, group in groupby(places, key=lambda one: one[1].file):
        with files.open_read(path) as file:
            for number, (_, offset, size) in group:
                file.seek(offset)
                content = file.read(size)
                if len(content) < size:
                    raise CurateError(
                        f"{path}: ends before its image of {size} bytes at offset {offset}: it has"
                        " changed since the run began; start again with another --out"
                    )
                yield number, content


@dataclass
class _Sample:
    number: int
    key: str
    place: Place | None = None
    text: bytes | None = None
    document: bytes | None = None


def read_webdataset(path: str, *, pool: PoolFormat, name: str) -> Iterator[pa.Table]:
    """The samples of a tar, tables of `schema.POOL`: neighbours whose names agree up to the first dot.

    A sample's caption is the field of its ``.json`` that `pool` names, else its ``.txt``. Its URL is
    that of its ``.json``, else ``file:///NAME/KEY``, which is never fetched.
    """
    with files.open_read(path) as file:
        for samples in batched(_samples(file, path), size=_ROWS):
            rows, bad = [], []
            for sample in samples:
                try:
                    rows.append(_row(sample, pool=pool, name=name))
                except (ValueError, RecursionError) as error:
                    bad.append(BadRow(sample.number, str(error).splitlines()[0], sample.key))
            columns = {
                x: [row[x] for row in rows] for x in POOL.names if x not in ("error", "detail")
            }
            found = pool_table(**columns)
            if pool.keep:
                texts = pa.schema([(name, pa.string()) for name, _ in pool.keep])
                kept = pa.Table.from_pylist([row["kept"] for row in rows], schema=texts)
                found = pool.keeping(found, kept, path=path)
            yield pa.concat_tables([found, pool.with_all(bad_rows(bad, path=path))])


def first_documents(path: str) -> list[dict[str, Any]]:
    """The ``.json`` of the first samples of a tar, those that are objects."""
    with files.open_read(path) as file:
        texts = [x.document for x in islice(_samples(file, path), _LOOKED_AT) if x.document]
    return [one for text in texts for one in documents(text.replace(b"\n", b" "))]


def _members(file: IO[bytes], path: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined] # or it would remember them all
            if member.isreg() and not member.issparse():
                yield archive, member
        # A broken header ends an archive as its last block does; only that one is empty.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no valid header at offset {archive.offset}")


def _samples(file: IO[bytes], path: str) -> Iterator[_Sample]:
    sample: _Sample | None = None
    for archive, member in _members(file, path):
        matched = _KEY.match(member.name)
        if matched is None:
            continue
        key, ending = matched[1], matched[2].lower()
        if sample is None or key != sample.key:
            if sample is not None:
                yield sample
            sample = _Sample(number=sample.number + 1 if sample else 1, key=key)
        if ending in ENDINGS:
            sample.place = sample.place or Place(path, member.offset_data, member.size)
        elif ending in ("txt", "json") and member.size <= _TEXT_BYTES:
            content = archive.extractfile(member)
            setattr(sample, "text" if ending == "txt" else "document", content and content.read())
    if sample is not None:
        yield sample


def _row(sample: _Sample, *, pool: PoolFormat, name: str) -> dict[str, Any]:
    if sample.place is None:
        raise ValueError("a sample without an image")
    document = json.loads(sample.document.decode()) if sample.document is not None else {}
    if not isinstance(document, dict):
        raise ValueError("its .json is not an object")
    text = sample.text.decode() if sample.text is not None else None
    caption = _string(document, pool.caption)
    return {
        "kept": {name: json_text(document.get(name)) for name, _ in pool.keep},
        "url": _string(document, pool.url) or f"file:///{name}/{sample.key}",
        "caption": text if caption is None else caption,
        "uid": _string(document, pool.uid) if pool.uid else None,
        "blur_boxes": _boxes(document, pool.blur_boxes) if pool.blur_boxes else None,
        **sample.place._asdict(),
    }


def _boxes(document: dict[str, Any], key: str) -> Any:
    found, bad = read_boxes(pa.array([json.dumps(document.get(key))]))
    if bad[0]:
        raise ValueError(f"{key}: not a list of {EXPECTED}")
    return found[0].as_py()


def _string(document: dict[str, Any], key: str) -> str | None:
    value = document.get(key)
    if not isinstance(value, str):
        return None
    value.encode()  # half a surrogate pair is a ValueError
    return value


def read_img2dataset(path: str, *, pool: PoolFormat) -> Iterator[pa.Table]:
    """The rows of a shard by the parquet at `path`; its images are in the tar or folder beside it."""
    stem = path.removesuffix(".parquet")
    places = _tar_places(f"{stem}.tar") or _folder_places(stem)
    with files.open_read(path) as file:
        source = pq.ParquetFile(file)
        names = source.schema_arrow.names
        pool.check(path, names)
        if missing := {"key", "status"} - set(names):
            raise UnreadableError(
                f"{path}: no column {min(missing)!r}: this is not a shard of img2dataset"
            )
        wanted = [name for name in names if name in {*pool.columns, "key", "status"}]
        for batch in source.iter_batches(columns=wanted):
            table = pa.Table.from_batches([batch])
            given = zip(*(table[x].to_pylist() for x in ("key", "status")), strict=True)
            found = [places.get(key) if status == SUCCESS else None for key, status in given]
            columns = {
                name: pa.array([place and getattr(place, name) for place in found], kind)
                for name, kind in (("file", pa.string()), ("offset", pa.int64()), ("size", pa.int64()))
            }  # fmt: skip
            yield pool.normalise(table, path=path, **columns)


def _tar_places(path: str) -> dict[str, Place]:
    if not files.exists(path):
        return {}
    places: dict[str, Place] = {}
    with files.open_read(path) as file:
        for _, member in _members(file, path):
            matched = _KEY.match(member.name)
            if matched and matched[2].lower() in ENDINGS:
                places.setdefault(matched[1], Place(path, member.offset_data, member.size))
    return places


def _folder_places(folder: str) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for name, size in files.sizes(folder).items():
        key, _, ending = name.partition(".")
        if ending.lower() in ENDINGS:
            places.setdefault(key, Place(files.join(folder, name), 0, size))
    return places
