"""Evaluation sets as hashes, and which pairs of a pool are among their items."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import files, schema
from curate.errors import CurateError
from curate.ops.duplicates.jaccard import normalise_captions
from curate.ops.hashing import hash64
from curate.ops.selection.blocklists import BlockList


def read_evaluation(path: str) -> pa.Table:
    """The items of a file that `curate hash` made, of `schema.EVALUATION`.

    Raises
    ------
    CurateError
        Where the file is missing or another kind of file.
    """
    try:
        table = files.read_table(path, present=schema.EVALUATION.names)
        return table.select(schema.EVALUATION.names).cast(schema.EVALUATION)
    except (pa.ArrowException, KeyError, ValueError):
        raise CurateError(
            f"{path}: not a file of hashes; make it with: curate hash SET --out FILE.parquet"
        ) from None


@dataclass(frozen=True)
class EmbeddingModel:
    """The model that made embeddings: its names, and a digest that is the same for the same files."""

    model: str
    pretrained: str | None
    digest: str

    def __str__(self) -> str:
        return f"{self.model} with {self.pretrained or 'its own weights'}"


_MODEL = b"curate.embedding_model"


def with_embeddings(items: pa.Table, vectors: pa.Array, model: EmbeddingModel) -> pa.Table:
    """A table of hashes with the embeddings of its images (lists, null where there is no image)."""
    table = items.append_column(schema.EMBEDDING, vectors)
    return table.replace_schema_metadata({_MODEL: json.dumps(asdict(model)).encode()})


def check_embeddings(path: str, model: EmbeddingModel) -> None:
    """That a file of hashes has embeddings of its images, by the same model.

    Raises
    ------
    CurateError
        Where it has images and no embeddings, or others.
    """
    remedy = f"make it again with: curate hash SET --config CONFIG --out {path}"
    with files.open_read(path) as file:
        found = (pq.read_schema(file).metadata or {}).get(_MODEL)
    if found is None:
        sha256 = files.read_table(path, columns=["sha256"])["sha256"]
        if sha256.null_count == len(sha256):
            return  # captions alone
        raise CurateError(f"decontaminate.against: {path}: there are no embeddings in it; {remedy}")
    theirs = EmbeddingModel(**json.loads(found))
    if theirs.digest != model.digest:
        raise CurateError(
            f"decontaminate.against: {path}: its embeddings are of {theirs}, the run's of {model};"
            f" {remedy}"
        )


@lru_cache(maxsize=1)
def read_embeddings(paths: tuple[str, ...]) -> tuple[pa.Array, NDArray[np.float16]]:
    """The names and the embeddings of all images in files of hashes, (n,) and (n, width).

    Raises
    ------
    CurateError
        Where no image has one.
    """
    name = schema.EMBEDDING.name
    tables = [files.read_table(path, present=["name", name]) for path in paths]
    tables = [
        table.filter(table[name].is_valid()) for table in tables if name in table.schema.names
    ]
    table = pa.concat_tables(tables).combine_chunks() if tables else None
    if not table:
        raise CurateError(f"decontaminate.against: {', '.join(paths)}: no image has an embedding")
    vectors = table[name].combine_chunks()
    values = np.asarray(vectors.flatten())
    return table["name"].combine_chunks(), values.reshape(len(table), -1)


def caption_hashes(captions: pa.Array) -> NDArray[np.uint64]:
    """A hash of each caption as captions are compared: without case, punctuation and width."""
    return hash64(normalise_captions(captions))


class Contamination:
    """Items of evaluation sets ready to be looked up.

    `distance` is the largest number of bits between two PDQ hashes of the same picture; with 0 only
    the same file is the same picture.
    """

    def __init__(self, sets: Sequence[pa.Table], *, distance: int) -> None:
        items = pa.concat_tables([schema.EVALUATION.empty_table(), *sets]).combine_chunks()
        self._names = items["name"].to_pylist()
        self._rows = {}
        hashes = {"md5": np.empty((0, 16), np.uint8)}
        for kind, column, used in (("sha256", "sha256", True), ("pdq", "phash", distance > 0)):
            given = items[column].to_pylist() if used else []
            self._rows[kind] = [row for row, value in enumerate(given) if value]
            octets = b"".join(bytes.fromhex(given[row]) for row in self._rows[kind])
            hashes[kind] = np.frombuffer(octets, np.uint8).reshape(-1, 32)
        self._images = BlockList(hashes, distance=distance)
        captions = items["caption"]
        rows = np.flatnonzero(np.asarray(captions.is_valid()))
        values = captions.drop_null().to_numpy()
        order = np.argsort(values, kind="stable")
        self._captions, self._of_captions = values[order], rows[order]

    def items(self, pairs: pa.Table, *, captions: bool) -> pa.Array:
        """The name of the item that each pair is, null for the others.

        `pairs` has `sha256`, `phash` and `caption`; an item with the image comes before one with the
        caption, which is looked at where `captions` says so.
        """
        hashes = zip(pairs["sha256"].to_pylist(), pairs["phash"].to_pylist(), strict=True)
        found: list[str | None] = []
        for sha256, phash in hashes:
            hit = self._images.find(md5=None, sha256=sha256, pdq=phash)
            found.append(self._names[self._rows[hit.kind][hit.row]] if hit else None)
        if captions and len(self._captions):
            values = caption_hashes(pairs["caption"].combine_chunks())
            at = np.minimum(np.searchsorted(self._captions, values), len(self._captions) - 1)
            for row in np.flatnonzero(self._captions[at] == values).tolist():
                found[row] = found[row] or self._names[self._of_captions[at[row]]]
        return pa.array(found, pa.string())
