"""WebDataset shards as pools: the images are in the tars and need no download.

A row has the file, offset and size of its image, and the download stage reads it from there. A row
without a place, such as a failed one of img2dataset, is fetched by its URL like any other pair.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import groupby, islice
from typing import Literal, NamedTuple

import pyarrow as pa

from curate import files
from curate.errors import CurateError
from curate.files.texts import decoded
from curate.files.unpacking import seekable
from curate.ops.images.boxes import EXPECTED, read_boxes
from curate.pool.jsonl import documents
from curate.pool.kept import kinds_of_documents
from curate.pool.lines import BadRow, json_text
from curate.pool.reader import Reader, Source
from curate.pool.rows import PoolFormat, batched, pool_table
from curate.pool.samples import Sample, read_samples
from curate.schema import POOL

LOOKED_AT = 100
"""Samples from which the kinds of columns are inferred."""

_ROWS = 2_000  # a table
_SHA256 = re.compile("[0-9a-f]{64}")
ORIGINAL = ("original_width", "original_height", "sha256")
"""The columns of img2dataset about the original of a stored image."""


class Place(NamedTuple):
    """The place of an image's bytes, and what the pool says of its original."""

    file: str
    offset: int
    size: int
    original_width: int | None = None  # pixels; the hash only where both sides are known
    original_height: int | None = None
    sha256: str | None = None  # hex

    def made_of(self, width: object, height: object, sha256: object) -> "Place":
        """This place with img2dataset's columns about the original.

        They count only where both sides are given: a hash alone may be that of the stored file.
        """
        sides = [x for x in (width, height) if type(x) is int and 0 < x < 1 << 31]
        if len(sides) < 2:
            return self
        digest = sha256.lower() if isinstance(sha256, str) else ""
        return self._replace(
            original_width=sides[0], original_height=sides[1],
            sha256=digest if _SHA256.fullmatch(digest) else None,
        )  # fmt: skip


def read_places(places: Iterable[tuple[int, Place]]) -> Iterator[tuple[int, bytes]]:
    """The bytes of the image at each place, with the number of the place, in order."""
    for path, group in groupby(places, key=lambda one: one[1].file):
        ours = list(group)
        # What is packed, and read from elsewhere than its beginning, is a package of images.
        end = max(place.offset and place.offset + place.size for _, place in ours)
        with ExitStack() as opened:
            try:
                given = seekable(path, size=end) if end else files.open_read(path)
                file = opened.enter_context(given)
            except ValueError as error:
                raise CurateError(f"{path}: {error}") from None
            for number, (_, offset, size, *_) in ours:
                file.seek(offset)
                content = file.read(size)
                if len(content) < size:
                    raise CurateError(
                        f"{path}: ends before its image of {size} bytes at offset {offset}: it has"
                        " changed since the run began; start again with another --out"
                    )
                yield number, content


class _WebDataset(Reader):
    """Reads tars. The caption of a sample is in its ``.json``, as `pool` calls it, else its ``.txt``.

    Its URL is that of its ``.json``, else ``file:///NAME/KEY``, which is never fetched; a second sample
    with the same key has ``KEY.2`` there.
    """

    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        return kinds_of_documents(_first_documents(source.path))

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        path = source.path
        for samples in batched(read_samples(path), size=_ROWS):
            rows, bad = [], []
            for sample in samples:
                try:
                    rows.append(sample_row(sample, pool=pool, path=path, name=source.name))
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
            yield pool.with_bad(found, bad, path=path)


WEBDATASET = _WebDataset()
"""Reads WebDataset shards."""


def _first_documents(path: str) -> list[dict[str, object]]:
    """The JSON objects of the first samples of a tar."""
    texts = []
    for sample in islice(read_samples(path), LOOKED_AT):
        with suppress(ValueError):  # which its row tells
            texts.append(_text(sample, "document") or "")
    return [one for text in texts for one in documents(text.replace("\n", " ").encode())]


def sample_row(sample: Sample, *, pool: PoolFormat, path: str, name: str) -> dict[str, object]:
    """The columns of `schema.POOL` of a sample in the tar `path`, and `kept`: those to keep, as texts.

    Raises
    ------
    ValueError, RecursionError
        Where its members cannot be parsed.
    """
    sample.check()
    document = json.loads(_text(sample, "document") or "{}")
    if not isinstance(document, dict):
        raise ValueError("its .json is not an object")
    text = _text(sample, "text")
    caption = _string(document, pool.caption)
    return {
        "kept": {name: json_text(document.get(name)) for name, _ in pool.keep},
        "url": _string(document, pool.url) or f"file:///{name}/{sample.name}",
        "caption": text if caption is None else caption,
        "uid": _string(document, pool.uid) if pool.uid else None,
        "blur_boxes": _boxes(document, pool.blur_boxes) if pool.blur_boxes else None,
        **place_of(sample, path).made_of(*map(document.get, ORIGINAL))._asdict(),
    }


def _text(sample: Sample, kind: Literal["text", "document"]) -> str | None:
    content = getattr(sample, kind)
    try:
        return None if content is None else decoded(content)
    except ValueError as error:
        raise ValueError(f"its .{'txt' if kind == 'text' else 'json'}: {error}") from None


def _boxes(document: dict[str, object], key: str) -> list[list[float]] | None:
    found, bad = read_boxes(pa.array([json.dumps(document.get(key))]))
    if bad[0]:
        raise ValueError(f"{key}: not a list of {EXPECTED}")
    boxes: list[list[float]] | None = found[0].as_py()
    return boxes


def _string(document: dict[str, object], key: str) -> str | None:
    value = document.get(key)
    if not isinstance(value, str):
        return None
    value.encode()  # half a surrogate pair is a ValueError
    return value


def place_of(sample: Sample, path: str) -> Place:
    """The place of the image of a sample in the tar at `path`."""
    assert sample.image is not None
    return Place(path, *sample.image)
