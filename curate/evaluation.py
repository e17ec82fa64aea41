"""`curate hash`: an evaluation set -> the hashes by which its items are known in a pool.

With a model, also the embeddings of its images: of each as a run would store and score it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files, schema
from curate.config import Config
from curate.errors import CurateError
from curate.files import listing
from curate.files.texts import read_text
from curate.formats import ending, format_of, named_format
from curate.ops.images.encoder import ImageEncoder, StoredImage
from curate.ops.scores.clip import ClipModel
from curate.ops.selection.contamination import EmbeddingModel, caption_hashes, with_embeddings
from curate.planning.asked import clip_model, image_encoder
from curate.planning.assets import embedding_model
from curate.pool.rows import BROKEN, PoolFormat
from curate.pool.samples import ENDINGS
from curate.pool.stored import Place, read_places
from curate.pool.tables import column_kinds, read_batches

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

    A folder holds images and files that bring images, such as tars, in any depth. A file of a pool's
    format has a column of captions (`caption` or `text`), or images and captions; a ``.txt`` has a
    caption a line; any other file is an image.

    Raises
    ------
    CurateError
        Naming what is not there or cannot be read.
    """
    paths = listing.expand(files.absolute(source))
    if not paths:
        raise CurateError(f"{source}: {listing.nothing_at(source)}")
    several = len(paths) > 1
    wanted = [path for path in paths if not several or _has_images(path)]
    if not wanted:
        raise CurateError(f"{source}: no image and no .tar in it")
    root = files.absolute(source).rstrip("/").rpartition("/")[0] + "/"
    for path in wanted:
        name = path.removeprefix(root)
        try:
            yield from _items(path, name)
        except BROKEN as error:
            raise CurateError(f"{path}: {str(error).splitlines()[0]}") from None


def _has_images(path: str) -> bool:
    last = path.rpartition(".")[2].lower()
    return last in ENDINGS or format_of(named_format(f".{last}")).brings_images


def _items(path: str, name: str) -> Iterator[Item]:
    form = named_format(path)
    if format_of(form).brings_images:
        yield from _samples(path, form, name)
    elif form:
        yield from _captions(path, form, name)
    elif ending(path) == "txt":
        for row, line in enumerate(read_text(path).splitlines(), start=1):
            yield Item(f"{name}:{row}", caption=line)
    else:
        yield Item(name, files.read_bytes(path))


def _samples(path: str, form: str, name: str) -> Iterator[Item]:
    for table in read_batches(path, pool=PoolFormat(form, "url", "caption"), name=name):
        rows = table.filter(pc.is_valid(table["file"])).to_pylist()
        places = ((k, Place(row["file"], row["offset"], row["size"])) for k, row in enumerate(rows))
        for k, content in read_places(places):
            url = rows[k]["url"].removeprefix("file:///")
            yield Item(url, content, rows[k]["caption"])


def _captions(path: str, form: str, name: str) -> Iterator[Item]:
    pool = PoolFormat(form, "", "")
    names = column_kinds(path, pool=pool)
    column = next((x for x in _CAPTIONS if x in names), None)
    if column is None and format_of(form).is_table:
        raise CurateError(f"{path}: no column {' or '.join(_CAPTIONS)}")
    row = 0
    for table in read_batches(path, pool=replace(pool, url=column or "", caption=column or "")):
        for caption, bad in zip(
            *(table[x].to_pylist() for x in ("caption", "detail")), strict=True
        ):
            if bad:
                raise CurateError(bad)
            yield Item(f"{name}:{row}", caption=caption)
            row += 1


@dataclass(frozen=True)
class Hashed:
    """How many items a file of hashes has, and of what."""

    items: int
    images: int
    perceptual: int  # images with a perceptual hash
    captions: int
    embedded: int | None  # images with an embedding; None where no model was given


@dataclass(frozen=True)
class Embedder:
    """How the images of a run are stored, and the model that embeds them."""

    encoder: ImageEncoder
    scorer: ClipModel
    model: EmbeddingModel

    @classmethod
    def of(cls, config: Config) -> "Embedder":
        """That of a run with this configuration.

        Raises
        ------
        CurateError
            Where it has no model, or one that is not there.
        """
        if config.score is None:
            raise CurateError("--config: it has no model (score.model) to embed images with")
        encoder = image_encoder(config.download, perceptual_hash=True)
        return cls(encoder, clip_model(config.score), embedding_model(config.score))

    def __call__(self, images: Sequence[bytes | None]) -> pa.Array:
        """The embedding of each stored image; null where there is none or it cannot be decoded."""
        scorer = self.scorer.load()
        pixels = [None if image is None else scorer.prepare(image) for image in images]
        rows = [row for row, one in enumerate(pixels) if one is not None]
        found: list[NDArray[np.float16] | None] = [None] * len(pixels)
        for start in range(0, len(rows), scorer.batch_size):
            some = rows[start : start + scorer.batch_size]
            batch = scorer.collate([pixels[row] for row in some], [""] * len(some))
            for row, vector in zip(some, scorer(batch).image.astype(np.float16), strict=True):
                found[row] = vector
        return pa.array(found, schema.EMBEDDING.type)


def hash_sets(sources: tuple[str, ...], *, out: str, embedder: Embedder | None = None) -> Hashed:
    """Write the hashes of all items of the sets, and embeddings if asked for, to the parquet `out`.

    Raises
    ------
    CurateError
        Naming what cannot be read, or a set without an item.
    """
    tables = []
    for source in sources:
        held: list[Item] = []
        for item in items_of(source):
            held.append(item)
            if len(held) == _ROWS:
                tables.append(_hashes(held, embedder))
                held = []
        tables.append(_hashes(held, embedder))
    table = pa.concat_tables(tables)
    if not len(table):
        raise CurateError(f"{', '.join(sources)}: no item in it")
    files.write_table(files.absolute(out), table)
    given = {name: len(table) - table[name].null_count for name in table.column_names}
    return Hashed(
        len(table), given["sha256"], given["phash"], given["caption"],
        given.get(schema.EMBEDDING.name),
    )  # fmt: skip


def _hashes(items: list[Item], embedder: Embedder | None) -> pa.Table:
    encode = embedder.encoder if embedder else ImageEncoder()
    sha256, phash, stored = [], [], []
    for item in items:
        image = encode(item.image) if item.image else None
        sha256.append(hashlib.sha256(item.image).hexdigest() if item.image else None)
        image = image if isinstance(image, StoredImage) else None
        phash.append(image.phash if image else None)
        stored.append(image.content if image else None)
    texts = pa.array([item.caption or None for item in items], pa.string())
    captions = pa.array(caption_hashes(texts.fill_null("")), mask=~texts.is_valid().to_numpy(False))
    names = pa.array([item.name for item in items], pa.string())
    table = pa.table([names, pa.array(sha256, pa.string()), pa.array(phash, pa.string()), captions],
                     schema=schema.EVALUATION)  # fmt: skip
    return with_embeddings(table, embedder(stored), embedder.model) if embedder else table
