"""`curate hash`: an evaluation set -> the hashes by which its items are known in a pool."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate import files, schema
from curate.errors import CurateError
from curate.ops.contamination import caption_hashes
from curate.ops.images import ImageEncoder, StoredImage
from curate.ops.pool import BROKEN, PoolFormat
from curate.ops.stored import ENDINGS, Place, read_places, read_webdataset

_CAPTIONS = ("caption", "text")
_ROWS = 1_000  # items at once


@dataclass(frozen=True)
class Item:
    """An item of an evaluation set: an image, a caption, or both."""

    name: str
    image: bytes | None = None
    caption: str | None = None


def items_of(source: str) -> Iterator[Item]:
    """The items of a set, in order, without those that are neither image nor caption.

    A folder holds images and tars, in any depth; a ``.tar`` is a WebDataset, a ``.parquet`` has a
    column of captions (`caption` or `text`), a ``.txt`` one a line; any other file is an image.

    Raises
    ------
    CurateError
        Naming what is not there or cannot be read.
    """
    paths = files.expand(files.absolute(source))
    if not paths:
        raise CurateError(f"{source}: no such file, folder or match")
    several = len(paths) > 1
    wanted = [path for path in paths if not several or _ending(path) in {*ENDINGS, "tar"}]
    if not wanted:
        raise CurateError(f"{source}: no image and no .tar in it")
    root = files.absolute(source).rstrip("/").rpartition("/")[0] + "/"
    for path in wanted:
        name = path.removeprefix(root)
        try:
            yield from _items(path, name)
        except BROKEN as error:
            raise CurateError(f"{path}: {str(error).splitlines()[0]}") from None


def _ending(path: str) -> str:
    return path.rpartition(".")[2].lower()


def _items(path: str, name: str) -> Iterator[Item]:
    ending = _ending(path)
    if ending == "tar":
        yield from _samples(path, name)
    elif ending == "parquet":
        table = files.read_table(path)
        column = next((x for x in _CAPTIONS if x in table.column_names), None)
        if column is None:
            raise CurateError(f"{path}: no column {' or '.join(_CAPTIONS)}")
        for row, caption in enumerate(table[column].to_pylist()):
            yield Item(f"{name}:{row}", caption=caption)
    elif ending == "txt":
        for row, line in enumerate(files.read_bytes(path).decode().splitlines(), start=1):
            yield Item(f"{name}:{row}", caption=line)
    else:
        yield Item(name, files.read_bytes(path))


def _samples(path: str, name: str) -> Iterator[Item]:
    pool = PoolFormat("webdataset", "url", "caption")
    for table in read_webdataset(path, pool=pool, name=name):
        rows = table.filter(pc.is_valid(table["file"])).to_pylist()
        places = ((k, Place(row["file"], row["offset"], row["size"])) for k, row in enumerate(rows))
        for k, content in read_places(places):
            url = rows[k]["url"].removeprefix("file:///")
            yield Item(url, content, rows[k]["caption"])


@dataclass(frozen=True)
class Hashed:
    """How many items a file of hashes has, and of what."""

    items: int
    images: int
    perceptual: int  # images with a perceptual hash
    captions: int


def hash_sets(sources: tuple[str, ...], *, out: str) -> Hashed:
    """Write the hashes of all items of the sets to the parquet file `out`.

    Raises
    ------
    CurateError
        Naming what cannot be read, or a set without an item.
    """
    tables = [schema.EVALUATION.empty_table()]
    for source in sources:
        held: list[Item] = []
        for item in items_of(source):
            held.append(item)
            if len(held) == _ROWS:
                tables.append(_hashes(held))
                held = []
        tables.append(_hashes(held))
    table = pa.concat_tables(tables)
    if not len(table):
        raise CurateError(f"{', '.join(sources)}: no item in it")
    files.write_table(files.absolute(out), table)
    given = {name: len(table) - table[name].null_count for name in table.column_names}
    return Hashed(len(table), given["sha256"], given["phash"], given["caption"])


def _hashes(items: list[Item]) -> pa.Table:
    encode = ImageEncoder()
    sha256, phash = [], []
    for item in items:
        image = encode(item.image) if item.image else None
        sha256.append(hashlib.sha256(item.image).hexdigest() if item.image else None)
        phash.append(image.phash if isinstance(image, StoredImage) else None)
    texts = pa.array([item.caption or None for item in items], pa.string())
    captions = pa.array(caption_hashes(texts.fill_null("")), mask=~texts.is_valid().to_numpy(False))
    names = pa.array([item.name for item in items], pa.string())
    return pa.table([names, pa.array(sha256, pa.string()), pa.array(phash, pa.string()), captions],
                    schema=schema.EVALUATION)  # fmt: skip
