"""Pairs on their way through a CLIP model: prepared as it takes them, and what it makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curate.ops.images.levels import trainer_view

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as Picture

Preprocess: TypeAlias = "Callable[[Picture], torch.Tensor]"
Tokenizer: TypeAlias = "Callable[[list[str]], torch.Tensor]"


@dataclass(frozen=True)
class Batch:
    """Pairs prepared for a forward pass, or captions alone; rows from `n` on are blank."""

    pixels: "torch.Tensor"  # (batch, 3, height, width); of captions alone (0, 3, height, width)
    tokens: "torch.Tensor"  # (batch, context)
    n: int


@dataclass(frozen=True)
class Embedded:
    """The embeddings and scores of a batch: `n` rows of each."""

    scores: NDArray[np.float32]  # cosine similarity, (n,), in [-1, 1]; of captions alone NaN
    image: NDArray[np.float32]  # unit vectors, (n, width); of captions alone (n, 0)
    text: NDArray[np.float32]
    seconds: float = 0.0  # that the model took
    halved: int = 0  # times that a lack of memory made its batches smaller meanwhile
    device: int | None = None  # which of the processes that share the devices; None: this process


class Scorer(Protocol):
    """A loaded model, here or in another process."""

    batch_size: int
    lanes: int  # batches that it takes at a time, each from a thread of its own
    on_gpu: bool

    def prepare(self, content: bytes) -> "torch.Tensor | None":
        """The pixels of an image file as the model takes them; None where it cannot be decoded."""

    def transform(self, image: "Picture") -> "torch.Tensor":
        """The pixels of an RGB image of Pillow's as the model takes them."""

    def collate(self, images: Sequence["torch.Tensor | None"], captions: Sequence[str]) -> Batch:
        """A batch of at most `batch_size` prepared images and their captions, or of captions alone."""

    def __call__(self, batch: Batch) -> Embedded:
        """Run the model."""


class Preparer:
    """Makes batches as a model takes them."""

    def __init__(self, preprocess: Preprocess, tokenizer: Tokenizer, *, batch_size: int) -> None:
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self._blank = preprocess(black())

    def prepare(self, content: bytes) -> "torch.Tensor | None":
        """The pixels of an image file as the model takes them; None where it cannot be decoded."""
        image = trainer_view(content)
        return None if image is None else self.transform(image)

    def transform(self, image: "Picture") -> "torch.Tensor":
        """The pixels of an RGB image of Pillow's as the model takes them."""
        return self.preprocess(image)

    def collate(self, images: Sequence["torch.Tensor | None"], captions: Sequence[str]) -> Batch:
        """A batch of at most `batch_size` prepared images and their captions, or of captions alone."""
        missing = max(self.batch_size - len(captions), 0)
        pixels = [self._blank if image is None else image for image in images]
        if images:
            pixels += [self._blank] * missing
        tokens = self.tokenizer([*captions, *[""] * missing])
        return self._batch(pixels, tokens, n=len(captions))

    def _batch(self, pixels: list["torch.Tensor"], tokens: "torch.Tensor", *, n: int) -> Batch:
        import torch

        stacked = torch.stack(pixels) if pixels else self._blank.new_empty(0, *self._blank.shape)
        return Batch(stacked, tokens, n)


def black() -> "Picture":
    """A small black image of Pillow's."""
    from PIL import Image

    return Image.new("RGB", (8, 8))
