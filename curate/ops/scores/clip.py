"""Image-text alignment by an open_clip model: the cosine of the two embeddings.

Every forward pass of a scorer has the same shape, the last one filled up with blank rows: a row's
result then depends on the row alone, bit for bit, so batches may span parts, and rows that were
scored by an earlier run stay what they are. (In another shape, the sums are taken in another order.)
"""

import json
import logging
import pickle
import re
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError
from curate.ops.scores.devices import shared
from curate.ops.scores.pairs import (
    Batch,
    Embedded,
    Preparer,
    Preprocess,
    Scorer,
    Tokenizer,
    black,
)

if TYPE_CHECKING:
    import torch

CPU_BATCH, GPU_BATCH = 16, 256

_loading = threading.Lock()
_log = logging.getLogger(__name__)


def known_models() -> list[str]:
    """Names of the model configurations that open_clip ships, without importing torch."""
    from importlib.util import find_spec

    spec = find_spec("open_clip")
    folders = spec.submodule_search_locations if spec else None
    return sorted(p.stem for f in folders or () for p in Path(f, "model_configs").glob("*.json"))


def known_tags(model: str) -> list[str]:
    """Tags of the pretrained weights that open_clip knows for `model`; imports torch."""
    import open_clip

    return sorted(open_clip.list_pretrained_tags_by_model(model))


def known_width(model: str) -> int | None:
    """Length of a model's embeddings by its configuration; None where that is not on this machine."""
    try:
        return int(known_config(model)["embed_dim"])
    except (ValueError, KeyError, TypeError):
        return None


