"""Evaluation sets as hashes, and which pairs of a pool are among their items."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files, schema
from curate.errors import CurateError
from curate.ops.blocklists import BlockList
from curate.ops.hashing import hash64
from curate.ops.jaccard import normalise_captions


def read_evaluation(path: str) -> pa.Table:
    """The items of a file that `curate hash` made, of `schema.EVALUATION`.

    Raises
    ------
    CurateError
        Where the file is missing or another kind of file.
    """
    where = f"decontaminate.against: {path}"
    if not files.exists(path):
        raise CurateError(f"{where}: no such file; make it with: curate hash SET --out {path}")
    try:
        return files.read_table(path).select(schema.EVALUATION.names).cast(schema.EVALUATION)
    except (pa.ArrowException, KeyError, ValueError):
        raise CurateError(
            f"{where}: not a file of hashes; make it with: curate hash SET --out FILE.parquet"
        ) from None


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
