"""The entries of a caption that its image shows: MOFI's rule, over stored embeddings.

Source: MOFI: Learning Image Representations from Noisy Entity Annotated Images (arXiv 2306.07952): of
the entities that an image's texts name, those stay whose text is similar to the image by CLIP. The
threshold, the model and the texts that an entity is embedded as are not published.

An entry's vector is made once a list, and stands in files of `BLOCK` entries, which workers map: those
of a list of 500,000 take 512 MB (512 values in half precision), and a worker reads what its parts need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files, schema
from curate.errors import DamagedError
from curate.ops.kernels import Rows, nb
from curate.ops.scores.batch import IMAGE_EMBEDDING
from curate.ops.scores.pairs import Scorer
from curate.ops.scores.texts import embed_texts, filled
from curate.ops.scores.vectors import Stored, Vectors, unit
from curate.ops.selection.balancing import Matches, match_arrays

BLOCK = 1 << 13
"""Entries whose vectors are made at a time, and stand in one file."""
_ROWS = 1 << 13  # pairs whose images are unpacked at a time
_TEXTS = 1 << 12  # texts whose vectors are held at a time, but for those of one entry


@dataclass(frozen=True)
class EntryVectors:
    """The vectors of a list's entries: files of `BLOCK` rows each, (n, width) in half precision."""

    urls: tuple[str, ...]

    def of(self, ids: NDArray[np.int32]) -> Vectors:
        """The unit vectors of the entries `ids`, ascending, shape (len(ids), width)."""
        ends = np.searchsorted(ids, BLOCK * np.arange(1, len(self.urls) + 1))
        found = [
            mapped(url)[ids[start:stop] - nth * BLOCK]
            for nth, (url, start, stop) in enumerate(zip(self.urls, [0, *ends], ends, strict=False))
            if stop > start
        ]
        return unit(np.concatenate(found))


@lru_cache(maxsize=1 << 12)
def mapped(url: str) -> Stored:
    """The vectors in a file, in memory as far as they are looked at; of a store's file a copy of it."""
    try:
        with files.local_copy(url) as path:
            found: Stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DamagedError(url, str(error)) from None
    return found


def entry_vectors(
    scorer: Scorer, entries: Sequence[str], *, templates: Sequence[str]
) -> NDArray[np.float16]:
    """The unit vector of each entry, (n, width): the mean of those of its texts, scaled.

    Its texts are the `templates` with the entry in the place of ``{}``.
    """
    at_once = max(_TEXTS // len(templates), 1)
    found = []
    for first in range(0, len(entries), at_once):
        some = entries[first : first + at_once]
        texts = [text for entry in some for text in filled(templates, entry)]
        vectors = embed_texts(scorer, texts).reshape(len(some), len(templates), -1)
        mean = vectors.mean(axis=1, dtype=np.float64).astype(np.float32)
        found.append(unit(mean).astype(np.float16))
    return np.concatenate(found)


@nb.njit(cache=True, nogil=True)
def _cosines(
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
    images: Rows[np.float32],
    entries: Rows[np.float32],
) -> NDArray[np.float32]:
    out = np.empty(len(rows), np.float32)
    for k in range(len(rows)):
        image, entry = images[rows[k]], entries[places[k]]
        total = 0.0
        for i in range(len(image)):
            total += np.float64(image[i]) * np.float64(entry[i])
        out[k] = total
    return out


def similarities(matches: Matches, images: Stored, entries: EntryVectors) -> NDArray[np.float32]:
    """The cosine of each match and the image of its pair, all of a pair after those of the one before.

    `matches` are the ids of each pair's entries, `images` the embeddings of the pairs, (n, width). NaN
    where a pair has no embedding. A match's cosine depends on its two vectors alone.
    """
    offsets, ids = match_arrays(matches)
    found = np.full(len(ids), np.nan, np.float32)
    for first in range(0, len(images), _ROWS):
        stop = min(first + _ROWS, len(images))
        here = slice(offsets[first], offsets[stop])
        if here.start == here.stop:
            continue
        some = unit(images[first:stop])
        wanted, places = np.unique(ids[here], return_inverse=True)
        rows = np.repeat(np.arange(stop - first), np.diff(offsets[first : stop + 1]))
        cosines = _cosines(rows, places.astype(np.int64), some, entries.of(wanted))
        known = np.asarray(some.any(axis=1))
        found[here] = np.where(known[rows], cosines, np.nan)
    return found


class Entities:
    """Which entries an image shows: matches of its caption with a cosine from `min_similarity` on."""

    reads = (IMAGE_EMBEDDING, schema.MATCHES, "language")
    version = "1"

    def __init__(self, min_similarity: float, templates: Sequence[str] = ("{}",)) -> None:
        self.min_similarity, self.templates = min_similarity, tuple(templates)

    @staticmethod
    def columns(name: str, _: Mapping[str, object]) -> pa.Schema:
        """The ids of the entries that the image shows, ascending."""
        return pa.schema([pa.field(name, schema.PREPARE.field(schema.MATCHES).type)])

    def seen(self, matches: Matches, cosines: NDArray[np.float32]) -> pa.ListArray:
        """The matches of each pair that its image shows, given the `similarities` of all.

        Null where a pair has matches and no embedding.
        """
        offsets, ids = match_arrays(matches)
        lost = np.isnan(cosines)
        shown = cosines >= np.float32(self.min_similarity)
        ends = np.concatenate([[0], np.cumsum(shown)])[offsets].astype(np.int32)
        none = np.concatenate([[0], np.cumsum(lost)])[offsets]
        kind = schema.PREPARE.field(schema.MATCHES).type
        return pa.ListArray.from_arrays(
            pa.array(ends, pa.int32()), pa.array(ids[shown]), type=kind,
            mask=pa.array(np.diff(none) > 0),
        )  # fmt: skip