def known_config(model: str) -> dict[str, Any]:
    """The configuration of a model; empty where it is not on this machine, or cannot be read."""
    from importlib.util import find_spec

    path = model
    if not model.endswith(".json"):
        spec = find_spec("open_clip")
        folder = next(iter(spec.submodule_search_locations or ()), "") if spec else ""
        path = str(Path(folder, "model_configs", f"{model}.json"))
    try:
        with _here(path) as found:
            document = json.loads(Path(found).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def embedding_prefix(model: str) -> str:
    """What DataComp's names of a model's embeddings begin with: ``b32`` of ``ViT-B-32``, ``l14``.

    Other models than ViTs have ``clip``.
    """
    found = re.search(r"ViT-(\w+?)-(\d+)", model)
    return f"{found[1]}{found[2]}".lower() if found else "clip"


@dataclass(frozen=True)
class ClipModel:
    """What to load, and how to run it.

    Parameters
    ----------
    model : str
        An open_clip name, an ``hf-hub:`` id, or the path of a model configuration (JSON).
    pretrained : str or None
        An open_clip tag or the path of a checkpoint; None leaves it to an ``hf-hub:`` id.
    precision : str
        ``auto``: bf16 on a GPU that has it, fp16 on another GPU, fp32 on a CPU.
    batch_size : int or None
        Pairs in one forward pass; None: 16 on a CPU, 256 on a GPU.
    compile : bool
        Whether both towers go through ``torch.compile``.
    workers : int or None
        Processes of a machine that have the model; None: one a GPU, and without one each worker.
    """

    model: str
    pretrained: str | None
    precision: str = "auto"
    batch_size: int | None = None
    compile: bool = False
    workers: int | None = None

    def load(self) -> Scorer:
        """The scorer of this process, loaded once however many threads ask.

        On GPUs, and where `workers` is given, the model is in a process a device, which all workers
        of the machine share.
        """
        with _loading:
            return _load(self)

    def on(self, device: str) -> "ClipScorer":
        """The model in this process, on a device as torch calls it."""
        return ClipScorer(self, device)

    def try_out(self) -> int:
        """Load the model on the CPU, embed a blank pair and unload it; the length of its embeddings.

        Raises
        ------
        CurateError
            Where that fails; the message says what to do.
        """
        with _loading:
            import torch

            model, preprocess, tokenizer = opened(self, torch.device("cpu"))
            with torch.inference_mode():
                image = model.encode_image(preprocess(black())[None])
                text = model.encode_text(tokenizer([""]))
        if image.shape != text.shape:
            raise CurateError(
                f"score.model {self.model!r}: its embeddings of images have {image.shape[1]} values,"
                f" those of texts {text.shape[1]}"
            )
        return int(image.shape[1])


class _Model(Protocol):
    """What is used of a model of open_clip's."""

    visual: "torch.nn.Module"

    def encode_image(self, image: "torch.Tensor") -> "torch.Tensor": ...

    def encode_text(self, text: "torch.Tensor") -> "torch.Tensor": ...

    def eval(self) -> object: ...


_Tower: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"


class ClipScorer(Preparer):
    """A model that this process has loaded on `device`, as torch calls it."""

    lanes = 1

    def __init__(self, spec: ClipModel, device: str = "cpu") -> None:
        import torch

        # One thread: the sums of a forward pass, and so the scores, must not depend on how many
        # processors a worker has. More processors are used by more workers.
        torch.set_num_threads(1)
        self._torch = torch
        self._device = torch.device(device)
        self.on_gpu = self._device.type == "cuda"
        self.out_of_memory = 0
        model, preprocess, tokenizer = opened(spec, self._device)
        size = spec.batch_size or (GPU_BATCH if self.on_gpu else CPU_BATCH)
        super().__init__(preprocess, tokenizer, batch_size=size)
        model.eval()
        self._model = model
        self._format = torch.channels_last if self.on_gpu else torch.contiguous_format
        model.visual.to(memory_format=self._format)
        self._cast = self._choose(spec.precision)
        self._encode: tuple[_Tower, _Tower] = (model.encode_image, model.encode_text)
        if spec.compile:
            self._encode = (torch.compile(model.encode_image), torch.compile(model.encode_text))

    def drop_images(self) -> None:
        """Free the image tower: only captions are taken from then on."""
        self._model.visual = self._torch.nn.Identity()

    def _choose(self, precision: str) -> "torch.dtype | None":
        import torch

        if precision == "auto":
            if self._device.type == "cpu":
                return None
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        known: dict[str, torch.dtype | None]
        known = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
        return known[precision]

    def pinned(self, batch: Batch) -> Batch:
        """The batch in memory from which a GPU copies while it computes; as it is without one."""
        if not self.on_gpu:
            return batch
        return Batch(batch.pixels.pin_memory(), batch.tokens.pin_memory(), batch.n)

    def __call__(self, batch: Batch) -> Embedded:
        """Run the model; on a lack of memory with smaller batches, which stay so from then on.

        Raises
        ------
        CurateError
            Where one pair alone does not fit.
        """
        started, halved = time.monotonic(), self.out_of_memory
        while True:
            try:
                found = self._in_steps(batch)
                seconds = time.monotonic() - started
                return replace(found, seconds=seconds, halved=self.out_of_memory - halved)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                size = min(self.batch_size, len(batch.tokens))
            if size == 1:
                raise CurateError(
                    f"score: one pair does not fit in the memory of {self._device}; use a smaller"
                    " model, score.precision fp16, or a machine with more memory"
                )
            self.batch_size = (size + 1) // 2
            self.out_of_memory += 1
            _log.warning("score: out of memory with batches of %d; going on with %d", size,
                         self.batch_size)  # fmt: skip
            if self._device.type == "cuda":
                self._torch.cuda.empty_cache()

    def _in_steps(self, batch: Batch) -> Embedded:
        """The model in steps of one shape: the last step overlaps the one before."""
        rows = len(batch.tokens)
        size = min(self.batch_size, rows)
        found = []
        for start in range(0, rows, size):
            first = min(start, rows - size)
            done = self._forward(batch.pixels[first : first + size],
                                 batch.tokens[first : first + size])  # fmt: skip
            found.append([values[start - first :] for values in done])
        scores, image, text = (np.concatenate(x)[: batch.n] for x in zip(*found, strict=True))
        return Embedded(scores, image, text)

    def _forward(self, pixels: "torch.Tensor", tokens: "torch.Tensor") -> list[NDArray[np.float32]]:
        torch = self._torch
        encode_image, encode_text = self._encode
        pixels = pixels.to(self._device, non_blocking=True, memory_format=self._format)
        tokens = tokens.to(self._device, non_blocking=True)
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=self._cast, enabled=self._cast is not None),
        ):
            text = encode_text(tokens).float()
            image = encode_image(pixels).float() if len(pixels) else text[:, :0]
        with torch.inference_mode():
            if not len(pixels):
                text = torch.nn.functional.normalize(text, dim=-1).cpu().numpy()
                return [np.full(len(text), np.nan, np.float32), image.cpu().numpy(), text]
            image = torch.nn.functional.normalize(image, dim=-1)
            text = torch.nn.functional.normalize(text, dim=-1)
            return [x.cpu().numpy() for x in ((image * text).sum(dim=1), image, text)]


