"""Heads on CLIP image embeddings: one or several linear layers, from a file of the user's.

The layers are inferred from the shapes in the file. Examples are LAION's aesthetic predictors, the
linear one and the MLP (768, 1024, 128, 64, 16, 1, without activations).
"""

import pickle
import re
import threading
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError
from curate.ops.scores.batch import IMAGE_EMBEDDING, Batch

if TYPE_CHECKING:
    from torch import Tensor

_Layers: TypeAlias = "list[tuple[Tensor, Tensor | None]]"

_loading = threading.Lock()


class Head:
    """Layers, each a weight (out, in) and a bias (out,), with `activation` between them."""

    def __init__(self, layers: _Layers, *, activation: str = "none") -> None:
        self._layers = layers
        self._activation = activation
        self.width = int(layers[0][0].shape[1])

    def __call__(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """One value for each of the embeddings, shape (n, width); NaN for a row that is not finite.

        Row by row, because the order of the sums in a product depends on the number of rows.
        """
        import torch

        torch.set_num_threads(1)  # the order of sums must not depend on the number of processors
        with torch.inference_mode():
            rows = torch.split(torch.from_numpy(np.asarray(embeddings, np.float32)), 1)
            return np.asarray(torch.cat([self._of(row) for row in rows])[:, 0].numpy(), np.float32)

    def _of(self, x: "Tensor") -> "Tensor":
        import torch

        for i, (weight, bias) in enumerate(self._layers):
            if i and self._activation == "relu":
                x = torch.relu(x)
            x = torch.nn.functional.linear(x, weight, bias)
        return x


class HeadScore:
    """The value of a head, for each image."""

    reads = (IMAGE_EMBEDDING,)

    def __init__(self, weights: str, activation: str) -> None:
        self._head = load_head(weights, activation=activation)
        self._weights = weights

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Values, shape (n,).

        Raises
        ------
        CurateError
            Where the embeddings are not as wide as the head's input.
        """
        if (width := batch.image_embeddings.shape[1]) != self._head.width:
            raise CurateError(
                f"{self._weights} is a head on {self._head.width} values, the model's embeddings"
                f" have {width}"
            )
        return self._head(batch.image_embeddings)


def load_head(url: str, *, activation: str = "none") -> Head:
    """The head in the file at `url`, loaded once a process.

    Raises
    ------
    CurateError
        Where the file does not exist, cannot be read, or is no head.
    """
    with _loading:
        return _load(url, activation)


@lru_cache(maxsize=16)
def _load(url: str, activation: str) -> Head:
    return Head(_layers(_tensors(url), url), activation=activation)


def _tensors(url: str) -> "dict[str, Tensor]":
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not files.exists(url):
        raise CurateError(f"{url}: no such file")
    ending = PurePath(url).suffix
    try:
        with files.local_copy(url) as path:
            if ending == ".npy":
                found: object = {"weight": torch.from_numpy(np.load(path, allow_pickle=False))}
            elif ending == ".safetensors":
                found = load_file(path)
            else:
                found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, ValueError, EOFError, OSError,
            TypeError):  # fmt: skip
        raise CurateError(
            f"{url}: not the weights of a head; expected a state_dict in .pt, .pth or .safetensors,"
            " or a vector in .npy"
        ) from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(x, torch.Tensor) for x in found.values()):
        raise CurateError(f"{url}: not the weights of a head; expected a state_dict of tensors")
    return found


def _layers(tensors: "dict[str, Tensor]", url: str) -> _Layers:
    tensors = dict(tensors)
    layers: _Layers = []
    for name in sorted((x for x in tensors if x.split(".")[-1] == "weight"), key=_natural):
        weight = tensors.pop(name).float()
        weight = weight[None] if weight.ndim == 1 else weight
        out = weight.shape[0]
        bias = tensors.pop(f"{name.removesuffix('weight')}bias", None)
        bias = None if bias is None else bias.float()
        if weight.ndim != 2 or (bias is not None and tuple(bias.shape) != (out,)):
            raise CurateError(
                f"{url}: {name} has shape {tuple(weight.shape)}, not a linear layer's"
            )
        if layers and weight.shape[1] != layers[-1][0].shape[0]:
            raise CurateError(
                f"{url}: {name} takes {weight.shape[1]} values, the layer before it gives"
                f" {layers[-1][0].shape[0]}"
            )
        layers.append((weight, bias))
    if tensors or not layers:
        names = ", ".join(sorted(tensors)) or "nothing"
        raise CurateError(f"{url}: found {names} where a head has only linear layers")
    if layers[-1][0].shape[0] != 1:
        raise CurateError(
            f"{url}: the head gives {layers[-1][0].shape[0]} values for an image, a score is one"
        )
    return layers


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(x), "") if x.isdigit() else (-1, x) for x in re.split(r"(\d+)", name)]
