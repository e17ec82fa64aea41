"""Image-text alignment by an open_clip model: the cosine of the two embeddings."""

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError


def known_models() -> list[str]:
    """Names of the model configurations that open_clip ships, without importing torch."""
    from importlib.util import find_spec

    spec = find_spec("open_clip")
    folders = spec.submodule_search_locations if spec else None
    return sorted(p.stem for f in folders or () for p in Path(f, "model_configs").glob("*.json"))


class ClipScorer:
    """A loaded model on the device of this machine.

    Parameters
    ----------
    model : str
        An open_clip name, an ``hf-hub:`` id, or the path of a model configuration (JSON).
    pretrained : str or None
        An open_clip tag or the path of a checkpoint; None leaves it to an ``hf-hub:`` id.
    precision : str
        ``auto``: bf16 on a GPU that has it, fp16 on another GPU, fp32 on a CPU.
    batch_size : int
        Pairs in one forward pass.
    """

    def __init__(
        self, model: str, *, pretrained: str | None, precision: str = "auto", batch_size: int = 64
    ) -> None:
        import open_clip
        import torch

        # One thread: the sums of a forward pass, and so the scores, must not depend on how many
        # processors a worker has. More processors are used by more workers.
        torch.set_num_threads(1)
        self._torch = torch
        self._batch_size = batch_size
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = files.resolve(model)
        pretrained = files.resolve(pretrained) if pretrained else None
        if model.endswith(".json"):
            open_clip.add_model_config(model)
            model = Path(model).stem
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._model, _, self._preprocess = open_clip.create_model_and_transforms(
                    model, pretrained=pretrained, precision="fp32", device=self._device
                )
                self._tokenizer = open_clip.get_tokenizer(model)
        except (RuntimeError, OSError, ValueError, KeyError, AssertionError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise CurateError(
                f"score.model {model!r} with pretrained {pretrained!r} cannot be loaded: {reason}"
            ) from None
        self._model.eval()
        self._cast = self._choose(precision)

    def _choose(self, precision: str) -> Any:
        torch = self._torch
        if precision == "auto":
            if self._device.type == "cpu":
                return None
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    def _decode(self, content: bytes) -> Any:
        from PIL import Image

        return self._preprocess(Image.open(io.BytesIO(content)).convert("RGB"))

    def scores(self, images: Iterable[bytes], captions: Sequence[str]) -> NDArray[np.float32]:
        """Cosine similarity of each image (file content) and caption, shape (n,), in [-1, 1]."""
        torch = self._torch
        out = np.empty(len(captions), np.float32)
        start = 0
        with ThreadPoolExecutor(2) as pool, torch.inference_mode():
            for batch in _ahead(pool, self._decode, images, self._batch_size):
                stop = start + len(batch)
                pixels = torch.stack(batch).to(self._device)
                tokens = self._tokenizer(list(captions[start:stop])).to(self._device)
                with torch.autocast(
                    self._device.type, dtype=self._cast, enabled=self._cast is not None
                ):
                    image = self._model.encode_image(pixels, normalize=True).float()
                    text = self._model.encode_text(tokens, normalize=True).float()
                out[start:stop] = (image * text).sum(dim=1).cpu().numpy()
                start = stop
        return out


def _ahead(pool: ThreadPoolExecutor, function: Any, things: Iterable[Any], n: int) -> Iterator[Any]:
    """`function` of the things in lists of `n`, the next list under way while one is in use."""
    source = iter(things)

    def submit() -> list[Any]:
        return [pool.submit(function, thing) for thing in islice(source, n)]

    coming = submit()
    while coming:
        batch, coming = coming, submit()
        yield [future.result() for future in batch]


@lru_cache(maxsize=1)
def load_scorer(model: str, pretrained: str | None, precision: str, batch_size: int) -> ClipScorer:
    """The scorer of this process, loaded once."""
    return ClipScorer(model, pretrained=pretrained, precision=precision, batch_size=batch_size)
