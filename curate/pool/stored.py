"""Pools that bring their images along: WebDataset shards, and output folders of img2dataset.

A row says where the bytes of its image lie, so the download reads them there. What has no such place,
as the failed rows of img2dataset, is fetched by its URL like any other pair.
"""

import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from itertools import groupby, islice
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from curate.errors import CurateError
from curate.files.texts import decoded
from curate.ops.images.boxes import EXPECTED, read_boxes
from curate.pool.jsonl import documents, json_text
from curate.pool.lines import BadRow
from curate.pool.rows import PoolFormat, UnreadableError, bad_rows, batched, pool_table
from curate.pool.samples import ENDINGS, Sample, read_samples
from curate.reasons import SUCCESS
from curate.schema import PLACES, POOL

STATS = "_stats.json"
"""What the name of the statistics of an img2dataset shard ends in."""

LOOKED_AT = 100
"""Samples that say what is in the columns."""

_ROWS = 2_000  # a table
_SHA256 = re.compile("[0-9a-f]{64}")
_ORIGINAL = ("original_width", "original_height", "sha256")


class Place(NamedTuple):
    """Where the bytes of an image lie, and what the pool says of the image that it was made of."""

    file: str
    offset: int
    size: int
    original_width: int | None = None  # pixels; the others only beside both sides
    original_height: int | None = None
    sha256: str | None = None  # hex

    def made_of(self, width: object, height: object, sha256: object) -> "Place":
        """This place with what img2dataset writes of the original.

        Without both of its sides nothing is known of it: a hash alone may be that of this very file.
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
    """The bytes of images with the number that each was given, in order."""
    for path, group in groupby(places, key=lambda one: one[1].file):
        with files.open_read(path) as file:
            for number, (_, offset, size, *_) in group:
                file.seek(offset)
                content = file.read(size)
                if len(content) < size:
                    raise CurateError(
                        f"{path}: ends before its image of {size} bytes at offset {offset}: it has"
                        " changed since the run began; start again with another --out"
                    )
                yield number, content


def read_webdataset(path: str, *, pool: PoolFormat, name: str) -> Iterator[pa.Table]:
    """The samples of a tar, tables of `schema.POOL`.

    A sample's caption is the field of its ``.json`` that `pool` names, else its ``.txt``. Its URL is
    that of its ``.json``, else ``file:///NAME/KEY``, which is never fetched; a further sample with
    the same key has ``KEY.2`` there.
    """
    for samples in batched(read_samples(path), size=_ROWS):
        rows, bad = [], []
        for sample in samples:
            try:
                rows.append(sample_row(sample, pool=pool, path=path, name=name))
            except (ValueError, RecursionError) as error:
                bad.append(BadRow(sample.number, str(error).splitlines()[0], sample.key))
        columns = {x: [row[x] for row in rows] for x in POOL.names if x not in ("error", "detail")}
        found = pool_table(**columns)
        if pool.keep:
            texts = pa.schema([(name, pa.string()) for name, _ in pool.keep])
            kept = pa.Table.from_pylist([row["kept"] for row in rows], schema=texts)
            found = pool.keeping(found, kept, path=path)
        yield pa.concat_tables([found, pool.with_all(bad_rows(bad, path=path))])


def first_documents(path: str) -> list[dict[str, Any]]:
    """The ``.json`` of the first samples of a tar, those that are objects."""
    texts = []
    for sample in islice(read_samples(path), LOOKED_AT):
        with suppress(ValueError):  # which its row tells
            texts.append(_text(sample, "document") or "")
    return [one for text in texts for one in documents(text.replace("\n", " ").encode())]


def sample_row(sample: Sample, *, pool: PoolFormat, path: str, name: str) -> dict[str, Any]:
    """The columns of `schema.POOL` of a sample whose image is in `path`; and `kept`, as texts.

    Raises
    ------
    ValueError, RecursionError
        Where its members cannot be understood.
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
        **_place(sample, path).made_of(*map(document.get, _ORIGINAL))._asdict(),
    }


def _text(sample: Sample, kind: Literal["text", "document"]) -> str | None:
    content = getattr(sample, kind)
    try:
        return None if content is None else decoded(content)
    except ValueError as error:
        raise ValueError(f"its .{'txt' if kind == 'text' else 'json'}: {error}") from None


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


def _place(sample: Sample, path: str) -> Place:
    assert sample.image is not None
    return Place(path, *sample.image)


def read_img2dataset(path: str, *, pool: PoolFormat) -> Iterator[pa.Table]:
    """The rows of a shard by the parquet at `path`; its images are in the tar or folder beside it.

    Of several rows and images with one key the first row has the first image. Where their numbers
    differ nobody can tell which belongs to which: these rows are fetched like those without an image,
    and a bad row at the end tells of the images, as of those that have no row.
    """
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
        asked = Counter(_stored_keys(source.read(columns=["key", "status"], use_threads=False)))
        odd = [key for key in places if asked[key] != len(places[key])]
        lost = {key: places.pop(key) for key in odd}
        wanted = [name for name in names if name in {*pool.columns, "key", "status", *_ORIGINAL}]
        for batch in source.iter_batches(columns=wanted):
            table = pa.Table.from_batches([batch])
            nothing = [None] * len(table)
            known = [table[x].to_pylist() if x in names else nothing for x in _ORIGINAL]
            found = [
                places[key].popleft().made_of(*original) if key in places else None
                for key, *original in zip(_stored_keys(table), *known, strict=True)
            ]
            columns = {
                name: pa.array([place and getattr(place, name) for place in found], kind)
                for name, kind in zip(PLACES.names, PLACES.types, strict=True)
            }
            yield pool.normalise(table, path=path, **columns)
    if lost:
        yield pool.with_all(bad_rows([_unmatched(lost, asked, rows=asked.total())], path=path))


def _stored_keys(table: pa.Table) -> list[str | None]:
    """The key of each row that has an image, None for the others."""
    given = zip(*(table[x].to_pylist() for x in ("key", "status")), strict=True)
    return [key if status == SUCCESS else None for key, status in given]


def _unmatched(lost: Mapping[str, Sized], asked: Counter[str | None], *, rows: int) -> BadRow:
    key, images = next(iter(lost.items()))
    total = sum(map(len, lost.values()))
    problem = (
        f"{total:,} images beside it are left out: their keys have not as many rows with status"
        f" {SUCCESS}; the first is {key}: {len(images)} in the images, {asked[key]} in the rows"
    )
    return BadRow(rows + 1, problem, key)


def _tar_places(path: str) -> dict[str, deque[Place]]:
    """The images of a tar by their key, which has no folder here."""
    places: dict[str, deque[Place]] = defaultdict(deque)
    for sample in read_samples(path, texts=False) if files.exists(path) else ():
        if sample.image is not None:
            places[sample.key.rpartition("/")[2]].append(_place(sample, path))
    return places


def _folder_places(folder: str) -> dict[str, deque[Place]]:
    places: dict[str, deque[Place]] = {}
    for name, size in files.sizes(folder).items():
        key, _, ending = name.partition(".")
        if ending.lower() in ENDINGS:
            places.setdefault(key, deque([Place(files.join(folder, name), 0, size)]))
    return places