def opened(spec: ClipModel, device: "torch.device") -> tuple[_Model, Preprocess, Tokenizer]:
    """What open_clip makes of `spec`, in single precision on `device`.

    Raises
    ------
    CurateError
        Where it cannot be loaded; the message says what to do.
    """
    import open_clip
    from safetensors import SafetensorError

    try:
        with (
            _here(spec.model) as name,
            _here(spec.pretrained or "") as pretrained,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            if name.endswith(".json"):
                open_clip.add_model_config(name)
                name = Path(name).stem
            model, _, preprocess = open_clip.create_model_and_transforms(
                name, pretrained=pretrained or None, precision="fp32", device=device
            )
            return model, preprocess, open_clip.get_tokenizer(name)
    except (pickle.UnpicklingError, SafetensorError, EOFError):
        reason = _DAMAGED
    except (RuntimeError, OSError, ValueError, KeyError, AssertionError, TypeError) as error:
        reason = _reason(str(error) or type(error).__name__, spec)
    raise CurateError(
        f"score.model {spec.model!r} with pretrained {spec.pretrained!r} cannot be loaded: {reason}"
    )


_DAMAGED = "it is no checkpoint, or a damaged one: fetch it again"


def _reason(told: str, spec: ClipModel) -> str:
    """open_clip's error for a model that it cannot load, as one line with the remedy."""
    first, *rest = (line.strip() for line in told.splitlines())
    if "zip archive" in first:
        return _DAMAGED
    if "loading state_dict" in first or "size mismatch" in told or "width changed" in first:
        return f"its weights are of another architecture ({(rest or [first])[0][:120].rstrip()} …)"
    if found := re.search(r"Failed to download .*? for (\S+?)\. |from HF Hub (\S+?): ", first):
        repository = found[1] or found[2]
        given = "score.pretrained as its weights, a file"
        if spec.model.startswith("hf-hub:"):
            given = (
                "score.model as its configuration (model_cfg of open_clip_config.json) and " + given
            )
        return (
            f"{repository} cannot be had from its hub; without a way there, copy the cache of a"
            " machine that has it (HF_HOME, by default ~/.cache/huggingface), or fetch"
            f" https://huggingface.co/{repository} elsewhere and give {given}"
        )
    return first


def _here(name: str) -> AbstractContextManager[str]:
    """A name as it is; for a URL the path of a local copy."""
    return files.local_copy(name) if "://" in name else nullcontext(name)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error)


@lru_cache(maxsize=8)
def _load(spec: ClipModel) -> Scorer:
    from curate.ops.scores.served import Served

    devices = shared(spec.workers)
    return Served(replace(spec, workers=None), devices) if devices else ClipScorer(spec)
