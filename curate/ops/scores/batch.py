"""The pairs that a score is asked for in one call."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError

IMAGE, IMAGE_EMBEDDING, TEXT_EMBEDDING = "image", "image_embedding", "text_embedding"
"""What a score may read that is no column."""
EMBEDDINGS = frozenset({IMAGE_EMBEDDING, TEXT_EMBEDDING})

Vectors = NDArray[np.float32]
_T = TypeVar("_T")


class Batch:
    """Pairs that a score is asked for.

    What its `reads` does not name is not given, and a CurateError says so where it is asked for.
    """

    def __init__(
        self,
        captions: Sequence[str],
        images: Sequence[NDArray[np.uint8]] | None = None,
        columns: Mapping[str, Sequence[object]] | None = None,
        image_embeddings: Vectors | None = None,
        text_embeddings: Vectors | None = None,
    ) -> None:
        self.captions = captions
        self._images, self._given = images, columns or {}
        self._image_embeddings, self._text_embeddings = image_embeddings, text_embeddings
        beside = {
            IMAGE: images, IMAGE_EMBEDDING: image_embeddings, TEXT_EMBEDDING: text_embeddings
        }  # fmt: skip
        read = [name for name, found in beside.items() if found is not None]
        self._reads = (*read, *self._given)

    @property
    def images(self) -> Sequence[NDArray[np.uint8]]:
        """Those of the pairs as stored, (height, width, 3) each, RGB."""
        return self._read(self._images, "images", IMAGE)

    @property
    def columns(self) -> Mapping[str, Sequence[object]]:
        """A value a pair by name, None where it is null."""
        return _Columns(self._given, self._unread)

    @property
    def image_embeddings(self) -> Vectors:
        """Array (n, width), as stored in float16."""
        return self._read(self._image_embeddings, "image_embeddings", IMAGE_EMBEDDING)

    @property
    def text_embeddings(self) -> Vectors:
        """As `image_embeddings`."""
        return self._read(self._text_embeddings, "text_embeddings", TEXT_EMBEDDING)

    def __len__(self) -> int:
        """Pairs in the batch, at least one."""
        return len(self.captions)

    def __getitem__(self, rows: slice) -> "Batch":
        """Some of the pairs."""
        vectors = self._image_embeddings, self._text_embeddings
        return Batch(
            self.captions[rows],
            None if self._images is None else self._images[rows],
            {name: values[rows] for name, values in self._given.items()},
            *(None if one is None else one[rows] for one in vectors),
        )

    def _read(self, found: _T | None, attribute: str, name: str) -> _T:
        if found is None:
            raise self._unread(attribute, name)
        return found

    def _unread(self, attribute: str, name: str) -> CurateError:
        return CurateError(
            f"it asks for batch.{attribute}, but `reads` does not name {name!r}: let it say"
            f" `reads = {(*self._reads, name)!r}`"
        )


class _Columns(dict[str, Sequence[object]]):
    """The columns of a batch, of which one that was not read is an error that says so."""

    def __init__(
        self, found: Mapping[str, Sequence[object]], unread: Callable[[str, str], CurateError]
    ) -> None:
        super().__init__(found)
        self._unread = unread

    def __missing__(self, name: str) -> Sequence[object]:
        raise self._unread(f"columns[{name!r}]", name)
